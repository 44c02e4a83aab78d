"""The jobs of a sweep that failed."""

from pathlib import Path
from typing import Any

from zoo.config.console import printable, say
from zoo.config.sweep_folder import failures_since, record_failure

MAX_LETTERS = 100  # maximum length of the overrides by which a message names a job


def jobs_run_here(hydra_config: Any) -> bool:
    """Whether the jobs of a sweep run in this process, one after another, given the ``hydra`` node of a config."""
    return str(hydra_config.launcher.get("_target_", "")).endswith("BasicLauncher")


def stops_at_an_error(hydra_config: Any) -> bool:
    """Whether the sweeper is Hydra's own, which would end the sweep before its table if a job raised an error."""
    return str(hydra_config.sweeper.get("_target_", "")).endswith("BasicSweeper")


class FailedJobs(Exception):  # noqa: N818 - several errors
    """Raised after a sweep of which some jobs failed; the others ran.

    Attributes:
        errors: name of each job that failed -> what it raised.
    """

    def __init__(self) -> None:
        super().__init__()  # no arguments, so that launchers of other processes can pickle it
        self.errors: dict[str, Exception] = {}

    def add(self, hydra_config: Any, error: Exception) -> None:
        """Remember, print and write into the job's folder that it failed; ``hydra_config`` is its node ``hydra``."""
        job = hydra_config.job
        name = f"job {job.num} ({printable(job.override_dirname)[:MAX_LETTERS]})"
        text = str(error).strip().partition("\n")[0] or type(error).__name__
        self.__cause__ = self.__cause__ or error  # shown by debug=true
        self.errors[name] = error
        say(f"job {job.num} failed: {text}")
        record_failure(Path(hydra_config.runtime.output_dir), name, list(hydra_config.overrides.task), text)

    def read(self, sweep: Path, started: float) -> None:
        """Add the jobs that have failed in other processes since the sweep started."""
        for name, text in failures_since(sweep, started).items():
            self.errors.setdefault(name, ValueError(text))
