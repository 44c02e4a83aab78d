"""Faces or not: 200 real grey photographs of 25x25 pixels that come with scikit-image, so nothing is downloaded.

100 faces of Labeled Faces in the Wild (G. Huang et al., "Learning to align from scratch", NIPS 2012) and 100 pieces of
the same photographs' backgrounds. They are written as PNG files once and read as a folder of pictures.
"""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from zoo.data.sources import image_folder
from zoo.data.splits import Splits

CLASSES = ("face", "other")


def load(*, root: str, shape: Sequence[int], validation: float = 20, test: float = 80) -> Splits:
    """Pictures as bytes of ``shape`` in two classes, as `zoo.data.sources.image_folder.load`.

    Raises:
        ValueError: scikit-image is needed and not there, ``root`` holds something else, or as image_folder.
    """
    folder = Path(root)
    if not all((folder / name).is_dir() for name in CLASSES):
        if folder.exists() and any(folder.iterdir()):
            raise ValueError(f"{folder}: not the pictures of dataset=faces; name another folder with dataset.root=…")
        _write(folder)
    return image_folder.load(root=root, shape=shape, validation=validation, test=test)


def _write(folder: Path) -> None:
    """All files or none, whoever else is writing them."""
    from PIL import Image

    try:
        from skimage.data import lfw_subset
    except ModuleNotFoundError as error:
        raise ValueError(
            f"dataset=faces needs scikit-image ({error.name} is missing): pip install 'reference-zoo[faces]'"
        ) from error
    pixels = (255 * lfw_subset()).round().astype("uint8")  # 200 x 25 x 25; the first half are faces
    beside = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        for number, picture in enumerate(pixels):
            path = beside / CLASSES[number // 100] / f"{number:03}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(path)
        beside.rename(folder)
    except OSError:
        if not (folder / CLASSES[-1]).is_dir():  # it is there if another process was first
            raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)
