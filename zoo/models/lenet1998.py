"""LeNet-5 as the paper has it (LeCun, Bottou, Bengio & Haffner 1998, section II.B, figure 2 and table I).

The figure in words: a 28x28 digit in a 32x32 frame; C1, six maps of 5x5 kernels; S2 sums each 2x2 window,
multiplies it by a coefficient and adds a bias, both learned; C3, sixteen maps, each of which sees only the maps of S2
that table I lists; S4 like S2; C5 and F6, 120 and 84 units; an output unit per class measures the squared
Euclidean distance of F6 to that class's code. Every layer up to F6 squashes by 1.7159 tanh(2x/3).
Exactly the paper's 60,000 trainable parameters.

Deviations from the paper:

1. The codes. The paper draws each class as a 7x12 bitmap of ±1; here they are rows of a Hadamard matrix, cut to 84
   entries: also ±1, and far apart (between any two of ten classes, 40 to 42 of the 84 entries differ).
2. The loss is left to the task. Cross-entropy on the negative distances is the paper's equation 9 without the
   extra "rubbish" class (its constant j at infinity).
3. Weights start from torch's default, not from ±2.4 / fan-in; training uses backpropagation as configured, not
   the paper's stochastic diagonal Levenberg-Marquardt.
"""

from collections import OrderedDict
from collections.abc import Sequence
from itertools import islice

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.models.activations import ScaledTanh
from zoo.models.shapes import image

TABLE_I = (  # for each map of C3, the maps of S2 that it sees
    *((i, (i + 1) % 6, (i + 2) % 6) for i in range(6)),
    *((i, (i + 1) % 6, (i + 2) % 6, (i + 3) % 6) for i in range(6)),
    *((i, (i + 1) % 6, (i + 3) % 6, (i + 4) % 6) for i in range(3)),
    (0, 1, 2, 3, 4, 5),
)


class Subsampling(nn.Module):
    """Sum over 2x2 windows, times a learned coefficient, plus a learned bias, for each map."""

    def __init__(self, maps: int):
        super().__init__()
        self.coefficient = nn.Parameter(torch.full((maps,), 0.25))  # starts as the average
        self.bias = nn.Parameter(torch.zeros(maps))

    def forward(self, x: Tensor) -> Tensor:
        """N x maps x H x W -> N x maps x H/2 x W/2."""
        total = 4 * F.avg_pool2d(x, 2)
        return total * self.coefficient[:, None, None] + self.bias[:, None, None]


class TableConv(nn.Module):
    """5x5 convolution from 6 to 16 maps with the connections of table I only: 60 kernels and 16 biases."""

    pairs: Tensor  # 2 x 60: a map of C3, and a map of S2 that it sees

    def __init__(self):
        super().__init__()
        pairs = [(out, seen) for out, maps in enumerate(TABLE_I) for seen in maps]
        self.register_buffer("pairs", torch.tensor(pairs).T, persistent=False)
        self.kernels = nn.Parameter(torch.empty(len(pairs), 5, 5).uniform_(-1, 1) / (4 * 25) ** 0.5)
        self.bias = nn.Parameter(torch.zeros(len(TABLE_I)))

    def forward(self, x: Tensor) -> Tensor:
        """N x 6 x H x W -> N x 16 x (H - 4) x (W - 4)."""
        out, seen = self.pairs.unbind()
        weight = self.kernels.new_zeros(len(TABLE_I), 6, 5, 5).index_put((out, seen), self.kernels)
        return F.conv2d(x, weight, self.bias)


class DistanceToCodes(nn.Module):
    """Minus the squared Euclidean distance to a fixed ±1 code per class: N x 84 -> N x classes."""

    codes: Tensor  # classes x 84

    def __init__(self, features: int, num_classes: int):
        super().__init__()
        hadamard = torch.ones(1, 1)
        while len(hadamard) <= features:
            hadamard = torch.cat([torch.cat([hadamard, hadamard], 1), torch.cat([hadamard, -hadamard], 1)])
        if not 1 <= num_classes < len(hadamard):
            raise ValueError(f"there are codes for 1 to {len(hadamard) - 1} classes, not for {num_classes}")
        self.register_buffer("codes", hadamard[1 : num_classes + 1, :features].clone())  # row 0 is constant

    def forward(self, x: Tensor) -> Tensor:
        return -(x[:, None, :] - self.codes).square().sum(dim=2)


class LeNet1998(nn.Module):
    """LeNet-5 with table I, trainable subsampling, scaled tanh and distance outputs: 60,000 parameters.

    Args:
        in_shape: channels, height and width of one image; 28x28 is framed by zeros to 32x32.
        num_classes: classes, each with a fixed code.

    Raises:
        ValueError: the image is smaller than 12x12 pixels, or there are more classes than codes (127).
    """

    def __init__(self, *, in_shape: Sequence[int] = (1, 28, 28), num_classes: int = 10):
        super().__init__()
        self.in_shape, self.num_classes = tuple(in_shape), num_classes
        channels, *sides = image(in_shape, least=12)
        height, width = ((side // 2 - 4) // 2 for side in sides)  # of S4
        self.layers = nn.Sequential(
            OrderedDict(  # N x 1 x 28 x 28
                c1=nn.Sequential(nn.Conv2d(channels, 6, 5, padding=2), ScaledTanh()),  # N x 6 x 28 x 28
                s2=nn.Sequential(Subsampling(6), ScaledTanh()),  # N x 6 x 14 x 14
                c3=nn.Sequential(TableConv(), ScaledTanh()),  # N x 16 x 10 x 10
                s4=nn.Sequential(Subsampling(16), ScaledTanh(), nn.Flatten()),  # N x 400
                c5=nn.Sequential(nn.Linear(16 * height * width, 120), ScaledTanh()),  # N x 120
                f6=nn.Sequential(nn.Linear(120, 84), ScaledTanh()),  # N x 84
            )
        )
        self.reset_head(num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """N x in_shape -> N x num_classes: minus the squared distance to each class's code."""
        return self.head(self.encode(x))

    def encode(self, x: Tensor, depth: int | None = None) -> Tensor:
        """The output of layer ``depth`` of C1, S2, C3, S4, C5, F6 (None: F6, N x 84; 0: the image)."""
        for layer in islice(self.layers, depth):
            x = layer(x)
        return x

    def reset_head(self, num_classes: int) -> None:
        """Codes for ``num_classes`` classes."""
        self.num_classes = num_classes
        self.head = DistanceToCodes(84, num_classes)  # N x 10, nothing to learn
