"""MNIST, Fashion-MNIST, KMNIST and CIFAR-10 through torchvision, held in memory.

The official test split is never used for training or tuning; the validation split is a subset of the training split.
"""

from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from zoo.data import idx_files
from zoo.data.sources import npz
from zoo.data.splits import InMemory, Splits, check_labels, hold_out

KERAS = "mnist.npz"  # the file in which Keras keeps MNIST, in ~/.keras/datasets
NAMES = ("MNIST", "FashionMNIST", "KMNIST", "CIFAR10")


def load(*, name: str, root: str, validation: float = 0.0, download: bool = True) -> Splits:
    """uint8 images, channels x height x width, of ten classes.

    Args:
        name: one of `NAMES`.
        root: the folder that contains torchvision's folders, such as ``root/MNIST/raw``.
        validation: a fraction below 1, or a number of examples, of the training split.
        download: whether to download what is missing.

    Raises:
        FileNotFoundError: the files are missing and could not be downloaded.
        ValueError: a file is damaged, or there is no such dataset.
    """
    from torchvision import datasets

    if name not in NAMES:
        raise ValueError(f"unknown dataset {name!r}; choose one of: {', '.join(NAMES)}")
    dataset_class = getattr(datasets, name)
    # Read both official splits.
    train = _read(dataset_class, root, train=True, download=download)
    test = _read(dataset_class, root, train=False, download=download)
    classes = tuple(str(label).split(" - ")[0] for label in train.classes)  # "7 - seven" -> "7"
    # Hold out validation examples from the training split only.
    rest, validation_split = hold_out(_examples(train), validation, names=classes)
    test_split = _examples(test)
    notes = tuple(split.note for split in (train, test) if isinstance(split, SimpleNamespace))
    return Splits(rest, validation_split, test_split, tuple(rest.x.shape[1:]), classes, notes=notes)


def _read(dataset_class: Any, root: str, *, train: bool, download: bool) -> Any:
    """A dataset of torchvision: from its files, or downloaded if they are missing."""
    try:
        dataset = dataset_class(root, train=train, download=False)
        if len(dataset.data) != len(dataset.targets):
            raise ValueError(f"{len(dataset.data)} images but {len(dataset.targets)} labels")
        return dataset
    except (RuntimeError, ValueError, AssertionError, EOFError, OSError) as error:
        # Missing and truncated files both raise RuntimeError; only torchvision's message distinguishes them.
        if "Dataset not found" not in str(error):
            home = _home(dataset_class, root)
            raise ValueError(f"{home}: a file is damaged ({error}); delete it and run again") from error
    # The files may have other names, or be compressed.
    found = _find_idx(dataset_class, root, train=train) or _find_npz(dataset_class, root, train=train)
    if found is not None:
        return found
    return _download(dataset_class, root, train=train, download=download)


def _download(dataset_class: Any, root: str, *, train: bool, download: bool) -> Any:
    """Download a dataset; raise FileNotFoundError with advice if downloads are off or fail."""
    name = dataset_class.__name__
    files = ", ".join(_file_names(dataset_class))
    home = _home(dataset_class, root)
    advice = f"put its files ({files}) into {home}, or name the folder that has them with dataset.root=…"
    if not download:
        raise FileNotFoundError(f"{name} is not in {root}: {advice}, or set dataset.download=true")
    try:
        return dataset_class(root, train=train, download=True)
    except (RuntimeError, OSError) as error:
        # torchvision has made empty folders.
        for folder in (home, home.parent, Path(root)):
            with suppress(OSError):
                folder.rmdir()
        reason = str(error).splitlines()[0].rstrip(":")
        raise FileNotFoundError(f"{name} is not in {root} and cannot be downloaded ({reason}): {advice}") from error


def _find_idx(dataset_class: Any, root: str, *, train: bool) -> Any:
    """MNIST, Fashion-MNIST or KMNIST from IDX files with any of their usual names; None if there are no such files."""
    if dataset_class.__name__ == "CIFAR10":
        return None
    # The folder of torchvision, the one above it, or ``root`` itself.
    home = _home(dataset_class, root)
    paths = idx_files.find([home, home.parent, Path(root)], train=train)
    if paths is None:
        return None
    images = idx_files.read(paths[0], dimensions=3)
    labels = idx_files.read(paths[1], dimensions=1)
    if len(images) != len(labels):
        raise ValueError(f"{paths[0]}: {len(images)} images but {len(labels)} labels")
    check_labels(torch.from_numpy(labels), len(dataset_class.classes), where=str(paths[1]))
    note = f"{dataset_class.__name__} is read from {paths[0]} and {paths[1].name}"
    return SimpleNamespace(data=images, targets=labels.astype(np.int64), classes=dataset_class.classes, note=note)


def _find_npz(dataset_class: Any, root: str, *, train: bool) -> Any:
    """A split of MNIST from the file ``mnist.npz`` of Keras in ``root``; None if there is no such file."""
    path = Path(root) / KERAS
    if dataset_class.__name__ != "MNIST" or not path.is_file():
        return None
    archive = npz.read(path)
    split = "train" if train else "test"
    absent = [name for name in (f"x_{split}", f"y_{split}") if name not in archive.arrays]
    if absent:
        raise ValueError(f"{path}: no array {absent[0]}; it has {', '.join(archive.names) or 'none'}")
    images, labels = archive.arrays[f"x_{split}"], archive.arrays[f"y_{split}"]
    if images.dtype != np.uint8 or images.shape != (len(labels), 28, 28) or labels.dtype.kind not in "iu":
        raise ValueError(f"{path}: x_{split} must be N x 28 x 28 bytes and y_{split} N integers")
    check_labels(torch.from_numpy(labels.astype(np.int64)), 10, where=f"{path}, y_{split}")
    note = f"MNIST is read from {path}, {split} split"
    return SimpleNamespace(data=images, targets=labels.astype(np.int64), classes=dataset_class.classes, note=note)


def _file_names(dataset_class: Any) -> list[str]:
    """The names of the files that are looked for."""
    if dataset_class.__name__ == "CIFAR10":
        return ["data_batch_1 to data_batch_5", "test_batch"]
    names = [f"{name}[.gz]" for split in (True, False) for name in idx_files.FILES[split]]
    return [*names, f"or {KERAS}"] if dataset_class.__name__ == "MNIST" else names


def _home(dataset_class: Any, root: str) -> Path:
    """The folder in which torchvision expects the files: CIFAR-10 names it, the sets like MNIST do not."""
    return Path(root) / getattr(dataset_class, "base_folder", f"{dataset_class.__name__}/raw")


def _examples(dataset: Any) -> InMemory:
    """A dataset of torchvision -> tensors, N x C x H x W and N."""
    # MNIST has no dimension for channels; CIFAR-10 has it last.
    x = torch.as_tensor(np.asarray(dataset.data))
    x = x[:, None] if x.dim() == 3 else x.permute(0, 3, 1, 2).contiguous()
    return InMemory(x, torch.as_tensor(dataset.targets))
