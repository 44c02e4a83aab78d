"""Residual networks (He, Zhang, Ren & Sun 2016, "Deep residual learning for image recognition", table 1), built by
torchvision. Every other classifier of torchvision whose only head is a linear layer can be built in the same way.

May import torch; torchvision is imported when a net is made.

The figure in words: a residual block has two 3x3 convolutions (three convolutions, 1x1, 3x3 and 1x1, from ResNet-50 on)
and adds their output to its input. So the layers only have to represent differences from the identity, which makes nets
of a hundred layers trainable. There are four stages of blocks; each after the first halves the maps and doubles the
channels. The means of the last maps are the features, and one linear layer is the classifier.

The blocks are those of torchvision, so with the same weights the outputs are bit-identical.

Deviations from the paper:

1. Shortcuts that change size are 1x1 convolutions (the paper's option B).
2. From ResNet-50 on, stride 2 is in the 3x3 convolution of a block, not in the 1x1 convolution before it
   (torchvision's variant, known as v1.5).
"""

from collections import OrderedDict
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

from torch import Tensor, nn

from zoo.models.wrapped_net import WrappedNet, first_convolution

# Nets that this class cannot divide, and why.
_AUXILIARY = "the net has auxiliary heads"
_CONVOLUTION = "the head of the net is a convolution, not a linear layer"
NOT_SUPPORTED = {
    "googlenet": f"{_AUXILIARY}; choose another net, or model=googlenet, which the zoo implements",
    "inception_v3": f"{_AUXILIARY}; choose another net",
    "squeezenet1_0": f"{_CONVOLUTION}; choose another net",
    "squeezenet1_1": f"{_CONVOLUTION}; choose another net",
}


class TorchvisionNet(WrappedNet):
    """A classifier of torchvision, divided into ``layers`` and ``head``.

    The layers of a ResNet are stem, layer1 to layer4 and pool; any other net is one layer, ``body``.

    Args:
        architecture: name of the net in torchvision, such as resnet18 or efficientnet_b0.
        in_shape: channels (1 or 3), height and width of one image.
        num_classes: number of outputs of the head; 0 or None for no head.
        gray: how gray images enter a net for color images: "repeat" gives each of the three channels the same image;
            "sum" adds up the kernels of the first convolution over their channels, which gives the same output in a
            third of the time for that layer.
        enlarge: smaller images are enlarged, on the device, until their shorter side has this many pixels; None: never.

    Attributes:
        original_names: for every tensor in this net's ``state_dict``, its name in torchvision's; a head included,
            even if this net has none.
        size: height and width of the first layer's input.

    Raises:
        ValueError: an unknown or unsupported architecture, an unknown option or number of channels, or an image that
            the net cannot take.
    """

    library = "torchvision"

    def __init__(
        self,
        *,
        architecture: str = "resnet18",
        in_shape: Sequence[int] = (3, 224, 224),
        num_classes: int | None = 1000,
        gray: str = "repeat",
        enlarge: int | None = None,
    ):
        super().__init__(
            architecture=architecture, in_shape=in_shape, num_classes=num_classes, gray=gray, enlarge=enlarge
        )
        net = _torchvision(architecture, num_classes or 1)
        head = [path for path, module in net.named_modules() if isinstance(module, nn.Linear)][-1]
        self._divide(net, first=first_convolution(net), head=head, layers=_layers)

    @property
    def torchvision_names(self) -> dict[str, str]:
        """`original_names`."""
        return self.original_names

    def torchvision_state_dict(self) -> dict[str, Tensor]:
        """`original_state_dict`."""
        return self.original_state_dict()


def resnet(depth: int = 18, **arguments: Any) -> TorchvisionNet:
    """ResNet-18, 34, 50, 101 or 152; the other arguments are those of `TorchvisionNet`."""
    return TorchvisionNet(architecture=f"resnet{depth}", **arguments)


def _torchvision(architecture: str, num_classes: int) -> nn.Module:
    """torchvision's own net, with random weights; ValueError if it has none of that name, or one of `NOT_SUPPORTED`."""
    from torchvision import models

    if architecture in NOT_SUPPORTED:
        raise ValueError(f"architecture={architecture} is not supported: {NOT_SUPPORTED[architecture]}")
    # The classifiers only: torchvision keeps detectors, segmenters and video nets in other modules.
    known = [name for name in models.list_models(module=models) if name not in NOT_SUPPORTED]
    if architecture not in known:
        near = get_close_matches(architecture, known, 5) or ["resnet18", "efficientnet_b0", "vit_b_16"]
        raise ValueError(
            f"architecture={architecture}: no such classifier of torchvision; similar names: {', '.join(near)}"
        )
    net: nn.Module = models.get_model(architecture, weights=None, num_classes=num_classes)
    return net


def _layers(net: nn.Module) -> nn.Sequential:
    """torchvision's net without its head, as a chain of named layers."""
    from torchvision.models import ResNet

    # Only ResNets have names for their layers here; any other net stays in one piece.
    if not isinstance(net, ResNet):
        return nn.Sequential(OrderedDict(body=net))
    stem = OrderedDict(conv1=net.conv1, bn1=net.bn1, relu=net.relu, maxpool=net.maxpool)
    return nn.Sequential(
        OrderedDict(  # for ResNet-18: N x 3 x 224 x 224
            stem=nn.Sequential(stem),  # N x 64 x 56 x 56
            layer1=net.layer1,  # N x 64 x 56 x 56
            layer2=net.layer2,  # N x 128 x 28 x 28
            layer3=net.layer3,  # N x 256 x 14 x 14
            layer4=net.layer4,  # N x 512 x 7 x 7
            pool=nn.Sequential(net.avgpool, nn.Flatten(1)),  # N x 512
        )
    )
