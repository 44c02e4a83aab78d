"""``weights=``: a net's weights from elsewhere - found, verified, renamed, and loaded without a tensor left over.

Where they may come from: torchvision by the names of its enums, a local file, a run of this zoo, a repository on the
Hugging Face hub. Files hold tensors only: safetensors, or pickles that torch opens with ``weights_only=True``.
"""

import hashlib
import http.client
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from zoo.checkpoints import safe_pickle as pickled
from zoo.checkpoints.checkpoint import info, open_checkpoint
from zoo.config.catalogue import index, suggest
from zoo.data.preprocess import Preprocess
from zoo.data.splits import shape_text
from zoo.protocols import HEADS

# SHA-256 of torchvision's files, whose names hold the first eight digits; of the others those eight are compared.
SHA256 = {
    "resnet18-f37072fd.pth": "f37072fd47e89c5e827621c5baffa7500819f7896bbacec160b1a16c560e07ec",
    "resnet34-b627a593.pth": "b627a593bcbe140c234610266fe4f8ae95ea42fc881d091c9b6052e6b1d0590f",
    "resnet50-0676ba61.pth": "0676ba61b6795bbe1773cffd859882e5e297624d384b6993f7c9e683e722fb8a",
    "resnet50-11ad3fa6.pth": "11ad3fa62ca79e40addfd354a8ec4b7c75143b3038b8d2a807fbc68deab379ca",
    "resnet101-63fe2227.pth": "63fe2227b86e8f1f2063f43a75c84d195911b6a0eace650907dd3dc62dd49a0a",
    "resnet101-cd907fc2.pth": "cd907fc2a0de2292b2ba2b27d2216bc672d84632d1cf20058d01c0c03b5e020e",
    "resnet152-394f9c45.pth": "394f9c45966e3651a89bbb78a48410a6755854ce4a5ab64927cf1c7247f85e58",
}
HUB = "hf://"
HEAD_CHOICES = ("reset", "keep")
NESTED = ("state_dict", "model_state_dict", "model", "net")  # where training scripts keep a net's tensors
PREFIXES = ("module.", "_orig_mod.", "model.", "net.")  # what wrappers put before every name
SHOWN = 5  # names in a message


@dataclass(frozen=True)
class Pretrained:
    """Weights, and what is known of them.

    Attributes:
        source: where they came from, for messages.
        tensors: by the net's own names.
        preprocess: how their images were prepared; None where that is not known.
        size: height and width of the images as their net saw them; None where that is not known.
    """

    source: str
    tensors: dict[str, Tensor]
    preprocess: Preprocess | None = None
    size: tuple[int, ...] | None = None

    def note(self, net: nn.Module) -> str | None:
        """What to tell a user whose ``net`` sees images half as large as its weights did, or smaller."""
        ours = getattr(net, "size", None)
        if ours is None or self.size is None or 2 * min(ours) > min(self.size):
            return None
        return (
            f"{self.source} saw images of {shape_text(self.size)}, this net sees {shape_text(ours)}; "
            f"model.net.enlarge={min(self.size)} enlarges them to what the weights know"
        )


def load(net: nn.Module, weights: str | Path, *, head: str = "reset") -> Pretrained:
    """Put weights from elsewhere into ``net``: everything but the head must match.

    Args:
        net: any net of the zoo.
        weights: for a `zoo.models.TorchvisionNet` a name of torchvision's enum (IMAGENET1K_V1, DEFAULT); a ``.pth``,
            ``.pt`` or ``.safetensors`` file with the zoo's, torchvision's or timm's names, bare, nested or with a
            wrapper's prefix; a run folder or a checkpoint of the zoo; ``hf://OWNER/REPOSITORY@COMMIT``.
        head: fresh leaves the net's own head as it is; load takes that of the file.

    Returns:
        What was loaded.

    Raises:
        FileNotFoundError: no such file, or no network to fetch it; the message says what to put where.
        ValueError: an unknown name, a file that is damaged, not the one it claims to be or holds more than tensors,
            or tensors that do not match, listed by name and shape. The net is then as it was.
    """
    if head not in HEAD_CHOICES:
        raise ValueError(f"pretrained_head={head}: choose {' or '.join(HEAD_CHOICES)}")
    if head == "reset" and getattr(net, "head", None) is None:
        head = "keep"  # there is none to keep
    found = _find(net, str(weights))
    tensors = _fitted(net, found, keep_head=head == "keep")
    net.load_state_dict(tensors, strict=False)  # what is left out was accounted for
    return replace(found, tensors=tensors)


