"""Restricted Boltzmann machine (Smolensky 1986, "Harmony theory"; Hinton 2002, "Training products of experts").

The figure in words: two layers of units, every visible one joined to every hidden one by a symmetric weight, no
connection within a layer. So each layer is independent given the other, and sampling goes back and forth:

    v  --W-->  h ~ p(h|v)  --W'-->  v ~ p(v|h)  --W-->  ...

A pair of states has the energy

    E(v, h) = -v·b - h·c - h·W v    and the probability    p(v, h) = exp(-E(v, h)) / Z.

Summing out the hidden units leaves the free energy F(v) = -log Σ_h exp(-E(v, h)), with p(v) = exp(-F(v)) / Z. Other
kinds of units change one term each. Gaussian visible units have Σ (v - b)² / 2σ² in place of -v·b, and act on the
hidden ones as v / σ² (Cho, Ilin & Raiko 2011). Gaussian hidden units of variance 1 add Σ h² / 2: they are the linear
code of Hinton & Salakhutdinov 2006. Label units are one more visible group of which exactly one is on (Hinton,
Osindero & Teh 2006).

Shapes: N examples, V visible units (pixels, then labels), H hidden units, K label units.
"""

from collections.abc import Iterator, Sequence
from math import log, pi, prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.models.shapes import check_widths

KINDS = ("bernoulli", "gaussian")


