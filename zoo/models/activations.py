"""Activation functions by name, so that a config can say ``activation: tanh``.

Most are torch's own. ``Step`` and ``Maxout`` are written here because torch has neither, ``ScaledTanh``
because LeNet-5 (LeCun 1998, appendix A) needs it. All act on dimension 1, the units or channels.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn


class Step(nn.Module):
    """Heaviside step, 1 where x > 0 and 0 elsewhere: the unit of McCulloch & Pitts and of the perceptron.

    Its gradient is zero wherever it exists, so nothing below it learns by gradient descent.
    With ``straight_through`` the backward pass takes the step for the identity (Hinton 2012; Bengio,
    Léonard & Courville 2013). Under quadratic cost on a single layer that is exactly Rosenblatt's
    rule: Δw = lr · (target − output) · x.
    """

    def __init__(self, *, straight_through: bool = False):
        super().__init__()
        self.straight_through = straight_through

    def forward(self, x: Tensor) -> Tensor:
        slope = x if self.straight_through else 0 * x  # in the backward pass; cancels exactly in the forward one
        return (x > 0).to(x.dtype) + (slope - slope.detach())

    def extra_repr(self) -> str:
        return f"straight_through={self.straight_through}"


class Maxout(nn.Module):
    """Maximum over ``pieces`` linear pieces (Goodfellow et al. 2013): N x (units · pieces) -> N x units.

    The layer below must be ``pieces`` times as wide.
    """

    def __init__(self, *, pieces: int = 2):
        super().__init__()
        self.pieces = pieces

    def forward(self, x: Tensor) -> Tensor:
        return x.unflatten(1, (-1, self.pieces)).amax(dim=2)

    def extra_repr(self) -> str:
        return f"pieces={self.pieces}"


class ScaledTanh(nn.Module):
    """1.7159 · tanh(2x/3): f(±1) = ±1 and the greatest curvature lies there (LeCun 1998, appendix A)."""

    def forward(self, x: Tensor) -> Tensor:
        return 1.7159 * torch.tanh(2 / 3 * x)


ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "identity": nn.Identity,
    "step": Step,
    "straight_through_step": lambda: Step(straight_through=True),
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "scaled_tanh": ScaledTanh,
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "prelu": nn.PReLU,
    "rrelu": nn.RReLU,
    "elu": nn.ELU,
    "silu": nn.SiLU,
    "swish": nn.SiLU,  # the same function under its other name
    "softplus": nn.Softplus,
    "softmax": lambda: nn.Softmax(dim=1),
    "maxout": Maxout,
}


def activation(name: str) -> nn.Module:
    """A fresh activation module.

    Raises:
        ValueError: no activation has that name; the message lists those there are.
    """
    if name not in ACTIVATIONS:
        raise ValueError(f"unknown activation {name!r}; choose one of: {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]()


def pieces(name: str) -> int:
    """How many times wider the layer below must be: 1, but for maxout."""
    return getattr(activation(name), "pieces", 1)
