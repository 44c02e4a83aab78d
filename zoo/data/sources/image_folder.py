"""A folder of pictures, one sub-folder a class: read when needed, so it may be larger than memory.

Either ``root/CLASS/*.png``, cut into parts here, or ``root/train/CLASS``, ``root/val/CLASS`` and ``root/test/CLASS``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from zoo.data import images
from zoo.data.audit import SHOWN, Look, counted, doubles, inspect
from zoo.data.augment import Augment
from zoo.data.crop import boxes
from zoo.data.preprocess import Preprocess
from zoo.data.splits import Examples, Splits, hold_out, seed_from

VALIDATION = ("val", "valid", "validation")  # what people call that folder


@dataclass(frozen=True, eq=False)
class Pictures:
    """Files and their class numbers; decoded and resized to ``shape`` batch by batch.

    Attributes:
        files: N paths, an array of text: forked workers copy a list of Python's page by page as they count references.
        targets: N class numbers.
        shape: channels, height, width.
        side, interpolation: as in `zoo.data.preprocess.Preprocess`.
    """

    files: np.ndarray
    targets: Tensor
    shape: tuple[int, ...]
    side: int | None = None
    interpolation: str = "bilinear"

    def __len__(self) -> int:
        return len(self.files)

    def __getitems__(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        how = {"resize": True, "side": self.side, "interpolation": self.interpolation}
        x = torch.stack([images.read(self.files[i], self.shape, **how) for i in indices])  # type: ignore[arg-type]
        return x, self.targets[torch.as_tensor(indices)]

    def labels(self) -> Tensor:
        return self.targets

    def take(self, indices: Sequence[int]) -> "Pictures":
        picked = torch.as_tensor(indices, dtype=torch.int64)
        return replace(self, files=self.files[picked.numpy()], targets=self.targets[picked])


@dataclass(frozen=True, eq=False)
class Views:
    """Pictures, each time a random crop of one and perhaps changed by RandAugment, computed where it is read.

    What is drawn is a function of (seed, epoch, index), whoever reads it and when.
    """

    pictures: Pictures
    augment: Augment
    seed: int

    @staticmethod
    def wanted(augment: Augment) -> bool:
        """Whether anything is to be done here, and not to a finished batch on its device."""
        return augment.crop < 1 or augment.randaugment > 0

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitems__(self, dated: Sequence[tuple[int, int]]) -> tuple[Tensor, Tensor]:
        """A batch for (index, epoch) pairs."""
        x = torch.stack([self._view(index, epoch) for index, epoch in dated])
        return x, self.pictures.targets[torch.tensor([index for index, _ in dated])]

    def _view(self, index: int, epoch: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed_from(self.seed, epoch, "view", index))

        def draw(width: int, height: int) -> images.Box:
            box = boxes(1, height, width, least=self.augment.crop, generator=generator)
            left, top, wide, tall = box[0].tolist()
            return left, top, min(left + wide, width), min(top + tall, height)

        pictures, augment = self.pictures, self.augment
        if augment.crop < 1:
            how = pictures.interpolation
            x = images.crop(pictures.files[index], pictures.shape, draw, interpolation=how)
        else:
            x = pictures.__getitems__([index])[0][0]
        if not augment.randaugment:
            return x
        from zoo.data.torchvision_transforms import rand_augment

        return rand_augment(x[None], generator, operations=augment.randaugment, magnitude=augment.magnitude)[0]


def load(
    *,
    root: str,
    shape: Sequence[int],
    validation: float = 0.1,
    test: float = 0.2,
    on_bad_image: str = "refuse",
    check: bool = True,
) -> Splits:
    """Pictures as bytes of ``shape``; the classes are the folders' names in alphabetical order.

    Args:
        root: the folder.
        shape: channels (1 or 3), height and width to which every picture is brought.
        validation, test: a fraction below 1, or a number of pictures, where there are no such folders.
        on_bad_image: files that cannot be read: refuse, or skip them and say so in the notes.
        check: read every file once beforehand; the notes tell of pictures that are there twice. Without, a file that
            cannot be read raises when its turn comes.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: no pictures, one class only, a class without pictures or with too few, a class in a part that is
            not in training, or files that cannot be read.
    """
    if on_bad_image not in ("refuse", "skip"):
        raise ValueError(f"dataset.on_bad_image={on_bad_image}: choose refuse or skip")
    if on_bad_image == "skip" and not check:
        raise ValueError("dataset.on_bad_image=skip needs dataset.check=true")
    folder = Path(root)
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{folder}: no such folder; dataset.root names one that holds a sub-folder of pictures for each class"
        )
    homes = _homes(folder)
    classes = _classes(homes["training"])
    found = {part: _found(home, classes, of=homes["training"]) for part, home in homes.items()}
    looks, notes = _checked(folder, found, on_bad_image) if check else ({}, [])
    parts: dict[str, Pictures | None] = {
        part: _pictures(homes[part], classes, files, looks, tuple(shape)) for part, files in found.items()
    }
    train = parts["training"]
    assert train is not None
    for part, size in (("test", test), ("validation", validation)):
        if part not in parts:
            train, parts[part] = hold_out(train, size, what=part, names=classes)
    parts["training"] = train
    if check:
        held = {part: _listed(pictures) for part, pictures in parts.items() if pictures is not None}
        notes += doubles(held, looks, below=folder)
    return Splits(train, parts["validation"], parts["test"], tuple(shape), classes, notes=tuple(notes))


def read_like(splits: Splits, preprocess: Preprocess) -> Splits:
    """The same splits, their pictures read as a net's ``preprocess`` says: its side and its interpolation."""
    images.resampling(preprocess.interpolation)

    def like(part: Examples | None) -> Examples | None:
        if not isinstance(part, Pictures):
            return part
        return replace(part, side=preprocess.side, interpolation=preprocess.interpolation)

    train = like(splits.train)
    assert train is not None
    return replace(splits, train=train, validation=like(splits.validation), test=like(splits.test))


