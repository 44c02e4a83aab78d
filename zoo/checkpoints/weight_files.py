"""Weight files of other projects: read the tensors safely, rename them to the net's own names, match them with the net.

torchvision, timm, Lightning, DataParallel and `torch.compile` name the same tensors differently. `PREFIXES` lists what
wrappers put before every name, and `NESTED` under which keys training scripts save the tensors: add new ones there.

May import data and protocols.
"""

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from zoo.checkpoints.safe_pickle import load as load_pickle
from zoo.checkpoints.wrapped import Wrapped
from zoo.protocols import HEADS, shape_text

NESTED = ("state_dict", "model_state_dict", "model", "net")  # where training scripts keep a net's tensors
PREFIXES = ("module.", "model.", "net.")  # what wrappers put before every name; others are found by comparison
MAX_NESTING = 10  # levels of such keys; a pickle may contain itself
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
SHOWN = 5  # how many tensors a message lists
HEAD_NAMES = tuple(f"{name}." for name in HEADS)  # how the names of a head's tensors begin


def read(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file or of a pickle, by the names that the file gives them.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is damaged, or its content is not a dictionary of tensors.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    if path.suffix == ".safetensors":
        try:
            content: Any = load_file(path)
        except Exception as error:
            # safetensors raises many types of errors for a damaged file.
            reason = " ".join(str(error).split())[:120] or type(error).__name__
            raise ValueError(f"{path}: damaged or cut short ({reason})") from error
    else:
        content = load_pickle(path)

    # Training scripts save more than the tensors: look under the usual keys, level by level.
    for _ in range(MAX_NESTING):
        if not isinstance(content, Mapping):
            break
        inner = next((content[name] for name in NESTED if isinstance(content.get(name), Mapping)), None)
        if inner is None:
            break
        content = inner

    # Accept only a dictionary from names to ordinary tensors.
    if not isinstance(content, Mapping) or not content:
        raise ValueError(f"{path}: expected a state dict, found {type(content).__name__}")
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise ValueError(f"{path}: a state dict must map names to tensors, but {name!r} is {type(value).__name__}")
        if not is_plain(value):
            raise ValueError(f"{path}: {name} must be a dense, unquantized CPU tensor with all its values")
    return dict(content)


def is_plain(value: Tensor) -> bool:
    """Whether a tensor is dense, unquantized, on the CPU, and has a stored number for each of its values.

    A pickle may hold a tensor of a single number whose strides repeat it billions of times.
    """
    if value.layout != torch.strided or value.is_quantized or value.device.type != "cpu":
        return False
    return value.numel() * value.element_size() <= value.untyped_storage().nbytes()


def renamed(net: nn.Module, tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Rename tensors from the names of wrappers, torchvision or timm to the net's own names.

    A prefix that most tensors share is removed. Tensors without it are not part of the net, such as the weights of a
    loss, and are left out.

    Returns:
        The tensors by the net's names, and the names in the file of those that were left out.

    Raises:
        ValueError: two tensors of the file belong to the same tensor of the net.
    """
    # The library's name of a tensor -> the net's own.
    original_names = net.original_names if isinstance(net, Wrapped) else {}
    own_names = {theirs: own for own, theirs in original_names.items()}

    # torch.compile may wrap a part of a net. Old DenseNet files have norm.1 where torchvision now has norm1.
    current = {
        name: re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12])\.", r"\1\2.", name.replace("_orig_mod.", ""))
        for name in tensors
    }
    prefix = _prefix(list(current.values()), {*net.state_dict(), *own_names})

    found: dict[str, Tensor] = {}
    left_out = []
    for name, value in tensors.items():
        if not current[name].startswith(prefix):
            left_out.append(name)
            continue
        bare = current[name].removeprefix(prefix)
        own_name = own_names.get(bare, bare)
        if own_name in found:
            raise ValueError(f"the file has two tensors for {own_name}; one of them is {name}")
        found[own_name] = value
    return found, left_out


def _prefix(names: Sequence[str], known: Collection[str]) -> str:
    """The prefix without which most names are ``known``. If few are, the wrapper prefixes that all names share."""
    # For each name, count the prefix before its longest known ending.
    counts: Counter[str] = Counter()
    for name in names:
        parts = name.split(".")
        start = next((k for k in range(len(parts)) if ".".join(parts[k:]) in known), None)
        if start is not None:
            counts["".join(f"{part}." for part in parts[:start])] += 1
    # Of several copies, such as the trained weights and their average, take the one with a usual prefix.
    best = max(counts, key=lambda prefix: (counts[prefix], prefix in ("", *PREFIXES)), default="")
    if 3 * counts[best] >= len(names):
        return best

    # The file belongs to another net: remove the shared prefixes, so that messages show the rest of each name.
    shared = ""
    while prefix := next((p for p in PREFIXES if all(name.startswith(shared + p) for name in names)), ""):
        shared += prefix
    return shared


def match_tensors(net: nn.Module, tensors: Mapping[str, Tensor], *, source: str, keep_head: bool) -> dict[str, Tensor]:
    """The tensors to load into ``net``, after checking that each fits and that none is missing or left over.

    Args:
        net: the net.
        tensors: the tensors of the file, by the net's own names.
        source: the file or name that they come from, for error messages.
        keep_head: load the head, too. Otherwise the head is left out; the file may lack it or have other classes.

    Raises:
        ValueError: the message lists tensors that are missing, left over, of another shape or dtype, or not finite.
    """
    expected = net.state_dict()
    given = _for_gray(tensors, expected)
    # A net without a head takes the rest of a file with one.
    if not keep_head:
        given = {name: value for name, value in given.items() if name in expected or not name.startswith(HEAD_NAMES)}

    # Tensors that the file lacks, or has with another shape or dtype.
    wrong = []
    for name, value in expected.items():
        is_new_head = name.startswith(HEAD_NAMES) and not keep_head
        if name in given:
            problem = _problem(given[name], value, any_width=is_new_head)
            wrong += [f"{name} {problem}"] if problem else []
        # PyTorch added the counters `num_batches_tracked` in version 0.4.1. A missing head is fine if it is reset.
        elif not name.endswith("num_batches_tracked") and not is_new_head:
            wrong.append(f"{name} ({shape_text(value.shape)}) is missing")

    # Extra tensors in the file.
    wrong += [f"{name} ({shape_text(given[name].shape)}) is not in the net" for name in given if name not in expected]
    if wrong:
        more = f" … and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        kind = net.architecture if isinstance(net, Wrapped) else type(net).__name__
        raise ValueError(f"{source} does not fit {kind}: {'; '.join(wrong[:SHOWN])}{more}")
    return {name: value for name, value in given.items() if keep_head or not name.startswith(HEAD_NAMES)}


def _problem(given: Tensor, expected: Tensor, *, any_width: bool) -> str:
    """Why a tensor cannot replace the net's own; "" if it can. ``any_width``: the first dimension may differ."""
    # The first dimension of a head's tensor is the number of classes, which a new head may change.
    first = 1 if any_width else 0
    if given.dim() != expected.dim() or given.shape[first:] != expected.shape[first:]:
        return f"has shape {shape_text(given.shape) or 1} in the file, {shape_text(expected.shape) or 1} in the net"
    # A format of eight or four bits needs scales, which a net of PyTorch does not have.
    if given.is_floating_point() != expected.is_floating_point() or (
        given.is_floating_point() and given.dtype not in FLOATS
    ):
        return f"has dtype {given.dtype} in the file, {expected.dtype} in the net"
    # Convert first: a large float64 becomes Inf in float32.
    if given.is_floating_point() and not given.to(expected.dtype).isfinite().all():
        return "contains NaN or Inf"
    return ""


def _for_gray(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Sum the first convolution over the colors if the net takes gray images and the file color images.

    A gray image that is converted to color has three equal channels. So the sum of the kernels over the colors gives
    the same output for the single gray channel.
    """
    fitting = dict(tensors)
    kernel = next((name for name, value in expected.items() if value.dim() == 4), "")  # out x in x height x width
    given = fitting.get(kernel)
    if given is None or given.dim() != 4 or expected[kernel].shape[1] != 1:
        return fitting
    # Sum only a kernel whose other dimensions fit, since any other may be huge.
    first, _, height, width = expected[kernel].shape
    if given.shape == (first, 3, height, width):
        fitting[kernel] = given.sum(dim=1, keepdim=True)  # out x 1 x height x width
    return fitting
