"""Read CSV files with one pixel per column, as in Kaggle's Digit Recognizer, in chunks, and check every line.

The files may be compressed by gzip, and separated by commas, semicolons or tabs.
"""

import gzip
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TextIO, cast

import numpy as np
import torch
from torch import Tensor

from zoo.data.pixel_columns import Columns, find_columns

# A line may have PER_COLUMN characters for each column, or SHORTEST_LIMIT if that is more. Without a limit, a large
# file without line breaks would be read into memory as a whole.
PER_COLUMN = 64
SHORTEST_LIMIT = 2**16
LARGEST = 2.0**53  # larger integers are not exact in float64
GZIP = b"\x1f\x8b"  # the first bytes of a compressed file

Table = np.ndarray[Any, np.dtype[np.int64]]


class Rows(NamedTuple):
    """Consecutive rows of a file: N x pixels uint8, and N labels if the file has that column."""

    pixels: Tensor
    labels: Tensor | None


def read(
    path: str | Path,
    *,
    pixels: int,
    labeled: bool = False,
    header: str = "auto",
    chunk_size: int = 1024,
    note: Callable[[str], None] | None = None,
) -> Iterator[Rows]:
    """Read a file in chunks, in its own order.

    Args:
        path: the CSV file. With a header, a column ``label`` may be anywhere, an index column is left out, and pixel
            columns are put in the order of the numbers in their names. Without one, all columns are pixels in order.
        pixels: required number of pixel columns.
        labeled: whether the column ``label`` is required.
        header: "true" or "false": whether the first line has names; "auto": guess it.
        chunk_size: number of rows in memory at a time.
        note: called with a line of text for each guess, such as whether there is a header.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: an error of `zoo.data.pixel_columns.find_columns`, a line is too long, or a value is not an integer
            in [0, 255]; the message names the file and the line.
    """
    limit = max(SHORTEST_LIMIT, PER_COLUMN * (pixels + 16))
    with _opened(path) as file:
        # Check the columns.
        first_line = _line(file, path, 1, limit)
        if not first_line.strip():
            raise ValueError(f"{path}: the file is empty" if not first_line else f"{path}, line 1: no values")
        try:
            columns = find_columns(first_line, pixels=pixels, labeled=labeled, header=header)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        if note is not None:
            for text in columns.notes:
                note(f"{path}: {text}")

        # Read the lines in chunks. Lines are counted from 1, as in an editor.
        waiting = None if columns.has_header else first_line
        first = 2 if columns.has_header else 1
        while lines := _chunk(file, path, waiting, first, columns, limit, chunk_size):
            yield _rows(path, _parse(path, lines, first, columns), first, columns)
            first += len(lines)
            waiting = None


@contextmanager
def _opened(path: str | Path) -> Iterator[TextIO]:
    """The text of a file, decompressed if it is compressed. Raises ValueError if it is not text, or damaged."""
    with Path(path).open("rb") as file:
        compressed = file.read(2) == GZIP
    try:
        # "utf-8-sig" leaves out the byte order mark that some programs write.
        if compressed:
            with gzip.open(path, "rt", encoding="utf-8-sig") as text:
                yield text
        else:
            with Path(path).open(encoding="utf-8-sig") as text:
                yield text
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a text file ({error.reason})") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path}: the compressed file is damaged ({error})") from error


def _line(file: TextIO, path: str | Path, number: int, limit: int) -> str:
    """The next line, or "" at the end of the file; ValueError if it is longer than ``limit``."""
    line = file.readline(limit + 1)
    if len(line) > limit:
        raise ValueError(f"{path}, line {number}: longer than {limit:,} characters, so not a row of pixels")
    return line


def _chunk(
    file: TextIO, path: str | Path, waiting: str | None, first: int, columns: Columns, limit: int, size: int
) -> list[str]:
    """Up to ``size`` lines, from line number ``first``. Blank lines at the end of the file are left out.

    If ``waiting`` is not None, it is the first of these lines, which has already been read.
    """
    lines: list[str] = []
    while len(lines) < size:
        number = first + len(lines)
        line = _line(file, path, number, limit) if waiting is None else waiting
        waiting = None
        if not line:
            break
        # NumPy's messages do not name the line, so the number of values is checked here.
        if not line.strip():
            if _only_blank_lines(file, path, number, limit):
                break
            raise ValueError(f"{path}, line {number}: 0 values, but the {_first(columns)} has {columns.count}")
        found = line.count(columns.separator) + 1
        if found != columns.count:
            raise ValueError(f"{path}, line {number}: {found} values, but the {_first(columns)} has {columns.count}")
        lines.append(line)
    return lines


def _first(columns: Columns) -> str:
    return "header" if columns.has_header else "first line"


def _only_blank_lines(file: TextIO, path: str | Path, number: int, limit: int) -> bool:
    """Whether all remaining lines are blank."""
    while line := _line(file, path, number, limit):
        if line.strip():
            return False
        number += 1
    return True


def _rows(path: str | Path, table: Table, first: int, columns: Columns) -> Rows:
    """Separate the labels, which come first, from the pixels, and check the range of the pixels."""
    labels = None
    if columns.label is not None:
        labels = torch.from_numpy(table[:, 0].copy())
        table = table[:, 1:]
    # Check the range before the values become bytes, which would wrap around.
    wrong = np.argwhere((table < 0) | (table > 255))
    if len(wrong):
        row, column = wrong[0]
        value = table[row, column]
        raise ValueError(f"{path}, line {first + row}: pixel {column} is {value}, must be in [0, 255]")
    return Rows(torch.from_numpy(table.astype(np.uint8)), labels)


def _parse(path: str | Path, lines: list[str], first: int, columns: Columns) -> Table:
    """Lines of text -> integers: the label, if there is one, and the pixels; ``first`` is the number of the first line.

    Other columns are not read: they may contain text.
    """
    # Some programs write every value in quotes.
    if any('"' in line for line in lines):
        lines = [line.replace('"', "") for line in lines]
    used = [*([] if columns.label is None else [columns.label]), *columns.pixels]

    def read_as(dtype: type) -> Any:
        return np.loadtxt(lines, delimiter=columns.separator, dtype=dtype, ndmin=2, comments=None, usecols=used)

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", DeprecationWarning)  # older versions of NumPy would read 3.5 as 3
            return cast(Table, read_as(np.int64))
    except (ValueError, DeprecationWarning) as error:
        # Integers may be written as 7.0.
        try:
            table = read_as(np.float64)
            if bool((np.abs(table) < LARGEST).all() and (table == table.round()).all()):
                return cast(Table, table.astype(np.int64))
        except ValueError:
            pass
        # Find the first value that is not an integer.
        for number, line in enumerate(lines, start=first):
            values = line.strip("\r\n").split(columns.separator)
            for column in sorted(used):
                reason = _not_an_integer(values[column].strip())
                if reason:
                    raise ValueError(f"{path}, line {number}: {reason}") from None
        raise ValueError(f"{path}, line {first} or below: {error}") from error


def _not_an_integer(text: str) -> str:
    """Why a value is not an integer, or ""."""
    try:
        value = float(text)
    except ValueError:
        return f"{text!r} is not an integer"
    if abs(value) >= LARGEST:
        return f"{text!r} is too large"
    return "" if value.is_integer() and "_" not in text else f"{text!r} is not an integer"
