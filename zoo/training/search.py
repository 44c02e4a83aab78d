"""A search for hyper-parameters with Optuna, as the sweeper of ``zoo train hparams_search=NAME``.

Each trial is a job of Hydra: its launcher trains it, in this process or in others, and its run folder is named after
its number. Several processes that search in the same folder share the trials. A search that was stopped continues in
its folder: trials that were stopped are resumed, and new ones are tried until enough are finished.

Optuna is used directly. The sweeper that Hydra offers (hydra-optuna-sweeper 1.3) needs Optuna 2, cannot prune, and
counts its trials from the beginning when it is started again.
"""

import os
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig, OmegaConf

from zoo.checkpoints.files import replacing
from zoo.config import search_space
from zoo.config.console import say
from zoo.config.sweep_folder import NEUTRAL
from zoo.training import objective
from zoo.training.search_settings import SearchSettings
from zoo.training.study import SharedStudy
from zoo.training.sweep_job import PRUNED

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

BEST = "best.yaml"  # the config of the best trial, with its command line


class Search:
    """A search.

    Args:
        settings: how many trials, and how their values are chosen.
        config: the composed config of ``zoo train`` with its node ``hydra``; the trials change some of its keys.
        launcher: Hydra's launcher, which runs jobs.
    """

    def __init__(self, settings: SearchSettings, config: DictConfig, launcher: Any):
        self.settings = settings
        self.config = config
        self.launcher = launcher
        self.folder = Path(config.hydra.sweep.dir)

    def run(self, arguments: Sequence[str]) -> None:
        """Run trials until enough are finished; failed trials are left to `zoo.config.compose.launch`.

        Args:
            arguments: the overrides of the command line.

        Raises:
            ValueError: Optuna is not installed, a setting or a key is invalid, or the metric is one of the test split.
            FileExistsError: the folder contains another search or a sweep.
        """
        # Check everything before the folder is written to.
        if find_spec("optuna") is None:
            raise ValueError("a search needs Optuna, which is not installed; pip install 'reference-zoo[optuna]'")
        self._check_processes()
        metric = objective.metric_name(self.config)
        direction = self.settings.direction or objective.direction(metric)
        space, fixed = search_space.split(self.settings.params, arguments)
        if (self.folder / "multirun.yaml").exists() and not (self.folder / "study.db").exists():
            raise FileExistsError(f"{self.folder} already contains a sweep; set another hydra.sweep.dir=")

        # Open the study, or the one of an earlier call or of another process.
        relevant = sorted(text for text in fixed if text.partition("=")[0] not in NEUTRAL)
        shared = {"the metric": metric, "the other overrides": relevant}
        study = SharedStudy.open(self.folder, self.settings, space, direction=direction, shared=shared)
        OmegaConf.save(self.config, self.folder / "multirun.yaml")
        say(
            f"search in {self.folder}: {study.finished()} of {self.settings.n_trials} trials are finished; to continue "
            f"it after a stop, repeat the command with hydra.sweep.dir={self.folder}"
        )

        # Run the trials. The best one is written after each, in case the search is stopped.
        with study.working():
            while trials := study.next_trials():
                for numbers, batch in _consecutive(trials):
                    jobs = [[*fixed, *search_space.overrides_of(trial.params)] for trial in batch]
                    for number, result in zip(numbers, self.launcher.launch(jobs, numbers[0]), strict=True):
                        self._tell(study, number, result)
                self._write_best(study)

    def _check_processes(self) -> None:
        """Raise ValueError if several processes would train each trial: each of them would run its own search."""
        place = self.config.accelerator
        if place.devices != 1 or place.num_nodes > 1 or int(os.environ.get("WORLD_SIZE", 1)) > 1:
            raise ValueError(
                "a search trains each trial in one process: set accelerator.devices=1 and accelerator.num_nodes=1, and "
                "do not start it with torchrun"
            )

    def _tell(self, study: SharedStudy, number: int, result: JobReturn) -> None:
        """Store the result of a trial."""
        value = None
        if result.status == JobStatus.COMPLETED:
            value = result.return_value
        assert result.hydra_cfg is not None
        folder = Path(result.hydra_cfg.hydra.runtime.output_dir)
        study.tell(number, value, is_pruned=value is not None and (folder / PRUNED).exists())

    def _write_best(self, study: SharedStudy) -> None:
        """Copy the config of the best trial, whose first line is the command that trains it again."""
        best = study.best()
        if best is None:
            return
        text = (self.folder / str(best.number) / "config.yaml").read_text(encoding="utf-8")
        command, _, config = text.partition("\n")
        with replacing(self.folder / BEST) as temporary:
            temporary.write_text(f"{command} hydra.mode=RUN\n{config}", encoding="utf-8")


def _consecutive(trials: "Sequence[FrozenTrial]") -> "Iterator[tuple[list[int], list[FrozenTrial]]]":
    """The trials in groups of consecutive numbers, since Hydra numbers the jobs that it launches together."""
    for _, group in groupby(enumerate(trials), key=lambda pair: pair[1].number - pair[0]):
        batch = [trial for _, trial in group]
        yield [trial.number for trial in batch], batch


def best_lines(folder: Path) -> list[str]:
    """What a user reads about the best trial at the end of a search; empty if the folder has no search."""
    path = folder / BEST
    if not path.is_file():
        return []
    command = path.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")
    return [f"best trial: {path}", command]
