"""Build a described net without allocating its memory, and compare it with the tensors of a file.

A description of a few bytes may name a net of many gigabytes. So the net is first built as an outline: every tensor
except small ones is on torch's meta device, which has shapes but no values. The net is built in memory only if the
names, shapes and dtypes of its tensors are those of the tensors in the file.

May import config and protocols.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from zoo.checkpoints.mismatch import FLOATS
from zoo.checkpoints.wrapped import FromLibrary, Wrapped
from zoo.config.build import build
from zoo.config.build import check as check_node
from zoo.protocols import Net, shape_text

SMALL = 4096  # tensors with at most this many values are real in an outline
MAX_MAPS = 2**28  # values in the feature maps of one layer for one example: 1 GiB in float32
SHOWN = 5  # maximum number of tensors that a message lists

# Functions of torch that allocate a tensor of a given size.
ALLOCATING = {torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn}
# Methods that scale a tensor by a number: initial weights are scaled random numbers.
SCALING = {"mul", "div", "__mul__", "__rmul__", "__truediv__"}


class _Outline(TorchFunctionMode):
    """Within this mode, large new tensors are on the meta device, and functions that fill or scale them do nothing.

    ``torch.device("meta")`` is not used, because some constructors compute with small tensors, which must have values.
    Also, to scale or fill a meta tensor, torch imports its symbolic mathematics, which takes seconds.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        options = dict(kwargs or {})
        # A new tensor of a given size.
        if func in ALLOCATING and options.get("device") is None and _size(args) > SMALL:
            return func(*args, **{**options, "device": "meta"}) if func is torch.empty else _empty(args, options)

        # A method or an initializer that changes a tensor in place, or scales it.
        name = getattr(func, "__name__", "")
        tensor = args[0] if args else options.get("tensor")
        if isinstance(tensor, Tensor) and tensor.is_meta:
            if name.endswith("_") and not name.endswith("__"):
                return tensor
            if name in SCALING and len(args) == 2 and isinstance(args[1], int | float):
                return _empty((tuple(tensor.shape),), {"dtype": tensor.dtype})
        return func(*args, **options)


def draft(node: Mapping[str, Any]) -> Any:
    """Build the outline of the net in a config node. Raises the errors of `build` and of the constructor."""
    # Import the library first: one that is imported within the mode could keep tensors without values.
    target, _ = check_node(node, where="net")
    if isinstance(target, FromLibrary):
        with suppress(ModuleNotFoundError):
            import_module(target.library)
    # Restore the state of the random number generator afterwards.
    with torch.random.fork_rng(devices=[]), _Outline():
        return build(node, where="net")


def check(node: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Net:
    """Build the outline of a net, and check that the tensors of a file fit it.

    Args:
        node: the config node of the net. Its values are within the limits of `zoo.checkpoints.description_schema`.
        tensors: the tensors by name; only their shapes and dtypes are read.

    Returns:
        The outline. It has no values, so it cannot compute outputs.

    Raises:
        ValueError: the net cannot be built, or it is a layer and not a net; a tensor is missing, unexpected, or of
            another shape or dtype; or the feature maps of a layer have more than `MAX_MAPS` values.
        RuntimeError, TypeError: raised by the constructor of the net.
    """
    net = draft(node)
    if not isinstance(net, nn.Module) or not isinstance(net, Net):
        raise ValueError(f"{node['_target_']} is a layer, not a net")
    wrong = list(_misfits(net.state_dict(), tensors))
    if wrong:
        more = f" and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        raise ValueError("; ".join(wrong[:SHOWN]) + more)
    _check_maps(net)
    return net


def _misfits(expected: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> Iterable[str]:
    """One message for each tensor that is missing, unexpected, or of another shape or dtype."""
    for name, value in expected.items():
        if name not in given:
            yield f"{name} ({shape_text(value.shape) or 1}) is missing"
            continue
        other = given[name]
        if other.shape != value.shape:
            yield f"{name} is {shape_text(other.shape) or 1} in the file, {shape_text(value.shape) or 1} in the net"
        # Floating-point numbers are stored in any precision, and converted when they are loaded.
        elif other.dtype != value.dtype and not (other.dtype in FLOATS and value.dtype in FLOATS):
            yield f"{name} has dtype {other.dtype} in the file, {value.dtype} in the net"
    for name in given:
        if name not in expected:
            yield f"{name} ({shape_text(given[name].shape) or 1}) is not in the net"


def _check_maps(net: nn.Module) -> None:
    """Raise ValueError if the feature maps of a layer would have more than `MAX_MAPS` values for one example."""
    assert isinstance(net, Net)
    # The size of the image that the first layer sees.
    size = net.size if isinstance(net, Wrapped) else net.in_shape[1:]
    convolutions = [module for module in net.modules() if isinstance(module, nn.Conv2d)]
    # Without large padding, no feature map is larger than the image, so this bound holds.
    padded = any(max(_pair(module.padding)) > max(module.kernel_size) for module in convolutions)
    channels = max((module.out_channels for module in convolutions), default=1)
    if channels * math.prod(size) <= MAX_MAPS and not padded:
        return

    # Otherwise pass an example on the meta device through the net.
    def look(module: nn.Module, inputs: object, output: object) -> None:
        if isinstance(output, Tensor) and output.numel() > MAX_MAPS:
            raise ValueError(f"a layer computes {output.numel():,} values for one input, more than {MAX_MAPS:,}")

    handles = [module.register_forward_hook(look) for module in net.modules()]
    with torch.no_grad():
        outline = net.eval().to("meta")
        outline(torch.empty(1, *net.in_shape, device="meta"))
    for handle in handles:
        handle.remove()


def _pair(padding: object) -> tuple[int, ...]:
    """The padding of a convolution in both directions; "same" and "valid" are never larger than the kernel."""
    return padding if isinstance(padding, tuple) else (0, 0)


def _size(args: tuple[Any, ...]) -> int:
    """The number of values of a new tensor, from the arguments of the function that allocates it."""
    sizes = args[0] if args and isinstance(args[0], tuple | list) else args
    return math.prod(sizes) if sizes and all(isinstance(size, int) for size in sizes) else 0


def _empty(args: tuple[Any, ...], options: Mapping[str, Any]) -> Tensor:
    """A tensor of the given size without values."""
    sizes = args[0] if isinstance(args[0], tuple | list) else args
    return torch.empty(tuple(sizes), dtype=options.get("dtype"), device="meta")
