"""Read a table with named columns from a CSV or Parquet file, as text.

A CSV may be compressed by gzip, and separated by commas, semicolons, tabs or vertical bars. Parquet needs pyarrow.
"""

import csv
import gzip
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, time
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TextIO

SEPARATORS = (",", ";", "\t", "|")
CSV_SUFFIXES = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".txt", ".txt.gz", ".data")
PARQUET_SUFFIXES = (".parquet", ".pq")
GZIP = b"\x1f\x8b"  # the first bytes of a compressed file
NAMES_SHOWN = 10  # maximum number of columns that a message names
MAX_CELL = 2**17  # characters, the limit of the csv module
MAX_LINE = 2**24  # characters
DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")
# Cells that stand for a missing value, in lower case.
MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "?"})


@dataclass(frozen=True)
class Table:
    """A table in memory.

    Attributes:
        where: the file or dataset that it comes from, for messages.
        columns: name -> the cells of the column; "" is a missing value. All columns have the same length.
        notes: what was guessed, one line each.
    """

    where: str
    columns: Mapping[str, Sequence[str]]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    def take(self, rows: Sequence[int]) -> "Table":
        """Only these rows, in this order."""
        return Table(self.where, {name: [cells[k] for k in rows] for name, cells in self.columns.items()}, self.notes)

    def column(self, name: str, *, key: str) -> Sequence[str]:
        """The cells of a column. Raises ValueError if there is none; ``key`` is the config key that names it."""
        if name not in self.columns:
            near = get_close_matches(name, list(self.columns), n=4, cutoff=0.5)
            names = list(self.columns)
            hint = f"did you mean {' or '.join(near)}?" if near else f"the columns are {', '.join(names[:NAMES_SHOWN])}"
            more = ", …" if not near and len(names) > NAMES_SHOWN else ""
            raise ValueError(f"{key}={name}: no such column in {self.where}; {hint}{more}")
        return self.columns[name]


def is_table(path: Path) -> bool:
    """Whether a file is a CSV or Parquet file, by its name."""
    return path.name.lower().endswith((*CSV_SUFFIXES, *PARQUET_SUFFIXES))


def read(path: str | Path, *, header: str = "auto", key: str = "dataset.root") -> Table:
    """Read a whole file.

    Args:
        path: the file.
        header: "true" or "false": whether the first line of a CSV has the names of the columns. "auto": it does, unless
            all its cells are numbers. Without names, the columns are called column0, column1, …
        key: the config key that names the file, for messages.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, empty or not a table, its rows differ in length, or two columns have one name.
    """
    path = Path(path)
    if path.is_dir():
        raise FileNotFoundError(f"{key}={path} is a folder; name a .csv or .parquet file")
    if not path.is_file():
        raise FileNotFoundError(f"{key}={path}: no such file; name a .csv, .csv.gz, .tsv or .parquet file")
    table = _read_parquet(path) if path.name.lower().endswith(PARQUET_SUFFIXES) else _read_csv(path, header)
    if not len(table):
        raise ValueError(f"{path}: no rows below the header")
    return table


def _read_csv(path: Path, header: str) -> Table:
    """A table from a CSV file."""
    notes: list[str] = []
    with opened(path) as file:
        # The separator is the one that the first line has most often.
        first_line = file.readline(MAX_CELL)
        separator = max(SEPARATORS, key=first_line.count)
        file.seek(0)
        reader = csv.reader(_lines(path, file), delimiter=separator, strict=True)
        rows = _rows(path, reader)
        names = [name.strip() for name in next(rows, [])]
        if not any(names):
            raise ValueError(f"{path}: the first line is empty; it must have the names of the columns")

        # Without names, the first line is a row of values.
        has_names = header == "true" or (header == "auto" and not all(is_number(name) for name in names))
        cells: list[list[str]] = []
        if not has_names:
            cells.append(names)
            names = [f"column{k}" for k in range(len(names))]
            if header == "auto":
                notes.append(
                    f"{path}: the first line has numbers only, so the columns are called column0, column1, …; "
                    "header=true takes the line as names"
                )
        _check_names(path, names)
        for row in rows:
            if len(row) != len(names):
                raise ValueError(f"{path}, line {reader.line_num}: {len(row)} cells, but {len(names)} columns")
            cells.append(row)

    # Transpose. Where commas do not separate, they may be decimal.
    columns = [[_cell(text) for text in column] for column in zip(*cells, strict=True)] or [[] for _ in names]
    if separator != ",":
        columns, converted = _with_points(columns)
        if converted:
            notes.append(f"{path}: commas in numbers are decimal commas, as in {converted}")
    # A first column without a name is an index, as pandas writes it.
    table = dict(zip(names, columns, strict=True))
    if "" in table:
        del table[""]
        notes.append(f"{path}: the column without a name is left out")
    return Table(str(path), table, tuple(notes))


