"""``zoo predict``: label a picture, a folder of them, a CSV of pixels or an ``.npz``, one batch in memory at a time.

Writes a CSV with file (or row), class and probability - for regression the values, for a net without classes the
code - or, for a CSV of pixels, the ``ImageId,Label`` that Kaggle's Digit Recognizer takes.
"""

import csv
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from rich.console import Console
from torch import Tensor

from zoo import prepare
from zoo.checkpoints import CheckpointInfo, open_checkpoint, refuse_existing, replacing
from zoo.data import images, npz, pixel_csv
from zoo.data.splits import shape_text
from zoo.losses import probabilities

Header = Callable[[int], list[str]]  # of the number of outputs
Rows = Callable[[list[str], Tensor], Iterator[list[Any]]]  # of a batch's names and outputs
Batches = Iterator[tuple[list[str], Tensor]]  # what each row of a raw batch is called, and the batch


def predict(cfg: DictConfig) -> int:
    """Returns how many inputs were labelled.

    Raises:
        FileNotFoundError, ValueError: no such checkpoint or input, or an input that the net cannot take.
        FileExistsError: the output is there already.
    """
    refuse_existing(cfg.output, overwrite=cfg.overwrite)
    if cfg.format not in ("auto", "table", "kaggle"):
        raise ValueError(f"format={cfg.format}: choose auto, table or kaggle")
    if cfg.batch_size < 1:
        raise ValueError(f"batch_size={cfg.batch_size}: at least 1 is needed")
    device = prepare.device(prepare.place(cfg.accelerator))
    net: Any
    net, about = open_checkpoint(cfg.checkpoint)
    net.to(device).to(memory_format=torch.channels_last)
    preprocess = about.transforms()
    source = Path(cfg.input)
    batches = _read(source, preprocess.shape, batch_size=cfg.batch_size, resize=cfg.resize)
    kaggle = cfg.format == "kaggle" or (cfg.format == "auto" and source.suffix.lower() == ".csv")
    coded = not about.classes and about.task.get("_target_") != "zoo.tasks.Regression"
    answer = net.encode if coded else net  # an untrained head has nothing to say
    header, rows_of = _kaggle(about) if kaggle else _table(about, source, coded=coded)
    count = 0
    with replacing(cfg.output) as temporary, temporary.open("w", newline="") as file, torch.inference_mode():
        writer = csv.writer(file, lineterminator="\n")
        for names, raw in batches:
            outputs = answer(preprocess(raw.to(device))).float().cpu()
            if not count:
                writer.writerow(header(outputs.shape[1]))
            writer.writerows(rows_of(names, outputs))
            count += len(names)
        if not count:
            writer.writerow(header(1))
    Console().print(f"{count:,} predictions in {cfg.output}", soft_wrap=True, highlight=False)
    return count


def _table(about: CheckpointInfo, source: Path, *, coded: bool) -> tuple[Header, Rows]:
    what = "row" if source.suffix.lower() in (".csv", ".npz") else "file"
    if not about.classes:
        column = "code" if coded else "value"

        def header(width: int) -> list[str]:
            return [what, *(f"{column}{k}" for k in range(width))] if width > 1 else [what, column]

        def values(names: list[str], outputs: Tensor) -> Iterator[list[Any]]:
            for name, row in zip(names, outputs.tolist(), strict=True):
                yield [name, *(f"{value:.6g}" for value in row)]

        return header, values

    def rows(names: list[str], outputs: Tensor) -> Iterator[list[Any]]:
        chance, number = probabilities(outputs, about.task.get("loss", "cross_entropy")).max(dim=1)
        for name, k, p in zip(names, number.tolist(), chance.tolist(), strict=True):
            yield [name, about.classes[k], f"{p:.6f}"]

    return lambda _: [what, "class", "probability"], rows


def _kaggle(about: CheckpointInfo) -> tuple[Header, Rows]:
    if not about.classes:
        raise ValueError("format=kaggle is for classes; this checkpoint predicts values, use format=table")

    def rows(names: list[str], outputs: Tensor) -> Iterator[list[Any]]:
        number = probabilities(outputs, about.task.get("loss", "cross_entropy")).argmax(dim=1)
        for name, k in zip(names, number.tolist(), strict=True):
            yield [name, about.classes[k]]

    return lambda _: ["ImageId", "Label"], rows


def _read(source: Path, shape: tuple[int, ...], *, batch_size: int, resize: bool) -> Batches:
    """Batches of raw inputs, whatever they are kept in."""
    if source.is_dir():
        files = images.find(source)
        if not files:
            raise ValueError(f"{source}: no pictures in this folder ({', '.join(sorted(images.SUFFIXES))})")
        return _pictures(files, source, shape, batch_size=batch_size, resize=resize)
    if not source.is_file():
        raise FileNotFoundError(f"input={source}: no such file or folder")
    if source.suffix.lower() == ".csv":
        return _csv_rows(source, shape, batch_size=batch_size)
    if source.suffix.lower() == ".npz":
        return _arrays(source, shape, batch_size=batch_size)
    return _pictures([source], source.parent, shape, batch_size=batch_size, resize=resize)


def _pictures(files: list[Path], folder: Path, shape: tuple[int, ...], *, batch_size: int, resize: bool) -> Batches:
    remaining = iter(files)
    while batch := list(islice(remaining, batch_size)):
        names = [str(path.relative_to(folder)) for path in batch]
        yield names, torch.stack([images.read(path, shape, resize=resize) for path in batch])


def _csv_rows(source: Path, shape: tuple[int, ...], *, batch_size: int) -> Batches:
    first = 1  # Kaggle counts from 1
    for rows in pixel_csv.read(source, pixels=torch.Size(shape).numel(), part=batch_size):
        yield [str(first + i) for i in range(len(rows.pixels))], rows.pixels.view(-1, *shape)
        first += len(rows.pixels)


def _arrays(source: Path, shape: tuple[int, ...], *, batch_size: int) -> Batches:
    arrays = npz.read(source)
    name = next((name for name in ("x", "x_test") if name in arrays), None)
    if name is None:
        raise ValueError(f"{source}: no array x (or x_test); it has {', '.join(sorted(arrays)) or 'none'}")
    x = npz.inputs(arrays[name], where=f"{source}, {name}")
    if tuple(x.shape[1:]) != shape:
        raise ValueError(f"{source}: inputs of {shape_text(x.shape[1:])}, the checkpoint takes {shape_text(shape)}")
    for first in range(0, len(x), batch_size):
        part = x[first : first + batch_size]
        yield [str(first + 1 + i) for i in range(len(part))], part


if __name__ == "__main__":
    from zoo.cli import main

    main("predict")
