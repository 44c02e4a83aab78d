"""The equations of an RBM: its conditionals, its energies and Gibbs sampling.

`TwoLayers` has what follows from the units of both layers and their pre-activations, whatever connects them.
`BoltzmannEquations` connects them by a weight matrix; `zoo.models.conv_rbm.ConvRBM` by a convolution. Subclasses
provide the parameters and the units: `zoo.models.rbm.RBM` is a module with its own parameters; `AutoencoderRBM` uses
the parameters of an autoencoder (`Autoencoder.rbm`). Imports torch, `zoo.protocols` and the zoo's models only.

    E(v, h) = visible.energy(v, b) + hidden.energy(h, c) - h·W signal(v)

With Bernoulli units in both layers, signal(v) = v and E(v, h) = -v·b - h·c - h·W v. The terms of all kinds of units are
in `units.py`.

Shapes: N examples, V visible units (pixels, then labels), H hidden units, K label units.
"""

from collections.abc import Callable, Sequence
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.models.features import FeatureNet
from zoo.models.free_energy_difference import FreeEnergyDifference, free_energy_difference
from zoo.models.units import Bernoulli
from zoo.protocols import Units


class TwoLayers(FeatureNet):
    """Conditionals, energies and Gibbs sampling of two layers of units. v is N x visible, h is N x hidden.

    A subclass has the parameters and says how one layer sees the other: `hidden_input`, `visible_input` and `joint`.

    Attributes:
        in_shape: shape of one input without the batch.
        weight: the weights between the layers.
        visible_bias: b, one value for each visible unit, or for each channel of them.
        hidden_bias: c, one value for each hidden unit, or for each map of them.
        visible, hidden: the units of the two layers.
        label_units: K, the number of label units, one per class; they follow the pixels.
    """

    in_shape: Sequence[int]
    weight: nn.Parameter
    visible_bias: nn.Parameter
    hidden_bias: nn.Parameter
    visible: Units
    hidden: Units
    label_units: int = 0

    def hidden_input(self, v: Tensor) -> Tensor:
        """Pre-activations of the hidden units, N x hidden."""
        raise NotImplementedError

    def visible_input(self, h: Tensor) -> Tensor:
        """Pre-activations of the visible units, N x visible."""
        raise NotImplementedError

    def joint(self, v: Tensor, h: Tensor) -> Tensor:
        """Minus the term of the energy that depends on both layers, N."""
        raise NotImplementedError

    def unit_biases(self) -> Tensor:
        """The bias of each visible unit, V."""
        return self.visible_bias

    def energy_parameters(self) -> list[nn.Parameter]:
        """The parameters of E(v, h), in the order of `zoo.protocols.RBMLayer`."""
        return [self.weight, self.visible_bias, self.hidden_bias]

    # The conditionals

    def hidden_mean(self, v: Tensor, *, hidden_input: Tensor | None = None) -> Tensor:
        """E[h | v], N x hidden; for binary units p(h = 1 | v). ``hidden_input``: `hidden_input` of v, if known."""
        a = self.hidden_input(v) if hidden_input is None else hidden_input
        return self.hidden.mean(a)

    def sample_hidden(self, v: Tensor, *, hidden_mean: Tensor | None = None) -> Tensor:
        """h ~ p(h | v), N x hidden. ``hidden_mean``: `hidden_mean` of v, if known."""
        return self.hidden.sample(self.hidden_input(v)) if hidden_mean is None else self.hidden.draw(hidden_mean)

    def visible_mean(self, h: Tensor) -> Tensor:
        """E[v | h], N x visible; for binary units p(v = 1 | h)."""
        return self.visible.mean(self.visible_input(h))

    def sample_visible(self, h: Tensor) -> Tensor:
        """v ~ p(v | h), N x visible."""
        return self.visible.sample(self.visible_input(h))

    def gibbs(self, v: Tensor, steps: int = 1, *, labels: Tensor | None = None) -> Tensor:
        """The states of Gibbs chains that start at v, after ``steps`` steps, N x visible.

        One step draws h ~ p(h | v), then v ~ p(v | h). ``labels``: N class numbers at which the label units are fixed.
        """
        # Fix the labels before the first step and after every step.
        v = self.clamp_labels(v, labels)
        for _ in range(steps):
            v = self.clamp_labels(self.sample_visible(self.sample_hidden(v)), labels)
        return v

    def with_labels(self, v: Tensor, labels: Tensor) -> Tensor:
        """v itself: there are no label units."""
        return v

    def clamp_labels(self, v: Tensor, labels: Tensor | None) -> Tensor:
        """v itself: there are no label units."""
        return v

    # The energies

    def energy(self, v: Tensor, h: Tensor) -> Tensor:
        """E(v, h), N."""
        # One term for each layer, and the joint term.
        return self.visible_energy(v) + self.hidden.energy(h, self.hidden_bias) - self.joint(v, h)

    def visible_energy(self, v: Tensor) -> Tensor:
        """The term of the energy that depends on v only, N."""
        return self.visible.energy(v.flatten(1), self.unit_biases())

    def free_energy(self, v: Tensor, *, hidden_input: Tensor | None = None) -> Tensor:
        """F(v) = -log Σ_h exp(-E(v, h)), N. ``hidden_input``: `hidden_input` of v, if known."""
        # Given v, the hidden units (or groups of them) are independent, so the sum over their states is a product.
        a = self.hidden_input(v) if hidden_input is None else hidden_input
        return self.visible_energy(v) - self.hidden.log_sum(a, self.hidden_bias).flatten(1).sum(dim=1)

    def free_energy_of_hidden(self, h: Tensor) -> Tensor:
        """-log Σ_v exp(-E(v, h)), N: the free energy with the two layers exchanged."""
        # The same sum over the visible units, which are independent given h.
        a = self.visible_input(h).flatten(1)  # N x V
        return self.hidden.energy(h, self.hidden_bias) - self.visible.log_sum(a, self.unit_biases()).sum(dim=1)

    def pseudo_log_likelihood(self, v: Tensor, flips: Tensor) -> Tensor:
        """An unbiased estimate of Σ_i log p(v_i | all other units), N (Besag 1975).

        Args:
            v: N x V, zeros and ones.
            flips: N, for each example the index i of the unit whose conditional probability is computed.

        Raises:
            ValueError: the visible units are not plain Bernoulli units.
        """
        if not self.visible.binary or self.label_units:
            raise ValueError("the pseudo-likelihood is for Bernoulli visible units without label units")
        # p(v_i | others) = sigmoid(F(v with unit i flipped) - F(v)).
        v = v.flatten(1)
        chosen = flips[:, None]
        other = v.scatter(1, chosen, 1 - v.gather(1, chosen))
        return v.shape[1] * F.logsigmoid(self.free_energy(other) - self.free_energy(v))


