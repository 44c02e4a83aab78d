"""Read the inputs of ``zoo embed`` in raw batches, each with the columns that go beside the features.

The inputs are a dataset of the zoo, or what ``zoo predict`` takes, except for lists of images.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor
from torch.utils.data import Sampler

from zoo.checkpoints.checkpoint import CheckpointInfo
from zoo.cli.checkpoint_dataset import take_shape
from zoo.cli.commands import SPLITS
from zoo.cli.predict import image_names, inputs, tables
from zoo.cli.predict.checks import InputCheck, preprocess_for
from zoo.config import schemas
from zoo.data.folder_layout import split_of
from zoo.data.image_files import ImageFiles, path_key
from zoo.data.preprocess import Preprocess
from zoo.data.splits import Examples, InMemory, Splits
from zoo.data.workers import Loader, told_errors
from zoo.training.checks import data_checks

MISSING = "???"  # the value of a key that neither the command line nor a config sets

Columns = Mapping[str, Sequence[str] | Tensor]  # name -> N strings, or N x values


class Batch(NamedTuple):
    """Raw inputs, N x shape, and the columns beside them: name, split, label and target, as far as they exist."""

    raw: Tensor
    columns: Columns


class Source(NamedTuple):
    """The inputs, in batches.

    Attributes:
        batches: the batches; they can be read once.
        check: the check of their values; None for a table, whose columns have their own checks.
        preprocess: the preprocessing for them.
        files: the files that are read, which no output may replace.
        notes: notes for the user, one line each; reading adds to them.
        skipped: the errors of images that were skipped; reading adds to them.
    """

    batches: Iterator[Batch]
    check: InputCheck | None
    preprocess: Preprocess
    files: Sequence[Path]
    notes: list[str]
    skipped: list[Exception]


def open_source(cfg: DictConfig, about: CheckpointInfo) -> Source:
    """The inputs that a composed config of ``zoo embed`` names.

    Raises:
        FileNotFoundError, ValueError: no such input, dataset or split, one that the net cannot take, or not exactly one
            of ``input`` and ``dataset``.
    """
    given = _given(cfg.dataset)
    if cfg.input is not None and given:
        raise ValueError(f"input={cfg.input}: leave out {'dataset=' if 'name' in given else 'dataset.KEY='}, or input=")
    if cfg.input is not None:
        if cfg.split != "all":
            raise ValueError(f"split={cfg.split} is for dataset=NAME; leave it out with input=")
        return _open_files(cfg, about, Path(cfg.input))
    if "source" not in given:
        keys = "".join(f"dataset.{key}= needs dataset=NAME; " for key in list(given)[:1])
        raise ValueError(f"{keys}input= or dataset= is required; see zoo embed --help")
    return _open_dataset(cfg, about, given)


# Files, as for zoo predict


def _open_files(cfg: DictConfig, about: CheckpointInfo, source: Path) -> Source:
    """Images, or a table or an archive."""
    # A checkpoint that was trained on a table encodes the columns of another one in the same way.
    encoding = tables.encoding_for(about, source)
    files, notes = ([], []) if encoding is not None else inputs.find(source)
    stated = cfg.scale is not None
    preprocess = preprocess_for(about.transforms(), files=bool(files), scale=cfg.scale, invert=cfg.invert)
    check = InputCheck(preprocess, where=str(source), files=bool(files), stated=stated)
    skipped: list[Exception] = []

    # Images: labels are the names of their folders.
    if files:
        read = inputs.reader(about, resize=cfg.resize)
        skip = skipped.append if cfg.on_bad_image == "skip" else None
        images = inputs.read_images(files, source, read, batch_size=cfg.batch_size, skip=skip)
        has_labels = any(map(_folder, image_names.names(files, source)))
        return Source(_image_batches(images, has_labels=has_labels), check, preprocess, files, notes, skipped)

    # A CSV of pixels or an archive: labels are in a column or in an array.
    found: list[Columns] = []
    if encoding is not None:
        header = str(cfg.header).lower()
        table = tables.read(source, encoding, preprocess, header=header, batch_size=cfg.batch_size, note=notes.append)
        return Source(_row_batches(table, found), None, preprocess, [source], notes, skipped)
    rows = inputs.read_table(
        source,
        preprocess,
        batch_size=cfg.batch_size,
        header=str(cfg.header).lower(),
        stated=stated,
        note=notes.append,
        labels=lambda labels: found.append(_answers(labels, ())),
    )
    return Source(_row_batches(rows, found), check, preprocess, [source], notes, skipped)


def _image_batches(images: inputs.Batches, *, has_labels: bool) -> Iterator[Batch]:
    for names, raw in images:
        labels = {"label": [_folder(name) for name in names]} if has_labels else {}
        yield Batch(raw, {"name": names, **labels})


def _row_batches(rows: inputs.Batches, found: list[Columns]) -> Iterator[Batch]:
    """``found`` gets the labels of each batch before the batch is read, if the file has any."""
    for names, raw in rows:
        labels = found.pop() if found else {}
        yield Batch(raw, {"name": names, **labels})


def _folder(name: str) -> str:
    """The class folder in the path of an image: the first folder that is not one of a split, such as train; or ""."""
    *folders, _ = Path(name).parts
    if len(folders) > 1 and split_of(folders[0]) is not None:
        return folders[1]
    return folders[0] if folders else ""


def _answers(y: "np.ndarray[Any, Any]", classes: Sequence[str]) -> Columns:
    """Labels as a column of text, or target values as a column of numbers, N x targets.

    Args:
        y: class numbers, strings, or numbers of another kind: real values, or several values for each input.
        classes: names of the classes; without them class numbers become text.
    """
    has_several = y.dtype.kind in "biu" and math.prod(y.shape[1:]) > 1
    if y.dtype.kind == "f" or has_several:
        return {"target": torch.from_numpy(y.astype(np.float32)).reshape(len(y), -1)}
    if classes:
        return {"label": [classes[int(label)] for label in y.tolist()]}
    return {"label": y.reshape(len(y), -1)[:, 0].astype(str).tolist()}


# A dataset of the zoo


def _given(node: Any) -> dict[str, Any]:
    """The keys of ``dataset=`` and ``dataset.KEY=`` of the command line, with unresolved values."""
    values = OmegaConf.to_container(node, resolve=False) if node is not None else {}
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items() if value != MISSING}


def _open_dataset(cfg: DictConfig, about: CheckpointInfo, given: dict[str, Any]) -> Source:
    """One split, or all of them one after another. The classes may be others than those of the checkpoint."""
    if cfg.split not in SPLITS:
        raise ValueError(f"split={cfg.split} must be {', '.join(SPLITS[:-1])} or {SPLITS[-1]}")
    node = OmegaConf.merge(OmegaConf.structured(schemas.Dataset), given)
    assert isinstance(node, DictConfig)
    transforms = about.transforms()
    take_shape(node, transforms.shape)
    data_checks.check_keys(node)
    splits = data_checks.dataset(node, table=about.table)
    transforms.check(splits.shape, where=f"dataset {node.name}")
    existing = splits.existing()
    if cfg.split != "all" and cfg.split not in existing:
        raise ValueError(f"dataset {node.name} has no {cfg.split} split; set split={' or '.join((*existing, 'all'))}")

    # The files of images.
    chosen = existing if cfg.split == "all" else {cfg.split: existing[cfg.split]}
    parts = {name: examples.with_preprocess(transforms) for name, examples in chosen.items()}
    files = [Path(file) for part in parts.values() if isinstance(part, ImageFiles) for file in part.files.tolist()]
    preprocess = preprocess_for(transforms, files=bool(files), scale=cfg.scale, invert=cfg.invert)
    check = InputCheck(preprocess, where=f"dataset {node.name}", files=bool(files), stated=cfg.scale is not None)
    batches = _split_batches(parts, splits, batch_size=cfg.batch_size, workers=node.workers)
    root = [] if node.root is None else [Path(node.root)]
    return Source(batches, check, preprocess, [*files, *root], list(splits.notes), [])


def _split_batches(parts: Mapping[str, Examples], splits: Splits, *, batch_size: int, workers: int) -> Iterator[Batch]:
    """Batches of all parts in turn. The name of an example is the path of its file, or its split and its index."""
    for split, examples in parts.items():
        order = cast("Sampler[int]", range(len(examples)))
        loader = Loader(
            examples,
            workers=0 if isinstance(examples, InMemory) else workers,
            batch_size=batch_size,
            sampler=order,
            generator=torch.Generator(),
        )
        first = 0
        with told_errors():
            for raw, y in loader:
                columns: dict[str, Sequence[str] | Tensor] = {
                    "name": [_name(examples, split, first + i) for i in range(len(raw))],
                    "split": [split] * len(raw),
                }
                if splits.labeled:
                    columns |= _answers(y.numpy(), splits.classes)
                first += len(raw)
                yield Batch(raw, columns)


def _name(examples: Examples, split: str, index: int) -> str:
    """The path of an image below the folder of its dataset; for other examples ``SPLIT/INDEX``."""
    if isinstance(examples, ImageFiles):
        return path_key(str(examples.files[index]), examples.root).decode(errors="surrogateescape")
    return f"{split}/{index}"
