"""Log-likelihood of restricted Boltzmann machines and deep belief networks: exact where it can be, else bracketed.

All that is hard is Z = Σ_v Σ_h exp(-E(v, h)). Up to 25 units on one side it is a sum over the states of that side, the
other being summed out. Beyond, annealed importance sampling (Neal 2001; Salakhutdinov & Murray 2008) walks from a model
whose Z is known, the base-rate model, to the RBM by small steps of the inverse temperature β:

    p*_β(v) = exp(-(1 - β) E_A(v)) · exp(-β E_B(v)) Π_j (1 + exp((1 - β) a_j + β (c + W v)_j))

with E_A(v) and E_B(v) what the visible units alone contribute in either model, and a_j the inputs of the base-rate
model's hidden units. The weights w it collects have the mean Z_B / Z_A; the mean of their logarithms lies below that
ratio's, so log Z comes out too low rather than too high, and the likelihood of data too high. The same walk from the
RBM down to the base-rate model errs to the other side (Burda, Grosse & Salakhutdinov 2015). Together they bracket the
truth, if the walk down begins at samples of the RBM.

The units of the base-rate model, visible and hidden, are on as often as the data have them on. (With a_j = 0 half of
the hidden ones are, as in the papers. Where in the data few are, the strong negative inputs of all the others turn the
visible units off at the first small β, and there a walk may stay: of a sparse machine it finds next to nothing of Z.)

A walk misses a mode that its base-rate model cannot see, and then both directions may agree on a Z that is too small.
So half of the chains walk from, or to, fair coins in place of those rates: both weights have the mean Z, and a mode
that either finds counts, but for a factor of 2. A machine whose chains from noise end in blotches has such a mode.
"""

from dataclasses import dataclass
from itertools import pairwise
from math import inf, log
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from zoo.models import DBN, RBM

METHODS = ("exact", "ais", "reverse_ais")
MOST_UNITS = 25  # on the side whose states are summed over
CHUNK = 2**13  # states at a time


@dataclass(frozen=True)
class Estimate:
    """log Z.

    Attributes:
        value: nats; a scalar through which gradients flow when it is exact.
        standard_error: of the value, by the delta method over the chains; 0 when exact.
        downwards: whether the chains walked from the RBM down, so that Z is divided by their mean weight.
    """

    value: Tensor
    standard_error: float
    downwards: bool = False

    @property
    def interval(self) -> tuple[float, float]:
        """Three standard errors of the mean weight to either side, carried through the logarithm: open where the
        error is a third of the mean weight or more."""
        value, spread = float(self.value.detach()), 3 * self.standard_error
        small, large = log(1 - spread) if spread < 1 else -inf, log(1 + spread)
        return (value - large, value - small) if self.downwards else (value + small, value + large)


