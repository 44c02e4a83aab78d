"""A dataset cut into training, validation and test splits.

`Examples` is the protocol for the examples of one split. `InMemory` implements it with tensors. `Splits` combines up to
three splits with their shape and classes. Imports torch and other files of this folder.
"""

import hashlib
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import torch
from torch import Tensor

from zoo.data.stratify import check_labels, hold_out, seed_from, stratify
from zoo.data.tables.table_columns import TableEncoding

if TYPE_CHECKING:
    from zoo.data.augment import Augment
    from zoo.data.preprocess import Preprocess

__all__ = ["AugmentedExamples", "Examples", "InMemory", "Splits", "check_labels", "hold_out", "seed_from", "stratify"]

AnyExamples = TypeVar("AnyExamples", bound="Examples")

DIGEST_BATCH = 1000  # number of examples that are hashed at a time
UNLABELED = -1  # class number of an example whose label is hidden, as scikit-learn has it


class AugmentedExamples(Protocol):
    """Examples that are augmented when they are read, not as a batch on the device.

    The augmentation depends on the epoch, so a batch is read by (index, epoch) pairs.
    """

    def __len__(self) -> int: ...

    def batch(self, indices: Sequence[tuple[int, int]]) -> tuple[Tensor, Tensor]: ...

    @property
    def remaining(self) -> "Augment":
        """The part of the augmentation that must still be applied to the batch on its device."""


