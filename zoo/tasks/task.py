"""The base of all tasks: a LightningModule that trains some parameters of a net, and no others.

May import Lightning, torchmetrics, `zoo.protocols` and its neighbors in this folder.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, cast

from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torchmetrics import MeanMetric

from zoo.tasks.layer_input import LayerInput
from zoo.tasks.optimization import Optimization


class Task(LightningModule):
    """Abstract: how a ``net`` is trained and measured. A subclass sets ``net`` and ``optimization`` and has the steps.

    While a task is being fitted, only the parameters of `trainable_parameters` receive gradients. With several
    processes this is required: a parameter that is waited for but gets no gradient is an error.

    Class attributes, read before a task is built:
        targets: "classes", "values" or "none": what it needs of the data beside the inputs.
        monitor: the metric by which epochs and runs are compared, such as "val/accuracy".
        mode: "max" or "min": which value of ``monitor`` is better.
        has_validation_loss: whether it logs "val/loss", which a learning-rate schedule or ``stop_below`` may read.
        refused_precisions: for each precision of Lightning with which it cannot work, the reason.

    Attributes:
        net: the net, all of it, whichever layer is trained.
        optimization: optimizer and learning-rate schedule; None for evaluation only.
        layer_input: where the task trains on features of lower layers, what computes them; else None.
        means: metrics of `log_mean`, by the name they are logged under.
    """

    targets: ClassVar[str]
    monitor: ClassVar[str]
    mode: ClassVar[str]
    has_validation_loss: ClassVar[bool] = True
    refused_precisions: ClassVar[Mapping[str, str]] = {}

    net: nn.Module
    optimization: Optimization | None
    layer_input: LayerInput | None = None

    def __init__(self) -> None:
        super().__init__()
        self.means = nn.ModuleDict()

    # What a subclass may say of itself

    def trainable_parameters(self) -> list[nn.Parameter]:
        """The parameters that are trained: all of the net, unless a task says otherwise."""
        return list(self.net.parameters())

    def parameter_groups(self) -> list[Any]:
        """The trainable parameters as the optimizer gets them: a plain list, or groups with options of their own."""
        return self.trainable_parameters()

    def training_plan(self) -> dict[str, int | None]:
        """For each group of layers, the first epoch in which it is trained (None: never).

        Empty where the question does not arise.
        """
        return {}

    def check_inputs(self, x: Tensor) -> None:
        """Raise ValueError if the task cannot work with such inputs. ``x``: some, preprocessed, N x in_shape."""

    def check_targets(self, num_outputs: int) -> None:
        """Raise ValueError if the task cannot work with that number of classes, or of target values."""

    def begin_epoch(self) -> None:
        """Called when an epoch begins, and when a run is resumed within one."""

    # What Lightning calls

    def setup(self, stage: str) -> None:
        """Ask for the gradients of the trainable parameters only."""
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
        """Leave the net as it was found: every parameter asks for gradients."""
        if stage == "fit":
            self.net.requires_grad_(True)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        assert self.optimization is not None, "a task without optimization only evaluates"
        return self.optimization(self.parameter_groups())

    # What a subclass calls

    def log_mean(self, name: str, value: Tensor, count: int, *, prog_bar: bool = False) -> None:
        """Log the mean over an epoch.

        Each example counts once, whichever process has it. Lightning's own mean rounds the mean number of examples per
        process down, so that it counts 51 and 50 examples as 100.

        Args:
            name: such as "val/loss".
            value: a scalar, the mean over ``count`` examples.
            count: number of examples.
            prog_bar: whether the progress bar shows it.
        """
        # One metric for each name; it adds up over batches and, when the epoch ends, over processes.
        if name not in self.means:
            self.means[name] = MeanMetric().to(self.device)
        mean = cast(MeanMetric, self.means[name])
        mean.update(value.detach(), count)
        self.log(name, mean, on_step=False, on_epoch=True, prog_bar=prog_bar, metric_attribute=f"means.{name}")
