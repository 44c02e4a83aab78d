"""Arrays of the user in an ``.npz`` file, or one array of inputs in an ``.npy`` file.

Either ``x_train, y_train, x_test, y_test`` (and ``x_val, y_val``), or ``x, y``, which this module divides into splits.
Without y, the data have no labels and can train only models that need none.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from zoo.data.preprocess import Preprocess
from zoo.data.splits import InMemory, Splits, check_labels, hold_out

Array = np.ndarray[Any, Any]
# The arrays that are read. Others may be of any type.
NAMES = tuple(f"{kind}{suffix}" for suffix in ("", "_train", "_val", "_test") for kind in "xy")
# Maximum number of classes, since metrics count every pair of classes. If the number is inferred from the largest label
# and exceeds that of the examples, its maximum is MAX_WITHOUT_EXAMPLES: a larger label is a mistake.
MAX_CLASSES = 10_000
MAX_WITHOUT_EXAMPLES = 1000


class Archive(NamedTuple):
    """The arrays of a file by their names in `NAMES`, and the names of all arrays in it."""

    arrays: dict[str, Array]
    names: list[str]


def load(*, root: str, validation: float = 0.1, test: float = 0.2, num_classes: int | None = None) -> Splits:
    """Load the arrays. Integers in y are class numbers, floating-point numbers are target values.

    Args:
        root: the ``.npz`` file. x: N x features, N x H x W, N x C x H x W or N x H x W x C (C is 1 or 3). Or an
            ``.npy`` file with x alone.
        validation: a fraction (< 1) or number of the examples that remain after the test split is held out; used if the
            file has no such split.
        test: a fraction (< 1) or number of all examples; used if the file has no such split.
        num_classes: number of classes; None: the largest label + 1.

    Returns:
        The splits. Without y they have neither classes nor target values, and all labels are 0.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not an archive of plain arrays, an array is missing, lengths differ, a value is not
            finite, a label is not in [0, num_classes), there are too many classes, or the splits are on different
            scales.
    """
    # The training arrays determine whether there are classes, and how many.
    archive = read(root)
    arrays = archive.arrays
    suffix = "_train" if "x_train" in arrays else ""
    is_labeled = f"y{suffix}" in arrays
    notes: list[str] = []
    train = _examples(root, archive, suffix, labeled=is_labeled, notes=notes)
    classes: tuple[str, ...] = ()
    num_targets = 0
    unlabeled = ""
    if not is_labeled:
        unlabeled = f"{root} has no y{suffix}; it has {', '.join(archive.names)}"
        notes.append(f"{unlabeled}: only models that need no labels can be trained")
    elif train.y.is_floating_point():
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
                f"examples; subtract {smallest}, or state dataset.num_classes"
            )
        count = _count_classes(train.y, num_classes, where=f"{root}, y{suffix}")
        classes = tuple(map(str, range(count)))
        check_labels(train.y, count, where=f"{root}, y{suffix}")

    # The other splits must match the training arrays.
    test_split = _other_split(root, archive, "test", train, classes, labeled=is_labeled, notes=notes)
    validation_split = _other_split(root, archive, "val", train, classes, labeled=is_labeled, notes=notes)

    # Hold out the splits that the file does not have.
    if test_split is None:
        train, test_split = hold_out(train, test, split="test", names=classes)
    if validation_split is None:
        train, validation_split = hold_out(train, validation, names=classes)
    shape = tuple(train.x.shape[1:])
    return Splits(
        train,
        validation_split,
        test_split,
        shape,
        classes,
        num_targets,
        notes=tuple(notes),
        unlabeled=unlabeled,
    )


def read(path: str | Path) -> Archive:
    """The arrays of an archive. Pickled objects are refused, so loading runs no code.

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
                arrays = {name: archive[name] for name in archive.files if name in NAMES}
                return Archive(arrays, sorted(archive.files))
    except Exception as error:  # NumPy and zipfile raise many kinds for a damaged file
        reason = str(error).partition("\n")[0] or type(error).__name__
        # NumPy takes every other file for a pickle, and advises to load it unsafely.
        reason = "" if "unsafely" in reason else f" ({reason})"
        raise ValueError(f"{path}: not a readable .npz or .npy file of plain arrays{reason}") from error


