"""A folder of images with one subfolder for each class.

Either ``root/CLASS/*.png``, which this module divides into splits, or ``root/train/CLASS``, ``root/val/CLASS`` and
``root/test/CLASS``. Images are read batch by batch, so the folder may be larger than memory.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from zoo.data import images
from zoo.data.audit import EXAMPLES_SHOWN, ImageCheck, LabeledFiles, count_text, duplicates, inspect
from zoo.data.image_files import ImageFiles
from zoo.data.splits import Splits, hold_out

VALIDATION_FOLDERS = ("val", "valid", "validation")  # common names of the validation folder


def load(
    *,
    root: str,
    shape: Sequence[int],
    validation: float = 0.1,
    test: float = 0.2,
    on_bad_image: str = "refuse",
    check: bool = True,
) -> Splits:
    """Load images as uint8 of ``shape``. The classes are the names of the subfolders, in alphabetical order.

    Args:
        root: the folder.
        shape: channels (1 or 3), height and width to which every image is resized.
        validation: a fraction (< 1) or number of the images that remain after the test split is held out; used if there
            is no such folder.
        test: a fraction (< 1) or number of all training images; used if there is no such folder.
        on_bad_image: "refuse" raises ValueError if a file cannot be read; "skip" leaves it out and adds a note.
        check: read every file once before training, and add notes about duplicate images. Without the check, an
            unreadable file raises ValueError during training.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: there are no images, only one class, a class without images or with too few, a class in a split
            that is not in the training split, or files that cannot be read.
    """
    # Check the arguments.
    if on_bad_image not in ("refuse", "skip"):
        raise ValueError(f"dataset.on_bad_image={on_bad_image}: choose refuse or skip")
    if on_bad_image == "skip" and not check:
        raise ValueError("dataset.on_bad_image=skip needs dataset.check=true")
    folder = Path(root)
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{folder}: no such folder; dataset.root names one that holds a subfolder of images for each class"
        )

    # Find all files, and decode each of them once.
    folders = _split_folders(folder)
    classes = _classes(folders["training"])
    found = {split: _find(home, classes, training=folders["training"]) for split, home in folders.items()}
    checks: dict[Path, ImageCheck] = {}
    notes: list[str] = []
    if check:
        checks, notes = _check(folder, found, on_bad_image)
    splits = {
        split: _image_files(folders[split], classes, files, checks, tuple(shape)) for split, files in found.items()
    }

    # Hold out the splits that have no folder from the training images.
    for split, size in (("test", test), ("validation", validation)):
        if split not in splits:
            splits["training"], held_out = hold_out(splits["training"], size, split=split, names=classes)
            if held_out is not None:
                splits[split] = held_out

    if check:
        # Look for duplicates in the final splits, since two copies may now be in different splits.
        files_of = {split: _labeled_files(examples) for split, examples in splits.items()}
        notes += duplicates(files_of, checks, below=folder)
    return Splits(
        splits["training"], splits.get("validation"), splits.get("test"), tuple(shape), classes, notes=tuple(notes)
    )


def _split_folders(folder: Path) -> dict[str, Path]:
    """The folder of each split that has one."""
    if not (folder / "train").is_dir():
        return {"training": folder}
    # The validation folder may have one of several names.
    validation = [folder / name for name in VALIDATION_FOLDERS if (folder / name).is_dir()]
    if len(validation) > 1:
        raise ValueError(f"{folder}: has both {validation[0].name}/ and {validation[1].name}/; keep one of them")
    folders = {"training": folder / "train"}
    if validation:
        folders["validation"] = validation[0]
    if (folder / "test").is_dir():
        folders["test"] = folder / "test"
    return folders


def _subfolders(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")}


def _classes(folder: Path) -> tuple[str, ...]:
    classes = tuple(sorted(_subfolders(folder)))
    if not classes:
        raise ValueError(f"{folder}: no subfolders; make one for each class and put its images there")
    if len(classes) == 1:
        raise ValueError(f"{folder}: only one class ({classes[0]}); a classifier needs at least two subfolders")
    return classes


def _find(home: Path, classes: tuple[str, ...], *, training: Path) -> LabeledFiles:
    """Every image below the folder of a split, with its class number."""
    # A class that is not in the training split could not be predicted.
    unknown = sorted(_subfolders(home) - set(classes))
    if unknown:
        raise ValueError(f"{home}: class {unknown[0]!r} is not among those in {training}")
    found = []
    for label, name in enumerate(classes):
        files = images.find(home / name)
        if not files:
            suffixes = ", ".join(sorted(images.SUFFIXES))
            raise ValueError(f"{home / name}: no images ({suffixes}) in the folder of this class")
        found += [(path, label) for path in files]
    return found


def _check(folder: Path, found: dict[str, LabeledFiles], on_bad_image: str) -> tuple[dict[Path, ImageCheck], list[str]]:
    """Check every file. Returns the results and a note about unreadable files, or raises ValueError about them."""
    # Check all splits together, then collect the problems.
    files = [path for labeled_files in found.values() for path, _ in labeled_files]
    checks = dict(zip(files, inspect(files), strict=True))
    problems = [check.problem for check in checks.values() if check.problem]
    if not problems:
        return checks, []

    summary = f"{len(problems):,} of {count_text(len(files))} cannot be read"
    if on_bad_image == "refuse":
        first = "; ".join(problems[:EXAMPLES_SHOWN]) + ("; …" if len(problems) > EXAMPLES_SHOWN else "")
        raise ValueError(
            f"{folder}: {summary}: {first}. Repair or delete them, or skip them with dataset.on_bad_image=skip"
        )
    are = "is" if len(problems) == 1 else "are"
    return checks, [f"{summary} and {are} skipped: {'; '.join(problems)}"]


def _image_files(
    home: Path,
    classes: tuple[str, ...],
    found: LabeledFiles,
    checks: dict[Path, ImageCheck],
    shape: tuple[int, ...],
) -> ImageFiles:
    """The files of a split that can be read; without a check, all of them."""
    # Leave out unreadable files; every class must still have images.
    good = [(path, label) for path, label in found if path not in checks or not checks[path].problem]
    empty = sorted(set(range(len(classes))) - {label for _, label in good})
    if empty:
        raise ValueError(f"{home / classes[empty[0]]}: none of the images in the folder of this class is readable")
    files = np.array([str(path) for path, _ in good])
    targets = torch.tensor([label for _, label in good])
    return ImageFiles(files, targets, shape)


def _labeled_files(examples: ImageFiles) -> LabeledFiles:
    return [(Path(path), label) for path, label in zip(examples.files, examples.targets.tolist(), strict=True)]
