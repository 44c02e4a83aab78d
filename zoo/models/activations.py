"""Activation functions by name, so that a config can say ``activation: tanh``. May import torch only.

Most are torch's own. ``Step`` and ``Maxout`` are written here because torch has neither, ``ScaledTanh`` because LeNet-5
(LeCun 1998, appendix A) needs it. ``softmax`` and ``maxout`` act along dimension 1 (units or channels), the others on
each element separately.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class _StepFunction(torch.autograd.Function):
    """Forward: 1 where x > 0, else 0. Backward: the gradient passes unchanged (straight-through), or is 0."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, straight_through: bool) -> Tensor:
        ctx.straight_through = straight_through
        return (x > 0).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        # One gradient for each argument of `forward`; ``straight_through`` has none.
        (gradient,) = gradients
        if ctx.straight_through:
            return gradient, None
        return torch.zeros_like(gradient), None


class Step(nn.Module):
    """Heaviside step, 1 where x > 0 and 0 elsewhere: the unit of McCulloch & Pitts and of the perceptron.

    Its derivative is zero wherever it exists, so gradient descent trains nothing below it. With ``straight_through``
    the backward pass treats the step as the identity (Hinton 2012; Bengio, Léonard & Courville 2013). With the
    quadratic loss and a single layer, that is exactly Rosenblatt's rule: Δw = lr · (target - output) · x.

    Any shape -> the same shape and dtype. Infinite inputs give 0 or 1; NaN gives 0.
    """

    def __init__(self, *, straight_through: bool = False):
        super().__init__()
        self.straight_through = straight_through

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = _StepFunction.apply(x, self.straight_through)
        return y

    def extra_repr(self) -> str:
        return f"straight_through={self.straight_through}"


class Maxout(nn.Module):
    """Maximum over ``pieces`` linear pieces (Goodfellow et al. 2013): N x (units · pieces) x … -> N x units x ….

    The layer below must be ``pieces`` times as wide.
    """

    def __init__(self, *, pieces: int = 2):
        super().__init__()
        self.pieces = pieces

    def forward(self, x: Tensor) -> Tensor:
        # Neighboring channels are the pieces of one unit.
        by_unit = torch.unflatten(x, 1, (-1, self.pieces))  # N x units x pieces x …
        return by_unit.amax(dim=2)  # N x units x …

    def extra_repr(self) -> str:
        return f"pieces={self.pieces}"


class ScaledTanh(nn.Module):
    """1.7159 · tanh(2x/3): f(±1) = ±1, and the curvature is at its maximum there (LeCun 1998, appendix A)."""

    def forward(self, x: Tensor) -> Tensor:
        return 1.7159 * torch.tanh(2 / 3 * x)


# Functions that make an activation, by the name that a config has for it.
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

# How many times wider the layer below must be; 1 for activations that are not listed.
PIECES = {"maxout": 2}


def activation(name: str) -> nn.Module:
    """A new activation module.

    Raises:
        ValueError: no activation has that name; the message lists the choices.
    """
    # Modules may have state (PReLU has a weight), so each call makes a new one.
    if name not in ACTIVATIONS:
        raise ValueError(f"unknown activation {name!r}; choose one of: {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]()


def pieces(name: str) -> int:
    """How many times wider the layer below an activation must be: 1, except for maxout."""
    return PIECES.get(name, 1)
