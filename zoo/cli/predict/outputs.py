"""The columns and rows of the CSV that ``zoo predict`` writes.

`Kaggle`: ``ImageId,Label``, the format of Kaggle's Digit Recognizer. `Classes`: file or row, class, probability.
`Labels`: file or row, the predicted labels, and the probability of each label.
`Values`: file or row, and the outputs of a regression or the features of a net without a head.
`Spreadsheet`: the rows of another format, with an apostrophe before cells that a spreadsheet would run as formulas.
"""

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TextIO

from torch import Tensor

THRESHOLD = 0.5  # minimum probability of a predicted label
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


class Columns(Protocol):
    """A format of the CSV."""

    def header(self, width: int) -> list[str]:
        """The names of the columns, for a net with ``width`` outputs."""
        ...

    def rows(self, names: Sequence[str], outputs: Tensor, labels: Sequence[str]) -> Iterator[list[Any]]:
        """The rows of a batch.

        Args:
            names: names of the inputs.
            outputs: probabilities, values or features, N x width.
            labels: the true classes, or empty if they are not known.
        """
        ...


@dataclass(frozen=True)
class Kaggle:
    """``ImageId,Label``: the number of a row and its class."""

    classes: Sequence[str]

    def header(self, width: int) -> list[str]:
        return ["ImageId", "Label"]

    def rows(self, names: Sequence[str], outputs: Tensor, labels: Sequence[str]) -> Iterator[list[Any]]:
        # Only the most likely class, without its probability.
        for name, k in zip(names, outputs.argmax(dim=1).tolist(), strict=True):
            yield [name, self.classes[k]]


@dataclass(frozen=True)
class Classes:
    """The ``top`` most likely classes with their probabilities, and the true class if it is known."""

    classes: Sequence[str]
    name_column: str  # "file" or "row"
    top: int
    labeled: bool

    def header(self, width: int) -> list[str]:
        # The first class has no number, so that the columns are the same for any ``top``.
        columns = [self.name_column, "class", "probability"]
        for rank in range(2, self.top + 1):
            columns += [f"class{rank}", f"probability{rank}"]
        return [*columns, "label"] if self.labeled else columns

    def rows(self, names: Sequence[str], outputs: Tensor, labels: Sequence[str]) -> Iterator[list[Any]]:
        # A stable sort, so that the first of equal probabilities comes first, as with argmax.
        p, order = outputs.sort(dim=1, descending=True, stable=True)  # both N x classes
        top_p = p[:, : self.top].tolist()
        top_classes = order[:, : self.top].tolist()
        # One row per input: class and probability in turn, then the label.
        for i, name in enumerate(names):
            row = [name]
            for k, probability in zip(top_classes[i], top_p[i], strict=True):
                row += [self.classes[k], f"{probability:.6f}"]
            yield [*row, labels[i]] if self.labeled else row


@dataclass(frozen=True)
class Labels:
    """The labels with a probability >= 0.5, separated by |, and the probability of each label."""

    labels: Sequence[str]
    name_column: str  # "file" or "row"

    def header(self, width: int) -> list[str]:
        return [self.name_column, "labels", *(f"probability_{name}" for name in self.labels)]

    def rows(self, names: Sequence[str], outputs: Tensor, labels: Sequence[str]) -> Iterator[list[Any]]:
        for name, row in zip(names, outputs.tolist(), strict=True):
            yield [name, label_list(self.labels, row), *(f"{p:.6f}" for p in row)]


def label_list(labels: Sequence[str], row: Sequence[float]) -> str:
    """The labels with a probability >= 0.5, separated by |, as in the targets of a table."""
    return "|".join(name for name, p in zip(labels, row, strict=True) if p >= THRESHOLD)


