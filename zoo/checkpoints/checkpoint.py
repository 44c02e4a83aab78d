"""The zoo's checkpoint: one safetensors file with weights, a description, and a SHA-256 to detect damage.

The header of the file has one entry, ``zoo``. It is JSON:

    {"format": 2,
     "description": {"name": …, "net": {"class": "LeNet5", …}, "preprocess": …, "classes": …, "metrics": …, …},
     "sha256": "…"}

The SHA-256 covers the description and every tensor, so any changed value is detected. Saving the same net twice gives
the same bytes: there is only one header entry, and its JSON is sorted. Nothing is unpickled.

May import losses, config, data and the other files of this folder.
"""

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from zoo.checkpoints import description_schema as schema
from zoo.checkpoints import format1, outline
from zoo.checkpoints.description import CheckpointInfo as CheckpointInfo
from zoo.checkpoints.description import from_stored, refuse_untrusted, to_stored
from zoo.checkpoints.files import replacing
from zoo.checkpoints.location import locate as locate
from zoo.checkpoints.own_net import build_own
from zoo.checkpoints.provenance import provenance as provenance
from zoo.checkpoints.torchvision_files import sha256_of
from zoo.config import trust
from zoo.config.build import build
from zoo.losses import CLASSIFICATION

FORMAT = 2
HEADER_KEYS = {"format", "description", "sha256"}


def save(net: nn.Module, path: str | Path, info: CheckpointInfo, *, half_precision: bool = False) -> None:
    """Write a net's weights and its description; the file appears whole or not at all.

    Args:
        net: the net; only its ``state_dict`` is saved.
        path: the file.
        info: the description.
        half_precision: store floating-point numbers as float16; `load` converts them back to float32.

    Raises:
        ValueError: the description names a class that is neither of the zoo nor of a trusted package, or has a value
            beyond the limits of `zoo.checkpoints.description_schema`, or a weight is NaN or Inf; nothing is written.
        OSError: the file cannot be written; an existing file is left untouched.
    """
    tensors = {name: value.detach().cpu().contiguous() for name, value in net.state_dict().items()}
    if half_precision:
        tensors = {name: value.half() if value.is_floating_point() else value for name, value in tensors.items()}
    write(tensors, path, info)


def write(tensors: Mapping[str, Tensor], path: str | Path, info: CheckpointInfo) -> None:
    """Like `save`, for given tensors, which must be contiguous and on the CPU."""
    # Do not write what `load` would refuse.
    _check_finite(tensors, path)
    # JSON turns tuples into lists, so compute the digest from what a reader will find.
    description = json.loads(json.dumps(to_stored(info)))
    header = {"format": FORMAT, "description": description, "sha256": digest(_canonical(description), tensors)}
    with replacing(path, errors=[SafetensorError]) as temporary:
        save_file(dict(tensors), temporary, {"zoo": _canonical(header)})


def load(checkpoint: str | Path) -> nn.Module:
    """The trained net in eval mode, on the CPU.

    Args:
        checkpoint: a name of `zoo.list_checkpoints`, a ``.safetensors`` file, a run folder or ``hf://OWNER/NAME@REVISION``.

    Raises:
        FileNotFoundError: no such name, file or repository, or an unfinished run. For an unknown name, the message
            lists similar names, or all names if none is similar.
        ValueError: not a checkpoint of the zoo, a damaged one, or one whose weights do not fit its net.
    """
    return open_checkpoint(checkpoint)[0]


def info(checkpoint: str | Path) -> CheckpointInfo:
    """The description of a checkpoint. Only the header is read, so damaged weights are not detected.

    Arguments and errors are those of `load`.
    """
    path, _ = locate(checkpoint)
    with _opened(path) as file:
        header = _read_header(file.metadata(), path)
        return _described(header, file.keys(), path, given=checkpoint)


