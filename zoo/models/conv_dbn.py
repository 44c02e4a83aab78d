"""Convolutional deep belief network (Lee, Grosse, Ranganath & Ng 2009, "Convolutional deep belief networks for scalable
unsupervised learning of hierarchical representations"; Communications of the ACM 2011).

The figure in words: a stack of convolutional RBMs. The pooling units of each are the visible units of the next. On
photographs, the lowest maps respond to edges, the next ones to parts of objects, the highest to whole objects.

    v  <->  h_1 -> p_1  <->  h_2 -> p_2  <->  …        each p_k: whether any unit of its block of h_k is on

RBMs are counted from 0: RBM k connects p_k and h_{k+1}, where p_0 = v is the image.

They are trained one after another (`zoo.tasks.ContrastiveDivergence`). `encode` computes features from the bottom up.
The trained layers also form one undirected model of all layers (section 3.6 of the paper), with the energy

    E(v, h_1, …, h_L) = E_0(v, h_1) - Σ_k [h_{k+1} · (W_k correlated with p_k) + c_k Σ h_{k+1}]

A block of h_k then has the pre-activations of its units from below plus, for all of them, that of its pooling unit from
above. `infer` samples all layers by block Gibbs sampling, so that features at both levels explain the image together;
`complete` fills in pixels that are not known. Imports torch and the zoo's models only.

Deviations from the paper:

1. The means of the pooling units are used as Bernoulli probabilities while the next RBM is trained.
2. A linear head on the features, trained by softmax regression on fixed features or with fine-tuning; the paper
   trains a linear SVM on fixed ones.

Shapes: N examples, K_k maps of H_k x W_k units in hidden layer k, and of P_k x Q_k pooling units.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.models.classifier import NetWithHead
from zoo.models.conv_rbm import ConvRBM
from zoo.models.shapes import check_widths, image, per_layer


class Inferred(NamedTuple):
    """Means under the joint distribution of all layers, given the known pixels.

    Attributes:
        pixels: N x in_shape; known pixels as they are.
        pooled: the probabilities of the pooling units of each layer, N x K_k x P_k x Q_k.
    """

    pixels: Tensor
    pooled: list[Tensor]


class ConvDBN(NetWithHead):
    """A stack of convolutional RBMs, with a linear classifier on top.

    Args:
        in_shape: channels, height and width of one image.
        num_classes: number of classes; 0 or None for a net without a head.
        hidden: number of maps of each layer, from the input up.
        kernel_size: side of the kernels of each layer; one value for all layers, or a list.
        pool: side of the pooled blocks of each layer; one value for all layers, or a list.
        visible_units: kind of the input units: bernoulli (inputs in [0, 1]) or gaussian (real values).
        visible_std: standard deviation of Gaussian input units, given the lowest hidden units.
        init_std: standard deviation of the initial weights of the RBMs.
        head_layers: 1: the features are those of the top layer; 2: those of the two highest layers, side by side.
        dropout: probability of dropping a feature below the head, in supervised training.

    Attributes:
        layers: the convolutional RBMs.
        head: the linear classifier, or None.

    Raises:
        ValueError: no hidden layer, lists of different lengths, maps that are smaller than the next kernel, or what
            `ConvRBM` refuses.
    """

    def __init__(
        self,
        *,
        in_shape: Sequence[int] = (1, 28, 28),
        num_classes: int | None = 10,
        hidden: Sequence[int] = (40, 40),
        kernel_size: int | Sequence[int] = (12, 6),
        pool: int | Sequence[int] = 2,
        visible_units: str = "bernoulli",
        visible_std: float = 1.0,
        init_std: float = 0.01,
        head_layers: int = 1,
        dropout: float = 0.0,
    ):
        super().__init__()
        # Check the arguments that ConvRBM does not check.
        check_widths(hidden=hidden, num_classes=num_classes or 1)
        if not hidden:
            raise ValueError("hidden=[] must name at least one hidden layer")
        if not 1 <= head_layers <= min(2, len(hidden)):
            raise ValueError(f"head_layers={head_layers} must be 1, or 2 for a net of two layers or more")
        sides = per_layer("kernel_size", kernel_size, len(hidden))
        pools = per_layer("pool", pool, len(hidden))
        self.in_shape = image(in_shape)
        self.num_classes = num_classes or None

        # Stack the RBMs: the pooling units of one are the visible units of the next.
        self.layers = nn.ModuleList()
        shape: Sequence[int] = self.in_shape
        for k, maps in enumerate(hidden):
            lowest = k == 0
            rbm = ConvRBM(
                in_shape=shape,
                hidden=maps,
                kernel_size=sides[k],
                pool=pools[k],
                visible_units=visible_units if lowest else "bernoulli",
                visible_std=visible_std if lowest else 1.0,
                init_std=init_std,
            )
            self.layers.append(rbm)
            shape = rbm.pool_shape

        # The head.
        self.head_layers = head_layers
        self.num_features = sum(self.rbm(-1 - k).num_features for k in range(head_layers))
        self.dropout = nn.Dropout(dropout)
        self.head = self.new_head(num_classes)

    @property
    def top(self) -> ConvRBM:
        """The top RBM."""
        return self.rbm(-1)

    def rbm(self, layer: int) -> ConvRBM:
        """RBM number ``layer``, counted from 0 at the input; -1 is the top RBM."""
        rbm = self.layers[layer]
        assert isinstance(rbm, ConvRBM)
        return rbm

    # Bottom-up features

    def forward(self, x: Tensor) -> Tensor:
        """N x in_shape -> N x num_classes logits; without a head the features."""
        return self.forward_head(self.dropout(self.encode(x)))

    def feature_layers(self) -> Sequence[Callable[[Tensor], Tensor]]:
        """The probabilities of the pooling units of each layer, N x K x P x Q; the features are flat."""
        layers: list[Callable[[Tensor], Tensor]] = [self.rbm(k).pool_mean for k in range(len(self.layers) - 1)]
        return [*layers, self._features]

    def _features(self, p: Tensor) -> Tensor:
        """The inputs of the top RBM -> features of the top layer, after those inputs if the head sees two layers."""
        top = self.top.encode(p)
        return top if self.head_layers == 1 else torch.cat([p.flatten(1), top], dim=1)

    def first_input(self, x: Tensor) -> Tensor:
        """The image itself."""
        return x

    # Joint inference. ``hidden`` holds the states (or means) of h_1, …, h_L, each N x K x H x W.

    @torch.no_grad()
    def infer(
        self,
        x: Tensor,
        *,
        known: Tensor | None = None,
        steps: int = 100,
        burn_in: int = 20,
        mean_field: bool = False,
    ) -> Inferred:
        """Means of all layers under their joint distribution given an image, from top-down and bottom-up signals.

        Args:
            x: N x in_shape.
            known: booleans that broadcast to x, False for pixels to be inferred; None: all pixels are known. The values
                of x at other pixels are only the start.
            steps: number of steps that are averaged, >= 1. A step updates the odd layers, then the even ones.
            burn_in: number of steps before them, >= 0.
            mean_field: use means in place of samples, as the paper does in most of its experiments; it is faster and
                needs few steps, but is an approximation.

        Raises:
            ValueError: ``steps`` or ``burn_in`` is out of range.
        """
        if steps < 1 or burn_in < 0:
            raise ValueError(f"steps={steps} must be >= 1 and burn_in={burn_in} must be >= 0")
        # Start from the features, then alternate. The means given the neighboring layers are averaged.
        v = x
        hidden = self._start(x)
        total: list[Tensor] = []
        for step in range(burn_in + steps):
            v, hidden, means = self._step(v, hidden, x=x, known=known, mean_field=mean_field)
            if step >= burn_in:
                total = [old + new for old, new in zip(total, means, strict=True)] if total else means
        pixels, *pooled = [each / steps for each in total]
        return Inferred(pixels, pooled)

    def complete(self, x: Tensor, known: Tensor, *, steps: int = 100, burn_in: int = 20) -> Tensor:
        """The image with the pixels that are not known filled in by `infer`, N x in_shape."""
        return self.infer(x, known=known, steps=steps, burn_in=burn_in).pixels

    def energy(self, v: Tensor, hidden: Sequence[Tensor]) -> Tensor:
        """E(v, h_1, …, h_L), N."""
        # The pooling units have no biases of their own in the joint model.
        total = self.rbm(0).energy(v, hidden[0])
        for k in range(1, len(self.layers)):
            rbm = self.rbm(k)
            below = self.rbm(k - 1).hidden.pool_states(hidden[k - 1])
            total = total + rbm.hidden.energy(hidden[k], rbm.hidden_bias) - rbm.joint(below, hidden[k])
        return total

    def hidden_input(self, v: Tensor, hidden: Sequence[Tensor], layer: int) -> Tensor:
        """Pre-activations of h_{k+1} for k = ``layer``, given the layers below and above it, N x K x H x W."""
        # From below: the image, or the pooling units of the layer below.
        below = v if layer == 0 else self.rbm(layer - 1).hidden.pool_states(hidden[layer - 1])
        a = self.rbm(layer).hidden_input(below)
        if layer + 1 == len(self.layers):
            return a
        # From above: the signal of a pooling unit reaches all units of its block.
        above = F.conv_transpose2d(hidden[layer + 1], self.rbm(layer + 1).weight)  # N x K x P x Q
        return a + self.rbm(layer).hidden.spread(above)

    def _start(self, x: Tensor) -> list[Tensor]:
        """The hidden means from the bottom up."""
        hidden: list[Tensor] = []
        below = x
        for k in range(len(self.layers)):
            hidden.append(self.rbm(k).hidden_mean(below))
            below = self.rbm(k).hidden.pool_states(hidden[k])
        return hidden

    def _step(
        self, v: Tensor, hidden: list[Tensor], *, x: Tensor, known: Tensor | None, mean_field: bool
    ) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """One step: the new v and hidden states, and the means of the pixels and of the pooling units of each layer."""
        # Layers two apart are independent given those between them: h_1, h_3, … first, then v, h_2, h_4, …
        hidden = list(hidden)
        means: list[Tensor] = [x] * (len(hidden) + 1)
        for first in (0, 1):
            if first == 1 and known is not None:
                means[0], v = self._pixels(hidden, x=x, known=known, mean_field=mean_field)
            for k in range(first, len(hidden), 2):
                units = self.rbm(k).hidden
                a = self.hidden_input(v, hidden, k)
                hidden[k] = units.mean(a) if mean_field else units.sample(a)
                means[k + 1] = units.pool_mean(a)
        return v, hidden, means

    def _pixels(self, hidden: Sequence[Tensor], *, x: Tensor, known: Tensor, mean_field: bool) -> tuple[Tensor, Tensor]:
        """The means of the pixels given h_1, and their states; known pixels as they are."""
        rbm = self.rbm(0)
        mean = rbm.visible_mean(hidden[0])
        state = mean if mean_field else rbm.sample_visible(hidden[0])
        return torch.where(known, x, mean), torch.where(known, x, state)

    # Reconstructions and samples

    def reconstruct(self, x: Tensor, depth: int | None = None) -> Tensor:
        """Encode up to layer ``depth`` (None: the last) and decode, both with means: N x in_shape.

        On the way down, the units of a block share what its pooling unit gets as they did on the way up.
        """
        depth = len(self.layers) if depth is None else depth
        inputs: list[Tensor] = []
        p = x
        for k in range(depth):
            inputs.append(self.rbm(k).hidden_input(p))
            p = self.rbm(k).hidden.pool_mean(inputs[k])
        for k in reversed(range(depth)):
            p = self.rbm(k).visible_mean(self.rbm(k).hidden.mean_given_pool(inputs[k], p))
        return p

    @torch.no_grad()
    def sample(self, n: int, steps: int = 1000, *, labels: Tensor | None = None) -> Tensor:
        """``n`` samples of the joint model, n x in_shape, as means of the pixels; each chain starts at noise.

        Args:
            n: number of samples.
            steps: number of Gibbs steps of all layers, >= 1.
            labels: ignored, since there are no label units.
        """
        x = self.rbm(0).noise(n)
        unknown = torch.zeros(1, dtype=torch.bool, device=x.device)
        return self.infer(x, known=unknown, steps=1, burn_in=steps - 1).pixels

    def generate(self, v: Tensor) -> Tensor:
        """States of the visible units of the top RBM -> means of the pixels, N x in_shape, from the top down."""
        p = self.top.as_inputs(v)
        for k in reversed(range(len(self.layers) - 1)):
            rbm = self.rbm(k)
            # Nothing from below tells which unit of a block is on: all are equally probable.
            nothing = torch.zeros(len(p), *rbm.hidden_shape).to(p)
            p = rbm.visible_mean(rbm.hidden.mean_given_pool(nothing, p))
        return p

    def generative_parameters(self) -> Iterator[nn.Parameter]:
        """The parameters that `forward` does not use: the visible biases."""
        for k in range(len(self.layers)):
            yield self.rbm(k).visible_bias
