"""The features of every layer of a convolutional belief network as images: edges, parts, objects (Lee et al. 2009).

Two views of a feature. Its weights projected to pixels: those of the lowest layer are the kernels, those of a higher
layer the sum of the features of the layer below, weighted by its kernel. And the part of an example that excites it
most.

Shapes: N examples, K features of a layer, R x R pixels that a unit of the layer sees (its receptive field).
"""

from collections.abc import Sequence
from math import ceil, prod, sqrt
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.models.conv_rbm import ConvRBM
from zoo.plots.figure import default_style, new_figure, write_png
from zoo.plots.tiling import mosaic, shrink_images

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_FEATURES = 64  # number of features of a layer that are drawn
BATCH_SIZE = 20  # number of examples whose maps are in memory at a time
CELL = 4.0  # width and height of one view of a layer, in inches


def projected(rbms: Sequence[ConvRBM], layer: int) -> Tensor:
    """The weights of each feature of a layer, projected to the pixels: K x channels x R x R.

    Args:
        rbms: the convolutional RBMs, from the input up.
        layer: index of the layer, counted from 0.
    """
    # Go down from the kernel: a pooling unit stands for all units of its block, each with an equal share.
    weight = rbms[layer].weight.detach()  # K x maps of the layer below x side x side
    for rbm in reversed(rbms[:layer]):
        pool = rbm.hidden.pool
        spread = weight.repeat_interleave(pool, dim=2).repeat_interleave(pool, dim=3) / pool**2
        weight = F.conv_transpose2d(spread, rbm.weight.detach())
    return weight


@torch.no_grad()
def most_exciting(rbms: Sequence[ConvRBM], layer: int, x: Tensor) -> Tensor:
    """For each feature of a layer, the part of an example with the highest activation: K x channels x R x R.

    Args:
        rbms: the convolutional RBMs, from the input up.
        layer: index of the layer, counted from 0.
        x: N x in_shape, preprocessed examples.
    """
    # The most probable hidden unit of each map, batch by batch, since the maps of all examples may not fit into memory.
    highest: list[Tensor] = []
    places: list[Tensor] = []
    rows, columns = rbms[layer].hidden.shape[1:]
    for first in range(0, len(x), BATCH_SIZE):
        below = x[first : first + BATCH_SIZE]
        for rbm in rbms[:layer]:
            below = rbm.pool_mean(below)
        value, place = rbms[layer].hidden_mean(below).transpose(0, 1).flatten(1).max(dim=1)  # of K x (N · H · W)
        highest.append(value)
        places.append(place + first * rows * columns)
    chosen = torch.stack(highest).argmax(dim=0, keepdim=True)  # 1 x K
    best = torch.stack(places).gather(0, chosen)[0].tolist()

    # Cut out what each of them sees. Blocks at the border reach beyond the image: repeat its last row and column.
    side = projected(rbms, layer).shape[-1]
    step = prod(rbm.hidden.pool for rbm in rbms[:layer])
    padded = F.pad(x, (0, side, 0, side), mode="replicate")
    parts: list[Tensor] = []
    for number in best:
        example, place = divmod(number, rows * columns)
        top, left = (step * index for index in divmod(place, columns))
        parts.append(padded[example, :, top : top + side, left : left + side])
    return torch.stack(parts)


@default_style()
def features(rbms: Sequence[ConvRBM], x: Tensor, path: str | Path | None = None) -> "Figure":
    """Draw the features of every layer, one column a layer: above as weights, below as the parts that excite them most.

    Of more than `MAX_FEATURES` features of a layer, the first ones are drawn. Each image has its own contrast.

    Args:
        rbms: the convolutional RBMs, from the input up.
        x: N x in_shape, preprocessed examples.
        path: the PNG to write.
    """
    figure = new_figure(CELL * len(rbms), 2 * CELL, dpi=120)
    all_axes = figure.subplots(2, len(rbms), squeeze=False)
    for layer in range(len(rbms)):
        weights = projected(rbms, layer)
        views = {"weights": weights, "most exciting parts": most_exciting(rbms, layer, x)}
        for axes, (view, tiles) in zip(all_axes[:, layer], views.items(), strict=True):
            axes.imshow(
                _contact_sheet(tiles[:MAX_FEATURES].cpu()), cmap="gray", vmin=0, vmax=1, interpolation="nearest"
            )
            side = weights.shape[-1]
            axes.set_title(f"layer {layer + 1}: {view}, {side}x{side} pixels", fontsize=9)
            axes.set_axis_off()
    figure.tight_layout()
    return write_png(figure, path)


def _contact_sheet(tiles: Tensor) -> Tensor:
    """All tiles in one nearly square image, each with its own contrast: rows x columns, or with 3 channels."""
    # Stretch each tile from its minimum to its maximum. Color needs three channels.
    low, high = (extreme(tiles, dim=(1, 2, 3), keepdim=True) for extreme in (torch.amin, torch.amax))
    scaled = (tiles - low) / (high - low).clamp(min=1e-12)
    if scaled.shape[1] != 3:
        scaled = scaled.mean(dim=1, keepdim=True)
    columns = ceil(sqrt(len(scaled)))
    whole = mosaic(shrink_images(scaled, columns), columns).nan_to_num(1.0)
    return whole.squeeze(2)
