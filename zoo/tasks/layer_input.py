"""The input of layer k: the features of layer k - 1, computed batch by batch or once for the whole fit."""

import torch
from torch import Tensor, nn


class LayerInput:
    """The inputs of a layer: N x in_shape -> N x V, the features of the layers below it.

    Args:
        net: whose `encode` gives the features.
        layer: number of the layer, from the input; None or 0 for the flat input itself.

    Attributes:
        depth: number of layers below.
        ready: whether the batches hold the features already, computed once for the whole fit
            (`zoo.training.feature_cache`).
    """

    def __init__(self, net: nn.Module, layer: int | None):
        self.net = net
        self.depth = layer or 0
        self.ready = False

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        return x.flatten(1) if self.ready or not self.depth else self.net.encode(x, self.depth)  # type: ignore[operator]
