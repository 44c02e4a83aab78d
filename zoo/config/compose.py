"""Compose the config of a command line, and run a function with it. No other module starts Hydra.

Hydra is imported within the functions, because it is slow to import.
"""

import os
import shlex
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from zoo.config import command_schemas as command_schemas  # importing it registers all schemas with Hydra
from zoo.config import trust
from zoo.config.catalogue import CONF
from zoo.config.console import say
from zoo.config.failed_jobs import FailedJobs, stops_at_an_error
from zoo.config.overrides import is_sweep, readable
from zoo.config.sweep_folder import FAILED

VERSION = "1.3"  # of Hydra, whose rules the configs follow
PRINT_FLAGS = ("--cfg", "-c", "--info", "-i", "--hydra-help", "--shell-completion", "-sc")  # nothing is run
RUN_LOCK = threading.RLock()  # Hydra's run and the random numbers belong to the process, so one command runs at a time
LOCK = threading.RLock()  # Hydra's state is global, so only one thread composes at a time


def compose(command: str, overrides: Sequence[str] = ()) -> DictConfig:
    """The config with which ``zoo COMMAND OVERRIDES`` would run.

    It can be called from any thread, and within an application that uses Hydra itself.
    """
    from hydra._internal.utils import create_config_search_path
    from hydra.core.utils import setup_globals
    from hydra.types import RunMode
    from omegaconf import open_dict

    from zoo.config.loader import CheckedLoader

    with LOCK, _own_state():
        setup_globals()  # the resolvers of Hydra, such as ${now:}
        loader = CheckedLoader(create_config_search_path(str(CONF)))
        cfg = loader.load_configuration(command, list(overrides), RunMode.RUN, from_shell=False)
    with open_dict(cfg):
        del cfg["hydra"]
    return cfg


