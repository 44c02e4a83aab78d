"""What a checkpoint is asked about - pictures, a CSV of pixels, an ``.npz`` -, one raw batch in memory at a time."""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from zoo.checkpoints.checkpoint import CheckpointInfo
from zoo.data import images, pixel_csv
from zoo.data.sources import npz
from zoo.data.splits import shape_text

Batches = Iterator[tuple[list[str], Tensor]]  # what each row of a raw batch is called, and the batch
Reader = Callable[[Path], Tensor]  # a file -> bytes, C x H x W
TABLES = (".csv", ".npz")
FOLDER_SOURCES = ("image_folder.load", "faces.load")  # of pictures of any size
THREADS = min(8, os.cpu_count() or 1)


def find(source: Path) -> list[Path]:
    """The pictures that ``input=`` names, sorted; none where it is a CSV or an ``.npz``.

    Raises:
        FileNotFoundError: no such file or folder.
        ValueError: a folder without pictures.
    """
    if source.is_dir():
        files = images.find(source)
        if not files:
            raise ValueError(f"{source}: no pictures in this folder ({', '.join(sorted(images.SUFFIXES))})")
        return files
    if not source.is_file():
        raise FileNotFoundError(f"input={source}: no such file or folder")
    return [] if source.suffix.lower() in TABLES else [source]


def folder(source: Path) -> Path:
    """The folder that the names of pictures are relative to."""
    return source if source.is_dir() else source.parent


def labels(files: Sequence[Path], source: Path, classes: Sequence[str]) -> tuple[dict[str, str], str]:
    """Labels of the pictures in a folder whose sub-folders all bear names of classes.

    Returns:
        The name of each file, as `pictures` gives it, -> its class; or nothing, and why, where some seem to be meant.
    """
    parts = [path.relative_to(folder(source)).parts for path in files]
    named = {first for first, *rest in parts if rest}
    if not named & set(classes):
        return {}, ""
    outside = sum(len(names) == 1 for names in parts)
    unknown = sorted(named - set(classes))
    if unknown:
        return {}, f"without labels: {', '.join(unknown)} in {source} {'is' if len(unknown) == 1 else 'are'} no class"
    if outside:
        return {}, f"without labels: {outside} of the pictures in {source} lie outside the folders of classes"
    return {str(Path(*names)): names[0] for names in parts}, ""


def reader(about: CheckpointInfo, *, resize: bool | None) -> Reader:
    """How a checkpoint wants its pictures read.

    Args:
        about: the checkpoint.
        resize: bring every picture to the net's size; None: if its training data were so brought.

    Raises:
        ValueError: the net takes no pictures.
    """
    preprocess = about.transforms()
    if len(preprocess.shape) != 3 or preprocess.shape[0] not in (1, 3):
        raise ValueError(f"this checkpoint takes inputs of shape {shape_text(preprocess.shape)}, not pictures")
    if resize is None:
        target = str((about.dataset_config.get("source") or {}).get("_target_", ""))
        resize = preprocess.side is not None or target.endswith(FOLDER_SOURCES)
    return partial(
        images.read,
        shape=preprocess.shape,
        resize=resize,
        side=preprocess.side,
        interpolation=preprocess.interpolation,
    )


def pictures(
    files: Sequence[Path],
    source: Path,
    read: Reader,
    *,
    batch_size: int,
    skip: Callable[[Exception], None] | None = None,
) -> Batches:
    """Pictures by their paths below ``source``, read by threads while the caller computes.

    Args:
        files: of `find`.
        source: the folder, or the one picture.
        read: of `reader`.
        batch_size: pictures in a batch; as many again are read ahead, or a few for each thread.
        skip: told of each picture that cannot be read; None: its error is raised.

    Raises:
        ValueError: a picture that cannot be read, or none that can.
    """
    names: list[str] = []
    batch: list[Tensor] = []
    failure, any_good = None, False
    for path, future in _ahead(read, files, depth=max(batch_size, 2 * THREADS)):
        try:
            batch.append(future.result())
        except (ValueError, FileNotFoundError) as error:
            if skip is None:
                raise
            skip(error)
            failure = error
            continue
        any_good = True
        names.append(str(path.relative_to(folder(source))))
        if len(batch) == batch_size:
            yield names, torch.stack(batch)
            names, batch = [], []
    if batch:
        yield names, torch.stack(batch)
    if not any_good:
        raise ValueError(f"{source}: none of the {len(files):,} pictures can be read (the last: {failure})")


def table(source: Path, shape: tuple[int, ...], *, batch_size: int) -> Batches:
    """Rows of a CSV of pixels, or of the array x of an ``.npz``, by their numbers from 1, as Kaggle counts.

    Raises:
        ValueError: not such a file, or inputs of another shape.
    """
    parts = _csv(source, shape, batch_size) if source.suffix.lower() == ".csv" else _npz(source, shape, batch_size)
    first = 1
    for part in parts:
        yield [str(first + i) for i in range(len(part))], part
        first += len(part)


def _ahead(read: Reader, files: Sequence[Path], *, depth: int) -> Iterator[tuple[Path, "Future[Tensor]"]]:
    """Files in order, each with what comes of reading it; ``depth`` at most are under way (Pillow frees the GIL)."""
    pool = ThreadPoolExecutor(THREADS)
    try:
        remaining = iter(files)
        waiting = deque((path, pool.submit(read, path)) for path in islice(remaining, depth))
        while waiting:
            yield waiting.popleft()
            waiting.extend((path, pool.submit(read, path)) for path in islice(remaining, 1))
    finally:
        pool.shutdown(cancel_futures=True)


def _csv(source: Path, shape: tuple[int, ...], batch_size: int) -> Iterator[Tensor]:
    for rows in pixel_csv.read(source, pixels=torch.Size(shape).numel(), chunk_size=batch_size):
        yield rows.pixels.view(-1, *shape)


def _npz(source: Path, shape: tuple[int, ...], batch_size: int) -> Iterator[Tensor]:
    arrays = npz.read(source)
    name = next((name for name in ("x", "x_test") if name in arrays), None)
    if name is None:
        raise ValueError(f"{source}: no array x (or x_test); it has {', '.join(sorted(arrays)) or 'none'}")
    x = npz.inputs(arrays[name], where=f"{source}, {name}")
    if tuple(x.shape[1:]) != shape:
        raise ValueError(f"{source}: inputs of {shape_text(x.shape[1:])}, the checkpoint takes {shape_text(shape)}")
    yield from x.split(batch_size)
