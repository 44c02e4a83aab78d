"""Seconds for an epoch of a linear probe, with and without codes that are computed once.

    python benchmarks/linear_probe.py [ROUNDS]

ResNet-18 on 100 pictures of data/faces at 64x64, which are written where they are not there. Both are the command line
as a user runs it, in turn. An epoch counts with all that belongs to it, validation too; the median of them. What the
codes take once stands beside.
"""

import statistics
import sys
import tempfile
import time
from itertools import pairwise

import zoo.training.run
from zoo.cli.main import main
from zoo.training.callbacks import SaveForResume

EPOCHS = {"true": 21, "false": 3}


def epoch(encode_once: str) -> tuple[float, float]:
    """Seconds for an epoch, and for the codes."""
    stamps: list[float] = []
    coding: list[float] = []
    encoded = zoo.training.run.cache_features

    def timed(*args, **options):
        start = time.perf_counter()
        codes = encoded(*args, **options)
        coding.append(time.perf_counter() - start)
        return codes

    SaveForResume.on_train_epoch_start = lambda *_: stamps.append(time.perf_counter())
    zoo.training.run.cache_features = timed
    words = ["model=resnet18", "dataset=faces", "dataset.shape=[3,64,64]", "stage@model.stages.fit=linear_probe"]
    words += [f"model.stages.fit.encode_once={encode_once}", f"epochs={EPOCHS[encode_once]}", "progress=false"]
    words += ["model.stages.fit.checkpoint_every=0"]
    with tempfile.TemporaryDirectory() as folder:
        main("train", [*words, f"hydra.run.dir={folder}"])
    zoo.training.run.cache_features = encoded
    return statistics.median(b - a for a, b in pairwise(stamps)), sum(coding)


if __name__ == "__main__":
    rounds = [{arm: epoch(arm) for arm in EPOCHS} for _ in range(int(sys.argv[1]) if len(sys.argv) > 1 else 3)]
    for seconds in rounds:
        once, coding = seconds["true"]
        print(  # noqa: T201
            f"cached {once:.4f} s an epoch after {coding:.2f} s of coding, not cached {seconds['false'][0]:.2f} s: "
            f"{seconds['false'][0] / once:.0f} times"
        )
    ratio = statistics.median(seconds["false"][0] / seconds["true"][0] for seconds in rounds)
    print(f"median of the rounds: {ratio:.0f} times")  # noqa: T201
