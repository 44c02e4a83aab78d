"""Lightning callbacks: save checkpoints, stop on NaN, stop at a low loss, average the weights.

`zoo.training.fit.trainer.Fit.train` switches each callback on, if the stage asks for it. A new callback with a key in
the config needs: its class here, a line in `Fit.train`, the key in `Stage` (``zoo/config/schemas.py``), a field of
`StagePlan` (``zoo/training/plan.py``), and its check and value in ``zoo/training/checks/stage_checks.py``.
"""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, EarlyStopping, WeightAveraging
from torch.nn.utils import get_total_norm

from zoo.data.splits import seed_from
from zoo.training import signals
from zoo.training.resume import last_checkpoint
from zoo.training.signals import Stopped, StopRequest

LOG_EVERY = 50  # steps between rows of metrics.csv, but there is at least one row per epoch


class OutOfTime(Exception):  # noqa: N818 - not an error
    """Raised when the time that a run may take is over; ``last.ckpt`` was written."""


class KeepSignalHandlers(Callback):
    """Keeps the signal handlers of `zoo.training.signals`, which Lightning replaces when it starts a loop."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        signals.reinstall()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        signals.reinstall()

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        signals.reinstall()


class SaveForResume(Checkpoint):
    """Saves ``last.ckpt`` at intervals of epochs, steps or minutes, at the end, and when the run is asked to stop.

    It adds the name of the fit, whether it was stopped early, and the state of the random number generators, which
    Lightning does not save. It is a `Checkpoint`, since Lightning calls those after all other callbacks at the end of
    an epoch: so the saved state of early stopping includes the epoch.

    Within an epoch it does not save on logging steps: Lightning writes their row of metrics.csv after this callback,
    so a resumed run would lack the row. It does not save either while gradients are accumulated, since a checkpoint
    has no gradients.

    Args:
        name: name of the fit.
        last: the file to write.
        every, every_steps, every_minutes: epochs, steps and minutes between checkpoints; 0 or None: no interval.
        stop: the stop request that the signal handler sets.
        deadline: the time of `time.monotonic` after which to save and raise `OutOfTime`; None: no limit.
        within_epochs: whether to save within epochs, too.
    """

    def __init__(
        self,
        name: str,
        last: Path,
        *,
        every: int,
        every_steps: int | None,
        every_minutes: float | None,
        stop: StopRequest,
        deadline: float | None = None,
        within_epochs: bool = True,
    ):
        self.name = name
        self.last = last
        self.every = every
        self.every_steps = every_steps
        self.every_minutes = every_minutes
        self.stop = stop
        self.deadline = deadline
        self.within_epochs = within_epochs
        self.rng: dict[str, Any] | None = None  # state in the checkpoint that the fit resumes from
        self.ended_early = False  # whether that checkpoint is of a fit that early stopping has ended
        self.saved_step = 0
        self.saved_time = time.monotonic()

    # Decide when to save

    def on_train_batch_end(self, trainer: Trainer, *rest: Any) -> None:
        """Save within an epoch, if enough steps or minutes have passed since the last checkpoint."""
        # Skip logging steps (see the class), and the last batch of an epoch, which `on_train_epoch_end` handles.
        interval = _log_interval(trainer)
        if trainer.is_last_batch or trainer.global_step % interval == 0:
            return
        # A step has the gradients of several batches. ``rest`` ends with the index of the batch.
        if not self.within_epochs or (rest[-1] + 1) % trainer.accumulate_grad_batches:
            return
        # Steps and minutes since the last checkpoint.
        steps = trainer.global_step - self.saved_step
        minutes = (time.monotonic() - self.saved_time) / 60
        due_by_steps = self.every_steps is not None and steps >= self.every_steps
        due_by_time = self.every_minutes is not None and minutes >= self.every_minutes
        self._save_if(trainer, due=due_by_steps or due_by_time)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save every ``every`` epochs, and at the end of the fit: what follows may be stopped, too."""
        epoch = trainer.current_epoch + 1
        due = bool(self.every) and epoch % self.every == 0
        at_end = trainer.should_stop or epoch == trainer.max_epochs
        self._save_if(trainer, due=due or at_end, at_end=at_end)

    def _save_if(self, trainer: Trainer, *, due: bool, at_end: bool = False) -> None:
        """Save if it is due, the time is over or the run was asked to stop.

        Raise `Stopped` in the last case, and `OutOfTime` if the time is over, unless the fit is at its end.
        """
        stop = self.stop.signal or 0
        late = self.deadline is not None and not at_end and time.monotonic() >= self.deadline
        # Each process has its own clock and signals, but all must save together: if one saves or stops, all do.
        if trainer.world_size > 1:
            decision = torch.tensor([float(due), float(stop), float(late)], device=trainer.strategy.root_device)
            torch.distributed.all_reduce(decision, torch.distributed.ReduceOp.MAX)
            due = bool(decision[0])
            stop = int(decision[1])
            late = bool(decision[2])
        if due or stop or late:
            for logger in trainer.loggers:
                logger.save()
            trainer.save_checkpoint(self.last)
            self.saved_step = trainer.global_step
            self.saved_time = time.monotonic()
            self._remove_best_of_others()
        if stop:
            run = self.last.parent.parent
            raise Stopped(stop, f"stopped at step {trainer.global_step} of {self.name}; continue with resume={run}")
        if late:
            raise OutOfTime(f"trainer.max_time: stopped at step {trainer.global_step} of {self.name}")

    def _remove_best_of_others(self) -> None:
        """Remove the best weights of earlier fits, which were needed while ``last.ckpt`` belonged to one of them."""
        for path in self.last.parent.glob("best.*.ckpt"):
            if path.name != f"best.{self.name}.ckpt":
                path.unlink(missing_ok=True)

    # Save and restore the state

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint["fit"] = self.name
        checkpoint["ended_early"] = trainer.should_stop

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        # Checkpoints of earlier versions lack the entry.
        self.ended_early = checkpoint.get("ended_early", False)

    def state_dict(self) -> dict[str, Any]:
        cuda = torch.cuda.get_rng_state() if torch.cuda.is_available() else None
        return {"cpu": torch.get_rng_state(), "cuda": cuda}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rng = state_dict

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check the restored optimizers, and restore the generators after all setup code that consumes numbers."""
        # A fit that has ended early trains no further epoch.
        if self.ended_early:
            trainer.should_stop = True
        if self.rng is not None:
            last_checkpoint.check_optimizers(self.last, trainer.optimizers)
            torch.set_rng_state(self.rng["cpu"].cpu())
            if self.rng["cuda"] is not None and torch.cuda.is_available():
                torch.cuda.set_rng_state(self.rng["cuda"].cpu())
        # Seed each process differently, so that dropout and persistent chains differ between processes.
        if trainer.global_rank:
            torch.manual_seed(seed_from(torch.initial_seed(), trainer.global_rank, trainer.global_step))


class StopOnNonFinite(Callback):
    """Stops before a NaN or Inf reaches the weights or a checkpoint."""

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: torch.Tensor) -> None:
        # With several processes, check the gradient instead: after all-reduce every process sees the NaN and stops.
        if trainer.world_size == 1 and not torch.isfinite(loss):
            raise ValueError(self._message(trainer, f"the loss is {loss.item()}"))

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        # With float16, overflowing gradients are normal: the gradient scaler detects them and skips the step.
        if trainer.precision == "16-mixed":
            return
        gradients = {name: p.grad for name, p in pl_module.named_parameters() if p.grad is not None}
        # Check one global norm first, which is fast. It may overflow although no gradient does: then check each one.
        if gradients and not torch.isfinite(get_total_norm(list(gradients.values()))):
            bad = _first_non_finite(gradients)
            if bad is not None:
                raise ValueError(self._message(trainer, f"the gradient of {bad} is not finite"))

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._check_weights(trainer, pl_module.state_dict())

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self._check_weights(trainer, checkpoint["state_dict"])

    def _check_weights(self, trainer: Trainer, weights: Mapping[str, torch.Tensor]) -> None:
        bad = _first_non_finite(weights)
        if bad is not None:
            raise ValueError(self._message(trainer, f"{bad} is not finite"))

    def _message(self, trainer: Trainer, what: str) -> str:
        where = f"at step {trainer.global_step} (epoch {trainer.current_epoch})"
        saved = Path(trainer.default_root_dir, "last.ckpt").is_file()
        last = "the last checkpoint precedes this step and is intact" if saved else "nothing was saved yet"
        return f"{what} {where}: lower lr=, or set the stage's gradient_clip; {last}"


class EMA(WeightAveraging):
    """Exponential moving average of weights and buffers. Values that do not change stay bit-identical.

    Args:
        decay: decay per step, in [0, 1).
    """

    def __init__(self, decay: float):
        super().__init__(multi_avg_fn=_average_with(decay))

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Lightning does not call `on_train_end` when a run is resumed after its last epoch, so do it here."""
        self.on_train_end(trainer, pl_module)


