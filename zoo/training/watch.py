"""Watch the metric of a job after every validation: refuse an unknown name early, and prune trials of a search."""

from typing import TYPE_CHECKING

from lightning.pytorch import Callback, LightningModule, Trainer

from zoo.training.objective import unknown

if TYPE_CHECKING:
    from optuna import Trial


class Pruned(Exception):  # noqa: N818 - not an error: the trial ends early
    """Raised in a trial that is worse than the others at the same epoch.

    Attributes:
        epoch: number of epochs that were trained.
        value: the metric after that epoch.
    """

    def __init__(self, epoch: int, value: float):
        super().__init__(f"pruned after epoch {epoch}")
        self.epoch = epoch
        self.value = value


class WatchMetric(Callback):
    """Reports a validation metric to a search after each epoch, and stops the fit if the search prunes the trial.

    Args:
        metric: name of the metric, such as "val/accuracy".
        trial: the trial of the search; None: only the name of the metric is checked.
    """

    def __init__(self, metric: str, trial: "Trial | None" = None):
        self.metric = metric
        self.trial = trial
        # A resumed trial repeats the epochs since its last checkpoint, whose values are stored already.
        self.reported = (
            set() if trial is None else set(trial.study.get_trials(deepcopy=False)[trial.number].intermediate_values)
        )

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report the metric.

        Raises:
            ValueError: the task does not log the metric.
            Pruned: the search prunes the trial.
        """
        # A check of the validation before training (trainer.num_sanity_val_steps) is not an epoch.
        if trainer.sanity_checking:
            return
        if self.metric not in trainer.callback_metrics:
            if self.metric.startswith("val/"):
                raise unknown(self.metric, trainer.callback_metrics)
            return
        if self.trial is None:
            return
        value = float(trainer.callback_metrics[self.metric])
        epoch = trainer.current_epoch + 1
        if epoch not in self.reported:
            self.trial.report(value, epoch)
            self.reported.add(epoch)
        # Do not prune after the last epoch: that would save no time, and lose the metrics of a finished trial.
        is_last = trainer.max_epochs is not None and epoch >= trainer.max_epochs
        if not is_last and self.trial.should_prune():
            raise Pruned(epoch, value)