def for_data(preprocess: Preprocess, shape: tuple[int, ...], *, scale: float) -> Preprocess:
    """Preparation as the weights' images had it, for data of another shape.

    Grey data get the mean over the channels, colour data the one value for all; the margin cut off keeps its part.

    Args:
        preprocess: of the weights.
        shape: of one raw input.
        scale: 255 for bytes, 1 for real values.
    """
    mean, std = preprocess.mean, preprocess.std
    if len(mean) != shape[0]:
        mean, std = ((sum(values) / len(values),) * shape[0] for values in (mean, std))
    side = preprocess.side
    if side is not None:
        side = round(side * min(shape[1:]) / min(preprocess.shape[1:]))
    return replace(preprocess, shape=shape, scale=scale, mean=mean, std=std, side=side)


# Finding


def _find(net: nn.Module, weights: str) -> Pretrained:
    path = Path(weights)
    if weights in index() or (path / "model.safetensors").is_file():
        return _of_zoo(weights)
    if weights.startswith(HUB):
        return _from_hub(net, weights)
    if path.is_file():
        return _from_file(net, path)
    if path.suffix in (".pth", ".pt", ".safetensors") or len(path.parts) > 1:
        raise FileNotFoundError(f"weights={weights}: no such file or run folder")
    enum = _enum(net)
    if weights not in enum:
        known = f"{suggest(weights, list(enum))}, or name" if enum else "name"
        raise ValueError(
            f"weights={weights}: {known} a .pth or .safetensors file, a run folder or {HUB}OWNER/NAME@COMMIT"
        )
    entry = enum[weights]
    return _official(net, _fetched(entry.url), entry)


def _enum(net: nn.Module) -> dict[str, Any]:
    """torchvision's entries by name."""
    if not hasattr(net, "torchvision_names"):
        return {}
    from torchvision import models

    return dict(models.get_model_weights(net.architecture).__members__)


def _official(net: nn.Module, path: Path, entry: Any) -> Pretrained:
    """A file of torchvision's, read only once its SHA-256 is the official one."""
    digest, expected = _sha256(path), _expected(path)
    if not digest.startswith(expected):
        raise ValueError(f"{path}: not the official file (SHA-256 {digest[:16]}…, not {expected[:16]}…); delete it")
    preset = _preset(entry)
    return Pretrained(str(path), _renamed(net, _read(path)), preset, preset.shape[1:])


def _preset(entry: Any) -> Preprocess:
    """torchvision's evaluation transform as the zoo's."""
    preset = entry.transforms()
    (crop,), (side,) = preset.crop_size, preset.resize_size
    return Preprocess(
        shape=(3, crop, crop),
        mean=tuple(preset.mean),
        std=tuple(preset.std),
        side=side,
        interpolation=preset.interpolation.value,
    )


