"""Task: train a whole net to predict any number of labels for each input.

May import Lightning, torchmetrics, `zoo.protocols` and its neighbors in this folder.
"""

from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import MetricCollection
from torchmetrics.classification import (
    MultilabelAveragePrecision,
    MultilabelExactMatch,
    MultilabelF1Score,
    MultilabelStatScores,
)

from zoo.tasks.batch_checks import check_labels
from zoo.tasks.optimization import MakeOptimizer, MakeSchedule
from zoo.tasks.supervised import SupervisedTask, given_weights, number_of_outputs
from zoo.tasks.training_labels import training_labels


class MultiLabelClassification(SupervisedTask):
    """Trains one logit per label by binary cross-entropy, the mean over examples and labels.

    Evaluates macro-F1 and exact match (all K labels of an example are right), both of the labels with a probability
    >= 0.5; and the mean over labels of the average precision (mAP), which depends only on the order of the
    probabilities. A label without examples in a split counts as 0 in both means, as in scikit-learn.

    Batches are ``(x, y)``: x is N x in_shape, y is N x K, 1 where an example has the label and 0 elsewhere.

    Args:
        net: N x in_shape -> N x K logits, K >= 2.
        layer: must be None, since a single layer has no labels.
        pos_weight: weights of the examples with a label in the training loss, relative to those without: a list of K
            numbers >= 0, or True: the number of training examples without the label, divided by the number with it.
            False: all examples count alike.
        auxiliary_weight: weight of the loss of each auxiliary head, if the net has any (GoogLeNet: 0.3); 0: not used.
        policy: which layers are trained: "full" (all), "head" (linear probe) or "gradual" (unfreeze from the top down).
        unfreeze_at: with "gradual", the epoch (counted from 0) at which each layer below the head is unfrozen, from the
            top down. The last epoch applies to all remaining layers.
        head_lr_factor: learning rate of the head, relative to the optimizer's; > 0.
        layer_decay: learning-rate factor from one layer to the next one below, in (0, 1].
        freeze_statistics: whether batch normalization keeps and uses the mean and variance of pretrained weights while
            its scale and shift are trained, instead of those of each batch.
        num_classes: K; None: that of the net. A net with an attribute ``num_classes`` does not need it.
        optimizer, lr_schedule, total_steps: as in `zoo.tasks.task.Task`.

    Attributes:
        counts: after a test, the numbers of true positives, false positives, true negatives and false negatives of each
            label: K x 4.

    Raises:
        ValueError: an unknown policy, a ``layer``, a number out of range, or a net with fewer than two outputs. When
            training starts: ``pos_weight=True`` with a dataset whose labels cannot be read.
    """

    targets: ClassVar[str] = "labels"
    monitor: ClassVar[str] = "val/mean_average_precision"
    mode: ClassVar[str] = "max"

    def __init__(
        self,
        net: nn.Module,
        layer: int | None = None,
        *,
        pos_weight: bool | list[float] = False,
        auxiliary_weight: float = 0.3,
        policy: str = "full",
        unfreeze_at: Sequence[int] = (1,),
        head_lr_factor: float = 1.0,
        layer_decay: float = 1.0,
        freeze_statistics: bool = False,
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
        count = number_of_outputs(self, num_classes)
        if count < 2:
            raise ValueError("MultiLabelClassification needs two or more labels; use Classification with two classes")
        self.num_classes = count
        self.pos_weight = pos_weight
        self.weights: Tensor | None = None  # K; with True, they are known once training starts
        if pos_weight:
            self.weights = given_weights(pos_weight, count, key="pos_weight")

        # The metrics; they read logits as probabilities after a sigmoid.
        metrics = MetricCollection(
            {
                "f1": MultilabelF1Score(count, average="macro"),
                "mean_average_precision": MultilabelAveragePrecision(count, average="macro"),
                "exact_match": MultilabelExactMatch(count),
            }
        )
        self.val_metrics = metrics.clone(prefix="val/")
        self.test_metrics = metrics.clone(prefix="test/")
        self._counts = MultilabelStatScores(count, average=None)
        self.counts: list[list[int]] = []

    def check_outputs(self, outputs: Tensor, y: Tensor) -> None:
        """Raise ValueError if the outputs are not N x K, or the labels are not 0 and 1."""
        super().check_outputs(outputs, y)
        check_labels(y, training=self.training)

    def on_train_start(self) -> None:
        """Compute the weights from the labels of the training data, with ``pos_weight=True``."""
        super().on_train_start()
        if self.pos_weight is True:
            labels = training_labels(self.trainer, fix="set pos_weight to a list with one weight for each label")
            positive = labels.float().sum(dim=0)  # K
            self.weights = (len(labels) - positive) / positive.clamp(min=1)  # K

    def training_loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        """The loss with the weights of positives, if there are any: two tensors N x K -> a scalar."""
        if self.weights is not None:
            self.weights = self.weights.to(outputs.device)
        return F.binary_cross_entropy_with_logits(outputs, _checked(y, outputs), pos_weight=self.weights)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int, dataloader_idx: int = 0) -> None:
        self._evaluate(batch, "val", self.val_metrics)

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int, dataloader_idx: int = 0) -> None:
        # A test also counts the right and wrong predictions of each label.
        p = self._evaluate(batch, "test", self.test_metrics)
        self._counts.update(p, batch[1].long())

    def on_test_epoch_end(self) -> None:
        # `compute` adds up the counts of all processes. Its last column is the number of positives.
        self.counts = self._counts.compute()[:, :4].tolist()
        self._counts.reset()

    def _evaluate(self, batch: tuple[Tensor, Tensor], split: str, metrics: MetricCollection) -> Tensor:
        """Update and log the metrics of a split ("val" or "test"). Returns the probabilities of the labels, N x K."""
        x, y = batch
        metrics = self.of_loader(metrics, split)
        outputs = self.checked_outputs(x, y)  # N x K
        p = torch.sigmoid(outputs.float())  # N x K
        loss = F.binary_cross_entropy_with_logits(outputs, _checked(y, outputs))
        metrics.update(p, y.long())
        self.log_mean(f"{split}/loss", loss, len(y))
        self.log_dict(metrics, prog_bar=split == "val", batch_size=len(y))
        return p


def _checked(y: Tensor, outputs: Tensor) -> Tensor:
    """The labels as float32. Raises ValueError unless they have the shape of the outputs, N x K."""
    if y.shape != outputs.shape:
        raise ValueError(
            f"the net has outputs of shape {tuple(outputs.shape)}, the labels {tuple(y.shape)}; labels are N x K, "
            "1 where an example has the label and 0 elsewhere"
        )
    return y.float()
