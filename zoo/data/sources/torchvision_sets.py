"""MNIST, Fashion-MNIST, KMNIST and CIFAR-10 through torchvision, held in memory.

The official test part is never trained or tuned on; validation is cut from the training part.
"""

from pathlib import Path

import numpy as np
import torch

from zoo.data.splits import InMemory, Splits, hold_out

NAMES = ("MNIST", "FashionMNIST", "KMNIST", "CIFAR10")


def load(*, name: str, root: str, validation: float = 0.0, download: bool = True) -> Splits:
    """Pixels as bytes, channels x height x width, ten classes.

    Args:
        name: one of `NAMES`.
        root: folder that holds torchvision's own, such as ``root/MNIST/raw``.
        validation: a fraction below 1, or a number of examples, of the training part.
        download: fetch what is missing.

    Raises:
        FileNotFoundError: the files are not there and could not be downloaded.
        ValueError: a file is there but is not what it should be.
    """
    from torchvision import datasets

    if name not in NAMES:
        raise ValueError(f"unknown dataset {name!r}; choose one of: {', '.join(NAMES)}")
    kind = getattr(datasets, name)
    parts = {}
    for train in (True, False):
        try:
            parts[train] = kind(root, train=train, download=False)
            pictures, labels = len(parts[train].data), len(parts[train].targets)
            if pictures != labels:
                raise ValueError(f"{pictures} pictures but {labels} labels")
        except (RuntimeError, ValueError, AssertionError, EOFError, OSError) as error:
            if "Dataset not found" in str(error):  # torchvision's words, for a RuntimeError as a short file gives too
                parts[train] = _fetch(kind, root, train, download)
                continue
            raise ValueError(f"{_home(kind, root)}: a file is damaged ({error}); delete it and run again") from error
    official = {train: _arrays(part) for train, part in parts.items()}
    classes = tuple(str(label).split(" - ")[0] for label in parts[True].classes)  # "7 - seven" -> "7"
    rest, val = hold_out(official[True], validation, names=classes)
    return Splits(rest, val, official[False], shape=tuple(rest.x.shape[1:]), classes=classes)


def _fetch(kind, root: str, train: bool, download: bool):
    advice = f"put its files into {_home(kind, root)}, or name the folder that has them with dataset.root=…"
    if not download:
        raise FileNotFoundError(f"{kind.__name__} is not under {root}: {advice}, or set dataset.download=true")
    try:
        return kind(root, train=train, download=True)
    except (RuntimeError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise FileNotFoundError(
            f"{kind.__name__} is not under {root} and cannot be downloaded ({reason}): {advice}"
        ) from error


def _home(kind, root: str) -> Path:
    return Path(root) / (kind.base_folder if hasattr(kind, "base_folder") else f"{kind.__name__}/raw")


def _arrays(part) -> InMemory:
    x = torch.as_tensor(np.asarray(part.data))
    x = x[:, None] if x.dim() == 3 else x.permute(0, 3, 1, 2).contiguous()  # N x C x H x W
    return InMemory(x, torch.as_tensor(part.targets))
