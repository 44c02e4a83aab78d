"""Write the columns of ``zoo embed`` as an ``.npz`` archive or a Parquet file.

The number of inputs and the length of the longest name are in the header of an array, but known only after the last
batch. So each column is first written to a temporary file, and then copied in chunks: memory does not grow with the
number of inputs.
"""

import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

CHUNK = 2**20  # maximum number of values that are copied at a time, and in a row group of a Parquet file
CHUNK_ROWS = 8192  # maximum number of rows that are copied at a time

Array = np.ndarray[Any, Any]


class Numbers:
    """Rows of float32 numbers in a temporary file.

    Args:
        path: the file.
        width: number of values in a row.
    """

    def __init__(self, path: Path, width: int):
        self.path = path
        self.width = width
        self.file = path.open("wb")

    @property
    def dtype(self) -> "np.dtype[Any]":
        return np.dtype("<f4")

    @property
    def row(self) -> tuple[int, ...]:
        """The shape of one row."""
        return (self.width,)

    def add(self, values: Tensor | Sequence[str]) -> None:
        """Append N x width values."""
        assert isinstance(values, Tensor)
        self.file.write(values.numpy().astype("<f4", copy=False).tobytes())

    def chunks(self, rows: int) -> Iterator[Array]:
        """All rows, at most ``rows`` at a time."""
        self.file.flush()
        with self.path.open("rb") as file:
            while data := file.read(rows * self.width * 4):
                yield np.frombuffer(data, dtype="<f4").reshape(-1, self.width)

    def whole(self, count: int) -> Array:
        """All rows as an array that is read from the file when it is used, count x width."""
        self.file.flush()
        return np.memmap(self.path, dtype="<f4", mode="r", shape=(count, self.width))


class Texts:
    """Texts in a temporary file, each a line of JSON.

    Args:
        path: the file.
    """

    def __init__(self, path: Path):
        self.path = path
        self.longest = 1  # characters
        self.file = path.open("w", encoding="ascii")

    @property
    def dtype(self) -> "np.dtype[Any]":
        return np.dtype(f"<U{self.longest}")

    @property
    def row(self) -> tuple[int, ...]:
        """The shape of one row."""
        return ()

    def add(self, texts: Tensor | Sequence[str]) -> None:
        """Append texts."""
        assert not isinstance(texts, Tensor)
        self.longest = max([self.longest, *map(len, texts)])
        self.file.writelines(f"{json.dumps(text)}\n" for text in texts)

    def chunks(self, rows: int) -> Iterator[Array]:
        """All texts, at most ``rows`` at a time."""
        self.file.flush()
        with self.path.open(encoding="ascii") as file:
            while texts := [json.loads(line) for line in islice(file, rows)]:
                yield np.array(texts, dtype=self.dtype)

    def whole(self) -> list[str]:
        """All texts."""
        return [text for chunk in self.chunks(CHUNK_ROWS) for text in chunk.tolist()]


class Spool:
    """The columns of the output in temporary files, row by row.

    Args:
        base: path of the output's own temporary file; the names of the others begin with it.
    """

    def __init__(self, base: Path):
        self.base = base
        self.columns: dict[str, Numbers | Texts] = {}
        self.count = 0

    def add(self, columns: Mapping[str, Tensor | Sequence[str]]) -> None:
        """Append N rows: each column has N texts, or N x width numbers. The first call fixes the columns."""
        for name, values in columns.items():
            if name not in self.columns:
                path = self.base.with_name(f"{self.base.name}.{name}")
                self.columns[name] = Numbers(path, values.shape[1]) if isinstance(values, Tensor) else Texts(path)
            self.columns[name].add(values)
        self.count += len(next(iter(columns.values())))

    def remove(self) -> None:
        """Delete the temporary files."""
        for column in self.columns.values():
            column.file.close()
            column.path.unlink(missing_ok=True)


def write_npz(spool: Spool, path: Path) -> None:
    """Write an uncompressed archive with one array per column: N texts, or N x width float32."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, column in spool.columns.items():
            # ZipInfo has a fixed date, so the same features give the same bytes.
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                shape = (spool.count, *column.row)
                header = {"descr": column.dtype.str, "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(member, header)
                for chunk in column.chunks(_rows(spool)):
                    member.write(chunk.tobytes())


def write_parquet(spool: Spool, path: Path) -> None:
    """Write the columns as a Parquet file, each as texts or as lists of ``width`` float32.

    Raises:
        ValueError: pyarrow is not installed.
    """
    arrow, parquet = pyarrow(path)
    # A column of texts, or of lists of a fixed length.
    fields = []
    for name, column in spool.columns.items():
        kind = arrow.string() if isinstance(column, Texts) else arrow.list_(arrow.float32(), column.width)
        fields.append((name, kind))
    schema = arrow.schema(fields)

    # One row group per chunk.
    with parquet.ParquetWriter(path, schema) as writer:
        for chunks in zip(*(column.chunks(_rows(spool)) for column in spool.columns.values()), strict=True):
            arrays = [_arrow_array(arrow, kind, chunk) for (_, kind), chunk in zip(fields, chunks, strict=True)]
            writer.write_table(arrow.Table.from_arrays(arrays, schema=schema))


def pyarrow(output: Path) -> tuple[Any, Any]:
    """The modules ``pyarrow`` and ``pyarrow.parquet``; ValueError if they are not installed."""
    try:
        import pyarrow as arrow
        from pyarrow import parquet
    except ImportError as error:
        raise ValueError(f"output={output} needs pyarrow: pip install 'reference-zoo[parquet]'") from error
    return arrow, parquet


def _arrow_array(arrow: Any, kind: Any, chunk: Array) -> Any:
    """A chunk of a column as an array of pyarrow."""
    if chunk.ndim == 1:
        # Names of files may have bytes that are not valid text, which Parquet refuses.
        texts = [text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace") for text in chunk.tolist()]
        return arrow.array(texts, type=kind)
    return arrow.FixedSizeListArray.from_arrays(arrow.array(chunk.ravel()), type=kind)


def _rows(spool: Spool) -> int:
    """The number of rows in a chunk, such that each column has at most `CHUNK` values in it."""
    widest = max(prod(column.row) for column in spool.columns.values())
    return max(1, min(CHUNK_ROWS, CHUNK // max(1, widest)))
