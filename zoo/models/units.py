"""The kinds of units of an RBM: the distribution of the states of one layer, given its pre-activations.

Each kind is a class without parameters that implements `zoo.protocols.Units`. `boltzmann.py` computes the conditionals
and energies of an RBM through this protocol alone. Imports torch and `zoo.protocols` only.

    kind              states              energy(u, bias)        p(u | a)
    Bernoulli         0 or 1              -u·b                   on with probability sigmoid(a)
    Gaussian          real                Σ u²/2 - u·b           normal, mean a, variance 1
    ScaledGaussian    real                Σ (u - b)²/2σ²         normal, mean a, variance σ²
    Softmax           one of K is on      -u·b                   unit k is on with probability softmax(a)_k
    WithLabels        Bernoulli units, then one Softmax group

**Adding a kind** takes a class that implements `Units` and an entry in `KINDS`, where RBMs and autoencoders find their
units; CONTRIBUTING.md says what else.

Shapes: N examples, U units of the layer, K units of a label group. a: the pre-activations, N x U, bias included.
"""

from math import log, pi
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.protocols import Units


class _Binary:
    """What all units of zeros and ones have in common."""

    binary = True

    def signal(self, u: Tensor) -> Tensor:
        return u

    def energy(self, u: Tensor, bias: Tensor) -> Tensor:
        # Autocast would round the product to bfloat16, and free energies differ by little.
        with torch.autocast(u.device.type, enabled=False):
            return -(u.to(bias.dtype) @ bias)


