"""Read the inputs of ``zoo predict``, ``embed`` and ``explain``: images, a CSV of pixels, or arrays, in raw batches."""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo.checkpoints.checkpoint import CheckpointInfo
from zoo.cli.predict import image_names
from zoo.data import arrays, image_tree, images
from zoo.data.preprocess import Preprocess
from zoo.data.sources import npz
from zoo.data.tables import pixel_csv
from zoo.protocols import shape_text

Batches = Iterator[tuple[list[str], Tensor]]  # the names of the rows of a raw batch, and the batch
Reader = Callable[[Path], Tensor]  # a file -> C x H x W bytes
Array = np.ndarray[Any, Any]
CSV_SUFFIXES = (".csv", ".csv.gz", ".tsv", ".tsv.gz")
ARRAY_SUFFIXES = (".npz", ".npy")
# Suffixes of files that are neither images nor tables of pixels: refuse them by name. Parquet files are read before
# this, if the checkpoint was trained on a table or the file is a list of images.
OTHER_SUFFIXES = {
    *(".zip", ".gz", ".bz2", ".xz", ".zst", ".tar", ".tgz", ".7z", ".rar"),
    *(".txt", ".json", ".jsonl", ".xls", ".xlsx", ".parquet", ".feather", ".pkl", ".pickle", ".mat", ".h5", ".hdf5"),
    *(".pt", ".pth", ".safetensors", ".onnx", ".pdf", ".mp4"),
}
TAKEN = "an image, a folder of images, a CSV of pixels (.csv, .csv.gz), an .npz file with the array x, or an .npy file"
THREADS = min(8, os.cpu_count() or 1)


def is_csv(source: Path) -> bool:
    """Whether a file is a CSV of pixels, by its name."""
    return source.name.lower().endswith(CSV_SUFFIXES)


def find(source: Path) -> tuple[list[Path], list[str]]:
    """The images of ``input=``, sorted, or an empty list if it is a CSV, an ``.npz`` or an ``.npy``.

    Returns:
        The images, and a note about the files of a folder that are skipped, if there are any.

    Raises:
        FileNotFoundError: no such file or folder.
        ValueError: a folder without images, or a file of another kind.
    """
    # A folder is searched with its subfolders.
    if source.is_dir():
        found = image_tree.scan(source)
        notes = image_tree.note(source, found.skipped)
        if not found.files:
            tables = [path.name for path in sorted(source.iterdir()) if is_csv(path) or path.suffix in ARRAY_SUFFIXES]
            hint = f"; for a table, give the file: input={source / tables[0]}" if tables else ""
            hint += "".join(f"; {note}" for note in notes)
            raise ValueError(f"{source}: no images in this folder ({', '.join(sorted(images.SUFFIXES))}){hint}")
        return found.files, notes
    if not source.is_file():
        raise FileNotFoundError(f"input={source}: no such file or folder")
    if is_csv(source) or source.suffix.lower() in ARRAY_SUFFIXES:
        return [], []
    if source.suffix.lower() in OTHER_SUFFIXES:
        raise ValueError(f"input={source}: this kind of file is not supported; the input must be {TAKEN}")
    return [source], []


def reader(about: CheckpointInfo, *, resize: bool | None) -> Reader:
    """The function that reads an image file as a checkpoint needs it.

    Args:
        about: description of the checkpoint.
        resize: resize and convert every image to the net's input shape; None: only if the training images were resized.

    Raises:
        ValueError: the net does not take images.
    """
    preprocess = about.transforms()
    if len(preprocess.shape) != 3:
        raise ValueError(f"this checkpoint takes inputs of shape {shape_text(preprocess.shape)}, not images")
    if resize is None:
        # If the images of a dataset can have any size, its source has the argument ``shape``.
        source = about.dataset_config.get("source") or {}
        resize = preprocess.side is not None or "shape" in source
    return partial(
        _read,
        shape=preprocess.shape,
        resize=resize,
        side=preprocess.side,
        interpolation=preprocess.interpolation,
    )


def read_images(
    files: Sequence[Path],
    source: Path,
    read: Reader,
    *,
    batch_size: int,
    skip: Callable[[Exception], None] | None = None,
) -> Batches:
    """Batches of images, with their paths relative to ``source``; threads read ahead while the caller computes.

    Args:
        files: the result of `find`.
        source: the folder or the image.
        read: the result of `reader`.
        batch_size: number of images in a batch; twice as many are read ahead, but at least two per thread.
        skip: called with the error of each image that cannot be read; None: the error is raised.

    Raises:
        ValueError, FileNotFoundError: an image cannot be read; with ``skip``, none of them can.
    """
    batch_names: list[str] = []
    batch: list[Tensor] = []
    num_read = 0
    last_error: Exception | None = None
    reading = _read_ahead(read, files, depth=2 * max(batch_size, THREADS))
    for name, future in zip(image_names.names(files, source), reading, strict=True):
        # Wait for the image, if a thread is still reading it.
        try:
            batch.append(future.result())
        except (ValueError, FileNotFoundError) as error:
            if skip is None:
                raise
            skip(error)
            last_error = error
            continue
        num_read += 1
        batch_names.append(name)

        # Yield a full batch, and begin the next one.
        if len(batch) == batch_size:
            yield batch_names, torch.stack(batch)
            batch_names = []
            batch = []

    # The last batch may be smaller.
    if batch:
        yield batch_names, torch.stack(batch)
    if not num_read:
        raise ValueError(f"{source}: none of the {len(files):,} images can be read (the last error: {last_error})")


