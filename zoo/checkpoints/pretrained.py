"""Load pretrained weights (``weights=``): find the file, verify it, rename its tensors, and load all of them or none.

The names and prefixes that other projects give to tensors are in `zoo.checkpoints.weight_files`.

Sources: a name of torchvision's or timm's weights, a local file, a run or checkpoint of the zoo, a repository on the
Hugging Face hub. A file holds tensors only: safetensors, or a pickle that torch opens with ``weights_only=True``.

May import config, data, protocols and the other files of this folder.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from zoo.checkpoints import guess, hub, timm_files, torchvision_files
from zoo.checkpoints.checkpoint import info, open_checkpoint
from zoo.checkpoints.mismatch import listed
from zoo.checkpoints.weight_files import HEAD_NAMES, PREFIXES, match_tensors, read, renamed
from zoo.checkpoints.wrapped import Converting, Wrapped
from zoo.config.catalogue import index
from zoo.data.preprocess import Preprocess
from zoo.protocols import layers_of, shape_text

HEAD_CHOICES = ("reset", "keep")
MOST_NAMES = 12  # maximum number of official names that a message lists


@dataclass(frozen=True)
class Pretrained:
    """Pretrained weights with their source and preprocessing.

    Attributes:
        source: the name or file that they were loaded from, for messages.
        tensors: the tensors by the net's own names.
        preprocess: the preprocessing that they were trained with; None if unknown.
        size: height and width of the images that they were trained on; None if unknown.
        left_out: names of tensors in the file that are not part of the net, such as the weights of a loss.
        prefix: what was removed from the names of the others, such as "backbone."; may be empty.
    """

    source: str
    tensors: dict[str, Tensor]
    preprocess: Preprocess | None = None
    size: tuple[int, ...] | None = None
    left_out: tuple[str, ...] = ()
    prefix: str = ""

    def note(self, net: nn.Module, *, resized: bool = False) -> str | None:
        """What the user should know: a prefix that was removed, tensors that were left out, images that are too small.

        Args:
            net: the net that the weights were loaded into.
            resized: whether the images are resized when they are read from files (``dataset.size``).

        Returns:
            The notes in one line; None if there is nothing to tell.
        """
        notes = []
        if self.prefix:
            notes.append(f"{self.source}: removed the prefix {self.prefix} from the names of the tensors")
        if self.left_out:
            notes.append(f"{self.source}: left out what is not part of the net: {_grouped(self.left_out)}")
        size = self._size_note(net, resized=resized)
        return "; ".join([*notes, *([size] if size else [])]) or None

    def _size_note(self, net: nn.Module, *, resized: bool) -> str | None:
        """A note if ``net`` sees images at most half as large as those the weights were trained on; else None."""
        size = net.size if isinstance(net, Wrapped) else None
        if size is None or self.size is None or 2 * min(size) > min(self.size):
            return None
        side = min(self.size)
        fix = f"dataset.size={side} reads" if resized else f"model.net.enlarge={side} enlarges"
        return (
            f"{self.source} was trained on images of {shape_text(self.size)}, this net sees {shape_text(size)}; "
            f"{fix} the images {'at' if resized else 'to'} that size"
        )


def _grouped(names: Sequence[str]) -> str:
    """Names of tensors, those with the same beginning as one entry: ``module.encoder_k.* (122 tensors)``."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name in names:
        # Wrappers and the like come first; the part after them tells one group from another.
        parts = name.split(".")
        start = next((k for k, part in enumerate(parts) if f"{part}." not in PREFIXES), 0)
        groups[".".join(parts[: start + 1])].append(name)
    entries = [group[0] if len(group) == 1 else f"{begin}.* ({len(group)} tensors)" for begin, group in groups.items()]
    return listed(entries)


