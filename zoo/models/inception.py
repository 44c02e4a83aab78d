"""Inception: GoogLeNet, and a small net of the same blocks (Szegedy et al. 2015, "Going deeper with convolutions").

Imports torch and the zoo's models only.

The figure in words (2b): four branches read the same input: a 1x1 convolution; 1x1 then 3x3; 1x1 then 5x5; and 3x3 max
pooling then 1x1. Their outputs are concatenated along the channels. The 1x1 convolutions before the large kernels
reduce the number of channels, and with it the computation. `GoogLeNet` is the net of table 1 of the paper;
`InceptionSmall` uses the same blocks for images of 28 to 32 pixels.

Deviations from the paper:

1. GoogLeNet: where the paper leaves open how pooling treats the border, the size of the maps is rounded up, as in the
   authors' Caffe release.
2. GoogLeNet is trained by the configured optimizer, not by asynchronous SGD with a falling learning rate and averaged
   weights.
3. InceptionSmall is a net of the paper's blocks, not one of the paper's nets. It has batch normalization after every
   convolution (Ioffe & Szegedy 2015), no auxiliary heads and no local response normalization.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from zoo.models.classifier import LayeredClassifier, linear_like
from zoo.models.shapes import check_widths, image


def _conv(
    in_channels: int, out_channels: int, kernel_size: int, *, stride: int = 1, batch_norm: bool = False
) -> nn.Sequential:
    """Convolution that keeps the size (at stride 1), optional batch normalization, ReLU."""
    # Batch normalization subtracts the mean, so a bias before it would have no effect.
    conv = nn.Conv2d(
        in_channels, out_channels, kernel_size, stride=stride, padding=kernel_size // 2, bias=not batch_norm
    )
    norm = nn.BatchNorm2d(out_channels) if batch_norm else nn.Identity()
    return nn.Sequential(conv, norm, nn.ReLU())


class InceptionBlock(nn.Module):
    """Four branches over the same input; their outputs are concatenated as channels. All keep height and width.

    Args:
        in_channels: channels of the input.
        width_1x1: maps of the 1x1 branch.
        reduce_3x3: maps of the 1x1 reduction before the 3x3.
        width_3x3: maps of the 3x3 branch.
        reduce_5x5: maps of the 1x1 reduction before the 5x5.
        width_5x5: maps of the 5x5 branch (a true 5x5, as in the paper).
        pool_proj: maps of the 1x1 projection after 3x3 max pooling.
        batch_norm: whether to normalize after every convolution (Ioffe & Szegedy 2015), in place of its bias.

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
        # All branches read the same input; padding keeps its height and width.
        self.branch_1x1 = _conv(in_channels, width_1x1, 1, batch_norm=batch_norm)  # N x width_1x1 x H x W
        self.branch_3x3 = nn.Sequential(
            _conv(in_channels, reduce_3x3, 1, batch_norm=batch_norm),  # N x reduce_3x3 x H x W
            _conv(reduce_3x3, width_3x3, 3, batch_norm=batch_norm),  # N x width_3x3 x H x W
        )
        self.branch_5x5 = nn.Sequential(
            _conv(in_channels, reduce_5x5, 1, batch_norm=batch_norm),  # N x reduce_5x5 x H x W
            _conv(reduce_5x5, width_5x5, 5, batch_norm=batch_norm),  # N x width_5x5 x H x W
        )
        self.branch_pool = nn.Sequential(
            nn.MaxPool2d(3, 1, padding=1),  # N x in_channels x H x W
            _conv(in_channels, pool_proj, 1, batch_norm=batch_norm),  # N x pool_proj x H x W
        )
        self.out_channels = width_1x1 + width_3x3 + width_5x5 + pool_proj

    def forward(self, x: Tensor) -> Tensor:
        """N x in_channels x H x W -> N x out_channels x H x W."""
        # Concatenate the maps of the four branches as channels.
        return torch.cat([self.branch_1x1(x), self.branch_3x3(x), self.branch_5x5(x), self.branch_pool(x)], dim=1)


class Widths(NamedTuple):
    """The widths of a block, named as `InceptionBlock` names them, in the order of the columns of table 1."""

    width_1x1: int
    reduce_3x3: int
    width_3x3: int
    reduce_5x5: int
    width_5x5: int
    pool_proj: int


