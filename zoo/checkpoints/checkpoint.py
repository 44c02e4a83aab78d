"""Self-describing weights: one safetensors file that says what it is, and proves that it is whole.

The header's metadata hold a JSON description (net, preprocessing, classes, metrics, command, …) and the SHA-256 of that
description and of every tensor, so a changed byte is noticed wherever it is. Nothing is ever unpickled.
"""

import hashlib
import json
import platform
import subprocess
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from zoo import __version__
from zoo.checkpoints.files import replacing
from zoo.config.build import build
from zoo.config.catalogue import CHECKPOINTS, index, suggest
from zoo.data.preprocess import Preprocess

FORMAT = "1"
HEADLINES = ("test/accuracy", "test/mse")


@dataclass(frozen=True)
class CheckpointInfo:
    """What a checkpoint says of itself.

    Attributes:
        name: of the model, as in `zoo.list_models`.
        net: the frozen config that builds it.
        task: the frozen config of the task that fitted it last.
        classes: their names in the order of the outputs; empty for regression.
        metrics: such as {"test/accuracy": 0.99}, as measured when it was saved.
        num_params: number of trainable values.
        command: the command line that trained it.
        dataset: name of the dataset.
        dataset_config: the frozen dataset config.
        license: of the data it learned from.
        commit: of the source tree, where it was known.
        versions: of the libraries.
        hardware: on which it was trained.
        preprocess: what `transforms` gives, as plain values.
    """

    name: str
    net: dict[str, Any]
    task: dict[str, Any]
    preprocess: dict[str, Any]
    classes: list[str] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)
    num_params: int = 0
    command: str = ""
    dataset: str = ""
    dataset_config: dict[str, Any] = field(default_factory=dict)
    license: str = ""
    commit: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    hardware: str = ""

    def transforms(self) -> Preprocess:
        """A Pillow image, or raw pixels 0 to 255 (a batch or one), -> what the net takes."""
        return Preprocess.from_dict(self.preprocess)


def save(net: nn.Module, path: str | Path, info: CheckpointInfo, *, halves: bool = False) -> None:
    """Write the net's weights and its description; the file appears whole or not at all.

    ``halves`` stores real numbers in 16 bits, which `load` makes 32 bits of again.
    """
    tensors = {name: value.detach().cpu().contiguous() for name, value in net.state_dict().items()}
    if halves:
        tensors = {name: value.half() if value.is_floating_point() else value for name, value in tensors.items()}
    described = json.dumps(vars(info), sort_keys=True)
    metadata = {"format": FORMAT, "zoo": described, "sha256": _digest(described, tensors)}
    with replacing(path) as temporary:
        save_file(tensors, temporary, metadata)


def load(checkpoint: str | Path) -> nn.Module:
    """The trained net in eval mode, on the CPU.

    Args:
        checkpoint: a name of `zoo.list_checkpoints`, a ``.safetensors`` file or a run folder.

    Raises:
        FileNotFoundError: no such name or file; the message lists the near ones.
        ValueError: not a checkpoint of this zoo, a damaged one, or one whose weights do not fit its net.
    """
    return open_checkpoint(checkpoint)[0]


def info(checkpoint: str | Path) -> CheckpointInfo:
    """What a checkpoint says of itself; only its header is read. Arguments and errors as `load`."""
    path, _ = _locate(checkpoint)
    with _opened(path) as file:
        return _describe(file.metadata(), path)


def open_checkpoint(checkpoint: str | Path) -> tuple[nn.Module, CheckpointInfo]:
    """The verified net in eval mode and its description. Arguments and errors as `load`."""

    path, sha256 = _locate(checkpoint)
    if sha256 is not None and hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
        raise ValueError(f"{path}: the file is not the one in the index (its SHA-256 differs); fetch it again")
    with _opened(path) as file:
        metadata = file.metadata()
        described = _describe(metadata, path)
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    if metadata.get("sha256") != _digest(metadata["zoo"], tensors):
        raise ValueError(f"{path}: the file is damaged (its SHA-256 differs from the one it was saved with)")
    if not str(described.net.get("_target_")).startswith("zoo.models."):
        raise ValueError(f"{path}: net._target_: {described.net.get('_target_')!r} is not one of zoo.models")
    if any(name.startswith("recognition.") for name in tensors):
        described.net["untied"] = True  # files of before this argument do not say so
    try:
        net = build(described.net, where="net")
        net.load_state_dict(tensors)
    except (RuntimeError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"{path}: the weights do not fit the net it describes ({reason})") from error
    return net.eval(), described


