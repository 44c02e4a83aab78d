"""Summarize a sweep: a table of all jobs, and a comparison of two settings paired by seed.

The files have all metrics. Only the validation metrics are printed, so that settings are not chosen by the test split;
``show_test=true`` prints the test metrics, too.
"""

import csv
import io
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig

from zoo.checkpoints.files import replacing
from zoo.config.console import print_table, say, warn
from zoo.config.failed_jobs import jobs_run_here
from zoo.plots import curves
from zoo.training.csv_logger import CSVLogger

Row = dict[str, Any]
Metrics = dict[str, float]
MAX_CURVES = 8  # jobs; the curves of more would be hard to tell apart
MIN_PAIRS = 3  # fewer pairs give no useful confidence interval


class SweepTable(Callback):
    """Hydra callback that writes ``sweep.csv`` into the sweep's folder and prints it; for few jobs also ``curves.png``.

    ``sweep.csv`` has the jobs that finished. It is written again after each job, so that it also exists if
    the sweep is stopped. A sweep over seeds and over a key with two values is a paired comparison: then it also writes
    ``paired.csv``.
    """

    def __init__(self) -> None:
        self.finished: list[Path] = []  # folders of the jobs that finished in this process

    @rank_zero_only  # with several processes, each one runs the whole sweep
    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        # A job that failed returns nothing. Single runs end here, too.
        if config.hydra.mode != RunMode.MULTIRUN or job_return.status != JobStatus.COMPLETED:
            return
        # A job that resumed a run wrote to the folder of that run.
        folder = Path(config.hydra.runtime.output_dir)
        if job_return.return_value is None or not (folder / "metrics.json").is_file():
            return
        self.finished.append(folder)
        _write(Path(config.hydra.sweep.dir) / "sweep.csv", _rows(self._jobs(config)))

    @rank_zero_only
    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        # Read the finished jobs.
        folder = Path(config.hydra.sweep.dir)
        jobs = self._jobs(config)
        if not jobs:
            return
        settings = [_settings(job) for job in jobs]
        metrics = [_metrics(job) for job in jobs]
        rows = _rows(jobs)
        _write(folder / "sweep.csv", rows)

        # The printed table leaves out settings that are the same in all jobs.
        varied = {key for setting in settings for key in setting if len({job.get(key) for job in settings}) > 1}

        def is_shown(key: str) -> bool:
            is_metric = key.startswith("val/") or (config.show_test and key.startswith("test/"))
            return key in varied or key == "job" or is_metric or key.endswith("/steps")

        _print(folder / "sweep.csv", rows, is_shown)
        if not config.show_test and not any(name.startswith("val/") for measured in metrics for name in measured):
            say("no validation split was measured; show_test=true prints the test metrics")
        self._compare(settings, metrics, folder, config)

        # Draw last: the tables do not depend on the plot.
        if len(jobs) <= MAX_CURVES:
            try:
                _draw(jobs, settings, varied, folder / "curves.png")
            except Exception as error:
                warn(f"{folder / 'curves.png'} could not be drawn: {error}")

    def _jobs(self, config: DictConfig) -> list[Path]:
        """The folders of the finished jobs, in the order of their numbers (2 before 10)."""
        # If other processes run the jobs, only the folders tell which ones have finished.
        folders = self.finished
        if not folders or not jobs_run_here(config.hydra):
            folders = [path.parent for path in Path(config.hydra.sweep.dir).glob("*/metrics.json")]
        return sorted(folders, key=lambda path: (len(path.name), path))

    def _compare(
        self, settings: Sequence[dict[str, str]], metrics: Sequence[Metrics], folder: Path, config: DictConfig
    ) -> None:
        """Write and print the paired comparison, if there is one."""
        differences = paired(settings, metrics, compare=config.compare)
        if not differences:
            # Without compare=, a sweep need not be a comparison.
            if config.compare is not None:
                warn(f"compare={config.compare}: {_why_not(settings, config.compare)}")
            return
        _write(folder / "paired.csv", differences)

        # Print only the accuracy; without accuracy, print all metrics.
        splits = ("val/", "test/") if config.show_test else ("val/",)
        shown = [row for row in differences if row["metric"].startswith(splits)]
        headlines = [row for row in shown if row["metric"].endswith("/accuracy")]
        if shown:
            _print(folder / "paired.csv", headlines or shown)
        else:
            say(f"{folder / 'paired.csv'}: the differences of the test metrics, which show_test=true prints")


