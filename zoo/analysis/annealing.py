"""Annealed importance sampling of the partition function Z of an RBM (Neal 2001; Salakhutdinov & Murray 2008).

Chains go from a base-rate model A, whose Z is known, to the RBM B in small steps of the inverse temperature β:

    p*_β(v) = exp(-(1 - β) E_A(v)) · exp(-β E_B(v)) Π_j (1 + exp((1 - β) a_j + β (c + W v)_j))

with E_A(v) and E_B(v) the terms of the visible units in the two models, and a_j the pre-activations of the hidden units
in the base-rate model. The weights that the chains collect have the mean Z_B / Z_A. The expected logarithm of their
average is lower than log (Z_B / Z_A) by Jensen's inequality, so log Z tends to be too low and the likelihood of data
too high. Chains from the RBM down to the base-rate model err in the opposite direction (Burda, Grosse & Salakhutdinov
2015). So the two estimates bracket log Z in expectation, provided that the chains down start at samples of the RBM.

In the base-rate model, each visible and hidden unit is on as often as it is for the data, if data are given. The papers
set a_j = 0, so that half of the hidden units are on. That fails for a sparse RBM, in which few hidden units are on for
the data: at the first small β, the many other ones turn the visible units off through their negative weights. A chain
may stay in such states, and its estimate of Z is then far too small.

Chains miss a mode to which their base-rate model gives almost no probability. Then both directions may agree on a Z
that is too small. So, with Bernoulli visible units and ``coins``, half of the chains use a uniform base-rate model, in
which every unit is on with probability 1/2. The weights of both halves have the mean Z, so a mode that only one half
finds still contributes half of its weight. An RBM has such a mode if its chains that start from noise end in states
unlike the data.

Imports torch and the zoo's models only.

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
    # One path for each base-rate model, with about the same number of chains on each.
    paths = [_Path(rbm, *_rates(rbm, data), generator)]
    if coins and rbm.visible.binary:
        visible = torch.zeros_like(rbm.visible_bias)
        hidden = torch.zeros_like(rbm.hidden_bias)
        paths.append(_Path(rbm, visible, hidden, generator))
    shares = [(chains + k) // len(paths) for k in range(len(paths))]

    # The start of the chains, and their direction.
    if down:
        betas = _betas(temperatures)[::-1]
        starts = _samples(paths, shares, burn_in, data)
        sign = -1  # the mean weight of a chain that goes down is Z_A / Z_B
    else:
        betas = _betas(temperatures)
        starts = [path.base_samples(share) for path, share in zip(paths, shares, strict=True)]
        sign = 1

    # Collect the weights, multiplied by the partition function of the base-rate model.
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
    """The visible pre-activations (V) and hidden pre-activations (H) of a base-rate model, which has no weights.

    Its units have the mean activations of the data. Without data it has the visible biases of the RBM, and hidden units
    that are on with probability 1/2.
    """
    if data is None:
        return rbm.visible_bias.detach(), torch.zeros_like(rbm.hidden_bias)

    def logits(p: Tensor) -> Tensor:
        """The logits of the mean of p, N x U, smoothed so that no probability is 0 or 1."""
        return torch.logit((p.mean(dim=0) * len(p) + 1) / (len(p) + 2))

    # Bernoulli units: the logits of the rates; Gaussian units: the means.
    v = data.flatten(1).to(rbm.weight)  # N x pixels
    visible = logits(v) if rbm.visible.binary else v.mean(dim=0)
    if rbm.label_units:
        # The data have no labels: use the class probabilities of the RBM.
        labels = rbm.class_logits(v).softmax(dim=1)  # N x K
        v = torch.cat([v, labels], dim=1)
        visible = torch.cat([visible, (labels.sum(dim=0) + 1).log()])
    return visible, logits(torch.sigmoid(rbm.hidden_input(v)))


def _samples(paths: list["_Path"], shares: list[int], burn_in: int, data: Tensor | None) -> list[Tensor]:
    """Samples of the RBM, the given number for each path.

    Chains are annealed up to the RBM, resampled by their weights, and run for ``burn_in`` Gibbs steps. If there are
    data, they replace the states of the first path before the resampling.
    """
    # Run chains from every base-rate model up to the RBM; their ends are resampled by their weights.
    first = paths[0]
    total = sum(shares)
    ends = []
    weights = []
    for path in paths:
        v, collected = path.run(path.base_samples(total), _betas(max(1, burn_in)))
        collected = collected + path.base_log_partition()
        if data is not None and path is first:
            # The data share the total weight of the chains that they replace.
            v = first.data_samples(data, total)
            collected = collected.logsumexp(dim=0).sub(log(total)).expand(total)
        ends.append(v)
        weights.append(collected)

    # Resample all ends by weight, then run Gibbs sampling so that they no longer depend on their path.
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
        visible: V, the visible pre-activations of the base-rate model.
        hidden: H, its hidden pre-activations.
        generator: random number generator; None for torch's global one.
    """

    def __init__(self, rbm: RBM, visible: Tensor, hidden: Tensor, generator: torch.Generator | None):
        self.rbm = rbm
        self.visible = visible
        self.hidden = hidden
        self.generator = generator

    def run(self, v: Tensor, betas: list[float]) -> tuple[Tensor, Tensor]:
        """The states of the chains after all ``betas``, N x V, and the log weight of each chain, N."""
        log_weights = torch.zeros(len(v), dtype=torch.float64, device=v.device)
        for beta, next_beta in pairwise(betas):
            # Multiply the weights by the ratio of the probabilities of the states at the two temperatures.
            a = self.rbm.hidden_input(v)  # N x H
            energies = self._visible_energies(v)
            log_weights += (self._log_p(energies, a, next_beta) - self._log_p(energies, a, beta)).double()
            # One Gibbs step at the next temperature, except at the end of the path, where no weight follows.
            if next_beta not in (0.0, 1.0):
                v = self.step(a, next_beta)
        return v, log_weights

    def base_log_partition(self) -> Tensor:
        """log Z_A, a product over units, since all of them are independent."""
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
        """Draw h ~ p_β(h | v), given the hidden pre-activations a of v, then v' ~ p_β(v | h); returns v', N x V."""
        h = bernoulli(torch.sigmoid(torch.lerp(self.hidden, a, beta)), generator=self.generator)  # N x H
        bias = (1 - beta) * self.visible + beta * self.rbm.visible_bias
        inputs = torch.addmm(bias, h, self.rbm.weight, alpha=beta)  # N x V
        return self.rbm.visible.sample(inputs, generator=self.generator)

    def _visible_energies(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """E_A(v) and E_B(v), N each."""
        energy = self.rbm.visible.energy
        return energy(v, self.visible), energy(v, self.rbm.visible_bias)

    def _log_p(self, energies: tuple[Tensor, Tensor], a: Tensor, beta: float) -> Tensor:
        """log p*_β(v), N, given ``energies`` E_A(v) and E_B(v), and the hidden pre-activations a of v."""
        base, rbm = energies
        return F.softplus(torch.lerp(self.hidden, a, beta)).sum(dim=1) - ((1 - beta) * base + beta * rbm)