class BoltzmannEquations(TwoLayers):
    """Two layers that a weight matrix connects, with or without label units. v is N x V, h is N x H.

    Attributes:
        weight: H x V.
        visible_bias: b, of shape V.
        hidden_bias: c, of shape H.
    """

    @property
    def visible_shape(self) -> tuple[int, ...]:
        return tuple(self.visible_bias.shape)

    @property
    def hidden_shape(self) -> tuple[int, ...]:
        return tuple(self.hidden_bias.shape)

    # The conditionals

    def hidden_input(self, v: Tensor) -> Tensor:
        """Pre-activations of the hidden units: c + W signal(v), N x H."""
        return F.linear(self.visible.signal(v), self.weight, self.hidden_bias)

    def visible_input(self, h: Tensor) -> Tensor:
        """Pre-activations of the visible units: b + W' h, N x V."""
        return F.linear(h, self.weight.t(), self.visible_bias)

    def noise(self, n: int) -> Tensor:
        """Random states to start chains from, n x V (`Units.noise`)."""
        return self.visible.noise(n, self.visible_bias)

    # The energies

    def joint(self, v: Tensor, h: Tensor) -> Tensor:
        """h·W signal(v), N."""
        return (h * F.linear(self.visible.signal(v), self.weight)).sum(dim=1)

    def free_energy_difference(self, v0: Tensor, vk: Tensor, *, hidden_input: Tensor | None = None) -> Tensor:
        """mean F(v0) - mean F(vk), a scalar: the loss of contrastive divergence, with v0 and vk held constant.

        Args:
            v0: N x V, the data.
            vk: M x V, the ends of the Gibbs chains.
            hidden_input: `hidden_input` of v0, if known.
        """
        # With units of zeros and ones, the gradient has a closed form, which needs no graph. For others, and if the
        # dtypes differ, as under autocast, autograd computes it.
        a0 = self.hidden_input(v0) if hidden_input is None else hidden_input
        parameters = (self.weight, self.visible_bias, self.hidden_bias)
        is_plain = all(value.dtype == self.weight.dtype for value in (v0, vk, a0, *parameters))
        if isinstance(self.hidden, Bernoulli) and self.visible.binary and is_plain:
            difference: Tensor = FreeEnergyDifference.apply(*parameters, v0, a0.detach(), vk)
            return difference
        return free_energy_difference(self, v0, vk, a0)

    @torch.no_grad()
    def center_gradients(self, visible_offset: Tensor, hidden_offset: Tensor) -> None:
        """Replace the gradients of the parameters by those of the centered RBM, in place (Melchior et al. 2016).

        With x = signal(v), offsets μ and λ, and d< > the difference of the expectations of data and model:
        dW = d<(h - λ)(x - μ)'> = d<h x'> - λ d<x>' - d<h> μ'. The biases then compensate for the change of W.

        Args:
            visible_offset: V, the means of the visible units; μ is their signal.
            hidden_offset: λ, of shape H, the means of the hidden units.
        """
        mu = self.visible.signal(visible_offset)
        weight, visible, hidden = self.weight.grad, self.visible_bias.grad, self.hidden_bias.grad
        assert weight is not None
        assert visible is not None
        assert hidden is not None
        # The weights first: the gradients of the biases use their centered gradient.
        weight -= torch.outer(hidden_offset, visible) + torch.outer(hidden, mu)
        visible -= hidden_offset @ weight
        hidden -= weight @ mu

    # Inputs and reconstructions. x is N x in_shape.

    def feature_layers(self) -> Sequence[Callable[[Tensor], Tensor]]:
        """One layer: N x pixels -> N x H, E[h | v]. Label units are treated as zero."""
        return [lambda v: self.hidden_mean(F.pad(v, (0, self.label_units)))]

    def reconstruct(self, x: Tensor) -> Tensor:
        """E[v | h = E[h | x]], without the label units: N x in_shape."""
        return self.as_inputs(self.visible_mean(self.encode(x)))

    def as_inputs(self, v: Tensor) -> Tensor:
        """N x V -> N x in_shape: the visible units without the label units."""
        pixels, _ = self.split_labels(v)
        return pixels.reshape(pixels.shape[0], *self.in_shape)

    # Labels

    def class_logits(self, v: Tensor) -> Tensor:
        """F([v, no label]) - F([v, one-hot y]) for every class y, N x K: their softmax is exactly p(y | v).

        v is N x pixels. The difference is computed for each hidden unit before the sum, since the free energies are
        large and nearly equal.
        """
        pixels, labels = self.split_labels(self.weight)  # H x pixels, H x K
        _, label_bias = self.split_labels(self.visible_bias)  # K
        # Contribution of each hidden unit to -F with each label, minus its contribution without a label.
        a = F.linear(v, pixels, self.hidden_bias)[:, None]  # N x 1 x H
        with_label = self.hidden.log_sum(a + labels.t(), self.hidden_bias)  # N x K x H
        without = self.hidden.log_sum(a, self.hidden_bias)  # N x 1 x H
        return label_bias + (with_label - without).sum(dim=2)

    def with_labels(self, v: Tensor, labels: Tensor) -> Tensor:
        """N x pixels and N class numbers -> N x V; without label units the pixels themselves."""
        if not self.label_units:
            return v
        one_hot = F.one_hot(labels.to(v.device), self.label_units).to(v.dtype)
        return torch.cat([v, one_hot], dim=1)

    def split_labels(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """Values of all visible units -> values of the pixels, values of the label units."""
        pixels = prod(self.in_shape)
        return v[..., :pixels], v[..., pixels:]

    def clamp_labels(self, v: Tensor, labels: Tensor | None) -> Tensor:
        """v with its label units set to ``labels``, if any are given."""
        if labels is None:
            return v
        pixels, _ = self.split_labels(v)
        return self.with_labels(pixels, labels)
