"""Splits from tensors and arrays of the user, such as those that `zoo.train` takes. Imports torch and
`zoo.data.splits`.

A tensor and any object that NumPy reads are arrays here: NumPy arrays, tables of pandas, nested lists of numbers.
"""

import warnings
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from zoo.data.splits import InMemory, Splits, hold_out

ArrayLike: TypeAlias = object  # a tensor, a NumPy array, a table of pandas or nested lists of numbers
# The maximum number of classes, if it is inferred from the largest label; a larger label is an ID, or damaged.
MAX_CLASSES = 10_000


def splits_of(
    x: ArrayLike,
    y: ArrayLike | None = None,
    *,
    validation: float | tuple[ArrayLike, ArrayLike] = 0,
    num_classes: int | None = None,
    multi_label: bool = False,
) -> Splits:
    """A training split and, if asked for, a validation split.

    Args:
        x: the inputs, N x features or N x channels x height x width. Bytes (uint8) are pixels from 0 to 255; all other
            numbers become float32.
        y: N class numbers (integers, counted from 0), or N or N x T target values (floating-point numbers); None: no
            labels.
        validation: a fraction (< 1) or number of examples to hold out, stratified by class; or a pair (x, y).
        num_classes: number of classes; None: the largest label + 1.
        multi_label: whether y is N x K of zeros and ones: each example has any number of the K labels.

    Raises:
        ValueError: a shape, type or value that is not allowed, or x and y of different lengths.
    """
    train = _examples(x, y, "", multi_label=multi_label)
    classes: tuple[str, ...] = ()
    num_targets = 0
    # Several labels are named by their columns. Integers are class numbers, floating-point numbers are target values.
    if multi_label and y is not None:
        classes = tuple(map(str, range(train.y.shape[1])))
    elif y is not None and train.y.is_floating_point():
        num_targets = train.y.shape[1]
    elif y is not None:
        count = int(train.y.max()) + 1 if num_classes is None else num_classes
        if count > max(MAX_CLASSES, num_classes or 0):
            raise ValueError(f"y: the largest label is {count - 1}; number the classes from 0, below {MAX_CLASSES}")
        classes = tuple(map(str, range(count)))
        check_class_numbers(train.y, count, "")

    # Hold out validation examples, or take those that are given.
    held_out: InMemory | None
    if isinstance(validation, list | tuple):
        held_out = _pair(validation, like=train, labeled=y is not None, multi_label=multi_label)
        if classes and not multi_label:
            check_class_numbers(held_out.y, len(classes), "validation_data: ")
    else:
        train, held_out = hold_out(train, validation, names=classes, option="validation_data")
    unlabeled = "" if y is not None else "no y was given"
    return Splits(
        train,
        held_out,
        None,
        tuple(train.x.shape[1:]),
        classes,
        num_targets,
        unlabeled=unlabeled,
        multi_label=multi_label and y is not None,
    )


def check_class_numbers(labels: Tensor, count: int, where: str) -> None:
    """Raise ValueError if a class number is not in [0, count)."""
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= count:
        raise ValueError(
            f"{where}y has class numbers from {low} to {high}, expected 0 to {count - 1}: one for each output"
        )


def _pair(pair: Sequence[ArrayLike], *, like: InMemory, labeled: bool, multi_label: bool) -> InMemory:
    """The validation examples, after checking that they match the training examples."""
    if len(pair) != 2:
        raise ValueError(f"validation_data: {len(pair)} entries, expected a pair (x, y)")
    examples = _examples(pair[0], pair[1] if labeled else None, "validation_data: ", multi_label=multi_label)
    for name, given, wanted in (("x", examples.x, like.x), ("y", examples.y, like.y)):
        if given.shape[1:] != wanted.shape[1:] or given.dtype != wanted.dtype:
            raise ValueError(
                f"validation_data: {name} is {given.dtype} of shape {list(given.shape)}, the training {name} "
                f"{wanted.dtype} of shape {list(wanted.shape)}"
            )
    return examples


def _examples(x: ArrayLike, y: ArrayLike | None, where: str, *, multi_label: bool) -> InMemory:
    """Checked inputs and targets; without ``y``, all labels are 0. ``where`` begins every message."""
    inputs = _inputs(x, where)
    if y is None:
        return InMemory(inputs, torch.zeros(len(inputs), dtype=torch.int64))
    targets = _labels(y, where) if multi_label else _targets(y, where)
    if len(inputs) != len(targets):
        raise ValueError(f"{where}x has {len(inputs)} examples, y has {len(targets)}")
    return InMemory(inputs, targets)


def _inputs(x: ArrayLike, where: str) -> Tensor:
    """N x features or N x channels x height x width, uint8 or float32."""
    values = _tensor(x, f"{where}x")
    if values.dim() not in (2, 4) or not values.numel():
        hint = "; add the dimension of the channels: x[:, None]" if values.dim() == 3 else ""
        raise ValueError(
            f"{where}x has shape {list(values.shape)}, expected N x features or N x channels x height x width{hint}"
        )
    return values if values.dtype == torch.uint8 else _as_float32(values, f"{where}x")


def _targets(y: ArrayLike, where: str) -> Tensor:
    """N class numbers (int64), or N x T target values (float32)."""
    values = _tensor(y, f"{where}y")
    if values.is_floating_point():
        if values.dim() not in (1, 2):
            raise ValueError(f"{where}y has shape {list(values.shape)}, expected N or N x targets")
        return _as_float32(values.reshape(len(values), -1), f"{where}y")
    if values.dim() != 1:
        hint = "; for one-hot labels, pass y.argmax(1)" if values.dim() == 2 else ""
        raise ValueError(f"{where}y has shape {list(values.shape)}, expected N class numbers{hint}")
    return values.to(torch.int64)


def _labels(y: ArrayLike, where: str) -> Tensor:
    """N x K of zeros and ones (float32)."""
    return label_columns(_tensor(y, f"{where}y"), where)


def label_columns(y: Tensor, where: str) -> Tensor:
    """Several labels per example as float32. Raises ValueError unless they are N x K of zeros and ones."""
    if y.dim() != 2 or not y.numel():
        raise ValueError(f"{where}y has shape {list(y.shape)}; several labels per example must be N x K zeros and ones")
    if not bool(((y == 0) | (y == 1)).all()):
        raise ValueError(f"{where}y must be 0 or 1 everywhere: several labels per example must be N x K zeros and ones")
    return y.float()


def _tensor(values: ArrayLike, where: str) -> Tensor:
    """The values as a tensor on the CPU that needs no gradient."""
    try:
        # PyTorch warns of an array that is read-only, such as a memory map. Nothing is written to it here, so share it.
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")
            tensor = torch.as_tensor(values if isinstance(values, Tensor) else np.asarray(values)).detach().cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        hint = "; number the classes, such as np.unique(y, return_inverse=True)[1]" if where.endswith("y") else ""
        raise ValueError(f"{where}: not a tensor or an array of numbers ({reason}){hint}") from error
    # PyTorch would drop the imaginary part.
    if tensor.is_complex() or tensor.is_quantized:
        raise ValueError(f"{where} has dtype {tensor.dtype}; expected real numbers")
    if tensor.layout != torch.strided:
        raise ValueError(f"{where} is sparse; pass {where}.to_dense()")
    return tensor


def _as_float32(values: Tensor, where: str) -> Tensor:
    converted = values.to(torch.float32)
    if not torch.isfinite(converted).all():
        raise ValueError(f"{where} contains NaN or Inf, or a value too large for float32")
    return converted
