"""Annealed importance sampling of the partition function Z of an RBM (Neal 2001; Salakhutdinov & Murray 2008).

Chains go from a base-rate model A, whose Z is known, to the RBM B by small steps of the inverse temperature β:

    p*_β(v) = exp(-(1 - β) E_A(v)) · exp(-β E_B(v)) Π_j (1 + exp((1 - β) a_j + β (c + W v)_j))

with E_A(v) and E_B(v) the contributions of the visible units alone in either model, and a_j the inputs of the base-rate
model's hidden units. The weights w that a chain collects have the mean Z_B / Z_A. The mean of their logarithms lies
below the logarithm of that mean, so log Z comes out too low rather than too high, and the likelihood of data too high.
The same way from the RBM down to the base-rate model errs to the other side (Burda, Grosse & Salakhutdinov 2015).
Together they bracket the truth, if the chains down start at samples of the RBM.

The units of the base-rate model, visible and hidden, are on as often as they are for the data. (With a_j = 0 half of
the hidden ones are on, as in the papers. If few are on for the data, the strong negative inputs of all the others turn
the visible units off at the first small β, and a chain may stay there: for a sparse RBM it finds almost nothing of Z.)

Chains miss a mode that their base-rate model cannot see, and then both directions may agree on a Z that is too small.
So half of the chains start from, or go to, fair coins instead of those rates: both weights have the mean Z, and a mode
that either half finds is counted, except for a factor of 2. An RBM whose chains from noise end in blotches has such a
mode. Imports torch and the zoo's models only.

Shapes: N chains, V visible and H hidden units.
"""

from itertools import pairwise
from math import log

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.models.rbm import RBM
from zoo.models.units import bernoulli


