"""Helpers that several test files share."""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import yaml
from safetensors.torch import load_file

from zoo.config import schemas
from zoo.training.signals import StopRequest
from zoo.training.trainer import Fit, Session

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