class Bernoulli(_Binary):
    """Units that are 0 or 1, independently of each other."""

    def mean(self, a: Tensor) -> Tensor:
        return torch.sigmoid(a)

    def sample(self, a: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        return self.draw(self.mean(a), generator=generator)

    def draw(self, mean: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        return bernoulli(mean, generator=generator)

    def log_sum(self, a: Tensor, bias: Tensor) -> Tensor:
        # log(exp(0) + exp(a)), N x U
        return F.softplus(_at_least_float32(a))

    def log_prob(self, u: Tensor, a: Tensor) -> Tensor:
        return -F.binary_cross_entropy_with_logits(a, u, reduction="none").sum(dim=1)

    def noise(self, n: int, bias: Tensor) -> Tensor:
        # Each unit is 0 or 1 with probability 1/2.
        v = torch.randint(2, (n, len(bias))).to(bias)
        # This draw is discarded. It keeps the samples of earlier versions reproducible.
        torch.randint(1, (n,))
        return v


class Gaussian:
    """Real units of variance 1: the units of the linear latent code of Hinton & Salakhutdinov 2006."""

    binary = False

    def mean(self, a: Tensor) -> Tensor:
        return a

    def sample(self, a: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        return self.draw(a, generator=generator)

    def draw(self, mean: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        return mean + _normal(mean, generator)

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
    """The owner of the variances of Gaussian units, such as an RBM."""

    log_variance: Tensor  # log σ², of shape U


class ScaledGaussian:
    """Real units, each with its own variance σ² (Cho, Ilin & Raiko 2011).

    Args:
        owner: has log σ² as a parameter or buffer. The units read it on every call, so it follows ``owner.to(device)``.
    """

    binary = False

    def __init__(self, owner: HasVariance):
        self.owner = owner

    def mean(self, a: Tensor) -> Tensor:
        return a

    def sample(self, a: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        return self.draw(a, generator=generator)

    def draw(self, mean: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        return mean + torch.exp(self.owner.log_variance / 2) * _normal(mean, generator)

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
        # Sample from p(u | the other layer is 0): the mean is the bias.
        return bias + torch.exp(self.owner.log_variance / 2) * torch.randn(n, len(bias)).to(bias)


class Softmax(_Binary):
    """A group of units of which exactly one is on, such as the label units of an RBM."""

    def mean(self, a: Tensor) -> Tensor:
        return a.softmax(dim=1)

    def sample(self, a: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        return self.draw(self.mean(a), generator=generator)

    def draw(self, mean: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        classes = torch.multinomial(mean.float(), 1, generator=generator).flatten()  # N
        return F.one_hot(classes, mean.shape[1]).to(mean.dtype)

    def log_sum(self, a: Tensor, bias: Tensor) -> Tensor:
        # log Σ_k exp(a_k): the whole group is one term, N x 1
        return _at_least_float32(a).logsumexp(dim=1, keepdim=True)

    def log_prob(self, u: Tensor, a: Tensor) -> Tensor:
        return (u * a.log_softmax(dim=1)).sum(dim=1)

    def noise(self, n: int, bias: Tensor) -> Tensor:
        classes = torch.randint(len(bias), (n,)).to(bias.device)
        return F.one_hot(classes, len(bias)).to(bias.dtype)


class WithLabels(_Binary):
    """Bernoulli units, followed by a group of K = ``num_labels`` label units (Hinton, Osindero & Teh 2006)."""

    def __init__(self, num_labels: int):
        self.num_labels = num_labels
        self.features = Bernoulli()
        self.labels = Softmax()

    def split(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """The values of the Bernoulli units, and those of the label units."""
        return u[..., : -self.num_labels], u[..., -self.num_labels :]

    def mean(self, a: Tensor) -> Tensor:
        features, labels = self.split(a)
        return torch.cat([self.features.mean(features), self.labels.mean(labels)], dim=1)

    def sample(self, a: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        return self.draw(self.mean(a), generator=generator)

    def draw(self, mean: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        features, labels = self.split(mean)
        u_features = self.features.draw(features, generator=generator)
        u_labels = self.labels.draw(labels, generator=generator)
        return torch.cat([u_features, u_labels], dim=1)

    def log_sum(self, a: Tensor, bias: Tensor) -> Tensor:
        # One term for each Bernoulli unit, then one for the whole group: N x (U - K + 1)
        features, labels = self.split(a)
        return torch.cat([self.features.log_sum(features, bias), self.labels.log_sum(labels, bias)], dim=1)

    def log_prob(self, u: Tensor, a: Tensor) -> Tensor:
        u_features, u_labels = self.split(u)
        a_features, a_labels = self.split(a)
        return self.features.log_prob(u_features, a_features) + self.labels.log_prob(u_labels, a_labels)

    def noise(self, n: int, bias: Tensor) -> Tensor:
        # The draws for label units are replaced. They keep the samples of earlier versions reproducible.
        binary, _ = self.split(torch.randint(2, (n, len(bias))).to(bias))
        return torch.cat([binary, self.labels.noise(n, bias[-self.num_labels :])], dim=1)


class Kind(NamedTuple):
    """The classes of a kind of unit, and the activation (`zoo.models.ACTIVATIONS`) that computes E[u | a].

    An autoencoder with this activation can share its parameters with an RBM of this kind.
    """

    visible: type[Units]
    hidden: type[Units]
    activation: str


# The kinds by the name that a config has for them.
KINDS: dict[str, Kind] = {
    "bernoulli": Kind(visible=Bernoulli, hidden=Bernoulli, activation="sigmoid"),
    "gaussian": Kind(visible=ScaledGaussian, hidden=Gaussian, activation="identity"),
}


def make_units(visible: str, hidden: str, *, owner: HasVariance, label_units: int = 0) -> tuple[Units, Units]:
    """The visible and the hidden units of an RBM.

    Args:
        visible, hidden: names of `KINDS`.
        owner: the RBM, from which `ScaledGaussian` units read their variance.
        label_units: number of label units that follow the other visible units; 0 for none.

    Raises:
        ValueError: no kind has that name, or the kinds cannot be combined.
    """
    for name, kind in {"visible_units": visible, "hidden_units": hidden}.items():
        if kind not in KINDS:
            raise ValueError(f"{name}={kind}: choose one of: {', '.join(KINDS)}")
    visible_class = KINDS[visible].visible
    hidden_units = KINDS[hidden].hidden()

    # Units with a variance read it from the RBM. Label units follow Bernoulli units only.
    if label_units and visible_class is not Bernoulli:
        raise ValueError(f"label units need bernoulli visible units, not {visible} ones: set visible_units=bernoulli")
    if label_units:
        return WithLabels(label_units), hidden_units
    visible_units = visible_class(owner) if issubclass(visible_class, ScaledGaussian) else visible_class()
    # With real-valued units in both layers Z may be infinite.
    if not visible_units.binary and not hidden_units.binary:
        raise ValueError(f"{visible} visible units need bernoulli hidden units, not {hidden} ones")
    return visible_units, hidden_units


def bernoulli(p: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
    """Zeros and ones with P(1) = p. Random numbers are float32, since bfloat16 has too few values in [0, 1]."""
    return torch.rand(p.shape, generator=generator, device=p.device).lt_(p.detach()).to(p.dtype)


def _normal(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Standard normal numbers with the shape, dtype and device of ``like``."""
    return torch.randn(like.shape, generator=generator, device=like.device, dtype=like.dtype)


def _at_least_float32(a: Tensor) -> Tensor:
    """``a`` in float32 or better: bfloat16 (autocast) is too coarse for free energies, which differ by little."""
    return a.to(torch.promote_types(a.dtype, torch.float32))
