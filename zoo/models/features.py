"""`encode` for nets that compute their features layer by layer, and timm's name for it. May import torch only.

x -> first_input(x) -> layer 1 -> … -> layer L

depth:    0               1               L, the features
"""

from collections.abc import Callable, Sequence
from operator import index
from typing import overload

from torch import Tensor


class FeatureNet:
    """The method `encode`. A net that inherits it says what its layers are (`feature_layers`).

    Attributes:
        num_features: number of features of one input: the width of the last layer below the head.
    """

    num_features: int

    def feature_layers(self) -> Sequence[Callable[[Tensor], Tensor]]:
        """The layers below the head, from the input up."""
        raise NotImplementedError

    def first_input(self, x: Tensor) -> Tensor:
        """The input of the first layer: N x in_shape, flattened unless a net says otherwise."""
        return x.flatten(1)

    @overload
    def encode(self, x: Tensor, depth: int | None = None) -> Tensor: ...

    @overload
    def encode(self, x: Tensor, depth: Sequence[int]) -> list[Tensor]: ...

    def encode(self, x: Tensor, depth: int | Sequence[int] | None = None) -> Tensor | list[Tensor]:
        """The output of a layer, or the outputs of several layers from one pass.

        Args:
            x: N x in_shape.
            depth: number of layers to apply. None: all of them, which gives the features; 0: the input of the first
                layer. A negative number counts from the last layer, which is -1. A list of depths gives a list of
                outputs in the same order; the layers up to the highest of them are applied once.

        Raises:
            ValueError: the net has fewer layers.
        """
        layers = self.feature_layers()
        if depth is None:
            depth = len(layers)
        depths = depth if isinstance(depth, Sequence) else [depth]
        wanted = [_absolute(each, len(layers)) for each in depths]

        # Apply the layers up to the highest depth, and keep the outputs that are wanted.
        outputs: dict[int, Tensor] = {}
        h = self.first_input(x)
        for k in range(max(wanted, default=-1) + 1):
            if k > 0:
                h = layers[k - 1](h)
            if k in wanted:
                outputs[k] = h
        found = [outputs[k] for k in wanted]
        return found if isinstance(depth, Sequence) else found[0]

    def forward_features(self, x: Tensor) -> Tensor:
        """timm's name for ``encode(x)``. Unlike in timm, the features of all nets are already pooled."""
        return self.encode(x)


def _absolute(depth: int, layers: int) -> int:
    """A depth counted from the input; ValueError if there are not that many layers."""
    number = index(depth)
    if not -layers - 1 <= number <= layers:
        raise ValueError(f"depth={number} must be in [{-layers - 1}, {layers}]: this net has {layers} layers")
    return number if number >= 0 else layers + 1 + number
