"""How an image folder is organized: which of its folders are splits, which are classes, and what is left out.

A layout that can be understood in two ways is refused with the change that makes it clear.
"""

import re
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path

from zoo.data import image_tree
from zoo.data.image_tree import holds_images, subfolders

# Usual names of the folder of each split, in lower case and without an ending such as "_set" or " images".
SPELLINGS = {
    "train": {"train", "training"},
    "validation": {"val", "valid", "validation", "validate", "validating", "dev", "development"},
    "test": {"test", "testing"},
}
ENDINGS = ("set", "data", "dataset", "images", "imgs", "split")
EXAMPLES_SHOWN = 3  # maximum number of names in a message


@dataclass
class Layout:
    """The folders of the splits and the classes.

    Attributes:
        homes: split (train, validation, test) -> its folder. A split without a folder is held out from
            the training images.
        classes: names of the classes, in alphabetical order; empty if the images have no labels.
        unlabeled: why the images have no labels; empty if they have labels.
        notes: what was left out, one line each.
    """

    homes: dict[str, Path]
    classes: tuple[str, ...] = ()
    unlabeled: str = ""
    notes: list[str] = field(default_factory=list)


def split_of(name: str) -> str | None:
    """The split that a folder of this name contains: Train, training_set -> train; None for any other name."""
    # Compare letters and digits only, with and without one of the endings.
    word = re.sub(r"[\W_]", "", name.casefold())
    words = {word, *(word.removesuffix(ending) for ending in ENDINGS)}
    return next((split for split, spellings in SPELLINGS.items() if words & spellings), None)


def read_layout(root: Path) -> Layout:
    """Find the splits and the classes of a folder.

    Raises:
        ValueError: there are no images, or the layout is ambiguous; the message says what to change.
    """
    homes, notes = _splits(root)
    layout = Layout(homes, notes=notes)
    home = homes["train"]

    # Without class folders, or with only one, the images have no labels.
    folders = class_folders(home)
    direct = bool(image_tree.scan(home, recursive=False).files)
    if len(folders) < 2:
        layout.unlabeled = _why_unlabeled(root, home, folders, direct=direct)
        return layout

    # Refuse splits that are below the classes, as in cat/train and dog/train.
    if all(_only_splits(path) for path in folders.values()):
        name, path = next(iter(folders.items()))
        split = next(iter(subfolders(path)))
        raise ValueError(
            f"{home}: the splits are below the classes ({name}/{split}); "
            f"put the classes below the splits: {split}/{name}"
        )
    layout.classes = tuple(folders)
    return layout


def class_folders(home: Path) -> dict[str, Path]:
    """The folder of each class, by the name of the class, in alphabetical order.

    macOS may store the name of a folder in decomposed Unicode form. The names of classes are composed (NFC).

    Raises:
        ValueError: two names are the same after that, or a name is not valid UTF-8.
    """
    folders: dict[str, Path] = {}
    for name, path in subfolders(home).items():
        composed = unicodedata.normalize("NFC", name)
        try:
            composed.encode()
        except UnicodeEncodeError:
            shown = name.encode(errors="surrogateescape").decode(errors="backslashreplace")
            raise ValueError(
                f"{home}: the name of the class folder {shown} is not valid UTF-8; rename the folder"
            ) from None
        if composed in folders:
            raise ValueError(f"{home}: two class folders are called {composed}, in different Unicode forms; rename one")
        folders[composed] = path
    return dict(sorted(folders.items()))


