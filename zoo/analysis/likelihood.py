"""Log-likelihood of restricted Boltzmann machines and deep belief networks: exact for small RBMs, else estimated.

The difficult part is Z = Σ_v Σ_h exp(-E(v, h)). If one layer has at most 25 units, it is computed as a sum over all
states of that layer, with the other layer summed out. For larger RBMs `zoo.analysis.annealing` estimates it by annealed
importance sampling (AIS), whose log Z is low on average, and by reverse AIS, whose log Z is high on average.
Imports torch and the zoo's models only.
"""

from dataclasses import dataclass
from math import inf, log

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.analysis import annealing
from zoo.models.dbn import DBN
from zoo.models.rbm import RBM
from zoo.models.units import bernoulli

METHODS = ("exact", "ais", "reverse_ais")
MAX_UNITS = 25  # maximum number of units of a layer whose states are enumerated
CHUNK = 2**13  # number of states that are computed at a time


@dataclass(frozen=True)
class Estimate:
    """log Z.

    Attributes:
        value: nats; a scalar through which gradients flow when it is exact.
        standard_error: standard error of the value, by the delta method over the chains; 0 if exact.
        downwards: whether the chains went from the RBM to the base-rate model, so that the mean weight is 1 / Z.
    """

    value: Tensor
    standard_error: float
    downwards: bool = False

    @property
    def interval(self) -> tuple[float, float]:
        """Lower and upper limit of log Z: the logarithm of the mean weight ± 3 standard errors.

        One limit is infinite if the standard error is a third of the mean weight or more.
        """
        # log(mean ± 3 standard errors); the logarithm is minus infinity if the argument is not positive.
        value = float(self.value.detach())
        spread = 3 * self.standard_error
        small = log(1 - spread) if spread < 1 else -inf
        large = log(1 + spread)
        return (value - large, value - small) if self.downwards else (value + small, value + large)