def load(net: nn.Module, weights: str | Path, *, head: str = "reset", lowest: int | None = None) -> Pretrained:
    """Load pretrained weights into ``net``. Everything but the head must match.

    Args:
        net: any net of the zoo.
        weights: for a `zoo.models.TorchvisionNet` a name of torchvision's enum (IMAGENET1K_V1, DEFAULT), for a
            `zoo.models.TimmNet` one of timm's (a1_in1k, DEFAULT); a ``.pth``,
            ``.pt`` or ``.safetensors`` file with the zoo's, torchvision's or timm's names, bare, nested or with a
            wrapper's prefix; a run folder or a checkpoint of the zoo; ``hf://OWNER/REPOSITORY@COMMIT``.
        head: "reset" keeps the net's random head, for a task with other classes, or none if it has none; "keep" loads
            the head of the file.
        lowest: load this number of lowest layers only, of a net with ``layers``; the file may lack the other layers, or
            have others. None: load all of them.

    Returns:
        The loaded weights.

    Raises:
        FileNotFoundError: no such file, or a download that failed; then the message says how to use a local file.
        ValueError: an unknown name or ``head``; a file that is damaged, is not the official one or holds more than
            tensors; tensors that do not match, listed by name and shape. The net is then unchanged.
    """
    if head not in HEAD_CHOICES:
        raise ValueError(f"pretrained_head={head}: choose {' or '.join(HEAD_CHOICES)}")
    found = _find(net, str(weights))
    keep_head = head == "keep"
    given = found.tensors
    upper = () if lowest is None else tuple(f"layers.{name}." for name in list(layers_of(net))[lowest:])
    try:
        tensors = match_tensors(net, given, source=found.source, keep_head=keep_head, leave=upper)
    except ValueError as error:
        # The net's library may know the names of the authors, and how to resize position embeddings.
        converted = _converted(net, given)
        if converted is None:
            raise ValueError(f"{error}{_hint(net, given)}") from error
        given = converted
        tensors = match_tensors(net, given, source=found.source, keep_head=keep_head, leave=upper)
    # Not strict, since the head and upper layers may be left out; `match_tensors` has checked everything else.
    net.load_state_dict(tensors, strict=False)
    # Layers in the place of the head, such as fc.0 and fc.2 of a projection, are left out as well.
    other_head = [name for name in given if name not in tensors and not name.startswith(HEAD_NAMES)]
    return replace(found, tensors=tensors, left_out=(*found.left_out, *other_head))


def for_data(preprocess: Preprocess, shape: tuple[int, ...], *, scale: float) -> Preprocess:
    """The preprocessing of pretrained weights, for images of another shape.

    If the number of channels differs, each channel gets the average of ``mean`` and ``std`` over the channels of
    ``preprocess``. The center crop keeps the same fraction of the image.

    Args:
        preprocess: the preprocessing of the weights.
        shape: shape of one raw input: (channels, height, width).
        scale: the number that raw values are divided by: 255 for bytes, 1 for floating-point values.
    """
    # Mean and standard deviation: one for each channel.
    mean = preprocess.mean
    std = preprocess.std
    channels = shape[0]
    if len(mean) != channels:
        mean = (sum(mean) / len(mean),) * channels
        std = (sum(std) / len(std),) * channels

    # The shorter side before the crop, in proportion.
    side = preprocess.side
    if side is not None:
        side = round(side * min(shape[1:]) / min(preprocess.shape[1:]))
    return replace(preprocess, shape=shape, scale=scale, mean=mean, std=std, side=side)


def _find(net: nn.Module, weights: str) -> Pretrained:
    """Read the weights from whichever source ``weights`` names, and rename the tensors to the net's own names."""
    path = Path(weights)

    # The zoo's own: a name of the index, or a run folder.
    if weights in index() or (path / "model.safetensors").is_file():
        return _from_checkpoint(weights)

    # The Hugging Face hub.
    if weights.startswith(hub.PREFIX):
        file = hub.fetch(weights)
        if _is_checkpoint(file):
            return _from_checkpoint(weights)
        preprocess = hub.fetch_config(weights)
        size = preprocess.shape[1:] if preprocess else None
        return _renamed(net, weights, file, preprocess, size)

    # A file. A value that looks like a path, but does not exist, is a mistake in the path.
    if path.is_file():
        return _from_file(net, path)
    if path.suffix in (".pth", ".pt", ".safetensors", ".ckpt", ".bin", ".tar") or len(path.parts) > 1:
        raise FileNotFoundError(f"weights={weights}: no such file or run folder")

    # A name of torchvision's enum, such as IMAGENET1K_V1, or of timm's weights, such as a1_in1k.
    official = torchvision_files.entries(net) or timm_files.entries(net)
    if weights not in official:
        more = f"… and {len(official) - MOST_NAMES} more, " if len(official) > MOST_NAMES else ""
        names = "".join(f"{name}, " for name in list(official)[:MOST_NAMES]) + more
        # DEFAULT is a name of torchvision for any of its nets.
        is_torchvision_name = weights == "DEFAULT" or weights.startswith("IMAGENET")
        none = f"torchvision has no weights for {type(net).__name__}; " if is_torchvision_name and not official else ""
        raise ValueError(
            f"weights={weights}: {none}expected {names}a .pth, .pt or .safetensors file, a checkpoint name, a run "
            f"folder or {hub.PREFIX}OWNER/NAME@COMMIT"
        )
    entry = official[weights]
    if isinstance(net, Wrapped) and net.library == "timm":
        file, source = timm_files.fetch(entry, weights=weights)
        preprocess = timm_files.preset(entry)
        return _renamed(net, source, file, preprocess, preprocess.shape[1:] if preprocess else None)
    return _official(net, torchvision_files.fetch(entry.url), entry)


