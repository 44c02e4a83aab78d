"""Peak memory of `zoo train` against the size of the dataset.

    python benchmarks/train_memory.py [--quick]

Arrays of 28x28 pixels, one byte each, in an .npz file; LeNet-5 and an RBM are trained for one epoch of ten batches.
Each run is a process of its own; its memory is the peak of the resident set size (RSS). What a dataset adds is the
difference from the smallest one.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
from processes import run
from timing import Benchmark

SIZES = (10_000, 60_000, 240_000, 960_000)
QUICK = (1000, 10_000)

if __name__ == "__main__":
    bench = Benchmark(__doc__)
    limits = [f"trainer.limit_{split}_batches=10" for split in ("train", "val", "test")]
    for size in QUICK if bench.quick else SIZES:
        with tempfile.TemporaryDirectory() as folder:
            x = np.random.default_rng(0).integers(0, 256, (size, 28, 28), dtype=np.uint8)
            np.savez(Path(folder) / "data.npz", x=x, y=np.arange(size) % 10)
            for model in ("lenet5", "rbm"):
                words = [
                    f"model={model}",
                    "dataset=npz",
                    "epochs=1",
                    "accelerator=cpu",
                    f"hydra.run.dir={model}",
                    *limits,
                ]
                done = run([sys.executable, "-m", "zoo.cli", "train", *words], cwd=Path(folder))
                case = f"{model}, {size:,} inputs, {x.nbytes / 2**20:,.0f} MiB"
                bench.value(case, "peak RSS", done.peak, "MiB")
