"""Nets of timm (Wightman 2019, "PyTorch Image Models"): more than a thousand architectures, most with ImageNet weights.

May import torch; timm is an optional package, imported when a net is made.

The figure in words: whatever the family (convolutions as in MobileNetV4, blocks of attention as in ViT, or both), a
chain of blocks turns the image into maps or tokens, pooling turns these into one vector of features, and one linear
layer is the classifier. timm gives every family the same methods, so one class can divide all of them.

The blocks are those of timm, so with the same weights the outputs are bit-identical.

Deviations from the paper:

1. Nets whose classifier is not a single linear layer are refused: several heads (distilled nets), or a 1x1 convolution
   (DPN, DLA, BiT).
2. The preprocessing of the weights is that of timm, but an image is always resized by its shorter side and cropped in
   the center, also where timm squashes it to a square (``crop_mode="squash"``).
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from itertools import takewhile
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from zoo.models.wrapped_net import WrappedNet, cannot_take
from zoo.protocols import shape_text

# Pixels of an image for nets that are built for one size: their tables of positions grow with the square of the image.
MAX_FIXED_PIXELS = 2**20


class TimmNet(WrappedNet):
    """A classifier of timm, divided into one layer, ``body``, and ``head``.

    A net for images of one size, such as ViT, is built for the size of ``in_shape``. `layer_modules` divides the body
    into the layers that fine-tuning unfreezes one after the other, as timm groups them.

    Args:
        architecture: name of the net in timm, such as convnext_tiny or vit_small_patch16_224, without the name of its
            weights.
        in_shape: channels (1 or 3), height and width of one image.
        num_classes: number of outputs of the head; 0 or None for no head.
        gray: how gray images enter a net for color images: "repeat" gives each of the three channels the same image;
            "sum" adds up the kernels of the first convolution over their channels, which gives the same output in a
            third of the time for that layer.
        enlarge: smaller images are enlarged, on the device, until their shorter side has this many pixels; None: never.
        drop_rate: dropout on the features, before the head, in [0, 1).
        drop_path_rate: probability that a training image skips the last block; linearly less for the blocks below it;
            in [0, 1).

    Attributes:
        original_names: for every tensor in this net's ``state_dict``, its name in timm's; a head included, even if this
            net has none.
        size: height and width of the first layer's input.

    Raises:
        ValueError: timm is not installed; an unknown architecture, option or number of channels; a net without a linear
            head, or an image that it cannot take.
    """

    library = "timm"

    def __init__(
        self,
        *,
        architecture: str = "mobilenetv3_small_100",
        in_shape: Sequence[int] = (3, 224, 224),
        num_classes: int | None = 1000,
        gray: str = "repeat",
        enlarge: int | None = None,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
    ):
        super().__init__(
            architecture=architecture, in_shape=in_shape, num_classes=num_classes, gray=gray, enlarge=enlarge
        )
        # Only names of timm itself: its `create_model` would also take the name of a folder or of a download.
        timm = _timm()
        _check_name(timm, architecture)
        options: dict[str, Any] = {}
        for name, rate in {"drop_rate": drop_rate, "drop_path_rate": drop_path_rate}.items():
            if not 0 <= rate < 1:
                raise ValueError(f"{name}={rate} must be in [0, 1)")
            if rate:
                options[name] = rate

        # A net for images of one size is built for the size that it will see.
        facts = timm.models.get_pretrained_cfg(architecture)
        if facts is not None and facts.fixed_input_size:
            if self.size[0] * self.size[1] > MAX_FIXED_PIXELS:
                raise ValueError(
                    f"images of {shape_text(self.size)} are too large for {architecture}: at most "
                    f"{MAX_FIXED_PIXELS:,} pixels"
                )
            options["img_size"] = self.size
        self._options = options
        try:
            net: Any = timm.create_model(architecture, num_classes=num_classes or 1, **options)
        except TypeError as error:
            # An argument that the family does not have.
            raise ValueError(f"{architecture} of timm: {error}") from error
        except (RuntimeError, AssertionError, ValueError) as error:
            raise cannot_take(architecture, in_shape, error) from error

        # timm names its classifier and its first convolution; some nets have several of either.
        head = facts.classifier if facts is not None else None
        first = facts.first_conv if facts is not None else None
        if not isinstance(head, str) or not isinstance(dict(net.named_modules()).get(head), nn.Linear):
            raise ValueError(
                f"architecture={architecture}: its classifier is not a single linear layer; the zoo needs an "
                "architecture whose classifier is one"
            )
        first = first if isinstance(first, str) else None
        self._divide(net, first=first, head=head, layers=lambda net: nn.Sequential(OrderedDict(body=net)))

    def layer_modules(self) -> list[tuple[str, tuple[nn.Module, ...]]]:
        """The layers of the body by name, from the input up: (name, modules), as timm groups its parameters.

        Parameters outside these modules, such as a class token, belong to the lowest layer. The list is empty for the
        few families whose layers timm does not number.
        """
        from timm.models import group_parameters

        # timm numbers the layer of every parameter, from the input up.
        body: Any = self.layers.get_submodule("body")
        try:
            matcher = body.group_matcher(coarse=True)
        except (AttributeError, AssertionError):
            return []
        numbers = group_parameters(body, matcher, reverse=True)

        # Collect the modules of each layer. A module without parameters joins the layer of the module before it.
        layers: dict[int, list[tuple[str, nn.Module]]] = {}
        last = 0
        for path, module, number in _whole_modules(body, numbers):
            last = last if number is None else number
            layers.setdefault(last, []).append((path, module))
        chain = [found for _, found in sorted(layers.items())]
        names = _names([[path for path, _ in found] for found in chain])
        return [(name, tuple(module for _, module in found)) for name, found in zip(names, chain, strict=True)]

    def map_modules(self) -> Iterator[nn.Module]:
        """The modules whose outputs may be feature maps: all but the parts of an attention layer."""
        for path, module in self.layers.named_modules():
            if ".attn." not in path:
                yield module

    def as_maps(self, output: Tensor) -> Tensor | None:
        """The output of a module as feature maps of more than one pixel, N x C x h x w; None if it has none.

        Accepts maps, N x C x h x w. If C is the number of channels of the last block, it also accepts maps with the
        channels last, N x h x w x C, and tokens, N x L x C, the first of which may be a class token.
        """
        body: Any = self.layers.get_submodule("body")
        width = body.num_features
        if output.dim() == 4:
            if output.shape[3] == width != output.shape[1]:
                output = output.permute(0, 3, 1, 2)  # N x h x w x C -> N x C x h x w
            return output if output.shape[2:].numel() > 1 else None
        if output.dim() != 3 or output.shape[2] != width:
            return None

        # Without class and register tokens, there is one token for each cell of a grid with the aspect ratio of the
        # image.
        first = dict(vars(body)).get("num_prefix_tokens", 0)
        cells = output.shape[1] - first
        rows = round((max(cells, 0) * self.size[0] / self.size[1]) ** 0.5)
        if cells < 2 or rows < 1 or cells % rows:
            return None
        return output[:, first:].transpose(1, 2).reshape(len(output), width, rows, cells // rows)

    def converted(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
        """Tensors as timm loads them into this architecture, by this net's names; None if timm cannot load them.

        timm converts the names of the original authors, and resizes the position embeddings of images of another size.

        Args:
            tensors: by timm's or the authors' names.
        """
        timm = _timm()
        own = {theirs: name for name, theirs in self.original_names.items()}
        # The number of classes of the file: the width of its head.
        heads = [theirs for name, theirs in self.original_names.items() if name.startswith("head.")]
        width = next((len(tensors[name]) for name in heads if name in tensors), 0)
        overlay = {"state_dict": dict(tensors), "num_classes": width}
        try:
            with torch.random.fork_rng(devices=[]):
                net = timm.create_model(
                    self.architecture,
                    pretrained=True,
                    pretrained_cfg_overlay=overlay,
                    num_classes=width,
                    **self._options,
                )
        except (RuntimeError, AssertionError, LookupError, TypeError, ValueError, AttributeError):
            return None
        return {own[name]: value for name, value in net.state_dict().items() if name in own}


def _timm() -> Any:
    """The package timm; ValueError if it is not installed."""
    try:
        import timm
    except ModuleNotFoundError as error:
        raise ValueError(f"nets of timm need {error.name}: pip install 'reference-zoo[timm]'") from error
    package: ModuleType = timm
    return package


@cache
def _known(list_models: Callable[[], list[str]]) -> list[str]:
    """The names of timm's architectures; they do not change."""
    return list_models()


