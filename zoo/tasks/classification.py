"""Task: train a whole net to classify.

May import Lightning, torchmetrics, `zoo.protocols`, `zoo.losses`, `zoo.data` and its neighbors in this folder.
"""

from collections.abc import Sequence
from typing import ClassVar

import torch
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassCalibrationError,
    MulticlassConfusionMatrix,
    MulticlassF1Score,
)

from zoo.losses import CLASSIFICATION, Loss, check_temperature, classification_loss, probabilities
from zoo.tasks.batch_checks import check_classes
from zoo.tasks.layer_input import LayerInput
from zoo.tasks.optimization import MakeOptimizer, MakeSchedule
from zoo.tasks.predictions import Predictions
from zoo.tasks.supervised import SupervisedTask, given_weights, number_of_outputs
from zoo.tasks.training_labels import training_labels

TOP_5_ABOVE = 10  # of more classes, top-5 accuracy is measured, too


class Classification(SupervisedTask):
    """Trains a classifier by gradient descent; evaluates accuracy, macro-F1 and expected calibration error.

    Batches are ``(x, y)``: x is N x in_shape, y is N class numbers, or N x K class probabilities in training.

    Args:
        net: the classifier: N x in_shape -> N x K.
        layer: must be None, since a single layer has no classes.
        loss: name of the loss: cross_entropy, cross_entropy_with_rubbish, quadratic or binary_cross_entropy
            (`zoo.losses.classification_loss`); or a function of logits, N x K, and targets that returns a scalar, or an
            `nn.Module` that is called like one.
        label_smoothing: fraction of the target that is spread over all classes, in [0, 1].
        class_weights: weights of the classes in the training loss: a list of K numbers >= 0, or True: the mean number
            of training examples per class, divided by the number of the class. False: all classes count alike.
        auxiliary_weight: weight of the loss of each auxiliary head, if the net has any (GoogLeNet: 0.3); 0: not used.
        policy: which layers are trained: "full" (all), "head" (linear probe) or "gradual" (unfreeze from the top down).
        unfreeze_at: with "gradual", the epoch (counted from 0) at which each layer below the head is unfrozen, from the
            top down. The last epoch applies to all remaining layers.
        head_lr_factor: learning rate of the head, relative to the optimizer's; > 0.
        layer_decay: learning-rate factor from one layer to the next one below, in (0, 1].
        freeze_statistics: whether batch normalization keeps and uses the mean and variance of pretrained weights while
            its scale and shift are trained, instead of those of each batch.
        mirror_average: whether evaluation averages the probabilities of an image and of its mirror image.
        temperature: number that divides the logits in evaluation, not in training, in [0.01, 100]. `zoo evaluate
            calibrate=true` fits it to a trained net.
        num_classes: K; None: that of the net. A net with an attribute ``num_classes`` does not need it.
        optimizer, lr_schedule, total_steps: as in `zoo.tasks.task.Task`.

    Attributes:
        measured: the split of the attributes below: "test" after a test, "val" after a validation outside of a fit.
        confusion: the confusion matrix: K x K counts, one row per true class; of all DataLoaders.
        predictions: N x 3, one row per example in the order of the DataLoaders: the probability of the predicted class,
            the predicted class, the true class. The examples of each process follow those of the process before it.

    Raises:
        ValueError: an unknown loss or policy, a ``layer``, a number out of range, or a net without outputs. When
            training starts: ``class_weights=True`` with a dataset whose labels cannot be read.
    """

    targets: ClassVar[str] = "classes"
    monitor: ClassVar[str] = "val/accuracy"
    mode: ClassVar[str] = "max"
    layer_input: LayerInput
    num_classes: int

    def __init__(
        self,
        net: nn.Module,
        layer: int | None = None,
        *,
        loss: str | Loss = "cross_entropy",
        label_smoothing: float = 0.0,
        class_weights: bool | list[float] = False,
        auxiliary_weight: float = 0.3,
        policy: str = "full",
        unfreeze_at: Sequence[int] = (1,),
        head_lr_factor: float = 1.0,
        layer_decay: float = 1.0,
        freeze_statistics: bool = False,
        mirror_average: bool = False,
        temperature: float = 1.0,
        num_classes: int | None = None,
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
            auxiliary_weight=auxiliary_weight,
        )
        self.num_classes = number_of_outputs(self, num_classes)

        # The loss for evaluation. The loss for training may have class weights.
        self.loss_name = loss if isinstance(loss, str) else "cross_entropy"  # how outputs become probabilities
        self.own_loss = not isinstance(loss, str)
        self.label_smoothing = label_smoothing
        self.loss = classification_loss(loss, label_smoothing=label_smoothing)
        self.class_weights = class_weights
        self.weights: Tensor | None = None  # K; with True, they are known once training starts
        if class_weights:
            self.weights = given_weights(class_weights, self.num_classes, key="class_weights")
            classification_loss(loss, class_weights=torch.ones(1))  # raises if the loss has no class weights

        # The metrics. Binary cross-entropy reads a single output as two classes.
        check_temperature(temperature, self.loss_name)
        self.mirror_average = mirror_average
        self.temperature = temperature
        count = CLASSIFICATION[self.loss_name].num_classes or self.num_classes
        metrics = _metrics(count)
        self.val_metrics = metrics.clone(prefix="val/")
        self.test_metrics = metrics.clone(prefix="test/")
        self._confusion = MulticlassConfusionMatrix(count)
        self._predictions = Predictions()
        self.measured = ""
        self.confusion: list[list[int]] = []
        self.predictions = torch.zeros(0, 3)

    def check_targets(self, num_outputs: int) -> None:
        """Raise ValueError if the loss does not work for data with ``num_outputs`` classes."""
        needed = CLASSIFICATION[self.loss_name].num_classes
        if needed is not None and num_outputs != needed:
            raise ValueError(f"loss={self.loss_name} needs {needed} classes, the data have {num_outputs}")

    def check_outputs(self, outputs: Tensor, y: Tensor) -> None:
        """Raise ValueError if the outputs are not N x K, or the targets are not class numbers below K."""
        needed = CLASSIFICATION[self.loss_name].num_classes
        # Binary cross-entropy reads a single output as two classes; a loss of the user may read other targets.
        if not (needed and isinstance(outputs, Tensor) and outputs.shape[1:] == (1,)):
            super().check_outputs(outputs, y)
        if not (self.own_loss and self.training):
            check_classes(y, outputs, count=needed or self.num_classes, training=self.training)

    def on_train_start(self) -> None:
        """Compute the class weights from the labels of the training data, with ``class_weights=True``."""
        super().on_train_start()
        if self.class_weights is True:
            labels = training_labels(self.trainer, fix="set class_weights to a list with one weight for each class")
            # The mean number of examples per class, divided by the number of examples of each class.
            counts = torch.bincount(labels.cpu(), minlength=self.num_classes)  # K
            self.weights = len(labels) / (len(counts) * counts.clamp(min=1))  # K

    def training_loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        """The loss with class weights, if there are any: N x K outputs and N targets -> a scalar."""
        if self.weights is None:
            return self.loss(outputs, y)
        self.weights = self.weights.to(outputs.device)
        loss = classification_loss(self.loss_name, label_smoothing=self.label_smoothing, class_weights=self.weights)
        return loss(outputs, y)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        x, y = batch
        return super().training_step((x, _class_numbers(y)), batch_idx)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int, dataloader_idx: int = 0) -> None:
        predicted = self._evaluate(batch, "val", self.val_metrics)
        # A validation outside of a fit also collects what a test does.
        if self.trainer.state.fn == TrainerFn.VALIDATING:
            self._collect(predicted, batch[1])

    def on_validation_epoch_end(self) -> None:
        if self.trainer.state.fn == TrainerFn.VALIDATING:
            self._finish("val")

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int, dataloader_idx: int = 0) -> None:
        predicted = self._evaluate(batch, "test", self.test_metrics)
        self._collect(predicted, batch[1])

    def on_test_epoch_end(self) -> None:
        self._finish("test")

    def _collect(self, predicted: Tensor, y: Tensor) -> None:
        """Update the confusion matrix and the predictions with the probabilities of a batch, N x K, and its targets."""
        self._confusion.update(predicted, _class_numbers(y))
        self._predictions.update(predicted, _class_numbers(y))

    def _finish(self, split: str) -> None:
        """Set the attributes that a pass over a split leaves."""
        # `compute` adds up the counts of all processes, and collects their predictions.
        self.measured = split
        self.confusion = self._confusion.compute().tolist()
        self.predictions = self._predictions.compute().cpu()
        self._confusion.reset()
        self._predictions.reset()

    def _evaluate(self, batch: tuple[Tensor, Tensor], split: str, metrics: MetricCollection) -> Tensor:
        """Update and log the metrics of a split ("val" or "test"). Returns the class probabilities, N x K."""
        x, y = batch
        y = _class_numbers(y)
        metrics = self.of_loader(metrics, split)
        outputs = self.checked_outputs(x, y)  # N x K
        predicted = probabilities(outputs.float(), self.loss_name, self.temperature)  # N x K

        # Precomputed features cannot be mirrored.
        if self.mirror_average and not self.layer_input.ready:
            mirrored = probabilities(self.net(x.flip(-1)).float(), self.loss_name, self.temperature)  # N x K
            predicted = (predicted + mirrored) / 2

        # The loss is always computed without the mirror image.
        metrics.update(predicted, y)
        self.log_mean(f"{split}/loss", self.loss(outputs / self.temperature, y), len(y))
        self.log_dict(metrics, prog_bar=split == "val", batch_size=len(y))
        return predicted


def _metrics(num_classes: int) -> MetricCollection:
    metrics: dict[str, Metric | MetricCollection] = {
        "accuracy": MulticlassAccuracy(num_classes, average="micro"),
        "f1": MulticlassF1Score(num_classes, average="macro"),
        "calibration_error": MulticlassCalibrationError(num_classes),
    }
    # With few classes, one of five guesses is nearly always right, so this metric would mean little.
    if num_classes > TOP_5_ABOVE:
        metrics["accuracy_top5"] = MulticlassAccuracy(num_classes, average="micro", top_k=5)
    return MetricCollection(metrics)


def _class_numbers(y: Tensor) -> Tensor:
    """Class numbers as int64, which losses need; class probabilities stay as they are."""
    return y if y.is_floating_point() else y.long()
