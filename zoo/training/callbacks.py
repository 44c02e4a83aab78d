"""What watches a fit: when it is saved and stops, that its numbers stay finite, the average of its weights."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, WeightAveraging
from torch.nn.utils import get_total_norm

from zoo.data.splits import seed_from
from zoo.training.signals import Request, Stopped

LOG_EVERY = 50  # steps, but at least once an epoch


class Resumable(Callback):
    """Writes ``last.ckpt`` every so many epochs, steps or minutes, and when the run is asked to stop.

    With it goes what Lightning leaves out: the fit's name and the state of chance.

    What is written within an epoch is written after a step that is no row of the history, whose row would come later.
    """

    def __init__(
        self,
        name: str,
        last: Path,
        *,
        every: int = 1,
        every_steps: int | None = None,
        every_minutes: float | None = None,
        request: Request | None = None,
    ):
        self.name, self.last = name, last
        self.every, self.every_steps, self.every_minutes = every, every_steps, every_minutes
        self.request = request or Request()
        self.rng: dict[str, Any] | None = None
        self.saved = (0, time.monotonic())  # the step and the time of the last checkpoint

    def on_train_batch_end(self, trainer: Trainer, *rest: Any) -> None:
        if trainer.is_last_batch or trainer.global_step % trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            return
        steps, seconds = trainer.global_step - self.saved[0], time.monotonic() - self.saved[1]
        due = self.every_steps is not None and steps >= self.every_steps
        due = due or (self.every_minutes is not None and seconds >= 60 * self.every_minutes)
        self._save(trainer, due=due)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._save(trainer, due=bool(self.every) and (trainer.current_epoch + 1) % self.every == 0)

    def _save(self, trainer: Trainer, *, due: bool) -> None:
        """Save if it is due or the run is to stop, all processes alike."""
        stop = self.request.signal or 0
        if trainer.world_size > 1:  # clocks and signals are each process's own
            most = torch.tensor([float(due), float(stop)], device=trainer.strategy.root_device)
            torch.distributed.all_reduce(most, torch.distributed.ReduceOp.MAX)
            due, stop = bool(most[0]), int(most[1])
        if due or stop:
            for logger in trainer.loggers:
                logger.save()
            trainer.save_checkpoint(self.last)
            self.saved = (trainer.global_step, time.monotonic())
        if stop:
            run = self.last.parent.parent
            raise Stopped(stop, f"stopped at step {trainer.global_step} of {self.name}; go on with resume={run}")

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint["fit"] = self.name

    def state_dict(self) -> dict[str, Any]:
        cuda = torch.cuda.get_rng_state() if torch.cuda.is_available() else None
        return {"cpu": torch.get_rng_state(), "cuda": cuda}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rng = state_dict

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.rng is not None:  # after everything else that draws while a fit is set up
            torch.set_rng_state(self.rng["cpu"].cpu())
            if self.rng["cuda"] is not None and torch.cuda.is_available():
                torch.cuda.set_rng_state(self.rng["cuda"].cpu())
        if trainer.global_rank:  # else all processes would draw the same dropout, and the same persistent chains
            torch.manual_seed(seed_from(torch.initial_seed(), trainer.global_rank, trainer.global_step))


class Finite(Callback):
    """Stops before the step that would spread a value that is no number over all weights, and before it is saved."""

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: torch.Tensor) -> None:
        if trainer.world_size == 1 and not torch.isfinite(loss):  # of several processes, all get the bad gradient
            raise ValueError(self._message(trainer, f"the loss is {loss.item()}"))

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        if trainer.precision == "16-mixed":
            return  # gradients that overflow are what its scaler looks for
        named = {name: p.grad for name, p in pl_module.named_parameters() if p.grad is not None}
        if named and not torch.isfinite(get_total_norm(list(named.values()))):  # or large enough to overflow the norm
            bad = _first_bad(named)
            if bad is not None:
                raise ValueError(self._message(trainer, f"the gradient of {bad} is not finite"))

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        bad = _first_bad(checkpoint["state_dict"])
        if bad is not None:
            raise ValueError(self._message(trainer, f"{bad} is not finite"))

    def _message(self, trainer: Trainer, what: str) -> str:
        where = f"at step {trainer.global_step} (epoch {trainer.current_epoch})"
        return f"{what} {where}: lower lr=, or set the stage's gradient_clip; the last checkpoint is from before"


def _first_bad(named: Mapping[str, torch.Tensor]) -> str | None:
    """The name of the first tensor with a value that is not finite."""
    return next((name for name, value in named.items() if not torch.isfinite(value).all()), None)


class Average(WeightAveraging):
    """Exponential moving average of weights and buffers: it leaves what does not move as it is, to the last bit."""

    def __init__(self, decay: float):
        @torch.no_grad()
        def mean(averages: Any, values: Any, count: Any) -> None:  # of one type
            if averages[0].is_floating_point():
                torch._foreach_lerp_(averages, values, 1 - decay)
            else:
                torch._foreach_copy_(averages, values)

        super().__init__(multi_avg_fn=mean)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.on_train_end(trainer, pl_module)  # which Lightning leaves out where a run goes on after its last epoch


class LowEnough(EarlyStopping):
    """Of another name, since a fit may have both."""