class StopBelow(EarlyStopping):
    """Stops once the validation loss is below a threshold.

    A separate class, since Lightning allows one `EarlyStopping` per fit, and the key ``patience`` already uses it.

    Args:
        threshold: training stops when ``val/loss`` is below this.
        epochs: number of epochs of the fit, used as the patience, so that only the threshold stops it.
    """

    def __init__(self, threshold: float, *, epochs: int):
        super().__init__("val/loss", stopping_threshold=threshold, patience=epochs, check_finite=False)


def _average_with(decay: float) -> Callable[[Any, Any, Any], None]:
    """Return a function that computes, in place, averages <- decay * averages + (1 - decay) * values."""

    @torch.no_grad()
    def average(averages: Any, values: Any, count: Any) -> None:
        # All tensors of a call have the same dtype. Copy integer buffers, such as the batch counter of batch
        # normalization, instead of averaging them.
        if averages[0].is_floating_point():
            torch._foreach_lerp_(averages, values, 1 - decay)
        else:
            torch._foreach_copy_(averages, values)

    return average


def _first_non_finite(named: Mapping[str, torch.Tensor]) -> str | None:
    """The name of the first tensor with a NaN or Inf."""
    return next((name for name, value in named.items() if not torch.isfinite(value).all()), None)


def _log_interval(trainer: Trainer) -> int:
    """Steps between rows of metrics.csv; Lightning sets the attribute dynamically, so type checkers do not know it."""
    interval: int = vars(trainer)["log_every_n_steps"]
    return interval
