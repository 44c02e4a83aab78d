"""Optimizers and learning-rate schedules of tasks.

`OneCycle` and `Cosine` depend only on the step and on the total number of steps, both counted over the whole fit, so a
resumed run continues on the same curve. To add a schedule, write a class with the methods of `LRSchedule` and add its
name to ``__all__``. May import torch and Lightning.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import cos, pi
from typing import Any, ClassVar, Protocol, cast

from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, ReduceLROnPlateau

# The schedules that a config may name.
__all__ = ["Constant", "Cosine", "OneCycle", "Plateau"]


class LRSchedule(Protocol):
    """A learning-rate schedule."""

    needs_validation: ClassVar[bool]  # whether the schedule reads "val/loss"

    def __call__(self, optimizer: Optimizer, total_steps: int) -> dict[str, Any]:
        """Lightning's scheduler entry for ``optimizer``; empty for a constant learning rate.

        Args:
            optimizer: the optimizer whose learning rate is scheduled.
            total_steps: number of steps of the whole fit.
        """
        ...


# A function that makes an optimizer from a list of parameters, or from groups of them.
MakeOptimizer = Callable[[Any], Optimizer]
# A function of the optimizer and the number of steps, such as an `LRSchedule`.
MakeSchedule = Callable[[Optimizer, int], LRScheduler | dict[str, Any]]


def configure(
    optimizer: Optimizer, lr_schedule: MakeSchedule | None, total_steps: Callable[[], int]
) -> OptimizerLRScheduler:
    """The optimizer and its schedule, in the form that `configure_optimizers` returns.

    Args:
        optimizer: the optimizer; a group may have an ``lr_factor``, which multiplies its learning rate.
        lr_schedule: called with the optimizer and the number of steps. It returns a scheduler of
            `torch.optim.lr_scheduler`, which Lightning then steps once per epoch; or the dictionary in which Lightning
            takes a scheduler with its ``interval``; or {}. None: a constant learning rate.
        total_steps: returns the number of steps of the whole fit; called only if there is a schedule.
    """
    # Give every group its own learning rate. The schedule then multiplies all of them by the same factor.
    for group in optimizer.param_groups:
        group["lr"] *= group.pop("lr_factor", 1)
    # For a constant learning rate, Lightning needs the optimizer only.
    entry = None if lr_schedule is None else lr_schedule(optimizer, total_steps())
    if not entry:
        return optimizer
    return cast(OptimizerLRScheduler, {"optimizer": optimizer, "lr_scheduler": entry})


def is_logging_step(task: LightningModule) -> bool:
    """Whether the trainer logs this step.

    Calling `log` in every step would take a tenth of the training time of a small net.
    """
    # With ``log_every_n_steps=50``, steps 50, 100, 150 and so on are logged.
    every: int = cast(Any, task.trainer).log_every_n_steps  # an attribute that Lightning sets without declaring it
    return bool(every) and (task.global_step + 1) % every == 0


@dataclass(frozen=True, kw_only=True)
class Constant:
    """A constant learning rate: that of the optimizer."""

    needs_validation: ClassVar[bool] = False

    def __call__(self, optimizer: Optimizer, total_steps: int) -> dict[str, Any]:
        return {}


@dataclass(frozen=True, kw_only=True)
class OneCycle:
    """Rises from 1/25 of the learning rate to the learning rate, then falls to 0, both along half a cosine.

    Smith & Topin 2018, "Super-convergence".

    Args:
        warmup: fraction of the steps in which the learning rate rises, in [0, 1].

    Raises:
        ValueError: ``warmup`` is outside its range.
    """

    warmup: float = 0.25

    needs_validation: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _check_warmup(self.warmup)

    def __call__(self, optimizer: Optimizer, total_steps: int) -> dict[str, Any]:
        peak = self.warmup * total_steps  # the step with the maximum learning rate

        def factor(step: int) -> float:
            # Rise along half a cosine from 1/25 to 1, then fall along half a cosine to 0.
            if step < peak:
                return 1 / 25 + (1 - 1 / 25) * _half_cosine(1 - step / peak)
            return _half_cosine((step - peak) / max(1, total_steps - peak))

        return {"scheduler": LambdaLR(optimizer, factor), "interval": "step"}


@dataclass(frozen=True, kw_only=True)
class Cosine:
    """Rises linearly from 0 to the learning rate, then falls to 0 along half a cosine (Loshchilov & Hutter 2017).

    Args:
        warmup: fraction of the steps in which the learning rate rises, in [0, 1].

    Raises:
        ValueError: ``warmup`` is outside its range.
    """

    warmup: float = 0.0

    needs_validation: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _check_warmup(self.warmup)

    def __call__(self, optimizer: Optimizer, total_steps: int) -> dict[str, Any]:
        peak = self.warmup * total_steps  # the step with the maximum learning rate

        def factor(step: int) -> float:
            # Rise linearly, with the first step already above 0; then fall along half a cosine to 0.
            if step < peak:
                return (step + 1) / (peak + 1)
            return _half_cosine((step - peak) / max(1, total_steps - peak))

        return {"scheduler": LambdaLR(optimizer, factor), "interval": "step"}


@dataclass(frozen=True, kw_only=True)
class Plateau:
    """Multiplies the learning rate by ``factor`` whenever the validation loss has stopped falling.

    Args:
        factor: factor that the learning rate is multiplied by, in (0, 1).
        patience: number of consecutive epochs without a lower validation loss that are tolerated. The learning rate is
            reduced after one more such epoch.

    Raises:
        ValueError: ``factor`` or ``patience`` is outside its range.
    """

    factor: float = 0.1
    patience: int = 3

    needs_validation: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0 < self.factor < 1:
            raise ValueError(f"factor={self.factor} must be in (0, 1)")
        if self.patience < 0:
            raise ValueError(f"patience={self.patience} must be >= 0")

    def __call__(self, optimizer: Optimizer, total_steps: int) -> dict[str, Any]:
        # Lightning passes the monitored value to the scheduler at the end of every epoch.
        scheduler = ReduceLROnPlateau(optimizer, factor=self.factor, patience=self.patience)
        return {"scheduler": scheduler, "interval": "epoch", "monitor": "val/loss"}


def _check_warmup(warmup: float) -> None:
    """Raise ValueError unless the fraction of the steps is in [0, 1]."""
    if not 0 <= warmup <= 1:
        raise ValueError(f"warmup={warmup} must be in [0, 1]")


def _half_cosine(fraction: float) -> float:
    """Half a cosine that falls from 1 at fraction 0 to 0 at fraction 1, and stays 0 after that."""
    return (1 + cos(pi * min(1.0, fraction))) / 2
