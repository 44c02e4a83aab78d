"""Read a list of images for ``zoo predict``: a CSV or Parquet file with a column of paths."""

import csv
from pathlib import Path
from typing import NamedTuple

from zoo.checkpoints.checkpoint import CheckpointInfo
from zoo.cli.checkpoint_task import is_multi_label
from zoo.data import image_list
from zoo.data.image_tree import SUFFIXES
from zoo.data.tables import table_file
from zoo.data.tables.table_file import Table

PEEKED = 2**16  # characters of a line that are read to find names of images


class Listed(NamedTuple):
    """The images of a list, and the classes that it gives them.

    Attributes:
        files: the paths, in the order of the rows.
        folder: the folder that contains all of them.
        labels: path relative to ``folder`` -> class; empty if the list has no column of classes.
        notes: what was guessed, one line each.
    """

    files: list[Path]
    folder: Path
    labels: dict[str, str]
    notes: list[str]


def find(source: Path, about: CheckpointInfo, *, header: str) -> Listed | None:
    """The images of ``input=``; None if it is not a list of images, or the checkpoint does not take images.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not a table, or has no column of images.
    """
    config = about.dataset_config
    is_list = config.get("name") == "image_list"
    if len(about.transforms().shape) != 3 or not table_file.is_table(source) or not source.is_file():
        return None
    if not is_list and not _names_images(source):
        return None

    # The columns of the training list have these roles here, too.
    table = table_file.read(source, header=header, key="input")
    column = config.get("file_column") if is_list else None
    column = column if column in table.columns else None
    # `image_list.find` would name a key that this command does not have.
    if column is None and image_list.file_column(table) is None:
        raise ValueError(
            f"{source}: no column has names of images, such as photos/1.png; the checkpoint was trained on a list of "
            "images"
        )
    listed = image_list.find(table, column=column)
    names = [str(file.relative_to(listed.folder)) for file in listed.files]
    labels, notice = _labels(table, listed.column, names, about)
    notes = [*table.notes, *listed.notes, *([notice] if notice else [])]
    return Listed(listed.files, listed.folder, labels, notes)


def _names_images(source: Path) -> bool:
    """Whether the second line of a CSV, or a column of a Parquet file, has a name with the suffix of an image."""
    if source.name.lower().endswith(table_file.PARQUET_SUFFIXES):
        return image_list.file_column(table_file.read(source, key="input")) is not None
    with table_file.opened(source) as file:
        first = file.readline(PEEKED)
        second = file.readline(PEEKED)
    separator = max(table_file.SEPARATORS, key=first.count)
    cells = next(csv.reader([second], delimiter=separator), [])
    return any(Path(cell.strip()).suffix.lower() in SUFFIXES for cell in cells)


def _labels(table: Table, column: str, names: list[str], about: CheckpointInfo) -> tuple[dict[str, str], str]:
    """The class of each image by its name, and a notice if a column of classes is not used."""
    # The column is that of the training list, or the only one besides the paths.
    target = about.dataset_config.get("target")
    rest = [name for name in table.columns if name != column]
    if not isinstance(target, str) or target not in table.columns:
        target = rest[0] if len(rest) == 1 else None
    if target is None or not about.classes or is_multi_label(about):
        return {}, ""
    unknown = sorted(set(table.columns[target]) - set(about.classes))
    if unknown:
        return {}, f"the column {target} is not used: {unknown[0] or 'an empty cell'} is not a class of the checkpoint"
    return dict(zip(names, table.columns[target], strict=True)), ""