def log_partition(
    rbm: "RBM",
    method: str = "exact",
    *,
    chains: int = 100,
    temperatures: int = 1000,
    burn_in: int = 1000,
    data: Tensor | None = None,
    coins: bool = True,
    generator: torch.Generator | None = None,
) -> Estimate:
    """log Z of a restricted Boltzmann machine, in nats.

    Args:
        rbm: the machine.
        method: exact (at most 25 Bernoulli units on either side), ais (errs to below) or reverse_ais (errs to above).
        chains: independent chains, computed side by side.
        temperatures: steps of β from 0 to 1, evenly spaced.
        burn_in: Gibbs steps before the chains of reverse_ais walk down.
        data: N x in_shape, from whose rates the first base-rate model is made, and at which part of the chains of
            reverse_ais begin. None: a base-rate model of the RBM's own visible biases, its hidden units fair coins.
        coins: whether half of the chains walk from, or to, fair coins in place of those rates; never of Gaussian units.
        generator: of chance; None for torch's global one.

    Raises:
        ValueError: an unknown method, exact for too large a machine, or annealing of Gaussian hidden units.
    """
    if method not in METHODS:
        raise ValueError(f"method={method}: choose one of: {', '.join(METHODS)}")
    if method == "exact":
        return Estimate(_exact(rbm), 0.0)
    if rbm.hidden_units != "bernoulli":
        raise ValueError(f"method={method} is for Bernoulli hidden units; this machine has {rbm.hidden_units} ones")
    if chains < 2 or temperatures < 1:
        raise ValueError(f"chains={chains}, temperatures={temperatures}: at least 2 and 1 are needed")
    walks = [_Walk(rbm, *_rates(rbm, data), generator)]
    if coins and rbm.visible_units == "bernoulli":
        walks.append(_Walk(rbm, torch.zeros_like(rbm.visible_bias), torch.zeros_like(rbm.hidden_bias), generator))
    shares = [(chains + k) // len(walks) for k in range(len(walks))]
    down = method == "reverse_ais"
    with torch.no_grad():
        betas = _betas(temperatures)[:: -1 if down else 1]
        starts = (
            _samples(walks, shares, burn_in, data)
            if down
            else [w.base_samples(n) for w, n in zip(walks, shares, strict=True)]
        )
        sign = -1 if down else 1  # the mean weight of a chain that walks down is Z_A / Z_B
        weights = [sign * w.base_log_partition() + w.run(v, betas)[1] for w, v in zip(walks, starts, strict=True)]
        log_weights = torch.cat(weights)  # of every chain, its estimate of log Z, or of -log Z
        mean = log_weights.logsumexp(dim=0) - log(chains)
        ratios = (log_weights - mean).exp()  # mean 1
        return Estimate(sign * mean, float(ratios.std() / chains**0.5), downwards=down)


def log_likelihood(
    model: "RBM | DBN",
    v: Tensor,
    *,
    log_z: Tensor | float | None = None,
    samples: int = 20,
    generator: torch.Generator | None = None,
) -> Tensor:
    """log p(v) of each example, in nats, N: exactly for an RBM, a lower bound for a DBN.

    With label units it is that of the pixels, labels summed out. The bound of a DBN is the logarithm of the mean of
    p(v, h) / q(h | v) over ``samples`` draws of h from the recognition conditionals (Salakhutdinov & Murray 2008,
    section 5; a mean of several weights is never the worse bound, Burda, Grosse & Salakhutdinov 2016).

    Args:
        model: the machine, or the stack of them.
        v: N x in_shape; for Bernoulli units zeros and ones, since probabilities are of those alone.
        log_z: log Z of the RBM, or of the DBN's top one; None computes it exactly.
        samples: draws of the hidden layers for each example of a DBN.
        generator: of chance; None for torch's global one.

    Raises:
        ValueError: values other than 0 and 1 for Bernoulli units; or as `log_partition` where ``log_z`` is None.
    """
    layers = getattr(model, "layers", None)
    lowest, top = (model, model) if layers is None else (layers[0], layers[-1])
    v = v.flatten(1)
    if lowest.visible_units == "bernoulli" and not ((v == 0) | (v == 1)).all():
        raise ValueError("log-likelihood of Bernoulli units is for zeros and ones: binarise the data first")
    if log_z is None:
        log_z = _exact(top)  # type: ignore[arg-type]
    if layers is None or len(layers) == 1:
        return _unnormalised(top, v) - log_z  # type: ignore[arg-type]
    chance = _Chance(generator)
    weights = torch.stack([_log_weight(model, v, chance) for _ in range(samples)])  # type: ignore[arg-type]
    return weights.logsumexp(dim=0) - log(samples) - log_z


def binarise(x: Tensor, *, seed: int = 0) -> Tensor:
    """Zeros and ones with the values of x, within 0 to 1, as probabilities: the same at every call."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(x.shape, generator=generator).to(x.device) < x).to(x.dtype)


def _log_weight(model: "DBN", v: Tensor, chance: "_Chance") -> Tensor:
    """log p*(v, h) - log q(h | v) for one h ~ q, N: all but log Z of the top."""
    total, below = torch.zeros(len(v), dtype=v.dtype, device=v.device), v
    for k in range(len(model.layers) - 1):
        logits = model.recognition_input(below, k)
        above = chance.bernoulli(torch.sigmoid(logits))
        total = total - _log_bernoulli(logits, above)
        rbm = model.rbm(k)
        if rbm.visible_units == "bernoulli":
            total = total + _log_bernoulli(rbm.visible_input(above), below)
        else:
            variance = rbm.log_variance.exp()
            error = (below - rbm.visible_mean(above)).square() / variance
            total = total - (error + torch.log(2 * torch.pi * variance)).sum(dim=1) / 2
        below = above
    return total + _unnormalised(model.top, below)


def _unnormalised(rbm: "RBM", v: Tensor) -> Tensor:
    """log Σ_h [Σ_labels] exp(-E), N."""
    if not rbm.label_units:
        return -rbm.free_energy(v)
    no_label = F.pad(v, (0, rbm.label_units))
    return rbm.class_logits(v).logsumexp(dim=1) - rbm.free_energy(no_label)


def _log_bernoulli(logits: Tensor, states: Tensor) -> Tensor:
    """log p(states), N."""
    return -F.binary_cross_entropy_with_logits(logits, states, reduction="none").sum(dim=1)


def _exact(rbm: "RBM") -> Tensor:
    hidden, visible = rbm.weight.shape
    pixels = visible - rbm.label_units
    by_hidden = rbm.hidden_units == "bernoulli" and hidden <= MOST_UNITS
    by_visible = rbm.visible_units == "bernoulli" and pixels <= MOST_UNITS
    if not (by_hidden or by_visible):
        raise ValueError(
            f"exact log Z sums over 2^n states, n at most {MOST_UNITS} Bernoulli units on one side; this machine has "
            f"{pixels} {rbm.visible_units} visible and {hidden} {rbm.hidden_units} hidden ones: use method='ais'"
            + (", for Bernoulli hidden units" if rbm.hidden_units == "gaussian" else "")
        )
    units = hidden if by_hidden and (hidden <= pixels or not by_visible) else pixels
    total = []
    for first in range(0, 2**units, CHUNK):
        numbers = torch.arange(first, min(first + CHUNK, 2**units), device=rbm.weight.device)
        states = ((numbers[:, None] >> torch.arange(units, device=numbers.device)) & 1).to(rbm.weight.dtype)
        if units == hidden and by_hidden:
            total.append((-rbm.free_energy_of_hidden(states)).logsumexp(dim=0))
        else:
            total.append(_unnormalised(rbm, states).logsumexp(dim=0))
    return torch.stack(total).logsumexp(dim=0)


class _Chance:
    """Draws from one generator, or from torch's own."""

    def __init__(self, generator: torch.Generator | None):
        self.generator = generator

    def uniform(self, like: Tensor) -> Tensor:
        return torch.rand(like.shape, generator=self.generator, device=like.device)

    def normal(self, like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=self.generator, device=like.device, dtype=like.dtype)

    def bernoulli(self, mean: Tensor) -> Tensor:
        return (self.uniform(mean) < mean).to(mean.dtype)

    def multinomial(self, weights: Tensor, n: int) -> Tensor:
        return torch.multinomial(weights, n, replacement=True, generator=self.generator)

    def one_hot(self, logits: Tensor) -> Tensor:
        """From softmax(logits), by the greatest of logits + Gumbel noise."""
        gumbel = -torch.log(-torch.log(self.uniform(logits).clamp(1e-12, 1 - 1e-7)))
        return F.one_hot((logits + gumbel.to(logits)).argmax(dim=1), logits.shape[1]).to(logits.dtype)


def _betas(temperatures: int) -> list[float]:
    return torch.linspace(0, 1, temperatures + 1, dtype=torch.float64).tolist()


@torch.no_grad()
def _rates(rbm: "RBM", data: Tensor | None) -> tuple[Tensor, Tensor]:
    """The visible and the hidden inputs of a model without weights, whose units are on as often as the data have them
    on; or the RBM's own visible biases and hidden coins."""
    if data is None:
        return rbm.visible_bias.detach(), torch.zeros_like(rbm.hidden_bias)

    def logits(p: Tensor) -> Tensor:
        """Of the units' rates, no unit being for certain on or off."""
        return torch.logit((p.mean(dim=0) * len(p) + 1) / (len(p) + 2))

    v = data.flatten(1).to(rbm.weight)
    visible = logits(v) if rbm.visible_units == "bernoulli" else v.mean(dim=0)
    if rbm.label_units:
        labels = rbm.class_logits(v).softmax(dim=1)
        v, visible = torch.cat([v, labels], dim=1), torch.cat([visible, (labels.sum(dim=0) + 1).log()])
    return visible, logits(torch.sigmoid(rbm.hidden_input(v)))


def _samples(walks: list["_Walk"], shares: list[int], burn_in: int, data: Tensor | None) -> list[Tensor]:
    """Samples of the RBM, so many for each walk: the ends of walks up, or data in place of the first one's, drawn by
    their weights and moved on by ``burn_in`` Gibbs steps."""
    ends, log_weights = [], []
    for walk in walks:
        v, weights = walk.run(walk.base_samples(sum(shares)), _betas(max(1, burn_in)))
        weights = weights + walk.base_log_partition()
        if data is not None and walk is walks[0]:
            v, weights = walk.at(data, len(v)), weights.logsumexp(dim=0).sub(log(len(v))).expand(len(v))
        ends.append(v)
        log_weights.append(weights)
    picked = walks[0].chance.multinomial(torch.cat(log_weights).softmax(dim=0), sum(shares))
    v = torch.cat(ends)[picked]
    for _ in range(burn_in):
        v = walks[0].step(walks[0].rbm.hidden_input(v), 1.0)
    return list(v.split(shares))


class _Walk:
    """The distributions between a base-rate model (β = 0) and the RBM (β = 1), and chains that walk along them."""

    def __init__(self, rbm: "RBM", base: Tensor, hidden: Tensor, generator: torch.Generator | None):
        self.rbm, self.base, self.hidden, self.chance = rbm, base, hidden, _Chance(generator)
        self.pixels = rbm.weight.shape[1] - rbm.label_units
        self.variance = rbm.log_variance.exp() if rbm.visible_units == "gaussian" else None

    def run(self, v: Tensor, betas: list[float]) -> tuple[Tensor, Tensor]:
        """The chains after the whole walk, and log w of each, N."""
        log_weights = torch.zeros(len(v), dtype=torch.float64, device=v.device)
        for now, then in pairwise(betas):
            a = self.rbm.hidden_input(v)
            log_weights += (self._log_p(v, a, then) - self._log_p(v, a, now)).double()
            if then not in (0.0, 1.0):  # at the end nothing is left to be weighed
                v = self.step(a, then)
        return v, log_weights

    def base_log_partition(self) -> Tensor:
        """log Z_A: all units by themselves."""
        pixels, labels, hidden = self.base[: self.pixels], self.base[self.pixels :], F.softplus(self.hidden).sum()
        if self.variance is not None:
            return torch.log(2 * torch.pi * self.variance).sum() / 2 + hidden
        return F.softplus(pixels).sum() + (labels.logsumexp(dim=0) if len(labels) else 0) + hidden

    def base_samples(self, n: int) -> Tensor:
        return self._visible(self.base.expand(n, -1))

    def at(self, data: Tensor, n: int) -> Tensor:
        """Chains that begin at examples."""
        picked = (self.chance.uniform(torch.empty(n, device=data.device)) * len(data)).long()
        v = data[picked].flatten(1).to(self.base)
        if self.variance is None:
            v = self.chance.bernoulli(v)
        if self.rbm.label_units:
            v = torch.cat([v, self.chance.one_hot(self.rbm.class_logits(v))], dim=1)
        return v

    def step(self, a: Tensor, beta: float) -> Tensor:
        """v' ~ p_β(v | h), h ~ p_β(h | v), given the hidden inputs c + W v."""
        h = self.chance.bernoulli(torch.sigmoid(torch.lerp(self.hidden, a, beta)))
        own = (1 - beta) * self.base + beta * self.rbm.visible_bias
        return self._visible(torch.addmm(own, h, self.rbm.weight, alpha=beta))

    def _visible(self, inputs: Tensor) -> Tensor:
        if self.variance is not None:
            return inputs + self.variance.sqrt() * self.chance.normal(inputs)
        v = self.chance.bernoulli(torch.sigmoid(inputs[:, : self.pixels]))
        return torch.cat([v, self.chance.one_hot(inputs[:, self.pixels :])], dim=1) if self.rbm.label_units else v

    def _log_p(self, v: Tensor, a: Tensor, beta: float) -> Tensor:
        """log p*_β(v), N."""
        if self.variance is None:
            own = v @ ((1 - beta) * self.base + beta * self.rbm.visible_bias)
        else:
            base, rbm = ((v - b).square() / (2 * self.variance) for b in (self.base, self.rbm.visible_bias))
            own = -((1 - beta) * base + beta * rbm).sum(dim=1)
        return own + F.softplus(torch.lerp(self.hidden, a, beta)).sum(dim=1)
