"""Tensors of a weight file, by name: read safely, renamed to a net's own names, and matched with the net one by one.

May import data and protocols.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from zoo.checkpoints.safe_pickle import load as load_pickle
from zoo.checkpoints.torchvision_files import FromTorchvision
from zoo.data.splits import shape_text
from zoo.protocols import HEADS

NESTED = ("state_dict", "model_state_dict", "model", "net")  # where training scripts keep a net's tensors
PREFIXES = ("module.", "_orig_mod.", "model.", "net.")  # what wrappers put before every name
SHOWN = 5  # how many tensors a message lists
HEAD_NAMES = tuple(f"{name}." for name in HEADS)  # how the names of a head's tensors begin


def read(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file or of a pickle, by the names that the file gives them.

    Raises:
        ValueError: the file is damaged, or it holds something else than tensors by name.
    """
    if path.suffix == ".safetensors":
        try:
            content: Any = load_file(path)
        except Exception as error:
            # The reader raises errors of any kind on a damaged file.
            reason = " ".join(str(error).split())[:120] or type(error).__name__
            raise ValueError(f"{path}: damaged or cut short ({reason})") from error
    else:
        content = load_pickle(path)

    # Training scripts save more than the tensors: look for them under the usual names, level by level.
    while isinstance(content, Mapping):
        inner = next((content[name] for name in NESTED if isinstance(content.get(name), Mapping)), None)
        if inner is None:
            break
        content = inner

    # Accept nothing but ordinary tensors by name.
    if not isinstance(content, Mapping) or not content:
        raise ValueError(f"{path}: expected a state dict, found {type(content).__name__}")
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise ValueError(f"{path}: a state dict holds tensors by name only, {name!r} is {type(value).__name__}")
        if value.layout != torch.strided or value.is_quantized or value.device.type != "cpu":
            raise ValueError(f"{path}: {name} is a {value.layout} tensor on {value.device}; save it dense")
    return dict(content)


def renamed(net: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors by the net's own names, where they are known by another name.

    Raises:
        ValueError: two tensors have the same name in the net.
    """
    # Take off what wrappers put before every name, one after the other.
    while prefix := next((p for p in PREFIXES if all(name.startswith(p) for name in tensors)), ""):
        tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}

    # torchvision's name of a tensor -> the net's own.
    foreign = net.torchvision_names if isinstance(net, FromTorchvision) else {}
    own_names = {theirs: own for own, theirs in foreign.items()}

    found: dict[str, Tensor] = {}
    for name, value in tensors.items():
        # DenseNet's files are older than its code: norm.1 is now norm1.
        current = re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12])\.", r"\1\2.", name)
        own_name = own_names.get(current, current)
        if own_name in found:
            raise ValueError(f"{name} is there twice, by its own name and by another ({own_name})")
        found[own_name] = value
    return found


def match_tensors(net: nn.Module, tensors: Mapping[str, Tensor], *, source: str, keep_head: bool) -> dict[str, Tensor]:
    """The tensors to load into ``net``: each one fits, and none is missing or left over.

    Args:
        net: the net.
        tensors: by the net's own names.
        source: where they are from, for the message.
        keep_head: load the head, too. Otherwise it may be missing or of another number of classes, and is left out.

    Raises:
        ValueError: the message lists tensors that are missing, left over, of another shape or kind, or not finite.
    """
    expected = net.state_dict()
    given = _for_gray(tensors, expected)

    # What is in the net, but not in the file, or otherwise there.
    wrong = []
    for name, value in expected.items():
        is_new_head = name.startswith(HEAD_NAMES) and not keep_head
        if name in given:
            problem = _problem(given[name], value, any_width=is_new_head)
            wrong += [f"{name} {problem}"] if problem else []
        # Files from before 2018 have no counters of batches; a file without a head has none to leave out.
        elif not name.endswith("num_batches_tracked") and not is_new_head:
            wrong.append(f"{name} ({shape_text(value.shape)}) is missing")

    # What is in the file, but not in the net.
    wrong += [f"{name} ({shape_text(given[name].shape)}) is not in the net" for name in given if name not in expected]
    if wrong:
        more = f" … and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        kind = net.architecture if isinstance(net, FromTorchvision) else type(net).__name__
        raise ValueError(f"{source} does not fit {kind}: {'; '.join(wrong[:SHOWN])}{more}")
    return {name: value for name, value in given.items() if keep_head or not name.startswith(HEAD_NAMES)}


def _problem(given: Tensor, expected: Tensor, *, any_width: bool) -> str:
    """Why a tensor cannot take the place of the net's own, or ""; with ``any_width`` its first dimension is free."""
    # A head of other classes must still read the same features.
    first = 1 if any_width else 0
    if given.dim() != expected.dim() or given.shape[first:] != expected.shape[first:]:
        return f"is {shape_text(given.shape) or 1} there, {shape_text(expected.shape) or 1} in the net"
    if given.is_floating_point() != expected.is_floating_point():
        return f"is {given.dtype} there, {expected.dtype} in the net"
    # Converted first: a large float64 becomes Inf in float32.
    if given.is_floating_point() and not given.to(expected.dtype).isfinite().all():
        return "contains NaN or Inf"
    return ""


def _for_gray(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors, with the first convolution summed over the colors where the net takes gray images.

    A gray image is three equal channels, so the sum of the three kernels computes the same from one.
    """
    fitting = dict(tensors)
    kernel = next((name for name, value in expected.items() if value.dim() == 4), "")  # out x in x height x width
    given = fitting.get(kernel)
    if given is not None and given.dim() == 4 and given.shape[1] == 3 and expected[kernel].shape[1] == 1:
        fitting[kernel] = given.sum(dim=1, keepdim=True)  # out x 1 x height x width
    return fitting
