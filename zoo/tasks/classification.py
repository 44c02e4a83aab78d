"""Task: train a whole net to classify.

May import Lightning, torchmetrics, `zoo.protocols`, `zoo.losses`, `zoo.data` and its neighbors in this folder.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torchmetrics import MetricCollection
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassCalibrationError,
    MulticlassConfusionMatrix,
    MulticlassF1Score,
)

from zoo.data.datamodule import DataModule
from zoo.losses import CLASSIFICATION, classification_loss, probabilities
from zoo.protocols import Classifier, HasAuxiliaryHeads
from zoo.tasks.layer_input import LayerInput
from zoo.tasks.optimization import MakeOptimizer, MakeSchedule, is_logging_step
from zoo.tasks.supervised import SupervisedTask


class Classification(SupervisedTask):
    """Trains a classifier by gradient descent; evaluates accuracy, macro-F1 and expected calibration error.

    Batches are ``(x, y)``: x is N x in_shape, y is N class numbers, or N x K class probabilities in training.

    Args:
        net: the classifier: N x in_shape -> N x K.
        layer: must be None, since a single layer has no classes.
        loss: name of the loss: cross_entropy, quadratic or binary_cross_entropy (`zoo.losses.classification_loss`).
        label_smoothing: fraction of the target that is spread over all classes, in [0, 1].
        class_weights: whether to weight the classes in the training loss. The weight of a class is the mean number of
            examples per class, divided by its number of examples. Needs a `zoo.data.datamodule.DataModule`.
        auxiliary_weight: weight of the loss of each auxiliary head, if the net has any (GoogLeNet: 0.3); 0: not used.
        policy: which layers are trained: "full" (all), "head" (linear probe) or "gradual" (unfreeze from the top down).
        unfreeze_at: with "gradual", the epoch (counted from 0) at which each layer below the head is unfrozen, from the
            top down. The last epoch applies to all remaining layers.
        head_lr_factor: learning rate of the head, relative to the optimizer's; > 0.
        layer_decay: learning-rate factor from one layer to the next one below, in (0, 1].
        mirror_average: whether evaluation averages the probabilities of an image and of its mirror image.
        optimizer, lr_schedule, total_steps: as in `zoo.tasks.task.Task`.

    Attributes:
        confusion: after a test, the confusion matrix: K x K counts, one row per true class.

    Raises:
        ValueError: an unknown loss or policy, a ``layer``, a number out of range, or a net without outputs.
    """

    targets: ClassVar[str] = "classes"
    monitor: ClassVar[str] = "val/accuracy"
    mode: ClassVar[str] = "max"
    layer_input: LayerInput

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
        )
        num_classes = cast(Classifier, net).num_classes
        if num_classes is None:
            raise ValueError(f"Classification needs outputs; set num_classes of this {type(net).__name__}")
        self.num_classes = num_classes

        # The loss for evaluation, and the loss for training, which may have class weights (`setup`).
        self.loss_name = loss
        self.label_smoothing = label_smoothing
        self.class_weights = class_weights
        self.loss = classification_loss(loss, label_smoothing=label_smoothing)
        self.training_loss = self.loss
        if class_weights:
            classification_loss(loss, class_weights=torch.ones(1))  # raises if the loss has no class weights

        # Auxiliary heads add gradients to the layers below them, so they are not needed if only the head is trained.
        self.auxiliary_weight = auxiliary_weight
        self.has_auxiliaries = isinstance(net, HasAuxiliaryHeads) and bool(auxiliary_weight) and policy != "head"

        # The metrics. Binary cross-entropy reads a single output as two classes.
        self.mirror_average = mirror_average
        count = CLASSIFICATION[loss].num_classes or num_classes
        metrics = _metrics(count)
        self.val_metrics = metrics.clone(prefix="val/")
        self.test_metrics = metrics.clone(prefix="test/")
        self._confusion = MulticlassConfusionMatrix(count)
        self.confusion: list[list[int]] = []

    def check_targets(self, num_outputs: int) -> None:
        """Raise ValueError if the loss does not work for data with ``num_outputs`` classes."""
        needed = CLASSIFICATION[self.loss_name].num_classes
        if needed is not None and num_outputs != needed:
            raise ValueError(f"loss={self.loss_name} needs {needed} classes, the data have {num_outputs}")

    def setup(self, stage: str) -> None:
        """Compute the class weights from the labels of the training split, if ``class_weights`` is set."""
        super().setup(stage)
        if stage != "fit" or not self.class_weights:
            return
        data = cast(Any, self.trainer).datamodule  # an attribute that Lightning sets without declaring it
        if not isinstance(data, DataModule):
            raise ValueError("class_weights=true requires training with a zoo.data.datamodule.DataModule")

        # The mean number of examples per class, divided by the number of examples of each class.
        labels = data.splits.train.labels()
        counts = torch.bincount(labels.cpu(), minlength=self.num_classes)  # K
        weights = len(labels) / (len(counts) * counts.clamp(min=1))  # K

        # Lightning moves the task to the device after `setup`, so the device is taken from the strategy.
        weights = weights.to(self.trainer.strategy.root_device)
        self.training_loss = classification_loss(
            self.loss_name, label_smoothing=self.label_smoothing, class_weights=weights
        )

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        x, y = batch
        # The loss of the head, plus the weighted losses of the auxiliary heads.
        if self.has_auxiliaries:
            outputs, auxiliary_outputs = cast(HasAuxiliaryHeads, self.net).forward_with_auxiliaries(x)
            auxiliary = sum(self.training_loss(aux, y) for aux in auxiliary_outputs)
            loss = self.training_loss(outputs, y) + self.auxiliary_weight * auxiliary
        else:
            loss = self.training_loss(self.outputs(x), y)
        if is_logging_step(self):
            self.log("train/loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self._evaluate(batch, "val", self.val_metrics)

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        # A test also updates the confusion matrix.
        predicted = self._evaluate(batch, "test", self.test_metrics)
        self._confusion.update(predicted, batch[1])

    def on_test_epoch_end(self) -> None:
        # `compute` adds up the counts of all processes.
        self.confusion = self._confusion.compute().tolist()
        self._confusion.reset()

    def _evaluate(self, batch: tuple[Tensor, Tensor], split: str, metrics: MetricCollection) -> Tensor:
        """Update and log the metrics of a split ("val" or "test"). Returns the class probabilities, N x K."""
        x, y = batch
        outputs = self.outputs(x)  # N x K
        predicted = probabilities(outputs.float(), self.loss_name)  # N x K

        # Precomputed features cannot be mirrored.
        if self.mirror_average and not self.layer_input.ready:
            mirrored = probabilities(self.net(x.flip(-1)).float(), self.loss_name)  # N x K
            predicted = (predicted + mirrored) / 2

        # The loss is always computed without the mirror image.
        metrics.update(predicted, y)
        self.log_mean(f"{split}/loss", self.loss(outputs, y), len(y))
        self.log_dict(metrics, prog_bar=split == "val", batch_size=len(y))
        return predicted


def _metrics(num_classes: int) -> MetricCollection:
    return MetricCollection(
        {
            "accuracy": MulticlassAccuracy(num_classes, average="micro"),
            "f1": MulticlassF1Score(num_classes, average="macro"),
            "calibration_error": MulticlassCalibrationError(num_classes),
        }
    )
