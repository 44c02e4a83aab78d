"""The base class of all tasks: a LightningModule that trains some or all parameters of a net.

May import Lightning, torchmetrics, `zoo.protocols` and its neighbors in this folder.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, cast

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer
from torchmetrics import MeanMetric

from zoo.tasks.layer_input import LayerInput
from zoo.tasks.optimization import MakeOptimizer, MakeSchedule, configure


class Task(LightningModule):
    """Abstract: trains and evaluates a net. A subclass sets ``net`` and defines the steps.

    During a fit, only the parameters of `trainable_parameters` require gradients. DDP needs this: it raises an error if
    a parameter that requires a gradient does not receive one.

    Args:
        optimizer: function that makes the optimizer from parameters or groups of parameters; None: that of
            `default_optimizer`.
        lr_schedule: function of the optimizer and the number of steps that makes a learning-rate schedule
            (`zoo.tasks.optimization.configure`); None: a constant learning rate.
        total_steps: number of optimizer steps of the whole fit, for the schedule; None: as the trainer estimates it.

    Class attributes, read before a task is built:
        targets: the targets that the data must have besides inputs: "classes", "values" or "none".
        monitor: the metric by which epochs and runs are compared, such as "val/accuracy".
        mode: "max" or "min": which value of ``monitor`` is better.
        has_validation_loss: whether the task logs "val/loss", which a schedule or ``stop_below`` may read.
        refused_precisions: the precisions of Lightning that do not work for the task, each with the reason.

    Attributes:
        net: the whole net, even if only one layer is trained.
        layer_input: computes the features of lower layers if the task trains on them; otherwise None.
        means: the metrics of `log_mean` by name.
    """

    targets: ClassVar[str]
    monitor: ClassVar[str]
    mode: ClassVar[str]
    has_validation_loss: ClassVar[bool] = True
    refused_precisions: ClassVar[Mapping[str, str]] = {}

    net: nn.Module
    layer_input: LayerInput | None = None

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
        self.means = nn.ModuleDict()

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

    def check_targets(self, num_outputs: int) -> None:
        """Raise ValueError if the task does not work for data with ``num_outputs`` classes or target values."""

    def begin_epoch(self) -> None:
        """Called at the start of each epoch, and when a run is resumed within an epoch."""

    # Hooks that Lightning calls

    def setup(self, stage: str) -> None:
        """Require gradients for the trainable parameters only."""
        # Evaluation needs no gradients.
        if stage != "fit":
            return
        trainable = set(self.trainable_parameters())
        for parameter in self.net.parameters():
            parameter.requires_grad_(parameter in trainable)

    def on_train_start(self) -> None:
        # Lightning does not call `on_train_epoch_start` when it resumes within an epoch.
        if self.trainer.fit_loop.restarted_mid_epoch:
            self.begin_epoch()

    def on_train_epoch_start(self) -> None:
        self.begin_epoch()

    def teardown(self, stage: str) -> None:
        """Restore the net: all parameters require gradients again."""
        if stage == "fit":
            self.net.requires_grad_(True)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer = (self.optimizer or self.default_optimizer)(self.parameter_groups())
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
        # One metric for each name. It sums over batches and, at the end of the epoch, over processes.
        if name not in self.means:
            self.means[name] = MeanMetric().to(self.device)
        mean = cast(MeanMetric, self.means[name])
        mean.update(value.detach(), count)
        self.log(name, mean, on_step=False, on_epoch=True, prog_bar=prog_bar, metric_attribute=f"means.{name}")
