"""Weight files of other projects: read the tensors safely, give them the net's own names, match them with the net.

torchvision, timm, Lightning, DataParallel, `torch.compile` and self-supervised methods name the same tensors
differently. A prefix is found by comparison with the names of the net; `PREFIXES` lists those that are preferred, and
`NESTED` lists the keys under which training scripts save the tensors: add new ones there.

May import protocols and the other files of this folder.
"""

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from zoo.checkpoints.mismatch import Mismatch
from zoo.checkpoints.safe_pickle import load as load_pickle
from zoo.checkpoints.wrapped import Wrapped
from zoo.protocols import HEADS

# Where training scripts keep a net's tensors. Of a teacher and its student, the teacher is the average that is used.
NESTED = ("state_dict", "model_state_dict", "model", "net", "teacher", "student", "backbone", "encoder")
PREFIXES = ("module.", "model.", "net.")  # what wrappers put before every name; others are found by comparison
# Parts of the prefix of a second copy of a net, which self-supervised methods train besides the one that is used.
SECOND_COPIES = ("encoder_k", "momentum", "target", "student")
MAX_NESTING = 10  # levels of such keys; a pickle may contain itself
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
            raise ValueError(f"{path}: damaged or truncated ({reason})") from error
    else:
        content = load_pickle(path)

    # Training scripts save more than the tensors: look under the usual keys, level by level.
    for _ in range(MAX_NESTING):
        if not isinstance(content, Mapping):
            break
        inner = [content[name] for name in NESTED if isinstance(content.get(name), Mapping)]
        # Under any other key, the only dictionary with tensors is meant.
        if not inner and not any(isinstance(value, Tensor) for value in content.values()):
            inner = [value for value in content.values() if _has_tensors(value)]
            inner = inner if len(inner) == 1 else []
        if not inner:
            break
        content = inner[0]

    # Accept only a dictionary from names to ordinary tensors.
    if not isinstance(content, Mapping) or not content:
        found = "an empty one" if isinstance(content, Mapping) else type(content).__name__
        raise ValueError(f"{path}: expected a state dict, found {found}")
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise ValueError(f"{path}: a state dict must map names to tensors, but {name!r} is {type(value).__name__}")
        if not is_plain(value):
            raise ValueError(f"{path}: {name} must be a dense, unquantized CPU tensor with all its values")
    return dict(content)


def _has_tensors(value: object) -> bool:
    return isinstance(value, Mapping) and any(isinstance(entry, Tensor) for entry in value.values())


def is_plain(value: Tensor) -> bool:
    """Whether a tensor is dense, unquantized, on the CPU, and has a stored number for each of its values.

    A pickle may hold a tensor of a single number whose strides repeat it billions of times.
    """
    if value.layout != torch.strided or value.is_quantized or value.device.type != "cpu":
        return False
    return value.numel() * value.element_size() <= value.untyped_storage().nbytes()


class Renamed(NamedTuple):
    """The tensors of a file by the net's names.

    Attributes:
        tensors: by the net's own names; names that the net does not have are those of the file without the prefix.
        left_out: the names in the file of the tensors that are not part of the net.
        prefix: what was removed from the names of the others, such as "module.encoder_q."; may be empty.
    """

    tensors: dict[str, Tensor]
    left_out: list[str]
    prefix: str


