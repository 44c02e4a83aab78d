"""A folder of images with one subfolder for each class.

Either ``root/CLASS/*.png``, which this module divides into splits, or ``root/train/CLASS``, ``root/val/CLASS`` and
``root/test/CLASS``; see `zoo.data.folder_layout`. Images are read batch by batch, so the folder may be larger than
memory.
"""

from collections import Counter
from collections.abc import Sequence
from math import prod
from pathlib import Path

import numpy as np
import torch

from zoo.data import image_tree, images
from zoo.data.audit import (
    EXAMPLES_SHOWN,
    ImageCheck,
    LabeledFiles,
    bit_depth,
    count_text,
    duplicates,
    inspect,
    look_alikes,
    size_range,
)
from zoo.data.divide import held_out_size
from zoo.data.folder_layout import Layout, class_folders, read_layout
from zoo.data.hash_split import split_by_hash
from zoo.data.image_files import ImageFiles, path_key
from zoo.data.splits import Splits, hold_out

MAX_VALUES = 2**24  # values of one image after it is resized, for example 3 x 2364 x 2364


def load(
    *,
    root: str,
    shape: Sequence[int],
    validation: float = 0.1,
    test: float | None = None,
    on_bad_image: str = "refuse",
    check: bool = True,
    stratified: bool = True,
) -> Splits:
    """Load images as uint8 of ``shape``. The classes are the names of the subfolders, in alphabetical order.

    Images without class folders have no labels: `Splits.classes` is empty then.

    Args:
        root: the folder.
        shape: channels (1: gray, 3: RGB, others: bands or pages), height and width to which every image is resized.
        validation: a fraction (< 1) or number of the images that remain after the test split is held out; used if there
            is no validation folder.
        test: a fraction (< 1) or number of all training images; used if there is no test folder. None: 20 %, or 0 if
            there is a validation folder: then all images of the training folder are trained on.
        on_bad_image: "refuse" raises ValueError if a file cannot be read; "skip" leaves it out and adds a note.
        check: read every file once before training, and add notes about duplicate images. Without the check, an
            unreadable file raises ValueError during training.
        stratified: hold out splits in which all classes have their exact proportion. False: a hash of each path
            decides; if sizes are fractions, a new image then does not move another one into another split. It is false
            in ``conf/dataset/image_folder.yaml``. The configs of older checkpoints do not have this key; the default
            keeps the splits that they were trained on.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: an argument is invalid, the layout is ambiguous, there are no images, a class has no images or too
            few, the training split lacks a class of another split, or files cannot be read.
    """
    # Check the arguments.
    shape = checked_shape(shape)
    if on_bad_image not in ("refuse", "skip"):
        raise ValueError(f"dataset.on_bad_image={on_bad_image}: choose refuse or skip")
    if on_bad_image == "skip" and not check:
        raise ValueError("dataset.on_bad_image=skip needs dataset.check=true")
    folder = Path(root)
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{folder}: no such folder; set dataset.root to a folder with one subfolder of images for each class"
        )

    # Find all files, and decode each of them once.
    layout = read_layout(folder)
    notes = [f"no labels: {layout.unlabeled}"] if layout.unlabeled else []
    notes += layout.notes
    found, skipped = _find(folder, layout)
    notes += image_tree.note(folder, skipped)
    checks: dict[Path, ImageCheck] = {}
    if check:
        checks, problems = check_files(folder, found, on_bad_image)
        notes += [*problems, *bit_depth(folder, checks)]
    splits = {split: _image_files(folder, split, layout, files, checks, shape) for split, files in found.items()}
    notes += _missing_classes(splits, layout)
    try_bands(splits["train"])

    # Hold out the splits that have no folder from the training images.
    cut = _Cut(layout, splits, stratified=stratified)
    test_size, reason = held_out_size(test, has_validation="validation" in splits)
    for split, size in (("test", test_size), ("validation", validation)):
        if split not in splits and size != 0:
            cut.hold_out(split, size)
    if reason and "test" not in splits:
        cut.origins["test"] = reason

    if check:
        # Look for duplicates in the final splits, since two copies may now be in different splits.
        files_of = {split: _labeled_files(examples) for split, examples in splits.items()}
        notes += duplicates(files_of, checks, below=folder)
        notes += look_alikes(files_of, checks, below=folder)
    return Splits(
        splits["train"],
        splits.get("validation"),
        splits.get("test"),
        shape,
        layout.classes,
        notes=(*notes, *cut.notes),
        origins=cut.origins,
        unlabeled=layout.unlabeled,
    )


