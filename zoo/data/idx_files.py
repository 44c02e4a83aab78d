"""The four files of MNIST and its relatives by any of their usual names, compressed or not.

The format is IDX: a magic number, the number of dimensions, their sizes, then the bytes.
"""

import gzip
import zlib
from pathlib import Path
from typing import Any

import numpy as np

# The names of images and labels of both splits, without what differs between distributions.
FILES = {
    True: ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    False: ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
MAX_BYTES = 2**31  # of one decompressed file
MAGIC = b"\x00\x00\x08"  # of bytes; the number of dimensions follows

Bytes = np.ndarray[Any, np.dtype[np.uint8]]


def find(folders: list[Path], *, train: bool) -> tuple[Path, Path] | None:
    """The files of images and labels of a split, in the first of the folders that has both; None if none has."""
    images, labels = FILES[train]
    for folder in folders:
        image_file = _find_one(folder, images)
        label_file = _find_one(folder, labels)
        if image_file is not None and label_file is not None:
            return image_file, label_file
    return None


def read(path: Path, *, dimensions: int) -> Bytes:
    """The array of bytes in a file.

    Raises:
        ValueError: the file is damaged, or not such a file.
    """
    try:
        content = _decompressed(path)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path}: the compressed file is damaged ({error}); delete it and run again") from error
    header = 4 + 4 * dimensions
    if content[:4] != MAGIC + bytes([dimensions]) or len(content) < header:
        raise ValueError(f"{path}: not an IDX file of bytes with {dimensions} dimensions")
    # The header gives sizes; the file must have as many bytes, so no size is trusted.
    shape = [int.from_bytes(content[4 + 4 * k : 8 + 4 * k], "big") for k in range(dimensions)]
    expected = header + int(np.prod(shape, dtype=object))
    if len(content) != expected:
        raise ValueError(f"{path}: {len(content):,} bytes, but its header promises {expected:,}; the file is damaged")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape).copy()


def _find_one(folder: Path, name: str) -> Path | None:
    """The file ``name``, also with a dot in place of its last hyphens, compressed, or in a folder of its own name."""
    for variant in (name, name.replace("-idx", ".idx")):
        for path in (folder / variant, folder / f"{variant}.gz", folder / variant / variant):
            if path.is_file():
                return path
    return None


def _decompressed(path: Path) -> bytes:
    """The content of a file, decompressed if it is compressed; ValueError if it is too large."""
    with path.open("rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
    with gzip.open(path) if compressed else path.open("rb") as stream:
        content = stream.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValueError(f"{path}: larger than {MAX_BYTES:,} bytes, so not a file of MNIST or its relatives")
    return content
