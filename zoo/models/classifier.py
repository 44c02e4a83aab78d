"""The base class of classifiers that are a chain of layers below a head. May import torch only.

    x -> layers[0] -> … -> layers[L-1] -> features -> head -> logits

A subclass builds `layers` and `head` in its constructor. If needed, it overrides ``encode`` (to process
inputs before the first layer), ``forward_head`` (to process features or outputs) or ``new_head`` (for another kind of
head). The names of both attributes are part of every checkpoint: ``layers.…`` and ``head.…``.
"""

from collections.abc import Sequence
from itertools import islice

from torch import Tensor, nn


class LayeredClassifier(nn.Module):
    """A chain of layers, and a head that turns their features into logits.

    Args:
        in_shape: shape of one input, without the batch dimension.
        num_classes: number of outputs of the head.

    Attributes:
        layers: the chain, from the input up.
        head: features -> outputs; a linear layer unless a subclass says otherwise.
    """

    layers: nn.Sequential | nn.ModuleList
    head: nn.Module

    def __init__(self, in_shape: Sequence[int], num_classes: int):
        super().__init__()
        self.in_shape = tuple(in_shape)
        self.num_classes = num_classes

    def forward(self, x: Tensor) -> Tensor:
        """N x in_shape -> N x num_classes logits (or target values, for regression)."""
        # Everything below the head, then the head.
        features = self.encode(x)
        return self.forward_head(features)

    def encode(self, x: Tensor, depth: int | None = None) -> Tensor:
        """The output of the first ``depth`` layers. None: of all layers, the features; 0: the input itself."""
        # islice stops after ``depth`` layers; with None it goes through all of them.
        for layer in islice(self.layers, depth):
            x = layer(x)
        return x

    def forward_head(self, features: Tensor) -> Tensor:
        """The output of `encode` -> N x num_classes."""
        logits: Tensor = self.head(features)
        return logits

    def reset_head(self, num_classes: int) -> None:
        """Replace the head by a new one, with fresh weights, for ``num_classes`` classes."""
        self.num_classes = num_classes
        # The layers below stay as they are, so a pretrained net keeps its features.
        self.head = self.new_head(num_classes)

    def new_head(self, num_classes: int) -> nn.Module:
        """A fresh linear layer with the inputs, bias, device and dtype of the present head."""
        assert isinstance(self.head, nn.Linear)
        return linear_like(self.head, num_classes)


def linear_like(old: nn.Linear, out_features: int) -> nn.Linear:
    """A fresh linear layer with the inputs, bias, device and dtype of ``old``, and ``out_features`` outputs."""
    new = nn.Linear(old.in_features, out_features, bias=old.bias is not None)
    return new.to(old.weight)
