"""Time the epochs of `zoo train`; shared by the benchmarks of training."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from lightning.pytorch import Callback, LightningModule, Trainer


class Stopwatch(Callback):
    """Records the time at which each epoch starts and at which training ends."""

    def __init__(self) -> None:
        self.stamps: list[float] = []

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.stamps.append(time.perf_counter())

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.stamps.append(time.perf_counter())


@contextmanager
def stopwatch() -> Iterator[list[float]]:
    """Within the block, every Trainer appends its times to the yielded list.

    An epoch lasts until the next one starts, or until training ends, so its time includes validation, logging and
    checkpoint.
    """
    watch = Stopwatch()
    fit = Trainer.fit

    def timed_fit(trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        trainer.callbacks.append(watch)  # type: ignore[attr-defined]
        fit(trainer, *args, **kwargs)

    with mock.patch.object(Trainer, "fit", timed_fit):
        yield watch.stamps
