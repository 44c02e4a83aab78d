"""Helpers that several test files share."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from zoo.data.sources import image_folder
from zoo.data.splits import Splits

ROOT = Path(__file__).parents[1]  # of the repository


class Outcome:
    """What a user saw: exit status and both streams."""

    def __init__(self, status: int, out: str, err: str):
        self.status, self.out, self.err = status, out, err


class Touch:
    """Unpickled carelessly, it leaves a file."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


# Datasets on disk


def write_noise(path: Path, seed: int = 0, size=(20, 24), color=True, **options) -> Path:
    """Write an image of random pixels that is unlike any of another seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (size[1], size[0], 3) if color else (size[1], size[0])
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)).save(path, **options)
    return path


def solid_image(path: Path, level: Any = 100, size=(6, 4), mode="L") -> Path:
    """Write an image of one color."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, level).save(path)
    return path


def truncate(path: Path) -> Path:
    """Cut a file to its first half."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def image_folder_at(root: Path, *, count: int = 10, classes=("cat", "dog"), split: str = "") -> Path:
    """Write ``count`` images of each class, all different, below ``root`` or the folder of a split in it."""
    for k, name in enumerate(classes):
        for i in range(count):
            write_noise(root / split / name / f"{i}.png", seed=sum(map(ord, split)) * 1000 + k * 100 + i)
    return root


def load_images(root: Path, **options: Any) -> Splits:
    """An image folder as 3x8x8."""
    return image_folder.load(root=str(root), **{"shape": (3, 8, 8), **options})


def write_csv(folder: Path, *, rows=60, at=0, labels=None, name="train.csv"):
    """Kaggle's format with the label in column ``at`` (None: no label); returns pixels and labels."""
    pixels = np.random.default_rng(0).integers(0, 256, (rows, 784))
    names = [f"pixel{k}" for k in range(784)]
    labels = np.arange(rows) % 10 if labels is None else labels
    table = pixels
    if at is not None:
        table = np.insert(pixels, at, labels, axis=1)
        names.insert(at, "label")
    np.savetxt(folder / name, table, fmt="%d", delimiter=",", header=",".join(names), comments="")
    return pixels, labels


def split_sizes(splits: Splits) -> list[int]:
    """Number of examples in the training, validation and test split; 0 for none."""
    return [0 if split is None else len(split) for split in (splits.train, splits.validation, splits.test)]


def png_size(path: Path) -> tuple[int, int]:
    """Width and height of a file that must be a whole PNG."""
    with Image.open(path) as image:
        image.load()
        assert image.format == "PNG"
        return image.size
