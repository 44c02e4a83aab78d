"""A multi-layer perceptron as columns of units: which units are drawn, and the weights between them."""

from itertools import pairwise
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from zoo.demo.layers import encoded
from zoo.models import MLP

MAX_DRAWN = 16  # units of a layer that are drawn
ROWS = 0.72  # part of the middle column of an image that is drawn as input units


def columns(net: MLP) -> dict[str, Any]:
    """What the diagram of a net needs, apart from the activations.

    Returns:
        ``sizes`` of all layers, the input first; ``units``: the numbers of those that are drawn; ``weights`` between
        drawn units, each outputs x inputs; ``patterns``: for each drawn unit of the first layer, its weights as an
        image.
    """
    linear = [module for module in net.modules() if isinstance(module, nn.Linear)]
    sizes = [prod(net.in_shape), *(layer.out_features for layer in linear)]
    units = [_input_units(net.in_shape), *(_drawn(size) for size in sizes[1:])]
    weights = [
        encoded(layer.weight[above][:, below]) for layer, (below, above) in zip(linear, pairwise(units), strict=True)
    ]
    patterns: list[dict[str, Any]] = []
    if len(net.in_shape) == 3 and linear:
        patterns = [encoded(_pattern(linear[0].weight[k], net.in_shape)) for k in units[1]]
    return {"sizes": sizes, "units": units, "weights": weights, "patterns": patterns}


def _drawn(size: int) -> list[int]:
    """All units of a layer, or the first and the last ones of a wide one."""
    if size <= MAX_DRAWN:
        return list(range(size))
    half = MAX_DRAWN // 2
    return [*range(half), *range(size - half, size)]


def _input_units(shape: tuple[int, ...]) -> list[int]:
    """The pixels that are drawn: those down the middle of the image, where the ink is."""
    if len(shape) != 3:
        return _drawn(prod(shape))
    _, height, width = shape
    count = min(height, max(1, round(height * ROWS)))
    top = (height - count) // 2
    rows = torch.linspace(top, top + count - 1, min(count, MAX_DRAWN + 4)).round().int().tolist()
    return [row * width + width // 2 for row in rows]


def _pattern(weights: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The weights of a unit as an image, H x W; the mean over its channels."""
    return weights.view(shape).mean(dim=0)