# The nine blocks of GoogLeNet.
TABLE_1 = {  # 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool proj
    "3a": Widths(64, 96, 128, 16, 32, 32),
    "3b": Widths(128, 128, 192, 32, 96, 64),
    "4a": Widths(192, 96, 208, 16, 48, 64),
    "4b": Widths(160, 112, 224, 24, 64, 64),
    "4c": Widths(128, 128, 256, 24, 64, 64),
    "4d": Widths(112, 144, 288, 32, 64, 64),
    "4e": Widths(256, 160, 320, 32, 128, 128),
    "5a": Widths(256, 160, 320, 32, 128, 128),
    "5b": Widths(384, 192, 384, 48, 128, 128),
}


class AuxiliaryHead(nn.Module):
    """A classifier on the maps of a middle layer: 5x5 average pooling at stride 3, 1x1 convolution, two linear layers.

    Args:
        in_channels: channels of the maps.
        num_classes: number of outputs.
        height: height of the maps, in pixels.
        width: width of the maps, in pixels.
    """

    def __init__(self, in_channels: int, num_classes: int, *, height: int, width: int):
        super().__init__()
        # The size of the maps after pooling.
        pooled_height = (height - 5) // 3 + 1
        pooled_width = (width - 5) // 3 + 1
        self.layers = nn.Sequential(  # N x 512 x 14 x 14
            nn.AvgPool2d(5, 3),  # N x 512 x 4 x 4
            _conv(in_channels, 128, 1),  # N x 128 x 4 x 4
            nn.Flatten(),  # N x 2048
            nn.Linear(128 * pooled_height * pooled_width, 1024),  # N x 1024
            nn.ReLU(),
            nn.Dropout(0.7),
        )
        self.head = nn.Linear(1024, num_classes)  # N x 1000

    def forward(self, x: Tensor) -> Tensor:
        """N x in_channels x height x width -> N x num_classes logits."""
        logits: Tensor = self.head(self.layers(x))
        return logits