def launch(
    command: str,
    job: Callable[[DictConfig], Any],
    overrides: Sequence[str],
    *,
    file: str,
    around: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> None:
    """Run ``job`` on the composed config, or on every config of a sweep (``-m``).

    Args:
        command: name of a file in ``conf/``, such as "train".
        job: the function to run.
        overrides: arguments of the command line, such as "model=lenet5".
        file: the Python file of the command. Lightning starts the other processes of a run with it.
        around: makes a context in which each job is run.

    In a sweep, a job that fails does not keep the others from running.

    Raises whatever ``job`` raises, after removing a run folder in which nothing was written; in a sweep, `FailedJobs`.
    Raises ValueError if the run folder cannot be created, or if a sweep has no jobs.
    """
    import hydra
    from hydra._internal import hydra as internals
    from hydra.core.hydra_config import HydraConfig
    from hydra.errors import HydraException

    from zoo.config.loader import CheckedLoader

    failures: list[Exception] = []
    started = time.time()
    jobs_started = 0
    failed_jobs = FailedJobs()

    def run_job(cfg: DictConfig) -> Any:
        nonlocal jobs_started
        jobs_started += 1
        # In a sweep, print a line for each job.
        if in_sweep():
            say(f"job {HydraConfig.get().job.num}: {HydraConfig.get().job.override_dirname}")
            (run_folder() / FAILED).unlink(missing_ok=True)  # of an earlier call
        # Hydra would print the error itself. So a single run stores it, and `launch` raises it after Hydra returns.
        try:
            with around():
                return job(cfg)
        except Exception as error:
            if in_sweep():
                # The sweepers of searches see the error. Hydra's own would end the sweep before its table is printed.
                failed_jobs.add(HydraConfig.get(), error)
                if not stops_at_an_error(HydraConfig.get()):
                    raise
            else:
                failures.append(error)
            return None
        finally:
            _remove_unused(run_folder(), started)

    # Hydra reads sys.argv, and Lightning the file in its first entry.
    RUN_LOCK.acquire()
    argv = sys.argv
    try:
        sys.argv = [file, *readable(command, overrides)]
        with _own_state():
            # Hydra has no hook between composing a config and creating the objects that it names.
            vars(internals)["ConfigLoaderImpl"] = CheckedLoader
            CheckedLoader.sweep = None
            hydra.main(config_path=str(CONF), config_name=command, version_base=VERSION)(run_job)()
    except OSError as error:
        # Errors of the job are stored, so this one comes from Hydra: it could not create the run folder.
        if isinstance(error, HydraException) or str(error.filename or ".yaml").endswith(".yaml"):
            raise
        key = "hydra.sweep.dir" if is_sweep(overrides) else "hydra.run.dir"
        raise ValueError(f"{error.filename}: cannot be created ({error.strerror}); set another {key}=") from error
    except BrokenExecutor as error:
        # The launcher of joblib says that one of its processes has ended.
        raise ValueError(
            "a process that ran jobs of the sweep was killed, perhaps because the memory was full; to continue, repeat "
            f"the command with hydra.sweep.dir={CheckedLoader.sweep}"
        ) from error
    except (AssertionError, AttributeError, TypeError) as error:
        # Hydra checks few of its own keys. These errors also occur if a key below a null value is set.
        if jobs_started:
            raise
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ValueError(f"Hydra cannot read these arguments ({reason}); see zoo {command} --hydra-help") from error
    finally:
        vars(internals)["ConfigLoaderImpl"] = CheckedLoader.__base__
        sys.argv = argv
        RUN_LOCK.release()
    if failures:
        raise failures[0]
    # Jobs that ran in other processes have written that they failed.
    sweep = CheckedLoader.sweep
    if sweep is not None:
        failed_jobs.read(sweep, started)
    if failed_jobs.errors:
        say(f"to run the failed jobs again, repeat the command with hydra.sweep.dir={sweep}")
        raise failed_jobs
    # Other launchers run the jobs in other processes.
    only_prints = any(argument.partition("=")[0] in PRINT_FLAGS for argument in overrides)
    other_launcher = any(argument.startswith("hydra/launcher=") for argument in overrides)
    # A search may be finished already.
    has_jobs = jobs_started or (sweep is not None and any(sweep.glob("*/")))
    if is_sweep(overrides) and not (has_jobs or only_prints or other_launcher):
        raise ValueError("the sweep has no jobs: a range() or glob() in it has no values")


@contextmanager
def _own_state() -> Iterator[None]:
    """Within the block, set the global state of Hydra that the zoo needs; afterwards, restore the previous state.

    So the zoo works within an application that uses Hydra itself, and in a notebook after ``hydra.initialize``.
    """
    from hydra import version
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.utils import JobRuntime

    # Remember what the application has set.
    state = GlobalHydra.instance()
    base = version.VersionBase.instance()
    hydra_before = state.hydra
    version_before = base.version_base
    name_before = JobRuntime.instance().get("name")
    full_error_before = os.environ.get("HYDRA_FULL_ERROR")
    try:
        state.clear()
        version.setbase(VERSION)
        os.environ["HYDRA_FULL_ERROR"] = "1"  # raise errors of composition; zoo.cli.errors formats them
        yield
    finally:
        # Restore it.
        state.hydra = hydra_before
        base.version_base = version_before
        JobRuntime.instance().set("name", name_before)
        if full_error_before is None:
            os.environ.pop("HYDRA_FULL_ERROR", None)
        else:
            os.environ["HYDRA_FULL_ERROR"] = full_error_before


def run_folder() -> Path:
    """The folder of this run's files: ``hydra.run.dir``, or the job's own folder in a sweep."""
    from hydra.core.hydra_config import HydraConfig

    return Path(HydraConfig.get().runtime.output_dir)


def in_sweep() -> bool:
    """Whether this run is a job of a sweep."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


@dataclass(frozen=True)
class SweepJob:
    """This run as a job of a sweep.

    Attributes:
        number: its number.
        sweep: the folder of the sweep.
        overrides: its overrides.
        sweeper: the settings of the sweeper, ``_target_`` included.
    """

    number: int
    sweep: Path
    overrides: list[str]
    sweeper: dict[str, Any]


def sweep_job() -> SweepJob | None:
    """This run as a job of a sweep; None if it is not one."""
    from hydra.core.hydra_config import HydraConfig

    if not in_sweep():
        return None
    node = HydraConfig.get()
    sweeper: Any = OmegaConf.to_container(node.sweeper, resolve=True)
    return SweepJob(node.job.num, Path(node.sweep.dir), [str(text) for text in node.overrides.task], dict(sweeper))


def command_line(command: str) -> str:
    """The command line that repeats this run, in one line of UTF-8."""
    from hydra.core.hydra_config import HydraConfig

    overrides = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    flags = [word for package in trust.given() for word in ("--trust", package)]
    line = shlex.join(["zoo", command, *flags, *overrides])
    # A line break in an argument would end the line; a byte that is not UTF-8 could not be written.
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


def given_keys() -> set[str]:
    """The keys that the command line of this run sets, such as ``dataset.root``."""
    from hydra.core.hydra_config import HydraConfig

    overrides = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    return {override.partition("=")[0].lstrip("+") for override in overrides}


def composition() -> dict[str, str]:
    """The files of the subfolder ``.hydra``, by name: how this run's config was composed. Empty without Hydra."""
    from hydra.core.hydra_config import HydraConfig

    config = HydraConfig.instance().cfg
    if config is None:
        return {}
    return {
        "hydra.yaml": OmegaConf.to_yaml(config),
        "overrides.yaml": OmegaConf.to_yaml(HydraConfig.get().overrides.task),
    }


def _remove_unused(folder: Path, started: float) -> None:
    """Remove an empty run folder that was made since ``started``, and parent folders that become empty.

    Args:
        folder: the run folder.
        started: time in seconds, before Hydra made the folder. An older folder is kept.
    """
    here = Path.cwd()
    try:
        if folder == here or folder.stat().st_mtime < started:
            return
        folder.rmdir()  # raises OSError if it is not empty
        # Remove parents such as runs/ if they are empty now, but never a folder outside the working directory.
        for parent in folder.resolve().parents:
            if parent == here or here not in parent.parents:
                return
            parent.rmdir()
    except OSError:
        return
