"""Compose the config of a command line, and run a function with it. No other module starts Hydra.

Hydra is imported within the functions, because it is slow to import.
"""

import os
import shlex
import shutil
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from zoo.config import schemas as schemas  # importing it registers the schemas with Hydra
from zoo.config.catalogue import CONF
from zoo.config.console import say
from zoo.config.failed_jobs import FailedJobs, jobs_run_here


def compose(command: str, overrides: Sequence[str] = ()) -> DictConfig:
    """The config with which ``zoo COMMAND OVERRIDES`` would run.

    Args:
        command: name of a file in ``conf/``, such as "train".
        overrides: arguments of the command line, such as "model=lenet5".
    """
    import hydra

    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        return hydra.compose(command, overrides=list(overrides))


def launch(command: str, job: Callable[[DictConfig], Any], overrides: Sequence[str]) -> None:
    """Run ``job`` on the composed config, or on every config of a sweep (``-m``).

    Args:
        command: name of a file in ``conf/``, such as "train".
        job: the function to run.
        overrides: arguments of the command line, such as "model=lenet5".

    In a sweep, a job that fails does not keep the others from running.

    Raises whatever ``job`` raises, after removing a run folder in which nothing was written; in a sweep, `FailedJobs`.
    """
    import hydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    failures: list[Exception] = []
    failed_jobs = FailedJobs()

    def run_job(cfg: DictConfig) -> Any:
        # In a sweep, print a line for each job.
        in_sweep = HydraConfig.get().mode == RunMode.MULTIRUN
        if in_sweep:
            say(f"job {HydraConfig.get().job.num}: {HydraConfig.get().job.override_dirname}")
        # Hydra would print the error itself. So a single run stores it, and `launch` raises it after Hydra returns.
        try:
            return job(cfg)
        except Exception as error:
            _remove_unused(run_folder())
            if in_sweep:
                # Hydra ends a sweep with an error before its table is printed, so do not tell it; but it must know if
                # the job runs in another process, as with the launchers of joblib and submitit.
                if not jobs_run_here(HydraConfig.get()):
                    raise
                failed_jobs.add(HydraConfig.get().job, error)
            else:
                failures.append(error)
            return None

    # Hydra reads sys.argv. Its first entry must be the file of the command.
    os.environ["HYDRA_FULL_ERROR"] = "1"  # raise errors of composition; zoo.cli.errors formats them
    argv = sys.argv
    sys.argv = [str(import_module(f"zoo.cli.{command}").__file__), *overrides]
    try:
        hydra.main(config_path=str(CONF), config_name=command, version_base="1.3")(run_job)()
    finally:
        sys.argv = argv
    if failures:
        raise failures[0]
    if failed_jobs.errors:
        raise failed_jobs


def run_folder() -> Path:
    """The folder of this run's files: ``hydra.run.dir``, or the job's own folder in a sweep."""
    from hydra.core.hydra_config import HydraConfig

    return Path(HydraConfig.get().runtime.output_dir)


def command_line(command: str) -> str:
    """The command line that repeats this run."""
    from hydra.core.hydra_config import HydraConfig

    overrides = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    return shlex.join(["zoo", command, *overrides])


def _remove_unused(folder: Path) -> None:
    """Remove a run folder that holds nothing but Hydra's subfolder, and parent folders that become empty."""
    here = Path.cwd()
    if folder == here or not folder.is_dir() or any(path.name != ".hydra" for path in folder.iterdir()):
        return
    shutil.rmtree(folder)
    # Remove parents such as runs/ if they are empty now, but never a folder outside the working directory.
    for parent in folder.resolve().parents:
        if parent == here or here not in parent.parents or any(parent.iterdir()):
            return
        parent.rmdir()
