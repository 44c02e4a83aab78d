"""Build a net of a package that the user trusts: any `torch.nn.Module`, even one that does not state its sizes.

May import config and protocols.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn

from zoo.config.build import build
from zoo.protocols import eval_mode, shape_text


@runtime_checkable
class Sized(Protocol):
    """A net that states the shape of one input and the number of its outputs (None: it has no head)."""

    in_shape: tuple[int, ...]
    num_classes: int | None

    def __call__(self, x: Tensor) -> Tensor: ...


def build_own(node: Mapping[str, Any], in_shape: Sequence[int] | None) -> Sized:
    """Build the net of a trusted package, in memory.

    Args:
        node: the config node of the net.
        in_shape: shape of one input, for a net that does not state it.

    Raises:
        ValueError: the net cannot be built, or does not work for such inputs.
        Exception: any other error of the constructor.
    """
    net: nn.Module = build(node, where="net")
    return state_sizes(net, None if in_shape is None else tuple(in_shape))


def state_sizes(net: nn.Module, in_shape: tuple[int, ...] | None) -> Sized:
    """The net; one that is not of the zoo and does not state its sizes gets the attributes of `Sized`.

    Args:
        net: the net. Its outputs for two inputs of zeros tell the number of outputs, if they are N x K.
        in_shape: shape of one input.

    Raises:
        ValueError: the net fails for such inputs, or it does not state its sizes and ``in_shape`` is None.
    """
    if isinstance(net, Sized):
        return net
    name = type(net).__name__
    if in_shape is None:
        raise ValueError(f"{name} has no attributes in_shape and num_classes")
    try:
        with torch.no_grad(), eval_mode(net):
            outputs = net(torch.zeros(2, *in_shape))
    except Exception as error:  # the code of a user may raise anything
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ValueError(f"{name} fails for inputs of shape {shape_text(in_shape)} ({reason})") from error
    sized = cast(Any, net)
    sized.in_shape = in_shape
    sized.num_classes = outputs.shape[1] if isinstance(outputs, Tensor) and outputs.ndim == 2 else None
    return cast(Sized, sized)
