"""The jobs of a sweep that failed."""

from typing import Any

from zoo.config.console import printable, say

MAX_LETTERS = 100  # maximum length of the overrides by which a message names a job


def jobs_run_here(hydra_config: Any) -> bool:
    """Whether the jobs of a sweep run in this process, one after another, given the ``hydra`` node of a config."""
    return str(hydra_config.launcher.get("_target_", "")).endswith("BasicLauncher")


class FailedJobs(Exception):  # noqa: N818 - several errors
    """Raised after a sweep of which some jobs failed; the others ran.

    Attributes:
        errors: name of each job that failed -> what it raised.
    """

    def __init__(self) -> None:
        super().__init__()  # no arguments, so that launchers of other processes can pickle it
        self.errors: dict[str, Exception] = {}

    def add(self, job: Any, error: Exception) -> None:
        """Remember and print that a job failed; ``job`` is its node ``hydra.job``."""
        self.__cause__ = self.__cause__ or error  # shown by debug=true
        self.errors[f"job {job.num} ({printable(job.override_dirname)[:MAX_LETTERS]})"] = error
        say(f"job {job.num} failed: {str(error).strip().partition(chr(10))[0]}")
