"""The base class of all tasks: a LightningModule that trains some or all parameters of a net.

May import Lightning, torchmetrics, `zoo.protocols`, `zoo.data` and its neighbors in this folder.
"""

from collections.abc import Mapping, Sequence
from math import nan
from typing import Any, ClassVar, cast

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer
from torchmetrics import MeanMetric, Metric, MetricCollection

from zoo.data.datamodule import DataModule
from zoo.tasks.batch_checks import refuse_mapping
from zoo.tasks.freezing import check_trained, hold, release
from zoo.tasks.layer_input import LayerInput
from zoo.tasks.optimization import MakeOptimizer, MakeSchedule, configure

Batch = Sequence[Tensor] | Tensor  # (x, y); tasks without targets also take (x,) and x


class Task(LightningModule):
    """Abstract: trains and evaluates a net. A subclass sets ``net`` and defines the steps.

    During a fit, only the parameters of `trainable_parameters` require gradients. DDP needs this: it raises an error if
    a parameter that requires a gradient does not receive one. A parameter that required none before the fit is not
    trained.

    Args:
        optimizer: function that makes the optimizer from parameters or groups of parameters; None: that of
            `default_optimizer`.
        lr_schedule: function of the optimizer and the number of steps that makes a learning-rate schedule
            (`zoo.tasks.optimization.configure`); None: a constant learning rate.
        total_steps: number of optimizer steps of the whole fit, for the schedule; None: as the trainer estimates it.

    Class attributes, read before a task is built:
        targets: the targets that the data must have besides inputs: "classes", "labels" (any number of labels per
            example), "values" or "none".
        monitor: the metric by which epochs and runs are compared, such as "val/accuracy".
        mode: "max" or "min": which value of ``monitor`` is better.
        has_validation_loss: whether the task logs "val/loss", which a schedule or ``stop_below`` may read.
        refused_precisions: the precisions of Lightning that do not work for the task, each with the reason.

    Attributes:
        net: the whole net, even if only one layer is trained.
        lr: learning rate that replaces that of the optimizer; None: not replaced. Lightning's `LearningRateFinder` sets
            it.
        layer_input: computes the features of lower layers if the task trains on them; otherwise None.
        means: the metrics of `log_mean` by name, and the metrics of further loaders.
        loader: the number of the DataLoader whose batch is evaluated; 0 if there is one.
        first_batch: whether the current batch is the first of a DataLoader that is not the zoo's: it is checked.
    """

    targets: ClassVar[str]
    monitor: ClassVar[str]
    mode: ClassVar[str]
    has_validation_loss: ClassVar[bool] = True
    refused_precisions: ClassVar[Mapping[str, str]] = {}

    net: nn.Module
    lr: float | None = None
    layer_input: LayerInput | None = None
    loader: int = 0
    first_batch: bool = False

    def __init__(
        self,
        *,
        optimizer: MakeOptimizer | None = None,
        lr_schedule: MakeSchedule | None = None,
        total_steps: int | None = None,
    ) -> None:
        super().__init__()
        self.optimizer = optimizer
        self.lr_schedule = lr_schedule
        self.total_steps = total_steps
        self._configured_lr: float | None = None
        self.means = nn.ModuleDict()
        self._checked: set[tuple[str, int]] = set()  # the DataLoaders of which a batch was checked

    def __setattr__(self, name: str, value: Any) -> None:
        # Lightning notes the name of each hook that it calls, dozens of times a step. A module would first look whether
        # the value is a parameter or a module.
        if name == "_current_fx_name":
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    # Methods that a subclass may override

    def trainable_parameters(self) -> list[nn.Parameter]:
        """The parameters that are trained; by default all parameters of the net."""
        return list(self.net.parameters())

    def parameter_groups(self) -> list[Any]:
        """The trainable parameters for the optimizer: a plain list, or parameter groups with their own options."""
        return self.trainable_parameters()

    def default_optimizer(self, parameters: Any) -> Optimizer:
        """The optimizer that is used if none was given; by default AdamW with a learning rate of 0.001."""
        return torch.optim.AdamW(parameters, lr=1e-3)

    def training_plan(self) -> dict[str, int | None]:
        """For each layer group by name, the first epoch in which it is trained (None: never).

        Empty for tasks that freeze no layers.
        """
        return {}

    def check_inputs(self, x: Tensor) -> None:
        """Raise ValueError if the task does not work for the inputs. ``x``: preprocessed examples, N x in_shape."""

    def check_batch(self, batch: Batch) -> None:
        """Raise ValueError if the task cannot use a batch; called for the first one of each DataLoader of others."""
        refuse_mapping(batch)

    def check_targets(self, num_outputs: int) -> None:
        """Raise ValueError if the task does not work for data with ``num_outputs`` classes or target values."""

    def begin_epoch(self) -> None:
        """Called at the start of each epoch, and when a run is resumed within an epoch."""

    # Methods and hooks that Lightning calls

    def forward(self, x: Tensor) -> Any:
        """The outputs of the net: N x in_shape -> those of ``net(x)``."""
        return self.net(x)

    def predict_step(self, batch: Batch, batch_idx: int) -> Any:
        """The outputs of the net for the inputs of a batch; its labels are not used."""
        return self(inputs_and_labels(batch)[0])

    def setup(self, stage: str) -> None:
        """Require gradients for the trainable parameters only. Those that the user froze stay frozen.

        Raises:
            ValueError: no parameter would be trained.
        """
        self._checked.clear()
        # Evaluation needs no gradients.
        if stage != "fit":
            return
        trainable = self.trainable_parameters()
        others = set(self.net.parameters()).difference(trainable)
        release(trainable)
        hold(others)
        check_trained(self.net, trainable)

    def on_fit_start(self) -> None:
        # `LearningRateFinder` has set `lr`: use it as the base of the schedule and of the factors of layers, too.
        if self.lr != self._configured_lr:
            self.trainer.strategy.setup_optimizers(self.trainer)

    def on_train_start(self) -> None:
        # Lightning does not call `on_train_epoch_start` when it resumes within an epoch.
        if self.trainer.fit_loop.restarted_mid_epoch:
            self.begin_epoch()

    def on_train_epoch_start(self) -> None:
        self.begin_epoch()

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        self._begin_batch(batch, "train", 0)
        if self.first_batch:
            self.check_inputs(inputs_and_labels(batch)[0])

    def on_validation_batch_start(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        self._begin_batch(batch, "val", dataloader_idx)

    def on_test_batch_start(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        self._begin_batch(batch, "test", dataloader_idx)

    def _begin_batch(self, batch: Batch, split: str, loader: int) -> None:
        """Check the first batch of each DataLoader of others. `zoo train` checks its data before it trains."""
        self.loader = loader
        self.first_batch = (split, loader) not in self._checked
        self.first_batch &= not isinstance(cast(Any, self.trainer).datamodule, DataModule)
        self._checked.add((split, loader))
        if self.first_batch:
            self.check_batch(batch)

    def on_validation_start(self) -> None:
        self._reset_metrics()

    def on_test_start(self) -> None:
        self._reset_metrics()

    def _reset_metrics(self) -> None:
        """Replace the empty states that `Trainer.validate` leaves: inference tensors, which a fit could not change."""
        for metric in (*self.children(), *self.means.values()):
            if isinstance(metric, Metric | MetricCollection) and not torch.is_inference_mode_enabled():
                metric.reset()

    def teardown(self, stage: str) -> None:
        """Restore the net: the parameters that the task froze require gradients again."""
        if stage == "fit":
            release(self.net.parameters())

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer = (self.optimizer or self.default_optimizer)(self.parameter_groups())
        if self.lr is not None:
            for group in optimizer.param_groups:
                group["lr"] = self.lr
        self._configured_lr = self.lr
        return configure(optimizer, self.lr_schedule, self._steps_of_fit)

    def _steps_of_fit(self) -> int:
        """Number of optimizer steps of the whole fit. Raises ValueError if it is neither given nor finite."""
        if self.total_steps is not None:
            return self.total_steps
        steps = float("inf") if self._trainer is None else self.trainer.estimated_stepping_batches
        if steps == float("inf"):
            raise ValueError(
                f"{type(self).__name__}: the learning-rate schedule needs the number of steps; set total_steps=, or "
                "max_epochs= or max_steps= of the Trainer"
            )
        return int(steps)

    # Methods that a subclass calls

    def log_mean(self, name: str, value: Tensor, count: int, *, prog_bar: bool = False) -> None:
        """Log the mean over an epoch.

        Each example counts once, in all processes together. Lightning's own mean rounds the number of examples per
        process down: with 51 and 50 examples in two processes it divides by 100.

        Args:
            name: such as "val/loss".
            value: a scalar, the mean over ``count`` examples.
            count: number of examples.
            prog_bar: whether the progress bar shows it.
        """
        # One metric for each name and loader. It sums over batches and, at the end of the epoch, over processes.
        key = f"{name}/dataloader_idx_{self.loader}" if self.loader else name
        if key not in self.means:
            # By default, torchmetrics leaves out a batch whose mean is NaN; then the mean of the rest would look fine.
            self.means[key] = MeanMetric(nan_strategy=nan).to(self.device)
        mean = cast(MeanMetric, self.means[key])
        mean.update(value.detach(), count)
        self.log(name, mean, on_step=False, on_epoch=True, prog_bar=prog_bar, metric_attribute=f"means.{key}")

    def of_loader(self, metrics: MetricCollection, split: str) -> MetricCollection:
        """The metrics of a split for the current DataLoader: ``metrics`` for the first one, else a copy for it alone.

        Lightning adds the number of the loader to the logged names if there are several: val/loss/dataloader_idx_1.
        """
        if not self.loader:
            return metrics
        key = f"{split}/dataloader_idx_{self.loader}"
        if key not in self.means:
            copy = metrics.clone()
            copy.reset()
            self.means[key] = copy
            self._metric_attributes = None  # Lightning lists the metrics again
        return cast(MetricCollection, self.means[key])


def inputs_and_labels(batch: Batch, *, needed: bool = False) -> tuple[Tensor, Tensor]:
    """The inputs of a batch, N x in_shape, and its labels; zeros (int64) if the batch has only inputs.

    Args:
        batch: ``(x, y)``, ``(x,)`` or x.
        needed: whether the net needs labels.

    Raises:
        ValueError: labels are needed, but the batch has only inputs; or the batch is a dictionary.
    """
    refuse_mapping(batch)
    x: Tensor = batch if isinstance(batch, Tensor) else batch[0]
    if not isinstance(batch, Tensor) and len(batch) > 1:
        return x, batch[1]
    if needed:
        raise ValueError("a net with label units needs batches (x, y) with class numbers y")
    return x, torch.zeros(len(x), dtype=torch.int64, device=x.device)
