"""Multi-layer perceptron (Rumelhart, Hinton & Williams 1986, "Learning representations by back-propagating errors").

Imports torch and the zoo's models only.

The figure in words: every pixel is an input unit. Each hidden layer is a matrix product, a bias and an activation. The
head is one more matrix product and bias, with one unit per class.

    x -> [Linear -> activation -> dropout] per hidden width -> Linear -> output activation

With no hidden layer it is a linear model: logistic regression under cross-entropy, the perceptron under a step
output, linear regression under squared error.

Deviations from the paper:

1. By default the hidden activation is ReLU and the output is linear. The paper uses sigmoids in all layers:
   ``activation="sigmoid", output_activation="sigmoid"`` (`conf/model/mlp_16_16.yaml`).
2. Three later additions, all off by default: dropout (Srivastava et al. 2014); batch normalization between a linear
   layer and its activation (Ioffe & Szegedy 2015); Gaussian noise on the input and before each activation (the
   supervised baseline of Rasmus et al. 2015).
3. The initial weights are torch's default, or Glorot & Bengio's (2010); the paper's are small and random.
"""

from collections.abc import Sequence
from itertools import pairwise
from math import isfinite, prod

from torch import Tensor, nn

from zoo.models.activations import activation as named_activation
from zoo.models.activations import pieces
from zoo.models.classifier import LayeredClassifier
from zoo.models.noise import GaussianNoise
from zoo.models.shapes import check_widths


class MLP(LayeredClassifier):
    """Fully connected net.

    Args:
        in_shape: shape of one input without the batch dimension, such as (1, 28, 28) or (4,); it is flattened.
        num_classes: number of outputs of the head (for regression: of target values); 0 or None for no head.
        hidden: widths of the hidden layers, first to last; an empty list makes a linear model.
        activation: after each hidden layer, by name (`zoo.models.ACTIVATIONS`).
        output_activation: after the head; "identity" leaves logits.
        dropout: probability of dropping a hidden unit, in [0, 1].
        input_dropout: probability of dropping an input, in [0, 1].
        batch_norm: whether hidden units are normalized over the batch before their activation.
        noise: standard deviation of the Gaussian noise that training adds to the inputs and to the pre-activations of
            all hidden units, >= 0.
        init: "torch" for torch's default; "xavier" (Glorot & Bengio 2010) for saturating units; or a number such as
            "0.1", the initial value of every weight, with biases of 0.

    Raises:
        ValueError: an unknown activation or init, a width below 1, or negative noise.
    """

    def __init__(
        self,
        *,
        in_shape: Sequence[int] = (1, 28, 28),
        num_classes: int | None = 10,
        hidden: Sequence[int] = (512, 512),
        activation: str = "relu",
        output_activation: str = "identity",
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        batch_norm: bool = False,
        noise: float = 0.0,
        init: str = "torch",
    ):
        super().__init__(in_shape, num_classes)
        # Check the options before anything is built.
        check_widths(in_shape=in_shape, num_classes=num_classes or 1, hidden=hidden)
        if init not in ("torch", "xavier") and not _is_number(init):
            raise ValueError(f"unknown init {init!r}; choose torch, xavier or a number")
        self.init = init

        # Noise and dropout of the inputs in training mode; the identity in evaluation mode.
        self.input_corruption = nn.Sequential(*_noise(noise), nn.Dropout(input_dropout))  # N x inputs

        # The hidden layers. Maxout needs two inputs for each unit; all other activations one.
        inputs = prod(in_shape)
        self.layers = nn.ModuleList()
        for fan_in, width in pairwise([inputs, *hidden]):
            fan_out = width * pieces(activation)
            parts = [
                self._linear(fan_in, fan_out),  # N x fan_out
                *([nn.BatchNorm1d(fan_out)] if batch_norm else []),
                *_noise(noise),
                named_activation(activation),  # N x width
                nn.Dropout(dropout),
            ]
            self.layers.append(nn.Sequential(*parts))

        # The head.
        self.output_pieces = pieces(output_activation)
        self.output_activation = named_activation(output_activation)
        self.num_features = [inputs, *hidden][-1]
        self.head = self.new_head(num_classes)

    def first_input(self, x: Tensor) -> Tensor:
        """N x in_shape -> N x inputs. Training may add noise to the inputs and drop some."""
        flat: Tensor = self.input_corruption(x.flatten(1))
        return flat

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        """N x width of the last hidden layer -> N x num_classes.

        Without a head, or with ``pre_logits``, the features are returned unchanged.
        """
        if self.head is None or pre_logits:
            return features
        outputs: Tensor = self.output_activation(self.head(features))
        return outputs

    def new_head(self, num_classes: int | None) -> nn.Linear | None:
        """A fresh linear layer, initialized as ``init`` says; None without classes."""
        return self._linear(self.num_features, num_classes * self.output_pieces) if num_classes else None

    def _linear(self, fan_in: int, fan_out: int) -> nn.Linear:
        """A linear layer initialized as ``init`` says."""
        linear = nn.Linear(fan_in, fan_out)
        # torch has initialized it already; the other choices overwrite that.
        if self.init == "torch":
            return linear
        if self.init == "xavier":
            nn.init.xavier_normal_(linear.weight)
        else:
            nn.init.constant_(linear.weight, float(self.init))
        nn.init.zeros_(linear.bias)
        return linear


def _noise(std: float) -> list[nn.Module]:
    """A noise layer, or none where ``std`` is 0."""
    return [GaussianNoise(std)] if std else []


def _is_number(text: str) -> bool:
    try:
        return isfinite(float(text))
    except ValueError:
        return False