@torch.no_grad()
def log_weights(
    rbm: RBM,
    *,
    down: bool,
    chains: int,
    temperatures: int,
    burn_in: int,
    data: Tensor | None,
    coins: bool,
    generator: torch.Generator | None,
) -> Tensor:
    """The log weight of every chain: each estimates log Z, or -log Z if the chains go ``down``.

    Args:
        rbm: the RBM, of Bernoulli hidden units.
        down: whether the chains go from the RBM to the base-rate model.
        chains, temperatures, burn_in, data, coins, generator: as for `zoo.analysis.likelihood.log_partition`.

    Returns:
        N = ``chains`` values in float64.
    """
    # One path for each base-rate model, and about equally many chains on each.
    paths = [_Path(rbm, *_rates(rbm, data), generator)]
    if coins and rbm.visible.binary:
        visible = torch.zeros_like(rbm.visible_bias)
        hidden = torch.zeros_like(rbm.hidden_bias)
        paths.append(_Path(rbm, visible, hidden, generator))
    shares = [(chains + k) // len(paths) for k in range(len(paths))]

    # Where the chains start, and in which direction they go.
    if down:
        betas = _betas(temperatures)[::-1]
        starts = _samples(paths, shares, burn_in, data)
        sign = -1  # the mean weight of a chain that goes down is Z_A / Z_B
    else:
        betas = _betas(temperatures)
        starts = [path.base_samples(share) for path, share in zip(paths, shares, strict=True)]
        sign = 1

    # Collect the weights, each times the partition function of its base-rate model.
    weights = []
    for path, v in zip(paths, starts, strict=True):
        _, collected = path.run(v, betas)
        weights.append(sign * path.base_log_partition() + collected)
    return torch.cat(weights)


def _betas(temperatures: int) -> list[float]:
    """Inverse temperatures from 0 to 1, evenly spaced."""
    betas: list[float] = torch.linspace(0, 1, temperatures + 1, dtype=torch.float64).tolist()
    return betas


def _rates(rbm: RBM, data: Tensor | None) -> tuple[Tensor, Tensor]:
    """The visible inputs (V) and hidden inputs (H) of a base-rate model, which has no weights.

    Its units are on as often as they are for the data; without data it has the RBM's own visible biases and fair coins
    as hidden units.
    """
    if data is None:
        return rbm.visible_bias.detach(), torch.zeros_like(rbm.hidden_bias)

    def logits(p: Tensor) -> Tensor:
        """Of the mean of p, N x U, smoothed so that no unit is certainly on or off."""
        return torch.logit((p.mean(dim=0) * len(p) + 1) / (len(p) + 2))

    # Bernoulli units: the logits of the rates; Gaussian units: the means.
    v = data.flatten(1).to(rbm.weight)  # N x pixels
    visible = logits(v) if rbm.visible.binary else v.mean(dim=0)
    if rbm.label_units:
        # The data have no labels: take what the RBM says of them.
        labels = rbm.class_logits(v).softmax(dim=1)  # N x K
        v = torch.cat([v, labels], dim=1)
        visible = torch.cat([visible, (labels.sum(dim=0) + 1).log()])
    return visible, logits(torch.sigmoid(rbm.hidden_input(v)))


def _samples(paths: list["_Path"], shares: list[int], burn_in: int, data: Tensor | None) -> list[Tensor]:
    """Samples of the RBM, the given number for each path.

    They are the ends of chains that go up, or data in place of those of the first path, drawn by their weights and
    moved by ``burn_in`` Gibbs steps.
    """
    # Chains from every base-rate model up to the RBM; their weights say how much each end counts.
    first = paths[0]
    total = sum(shares)
    ends = []
    weights = []
    for path in paths:
        v, collected = path.run(path.base_samples(total), _betas(max(1, burn_in)))
        collected = collected + path.base_log_partition()
        if data is not None and path is first:
            # The data share the weight of the chains that they replace.
            v = first.data_samples(data, total)
            collected = collected.logsumexp(dim=0).sub(log(total)).expand(total)
        ends.append(v)
        weights.append(collected)

    # Draw from all of them by weight, then let Gibbs sampling forget where they came from.
    p = torch.cat(weights).softmax(dim=0)
    picked = torch.multinomial(p, total, replacement=True, generator=first.generator)
    v = torch.cat(ends)[picked]
    for _ in range(burn_in):
        v = first.step(first.rbm.hidden_input(v), 1.0)
    return list(torch.split(v, shares))


class _Path:
    """The distributions between a base-rate model (β = 0) and the RBM (β = 1), and chains that go along them.

    Args:
        rbm: the RBM.
        visible: V, the visible inputs of the base-rate model.
        hidden: H, its hidden inputs.
        generator: random number generator; None for torch's global one.
    """

    def __init__(self, rbm: RBM, visible: Tensor, hidden: Tensor, generator: torch.Generator | None):
        self.rbm = rbm
        self.visible = visible
        self.hidden = hidden
        self.generator = generator

    def run(self, v: Tensor, betas: list[float]) -> tuple[Tensor, Tensor]:
        """The chains after all of ``betas``, N x V, and the log weight of each, N."""
        log_weights = torch.zeros(len(v), dtype=torch.float64, device=v.device)
        for now, then in pairwise(betas):
            # Weigh the states by how much more probable they are at the next temperature.
            a = self.rbm.hidden_input(v)  # N x H
            own = self._visible_terms(v)
            log_weights += (self._log_p(own, a, then) - self._log_p(own, a, now)).double()
            # Move the states at that temperature; at the end nothing is left to be weighed.
            if then not in (0.0, 1.0):
                v = self.step(a, then)
        return v, log_weights

    def base_log_partition(self) -> Tensor:
        """log Z_A: all units are independent."""
        visible = self.rbm.visible.log_sum(self.visible[None], self.visible).sum()
        return visible + F.softplus(self.hidden).sum()

    def base_samples(self, n: int) -> Tensor:
        """Samples of the visible units of the base-rate model, n x V."""
        return self.rbm.visible.sample(self.visible.expand(n, -1), generator=self.generator)

    def data_samples(self, data: Tensor, n: int) -> Tensor:
        """States that start at examples of the data, n x V."""
        picked = torch.rand(n, generator=self.generator, device=data.device) * len(data)
        v = data[picked.long()].flatten(1).to(self.visible)
        if self.rbm.visible.binary:
            v = bernoulli(v, generator=self.generator)
        if self.rbm.label_units:
            p = self.rbm.class_logits(v).softmax(dim=1)  # n x K
            labels = torch.multinomial(p, 1, generator=self.generator).flatten()
            v = self.rbm.with_labels(v, labels)
        return v

    def step(self, a: Tensor, beta: float) -> Tensor:
        """h ~ p_β(h | v), given the hidden inputs a = c + W v, then v' ~ p_β(v | h)."""
        h = bernoulli(torch.sigmoid(torch.lerp(self.hidden, a, beta)), generator=self.generator)  # N x H
        bias = (1 - beta) * self.visible + beta * self.rbm.visible_bias
        inputs = torch.addmm(bias, h, self.rbm.weight, alpha=beta)  # N x V
        return self.rbm.visible.sample(inputs, generator=self.generator)

    def _visible_terms(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """E_A(v) and E_B(v), N each."""
        energy = self.rbm.visible.energy
        return energy(v, self.visible), energy(v, self.rbm.visible_bias)

    def _log_p(self, own: tuple[Tensor, Tensor], a: Tensor, beta: float) -> Tensor:
        """log p*_β(v), N, given E_A(v) and E_B(v) and the hidden inputs."""
        base, rbm = own
        return F.softplus(torch.lerp(self.hidden, a, beta)).sum(dim=1) - ((1 - beta) * base + beta * rbm)
