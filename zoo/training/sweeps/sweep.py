"""Summarize a sweep: a table of all jobs, a comparison of two settings paired by seed, and a cross-validation.

The files have all metrics. Only the validation metrics are printed, so that settings are not chosen by the test split;
``show_test=true`` prints the test metrics, too.
"""

import csv
import io
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig

from zoo.checkpoints.files import replacing
from zoo.config.console import print_table, say, warn
from zoo.plots import curves
from zoo.training.fit.csv_logger import CSVLogger
from zoo.training.sweeps.search import best_lines
from zoo.training.sweeps.statistics import Metrics, k_fold, metric_order, paired, why_not
from zoo.training.sweeps.sweep_jobs import Job, read_jobs

Row = dict[str, Any]
MAX_CURVES = 8  # jobs; the curves of more would be hard to tell apart
LONG_NUMBER = re.compile(r"\d+\.\d{5,}(e-?\d+)?")


class SweepTable(Callback):
    """Hydra callback that writes ``sweep.csv`` into the sweep's folder and prints it; for few jobs also ``curves.png``.

    ``sweep.csv`` has all jobs that were begun, with their status (`zoo.training.sweeps.sweep_jobs`). It is written
    again after each job, so that it also exists if the sweep is stopped. A sweep over seeds and over a key with two
    values is a paired comparison: then it also writes ``paired.csv``. A sweep over folds is a cross-validation: then it
    also writes ``k_fold.csv``.
    """

    @rank_zero_only  # with several processes, each one runs the whole sweep
    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        # Hydra also calls this at the end of a single run.
        if config.hydra.mode == RunMode.MULTIRUN:
            self._write_table(Path(config.hydra.sweep.dir))

    @rank_zero_only
    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        # Read the jobs. The statistics need those that are finished.
        folder = Path(config.hydra.sweep.dir)
        jobs = self._write_table(folder)
        finished = [job for job in jobs if job.status == "finished"]
        if not finished:
            return

        # The printed table leaves out settings that are the same in all jobs.
        varied = {key for job in jobs for key in job.settings if len({other.settings.get(key) for other in jobs}) > 1}

        def is_shown(key: str) -> bool:
            is_metric = key.startswith("val/") or (config.show_test and key.startswith("test/"))
            is_status = key == "status" and len(finished) < len(jobs)
            return key in varied or key == "job" or is_status or is_metric or key.endswith("/steps")

        _print(folder / "sweep.csv", _rows(jobs), is_shown)
        metrics = [job.metrics for job in finished]
        if not config.show_test and not any(name.startswith("val/") for measured in metrics for name in measured):
            say("no validation split was measured; show_test=true prints the test metrics")
        self._compare([job.settings for job in finished], metrics, folder, config)
        self._cross_validate(finished, folder, config)
        for line in best_lines(folder):
            say(line)

        # Draw last: the tables do not depend on the plot.
        if len(finished) <= MAX_CURVES:
            try:
                _draw(finished, varied, folder / "curves.png")
            except Exception as error:
                warn(f"{folder / 'curves.png'} could not be drawn: {error}")

    def _write_table(self, folder: Path) -> list[Job]:
        """Write ``sweep.csv``, if a job was begun, and return all jobs."""
        jobs = read_jobs(folder)
        if jobs:
            _write(folder / "sweep.csv", _rows(jobs))
        return jobs

    def _cross_validate(self, jobs: Sequence[Job], folder: Path, config: DictConfig) -> None:
        """Write and print the statistics over the folds, if the jobs differ in their fold."""
        rows = k_fold([job.settings for job in jobs], [job.metrics for job in jobs])
        if not rows:
            return
        _write(folder / "k_fold.csv", rows)
        splits = ("val/", "test/") if config.show_test else ("val/",)
        _print(folder / "k_fold.csv", [row for row in rows if row["metric"].startswith(splits)])
        if any(row["folds"] != config.dataset.folds for row in rows):
            warn(f"{folder / 'k_fold.csv'}: not all of the {config.dataset.folds} folds are finished in every row")

    def _compare(
        self, settings: Sequence[dict[str, str]], metrics: Sequence[Metrics], folder: Path, config: DictConfig
    ) -> None:
        """Write and print the paired comparison, if there is one."""
        differences = paired(settings, metrics, compare=config.compare)
        if not differences:
            # Without compare=, a sweep need not be a comparison.
            if config.compare is not None:
                warn(f"compare={config.compare}: {why_not(settings, config.compare)}")
            return
        _write(folder / "paired.csv", differences)

        # Print only the accuracy; without accuracy, print all metrics.
        splits = ("val/", "test/") if config.show_test else ("val/",)
        shown = [row for row in differences if row["metric"].startswith(splits)]
        headlines = [row for row in shown if row["metric"].endswith("/accuracy")]
        if shown:
            _print(folder / "paired.csv", headlines or shown)
        else:
            say(f"{folder / 'paired.csv'} has the differences of the test metrics; show_test=true also prints them")


def _draw(jobs: Sequence[Job], varied: set[str], path: Path) -> None:
    """Plot the validation loss of every job over its steps."""
    lines = {}
    for job in jobs:
        # Name a line after the settings that vary, and after its fit if a job has several.
        name = ", ".join(f"{_short(key)}={_cell(value)}" for key, value in job.settings.items() if key in varied)
        for fit, series in CSVLogger(job.folder / "metrics.csv").series("val/loss").items():
            lines[name if fit == "fit" else f"{name} {fit}"] = series
    if lines:
        curves.curves({"validation loss": lines}, path)


def _rows(jobs: Sequence[Job]) -> list[Row]:
    """One row per job: its folder, its status, its settings, and its metrics, those of the test split last."""
    rows: list[Row] = []
    for job in jobs:
        ordered = {name: job.metrics[name] for name in sorted(job.metrics, key=metric_order)}
        error = {"error": job.error} if job.error else {}
        rows.append({"job": job.folder.name, "status": job.status, **job.settings, **ordered, **error})
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
    if isinstance(value, float):
        return f"{value:.4f}"
    # A search sets numbers with all their digits; the file has them.
    return f"{float(value):.4g}" if LONG_NUMBER.fullmatch(str(value)) else str(value)


def _short(key: str) -> str:
    """``model.net.dropout`` -> ``dropout``."""
    return key.rpartition(".")[2]
