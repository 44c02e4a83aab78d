"""Images that a table lists: a CSV or Parquet file with a column of paths, and columns of classes, labels or values."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from zoo.data import image_list
from zoo.data.audit import EXAMPLES_SHOWN, ImageCheck, LabeledFiles, bit_depth, duplicates, look_alikes, size_range
from zoo.data.divide import divide
from zoo.data.image_files import ImageFiles
from zoo.data.image_list import ListedImages
from zoo.data.sources.image_folder import check_files, checked_shape, try_bands
from zoo.data.sources.table import complete, read_targets
from zoo.data.splits import Splits
from zoo.data.tables import table_file, target_columns
from zoo.data.tables.table_file import Table


def load(
    *,
    root: str,
    shape: Sequence[int],
    file_column: str | None = None,
    image_root: str | None = None,
    target: str | Sequence[str] | None = None,
    target_type: str = "auto",
    label_separator: str = "|",
    missing: str = "refuse",
    groups: str | None = None,
    split_column: str | None = None,
    header: Any = "auto",
    test: float | None = None,
    validation: float = 0.1,
    fold: int | None = None,
    folds: int | None = None,
    on_bad_image: str = "refuse",
    check: bool = True,
) -> Splits:
    """Load images as uint8 of ``shape``.

    Args:
        root: the CSV or Parquet file.
        shape: channels, height and width to which every image is resized.
        file_column, image_root: as ``column`` and ``root`` of `zoo.data.image_list.find`.
        target: the column of targets, or a list of columns; None: the only other column of the table, if it has one.
        target_type, label_separator: as for `zoo.data.tables.target_columns.read`.
        missing: "refuse" a row without a target, or "drop" it.
        groups, split_column, test, validation, fold, folds: as for `zoo.data.divide.divide`.
        header: as for `zoo.data.tables.table_file.read`.
        on_bad_image, check: as for `zoo.data.sources.image_folder.load`. A file that does not exist is unreadable.

    Raises:
        FileNotFoundError: there is no such table, or a file that it names does not exist.
        ValueError: an argument is invalid, a column is missing or cannot be used, a file is named twice or cannot be
            read, or a split has an invalid size.
    """
    # Read the table, and find its files.
    shape = checked_shape(shape)
    if missing not in ("refuse", "drop"):
        raise ValueError(f"dataset.missing={missing}: choose refuse or drop")
    if on_bad_image not in ("refuse", "skip"):
        raise ValueError(f"dataset.on_bad_image={on_bad_image}: choose refuse or skip")
    table = table_file.read(Path(root), header=str(header).lower())
    notes = list(table.notes)
    listed = image_list.find(table, column=file_column, root=image_root)
    _refuse_twice(table, listed)
    names = _target(table, target, listed, others=(groups, split_column))
    notes += listed.notes
    if target is None and names:
        notes.append(f"the targets are in the column {names[0]}")

    # Leave out rows without a target or an image, or refuse them.
    checks, keep = _readable(table, listed, on_bad_image, check, notes)
    table = Table(table.where, {**table.columns, listed.column: list(map(str, listed.files))}).take(keep)
    if missing == "drop":
        table = complete(table, names, notes)
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

    # Make the splits, and look for images that are in two of them.
    files = np.array(table.columns[listed.column])
    sizes = size_range(checks.values())
    splits = {
        split: ImageFiles(files[rows], targets.y[torch.tensor(rows)], shape, root=str(listed.folder), sizes=sizes)
        for split, rows in division.rows.items()
    }
    try_bands(splits["train"])
    if check:
        numbers = targets.class_numbers
        labeled: dict[str, LabeledFiles] = {
            split: [(Path(files[row]), numbers[row]) for row in rows] for split, rows in division.rows.items()
        }
        notes += bit_depth(listed.folder, checks)
        notes += duplicates(labeled, checks, below=listed.folder)
        notes += look_alikes(labeled, checks, below=listed.folder)
    return Splits(
        splits["train"],
        splits.get("validation"),
        splits.get("test"),
        shape,
        targets.classes,
        targets.num_targets,
        notes=tuple(notes),
        origins=division.origins,
        unlabeled="" if names else "dataset.target names no column",
        multi_label=targets.kind == "labels",
    )


def _target(
    table: Table,
    target: str | Sequence[str] | None,
    listed: ListedImages,
    *,
    others: Sequence[str | None],
) -> list[str]:
    """The columns of targets. Without ``target``, the only other column, or none if there is no other column."""
    if target is not None:
        return target_columns.as_names(target)
    rest = [name for name in table.columns if name not in (listed.column, *others)]
    if len(rest) > 1:
        raise ValueError(
            f"{table.where}: name the column of targets with dataset.target=…; the columns besides {listed.column} are "
            + ", ".join(rest[: table_file.NAMES_SHOWN])
        )
    return rest


def _refuse_twice(table: Table, listed: ListedImages) -> None:
    """Raise ValueError if a file is in two rows: it could then be in two splits."""
    file, count = Counter(listed.files).most_common(1)[0]
    if count > 1:
        rows = [row for row, other in enumerate(listed.files, start=1) if other == file]
        raise ValueError(
            f"{table.where}: rows {rows[0]} and {rows[1]} name the same file, {file.relative_to(listed.folder)}; put "
            "all labels of an image into one row, such as a|b"
        )


def _readable(
    table: Table, listed: ListedImages, on_bad_image: str, check: bool, notes: list[str]
) -> tuple[dict[Path, ImageCheck], list[int]]:
    """The results of the check of all files, and the rows whose file can be read."""
    # Files that do not exist.
    missing = set(listed.missing)
    if missing:
        first = listed.missing[:EXAMPLES_SHOWN]
        shown = ", ".join(f"{listed.files[row].relative_to(listed.folder)} (row {row + 1})" for row in first)
        shown += ", …" if len(missing) > EXAMPLES_SHOWN else ""
        text = f"{table.where}: {len(missing):,} of {len(table):,} files do not exist below {listed.folder}: {shown}"
        if on_bad_image == "refuse":
            raise FileNotFoundError(
                f"{text}. Name their folder with dataset.image_root=…, or skip them with dataset.on_bad_image=skip"
            )
        notes.append(f"{text}; they are skipped")
    rows = [row for row in range(len(table)) if row not in missing]
    if not rows:
        raise ValueError(f"{table.where}: none of its files exists below {listed.folder}")
    if not check:
        return {}, rows

    # Files that cannot be read.
    found = {"train": [(listed.files[row], 0) for row in rows]}
    checks, problems = check_files(listed.folder, found, on_bad_image)
    notes += problems
    readable = [row for row in rows if not checks[listed.files[row]].problem]
    if not readable:
        raise ValueError(f"{table.where}: none of its files can be read")
    return checks, readable
