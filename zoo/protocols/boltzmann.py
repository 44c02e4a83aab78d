"""Protocols of restricted Boltzmann machines, their layers of units, and stacks of them. Imports torch only.

Shapes: N examples, V visible and H hidden units of a layer, U units of one layer.
"""

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn


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

    def draw(self, mean: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """u ~ p(u | a), given `mean` of a, N x U: `sample` for a caller who has the means."""

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
    """An RBM, by itself or as one layer of a stack: the methods that contrastive divergence needs.

    v is N x ``visible_shape`` (or flat), h is N x ``hidden_shape``. `zoo.models.boltzmann` describes the methods.
    """

    visible: "Units"
    hidden: "Units"

    @property
    def visible_shape(self) -> tuple[int, ...]:
        """The shape of v without the batch."""

    @property
    def hidden_shape(self) -> tuple[int, ...]:
        """The shape of h without the batch."""

    def energy_parameters(self) -> list[nn.Parameter]:
        """The parameters of E(v, h): weights, visible biases, hidden biases, then any others."""

    def hidden_input(self, v: Tensor) -> Tensor: ...

    def hidden_mean(self, v: Tensor, *, hidden_input: Tensor | None = None) -> Tensor: ...

    def sample_hidden(self, v: Tensor, *, hidden_mean: Tensor | None = None) -> Tensor: ...

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

    def init_biases(self, visible_mean: Tensor, hidden_mean: float) -> None:
        """Set new biases to those of independent units with these means."""


@runtime_checkable
class Contrasting(Protocol):
    """An RBM that computes the loss of contrastive divergence itself, such as with a gradient in closed form."""

    def free_energy_difference(self, v0: Tensor, vk: Tensor, *, hidden_input: Tensor | None = None) -> Tensor:
        """mean F(v0) - mean F(vk), a scalar, with v0 and vk held constant; ``hidden_input`` is that of v0."""


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