def paired(settings: Sequence[dict[str, str]], metrics: Sequence[Metrics], *, compare: str | None = None) -> list[Row]:
    """Differences between jobs that differ in one setting only, paired by seed.

    Args:
        settings: the overrides of each job, key -> value.
        metrics: the metrics of each job, name -> value.
        compare: the key whose two values are compared; None: the only key with two values, except for ``seed``.

    Returns:
        One row for each combination of the other settings and each metric, those of the validation split first: the
        mean for each of the two values, the mean difference (first value minus second), its 95 % confidence interval
        by Student's t (``from``, ``to``), and the number of pairs. There is no interval (None) for fewer than
        `MIN_PAIRS` pairs, or if all differences are equal. Empty if the jobs do not form such a comparison.
    """
    # Find the one key with two values.
    values = _values(settings)
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

    # A seed with both values is a pair. Each metric that all pairs have gives a row.
    first, second = values[key]
    rows: list[Row] = []
    for case, seeds in cases.items():
        pairs = [(arms[first], arms[second]) for arms in seeds.values() if len(arms) == 2]
        if len(pairs) < 2:
            continue
        shared = set.intersection(*(set(a) & set(b) for a, b in pairs))
        for metric in sorted((name for name in shared if name.startswith(("val/", "test/"))), key=_metric_order):
            firsts = [a[metric] for a, _ in pairs]
            seconds = [b[metric] for _, b in pairs]
            row = dict(zip(others, case, strict=True)) | {"metric": metric}
            row |= {f"{key}={first}": sum(firsts) / len(pairs), f"{key}={second}": sum(seconds) / len(pairs)}
            rows.append(row | _difference(firsts, seconds))
    return rows


def _why_not(settings: Sequence[dict[str, str]], key: str) -> str:
    """Why the jobs are no comparison of the values of ``key``."""
    values = _values(settings)
    found = values.get(key, [])
    if key == "seed":
        return "jobs are paired by seed; name the other key"
    if len(found) != 2:
        listed = f" ({', '.join(map(str, found))})" if found else ""
        return f"the key has {len(found)} values in the finished jobs of this sweep{listed}, but a comparison needs 2"
    if len(values.get("seed", [])) < 2:
        return "a comparison needs at least two seeds, such as seed=1,2,3"
    return "fewer than two seeds have a finished job with each of the two values"


def _values(settings: Sequence[dict[str, str]]) -> dict[str, list[str | None]]:
    """The values of each key in the order of the jobs; None where a job does not set it."""
    return {key: list(dict.fromkeys(job.get(key) for job in settings)) for job in settings for key in job}


def _difference(firsts: Sequence[float], seconds: Sequence[float]) -> Row:
    """The mean of first - second over n >= 2 pairs, and its interval: mean ± t(0.975, n - 1) · standard error."""
    from scipy.stats import t

    differences = [a - b for a, b in zip(firsts, seconds, strict=True)]
    n = len(differences)
    mean = sum(differences) / n
    variance = sum((d - mean) ** 2 for d in differences) / (n - 1)
    row: Row = {"difference": mean, "from": None, "to": None, "pairs": n}
    # Equal differences do not show their spread: few jobs on few examples often agree by chance.
    margin = float(t.ppf(0.975, n - 1)) * (variance / n) ** 0.5
    if n >= MIN_PAIRS and math.isfinite(margin) and margin > 1e-12 * abs(mean):
        row |= {"from": mean - margin, "to": mean + margin}
    return row


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


def _metrics(job: Path) -> Metrics:
    metrics: Metrics = json.loads((job / "metrics.json").read_text())
    return metrics


def _metric_order(name: str) -> tuple[bool, str]:
    """Sorts test metrics after all others."""
    return name.startswith("test/"), name


def _rows(jobs: Sequence[Path]) -> list[Row]:
    """One row per job: its folder, its settings, and its metrics, those of the test split last."""
    rows = []
    for job in jobs:
        metrics = _metrics(job)
        ordered = {name: metrics[name] for name in sorted(metrics, key=_metric_order)}
        rows.append({"job": job.name, **_settings(job), **ordered})
    return rows


def _columns(rows: list[Row]) -> list[str]:
    """The keys of all rows, in the order of the first row that has them, but test metrics last."""
    keys = dict.fromkeys(key for row in rows for key in row)
    return sorted(keys, key=lambda key: key.startswith("test/"))


def _write(path: Path, rows: list[Row]) -> None:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, _columns(rows), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    with replacing(path) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8", errors="surrogateescape")


def _print(path: Path, rows: list[Row], is_shown: Callable[[str], bool] = lambda key: True) -> None:
    """Print rows as a table below the path of their file, with the columns that ``is_shown`` picks."""
    shown = [key for key in _columns(rows) if is_shown(key) and any(row.get(key) is not None for row in rows)]
    headings = []
    for key in shown:
        # A column may also be named "model.net.dropout=0.5": the mean for that value.
        name, equals, value = key.partition("=")
        headings.append(_short(name) + equals + value)
    cells = [[_cell(row.get(key)) for key in shown] for row in rows]
    print_table(str(path), headings, cells, right=headings)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _short(key: str) -> str:
    """``model.net.dropout`` -> ``dropout``."""
    return key.rpartition(".")[2]
