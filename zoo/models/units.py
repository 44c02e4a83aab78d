"""The kinds of units of an RBM: how the units of one layer behave, given the inputs that they receive.

Each kind is a small object without parameters that answers the questions of `Units`. An RBM asks its two
layers and never what kind they are. `boltzmann.py` shows how the answers combine. Imports torch only.

    kind              states              energy(u, bias)        p(u | a)
    Bernoulli         0 or 1              -u·b                   on with probability sigmoid(a)
    Gaussian          real                Σ u²/2 - u·b           normal, mean a, variance 1
    ScaledGaussian    real                Σ (u - b)²/2σ²         normal, mean a, variance σ²
    Softmax           one of K is on      -u·b                   unit k is on with probability softmax(a)_k
    WithLabels        Bernoulli units, then one Softmax group

Shapes: N examples, U units of the layer, K units of a label group. a, the inputs, is N x U and includes the bias.
"""

from math import log, pi
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor


class Units(Protocol):
    """One layer of units of an RBM: the distribution of their states u, given their inputs a.

    The distribution is p(u | a) = exp(signal(u)·(a - bias) - energy(u, bias)) / Σ_u exp(…), where a is the bias plus
    what the other layer sends. ``binary``: whether states are zeros and ones, and means lie in [0, 1].
    """

    @property
    def binary(self) -> bool: ...

    def mean(self, a: Tensor) -> Tensor:
        """E[u | a], N x U."""
        ...

    def sample(self, a: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """u ~ p(u | a), N x U."""
        ...

    def signal(self, u: Tensor) -> Tensor:
        """What the units send through the weights to the other layer, N x U."""
        ...

    def energy(self, u: Tensor, bias: Tensor) -> Tensor:
        """The term of the energy that concerns these units alone, N."""
        ...

    def log_sum(self, a: Tensor, bias: Tensor) -> Tensor:
        """log Σ_u exp(signal(u)·(a - bias) - energy(u, bias)): one value for each independent unit or group, N x G."""
        ...

    def log_prob(self, u: Tensor, a: Tensor) -> Tensor:
        """log p(u | a), N."""
        ...

    def noise(self, n: int, bias: Tensor) -> Tensor:
        """States to start Gibbs chains from, n x U."""
        ...


class Bernoulli:
    """Units that are 0 or 1, independently of each other."""

    binary = True

    def mean(self, a: Tensor) -> Tensor:
        return torch.sigmoid(a)

    def sample(self, a: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        return bernoulli(torch.sigmoid(a), generator=generator)

    def signal(self, u: Tensor) -> Tensor:
        return u

    def energy(self, u: Tensor, bias: Tensor) -> Tensor:
        # Autocast would round the product to bfloat16, and free energies differ by little.
        with torch.autocast(u.device.type, enabled=False):
            return -(u.to(bias.dtype) @ bias)

    def log_sum(self, a: Tensor, bias: Tensor) -> Tensor:
        # log(exp(0) + exp(a)), N x U
        return F.softplus(_at_least_float32(a))

    def log_prob(self, u: Tensor, a: Tensor) -> Tensor:
        return -F.binary_cross_entropy_with_logits(a, u, reduction="none").sum(dim=1)

    def noise(self, n: int, bias: Tensor) -> Tensor:
        # Fair coins. The class that label units would be given is drawn in any case, so that a seed gives the same
        # chains with and without label units.
        v = torch.randint(2, (n, len(bias))).to(bias)
        torch.randint(1, (n,))
        return v


class Gaussian:
    """Real units of variance 1: the linear code of Hinton & Salakhutdinov 2006."""

    binary = False

    def mean(self, a: Tensor) -> Tensor:
        return a

    def sample(self, a: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        return a + _normal(a, generator)

    def signal(self, u: Tensor) -> Tensor:
        return u

    def energy(self, u: Tensor, bias: Tensor) -> Tensor:
        return u.square().sum(dim=1) / 2 - u @ bias

    def log_sum(self, a: Tensor, bias: Tensor) -> Tensor:
        # log ∫ exp(u a - u²/2) du, N x U
        return (_at_least_float32(a).square() + log(2 * pi)) / 2

    def log_prob(self, u: Tensor, a: Tensor) -> Tensor:
        return -((u - a).square() + log(2 * pi)).sum(dim=1) / 2

    def noise(self, n: int, bias: Tensor) -> Tensor:
        return bias + torch.randn(n, len(bias)).to(bias)


class HasVariance(Protocol):
    """What holds the variances of Gaussian units."""

    log_variance: Tensor  # U


class ScaledGaussian:
    """Real units, each with a variance σ² of its own (Cho, Ilin & Raiko 2011).

    Args:
        owner: holds log σ², as a parameter or a buffer that moves between devices with it. The units look it up every
            time, and so always see the present one.
    """

    binary = False

    def __init__(self, owner: HasVariance):
        self.owner = owner

    def mean(self, a: Tensor) -> Tensor:
        return a

    def sample(self, a: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        return a + torch.exp(self.owner.log_variance / 2) * _normal(a, generator)

    def signal(self, u: Tensor) -> Tensor:
        return u * torch.exp(-self.owner.log_variance)

    def energy(self, u: Tensor, bias: Tensor) -> Tensor:
        return ((u - bias).square() * torch.exp(-self.owner.log_variance) / 2).sum(dim=1)

    def log_sum(self, a: Tensor, bias: Tensor) -> Tensor:
        # log ∫ exp((a - b) u/σ² - (u - b)²/2σ²) du, N x U
        variance = torch.exp(self.owner.log_variance)
        return (a.square() - bias.square()) / (2 * variance) + torch.log(2 * pi * variance) / 2

    def log_prob(self, u: Tensor, a: Tensor) -> Tensor:
        variance = torch.exp(self.owner.log_variance)
        return -((u - a).square() / variance + torch.log(2 * pi * variance)).sum(dim=1) / 2

    def noise(self, n: int, bias: Tensor) -> Tensor:
        # As if the other layer were off.
        return bias + torch.exp(self.owner.log_variance / 2) * torch.randn(n, len(bias)).to(bias)


class Softmax:
    """A group of units of which exactly one is on: the classes."""

    binary = True

    def mean(self, a: Tensor) -> Tensor:
        return a.softmax(dim=1)

    def sample(self, a: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        p = a.softmax(dim=1)
        classes = torch.multinomial(p.float(), 1, generator=generator).flatten()  # N
        return F.one_hot(classes, a.shape[1]).to(p.dtype)

    def signal(self, u: Tensor) -> Tensor:
        return u

    def energy(self, u: Tensor, bias: Tensor) -> Tensor:
        return Bernoulli().energy(u, bias)

    def log_sum(self, a: Tensor, bias: Tensor) -> Tensor:
        # log Σ_k exp(a_k): the whole group is one term, N x 1
        return _at_least_float32(a).logsumexp(dim=1, keepdim=True)

    def log_prob(self, u: Tensor, a: Tensor) -> Tensor:
        return (u * a.log_softmax(dim=1)).sum(dim=1)

    def noise(self, n: int, bias: Tensor) -> Tensor:
        classes = torch.randint(len(bias), (n,)).to(bias.device)
        return F.one_hot(classes, len(bias)).to(bias.dtype)


class WithLabels:
    """Bernoulli units, followed by a group of label units (Hinton, Osindero & Teh 2006).

    Args:
        num_labels: the number of label units, K; all units in front of them are Bernoulli units.
    """

    binary = True

    def __init__(self, num_labels: int):
        self.num_labels = num_labels
        self.pixels = Bernoulli()
        self.labels = Softmax()

    def split(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """The values of the Bernoulli units and those of the label units."""
        return u[..., : -self.num_labels], u[..., -self.num_labels :]

    def mean(self, a: Tensor) -> Tensor:
        pixels, labels = self.split(a)
        return torch.cat([self.pixels.mean(pixels), self.labels.mean(labels)], dim=1)

    def sample(self, a: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        pixels, labels = self.split(a)
        drawn = self.pixels.sample(pixels, generator=generator)
        drawn_labels = self.labels.sample(labels, generator=generator)
        return torch.cat([drawn, drawn_labels], dim=1)

    def signal(self, u: Tensor) -> Tensor:
        return u

    def energy(self, u: Tensor, bias: Tensor) -> Tensor:
        return self.pixels.energy(u, bias)  # -u·b for both kinds

    def log_sum(self, a: Tensor, bias: Tensor) -> Tensor:
        # One term for each Bernoulli unit, then one for the whole group: N x (U - K + 1)
        pixels, labels = self.split(a)
        return torch.cat([self.pixels.log_sum(pixels, bias), self.labels.log_sum(labels, bias)], dim=1)

    def log_prob(self, u: Tensor, a: Tensor) -> Tensor:
        (u_pixels, u_labels), (a_pixels, a_labels) = self.split(u), self.split(a)
        return self.pixels.log_prob(u_pixels, a_pixels) + self.labels.log_prob(u_labels, a_labels)

    def noise(self, n: int, bias: Tensor) -> Tensor:
        # Coins are drawn for the label units too and then replaced, which keeps the random stream as it always was.
        coins, _ = self.split(torch.randint(2, (n, len(bias))).to(bias))
        return torch.cat([coins, self.labels.noise(n, bias[-self.num_labels :])], dim=1)


def bernoulli(p: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
    """Zeros and ones with P(1) = p. Random numbers are float32, since bfloat16 has too few values in [0, 1]."""
    return (torch.rand(p.shape, generator=generator, device=p.device) < p).to(p.dtype)


def _normal(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Standard normal numbers of the same shape, type and device."""
    return torch.randn(like.shape, generator=generator, device=like.device, dtype=like.dtype)


def _at_least_float32(a: Tensor) -> Tensor:
    """Under autocast a is bfloat16, which is too coarse for free energies: they differ by little."""
    return a.to(torch.promote_types(a.dtype, torch.float32))