class GoogLeNet(LayeredClassifier):
    """The 22-layer net of table 1: 6,998,552 parameters, 13,378,280 with both auxiliary heads.

    The heads on 4a and 4d bring gradients to the lower layers; they are trained with weight 0.3
    (`forward_with_auxiliaries`) and take no part in `forward`. It has biases throughout and no batch normalization, as
    in the paper.

    Args:
        in_shape: channels, height and width of one image; the paper's is 3 x 224 x 224.
        num_classes: number of outputs of the head and of both auxiliary heads; 0 or None for no heads.
        dropout: probability of dropping a pooled feature before the head, in [0, 1].
        auxiliary: whether to build the auxiliary heads.

    Raises:
        ValueError: the image is smaller than 79 pixels (17 without auxiliary heads), or ``num_classes`` is negative.
    """

    def __init__(
        self,
        *,
        in_shape: Sequence[int] = (3, 224, 224),
        num_classes: int | None = 1000,
        dropout: float = 0.4,
        auxiliary: bool = True,
    ):
        super().__init__(in_shape, num_classes)
        # Check the options before anything is built.
        channels, _, _ = image(in_shape, minimum=79 if auxiliary else 17)
        check_widths(num_classes=num_classes or 1)

        # The convolutions before the blocks. Pooling rounds the size of the maps up.
        layers = OrderedDict[str, nn.Module](  # N x 3 x 224 x 224
            conv1=_conv(channels, 64, 7, stride=2),  # N x 64 x 112 x 112
            pool1=nn.Sequential(nn.MaxPool2d(3, 2, ceil_mode=True), nn.LocalResponseNorm(5)),  # N x 64 x 56 x 56
            conv2_reduce=_conv(64, 64, 1),  # N x 64 x 56 x 56
            conv2=nn.Sequential(_conv(64, 192, 3), nn.LocalResponseNorm(5)),  # N x 192 x 56 x 56
            pool2=nn.MaxPool2d(3, 2, ceil_mode=True),  # N x 192 x 28 x 28
        )

        # The nine blocks of table 1.
        channels = 192
        for name, widths in TABLE_1.items():
            if name in ("4a", "5a"):
                layers[f"pool_before_{name}"] = nn.MaxPool2d(3, 2, ceil_mode=True)  # 28 -> 14, 14 -> 7
            layers[f"inception_{name}"] = block = InceptionBlock(in_channels=channels, **widths._asdict())
            channels = block.out_channels  # 256 480 | 512 512 512 528 832 | 832 1024

        # The head.
        layers["average"] = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout))  # N x 1024
        self.layers = nn.Sequential(layers)
        self.num_features = channels
        self.head = self.new_head(num_classes)  # N x 1000
        self.auxiliary = auxiliary
        self.auxiliaries = self._new_auxiliaries(num_classes)

    def forward_with_auxiliaries(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """N x in_shape -> logits of the head, and of each auxiliary head, all N x num_classes."""
        # An auxiliary head reads the maps of the block whose name it has.
        auxiliary_logits = []
        for name, layer in self.layers.named_children():
            x = layer(x)
            if name in self.auxiliaries:
                auxiliary_logits.append(self.auxiliaries[name](x))
        return self.forward_head(x), auxiliary_logits

    def reset_head(self, num_classes: int | None) -> None:
        """Replace the head and the auxiliary heads by new ones for ``num_classes`` classes; 0 or None: remove them."""
        super().reset_head(num_classes)
        if not num_classes or not self.auxiliaries:
            self.auxiliaries = self._new_auxiliaries(num_classes).to(next(self.parameters()))
            return
        # Replace only the last layer of each auxiliary head.
        for auxiliary in self.auxiliaries.values():
            assert isinstance(auxiliary, AuxiliaryHead)
            auxiliary.head = linear_like(auxiliary.head, num_classes)

    def _new_auxiliaries(self, num_classes: int | None) -> nn.ModuleDict:
        """Fresh auxiliary heads on the maps of 4a and 4d; none without classes."""
        # Up to there, conv1 halves the size and rounds up, three poolings halve it and round down: 224 becomes 14.
        auxiliaries = nn.ModuleDict()
        if self.auxiliary and num_classes:
            height, width = ((side + 1) // 16 for side in self.in_shape[1:])
            auxiliaries["inception_4a"] = AuxiliaryHead(512, num_classes, height=height, width=width)  # N x 1000
            auxiliaries["inception_4d"] = AuxiliaryHead(528, num_classes, height=height, width=width)  # N x 1000
        return auxiliaries


class InceptionSmall(LayeredClassifier):
    """Four batch-normalized inception blocks for images of 28 to 32 pixels: 214,818 parameters.

    Args:
        in_shape: channels, height and width of one image, at least 8 x 8 pixels.
        num_classes: number of outputs of the head; 0 or None for no head.
        stem: maps of the 3x3 convolution before the blocks.
        width: factor on the widths of all blocks.
        dropout: probability of dropping a pooled feature before the head, in [0, 1].

    Raises:
        ValueError: the image is smaller than 8x8 pixels, ``num_classes`` is below 1, or ``stem`` or ``width`` leaves a
            layer without channels.
    """

    BLOCKS = (  # 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool proj
        Widths(16, 24, 32, 8, 16, 16),
        Widths(32, 32, 48, 8, 24, 24),
        Widths(48, 48, 72, 12, 36, 36),
        Widths(64, 64, 96, 16, 48, 48),
    )

    def __init__(
        self,
        *,
        in_shape: Sequence[int] = (1, 28, 28),
        num_classes: int | None = 10,
        stem: int = 32,
        width: float = 1.0,
        dropout: float = 0.2,
    ):
        super().__init__(in_shape, num_classes)
        # Check the options before anything is built. The narrowest branch of BLOCKS has 8 maps.
        if min(stem, round(width * 8)) < 1:
            raise ValueError(f"stem={stem} and width={width} leave a layer without channels; increase stem or width")
        check_widths(num_classes=num_classes or 1)
        channels, _, _ = image(in_shape, minimum=8)

        def block(in_channels: int, widths: Widths) -> InceptionBlock:
            scaled = Widths(*(round(width * maps) for maps in widths))
            return InceptionBlock(in_channels=in_channels, **scaled._asdict(), batch_norm=True)

        # Build the first layer and the four blocks from the input up, the order in which random weights are drawn.
        stem_layer = _conv(channels, stem, 3, batch_norm=True)
        a = block(stem, self.BLOCKS[0])
        b = block(a.out_channels, self.BLOCKS[1])
        c = block(b.out_channels, self.BLOCKS[2])
        d = block(c.out_channels, self.BLOCKS[3])

        self.layers = nn.Sequential(
            OrderedDict[str, nn.Module](  # N x 1 x 28 x 28
                stem=stem_layer,  # N x 32 x 28 x 28
                pool1=nn.MaxPool2d(2),  # N x 32 x 14 x 14
                a=a,  # N x 80 x 14 x 14
                b=b,  # N x 128 x 14 x 14
                pool2=nn.MaxPool2d(2),  # N x 128 x 7 x 7
                c=c,  # N x 192 x 7 x 7
                d=d,  # N x 256 x 7 x 7
                average=nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout)),  # N x 256
            )
        )
        self.num_features = d.out_channels
        self.head = self.new_head(num_classes)  # N x 10
