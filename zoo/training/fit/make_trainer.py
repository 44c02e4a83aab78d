"""The Trainer that trains and evaluates: atomic checkpoints, no expected warnings, signal handlers kept."""

import logging
import warnings
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.plugins.io import TorchCheckpointIO

from zoo.checkpoints.files import replacing
from zoo.checkpoints.safe_pickle import load as load_safely
from zoo.training.fit.callbacks import KeepSignalHandlers
from zoo.training.fit.trainer_settings import TrainerSettings

# Warnings of Lightning, torchmetrics and PyTorch that tell users of the zoo nothing.
EXPECTED_WARNINGS = (
    "does not have many workers",
    "LeafSpec",
    "Checkpoint directory",
    "smaller than the logging interval",
    "SWA is currently only supported every epoch",  # it replaces the schedule, even one of steps
    "default schedule will be overridden",  # of the PyTorch profiler, in a fit of few steps
    "your dataloader is not resumable",  # the zoo's sampler skips the examples that were seen before the stop
    "Encountered `nan` values",  # the logged loss is NaN, too
    "No positive samples found in target",  # the average precision of a label without examples is 0
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


def make_trainer(
    trainer_kwargs: dict[str, Any], settings: TrainerSettings, *, callbacks: list[Callback], **options: Any
) -> Trainer:
    """A Trainer without a model summary.

    Args:
        trainer_kwargs: the accelerator config, as arguments of the Trainer.
        settings: the trainer config.
        callbacks: the callbacks.
        options: further arguments of the Trainer.
    """
    # Silence Lightning's info messages and the expected warnings.
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    for text in EXPECTED_WARNINGS:
        warnings.filterwarnings("ignore", f".*{text}.*")
    return Trainer(
        **trainer_kwargs,
        **options,
        deterministic=settings.deterministic or None,  # None: as PyTorch is set
        benchmark=settings.benchmark,
        callbacks=[KeepSignalHandlers(), *callbacks],
        plugins=[AtomicIO()],
        enable_model_summary=False,
        use_distributed_sampler=False,  # the zoo's samplers already give each process its share, without padding
    )