def renamed(net: nn.Module, tensors: Mapping[str, Tensor]) -> Renamed:
    """Rename tensors from the names of wrappers, torchvision or timm to the net's own names.

    The prefix by which the largest number of names fit is removed, if there is one. Tensors without it are not part of
    the net, such as the weights of a loss or a second copy of the net, and are left out.

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
    own = net.state_dict()
    prefix = _prefix(list(current.values()), {*own, *own_names}, needed=len(own))

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
    return Renamed(found, left_out, prefix)


def _prefix(names: Sequence[str], known: Collection[str], *, needed: int) -> str:
    """The prefix without which most names are ``known``. If few are, the wrapper prefixes that all names share.

    Args:
        names: the names in the file.
        known: the names of the net's tensors, its own and those of the library that it wraps.
        needed: number of tensors of the net.
    """
    # For each name, count the prefix before its longest known ending.
    counts: Counter[str] = Counter()
    for name in names:
        parts = name.split(".")
        start = next((k for k in range(len(parts)) if ".".join(parts[k:]) in known), None)
        if start is not None:
            counts["".join(f"{part}." for part in parts[:start])] += 1

    # Of several copies, such as the trained weights and their average, take the one with a usual prefix.
    def rank(prefix: str) -> tuple[int, bool, bool]:
        is_second = any(word in prefix for word in SECOND_COPIES)
        return counts[prefix], prefix in ("", *PREFIXES), not is_second

    best = max(counts, key=rank, default="")
    # A file may hold several copies, and more than the net. Few matches are a coincidence.
    if 3 * counts[best] >= len(names) or 2 * counts[best] >= needed:
        return best

    # The file belongs to another net: remove the shared prefixes, so that messages show the rest of each name.
    shared = ""
    while prefix := next((p for p in PREFIXES if all(name.startswith(shared + p) for name in names)), ""):
        shared += prefix
    return shared


def match_tensors(
    net: nn.Module, tensors: Mapping[str, Tensor], *, source: str, keep_head: bool, leave: tuple[str, ...] = ()
) -> dict[str, Tensor]:
    """The tensors to load into ``net``, after checking that each fits and that none is missing or left over.

    Args:
        net: the net.
        tensors: the tensors of the file, by the net's own names.
        source: the file or name that they come from, for error messages.
        keep_head: load the head, too. Otherwise the head is left out; the file may lack it or have other classes.
        leave: how the names of the net's tensors begin that keep their values, whatever the file has.

    Raises:
        ValueError: the message lists tensors that are missing, left over, of another shape or dtype, or not finite.
    """
    expected = {name: value for name, value in net.state_dict().items() if not name.startswith(leave)}
    given = _for_gray(tensors, expected)
    if leave:
        given = {name: value for name, value in given.items() if not name.startswith("layers.") or name in expected}
    # If the head is not kept, leave out the layers that the file has in its place, such as a projection of two layers.
    if not keep_head:
        heads = head_names(net)
        given = {name: value for name, value in given.items() if name in expected or not name.startswith(heads)}

    # Tensors that the file lacks, or has with another shape or dtype. Messages have the names of the net's library.
    wrong = Mismatch()
    theirs = net.original_names if isinstance(net, Wrapped) else {}
    for name, value in expected.items():
        is_new_head = name.startswith(HEAD_NAMES) and not keep_head
        shown = theirs.get(name, name)
        if name in given:
            wrong.compare(shown, given[name], value, any_width=is_new_head)
        # PyTorch added the counters `num_batches_tracked` in version 0.4.1. A missing head is fine if it is reset.
        elif not name.endswith("num_batches_tracked") and not is_new_head:
            wrong.missing[shown] = value

    # Extra tensors in the file.
    wrong.left_over = {name: value for name, value in given.items() if name not in expected}
    if text := wrong.text():
        kind = net.architecture if isinstance(net, Wrapped) else type(net).__name__
        raise ValueError(f"{source} does not fit {kind}: {text}")
    return {name: value for name, value in given.items() if keep_head or not name.startswith(HEAD_NAMES)}


def head_names(net: nn.Module) -> tuple[str, ...]:
    """How the names of the tensors of a head begin: the net's own, and its library's, such as ``fc.``."""
    theirs = net.original_names if isinstance(net, Wrapped) else {}
    parts = {name.partition(".")[0] for own, name in theirs.items() if own.startswith(HEAD_NAMES)}
    return (*HEAD_NAMES, *(f"{part}." for part in sorted(parts)))


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
