"""Read the targets of examples from columns of text: classes, several labels for each example, or real values."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from zoo.data.tables.table_columns import numbers_of
from zoo.data.tables.table_file import Table, is_number, some_rows

KINDS = ("auto", "classes", "values", "labels")
MAX_CLASSES = 10_000
FEW_INTEGERS = 20  # whole numbers with at most this many different values are taken as classes
MANY_TEXTS = 100  # a column with more different strings, most of which occur once, is not a column of classes
ZERO_ONE = {"0": 0.0, "1": 1.0, "0.0": 0.0, "1.0": 1.0, "false": 0.0, "true": 1.0, "no": 0.0, "yes": 1.0}


@dataclass(frozen=True)
class Targets:
    """The targets of all rows of a table.

    Attributes:
        y: N class numbers (int64), N x labels (float32, 0 or 1), or N x values (float32).
        kind: classes, labels or values.
        classes: names of the classes or labels; empty for values.
        notes: what was guessed, one line each.
    """

    y: Tensor
    kind: str
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def num_targets(self) -> int:
        """Number of real target values for each example; 0 for classes and labels."""
        return self.y.shape[1] if self.kind == "values" else 0

    @property
    def class_numbers(self) -> list[int]:
        """The class number of each row, by which splits are stratified; 0 for all rows without classes."""
        return self.y.tolist() if self.kind == "classes" else [0] * len(self.y)


def as_names(target: str | Sequence[str] | None) -> list[str]:
    """The names in ``dataset.target``, one or a list. Raises ValueError unless they are text."""
    names = [target] if isinstance(target, str) else target
    if names is None:
        return []
    if not isinstance(names, Sequence) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"dataset.target={target} must be the name of a column, or a list of names")
    return list(names)


def read(table: Table, names: Sequence[str], *, kind: str = "auto", separator: str = "|") -> Targets:
    """The targets in the columns ``names``.

    Args:
        table: the table.
        names: one column of classes, of values or of lists of labels; or several columns of values, or of labels.
        kind: classes, values or labels; "auto" guesses it: one column of text is classes, or labels if a cell contains
            ``separator``. One column of numbers is classes if they are whole numbers with at most `FEW_INTEGERS`
            different values, else values. Several columns are labels if all cells are 0 and 1, else values.
        separator: the text between two labels in a cell.

    Raises:
        ValueError: a value is missing or of another kind, or there are too many classes.
    """
    key = f"dataset.target={names[0] if len(names) == 1 else list(names)}"
    columns = [table.column(name, key="dataset.target") for name in names]
    note = ""
    if kind == "auto":
        kind, note = _guess(table, names, columns, separator)
    # Only a list of labels may be empty.
    if not (kind == "labels" and len(names) == 1):
        for name, cells in zip(names, columns, strict=True):
            _refuse_missing(table, name, cells)
    if kind == "values":
        values = [numbers_of(table, name, cells) for name, cells in zip(names, columns, strict=True)]
        return Targets(torch.from_numpy(np.stack(values, axis=1)).float(), kind, (), _notes(note))

    # Labels: a column each, or lists in one column.
    if kind == "labels":
        if len(names) > 1:
            return Targets(_columns_of_labels(table, names, columns), kind, tuple(names), _notes(note))
        lists = [[label.strip() for label in cell.split(separator) if label.strip()] for cell in columns[0]]
        classes = _sorted({label for labels in lists for label in labels})
        _refuse_many(table, key, classes, len(lists))
        number = {label: k for k, label in enumerate(classes)}
        y = torch.zeros(len(lists), len(classes))
        for row, labels in enumerate(lists):
            y[row, [number[label] for label in labels]] = 1
        return Targets(y, kind, classes, _notes(note))

    # Classes.
    if len(names) > 1:
        raise ValueError(f"{key}: classes are in one column; for several labels, set dataset.target_type=labels")
    classes = _sorted(set(columns[0]))
    _refuse_many(table, key, classes, len(table))
    number = {name: k for k, name in enumerate(classes)}
    return Targets(torch.tensor([number[cell] for cell in columns[0]]), kind, classes, _notes(note))


def _guess(table: Table, names: Sequence[str], columns: Sequence[Sequence[str]], separator: str) -> tuple[str, str]:
    """The kind of the targets, and a note that says what was guessed and how to change it."""
    if len(names) > 1:
        is_binary = all(cell.lower() in ZERO_ONE for cells in columns for cell in cells)
        if is_binary:
            return "labels", (
                "the targets are 0 and 1, so they are labels; for a regression, set dataset.target_type=values"
            )
        return "values", ""
    # One column of text.
    cells = [cell for cell in columns[0] if cell]
    name = names[0]
    if not all(is_number(cell) for cell in cells):
        if any(separator in cell for cell in cells):
            return "labels", (
                f"the column {name} has lists of labels, separated by {separator!r}; dataset.target_type=classes takes "
                "each list as one class"
            )
        return "classes", ""
    # One column of numbers.
    numbers = numbers_of(table, name, cells)
    distinct = len(np.unique(numbers))
    if distinct <= FEW_INTEGERS and bool((numbers == np.round(numbers)).all()):
        return "classes", (
            f"the column {name} has {distinct} different whole numbers, so they are classes; "
            "for a regression, set dataset.target_type=values"
        )
    is_whole = bool((numbers == np.round(numbers)).all())
    return "values", (
        f"the column {name} has {distinct:,} different whole numbers, so they are values to predict; "
        "for a classification, set dataset.target_type=classes"
        if is_whole
        else ""
    )


def _notes(note: str) -> tuple[str, ...]:
    return (note,) if note else ()


def _sorted(names: set[str]) -> tuple[str, ...]:
    """The names of classes: by value if all are numbers, else in alphabetical order."""
    if all(is_number(name) for name in names):
        return tuple(sorted(names, key=lambda name: (float(name), name)))
    return tuple(sorted(names))


def _refuse_missing(table: Table, name: str, cells: Sequence[str]) -> None:
    missing = [row for row, cell in enumerate(cells, start=1) if not cell]
    if missing:
        raise ValueError(
            f"{table.where}: the target {name!r} has no value in {some_rows(missing)}; dataset.missing=drop leaves "
            "such rows out"
        )


def _refuse_many(table: Table, key: str, classes: Sequence[str], rows: int) -> None:
    count = len(classes)
    if not count:
        raise ValueError(f"{table.where}: {key}: no row has a label")
    if count > MAX_CLASSES or (count > MANY_TEXTS and 2 * count > rows):
        raise ValueError(
            f"{table.where}: {key}: {count:,} different values in {rows:,} rows, such as {classes[0][:30]!r}: too many "
            "classes; name another column, or set dataset.target_type"
        )


def _columns_of_labels(table: Table, names: Sequence[str], columns: Sequence[Sequence[str]]) -> Tensor:
    """N x labels, from one column of 0 and 1 for each label."""
    for name, cells in zip(names, columns, strict=True):
        wrong = next(((row, cell) for row, cell in enumerate(cells, start=1) if cell.lower() not in ZERO_ONE), None)
        if wrong is not None:
            raise ValueError(f"{table.where}: label {name!r}, row {wrong[0]}: {wrong[1]!r} must be 0 or 1")
    return torch.tensor([[ZERO_ONE[cell.lower()] for cell in cells] for cells in columns]).T.contiguous()