def _splits(root: Path) -> tuple[dict[str, Path], list[str]]:
    """The folder of each split that has one, and notes about folders that are not used."""
    # Assign each subfolder to the split that its name means.
    folders = subfolders(root)
    named: dict[str, list[Path]] = {split: [] for split in SPELLINGS}
    others: list[Path] = []
    for name, path in folders.items():
        split = split_of(name)
        if split is not None:
            named[split].append(path)
        elif holds_images(path):
            others.append(path)
    held_out = [path for split in ("validation", "test") for path in named[split]]
    divided = [path for path in held_out if subfolders(path)]  # with class folders, as a split has them

    # Without a training folder, the subfolders are classes.
    if not named["train"]:
        if divided and not others:
            raise ValueError(
                f"{root}: has {divided[0].name}/, but no folder train/ with the training images; "
                f"to evaluate it, set dataset.root={divided[0]}"
            )
        if divided:
            raise ValueError(
                f"{root}: {divided[0].name}/ looks like a split, beside class folders such as {others[0].name}/; "
                "put these into a folder train/"
            )
        return {"train": root}, []

    # A folder train/ without subfolders, beside folders that are not splits, is a class.
    _refuse_two(root, named["train"])
    train = named["train"][0]
    unclear = [path for path in others if not path.name.casefold().startswith(("train", "val", "test"))]
    if unclear and not divided:
        if not subfolders(train):
            return {"train": root}, []
        raise ValueError(
            f"{root}: {train.name}/ may be the training split or a class beside {unclear[0].name}/; "
            f"move {unclear[0].name}/ elsewhere, or put all classes into a folder train/"
        )

    # Otherwise it is the training split. Splits must agree: either all of them have class folders, or none.
    labeled = bool(subfolders(train))
    if divided and not labeled:
        raise ValueError(f"{train}: has no class folders, but {divided[0]} has; make one for each class")
    homes, notes = {"train": train}, []
    for split in ("validation", "test"):
        _refuse_two(root, named[split])
        for path in named[split]:
            if not holds_images(path):
                notes.append(f"{path} holds no images and is not used")
            elif labeled and not _has_class_folders(path, class_folders(train)):
                notes.append(f"{path} has no class folders, so it is not used; zoo predict reads such a folder")
            else:
                homes[split] = path
    if others:
        names = ", ".join(f"{path.name}/" for path in others[:EXAMPLES_SHOWN])
        more = ", …" if len(others) > EXAMPLES_SHOWN else ""
        notes.append(f"not used, since {train.name}/ has the training images: {names}{more}")
    return homes, notes


def _refuse_two(root: Path, folders: list[Path]) -> None:
    if len(folders) > 1:
        raise ValueError(f"{root}: has both {folders[0].name}/ and {folders[1].name}/; keep one of them")


def _has_class_folders(home: Path, classes: dict[str, Path]) -> bool:
    """Whether the images of a validation or test folder are in class folders.

    A single subfolder that is not a class, as in Kaggle's test/unknown, holds images without labels.
    """
    names = class_folders(home)
    known = {name.casefold() for name in classes}
    return len(names) > 1 or any(name.casefold() in known for name in names)


def _only_splits(path: Path) -> bool:
    """Whether a class folder contains folders of splits and nothing else."""
    names = subfolders(path)
    return bool(names) and all(split_of(name) for name in names) and not image_tree.scan(path, recursive=False).files


def _why_unlabeled(root: Path, home: Path, folders: dict[str, Path], *, direct: bool) -> str:
    """Why the images in a folder with fewer than two class folders have no labels.

    Raises:
        ValueError: the folder has no images, or it only contains the folder that was meant.
    """
    # Refuse a folder without images: it may contain an archive.
    if not holds_images(home):
        hints = image_tree.note(home, image_tree.scan(home).skipped)
        hint = f" ({hints[0]})" if hints else ""
        raise ValueError(
            f"{home}: no subfolders; make one for each class and put its images there{hint}"
            if not folders
            else f"{home}: no images in it{hint}"
        )

    # Refuse a folder that only wraps the real one, as archives do when they are unpacked.
    for path in folders.values():
        inner = [name for name, below in subfolders(path).items() if holds_images(below)]
        wraps = len(inner) > 1 or any(split_of(name) for name in inner)
        if wraps and not direct and not image_tree.scan(path, recursive=False).files:
            names = ", ".join(inner[:EXAMPLES_SHOWN])
            raise ValueError(
                f"{home}: its only subfolder {path.name} has the subfolders {names}: set dataset.root={path}"
            )

    # Labels may be in a table.
    tables = [path for place in {root, home} for path in sorted(place.glob("*.[cC][sS][vV]"))]
    hint = f"; for labels in a table, use dataset=image_list dataset.root={tables[0]}" if tables else ""
    if folders and not direct:
        return f"{home} has only one class ({next(iter(folders))}); a classifier needs at least two subfolders{hint}"
    return f"{home} has images outside of class folders; make one subfolder for each class{hint}"
