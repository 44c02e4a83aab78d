"""User data: arrays in an ``.npz`` file.

Either ``x_train, y_train, x_test, y_test`` (and optionally ``x_val, y_val``), or ``x, y``, which this module divides
into splits.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo.data.splits import InMemory, Splits, check_labels, hold_out

Array = np.ndarray[Any, Any]


def load(*, root: str, validation: float = 0.1, test: float = 0.2, num_classes: int | None = None) -> Splits:
    """Load the arrays. Integers in y are class numbers, floating-point numbers are target values.

    Args:
        root: the ``.npz`` file. x: N, N x features, N x H x W, N x C x H x W or N x H x W x C (C is 1 or 3).
        validation: a fraction (< 1) or number of the examples that remain after the test split is held out; used if the
            file has no such split.
        test: a fraction (< 1) or number of all examples; used if the file has no such split.
        num_classes: number of classes; None: the largest label + 1.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not an archive of plain arrays, an array is missing, lengths differ, a value is not
            finite, or a label is not in [0, num_classes).
    """
    # The training arrays determine whether there are classes, and how many.
    arrays = read(root)
    suffix = "_train" if "x_train" in arrays else ""
    train = _examples(root, arrays, suffix)
    if train.y.is_floating_point():
        classes: tuple[str, ...] = ()
        num_targets = train.y.shape[1]
    else:
        count = num_classes or int(train.y.max()) + 1
        classes = tuple(map(str, range(count)))
        num_targets = 0
        check_labels(train.y, count, where=f"{root}, y{suffix}")

    # The other splits must match them.
    test_split = _examples(root, arrays, "_test") if "x_test" in arrays else None
    validation_split = _examples(root, arrays, "_val") if "x_val" in arrays else None
    for name, split in (("test", test_split), ("val", validation_split)):
        if split is None:
            continue
        if (split.x.shape[1:], split.y.shape[1:]) != (train.x.shape[1:], train.y.shape[1:]):
            raise ValueError(f"{root}: x_{name} and y_{name} differ in kind or shape from the training split")
        if classes:
            check_labels(split.y, len(classes), where=f"{root}, y_{name}")

    # Hold out the splits that the file does not have.
    if test_split is None:
        train, test_split = hold_out(train, test, split="test", names=classes)
    if validation_split is None:
        train, validation_split = hold_out(train, validation, names=classes)
    return Splits(train, validation_split, test_split, tuple(train.x.shape[1:]), classes, num_targets)


def read(path: str | Path) -> dict[str, Array]:
    """All arrays of an archive. Pickled objects are refused, so loading runs no code.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not an archive of plain arrays.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(
            f"{path}: no such file; set dataset.root to an .npz file with x_train, y_train, x_test, y_test"
        )
    try:
        with Path(path).open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except Exception as error:  # NumPy and zipfile raise many kinds for a damaged file
        raise ValueError(f"{path}: not a readable .npz archive of plain arrays ({error})") from error


def inputs(array: Array, *, where: str) -> Tensor:
    """The array x of an archive -> N x features or N x C x H x W, uint8 or float32.

    Raises:
        ValueError: another shape, values that are not numbers or not finite; the message begins with ``where``.
    """
    x = torch.from_numpy(array if array.dtype == np.uint8 else _as_float32(array, where=where))
    # Add the dimension that is missing, or move the channels to the front.
    if x.dim() in (1, 3):
        x = x[:, None]  # one feature; one channel
    elif x.dim() == 4 and x.shape[-1] in (1, 3) and x.shape[1] not in (1, 3):
        x = x.permute(0, 3, 1, 2).contiguous()  # channels last -> channels first
    if x.dim() not in (2, 4) or not x.numel():
        raise ValueError(f"{where}: shape {tuple(array.shape)}, expected N x features or N x channels x height x width")
    return x


def _examples(path: str, arrays: dict[str, Array], suffix: str) -> InMemory:
    """The examples in the arrays x and y with this suffix."""
    for name in (f"x{suffix}", f"y{suffix}"):
        if name not in arrays:
            raise ValueError(f"{path}: no array {name}; it has {', '.join(sorted(arrays)) or 'none'}")
    x = inputs(arrays[f"x{suffix}"], where=f"{path}, x{suffix}")
    y = _targets(arrays[f"y{suffix}"], where=f"{path}, y{suffix}")
    if len(x) != len(y):
        raise ValueError(f"{path}: {len(x)} inputs in x{suffix} but {len(y)} targets in y{suffix}")
    return InMemory(x, y)


def _targets(array: Array, *, where: str) -> Tensor:
    """The array y of an archive -> N class numbers, or N x num_targets real values."""
    # Integers and booleans are classes, one for each example; the rest are values to predict.
    integers = array.dtype.kind in "iub"
    if not array.ndim or (integers and array.size != len(array)):
        raise ValueError(f"{where}: shape {array.shape}, expected N class numbers or N x targets real values")
    if integers:
        return torch.from_numpy(array.astype(np.int64)).flatten()
    return torch.from_numpy(_as_float32(array, where=where)).view(len(array), -1)


def _as_float32(array: Array, *, where: str) -> Array:
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{where}: values of type {array.dtype}, expected numbers")
    array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise ValueError(f"{where}: contains NaN or Inf")
    return array
