"""Turn arrays of the user into inputs and targets: types, shapes, and the axis of the channels."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo.protocols import shape_text

Array = np.ndarray[Any, Any]


def inputs(
    array: Array, *, where: str, channels: str = "auto", shape: Sequence[int] | None = None
) -> tuple[Tensor, list[str]]:
    """An array of inputs -> N x features or N x C x H x W, uint8 or float32.

    Images with values from 0 to 255 of another integer type become uint8.

    Args:
        array: N x features, N x H x W, N x C x H x W or N x H x W x C.
        where: its file and name, for messages.
        channels: which axis of an image has the channels: "first", "last", or "auto". Then, images of 1 or 3 channels
            are recognized by this number; of others, the other two axes are equal, or the channels are fewer.
        shape: the shape of an input, if it is known; it decides over ``channels``.

    Returns:
        The tensor, and notes about what was guessed, one line each.

    Raises:
        ValueError: another shape, values that are not numbers or not finite; the message begins with ``where``.
    """
    # Images of integers from 0 to 255 are bytes; 0 and 1 alone could be bytes or not, and stay as they are.
    notes = []
    wide = array.dtype.kind in "iu" and array.dtype != np.uint8 and array.ndim in (3, 4) and array.size > 0
    if wide and array.min() >= 0 and 1 < array.max() <= 255:
        notes.append(f"{where}: integers of type {array.dtype} from {array.min()} to {array.max()} are taken as bytes")
        array = array.astype(np.uint8)
    x = torch.from_numpy(array if array.dtype == np.uint8 else _as_float32(array, where=where))
    # Add the dimension that is missing, or move the channels to the front.
    if x.dim() in (1, 3):
        x = x[:, None]  # one feature; one channel
    elif x.dim() == 4:
        sizes = tuple(x.shape[1:])
        if channels == "auto":
            is_last = _channels_are_last(sizes)
            if shape is not None:
                is_last = sizes != tuple(shape) and (sizes[2], *sizes[:2]) == tuple(shape)
            elif not {sizes[0], sizes[2]} & {1, 3} and (is_last or sizes[1] != sizes[2]):
                axis = "last" if is_last else "first"
                notes.append(
                    f"{where}: the channels are taken to be the {axis} axis of {shape_text(sizes)}; "
                    f"dataset.channels={'first' if is_last else 'last'} takes the other one"
                )
        else:
            is_last = channels == "last"
        if is_last:
            x = x.permute(0, 3, 1, 2).contiguous()
    if x.dim() not in (2, 4) or not x.numel():
        raise ValueError(f"{where}: shape {tuple(array.shape)}, expected N x features or N x channels x height x width")
    return x, notes


def targets(array: Array, *, where: str, kind: str = "auto") -> tuple[Tensor, str]:
    """An array of targets -> N class numbers (int64), N x labels of 0 and 1, or N x targets values (both float32).

    Args:
        array: N class numbers, N x labels, or N or N x targets values.
        where: its file and name, for messages.
        kind: classes, labels or values. "auto": integers and booleans are classes, one for each example, or labels if
            there are several for each, 0 and 1, and not always one; the rest are values.

    Returns:
        The tensor, and its kind.

    Raises:
        ValueError: another shape or values that do not suit the kind; the message begins with ``where``.
    """
    # Integers and booleans are classes or labels; the rest are values to predict.
    integers = array.dtype.kind in "iub"
    is_binary = array.ndim == 2 and array.dtype.kind in "iubf" and bool(((array == 0) | (array == 1)).all())
    is_one_hot = is_binary and bool((array.sum(axis=1) == 1).all())
    if kind == "labels" or (kind == "auto" and integers and is_binary and array.shape[1] > 1 and not is_one_hot):
        if not is_binary:
            raise ValueError(f"{where}: labels must be an array of N x labels with values 0 and 1")
        return torch.from_numpy(array.astype(np.float32)), "labels"
    if array.dtype.kind in "SU":
        raise ValueError(
            f"{where}: the labels are text; number the classes from 0, as by np.unique(y, return_inverse=True)[1]"
        )
    if not array.ndim or (integers and array.size != len(array)):
        hint = "; for one-hot labels, save y.argmax(1)" if array.ndim == 2 else ""
        hint += ", or set dataset.target_type=labels" if is_one_hot else ""
        raise ValueError(f"{where}: shape {array.shape}, expected N class numbers or N x targets real values{hint}")
    if kind == "classes" and not integers:
        raise ValueError(f"{where}: classes must be integers, not {array.dtype}")
    if integers and kind != "values":
        return torch.from_numpy(array.astype(np.int64)).flatten(), "classes"
    return torch.from_numpy(_as_float32(array, where=where)).view(len(array), -1), "values"


def _channels_are_last(sizes: tuple[int, ...]) -> bool:
    """Whether an image of these three sizes has its channels last."""
    first, second, last = sizes
    if first in (1, 3):
        return False
    if last <= 4 < first:
        return True
    # Images are often square. Otherwise, they have fewer channels than rows and columns.
    if first == second or second == last:
        return second != last
    return last < min(first, second)


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
