"""Seconds for an epoch of a linear probe, with and without features that are computed once.

    python benchmarks/linear_probe.py [ROUNDS]

ResNet-18 on 100 images of data/faces at 64x64, which are written if they are missing. Both run from the command
line, as a user runs them, alternately. An epoch includes its validation; the result is the median over the epochs.
The cost of computing
the features once is the difference between the two in the time from the start to the first epoch.
"""

import statistics
import sys
import tempfile
import time
from itertools import pairwise

from epochs import stopwatch

from zoo.cli.main import main

EPOCHS = {"true": 21, "false": 3}  # encode_once -> number of epochs


def train(encode_once: str) -> tuple[float, float]:
    """Seconds for an epoch, and from the start to the first epoch."""
    arguments = [
        "model=resnet18",
        "dataset=faces",
        "dataset.shape=[3,64,64]",
        "stage@model.stages.fit=linear_probe",
        f"model.stages.fit.encode_once={encode_once}",
        "model.stages.fit.checkpoint_every=0",
        f"epochs={EPOCHS[encode_once]}",
        "progress=false",
    ]
    with tempfile.TemporaryDirectory() as folder, stopwatch() as stamps:
        start = time.perf_counter()
        main("train", [*arguments, f"hydra.run.dir={folder}"])
    return statistics.median(b - a for a, b in pairwise(stamps)), stamps[0] - start


if __name__ == "__main__":
    # Run once without timing, to import everything.
    train("false")
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    ratios = []
    for _ in range(count):
        cached, start_cached = train("true")
        computed, start_computed = train("false")
        ratios.append(computed / cached)
        print(  # noqa: T201
            f"computed once: {cached:.4f} s an epoch, after {start_cached - start_computed:.2f} s; "
            f"computed in every epoch: {computed:.2f} s; {ratios[-1]:.0f} times as long"
        )
    print(f"median over the rounds: {statistics.median(ratios):.0f} times as long")  # noqa: T201
