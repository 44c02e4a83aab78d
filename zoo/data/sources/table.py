"""A table of the user: a CSV or Parquet file with one row for each example, and a column for each feature.

Numbers are features as they are; text is categories, one feature each. What depends on the data (categories, medians,
the scale of target values) is computed on the training split alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zoo.data.divide import divide
from zoo.data.splits import InMemory, Splits
from zoo.data.tables import table_columns, table_file, target_columns
from zoo.data.tables.table_columns import TableEncoding, some
from zoo.data.tables.table_file import Table
from zoo.data.tables.target_columns import Targets

MISSING = ("refuse", "impute", "drop")
INDEX_NAMES = {"id", "index", "rowid", "row_id"}  # columns of these names are left out if all their values differ
MIN_STD = 1e-12  # relative to the mean; target values that vary less are constant


def load(
    *,
    root: str,
    target: str | Sequence[str] | None = None,
    target_type: str = "auto",
    label_separator: str = "|",
    standardize_targets: bool = True,
    ignore: Sequence[str] = (),
    categorical: Sequence[str] = (),
    missing: str = "refuse",
    groups: str | None = None,
    split_column: str | None = None,
    header: Any = "auto",
    test: float | None = None,
    validation: float = 0.1,
    fold: int | None = None,
    folds: int | None = None,
    columns: Mapping[str, Any] | None = None,
) -> Splits:
    """Load a table.

    Args:
        root: the file.
        target: the column of targets, or a list of columns; None: there are no targets.
        target_type, label_separator: as for `zoo.data.tables.target_columns.read`.
        standardize_targets: whether real target values get mean 0 and std 1 over the training split.
        ignore: columns that are left out.
        categorical: columns of numbers that are categories.
        missing: "refuse" missing values, "impute" them (by the median of the training split, or a category of their
            own) or "drop" their rows.
        groups, split_column, test, validation, fold, folds: as for `zoo.data.divide.divide`.
        header: as for `zoo.data.tables.table_file.read`.
        columns: the encoding of a checkpoint, by `TableEncoding.to_dict`; None: it is computed on the training split.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not a table, a column is missing or cannot be used, or a split has an invalid size.
    """
    table = table_file.read(Path(root), header=str(header).lower())
    return from_table(
        table,
        target=target,
        target_type=target_type,
        label_separator=label_separator,
        standardize_targets=standardize_targets,
        ignore=ignore,
        categorical=categorical,
        missing=missing,
        groups=groups,
        split_column=split_column,
        test=test,
        validation=validation,
        fold=fold,
        folds=folds,
        columns=columns,
    )


def from_table(
    table: Table,
    *,
    target: str | Sequence[str] | None,
    target_type: str = "auto",
    label_separator: str = "|",
    standardize_targets: bool = True,
    ignore: Sequence[str] = (),
    categorical: Sequence[str] = (),
    missing: str = "refuse",
    groups: str | None = None,
    split_column: str | None = None,
    test: float | None = None,
    validation: float = 0.1,
    fold: int | None = None,
    folds: int | None = None,
    columns: Mapping[str, Any] | None = None,
) -> Splits:
    """`load` of a table in memory."""
    # Divide the columns into targets, inputs and columns that are not used.
    if missing not in MISSING:
        raise ValueError(f"dataset.missing={missing}: choose {', '.join(MISSING)}")
    if target_type not in target_columns.KINDS:
        raise ValueError(f"dataset.target_type={target_type}: choose {', '.join(target_columns.KINDS)}")
    stored = None if columns is None else TableEncoding.from_dict(columns)
    names = target_columns.as_names(target)
    if stored is not None:
        names = list(stored.targets)
        target_type = stored.kind or "auto"
    notes = list(table.notes)
    if stored is not None:
        inputs = [feature.name for feature in stored.features if feature.name in table.columns]
    else:
        inputs = _inputs(
            table, names, ignore=ignore, categorical=categorical, others=(groups, split_column), notes=notes
        )

    # Leave out rows with missing values, or refuse them.
    if missing == "drop":
        table = complete(table, [*inputs, *names], notes)
    targets = read_targets(table, names, kind=target_type, separator=label_separator)
    notes += targets.notes
    division = divide(
        table,
        targets.class_numbers,
        test=test,
        validation=validation,
        names=targets.classes if targets.kind == "classes" else (),
        groups=groups,
        split_column=split_column,
        fold=fold,
        folds=folds,
    )
    notes += division.notes

    # Encode the columns. Everything that is computed from the data is computed on the training split.
    train = division.rows["train"]
    encoding = stored
    if encoding is None:
        encoding, found = table_columns.fit(table, train, inputs, categorical=categorical, impute=missing == "impute")
        notes += found
        encoding = replace(encoding, targets=tuple(names), kind=targets.kind)
        if targets.kind == "values" and standardize_targets:
            encoding = _with_scale(encoding, targets.y[train], table, notes)
    x, found = encoding.encode(table)
    notes += found
    y = targets.y
    if encoding.mean:
        y = ((y.double() - torch.tensor(encoding.mean).double()) / torch.tensor(encoding.std).double()).float()
    splits = {split: InMemory(x[rows], y[rows]) for split, rows in division.rows.items()}
    return Splits(
        splits["train"],
        splits.get("validation"),
        splits.get("test"),
        (encoding.width,),
        targets.classes,
        targets.num_targets,
        notes=tuple(notes),
        origins=division.origins,
        unlabeled="" if names else "dataset.target names no column",
        multi_label=targets.kind == "labels",
        table=encoding,
    )


def _inputs(
    table: Table,
    targets: Sequence[str],
    *,
    ignore: Sequence[str],
    categorical: Sequence[str],
    others: Sequence[str | None],
    notes: list[str],
) -> list[str]:
    """The columns of the input: all that have no other use."""
    for key, names in (("ignore", ignore), ("categorical", categorical)):
        for name in names:
            table.column(name, key=f"dataset.{key}")
    left_out = {*targets, *ignore, *(name for name in others if name is not None)}
    names = [name for name in table.columns if name not in left_out]

    # A column that only names or numbers the rows does not help to predict new rows.
    index = [n for n in names if n.lower() in INDEX_NAMES and len(set(table.columns[n])) == len(table)]
    index = [name for name in index if name not in categorical]
    if index:
        notes.append(f"left out, since it numbers the rows: {some(index)}")
    names = [name for name in names if name not in index]
    if not names:
        raise ValueError(f"{table.where}: no columns are left for the input")
    return names


def complete(table: Table, names: Sequence[str], notes: list[str]) -> Table:
    """The rows without missing values in the columns ``names``."""
    columns = [table.column(name, key="dataset.target") for name in names]
    rows = [row for row in range(len(table)) if all(cells[row] for cells in columns)]
    if len(rows) == len(table):
        return table
    if not rows:
        raise ValueError(f"{table.where}: dataset.missing=drop: every row has a missing value")
    notes.append(f"{len(table) - len(rows):,} of {len(table):,} rows have missing values and are left out")
    return table.take(rows)


def read_targets(table: Table, names: Sequence[str], *, kind: str, separator: str) -> Targets:
    """The targets of all rows; zeros if there are no target columns."""
    if names:
        return target_columns.read(table, names, kind=kind, separator=separator)
    note = "dataset.target names no column: only models that need no labels can be trained"
    return Targets(torch.zeros(len(table), dtype=torch.int64), "", (), (note,))


def _with_scale(encoding: TableEncoding, y: Tensor, table: Table, notes: list[str]) -> TableEncoding:
    """The encoding with the mean and std of the target values of the training split."""
    values = y.double()
    mean, std = values.mean(dim=0), values.std(dim=0, correction=0)
    for k, name in enumerate(encoding.targets):
        if std[k] <= MIN_STD * mean[k].abs():
            raise ValueError(f"{table.where}: the target {name!r} has the same value in all rows of the training split")
    scales = [f"{name} {m:.4g} and {s:.4g}" for name, m, s in zip(encoding.targets, mean, std, strict=True)]
    notes.append(
        f"targets are standardized by the mean and std of the training split ({some(scales)}); metrics are in these "
        "units, zoo predict writes original values"
    )
    return replace(encoding, mean=tuple(mean.tolist()), std=tuple(std.tolist()))
