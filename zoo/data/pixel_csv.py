"""CSV files with a pixel in each column, as in Kaggle's Digit Recognizer: read in parts, checked line by line."""

import warnings
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class Rows(NamedTuple):
    """Consecutive rows of a file: N x pixels bytes, and N labels where the file has that column."""

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


def read(path: str | Path, *, pixels: int, labelled: bool = False, part: int = 1024) -> Iterator[Rows]:
    """Rows in parts of ``part``, in the file's order.

    Args:
        path: a CSV with a header; a column ``label`` may stand anywhere, the other columns are the pixels in order.
        pixels: how many pixel columns there must be.
        labelled: whether the column ``label`` must be there.
        part: rows held in memory at a time.

    Raises:
        ValueError: ``label`` missing, a wrong number of columns, or a value that is no whole number from 0 to 255;
            the message names the file and the line.
    """
    names = header(path)
    has_label = "label" in names
    if labelled and not has_label:
        raise ValueError(f"{path}: no column 'label' (the first columns are {', '.join(names[:3])})")
    if len(names) - has_label != pixels:
        raise ValueError(f"{path}: {len(names) - has_label} pixel columns, expected {pixels}")
    with Path(path).open(encoding="utf-8-sig") as file:
        next(file)
        first = 2  # as an editor counts
        while lines := list(islice(file, part)):
            table = _parse(path, lines, first, columns=len(names))
            labels = None
            if has_label:
                column = names.index("label")
                labels, table = torch.from_numpy(table[:, column].copy()), np.delete(table, column, axis=1)
            wrong = np.argwhere((table < 0) | (table > 255))
            if len(wrong):
                row, column = wrong[0]
                raise ValueError(
                    f"{path}, line {first + row}: pixel {column} is {table[row, column]}, not within 0 to 255"
                )
            yield Rows(torch.from_numpy(table.astype(np.uint8)), labels)
            first += len(lines)


def _parse(path: str | Path, lines: list[str], first: int, *, columns: int) -> np.ndarray:
    for number, line in enumerate(lines, start=first):
        found = line.count(",") + 1
        if found != columns or not line.strip():
            found = found if line.strip() else 0
            raise ValueError(f"{path}, line {number}: {found} values, but the header has {columns}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", DeprecationWarning)  # by which older versions of NumPy read 3.5 as 3
            return np.loadtxt(lines, delimiter=",", dtype=np.int64, ndmin=2, comments=None)
    except (ValueError, DeprecationWarning) as error:
        for number, line in enumerate(lines, start=first):  # find the line to blame
            for value in line.strip().split(","):
                try:
                    int(value)
                except ValueError:
                    raise ValueError(f"{path}, line {number}: {value!r} is not a whole number") from None
        raise ValueError(f"{path}, line {first} or below: {error}") from error
