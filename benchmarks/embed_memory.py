"""Peak memory and time of ``zoo embed`` for 1,000, 10,000 and 50,000 inputs.

    python benchmarks/embed_memory.py [SIZE ...]

The inputs are images of 28x28 pixels: PNG files in ten folders, rows of a CSV, and an array. The net is lenet5-mnist,
its last layer (84 features) and its first (4,704 features). Each row is a new process, since the peak of the resident
set size (RSS) never falls. The features of the first layer of 50,000 images are 897 MiB.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

SIZES = (1000, 10_000, 50_000)
CODE = (
    "import resource, sys; from zoo.cli.main import main; main('embed', sys.argv[1:]); "
    "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
)


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


def main(sizes: tuple[int, ...]) -> None:
    sys.stdout.write(f"{'input':<12}{'depth':>6}{'inputs':>9}{'peak RSS, MiB':>15}{'seconds':>9}\n")
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder), size)
            for source in ("images", "pixels.csv", "array.npz"):
                for depth in (6, 1):
                    words = [f"input={source}", f"depth={depth}", f"output={source}-{depth}.npz", "accelerator=cpu"]
                    command = [sys.executable, "-c", CODE, "checkpoint=lenet5-mnist", *words]
                    start = time.perf_counter()
                    done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
                    seconds = time.perf_counter() - start
                    peak = int(done.stdout.split()[-1]) / 1024
                    sys.stdout.write(f"{source:<12}{depth:>6}{size:>9,}{peak:>15,.0f}{seconds:>9.1f}\n")
                    sys.stdout.flush()


if __name__ == "__main__":
    main(tuple(map(int, sys.argv[1:])) or SIZES)
