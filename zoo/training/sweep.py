"""Summarize a sweep: a table of all jobs, and a comparison of two settings paired by seed."""

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra.experimental.callback import Callback
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from zoo.plots import curves
from zoo.training.csv_logger import CSVLogger

Row = dict[str, Any]
Metrics = dict[str, float]
MAX_CURVES = 8  # jobs; the curves of more would be hard to tell apart


class SweepTable(Callback):
    """Hydra callback that writes ``sweep.csv`` into the sweep's folder and prints it; for few jobs also ``curves.png``.

    A sweep over seeds and over a key with two values is a paired comparison: then it also writes ``paired.csv``.
    """

    @rank_zero_only  # with several processes, each one runs the whole sweep
    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        # Read the finished jobs, in the order of their numbers (2 before 10).
        folder = Path(config.hydra.sweep.dir)
        jobs = sorted(folder.glob("*/metrics.json"), key=lambda path: (len(path.parent.name), path))
        if not jobs:
            return
        settings = [_settings(path.parent) for path in jobs]
        metrics = [json.loads(path.read_text()) for path in jobs]

        # One row per job. The printed table leaves out settings that are the same in all jobs.
        rows = []
        for path, setting, measured in zip(jobs, settings, metrics, strict=True):
            rows.append({"job": path.parent.name, **setting, **measured})
        varied = {key for key in settings[0] if len({job.get(key) for job in settings}) > 1}

        def is_shown(key: str) -> bool:
            return key in varied or key.startswith(("job", "test/")) or key.endswith("/steps")

        _write(folder / "sweep.csv", rows)
        _print(folder / "sweep.csv", rows, is_shown)
        if len(jobs) <= MAX_CURVES:
            _draw([path.parent for path in jobs], settings, varied, folder / "curves.png")

        # Print only the accuracy of a comparison; without accuracy, print all metrics.
        differences = paired(settings, metrics, compare=config.compare)
        if differences:
            headlines = [row for row in differences if row["metric"] == "test/accuracy"]
            _write(folder / "paired.csv", differences)
            _print(folder / "paired.csv", headlines or differences)


def paired(settings: Sequence[dict[str, str]], metrics: Sequence[Metrics], *, compare: str | None = None) -> list[Row]:
    """Differences between jobs that differ in one setting only, paired by seed.

    Args:
        settings: the overrides of each job, key -> value.
        metrics: the metrics of each job, name -> value.
        compare: the key whose two values are compared; None: the only key with two values, except for ``seed``.

    Returns:
        One row for each combination of the other settings and each test metric: the mean for each of the two values,
        the mean difference (first value minus second), its 95 % confidence interval by Student's t (``from``, ``to``),
        and the number of pairs. Empty if the jobs do not form such a comparison.
    """
    # Find the one key with two values.
    values = {key: list(dict.fromkeys(job.get(key) for job in settings)) for job in settings for key in job}
    choices = [key for key, found in values.items() if len(found) == 2 and key != "seed" and compare in (None, key)]
    if len(values.get("seed", [])) < 2 or len(choices) != 1:
        return []
    key = choices[0]

    # Group the jobs by their other settings, then by seed, then by the value of the key.
    others = [name for name, found in values.items() if len(found) > 1 and name not in (key, "seed")]
    cases: dict[tuple[Any, ...], dict[Any, dict[Any, Metrics]]] = {}
    for job, measured in zip(settings, metrics, strict=True):
        seeds = cases.setdefault(tuple(job.get(name) for name in others), {})
        seeds.setdefault(job["seed"], {})[job.get(key)] = measured

    # A seed with both values is a pair. Each test metric that all pairs have gives a row.
    first, second = values[key]
    rows: list[Row] = []
    for case, seeds in cases.items():
        pairs = [(arms[first], arms[second]) for arms in seeds.values() if len(arms) == 2]
        if len(pairs) < 2:
            continue
        shared = set.intersection(*(set(a) & set(b) for a, b in pairs))
        for metric in sorted(name for name in shared if name.startswith("test/")):
            firsts = [a[metric] for a, _ in pairs]
            seconds = [b[metric] for _, b in pairs]
            row = dict(zip(others, case, strict=True)) | {"metric": metric}
            row |= {f"{key}={first}": sum(firsts) / len(pairs), f"{key}={second}": sum(seconds) / len(pairs)}
            rows.append(row | _difference(firsts, seconds))
    return rows


def _difference(firsts: Sequence[float], seconds: Sequence[float]) -> Row:
    """The mean of first - second over n >= 2 pairs, and its interval: mean ± t(0.975, n - 1) · standard error."""
    from scipy.stats import t

    differences = [a - b for a, b in zip(firsts, seconds, strict=True)]
    n = len(differences)
    mean = sum(differences) / n
    variance = sum((d - mean) ** 2 for d in differences) / (n - 1)
    margin = float(t.ppf(0.975, n - 1)) * (variance / n) ** 0.5
    return {"difference": mean, "from": mean - margin, "to": mean + margin, "pairs": n}


def _draw(jobs: Sequence[Path], settings: Sequence[dict[str, str]], varied: set[str], path: Path) -> None:
    """Plot the validation loss of every job over its steps."""
    lines = {}
    for job, setting in zip(jobs, settings, strict=True):
        # Name a line after the settings that vary, and after its fit if a job has several.
        name = ", ".join(f"{_short(key)}={value}" for key, value in setting.items() if key in varied)
        for fit, series in CSVLogger(job / "metrics.csv").series("val/loss").items():
            lines[name if fit == "fit" else f"{name} {fit}"] = series
    if lines:
        curves.curves({"validation loss": lines}, path)


def _settings(job: Path) -> dict[str, str]:
    """The overrides of a job, which Hydra wrote into its folder: key -> value."""
    overrides = yaml.safe_load((job / ".hydra" / "overrides.yaml").read_text())
    return dict(override.lstrip("+~").split("=", 1) for override in overrides if "=" in override)


def _columns(rows: list[Row]) -> list[str]:
    return list(dict.fromkeys(key for row in rows for key in row))


def _write(path: Path, rows: list[Row]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, _columns(rows), restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _print(path: Path, rows: list[Row], is_shown: Callable[[str], bool] = lambda key: True) -> None:
    """Print rows as a table below the path of their file, with the columns that ``is_shown`` picks."""
    shown = [key for key in _columns(rows) if is_shown(key)]
    table = Table()
    for key in shown:
        # A column may also be named "model.net.dropout=0.5": the mean for that value.
        name, equals, value = key.partition("=")
        table.add_column(_short(name) + equals + value, justify="right")
    for row in rows:
        cells = [row.get(key, "") for key in shown]
        table.add_row(*(f"{cell:.4f}" if isinstance(cell, float) else str(cell) for cell in cells))
    console = Console()
    # Not the title of the table, where a long path would wrap.
    console.print(str(path), soft_wrap=True, highlight=False, markup=False)
    console.print(table)


def _short(key: str) -> str:
    """``model.net.dropout`` -> ``dropout``."""
    return key.rpartition(".")[2]
