"""Task: train a whole net to predict real numbers.

May import Lightning, torchmetrics, `zoo.losses` and its neighbors in this folder.
"""

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn
from torchmetrics import MeanAbsoluteError, MeanSquaredError, MetricCollection

from zoo.losses import Loss, regression_loss
from zoo.tasks.optimization import MakeOptimizer, MakeSchedule
from zoo.tasks.supervised import SupervisedTask


class Regression(SupervisedTask):
    """Trains a net on real-valued targets by gradient descent; evaluates mean squared and mean absolute error.

    Batches are ``(x, y)``: x is N x in_shape, y is N x targets, or N if there is one target.

    Args:
        net: N x in_shape -> N x targets.
        layer: must be None, since a single layer has no targets.
        loss: name of the loss: mse, mae or smooth_l1 (`zoo.losses.regression_loss`); or a function of outputs and
            targets, both N x targets, that returns a scalar, or an `nn.Module` that is called like one.
        policy: which layers are trained: "full" (all), "head" (linear probe) or "gradual" (unfreeze from the top down).
        unfreeze_at: with "gradual", the epoch (counted from 0) at which each layer below the head is unfrozen, from the
            top down. The last epoch applies to all remaining layers.
        head_lr_factor: learning rate of the head, relative to the optimizer's; > 0.
        layer_decay: learning-rate factor from one layer to the next one below, in (0, 1].
        freeze_statistics: whether batch normalization keeps and uses the mean and variance of pretrained weights while
            its scale and shift are trained, instead of those of each batch.
        optimizer, lr_schedule, total_steps: as in `zoo.tasks.task.Task`.

    Raises:
        ValueError: an unknown loss or policy, a ``layer``, or a number out of range.
    """

    targets: ClassVar[str] = "values"
    monitor: ClassVar[str] = "val/loss"
    mode: ClassVar[str] = "min"

    def __init__(
        self,
        net: nn.Module,
        layer: int | None = None,
        *,
        loss: str | Loss = "mse",
        policy: str = "full",
        unfreeze_at: Sequence[int] = (1,),
        head_lr_factor: float = 1.0,
        layer_decay: float = 1.0,
        freeze_statistics: bool = False,
        optimizer: MakeOptimizer | None = None,
        lr_schedule: MakeSchedule | None = None,
        total_steps: int | None = None,
    ):
        super().__init__(
            net,
            layer,
            optimizer=optimizer,
            lr_schedule=lr_schedule,
            total_steps=total_steps,
            policy=policy,
            unfreeze_at=unfreeze_at,
            head_lr_factor=head_lr_factor,
            layer_decay=layer_decay,
            freeze_statistics=freeze_statistics,
        )
        # The loss, for training and for evaluation.
        self.loss = regression_loss(loss)
        # The same two metrics for every loss, so that runs can be compared. Each split has its own metrics.
        metrics = MetricCollection({"mse": MeanSquaredError(), "mae": MeanAbsoluteError()})
        self.val_metrics = metrics.clone(prefix="val/")
        self.test_metrics = metrics.clone(prefix="test/")

    def trainable_parameters(self) -> list[nn.Parameter]:
        """In the order of the net's parameters, since checkpoints store optimizer states by position."""
        trainable = set(super().trainable_parameters())
        return [parameter for parameter in self.net.parameters() if parameter in trainable]

    def training_loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        """The mean over the batch: outputs, N x targets, and y, N x targets or N -> a scalar."""
        return self.loss(outputs, _targets(y, outputs))

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int, dataloader_idx: int = 0) -> None:
        self._evaluate(batch, "val", self.val_metrics)

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int, dataloader_idx: int = 0) -> None:
        self._evaluate(batch, "test", self.test_metrics)

    def _evaluate(self, batch: tuple[Tensor, Tensor], split: str, metrics: MetricCollection) -> None:
        """Update and log the metrics of a split ("val" or "test")."""
        x, y = batch
        metrics = self.of_loader(metrics, split)
        outputs = self.checked_outputs(x, y)  # N x targets
        y = _targets(y, outputs)
        # torchmetrics reshapes its inputs with `view`, which needs contiguous memory.
        metrics.update(outputs.contiguous(), y)
        self.log_mean(f"{split}/loss", self.loss(outputs, y), len(y))
        self.log_dict(metrics, prog_bar=split == "val", batch_size=len(y))


def _targets(y: Tensor, outputs: Tensor) -> Tensor:
    """The targets in the shape of the outputs, N x targets, as float32. Raises ValueError if they do not fit."""
    # A difference of N x 1 and N values would be N x N.
    if y.dim() == 1 and outputs.shape == (len(y), 1):
        y = y.unsqueeze(1)
    if y.shape != outputs.shape:
        raise ValueError(f"the net has outputs of shape {tuple(outputs.shape)}, the targets {tuple(y.shape)}")
    return y.float()
