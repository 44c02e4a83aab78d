"""A folder of pictures, one sub-folder a class: read when needed, so it may be larger than memory.

Either ``root/CLASS/*.png``, cut into parts here, or ``root/train/CLASS``, ``root/val/CLASS`` and ``root/test/CLASS``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from zoo.data import images
from zoo.data.splits import Splits, stratify


@dataclass(frozen=True)
class Pictures:
    """Files and their class numbers; decoded and resized to ``shape`` batch by batch."""

    files: tuple[Path, ...]
    targets: tuple[int, ...]
    shape: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.files)

    def __getitems__(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        x = torch.stack([images.read(self.files[i], self.shape, resize=True) for i in indices])
        return x, torch.tensor([self.targets[i] for i in indices])

    def labels(self) -> Tensor:
        return torch.tensor(self.targets)

    def take(self, indices: Sequence[int]) -> "Pictures":
        return Pictures(tuple(self.files[i] for i in indices), tuple(self.targets[i] for i in indices), self.shape)


def load(*, root: str, shape: Sequence[int], validation: float = 0.1, test: float = 0.2) -> Splits:
    """Pictures as bytes of ``shape``; the classes are the folders' names in alphabetical order.

    Args:
        root: the folder.
        shape: channels (1 or 3), height and width to which every picture is brought.
        validation, test: a fraction below 1, or a number of pictures, where there are no such folders.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: no pictures, one class only, a class without pictures, or a class in a part that is not in training.
    """
    folder = Path(root)
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{folder}: no such folder; dataset.root names one that holds a sub-folder of pictures for each class"
        )
    if not (folder / "train").is_dir():
        classes = _classes(folder)
        everything = _pictures(folder, classes, shape)
        rest, held_out = _cut(everything, test, "test")
        train, val = _cut(rest, validation, "validation")
        return Splits(train, val, held_out, tuple(shape), classes)
    classes = _classes(folder / "train")
    parts = [folder / name for name in ("val", "test")]
    for part in parts:
        unknown = sorted(_subfolders(part) - set(classes)) if part.is_dir() else []
        if unknown:
            raise ValueError(f"{part}: class {unknown[0]!r} is not among those in {folder / 'train'}")
    train = _pictures(folder / "train", classes, shape)
    val, held_out = (_pictures(part, classes, shape) if part.is_dir() else None for part in parts)
    if held_out is None:
        train, held_out = _cut(train, test, "test")
    if val is None:
        train, val = _cut(train, validation, "validation")
    return Splits(train, val, held_out, tuple(shape), classes)


def _cut(pictures: Pictures, size: float, what: str) -> tuple[Pictures, Pictures | None]:
    if size == 0:
        return pictures, None
    rest, part = stratify(pictures.targets, size, what=what)
    return pictures.take(rest), pictures.take(part)


def _subfolders(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")}


def _classes(folder: Path) -> tuple[str, ...]:
    classes = tuple(sorted(_subfolders(folder)))
    if not classes:
        raise ValueError(f"{folder}: no sub-folders; make one for each class and put its pictures there")
    if len(classes) == 1:
        raise ValueError(f"{folder}: only one class ({classes[0]}); a classifier needs at least two sub-folders")
    return classes


def _pictures(folder: Path, classes: tuple[str, ...], shape: Sequence[int]) -> Pictures:
    found = [(path, number) for number, name in enumerate(classes) for path in images.find(folder / name)]
    empty = sorted(set(range(len(classes))) - {number for _, number in found})
    if empty:
        endings = ", ".join(sorted(images.SUFFIXES))
        raise ValueError(f"{folder / classes[empty[0]]}: no pictures ({endings}) in this class's folder")
    files, targets = zip(*found, strict=True)
    return Pictures(files, targets, tuple(shape))
