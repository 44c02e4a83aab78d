"""Check and read the dataset of a run; a part of `zoo.training.checks`, and used by ``zoo evaluate``."""

from collections.abc import Mapping
from copy import deepcopy
from math import prod
from typing import Any

import torch
from omegaconf import DictConfig, ListConfig
from torch import Tensor

from zoo.config.build import build
from zoo.config.ranges import RANGES, check_numbers
from zoo.data.augment import Augment
from zoo.data.folds import check_fold, take_fold
from zoo.data.splits import InMemory, Splits
from zoo.protocols import shape_text

MAX_VALUES = 2**26  # values of one input; a batch of such inputs would not fit in memory
SAMPLE = 2048  # number of images from which mean and std are computed, if they are not all in memory
SAMPLE_VALUES = 2**29  # maximum number of values in these images
CHECKED = 1000  # number of images that a task checks before training; real-valued inputs are all checked
CHECKED_FILES = 64  # number of images that a task checks if they must be read from files first
TABLES = ("zoo.data.sources.table.load", "zoo.data.sources.diabetes.load")
# Keys of some sources, and what to do where the source does not have the key.
OWN_KEYS = {
    "groups": "groups are read from a table, a list of images or an .npz",
    **dict.fromkeys(("target", "label_separator", "split_column"), "it belongs to dataset=table and image_list"),
    "target_type": "it belongs to dataset=table, image_list and npz",
    "standardize_targets": "it belongs to dataset=table",
    "channels": "it belongs to dataset=npz",
    **dict.fromkeys(("file_column", "image_root"), "it belongs to dataset=image_list"),
    **dict.fromkeys(("ignore", "categorical", "missing"), "it belongs to dataset=table"),
}


def check_keys(node: DictConfig) -> None:
    """Raise ValueError for an invalid key of a dataset config, without reading the data."""
    # Check the keys that this source ignores, too: a wrong value is still a mistake.
    numbers = {key: node[key] for key in RANGES["dataset"] if node[key] is not None}
    numbers.pop("shape", None)
    check_numbers(numbers, kind="dataset", where="dataset")
    shape = input_shape(node)
    if shape is not None:
        check_numbers({"shape": shape}, kind="dataset", where="dataset")
        if prod(shape) > MAX_VALUES:
            given = f"shape={shape}" if node.size is None else f"size={node.size}"
            raise ValueError(f"dataset.{given}: an input would have {prod(shape):,} values, more than {MAX_VALUES:,}")
    if str(node.header).lower() not in ("auto", "true", "false"):
        raise ValueError(f"dataset.header={node.header} must be auto, true or false")
    if node.on_bad_image not in ("refuse", "skip"):
        raise ValueError(f"dataset.on_bad_image={node.on_bad_image} must be refuse or skip")
    if node.root == "":
        raise ValueError("dataset.root is empty; give a folder or file, or set ZOO_DATA to a folder")
    check_fold(node.fold, node.folds)
    for key in OWN_KEYS:
        if node[key] is not None and key not in node.source:
            raise ValueError(f"dataset.{key}={node[key]}: dataset {node.name} has no such key; {OWN_KEYS[key]}")
    # Otherwise a run would train on another dataset than the user means.
    if node.root is not None and "root" not in node.source:
        raise ValueError(
            f"dataset.root={node.root}: dataset {node.name} reads no files; add dataset=image_folder, "
            "image_list, table or npz"
        )


