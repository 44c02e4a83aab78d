"""An epoch of a linear probe: features computed once, or in every epoch.

    python benchmarks/linear_probe.py [--rounds N] [--quick]

ResNet-18 on 100 images of data/faces at 64x64, which are written if they are missing. Both run from the command line,
as a user runs them. An epoch includes its validation; its time is the median over the epochs of a run. Computing the
features once delays the first epoch; that delay is printed, too.
"""

from itertools import pairwise
from statistics import median

from epochs import zoo_train
from timing import Benchmark

EPOCHS = {"true": 21, "false": 3}  # encode_once -> number of epochs
ARGUMENTS = [
    "model=resnet18",
    "dataset=faces",
    "dataset.shape=[3,64,64]",
    "stage@model.stages.fit=linear_probe",
    "model.stages.fit.checkpoint_every=0",
]


def epoch(encode_once: str) -> float:
    """The median time of an epoch."""
    stamps = zoo_train(*ARGUMENTS, f"model.stages.fit.encode_once={encode_once}", f"epochs={EPOCHS[encode_once]}")
    return median(b - a for a, b in pairwise(stamps))


if __name__ == "__main__":
    bench = Benchmark(__doc__)
    epoch("false")  # imports everything
    bench.compare("an epoch", {"computed once": lambda: epoch("true"), "in every epoch": lambda: epoch("false")})