def inputs(array: Array, *, where: str) -> tuple[Tensor, str]:
    """The array x of an archive -> N x features or N x C x H x W, uint8 or float32.

    Images with values from 0 to 255 of another integer type become uint8.

    Returns:
        The tensor, and a note about what was guessed, or "".

    Raises:
        ValueError: another shape, values that are not numbers or not finite; the message begins with ``where``.
    """
    # Images of integers from 0 to 255 are bytes; 0 and 1 alone could be bytes or not, and stay as they are.
    note = ""
    wide = array.dtype.kind in "iu" and array.dtype != np.uint8 and array.ndim in (3, 4) and array.size > 0
    if wide and array.min() >= 0 and 1 < array.max() <= 255:
        note = f"{where}: integers of type {array.dtype} from {array.min()} to {array.max()} are taken as bytes"
        array = array.astype(np.uint8)
    x = torch.from_numpy(array if array.dtype == np.uint8 else _as_float32(array, where=where))
    # Add the dimension that is missing, or move the channels to the front.
    if x.dim() in (1, 3):
        x = x[:, None]  # one feature; one channel
    elif x.dim() == 4 and x.shape[1] not in (1, 3) and x.shape[-1] <= 4 < x.shape[1]:
        if x.shape[-1] not in (1, 3):
            raise ValueError(f"{where}: shape {array.shape}: images have 1 or 3 channels; leave out the others")
        x = x.permute(0, 3, 1, 2).contiguous()  # channels last -> channels first
    if x.dim() not in (2, 4) or not x.numel():
        raise ValueError(f"{where}: shape {tuple(array.shape)}, expected N x features or N x channels x height x width")
    return x, note


def _examples(path: str, archive: Archive, suffix: str, *, labeled: bool, notes: list[str]) -> InMemory:
    """The examples in the arrays x and y with this suffix; without ``labeled``, all labels are 0."""
    # Both arrays must be there.
    for name in (f"x{suffix}", f"y{suffix}") if labeled else (f"x{suffix}",):
        if name not in archive.arrays:
            raise ValueError(f"{path}: no array {name}; it has {', '.join(archive.names) or 'none'}")
    x, note = inputs(archive.arrays[f"x{suffix}"], where=f"{path}, x{suffix}")
    notes += [note] if note else []
    if not labeled:
        return InMemory(x, torch.zeros(len(x), dtype=torch.int64))
    y = _targets(archive.arrays[f"y{suffix}"], where=f"{path}, y{suffix}")
    if len(x) != len(y):
        raise ValueError(f"{path}: {len(x)} inputs in x{suffix} but {len(y)} targets in y{suffix}")
    return InMemory(x, y)


def _other_split(
    path: str,
    archive: Archive,
    name: str,
    train: InMemory,
    classes: tuple[str, ...],
    *,
    labeled: bool,
    notes: list[str],
) -> InMemory | None:
    """The split "test" or "val", if the file has it, after checking that it matches the training split."""
    if f"x_{name}" not in archive.arrays:
        return None
    split = _examples(path, archive, f"_{name}", labeled=labeled, notes=[])
    same_shape = (split.x.shape[1:], split.y.shape[1:]) == (train.x.shape[1:], train.y.shape[1:])
    if not same_shape or split.y.dtype != train.y.dtype:
        raise ValueError(f"{path}: x_{name} and y_{name} differ in kind or shape from the training split")
    if classes:
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


def _targets(array: Array, *, where: str) -> Tensor:
    """The array y of an archive -> N class numbers, or N x num_targets real values."""
    # Integers and booleans are classes, one for each example; the rest are values to predict.
    integers = array.dtype.kind in "iub"
    if array.dtype.kind in "SU":
        raise ValueError(
            f"{where}: the labels are text; number the classes from 0, as by np.unique(y, return_inverse=True)[1]"
        )
    if not array.ndim or (integers and array.size != len(array)):
        hint = "; for one-hot labels, save y.argmax(1)" if array.ndim == 2 else ""
        raise ValueError(f"{where}: shape {array.shape}, expected N class numbers or N x targets real values{hint}")
    if integers:
        return torch.from_numpy(array.astype(np.int64)).flatten()
    return torch.from_numpy(_as_float32(array, where=where)).view(len(array), -1)


def _as_float32(array: Array, *, where: str) -> Array:
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{where}: values of type {array.dtype}, expected numbers")
    # A value beyond float32 becomes infinite.
    with np.errstate(over="ignore"):
        converted = array.astype(np.float32, order="C")
    if not np.isfinite(converted).all():
        too_large = np.isfinite(array).all()
        raise ValueError(f"{where}: " + ("a value is too large for float32" if too_large else "contains NaN or Inf"))
    return converted
