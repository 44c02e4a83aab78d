"""Callbacks of every fit that complete what Lightning does: log the epoch, average the last step, end a resumed fit."""

from collections.abc import Iterable
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from zoo.training.fit.csv_logger import CSVLogger


class LogEpoch(Callback):
    """Tells the CSV logger the epoch, for rows of callbacks that log a step only, such as `LearningRateMonitor`."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.on_train_epoch_start(trainer, pl_module)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for logger in trainer.loggers:
            if isinstance(logger, CSVLogger):
                logger.epoch = trainer.current_epoch


class AverageLastStep(Callback):
    """Averages the gradients of the batches that the last step of an epoch has, if they are fewer than in other steps.

    Lightning divides them by the number of batches of the other steps.
    """

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        wanted = trainer.accumulate_grad_batches
        batches = trainer.fit_loop.epoch_loop.batch_idx % wanted + 1
        if batches < wanted:
            for parameter in pl_module.parameters():
                if parameter.grad is not None:
                    parameter.grad *= wanted / batches


class FinishResumed(Callback):
    """Calls `on_train_end` of other callbacks if a run is resumed after its last epoch, which Lightning leaves out.

    Some of them change the weights there, such as `StochasticWeightAveraging`. With batch normalization, that callback
    adds an epoch, in which the weights are changed already.

    Args:
        callbacks: the other callbacks.
        epochs: number of epochs of the fit, without an epoch that a callback adds.
    """

    def __init__(self, callbacks: Iterable[Callback], *, epochs: int):
        self.callbacks = list(callbacks)
        self.epochs = epochs
        self.trained = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.trained = True

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.trained or trainer.max_epochs != self.epochs:
            return
        for callback in self.callbacks:
            callback.on_train_end(trainer, pl_module)
