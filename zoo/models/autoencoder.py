"""Stacked autoencoder (Vincent et al. 2010, "Stacked denoising autoencoders"; Bengio et al. 2007, "Greedy layer-wise
training"; Hinton & Salakhutdinov 2006, "Reducing the dimensionality of data with neural networks").

The figure in words: an autoencoder codes its input by one layer and decodes it by another. A stack of them codes the
code. Unrolled, it is one net that narrows towards the middle and widens again; cut at the middle and given a head,
it is a classifier.

    x -> code_1 -> … -> code_L -> … -> code_1' -> x'        or        x -> code_1 -> … -> code_L -> head

Shapes: N examples, V inputs of a layer, H units of its code.
"""

from collections.abc import Iterator, Sequence
from itertools import islice, pairwise
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.models.activations import activation as named_activation
from zoo.models.activations import pieces
from zoo.models.noise import GaussianNoise
from zoo.models.rbm import RBM
from zoo.models.shapes import check_widths


class Autoencoder(nn.Module):
    """A coding and a decoding layer: x' = g(b + W' f(c + W x)).

    Its parameters carry the names of an RBM's, whose they can be (`rbm`).

    Args:
        in_shape: shape of one input without the batch; it is flattened.
        hidden: units of the code.
        activation: f, of the code (`zoo.models.ACTIVATIONS`, without maxout).
        output_activation: g, of the reconstruction.
        tied: whether the decoder's matrix is the encoder's transposed, or one of its own.

    Attributes:
        weight: H x V, the encoder's.
        hidden_bias: H.
        visible_bias: V.
        decoder_weight: V x H; None when tied.

    Raises:
        ValueError: an unknown activation, maxout, or a width below 1.
    """

    def __init__(
        self,
        *,
        in_shape: Sequence[int] = (1, 28, 28),
        hidden: int = 500,
        activation: str = "sigmoid",
        output_activation: str = "sigmoid",
        tied: bool = True,
    ):
        super().__init__()
        check_widths(in_shape=in_shape, hidden=hidden)
        if pieces(activation) > 1 or pieces(output_activation) > 1:
            raise ValueError("maxout has several pieces a unit, for which a decoder has no inverse: choose another")
        visible = prod(in_shape)
        self.in_shape, self.num_classes = tuple(in_shape), None
        self.activation_name, self.output_activation_name = activation, output_activation
        self.activation, self.output_activation = named_activation(activation), named_activation(output_activation)
        self.weight = nn.Parameter(_initial(hidden, visible, activation))
        self.hidden_bias = nn.Parameter(torch.zeros(hidden))
        self.visible_bias = nn.Parameter(torch.zeros(visible))
        self.decoder_weight = None if tied else nn.Parameter(_initial(visible, hidden, output_activation))

    def forward(self, x: Tensor) -> Tensor:
        """N x in_shape -> N x H, the code."""
        return self.encode(x)

    def hidden_input(self, x: Tensor) -> Tensor:
        """What the activation of the code acts on: c + W x, N x H."""
        return F.linear(x.flatten(1), self.weight, self.hidden_bias)

    def encode(self, x: Tensor, depth: int | None = None) -> Tensor:
        """N x in_shape -> N x H (depth 0: the flat input)."""
        return x.flatten(1) if depth == 0 else self.activation(self.hidden_input(x))

    def decode(self, h: Tensor, *, activate: bool = True) -> Tensor:
        """N x H -> N x V; without ``activate`` what the output activation acts on (of a sigmoid: logits)."""
        weight = self.weight.t() if self.decoder_weight is None else self.decoder_weight
        a = F.linear(h, weight, self.visible_bias)
        return self.output_activation(a) if activate else a

    def reconstruct(self, x: Tensor) -> Tensor:
        """N x in_shape -> the same."""
        return self.decode(self.encode(x)).unflatten(1, self.in_shape)

    def rbm(self, layer: int | None = None) -> RBM:
        """The restricted Boltzmann machine with these very parameters: fitting it fits the encoder.

        A linear code makes Gaussian hidden units, a sigmoid one Bernoulli units. A decoder of its own is not part of
        it and follows with `unroll`.

        Raises:
            ValueError: activations that no RBM has.
        """
        kinds = {"sigmoid": "bernoulli", "identity": "gaussian"}
        names = self.output_activation_name, self.activation_name
        if any(name not in kinds for name in names):
            raise ValueError(f"activations {' and '.join(names)}: an RBM has sigmoid (or identity) units")
        visible, hidden = (kinds[name] for name in names)
        with torch.device("meta"):  # its own parameters are thrown away
            rbm = RBM(in_shape=self.in_shape, hidden=len(self.weight), visible_units=visible, hidden_units=hidden)
        rbm.weight, rbm.visible_bias, rbm.hidden_bias = self.weight, self.visible_bias, self.hidden_bias
        if visible == "gaussian":
            rbm.register_buffer("log_variance", torch.zeros_like(self.visible_bias))
        return rbm

    def unroll(self) -> None:
        """Set a decoder matrix of its own to the encoder's transposed (Hinton & Salakhutdinov 2006, figure 1)."""
        if self.decoder_weight is not None:
            with torch.no_grad():
                self.decoder_weight.copy_(self.weight.t())

    def generative_parameters(self) -> Iterator[nn.Parameter]:
        """Those that `encode` has no use for."""
        yield self.visible_bias
        if self.decoder_weight is not None:
            yield self.decoder_weight