def log_partition(
    rbm: RBM,
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
        rbm: the RBM.
        method: exact (one layer has at most 25 Bernoulli units), ais (biased down) or reverse_ais (biased up).
        chains: number of independent chains, computed side by side.
        temperatures: number of steps of β from 0 to 1, evenly spaced.
        burn_in: for reverse_ais, whose chains must start at samples of the RBM. For these, other chains are annealed
            up to the RBM in ``burn_in`` steps of β, then resampled, then run for ``burn_in`` Gibbs steps.
        data: N x in_shape. The first base-rate model has the mean activations of the data, and some chains of
            reverse_ais start at data. None: a base-rate model with the visible biases of the RBM and uniform hidden
            units.
        coins: whether half of the chains use a uniform base-rate model (every unit is on with probability 1/2)
            instead; ignored for Gaussian visible units.
        generator: random number generator; None for torch's global one.

    Raises:
        ValueError: an unknown method, exact for too large an RBM, annealing of Gaussian hidden units, or too few chains
            or temperatures.
    """
    # Check that the method works for the RBM. The exact sum has no further options.
    if method not in METHODS:
        raise ValueError(f"method={method}: choose one of: {', '.join(METHODS)}")
    if method == "exact":
        return Estimate(_exact(rbm), 0.0)
    if not rbm.hidden.binary:
        raise ValueError(f"method={method} is for Bernoulli hidden units; this RBM has {rbm.hidden_units} ones")
    if chains < 2 or temperatures < 1:
        raise ValueError(f"chains={chains} must be >= 2 and temperatures={temperatures} >= 1")

    # The weights of chains that go up have the mean Z; those of chains that go down have the mean 1 / Z.
    down = method == "reverse_ais"
    log_weights = annealing.log_weights(
        rbm,
        down=down,
        chains=chains,
        temperatures=temperatures,
        burn_in=burn_in,
        data=data,
        coins=coins,
        generator=generator,
    )
    mean = log_weights.logsumexp(dim=0) - log(chains)
    ratios = (log_weights - mean).exp()  # mean 1
    error = float(ratios.std() / chains**0.5)
    return Estimate(-mean if down else mean, error, downwards=down)


def log_likelihood(
    model: RBM | DBN,
    v: Tensor,
    *,
    log_z: Tensor | float | None = None,
    samples: int = 20,
    generator: torch.Generator | None = None,
) -> Tensor:
    """log p(v) of each example, in nats, N: exact for an RBM, a lower bound for a DBN.

    With label units it is that of the pixels, with the labels summed out. The bound of a DBN is the logarithm of the
    mean of p(v, h) / q(h | v) over ``samples`` draws of h from the recognition conditionals (Salakhutdinov & Murray
    2008, section 5; a mean of several weights never makes the bound worse, Burda, Grosse & Salakhutdinov 2016).

    Args:
        model: the RBM, or the stack of them.
        v: N x in_shape; for Bernoulli units zeros and ones only.
        log_z: log Z of the RBM, or of the top RBM of the DBN; None computes it exactly.
        samples: number of draws of the hidden layers for each example of a DBN.
        generator: random number generator; None for torch's global one.

    Raises:
        ValueError: values other than 0 and 1 for Bernoulli units; or as `log_partition` if ``log_z`` is None.
    """
    # The lowest RBM has the visible units of the data; the top RBM has the partition function.
    if isinstance(model, DBN):
        lowest, top = model.rbm(0), model.top
    else:
        lowest = top = model
    v = v.flatten(1)
    if lowest.visible.binary and not ((v == 0) | (v == 1)).all():
        raise ValueError("the log-likelihood of Bernoulli units needs zeros and ones: binarize the data first")
    if log_z is None:
        log_z = _exact(top)

    # An RBM, or a stack of one RBM: exact if log Z is.
    if not isinstance(model, DBN) or len(model.layers) == 1:
        return _unnormalized(top, v) - log_z

    # A deeper stack: the log of the mean of importance weights.
    weights = torch.stack([_log_weight(model, v, generator) for _ in range(samples)])  # samples x N
    return weights.logsumexp(dim=0) - log(samples) - log_z


def binarize(x: Tensor, *, seed: int = 0) -> Tensor:
    """Zeros and ones with the values of x, in [0, 1], as probabilities: the same in every call with the same seed."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(x.shape, generator=generator).to(x.device) < x).to(x.dtype)


def _log_weight(model: DBN, v: Tensor, generator: torch.Generator | None) -> Tensor:
    """log p*(v, h) - log q(h | v) for one h ~ q, N, without log Z of the top RBM."""
    total = torch.zeros(len(v), dtype=v.dtype, device=v.device)  # N
    below = v
    for k in range(len(model.layers) - 1):
        # Draw the layer above with the recognition weights, q(above | below).
        logits = model.recognition_input(below, k)  # N x H_k
        above = bernoulli(torch.sigmoid(logits), generator=generator)
        # Add log p(below | above) - log q(above | below).
        rbm = model.rbm(k)
        total = total - rbm.hidden.log_prob(above, logits)
        total = total + rbm.visible.log_prob(below, rbm.visible_input(above))
        below = above
    return total + _unnormalized(model.top, below)


def _unnormalized(rbm: RBM, v: Tensor) -> Tensor:
    """log Σ_h [Σ_labels] exp(-E), N. v is N x pixels."""
    if not rbm.label_units:
        return -rbm.free_energy(v)
    # log Σ_y exp(-F([v, y])), where `class_logits` are relative to the free energy without a label.
    no_label = F.pad(v, (0, rbm.label_units))  # N x V
    return rbm.class_logits(v).logsumexp(dim=1) - rbm.free_energy(no_label)


def _exact(rbm: RBM) -> Tensor:
    """log Z as a sum over all states of the smaller layer whose states can be enumerated."""
    hidden = len(rbm.hidden_bias)
    pixels = len(rbm.visible_bias) - rbm.label_units
    by_hidden = rbm.hidden.binary and hidden <= MAX_UNITS
    by_visible = rbm.visible.binary and pixels <= MAX_UNITS
    if not (by_hidden or by_visible):
        fix = "use method='ais'" if rbm.hidden.binary else "method='ais' needs Bernoulli hidden units, too"
        raise ValueError(
            f"exact log Z sums over 2^n states, with n <= {MAX_UNITS} Bernoulli units in one layer; this RBM has "
            f"{pixels} {rbm.visible_units} visible and {hidden} {rbm.hidden_units} hidden ones: {fix}"
        )
    if by_hidden and by_visible:
        by_hidden = hidden <= pixels
    units = hidden if by_hidden else pixels

    # The states are the bits of the numbers from 0 to 2^n - 1. Sum over them in chunks.
    total = []
    for first in range(0, 2**units, CHUNK):
        numbers = torch.arange(first, min(first + CHUNK, 2**units), device=rbm.weight.device)
        bits = (numbers[:, None] >> torch.arange(units, device=numbers.device)) & 1
        states = bits.to(rbm.weight.dtype)  # chunk x n
        log_terms = -rbm.free_energy_of_hidden(states) if by_hidden else _unnormalized(rbm, states)
        total.append(log_terms.logsumexp(dim=0))
    return torch.stack(total).logsumexp(dim=0)
