"""How the time for an image depends on threads, batch size and width.

    ZOO_DATA=FOLDER_OF_MNIST python benchmarks/scaling.py [--rounds N] [--quick]

CD-1 of an RBM on MNIST against its five matrix products, and LeNet-5 against a tuned bare loop, with 1 and 2 threads
and batches of 32 to 4,096; and CD-1 with 100 to 4,000 hidden units. An epoch has as many batches as make about 10,000
images. As in the other benchmarks of training, the second epoch is timed.
"""

import warnings
from functools import partial

import lenet5_epoch
import rbm_epoch
import torch
from timing import Benchmark

THREADS = (1, 2)
BATCHES = (32, 128, 512, 2048, 4096)
WIDTHS = (100, 500, 1000, 2000, 4000)
IMAGES = 10_000


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    bench = Benchmark(__doc__)
    images = 500 if bench.quick else IMAGES
    batch_sizes, widths = (BATCHES[:2], WIDTHS[:2]) if bench.quick else (BATCHES, WIDTHS)
    settings = [(size, 500) for size in batch_sizes] + [(100, width) for width in widths]
    for threads in THREADS:
        torch.set_num_threads(threads)
        plural = "s" if threads > 1 else ""

        for batch_size, width in settings:
            batches = max(2, images // batch_size)
            size = {"batch_size": batch_size, "hidden": width}
            programs = {
                "zoo train": partial(rbm_epoch.zoo_train, batches, **size),
                "five matrix products": partial(rbm_epoch.products, batches, persistent=False, **size),
            }
            case = f"CD-1, {threads} thread{plural}, batches of {batch_size:,}, {width:,} hidden units"
            bench.compare(case, programs, items=(batches * batch_size, "images"), again=False)

        for batch_size in batch_sizes:
            batches = max(2, images // batch_size)
            programs = {
                "zoo train": partial(lenet5_epoch.zoo_train, batches, batch_size=batch_size),
                "bare loop, tuned, with validation": partial(
                    lenet5_epoch.bare_loop, batches, tuned=True, validate=True, batch_size=batch_size
                ),
            }
            case = f"LeNet-5, {threads} thread{plural}, batches of {batch_size:,}"
            bench.compare(case, programs, items=(batches * batch_size, "images"), again=False)
