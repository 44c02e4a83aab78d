"""Log-likelihood of restricted Boltzmann machines and deep belief networks: exact where possible, else bracketed.

The difficult part is Z = Σ_v Σ_h exp(-E(v, h)). Up to 25 units on one side it is a sum over the states of that side,
with the other side summed out. Beyond, `zoo.analysis.annealing` estimates it from below and from above.
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
MOST_UNITS = 25  # on the side whose states are summed over
CHUNK = 2**13  # states at a time


@dataclass(frozen=True)
class Estimate:
    """log Z.

    Attributes:
        value: nats; a scalar through which gradients flow when it is exact.
        standard_error: of the value, by the delta method over the chains; 0 when exact.
        downwards: whether the chains went from the RBM down, so that Z is divided by their mean weight.
    """

    value: Tensor
    standard_error: float
    downwards: bool = False

    @property
    def interval(self) -> tuple[float, float]:
        """Three standard errors of the mean weight to either side, carried through the logarithm: open where the
        error is a third of the mean weight or more."""
        # log(mean ± 3 errors of it); below 0 the logarithm is minus infinity.
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
        method: exact (at most 25 Bernoulli units on either side), ais (biased down) or reverse_ais (biased up).
        chains: number of independent chains, computed side by side.
        temperatures: number of steps of β from 0 to 1, evenly spaced.
        burn_in: Gibbs steps before the chains of reverse_ais go down.
        data: N x in_shape. Their mean rates make the first base-rate model, and a share of the chains of reverse_ais
            starts at them. None: a base-rate model of the RBM's own visible biases, with fair coins as hidden units.
        coins: whether half of the chains start from, or go to, fair coins instead of those rates; never with Gaussian
            visible units.
        generator: random number generator; None for torch's global one.

    Raises:
        ValueError: an unknown method, exact for too large an RBM, annealing of Gaussian hidden units, or too few chains
            or temperatures.
    """
    # Refuse what the method cannot do; the exact sum has no further options.
    if method not in METHODS:
        raise ValueError(f"method={method}: choose one of: {', '.join(METHODS)}")
    if method == "exact":
        return Estimate(_exact(rbm), 0.0)
    if not rbm.hidden.binary:
        raise ValueError(f"method={method} is for Bernoulli hidden units; this RBM has {rbm.hidden_units} ones")
    if chains < 2 or temperatures < 1:
        raise ValueError(f"chains={chains} must be >= 2 and temperatures={temperatures} >= 1")

    # The weight of a chain that goes up has the mean Z; that of a chain that goes down has the mean 1 / Z.
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

    With label units it is that of the pixels, labels summed out. The bound of a DBN is the logarithm of the mean of
    p(v, h) / q(h | v) over ``samples`` draws of h from the recognition conditionals (Salakhutdinov & Murray 2008,
    section 5; a mean of several weights never makes the bound worse, Burda, Grosse & Salakhutdinov 2016).

    Args:
        model: the RBM, or the stack of them.
        v: N x in_shape; for Bernoulli units zeros and ones, which alone have a probability.
        log_z: log Z of the RBM, or of the DBN's top one; None computes it exactly.
        samples: draws of the hidden layers for each example of a DBN.
        generator: random number generator; None for torch's global one.

    Raises:
        ValueError: values other than 0 and 1 for Bernoulli units; or as `log_partition` where ``log_z`` is None.
    """
    # The lowest RBM sees the data, the top one has the partition function.
    if isinstance(model, DBN):
        lowest, top = model.rbm(0), model.top
    else:
        lowest = top = model
    v = v.flatten(1)
    if lowest.visible.binary and not ((v == 0) | (v == 1)).all():
        raise ValueError("the log-likelihood of Bernoulli units needs zeros and ones: binarize the data first")
    if log_z is None:
        log_z = _exact(top)

    # An RBM, or a stack of one: exact but for log Z.
    if not isinstance(model, DBN) or len(model.layers) == 1:
        return _unnormalized(top, v) - log_z

    # A deeper stack: the mean of importance weights.
    weights = torch.stack([_log_weight(model, v, generator) for _ in range(samples)])  # samples x N
    return weights.logsumexp(dim=0) - log(samples) - log_z


def binarize(x: Tensor, *, seed: int = 0) -> Tensor:
    """Zeros and ones with the values of x, in [0, 1], as probabilities: the same at every call."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(x.shape, generator=generator).to(x.device) < x).to(x.dtype)


def _log_weight(model: DBN, v: Tensor, generator: torch.Generator | None) -> Tensor:
    """log p*(v, h) - log q(h | v) for one h ~ q, N: all but log Z of the top."""
    total = torch.zeros(len(v), dtype=v.dtype, device=v.device)  # N
    below = v
    for k in range(len(model.layers) - 1):
        # Draw the layer above by the recognition weights, q(above | below).
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
    # log Σ_y exp(-F([v, y])), with the free energy of no label taken out of the sum.
    no_label = F.pad(v, (0, rbm.label_units))  # N x V
    return rbm.class_logits(v).logsumexp(dim=1) - rbm.free_energy(no_label)


def _exact(rbm: RBM) -> Tensor:
    """log Z by a sum over all states of the smaller layer that can be enumerated."""
    hidden = len(rbm.hidden_bias)
    pixels = len(rbm.visible_bias) - rbm.label_units
    by_hidden = rbm.hidden.binary and hidden <= MOST_UNITS
    by_visible = rbm.visible.binary and pixels <= MOST_UNITS
    if not (by_hidden or by_visible):
        fix = "use method='ais'" if rbm.hidden.binary else "use method='ais', for Bernoulli hidden units"
        raise ValueError(
            f"exact log Z sums over 2^n states, with n <= {MOST_UNITS} Bernoulli units on one side; this RBM has "
            f"{pixels} {rbm.visible_units} visible and {hidden} {rbm.hidden_units} hidden ones: {fix}"
        )
    if by_hidden and by_visible:
        by_hidden = hidden <= pixels
    units = hidden if by_hidden else pixels

    # The bits of the numbers from 0 to 2^n - 1 are the states; sum over them in chunks.
    total = []
    for first in range(0, 2**units, CHUNK):
        numbers = torch.arange(first, min(first + CHUNK, 2**units), device=rbm.weight.device)
        bits = (numbers[:, None] >> torch.arange(units, device=numbers.device)) & 1
        states = bits.to(rbm.weight.dtype)  # chunk x n
        log_terms = -rbm.free_energy_of_hidden(states) if by_hidden else _unnormalized(rbm, states)
        total.append(log_terms.logsumexp(dim=0))
    return torch.stack(total).logsumexp(dim=0)
