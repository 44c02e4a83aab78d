"""Residual networks (He, Zhang, Ren & Sun 2016, "Deep residual learning for image recognition", table 1), built through
torchvision - and by the same road every other classifier of torchvision that ends in one linear layer.

The figure in words: a block adds what its two 3x3 convolutions compute (three, 1x1-3x3-1x1, from ResNet-50 on) to its
own input, so that a hundred layers need only learn departures from doing nothing. Four stages of blocks halve the maps
and double the channels; the mean over the last maps is the code, and one linear layer the classifier.

The blocks are torchvision's own, so with the same weights the outputs are the same to the last bit; torchvision is
imported when a net is made.
"""

from collections import OrderedDict
from collections.abc import Sequence
from difflib import get_close_matches
from itertools import islice
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.models.shapes import check_widths, image, text

# Auxiliary heads would be left over: `zoo.models.GoogLeNet` is the zoo's own. SqueezeNet's head is a convolution.
WITHOUT_KNOWN_HEAD = ("googlenet", "inception_v3", "squeezenet1_0", "squeezenet1_1")


class TorchvisionNet(nn.Module):
    """A classifier of torchvision, cut into ``layers`` and ``head``.

    A ResNet's layers are stem, layer1 to layer4 and pool; any other net is one layer, ``body``.

    Args:
        architecture: torchvision's name for it, such as resnet18 or efficientnet_b0.
        in_shape: channels (1 or 3), height and width of one image.
        num_classes: outputs of the head.
        gray: how images of one channel enter a net for three: "repeat" gives each the same; "sum" adds up the first
            kernels over their channels, which computes the same in a third of the first layer's time.
        enlarge: smaller images are enlarged on the device until their shorter side has so many pixels; None: never.

    Attributes:
        torchvision_names: of every tensor in this net's ``state_dict``, its name in torchvision's.

    Raises:
        ValueError: an unknown architecture, option or number of channels, or an image that it cannot take.
    """

    def __init__(
        self,
        *,
        architecture: str = "resnet18",
        in_shape: Sequence[int] = (3, 224, 224),
        num_classes: int = 1000,
        gray: str = "repeat",
        enlarge: int | None = None,
    ):
        super().__init__()
        self.in_shape, self.num_classes, self.architecture = tuple(in_shape), num_classes, architecture
        channels, height, width = image(in_shape)
        check_widths(num_classes=num_classes)
        if channels not in (1, 3):
            raise ValueError(f"{architecture} takes images of 1 or 3 channels, in_shape is {text(in_shape)}")
        if gray not in ("repeat", "sum"):
            raise ValueError(f"gray={gray}: choose repeat or sum")
        if enlarge is not None and enlarge < 1:
            raise ValueError(f"enlarge={enlarge}: a number of pixels, or null, is needed")
        self.repeat = channels == 1 and gray == "repeat"
        factor = max(1.0, (enlarge or 0) / min(height, width))
        self.size = (round(height * factor), round(width * factor))  # of what the first layer sees

        net = _torchvision(architecture, num_classes)
        if channels == 1 and not self.repeat:
            _sum_first_kernels(net)
        named = net.state_dict(keep_vars=True)
        path, self.head = [(path, part) for path, part in net.named_modules() if isinstance(part, nn.Linear)][-1]
        net.set_submodule(path, nn.Identity())
        self.layers = _resnet_layers(net) if hasattr(net, "layer4") else nn.Sequential(OrderedDict(body=net))
        ours = {id(tensor): name for name, tensor in self.state_dict(keep_vars=True).items()}
        self.torchvision_names = {ours[id(tensor)]: name for name, tensor in named.items()}
        self.width: int = self.head.in_features  # of the code
        _try(self, architecture)

    def forward(self, x: Tensor) -> Tensor:
        """N x in_shape -> N x num_classes logits."""
        return self.head(self.encode(x))

    def encode(self, x: Tensor, depth: int | None = None) -> Tensor:
        """The output of layer ``depth`` (None: the code that the head reads, N x 512 for ResNet-18; 0: the image)."""
        if depth == 0:
            return x
        if self.size != self.in_shape[1:]:
            x = F.interpolate(x, size=self.size, mode="bilinear", align_corners=False)
        if self.repeat:
            x = x.expand(-1, 3, -1, -1)  # N x 3 x H x W
        for layer in islice(self.layers, depth):
            x = layer(x)
        return x

    def reset_head(self, num_classes: int) -> None:
        """Replace the head by a fresh one for ``num_classes`` classes."""
        self.num_classes = num_classes
        fresh = nn.Linear(self.width, num_classes, bias=self.head.bias is not None)
        self.head = fresh.to(self.head.weight)  # same device and type


def resnet(depth: int = 18, **arguments: Any) -> TorchvisionNet:
    """ResNet-18, 34, 50, 101 or 152; arguments as `TorchvisionNet`'s."""
    return TorchvisionNet(architecture=f"resnet{depth}", **arguments)


def _torchvision(architecture: str, num_classes: int) -> Any:
    from torchvision import models

    known = [name for name in models.list_models(module=models) if name not in WITHOUT_KNOWN_HEAD]
    if architecture not in known:
        near = get_close_matches(architecture, known, 5) or ["resnet18", "efficientnet_b0", "vit_b_16"]
        raise ValueError(f"architecture={architecture}: no such classifier of torchvision; near it: {', '.join(near)}")
    return models.get_model(architecture, weights=None, num_classes=num_classes)


def _try(net: TorchvisionNet, architecture: str) -> None:
    """Pass one black image through: ValueError where the maps shrink to nothing or the size is a fixed other one."""
    weight = net.head.weight
    net.eval()
    try:
        with torch.no_grad():
            net(torch.zeros(1, *net.in_shape, dtype=weight.dtype, device=weight.device))
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{architecture} cannot take images of {text(net.in_shape)}: {reason}") from error
    net.train()


def _resnet_layers(net: Any) -> nn.Sequential:
    stem = OrderedDict(conv1=net.conv1, bn1=net.bn1, relu=net.relu, maxpool=net.maxpool)
    return nn.Sequential(  # for ResNet-18 and an image of 224 x 224:
        OrderedDict(
            stem=nn.Sequential(stem),  # N x 64 x 56 x 56
            layer1=net.layer1,  # N x 64 x 56 x 56
            layer2=net.layer2,  # N x 128 x 28 x 28
            layer3=net.layer3,  # N x 256 x 14 x 14
            layer4=net.layer4,  # N x 512 x 7 x 7
            pool=nn.Sequential(net.avgpool, nn.Flatten(1)),  # N x 512
        )
    )


def _sum_first_kernels(net: nn.Module) -> None:
    """Put a first convolution for one channel in place of that for three, with its kernels added up."""
    path, first = next((path, part) for path, part in net.named_modules() if isinstance(part, nn.Conv2d))
    options = {name: getattr(first, name) for name in ("kernel_size", "stride", "padding", "dilation", "padding_mode")}
    alone = nn.Conv2d(1, first.out_channels, bias=first.bias is not None, **options)
    alone.load_state_dict({**first.state_dict(), "weight": first.weight.detach().sum(dim=1, keepdim=True)})
    net.set_submodule(path, alone)