def _fetched(url: str) -> Path:
    """The file of ``url`` in torch's cache, downloaded where it is not there; its hash is checked on the way."""
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    path = folder / url.rpartition("/")[2]
    if path.is_file():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    try:
        torch.hub.download_url_to_file(url, str(path), hash_prefix=_expected(path), progress=False)
    except (URLError, OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise FileNotFoundError(
            f"{url} cannot be reached ({reason}): fetch it elsewhere and put it at {path}, or name it with weights=FILE"
        ) from error
    except RuntimeError as error:  # of the hash; nothing was kept
        raise ValueError(f"{url}: what came is not the official file ({error}); nothing was kept") from error
    return path


def _from_file(net: nn.Module, path: Path) -> Pretrained:
    if path.suffix == ".safetensors":
        try:
            info(path)
        except ValueError:  # not the zoo's, or so damaged that reading it will show it
            pass
        else:
            return _of_zoo(str(path))
    enum = _enum(net)
    for entry in enum.values():
        if entry.url.rpartition("/")[2] == path.name:
            return _official(net, path, entry)
    preset = _preset(enum["DEFAULT"]) if enum else None  # what such files nearly always come from
    if preset is not None:
        preset = replace(preset, side=round(preset.shape[1] / 0.875))
    return Pretrained(str(path), _renamed(net, _read(path)), preset)


def _of_zoo(checkpoint: str) -> Pretrained:
    net, about = open_checkpoint(checkpoint)
    return Pretrained(str(checkpoint), net.state_dict(), about.transforms(), getattr(net, "size", None))


def _from_hub(net: nn.Module, weights: str) -> Pretrained:
    """A repository in timm's form: model.safetensors, and config.json with what its images were prepared by."""
    repository, _, commit = weights.removeprefix(HUB).partition("@")
    if not re.fullmatch(r"[0-9a-f]{40}", commit):
        raise ValueError(f"weights={weights}: pin the revision, {HUB}{repository}@ and a full commit of 40 hex digits")
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    except ModuleNotFoundError as error:
        raise ValueError(f"weights={weights} needs {error.name}: pip install 'reference-zoo[hub]'") from error
    try:
        path = Path(hf_hub_download(repository, "model.safetensors", revision=commit))
        config = json.loads(Path(hf_hub_download(repository, "config.json", revision=commit)).read_text())
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise FileNotFoundError(
            f"weights={weights} cannot be fetched ({reason}): "
            "download its model.safetensors elsewhere and name that file"
        ) from error
    prepared = (config.get("pretrained_cfg") if isinstance(config, dict) else None) or {}
    preprocess = None
    if {"mean", "std", "input_size"} <= prepared.keys():
        shape = tuple(prepared["input_size"])
        preprocess = Preprocess(
            shape=shape,
            mean=tuple(prepared["mean"]),
            std=tuple(prepared["std"]),
            side=int(min(shape[1:]) / prepared.get("crop_pct", 0.875)),
            interpolation=prepared.get("interpolation", "bilinear"),
        )
    return Pretrained(weights, _renamed(net, _read(path)), preprocess, preprocess.shape[1:] if preprocess else None)


# Reading


def _expected(path: Path) -> str:
    """The SHA-256 of a file of torchvision's, or as much of it as its name says."""
    return SHA256.get(path.name) or path.stem.rpartition("-")[2]


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()


def _read(path: Path) -> dict[str, Tensor]:
    """The tensors of a file, by the names that it gives them."""
    if path.suffix == ".safetensors":
        try:
            content: Any = load_file(path)
        except Exception as error:  # whatever its reader trips over
            reason = " ".join(str(error).split())[:120] or type(error).__name__
            raise ValueError(f"{path}: damaged or cut short ({reason})") from error
    else:
        content = pickled.load(path)
    while isinstance(content, Mapping):
        inner = next((content[name] for name in NESTED if isinstance(content.get(name), Mapping)), None)
        if inner is None:
            break
        content = inner
    if not isinstance(content, Mapping) or not content:
        raise ValueError(f"{path}: no state dict, but {type(content).__name__}")
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise ValueError(f"{path}: a state dict holds tensors by name only, {name!r} is {type(value).__name__}")
        if value.layout != torch.strided or value.is_quantized or value.device.type != "cpu":
            raise ValueError(f"{path}: {name} is a {value.layout} tensor on {value.device}; save it dense")
    return dict(content)


def _renamed(net: nn.Module, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors by the net's own names, as far as they are known under another."""
    while prefix := next((p for p in PREFIXES if all(name.startswith(p) for name in tensors)), ""):
        tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    foreign = getattr(net, "torchvision_names", {})
    ours = {theirs: name for name, theirs in foreign.items()}
    # DenseNet's files are older than its code: norm.1 is now norm1.
    current = {re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12])\.", r"\1\2.", name): name for name in tensors}
    renamed: dict[str, Tensor] = {}
    for name, old in current.items():
        if (own := ours.get(name, name)) in renamed:
            raise ValueError(f"{old} is there twice, by its own name and by another ({own})")
        renamed[own] = tensors[old]
    return renamed


# Fitting


def _fitted(net: nn.Module, found: Pretrained, *, keep_head: bool) -> dict[str, Tensor]:
    """What is to be loaded; ValueError with every tensor that is missing, left over or of another shape."""
    own, given, heads = net.state_dict(), dict(found.tensors), tuple(f"{name}." for name in HEADS)
    kernel = next((name for name, value in own.items() if value.dim() == 4), "")
    if kernel in given and given[kernel].dim() == 4 and given[kernel].shape[1] == 3 and own[kernel].shape[1] == 1:
        given[kernel] = given[kernel].sum(dim=1, keepdim=True)  # a grey image is three equal channels
    wrong: list[str] = []
    for name, value in own.items():
        is_head = name.startswith(heads)
        if name not in given:
            # Files of before 2018 have no counters of batches, and a headless file has no head to leave out.
            if not name.endswith("num_batches_tracked") and (keep_head or not is_head):
                wrong.append(f"{name} ({shape_text(value.shape)}) is missing")
            continue
        there = given[name]
        same = there.shape == value.shape
        if is_head and not keep_head:  # of other classes, but of the same code
            same = there.shape[1:] == value.shape[1:]
        if not same:
            wrong.append(f"{name} is {shape_text(there.shape) or 1} there, {shape_text(value.shape) or 1} in the net")
        elif there.is_floating_point() != value.is_floating_point():
            wrong.append(f"{name} is {there.dtype} there, {value.dtype} in the net")
        elif there.is_floating_point() and not there.to(value.dtype).isfinite().all():
            wrong.append(f"{name} has values that are no numbers")
    wrong += [f"{name} ({shape_text(given[name].shape)}) is not in the net" for name in given if name not in own]
    if wrong:
        more = f" … and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        kind = getattr(net, "architecture", type(net).__name__)
        raise ValueError(f"{found.source} does not fit {kind}: {'; '.join(wrong[:SHOWN])}{more}")
    return {name: value for name, value in given.items() if keep_head or not name.startswith(heads)}
