"""Divide the rows of a table or list into splits: by a column, by folds, or at random in proportion to the classes."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from zoo.data import folds as cross_validation
from zoo.data.folder_layout import split_of
from zoo.data.stratify import stratify
from zoo.data.tables.table_file import Table

KEY = "dataset.split_column"
TEST = 0.2  # fraction of the examples that is held out as the test split by default


@dataclass
class Division:
    """The rows of each split, by name: train, validation, test. A split without rows is missing.

    Attributes:
        rows: the rows of each split.
        origins: where each split comes from, in words.
        notes: what is missing in a split, one line each.
    """

    rows: dict[str, list[int]]
    origins: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def held_out_size(test: float | None, *, has_validation: bool) -> tuple[float, str]:
    """The size of the test split to hold out of the training examples, if the data come without one.

    Data that come with a validation split are divided already, so by default nothing is held out of their training
    examples.

    Args:
        test: ``dataset.test``; None: `TEST`, or 0 if the data come with a validation split.
        has_validation: whether the data come with a validation split.

    Returns:
        The size, and why it is 0 where the user has not asked for that; "" otherwise.
    """
    if test is not None:
        return test, ""
    if not has_validation:
        return TEST, ""
    return 0.0, (
        f"the data have a validation split and no test split; dataset.test={TEST:g} would hold out {100 * TEST:g} % of "
        "the training examples"
    )


def divide(
    table: Table,
    labels: Sequence[int],
    *,
    test: float | None,
    validation: float,
    names: Sequence[str] = (),
    groups: str | None = None,
    split_column: str | None = None,
    fold: int | None = None,
    folds: int | None = None,
) -> Division:
    """Divide the rows of a table.

    Args:
        table: the table.
        labels: the class number of each row, or all 0.
        test: a fraction (< 1) or number of all rows; used if the column has no test split. None: 20 %, or 0 if the
            column has a validation split.
        validation: a fraction (< 1) or number of the rows that the test split leaves; used if the column has no
            validation split and there are no folds.
        names: names of the classes, for messages.
        groups: the column with the group of each row, which is in one split only; None: no groups.
        split_column: the column with the split of each row, such as train, val or test; None: none.
        fold, folds: as for `zoo.data.folds.take_fold`; None: no folds.

    Raises:
        ValueError: no such column, a split that the column does not name in the usual way, or an invalid size.
    """
    cells = None if groups is None else table.column(groups, key="dataset.groups")
    if cells is not None and "" in cells:
        raise ValueError(f"{table.where}: column {groups!r} (dataset.groups) has no value in row {cells.index('') + 1}")
    found = Division({"train": list(range(len(table)))})
    if split_column is not None:
        found = _by_column(table, split_column)
    if cells is not None:
        _refuse_shared(table, found.rows, cells)

    def hold_out(split: str, size: float) -> None:
        """Move ``size`` of the training rows to ``split``."""
        rows = found.rows["train"]
        own = [labels[row] for row in rows]
        if cells is not None:
            rest, taken = cross_validation.hold_out_groups(own, [cells[row] for row in rows], size, split=split)
        else:
            rest, taken = stratify(own, size, split=split, names=names)
        found.rows["train"] = [rows[k] for k in rest]
        found.rows[split] = [rows[k] for k in taken]
        how = "whole groups" if cells is not None else "in proportion to the classes" if names else "at random"
        found.origins[split] = f"{f'{100 * size:.4g} %' if size < 1 else f'{int(size):,} rows'} of {table.where}, {how}"
        found.origins["train"] = "the other rows"

    # The test split first, so that it does not depend on the size of the validation split.
    if "test" not in found.rows:
        size, reason = held_out_size(test, has_validation="validation" in found.rows)
        if size:
            hold_out("test", size)
        elif reason:
            found.origins["test"] = reason
    if fold is not None and folds is not None:
        cross_validation.check_fold(fold, folds)
        # A validation split of the column is a part of the folds.
        rows = sorted(found.rows["train"] + found.rows.pop("validation", []))
        own = [labels[row] for row in rows]
        numbers = cross_validation.fold_numbers(own, folds, groups=None if cells is None else [cells[k] for k in rows])
        found.rows["train"] = [row for row, number in zip(rows, numbers, strict=True) if number != fold]
        found.rows["validation"] = [row for row, number in zip(rows, numbers, strict=True) if number == fold]
        found.origins["validation"] = cross_validation.origin(
            fold, folds, stratified=bool(names), grouped=cells is not None
        )
        found.origins["train"] = "the other folds"
    elif "validation" not in found.rows and validation:
        hold_out("validation", validation)

    # Name the classes that a split lacks.
    for split in ("train", "validation"):
        if names and split in found.rows:
            present = [labels[row] for row in found.rows[split]]
            found.notes += cross_validation.missing_classes({split: present}, labels, names)
    return found


def _by_column(table: Table, name: str) -> Division:
    """The splits that a column names."""
    rows: dict[str, list[int]] = {}
    for row, cell in enumerate(table.column(name, key=KEY)):
        split = split_of(cell)
        if split is None:
            raise ValueError(f"{table.where}: {KEY}={name}, row {row + 1}: {cell!r} must be train, val or test")
        rows.setdefault(split, []).append(row)
    if "train" not in rows:
        raise ValueError(f"{table.where}: {KEY}={name}: no row is of the training split")
    return Division(rows, dict.fromkeys(rows, f"column {name} of {table.where}"))


def _refuse_shared(table: Table, rows: dict[str, list[int]], cells: Sequence[str]) -> None:
    """Raise ValueError if a group is in two of the given splits."""
    seen: dict[str, str] = {}
    for split, members in rows.items():
        for group in dict.fromkeys(cells[row] for row in members):
            if group in seen:
                raise ValueError(f"{table.where}: group {group!r} is in the {seen[group]} and in the {split} split")
            seen[group] = split
