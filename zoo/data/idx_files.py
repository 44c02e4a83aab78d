"""Read the four files of MNIST or a dataset of the same format, under any of their usual names, compressed or not.

The format is IDX: a magic number, the number of dimensions, their sizes, then the bytes.
"""

import gzip
import zlib
from pathlib import Path
from typing import Any

import numpy as np

# File names of the images and labels of the training split (True) and the test split (False). `_find_one` also accepts
# variants of them.
FILES = {
    True: ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    False: ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
MAX_BYTES = 2**31  # maximum size of one decompressed file
MAGIC = b"\x00\x00\x08"  # begins a file of uint8 values; the next byte is the number of dimensions

Bytes = np.ndarray[Any, np.dtype[np.uint8]]


def find(folders: list[Path], *, train: bool) -> tuple[Path, Path] | None:
    """The files of a split, as (images, labels), in the first of the folders that has both; None if no folder has."""
    images, labels = FILES[train]
    for folder in folders:
        image_file = _find_one(folder, images)
        label_file = _find_one(folder, labels)
        if image_file is not None and label_file is not None:
            return image_file, label_file
    return None


def read(path: Path, *, dimensions: int) -> Bytes:
    """Read a file as an array of uint8.

    Args:
        path: an IDX file, compressed by gzip or not.
        dimensions: required number of dimensions: 3 for images, 1 for labels.

    Raises:
        ValueError: the file is damaged or too large, or it is not an IDX file with this number of dimensions.
    """
    try:
        content = _decompressed(path)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path}: the compressed file is damaged ({error}); delete it and run again") from error
    header = 4 + 4 * dimensions
    if content[:4] != MAGIC + bytes([dimensions]) or len(content) < header:
        raise ValueError(f"{path}: not an IDX file of bytes with {dimensions} dimensions")
    # Check the sizes that the header gives against the length of the file, before they are used.
    shape = [int.from_bytes(content[4 + 4 * k : 8 + 4 * k], "big") for k in range(dimensions)]
    expected = header + int(np.prod(shape, dtype=object))
    if len(content) != expected:
        raise ValueError(f"{path}: {len(content):,} bytes, but its header promises {expected:,}; the file is damaged")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape).copy()


def _find_one(folder: Path, name: str) -> Path | None:
    """The file ``name``, also with ``.idx`` for ``-idx``, with the suffix ``.gz``, or in a folder of its own name."""
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
        raise ValueError(f"{path}: larger than {MAX_BYTES:,} bytes, so not a file of MNIST, Fashion-MNIST or KMNIST")
    return content
