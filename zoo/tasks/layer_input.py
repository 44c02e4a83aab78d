"""The input of layer k: the output of layer k - 1, computed on the fly or once for the whole fit. Torch only."""

from typing import Any

import torch
from torch import Tensor, nn


class LayerInput:
    """Computes the inputs of a layer: N x in_shape -> N x V.

    A plain object, so that the net is registered once only, in the task that trains it.

    Args:
        net: the stack of layers.
        layer: index of the layer, counted from the input; None and 0: the flat inputs of the net.

    Attributes:
        depth: number of layers below.
        ready: whether the batches hold the outputs of the layers below already, computed once for the whole fit
            (`zoo.training.feature_cache`).
    """

    def __init__(self, net: nn.Module, layer: int | None):
        self.net = net
        self.depth = layer or 0
        self.ready = False

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        # The batches hold the inputs of this layer already, or it is the lowest.
        if self.ready or not self.depth:
            return x.flatten(1)
        # Up through the layers below. The net is a `zoo.protocols.Net`, not checked in every batch.
        net: Any = self.net
        features: Tensor = net.encode(x, self.depth)
        return features