def input_shape(node: DictConfig) -> list[int] | None:
    """The shape of one input: ``shape``, with the height and width of ``size`` if that is set. None: as in the data.

    Raises:
        ValueError: ``size`` is not one integer or two, or the images of the dataset are not resized.
    """
    shape = None if node.shape is None else list(node.shape)
    if node.size is None:
        return shape
    sides = list(node.size) if isinstance(node.size, ListConfig) else [node.size] * 2
    if len(sides) != 2 or any(type(side) is not int or side < 1 for side in sides):
        raise ValueError(f"dataset.size={node.size} must be an integer >= 1, or two of them: [height, width]")
    if "shape" not in node.source:
        raise ValueError(
            f"dataset.size={node.size}: dataset {node.name} does not resize its inputs; model.net.enlarge= lets "
            "the nets of torchvision and timm enlarge small images"
        )
    if shape is None or len(shape) != 3:
        raise ValueError(f"dataset.size={node.size} needs dataset.shape with channels, height and width")
    return [shape[0], *sides]


def dataset(node: DictConfig, *, table: Mapping[str, Any] | None = None) -> Splits:
    """Load the splits of a dataset config (``cfg.dataset``).

    Args:
        node: the config.
        table: the encoding of the columns that a checkpoint stores, for a dataset that is a table; None or empty: it is
            computed on the training split.

    Raises:
        FileNotFoundError, ValueError: the source cannot load the data, or they do not have the configured shape or
            number of classes.
    """
    node.shape = input_shape(node)
    # With folds, the source holds out no validation split, unless it takes the fold itself.
    divide = node.fold is not None and "fold" not in node.source
    if divide:
        node = deepcopy(node)
        node.validation = 0.0
    # An encoding from a checkpoint is not trusted, so it does not pass through the config.
    stored = {"columns": table} if table and node.source._target_ in TABLES else {}
    splits: Splits = build(node.source, where="dataset.source", **stored)
    if divide:
        splits = take_fold(splits, node.fold, node.folds)
    if node.shape is not None and tuple(node.shape) != splits.shape:
        raise ValueError(
            f"dataset.shape={list(node.shape)}, but inputs of dataset {node.name} have shape {list(splits.shape)}"
        )
    if node.num_classes is not None and node.num_classes != splits.num_outputs:
        raise ValueError(f"dataset.num_classes={node.num_classes}, but dataset {node.name} has {splits.num_outputs}")
    return splits


def sample(splits: Splits, size: int = SAMPLE) -> Tensor:
    """Raw training inputs, N x shape: all of them if they are in memory, otherwise an evenly spaced sample.

    Args:
        splits: the data.
        size: minimum size of the sample, which has fewer than ``2 * size`` inputs (or all, if there are fewer).
    """
    if isinstance(splits.train, InMemory):
        return splits.train.x
    # Of large images, take fewer, so that they fit in memory.
    size = max(1, min(size, SAMPLE_VALUES // prod(splits.shape)))
    every = max(1, len(splits.train) // size)
    return splits.train.batch(range(0, len(splits.train), every))[0]


def first_inputs(splits: Splits) -> Tensor:
    """Raw inputs that tasks check: a few images, since bytes have a known range; or all real-valued inputs."""
    raw = sample(splits, CHECKED_FILES)
    return raw[:CHECKED] if raw.dtype == torch.uint8 else raw


def augmentation(node: DictConfig, splits: Splits) -> Augment:
    """The augmentation of a dataset config. Raises ValueError if it does not fit the data."""
    augment: Augment = build(node.augment, where="dataset.augment")
    if augment.active and len(splits.shape) != 3:
        raise ValueError(
            f"dataset.augment needs images; inputs of dataset {node.name} have shape {shape_text(splits.shape)}"
        )
    # A shift by the whole side would move an image out of its frame.
    if augment.shift and augment.shift >= min(splits.shape[1:]):
        raise ValueError(
            f"dataset.augment.shift={augment.shift} must be < {min(splits.shape[1:])}, "
            f"the smaller side of the images of dataset {node.name}"
        )
    if augment.mixes and splits.multi_label:
        raise ValueError(
            f"mixup and cutmix need one class per example; examples of dataset {node.name} may have several labels"
        )
    if augment.mixes and not splits.classes:
        raise ValueError(f"mixup and cutmix need classes; dataset {node.name} has none")
    return augment