class RBM(nn.Module):
    """Two layers of stochastic units and the distribution they define.

    Args:
        in_shape: shape of one input without the batch; it is flattened into visible units.
        hidden: number of hidden units.
        visible_units: bernoulli (values within 0 to 1) or gaussian (real values; standardise them).
        hidden_units: bernoulli, or gaussian (variance 1) over bernoulli visible ones.
        learn_variance: whether the variance of Gaussian visible units is learned; else it is 1.
        label_units: classes that are visible units of their own; they follow the pixels.
        init: of the weights: "normal" with deviation 0.01 (Hinton 2010, section 8), or "xavier", four times the
            uniform ones of Glorot & Bengio 2010, from which a net of sigmoids also learns by back-propagation alone.

    Attributes:
        weight: H x V.
        visible_bias: V.
        hidden_bias: H.
        log_variance: V, with Gaussian visible units only.

    Raises:
        ValueError: an unknown kind of unit, kinds that do not go together, or a width below 1.
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
        check_widths(in_shape=in_shape, hidden=hidden)
        for name, kind in {"visible_units": visible_units, "hidden_units": hidden_units}.items():
            if kind not in KINDS:
                raise ValueError(f"{name}={kind}: choose one of: {', '.join(KINDS)}")
        if label_units < 0:
            raise ValueError(f"label_units={label_units}: 0 (none) or the number of classes is needed")
        if visible_units == "gaussian" and (hidden_units == "gaussian" or label_units):
            raise ValueError("gaussian visible units go with bernoulli hidden units and without label units")
        if init not in ("normal", "xavier"):
            raise ValueError(f"unknown init {init!r}; choose normal or xavier")
        if learn_variance and visible_units != "gaussian":
            raise ValueError("learn_variance is for gaussian visible units")
        self.in_shape, self.num_classes = tuple(in_shape), label_units or None
        self.visible_units, self.hidden_units, self.label_units = visible_units, hidden_units, label_units
        visible = prod(in_shape) + label_units
        self.weight = nn.Parameter(torch.randn(hidden, visible) * 0.01)
        if init == "xavier":
            nn.init.xavier_uniform_(self.weight, gain=4.0)
        self.visible_bias = nn.Parameter(torch.zeros(visible))
        self.hidden_bias = nn.Parameter(torch.zeros(hidden))
        if visible_units == "gaussian":
            log_variance = torch.zeros(visible)
            if learn_variance:
                self.log_variance = nn.Parameter(log_variance)
            else:
                self.register_buffer("log_variance", log_variance)

    # The conditionals. v is N x V, h is N x H.

    def hidden_input(self, v: Tensor) -> Tensor:
        """What each hidden unit receives: c + W v, N x H."""
        if self.visible_units == "gaussian":
            v = v * torch.exp(-self.log_variance)
        return F.linear(v, self.weight, self.hidden_bias)

    def hidden_mean(self, v: Tensor, *, hidden_input: Tensor | None = None) -> Tensor:
        """E[h | v], N x H; for Bernoulli units p(h = 1 | v). ``hidden_input`` saves computing it again."""
        a = self.hidden_input(v) if hidden_input is None else hidden_input
        return torch.sigmoid(a) if self.hidden_units == "bernoulli" else a

    def sample_hidden(self, v: Tensor, *, hidden_input: Tensor | None = None) -> Tensor:
        """h ~ p(h | v), N x H."""
        mean = self.hidden_mean(v, hidden_input=hidden_input)
        return bernoulli(mean) if self.hidden_units == "bernoulli" else mean + torch.randn_like(mean)

    def visible_input(self, h: Tensor) -> Tensor:
        """What each visible unit receives: b + W' h, N x V."""
        return F.linear(h, self.weight.t(), self.visible_bias)

    def visible_mean(self, h: Tensor) -> Tensor:
        """E[v | h], N x V; for Bernoulli units and label units p(v = 1 | h)."""
        a = self.visible_input(h)
        if self.visible_units == "gaussian":
            return a
        pixels, labels = self._split(a)
        return torch.cat([torch.sigmoid(pixels), labels.softmax(dim=1)], dim=1) if self.label_units else a.sigmoid()

    def sample_visible(self, h: Tensor) -> Tensor:
        """v ~ p(v | h), N x V."""
        mean = self.visible_mean(h)
        if self.visible_units == "gaussian":
            return mean + torch.exp(self.log_variance / 2) * torch.randn_like(mean)
        if not self.label_units:
            return bernoulli(mean)
        pixels, labels = self._split(mean)
        return self.with_labels(bernoulli(pixels), torch.multinomial(labels.float(), 1).flatten())

    def gibbs(self, v: Tensor, steps: int = 1, *, labels: Tensor | None = None) -> Tensor:
        """The state of a Gibbs chain that starts at v, after ``steps`` times h ~ p(h | v), v ~ p(v | h): N x V.

        ``labels``, N class numbers, are what the label units are held at.
        """
        v = self._holding(v, labels)
        for _ in range(steps):
            v = self._holding(self.sample_visible(self.sample_hidden(v)), labels)
        return v

    # The energies

    def energy(self, v: Tensor, h: Tensor) -> Tensor:
        """E(v, h), N."""
        square = h.square().sum(dim=1) / 2 if self.hidden_units == "gaussian" else 0
        return self._visible_energy(v) - (h * self.hidden_input(v)).sum(dim=1) + square

    def free_energy(self, v: Tensor, *, hidden_input: Tensor | None = None) -> Tensor:
        """F(v) = -log Σ_h exp(-E(v, h)), N. ``hidden_input`` saves computing it again."""
        a = self.hidden_input(v) if hidden_input is None else hidden_input
        return self._visible_energy(v) - self._log_sum_of_unit(a).sum(dim=1)

    def free_energy_of_hidden(self, h: Tensor) -> Tensor:
        """-log Σ_v exp(-E(v, h)), N: the free energy with the layers in each other's place."""
        own = h @ self.hidden_bias - (h.square().sum(dim=1) / 2 if self.hidden_units == "gaussian" else 0)
        a = self.visible_input(h)  # N x V
        if self.visible_units == "gaussian":  # Gaussian integrals: ∫ exp(-(v - b)²/2σ² + (a - b) v/σ²) dv
            variance = torch.exp(self.log_variance)
            integrals = (a.square() - self.visible_bias.square()) / (2 * variance) + torch.log(2 * pi * variance) / 2
            return -own - integrals.sum(dim=1)
        pixels, labels = self._split(a)
        groups = F.softplus(pixels).sum(dim=1)
        return -own - groups - (labels.logsumexp(dim=1) if self.label_units else 0)

    def pseudo_log_likelihood(self, v: Tensor, flips: Tensor) -> Tensor:
        """An unbiased estimate of Σ_i log p(v_i | all other units), N (Besag 1975).

        Args:
            v: N x V, zeros and ones.
            flips: N, the number of the one unit i that is asked for in each example.

        Raises:
            ValueError: the visible units are not plain Bernoulli ones.
        """
        if self.visible_units != "bernoulli" or self.label_units:
            raise ValueError("the pseudo-likelihood is for Bernoulli visible units without label units")
        chosen = flips[:, None]
        other = v.scatter(1, chosen, 1 - v.gather(1, chosen))
        return v.shape[1] * F.logsigmoid(self.free_energy(other) - self.free_energy(v))

    # What every model of the zoo answers to. x is N x in_shape.

    def forward(self, x: Tensor) -> Tensor:
        """N x in_shape -> N x H, the code; with label units N x K, logits of the classes."""
        return self.class_logits(x.flatten(1)) if self.label_units else self.encode(x)

    def encode(self, x: Tensor, depth: int | None = None) -> Tensor:
        """N x in_shape -> N x H, E[h | x] (depth 0: the flat input). Unknown labels leave the hidden units alone."""
        v = x.flatten(1)
        return v if depth == 0 else self.hidden_mean(F.pad(v, (0, self.label_units)))

    def reconstruct(self, x: Tensor) -> Tensor:
        """E[v | h = E[h | x]], N x in_shape."""
        return self._split(self.visible_mean(self.encode(x)))[0].unflatten(1, self.in_shape)

    @torch.no_grad()
    def sample(self, n: int, steps: int = 1000, *, labels: Tensor | None = None) -> Tensor:
        """``n`` samples, each from a Gibbs chain of its own that starts at noise: N x in_shape.

        The last step gives p(v = 1 | h) rather than zeros and ones. ``labels``: N class numbers to sample for.
        """
        return self.generate(self.gibbs(self.noise(n), steps - 1, labels=labels))

    def generate(self, v: Tensor) -> Tensor:
        """One more step from states of the visible units to means of the pixels, N x in_shape."""
        return self._split(self.visible_mean(self.sample_hidden(v)))[0].unflatten(1, self.in_shape)

    def reset_head(self, num_classes: int) -> None:
        """Replace the label units by ``num_classes`` fresh ones.

        Raises:
            ValueError: there are no label units.
        """
        if not self.label_units:
            raise ValueError("this RBM has no label units, and so no classes to replace")
        pixels = prod(self.in_shape)
        self.num_classes = self.label_units = num_classes
        with torch.no_grad():
            fresh = torch.randn(len(self.weight), num_classes).to(self.weight) * 0.01
            self.weight = nn.Parameter(torch.cat([self.weight[:, :pixels], fresh], dim=1))
            self.visible_bias = nn.Parameter(F.pad(self.visible_bias[:pixels], (0, num_classes)))

    def generative_parameters(self) -> Iterator[nn.Parameter]:
        """Those that `forward` has no use for."""
        if not self.label_units:
            yield self.visible_bias

    # Labels

    def class_logits(self, v: Tensor) -> Tensor:
        """F([v, no label]) - F([v, one-hot y]) for every class y, N x K: their softmax is p(y | v) exactly.

        v: N x pixels. Differences are taken unit by unit, since the free energies are large and nearly equal.
        """
        pixels, labels = self._split(self.weight)
        a = F.linear(v, pixels, self.hidden_bias)[:, None]  # N x 1 x H
        gain = self._log_sum_of_unit(a + labels.t()) - self._log_sum_of_unit(a)  # N x K x H
        return self._split(self.visible_bias)[1] + gain.sum(dim=2)

    def with_labels(self, v: Tensor, labels: Tensor) -> Tensor:
        """N x pixels and N class numbers -> N x V."""
        if not self.label_units:
            return v
        return torch.cat([v, F.one_hot(labels.to(v.device), self.label_units).to(v.dtype)], dim=1)

    def noise(self, n: int) -> Tensor:
        """States to start chains from, N x V: fair coins; for Gaussian units the bias plus noise."""
        shape = (n, len(self.visible_bias))
        if self.visible_units == "gaussian":
            return self.visible_bias + torch.exp(self.log_variance / 2) * torch.randn(shape).to(self.weight)
        v = torch.randint(2, shape).to(self.weight)
        classes = torch.randint(max(1, self.label_units), (n,)).to(v.device)
        return self.with_labels(self._split(v)[0], classes)

    def _holding(self, v: Tensor, labels: Tensor | None) -> Tensor:
        """v with its label units set to ``labels``, if there are any."""
        return v if labels is None else self.with_labels(self._split(v)[0], labels)

    def _split(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """Pixels and labels, of values for each visible unit."""
        pixels = v.shape[-1] - self.label_units
        return v[..., :pixels], v[..., pixels:]

    def _visible_energy(self, v: Tensor) -> Tensor:
        if self.visible_units == "bernoulli":
            with torch.autocast(v.device.type, enabled=False):  # which would round it to bfloat16
                return -(v.to(self.visible_bias.dtype) @ self.visible_bias)
        return ((v - self.visible_bias).square() * torch.exp(-self.log_variance) / 2).sum(dim=1)

    def _log_sum_of_unit(self, a: Tensor) -> Tensor:
        """log Σ_h exp(h a) over the two states of a unit; of a Gaussian one log ∫ exp(h a - h² / 2) dh."""
        a = a.to(torch.promote_types(a.dtype, torch.float32))  # free energies differ by little
        return F.softplus(a) if self.hidden_units == "bernoulli" else (a.square() + log(2 * pi)) / 2

    def extra_repr(self) -> str:
        hidden, visible = self.weight.shape
        return f"{visible} {self.visible_units} visible, {hidden} {self.hidden_units} hidden, {self.label_units} labels"


def bernoulli(p: Tensor) -> Tensor:
    """Zeros and ones with P(1) = p. Chance is drawn in float32: bfloat16 has too few values between 0 and 1."""
    return (torch.rand(p.shape, device=p.device) < p).to(p.dtype)
