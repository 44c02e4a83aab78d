"""Load pretrained weights (``weights=``): find the file, verify it, rename its tensors, and load them all or none.

Sources: torchvision by the names of its enums, a local file, a run or checkpoint of the zoo, a repository on the
Hugging Face hub. A file holds tensors only: safetensors, or a pickle that torch opens with ``weights_only=True``.

May import config, data, protocols and the other files of this folder.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from zoo.checkpoints import hub, torchvision_files
from zoo.checkpoints.checkpoint import info, open_checkpoint
from zoo.checkpoints.state_dict import match_tensors, read, renamed
from zoo.checkpoints.torchvision_files import FromTorchvision
from zoo.config.catalogue import index
from zoo.data.preprocess import Preprocess
from zoo.data.splits import shape_text
from zoo.protocols import head_of

HEAD_CHOICES = ("reset", "keep")


@dataclass(frozen=True)
class Pretrained:
    """Weights, and what is known of them.

    Attributes:
        source: where they are from, for messages.
        tensors: by the net's own names.
        preprocess: how the images that they were trained on were prepared; None if it is not known.
        size: height and width of the images that their net saw; None if it is not known.
    """

    source: str
    tensors: dict[str, Tensor]
    preprocess: Preprocess | None = None
    size: tuple[int, ...] | None = None

    def note(self, net: nn.Module) -> str | None:
        """What to tell the user if ``net`` sees images at most half as large as these weights did; else None."""
        size = net.size if isinstance(net, FromTorchvision) else None
        if size is None or self.size is None or 2 * min(size) > min(self.size):
            return None
        return (
            f"{self.source} saw images of {shape_text(self.size)}, this net sees {shape_text(size)}; "
            f"model.net.enlarge={min(self.size)} enlarges them to the size that the weights were trained on"
        )


def load(net: nn.Module, weights: str | Path, *, head: str = "reset") -> Pretrained:
    """Put pretrained weights into ``net``. Everything but the head must match.

    Args:
        net: any net of the zoo.
        weights: for a `zoo.models.TorchvisionNet` a name of torchvision's enum (IMAGENET1K_V1, DEFAULT); a ``.pth``,
            ``.pt`` or ``.safetensors`` file with the zoo's, torchvision's or timm's names, bare, nested or with a
            wrapper's prefix; a run folder or a checkpoint of the zoo; ``hf://OWNER/REPOSITORY@COMMIT``.
        head: "reset" leaves the net's own head as it is, for a task with other classes; "keep" loads that of the file.

    Returns:
        What was loaded.

    Raises:
        FileNotFoundError: no such file, or no network to fetch it; the message says what to put where.
        ValueError: an unknown name; a file that is damaged, not the official one or holds more than tensors; tensors
            that do not match, listed by name and shape. The net is then unchanged.
    """
    if head not in HEAD_CHOICES:
        raise ValueError(f"pretrained_head={head}: choose {' or '.join(HEAD_CHOICES)}")
    # A net without a head has none to leave as it is.
    keep_head = head == "keep" or head_of(net) is None

    found = _find(net, str(weights))
    tensors = match_tensors(net, found.tensors, source=found.source, keep_head=keep_head)
    # Not strict: the head may be left out. Everything else was matched.
    net.load_state_dict(tensors, strict=False)
    return replace(found, tensors=tensors)


def for_data(preprocess: Preprocess, shape: tuple[int, ...], *, scale: float) -> Preprocess:
    """The preprocessing of pretrained weights, for images of another shape.

    Gray images get the mean over the channels; color images get the value of gray ones for each channel. The margin
    that is cut off stays the same fraction of the image.

    Args:
        preprocess: of the weights.
        shape: of one raw input: channels, height, width.
        scale: 255 for bytes, 1 for floating-point values.
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
    """The weights of any source, by the net's own names."""
    path = Path(weights)

    # The zoo's own: a name of the index, or a run folder.
    if weights in index() or (path / "model.safetensors").is_file():
        return _from_checkpoint(weights)

    # The Hugging Face hub.
    if weights.startswith(hub.PREFIX):
        file, preprocess = hub.fetch(weights)
        size = preprocess.shape[1:] if preprocess else None
        return Pretrained(weights, renamed(net, read(file)), preprocess, size)

    # A file. What looks like one, but is not there, is a mistake in the path.
    if path.is_file():
        return _from_file(net, path)
    if path.suffix in (".pth", ".pt", ".safetensors") or len(path.parts) > 1:
        raise FileNotFoundError(f"weights={weights}: no such file or run folder")

    # A name of torchvision's enum, such as IMAGENET1K_V1.
    official = torchvision_files.entries(net)
    if weights not in official:
        names = "".join(f"{name}, " for name in official)
        raise ValueError(
            f"weights={weights}: use one of {names}a .pth or .safetensors file, a checkpoint name, a run folder, "
            f"{hub.PREFIX}OWNER/NAME@COMMIT"
        )
    entry = official[weights]
    return _official(net, torchvision_files.fetch(entry.url), entry)


def _official(net: nn.Module, path: Path, entry: Any) -> Pretrained:
    """An official file of torchvision; it is read only after its SHA-256 was verified."""
    torchvision_files.verify(path)
    preprocess = torchvision_files.preset(entry)
    return Pretrained(str(path), renamed(net, read(path)), preprocess, preprocess.shape[1:])


def _from_file(net: nn.Module, path: Path) -> Pretrained:
    """A local file: a checkpoint of the zoo, an official file of torchvision, or somebody's state dict."""
    # The zoo's. Any other file, or one so damaged that reading it will show it, is left to the lines below.
    if path.suffix == ".safetensors":
        try:
            info(path)
        except ValueError:
            pass
        else:
            return _from_checkpoint(str(path))

    # A file with an official name must be the official file.
    for entry in torchvision_files.entries(net).values():
        if torchvision_files.file_name(entry) == path.name:
            return _official(net, path, entry)

    # Somebody's: how large its images were is not known.
    return Pretrained(str(path), renamed(net, read(path)), torchvision_files.usual_preset(net))


def _from_checkpoint(checkpoint: str) -> Pretrained:
    """A checkpoint of the zoo: by name, file or run folder."""
    net, about = open_checkpoint(checkpoint)
    size = net.size if isinstance(net, FromTorchvision) else None
    return Pretrained(checkpoint, net.state_dict(), about.transforms(), size)
