"""Restricted Boltzmann machine (Smolensky 1986, "Harmony theory"; Hinton 2002, "Training products of experts").

The figure in words: two layers of units. A symmetric weight connects every visible unit to every hidden unit; units of
the same layer are not connected. So the units of one layer are independent given the other layer, and sampling
alternates between the layers:

    v  --W-->  h ~ p(h|v)  --W'-->  v ~ p(v|h)  --W-->  ...

A pair of states has the energy

    E(v, h) = -v·b - h·c - h·W v    and the probability    p(v, h) = exp(-E(v, h)) / Z.

The sum over the hidden units gives the free energy F(v) = -log Σ_h exp(-E(v, h)), with p(v) = exp(-F(v)) / Z. Other
kinds of units change one term each. Gaussian visible units have Σ (v - b)² / 2σ² in place of -v·b, and the weights
multiply v / σ² (Cho, Ilin & Raiko 2011). Gaussian hidden units of variance 1 add Σ h² / 2: they are the units of
the linear latent code of Hinton & Salakhutdinov 2006. Label units are additional visible units of which exactly
one is on (Hinton, Osindero & Teh 2006).

This file has the parameters and the methods of `zoo.protocols`. The equations above are in `boltzmann.py`,
their terms for each kind of unit in `units.py`. Imports torch and the zoo's models only.

Deviations from the paper:

1. Bernoulli visible units accept values in [0, 1] and use them as probabilities, as is usual for gray pixels; the
   papers' units are binary. `ContrastiveDivergence(sample_data=True)` draws zeros and ones instead.
2. The biases start at zero. Hinton 2010, section 8, suggests log(p / (1 - p)) for the visible ones, where p is
   the mean of the pixel over the training images.

Shapes: N examples, V visible units (pixels, then labels), H hidden units, K label units.
"""

from collections.abc import Iterator, Sequence
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.models.boltzmann import BoltzmannEquations
from zoo.models.shapes import check_widths
from zoo.models.units import Bernoulli, ScaledGaussian, WithLabels, make_units

INITS = ("normal", "xavier")


