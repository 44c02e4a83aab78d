"""Convolutional deep belief network (Lee, Grosse, Ranganath & Ng 2009, "Convolutional deep belief networks for scalable
unsupervised learning of hierarchical representations"; Communications of the ACM 2011).

The figure in words: a stack of convolutional RBMs. The pooling units of each are the visible units of the next. On
photographs, the lowest maps respond to edges, the next ones to parts of objects, the highest to whole objects.

    v  <->  h_1 -> p_1  <->  h_2 -> p_2  <->  …        each p_k: whether any unit of its block of h_k is on

RBMs are counted from 0: RBM k connects p_k and h_{k+1}, where p_0 = v is the image.

They are trained one after another (`zoo.tasks.ContrastiveDivergence`). `encode` computes features from the bottom up;
`infer` and `complete` let all layers explain an image together (`joint_inference.py`); `sample` draws from the belief
network: the top RBM is undirected, the layers below it are directed. Imports torch and the zoo's models only.

Deviations from the paper:

1. The means of the pooling units are used as Bernoulli probabilities while the next RBM is trained.
2. A linear head on the features, trained by softmax regression on fixed features or with fine-tuning; the paper
   trains a linear SVM on fixed ones.
3. Units in front of unknown pixels follow the layer above alone (`joint_inference.py`).

Shapes: N examples, K_k maps of H_k x W_k units in hidden layer k, and of P_k x Q_k pooling units.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from zoo.models.classifier import NetWithHead
from zoo.models.conv_rbm import ConvRBM
from zoo.models.joint_inference import JointInference
from zoo.models.shapes import check_widths, image, per_layer


class ConvDBN(JointInference, NetWithHead):
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
        pooling: the pooled probabilities of each layer go through it, for forward hooks such as those of Grad-CAM.
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
        self.pooling = nn.Identity()
        self.head_layers = head_layers
        self.num_features = sum(self.rbm(-1 - k).num_features for k in range(head_layers))
        self.dropout = nn.Dropout(dropout)
        self.head = self.new_head(num_classes)

    @property
    def top(self) -> ConvRBM:
        """The top RBM."""
        return self.rbm(-1)

    # Bottom-up features

    def forward(self, x: Tensor) -> Tensor:
        """N x in_shape -> N x num_classes logits; without a head the features."""
        return self.forward_head(self.dropout(self.encode(x)))

    def feature_layers(self) -> Sequence[Callable[[Tensor], Tensor]]:
        """The probabilities of the pooling units of each layer, N x K x P x Q; the features are flat."""
        return [*(partial(self._pooled, k) for k in range(len(self.layers) - 1)), self._features]

    def _pooled(self, layer: int, p: Tensor) -> Tensor:
        """The inputs of an RBM -> the probabilities of its pooling units, N x K x P x Q."""
        pooled: Tensor = self.pooling(self.rbm(layer).pool_mean(p))
        return pooled

    def _features(self, p: Tensor) -> Tensor:
        """The inputs of the top RBM -> features of the top layer, after those inputs if the head sees two layers."""
        top = self._pooled(-1, p).flatten(1)
        return top if self.head_layers == 1 else torch.cat([p.flatten(1), top], dim=1)

    def first_input(self, x: Tensor) -> Tensor:
        """The image itself."""
        return x

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
        """``n`` samples, n x in_shape: Gibbs chains in the top RBM that start at noise, then one top-down pass.

        The states of hidden layers are sampled; pixels are returned as means.

        Args:
            n: number of samples.
            steps: number of Gibbs steps, >= 1.
            labels: ignored, since there are no label units.
        """
        if len(self.layers) == 1:
            return self.top.sample(n, steps)
        return self.generate(self.top.gibbs(self.top.noise(n), steps))

    def generate(self, v: Tensor) -> Tensor:
        """States of the visible units of the top RBM -> means of the pixels, N x in_shape."""
        # Draw the states of each hidden layer below; for the pixels return the means.
        v = self.top.as_inputs(v)
        for k in reversed(range(len(self.layers) - 1)):
            # A pooling unit that is on says that one unit of its block is, each with the same probability.
            h = self.rbm(k).hidden.sample_given_pool(v)
            v = self.rbm(k).sample_visible(h) if k > 0 else self.rbm(k).visible_mean(h)
        return v

    def generative_parameters(self) -> Iterator[nn.Parameter]:
        """The parameters that `forward` does not use: the visible biases."""
        for k in range(len(self.layers)):
            yield self.rbm(k).visible_bias
