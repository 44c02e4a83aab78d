"""An epoch of contrastive divergence on MNIST, 784-500, batches of 100.

    ZOO_DATA=FOLDER_OF_MNIST python benchmarks/rbm_epoch.py [--rounds N] [--quick]

All train on the same 60,000 images in one process, without a validation split. `zoo train` is the command line as a
user runs it, with logging and checkpoint. The first epoch of each is a warm-up.

- scikit-learn's BernoulliRBM computes in the type of its input: float64, as NumPy makes pixels between 0 and 1, or
  float32. It trains by persistent CD.
- learnergy's RBM also measures a pseudo-likelihood for every batch, as its `fit` always does.
- By hand: one loop that computes in place, without autograd, logging or checkpoint.
- The matrix products are those that an update needs at least: five for CD-1 (two up, one down, two for the gradient);
  six for persistent CD, whose chains do not start at the data.
"""

import warnings
from collections.abc import Callable
from functools import cache, partial
from importlib.util import find_spec

import epochs
import torch
from epochs import ROOT
from sklearn.neural_network import BernoulliRBM
from timing import Benchmark, seconds
from torch import Tensor
from torch.utils.data import TensorDataset

from zoo.data.sources.torchvision_sets import load

HIDDEN, BATCH, EPOCHS, LR, MOMENTUM = 500, 100, 2, 0.1, 0.5
QUICK = 20  # number of batches of an epoch in a rehearsal


@cache
def images(count: int = 60_000) -> Tensor:
    """count x 784 pixels in [0, 1], on PyTorch's default device."""
    # Only the pixels go to the device: the random numbers of a split are those of the CPU.
    device = torch.get_default_device()
    with torch.device("cpu"):
        pixels = load(name="MNIST", root=ROOT, validation=0).train.x[:count]
    return pixels.flatten(1).to(device).float() / 255


def zoo_train(
    batches: int, *overrides: str, batch_size: int = BATCH, hidden: int = HIDDEN, accelerator: str = "cpu"
) -> float:
    """The command line; the time includes logging and checkpoint."""
    arguments = ["model=rbm", "dataset=mnist", "dataset.validation=0", f"epochs={EPOCHS}", f"accelerator={accelerator}"]
    arguments += [f"batch_size={batch_size}", f"model.net.hidden={hidden}"]
    return epochs.last_epoch(*arguments, f"trainer.limit_train_batches={batches}", *overrides)


def last_epoch(epoch: Callable[[], object]) -> float:
    """The time of the last of `EPOCHS` calls."""
    return [seconds(epoch) for _ in range(EPOCHS)][-1]


def scikit_learn(batches: int, dtype: torch.dtype) -> float:
    """Each epoch is one call of ``fit``."""
    x = images(batches * BATCH).to(dtype).numpy()
    rbm = BernoulliRBM(HIDDEN, batch_size=BATCH, n_iter=1, learning_rate=LR, random_state=0)
    return last_epoch(lambda: rbm.fit(x))


def learnergy(batches: int) -> float:
    """Each epoch is one call of ``fit``, with the images as tensors in memory."""
    from learnergy.models.bernoulli import RBM

    x = images(batches * BATCH)
    rbm = RBM(n_visible=784, n_hidden=HIDDEN, steps=1, learning_rate=LR, momentum=MOMENTUM)
    data = TensorDataset(x, torch.zeros(len(x)))
    return last_epoch(lambda: rbm.fit(data, batch_size=BATCH, epochs=1))


@torch.no_grad()
def by_hand(batches: int) -> float:
    """CD-1 with momentum: every operation writes into memory that it already has."""
    x = images(batches * BATCH)
    weight, step = torch.randn(HIDDEN, 784) * 0.01, torch.zeros(HIDDEN, 784)
    visible_bias, hidden_bias = torch.zeros(784), torch.zeros(HIDDEN)
    v1, noise = torch.empty(BATCH, 784), torch.empty(BATCH, HIDDEN)
    p0, p1 = torch.empty(BATCH, HIDDEN), torch.empty(BATCH, HIDDEN)

    def epoch() -> None:
        for picked in torch.randperm(len(x)).split(BATCH):
            v0 = x[picked]  # N x V
            torch.addmm(hidden_bias, v0, weight.t(), out=p0).sigmoid_()  # N x H
            h = noise.uniform_().lt_(p0)  # N x H, zeros and ones
            torch.addmm(visible_bias, h, weight, out=v1).sigmoid_()  # N x V
            torch.addmm(hidden_bias, v1, weight.t(), out=p1).sigmoid_()  # N x H
            step.addmm_(p0.t(), v0, beta=MOMENTUM, alpha=LR / BATCH).addmm_(p1.t(), v1, alpha=-LR / BATCH)
            weight.add_(step)
            visible_bias.add_((v0.mean(0) - v1.mean(0)) * LR)
            hidden_bias.add_((p0.mean(0) - p1.mean(0)) * LR)

    return last_epoch(epoch)


def products(batches: int, *, persistent: bool, batch_size: int = BATCH, hidden: int = HIDDEN) -> float:
    """The arithmetic alone: no sampling, no update."""
    x, weight = images(batches * batch_size), torch.randn(hidden, 784) * 0.01

    def epoch() -> None:
        chain = x[:batch_size]
        for v in x.split(batch_size):
            h = v @ weight.t()  # N x H
            start = chain @ weight.t() if persistent else h
            chain = start @ weight  # N x V
            h2 = chain @ weight.t()  # N x H
            h.t() @ v
            h2.t() @ chain
            chain = v  # finite values

    return last_epoch(epoch)


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    bench = Benchmark(__doc__)
    batches = QUICK if bench.quick else 600
    programs = {
        "zoo train": partial(zoo_train, batches),
        "five matrix products": partial(products, batches, persistent=False),
        "by hand, in place": partial(by_hand, batches),
        "scikit-learn, float32": partial(scikit_learn, batches, torch.float32),
        "scikit-learn, float64": partial(scikit_learn, batches, torch.float64),
    }
    if find_spec("learnergy"):
        programs["learnergy"] = partial(learnergy, batches)
    goals = {"five matrix products": 1.5, "scikit-learn, float32": 0.65, "scikit-learn, float64": 0.4, "learnergy": 0.6}
    case = "CD-1, an epoch"
    bench.compare(case, programs, goals=goals, items=(batches * BATCH, "images"))
    if not find_spec("learnergy"):
        bench.skip(case, "learnergy", "it is not installed (extra: bench)")
    persistent = {
        "zoo train": partial(zoo_train, batches, "stage@model.stages.fit=persistent"),
        "six matrix products": partial(products, batches, persistent=True),
    }
    goals = {"six matrix products": 1.6}
    bench.compare("Persistent CD, 100 chains, an epoch", persistent, goals=goals, items=(batches * BATCH, "images"))