class RBM(BoltzmannEquations, nn.Module):
    """Two layers of stochastic units and the distribution they define.

    Args:
        in_shape: shape of one input without the batch; it is flattened into visible units.
        hidden: number of hidden units.
        visible_units: bernoulli (values in [0, 1]) or gaussian (real values; standardize them).
        hidden_units: bernoulli, or gaussian (variance 1), which needs bernoulli visible units.
        learn_variance: whether the variance of Gaussian visible units is a parameter; otherwise it is 1.
        label_units: number of label units, one per class. They are visible units that follow the pixels. 0 for none.
        init: distribution of the initial weights. "normal" has std 0.01 (Hinton 2010, section 8). "xavier" is four
            times the uniform distribution of Glorot & Bengio 2010; with it a net of sigmoids also trains without
            pretraining.

    Attributes:
        weight: H x V.
        visible_bias: V.
        hidden_bias: H.
        log_variance: log σ², of shape V; with Gaussian visible units only.
        visible, hidden: the units of the two layers (`zoo.protocols.Units`).

    Raises:
        ValueError: an unknown kind of unit or init, kinds that cannot be combined, or a width below 1.
    """

    log_variance: Tensor

    def __init__(
        self,
        *,
        in_shape: Sequence[int] = (1, 28, 28),
        hidden: int = 500,
        visible_units: str = "bernoulli",
        hidden_units: str = "bernoulli",
        learn_variance: bool = False,
        label_units: int = 0,
        init: str = "normal",
    ):
        super().__init__()
        # Check the arguments; the kinds of units are checked where the units are made.
        check_widths(in_shape=in_shape, hidden=hidden)
        if label_units < 0:
            raise ValueError(f"label_units={label_units} must be 0 (none) or the number of classes")
        if init not in INITS:
            raise ValueError(f"unknown init {init!r}; choose normal or xavier")

        # Public attributes that describe the net.
        self.in_shape = tuple(in_shape)
        self.num_classes = label_units or None
        self.label_units = label_units
        self.num_features = hidden
        self.visible_units = visible_units
        self.hidden_units = hidden_units

        # The units of both layers. They have no parameters.
        self.visible, self.hidden = make_units(visible_units, hidden_units, owner=self, label_units=label_units)

        # The parameters: small random weights, biases of zero.
        visible = prod(in_shape) + label_units
        self.weight = nn.Parameter(torch.randn(hidden, visible) * 0.01)
        if init == "xavier":
            nn.init.xavier_uniform_(self.weight, gain=4.0)
        self.visible_bias = nn.Parameter(torch.zeros(visible))
        self.hidden_bias = nn.Parameter(torch.zeros(hidden))

        # The variance of Gaussian visible units, initially 1: a parameter, or a buffer if it is not trained.
        has_variance = isinstance(self.visible, ScaledGaussian)
        if learn_variance and not has_variance:
            raise ValueError("learn_variance is for gaussian visible units")
        if learn_variance:
            self.log_variance = nn.Parameter(torch.zeros(visible))
        elif has_variance:
            self.register_buffer("log_variance", torch.zeros(visible))

    def energy_parameters(self) -> list[nn.Parameter]:
        """All parameters, including a trained variance, in the order of `zoo.protocols.RBMLayer`."""
        return list(self.parameters())

    # The methods of `zoo.protocols`. x is N x in_shape.

    def forward(self, x: Tensor) -> Tensor:
        """N x in_shape -> N x H, the hidden means; with label units N x K, logits of the classes."""
        # With label units the net is a classifier, otherwise an encoder.
        return self.class_logits(x.flatten(1)) if self.label_units else self.encode(x)

    @torch.no_grad()
    def sample(self, n: int, steps: int = 1000, *, labels: Tensor | None = None) -> Tensor:
        """``n`` samples, n x in_shape, each from its own Gibbs chain that starts at noise.

        The last step returns the means p(v = 1 | h) instead of drawing zeros and ones.

        Args:
            n: number of samples.
            steps: number of Gibbs steps, >= 1.
            labels: n class numbers to sample for; None: the chains sample the label units, too.
        """
        # All steps but the last one draw states; the last one computes means.
        v = self.gibbs(self.noise(n), steps - 1, labels=labels)  # n x V
        return self.generate(v)

    def generate(self, v: Tensor) -> Tensor:
        """One Gibbs step from states of the visible units to means of the pixels: N x V -> N x in_shape."""
        return self.as_inputs(self.visible_mean(self.sample_hidden(v)))

    def reset_head(self, num_classes: int | None) -> None:
        """Replace the label units by ``num_classes`` new ones; 0 or None: remove them.

        Raises:
            ValueError: there are no label units to replace.
        """
        num_classes = num_classes or 0
        if num_classes == self.label_units == 0:
            return
        if not self.label_units:
            raise ValueError("this RBM has no label units, and so no classes to replace; build it with label_units")
        # Store the new number of classes, and make visible units with that number of label units.
        self.num_classes = num_classes or None
        self.label_units = num_classes
        self.visible = WithLabels(num_classes) if num_classes else Bernoulli()
        # Keep the columns of the pixels; append small random weights and zero biases for the labels.
        with torch.no_grad():
            pixels, _ = self.split_labels(self.weight)
            pixel_bias, _ = self.split_labels(self.visible_bias)
            labels = torch.randn(len(pixels), num_classes).to(pixels) * 0.01
            self.weight = nn.Parameter(torch.cat([pixels, labels], dim=1))
            self.visible_bias = nn.Parameter(F.pad(pixel_bias, (0, num_classes)))

    def generative_parameters(self) -> Iterator[nn.Parameter]:
        """The parameters that `forward` does not use."""
        if not self.label_units:
            yield self.visible_bias

    def extra_repr(self) -> str:
        hidden, visible = self.weight.shape
        return f"{visible} {self.visible_units} visible, {hidden} {self.hidden_units} hidden, {self.label_units} labels"
