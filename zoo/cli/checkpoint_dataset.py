"""The config of the dataset that a checkpoint was trained on, read from a file that is not trusted.

A file may come from anywhere. So only three things are taken from it: the name of a dataset of the zoo, the sizes of
its splits, and the folder or file of a dataset of the user's own, which is only read. Everything else comes
from ``conf/dataset``. No reference such as ``${oc.env:HOME}`` in the file is resolved. Nothing is downloaded or created
for a file that is not in the index.
"""

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeGuard

from omegaconf import DictConfig, OmegaConf

from zoo.checkpoints.checkpoint import CheckpointInfo
from zoo.checkpoints.description_schema import shown
from zoo.config import catalogue, schemas, trust
from zoo.config.compose import given_keys

SPLITS = ("validation", "test")  # the keys that decide which examples are in the test split
COLUMN_KEYS = (
    *("target", "target_type", "label_separator", "standardize_targets", "ignore", "categorical", "missing"),
    *("groups", "split_column", "header", "file_column", "channels"),
)
FOLDS = ("folds", "fold")
YOUR_OWN = ("image_folder", "image_list", "npz", "table")  # datasets of the user's own files
PLAIN = re.compile(r"[\w./~+-]+")  # a path that a message shows as the value of a key


def dataset_config(about: CheckpointInfo, *, root: str | None = None) -> DictConfig:
    """The config of the dataset that a checkpoint was trained on.

    Args:
        about: the description of a checkpoint.
        root: the folder or file that the user names in place of the stored one.

    Raises:
        ValueError: the file does not name a dataset of the zoo, or the user must say where its files are; the message
            asks for ``dataset=``.
    """
    # Only a dataset of the zoo, by its name.
    stored = about.dataset_config
    name = stored.get("name")
    if not isinstance(name, str) or name not in catalogue.list_datasets():
        source = stored.get("source")
        hint = trust.hint(source.get("_target_")) if isinstance(source, dict) else ""
        raise ValueError(
            f"{about.file}: trained on {shown(name)}, which is not a dataset of the zoo; add dataset=NAME{hint}"
        )
    values = catalogue.dataset_config(name)
    node = OmegaConf.merge(OmegaConf.structured(schemas.Dataset), OmegaConf.create(values))
    assert isinstance(node, DictConfig)

    # The sizes of the splits, and of images that are resized.
    for key in SPLITS:
        if stored.get(key) is not None:
            node[key] = _split_size(stored[key], f"{about.file}: dataset_config.{key}", name)
    for key in FOLDS:
        if stored.get(key) is not None:
            node[key] = _count(stored[key], f"{about.file}: dataset_config.{key}", name)
    # The names of columns, and how they are read.
    for key in COLUMN_KEYS:
        if key in node.source and key in stored:
            node[key] = _names(stored[key], f"{about.file}: dataset_config.{key}", name)
    if "shape" in node.source:
        node.shape = list(about.transforms().shape)
    # Older checkpoints have no such key: their splits were stratified.
    if "stratified" in node.source:
        source = stored.get("source")
        node.source.stratified = not isinstance(source, dict) or source.get("stratified") is not False

    # Find the files: where the user says, where the user's own data are stored, or in the zoo's data folder.
    if "root" not in values:
        return node
    if root is not None:
        node.root = root
        return node
    stored_root = stored.get("root")
    if name in YOUR_OWN and is_plain(stored_root) and Path(stored_root).exists():
        node.root = stored_root
        if "image_root" in node.source and is_plain(stored.get("image_root")):
            node.image_root = stored["image_root"]
        return node
    if name in YOUR_OWN or stored_root != values["root"]:
        raise ValueError(
            f"{about.file}: trained on {name} in a folder that does not exist here or is not the default one; add "
            f"{_keys(node, stored_root)}"
        )
    if about.file not in catalogue.list_checkpoints():
        # A file from elsewhere must not cause a download.
        node.download = False
        place = Path(node.root)
        if not place.is_dir() or not any(place.iterdir()):
            raise ValueError(
                f"{about.file}: trained on {name}, which is not in {place}; add dataset={name} to fetch it"
            )
    return node


def take_shape(node: DictConfig, shape: Sequence[int]) -> None:
    """Let a dataset resize its images to the shape of a checkpoint, unless the command line sets another."""
    keys = given_keys()
    if "shape" in node.source and "dataset.shape" not in keys:
        node.shape = list(shape)
    if "dataset.size" not in keys:
        node.size = None


def is_plain(root: Any) -> TypeGuard[str]:
    """Whether a stored folder is a path and nothing else: a string without references and control characters."""
    return isinstance(root, str) and bool(root) and root.isprintable() and "${" not in root


def _split_size(value: Any, where: str, name: str) -> float:
    """The size of a split: a fraction, or a number of examples."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ValueError(f"{where}: {shown(value)} must be a number; add dataset={name}")
    return value


def _count(value: Any, where: str, name: str) -> int:
    """The number of folds, or of one of them."""
    if type(value) is not int or not 0 <= value < 10**6:
        raise ValueError(f"{where}: {shown(value)} must be an integer; add dataset={name}")
    return value


def _names(value: Any, where: str, name: str) -> Any:
    """Names of columns, or another choice: a string without references, a list of it, true, false or null."""
    entries = value if isinstance(value, list) else [value]
    if not all(entry is None or isinstance(entry, bool) or is_plain(entry) for entry in entries):
        raise ValueError(f"{where}: {shown(value)} must be a string without references; add dataset={name}")
    return value


def _keys(node: DictConfig, root: Any) -> str:
    """The arguments that name the user's own files, such as ``dataset=image_folder dataset.root=photos``."""
    # The folder in the file is only shown, and only if it is a plain path.
    folder = root if isinstance(root, str) and PLAIN.fullmatch(root) else "FOLDER"
    keys = [f"dataset={node.name}", f"dataset.root={folder}"]
    if "shape" in node.source:
        keys.append(f"dataset.shape=[{','.join(map(str, node.shape))}]")
    for key in (*SPLITS, *FOLDS):
        if node[key] is not None:
            keys.append(f"dataset.{key}={node[key]:g}")
    return " ".join(keys)
