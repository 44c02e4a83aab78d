"""One Trainer's work: fit a task to its end, so that it can be gone on with, and measure it."""

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import Logger
from lightning.pytorch.plugins.io import TorchCheckpointIO
from omegaconf import DictConfig

from zoo.checkpoints import safe_pickle as pickled
from zoo.checkpoints.files import replacing
from zoo.data.datamodule import DataModule
from zoo.tasks import Task
from zoo.training.callbacks import LOG_EVERY, Average, Finite, LowEnough, Resumable
from zoo.training.progress import ProgressBar
from zoo.training.signals import Request


class AtomicIO(TorchCheckpointIO):
    """Writes beside the target and renames, so that a kill leaves the file as it was; runs no code that it reads."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        with replacing(Path(path)) as temporary:
            torch.save(checkpoint, temporary)

    def load_checkpoint(self, path: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        content: dict[str, Any] = pickled.load(path)
        return content


def fit(
    task: Task,
    data: DataModule,
    stage: DictConfig,
    *,
    name: str,
    folder: Path,
    loggers: Sequence[Logger],
    place: dict[str, Any],
    resume: Path | None = None,
    progress: bool = True,
    request: Request | None = None,
) -> None:
    """Fit ``task`` for the stage's epochs; it then holds the last weights, their average, or the best ones.

    Args:
        task: what to fit.
        data: on what.
        stage: ``epochs``, ``gradient_clip``, ``ema``, ``patience`` and ``stop_below`` (which need a validation part).
        name: of the fit, kept in its checkpoints.
        folder: ``last.ckpt`` is written here, as often as the stage's ``checkpoint_every…`` say.
        loggers: where metrics go.
        place: the Trainer's arguments for where it runs.
        resume: a ``last.ckpt`` of the same fit to go on from.
        progress: whether to show the bar.
        request: where a wish to stop is noted; ``last.ckpt`` is then written, and `Stopped` raised.
    """
    callbacks: list[Callback] = [Finite()]
    best = None
    if stage.patience is not None:
        monitor, mode = task.monitor, task.mode
        best = ModelCheckpoint(folder, "best", monitor=monitor, mode=mode, enable_version_counter=False)
        callbacks += [EarlyStopping(monitor, mode=mode, patience=stage.patience), best]
    if stage.stop_below is not None:
        callbacks.append(
            LowEnough("val/loss", stopping_threshold=stage.stop_below, patience=stage.epochs, check_finite=False)
        )
    if stage.ema is not None:
        callbacks.append(Average(stage.ema))
    # After all others have settled what they keep.
    callbacks.append(
        Resumable(
            name,
            folder / "last.ckpt",
            every=stage.checkpoint_every,
            every_steps=stage.checkpoint_every_steps,
            every_minutes=stage.checkpoint_every_minutes,
            request=request,
        )
    )
    trainer = _trainer(
        place,
        callbacks=callbacks,
        logger=list(loggers),
        progress=progress,
        name=name,
        max_epochs=stage.epochs,
        limit_val_batches=0 if data.splits.validation is None else 1.0,
        gradient_clip_val=stage.gradient_clip,
        log_every_n_steps=min(LOG_EVERY, len(data.splits.train) // data.batch_size or 1),
        default_root_dir=folder,
        enable_checkpointing=best is not None,  # else Lightning adds a ModelCheckpoint of its own
    )
    trainer.fit(task, datamodule=data, ckpt_path=resume, weights_only=True)
    if best is not None and best.best_model_path:
        task.load_state_dict(pickled.load(best.best_model_path)["state_dict"])
        task.teardown("fit")  # once more, of these weights
        Path(best.best_model_path).unlink()


def measure(task: Task, data: DataModule, *, place: dict[str, Any]) -> dict[str, float]:
    """The metrics on the validation and the test part, as far as there are such parts."""
    metrics: dict[str, float] = {}
    trainer = _trainer(place, callbacks=[], logger=False, progress=False, enable_checkpointing=False)
    if data.splits.validation is not None:
        metrics |= trainer.validate(task, datamodule=data, verbose=False)[0]
    if data.splits.test is not None:
        metrics |= trainer.test(task, datamodule=data, verbose=False)[0]
    return metrics


def _trainer(
    place: dict[str, Any], *, callbacks: list[Callback], progress: bool, name: str = "fit", **options: Any
) -> Trainer:
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    for meant in (
        "does not have many workers",
        "LeafSpec",
        "Checkpoint directory",
        "smaller than the logging interval",
        "your dataloader is not resumable",  # ours leaves out what was seen
    ):
        warnings.filterwarnings("ignore", f".*{meant}.*")
    if progress:
        callbacks.append(ProgressBar(name))
    return Trainer(
        **place,
        **options,
        callbacks=callbacks,
        plugins=[AtomicIO()],
        enable_progress_bar=progress,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,  # our samplers know their share already, and pad nothing
    )