def _read_parquet(path: Path) -> Table:
    """A table from a Parquet file."""
    try:
        from pyarrow import ArrowException, parquet
    except ModuleNotFoundError as error:
        raise ValueError(f"{path}: Parquet needs pyarrow: pip install 'reference-zoo[parquet]'") from error
    try:
        content: Any = parquet.read_table(path)
        names = [str(name) for name in content.column_names]
        _check_names(path, names)
        columns = {name: content.column(k).to_pylist() for k, name in enumerate(names)}
    except (ArrowException, OSError, OverflowError) as error:
        raise ValueError(f"{path}: not a readable Parquet file ({str(error).partition(chr(10))[0]})") from error
    index = [name for name in columns if name.startswith("__index_level_")]
    notes = [f"{path}: the index {', '.join(index)} is left out"] if index else []
    return Table(
        str(path),
        {name: [_text(value, path, name) for value in cells] for name, cells in columns.items() if name not in index},
        tuple(notes),
    )


@contextmanager
def opened(path: Path) -> Iterator[TextIO]:
    """The file as text. Errors of its encoding and compression become ValueError."""
    with path.open("rb") as file:
        compressed = file.read(2) == GZIP
    try:
        # A byte-order mark, as spreadsheets write it, is not part of the first name.
        if compressed:
            with gzip.open(path, "rt", encoding="utf-8-sig", newline="") as stream:
                yield stream
        else:
            with path.open(encoding="utf-8-sig", newline="") as stream:
                yield stream
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 (byte {error.start}); save the table as CSV in UTF-8") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path}: the compressed file is damaged ({error})") from error


def _lines(path: Path, file: TextIO) -> Iterator[str]:
    """The lines of a file. Raises ValueError for a line that is too long, so that no file of one line fills memory."""
    while line := file.readline(MAX_LINE):
        if len(line) == MAX_LINE:
            raise ValueError(f"{path}: a line has {MAX_LINE:,} characters or more, so this is not a table")
        yield line


def _rows(path: Path, reader: Any) -> Iterator[list[str]]:
    """The rows of a CSV without empty lines. Raises ValueError with the line of an error."""
    try:
        yield from (row for row in reader if row)
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num}: not a CSV ({error})") from error


def _check_names(path: Path, names: Sequence[str]) -> None:
    """Raise ValueError if there is no column, two columns have one name, or a name is not printable."""
    if not names:
        raise ValueError(f"{path}: a table without columns")
    name, count = Counter(names).most_common(1)[0]
    if count > 1:
        raise ValueError(f"{path}: {count} columns are called {name!r}; names must differ")
    unclear = next((name for name in names if not name.isprintable()), None)
    if unclear is not None:
        raise ValueError(f"{path}: the name of column {unclear!r} has characters that cannot be printed")


def some_rows(rows: Sequence[int]) -> str:
    """The first row, and the number of the others, to follow the word "in"."""
    more = len(rows) - 1
    if not more:
        return f"row {rows[0]}"
    return f"row {rows[0]} and in {more:,} other {'row' if more == 1 else 'rows'}"


def is_number(text: str) -> bool:
    """Whether a cell is a number; NaN and infinity count as numbers."""
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text


def _cell(text: str) -> str:
    """A cell without surrounding spaces; "" for a missing value."""
    text = text.strip()
    return "" if text.lower() in MISSING else text


def _text(value: Any, path: Path, name: str) -> str:
    """A value of a Parquet file as a cell."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (date, datetime, time)):
        return value.isoformat()
    if isinstance(value, (list, dict, bytes)):
        raise ValueError(f"{path}: column {name!r} has values of type {type(value).__name__}, not numbers or text")
    return _cell(str(value))


def _with_points(columns: list[list[str]]) -> tuple[list[list[str]], str]:
    """The columns with points in place of decimal commas, and an example of such a number, or ""."""
    example = ""
    for k, cells in enumerate(columns):
        commas = [cell for cell in cells if "," in cell]
        if commas and all(not cell or DECIMAL_COMMA.fullmatch(cell) or is_number(cell) for cell in cells):
            columns[k] = [cell.replace(",", ".") for cell in cells]
            example = example or commas[0]
    return columns, example