def read_table(
    source: Path,
    preprocess: Preprocess,
    *,
    batch_size: int,
    header: str = "auto",
    stated: bool = False,
    note: Callable[[str], None],
    labels: Callable[[Array], None] | None = None,
) -> Batches:
    """Batches of rows of a CSV of pixels, or of the array x of a file; their names are row numbers from 1.

    Args:
        source: the file.
        preprocess: the preprocessing for the inputs.
        batch_size: number of rows in a batch.
        header: whether a CSV has a header: auto, true or false.
        stated: whether the user has stated the scale of the values.
        note: called with a line of text for each guess about the file.
        labels: called with the labels of each batch before it is yielded, if the file has any.

    Raises:
        ValueError: not such a file, or its inputs have another shape or scale than the training data.
    """
    if is_csv(source):
        chunks = _csv(source, preprocess, batch_size, header, stated, note, labels)
    else:
        chunks = _arrays(source, preprocess, batch_size, stated, note, labels)
    first = 1
    for chunk in chunks:
        yield [str(first + i) for i in range(len(chunk))], chunk
        first += len(chunk)


def _read_ahead(read: Reader, files: Sequence[Path], *, depth: int) -> Iterator["Future[Tensor]"]:
    """The results of reading the files, in order; at most ``depth`` are read ahead.

    Threads suffice, since Pillow releases the GIL while it decodes.
    """
    pool = ThreadPoolExecutor(THREADS)
    try:
        remaining = iter(files)
        waiting = deque(pool.submit(read, path) for path in islice(remaining, depth))
        while waiting:
            yield waiting.popleft()
            waiting.extend(pool.submit(read, path) for path in islice(remaining, 1))
    finally:
        # The caller may stop early, at an image that cannot be read.
        pool.shutdown(cancel_futures=True)


def _read(path: Path, **options: Any) -> Tensor:
    """As `zoo.data.images.read`; ValueError if the upper 8 bits of a 16-bit image are all 0: only these are used."""
    pixels = images.read(path, **options)
    if not pixels.any() and (peak := images.largest_16_bit(path)):
        raise ValueError(
            f"{path}: 16 bits with values of at most {peak}: the upper 8 bits, which are used, are all 0; "
            "convert the image to 8 bits"
        )
    return pixels


def _csv(
    source: Path,
    preprocess: Preprocess,
    batch_size: int,
    header: str,
    stated: bool,
    note: Callable[[str], None],
    labels: Callable[[Array], None] | None,
) -> Iterator[Tensor]:
    """Batches of N x shape bytes."""
    pixels = torch.Size(preprocess.shape).numel()
    is_empty = True
    for rows in pixel_csv.read(source, pixels=pixels, header=header, chunk_size=batch_size, note=note):
        # Inputs without a white level are also compared with the mean and std of each feature. That needs the rows of
        # the batch, not only the minimum and maximum that `zoo.cli.predict.checks.InputCheck` collects.
        if preprocess.white is None:
            preprocess.check_values(rows.pixels, where=str(source), stated=stated)
        if labels is not None and rows.labels is not None:
            labels(rows.labels.numpy())
        yield rows.pixels.view(-1, *preprocess.shape)
        is_empty = False
    if is_empty:
        raise ValueError(f"{source}: no rows below the header")


def _arrays(
    source: Path,
    preprocess: Preprocess,
    batch_size: int,
    stated: bool,
    note: Callable[[str], None],
    labels: Callable[[Array], None] | None,
) -> Iterator[Tensor]:
    """Batches of N x shape bytes or float32 values."""
    # The array x, or x_test of an archive with splits.
    archive = npz.read(source)
    name = next((name for name in ("x", "x_test") if name in archive.arrays), None)
    if name is None:
        found = ", ".join(archive.names) or "nothing"
        raise ValueError(f"{source} must hold an array x (or x_test); it holds {found}")
    shape = preprocess.shape
    x, texts = arrays.inputs(archive.arrays[name], where=f"{source}, {name}", shape=shape)
    for text in texts:
        note(text)

    # Check all values before the first prediction.
    if tuple(x.shape[1:]) != shape:
        raise ValueError(f"{source} has inputs of {shape_text(x.shape[1:])}, the checkpoint takes {shape_text(shape)}")
    preprocess.check_values(x, where=f"{source}, {name}", stated=stated)
    y = archive.arrays.get(name.replace("x", "y", 1)) if labels is not None else None
    if y is not None and y.shape[:1] != x.shape[:1]:
        raise ValueError(f"{source}: {len(x)} inputs in {name}, but the labels have shape {shape_text(y.shape) or 1}")
    for first in range(0, len(x), batch_size):
        if labels is not None and y is not None:
            labels(y[first : first + batch_size])
        yield x[first : first + batch_size]
