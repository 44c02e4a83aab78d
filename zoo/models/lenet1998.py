"""LeNet-5 as published (LeCun, Bottou, Bengio & Haffner 1998, section II.B, figure 2 and table I).

Imports torch and the zoo's models only.

The figure in words: a 28x28 digit in a 32x32 frame; C1, six maps of 5x5 kernels; S2 sums each 2x2 window, multiplies it
by a coefficient and adds a bias, both trained; C3, sixteen maps, each connected only to the maps of S2 that table I
lists; S4 like S2; C5 and F6, 120 and 84 units; one output unit per class measures the squared Euclidean distance of F6
to the code of that class. Every layer up to F6 ends in 1.7159 tanh(2x/3). It has exactly the paper's 60,000 trainable
parameters.

Deviations from the paper:

1. The class codes. The paper draws each class as a 7x12 bitmap of ±1; here they are rows of a Hadamard matrix, cut to
   84 entries: also ±1, and far apart (any two of ten classes differ in 40 or 42 of the 84 entries).
2. The loss is left to the task. The paper's equation 9 is `cross_entropy_with_rubbish` (`zoo.losses`), which
   model=lenet5_1998 has; its constant j is 10 there, since the paper does not state it.
3. The initial weights are torch's default, not uniform within ±2.4 / fan-in. The net is trained by the configured
   optimizer, not by the paper's stochastic diagonal Levenberg-Marquardt method.
"""

from collections import OrderedDict
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.models.activations import ScaledTanh
from zoo.models.classifier import LayeredClassifier
from zoo.models.shapes import image

TABLE_I = (  # for each of the 16 maps of C3, the maps of S2 that it is connected to
    *((i, (i + 1) % 6, (i + 2) % 6) for i in range(6)),
    *((i, (i + 1) % 6, (i + 2) % 6, (i + 3) % 6) for i in range(6)),
    *((i, (i + 1) % 6, (i + 3) % 6, (i + 4) % 6) for i in range(3)),
    (0, 1, 2, 3, 4, 5),
)


class Subsampling(nn.Module):
    """The sum over each 2x2 window, times a trained coefficient, plus a trained bias, one of each per map.

    Args:
        maps: number of maps.
    """

    def __init__(self, maps: int):
        super().__init__()
        self.coefficient = nn.Parameter(torch.full((maps,), 0.25))  # starts as the average
        self.bias = nn.Parameter(torch.zeros(maps))

    def forward(self, x: Tensor) -> Tensor:
        """N x maps x H x W -> N x maps x H/2 x W/2."""
        # The sum over a window is four times its average.
        total = 4 * F.avg_pool2d(x, 2)  # N x maps x H/2 x W/2
        return total * self.coefficient[:, None, None] + self.bias[:, None, None]


class TableConv(nn.Module):
    """5x5 convolution from 6 to 16 maps with the connections of table I only: 60 kernels and 16 biases."""

    pairs: Tensor  # 2 x 60: a map of C3, and a map of S2 that it is connected to

    def __init__(self) -> None:
        super().__init__()
        # One kernel for each pair of maps that table I connects.
        pairs = [(out, seen) for out, maps in enumerate(TABLE_I) for seen in maps]
        self.register_buffer("pairs", torch.tensor(pairs).T, persistent=False)
        self.kernels = nn.Parameter(torch.empty(len(pairs), 5, 5).uniform_(-1, 1) / (4 * 25) ** 0.5)
        self.bias = nn.Parameter(torch.zeros(len(TABLE_I)))

    def forward(self, x: Tensor) -> Tensor:
        """N x 6 x H x W -> N x 16 x (H - 4) x (W - 4)."""
        # Put the 60 kernels into a dense weight; the 36 pairs that are not connected stay zero.
        out, seen = self.pairs.unbind()
        weight = self.kernels.new_zeros(len(TABLE_I), 6, 5, 5)  # 16 x 6 x 5 x 5
        weight = weight.index_put((out, seen), self.kernels)
        return F.conv2d(x, weight, self.bias)


class DistanceToCodes(nn.Module):
    """Minus the squared Euclidean distance to a fixed ±1 code per class: N x features -> N x num_classes.

    Args:
        features: length of the codes.
        num_classes: number of codes.

    Raises:
        ValueError: there are not that many different class codes.
    """

    codes: Tensor  # num_classes x features

    def __init__(self, features: int, num_classes: int):
        super().__init__()
        # Sylvester's construction: each step doubles the matrix. Its rows are orthogonal, so any two differ in half of
        # their entries.
        hadamard = torch.ones(1, 1)
        while len(hadamard) <= features:
            upper = torch.cat([hadamard, hadamard], dim=1)
            lower = torch.cat([hadamard, -hadamard], dim=1)
            hadamard = torch.cat([upper, lower])
        if not 1 <= num_classes < len(hadamard):
            raise ValueError(
                f"num_classes={num_classes} must be in [1, {len(hadamard) - 1}]: no more class codes exist"
            )

        # Row 0 is constant and is left out.
        self.register_buffer("codes", hadamard[1 : num_classes + 1, :features].clone())

    def forward(self, x: Tensor) -> Tensor:
        """N x features -> N x num_classes."""
        differences = x[:, None, :] - self.codes  # N x num_classes x features
        return -differences.square().sum(dim=2)


class LeNet1998(LayeredClassifier):
    """LeNet-5 with table I, trainable subsampling, scaled tanh and distance outputs: 60,000 parameters.

    Args:
        in_shape: channels, height and width of one image, at least 12 x 12 pixels; C1 pads it with two zeros
            on each side.
        num_classes: number of classes, each with a fixed code; 0 or None for no head.

    Raises:
        ValueError: the image is smaller than 12x12 pixels, or there are more classes than codes (127).
    """

    def __init__(self, *, in_shape: Sequence[int] = (1, 28, 28), num_classes: int | None = 10):
        super().__init__(in_shape, num_classes)
        channels, image_height, image_width = image(in_shape, minimum=12)

        # The size of the maps of S4: halved by S2, four pixels fewer by the 5x5 kernels of C3, halved by S4.
        height = (image_height // 2 - 4) // 2
        width = (image_width // 2 - 4) // 2

        self.layers = nn.Sequential(
            OrderedDict(  # N x 1 x 28 x 28
                c1=nn.Sequential(nn.Conv2d(channels, 6, 5, padding=2), ScaledTanh()),  # N x 6 x 28 x 28
                s2=nn.Sequential(Subsampling(6), ScaledTanh()),  # N x 6 x 14 x 14
                c3=nn.Sequential(TableConv(), ScaledTanh()),  # N x 16 x 10 x 10
                s4=nn.Sequential(Subsampling(16), ScaledTanh(), nn.Flatten()),  # N x 16 x 5 x 5 -> N x 400
                c5=nn.Sequential(nn.Linear(16 * height * width, 120), ScaledTanh()),  # N x 120
                f6=nn.Sequential(nn.Linear(120, 84), ScaledTanh()),  # N x 84
            )
        )
        self.num_features = 84
        self.head = self.new_head(num_classes)  # N x 10

    def new_head(self, num_classes: int | None) -> DistanceToCodes | None:
        """A head with codes for ``num_classes`` classes, which has no trainable parameters; None without classes."""
        return DistanceToCodes(self.num_features, num_classes) if num_classes else None
