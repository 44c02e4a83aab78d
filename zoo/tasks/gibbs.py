"""The Gibbs chain of contrastive divergence."""

import torch
from torch import Tensor

from zoo.protocols import RBMLayer


@torch.no_grad()
def chain_end(rbm: RBMLayer, v0: Tensor, h0: Tensor, k: int, *, sampled: bool) -> Tensor:
    """The end of k Gibbs steps that start at the data, N x visible.

    Args:
        rbm: the RBM.
        v0: the data, N x visible.
        h0: the hidden means of v0, N x hidden.
        k: number of steps, >= 1.
        sampled: draw the visible units in the last step; otherwise their means are used.
    """
    # Draw h from the data; draw v and h again k - 1 times; compute the last v.
    h = rbm.sample_hidden(v0, hidden_mean=h0)
    for _ in range(k - 1):
        h = rbm.sample_hidden(rbm.sample_visible(h))
    return rbm.sample_visible(h) if sampled else rbm.visible_mean(h)