@dataclass(frozen=True)
class Values:
    """All outputs, in columns ``value0``, ``value1``, ... or ``feature0``, ``feature1``, ...

    If the net has one output, the column has no number: ``value`` or ``feature``.
    """

    name_column: str  # "file" or "row"
    value_column: str  # "value" or "feature"

    def header(self, width: int) -> list[str]:
        if width == 1:
            return [self.name_column, self.value_column]
        return [self.name_column, *(f"{self.value_column}{k}" for k in range(width))]

    def rows(self, names: Sequence[str], outputs: Tensor, labels: Sequence[str]) -> Iterator[list[Any]]:
        # Six significant digits, the precision of float32.
        for name, row in zip(names, outputs.tolist(), strict=True):
            yield [name, *(f"{value:.6g}" for value in row)]


@dataclass(frozen=True)
class Spreadsheet:
    """The rows of ``columns``, with an apostrophe before each name that a spreadsheet would run as a formula."""

    columns: Columns

    def header(self, width: int) -> list[str]:
        return self.columns.header(width)

    def rows(self, names: Sequence[str], outputs: Tensor, labels: Sequence[str]) -> Iterator[list[Any]]:
        for row in self.columns.rows(names, outputs, labels):
            yield [f"'{cell}" if is_formula(str(cell)) else cell for cell in row]


def is_formula(cell: str) -> bool:
    """Whether a spreadsheet may run a cell as a formula. Numbers such as -1 are not formulas."""
    if not cell.startswith(FORMULA_STARTS):
        return False
    try:
        float(cell)
    except ValueError:
        return True
    return False


def choose(
    format: str,
    *,
    classes: Sequence[str],
    name_column: str,
    value_column: str,
    top: int,
    labeled: bool,
    multi_label: bool = False,
    spreadsheet: bool = False,
) -> Columns:
    """The columns for a checkpoint.

    Args:
        format: "kaggle" or "table".
        classes: the classes of the checkpoint; empty if it has none.
        name_column: heading of the column of inputs: "file" or "row".
        value_column: heading of the outputs if there are no classes: "value" or "feature".
        top: number of classes to list.
        labeled: whether the true classes are known.
        multi_label: whether an input may have any number of the classes.
        spreadsheet: whether to put an apostrophe before cells that a spreadsheet would run as formulas.

    Raises:
        ValueError: the format does not suit the checkpoint, or ``top`` exceeds its number of classes.
    """
    # Any format can be combined with apostrophes before formulas.
    if spreadsheet:
        columns = choose(
            format,
            classes=classes,
            name_column=name_column,
            value_column=value_column,
            top=top,
            labeled=labeled,
            multi_label=multi_label,
        )
        return Spreadsheet(columns)

    # All labels with their probabilities, since each of them may apply.
    if multi_label:
        if format == "kaggle":
            raise ValueError(
                "format=kaggle has one class per row, but this checkpoint predicts several labels; use format=table"
            )
        if top > 1:
            raise ValueError(f"top={top} must be 1: the probabilities of all labels are listed")
        return Labels(classes, name_column)

    # Kaggle's format has one class per row.
    if format == "kaggle":
        if not classes:
            raise ValueError("format=kaggle needs a checkpoint with classes; use format=table")
        if top > 1:
            raise ValueError(f"top={top} must be 1 with format=kaggle; use format=table")
        return Kaggle(classes)

    # A table of classes, or of numbers if there are no classes.
    if classes:
        if top > len(classes):
            raise ValueError(f"top={top} must be <= {len(classes)}, the number of classes of the checkpoint")
        return Classes(classes, name_column, top, labeled)
    if top > 1:
        raise ValueError(f"top={top} must be 1: this checkpoint has no classes to rank")
    return Values(name_column, value_column)


def write_rows(file: TextIO, rows: Iterable[Sequence[Any]]) -> None:
    """Write rows of CSV; ``file`` must have been opened with ``newline=""``."""
    # Many readers end a row at a carriage return, but the csv module does not quote it.
    writer = csv.writer(file, lineterminator="\n")
    quoting_writer = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)
    for row in rows:
        has_return = any("\r" in str(cell) for cell in row)
        (quoting_writer if has_return else writer).writerow(row)
