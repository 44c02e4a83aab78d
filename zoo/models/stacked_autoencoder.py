"""Stacked autoencoder (Vincent et al. 2010, "Stacked denoising autoencoders"; Bengio et al. 2007, "Greedy layer-wise
training"; Hinton & Salakhutdinov 2006, "Reducing the dimensionality of data with neural networks").

The figure in words: an autoencoder encodes its input with one layer and decodes it with another. In a stack, each
autoencoder encodes the features of the one below. Unrolled, the stack is one net: all encoders, then all decoders in
reverse order. The encoders with a head on top are a classifier.

    x -> h_1 -> … -> h_L -> … -> h_1' -> x'        or        x -> h_1 -> … -> h_L -> head

Imports torch and the zoo's models only.

Deviations from the paper:

1. There are three layers of 1000 units by default; Vincent et al. select number and width of the layers by validation.
2. Initial weights are drawn from the uniform distribution of Glorot & Bengio 2010; two of the three papers are older.

The optimizers of the recipes also differ from the papers': see ``deviations`` in conf/model.

Shapes: N examples, V inputs of a layer, H_k hidden units of layer k, counted from 1.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from math import prod

from torch import Tensor, nn

from zoo.models.autoencoder import Autoencoder, AutoencoderRBM
from zoo.models.classifier import NetWithHead
from zoo.models.noise import GaussianNoise
from zoo.models.shapes import check_widths


class StackedAutoencoder(NetWithHead):
    """Autoencoders, each over the hidden units of the one below.

    Args:
        in_shape: shape of one input without the batch; it is flattened.
        num_classes: number of outputs of a classifier head; 0 or None for a net without one, which reconstructs.
        hidden: number of hidden units of each layer, from the input up.
        activation: activation of the hidden units.
        code_activation: activation of the last layer; None for the same as in the other layers. "identity" gives the
            linear latent code of Hinton & Salakhutdinov 2006.
        output_activation: activation of the reconstructed input: sigmoid for values in [0, 1], identity for
            standardized inputs.
        tied: whether decoders use the transposed matrices of the encoders.
        dropout: probability of dropping a hidden unit during supervised fine-tuning.
        input_dropout: probability of dropping an input during supervised fine-tuning.
        noise: std of Gaussian noise added to the pre-activations during supervised fine-tuning.
        input_noise: std of Gaussian noise added to the inputs during supervised fine-tuning.

    Attributes:
        layers: the autoencoders.
        head: the linear classifier, or None.

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
        check_widths(in_shape=in_shape, hidden=hidden, num_classes=num_classes or 1)
        if not hidden:
            raise ValueError("hidden=[] must name at least one hidden layer")
        self.in_shape = tuple(in_shape)
        self.num_classes = num_classes or None

        # A layer reconstructs the output of the layer below, so its output activation is the activation of that layer.
        activations = [output_activation, *[activation] * (len(hidden) - 1), code_activation or activation]
        widths = [prod(in_shape), *hidden]
        self.layers = nn.ModuleList()
        for (fan_in, width), (below, above) in zip(pairwise(widths), pairwise(activations), strict=True):
            layer = Autoencoder(in_shape=[fan_in], hidden=width, activation=above, output_activation=below, tied=tied)
            self.layers.append(layer)

        # For supervised fine-tuning: regularization and the head.
        self.input_dropout = nn.Dropout(input_dropout)
        self.dropout = nn.Dropout(dropout)
        self.input_noise = GaussianNoise(input_noise, name="input_noise")
        self.noise = GaussianNoise(noise)
        self.num_features = hidden[-1]
        self.head = self.new_head(num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """N x in_shape -> N x num_classes logits; without a head the last hidden layer, N x H_L."""
        # Dropout and noise act in training only, where the head is trained; `encode` never has them.
        h = self.input_noise(self.input_dropout(x.flatten(1)))  # N x V
        for k in range(len(self.layers)):
            layer = self.autoencoder(k)
            a = self.noise(layer.hidden_input(h))
            h = self.dropout(layer.activation(a))  # N x H_{k+1}
        return self.forward_head(h)

    def feature_layers(self) -> Sequence[Callable[[Tensor], Tensor]]:
        """The encoders: N x H_k -> N x H_{k+1}."""
        return list(self.layers)

    def decode(self, h: Tensor, depth: int | None = None, *, activate: bool = True) -> Tensor:
        """N x H_depth, the output of layer ``depth`` (None: the last) -> N x V, as `Autoencoder.decode`."""
        # Decode from layer ``depth`` down to the input.
        top = len(self.layers) if depth is None else depth
        for k in reversed(range(top)):
            # Only the lowest layer, whose output is the reconstruction, may leave its activation out.
            h = self.autoencoder(k).decode(h, activate=activate or k > 0)
        return h

    def reconstruct(self, x: Tensor, depth: int | None = None) -> Tensor:
        """Encode up to layer ``depth`` (None: the last) and decode, N x in_shape."""
        flat = self.decode(self.encode(x, depth), depth)
        return flat.reshape(flat.shape[0], *self.in_shape)

    def autoencoder(self, layer: int) -> Autoencoder:
        """Autoencoder number ``layer``, counted from 0 at the input; -1 is the last one."""
        found = self.layers[layer]
        assert isinstance(found, Autoencoder)
        return found

    def rbm(self, layer: int) -> AutoencoderRBM:
        """The RBM that shares the parameters of autoencoder number ``layer``, counted from 0. See `Autoencoder.rbm`."""
        return self.autoencoder(layer).rbm()

    def generative_parameters(self) -> Iterator[nn.Parameter]:
        """The parameters that `forward` does not use."""
        for k in range(len(self.layers)):
            yield from self.autoencoder(k).generative_parameters()
