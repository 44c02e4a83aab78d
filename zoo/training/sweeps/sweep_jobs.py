"""Read the jobs of a sweep from its folder."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from zoo.config.sweep_folder import failure_of, overrides_of
from zoo.training.sweeps.statistics import Metrics
from zoo.training.sweeps.sweep_job import PRUNED


@dataclass(frozen=True)
class Job:
    """A job that was begun.

    Attributes:
        folder: its run folder.
        status: "finished", "failed", "pruned", or "stopped", also while another process runs it.
        settings: its overrides, key -> value.
        metrics: its metrics, name -> value; empty unless it is finished.
        error: why it failed; empty if it did not.
    """

    folder: Path
    status: str
    settings: dict[str, str]
    metrics: Metrics
    error: str = ""


def read_jobs(sweep: Path) -> list[Job]:
    """The jobs of a sweep in the order of their numbers (2 before 10)."""
    jobs = []
    for folder in sorted(sweep.glob("*/"), key=lambda path: (len(path.name), path)):
        overrides = overrides_of(folder)
        if overrides is None:
            continue
        settings = _settings(overrides)
        # A job without a result was stopped.
        failure = failure_of(folder)
        if failure:
            jobs.append(Job(folder, "failed", settings, {}, str(failure.get("error", ""))))
        elif (folder / PRUNED).is_file():
            jobs.append(Job(folder, "pruned", settings, {}))
        elif (folder / "metrics.json").is_file():
            metrics: Metrics = json.loads((folder / "metrics.json").read_text())
            jobs.append(Job(folder, "finished", settings, metrics))
        else:
            jobs.append(Job(folder, "stopped", settings, {}))
    return jobs


def _settings(overrides: Sequence[str]) -> dict[str, str]:
    """The overrides of a job: key -> value."""
    return dict(override.lstrip("+~").split("=", 1) for override in overrides if "=" in override)
