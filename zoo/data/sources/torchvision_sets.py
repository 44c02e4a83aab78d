"""MNIST, Fashion-MNIST, KMNIST and CIFAR-10 through torchvision, held in memory.

The official test split is never used for training or tuning; validation is a part of the training split.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from zoo.data.splits import InMemory, Splits, hold_out

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
    return Splits(rest, validation_split, test_split, shape=tuple(rest.x.shape[1:]), classes=classes)


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
    return _download(dataset_class, root, train=train, download=download)


def _download(dataset_class: Any, root: str, *, train: bool, download: bool) -> Any:
    """Download a dataset; raise FileNotFoundError with advice if downloads are off or fail."""
    name = dataset_class.__name__
    advice = f"put its files into {_home(dataset_class, root)}, or name the folder that has them with dataset.root=…"
    if not download:
        raise FileNotFoundError(f"{name} is not in {root}: {advice}, or set dataset.download=true")
    try:
        return dataset_class(root, train=train, download=True)
    except (RuntimeError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise FileNotFoundError(f"{name} is not in {root} and cannot be downloaded ({reason}): {advice}") from error


def _home(dataset_class: Any, root: str) -> Path:
    """The folder in which torchvision expects the files: CIFAR-10 names it, MNIST and its relatives do not."""
    return Path(root) / getattr(dataset_class, "base_folder", f"{dataset_class.__name__}/raw")


def _examples(dataset: Any) -> InMemory:
    """A dataset of torchvision -> tensors, N x C x H x W and N."""
    # MNIST has no dimension for channels; CIFAR-10 has it last.
    x = torch.as_tensor(np.asarray(dataset.data))
    x = x[:, None] if x.dim() == 3 else x.permute(0, 3, 1, 2).contiguous()
    return InMemory(x, torch.as_tensor(dataset.targets))
