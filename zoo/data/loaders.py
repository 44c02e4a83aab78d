"""Splits from data loaders of the user, such as those that `zoo.train` takes.

A loader keeps its own order, batches and transforms. What training needs to know besides, such as the shape of an input
and the number of classes, is read from the loader's dataset. Imports torch and other files of this folder.
"""

from collections.abc import Iterator, Sequence
from math import ceil
from typing import Any, TypeAlias, cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from zoo.data.array_splits import check_class_numbers, label_columns
from zoo.data.splits import Examples, Splits

AnyLoader: TypeAlias = DataLoader[Any]
TRIED = 8  # examples whose shape and type are read


class LoadedExamples(Examples):
    """The examples of a data loader.

    Args:
        loader: its dataset must have a length and indices, and each batch is a pair (x, y), or x alone.
        where: the argument that it was passed as, for messages.
        multi_label: whether y is N x K of zeros and ones: any number of K labels for each example.

    Attributes:
        num_classes: number of classes that class numbers are checked against; None: not checked.

    Raises:
        ValueError: the loader's dataset has no length, or it has no examples.
    """

    def __init__(self, given: AnyLoader, where: str = "data", *, multi_label: bool = False):
        if isinstance(given.dataset, IterableDataset):
            raise ValueError(f"{where}: an IterableDataset has no length; use a dataset with __len__ and __getitem__")
        self.given = given
        self.where = where
        self.multi_label = multi_label
        self.num_classes: int | None = None
        self.dataset = cast(Any, given.dataset)
        self._labels: Tensor | None = None
        if not len(self.dataset) or not len(given):
            raise ValueError(f"{where}: the loader has no batches")

    @property
    def batch_size(self) -> int:
        """The size of its batches; with a batch sampler, their mean size, rounded up."""
        return self.given.batch_size or ceil(len(self.dataset) / len(self.given))

    def __len__(self) -> int:
        """Number of examples in an epoch. A sampler may draw more or fewer than the dataset has."""
        if self.given.batch_size is None or self.given.drop_last:
            return len(self.given) * self.batch_size
        return len(cast(Any, self.given.sampler))

    def loader(self) -> "Batches":
        return Batches(self)

    def batch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        examples = [self.dataset[int(index) % len(self.dataset)] for index in indices]
        collate = self.given.collate_fn or torch.utils.data.default_collate
        return self.pair(collate(examples))

    def labels(self) -> Tensor:
        # Read the dataset once, in order.
        if self._labels is None:
            chunks = [range(i, min(i + 256, len(self.dataset))) for i in range(0, len(self.dataset), 256)]
            self._labels = torch.cat([self.batch(chunk)[1] for chunk in chunks])
        return self._labels

    def digest(self) -> str:
        """The digest of no example: transforms may be random, so only the number of examples is compared."""
        return "0" * 32

    def take(self, indices: Sequence[int]) -> "LoadedExamples":
        raise ValueError(f"{self.where}: examples of a loader cannot be chosen; use a torch.utils.data.Subset")

    def renumbered(self, numbers: Tensor) -> "LoadedExamples":
        raise ValueError(f"{self.where}: the classes of a loader cannot be renumbered")

    def with_labels(self, columns: Tensor) -> "LoadedExamples":
        raise ValueError(f"{self.where}: the labels of a loader cannot be renumbered")

    def relabeled(self, labels: Tensor) -> "LoadedExamples":
        raise ValueError(f"{self.where}: the labels of a loader cannot be replaced")

    def pair(self, batch: Any) -> tuple[Tensor, Tensor]:
        """A batch of the loader as x, N x shape, and N class numbers (int64) or N x outputs values (float32).

        Raises:
            ValueError: the batch is neither a pair of tensors nor a tensor, or y has other values than it should.
        """
        parts = [batch] if isinstance(batch, Tensor) else batch
        if not isinstance(parts, list | tuple) or not all(isinstance(part, Tensor) for part in parts):
            raise ValueError(f"{self.where}: a batch is a {type(batch).__name__}, expected a pair of tensors (x, y)")
        if len(parts) not in (1, 2):
            raise ValueError(f"{self.where}: a batch has {len(parts)} parts, expected a pair (x, y)")
        x = parts[0]
        y = parts[1] if len(parts) == 2 else torch.zeros(len(x), dtype=torch.int64)
        if self.multi_label and len(parts) == 2:
            return x, label_columns(y, f"{self.where}: ")
        if y.is_floating_point():
            return x, y.float().view(len(y), -1)
        if y.dim() != 1:
            raise ValueError(
                f"{self.where}: y of a batch has shape {list(y.shape)}, expected N class numbers; for one-hot labels "
                "yield their argmax, for several labels per example set stage='multi_label'"
            )
        if self.num_classes is not None:
            check_class_numbers(y, self.num_classes, f"{self.where}: ")
        return x, y.long()


class Batches:
    """The batches of a loader as pairs: what Lightning iterates over."""

    def __init__(self, examples: LoadedExamples):
        self.examples = examples

    def __len__(self) -> int:
        return len(self.examples.given)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for batch in self.examples.given:
            yield self.examples.pair(batch)


def splits_of_loader(
    loader: AnyLoader,
    validation: AnyLoader | None = None,
    *,
    num_classes: int | None = None,
    multi_label: bool = False,
) -> Splits:
    """The splits of a training loader and, if there is one, a validation loader.

    Args:
        loader: the training loader.
        validation: the validation loader.
        num_classes: number of classes; None: the largest label of the training examples + 1.
        multi_label: as in `LoadedExamples`.

    Raises:
        ValueError: a dataset without a length, a batch that is not a pair of tensors, or loaders of different kinds.
    """
    train = LoadedExamples(loader, multi_label=multi_label)
    held_out = None if validation is None else LoadedExamples(validation, "validation_data", multi_label=multi_label)
    size = min(TRIED, len(train.dataset))
    x, y = train.batch(range(size))
    if held_out is not None:
        other_x, other_y = held_out.batch([0])
        if other_x.shape[1:] != x.shape[1:] or other_y.shape[1:] != y.shape[1:] or other_y.dtype != y.dtype:
            raise ValueError(
                f"validation_data: its inputs have shape {list(other_x.shape[1:])} and its targets type "
                f"{other_y.dtype}, those of the training data {list(x.shape[1:])} and {y.dtype}"
            )

    # The kind of targets: none, real values, class numbers.
    shape = tuple(x.shape[1:])
    example = train.dataset[0]
    if isinstance(example, Tensor) or len(example) == 1:
        return Splits(train, held_out, None, shape, unlabeled="the loader yields no targets")
    if multi_label:
        return Splits(train, held_out, None, shape, tuple(map(str, range(y.shape[1]))), multi_label=True)
    if y.is_floating_point():
        return Splits(train, held_out, None, shape, num_targets=y.shape[1])
    count = int(train.labels().max()) + 1 if num_classes is None else num_classes
    for examples in (train, held_out):
        if examples is not None:
            examples.num_classes = count
    return Splits(train, held_out, None, shape, tuple(map(str, range(count))))
