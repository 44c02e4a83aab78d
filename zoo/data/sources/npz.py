"""Arrays of the user in an ``.npz`` file, or one array of inputs in an ``.npy`` file.

Either ``x_train, y_train, x_test, y_test`` (and ``x_val, y_val``), or ``x, y``, which this module divides into splits.
Without y, the data have no labels and can train only models that need none.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from zoo.data.arrays import Array, inputs, targets
from zoo.data.divide import held_out_size
from zoo.data.folds import class_numbers, hold_out_groups
from zoo.data.preprocess import Preprocess
from zoo.data.splits import InMemory, Splits, check_labels, hold_out

# The arrays that are read. Others may be of any type.
NAMES = (*(f"{kind}{suffix}" for suffix in ("", "_train", "_val", "_test") for kind in "xy"), "classes")
# Maximum number of classes, since metrics count every pair of classes. If the number is inferred from the largest label
# and exceeds that of the examples, its maximum is MAX_WITHOUT_EXAMPLES: a larger label is a mistake.
MAX_CLASSES = 10_000
MAX_WITHOUT_EXAMPLES = 1000


class Archive(NamedTuple):
    """The arrays of a file by their names in `NAMES`, and the names of all arrays in it."""

    arrays: dict[str, Array]
    names: list[str]


def load(
    *,
    root: str,
    validation: float = 0.1,
    test: float | None = None,
    num_classes: int | None = None,
    channels: str = "auto",
    target_type: str = "auto",
    groups: str | None = None,
) -> Splits:
    """Load the arrays.

    Integers in y are class numbers, or N x labels of 0 and 1: several labels for each example. Floating-point numbers
    are target values. An array ``classes`` may have the names of the classes or labels.

    Args:
        root: the ``.npz`` file. x: N x features, N x H x W, N x C x H x W or N x H x W x C. Or an ``.npy`` file with
            x alone.
        validation: a fraction (< 1) or number of the examples that remain after the test split is held out; used if the
            file has no such split.
        test: a fraction (< 1) or number of all examples; used if the file has no such split. None: 20 %, or 0 if the
            file has a validation split.
        num_classes: number of classes; None: the largest label + 1.
        channels: "first" or "last": which axis of an image has the channels; "auto" guesses it.
        target_type: what y has: classes, labels, values, or "auto", as for `zoo.data.arrays.targets`.
        groups: the array with the group of each example of x or x_train; None: no groups. The splits that are held out
            then have whole groups.

    Returns:
        The splits. Without y they have neither classes nor target values, and all labels are 0.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not an archive of plain arrays, an array is missing, lengths differ, a value is not
            finite, a label is not in [0, num_classes), there are too many classes, or the splits are on different
            scales.
    """
    # The training arrays determine whether there are classes, and how many.
    for key, value, choices in (
        ("channels", channels, ("auto", "first", "last")),
        ("target_type", target_type, ("auto", "classes", "values", "labels")),
    ):
        if value not in choices:
            raise ValueError(f"dataset.{key}={value}: choose {', '.join(choices)}")
    archive = read(root, also=() if groups is None else (groups,))
    arrays = archive.arrays
    options = {"channels": channels, "kind": target_type}
    suffix = "_train" if "x_train" in arrays else ""
    is_labeled = f"y{suffix}" in arrays
    notes: list[str] = []
    train, kind = _examples(root, archive, suffix, labeled=is_labeled, notes=notes, **options)
    if kind == "labels":
        options["kind"] = kind  # also if every example of another split has one label
    classes: tuple[str, ...] = ()
    num_targets = 0
    unlabeled = ""
    if not is_labeled:
        unlabeled = f"{root} has no y{suffix}; it has {', '.join(archive.names)}"
        notes.append(f"{unlabeled}: only models that need no labels can be trained")
    elif kind == "labels":
        classes = _class_names(root, archive, train.y.shape[1])
        notes.append(f"y{suffix} has {len(classes)} labels, any number of them for each example")
    elif kind == "values":
        num_targets = train.y.shape[1]
        if bool((train.y == train.y.round()).all()):
            notes.append(
                f"y{suffix} has whole numbers of type {arrays[f'y{suffix}'].dtype}: they are regression targets; "
                "for classes, save y as integers"
            )
    else:
        smallest = int(train.y.min())
        if num_classes is None and smallest > 0:
            missing = "class 0 has" if smallest == 1 else f"classes 0 to {smallest - 1} have"
            notes.append(
                f"the labels in y{suffix} begin at {smallest}, and classes are numbered from 0, so {missing} no "
                f"examples; subtract {smallest} from the labels, or, if classes without examples are intended, set "
                "dataset.num_classes to the largest label + 1"
            )
        if num_classes is None and "classes" in arrays:
            num_classes = arrays["classes"].size
        count = _count_classes(train.y, num_classes, where=f"{root}, y{suffix}")
        classes = _class_names(root, archive, count)
        check_labels(train.y, count, where=f"{root}, y{suffix}")

    # The other splits must match the training arrays.
    test_split = _other_split(root, archive, "test", train, classes, labeled=is_labeled, notes=notes, **options)
    validation_split = _other_split(root, archive, "val", train, classes, labeled=is_labeled, notes=notes, **options)

    # Hold out the splits that the file does not have.
    group_of = None if groups is None else _groups(root, archive, groups, len(train))
    test_size, reason = held_out_size(test, has_validation=validation_split is not None)
    for split, size in (("test", test_size), ("validation", validation)):
        if (test_split if split == "test" else validation_split) is not None or not size:
            continue
        if group_of is None:
            train, held_out = hold_out(train, size, split=split, names=classes)
        else:
            rest, taken = hold_out_groups(class_numbers(train), group_of, size, split=split)
            train, held_out = train.take(rest), train.take(taken)
            group_of = tuple(group_of[k] for k in rest)
        if split == "test":
            test_split = held_out
        else:
            validation_split = held_out
    shape = tuple(train.x.shape[1:])
    return Splits(
        train,
        validation_split,
        test_split,
        shape,
        classes,
        num_targets,
        notes=tuple(notes),
        origins={"test": reason} if reason and test_split is None else {},
        unlabeled=unlabeled,
        multi_label=kind == "labels",
        groups=group_of,
    )


def read(path: str | Path, *, also: Sequence[str] = ()) -> Archive:
    """The arrays of an archive, those of `NAMES` and ``also``. Pickled objects are refused, so loading runs no code.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not an archive of plain arrays.
    """
    if Path(path).is_dir():
        raise FileNotFoundError(f"{path} is a folder; name an .npz or .npy file")
    if not Path(path).is_file():
        raise FileNotFoundError(
            f"{path}: no such file; set dataset.root to an .npz file with x_train, y_train, x_test, y_test"
        )
    try:
        with Path(path).open("rb") as file:
            content = np.load(file, allow_pickle=False)
            if isinstance(content, np.ndarray):
                return Archive({"x": content}, ["x"])
            with content as archive:
                arrays = {name: archive[name] for name in archive.files if name in (*NAMES, *also)}
                return Archive(arrays, sorted(archive.files))
    except Exception as error:  # NumPy and zipfile raise many kinds for a damaged file
        reason = str(error).partition("\n")[0] or type(error).__name__
        # NumPy treats every other file as a pickle; its message recommends to load it unsafely.
        reason = "" if "unsafely" in reason else f" ({reason})"
        raise ValueError(f"{path}: not a readable .npz or .npy file of plain arrays{reason}") from error


def _examples(
    path: str, archive: Archive, suffix: str, *, labeled: bool, notes: list[str], channels: str, kind: str
) -> tuple[InMemory, str]:
    """The examples in the arrays x and y with this suffix, and the kind of y; without ``labeled``, all y are 0."""
    # Both arrays must be there.
    for name in (f"x{suffix}", f"y{suffix}") if labeled else (f"x{suffix}",):
        if name not in archive.arrays:
            raise ValueError(f"{path}: no array {name}; it has {', '.join(archive.names) or 'none'}")
    x, found = inputs(archive.arrays[f"x{suffix}"], where=f"{path}, x{suffix}", channels=channels)
    notes += found
    if not labeled:
        return InMemory(x, torch.zeros(len(x), dtype=torch.int64)), ""
    y, kind = targets(archive.arrays[f"y{suffix}"], where=f"{path}, y{suffix}", kind=kind)
    if len(x) != len(y):
        raise ValueError(f"{path}: {len(x)} inputs in x{suffix} but {len(y)} targets in y{suffix}")
    return InMemory(x, y), kind


def _other_split(
    path: str,
    archive: Archive,
    name: str,
    train: InMemory,
    classes: tuple[str, ...],
    *,
    labeled: bool,
    notes: list[str],
    channels: str,
    kind: str,
) -> InMemory | None:
    """The split "test" or "val", if the file has it, after checking that it matches the training split."""
    if f"x_{name}" not in archive.arrays:
        return None
    split, _ = _examples(path, archive, f"_{name}", labeled=labeled, notes=[], channels=channels, kind=kind)
    same_shape = (split.x.shape[1:], split.y.shape[1:]) == (train.x.shape[1:], train.y.shape[1:])
    if not same_shape or split.y.dtype != train.y.dtype:
        raise ValueError(f"{path}: x_{name} and y_{name} differ in kind or shape from the training split")
    if classes and not split.y.is_floating_point():
        check_labels(split.y, len(classes), where=f"{path}, y_{name}")

    # Pixels on another scale would be evaluated without an error. Features may have any range, so that is a note.
    trained = Preprocess.from_data(train.x, standardize=train.x.dim() == 2)
    try:
        trained.check_values(split.x, where=f"{path}, x_{name}")
    except ValueError as error:
        reason = f"{str(error).partition(': another scale')[0]}: save all splits on one scale"
        if trained.white is not None:
            raise ValueError(reason) from error
        notes.append(reason)
    return split


def _class_names(path: str, archive: Archive, count: int) -> tuple[str, ...]:
    """The names in the array ``classes``, or numbers if there is none."""
    names = archive.arrays.get("classes")
    if names is None:
        return tuple(map(str, range(count)))
    if names.dtype.kind not in "USiu" or names.shape != (count,) or len(set(names.tolist())) != count:
        raise ValueError(f"{path}: classes: shape {names.shape}, expected {count} different names of classes or labels")
    return tuple(name.decode() if isinstance(name, bytes) else str(name) for name in names.tolist())


def _groups(path: str, archive: Archive, name: str, count: int) -> tuple[Any, ...]:
    """The group of each training example. Raises ValueError if there is no such array, or it has another length."""
    array = archive.arrays.get(name)
    if array is None:
        raise ValueError(f"dataset.groups={name}: {path} has no such array; it has {', '.join(archive.names)}")
    if array.shape != (count,) or array.dtype.kind not in "iuUS":
        raise ValueError(f"{path}: {name}: shape {array.shape}, expected {count} integers or strings, one per example")
    return tuple(array.tolist())


def _count_classes(labels: Tensor, num_classes: int | None, *, where: str) -> int:
    """The number of classes: ``num_classes``, or the largest label + 1; ValueError if it is too large."""
    if num_classes is not None:
        if not 1 <= num_classes <= MAX_CLASSES:
            raise ValueError(f"dataset.num_classes={num_classes} must be in [1, {MAX_CLASSES}]")
        return num_classes
    # Labels are counted from 0. A much larger one is an ID, or damaged.
    count = max(1, int(labels.max()) + 1)
    most = min(MAX_CLASSES, max(MAX_WITHOUT_EXAMPLES, len(labels)))
    if count > most:
        raise ValueError(
            f"{where}: the largest label is {count - 1} for {len(labels)} examples; number the classes from 0, "
            f"at most {most - 1}"
        )
    return count
