"""The base class of all tasks: it trains some parameters of its net, and no others."""

from typing import Any, ClassVar, cast

from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torchmetrics import MeanMetric

from zoo.tasks.layer_input import LayerInput
from zoo.tasks.optimization import Optimization


class Task(LightningModule):
    """Abstract: a task with a ``net`` and an ``optimization`` (None for evaluation only).

    While it trains, gradients reach the parameters of `trainable_parameters` alone: with several processes, one that
    is waited for and gets none is an error.

    Attributes:
        targets: what it trains on besides the inputs: "classes", "values" or "none".
        monitor, mode: the metric by which runs are compared, and whether "min" or "max" of it is best.
        has_validation_loss: whether it logs val/loss.
        refused_precisions: for each precision of the trainer that cannot work, the reason.
        layer_input: the inputs of the layer that is trained, where they can be computed once for the whole fit.
    """

    targets: ClassVar[str]
    monitor: ClassVar[str]
    mode: ClassVar[str]
    has_validation_loss: ClassVar[bool] = True
    refused_precisions: ClassVar[dict[str, str]] = {}
    layer_input: LayerInput | None = None
    net: nn.Module
    optimization: Optimization | None

    def __init__(self) -> None:
        super().__init__()
        self.means = nn.ModuleDict()  # by the name they are logged under

    def trainable_parameters(self) -> list[nn.Parameter]:
        """The parameters that are trained: all, unless a task says otherwise."""
        return list(self.net.parameters())

    def parameter_groups(self) -> list[Any]:
        """The trainable parameters as the optimizer gets them: a plain list, or groups with options of their own."""
        return self.trainable_parameters()

    def check_inputs(self, x: Tensor) -> None:
        """Raise ValueError where the task cannot train on inputs such as x, N x in_shape, preprocessed."""

    def check_targets(self, num_outputs: int) -> None:
        """Raise ValueError where the task cannot train on that number of classes or values."""

    def training_plan(self) -> dict[str, int | None]:
        """For each group of layers the first epoch in which it trains; None: never."""
        return {}

    def setup(self, stage: str) -> None:
        if stage == "fit":
            chosen = set(self.trainable_parameters())
            for parameter in self.net.parameters():
                parameter.requires_grad_(parameter in chosen)

    def on_train_start(self) -> None:
        if self.trainer.fit_loop.restarted_mid_epoch:
            self.begin_epoch()  # Lightning leaves `on_train_epoch_start` out

    def on_train_epoch_start(self) -> None:
        self.begin_epoch()

    def begin_epoch(self) -> None:
        """Set what depends on the number of the epoch; also called when a run resumes in the middle of one."""

    def teardown(self, stage: str) -> None:
        if stage == "fit":
            self.net.requires_grad_(True)

    def configure_optimizers(self) -> Any:
        assert self.optimization is not None, "a task without optimization only evaluates"
        return self.optimization(self.parameter_groups())

    def log_mean(self, name: str, value: Tensor, count: int, *, prog_bar: bool = False) -> None:
        """Log the mean of an epoch, ``value`` being that of ``count`` examples.

        Each example counts once, whichever process has it: Lightning's own mean rounds the processes' mean count of
        examples down, so that of 51 and 50 it makes 100.
        """
        if name not in self.means:
            self.means[name] = MeanMetric().to(self.device)
        mean = cast(MeanMetric, self.means[name])
        mean.update(value.detach(), count)
        self.log(name, mean, on_step=False, on_epoch=True, prog_bar=prog_bar, metric_attribute=f"means.{name}")
