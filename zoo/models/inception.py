"""Inception: GoogLeNet and a small net of the same blocks (Szegedy et al. 2015, "Going deeper with convolutions").

The figure in words (2b): one input, four branches side by side - 1x1; 1x1 then 3x3; 1x1 then 5x5; 3x3 max pooling
then 1x1 - whose maps are stacked. The 1x1 convolutions before the large kernels reduce the channels and with
them the cost. `GoogLeNet` is table 1 of the paper; `InceptionSmall` the same idea for images of 28 to 32 pixels.
"""

from collections import OrderedDict
from collections.abc import Sequence
from itertools import islice

import torch
from torch import Tensor, nn

from zoo.models.shapes import image


def _conv(in_channels: int, out_channels: int, kernel_size: int, *, stride: int = 1, batch_norm: bool = False):
    """Convolution that keeps the size (at stride 1), batch normalisation if asked for, ReLU."""
    conv = nn.Conv2d(
        in_channels, out_channels, kernel_size, stride=stride, padding=kernel_size // 2, bias=not batch_norm
    )
    norm = nn.BatchNorm2d(out_channels) if batch_norm else nn.Identity()
    return nn.Sequential(conv, norm, nn.ReLU())


class InceptionBlock(nn.Module):
    """Four branches over the same input, their outputs stacked. All keep height and width.

    Args:
        in_channels: channels of the input.
        width_1x1: maps of the 1x1 branch.
        reduce_3x3: maps of the 1x1 reduction before the 3x3.
        width_3x3: maps of the 3x3 branch.
        reduce_5x5: maps of the 1x1 reduction before the 5x5.
        width_5x5: maps of the 5x5 branch (a true 5x5, as in the paper).
        pool_proj: maps of the 1x1 projection after 3x3 max pooling.
        batch_norm: normalise after every convolution (Ioffe & Szegedy 2015), in place of its bias.

    Attributes:
        out_channels: width_1x1 + width_3x3 + width_5x5 + pool_proj.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        width_1x1: int,
        reduce_3x3: int,
        width_3x3: int,
        reduce_5x5: int,
        width_5x5: int,
        pool_proj: int,
        batch_norm: bool = False,
    ):
        super().__init__()
        bn = batch_norm
        self.branch_1x1 = _conv(in_channels, width_1x1, 1, batch_norm=bn)
        self.branch_3x3 = nn.Sequential(
            _conv(in_channels, reduce_3x3, 1, batch_norm=bn), _conv(reduce_3x3, width_3x3, 3, batch_norm=bn)
        )
        self.branch_5x5 = nn.Sequential(
            _conv(in_channels, reduce_5x5, 1, batch_norm=bn), _conv(reduce_5x5, width_5x5, 5, batch_norm=bn)
        )
        self.branch_pool = nn.Sequential(nn.MaxPool2d(3, 1, padding=1), _conv(in_channels, pool_proj, 1, batch_norm=bn))
        self.out_channels = width_1x1 + width_3x3 + width_5x5 + pool_proj

    def forward(self, x: Tensor) -> Tensor:
        """N x in_channels x H x W -> N x out_channels x H x W."""
        return torch.cat([self.branch_1x1(x), self.branch_3x3(x), self.branch_5x5(x), self.branch_pool(x)], dim=1)


TABLE_1 = {  # 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool proj
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}


def _block(in_channels: int, widths: Sequence[int], *, batch_norm: bool = False) -> InceptionBlock:
    width_1x1, reduce_3x3, width_3x3, reduce_5x5, width_5x5, pool_proj = widths
    return InceptionBlock(
        in_channels=in_channels,
        width_1x1=width_1x1,
        reduce_3x3=reduce_3x3,
        width_3x3=width_3x3,
        reduce_5x5=reduce_5x5,
        width_5x5=width_5x5,
        pool_proj=pool_proj,
        batch_norm=batch_norm,
    )


class AuxiliaryHead(nn.Module):
    """A classifier on maps half-way up: 5x5 average pooling at stride 3, 1x1 convolution, two linear layers."""

    def __init__(self, in_channels: int, num_classes: int, side: tuple[int, int]):
        super().__init__()
        height, width = ((s - 5) // 3 + 1 for s in side)
        self.layers = nn.Sequential(  # N x 512 x 14 x 14
            nn.AvgPool2d(5, 3),  # N x 512 x 4 x 4
            _conv(in_channels, 128, 1),  # N x 128 x 4 x 4
            nn.Flatten(),  # N x 2048
            nn.Linear(128 * height * width, 1024),  # N x 1024
            nn.ReLU(),
            nn.Dropout(0.7),
        )
        self.head = nn.Linear(1024, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layers(x))


class GoogLeNet(nn.Module):
    """The 22-layer net of table 1: 6,998,552 parameters, 13,378,280 with both auxiliary heads.

    The heads on 4a and 4d push gradients into the lower layers; they are trained with weight 0.3
    (`forward_with_auxiliaries`) and take no part in `forward`. Biases throughout and no batch normalisation, as in
    the paper. Where it leaves the pooling border open, maps are rounded up, as in its Caffe release.

    Args:
        in_shape: channels, height and width of one image; the paper's is 3 x 224 x 224.
        num_classes: outputs of the head and of both auxiliary heads.
        dropout: probability of dropping a pooled feature before the head.
        auxiliary: whether to build the auxiliary heads.

    Raises:
        ValueError: the image is smaller than 79 pixels (17 without auxiliary heads), so nothing is left to pool.
    """

    def __init__(
        self,
        *,
        in_shape: Sequence[int] = (3, 224, 224),
        num_classes: int = 1000,
        dropout: float = 0.4,
        auxiliary: bool = True,
    ):
        super().__init__()
        self.in_shape, self.num_classes = tuple(in_shape), num_classes
        channels, height, width = image(in_shape, least=79 if auxiliary else 17)
        layers = OrderedDict[str, nn.Module](  # N x 3 x 224 x 224
            conv1=_conv(channels, 64, 7, stride=2),  # N x 64 x 112 x 112
            pool1=nn.Sequential(nn.MaxPool2d(3, 2, ceil_mode=True), nn.LocalResponseNorm(5)),  # N x 64 x 56 x 56
            conv2_reduce=_conv(64, 64, 1),  # N x 64 x 56 x 56
            conv2=nn.Sequential(_conv(64, 192, 3), nn.LocalResponseNorm(5)),  # N x 192 x 56 x 56
            pool2=nn.MaxPool2d(3, 2, ceil_mode=True),  # N x 192 x 28 x 28
        )
        channels = 192
        for name, widths in TABLE_1.items():
            if name in ("4a", "5a"):
                layers[f"pool_before_{name}"] = nn.MaxPool2d(3, 2, ceil_mode=True)  # 28 -> 14, 14 -> 7
            layers[f"inception_{name}"] = block = _block(channels, widths)
            channels = block.out_channels  # 256 480 | 512 512 512 528 832 | 832 1024
        layers["average"] = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout))  # N x 1024
        self.layers = nn.Sequential(layers)
        self.head = nn.Linear(channels, num_classes)  # N x 1000
        self.auxiliaries = nn.ModuleDict()
        if auxiliary:
            side = ((height + 1) // 16, (width + 1) // 16)  # of the maps of 4a and 4d: 14 x 14
            self.auxiliaries["inception_4a"] = AuxiliaryHead(512, num_classes, side)
            self.auxiliaries["inception_4d"] = AuxiliaryHead(528, num_classes, side)

    def forward(self, x: Tensor) -> Tensor:
        """N x in_shape -> N x num_classes logits."""
        return self.head(self.encode(x))

    def forward_with_auxiliaries(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """N x in_shape -> logits of the head, and of each auxiliary head, all N x num_classes."""
        auxiliary_logits = []
        for name, layer in self.layers.named_children():
            x = layer(x)
            if name in self.auxiliaries:
                auxiliary_logits.append(self.auxiliaries[name](x))
        return self.head(x), auxiliary_logits

    def encode(self, x: Tensor, depth: int | None = None) -> Tensor:
        """The output of the first ``depth`` of the 17 layers (None: the pooled features, N x 1024; 0: the image)."""
        for layer in islice(self.layers, depth):
            x = layer(x)
        return x

    def reset_head(self, num_classes: int) -> None:
        """Replace the head and the auxiliary heads by fresh ones for ``num_classes`` classes."""
        self.num_classes = num_classes
        self.head = nn.Linear(self.head.in_features, num_classes).to(self.head.weight)  # same device and type
        for auxiliary in self.auxiliaries.values():
            auxiliary.head = nn.Linear(1024, num_classes).to(self.head.weight)


class InceptionSmall(nn.Module):
    """Four batch-normalised inception blocks for images of 28 to 32 pixels: 214,818 parameters.

    Args:
        in_shape: channels, height and width of one image.
        num_classes: outputs of the head.
        stem: maps of the 3x3 convolution before the blocks.
        width: factor on the widths of all blocks.
        dropout: probability of dropping a pooled feature before the head.

    Raises:
        ValueError: the image is smaller than 8x8 pixels, or the factor leaves a branch without maps.
    """

    BLOCKS = (  # 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool proj
        (16, 24, 32, 8, 16, 16),
        (32, 32, 48, 8, 24, 24),
        (48, 48, 72, 12, 36, 36),
        (64, 64, 96, 16, 48, 48),
    )

    def __init__(
        self,
        *,
        in_shape: Sequence[int] = (1, 28, 28),
        num_classes: int = 10,
        stem: int = 32,
        width: float = 1.0,
        dropout: float = 0.2,
    ):
        super().__init__()
        self.in_shape, self.num_classes = tuple(in_shape), num_classes
        if min(stem, round(width * 8)) < 1:
            raise ValueError(f"stem {stem} and width {width} leave a branch without maps")
        a, b, c, d = ([round(width * maps) for maps in widths] for widths in self.BLOCKS)

        def block(in_channels: int, widths: list[int]) -> InceptionBlock:
            return _block(in_channels, widths, batch_norm=True)

        def out(widths: list[int]) -> int:
            width_1x1, _, width_3x3, _, width_5x5, pool_proj = widths
            return width_1x1 + width_3x3 + width_5x5 + pool_proj

        layers = OrderedDict[str, nn.Module]()  # N x 1 x 28 x 28
        layers["stem"] = _conv(image(in_shape, least=8)[0], stem, 3, batch_norm=True)  # N x 32 x 28 x 28
        layers["pool1"] = nn.MaxPool2d(2)  # N x 32 x 14 x 14
        layers["a"] = block(stem, a)  # N x 80 x 14 x 14
        layers["b"] = block(out(a), b)  # N x 128 x 14 x 14
        layers["pool2"] = nn.MaxPool2d(2)  # N x 128 x 7 x 7
        layers["c"] = block(out(b), c)  # N x 192 x 7 x 7
        layers["d"] = block(out(c), d)  # N x 256 x 7 x 7
        layers["average"] = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout))  # N x 256
        self.layers = nn.Sequential(layers)
        self.head = nn.Linear(out(d), num_classes)  # N x 10

    def forward(self, x: Tensor) -> Tensor:
        """N x in_shape -> N x num_classes logits."""
        return self.head(self.encode(x))

    def encode(self, x: Tensor, depth: int | None = None) -> Tensor:
        """The output of the first ``depth`` of the 8 layers (None: the pooled features, N x 256; 0: the image)."""
        for layer in islice(self.layers, depth):
            x = layer(x)
        return x

    def reset_head(self, num_classes: int) -> None:
        """Replace the head by a fresh one for ``num_classes`` classes."""
        self.num_classes = num_classes
        self.head = nn.Linear(self.head.in_features, num_classes).to(self.head.weight)  # same device and type
