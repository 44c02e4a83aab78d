"""Check the trainer config and the callbacks against the stages, and the machine against torch.compile."""

from pathlib import Path

import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from omegaconf import DictConfig

from zoo.config.build import build
from zoo.tasks.optimization import reads_validation_loss
from zoo.training.checks import stage_checks
from zoo.training.fit import user_callbacks
from zoo.training.fit.trainer_settings import TrainerSettings
from zoo.training.fit.user_callbacks import Nodes
from zoo.training.plan import StagePlan


def check_stage(name: str, stage: DictConfig, settings: TrainerSettings, callbacks: Nodes) -> None:
    """Raise ValueError if the trainer config or a callback conflicts with a stage."""
    # Some keys read the validation of every epoch.
    task = stage_checks.task_class(stage)
    schedule = build(stage.lr_schedule, where="lr_schedule")
    keys = [key for key in ("patience", "stop_below") if stage[key] is not None]
    keys += ["lr_schedule"] if reads_validation_loss(schedule) else []
    for key in keys:
        if settings.limit_val_batches == 0:
            raise ValueError(
                f"trainer.limit_val_batches=0: model.stages.{name}.{key} needs validation; change one of the two"
            )
        if settings.check_val_every_n_epoch > 1:
            raise ValueError(
                f"trainer.check_val_every_n_epoch={settings.check_val_every_n_epoch}: model.stages.{name}.{key} needs "
                "a validation in every epoch; change one of the two"
            )

    # Without validation, such a callback would fail after an epoch, or save nothing.
    for key, callback in user_callbacks.callbacks_of(callbacks, name, Path()).items():
        monitor = callback.monitor if isinstance(callback, EarlyStopping | ModelCheckpoint) else None
        if settings.limit_val_batches == 0 and str(monitor).startswith("val/"):
            raise ValueError(
                f"trainer.limit_val_batches=0: callbacks.{key}.monitor={monitor} needs validation; "
                "change one of the two"
            )

    # With patience, a stage has callbacks of its own.
    own = []
    if stage.patience is not None:
        own = user_callbacks.patience_callbacks(task.monitor, task.mode, stage.patience, Path(), name)
    user_callbacks.check_conflicts(callbacks, name, ema=stage.ema is not None, own=own)


def check_compile(planned: list[StagePlan], device: torch.device) -> list[str]:
    """Notes about the stages that torch.compile does not change.

    Raises:
        ValueError: it changes no stage, or does not work on this machine.
    """
    without = [stage.name for stage in planned if not stage.needs_labels]
    if len(without) == len(planned):
        raise ValueError(
            "trainer.compile=true compiles the forward of the net, which no stage here calls; set it to false"
        )
    _check_compiler(device)
    return [f"note: stage {name} is not compiled: it trains without the forward of the net" for name in without]


def _check_compiler(device: torch.device) -> None:
    """Raise ValueError if torch.compile does not work on this machine, which a small function shows."""
    try:
        torch.compile(_probe)(torch.ones(8, device=device))
    except Exception as error:
        reason = " ".join(str(error).split()).partition(" Set TORCHDYNAMO_VERBOSE")[0][:200]
        raise ValueError(
            f"trainer.compile=true: torch.compile does not work here ({type(error).__name__}: {reason}); install a C++ "
            "compiler such as g++, or set trainer.compile=false"
        ) from error
    finally:
        torch.compiler.reset()


def _probe(x: torch.Tensor) -> torch.Tensor:
    return (x * 2 + 1).sum()
