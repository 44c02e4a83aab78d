"""How a task's parameters are updated: an optimizer, and a schedule of its learning rate.

A schedule is a function of the step and of the total number of steps, both counted over the whole fit, so a resumed run
continues on the same curve. May import torch and Lightning.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import cos, pi
from typing import Any, ClassVar, Protocol, cast

from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch.nn import Parameter
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

# What a config may name as a learning-rate schedule.
__all__ = ["Constant", "Cosine", "OneCycle", "Plateau"]


class LRSchedule(Protocol):
    """A learning-rate schedule."""

    needs_validation: ClassVar[bool]  # whether it reads "val/loss"

    def __call__(self, optimizer: Optimizer, total_steps: int) -> dict[str, Any]:
        """Lightning's scheduler entry for ``optimizer``; an empty one leaves the learning rate as it is."""
        ...


@dataclass(frozen=True)
class Optimization:
    """What `configure_optimizers` needs.

    Attributes:
        optimizer: makes an optimizer from parameters or groups of parameters.
        lr_schedule: a schedule of this module, or a function with the same arguments.
        total_steps: number of batches of the whole fit.
    """

    optimizer: Callable[[Iterable[Parameter] | list[dict[str, Any]]], Optimizer]
    lr_schedule: Callable[[Optimizer, int], dict[str, Any]]
    total_steps: int

    def __call__(self, parameters: Iterable[Parameter] | list[dict[str, Any]]) -> OptimizerLRScheduler:
        """What `configure_optimizers` returns.

        Args:
            parameters: a list, or groups; a group may have an ``lr_factor``, which multiplies its learning rate.
        """
        optimizer = self.optimizer(parameters)

        # Give every group its own learning rate. The schedule then scales all of them alike.
        for group in optimizer.param_groups:
            group["lr"] *= group.pop("lr_factor", 1)
        # An empty entry means a constant learning rate: Lightning then needs the optimizer alone.
        entry = self.lr_schedule(optimizer, self.total_steps)
        if not entry:
            return optimizer
        return cast(OptimizerLRScheduler, {"optimizer": optimizer, "lr_scheduler": entry})


def is_logging_step(task: LightningModule) -> bool:
    """Whether the trainer logs this step. Calling `log` at all other steps would cost a tenth of a small net's time."""
    # With 50, the 50th, 100th, 150th step is logged, and so on.
    every: int = cast(Any, task.trainer).log_every_n_steps  # which Lightning sets, but does not declare
    return bool(every) and (task.global_step + 1) % every == 0


@dataclass(frozen=True, kw_only=True)
class Constant:
    """The optimizer's own learning rate throughout."""

    needs_validation: ClassVar[bool] = False

    def __call__(self, optimizer: Optimizer, total_steps: int) -> dict[str, Any]:
        return {}


@dataclass(frozen=True, kw_only=True)
class OneCycle:
    """From 1/25 of the learning rate up to it, then down to 0, both along half a cosine (Smith & Topin 2018).

    Args:
        warmup: fraction of the steps in which the learning rate rises, in [0, 1].
    """

    warmup: float = 0.25

    needs_validation: ClassVar[bool] = False

    def __call__(self, optimizer: Optimizer, total_steps: int) -> dict[str, Any]:
        peak = self.warmup * total_steps  # the step with the maximum learning rate

        def factor(step: int) -> float:
            # Half a cosine up from 1/25, then half a cosine down to 0.
            if step < peak:
                return 1 / 25 + (1 - 1 / 25) * _half_cosine(1 - step / peak)
            return _half_cosine((step - peak) / max(1, total_steps - peak))

        return {"scheduler": LambdaLR(optimizer, factor), "interval": "step"}


@dataclass(frozen=True, kw_only=True)
class Cosine:
    """Up from 0 in a straight line, then down to 0 along half a cosine (Loshchilov & Hutter 2017).

    Args:
        warmup: fraction of the steps in which the learning rate rises, in [0, 1].
    """

    warmup: float = 0.0

    needs_validation: ClassVar[bool] = False

    def __call__(self, optimizer: Optimizer, total_steps: int) -> dict[str, Any]:
        peak = self.warmup * total_steps  # the step with the maximum learning rate

        def factor(step: int) -> float:
            # A straight line up, of which the first step is already above 0; then half a cosine down to 0.
            if step < peak:
                return (step + 1) / (peak + 1)
            return _half_cosine((step - peak) / max(1, total_steps - peak))

        return {"scheduler": LambdaLR(optimizer, factor), "interval": "step"}


@dataclass(frozen=True, kw_only=True)
class Plateau:
    """Multiplies the learning rate whenever the validation loss has stopped falling.

    Args:
        factor: that it is multiplied by, in (0, 1).
        patience: number of epochs without a lower validation loss before that.
    """

    factor: float = 0.1
    patience: int = 3

    needs_validation: ClassVar[bool] = True

    def __call__(self, optimizer: Optimizer, total_steps: int) -> dict[str, Any]:
        # Lightning calls it with the monitored value at the end of every epoch.
        scheduler = ReduceLROnPlateau(optimizer, factor=self.factor, patience=self.patience)
        return {"scheduler": scheduler, "interval": "epoch", "monitor": "val/loss"}


def _half_cosine(fraction: float) -> float:
    """1 at 0, 0 at 1 and beyond."""
    return (1 + cos(pi * min(1.0, fraction))) / 2
