"""Deep belief network (Hinton, Osindero & Teh 2006, "A fast learning algorithm for deep belief nets").

The figure in words: a stack of restricted Boltzmann machines, the hidden units of each the visible units of the next.
Once trained, the top pair stays undirected and everything below it is directed downwards:

    h_L <-> h_{L-1}      an RBM, which holds the prior (with label units beside h_{L-1}, also that of the classes)
    h_{L-1} -> … -> h_1 -> v      each p(h_{k-1} | h_k) is the visible conditional of RBM k

Recognition goes the other way by the hidden conditionals, h_k ~ p(h_k | h_{k-1}). Under a classifier head it is a
multi-layer perceptron of sigmoids, whose layers *are* the RBMs.

Shapes: N examples, H_k units in hidden layer k, K classes.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from math import prod

import torch
from torch import Tensor, nn

from zoo.models.noise import GaussianNoise
from zoo.models.rbm import RBM, bernoulli
from zoo.models.shapes import check_widths


class DBN(nn.Module):
    """A stack of RBMs, with a classifier on top or with the classes inside the top RBM.

    Args:
        in_shape: shape of one input without the batch; it is flattened.
        num_classes: outputs; None for a net that has neither head nor label units.
        hidden: units of the hidden layers, first to last.
        visible_units: of the lowest RBM: bernoulli (inputs within 0 to 1) or gaussian (standardised inputs).
        label_units: whether the classes are units of the top RBM, which then classifies by free energy; else they
            are a linear head's.
        dropout: probability of dropping a hidden unit of `forward` in training.
        input_dropout: probability of dropping an input then.
        noise: deviation of what is added to what a hidden unit receives then.
        input_noise: deviation of what is added to an input then.
        init: of the weights, as `RBM`: normal, or xavier, the fair start of a net that is not pre-trained.

    Attributes:
        layers: the RBMs.
        recognition: linear maps of the directed layers for the way up, once `untie` has parted them; else empty.

    Raises:
        ValueError: no hidden layer, a width below 1, label units without classes, or a negative noise.
    """

    def __init__(
        self,
        *,
        in_shape: Sequence[int] = (1, 28, 28),
        num_classes: int | None = 10,
        hidden: Sequence[int] = (500, 500, 2000),
        visible_units: str = "bernoulli",
        label_units: bool = False,
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        noise: float = 0.0,
        input_noise: float = 0.0,
        init: str = "normal",
    ):
        super().__init__()
        check_widths(in_shape=in_shape, hidden=hidden, num_classes=1 if num_classes is None else num_classes)
        if not hidden:
            raise ValueError("hidden: at least one hidden layer is needed")
        if label_units and num_classes is None:
            raise ValueError("label_units: the number of classes is needed, num_classes is null")
        self.in_shape, self.num_classes, self.label_units = tuple(in_shape), num_classes, label_units
        self.layers = nn.ModuleList()
        for k, width in enumerate(hidden):
            top = k == len(hidden) - 1
            rbm = RBM(
                in_shape=in_shape if k == 0 else [hidden[k - 1]],
                hidden=width,
                visible_units=visible_units if k == 0 else "bernoulli",
                label_units=num_classes if label_units and top and num_classes else 0,
                init=init,
            )
            self.layers.append(rbm)
        self.recognition = nn.ModuleList()
        self.input_dropout, self.dropout = nn.Dropout(input_dropout), nn.Dropout(dropout)
        self.input_noise, self.noise = GaussianNoise(input_noise, name="input_noise"), GaussianNoise(noise)
        self.head = nn.Linear(hidden[-1], num_classes) if num_classes and not label_units else None

    @property
    def top(self) -> RBM:
        """The undirected pair."""
        return self.rbm(-1)

    def rbm(self, layer: int) -> RBM:
        """RBM number ``layer``, counted from the input."""
        rbm = self.layers[layer]
        assert isinstance(rbm, RBM)
        return rbm

    def forward(self, x: Tensor) -> Tensor:
        """N x in_shape -> N x K logits; the top code where there are no classes."""
        h = self.input_noise(self.input_dropout(x.flatten(1)))  # N x pixels
        for k in range(len(self.layers) - (1 if self.label_units else 0)):
            a = self.noise(self.recognition_input(h, k))
            h = self.dropout(torch.sigmoid(a))  # N x H_k
        if self.label_units:
            return self.top.class_logits(h)
        return h if self.head is None else self.head(h)

    def forward_head(self, features: Tensor) -> Tensor:
        """The output of `encode` -> N x num_classes logits; without a head the features themselves."""
        return features if self.head is None else self.head(features)

    def encode(self, x: Tensor, depth: int | None = None) -> Tensor:
        """N x in_shape -> N x H_depth, means all the way up (None: the last layer; 0: the flat input)."""
        h = x.flatten(1)
        for k, _ in islice(enumerate(self.layers), depth):
            h = self.up(h, k)
        return h

    def up(self, h: Tensor, layer: int) -> Tensor:
        """E[h_{k+1} | h_k] by the recognition weights, N x H."""
        if layer < len(self.recognition):
            return torch.sigmoid(self.recognition_input(h, layer))
        return self.layers[layer](h) if not self.rbm(layer).label_units else self.rbm(layer).encode(h)

    def recognition_input(self, h: Tensor, layer: int) -> Tensor:
        """What the units above a directed ``layer`` receive on the way up, N x H: the logits of `up`."""
        return self.recognition[layer](h) if layer < len(self.recognition) else self.rbm(layer).hidden_input(h)

    def down(self, h: Tensor, layer: int) -> Tensor:
        """E[h_{k-1} | h_k] by the generative weights, N x units below ``layer`` without labels."""
        rbm = self.rbm(layer)
        return rbm.visible_mean(h)[:, : prod(rbm.in_shape)]

    def reconstruct(self, x: Tensor, depth: int | None = None) -> Tensor:
        """Up to layer ``depth`` (None: the last) and down again, by means: N x in_shape."""
        depth = len(self.layers) if depth is None else depth
        h = self.encode(x, depth)
        for k in reversed(range(depth)):
            h = self.down(h, k)
        return h.unflatten(1, self.in_shape)

    @torch.no_grad()
    def sample(self, n: int, steps: int = 1000, *, labels: Tensor | None = None) -> Tensor:
        """``n`` samples, N x in_shape: Gibbs chains in the top RBM that start at noise, then one pass down.

        Lower layers are sampled; the pixels are their means. ``labels``: N class numbers to sample for.
        """
        if len(self.layers) == 1:
            return self.top.sample(n, steps, labels=labels)
        return self.generate(self.top.gibbs(self.top.noise(n), steps, labels=labels))

    def generate(self, v: Tensor) -> Tensor:
        """From states of the top RBM's visible units down to the means of the pixels, N x in_shape."""
        h = v[:, : prod(self.top.in_shape)]
        for k in reversed(range(len(self.layers) - 1)):
            mean = self.down(h, k)
            h = bernoulli(mean) if k else mean
        return h.unflatten(1, self.in_shape)

    def untie(self) -> None:
        """Give the directed layers recognition weights of their own, at first equal to the generative ones.

        The up-down algorithm needs them apart (Hinton, Osindero & Teh 2006, section 5). A second call does nothing.
        """
        for rbm in list(self.layers)[len(self.recognition) : -1]:
            assert isinstance(rbm, RBM)
            if rbm.visible_units == "gaussian":
                raise ValueError("the up-down algorithm is for bernoulli units in every layer")
            hidden, visible = rbm.weight.shape
            linear = nn.Linear(visible, hidden).to(rbm.weight)
            with torch.no_grad():
                linear.weight.copy_(rbm.weight)
                linear.bias.copy_(rbm.hidden_bias)
            self.recognition.append(linear)

    def reset_head(self, num_classes: int) -> None:
        """Fresh classes: a new head, or new label units."""
        self.num_classes = num_classes
        if self.label_units:
            self.top.reset_head(num_classes)
        else:
            self.head = nn.Linear(self.top.weight.shape[0], num_classes).to(self.top.weight)

    def generative_parameters(self) -> Iterator[nn.Parameter]:
        """Those that `forward` has no use for: the visible biases, and once untied all weights of the way down."""
        for k, rbm in enumerate(self.layers[:-1] if self.label_units else self.layers):
            assert isinstance(rbm, RBM)
            yield from rbm.parameters() if k < len(self.recognition) else [rbm.visible_bias]

    def _load_from_state_dict(self, state_dict, prefix, *rest) -> None:
        if any(name.startswith(f"{prefix}recognition.") for name in state_dict):
            self.untie()
        super()._load_from_state_dict(state_dict, prefix, *rest)
