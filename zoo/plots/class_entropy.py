"""How much the features of each layer tell about the class of an image (Lee et al. 2009, figure 5).

For each feature: the entropy of the class, in bits, among the images in which the feature is active. 0: the feature is
active in images of one class alone; the entropy of the class among all images: it says nothing about the class.

Deviation: a feature counts as active in the tenth of the images in which its most active unit is most probable. The
paper compares units with a threshold that it does not state.

Shapes: N images, K features of a layer.
"""

from collections.abc import Sequence
from math import ceil, log
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.models.conv_rbm import ConvRBM
from zoo.plots.figure import add_legend, default_style, new_figure, write_png

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ACTIVE = 0.1  # the fraction of the images in which a feature counts as active
BINS = 20


@torch.no_grad()
def activations(rbms: Sequence[ConvRBM], x: Tensor) -> list[Tensor]:
    """For each layer, the highest probability of a pooling unit in the map of each feature: N x K.

    Args:
        rbms: the convolutional RBMs, from the input up.
        x: N x in_shape, preprocessed images.
    """
    highest: list[Tensor] = []
    below = x
    for rbm in rbms:
        below = rbm.pool_mean(below)  # N x K x rows x columns
        highest.append(below.amax(dim=(2, 3)))
    return highest


def class_entropies(activations: Tensor, labels: Tensor) -> Tensor:
    """The entropy of the class among the images in which each feature is active, in bits: K.

    Args:
        activations: N x K.
        labels: N class numbers.
    """
    count = ceil(ACTIVE * len(activations))
    active = activations.topk(count, dim=0).indices  # count x K: image numbers
    one_hot = F.one_hot(labels).double()  # N x classes
    return _entropy(one_hot[active].mean(dim=0))


def _entropy(probabilities: Tensor) -> Tensor:
    """The entropy over the last dimension, in bits."""
    nats: Tensor = torch.special.entr(probabilities).sum(dim=-1)
    return nats / log(2)


@default_style()
def histograms(activations: Sequence[Tensor], labels: Tensor, path: str | Path | None = None) -> "Figure":
    """Draw the histogram of `class_entropies` over the features, one line a layer, and the entropy of the class.

    Args:
        activations: for each layer, N x K.
        labels: N class numbers.
        path: the PNG to write.
    """
    figure = new_figure(5.2, 3.6, dpi=120, layout="constrained")
    axes = figure.subplots()
    of_the_class = float(_entropy(F.one_hot(labels).double().mean(dim=0)))
    edges = torch.linspace(0, max(of_the_class, 1e-6), BINS + 1)
    lines: list[Any] = []
    names: list[str] = []
    for layer, values in enumerate(activations, start=1):
        found = class_entropies(values, labels)
        share = torch.histogram(found.float().clamp(max=float(edges[-1])), edges).hist / len(found)
        lines.append(axes.stairs(share.numpy(), edges.numpy(), linewidth=1.4))
        names.append(f"layer {layer}: mean {float(found.mean()):.2f}")
    lines.append(axes.axvline(of_the_class, color="gray", linestyle="--"))
    names.append(f"class of any image: {of_the_class:.2f}")
    axes.set_xlabel("entropy of the class, given that the feature is active (bits)")
    axes.set_ylabel("share of the layer's features")
    axes.set_title("How much a feature tells about the class", fontsize=9)
    add_legend(axes, lines, names, max_letters=40, fontsize=8)
    return write_png(figure, path)
