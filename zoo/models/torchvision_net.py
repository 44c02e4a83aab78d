"""Residual networks (He, Zhang, Ren & Sun 2016, "Deep residual learning for image recognition", table 1), built by
torchvision. Every other classifier of torchvision that ends in one linear layer can be built in the same way.

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
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.models.classifier import LayeredClassifier
from zoo.models.shapes import check_widths, image
from zoo.protocols import eval_mode, shape_text

# Nets that this class cannot divide: the first two have auxiliary heads (for GoogLeNet, use `zoo.models.GoogLeNet`);
# the head of SqueezeNet is a convolution.
WITHOUT_KNOWN_HEAD = ("googlenet", "inception_v3", "squeezenet1_0", "squeezenet1_1")
MAX_PIXELS = 2**24  # maximum size of an enlarged image, such as 4096x4096
TRIED_PIXELS = 2**20  # for larger images, only shapes are computed, on the meta device


class TorchvisionNet(LayeredClassifier):
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
        torchvision_names: for every tensor in this net's ``state_dict``, its name in torchvision's; a head included,
            even if this net has none.
        size: height and width of the first layer's input.

    Raises:
        ValueError: an unknown architecture, option or number of channels, or an image that the net cannot take.
    """

    def __init__(
        self,
        *,
        architecture: str = "resnet18",
        in_shape: Sequence[int] = (3, 224, 224),
        num_classes: int | None = 1000,
        gray: str = "repeat",
        enlarge: int | None = None,
    ):
        super().__init__(in_shape, num_classes)
        self.architecture = architecture
        # Check the options before anything is built.
        channels, height, width = image(in_shape)
        check_widths(num_classes=num_classes or 1)
        if channels not in (1, 3):
            raise ValueError(f"{architecture} takes images of 1 or 3 channels, in_shape is {shape_text(in_shape)}")
        if gray not in ("repeat", "sum"):
            raise ValueError(f"gray={gray}: choose repeat or sum")
        if enlarge is not None and enlarge < 1:
            raise ValueError(f"enlarge={enlarge} must be >= 1 pixel, or null")

        # What happens to an image before the first layer: it is enlarged, and its one channel repeated.
        factor = max(1.0, (enlarge or 0) / min(height, width))
        self.size = (round(height * factor), round(width * factor))
        if self.size[0] * self.size[1] > MAX_PIXELS:
            raise ValueError(f"images of {shape_text(self.size)} are too large: at most {MAX_PIXELS:,} pixels")
        self.repeat = channels == 1 and gray == "repeat"

        # Build torchvision's net, with a first convolution for one channel if gray is "sum".
        net = _torchvision(architecture, num_classes or 1)
        if channels == 1 and not self.repeat:
            _sum_first_kernels(net)
        names = {id(tensor): name for name, tensor in net.state_dict(keep_vars=True).items()}

        # Take its last linear layer out: that is the head, and all the rest are the layers.
        path, head = [(path, module) for path, module in net.named_modules() if isinstance(module, nn.Linear)][-1]
        net.set_submodule(path, nn.Identity())
        self.num_features = head.in_features
        self.head = head  # N x num_classes
        self.layers = _layers(net)  # N x num_features
        self.torchvision_names = {name: names[id(tensor)] for name, tensor in self.state_dict(keep_vars=True).items()}
        if not num_classes:
            self.head = None
        _check_input_size(self)

    def torchvision_state_dict(self) -> dict[str, Tensor]:
        """The net's ``state_dict`` by torchvision's names, for ``load_state_dict`` of torchvision's own net."""
        return {self.torchvision_names[name]: value for name, value in self.state_dict().items()}

    def feature_layers(self) -> Sequence[Callable[[Tensor], Tensor]]:
        # Depth 0 is the image as it was given, so enlarging it is a part of the first layer.
        first, *others = self.layers
        return [lambda x: first(self._enlarged(x)), *others]

    def _enlarged(self, x: Tensor) -> Tensor:
        """N x in_shape -> N x 3 x height x width of ``size``; with the kernels summed, N x 1 x height x width."""
        if self.size != self.in_shape[1:]:
            x = F.interpolate(x, size=self.size, mode="bilinear", align_corners=False)  # N x C x H x W
        if self.repeat:
            x = x.expand(-1, 3, -1, -1)  # N x 3 x H x W
        return x


def resnet(depth: int = 18, **arguments: Any) -> TorchvisionNet:
    """ResNet-18, 34, 50, 101 or 152; the other arguments are those of `TorchvisionNet`."""
    return TorchvisionNet(architecture=f"resnet{depth}", **arguments)


def _torchvision(architecture: str, num_classes: int) -> nn.Module:
    """torchvision's own net, with random weights; ValueError if it has none of that name."""
    from torchvision import models

    # The classifiers only: torchvision keeps detectors, segmenters and video nets in other modules.
    known = [name for name in models.list_models(module=models) if name not in WITHOUT_KNOWN_HEAD]
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


def _sum_first_kernels(net: nn.Module) -> None:
    """Replace the first convolution, for three channels, by one for one channel, with its kernels added up."""
    # Find the first convolution, and build one like it for one channel.
    path, first = next((path, module) for path, module in net.named_modules() if isinstance(module, nn.Conv2d))
    options: dict[str, Any] = {
        "kernel_size": first.kernel_size,
        "stride": first.stride,
        "padding": first.padding,
        "dilation": first.dilation,
        "padding_mode": first.padding_mode,
    }
    summed = nn.Conv2d(1, first.out_channels, bias=first.bias is not None, **options)
    # Sum its kernels over the color channels, and put it in the place of the old one.
    weight = first.weight.detach().sum(dim=1, keepdim=True)  # out_channels x 1 x kh x kw
    summed.load_state_dict({**first.state_dict(), "weight": weight})
    net.set_submodule(path, summed)


def _check_input_size(net: TorchvisionNet) -> None:
    """Pass one black image through: ValueError if its maps shrink to nothing, or the net takes another size only.

    In evaluation mode it draws no random numbers and leaves the statistics of batch normalization as they are.
    """
    # A net on the meta device has no values to compute with (`zoo.checkpoints.outline`).
    tensors = {**dict(net.named_parameters()), **dict(net.named_buffers())}
    if any(tensor.is_meta for tensor in tensors.values()):
        return
    weight = next(net.parameters())
    black = torch.zeros(1, *net.in_shape, dtype=weight.dtype, device=weight.device)
    try:
        with eval_mode(net), torch.no_grad():
            if net.size[0] * net.size[1] <= TRIED_PIXELS:
                net(black)
            else:
                shapes = {name: tensor.to("meta") for name, tensor in tensors.items()}
                torch.func.functional_call(net, shapes, (black.to("meta"),))
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{net.architecture} cannot take images of {shape_text(net.in_shape)}: {reason}") from error
