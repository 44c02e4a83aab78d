"""Composing: the config that a command line means, and running a job with it."""

import os
import shlex
import shutil
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from zoo.config import schemas as schemas  # registers them with Hydra
from zoo.config.catalogue import CONF


def compose(verb: str, overrides: Sequence[str] = ()) -> DictConfig:
    """The config that ``zoo VERB OVERRIDES`` would run with."""
    import hydra

    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        return hydra.compose(verb, overrides=list(overrides))


def launch(verb: str, job: Callable[[DictConfig], Any], overrides: Sequence[str]) -> None:
    """Run ``job`` on the composed config, or on each config of a sweep (``-m``).

    Raises whatever ``job`` raises. A run folder in which nothing was written yet is removed then.
    """
    import hydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    failure: list[Exception] = []

    def guarded(cfg: DictConfig) -> Any:
        sweep = HydraConfig.get().mode == RunMode.MULTIRUN
        if sweep:
            sys.stdout.write(f"job {HydraConfig.get().job.num}: {HydraConfig.get().job.override_dirname}\n")
        try:
            return job(cfg)
        except Exception as error:
            _remove_unused(run_folder())
            if sweep:
                raise
            failure.append(error)  # past Hydra, which would print a report of its own
            return None

    os.environ["HYDRA_FULL_ERROR"] = "1"  # let errors through to the caller, who words them
    argv = sys.argv
    sys.argv = [str(import_module(f"zoo.cli.{verb}").__file__), *overrides]
    try:
        hydra.main(config_path=str(CONF), config_name=verb, version_base="1.3")(guarded)()
    finally:
        sys.argv = argv
    if failure:
        raise failure[0]


def run_folder() -> Path:
    """Where this run's files go: ``hydra.run.dir``, or the job's own folder in a sweep."""
    from hydra.core.hydra_config import HydraConfig

    return Path(HydraConfig.get().runtime.output_dir)


def command(verb: str) -> str:
    """The command line that gives this run again."""
    from hydra.core.hydra_config import HydraConfig

    overrides = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    return shlex.join(["zoo", verb, *overrides])


def _remove_unused(folder: Path) -> None:
    here = Path.cwd()
    if folder == here or not folder.is_dir() or any(path.name != ".hydra" for path in folder.iterdir()):
        return
    shutil.rmtree(folder)
    for parent in folder.resolve().parents:  # such as runs/, where this was the first
        if parent == here or here not in parent.parents or any(parent.iterdir()):
            return
        parent.rmdir()