class StackedAutoencoder(nn.Module):
    """Autoencoders, each of the code of the one below.

    Args:
        in_shape: shape of one input without the batch; it is flattened.
        num_classes: outputs of a classifier head; None for a net that reconstructs.
        hidden: units of the codes, first to last.
        activation: of the codes.
        code_activation: of the last code; None for that of the others. "identity" is the linear code of
            Hinton & Salakhutdinov 2006.
        output_activation: of the reconstructed input: sigmoid within 0 to 1, identity for standardised inputs.
        tied: whether decoders share the encoders' matrices.
        dropout: probability of dropping a unit of a code while the head is trained.
        input_dropout: probability of dropping an input then.
        noise: deviation of what is added to what a unit of a code receives while the head is trained.
        input_noise: deviation of what is added to an input then.

    Raises:
        ValueError: no hidden layer, an unknown activation, maxout, a width below 1, or a negative noise.
    """

    def __init__(
        self,
        *,
        in_shape: Sequence[int] = (1, 28, 28),
        num_classes: int | None = 10,
        hidden: Sequence[int] = (1000, 1000, 1000),
        activation: str = "sigmoid",
        code_activation: str | None = None,
        output_activation: str = "sigmoid",
        tied: bool = True,
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        noise: float = 0.0,
        input_noise: float = 0.0,
    ):
        super().__init__()
        check_widths(in_shape=in_shape, hidden=hidden, num_classes=1 if num_classes is None else num_classes)
        if not hidden:
            raise ValueError("hidden: at least one hidden layer is needed")
        self.in_shape, self.num_classes = tuple(in_shape), num_classes
        # What comes out of a layer is what the layer above reconstructs, so they share an activation.
        codes = [*[activation] * (len(hidden) - 1), code_activation or activation]
        widths = pairwise([prod(in_shape), *hidden])
        self.layers = nn.ModuleList(
            Autoencoder(in_shape=[fan_in], hidden=width, activation=code, output_activation=below, tied=tied)
            for (fan_in, width), (below, code) in zip(widths, pairwise([output_activation, *codes]), strict=True)
        )
        self.input_dropout, self.dropout = nn.Dropout(input_dropout), nn.Dropout(dropout)
        self.input_noise, self.noise = GaussianNoise(input_noise, name="input_noise"), GaussianNoise(noise)
        self.head = None if num_classes is None else nn.Linear(hidden[-1], num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """N x in_shape -> N x num_classes logits; without a head the code, N x H_L."""
        h = self.input_noise(self.input_dropout(x.flatten(1)))
        for k in range(len(self.layers)):
            layer = self.autoencoder(k)
            a = self.noise(layer.hidden_input(h))
            h = self.dropout(layer.activation(a))  # N x H
        return h if self.head is None else self.head(h)

    def forward_head(self, features: Tensor) -> Tensor:
        """The output of `encode` -> N x num_classes logits; without a head the features themselves."""
        return features if self.head is None else self.head(features)

    def encode(self, x: Tensor, depth: int | None = None) -> Tensor:
        """N x in_shape -> N x H of code ``depth`` (None: the last; 0: the flat input)."""
        h = x.flatten(1)
        for layer in islice(self.layers, depth):
            h = layer(h)
        return h

    def decode(self, h: Tensor, depth: int | None = None, *, activate: bool = True) -> Tensor:
        """N x H of code ``depth`` (None: the last) -> N x V, as `Autoencoder.decode`."""
        layers = [self.autoencoder(k) for k in range(len(self.layers) if depth is None else depth)]
        for k, layer in reversed(list(enumerate(layers))):
            h = layer.decode(h, activate=activate or k > 0)
        return h

    def reconstruct(self, x: Tensor, depth: int | None = None) -> Tensor:
        """Up to code ``depth`` (None: the last) and down again, N x in_shape."""
        return self.decode(self.encode(x, depth), depth).unflatten(1, self.in_shape)

    def autoencoder(self, layer: int) -> Autoencoder:
        """Autoencoder number ``layer``, counted from the input."""
        part = self.layers[layer]
        assert isinstance(part, Autoencoder)
        return part

    def rbm(self, layer: int) -> RBM:
        """Layer number ``layer`` as a restricted Boltzmann machine. See `Autoencoder.rbm`."""
        return self.autoencoder(layer).rbm()

    def reset_head(self, num_classes: int) -> None:
        """Replace the head by a fresh one for ``num_classes`` classes."""
        last = self.autoencoder(-1).weight
        self.num_classes, self.head = num_classes, nn.Linear(len(last), num_classes).to(last)

    def generative_parameters(self) -> Iterator[nn.Parameter]:
        """Those that `forward` has no use for."""
        for layer in self.layers:
            assert isinstance(layer, Autoencoder)
            yield from layer.generative_parameters()


def _initial(rows: int, columns: int, activation: str) -> Tensor:
    """Uniform weights of Glorot & Bengio 2010; a sigmoid is four times as flat as tanh and gets four times as much."""
    gain = {"sigmoid": 4.0, "tanh": 1.0, "relu": 2**0.5}.get(activation, 1.0)
    return nn.init.xavier_uniform_(torch.empty(rows, columns), gain=gain)