def publish(run: str | Path, name: str, *, metric: dict[str, float] | None = None, **more: Any) -> dict[str, Any]:
    """Copy a run's weights to ``checkpoints/NAME.safetensors`` and enter them in ``checkpoints/index.yaml``.

    Args:
        run: what `load` takes.
        name: under which they are found from now on.
        metric: the headline, name and value; None: accuracy or squared error, where it has one.
        more: further keys of the entry.

    Returns:
        The entry.

    Raises:
        FileNotFoundError, ValueError: as `load`; what cannot be loaded is not published.
    """
    _, about = open_checkpoint(run)
    content = _locate(run)[0].read_bytes()
    with replacing(CHECKPOINTS / f"{name}.safetensors") as temporary:
        temporary.write_bytes(content)
    if metric is None:
        metric = {key: about.metrics[key] for key in HEADLINES if key in about.metrics}
    entry = {
        "file": f"{name}.safetensors",
        "sha256": hashlib.sha256(content).hexdigest(),
        "size": len(content),  # bytes
        "model": about.name,
        "metric": metric,
        **more,
    }
    with replacing(CHECKPOINTS / "index.yaml") as temporary:
        temporary.write_text(yaml.safe_dump({**index(), name: entry}, sort_keys=True, width=120))
    return entry


def provenance() -> dict[str, Any]:
    """What produced a file: commit of the checkout (empty when installed) and versions."""
    import lightning
    import torchvision

    root = CHECKPOINTS.parent
    commit = ""
    if (root / ".git").exists():
        git = ["git", "-C", str(root), "rev-parse", "HEAD"]
        commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    versions = {"zoo": __version__, "torch": str(torch.__version__)}
    return {
        "commit": commit,
        "versions": versions | {m.__name__: m.__version__ for m in (torchvision, lightning)},
        "hardware": _hardware(),
    }


def _hardware() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    threads = torch.get_num_threads()
    return f"{threads} thread{'s' if threads > 1 else ''} of {_processor()}"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _locate(checkpoint: str | Path) -> tuple[Path, str | None]:
    """The file, and the SHA-256 that the index holds for it."""
    entries = index()
    if str(checkpoint) in entries:
        entry = entries[str(checkpoint)]
        path = CHECKPOINTS / entry["file"]
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing; fetch it from {entry.get('url', 'the source repository')}")
        return path, entry["sha256"]
    path = Path(checkpoint)
    if path.is_dir():
        path = path / "model.safetensors"
    if not path.is_file():
        hint = suggest(str(checkpoint), sorted(entries)) if entries else "name a .safetensors file or a run folder"
        raise FileNotFoundError(
            f"no checkpoint {str(checkpoint)!r}: neither a file, nor a run folder, nor a name; {hint}"
        )
    return path, None


@contextmanager
def _opened(path: Path):
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path}: not a readable safetensors file ({error})") from error


def _describe(metadata: Mapping[str, str] | None, path: Path) -> CheckpointInfo:
    if not metadata or "zoo" not in metadata:
        raise ValueError(f"{path}: a safetensors file, but not a checkpoint of this zoo (no description in its header)")
    if metadata.get("format") != FORMAT:
        raise ValueError(f"{path}: format {metadata.get('format')}, this version of zoo reads format {FORMAT}")
    try:
        return CheckpointInfo(**json.loads(metadata["zoo"]))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: the description in its header is damaged ({error})") from error


def _digest(described: str, tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(described.encode())
    for name, value in sorted(tensors.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
