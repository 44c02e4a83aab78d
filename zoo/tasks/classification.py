"""Supervised classification of the whole net."""

from collections.abc import Sequence
from typing import Any, ClassVar, Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn
from torchmetrics import MetricCollection
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassCalibrationError,
    MulticlassConfusionMatrix,
    MulticlassF1Score,
)

from zoo.losses import classification_loss, probabilities
from zoo.tasks import freezing as finetune
from zoo.tasks.encoded import Encoded
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
        class_weights: whether rare classes count for more in the training loss: each as (examples / classes) / its own.
        auxiliary_weight: weight of each auxiliary head's loss, where the net has any (GoogLeNet: 0.3).
        policy, unfreeze_at, head_lr_factor, layer_decay: what learns, when, and how fast (`zoo.tasks.freezing.parts`).
        mirror_average: whether probabilities are measured as the mean of those of the image and of its mirror image.
        optimization: optimizer and learning-rate course; None for evaluation only.

    Raises:
        ValueError: an unknown loss or policy, a ``layer``, or a number out of range.
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
        class_weights: bool = False,
        auxiliary_weight: float = 0.3,
        policy: str = "full",
        unfreeze_at: Sequence[int] = (1,),
        head_lr_factor: float = 1.0,
        layer_decay: float = 1.0,
        mirror_average: bool = False,
        optimization: Optimization | None = None,
    ):
        super().__init__()
        if layer is not None:
            raise ValueError("classification fits the whole net; use the schedule joint")
        self.net, self.optimization = net, optimization
        self.loss_name, self.label_smoothing, self.mirror_average = loss, label_smoothing, mirror_average
        self.class_weights, self.auxiliary_weight = class_weights, auxiliary_weight
        self.parts = finetune.parts(
            net,
            policy=policy,
            unfreeze_at=unfreeze_at,
            head_lr_factor=head_lr_factor,
            layer_decay=layer_decay,
            leave_out=getattr(net, "generative_parameters", list)(),  # of a deep belief network: no output needs them
        )
        self.frozen: list[finetune.Part] = []
        # Where the head alone ever learns, the codes that it reads are constants, which may be computed beforehand.
        self.layer_input = Encoded(net, len(net.layers) if policy == "head" else 0)  # type: ignore[arg-type]
        self.has_auxiliaries = isinstance(net, AuxiliaryClassifier) and bool(auxiliary_weight) and policy != "head"
        self.loss = self.training_loss = classification_loss(loss, label_smoothing=label_smoothing)
        if class_weights:  # refused here, where nothing has begun, for another loss
            classification_loss(loss, class_weights=torch.ones(1))
        num_classes = 2 if loss == "binary_cross_entropy" else int(net.num_classes)  # type: ignore[arg-type]
        self.val_metrics = _metrics(num_classes).clone(prefix="val/")
        self.test_metrics = _metrics(num_classes).clone(prefix="test/")
        self._confusion = MulticlassConfusionMatrix(num_classes)
        self.confusion: list[list[int]] = []  # after a test: counts, classes x classes, rows the true class

    layer_input: Encoded

    def check_inputs(self, x: Tensor) -> None:
        if self.mirror_average and x.dim() != 4:
            raise ValueError(f"mirror_average=true needs images, got inputs of shape {tuple(x.shape[1:])}")

    def check_targets(self, num_outputs: int) -> None:
        if self.loss_name == "binary_cross_entropy" and num_outputs != 2:
            raise ValueError(f"loss=binary_cross_entropy needs two classes, the data have {num_outputs}")

    def training_plan(self) -> dict[str, int | None]:
        return {part.name: part.begin for part in self.parts}

    def trainable_parameters(self) -> list[nn.Parameter]:
        """The parameters of all parts that ever learn."""
        return [p for part in self.parts if part.begin is not None for p in part.parameters]

    def parameter_groups(self) -> list[Any]:
        """One group for each part that ever learns, all there from the start; a plain list where they are alike."""
        if all(part.begin == 0 and part.lr_factor == 1 for part in self.parts):
            return self.trainable_parameters()
        return [
            {"params": list(part.parameters), "lr_factor": part.lr_factor, "name": part.name}
            for part in self.parts
            if part.begin is not None
        ]

    def setup(self, stage: str) -> None:
        super().setup(stage)
        if stage == "fit" and self.class_weights:
            labels = self.trainer.datamodule.splits.train.labels()  # type: ignore[attr-defined]
            counts = torch.bincount(labels.cpu(), minlength=int(self.net.num_classes))  # type: ignore[arg-type]
            weights = len(labels) / (len(counts) * counts.clamp(min=1))
            self.training_loss = classification_loss(
                self.loss_name,
                label_smoothing=self.label_smoothing,
                class_weights=weights.to(self.trainer.strategy.root_device),  # where the module is not yet
            )

    def train(self, mode: bool = True) -> "Classification":
        super().train(mode)
        for part in self.frozen:  # a fixed function: also its normalisation and dropout
            for module in part.modules:
                module.eval()
        return self

    def begin_epoch(self) -> None:
        self.frozen = [part for part in self.parts if not part.learns(self.current_epoch)]
        self.train()
        if self.trainer.world_size == 1:  # several processes wait for a gradient of all that had one at first
            for part in self.parts:
                for parameter in part.parameters:
                    parameter.requires_grad_(part not in self.frozen)

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        rates = {group["name"]: group["lr"] for group in self.optimizers().param_groups if "name" in group}  # type: ignore[union-attr]
        if rates:
            frozen = {part.name: 0.0 for part in self.frozen}
            row = {f"lr/{name}": rate for name, rate in (rates | frozen).items()} | {"epoch": self.current_epoch}
            for logger in self.loggers:  # at once: what `log` keeps until the epoch's end, a stop would lose
                logger.log_metrics(row, step=self.global_step)

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        for part in self.frozen:
            for parameter in part.parameters:
                parameter.grad = None  # which optimizers pass over, momentum and decay included

    def teardown(self, stage: str) -> None:
        super().teardown(stage)
        if self.frozen:
            self.frozen = []
            self.train()  # or a later stage would find them in evaluation mode

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        x, y = batch
        if self.has_auxiliaries:
            outputs, auxiliary_outputs = cast(AuxiliaryClassifier, self.net).forward_with_auxiliaries(x)
            auxiliary = sum(self.training_loss(aux, y) for aux in auxiliary_outputs)
            loss = self.training_loss(outputs, y) + self.auxiliary_weight * auxiliary
        else:
            loss = self.training_loss(self.outputs(x), y)
        if is_logging_step(self):
            self.log("train/loss", loss, prog_bar=True)
        return loss

    def outputs(self, x: Tensor) -> Tensor:
        """Of images, or of their codes where those were computed beforehand: N x classes."""
        if not self.layer_input.ready:
            return self.net(x)
        return getattr(self.net, "output_activation", nn.Identity())(self.net.head(x))  # type: ignore[operator]

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
        outputs = self.outputs(x)
        predicted = probabilities(outputs.float(), self.loss_name)  # N x classes
        if self.mirror_average and not self.layer_input.ready:
            predicted = (predicted + probabilities(self.net(x.flip(-1)).float(), self.loss_name)) / 2
        metrics.update(predicted, y)
        self.log_mean(f"{part}/loss", self.loss(outputs, y), len(y))
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
