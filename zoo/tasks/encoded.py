"""What a fit of some layer takes of the layers below it: their codes, as given to it."""

import torch
from torch import Tensor, nn


class Encoded:
    """The inputs of a layer: N x in_shape -> N x V, codes of the layers below, as given to it.

    ``ready``: whether the batches hold those codes already, computed once for the whole fit
    (`zoo.training.feature_cache`).
    """

    def __init__(self, net: nn.Module, layer: int | None):
        self.net, self.depth, self.ready = net, layer or 0, False

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        return x.flatten(1) if self.ready or not self.depth else self.net.encode(x, self.depth)  # type: ignore[operator]