class _Cut:
    """Holds splits out from the training images, and records where every split comes from.

    Args:
        layout: the layout of the folder.
        splits: the splits that have a folder; the others are added.
        stratified: as in `load`.
    """

    def __init__(self, layout: Layout, splits: dict[str, ImageFiles], *, stratified: bool):
        self.home = layout.homes["train"]
        self.classes = layout.classes
        self.splits = splits
        self.stratified = stratified
        self.notes: list[str] = []
        self.origins = {split: str(home) for split, home in layout.homes.items()}

    def hold_out(self, split: str, size: float) -> None:
        """Hold out ``split``: a fraction or a number of the training images."""
        # Divide the images by the hashes of their paths, or in exact proportion.
        train = self.splits["train"]
        if self.stratified:
            rest, held_out = hold_out(train, size, split=split, names=self.classes)
            assert held_out is not None
        else:
            # Files whose names differ only in the suffix are versions of one image: they stay together.
            keys = [path_key(Path(file).with_suffix(""), self.home) for file in train.files.tolist()]
            kept, taken, notes = split_by_hash(keys, train.targets.tolist(), size, split=split, names=self.classes)
            rest, held_out = train.take(kept), train.take(taken)
            self.notes += notes
        self.splits["train"], self.splits[split] = rest, held_out

        # Record where the split comes from.
        amount = f"{100 * size:.4g} %" if size < 1 else f"{int(size):,} images"
        source = self.origins["train"]
        method = "in proportion to the classes" if self.stratified else "by a hash of each path"
        self.origins[split] = f"{amount} of {source}, {method}"
        self.origins["train"] = f"the rest of {self.home}"


def checked_shape(shape: Sequence[int] | None) -> tuple[int, ...]:
    """The shape of the images, or ValueError."""
    example = "channels, height and width, such as [3,64,64]"
    if shape is None or len(shape) != 3 or min(shape) < 1:
        raise ValueError(
            f"dataset.shape={None if shape is None else list(shape)}: must be {example}".replace("None", "null")
        )
    if prod(shape) > MAX_VALUES:
        raise ValueError(
            f"dataset.shape={list(shape)}: {prod(shape):,} values in each image; must be <= {MAX_VALUES:,}"
        )
    return tuple(shape)


def _find(root: Path, layout: Layout) -> tuple[dict[str, LabeledFiles], Counter[tuple[str, str]]]:
    """Every image of each split with its class number (0 without labels), and what was skipped."""
    found: dict[str, LabeledFiles] = {}
    skipped: Counter[tuple[str, str]] = Counter()
    for split, home in layout.homes.items():
        # Without labels, all images below the folder belong to the split.
        if not layout.classes:
            scan = image_tree.scan(home)
            found[split] = [(path, 0) for path in scan.files]
            skipped += scan.skipped
            continue

        # A class that is not in the training split could not be predicted.
        folders = class_folders(home)
        unknown = [name for name in folders if name not in layout.classes]
        if unknown:
            raise ValueError(f"{home}: class {unknown[0]!r} is not among those in {layout.homes['train']}")

        # Only class folders have images with labels.
        outside = image_tree.scan(home, recursive=False)
        skipped.update({key: count for key, count in outside.skipped.items() if key[0] != "other"})
        skipped["stray", ""] += len(outside.files)
        found[split] = []
        for name, path in folders.items():
            scan = image_tree.scan(path)
            skipped += scan.skipped
            found[split] += [(file, layout.classes.index(name)) for file in scan.files]
            if split == "train" and not scan.files:
                hint = "".join(f"; {note}" for note in image_tree.note(path, scan.skipped))
                suffixes = ", ".join(sorted(images.SUFFIXES))
                raise ValueError(f"{path}: no images ({suffixes}) in the folder of this class{hint}")

    # Count system folders and images that lie beside the splits.
    if root not in layout.homes.values():
        outside = image_tree.scan(root, recursive=False)
        skipped.update({key: count for key, count in outside.skipped.items() if key[0] != "other"})
        skipped["stray", ""] += len(outside.files)
    return found, skipped


def _missing_classes(splits: dict[str, ImageFiles], layout: Layout) -> list[str]:
    """One note for each validation or test folder that lacks images of some classes."""
    notes = []
    for split, examples in splits.items():
        present = set(examples.targets.tolist())
        missing = [name for label, name in enumerate(layout.classes) if label not in present]
        if missing:
            shown = ", ".join(missing[:EXAMPLES_SHOWN]) + (", …" if len(missing) > EXAMPLES_SHOWN else "")
            notes.append(f"{layout.homes[split]} has no images of {shown}")
    return notes


def try_bands(examples: ImageFiles) -> None:
    """Read one image, unless all can be converted: ValueError if it has another number of bands than channels."""
    if examples.shape[0] not in (1, 3):
        examples.read(0)


def check_files(
    folder: Path, found: dict[str, LabeledFiles], on_bad_image: str
) -> tuple[dict[Path, ImageCheck], list[str]]:
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
    root: Path,
    split: str,
    layout: Layout,
    found: LabeledFiles,
    checks: dict[Path, ImageCheck],
    shape: tuple[int, ...],
) -> ImageFiles:
    """The files of a split that can be read; without a check, all of them."""
    # Leave out unreadable files. The split, and every class of the training split, must still have images.
    good = [(path, label) for path, label in found if path not in checks or not checks[path].problem]
    home = layout.homes[split]
    if not good:
        raise ValueError(f"{home}: none of the images in this folder is readable")
    empty = sorted(set(range(len(layout.classes))) - {label for _, label in good})
    if empty and split == "train":
        name = layout.classes[empty[0]]
        raise ValueError(f"{class_folders(home)[name]}: none of the images in the folder of this class is readable")
    files = np.array([str(path) for path, _ in good])
    targets = torch.tensor([label for _, label in good])
    return ImageFiles(files, targets, shape, root=str(root), sizes=size_range(checks.values()))


def _labeled_files(examples: ImageFiles) -> LabeledFiles:
    return [(Path(path), label) for path, label in zip(examples.files, examples.targets.tolist(), strict=True)]
