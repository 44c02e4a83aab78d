"""After a sweep: a table over its jobs, from the metrics each left in its folder, and differences paired by seed."""

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
from zoo.training.csv_logger import History

Rows = list[dict[str, Any]]
DRAWN = 8  # jobs, beyond which their curves would be a tangle


class SweepTable(Callback):
    """Hydra callback: writes ``sweep.csv`` into the sweep's folder and prints it; of few jobs also ``curves.png``.

    A sweep over seeds and over a key with two values is a paired comparison: then also ``paired.csv``.
    """

    @rank_zero_only  # other processes run the whole sweep, too
    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        folder = Path(config.hydra.sweep.dir)
        jobs = sorted(folder.glob("*/metrics.json"), key=lambda path: (len(path.parent.name), path))  # 2 before 10
        settings = [_settings(path.parent) for path in jobs]
        metrics = [json.loads(path.read_text()) for path in jobs]
        if not jobs:
            return
        rows = [{"job": path.parent.name, **s, **m} for path, s, m in zip(jobs, settings, metrics, strict=True)]
        varied = {key for key in settings[0] if len({job.get(key) for job in settings}) > 1}
        _keep(
            folder / "sweep.csv",
            rows,
            lambda key: key in varied or key.startswith(("job", "test/")) or key.endswith("/steps"),
        )
        if len(jobs) <= DRAWN:
            _draw([path.parent for path in jobs], settings, varied, folder / "curves.png")
        differences = paired(settings, metrics, compare=config.compare)
        if differences:
            headline = "test/accuracy" if any(row["metric"] == "test/accuracy" for row in differences) else None
            shown = [row for row in differences if headline in (None, row["metric"])]
            _keep(folder / "paired.csv", differences, lambda key: True, shown)


def paired(
    settings: Sequence[dict[str, str]], metrics: Sequence[dict[str, float]], *, compare: str | None = None
) -> Rows:
    """Differences between jobs that differ in one setting only, over the seeds.

    Args:
        settings: of each job: key -> value.
        metrics: of each job.
        compare: the key whose two values are compared; None for the only one but ``seed`` that has two.

    Returns:
        For each combination of the other settings and each test metric: the mean difference, the first value's minus
        the second's, and its 95 % interval by Student's t. Empty where the jobs are no such comparison.
    """
    from scipy.stats import t

    values = {key: list(dict.fromkeys(job.get(key) for job in settings)) for job in settings for key in job}
    choices = [key for key, found in values.items() if len(found) == 2 and key != "seed" and compare in (None, key)]
    if len(values.get("seed", [])) < 2 or len(choices) != 1:
        return []
    (key,) = choices
    others = [name for name, found in values.items() if len(found) > 1 and name not in (key, "seed")]
    cases: dict[tuple[Any, ...], dict[Any, dict[Any, dict[str, float]]]] = {}  # others -> seed -> value -> metrics
    for job, measured in zip(settings, metrics, strict=True):
        seeds = cases.setdefault(tuple(job.get(name) for name in others), {})
        seeds.setdefault(job["seed"], {})[job.get(key)] = measured
    first, second = values[key]
    rows: Rows = []
    for case, seeds in cases.items():
        pairs = [(arms[first], arms[second]) for arms in seeds.values() if len(arms) == 2]
        for metric in sorted({name for a, b in pairs for name in a.keys() & b.keys() if name.startswith("test/")}):
            difference = [a[metric] - b[metric] for a, b in pairs]
            n = len(difference)
            if n < 2:
                continue
            mean = sum(difference) / n
            error = (sum((d - mean) ** 2 for d in difference) / (n - 1) / n) ** 0.5
            margin = float(t.ppf(0.975, n - 1)) * error
            means = {
                f"{key}={value}": sum(pair[i][metric] for pair in pairs) / n for i, value in enumerate(values[key])
            }
            rows.append(
                dict(zip(others, case, strict=True))
                | {
                    "metric": metric,
                    **means,
                    "difference": mean,
                    "from": mean - margin,
                    "to": mean + margin,
                    "pairs": n,
                }
            )
    return rows


def _draw(jobs: Sequence[Path], settings: Sequence[dict[str, str]], varied: set[str], path: Path) -> None:
    """The validation loss of every job over its steps."""
    lines = {}
    for job, setting in zip(jobs, settings, strict=True):
        name = ", ".join(f"{key.rpartition('.')[2]}={value}" for key, value in setting.items() if key in varied)
        for fit, series in History(job / "metrics.csv").series("val/loss").items():
            lines[name if fit == "fit" else f"{name} {fit}"] = series
    if lines:
        curves.curves({"validation loss": lines}, path)


def _settings(job: Path) -> dict[str, str]:
    overrides = yaml.safe_load((job / ".hydra" / "overrides.yaml").read_text())
    return dict(override.lstrip("+~").split("=", 1) for override in overrides if "=" in override)


def _keep(path: Path, rows: Rows, column_is_shown: Callable[[str], bool], shown: Rows | None = None) -> None:
    """Write all rows; print some of them."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    printed = [key for key in columns if column_is_shown(key)]
    table = Table()
    for key in printed:
        name, equals, value = key.partition("=")
        table.add_column(name.rpartition(".")[2] + equals + value, justify="right")
    for row in rows if shown is None else shown:
        table.add_row(*(f"{v:.4f}" if isinstance(v := row.get(key, ""), float) else str(v) for key in printed))
    console = Console()
    console.print(str(path), soft_wrap=True, highlight=False, markup=False)  # as a title it might be broken
    console.print(table)
