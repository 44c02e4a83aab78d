"""Noise that regularises a net while it is trained; it has no parameters."""

import torch
from torch import Tensor, nn


class GaussianNoise(nn.Module):
    """Adds noise of a given standard deviation in training; any shape -> the same.

    Raises:
        ValueError: a negative deviation; the message calls it ``name``.
    """

    def __init__(self, deviation: float, *, name: str = "noise"):
        super().__init__()
        if deviation < 0:
            raise ValueError(f"{name}={deviation}: a deviation from 0 on is needed")
        self.deviation = deviation

    def forward(self, x: Tensor) -> Tensor:
        return x + self.deviation * torch.randn_like(x) if self.training and self.deviation else x

    def extra_repr(self) -> str:
        return f"deviation={self.deviation}"
