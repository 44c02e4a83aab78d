"""Train one task with a resumable Trainer, and evaluate a task on the validation and the test split."""

import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import Logger
from lightning.pytorch.plugins.io import TorchCheckpointIO

from zoo.checkpoints.files import replacing
from zoo.checkpoints.safe_pickle import load as load_safely
from zoo.data.datamodule import DataModule
from zoo.data.workers import told_errors
from zoo.tasks.task import Task
from zoo.training import signals
from zoo.training.callbacks import EMA, LOG_EVERY, KeepSignalHandlers, SaveForResume, StopBelow, StopOnNonFinite
from zoo.training.plan import StagePlan
from zoo.training.progress import ProgressBar
from zoo.training.signals import StopRequest

# Lightning's warnings about deliberate choices of the zoo.
EXPECTED_WARNINGS = (
    "does not have many workers",
    "LeafSpec",
    "Checkpoint directory",
    "smaller than the logging interval",
    "your dataloader is not resumable",  # the zoo's sampler skips the examples that were seen before the stop
)


class AtomicIO(TorchCheckpointIO):
    """Checkpoint I/O that writes a temporary file and renames it, and that loads without running pickled code."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        # On a full disk, torch raises RuntimeError.
        with replacing(Path(path), errors=[RuntimeError]) as temporary:
            torch.save(checkpoint, temporary)

    def load_checkpoint(self, path: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        content: dict[str, Any] = load_safely(path)
        return content


@dataclass(frozen=True)
class Session:
    """The settings that all fits of a run share.

    Attributes:
        folder: the folder of the checkpoints; ``last.ckpt`` is written there.
        loggers: the loggers of the metrics.
        trainer_kwargs: the accelerator config, as arguments of a Trainer.
        progress: whether to show a progress bar.
    """

    folder: Path
    loggers: Sequence[Logger]
    trainer_kwargs: dict[str, Any]
    progress: bool = True


@dataclass(frozen=True)
class Fit:
    """One task, trained on one set of data.

    Attributes:
        name: name of the fit, which its checkpoints contain.
        task: the task to train.
        data: the data to train on.
        stage: number of epochs, and when to stop or save.
        session: the settings that all fits of the run share.
        resume: a ``last.ckpt`` of this fit to resume from, or None.
        watch: callbacks without a state that watch the fit.
    """

    name: str
    task: Task
    data: DataModule
    stage: StagePlan
    session: Session
    resume: Path | None = None
    watch: Sequence[Callback] = ()

    def train(self, stop: StopRequest | None = None) -> None:
        """Train for at most the stage's epochs, resuming from ``resume`` if it is set.

        Afterwards the task has the last weights, their moving average (ema) or those of the best epoch (patience).

        Args:
            stop: the request that signals set; None: signals are not handled.

        Raises:
            Stopped: a signal asked the run to stop; ``last.ckpt`` was written.
            ValueError: the loss, a gradient or a weight became NaN or Inf.
        """
        stage = self.stage

        # With patience, `best` saves the weights of the best epoch.
        callbacks: list[Callback] = [StopOnNonFinite(), *self.watch]
        best = None
        if stage.patience is not None:
            monitor, mode = self.task.monitor, self.task.mode
            name = f"best.{self.name}"
            best = ModelCheckpoint(self.session.folder, name, monitor=monitor, mode=mode, enable_version_counter=False)
            callbacks += [EarlyStopping(monitor, mode=mode, patience=stage.patience), best]
        # Stop at a low loss, and average the weights.
        if stage.stop_below is not None:
            callbacks.append(StopBelow(stage.stop_below, epochs=stage.epochs))
        if stage.ema is not None:
            callbacks.append(EMA(stage.ema))
        # SaveForResume comes after the other callbacks, so that it saves their updated state. The bar has no state.
        callbacks.append(self._save_for_resume(stop or StopRequest()))
        if self.session.progress:
            callbacks.append(ProgressBar(self.name))

        # Log at least once per epoch, also if the epoch has fewer than LOG_EVERY steps.
        trainer = _trainer(
            self.session.trainer_kwargs,
            callbacks=callbacks,
            enable_progress_bar=self.session.progress,
            logger=list(self.session.loggers),
            max_epochs=stage.epochs,
            limit_val_batches=0 if self.data.splits.validation is None else 1.0,
            gradient_clip_val=stage.gradient_clip,
            log_every_n_steps=min(LOG_EVERY, len(self.data.splits.train) // self.data.batch_size or 1),
            default_root_dir=self.session.folder,
        )
        with told_errors(), signals.unmasked():
            trainer.fit(self.task, datamodule=self.data, ckpt_path=self.resume, weights_only=True)

        # Load the weights of the best epoch. Run `teardown` again, since it may derive some weights from others. Keep
        # the file: a run that is stopped later resumes from the end of this fit, and loads it again.
        if best is not None and best.best_model_path:
            self.task.load_state_dict(load_safely(best.best_model_path)["state_dict"])
            self.task.teardown("fit")

    def _save_for_resume(self, stop: StopRequest) -> SaveForResume:
        return SaveForResume(
            self.name,
            self.session.folder / "last.ckpt",
            every=self.stage.checkpoint_every,
            every_steps=self.stage.checkpoint_every_steps,
            every_minutes=self.stage.checkpoint_every_minutes,
            stop=stop,
        )


def measure(task: Task, data: DataModule, *, trainer_kwargs: dict[str, Any]) -> dict[str, float]:
    """The metrics of a task on the validation and test splits, by name; a split that the data lack is left out.

    Args:
        task: the task, with the net to evaluate.
        data: the data.
        trainer_kwargs: the accelerator config, as arguments of a Trainer.
    """
    # Lightning returns one dictionary per loader; each split has one loader.
    metrics: dict[str, float] = {}
    trainer = _trainer(
        trainer_kwargs, callbacks=[], logger=False, enable_progress_bar=False, enable_checkpointing=False
    )
    with told_errors(), signals.unmasked():
        if data.splits.validation is not None:
            metrics |= trainer.validate(task, datamodule=data, verbose=False)[0]
        if data.splits.test is not None:
            metrics |= trainer.test(task, datamodule=data, verbose=False)[0]
    return metrics


def _trainer(trainer_kwargs: dict[str, Any], *, callbacks: list[Callback], **options: Any) -> Trainer:
    """A Trainer with atomic checkpoints, without model summary, validation before training, and expected warnings."""
    # Silence Lightning's info messages and its warnings about deliberate choices.
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    for text in EXPECTED_WARNINGS:
        warnings.filterwarnings("ignore", f".*{text}.*")
    return Trainer(
        **trainer_kwargs,
        **options,
        callbacks=[KeepSignalHandlers(), *callbacks],
        plugins=[AtomicIO()],
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,  # the zoo's samplers already give each process its share, without padding
    )
