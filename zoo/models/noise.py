"""Noise that regularizes a net during training; it has no parameters. May import torch only."""

import torch
from torch import Tensor, nn


class GaussianNoise(nn.Module):
    """Adds Gaussian noise in training mode, nothing in evaluation mode. Any shape -> the same shape.

    Args:
        std: standard deviation of the noise, >= 0; 0 draws no random numbers.
        name: name of the argument that ``std`` comes from, for the error message.

    Raises:
        ValueError: ``std`` is negative.
    """

    def __init__(self, std: float, *, name: str = "noise"):
        super().__init__()
        if std < 0:
            raise ValueError(f"{name}={std} must be >= 0")
        self.std = std

    def forward(self, x: Tensor) -> Tensor:
        # Without noise, draw no random numbers, so that the layer does not change other random draws.
        if not self.training or not self.std:
            return x
        # Fresh noise for every element, with the dtype and device of x.
        return x + self.std * torch.randn_like(x)

    def extra_repr(self) -> str:
        return f"std={self.std}"