def _homes(folder: Path) -> dict[str, Path]:
    """The folder of each part that has one."""
    if not (folder / "train").is_dir():
        return {"training": folder}
    validation = [folder / name for name in VALIDATION if (folder / name).is_dir()]
    if len(validation) > 1:
        raise ValueError(f"{folder}: both {validation[0].name}/ and {validation[1].name}/ are there; keep one of them")
    homes = {"training": folder / "train", "validation": [*validation, folder / "val"][0], "test": folder / "test"}
    return {part: home for part, home in homes.items() if home.is_dir()}


def _subfolders(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")}


def _classes(folder: Path) -> tuple[str, ...]:
    classes = tuple(sorted(_subfolders(folder)))
    if not classes:
        raise ValueError(f"{folder}: no sub-folders; make one for each class and put its pictures there")
    if len(classes) == 1:
        raise ValueError(f"{folder}: only one class ({classes[0]}); a classifier needs at least two sub-folders")
    return classes


def _found(home: Path, classes: tuple[str, ...], *, of: Path) -> list[tuple[Path, int]]:
    """Every picture below a part's folder, with its class number."""
    unknown = sorted(_subfolders(home) - set(classes))
    if unknown:
        raise ValueError(f"{home}: class {unknown[0]!r} is not among those in {of}")
    found = []
    for number, name in enumerate(classes):
        files = images.find(home / name)
        if not files:
            endings = ", ".join(sorted(images.SUFFIXES))
            raise ValueError(f"{home / name}: no pictures ({endings}) in this class's folder")
        found += [(path, number) for path in files]
    return found


def _checked(
    folder: Path, found: dict[str, list[tuple[Path, int]]], on_bad_image: str
) -> tuple[dict[Path, Look], list[str]]:
    """What every file turned out to be, and a note of those that cannot be read; or ValueError where there are any."""
    files = [path for part in found.values() for path, _ in part]
    looks = dict(zip(files, inspect(files), strict=True))
    bad = [look.problem for look in looks.values() if look.problem]
    if not bad:
        return looks, []
    first = "; ".join(bad[:SHOWN]) + ("; …" if len(bad) > SHOWN else "")
    how_many = f"{len(bad):,} of {counted(len(files))} cannot be read"
    if on_bad_image == "refuse":
        raise ValueError(
            f"{folder}: {how_many}: {first}. Mend or delete them, or leave them out with dataset.on_bad_image=skip"
        )
    return looks, [f"{how_many} and {'is' if len(bad) == 1 else 'are'} left out: {'; '.join(bad)}"]


def _pictures(
    home: Path,
    classes: tuple[str, ...],
    found: list[tuple[Path, int]],
    looks: dict[Path, Look],
    shape: tuple[int, ...],
) -> Pictures:
    good = [(path, number) for path, number in found if path not in looks or not looks[path].problem]
    empty = sorted(set(range(len(classes))) - {number for _, number in good})
    if empty:
        raise ValueError(f"{home / classes[empty[0]]}: no pictures are left in this class's folder; none can be read")
    files, targets = zip(*good, strict=True)
    return Pictures(np.array([str(path) for path in files]), torch.tensor(targets), shape)


def _listed(pictures: Pictures) -> list[tuple[Path, int]]:
    return [(Path(path), number) for path, number in zip(pictures.files, pictures.targets.tolist(), strict=True)]
