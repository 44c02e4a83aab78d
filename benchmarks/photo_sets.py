"""The three sets of photographs of benchmarks/photos.py: small folders of them, one for each number of images and seed.

Each set has a pool of training images and fixed test images. `write` makes a folder with ``train/`` and ``test/`` of
class folders. For a choice of settings, ``test/`` is a fold of the pool: the real test images are not in that folder.
"""

import random
import shutil
import tarfile
from collections.abc import Callable
from functools import cache
from os import environ
from pathlib import Path

FOLDS = 5
CIFAR_POOL, CIFAR_TEST = 100, 100  # images of each class that are used of CIFAR-10: all of them would take days
FACES_POOL = 7  # images of each person in the training pool; the last three are the test images

ByClass = dict[str, list[Path]]  # class -> its images


def data_root() -> Path:
    return Path(environ.get("ZOO_DATA", "data"))


def _images(folder: Path) -> list[Path]:
    # Hidden files of the operating system are no images, nor is the only GIF a photograph: it says "image not found".
    files = (path for path in folder.iterdir() if path.is_file())
    return sorted(path for path in files if path.suffix != ".gif" and not path.name.startswith("."))


def _classes(folder: Path) -> ByClass:
    return {path.name: _images(path) for path in sorted(folder.iterdir()) if path.is_dir()}


def ants_bees(_: Path) -> tuple[ByClass, ByClass]:
    """Ants and bees of the PyTorch tutorial: ``train/`` is the pool, ``val/`` the test images."""
    root = data_root() / "photos" / "hymenoptera"
    return _classes(root / "train"), _classes(root / "val")


def faces(_: Path) -> tuple[ByClass, ByClass]:
    """40 people, ten images each."""
    people = _classes(data_root() / "photos" / "att_faces")
    ordered = {name: sorted(images, key=lambda path: int(path.stem)) for name, images in people.items()}
    pool = {name: images[:FACES_POOL] for name, images in ordered.items()}
    return pool, {name: images[FACES_POOL:] for name, images in ordered.items()}


def cifar10(scratch: Path) -> tuple[ByClass, ByClass]:
    """The first images of each class of CIFAR-10's JPEG copies, which are unpacked to the scratch folder."""
    root = scratch / "cifar10_jpeg"
    if not root.is_dir():
        unfinished = scratch / "cifar10_jpeg.unfinished"
        with tarfile.open(data_root() / "photos" / "cifar10_jpeg.tar.gz") as archive:
            archive.extractall(unfinished, filter="data")
        unfinished.rename(root)
    pool = {name: images[:CIFAR_POOL] for name, images in _classes(root / "train").items()}
    return pool, {name: images[:CIFAR_TEST] for name, images in _classes(root / "test").items()}


SETS: dict[str, Callable[[Path], tuple[ByClass, ByClass]]] = {
    "ants_bees": ants_bees,
    "faces": faces,
    "cifar10": cifar10,
}


@cache
def images_of(name: str, scratch: Path) -> tuple[ByClass, ByClass]:
    return SETS[name](scratch)


def divide(pool: ByClass, test: ByClass, *, per_class: int | None, seed: int, choose: bool) -> tuple[ByClass, ByClass]:
    """The training and test images of a run.

    Args:
        pool, test: the images of the set.
        per_class: number of training images of each class, drawn with the seed; None: all of them.
        seed: the seed; with ``choose``, also the number of the fold.
        choose: test on a fold of the pool instead of the test images.
    """
    chosen, held_out = {}, {}
    for name, images in pool.items():
        # The same order for every number of images, so that few are a part of many.
        order = random.Random(f"{seed if per_class or choose else 0} {name}").sample(images, len(images))
        if choose:
            fold = seed % FOLDS
            held_out[name] = order[fold::FOLDS]
            order = [image for image in order if image not in held_out[name]]
        chosen[name] = sorted(order[:per_class])
    return chosen, held_out if choose else test


def write(folder: Path, name: str, *, per_class: int | None, seed: int, choose: bool, scratch: Path) -> None:
    """Write ``train/`` and ``test/`` of a run below ``folder``, which is replaced."""
    shutil.rmtree(folder, ignore_errors=True)
    parts = divide(*images_of(name, scratch), per_class=per_class, seed=seed, choose=choose)
    for split, classes in zip(("train", "test"), parts, strict=True):
        for label, images in classes.items():
            (folder / split / label).mkdir(parents=True)
            for image in images:
                shutil.copyfile(image, folder / split / label / image.name)
