"""Faces and other image patches: 200 gray images of 25x25 pixels that ship with scikit-image.

100 faces of Labeled Faces in the Wild (G. Huang et al., "Learning to align from scratch", NIPS 2012), and 100 patches
of the backgrounds of the same photographs. They are written as PNG files once and read as an image folder.
"""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from zoo.data.sources import image_folder
from zoo.data.splits import Splits

CLASSES = ("face", "other")


def load(*, root: str, shape: Sequence[int], validation: float = 20, test: float = 80) -> Splits:
    """uint8 images of ``shape`` in two classes. Arguments as for `zoo.data.sources.image_folder.load`.

    Raises:
        ValueError: scikit-image is needed and not installed, ``root`` contains other files, or as image_folder.
    """
    folder = Path(root)
    # Write the files if they are missing, but never into a folder with other files.
    if not all((folder / name).is_dir() for name in CLASSES):
        if folder.exists() and any(folder.iterdir()):
            raise ValueError(f"{folder}: not the images of dataset=faces; name another folder with dataset.root=…")
        _write(folder)
    return image_folder.load(root=root, shape=shape, validation=validation, test=test)


def _write(folder: Path) -> None:
    """Write all files or none, even if several processes write at the same time."""
    from PIL import Image

    try:
        from skimage import data
    except ModuleNotFoundError as error:
        raise ValueError(
            f"dataset=faces needs scikit-image ({error.name} is missing): pip install 'reference-zoo[faces]'"
        ) from error
    skimage_data: Any = data
    # Values in [0, 1] -> bytes.
    pixels = (255 * skimage_data.lfw_subset()).round().astype("uint8")  # 200 x 25 x 25; the first half are faces

    # Write into a temporary folder, then rename it.
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        for number, image in enumerate(pixels):
            path = temporary / CLASSES[number // 100] / f"{number:03}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)
        temporary.rename(folder)
    except OSError:
        if not (folder / CLASSES[-1]).is_dir():  # it exists if another process was first
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
