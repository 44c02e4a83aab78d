"""LeNet with every option configurable (LeCun, Bottou, Bengio & Haffner 1998).

Imports torch, `zoo.protocols` and the zoo's models only.

The figure in words: each round of convolution, activation and pooling computes smaller maps of larger patterns. Fully
connected layers then classify the flattened maps.

    x -> [convolution -> activation -> pooling] per entry of kernels -> [linear -> activation -> dropout] per entry of
    hidden -> linear head

Deviations from the paper:

1. Pooling, activation and output are those of `zoo.models.lenet5`: maximum pooling, ReLU and a linear head by default.
2. The default widths (20 and 50 maps, 500 hidden units) are those of the Deep Learning Tutorials of LISA lab, not the
   paper's.
3. The convolutions have no padding by default, so the maps shrink at the border.
"""

from collections.abc import Sequence
from math import prod

from torch import Tensor, nn

from zoo.models.activations import activation as named_activation
from zoo.models.activations import pieces
from zoo.models.classifier import LayeredClassifier
from zoo.models.shapes import check_widths, image, per_layer, side_after
from zoo.protocols import shape_text

# The pooling layers, by the name that a config has for them.
POOLS: dict[str, type[nn.MaxPool2d] | type[nn.AvgPool2d]] = {"max": nn.MaxPool2d, "average": nn.AvgPool2d}


class LeNet(LayeredClassifier):
    """Rounds of convolution, activation and pooling, then fully connected layers: 431,080 parameters by default.

    Every option of the convolutions is one number for all rounds, or a list with one number for each.

    Args:
        in_shape: channels, height and width of one image.
        num_classes: number of outputs of the head; 0 or None for no head.
        kernels: number of maps of each convolution; one round per entry.
        kernel_size: side of the kernels, in pixels.
        stride: step of the kernels, in pixels.
        padding: rows and columns of zeros on each side of the maps.
        dilation: distance between the elements of a kernel, in pixels; 1: no gaps.
        groups: number of independent groups that the input and output channels are divided into.
        pool: "max" or "average".
        pool_size: side and step of the pooling window, in pixels; 1 means no pooling.
        hidden: widths of the fully connected layers between the maps and the head.
        activation: after every convolution and hidden layer, by name (`zoo.models.ACTIVATIONS`).
        dropout: probability of dropping a hidden unit, in [0, 1].

    Raises:
        ValueError: a list whose length is not that of ``kernels``, an unknown pool or activation, groups that do not
            divide the channels, or an image that is too small for the rounds.
    """

    def __init__(
        self,
        *,
        in_shape: Sequence[int] = (1, 28, 28),
        num_classes: int | None = 10,
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
        super().__init__(in_shape, num_classes)
        # Check the options before anything is built, and give every round a value of each.
        if pool not in POOLS:
            raise ValueError(f"unknown pool {pool!r}; choose max or average")
        check_widths(num_classes=num_classes or 1, kernels=kernels, hidden=hidden)
        channels, _, _ = image(in_shape)
        rounds = len(kernels)
        kernel_sizes = per_layer("kernel_size", kernel_size, rounds)
        strides = per_layer("stride", stride, rounds)
        paddings = per_layer("padding", padding, rounds, minimum=0)
        dilations = per_layer("dilation", dilation, rounds)
        group_numbers = per_layer("groups", groups, rounds)
        pool_sizes = per_layer("pool_size", pool_size, rounds)

        # Maxout needs two inputs for each unit; all other activations one.
        k = pieces(activation)

        # The convolutional rounds, and the shape of the maps after each of them.
        self.layers = nn.Sequential()
        shape = tuple(in_shape)  # channels x height x width
        for i, maps in enumerate(kernels):
            convolution = nn.Conv2d(
                channels,
                maps * k,
                kernel_sizes[i],
                stride=strides[i],
                padding=paddings[i],
                dilation=dilations[i],
                groups=group_numbers[i],
            )  # N x (maps · k) x height x width
            layer = nn.Sequential(
                convolution,
                named_activation(activation),  # N x maps x height x width
                POOLS[pool](pool_sizes[i]),  # N x maps x height / pool_size x width / pool_size
            )
            self.layers.append(layer)
            try:
                sides = [
                    side_after(side, kernel_sizes[i], stride=strides[i], padding=paddings[i], dilation=dilations[i])
                    for side in shape[1:]
                ]
                sides = [side_after(side, pool_sizes[i], stride=pool_sizes[i]) for side in sides]
            except ValueError as error:
                raise ValueError(f"an input of shape {shape_text(shape)} does not fit this layer: {error}") from error
            shape = (maps, *sides)
            channels = maps

        # The fully connected layers.
        width = prod(shape)
        for units in hidden:
            linear = nn.Linear(width, units * k)  # N x (units · k)
            self.layers.append(nn.Sequential(nn.Flatten(), linear, named_activation(activation), nn.Dropout(dropout)))
            width = units  # N x units
        # Without hidden layers the head reads the flattened maps.
        self.num_features = width
        self.head = self.new_head(num_classes)  # N x num_classes

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        """N x units, or without hidden layers N x maps x height x width -> N x num_classes logits.

        Without a head, or with ``pre_logits``, N x num_features.
        """
        return super().forward_head(features.flatten(1), pre_logits)
