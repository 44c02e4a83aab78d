"""What every task does alike: it moves some parameters of its net, and no others."""

from collections.abc import Mapping
from typing import Any, ClassVar, cast

from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torchmetrics import MeanMetric

from zoo.tasks.encoded import Encoded
from zoo.tasks.optimization import Optimization


class Fitting(LightningModule):
    """Abstract: a task with a ``net`` and an ``optimization`` (None for evaluation only).

    While it is fitted, gradients reach the parameters of `fitted` alone: with several processes, one that is waited for
    and gets none is an error.
    """

    net: nn.Module
    optimization: Optimization | None
    has_validation_loss: ClassVar[bool] = True
    refused_precisions: ClassVar[Mapping[str, str]] = {}
    targets: ClassVar[str] = "none"
    monitor: ClassVar[str] = "val/loss"
    mode: ClassVar[str] = "min"
    layer_input: Encoded | None = None

    def __init__(self) -> None:
        super().__init__()
        self.means = nn.ModuleDict()  # by the name they are logged under

    def check_inputs(self, x: Tensor) -> None: ...

    def check_targets(self, num_outputs: int) -> None: ...

    def training_plan(self) -> dict[str, int | None]:
        return {}

    def trainable_parameters(self) -> list[nn.Parameter]:
        """The parameters that move: all, unless a task says otherwise."""
        return list(self.net.parameters())

    def parameter_groups(self) -> list[Any]:
        """They as the optimizer gets them: a plain list, or groups with options of their own."""
        return self.trainable_parameters()

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
        """What an epoch's number decides, also where the epoch goes on after a stop."""

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