def _check_name(timm: Any, architecture: str) -> None:
    """Raise ValueError unless timm has an architecture of this name."""
    known = _known(timm.list_models)
    if architecture in known:
        return
    # timm writes ARCHITECTURE.WEIGHTS; here they are two keys.
    name, _, tag = architecture.partition(".")
    if name in known:
        raise ValueError(
            f"architecture={architecture}: give the name of the weights separately: "
            f"model.net.architecture={name} weights={tag}"
        )
    near = [other for other in known if architecture and other.startswith(architecture)][:5]
    near = near or get_close_matches(architecture, known, 5) or ["resnet50", "convnext_tiny", "vit_small_patch16_224"]
    raise ValueError(f"architecture={architecture}: timm has no net of this name; similar names: {', '.join(near)}")


def _whole_modules(
    module: nn.Module, numbers: Mapping[str, int], path: str = ""
) -> Iterator[tuple[str, nn.Module, int | None]]:
    """(path, module, number of its layer) of the largest modules whose parameters belong to one layer.

    The number is None for a module without parameters.
    """
    for name, child in module.named_children():
        inner = f"{path}{name}"
        found = {numbers[f"{inner}.{parameter}"] for parameter, _ in child.named_parameters()}
        if len(found) > 1:
            yield from _whole_modules(child, numbers, f"{inner}.")
        else:
            yield inner, child, next(iter(found), None)


def _names(layers: Sequence[Sequence[str]]) -> list[str]:
    """The name of each layer: the common beginning of its paths; if it is empty or not unique, the first path."""
    shared = []
    for paths in layers:
        columns = zip(*(path.split(".") for path in paths), strict=False)
        shared.append(".".join(column[0] for column in takewhile(lambda column: len(set(column)) == 1, columns)))
    return [name if name and shared.count(name) == 1 else paths[0] for name, paths in zip(shared, layers, strict=True)]