def open_checkpoint(checkpoint: str | Path) -> tuple[nn.Module, CheckpointInfo]:
    """The verified net in eval mode, and its description. Arguments and errors are those of `load`."""
    path, sha256 = locate(checkpoint)
    tensors, about = _read_file(path, sha256, given=checkpoint)
    # `build` refuses targets that are not allowed. Allowed targets include tasks and datasets, but this must be a net.
    refuse_untrusted(about)
    target = about.net.get("_target_")
    is_own = trust.covers(target)
    if not str(target).startswith("zoo.models.") and not is_own:
        raise ValueError(f"{path}: net: {target!r} is not a class of zoo.models")

    # First build the net without allocating its memory: a small file may describe a huge net. This would be too strict
    # for the constructors of users, whose packages are trusted.
    shape = about.preprocess.get("shape")
    with _fitting(path):
        draft = build_own(about.net, shape) if is_own else outline.check(about.net, tensors)
    if shape is not None and tuple(shape) != tuple(draft.in_shape):
        problem = f"preprocess.shape: {shape}, but the net takes {list(draft.in_shape)}"
        raise ValueError(f"{path}: the description in its header is damaged ({problem})")
    _check_classes(about, draft.num_classes, path)
    with _fitting(path):
        net: nn.Module = cast(nn.Module, draft) if is_own else build(about.net, where="net")
        net.load_state_dict(tensors)
    # Check the converted weights, since a large float64 becomes Inf as a float32.
    _check_finite(net.state_dict(), path)
    return net.eval(), about


def read(checkpoint: str | Path) -> tuple[dict[str, Tensor], CheckpointInfo]:
    """The verified tensors as they are stored, and the description. Arguments and errors are those of `load`."""
    path, sha256 = locate(checkpoint)
    return _read_file(path, sha256, given=checkpoint)


def _read_file(path: Path, sha256: str | None, *, given: str | Path) -> tuple[dict[str, Tensor], CheckpointInfo]:
    """The verified tensors and the description of the file that `locate` found for the checkpoint ``given``."""
    # A checkpoint of the index must be the file that was published.
    if sha256 is not None and sha256_of(path) != sha256:
        raise ValueError(f"{path}: the file is not the one in the index (its SHA-256 differs); fetch it again")

    with _opened(path) as file:
        header = _read_header(file.metadata(), path)
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping

    # Use the description only after its digest was verified.
    if header.sha256 != digest(header.text, tensors):
        raise ValueError(f"{path}: the file is damaged (its SHA-256 differs from the one it was saved with)")
    return tensors, _described(header, tensors, path, given=given)


def _check_classes(about: CheckpointInfo, num_outputs: int | None, path: Path) -> None:
    """Raise ValueError unless a net that classifies has one output for each class, and a loss that reads them."""
    if not about.classes:
        return
    loss = about.task.get("loss", "cross_entropy")
    if trust.covers(loss):
        loss = "cross_entropy"  # the outputs of a net with a loss of a trusted package are logits
    if not isinstance(loss, str) or loss not in CLASSIFICATION:
        problem = f"task.loss: {schema.shown(loss)} must be one of {', '.join(CLASSIFICATION)}"
        raise ValueError(f"{path}: the description in its header is damaged ({problem})")
    # Binary cross-entropy reads a single output as two classes.
    expected = num_outputs
    if num_outputs == 1:
        expected = CLASSIFICATION[loss].num_classes or 1
    if len(about.classes) != expected:
        problem = f"classes: {len(about.classes):,} names for {num_outputs or 0:,} outputs"
        raise ValueError(f"{path}: the description in its header is damaged ({problem})")


def _check_finite(tensors: Mapping[str, Tensor], path: str | Path) -> None:
    """Raise ValueError if a weight is NaN or Inf: the outputs of such a net are useless."""
    for name, value in tensors.items():
        if value.is_floating_point() and not value.isfinite().all():
            raise ValueError(f"{path}: the weights {schema.shown(name)} contain NaN or Inf")


