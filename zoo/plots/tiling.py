"""Arrange images in a grid that fits into one plot, and rows of values in strips."""

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor
from torch.nn import functional

from zoo.plots.figure import MAX_SIDE

MIN_TILE = 7  # minimum height and width to which an image in a grid is shrunk, in pixels
MAX_STRIP = 1500  # maximum number of values of a strip that are drawn
STRIP_HEIGHT = 4  # rows of pixels; the gap between two strips is one row


def is_strip(shape: Sequence[int]) -> bool:
    """Whether an example of this shape is drawn as a row of pixels: the values of a table, or an image of one row."""
    is_image = len(shape) == 3 and shape[0] in (1, 3)
    return prod(shape) > 1 and not (is_image and (shape[1] > 1 or shape[2] == 1))


def max_count(shape: Sequence[int], columns: int) -> int:
    """Maximum number of examples that fit into one plot.

    Args:
        shape: shape of one example.
        columns: number of images in a row.
    """
    if is_strip(shape):
        return (MAX_SIDE - 1) // (STRIP_HEIGHT + 1)
    height = min(shape[1], MIN_TILE) if len(shape) == 3 else 1
    return (MAX_SIDE - 1) // (height + 1) * columns


def shrink_images(x: Tensor, columns: int) -> Tensor:
    """N x C x H x W: average pixels so that the grid fits into `MAX_SIDE` x `MAX_SIDE` pixels."""
    # Sides of fewer than MIN_TILE pixels stay as they are.
    count, _, height, width = x.shape
    rows = -(-count // columns)
    scale = min(1.0, (MAX_SIDE // columns - 2) / width, (MAX_SIDE // rows - 1) / height)
    small = [max(min(side, MIN_TILE), int(side * scale)) for side in (height, width)]
    return x if scale == 1 else functional.adaptive_avg_pool2d(x, (small[0], small[1]))


def strips(x: Tensor) -> Tensor:
    """N x C x 1 x W -> N x C x `STRIP_HEIGHT` x min(W, `MAX_STRIP`).

    Of neighboring values in a wider row, the one farthest from the median of the row is kept. Most values of wide data
    and most weights of wide layers are nearly equal; an average would hide the others.
    """
    if x.shape[3] > MAX_STRIP:
        distance = (x - x.median(dim=3, keepdim=True).values).abs()
        _, farthest = functional.adaptive_max_pool2d(distance, (1, MAX_STRIP), return_indices=True)
        x = x.gather(3, farthest)
    return x.expand(-1, -1, STRIP_HEIGHT, -1)


def mosaic(x: Tensor, columns: int) -> Tensor:
    """N x C x H x W -> one image, rows (H + 1) + 1 x columns (W + 1) + 1 x C, with a gap of NaN around each."""
    count, channels, height, width = x.shape
    rows = -(-count // columns)
    whole = torch.full((rows * (height + 1) + 1, columns * (width + 1) + 1, channels), torch.nan)
    for i, tile in enumerate(x.permute(0, 2, 3, 1)):  # H x W x C
        top = 1 + (i // columns) * (height + 1)
        left = 1 + (i % columns) * (width + 1)
        whole[top : top + height, left : left + width] = tile
    return whole
