"""Multi-layer perceptron (Rumelhart, Hinton & Williams 1986, "Learning representations by back-propagating errors").

The figure in words: every pixel is an input unit; each hidden layer is a matrix product, a bias and a
non-linearity; the head is one more matrix product with a unit per class.

    x -> [Linear -> activation -> dropout] per hidden width -> Linear -> output activation

Batch normalisation (Ioffe & Szegedy 2015) and Gaussian noise, where asked for, stand between a matrix and its
activation; noise is then added to the input, too (the supervised baseline of Rasmus et al. 2015).

With no hidden width it is a linear classifier: logistic regression under cross-entropy, the perceptron
under a step output, linear regression under squared error.
"""

from collections.abc import Sequence
from itertools import islice, pairwise
from math import isfinite, prod
from pathlib import Path

import torch
from torch import Tensor, nn

from zoo.models.activations import activation as named_activation
from zoo.models.activations import pieces
from zoo.models.noise import GaussianNoise
from zoo.models.shapes import check_widths


class MLP(nn.Module):
    """Fully connected net.

    Args:
        in_shape: shape of one input without the batch, such as (1, 28, 28) or (4,); it is flattened.
        num_classes: outputs of the head (for regression: target values).
        hidden: widths of the hidden layers, first to last; none makes a linear model.
        activation: after each hidden layer, by name (`zoo.models.ACTIVATIONS`).
        output_activation: after the head; "identity" leaves logits.
        dropout: probability of dropping a hidden unit (Srivastava et al. 2014).
        input_dropout: probability of dropping an input.
        batch_norm: whether hidden units are normalised over the batch before their activation.
        noise: deviation of what is added in training to the input and to what every hidden unit receives.
        init: "torch" for torch's own; "xavier" (Glorot & Bengio 2010) for saturating units; a number such as "0.1" to
            begin with this in every weight, and with biases of 0.

    Raises:
        ValueError: an unknown activation or init, a width below 1, or a negative noise.
    """

    def __init__(
        self,
        *,
        in_shape: Sequence[int] = (1, 28, 28),
        num_classes: int = 10,
        hidden: Sequence[int] = (512, 512),
        activation: str = "relu",
        output_activation: str = "identity",
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        batch_norm: bool = False,
        noise: float = 0.0,
        init: str = "torch",
    ):
        super().__init__()
        check_widths(in_shape=in_shape, num_classes=num_classes, hidden=hidden)
        if init not in ("torch", "xavier") and not _is_number(init):
            raise ValueError(f"unknown init {init!r}; choose torch, xavier or a number")
        self.in_shape, self.num_classes, self.init = tuple(in_shape), num_classes, init
        self.disturbance = nn.Sequential(*_noise(noise), nn.Dropout(input_dropout))
        self.layers = nn.ModuleList(
            nn.Sequential(
                self._linear(fan_in, width * pieces(activation)),
                *([nn.BatchNorm1d(width * pieces(activation))] if batch_norm else []),
                *_noise(noise),
                named_activation(activation),
                nn.Dropout(dropout),
            )
            for fan_in, width in pairwise([prod(in_shape), *hidden])
        )
        self.output_activation = named_activation(output_activation)
        self.head = self._linear([prod(in_shape), *hidden][-1], num_classes * pieces(output_activation))

    def forward(self, x: Tensor) -> Tensor:
        """N x in_shape -> N x num_classes."""
        return self.output_activation(self.head(self.encode(x)))

    def encode(self, x: Tensor, depth: int | None = None) -> Tensor:
        """N x in_shape -> N x width of hidden layer ``depth`` (None: the last; 0: the flat input)."""
        x = self.disturbance(x.flatten(1))  # N x inputs
        for layer in islice(self.layers, depth):
            x = layer(x)  # N x width
        return x

    def reset_head(self, num_classes: int) -> None:
        """Replace the head by a fresh one for ``num_classes`` classes."""
        outputs = num_classes * getattr(self.output_activation, "pieces", 1)
        self.num_classes = num_classes
        self.head = self._linear(self.head.in_features, outputs).to(self.head.weight)  # same device and type

    @classmethod
    def from_npz(cls, path: str | Path, *, activation: str = "sigmoid", output_activation: str = "identity") -> "MLP":
        """An MLP with the weights ``W1, b1, W2, b2, …`` of a NumPy archive, each W of shape inputs x outputs.

        Predicts what ``activation(x @ W1 + b1) @ W2 + b2`` does in NumPy.

        Raises:
            ValueError: not such an archive, a matrix or bias missing, shapes that do not chain, or maxout, whose pieces
                these names leave open; the message names the array.
        """
        from zipfile import BadZipFile

        import numpy as np

        if "maxout" in (activation, output_activation):
            raise ValueError("weights of maxout units are not stored as W1, b1, …")
        try:
            with np.load(path, allow_pickle=False) as archive:
                arrays = {name: torch.from_numpy(archive[name]) for name in archive.files}
        except (ValueError, TypeError, EOFError, BadZipFile) as error:
            raise ValueError(f"{path}: not a readable .npz archive of plain arrays ({error})") from error
        depth = sum(name.startswith("W") for name in arrays)
        expected = [f"{kind}{k}" for k in range(1, depth + 1) for kind in "Wb"]
        if not expected or sorted(arrays) != sorted(expected):
            raise ValueError(f"{path}: expected the arrays W1, b1, W2, b2, …, found {', '.join(sorted(arrays))}")
        if any(not a.is_floating_point() or a.dim() != (2 if name[0] == "W" else 1) for name, a in arrays.items()):
            raise ValueError(f"{path}: every W must be a matrix and every b a vector, of real numbers")
        weights = [arrays[f"W{k}"] for k in range(1, depth + 1)]
        for k, weight in enumerate(weights, start=1):
            fan_in = weights[k - 2].shape[1] if k > 1 else weight.shape[0]
            if weight.shape[0] != fan_in or arrays[f"b{k}"].shape != weight.shape[1:]:
                raise ValueError(f"{path}: W{k} {tuple(weight.shape)} and b{k} do not follow {fan_in} inputs")
        net = cls(
            in_shape=weights[0].shape[:1],
            num_classes=weights[-1].shape[1],
            hidden=[weight.shape[1] for weight in weights[:-1]],
            activation=activation,
            output_activation=output_activation,
        ).to(weights[0].dtype)
        linears = [module for module in net.modules() if isinstance(module, nn.Linear)]
        with torch.no_grad():
            for k, linear in enumerate(linears, start=1):
                linear.weight.copy_(arrays[f"W{k}"].T)  # torch keeps outputs x inputs
                linear.bias.copy_(arrays[f"b{k}"])
        return net.eval()

    def _linear(self, fan_in: int, fan_out: int) -> nn.Linear:
        linear = nn.Linear(fan_in, fan_out)
        if self.init == "xavier":
            nn.init.xavier_normal_(linear.weight)
        elif self.init != "torch":
            nn.init.constant_(linear.weight, float(self.init))
        if self.init != "torch":
            nn.init.zeros_(linear.bias)
        return linear


def _noise(deviation: float) -> list[nn.Module]:
    return [GaussianNoise(deviation)] if deviation else []


def _is_number(text: str) -> bool:
    try:
        return isfinite(float(text))
    except ValueError:
        return False
