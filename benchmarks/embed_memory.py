"""Peak memory and time of `zoo embed` for 1,000, 10,000 and 50,000 inputs.

    python benchmarks/embed_memory.py [--quick]

The inputs are images of 28x28 pixels: PNG files in ten folders, rows of a CSV, and an array. The net is lenet5-mnist,
its last layer (84 features) and its first (4,704 features). Each row is a process of its own, since the peak of the
resident set size (RSS) never falls. The features of the first layer of 50,000 images are 897 MiB.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from processes import run
from timing import Benchmark

SIZES = (1000, 10_000, 50_000)
QUICK = (100,)


def write(folder: Path, size: int) -> None:
    """Write random images as files, as a CSV and as an array."""
    x = np.random.default_rng(0).integers(0, 256, (size, 28, 28), dtype=np.uint8)
    x[:, :4] = x[:, -4:] = x[:, :, :4] = x[:, :, -4:] = 0  # a dark border, as in MNIST
    for i in range(size):
        path = folder / "images" / str(i % 10) / f"{i:05}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(x[i]).save(path)
    header = ",".join(["label", *(f"pixel{k}" for k in range(784))])
    rows = np.concatenate([np.arange(size)[:, None] % 10, x.reshape(size, -1)], axis=1)
    np.savetxt(folder / "pixels.csv", rows, fmt="%d", delimiter=",", header=header, comments="")
    np.savez(folder / "array.npz", x=x)


if __name__ == "__main__":
    bench = Benchmark(__doc__)
    for size in QUICK if bench.quick else SIZES:
        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder), size)
            for source in ("images", "pixels.csv", "array.npz"):
                for depth in (6, 1):
                    words = [f"input={source}", f"depth={depth}", f"output={source}-{depth}.npz", "accelerator=cpu"]
                    command = [sys.executable, "-m", "zoo.cli", "embed", "checkpoint=lenet5-mnist", *words]
                    done = run(command, cwd=Path(folder))
                    case = f"{source}, layer {depth}, {size:,} inputs"
                    bench.value(case, "peak RSS", done.peak, "MiB")
                    bench.value(case, "time", done.seconds, "s")
