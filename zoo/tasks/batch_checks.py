"""Messages about batches, outputs of nets and targets that a task cannot use. May import torch only."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor


def check_pair(batch: Any, *, task: str) -> None:
    """Raise ValueError unless a batch is a pair (x, y) of tensors. ``task``: name of the task's class."""
    refuse_mapping(batch)
    if isinstance(batch, tuple | list) and len(batch) == 2 and all(isinstance(part, Tensor) for part in batch):
        return
    found = type(batch).__name__
    if isinstance(batch, tuple | list):
        found += f" of {', '.join(type(part).__name__ for part in batch) or 'nothing'}"
    raise ValueError(
        f"{task} needs batches (x, y) of two tensors, the DataLoader gives a {found}; return (x, y) from the dataset, "
        "or set collate_fn= of the DataLoader"
    )


def refuse_mapping(batch: Any) -> None:
    """Raise ValueError if a batch is a dictionary."""
    if isinstance(batch, Mapping):
        raise ValueError(
            f"the batches are dictionaries with the keys {', '.join(map(str, batch))}; return tuples (x, y) from the "
            "dataset, or set collate_fn= of the DataLoader to a function that returns them"
        )


def wrong_outputs(outputs: Any, *, net: str, examples: int, width: int | str, matrix: bool = False) -> str | None:
    """What is wrong with the outputs of a net that should be examples x width, in words; None if nothing is.

    Args:
        outputs: what the net returned.
        net: name of its class.
        examples: number of examples that it got.
        width: the number of outputs that the task needs; only named in the message.
        matrix: whether further dimensions, such as those of pixels, are wrong, too.
    """
    fits = isinstance(outputs, Tensor) and outputs.dim() >= 2 and len(outputs) == examples
    if fits and (outputs.dim() == 2 or not matrix):
        return None
    shape = f"a tensor of shape [{examples}, {width}]"
    found = f"a tensor of shape {list(outputs.shape)}" if isinstance(outputs, Tensor) else ""
    fix = "" if found else "; pass a module whose forward returns that tensor, such as outputs['logits'], alone"
    found = found or f"a {type(outputs).__name__}"
    return f"{net} returns {found} for {examples} examples; the task needs {shape}{fix}"


def check_classes(y: Tensor, outputs: Tensor, *, count: int, training: bool) -> None:
    """Raise ValueError unless targets are class numbers that fit the outputs, or in training class probabilities.

    Args:
        y: the targets.
        outputs: N x K outputs of the net.
        count: the number of classes.
        training: whether the batch is for training, where -100 leaves an example out, as in PyTorch.
    """
    # Class probabilities are floats with one column per class.
    if y.is_floating_point():
        if training and y.shape == outputs.shape:
            return
        fix = "y.argmax(1)" if y.dim() == 2 and y.shape[1] > 1 else "y.long()"
        raise ValueError(
            f"y has {y.dtype} numbers of shape {list(y.shape)}; class numbers must be integers: pass {fix}"
        )
    shape = [len(outputs), *outputs.shape[2:]]
    if list(y.shape) != shape:
        fix = "y.squeeze(1)" if y.dim() == 2 and y.shape[1] == 1 else "y.argmax(1) for one-hot labels"
        raise ValueError(f"y has the shape {list(y.shape)}, class numbers must have the shape {shape}: pass {fix}")

    # The numbers must be those of the classes.
    numbers = y[y != -100] if training else y
    if len(numbers) and (numbers.min() < 0 or numbers.max() >= count):
        raise ValueError(
            f"y has class numbers from {int(numbers.min())} to {int(numbers.max())}, but there are {count} classes: "
            f"number them from 0 to {count - 1}, or set num_classes and the outputs of the net"
        )


def check_labels(y: Tensor, *, training: bool) -> None:
    """Raise ValueError unless the labels are 0 and 1; in training, they may be in between."""
    good = (y >= 0) & (y <= 1) if training else (y == 0) | (y == 1)
    if not good.all():
        value = y[~good][0].item()
        raise ValueError(
            f"y has the value {value:g}; labels must be 1 where an example has the label and 0 elsewhere: "
            "convert them in the dataset, or set collate_fn= of the DataLoader"
        )
