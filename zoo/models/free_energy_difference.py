"""The training loss of an RBM, mean F(v0) - mean F(vk), with a gradient in closed form.

F(v) = visible.energy(v) - Σ_j log_sum(a_j) with a = c + W v, so with units of zeros and ones

    dF/dW = -p v',  dF/db = -v,  dF/dc = -p,    with p = d log_sum / da = p(h = 1 | v).

Autograd finds the same numbers, to the bit, but walks a graph. Here an update has the products that it needs
at least: one for each set of pre-activations, and one for each of the two gradients of W. For a convolutional RBM, the
products are convolutions. Imports torch, `zoo.protocols` and the pooled units.

Shapes: N examples, V visible units, H hidden units; K maps of rows x columns hidden units.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import grad

from zoo.models.pooled_units import PooledBernoulli
from zoo.protocols import RBMLayer

# The arguments of softplus that `torch.nn.functional.softplus` has by default.
BETA, THRESHOLD = 1, 20


def free_energy_difference(rbm: RBMLayer, v0: Tensor, vk: Tensor, a0: Tensor) -> Tensor:
    """mean F(v0) - mean F(vk), a scalar, by autograd; v0 and vk are held constant.

    Args:
        rbm: the RBM.
        v0: N x V, the data.
        vk: M x V, the ends of the Gibbs chains.
        a0: N x H, the hidden pre-activations of v0.
    """
    return rbm.free_energy(v0, hidden_input=a0).mean() - rbm.free_energy(vk).mean()


class FreeEnergyDifference(torch.autograd.Function):
    """mean F(v0) - mean F(vk), a scalar, for Bernoulli hidden units and visible units of zeros and ones."""

    @staticmethod
    def forward(
        ctx: Any, weight: Tensor, visible_bias: Tensor, hidden_bias: Tensor, v0: Tensor, a0: Tensor, vk: Tensor
    ) -> Tensor:
        """The loss.

        Args:
            ctx: keeps what the gradient needs.
            weight, visible_bias, hidden_bias: the parameters: H x V, V and H.
            v0: N x V, the data.
            a0: N x H, the hidden pre-activations of v0.
            vk: M x V, the ends of the Gibbs chains; M may differ from N.
        """
        ak = torch.nn.functional.linear(vk, weight, hidden_bias)  # M x H
        ctx.save_for_backward(v0, a0, vk, ak)
        at_data, at_chains = (
            -(v @ visible_bias) - torch.nn.functional.softplus(a).sum(dim=1) for v, a in ((v0, a0), (vk, ak))
        )
        return at_data.mean() - at_chains.mean()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, ...]:
        """The gradients of the three parameters; v0, a0 and vk are constants."""
        v0, a0, vk, ak = ctx.saved_tensors
        (gradient,) = gradients
        data = _gradients(v0, a0, gradient / len(v0))
        chains = _gradients(vk, ak, -gradient / len(vk))
        return (*(first.add_(second) for first, second in zip(chains, data, strict=True)), None, None, None)


def _gradients(v: Tensor, a: Tensor, factor: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of ``factor`` * Σ F(v) with respect to the weight, the visible and the hidden bias."""
    # Expanded like autograd's gradient of a sum: a tensor in memory would be rounded in another way.
    factors = factor.expand(len(v), 1)
    d = torch.ops.aten.softplus_backward((-factors).expand_as(a), a, BETA, THRESHOLD)  # N x H
    return d.t() @ v, v.t().mv((-factors).squeeze(1).contiguous()), d.sum(dim=0)


class PooledDifference(torch.autograd.Function):
    """The hidden term of mean F(v0) - mean F(vk), a scalar, for pooled hidden units whose kernels are shared."""

    @staticmethod
    def forward(
        ctx: Any, weight: Tensor, hidden_bias: Tensor, units: PooledBernoulli, x0: Tensor, a0: Tensor, xk: Tensor
    ) -> Tensor:
        """-mean Σ log_sum(a0) + mean Σ log_sum(ak).

        Args:
            ctx: keeps what the gradient needs.
            weight, hidden_bias: the parameters: K x channels x kernel_size x kernel_size, and K.
            units: the hidden units.
            x0: N x channels x height x width, the signal of the data.
            a0: N x K x rows x columns, the hidden pre-activations of the data.
            xk: M x channels x height x width, the signal of the ends of the Gibbs chains; M may differ from N.
        """
        p0, at_data = units.mean_and_log_sum(a0)
        pk, at_chains = units.mean_and_log_sum(torch.nn.functional.conv2d(xk, weight, hidden_bias))
        ctx.save_for_backward(x0, p0, xk, pk)
        ctx.shape = weight.shape
        return at_chains.sum() / len(xk) - at_data.sum() / len(x0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, ...]:
        """The gradients of the two parameters; all else is constant."""
        x0, p0, xk, pk = ctx.saved_tensors
        at_data, at_chains = -gradients[0] / len(x0), gradients[0] / len(xk)
        weight = _kernels(xk, ctx.shape, pk) * at_chains + _kernels(x0, ctx.shape, p0) * at_data
        hidden_bias = pk.sum(dim=(0, 2, 3)) * at_chains + p0.sum(dim=(0, 2, 3)) * at_data
        return weight, hidden_bias, None, None, None, None


def _kernels(x: Tensor, shape: Sequence[int], d: Tensor) -> Tensor:
    """The gradient of Σ (d · conv2d(x, weight)) with respect to a weight of this shape."""
    conv2d_weight: Any = grad.conv2d_weight  # a function without type hints
    gradient: Tensor = conv2d_weight(x, shape, d)
    return gradient
