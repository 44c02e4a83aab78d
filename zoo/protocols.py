"""Protocols (`typing.Protocol`) for nets: `isinstance(net, Generative)` tells whether a net has the methods.

A user-defined net works with every feature whose methods it implements; it inherits from nothing. Protocols that are
checked at run time (`@runtime_checkable`) name methods and plain attributes only: ``isinstance`` does not find
parameters and submodules of an ``nn.Module`` in Python 3.12 and later. Imports torch only.

Shapes: N examples, K classes, V visible and H hidden units of a layer.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, overload, runtime_checkable

import torch
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


class Units(Protocol):
    """One layer of units of an RBM: the distribution of their states u, given their pre-activations a.

    The distribution is p(u | a) = exp(signal(u)·(a - bias) - energy(u, bias)) / Σ_u exp(…), where a is the bias plus
    the signal of the other layer times the weights.
    """

    @property
    def binary(self) -> bool:
        """Whether states are zeros and ones, so that means lie in [0, 1]."""

    def mean(self, a: Tensor) -> Tensor:
        """E[u | a], N x U."""

    def sample(self, a: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """u ~ p(u | a), N x U."""

    def signal(self, u: Tensor) -> Tensor:
        """The values that the weights multiply: u, or u / σ² for units of variance σ²; N x U."""

    def energy(self, u: Tensor, bias: Tensor) -> Tensor:
        """The term of the energy that depends on this layer only, N."""

    def log_sum(self, a: Tensor, bias: Tensor) -> Tensor:
        """log Σ_u exp(signal(u)·(a - bias) - energy(u, bias)): one value for each independent unit or group, N x G."""

    def log_prob(self, u: Tensor, a: Tensor) -> Tensor:
        """log p(u | a), N."""

    def noise(self, n: int, bias: Tensor) -> Tensor:
        """States to start Gibbs chains from, n x U."""


@runtime_checkable
class RBMLayer(Protocol):
    """An RBM, or one layer of a stack, for contrastive divergence; the methods are those of `zoo.models.boltzmann`."""

    visible: "Units"
    hidden: "Units"

    @property
    def visible_shape(self) -> tuple[int, ...]: ...  # of v without the batch; v may also be flat

    @property
    def hidden_shape(self) -> tuple[int, ...]: ...  # of h without the batch

    def energy_parameters(self) -> list[nn.Parameter]:
        """The parameters of E(v, h), always in the same order."""

    def hidden_input(self, v: Tensor) -> Tensor: ...

    def hidden_mean(self, v: Tensor, *, hidden_input: Tensor | None = None) -> Tensor: ...

    def sample_hidden(self, v: Tensor, *, hidden_input: Tensor | None = None) -> Tensor: ...

    def visible_input(self, h: Tensor) -> Tensor: ...

    def visible_mean(self, h: Tensor) -> Tensor: ...

    def sample_visible(self, h: Tensor) -> Tensor: ...

    def gibbs(self, v: Tensor, steps: int = 1, *, labels: Tensor | None = None) -> Tensor: ...

    def free_energy(self, v: Tensor, *, hidden_input: Tensor | None = None) -> Tensor:
        """F(v) = -log Σ_h exp(-E(v, h)), N."""

    def reconstruct(self, x: Tensor) -> Tensor: ...

    def with_labels(self, v: Tensor, labels: Tensor) -> Tensor:
        """N x pixels and N class numbers -> N x V; without label units the pixels only."""

    def noise(self, n: int) -> Tensor:
        """Random states to start Gibbs chains from, n x V."""


@runtime_checkable
class Centering(Protocol):
    """An RBM with a centered gradient."""

    def center_gradients(self, visible_offset: Tensor, hidden_offset: Tensor) -> None:
        """Replace the gradients of the parameters by those of the centered RBM, in place. The offsets are V and H."""


@runtime_checkable
class SharesWeights(Protocol):
    """An RBM with maps of hidden units that share a kernel. ``positions``: the number of units in a map."""

    positions: int
    hidden_bias: nn.Parameter

    def init_biases(self, visible_mean: Tensor, hidden_mean: float) -> None:
        """Set new biases to those of independent units with these means."""


@runtime_checkable
class HasPseudoLikelihood(Protocol):
    """An RBM that can estimate the pseudo-likelihood, if it has binary visible units and no label units."""

    visible: "Units"
    label_units: int

    def pseudo_log_likelihood(self, v: Tensor, flips: Tensor) -> Tensor:
        """An estimate for each example, N; v is N x V, and flips are N indices of visible units."""


@runtime_checkable
class StackOfRBMs(Protocol):
    """A net whose layers are RBMs, or share their parameters with RBMs."""

    def rbm(self, layer: int) -> RBMLayer:
        """The RBM of layer number ``layer``, counted from the input."""


@runtime_checkable
class BeliefNet(StackOfRBMs, Protocol):
    """A stack of RBMs of which all but the top one can become directed layers, with recognition weights."""

    label_units: int

    def __call__(self, x: Tensor) -> Tensor: ...

    def untie(self) -> None:
        """Give the directed layers separate recognition weights."""

    def recognition_input(self, h: Tensor, layer: int) -> Tensor:
        """The logits of layer ``layer`` + 1, given states h of layer ``layer``."""

    def unused_parameters(self) -> Iterator[nn.Parameter]:
        """The parameters that neither bottom-up inference nor top-down generation uses."""


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
