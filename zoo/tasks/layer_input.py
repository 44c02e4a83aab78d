"""The input of layer k: the output of layer k - 1, computed for each batch or once for the whole fit. Torch only."""

from typing import Any

import torch
from torch import Tensor, nn


class LayerInput:
    """Computes the inputs of a layer: N x in_shape -> N x V.

    It is not an ``nn.Module``, so that the net is registered only once, in the task that trains it.

    Args:
        net: the stack of layers.
        layer: index of the layer, counted from the input. With None or 0, the result is the flat input of the net.

    Attributes:
        depth: number of layers below.
        ready: whether the batches already hold the outputs of the layers below, computed once for the whole fit
            (`zoo.training.fit.feature_cache`).
    """

    def __init__(self, net: nn.Module, layer: int | None):
        self.net = net
        self.depth = layer or 0
        self.ready = False

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        # The batches already hold the inputs of this layer, or it is the lowest layer.
        if self.ready or not self.depth:
            return x.flatten(1)
        # Compute the layers below. The net is a `zoo.protocols.Net`, which is not checked for every batch.
        net: Any = self.net
        features: Tensor = net.encode(x, self.depth)
        return features
