"""Convolutional RBM (Lee, Grosse, Ranganath & Ng 2009, "Convolutional deep belief networks for scalable unsupervised
learning of hierarchical representations"; Communications of the ACM 2011).

The figure in words: an RBM whose hidden units form maps. All units of a map have the same kernel, each at its own
position of the image, so a feature that is learned at one place is found at every place. Small blocks of a map compete:
at most one unit of a block is on, and a pooling unit tells whether one is (probabilistic max pooling).

    v  --W (correlation)-->  h  ~ p(h|v)  --any unit of the block-->  p (the pooling units)
       <--W (convolution)--

A pair of states has the energy

    E(v, h) = - Σ_k h_k · (W_k correlated with v) - Σ_k c_k Σ_ij h_k,ij - Σ_channels b Σ_ij v_ij

over the allowed states h. With blocks of one unit it is the RBM whose weight matrix is the unrolled convolution.
Gaussian visible units of standard deviation σ have Σ (v - b)² / 2σ² in place of -b Σ v, and v / σ² in place of v in the
correlation, as in `zoo.models.rbm`.

The blocks are in `pooled_units.py`, the equations that it shares with other RBMs in `boltzmann.py`. Imports torch and
the zoo's models only.

Deviations from the paper:

1. Bernoulli visible units accept values in [0, 1] and use them as probabilities.
2. Every channel of the image has its own visible bias; the paper has gray images and one bias.
3. The paper's maps are divided into whole blocks. Here a block at the lower or right border has the units that are
   left.

Shapes: N examples, K hidden maps of H x W units, P x Q blocks in each map.
"""

from collections.abc import Callable, Iterator, Sequence
from math import log, prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.models.boltzmann import TwoLayers
from zoo.models.free_energy_difference import PooledDifference
from zoo.models.pooled_units import PooledBernoulli
from zoo.models.shapes import check_widths, image, side_after
from zoo.models.units import Bernoulli, ScaledGaussian

RARE = 1e-4  # means of Bernoulli units closer to 0 or 1 are treated as this close
VISIBLE_UNITS = ("bernoulli", "gaussian")


