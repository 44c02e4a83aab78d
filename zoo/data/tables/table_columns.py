"""Turn the columns of a table into the features of a net: numbers as they are, categories as one feature each.

`fit` finds the kind of each column, the categories and the medians, and `TableEncoding.encode` applies them. Both are
stored in the checkpoint, so later tables are encoded in the same way, whatever the order of their columns.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo.data.tables.table_file import Table, is_number, some_rows

Numbers = np.ndarray[Any, np.dtype[np.float64]]
MAX_CATEGORIES = 100  # of a column
COMMA_NUMBER = re.compile(r"[+-]?\d[\d.]*,[\d.,]*")  # a decimal comma, or commas between thousands
FEW_CATEGORIES = 10  # a column with more of them, most of which occur only once or twice, names the rows
MAX_COLUMNS = 100_000
SHOWN = 5  # maximum number of columns that a message names
# Dates such as 2024-01-31, 31.1.2024 10:00 and times such as 10:00:00.
DATE = re.compile(r"\d{1,4}([-/.])\d{1,2}\1\d{1,4}([ T]\d{1,2}:\d{2}.*)?|\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?")


@dataclass(frozen=True)
class Feature:
    """A column that a net gets.

    Attributes:
        name: name of the column.
        categories: its categories, one feature each; None for a column of numbers. "" is a missing value.
        fill: the number that replaces a missing value: the median of the training split.
    """

    name: str
    categories: tuple[str, ...] | None = None
    fill: float = 0.0

    @property
    def width(self) -> int:
        """Number of features."""
        return 1 if self.categories is None else len(self.categories)


@dataclass(frozen=True)
class TableEncoding:
    """How the columns of a table become the inputs and targets of a net.

    Attributes:
        features: the columns of the input, in order.
        impute: whether missing values are replaced; they are refused otherwise.
        targets: names of the target columns.
        kind: kind of the targets: classes, values, labels, or "" without targets.
        mean, std: one number for each target value; targets are (value - mean) / std. Empty for other kinds.
    """

    features: tuple[Feature, ...]
    impute: bool = False
    targets: tuple[str, ...] = ()
    kind: str = ""
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    @property
    def width(self) -> int:
        """Number of features of an input."""
        return sum(feature.width for feature in self.features)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "TableEncoding":
        """The inverse of `to_dict`.

        Raises:
            ValueError: a value of the wrong type; the message begins with ``table``.
        """
        try:
            features = tuple(
                Feature(
                    _name(entry["name"]),
                    None if entry.get("categories") is None else tuple(map(_name, entry["categories"])),
                    _finite(entry.get("fill", 0.0)),
                )
                for entry in values["features"]
            )
            encoding = cls(
                features,
                bool(values.get("impute", False)),
                tuple(map(_name, values.get("targets", ()))),
                _name(values.get("kind", "")),
                tuple(map(_finite, values.get("mean", ()))),
                tuple(map(_finite, values.get("std", ()))),
            )
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"table: the description of the columns is damaged ({error!r})") from error
        if not features or encoding.width > MAX_COLUMNS or len(encoding.mean) != len(encoding.std):
            raise ValueError(f"table: must have 1 to {MAX_COLUMNS:,} features, and a std for each mean")
        return encoding

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        features = []
        for feature in self.features:
            entry: dict[str, Any] = {"name": feature.name}
            if feature.categories is not None:
                entry["categories"] = list(feature.categories)
            elif self.impute:
                entry["fill"] = feature.fill
            features.append(entry)
        return {
            "features": features,
            "impute": self.impute,
            "targets": list(self.targets),
            "kind": self.kind,
            "mean": list(self.mean),
            "std": list(self.std),
        }

    def encode(self, table: Table) -> tuple[Tensor, list[str]]:
        """The inputs, N x features in float32, and notes about replaced values, one line each.

        Raises:
            ValueError: columns are missing, a number is not finite in float32, a cell is not a number, or a value is
                missing and must not be.
        """
        absent = [feature.name for feature in self.features if feature.name not in table.columns]
        if absent:
            verb = "column" if len(absent) == 1 else "columns"
            raise ValueError(f"{table.where}: no {verb} {some(absent)}, which the net was trained on")
        x = np.zeros((len(table), self.width), dtype=np.float32)
        notes: list[str] = []
        first = 0
        for feature in self.features:
            cells = table.columns[feature.name]
            self._refuse_missing(table, feature.name, cells)
            x[:, first : first + feature.width] = (
                _filled(table, feature, cells, notes)
                if feature.categories is None
                else _one_hot(table, feature.name, cells, feature.categories, notes)
            )
            first += feature.width
        return torch.from_numpy(x), notes

    def _refuse_missing(self, table: Table, name: str, cells: Sequence[str]) -> None:
        missing = [row for row, cell in enumerate(cells, start=1) if not cell]
        if missing and not self.impute:
            raise ValueError(
                f"{table.where}: column {name!r} has no value in {some_rows(missing)}; train with "
                "dataset.missing=impute to replace such values, or with dataset.missing=drop to leave such rows out"
            )


def fit(
    table: Table,
    train: Sequence[int],
    names: Sequence[str],
    *,
    categorical: Sequence[str] = (),
    impute: bool = False,
) -> tuple[TableEncoding, list[str]]:
    """The encoding of the columns ``names``, and notes about what was guessed.

    Args:
        table: all rows. The kind of a column depends on all of them.
        train: the rows of the training split. Categories and medians depend on these alone.
        names: the columns of the input.
        categorical: columns of numbers that are categories.
        impute: whether missing values are replaced.

    Raises:
        ValueError: a column is empty, has dates, text among numbers or too many categories; the message says how to
            leave it out.
    """
    features = []
    for name in names:
        cells = table.columns[name]
        if not any(cells[k] for k in train):
            raise ValueError(f"{table.where}: column {name!r} has no value in the training split; {_ignore(name)}")
        if name not in categorical and _is_numeric(table, name, cells):
            numbers = numbers_of(table, name, cells)[list(train)]  # all are read, so that messages name the right row
            features.append(Feature(name, None, float(np.nanmedian(numbers)) if impute else 0.0))
        else:
            features.append(Feature(name, _categories(table, name, [cells[k] for k in train])))

    # Say which columns are categories.
    encoding = TableEncoding(tuple(features), impute)
    texts = [f"{f.name} ({f.width})" for f in features if f.categories is not None]
    notes = [f"categories, one feature each: {some(texts)}"] if texts else []
    return encoding, notes


def numbers_of(table: Table, name: str, cells: Sequence[str]) -> Numbers:
    """The numbers of a column; NaN for missing values. Raises ValueError for text, and for values beyond float32."""
    try:
        values = np.array([float(cell) if cell else np.nan for cell in cells])
    except ValueError:
        row, cell = next((row, cell) for row, cell in enumerate(cells, start=1) if cell and not is_number(cell))
        raise ValueError(f"{table.where}: column {name!r}, row {row}: {cell!r} is not a number") from None
    too_large = np.abs(values) > np.finfo(np.float32).max
    if too_large.any():
        raise ValueError(f"{table.where}: column {name!r}, row {int(too_large.argmax()) + 1}: not finite in float32")
    return values


def some(names: Sequence[str]) -> str:
    """The first names, and the number of the others."""
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _is_numeric(table: Table, name: str, cells: Sequence[str]) -> bool:
    """Whether a column has numbers. Raises ValueError for dates, and for text among numbers."""
    found = [cell for cell in cells if cell]
    strange = [cell for cell in found if not is_number(cell)]
    if not strange:
        return True
    if all(DATE.fullmatch(cell) for cell in found):
        raise ValueError(
            f"{table.where}: column {name!r} has dates or times, such as {found[0]!r}; convert them to numbers, such "
            f"as days, or {_ignore(name)}"
        )
    if 2 * len(strange) < len(found):
        row = next(row for row, cell in enumerate(cells, start=1) if cell == strange[0])
        raise ValueError(
            f"{table.where}: column {name!r} has {strange[0]!r} among numbers (row {row}); correct it, take the column "
            f"as categories with dataset.categorical=[{name}], or {_ignore(name)}"
        )
    return False


def _categories(table: Table, name: str, cells: Sequence[str]) -> tuple[str, ...]:
    """The categories of a column, sorted: numbers by value, then text. Raises ValueError if they are too many."""
    categories = sorted(set(cells), key=lambda cell: (not is_number(cell), float(cell) if is_number(cell) else 0, cell))
    count = len(categories)
    # Numbers with commas, such as "0,5" in quotes, are text.
    commas = all(COMMA_NUMBER.fullmatch(cell) for cell in categories if cell)
    fix = "write numbers without commas, as in 1234.5, or " if commas else ""
    if count > MAX_CATEGORIES or (count > FEW_CATEGORIES and 2 * count > len(cells)):
        raise ValueError(
            f"{table.where}: column {name!r} has {count:,} different values in {len(cells):,} rows, such as "
            f"{categories[0][:30]!r}: too many categories; {fix}{_ignore(name)}"
        )
    return tuple(categories)


def _filled(table: Table, feature: Feature, cells: Sequence[str], notes: list[str]) -> Numbers:
    """A column of numbers with replaced missing values, N x 1."""
    values = numbers_of(table, feature.name, cells)
    missing = np.isnan(values)
    if missing.any():
        values[missing] = feature.fill
        notes.append(
            f"column {feature.name}: {_values(int(missing.sum()))} replaced by {feature.fill:g}, the median of the "
            "training split"
        )
    return values[:, None]


def _one_hot(
    table: Table, name: str, cells: Sequence[str], categories: Sequence[str], notes: list[str]
) -> np.ndarray[Any, np.dtype[np.float32]]:
    """A column of categories, N x categories; a row of zeros for a category that is not among them."""
    position = {category: k for k, category in enumerate(categories)}
    # 1 and 1.0 are the same category.
    by_value = {float(category): k for category, k in position.items() if is_number(category)}
    found = [position.get(cell, by_value.get(float(cell), -1) if is_number(cell) else -1) for cell in cells]
    unknown = sorted({cell for cell, k in zip(cells, found, strict=True) if k < 0})
    if unknown:
        count = found.count(-1)
        rows = "1 row has" if count == 1 else f"{count:,} rows have"
        notes.append(
            f"column {name}: {rows} a value that the training split does not have "
            f"({some([cell or 'missing' for cell in unknown])}); all features of the column are 0 there"
        )
    # The last row is for unknown categories.
    one_hot = np.vstack([np.eye(len(categories), dtype=np.float32), np.zeros((1, len(categories)), dtype=np.float32)])
    return one_hot[found]


def _values(count: int) -> str:
    return "1 missing value is" if count == 1 else f"{count:,} missing values are"


def _ignore(name: str) -> str:
    return f"leave it out with dataset.ignore=[{name}]"


def _name(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a string")
    return value


def _finite(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 3.4e38:
        raise TypeError(f"{value!r} is not a finite number")
    return float(value)
