"""Time the epochs of `zoo train`, and where MNIST is; shared by the benchmarks of training."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

from lightning.pytorch import Callback, LightningModule, Trainer
from timing import synchronize

from zoo.cli.main import main

ROOT = os.environ.get("ZOO_DATA", "data")  # folder of MNIST


class Stopwatch(Callback):
    """Records the time at which each epoch starts and at which training ends."""

    def __init__(self) -> None:
        self.stamps: list[float] = []

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        synchronize()
        self.stamps.append(time.perf_counter())

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        synchronize()
        self.stamps.append(time.perf_counter())


@contextmanager
def watched_by(watch: Callback) -> Iterator[None]:
    """Within the block, every Trainer has one more callback."""
    fit = Trainer.fit

    def watched_fit(trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        trainer.callbacks.append(watch)
        fit(trainer, *args, **kwargs)

    with mock.patch.object(Trainer, "fit", watched_fit):
        yield


def zoo_train(*arguments: str) -> list[float]:
    """Run `zoo train` without its output; returns the times at which epochs start, and at which training ends.

    An epoch lasts until the next one starts, or until training ends, so its time includes validation, logging and
    checkpoint. The test after training is cut short, since it is not timed.
    """
    watch = Stopwatch()
    with TemporaryDirectory() as folder, silent(), watched_by(watch):
        main("train", [*arguments, "trainer.limit_test_batches=1", f"hydra.run.dir={folder}/run"])
    return watch.stamps


def last_epoch(*arguments: str) -> float:
    """The time of the last epoch of `zoo train`, including validation, logging and checkpoint."""
    stamps = zoo_train(*arguments)
    return stamps[-1] - stamps[-2]


@contextmanager
def silent() -> Iterator[None]:
    """Within the block, keep what is printed; show it only if the block fails."""
    output = StringIO()
    try:
        with redirect_stdout(output), redirect_stderr(output):
            yield
    except BaseException:
        print(output.getvalue())
        raise
