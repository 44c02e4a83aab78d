"""How a task's parameters move: an optimizer, and the course of its learning rate.

Every course is a function of the step counted from the config, not from the trainer, so a resumed run follows it on.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import cos, pi
from typing import Any

from lightning.pytorch import LightningModule
from torch.nn import Parameter
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

__all__ = ["constant", "cosine", "one_cycle", "plateau"]  # what a config may name

Course = Callable[[Optimizer, int], dict[str, Any]]


@dataclass(frozen=True)
class Optimization:
    """What `configure_optimizers` needs.

    Attributes:
        optimizer: makes one from parameters.
        lr_schedule: makes Lightning's scheduler entry from an optimizer and the total number of steps.
        total_steps: batches of the whole fit.
    """

    optimizer: Callable[[Iterable[Parameter] | list[dict[str, Any]]], Optimizer]
    lr_schedule: Course
    total_steps: int

    def __call__(self, parameters: Iterable[Parameter] | list[dict[str, Any]]) -> Any:
        """What `configure_optimizers` returns. A group of parameters may have an ``lr_factor`` for its rate."""
        optimizer = self.optimizer(parameters)
        for group in optimizer.param_groups:
            group["lr"] *= group.pop("lr_factor", 1)
        entry = self.lr_schedule(optimizer, self.total_steps)
        return {"optimizer": optimizer, "lr_scheduler": entry} if entry else optimizer


def is_logging_step(task: LightningModule) -> bool:
    """Whether the trainer writes this step down; `log` on all the others would take a tenth of a small net's time."""
    every = task.trainer.log_every_n_steps  # type: ignore[attr-defined]
    return bool(every) and (task.global_step + 1) % every == 0


def constant(optimizer: Optimizer, total_steps: int) -> dict[str, Any]:
    """The optimizer's own rate throughout."""
    return {}


def one_cycle(optimizer: Optimizer, total_steps: int, *, warmup: float = 0.25) -> dict[str, Any]:
    """From 1/25 of the rate up to it over the fraction ``warmup`` of the steps, then down to nothing, both along
    half a cosine (Smith & Topin 2018)."""

    def factor(step: int) -> float:
        peak = warmup * total_steps
        if step < peak:
            return 1 / 25 + (1 - 1 / 25) * _half_cosine(1 - step / peak)
        return _half_cosine((step - peak) / max(1, total_steps - peak))

    return {"scheduler": LambdaLR(optimizer, factor), "interval": "step"}


def cosine(optimizer: Optimizer, total_steps: int, *, warmup: float = 0.0) -> dict[str, Any]:
    """Up from 0 in a straight line over the fraction ``warmup`` of the steps, then down along half a cosine
    (Loshchilov & Hutter 2017)."""

    def factor(step: int) -> float:
        peak = warmup * total_steps
        if step < peak:
            return (step + 1) / (peak + 1)
        return _half_cosine((step - peak) / max(1, total_steps - peak))

    return {"scheduler": LambdaLR(optimizer, factor), "interval": "step"}


def plateau(optimizer: Optimizer, total_steps: int, *, factor: float = 0.1, patience: int = 3) -> dict[str, Any]:
    """Times ``factor`` whenever the validation loss has not fallen for ``patience`` epochs."""
    scheduler = ReduceLROnPlateau(optimizer, factor=factor, patience=patience)
    return {"scheduler": scheduler, "interval": "epoch", "monitor": "val/loss"}


def _half_cosine(fraction: float) -> float:
    return (1 + cos(pi * min(1.0, fraction))) / 2  # 1 at 0, 0 at 1
