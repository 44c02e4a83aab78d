"""Supervised regression of the whole net."""

from typing import ClassVar

from torch import Tensor, nn
from torchmetrics import MeanAbsoluteError, MeanSquaredError, MetricCollection

from zoo.losses import regression_loss
from zoo.tasks.optimization import Optimization, is_logging_step
from zoo.tasks.task import Task


class Regression(Task):
    """Fits real-valued targets by gradient descent; measures mean squared and mean absolute error.

    Args:
        net: N x in_shape -> N x targets.
        layer: None; one layer alone has no targets.
        loss: mse, mae or smooth_l1 (`zoo.losses.regression_loss`).
        optimization: optimizer and learning-rate course; None for evaluation only.

    Raises:
        ValueError: an unknown loss, or a ``layer``.
    """

    targets: ClassVar[str] = "values"
    monitor: ClassVar[str] = "val/loss"
    mode: ClassVar[str] = "min"

    def __init__(
        self,
        net: nn.Module,
        layer: int | None = None,
        *,
        loss: str = "mse",
        optimization: Optimization | None = None,
    ):
        super().__init__()
        if layer is not None:
            raise ValueError("regression fits the whole net; use the schedule joint")
        self.net, self.optimization = net, optimization
        self.loss_name, self.loss = loss, regression_loss(loss)
        metrics = MetricCollection({"mse": MeanSquaredError(), "mae": MeanAbsoluteError()})
        self.val_metrics, self.test_metrics = metrics.clone(prefix="val/"), metrics.clone(prefix="test/")

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        x, y = batch
        loss = self.loss(self.net(x), y)
        if is_logging_step(self):
            self.log("train/loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self._measure(batch, "val", self.val_metrics)

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self._measure(batch, "test", self.test_metrics)

    def _measure(self, batch: tuple[Tensor, Tensor], part: str, metrics: MetricCollection) -> None:
        x, y = batch
        outputs = self.net(x)
        metrics.update(outputs.contiguous(), y)
        self.log_mean(f"{part}/loss", self.loss(outputs, y), len(y))
        self.log_dict(metrics, prog_bar=part == "val", batch_size=len(y))
