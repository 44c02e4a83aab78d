"""Helpers that several test files share."""

import csv
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from zoo.config import schemas
from zoo.data.sources import image_folder
from zoo.data.splits import Splits
from zoo.training.fit.csv_logger import CSVLogger
from zoo.training.fit.trainer import Fit, Session
from zoo.training.signals import StopRequest

ROOT = Path(__file__).parents[1]  # of the repository


class Outcome:
    """What a user saw: exit status and both streams."""

    def __init__(self, status: int, out: str, err: str):
        self.status, self.out, self.err = status, out, err


class Touch:
    """Unpickled carelessly, it leaves a file."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


# Datasets on disk


def write_noise(path: Path, seed: int = 0, size=(20, 24), color=True, **options) -> Path:
    """Write an image of random pixels that is unlike any of another seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (size[1], size[0], 3) if color else (size[1], size[0])
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)).save(path, **options)
    return path


def solid_image(path: Path, level: Any = 100, size=(6, 4), mode="L") -> Path:
    """Write an image of one color."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, level).save(path)
    return path


def truncate(path: Path) -> Path:
    """Cut a file to its first half."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def image_folder_at(root: Path, *, count: int = 10, classes=("cat", "dog"), split: str = "") -> Path:
    """Write ``count`` images of each class, all different, below ``root`` or the folder of a split in it."""
    for k, name in enumerate(classes):
        for i in range(count):
            write_noise(root / split / name / f"{i}.png", seed=sum(map(ord, split)) * 1000 + k * 100 + i)
    return root


def load_images(root: Path, **options: Any) -> Splits:
    """An image folder as 3x8x8."""
    return image_folder.load(root=str(root), **{"shape": (3, 8, 8), "stratified": False, **options})


def write_csv(folder: Path, *, rows=60, at=0, labels=None, name="train.csv"):
    """Kaggle's format with the label in column ``at`` (None: no label); returns pixels and labels."""
    pixels = np.random.default_rng(0).integers(0, 256, (rows, 784))
    names = [f"pixel{k}" for k in range(784)]
    labels = np.arange(rows) % 10 if labels is None else labels
    table = pixels
    if at is not None:
        table = np.insert(pixels, at, labels, axis=1)
        names.insert(at, "label")
    np.savetxt(folder / name, table, fmt="%d", delimiter=",", header=",".join(names), comments="")
    return pixels, labels


def split_sizes(splits: Splits) -> list[int]:
    """Number of examples in the training, validation and test split; 0 for none."""
    return [0 if split is None else len(split) for split in (splits.train, splits.validation, splits.test)]


def png_size(path: Path) -> tuple[int, int]:
    """Width and height of a file that must be a whole PNG."""
    with Image.open(path) as image:
        image.load()
        assert image.format == "PNG"
        return image.size


def slow_but(cases: Iterable[Any], fast: Callable[[Any], bool]) -> list[Any]:
    """Parameters of a test of which `make test` runs the ``fast`` ones, and `make test-all` all."""
    listed = [case if isinstance(case, tuple) else (case,) for case in cases]
    return [pytest.param(*case, marks=() if fast(*case) else pytest.mark.slow) for case in listed]


# Fits and runs

CPU = {"accelerator": "cpu", "devices": 1}  # arguments of a Trainer
SILENT = SimpleNamespace(log_every_n_steps=0, world_size=1)  # a trainer that logs nothing


def fit(
    task,
    data,
    stage: Mapping[str, Any],
    *,
    folder: Path,
    name: str = "fit",
    loggers: Sequence[Any] = (),
    trainer_kwargs: Mapping[str, Any] = CPU,
    resume: Path | None = None,
    progress: bool = False,
    stop: StopRequest | None = None,
) -> None:
    """Train a task outside a run. ``stage`` has some keys of a stage's config; the others have their defaults."""
    known = {field.name: field.default for field in fields(schemas.Stage)}
    settings = SimpleNamespace(**(known | {key: value for key, value in stage.items() if key in known}))
    session = Session(folder, loggers, dict(trainer_kwargs), progress)
    Fit(name, task, data, settings, session, resume).train(stop)


def weights_of(run: Path) -> dict[str, torch.Tensor]:
    """The tensors of a run's checkpoint."""
    return load_file(run / "model.safetensors")


def metrics_of(run: Path) -> dict[str, float]:
    return json.loads((run / "metrics.json").read_text())


def rows_of(run: Path) -> list[dict[str, str]]:
    """The rows of a run's metrics.csv, or of any other CSV file."""
    path = run if run.suffix == ".csv" else run / "metrics.csv"
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def config_of(run: Path) -> dict:
    """A run's resolved config."""
    return yaml.safe_load((run / "config.yaml").read_text())


def same_weights(a: Path, b: Path) -> bool:
    """Whether two runs have the same weights, to the last bit."""
    ours, theirs = weights_of(a), weights_of(b)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def no_plots(monkeypatch) -> None:
    """Draw nothing: plots are tested by themselves, and slow."""
    for name in ("curves.curves", "curves.confusion", "stage_plots.draw"):
        monkeypatch.setattr(f"zoo.plots.{name}", lambda *args, **options: None)


def write_format1(path: Path, tensors: dict[str, Tensor], description: dict[str, Any]) -> Path:
    """A checkpoint of format 1: three entries in its header, the digest of the description's text and the tensors."""
    text = json.dumps(description, sort_keys=True)
    digest = hashlib.sha256(text.encode())
    for name, value in sorted(tensors.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.contiguous().numpy().tobytes())
    save_file(tensors, path, {"format": "1", "zoo": text, "sha256": digest.hexdigest()})
    return path


def fit_and_log(task, data, folder: Path, **options: Any) -> CSVLogger:
    """`fit` for one epoch unless ``epochs`` is given; returns the logged metrics."""
    logger = CSVLogger(folder / "metrics.csv")
    logger.start("fit")
    kwargs = {key: options.pop(key) for key in ("resume", "trainer_kwargs") if key in options}
    fit(task, data, {"epochs": 1, **options}, folder=folder, loggers=[logger], **kwargs)
    return logger


# Nets and numbers

GRID = np.arange(-14, 14, 0.25)  # integrals over one Gaussian unit are sums over it
RBM_SIZES = {  # number of pixels and of hidden units, and their kinds: small enough to sum over all states
    "bernoulli": (7, 6, {}),
    "labels": (4, 5, {"label_units": 3}),
    "gaussian": (2, 5, {"visible_units": "gaussian"}),
    "learned variance": (2, 5, {"visible_units": "gaussian", "learn_variance": True}),
    "gaussian hidden": (5, 2, {"hidden_units": "gaussian"}),
}


def randomize(net: torch.nn.Module, scale: float = 0.5) -> torch.nn.Module:
    """Draw every parameter from a normal distribution of this std."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn_like(parameter) * scale)
    return net


def array(x: torch.Tensor) -> np.ndarray:
    """A tensor in NumPy's double precision."""
    return x.detach().double().numpy()


def record_sheet(monkeypatch, module: str) -> dict[str, Any]:
    """Draw no sheet of images in a command's module; returns what it is told to draw."""
    asked: dict[str, Any] = {}

    def sheet(tiles, captions, path, **options):
        asked.update(options, tiles=tiles, captions=captions)
        path.write_bytes(b"sheet")

    monkeypatch.setattr(f"{module}.plots.sheet", sheet)
    return asked
