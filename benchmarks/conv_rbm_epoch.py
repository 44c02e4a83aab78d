"""An epoch of contrastive divergence of a convolutional RBM on MNIST, 40 kernels of 12 x 12, batches of 20.

    ZOO_DATA=FOLDER_OF_MNIST python benchmarks/conv_rbm_epoch.py [--rounds N] [--quick]

`zoo train` is the command line as a user runs it, with logging and checkpoint. The convolutions are those that an
update by CD-1 needs at least: two up, one down, two for the gradient. The one down is PyTorch's transposed convolution,
or a matrix product whose results are added up, which `zoo train` takes: for one channel that is faster. All run in one
process, on 10,000 images in batches of the same size, with one thread and with two. The first epoch of each is a
warm-up.
"""

import warnings
from collections.abc import Callable
from functools import partial

import epochs
import rbm_epoch
import torch
import torch.nn.functional as F
from timing import Benchmark
from torch import Tensor
from torch.nn.grad import conv2d_weight

HIDDEN, SIDE, BATCH, IMAGES = 40, 12, 20, 10_000
QUICK = 20  # number of batches of an epoch in a rehearsal
THREADS = (1, 2)


def zoo_train(batches: int) -> float:
    """The command line; the time includes logging and checkpoint."""
    arguments = ["model=conv_rbm", "dataset=mnist", "dataset.validation=0", f"batch_size={BATCH}", "accelerator=cpu"]
    arguments += [f"model.net.hidden={HIDDEN}", f"model.net.kernel_size={SIDE}", f"epochs={rbm_epoch.EPOCHS}"]
    return epochs.last_epoch(*arguments, f"trainer.limit_train_batches={batches}")


def by_product(h: Tensor, weight: Tensor) -> Tensor:
    """The transposed convolution, N x K x 17 x 17 -> N x 1 x 28 x 28."""
    kernels = torch.bmm(weight.flatten(1).t().expand(len(h), -1, -1), h.flatten(2))
    return F.fold(kernels, (28, 28), (SIDE, SIDE))


def convolutions(batches: int, down: Callable[[Tensor, Tensor], Tensor] = F.conv_transpose2d) -> float:
    """The arithmetic alone: no sampling, no update."""
    x = rbm_epoch.images(batches * BATCH).unflatten(1, (1, 28, 28))
    weight = torch.randn(HIDDEN, 1, SIDE, SIDE) * 0.01

    def epoch() -> None:
        for v in x.split(BATCH):
            h = F.conv2d(v, weight)  # N x K x 17 x 17
            reconstruction = down(h, weight)  # N x 1 x 28 x 28
            h2 = F.conv2d(reconstruction, weight)
            conv2d_weight(v, weight.shape, h)
            conv2d_weight(reconstruction, weight.shape, h2)

    return rbm_epoch.last_epoch(epoch)


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    bench = Benchmark(__doc__)
    batches = QUICK if bench.quick else IMAGES // BATCH
    programs = {
        "zoo train": partial(zoo_train, batches),
        "five convolutions": partial(convolutions, batches),
        "five convolutions, one by product": partial(convolutions, batches, by_product),
    }
    for threads in THREADS:
        torch.set_num_threads(threads)
        case = f"CD-1, convolutional, an epoch, {threads} thread{'s' if threads > 1 else ''}"
        bench.compare(case, programs, goals={"five convolutions": 2.5}, items=(batches * BATCH, "images"))
