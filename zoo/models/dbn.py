"""Deep belief network (Hinton, Osindero & Teh 2006, "A fast learning algorithm for deep belief nets").

The figure in words: a stack of restricted Boltzmann machines (RBMs). The hidden units of each RBM are the visible units
of the next. In the trained net, the top two layers form an undirected RBM; the layers below form a directed net that
generates images from the top down:

    h_L <-> h_{L-1}      an RBM, which models p(h_{L-1}); with label units, p(h_{L-1}, label)
    h_{L-1} -> … -> h_1 -> v      each p(h_k | h_{k+1}) is the visible conditional of RBM k

RBMs are counted from 0: RBM k connects h_k and h_{k+1}, where h_0 = v is the input.

Inference goes from the bottom up with the hidden conditionals, h_{k+1} ~ p(h_{k+1} | h_k). With a classifier head the
net is an MLP with sigmoid units that shares the weights of the RBMs. Imports torch and the zoo's models only.

Deviations from the paper:

1. Inputs in [0, 1] and the means of hidden units are used as Bernoulli probabilities while the RBMs are trained.
2. The paper's net has label units and no other classifier. `label_units=False` adds a linear head for supervised
   fine-tuning instead, as Hinton & Salakhutdinov 2006 do.

Shapes: N examples, H_k units in hidden layer k, K classes.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from zoo.models.classifier import NetWithHead
from zoo.models.noise import GaussianNoise
from zoo.models.rbm import RBM
from zoo.models.shapes import check_widths
from zoo.models.units import bernoulli


class DBN(NetWithHead):
    """A stack of RBMs, with a classifier on top or with the classes inside the top RBM.

    Args:
        in_shape: shape of one input without the batch; it is flattened.
        num_classes: number of classes; 0 or None for a net that has neither head nor label units.
        hidden: number of hidden units of each layer, from the input up.
        visible_units: kind of the input units: bernoulli (inputs in [0, 1]) or gaussian (standardized inputs).
        label_units: whether the classes are units of the top RBM, which then classifies by free energy; otherwise
            a linear head classifies.
        untied: whether the directed layers have separate recognition (bottom-up) weights (see `untie`).
        dropout: probability of dropping a hidden unit during supervised fine-tuning.
        input_dropout: probability of dropping an input during supervised fine-tuning.
        noise: std of Gaussian noise added to the pre-activations during supervised fine-tuning.
        input_noise: std of Gaussian noise added to the inputs during supervised fine-tuning.
        init: initialization of the weights, as in `RBM`: normal, or xavier, which suits a net without pretraining.

    Attributes:
        layers: the RBMs.
        untied: whether `untie` was called, here or by the constructor.
        recognition: one linear layer with recognition weights for each directed layer, if untied; otherwise empty.
        head: the linear classifier, or None.

    Raises:
        ValueError: no hidden layer, a width below 1, an unknown kind of unit or init, label units without classes, a
            negative noise, or untied layers with Gaussian units.
    """

    def __init__(
        self,
        *,
        in_shape: Sequence[int] = (1, 28, 28),
        num_classes: int | None = 10,
        hidden: Sequence[int] = (500, 500, 2000),
        visible_units: str = "bernoulli",
        label_units: bool = False,
        untied: bool = False,
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        noise: float = 0.0,
        input_noise: float = 0.0,
        init: str = "normal",
    ):
        super().__init__()
        # Validate the arguments that RBM does not validate, and store the public attributes.
        check_widths(in_shape=in_shape, hidden=hidden, num_classes=num_classes or 1)
        if not hidden:
            raise ValueError("hidden=[] must name at least one hidden layer")
        if label_units and not num_classes:
            raise ValueError(f"label_units=true needs num_classes, which is {0 if num_classes == 0 else 'null'}")
        self.in_shape = tuple(in_shape)
        self.num_classes = num_classes or None
        self.label_units = label_units

        # Stack the RBMs. Only the lowest may have Gaussian visible units, only the top one label units.
        self.layers = nn.ModuleList()
        last = len(hidden) - 1
        for k, width in enumerate(hidden):
            rbm = RBM(
                in_shape=in_shape if k == 0 else [hidden[k - 1]],
                hidden=width,
                visible_units=visible_units if k == 0 else "bernoulli",
                label_units=num_classes if label_units and num_classes and k == last else 0,
                init=init,
            )
            self.layers.append(rbm)

        # No layer is untied yet. The head is created before `untie`, whose linear layers draw random numbers.
        self.untied = False
        self.recognition = nn.ModuleList()

        # For supervised fine-tuning: regularization and the head.
        self.input_dropout = nn.Dropout(input_dropout)
        self.dropout = nn.Dropout(dropout)
        self.input_noise = GaussianNoise(input_noise, name="input_noise")
        self.noise = GaussianNoise(noise)
        self.num_features = hidden[-1]
        self.head = None if label_units else self.new_head(num_classes)
        if untied:
            self.untie()

    @property
    def top(self) -> RBM:
        """The top RBM."""
        return self.rbm(-1)

    def rbm(self, layer: int) -> RBM:
        """RBM number ``layer``, counted from 0 at the input; -1 is the top RBM."""
        rbm = self.layers[layer]
        assert isinstance(rbm, RBM)
        return rbm

    # Bottom-up inference

    def forward(self, x: Tensor) -> Tensor:
        """N x in_shape -> N x K logits; without classes the means of the top layer."""
        # Compute the layers below the classifier: label units are inside the top RBM, a head is above it.
        depth = len(self.layers) - 1 if self.label_units else len(self.layers)
        h = self.input_noise(self.input_dropout(x.flatten(1)))  # N x pixels
        for k in range(depth):
            a = self.noise(self.recognition_input(h, k))
            h = self.dropout(torch.sigmoid(a))  # N x H_{k+1}
        # The classes: by free energy, or by the head.
        return self.top.class_logits(h) if self.label_units else self.forward_head(h)

    def feature_layers(self) -> Sequence[Callable[[Tensor], Tensor]]:
        """The mean activations of each layer, given those of the layer below: N x H_k -> N x H_{k+1}."""
        return [partial(self.up, layer=k) for k in range(len(self.layers))]

    def up(self, h: Tensor, layer: int) -> Tensor:
        """E[h_{k+1} | h_k] for k = ``layer``, by the recognition weights, N x H_{k+1}. Label units count as zero."""
        # An untied directed layer has separate recognition weights; any other layer uses the weights of its RBM.
        if layer < len(self.recognition):
            return torch.sigmoid(self.recognition_input(h, layer))
        return self.rbm(layer).encode(h)

    def recognition_input(self, h: Tensor, layer: int) -> Tensor:
        """The pre-activations of h_{k+1} given h_k, for k = ``layer``, N x H_{k+1}: the logits of `up`."""
        if layer < len(self.recognition):
            a: Tensor = self.recognition[layer](h)
            return a
        return self.rbm(layer).hidden_input(h)

    # Top-down generation

    def down(self, h: Tensor, layer: int) -> Tensor:
        """E[h_k | h_{k+1}] for k = ``layer``, by the generative weights, N x H_k, without label units."""
        below, _ = self.rbm(layer).split_labels(self.rbm(layer).visible_mean(h))
        return below

    def reconstruct(self, x: Tensor, depth: int | None = None) -> Tensor:
        """Encode up to layer ``depth`` (None: the last) and decode, both with mean activations: N x in_shape."""
        depth = len(self.layers) if depth is None else depth
        h = self.encode(x, depth)
        for k in reversed(range(depth)):
            h = self.down(h, k)
        return h.reshape(h.shape[0], *self.in_shape)

    @torch.no_grad()
    def sample(self, n: int, steps: int = 1000, *, labels: Tensor | None = None) -> Tensor:
        """``n`` samples, n x in_shape: Gibbs chains in the top RBM that start at noise, then one top-down pass.

        The states of hidden layers are sampled; pixels are returned as means.

        Args:
            n: number of samples.
            steps: number of Gibbs steps, >= 1.
            labels: n class numbers to sample for, if the net has label units; None: the chains sample them, too.
        """
        # With one RBM, the last Gibbs step gives the pixels. Otherwise run the chains in the top RBM, then sample down.
        if len(self.layers) == 1:
            return self.top.sample(n, steps, labels=labels)
        return self.generate(self.top.gibbs(self.top.noise(n), steps, labels=labels))

    def generate(self, v: Tensor) -> Tensor:
        """States of the visible units of the top RBM -> means of the pixels, N x in_shape."""
        # Draw the states of each hidden layer below; for the pixels return the means.
        h, _ = self.top.split_labels(v)
        for k in reversed(range(len(self.layers) - 1)):
            mean = self.down(h, k)
            h = bernoulli(mean) if k > 0 else mean
        return h.reshape(h.shape[0], *self.in_shape)

    # Untying and the head

    def untie(self) -> None:
        """Give the directed layers separate recognition weights, initially equal to the generative weights.

        Wake-sleep (up-down) trains the two sets separately (Hinton, Osindero & Teh 2006, section 5). A second call does
        nothing.

        Raises:
            ValueError: a directed layer with Gaussian units.
        """
        if self.untied:
            return
        directed = [self.rbm(k) for k in range(len(self.layers) - 1)]
        if not all(rbm.visible.binary for rbm in directed):
            raise ValueError(
                "wake-sleep (up-down) needs bernoulli units in every layer; set model.net.visible_units=bernoulli"
            )
        # Copy the weights and hidden biases of each directed layer into a new linear layer.
        for rbm in directed:
            hidden, visible = rbm.weight.shape
            linear = nn.Linear(visible, hidden).to(rbm.weight)
            with torch.no_grad():
                linear.weight.copy_(rbm.weight)
                linear.bias.copy_(rbm.hidden_bias)
            self.recognition.append(linear)
        self.untied = True

    def config_changes(self) -> dict[str, Any]:
        """The constructor arguments that training has changed, and their new values: ``untied`` after `untie`."""
        return {"untied": True} if self.untied else {}

    def reset_head(self, num_classes: int | None) -> None:
        """Replace the head, or the label units, by new ones for ``num_classes`` classes; 0 or None: remove them.

        A net whose label units were removed gets a linear head from the next call.
        """
        if not self.label_units:
            super().reset_head(num_classes)
            return
        self.num_classes = num_classes or None
        self.label_units = bool(num_classes)
        self.top.reset_head(num_classes)

    def generative_parameters(self) -> Iterator[nn.Parameter]:
        """The parameters that `forward` does not use: visible biases and, if untied, the generative weights."""
        # With label units, the free energy of the top RBM uses all of its parameters.
        depth = len(self.layers) - 1 if self.label_units else len(self.layers)
        for k in range(depth):
            if k < len(self.recognition):
                yield from self.rbm(k).parameters()
            else:
                yield self.rbm(k).visible_bias

    def unused_parameters(self) -> Iterator[nn.Parameter]:
        """The hidden biases of untied RBMs. Inference uses the biases of ``recognition`` instead, generation none."""
        for k in range(len(self.recognition)):
            yield self.rbm(k).hidden_bias
