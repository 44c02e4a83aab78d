"""Train one task with a resumable Trainer, and evaluate a task on the validation and the test split."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.callbacks import ProgressBar as LightningProgressBar
from lightning.pytorch.loggers import Logger

from zoo.checkpoints.safe_pickle import load as load_safely
from zoo.config import hardware
from zoo.data.datamodule import DataModule, batches
from zoo.data.workers import told_errors
from zoo.tasks.supervised import SupervisedTask
from zoo.tasks.task import Task
from zoo.training import signals
from zoo.training.fit import trainer_options, user_callbacks
from zoo.training.fit.callbacks import (
    EMA,
    LOG_EVERY,
    OutOfTime,
    SaveForResume,
    StopBelow,
    StopOnNonFinite,
)
from zoo.training.fit.interpolation import Interpolation
from zoo.training.fit.make_trainer import make_trainer
from zoo.training.fit.progress import ProgressBar
from zoo.training.fit.trainer_hooks import AverageLastStep, FinishResumed, LogEpoch
from zoo.training.fit.trainer_settings import DEFAULT, TrainerSettings, limited
from zoo.training.plan import StagePlan
from zoo.training.signals import StopRequest


@dataclass(frozen=True)
class Session:
    """The settings that all fits of a run share.

    Attributes:
        folder: the folder of the checkpoints in the run folder; ``last.ckpt`` is written there.
        loggers: the loggers of the metrics.
        trainer_kwargs: the accelerator config, as arguments of a Trainer.
        progress: whether to show a progress bar.
        settings: the trainer config.
        callbacks: the callbacks of the config: name -> a ``_target_`` and its arguments.
        deadline: the time of `time.monotonic` after which a fit saves and raises `OutOfTime`; None: no limit.
    """

    folder: Path
    loggers: Sequence[Logger]
    trainer_kwargs: dict[str, Any]
    progress: bool = True
    settings: TrainerSettings = DEFAULT
    callbacks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    deadline: float | None = None


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

        Afterwards the task has the last weights; with the key ``ema`` their moving average, with ``patience`` the
        weights of the best epoch. With ``interpolation``, the weights so chosen are mixed with those before the fit.

        Args:
            stop: the request to stop, which a signal sets; None: no signal stops the fit.

        Raises:
            Stopped: a signal asked the run to stop; ``last.ckpt`` was written.
            OutOfTime: the deadline of the session has passed; ``last.ckpt`` was written, and the task has the weights
                that it would have if the fit had ended here (see above).
            ValueError: the loss, a gradient or a weight became NaN or Inf, or a callback failed.
        """
        stage = self.stage
        settings = self.session.settings

        # The callbacks of the config come before those that keys of the stage turn on. With patience, `best` saves the
        # weights of the best epoch.
        named = user_callbacks.callbacks_of(self.session.callbacks, self.name, self.session.folder.parent)
        callbacks: list[Callback] = [StopOnNonFinite(), LogEpoch(), *self.watch, *named.values()]
        callbacks.append(FinishResumed(named.values(), epochs=stage.epochs))
        if settings.accumulate_grad_batches > 1:
            callbacks.append(AverageLastStep())
        best = None
        if stage.patience is not None:
            stop_early, best = user_callbacks.patience_callbacks(
                self.task.monitor, self.task.mode, stage.patience, self.session.folder, self.name
            )
            callbacks += [stop_early, best]
        # Stop at a low loss, average the weights, and mix them with those before the fit.
        if stage.stop_below is not None:
            callbacks.append(StopBelow(stage.stop_below, epochs=stage.epochs))
        if stage.ema is not None:
            callbacks.append(EMA(stage.ema))
        mixing = None if stage.interpolation is None else Interpolation(self.task.net, stage.interpolation)
        callbacks += [mixing] if mixing is not None else []
        # SaveForResume comes after the other callbacks, so that it saves their updated state. The bar has no state.
        within_epochs = user_callbacks.steps_within_epochs(named.values())
        callbacks.append(self._save_for_resume(stop or StopRequest(), within_epochs=within_epochs))
        has_bar = any(isinstance(callback, LightningProgressBar) for callback in named.values())
        if self.session.progress and not has_bar:
            callbacks.append(ProgressBar(self.name))

        # Log at least once per epoch, even if the epoch has fewer than LOG_EVERY steps.
        examples = self.data.splits.train
        trainer = make_trainer(
            self.session.trainer_kwargs,
            settings,
            callbacks=callbacks,
            enable_progress_bar=self.session.progress or has_bar,
            logger=list(self.session.loggers),
            max_epochs=stage.epochs,
            limit_train_batches=self._train_limit(),
            limit_val_batches=_limit(settings.limit_val_batches, self.data, "validation", self.session.trainer_kwargs),
            gradient_clip_val=stage.gradient_clip,
            log_every_n_steps=min(LOG_EVERY, settings.steps(len(examples) // self.data.batch_size or 1)),
            default_root_dir=self.session.folder,
            accumulate_grad_batches=settings.accumulate_grad_batches,
            check_val_every_n_epoch=settings.check_val_every_n_epoch,
            num_sanity_val_steps=settings.num_sanity_val_steps,
            detect_anomaly=settings.detect_anomaly,
            profiler=trainer_options.profiler(settings, self.session.folder.parent, self.name),
        )
        with ExitStack() as around:
            around.enter_context(user_callbacks.named_errors(named))
            around.enter_context(trainer_options.readable_errors(settings))
            around.enter_context(trainer_options.compiled(self.task.net, enabled=settings.compile and self._calls_net))
            around.enter_context(told_errors())
            around.enter_context(signals.unmasked())
            try:
                trainer.fit(self.task, datamodule=self.data, ckpt_path=self.resume, weights_only=True)
            except OutOfTime:
                # After this exception, Lightning does not set the averaged weights: load those of the best epoch or,
                # without patience, those of last.ckpt.
                self._load(self._best(best) or self.session.folder / "last.ckpt", mixing)
                raise

        # Keep the file of the best epoch: a run that is stopped later resumes from the end of this fit, and loads it
        # again.
        path = self._best(best)
        if path is not None or mixing is not None:
            self._load(path, mixing)

    def _train_limit(self) -> int | float:
        """The number of batches of an epoch, as an argument of a Trainer."""
        limit = self.session.settings.limit_train_batches
        if isinstance(limit, int) or self.session.settings.uses_all_batches:
            return limit
        data = self.data
        return limited(batches(len(data.splits.train), data.batch_size, drop_single=data.drop_single), limit)

    @property
    def _calls_net(self) -> bool:
        """Whether the task trains by calling the net; contrastive divergence, for example, calls its layers."""
        return isinstance(self.task, SupervisedTask)

    def _best(self, best: Callback | None) -> Path | None:
        """The weights of the best epoch; None without patience."""
        path = best.best_model_path if isinstance(best, ModelCheckpoint) else ""
        return Path(path) if path else None

    def _load(self, path: Path | None, mixing: Interpolation | None) -> None:
        """Load the weights of a checkpoint, if any, and mix them with those before the fit, if that is asked for."""
        if path is not None:
            self.task.load_state_dict(load_safely(path)["state_dict"])
        if mixing is not None:
            mixing.apply()
        # `teardown` may derive some weights from others, such as the decoder of an autoencoder's layer.
        self.task.teardown("fit")

    def _save_for_resume(self, stop: StopRequest, *, within_epochs: bool) -> SaveForResume:
        return SaveForResume(
            self.name,
            self.session.folder / "last.ckpt",
            every=self.stage.checkpoint_every,
            every_steps=self.stage.checkpoint_every_steps,
            every_minutes=self.stage.checkpoint_every_minutes,
            stop=stop,
            deadline=self.session.deadline,
            within_epochs=within_epochs,
        )


def measure(
    task: Task, data: DataModule, *, trainer_kwargs: dict[str, Any], settings: TrainerSettings = DEFAULT
) -> dict[str, float]:
    """The metrics of a task on the validation and test splits, by name; a split that the data lack is left out.

    Args:
        task: the task, with the net to evaluate.
        data: the data.
        trainer_kwargs: the accelerator config, as arguments of a Trainer.
        settings: the trainer config, whose limits leave batches out; 0 leaves out the whole split.
    """
    # Lightning returns one dictionary per loader; each split has one loader.
    metrics: dict[str, float] = {}
    limits = {
        "limit_val_batches": _limit(settings.limit_val_batches, data, "validation", trainer_kwargs),
        "limit_test_batches": _limit(settings.limit_test_batches, data, "test", trainer_kwargs),
    }
    trainer = make_trainer(
        trainer_kwargs,
        settings,
        callbacks=[],
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        **limits,
    )
    with told_errors(), signals.unmasked():
        if limits["limit_val_batches"]:
            metrics |= trainer.validate(task, datamodule=data, verbose=False)[0]
        if limits["limit_test_batches"]:
            metrics |= trainer.test(task, datamodule=data, verbose=False)[0]
    return metrics


def _limit(limit: int | float, data: DataModule, split: str, trainer_kwargs: dict[str, Any]) -> int | float:
    """The number of evaluation batches of a process, as an argument of a Trainer; 0 if the data lack the split."""
    if data.splits.existing().get(split) is None:
        return 0
    if isinstance(limit, int) or limit == 1.0:
        return limit
    # Each process evaluates its share of the batches.
    loader = data.val_dataloader() if split == "validation" else data.test_dataloader()
    return limited(ceil(len(loader) / hardware.processes(trainer_kwargs)), limit)
