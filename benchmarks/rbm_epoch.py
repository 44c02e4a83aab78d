"""Seconds for an epoch of CD-1 on MNIST, 784-500, batches of 100: `zoo train`, scikit-learn, the matrix products alone.

    ZOO_DATA=FOLDER_OF_MNIST python benchmarks/rbm_epoch.py [ROUNDS]

All train on the same 60,000 images, alternately in one process, without a validation split.
`zoo train` is the command line as a user runs it, with logging and checkpoint. scikit-learn's BernoulliRBM computes in
the type of its input: float64, as NumPy makes pixels between 0 and 1, or float32. The matrix products are the five
that an update needs at least: two up, one down, two for the gradient. The first epoch of each is a warm-up. Ratios
are medians over the rounds of (zoo / other) within a round.
"""

import os
import statistics
import sys
import tempfile
import time
import warnings

import torch
from epochs import stopwatch
from sklearn.neural_network import BernoulliRBM

from zoo.cli.main import main
from zoo.data.sources.torchvision_sets import load

ROOT = os.environ.get("ZOO_DATA", "data")
HIDDEN, BATCH, EPOCHS = 500, 100, 2


def images() -> torch.Tensor:
    """60,000 x 784 pixels in [0, 1]."""
    return load(name="MNIST", root=ROOT, validation=0).train.x.flatten(1).float() / 255


def zoo_train() -> float:
    """The last epoch, from its start to the end of training, including logging and checkpoint."""
    arguments = ["model=rbm", "dataset=mnist", "dataset.validation=0", f"epochs={EPOCHS}", "accelerator=cpu"]
    with tempfile.TemporaryDirectory() as folder, stopwatch() as stamps:
        main("train", [*arguments, "progress=false", f"hydra.run.dir={folder}"])
    return stamps[-1] - stamps[-2]


def scikit_learn(dtype: torch.dtype) -> float:
    """The last epoch; each epoch is one call of ``fit``."""
    x = images().to(dtype).numpy()
    rbm = BernoulliRBM(HIDDEN, batch_size=BATCH, n_iter=1, learning_rate=0.1, random_state=0)
    for _ in range(EPOCHS):
        start = time.perf_counter()
        rbm.fit(x)
    return time.perf_counter() - start


def five_products() -> float:
    """The arithmetic alone: no sampling, no update."""
    x, weight = images(), torch.randn(HIDDEN, 784) * 0.01
    for _ in range(EPOCHS):
        start = time.perf_counter()
        for v in x.split(BATCH):
            h = v @ weight.t()  # N x H
            reconstruction = h @ weight  # N x V
            h2 = reconstruction @ weight.t()  # N x H
            h.t() @ v
            h2.t() @ reconstruction
    return time.perf_counter() - start


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    contenders = {
        "zoo train": zoo_train,
        "scikit-learn, float64": lambda: scikit_learn(torch.float64),
        "scikit-learn, float32": lambda: scikit_learn(torch.float32),
        "five matrix products": five_products,
    }
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, contender in contenders.items():
            seconds[name].append(contender())
    print(f"{'':22}{'seconds an epoch: min, median, max':>36}{'zoo train / this':>20}")  # noqa: T201
    for name, values in seconds.items():
        ratio = statistics.median(a / b for a, b in zip(seconds["zoo train"], values, strict=True))
        spread = f"{min(values):.2f}  {statistics.median(values):.2f}  {max(values):.2f}"
        print(f"{name:22}{spread:>36}{ratio:>20.2f}")  # noqa: T201
