"""The base classes of nets with a head. They import torch and the zoo's models only.

    x -> layers[0] -> … -> layers[L-1] -> features -> head -> logits

`NetWithHead` replaces the head of any net. `LayeredClassifier` is a chain of layers below a head: a subclass builds
`layers`, sets `num_features` and makes `head` by ``self.new_head(num_classes)`` in its constructor. If needed, it
overrides ``first_input`` (to process inputs before the first layer), ``forward_head`` (to process features or outputs)
or ``new_head`` (for another kind of head). The names of both attributes are part of every checkpoint: ``layers.…`` and
``head.…``.
"""

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from zoo.models.features import FeatureNet


class NetWithHead(FeatureNet, nn.Module):
    """Features, and a head that turns them into logits; without classes there is no head.

    Attributes:
        num_classes: number of outputs of the head; None without a head.
        head: features -> outputs, or None; a linear layer unless a subclass says otherwise.
    """

    num_classes: int | None
    head: nn.Module | None

    def __init__(self) -> None:
        super().__init__()
        self.num_classes = None
        self.head = None

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        """The output of `encode` -> N x num_classes; without a head, or with ``pre_logits``, the features."""
        if self.head is None or pre_logits:
            return features
        logits: Tensor = self.head(features)
        return logits

    def reset_head(self, num_classes: int | None) -> None:
        """Replace the head by a new one, with fresh weights, for ``num_classes`` classes; 0 or None: remove it."""
        # The layers below stay as they are, so a pretrained net keeps its features.
        head = self.new_head(num_classes)
        like = next(self.parameters(), None)
        self.num_classes = num_classes or None
        self.head = head if head is None or like is None else head.to(like)

    def new_head(self, num_classes: int | None) -> nn.Module | None:
        """A fresh linear layer on the features, with a bias if the present head has one; None without classes."""
        if not num_classes:
            return None
        if not isinstance(self.head, nn.Linear):
            return nn.Linear(self.num_features, num_classes)
        return linear_like(self.head, num_classes)

    # timm's names

    def get_classifier(self) -> nn.Module:
        """timm's name for ``head``; without a head an ``nn.Identity``, as in timm."""
        return nn.Identity() if self.head is None else self.head

    def reset_classifier(self, num_classes: int | None) -> None:
        """timm's name for `reset_head`."""
        self.reset_head(num_classes)


class LayeredClassifier(NetWithHead):
    """A chain of layers, and a head that turns their features into logits.

    Args:
        in_shape: shape of one input, without the batch dimension.
        num_classes: number of outputs of the head; 0 or None for a net without a head, whose ``forward`` gives the
            features.

    Attributes:
        layers: the chain, from the input up.
    """

    layers: nn.Sequential | nn.ModuleList

    def __init__(self, in_shape: Sequence[int], num_classes: int | None):
        super().__init__()
        self.in_shape = tuple(in_shape)
        self.num_classes = num_classes or None

    def forward(self, x: Tensor) -> Tensor:
        """N x in_shape -> N x num_classes logits (or target values, for regression); without a head the features."""
        # Everything below the head, then the head.
        features = self.encode(x)
        return self.forward_head(features)

    def feature_layers(self) -> Sequence[Callable[[Tensor], Tensor]]:
        return list(self.layers)

    def first_input(self, x: Tensor) -> Tensor:
        """The input itself."""
        return x


def linear_like(old: nn.Linear, out_features: int) -> nn.Linear:
    """A fresh linear layer with the inputs, bias, device and dtype of ``old``, and ``out_features`` outputs."""
    new = nn.Linear(old.in_features, out_features, bias=old.bias is not None)
    return new.to(old.weight)
