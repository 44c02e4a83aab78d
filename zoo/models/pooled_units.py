"""Hidden units with probabilistic max pooling (Lee, Grosse, Ranganath & Ng 2009, section 3.3). Imports torch only.

The maps of hidden units are divided into blocks of C x C units, from the upper left; a block at the lower or right
border has the units that are left. At most one unit of a block is on, so a block with pre-activations a has the states
"unit i is on", with weight exp(a_i), and "all are off", with weight 1:

    p(unit i is on) = exp(a_i) / (1 + Σ_j exp(a_j))        p(the block's pooling unit is on) = sigmoid(log Σ_j exp(a_j))

Shapes: N examples, K maps of H x W hidden units, P = ceil(H / C) by Q = ceil(W / C) blocks in a map.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


class PooledBernoulli:
    """Units of zeros and ones, of which at most one is on in each block. They implement `zoo.protocols.Units`.

    With ``pool=1`` they are independent Bernoulli units.

    Args:
        pool: C, the side of a block.
        shape: K, H and W.
    """

    binary = True

    def __init__(self, pool: int, shape: Sequence[int]):
        self.pool = pool
        self.shape: tuple[int, ...] = tuple(shape)

    def mean(self, a: Tensor) -> Tensor:
        """The probability that each unit is on, N x K x H x W."""
        return self._whole(self._probabilities(a))

    def pool_mean(self, a: Tensor) -> Tensor:
        """The probability that each pooling unit is on, N x K x P x Q."""
        return torch.sigmoid(self._log_weights(a))

    def pool_states(self, h: Tensor) -> Tensor:
        """The states of the pooling units, given those of the hidden units: N x K x H x W -> N x K x P x Q."""
        return self._blocks(h, padding=0.0).sum(dim=2)

    def spread(self, p: Tensor) -> Tensor:
        """For each hidden unit, the value of the block that it is in: N x K x P x Q -> N x K x H x W."""
        return self._whole(p.unsqueeze(2).expand(-1, -1, self.pool**2, -1, -1))

    def mean_given_pool(self, a: Tensor, p: Tensor) -> Tensor:
        """E[h | a, p], N x K x H x W: the probability p of each pooling unit, divided among the units of its block."""
        share = self._blocks(a, padding=float("-inf")).softmax(dim=2)
        return self._whole(share * p.unsqueeze(2))

    def sample_given_pool(self, p: Tensor) -> Tensor:
        """In each block whose pooling unit is on, one hidden unit is on; all units of the block are equally probable.

        Shapes: N x K x P x Q -> N x K x H x W.
        """
        equal = torch.zeros(len(p), *self.shape).to(p)
        return self.draw(self.mean_given_pool(equal, p))

    def sample(self, a: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """One draw of each block: N x K x H x W zeros and ones."""
        return self._draw(self._probabilities(a), generator)

    def draw(self, mean: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """One draw of each block, given the probability of each of its units: N x K x H x W -> zeros and ones."""
        return self._draw(self._blocks(mean, padding=0.0), generator)

    def _draw(self, probabilities: Tensor, generator: torch.Generator | None) -> Tensor:
        """One draw of each block, whose units have these probabilities: N x K x C² x P x Q -> N x K x H x W."""
        # The units of a block share the interval [0, 1); each gets a part as long as its probability. A uniform number
        # turns on the unit whose part it falls in; beyond the last part, none. ``below`` is 0, …, 0, 1, …, 1.
        ends = probabilities.cumsum(dim=2)  # N x K x C² x P x Q
        uniform = torch.rand(ends[:, :, :1].shape, generator=generator, device=ends.device)
        below = (uniform < ends).to(ends.dtype)
        below[:, :, 1:] -= below[:, :, :-1].clone()  # the first 1 only
        return self._whole(below)

    def signal(self, u: Tensor) -> Tensor:
        return u

    def energy(self, u: Tensor, bias: Tensor) -> Tensor:
        # Autocast would round the product to bfloat16, and free energies differ by little.
        with torch.autocast(u.device.type, enabled=False):
            return -(u.to(bias.dtype).sum(dim=(2, 3)) @ bias)

    def mean_and_log_sum(self, a: Tensor) -> tuple[Tensor, Tensor]:
        """`mean` and `log_sum`, N x K x H x W and N x K x P x Q, for little more than the time of one of them."""
        weights, total, top = self._weights(a)
        return self._whole(weights / total), (top + total.log()).squeeze(2)

    def log_sum(self, a: Tensor, bias: Tensor) -> Tensor:
        """log(1 + Σ_j exp(a_j)) of each block, N x K x P x Q, in float32 or better."""
        return F.softplus(self._log_weights(a.to(torch.promote_types(a.dtype, torch.float32))))

    def log_prob(self, u: Tensor, a: Tensor) -> Tensor:
        joint = (u * a).flatten(1).sum(dim=1)
        return joint - F.softplus(self._log_weights(a)).flatten(1).sum(dim=1)

    def noise(self, n: int, bias: Tensor) -> Tensor:
        """A draw in which all states of a block are equally probable."""
        return self.sample(torch.zeros(n, *self.shape).to(bias))

    # The blocks

    def _probabilities(self, a: Tensor) -> Tensor:
        """The probability that each unit is on, by blocks, N x K x C² x P x Q."""
        if self.pool == 1:
            return torch.sigmoid(a).unsqueeze(2)
        weights, total, _ = self._weights(a)
        return weights / total

    def _weights(self, a: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """exp(a_i - m) of each unit, N x K x C² x P x Q; their sum with exp(-m), and m, both N x K x 1 x P x Q.

        m is the largest logarithm of a weight in the block. It is at least 0, the logarithm of the weight of "all are
        off". So nothing overflows.
        """
        blocks = self._blocks(a, padding=float("-inf"))
        top = blocks.detach().amax(dim=2, keepdim=True).clamp(min=0)
        weights = (blocks - top).exp_()
        return weights, weights.sum(dim=2, keepdim=True) + torch.exp(-top), top

    def _log_weights(self, a: Tensor) -> Tensor:
        """log Σ_j exp(a_j) over the units of each block, N x K x P x Q."""
        blocks = self._blocks(a, padding=float("-inf"))
        return blocks.squeeze(2) if self.pool == 1 else blocks.logsumexp(dim=2)

    def _blocks(self, u: Tensor, *, padding: float) -> Tensor:
        """N x K x H x W -> N x K x C² x P x Q: the units of each block; missing ones at the border get ``padding``."""
        right = -self.shape[2] % self.pool
        below = -self.shape[1] % self.pool
        if right or below:
            u = F.pad(u, (0, right, 0, below), value=padding)
        # This takes two thirds of the time of F.pixel_unshuffle.
        rows = torch.unflatten(u, 2, (-1, self.pool))  # N x K x P x C x (Q · C)
        units = torch.unflatten(rows, 4, (-1, self.pool))  # N x K x P x C x Q x C
        return units.permute(0, 1, 3, 5, 2, 4).flatten(2, 3)

    def _whole(self, blocks: Tensor) -> Tensor:
        """The inverse of `_blocks`: N x K x C² x P x Q -> N x K x H x W."""
        maps = F.pixel_shuffle(blocks.flatten(1, 2), self.pool)
        return maps[:, :, : self.shape[1], : self.shape[2]]
