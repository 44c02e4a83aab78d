"""Shapes of images and maps: what a net is told about its input, checked before anything is built."""

from collections.abc import Sequence

import torch
from torch import nn


def text(shape: Sequence[int]) -> str:
    """(1, 28, 28) -> "1x28x28"."""
    return "x".join(map(str, shape))


def image(in_shape: Sequence[int], *, least: int = 1) -> tuple[int, int, int]:
    """Channels, height and width.

    Raises:
        ValueError: ``in_shape`` is not that of an image, or a side is shorter than ``least`` pixels.
    """
    if len(in_shape) != 3 or min(in_shape) < 1:
        raise ValueError(f"this net takes images (channels x height x width), in_shape is {text(in_shape)}")
    channels, height, width = in_shape
    if min(height, width) < least:
        raise ValueError(f"this net takes images of at least {least}x{least} pixels, in_shape is {text(in_shape)}")
    return channels, height, width


def check_widths(**named: int | Sequence[int]) -> None:
    """Raise ValueError where a number of units, maps or classes is below 1; the message names it."""
    for name, value in named.items():
        if min([value] if isinstance(value, int) else [*value, 1]) < 1:
            raise ValueError(f"{name}={value}: at least 1 is needed")


def per_layer(name: str, option: int | Sequence[int], layers: int, *, least: int = 1) -> list[int]:
    """One value for each layer, from one for all or from a list that has one for each.

    Raises:
        ValueError: a list of another length, or a value that is no whole number from ``least`` on; the message names
            the option.
    """
    values = [option] * layers if isinstance(option, int) else list(option)
    if not all(isinstance(value, int) and value >= least for value in values):
        raise ValueError(f"{name}={option}: whole numbers from {least} on are needed")
    if len(values) != layers:
        raise ValueError(f"{name} has {len(values)} values for {layers} layers")
    return values


def after(layer: nn.Module, shape: Sequence[int]) -> torch.Size:
    """The shape that ``layer`` makes of ``shape``, neither with the batch.

    Raises:
        ValueError: nothing is left of the map, or its channels do not divide into the groups.
    """
    try:
        with torch.no_grad():
            return layer(torch.zeros(1, *shape)).shape[1:]
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"a map of {text(shape)} cannot pass this layer: {reason}") from error