@contextmanager
def _fitting(path: Path) -> Iterator[None]:
    """Turn errors of building a net into a ValueError that begins with the path of the file."""
    try:
        yield
    except (RuntimeError, TypeError, ValueError, ArithmeticError, AssertionError, LookupError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"{path}: the weights do not fit the net it describes ({reason})") from error


def digest(text: str, tensors: Mapping[str, Tensor]) -> str:
    """The SHA-256 of a description and of all tensors, as 64 hex digits.

    Args:
        text: the description as JSON text.
        tensors: by name, on the CPU. The name, dtype, shape and bytes of each are hashed.
    """
    # Sort by name, so that the digest does not depend on the order of the tensors.
    hasher = hashlib.sha256(text.encode())
    for name, value in sorted(tensors.items()):
        hasher.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        hasher.update(value.contiguous().flatten().view(torch.uint8).numpy().data)
    return hasher.hexdigest()


# The header


@dataclass(frozen=True)
class _Header:
    """The parsed header of a file.

    Attributes:
        format: 1 or 2.
        description: the description as it is stored.
        text: the JSON text of the description, from which the digest is computed.
        sha256: the digest that the file was saved with.
    """

    format: int
    description: dict[str, Any]
    text: str
    sha256: str


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A safetensors file, after checking that its header is no longer than `schema.MAX_HEADER`."""
    try:
        # The file begins with the length of its header, in eight bytes.
        with path.open("rb") as raw:
            length = int.from_bytes(raw.read(8), "little")
        if schema.MAX_HEADER < length < path.stat().st_size:
            raise ValueError(f"{path}: its header has {length:,} bytes, more than {schema.MAX_HEADER:,}")
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, OSError, MemoryError) as error:
        raise ValueError(f"{path}: not a readable safetensors file ({error})") from error


def _read_header(metadata: Mapping[str, str] | None, path: Path) -> _Header:
    """The header of either format; ValueError if the file is not a checkpoint of the zoo."""
    # Files of other projects have other entries, or none.
    if not metadata or "zoo" not in metadata:
        raise ValueError(f"{path}: a safetensors file, but not a checkpoint of this zoo (no description in its header)")
    try:
        content = json.loads(metadata["zoo"])
        schema.check_depth(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: the description in its header is damaged ({error})") from error

    # Format 1 had three entries: format, zoo (the description alone) and sha256.
    if metadata.get("format") == "1":
        return _Header(1, content, metadata["zoo"], metadata.get("sha256", ""))

    # Check the format first: a later format may have other keys.
    number = content.get("format", metadata.get("format")) if isinstance(content, dict) else None
    if number is not None and number != FORMAT:
        raise ValueError(f"{path}: format {number}, but this version of zoo reads formats 1 and {FORMAT}")
    if not isinstance(content, dict) or set(content) != HEADER_KEYS:
        raise ValueError(f"{path}: the description in its header is damaged (its keys must be {sorted(HEADER_KEYS)})")
    # The JSON text must be exactly what `write` produces: a float with a changed digit may parse to the same value.
    if metadata["zoo"] != _canonical(content):
        raise ValueError(f"{path}: the description in its header is damaged (it is not as it was saved)")
    return _Header(FORMAT, content["description"], _canonical(content["description"]), content["sha256"])


def _described(header: _Header, tensor_names: Collection[str], path: Path, *, given: str | Path) -> CheckpointInfo:
    """The description in a header of either format; ValueError if it is damaged. ``given`` is the checkpoint's name."""
    try:
        stored = header.description
        if header.format == 1:
            stored = format1.convert(stored, tensor_names)
        return from_stored(stored, file=str(given))
    except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"{path}: the description in its header is damaged ({reason})") from error


def _canonical(content: Any) -> str:
    """Plain values as JSON text with sorted keys: equal values give the same text."""
    return json.dumps(content, sort_keys=True)
