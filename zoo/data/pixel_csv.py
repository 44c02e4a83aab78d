"""Read CSV files with one pixel per column, as in Kaggle's Digit Recognizer, in chunks, and check every line."""

import warnings
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor


class Rows(NamedTuple):
    """Consecutive rows of a file: N x pixels uint8, and N labels if the file has that column."""

    pixels: Tensor
    labels: Tensor | None


def header(path: str | Path) -> list[str]:
    """The column names.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is empty or not text.
    """
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as file:
            names = [name.strip().strip('"') for name in file.readline().split(",")]
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a text file ({error.reason})") from error
    if names == [""]:
        raise ValueError(f"{path}: the file is empty")
    return names


def read(path: str | Path, *, pixels: int, labeled: bool = False, chunk_size: int = 1024) -> Iterator[Rows]:
    """Read the rows of a file in their order, in chunks.

    Args:
        path: a CSV with a header. A column ``label`` may be anywhere; all other columns are the pixels in order.
        pixels: required number of pixel columns.
        labeled: whether the column ``label`` is required.
        chunk_size: number of rows in memory at a time.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: ``label`` is missing, the number of columns is wrong, or a value is not an integer in [0, 255];
            the message names the file and the line.
    """
    # Check the columns.
    names = header(path)
    has_label = "label" in names
    if labeled and not has_label:
        raise ValueError(f"{path}: no column 'label' (the first columns are {', '.join(names[:3])})")
    if len(names) - has_label != pixels:
        raise ValueError(f"{path}: {len(names) - has_label} pixel columns, expected {pixels}")

    # Read the lines below the header in chunks. Lines are counted from 1, as in an editor.
    with Path(path).open(encoding="utf-8-sig") as file:
        next(file)
        first = 2
        while lines := list(islice(file, chunk_size)):
            table = _parse(path, lines, first, columns=len(names))
            # Separate the labels from the pixels.
            labels = None
            if has_label:
                column = names.index("label")
                labels = torch.from_numpy(table[:, column].copy())
                table = np.delete(table, column, axis=1)
            # Check the range before the values become bytes, which would wrap around.
            wrong = np.argwhere((table < 0) | (table > 255))
            if len(wrong):
                row, column = wrong[0]
                value = table[row, column]
                raise ValueError(f"{path}, line {first + row}: pixel {column} is {value}, must be in [0, 255]")
            yield Rows(torch.from_numpy(table.astype(np.uint8)), labels)
            first += len(lines)


def _parse(path: str | Path, lines: list[str], first: int, *, columns: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Lines of text -> rows x columns integers; ``first`` is the number of the first line."""
    # NumPy's messages do not name the line, so the number of values is checked here.
    for number, line in enumerate(lines, start=first):
        found = line.count(",") + 1 if line.strip() else 0
        if found != columns:
            raise ValueError(f"{path}, line {number}: {found} values, but the header has {columns}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", DeprecationWarning)  # older versions of NumPy would read 3.5 as 3
            return np.loadtxt(lines, delimiter=",", dtype=np.int64, ndmin=2, comments=None)
    except (ValueError, DeprecationWarning) as error:
        # Find the first value that is not an integer.
        for number, line in enumerate(lines, start=first):
            for value in line.strip().split(","):
                try:
                    int(value)
                except ValueError:
                    raise ValueError(f"{path}, line {number}: {value!r} is not an integer") from None
        raise ValueError(f"{path}, line {first} or below: {error}") from error
