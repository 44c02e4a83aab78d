"""Protocols of nets, and functions of any net. Imports torch only.

Shapes: N examples, K classes, V visible and H hidden units of a layer.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, overload, runtime_checkable

from torch import Tensor, nn

HEADS = ("head", "auxiliaries")  # the submodules of a net that depend on its classes


@runtime_checkable
class Net(Protocol):
    """Every net: N x in_shape -> N x num_classes logits or N x outputs; without outputs, the top-level features."""

    in_shape: tuple[int, ...]
    num_classes: int | None

    def __call__(self, x: Tensor) -> Tensor: ...

    @overload
    def encode(self, x: Tensor, depth: int | None = None) -> Tensor:
        """The output of layer ``depth`` (None: the last layer below the head; 0: the input)."""

    @overload
    def encode(self, x: Tensor, depth: Sequence[int]) -> list[Tensor]:
        """The outputs of several layers, in the order of the list, from one pass."""


@runtime_checkable
class HasOutputs(Protocol):
    """A net that says how many outputs it has; None or 0: none."""

    num_classes: int | None


@runtime_checkable
class Classifier(Protocol):
    """A net whose head (or label units) can be replaced, for another number of classes."""

    num_classes: int | None

    def __call__(self, x: Tensor) -> Tensor: ...

    def reset_head(self, num_classes: int | None) -> None:
        """Replace the head, or the label units, by a new one for ``num_classes`` classes; 0 or None: remove it."""


@runtime_checkable
class HasHead(Protocol):
    """A classifier with a head on top of its features, so that features can be computed once and stored."""

    def forward_head(self, features: Tensor) -> Tensor:
        """The output of `encode` -> N x num_classes: the part of ``forward`` above the last layer."""


@runtime_checkable
class HasAuxiliaryHeads(Protocol):
    """A classifier with additional heads on lower layers, used in training only (GoogLeNet)."""

    def forward_with_auxiliaries(self, x: Tensor) -> tuple[Tensor, list[Tensor]]: ...


# Nets without targets: autoencoders, RBMs and stacks of them.


@runtime_checkable
class Reconstructing(Protocol):
    """A net that reconstructs its input."""

    def reconstruct(self, x: Tensor) -> Tensor:
        """N x in_shape -> the same shape."""


@runtime_checkable
class Decoding(Protocol):
    """An autoencoder, or a stack of them: N x V -> N x H -> N x V."""

    def encode(self, x: Tensor) -> Tensor: ...

    def decode(self, h: Tensor, *, activate: bool = True) -> Tensor:
        """``activate=False`` omits the output activation; if that is a sigmoid, the result is logits."""


@runtime_checkable
class HasJacobian(Protocol):
    """An encoder of one layer, whose Jacobian has a closed form."""

    def squared_jacobian(self, x: Tensor) -> Tensor:
        """The squared Frobenius norm of dh/dx for each example, N."""


@runtime_checkable
class Unrollable(Protocol):
    """An autoencoder whose decoder can be set to the transposed encoder."""

    def unroll(self) -> None: ...


@runtime_checkable
class Generative(Protocol):
    """A net that is a distribution over inputs: an RBM, or a DBN, which has directed layers below its top RBM."""

    def sample(self, n: int, steps: int = 1000, *, labels: Tensor | None = None) -> Tensor:
        """``n`` samples from Gibbs chains of ``steps`` steps that start at noise: N x in_shape."""

    def generate(self, v: Tensor) -> Tensor:
        """States of the visible units of the top RBM -> means of the pixels, N x in_shape."""


@runtime_checkable
class PartlyGenerative(Protocol):
    """A net with parameters that ``forward`` does not use, such as the visible biases of a stack of RBMs."""

    def generative_parameters(self) -> Iterator[nn.Parameter]: ...


@runtime_checkable
class HasLabelUnits(Protocol):
    """A net that can have label units: visible units, one per class. ``label_units`` is 0 or False without them."""

    label_units: int

    def __call__(self, x: Tensor) -> Tensor:
        """With label units: N x in_shape -> N x K, logits of the classes."""


@runtime_checkable
class ChangesConfig(Protocol):
    """A net whose constructor arguments training may change."""

    def config_changes(self) -> dict[str, Any]:
        """The constructor arguments that training has changed, with the values that rebuild the trained net."""


def shape_text(shape: Sequence[int]) -> str:
    """A shape for messages: (1, 28, 28) -> "1x28x28"."""
    return "x".join(map(str, shape))


def head_of(net: nn.Module) -> nn.Module | None:
    """The submodule ``head`` of a net, or None."""
    return dict(net.named_children()).get("head")


def layers_of(net: nn.Module) -> dict[str, nn.Module]:
    """The layers of a net by name, from the input up. A net without ``layers`` counts as one layer, "net"."""
    children = dict(net.named_children())
    return dict(children["layers"].named_children()) if "layers" in children else {"net": net}


@contextmanager
def eval_mode(net: nn.Module) -> Iterator[None]:
    """Put ``net`` into evaluation mode within the block; restore the mode of each module after it."""
    modes = {module: module.training for module in net.modules()}
    net.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
