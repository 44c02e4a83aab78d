"""Autoencoder of one hidden layer (Bourlard & Kamp 1988, "Auto-association by multilayer perceptrons"; Vincent et al.
2010, "Stacked denoising autoencoders").

The figure in words: the first layer encodes the input as a vector of features, which may be shorter or longer than the
input. The second layer reconstructs the input from the features. By default the decoder uses the transposed weights of
the encoder.

    x  --W-->  h = f(c + W x)  --W'-->  x' = g(b + W' h)

With sigmoid activations the two layers compute the conditional means of an RBM with the same parameters
(`Autoencoder.rbm`), so contrastive divergence can pretrain them (Hinton & Salakhutdinov 2006). Imports torch and the
zoo's models only.

Deviations from the paper: None.

Shapes: N examples, V inputs, H hidden units.
"""

from collections.abc import Callable, Iterator, Sequence
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.models.activations import activation as named_activation
from zoo.models.activations import pieces
from zoo.models.boltzmann import BoltzmannEquations
from zoo.models.features import FeatureNet
from zoo.models.shapes import check_widths
from zoo.models.units import KINDS, make_units


class Autoencoder(FeatureNet, nn.Module):
    """An encoding and a decoding layer: x' = g(b + W' f(c + W x)).

    Its parameters have the names of an RBM's parameters, since it can share them with an RBM (`rbm`).

    Args:
        in_shape: shape of one input without the batch; it is flattened.
        hidden: number of hidden units.
        activation: f, the activation of the hidden units (`zoo.models.ACTIVATIONS`, without maxout).
        output_activation: g, the activation of the reconstruction.
        tied: whether the decoder uses the transposed matrix of the encoder; otherwise it has a separate matrix.

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
            raise ValueError(
                "maxout has several pieces per unit, which a decoder cannot invert; use another activation"
            )
        # Public attributes that describe the net.
        self.in_shape = tuple(in_shape)
        self.num_classes: int | None = None
        self.num_features = hidden
        self.activation_name = activation
        self.output_activation_name = output_activation
        self.activation = named_activation(activation)
        self.output_activation = named_activation(output_activation)

        # The parameters, with the names that an RBM gives them.
        visible = prod(in_shape)
        self.weight = nn.Parameter(_initial(hidden, visible, activation))
        self.hidden_bias = nn.Parameter(torch.zeros(hidden))
        self.visible_bias = nn.Parameter(torch.zeros(visible))
        self.decoder_weight = None if tied else nn.Parameter(_initial(visible, hidden, output_activation))

    def forward(self, x: Tensor) -> Tensor:
        """N x in_shape -> N x H, the hidden units."""
        return self.encode(x)

    def hidden_input(self, x: Tensor) -> Tensor:
        """The pre-activations of the hidden units: c + W x, N x H."""
        return F.linear(x.flatten(1), self.weight, self.hidden_bias)

    def feature_layers(self) -> Sequence[Callable[[Tensor], Tensor]]:
        """One layer: N x V -> N x H."""
        return [lambda x: self.activation(self.hidden_input(x))]

    def decode(self, h: Tensor, *, activate: bool = True) -> Tensor:
        """N x H -> N x V; without ``activate`` the pre-activations of the output (of a sigmoid: logits)."""
        # A tied decoder uses the transposed matrix of the encoder.
        weight = self.weight.t() if self.decoder_weight is None else self.decoder_weight  # V x H
        a = F.linear(h, weight, self.visible_bias)  # N x V
        return self.output_activation(a) if activate else a

    def reconstruct(self, x: Tensor) -> Tensor:
        """N x in_shape -> the same."""
        flat = self.decode(self.encode(x))
        return flat.reshape(flat.shape[0], *self.in_shape)

    def squared_jacobian(self, x: Tensor) -> Tensor:
        """The squared Frobenius norm of dh/dx for each example, N (Rifai et al. 2011).

        For h = f(a), a = c + W x, it is Σ_ij (dh_j / dx_i)² = Σ_j f'(a_j)² Σ_i W_ji².
        """
        a = self.hidden_input(x)
        # f acts on each element separately, so the gradient of the sum is f'(a), N x H.
        (slope,) = torch.autograd.grad(self.activation(a).sum(), a, create_graph=True)
        return slope.square() @ self.weight.square().sum(dim=1)

    def rbm(self, layer: int = 0) -> "AutoencoderRBM":
        """The RBM that shares this layer's parameters: training it trains the encoder.

        Units with the identity become Gaussian units, those with a sigmoid Bernoulli units. A separate decoder matrix
        is not part of the RBM; `unroll` copies the trained weights into it.

        Args:
            layer: must be 0. A single autoencoder counts as a stack of one layer.

        Raises:
            ValueError: an activation that belongs to no kind of RBM unit, or identity for both activations.
        """
        return AutoencoderRBM(self)

    def unroll(self) -> None:
        """Copy the transposed encoder matrix into a separate decoder matrix (Hinton & Salakhutdinov 2006, figure 1).

        A tied decoder needs no copy.
        """
        if self.decoder_weight is not None:
            with torch.no_grad():
                self.decoder_weight.copy_(self.weight.t())

    def generative_parameters(self) -> Iterator[nn.Parameter]:
        """The parameters that `encode` does not use."""
        yield self.visible_bias
        if self.decoder_weight is not None:
            yield self.decoder_weight


class AutoencoderRBM(BoltzmannEquations):
    """The RBM of an autoencoder layer. It is not an ``nn.Module``: the autoencoder owns the parameters.

    Args:
        layer: the autoencoder. If its parameters are replaced, call `Autoencoder.rbm` again.

    Raises:
        ValueError: an activation that belongs to no kind of RBM unit, or identity for both activations.
    """

    def __init__(self, layer: Autoencoder):
        # Each kind of unit has the activation that computes its mean; other activations belong to no RBM.
        kinds = {kind.activation: name for name, kind in KINDS.items()}
        names = (layer.output_activation_name, layer.activation_name)
        if any(name not in kinds for name in names):
            raise ValueError(
                f"output_activation={names[0]} and activation={names[1]}: for an RBM, each must be sigmoid or identity"
            )
        # The parameters are those of the autoencoder, not copies.
        self.in_shape = layer.in_shape
        self.num_features = layer.num_features
        self.weight = layer.weight
        self.visible_bias = layer.visible_bias
        self.hidden_bias = layer.hidden_bias
        # The units of both layers. Only real-valued visible units read the variance, which is 1.
        self.log_variance = torch.zeros_like(layer.visible_bias)  # V
        visible, hidden = (kinds[name] for name in names)
        self.visible, self.hidden = make_units(visible, hidden, owner=self)


def _initial(rows: int, columns: int, activation: str) -> Tensor:
    """Initial weights, rows x columns: the uniform distribution of Glorot & Bengio 2010, times a gain.

    The gain compensates for the slope of the activation at 0: a sigmoid has the slope 1/4 and so the gain 4. A ReLU has
    the gain √2, since it sets about half of its inputs to 0.
    """
    gain = {"sigmoid": 4.0, "tanh": 1.0, "relu": 2**0.5}.get(activation, 1.0)
    return nn.init.xavier_uniform_(torch.empty(rows, columns), gain=gain)