def _converted(net: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """Tensors that do not fit, as the net's library converts them; None if it cannot."""
    if not isinstance(net, Converting) or not isinstance(net, Wrapped):
        return None
    return net.converted({net.original_names.get(name, name): value for name, value in tensors.items()})


def _hint(net: nn.Module, tensors: Mapping[str, Tensor]) -> str:
    """The keys that choose the architecture of tensors that do not fit; "" if it is unknown, or that of the net."""
    theirs = net.original_names if isinstance(net, Wrapped) else {}
    hint = guess.hint({theirs.get(name, name): value for name, value in tensors.items()})
    return "" if isinstance(net, Wrapped) and f" like {net.architecture}:" in hint else hint


def _renamed(
    net: nn.Module, source: str, path: Path, preprocess: Preprocess | None, size: tuple[int, ...] | None = None
) -> Pretrained:
    """The tensors of a weight file by the net's names. ``source`` is the name of the file for messages."""
    try:
        found = renamed(net, read(path))
    except ValueError as error:
        text = str(error)
        raise ValueError(text if text.startswith(str(path)) else f"{source}: {text}") from error
    return Pretrained(source, found.tensors, preprocess, size, tuple(found.left_out), found.prefix)


def _official(net: nn.Module, path: Path, entry: Any) -> Pretrained:
    """An official file of torchvision. Its SHA-256 is verified before it is read."""
    torchvision_files.verify(path)
    preprocess = torchvision_files.preset(entry)
    return _renamed(net, str(path), path, preprocess, preprocess.shape[1:])


def _from_file(net: nn.Module, path: Path) -> Pretrained:
    """A local file: a checkpoint of the zoo, an official file of torchvision, or somebody's state dict."""
    # A checkpoint of the zoo. Other files, and files whose header is damaged, are handled below.
    if path.suffix == ".safetensors" and _is_checkpoint(path):
        return _from_checkpoint(str(path))

    # A file with an official name must be the official file.
    for entry in torchvision_files.entries(net).values():
        if torchvision_files.file_name(entry) == path.name:
            return _official(net, path, entry)

    # A file of the hub, with its config beside it.
    config = path.with_name("config.json")
    if path.name == hub.WEIGHTS and config.is_file():
        preprocess = hub.read_config(config, str(path))
        if preprocess is not None:
            return _renamed(net, str(path), path, preprocess, preprocess.shape[1:])

    # Any other file: the size of its training images is unknown.
    return _renamed(net, str(path), path, torchvision_files.usual_preset(net) or timm_files.usual_preset(net))


def _is_checkpoint(path: Path) -> bool:
    """Whether a safetensors file has the description of a checkpoint of the zoo in its header, undamaged."""
    try:
        info(path)
    except ValueError:
        return False
    return True


def _from_checkpoint(checkpoint: str) -> Pretrained:
    """A checkpoint of the zoo: by name, file, run folder or address on the hub."""
    net, about = open_checkpoint(checkpoint)
    size = net.size if isinstance(net, Wrapped) else None
    return Pretrained(checkpoint, net.state_dict(), about.transforms(), size)
