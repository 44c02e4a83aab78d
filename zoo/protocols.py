"""What a net offers, as types: `isinstance(net, Generative)` asks the net itself, never its class or its attributes.

A net of one's own takes part in everything that its methods allow; nothing has to be inherited. The protocols that are
checked at run time (`@runtime_checkable`) name methods only: parameters and submodules of a ``nn.Module`` are no
attributes of its class, and Python 3.12 and later do not find them. Torch only.

Shapes: N examples, K classes, V visible and H hidden units of a layer.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

from torch import Tensor, nn

HEADS = ("head", "auxiliaries")  # the submodules of a net that depend on its classes


@runtime_checkable
class Net(Protocol):
    """Every net: N x in_shape -> N x num_classes logits or N x outputs; without outputs, the top-level features."""

    in_shape: tuple[int, ...]
    num_classes: int | None

    def __call__(self, x: Tensor) -> Tensor: ...

    def encode(self, x: Tensor, depth: int | None = None) -> Tensor:
        """The output of layer ``depth`` (None: the last layer below the head; 0: the input)."""
        ...


@runtime_checkable
class Classifier(Protocol):
    """A net whose classes can be replaced."""

    num_classes: int | None

    def __call__(self, x: Tensor) -> Tensor: ...

    def reset_head(self, num_classes: int) -> None:
        """Replace the head, or the label units, by a new one for ``num_classes`` classes."""
        ...


@runtime_checkable
class HasHead(Protocol):
    """A classifier with a head on top of its features, so that features may be computed once and kept."""

    def forward_head(self, features: Tensor) -> Tensor:
        """The output of `encode` -> N x num_classes: what ``forward`` does above the last layer."""
        ...


@runtime_checkable
class HasAuxiliaryHeads(Protocol):
    """A classifier with further heads on its lower layers, which only training needs (GoogLeNet)."""

    def forward_with_auxiliaries(self, x: Tensor) -> tuple[Tensor, list[Tensor]]: ...


@runtime_checkable
class Reconstructing(Protocol):
    """A net that gives its input back."""

    def reconstruct(self, x: Tensor) -> Tensor:
        """N x in_shape -> the same shape."""
        ...


@runtime_checkable
class Decoding(Protocol):
    """An autoencoder, or a stack of them: N x V -> N x H -> N x V."""

    def encode(self, x: Tensor) -> Tensor: ...

    def decode(self, h: Tensor, *, activate: bool = True) -> Tensor:
        """``activate=False`` leaves the output activation out: logits, where it is a sigmoid."""
        ...


@runtime_checkable
class Generative(Protocol):
    """A net that is a distribution over inputs, held by an RBM (`top`) and, in a DBN, directed layers below it."""

    def sample(self, n: int, steps: int = 1000, *, labels: Tensor | None = None) -> Tensor:
        """``n`` samples from Gibbs chains of ``steps`` steps that start at noise: N x in_shape."""
        ...

    def generate(self, v: Tensor) -> Tensor:
        """States of the visible units of the top RBM -> means of the pixels, N x in_shape."""
        ...


@runtime_checkable
class PartlyGenerative(Protocol):
    """A net with parameters that ``forward`` does not use, such as the visible biases of a stack of RBMs."""

    def generative_parameters(self) -> Iterator[nn.Parameter]: ...


def head_of(net: nn.Module) -> nn.Module | None:
    """The submodule ``head`` of a net, or None."""
    return dict(net.named_children()).get("head")


def layers_of(net: nn.Module) -> dict[str, nn.Module]:
    """The layers of a net by name, from the input up; a net without ``layers`` is one layer by itself."""
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
