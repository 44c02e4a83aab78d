"""The names of images in the results of a command, and the labels that the names of their folders give."""

import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path


def folder(source: Path) -> Path:
    """The folder that the names of images are relative to."""
    return source if source.is_dir() else source.parent


def names(files: Sequence[Path], source: Path) -> list[str]:
    """The names of the images that `find` or an image list gives: their paths relative to `folder`."""
    # All paths begin with the folder. Path.relative_to would take longer than the net of a small image.
    prefix = os.path.join(folder(source), "")  # noqa: PTH118 - with the separator at the end
    return [str(path).removeprefix(prefix) for path in files]


def labels(files: Sequence[Path], source: Path, classes: Sequence[str]) -> tuple[dict[str, str], str]:
    """The labels of the images in a folder whose subfolders are all named after classes.

    Returns:
        The class of each file, by its name (`names`), and "". If no subfolder is named after a class,
        in upper or lower case, an empty dict and "". If only some subfolders are named after classes, or an image is in
        no subfolder, an empty dict and a message that says so.
    """
    # The first part of each path is the subfolder, if there is one. Names of classes are composed (NFC).
    paths = {name: Path(name).parts for name in names(files, source)}
    class_of = {first: unicodedata.normalize("NFC", first) for first, *rest in paths.values() if rest}
    lower = {name.casefold() for name in classes}
    if not any(name.casefold() in lower for name in class_of.values()):
        return {}, ""

    # Some subfolders are classes. Labels for only some images would give a misleading accuracy.
    unknown = sorted(name for name in class_of.values() if name not in classes)
    if unknown:
        problem = "is not a class" if len(unknown) == 1 else "are not classes"
        return {}, f"labels are not used: {', '.join(unknown)} in {source} {problem}"
    outside = sum(len(parts) == 1 for parts in paths.values())
    if outside:
        return {}, f"labels are not used: {outside} of the images in {source} are outside the folders of classes"
    return {name: class_of[parts[0]] for name, parts in paths.items()}, ""