class ConvRBM(TwoLayers, nn.Module):
    """An image and maps of hidden units with shared kernels, and the distribution they define.

    Visible states may be given as N x in_shape or flat, N x V; they are returned as N x in_shape.

    Args:
        in_shape: channels, height and width of one image.
        hidden: K, the number of maps of hidden units, one for each kernel.
        kernel_size: side of the kernels, in pixels.
        pool: C, the side of the blocks of hidden units that are pooled; 1: no pooling.
        visible_units: bernoulli (values in [0, 1]) or gaussian (real values).
        visible_std: σ, the standard deviation of Gaussian visible units given the hidden units, > 0. It is not trained.
        init_std: standard deviation of the initial weights, > 0. The biases start at 0.

    Attributes:
        weight: K x channels x kernel_size x kernel_size.
        hidden_bias: K.
        visible_bias: one value for each channel.
        visible, hidden: the units of the two layers.
        pool_shape: K, P and Q, the shape of the pooling units.
        positions: H · W, the number of hidden units that share a kernel.

    Raises:
        ValueError: ``in_shape`` is not that of an image, the kernel is larger than the image, an unknown kind of unit,
            a size below 1, or a standard deviation that is not > 0.
    """

    log_variance: Tensor
    visible: Bernoulli | ScaledGaussian
    hidden: PooledBernoulli

    def __init__(
        self,
        *,
        in_shape: Sequence[int] = (1, 28, 28),
        hidden: int = 40,
        kernel_size: int = 12,
        pool: int = 2,
        visible_units: str = "bernoulli",
        visible_std: float = 1.0,
        init_std: float = 0.01,
    ):
        super().__init__()
        # Check the arguments.
        channels, height, width = image(in_shape)
        check_widths(hidden=hidden, kernel_size=kernel_size, pool=pool)
        if visible_units not in VISIBLE_UNITS:
            raise ValueError(f"visible_units={visible_units}: choose one of: {', '.join(VISIBLE_UNITS)}")
        for name, value in {"visible_std": visible_std, "init_std": init_std}.items():
            if not 0 < value < float("inf"):
                raise ValueError(f"{name}={value} must be finite and > 0")
        if visible_std != 1 and visible_units != "gaussian":
            raise ValueError(f"visible_std={visible_std} is for gaussian visible units; set visible_units=gaussian")

        # Sizes of the maps of hidden units and of pooling units.
        rows = side_after(height, kernel_size)
        columns = side_after(width, kernel_size)
        self.in_shape = (channels, height, width)
        self.num_classes = None
        self.visible_units = visible_units
        self.positions = rows * columns
        self.pool_shape = (hidden, -(-rows // pool), -(-columns // pool))
        self.num_features = prod(self.pool_shape)

        # The units of both layers. All Gaussian units have one variance, which follows the module to its device.
        self.hidden = PooledBernoulli(pool, (hidden, rows, columns))
        self.visible = Bernoulli()
        if visible_units == "gaussian":
            self.register_buffer("log_variance", torch.tensor(2 * log(visible_std)), persistent=False)
            self.visible = ScaledGaussian(self)

        # The parameters: small random weights, biases of zero.
        self.weight = nn.Parameter(torch.randn(hidden, channels, kernel_size, kernel_size) * init_std)
        self.visible_bias = nn.Parameter(torch.zeros(channels))
        self.hidden_bias = nn.Parameter(torch.zeros(hidden))

    @property
    def visible_shape(self) -> tuple[int, ...]:
        return tuple(self.in_shape)

    @property
    def hidden_shape(self) -> tuple[int, ...]:
        return self.hidden.shape

    # The conditionals

    def hidden_input(self, v: Tensor) -> Tensor:
        """Pre-activations of the hidden units: c + W correlated with signal(v), N x K x H x W."""
        return F.conv2d(self.visible.signal(self.as_inputs(v)), self.weight, self.hidden_bias)

    def visible_input(self, h: Tensor) -> Tensor:
        """Pre-activations of the visible units: b + W convolved with h, N x in_shape."""
        if self.in_shape[0] > 1:
            return F.conv_transpose2d(h, self.weight, self.visible_bias)
        # With one channel, the following takes less than half of the time of conv_transpose2d on a CPU.
        weight = self.weight.flatten(1).t()  # kernel_size² x K
        kernels = torch.bmm(weight.expand(len(h), -1, -1), h.flatten(2))  # N x kernel_size² x (H · W), at each position
        return F.fold(kernels, tuple(self.in_shape[1:]), tuple(self.weight.shape[2:])) + self.visible_bias

    def pool_mean(self, v: Tensor, *, hidden_input: Tensor | None = None) -> Tensor:
        """The probability that each pooling unit is on, given v, N x K x P x Q."""
        a = self.hidden_input(v) if hidden_input is None else hidden_input
        return self.hidden.pool_mean(a)

    def sample_pool(self, v: Tensor) -> Tensor:
        """A draw of the pooling units, given v, N x K x P x Q."""
        return self.hidden.pool_states(self.sample_hidden(v))

    def noise(self, n: int) -> Tensor:
        """Random states to start chains from, n x in_shape (`Units.noise`)."""
        return self.as_inputs(self.visible.noise(n, self.unit_biases()))

    @torch.no_grad()
    def init_biases(self, visible_mean: Tensor, hidden_mean: float) -> None:
        """Set biases that are all 0, as in a new net, to those of units that are independent and have these means.

        Otherwise, all kernels first learn the same: to correct the means (Hinton 2010, section 8.1).

        Args:
            visible_mean: the mean image, in_shape or flat.
            hidden_mean: the mean of every hidden unit, in (0, 1).
        """
        if self.visible_bias.any() or self.hidden_bias.any():
            return
        # Of a block, one of C² units is on, or none.
        none = max(1 - hidden_mean * self.hidden.pool**2, hidden_mean)
        self.hidden_bias.fill_(log(hidden_mean / none))
        means = self.as_inputs(visible_mean).mean(dim=(0, 2, 3))  # of each channel
        self.visible_bias.copy_(means.clamp(RARE, 1 - RARE).logit() if self.visible.binary else means)

    # The energies

    def joint(self, v: Tensor, h: Tensor) -> Tensor:
        """Σ_k h_k · (W_k correlated with signal(v)), N."""
        signal = F.conv2d(self.visible.signal(self.as_inputs(v)), self.weight)  # N x K x H x W
        return (h * signal).flatten(1).sum(dim=1)

    def free_energy_difference(self, v0: Tensor, vk: Tensor, *, hidden_input: Tensor | None = None) -> Tensor:
        """mean F(v0) - mean F(vk), a scalar: the loss of contrastive divergence, with v0 and vk held constant.

        Args:
            v0: N x in_shape or N x V, the data.
            vk: M x in_shape or M x V, the ends of the Gibbs chains.
            hidden_input: `hidden_input` of v0, if known.
        """
        # The gradient has a closed form, which needs no graph. If the dtypes differ, as under autocast, autograd
        # computes it.
        a0 = self.hidden_input(v0) if hidden_input is None else hidden_input
        if any(value.dtype != self.weight.dtype for value in (v0, vk, a0)):
            return self.free_energy(v0, hidden_input=a0).mean() - self.free_energy(vk).mean()
        x0, xk = (self.visible.signal(self.as_inputs(v)).detach() for v in (v0, vk))
        hidden: Tensor = PooledDifference.apply(self.weight, self.hidden_bias, self.hidden, x0, a0.detach(), xk)
        return self.visible_energy(v0).mean() - self.visible_energy(vk).mean() + hidden

    def unit_biases(self) -> Tensor:
        """The bias of each visible unit, V: that of its channel."""
        return self.visible_bias.repeat_interleave(self.in_shape[1] * self.in_shape[2])

    # The methods of `zoo.protocols`. x is N x in_shape.

    def forward(self, x: Tensor) -> Tensor:
        """N x in_shape -> N x (K · P · Q), the probabilities of the pooling units."""
        return self.encode(x)

    def feature_layers(self) -> Sequence[Callable[[Tensor], Tensor]]:
        """One layer: the flat probabilities of the pooling units."""
        return [lambda v: self.pool_mean(v).flatten(1)]

    def first_input(self, x: Tensor) -> Tensor:
        """The image itself."""
        return x

    def reconstruct(self, x: Tensor) -> Tensor:
        """E[v | h = E[h | x]], N x in_shape."""
        return self.visible_mean(self.hidden_mean(x))

    def as_inputs(self, v: Tensor) -> Tensor:
        """N x in_shape, or N x V -> N x in_shape."""
        return v.reshape(-1, *self.in_shape)

    @torch.no_grad()
    def sample(self, n: int, steps: int = 1000, *, labels: Tensor | None = None) -> Tensor:
        """``n`` samples, n x in_shape, each from its own Gibbs chain that starts at noise.

        The last step returns means instead of drawing pixels.

        Args:
            n: number of samples.
            steps: number of Gibbs steps, >= 1.
            labels: ignored, since there are no label units.
        """
        return self.generate(self.gibbs(self.noise(n), steps - 1))

    def generate(self, v: Tensor) -> Tensor:
        """One Gibbs step from states of the visible units to means of the pixels, N x in_shape."""
        return self.visible_mean(self.sample_hidden(v))

    def generative_parameters(self) -> Iterator[nn.Parameter]:
        """The parameters that `forward` does not use."""
        yield self.visible_bias

    def extra_repr(self) -> str:
        maps, channels, side, _ = self.weight.shape
        return f"{channels} {self.visible_units} channels, {maps} maps, kernel_size={side}, pool={self.hidden.pool}"