class Examples(Protocol):
    """The examples of one split: a map-style dataset, which a plain `torch.utils.data.DataLoader` batches as well.

    `zoo.data.datamodule.DataModule` reads whole batches with `batch`. A class that inherits from this one must have
    `__len__`, `batch`, `labels` and `take`. It inherits the rest, for examples without image files: nothing to decode,
    all augmentation on the device. But `renumbered` and `with_labels` raise NotImplementedError unless the class
    defines them; ``zoo evaluate`` needs them for data with another list of classes than the checkpoint. The same holds
    for `relabeled`, which pseudo-labels need.
    """

    def __len__(self) -> int: ...

    def batch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """A collated batch: raw inputs, N x shape, and their N class numbers or N x num_targets values."""
        ...

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """One example: its raw input, and its class number or num_targets values. Raises IndexError if out of range."""
        x, y = self.batch([index])
        return x[0], y[0]

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
        """A list of examples, as PyTorch's own DataLoader reads a batch before it collates it."""
        x, y = self.batch(indices)
        return list(zip(x, y, strict=True))

    def labels(self) -> Tensor:
        """The class numbers (or target values) of all examples; zeros (int64) if they have no labels."""
        ...

    def digest(self) -> str:
        """A hash of all examples in their order, as 32 hexadecimal digits."""
        digest = hashlib.blake2b(digest_size=16)
        for first in range(0, len(self), DIGEST_BATCH):
            for values in self.batch(range(first, min(first + DIGEST_BATCH, len(self)))):
                digest.update(f"{values.dtype} {tuple(values.shape)}".encode())
                digest.update(values.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def take(self: AnyExamples, indices: Sequence[int]) -> AnyExamples:
        """Only these examples, in this order."""
        ...

    def renumbered(self: AnyExamples, numbers: Tensor) -> AnyExamples:
        """The same examples; class k becomes class ``numbers[k]``."""
        raise NotImplementedError

    def with_labels(self: AnyExamples, columns: Tensor) -> AnyExamples:
        """The same examples with y @ ``columns`` as their labels; ``columns`` has the shape labels x new labels."""
        raise NotImplementedError

    def relabeled(self: AnyExamples, labels: Tensor) -> AnyExamples:
        """The same examples with other class numbers: N, int64."""
        raise NotImplementedError

    def with_preprocess(self: AnyExamples, preprocess: "Preprocess") -> AnyExamples:
        """The same examples, decoded and resized for ``preprocess``. Examples without files stay the same."""
        return self

    def augmented(self, augment: "Augment", seed: int) -> AugmentedExamples | None:
        """The examples, augmented when they are read; None if all of ``augment`` is applied on the device."""
        return None

    def loader(self) -> Any:
        """A loader of the user, which yields the batches in its own order; None: batches are read by index."""
        return None


@dataclass(frozen=True)
class InMemory(Examples):
    """Examples stored as two tensors: a batch is one indexing operation, without a Python loop over examples.

    Attributes:
        x: N x shape; uint8 for pixels (0 to 255), float32 for anything else.
        y: N class numbers (int64), N x num_targets real values (float32), or N x labels of 0 and 1 (float32).
    """

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.x[index], self.y[index]

    def batch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        chosen = torch.as_tensor(indices, device=self.x.device)
        return self.x[chosen], self.y[chosen]

    def labels(self) -> Tensor:
        return self.y

    def take(self, indices: Sequence[int]) -> "InMemory":
        return InMemory(*self.batch(indices))

    def renumbered(self, numbers: Tensor) -> "InMemory":
        return replace(self, y=numbers[self.y])

    def with_labels(self, columns: Tensor) -> "InMemory":
        return replace(self, y=self.y @ columns)

    def relabeled(self, labels: Tensor) -> "InMemory":
        return replace(self, y=labels)

    def to(self, device: torch.device) -> "InMemory":
        return replace(self, x=self.x.to(device), y=self.y.to(device))


@dataclass(frozen=True)
class Splits:
    """A dataset with its splits, as the ``load`` of a source returns it.

    Attributes:
        train: the training split.
        validation: the validation split, or None.
        test: the test split, or None.
        shape: shape of one input.
        classes: names of the classes, in the order of their numbers; empty for real-valued targets or without labels.
            With ``multi_label``, the names of the labels, in the order of the columns of y.
        num_targets: number of real target values for each input; 0 for classes or without labels.
        notes: notes about the data for the user, one line each.
        origins: name of a split (train, validation, test) -> where it comes from, in words; empty if not known.
        unlabeled: why the examples have no labels, in words; empty if they have labels.
        multi_label: whether an example may have any number of labels: y is then N x labels (float32), 1 where an
            example has the label and 0 elsewhere.
        groups: the group of each training example, such as the patient that an image is of; None: no groups.
            `zoo.data.folds` keeps the examples of a group together.
        table: how the columns of a table became inputs and targets; None if the data are not a table.
    """

    train: Examples
    validation: Examples | None
    test: Examples | None
    shape: tuple[int, ...]
    classes: tuple[str, ...] = ()
    num_targets: int = 0
    notes: tuple[str, ...] = ()
    origins: Mapping[str, str] = field(default_factory=dict)
    unlabeled: str = ""
    multi_label: bool = False
    groups: tuple[Hashable, ...] | None = None
    table: TableEncoding | None = None

    @property
    def labeled(self) -> bool:
        """Whether the examples have labels: classes or target values."""
        return bool(self.classes or self.num_targets)

    @property
    def num_outputs(self) -> int:
        """Number of outputs that a net for these data needs: classes, labels or target values; 0 without labels."""
        return len(self.classes) or self.num_targets

    def existing(self) -> dict[str, Examples]:
        """The splits that exist, by name: train, validation, test."""
        splits = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: examples for name, examples in splits.items() if examples is not None}

    def fingerprints(self) -> dict[str, dict[str, Any]]:
        """Number of examples and digest of each split that exists: name -> {"count": n, "digest": hexadecimal digits}.

        Two datasets with equal digests have the same examples in the same order. The digest of image files is that of
        their paths below the folder of the dataset and of their class numbers, see `zoo.data.image_files.ImageFiles`.
        """
        return {
            name: {"count": len(examples), "digest": examples.digest()} for name, examples in self.existing().items()
        }

    def with_preprocess(self, preprocess: "Preprocess") -> "Splits":
        """The same splits, decoded and resized for ``preprocess``.

        Raises:
            ValueError: ``preprocess.interpolation`` is unknown.
        """
        # Convert each split that exists.
        train = self.train.with_preprocess(preprocess)
        validation = None if self.validation is None else self.validation.with_preprocess(preprocess)
        test = None if self.test is None else self.test.with_preprocess(preprocess)
        return replace(self, train=train, validation=validation, test=test)

    def with_classes(self, classes: Sequence[str]) -> "Splits":
        """The same splits, with the class numbers (or columns of labels) of another list, which must contain theirs.

        Raises:
            ValueError: a class is not in the list.
        """
        # Find the new number of each class.
        unknown = [name for name in self.classes if name not in classes]
        if unknown:
            raise ValueError(f"class {unknown[0]!r} is not among {', '.join(classes)}")
        numbers = torch.tensor([list(classes).index(name) for name in self.classes], dtype=torch.int64)
        if self.multi_label:
            # Move the column of each label to its new position; the other columns are 0.
            columns = torch.zeros(len(self.classes), len(classes))
            columns[torch.arange(len(numbers)), numbers] = 1
            splits = {name: examples.with_labels(columns) for name, examples in self.existing().items()}
        else:
            splits = {name: examples.renumbered(numbers) for name, examples in self.existing().items()}
        return replace(
            self,
            train=splits["train"],
            validation=splits.get("validation"),
            test=splits.get("test"),
            classes=tuple(classes),
        )

    def keep_labels(self, count: int, *, seed: int) -> "Splits":
        """The same splits with only ``count`` training examples, all classes in proportion.

        Args:
            count: number of training examples that are kept.
            seed: seeds the choice of examples.

        Raises:
            ValueError: the training split, or one of its classes, is too small.
        """
        option = "dataset.labeled_examples"
        if not self.labeled:
            raise ValueError(f"{option}={count}: the data have no labels")
        if count < 1:
            raise ValueError(f"{option}={count}: must be >= 1")
        # The name "labels" only seeds the draw; past results depend on it.
        _, kept = hold_out(self.train, count, split="labels", seed=seed, names=self.classes, option=option)
        assert kept is not None
        return replace(self, train=kept, groups=None)

    def hide_labels(self, count: int, *, seed: int) -> "Splits":
        """The same splits, in which all training examples but those of `keep_labels` have the class `UNLABELED`.

        Raises:
            ValueError: as `keep_labels`.
        """
        # Call `keep_labels` with the indices of the examples as inputs, which tells the indices of those that it keeps.
        labels = self.train.labels()
        numbered = replace(self, train=InMemory(torch.arange(len(labels)), labels))
        kept, classes = numbered.keep_labels(count, seed=seed).train.batch(range(count))
        hidden = torch.full_like(labels, UNLABELED)
        hidden[kept] = classes
        return replace(self, train=self.train.relabeled(hidden))
