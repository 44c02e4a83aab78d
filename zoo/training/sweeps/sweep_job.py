"""One job of ``zoo train``: a single run, a job of a sweep, or a trial of a search.

A job of a sweep whose folder has a run of the same settings continues it: a finished job is not run again, one that
was stopped or failed is resumed. A job returns its metric, so that any sweeper of Hydra can optimize it.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning.pytorch import Callback
from omegaconf import DictConfig, OmegaConf

from zoo.checkpoints.files import replacing
from zoo.config import compose
from zoo.config.compose import SweepJob
from zoo.config.console import say
from zoo.config.sweep_folder import NEUTRAL, overrides_of, same_job
from zoo.training import outputs
from zoo.training.checks import stage_checks
from zoo.training.resume import run_folder
from zoo.training.sweeps import objective, study
from zoo.training.sweeps.search_settings import SearchSettings
from zoo.training.sweeps.watch import Pruned, WatchMetric

if TYPE_CHECKING:
    from optuna import Trial

SEARCH = "hydra_plugins.reference_zoo.OptunaSweeper"
PRUNED = "pruned.json"  # in the folder of a trial that was pruned
FILLED = ("shape", "in_shape", "num_classes")  # keys that the plan of a run sets from the data


@dataclass
class Job:
    """What `zoo.training.run.train` needs to know about a run that may be a job of a sweep.

    Attributes:
        cfg: the config of the run.
        folder: the folder of the run.
        watch: callbacks for the last stage: one that watches ``optimized_metric``, if it was asked for.
        is_done: whether there is nothing left to train.
        value: the value of ``optimized_metric`` (by default, of the metric that the last stage monitors); None before
            it is known, or if the data have no validation split and no metric was asked for.
    """

    cfg: DictConfig
    folder: Path
    watch: list[Callback] = field(default_factory=list)
    is_done: bool = False
    value: float | None = None

    @classmethod
    def begin(cls, cfg: DictConfig) -> "Job":
        """Find out what is left to train, and set ``cfg.resume`` if the folder of a job has an unfinished run of it.

        Raises:
            ValueError: ``optimized_metric`` names no metric, or one of the test split.
            FileExistsError: the folder has a run of other settings.
        """
        # In a search, the metric must exist, which may need a validation split; in a sweep without optimized_metric, it
        # may be missing.
        job = compose.sweep_job()
        settings = None if job is None else _search_settings(job)
        if settings is not None or cfg.optimized_metric is not None:
            cfg.optimized_metric = objective.metric_name(cfg)
        if job is None:
            return cls(cfg, compose.run_folder(), _watch(cfg))

        # Continue where an earlier call has stopped. A trial that was pruned is finished.
        folder = compose.run_folder()
        if (folder / PRUNED).exists():
            return cls(cfg, folder, is_done=True, value=float(json.loads((folder / PRUNED).read_text())["value"]))
        if _has_this_job(cfg, folder, job):
            if outputs.is_finished(folder):
                say(f"job {job.number} is finished")
                return cls(cfg, folder, is_done=True, value=_value(run_folder.read_metrics(folder), cfg))
            say(f"job {job.number} is resumed")
            cfg.resume = str(folder)

        # A trial of a search reports its metric after each epoch.
        trial = None
        if settings is not None and settings.pruner != "none":
            trial = study.load_trial(job.sweep, job.number, settings)
        return cls(cfg, folder, _watch(cfg, trial))

    @contextmanager
    def pruning(self) -> Iterator[None]:
        """The context in which a run is trained: if the search prunes the trial, the run ends, and that is recorded."""
        try:
            yield
        except Pruned as pruned:
            say(f"{self.folder}: {pruned}, {self.cfg.optimized_metric} {pruned.value:.4f}")
            with replacing(self.folder / PRUNED) as temporary:
                temporary.write_text(json.dumps({"value": pruned.value, "epoch": pruned.epoch}))
            self.value = pruned.value

    def finish(self, metrics: dict[str, float]) -> float | None:
        """The value of the job, read from the metrics of the finished run."""
        self.value = _value(metrics, self.cfg)
        return self.value


def _search_settings(job: SweepJob) -> SearchSettings | None:
    """The settings of the search that a job is a trial of; None if it is not part of a search."""
    if job.sweeper.get("_target_") != SEARCH:
        return None
    return SearchSettings.parse({key: value for key, value in job.sweeper.items() if key != "_target_"})


def _watch(cfg: DictConfig, trial: "Trial | None" = None) -> list[Callback]:
    """The callback that watches the metric, if it was asked for."""
    return [] if cfg.optimized_metric is None else [WatchMetric(cfg.optimized_metric, trial)]


def _has_this_job(cfg: DictConfig, folder: Path, job: SweepJob) -> bool:
    """Whether the folder has a run of the same settings.

    Raises:
        FileExistsError: it has a run of other settings.
    """
    # With several processes, those that start later would find the run that the first one has begun.
    several = cfg.accelerator.devices != 1 or cfg.accelerator.num_nodes > 1 or int(os.environ.get("WORLD_SIZE", 1)) > 1
    if cfg.resume is not None or several or not (folder / run_folder.CONFIG).is_file():
        return False

    # The command line must be the same, and so must the files that it names.
    before = overrides_of(folder) or []
    if not same_job(before, job.overrides):
        raise FileExistsError(
            f"{folder} contains another job ({', '.join(before)}): repeat the command of that sweep to continue it, or "
            "set another hydra.sweep.dir="
        )
    changed = _changed(run_folder.read_config(folder)[0], cfg)
    if changed is not None:
        raise FileExistsError(f"{folder} was trained with another {changed}; delete the folder to run the job again")
    return True


def _changed(before: DictConfig, now: DictConfig) -> str | None:
    """The first key that changes what is trained and whose value is not the same in two configs; None if there is none.

    Args:
        before: the config of a run folder, as `zoo.training.checks.run_checks.plan` has completed it.
        now: the composed config.
    """
    # The plan has applied the keys at the root to every stage.
    now = deepcopy(now)
    stage_checks.enabled_stages(now)
    values = _leaves(OmegaConf.to_container(now, resolve=True, throw_on_missing=False))
    for key, value in _leaves(OmegaConf.to_container(before, resolve=True)).items():
        # The plan has also filled in values from the data; the dataset itself is checked when a run is resumed.
        is_filled = key.rpartition(".")[2] in FILLED
        is_neutral = key.partition(".")[0] in (*NEUTRAL, "debug", "resume", "claim", "logger")
        if key in values and values[key] != value and not is_filled and not is_neutral:
            return f"{key} ({value}, now {values[key]})"
    return None


def _leaves(node: Any, key: str = "") -> dict[str, Any]:
    """Full key -> value of all values in nested mappings."""
    if not isinstance(node, dict):
        return {key: node}
    return {name: leaf for child in node for name, leaf in _leaves(node[child], f"{key}.{child}".lstrip(".")).items()}


def _value(metrics: dict[str, float], cfg: DictConfig) -> float | None:
    """The value of ``optimized_metric``, or of the default metric; None if that was not measured."""
    if cfg.optimized_metric is not None:
        return objective.value_of(metrics, cfg.optimized_metric)
    return metrics.get(objective.metric_name(cfg)) if cfg.resume is None or compose.in_sweep() else None
