"""Supervised classification of the whole net."""

from typing import Any, ClassVar, Protocol, cast, runtime_checkable

from torch import Tensor, nn
from torchmetrics import MetricCollection
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassCalibrationError,
    MulticlassConfusionMatrix,
    MulticlassF1Score,
)

from zoo.losses import classification_loss, probabilities
from zoo.tasks.fitting import Fitting
from zoo.tasks.optimization import Optimization, is_logging_step


@runtime_checkable
class Classifier(Protocol):
    """What a net needs: N x in_shape -> N x num_classes."""

    num_classes: int

    def __call__(self, x: Tensor) -> Tensor: ...


@runtime_checkable
class AuxiliaryClassifier(Protocol):
    """What a net with auxiliary heads offers besides."""

    def forward_with_auxiliaries(self, x: Tensor) -> tuple[Tensor, list[Tensor]]: ...


class Classification(Fitting):
    """Fits a classifier by gradient descent; measures accuracy, macro-F1 and expected calibration error.

    Args:
        net: the classifier.
        layer: None; one layer alone has no classes.
        loss: cross_entropy, quadratic or binary_cross_entropy (`zoo.losses.classification_loss`).
        label_smoothing: how much of the target is spread over all classes, 0 to 1.
        auxiliary_weight: weight of each auxiliary head's loss, where the net has any (GoogLeNet: 0.3).
        layer_decay: the rate of each layer is that of the layer above times this, the head's that of the optimizer.
        head_only_epochs: for so many epochs the head alone learns, so that its first, random gradients spoil nothing.
        optimization: optimizer and learning-rate course; None for evaluation only.

    Raises:
        ValueError: an unknown loss, a ``layer``, or a layer_decay or head_only_epochs out of range.
    """

    targets: ClassVar[str] = "classes"
    monitor: ClassVar[str] = "val/accuracy"
    mode: ClassVar[str] = "max"

    def __init__(
        self,
        net: nn.Module,
        layer: int | None = None,
        *,
        loss: str = "cross_entropy",
        label_smoothing: float = 0.0,
        auxiliary_weight: float = 0.3,
        layer_decay: float = 1.0,
        head_only_epochs: int = 0,
        optimization: Optimization | None = None,
    ):
        super().__init__()
        if layer is not None:
            raise ValueError("classification fits the whole net; use the schedule joint")
        if not 0 < layer_decay <= 1 or head_only_epochs < 0:
            raise ValueError(
                f"layer_decay={layer_decay}, head_only_epochs={head_only_epochs}: "
                "above 0 and up to 1, and 0 or more epochs are needed"
            )
        if head_only_epochs and getattr(net, "head", None) is None:
            raise ValueError(f"head_only_epochs={head_only_epochs}: this {type(net).__name__} has no head; set it to 0")
        self.net, self.optimization = net, optimization
        self.loss_name, self.auxiliary_weight = loss, auxiliary_weight
        self.layer_decay, self.head_only_epochs = layer_decay, head_only_epochs
        self.has_auxiliaries = isinstance(net, AuxiliaryClassifier)
        self.loss = classification_loss(loss, label_smoothing=label_smoothing)
        num_classes = 2 if loss == "binary_cross_entropy" else int(net.num_classes)  # type: ignore[arg-type]
        self.val_metrics = _metrics(num_classes).clone(prefix="val/")
        self.test_metrics = _metrics(num_classes).clone(prefix="test/")
        self._confusion = MulticlassConfusionMatrix(num_classes)
        self.confusion: list[list[int]] = []  # after a test: counts, classes x classes, rows the true class

    def groups(self) -> list[Any]:
        fitted = self.fitted()
        if self.layer_decay == 1:
            return fitted
        layers = [[p for p in layer.parameters() if p in set(fitted)] for layer in self.net.layers]  # type: ignore[union-attr]
        rest = set(fitted) - {p for layer in layers for p in layer}
        groups: list[dict[str, Any]] = [{"params": [p for p in fitted if p in rest]}]
        for above, layer in enumerate(filter(None, reversed(layers)), start=1):  # a pooling is no layer here
            groups.append({"params": layer, "lr_factor": self.layer_decay**above})
        return [group for group in groups if group["params"]]

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        if self.current_epoch < self.head_only_epochs:
            head = set(self.net.head.parameters())  # type: ignore[union-attr]
            for parameter in self.fitted():
                if parameter not in head:
                    parameter.grad = None  # which optimizers pass over, momentum and decay included

    def fitted(self) -> list[nn.Parameter]:
        """All that the outputs depend on; a deep belief network, say, has besides what it generates by."""
        generative = set(getattr(self.net, "generative_parameters", tuple)())
        return [p for p in self.net.parameters() if p not in generative]

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        x, y = batch
        if self.has_auxiliaries and self.auxiliary_weight:
            outputs, auxiliary_outputs = cast(AuxiliaryClassifier, self.net).forward_with_auxiliaries(x)
            loss = self.loss(outputs, y) + self.auxiliary_weight * sum(self.loss(aux, y) for aux in auxiliary_outputs)
        else:
            loss = self.loss(self.net(x), y)
        if is_logging_step(self):
            self.log("train/loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self._measure(batch, "val", self.val_metrics)

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        predicted = self._measure(batch, "test", self.test_metrics)
        self._confusion.update(predicted, batch[1])

    def on_test_epoch_end(self) -> None:
        self.confusion = self._confusion.compute().tolist()  # over all processes
        self._confusion.reset()

    def _measure(self, batch: tuple[Tensor, Tensor], part: str, metrics: MetricCollection) -> Tensor:
        x, y = batch
        outputs = self.net(x)
        predicted = probabilities(outputs.float(), self.loss_name)  # N x classes
        metrics.update(predicted, y)
        self.log(f"{part}/loss", self.loss(outputs, y), on_epoch=True, batch_size=len(y), sync_dist=True)
        self.log_dict(metrics, prog_bar=part == "val", batch_size=len(y))
        return predicted


def _metrics(num_classes: int) -> MetricCollection:
    return MetricCollection(
        {
            "accuracy": MulticlassAccuracy(num_classes, average="micro"),
            "f1": MulticlassF1Score(num_classes, average="macro"),
            "calibration_error": MulticlassCalibrationError(num_classes),
        }
    )
