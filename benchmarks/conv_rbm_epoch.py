"""Seconds for an epoch of the first layer of ``conv_rbm`` on MNIST: `zoo train`, and its convolutions alone.

    OMP_NUM_THREADS=1 ZOO_DATA=FOLDER_OF_MNIST python benchmarks/conv_rbm_epoch.py [ROUNDS]

Both run alternately in one process, on the same images in batches of the same size, with the number of threads of
``OMP_NUM_THREADS``. The convolutions are the five that an update by CD-1 needs at least: two up, one down, two for the
gradient. The first epoch of each is a warm-up. The ratio is the median over the rounds of (zoo / convolutions).
"""

import os
import statistics
import sys
import tempfile
import time
import warnings

import torch
import torch.nn.functional as F
from epochs import stopwatch

from zoo.cli.main import main
from zoo.data.sources.torchvision_sets import load

ROOT = os.environ.get("ZOO_DATA", "data")
HELD_OUT = 50_000  # of 60,000 images; a tenth of the epoch is left out of both
HIDDEN, SIDE, BATCH, EPOCHS = 40, 12, 20, 2


def zoo_train() -> float:
    """The last epoch, from its start to the end of training, including logging and checkpoint."""
    arguments = ["model=conv_rbm", "dataset=mnist", f"dataset.validation={HELD_OUT}", "accelerator=cpu"]
    arguments += [f"epochs={EPOCHS}", f"batch_size={BATCH}", "trainer.limit_val_batches=0", "progress=false"]
    with tempfile.TemporaryDirectory() as folder, stopwatch() as stamps:
        main("train", [*arguments, f"hydra.run.dir={folder}"])
    return stamps[-1] - stamps[-2]


def convolutions() -> float:
    """The arithmetic alone: no sampling, no update."""
    x = load(name="MNIST", root=ROOT, validation=HELD_OUT).train.x.float() / 255
    weight = torch.randn(HIDDEN, 1, SIDE, SIDE) * 0.01
    for _ in range(EPOCHS):
        start = time.perf_counter()
        for v in x.split(BATCH):
            h = F.conv2d(v, weight)
            reconstruction = F.conv_transpose2d(h, weight)
            h2 = F.conv2d(reconstruction, weight)
            torch.nn.grad.conv2d_weight(v, weight.shape, h)
            torch.nn.grad.conv2d_weight(reconstruction, weight.shape, h2)
    return time.perf_counter() - start


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    pairs = [(zoo_train(), convolutions()) for _ in range(rounds)]
    ratio = statistics.median(a / b for a, b in pairs)
    for name, values in zip(("zoo train", "five convolutions"), zip(*pairs, strict=True), strict=True):
        print(f"{name:18} {min(values):7.2f} {statistics.median(values):7.2f} {max(values):7.2f} seconds")
    print(f"{torch.get_num_threads()} threads: ratio {ratio:.2f}")
