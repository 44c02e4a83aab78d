"""Find the image files that a table names: which column has them, and where they are."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from zoo.data.image_tree import SUFFIXES
from zoo.data.tables.table_file import Table

SAMPLE = 100  # number of rows by which the column of files is guessed
KEY = "dataset.file_column"


class ListedImages(NamedTuple):
    """The image files of a table.

    Attributes:
        files: the path of each row's image.
        folder: the folder that contains all of them.
        column: the column that names them.
        missing: rows whose file does not exist.
        notes: what was guessed, one line each.
    """

    files: list[Path]
    folder: Path
    column: str
    missing: list[int]
    notes: list[str]


def file_column(table: Table) -> str | None:
    """The first column whose cells are names of images, by their suffix; None if there is none."""
    for name, cells in table.columns.items():
        some = cells[:SAMPLE]
        if some and all(Path(cell).suffix.lower() in SUFFIXES for cell in some):
            return name
    return None


def find(table: Table, *, column: str | None = None, root: str | None = None) -> ListedImages:
    """The image files that a table names.

    Args:
        table: the table.
        column: the column with the paths of the files; None: the first one whose cells end like names of images. If
            the named column has no suffixes, files of that name with the suffix of an image are looked for.
        root: the folder that paths are relative to; None: the folder of the table.

    Raises:
        ValueError: no column has names of images, or a row has none.
    """
    # Choose the column.
    notes = []
    if column is None:
        column = file_column(table)
        if column is None:
            raise ValueError(
                f"{table.where}: no column has names of images ({', '.join(sorted(SUFFIXES)[:4])}, …); name one with "
                f"{KEY}=…"
            )
        notes.append(f"the images are named by the column {column}")
    cells = table.column(column, key=KEY)
    if "" in cells:
        raise ValueError(f"{table.where}: column {column!r} has no file in row {cells.index('') + 1}")

    # Find the files. Windows writes backslashes.
    base = Path(root) if root is not None else Path(table.where).parent
    if not base.is_dir():
        raise FileNotFoundError(f"dataset.image_root={base}: no such folder")
    files = [base / cell.replace("\\", "/") for cell in cells]
    if Path(cells[0]).suffix.lower() not in SUFFIXES:
        files, suffixes = _with_suffixes(files)
        notes += [f"the files have the suffix {', '.join(suffixes)}"] if suffixes else []
    files = [Path(os.path.normpath(file)) for file in files]
    missing = [row for row, file in enumerate(files) if not file.is_file()]

    # All files are below one folder, which is that of the table unless paths lead out of it.
    folder = Path(os.path.normpath(base))
    outside = [file for file in files if not file.is_relative_to(folder)]
    if outside:
        folder = Path(os.path.commonpath([folder.absolute(), *(file.absolute() for file in outside)]))
        files = [file.absolute() for file in files]
    return ListedImages(files, folder, column, missing, notes)


def _with_suffixes(files: Sequence[Path]) -> tuple[list[Path], list[str]]:
    """The files with the suffix of the first image of that name, and all suffixes that were added."""
    found, suffixes = [], set()
    for file in files:
        suffix = next((s for s in sorted(SUFFIXES) if file.with_name(file.name + s).is_file()), "")
        found.append(file.with_name(file.name + suffix))
        suffixes.add(suffix)
    return found, sorted(suffixes - {""})
