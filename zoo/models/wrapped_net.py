"""The base class of nets that another library builds: they are divided into ``layers`` and ``head``.

    images -> enlarged, gray repeated -> layers -> features -> head -> logits

A subclass builds the library's net and hands it to `_divide`. May import torch, protocols and other files of this
folder.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.models.classifier import LayeredClassifier
from zoo.models.shapes import check_widths, image
from zoo.protocols import eval_mode, shape_text

MAX_PIXELS = 2**24  # maximum size of an enlarged image, such as 4096x4096
TRIED_PIXELS = 2**20  # for larger images, only shapes are computed, on the meta device


class WrappedNet(LayeredClassifier):
    """A classifier of another library, divided into ``layers`` and ``head``. The outputs are bit-identical.

    Args:
        architecture: the library's name of the net.
        in_shape: channels (1 or 3), height and width of one image.
        num_classes: number of outputs of the head; 0 or None for no head.
        gray: how gray images enter a net for color images: "repeat" or "sum".
        enlarge: smaller images are enlarged until their shorter side has this many pixels; None: never.

    Attributes:
        library: the name of the library.
        original_names: for every tensor in this net's ``state_dict``, its name in the library's; a head included, even
            if this net has none.
        size: height and width of the first layer's input.
    """

    library: str

    def __init__(
        self, *, architecture: str, in_shape: Sequence[int], num_classes: int | None, gray: str, enlarge: int | None
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

    def _divide(
        self, net: nn.Module, *, first: str | None, head: str, layers: Callable[[nn.Module], nn.Sequential]
    ) -> None:
        """Take over the library's net: set ``head``, ``layers``, ``num_features`` and ``original_names``.

        Args:
            net: the library's net for color images.
            first: path of its first convolution, whose kernels are added up if gray is "sum"; None if it has none.
            head: path of its last linear layer.
            layers: divides the net, without its head, into a chain of named layers.

        Raises:
            ValueError: the net cannot take images of this size, or the kernels cannot be added up.
        """
        # For gray images, a first convolution of one channel.
        if self.in_shape[0] == 1 and not self.repeat:
            _sum_kernels(net, first, self.architecture)
        names = {id(tensor): name for name, tensor in net.state_dict(keep_vars=True).items()}

        # Take the last linear layer out: that is the head, and all the rest are the layers.
        last = net.get_submodule(head)
        assert isinstance(last, nn.Linear)
        net.set_submodule(head, nn.Identity())
        self.num_features = last.in_features
        self.head = last  # N x num_classes
        self.layers = layers(net)  # N x num_features
        self.original_names = {name: names[id(tensor)] for name, tensor in self.state_dict(keep_vars=True).items()}
        if not self.num_classes:
            self.head = None
        self._check_input_size()

    def original_state_dict(self) -> dict[str, Tensor]:
        """The net's ``state_dict`` by the library's names, for ``load_state_dict`` of the library's own net."""
        return {self.original_names[name]: value for name, value in self.state_dict().items()}

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

    def _check_input_size(self) -> None:
        """Pass one black image through: ValueError if its maps shrink to nothing, or the net accepts only another size.

        In evaluation mode it draws no random numbers and leaves the statistics of batch normalization as they are.
        """
        # A net on the meta device has no values to compute with (`zoo.checkpoints.outline`).
        tensors = {**dict(self.named_parameters()), **dict(self.named_buffers())}
        if any(tensor.is_meta for tensor in tensors.values()):
            return
        weight = next(self.parameters())
        black = torch.zeros(1, *self.in_shape, dtype=weight.dtype, device=weight.device)
        try:
            with eval_mode(self), torch.no_grad():
                if self.size[0] * self.size[1] <= TRIED_PIXELS:
                    self(black)
                else:
                    shapes = {name: tensor.to("meta") for name, tensor in tensors.items()}
                    torch.func.functional_call(self, shapes, (black.to("meta"),))
        except (RuntimeError, AssertionError) as error:
            raise cannot_take(self.architecture, self.in_shape, error) from error


def cannot_take(architecture: str, in_shape: Sequence[int], error: Exception) -> ValueError:
    """The error of an image that a net cannot take, with the first line of the library's reason."""
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return ValueError(f"{architecture} cannot take images of {shape_text(in_shape)}: {reason}")


def first_convolution(net: nn.Module) -> str:
    """The path of the first convolution of a net."""
    paths: list[str] = [path for path, module in net.named_modules() if isinstance(module, nn.Conv2d)]
    return paths[0]


def _sum_kernels(net: nn.Module, path: str | None, architecture: str) -> None:
    """Replace the convolution at ``path``, for three channels, by one for one channel, with its kernels added up.

    Raises ValueError if it is another kind of layer, such as one that standardizes its kernels: their sum would compute
    something else.
    """
    # The convolution, and one like it for one channel.
    first = net.get_submodule(path) if path is not None else None
    if type(first) is not nn.Conv2d or first.in_channels != 3:
        raise ValueError(f"gray=sum: the first layer of {architecture} is not a plain convolution; use gray=repeat")
    assert path is not None
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
