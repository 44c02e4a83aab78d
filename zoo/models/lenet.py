"""LeNet: convolution, pooling, classifier (LeCun, Bottou, Bengio & Haffner 1998, figure 2).

The figure in words: small kernels slide over the image and each gives a map of where its pattern is;
pooling halves the maps, so that the exact place matters less; after two rounds the maps are flat enough
for ordinary fully connected layers.

`LeNet5` is the form that everyone trains today; `LeNet` the same idea with everything configurable;
`zoo.models.lenet1998` the net as the paper has it.
"""

from collections import OrderedDict
from collections.abc import Sequence
from itertools import islice

import torch
from torch import Tensor, nn

from zoo.models.activations import activation as named_activation
from zoo.models.activations import pieces
from zoo.models.shapes import after, check_widths, image, per_layer


class LeNet5(nn.Module):
    """LeNet-5 in its modern full form: 61,706 parameters for 1 x 28 x 28 images and 10 classes.

    Departures from 1998: C3 sees all six maps of S2 (no connection table), pooling takes the maximum and has
    no coefficients, units are rectified, and the output is linear under cross-entropy. Padding of 2 in C1
    stands for the paper's 32 x 32 frame around the 28 x 28 digit.

    Args:
        in_shape: channels, height and width of one image.
        num_classes: outputs of the head.
        kernels: maps of C1 and C3.
        hidden: units of C5 and F6.
        activation: after C1, C3, C5 and F6, by name.
        dropout: probability of dropping a unit of C5 and of F6.

    Raises:
        ValueError: the image is too small for two rounds of convolution and pooling.
    """

    def __init__(
        self,
        *,
        in_shape: Sequence[int] = (1, 28, 28),
        num_classes: int = 10,
        kernels: Sequence[int] = (6, 16),
        hidden: Sequence[int] = (120, 84),
        activation: str = "relu",
        dropout: float = 0.0,
    ):
        super().__init__()
        self.in_shape, self.num_classes = tuple(in_shape), num_classes
        channels, *sides = image(in_shape, least=12)
        height, width = ((side // 2 - 4) // 2 for side in sides)  # of S4
        check_widths(num_classes=num_classes, kernels=kernels, hidden=hidden)
        if len(kernels) != 2 or len(hidden) != 2:
            raise ValueError(f"LeNet-5 has two convolutions and two hidden layers, not {kernels} and {hidden}")
        (c1, c3), (c5, f6), k = kernels, hidden, pieces(activation)

        def act() -> nn.Module:
            return named_activation(activation)

        self.layers = nn.Sequential(
            OrderedDict(  # N x 1 x 28 x 28
                c1=nn.Sequential(nn.Conv2d(channels, c1 * k, 5, padding=2), act()),  # N x 6 x 28 x 28
                s2=nn.MaxPool2d(2),  # N x 6 x 14 x 14
                c3=nn.Sequential(nn.Conv2d(c1, c3 * k, 5), act()),  # N x 16 x 10 x 10
                s4=nn.Sequential(nn.MaxPool2d(2), nn.Flatten()),  # N x 16 x 5 x 5 -> N x 400
                c5=nn.Sequential(nn.Linear(c3 * height * width, c5 * k), act(), nn.Dropout(dropout)),  # N x 120
                f6=nn.Sequential(nn.Linear(c5, f6 * k), act(), nn.Dropout(dropout)),  # N x 84
            )
        )
        self.head = nn.Linear(f6, num_classes)  # N x 10

    def forward(self, x: Tensor) -> Tensor:
        """N x in_shape -> N x num_classes logits."""
        return self.head(self.encode(x))

    def encode(self, x: Tensor, depth: int | None = None) -> Tensor:
        """The output of layer ``depth`` of C1, S2, C3, S4, C5, F6 (None: F6, N x 84; 0: the image)."""
        for layer in islice(self.layers, depth):
            x = layer(x)
        return x

    def reset_head(self, num_classes: int) -> None:
        """Replace the head by a fresh one for ``num_classes`` classes."""
        self.num_classes = num_classes
        self.head = nn.Linear(self.head.in_features, num_classes).to(self.head.weight)  # same device and type


class LeNet(nn.Module):
    """Rounds of convolution, activation and 2x2 pooling, then fully connected layers: every part configurable.

    A convolution's option is one number for all rounds or a list with one for each.

    Args:
        in_shape: channels, height and width of one image.
        num_classes: outputs of the head.
        kernels: maps of each convolution; as many rounds as entries.
        kernel_size: side of the kernels.
        stride: step of the kernels.
        padding: zeros around the maps.
        dilation: distance between a kernel's taps; 1 is dense.
        groups: into how many independent parts input and output channels are cut.
        pool: "max" or "average".
        pool_size: side and step of the pooling window; 1 leaves pooling out.
        hidden: widths of fully connected layers between the maps and the head.
        activation: after every convolution and hidden layer, by name.
        dropout: probability of dropping a hidden unit.

    Raises:
        ValueError: options of unequal length, an unknown pool or activation, groups that do not divide the
            channels, or an image that some round shrinks to nothing.
    """

    def __init__(
        self,
        *,
        in_shape: Sequence[int] = (1, 28, 28),
        num_classes: int = 10,
        kernels: Sequence[int] = (20, 50),
        kernel_size: int | Sequence[int] = 5,
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 0,
        dilation: int | Sequence[int] = 1,
        groups: int | Sequence[int] = 1,
        pool: str = "max",
        pool_size: int | Sequence[int] = 2,
        hidden: Sequence[int] = (500,),
        activation: str = "relu",
        dropout: float = 0.0,
    ):
        super().__init__()
        self.in_shape, self.num_classes = tuple(in_shape), num_classes
        if pool not in ("max", "average"):
            raise ValueError(f"unknown pool {pool!r}; choose max or average")
        pooling = nn.MaxPool2d if pool == "max" else nn.AvgPool2d
        check_widths(num_classes=num_classes, kernels=kernels, hidden=hidden)
        rounds, k, channels = len(kernels), pieces(activation), image(in_shape)[0]
        kernel_sizes = per_layer("kernel_size", kernel_size, rounds)
        strides = per_layer("stride", stride, rounds)
        paddings = per_layer("padding", padding, rounds, least=0)
        dilations = per_layer("dilation", dilation, rounds)
        parts = per_layer("groups", groups, rounds)
        windows = per_layer("pool_size", pool_size, rounds)

        self.layers = nn.Sequential()
        shape = torch.Size(in_shape)
        for i, maps in enumerate(kernels):
            layer = nn.Sequential(
                nn.Conv2d(
                    channels,
                    maps * k,
                    kernel_sizes[i],
                    stride=strides[i],
                    padding=paddings[i],
                    dilation=dilations[i],
                    groups=parts[i],
                ),
                named_activation(activation),
                pooling(windows[i]),
            )
            shape = after(layer, shape)  # maps x height x width
            self.layers.append(layer)
            channels = maps
        width = shape.numel()
        for units in hidden:
            linear = nn.Linear(width, units * k)
            self.layers.append(nn.Sequential(nn.Flatten(), linear, named_activation(activation), nn.Dropout(dropout)))
            width = units
        self.head = nn.Linear(width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """N x in_shape -> N x num_classes logits."""
        return self.head(self.encode(x).flatten(1))

    def encode(self, x: Tensor, depth: int | None = None) -> Tensor:
        """The output of layer ``depth``: rounds first, then hidden layers (None: the last; 0: the image)."""
        for layer in islice(self.layers, depth):
            x = layer(x)
        return x

    def reset_head(self, num_classes: int) -> None:
        """Replace the head by a fresh one for ``num_classes`` classes."""
        self.num_classes = num_classes
        self.head = nn.Linear(self.head.in_features, num_classes).to(self.head.weight)  # same device and type
