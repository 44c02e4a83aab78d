"""The storage of a search: an Optuna study in ``study.db`` of the sweep's folder, which several processes may share.

The number of a trial is the number of its job, and so the name of its run folder. Which process runs a trial is known
from a file that this process locks: the system releases the lock when the process ends, however it ends.

Optuna is imported within the functions, because it is an optional package.
"""

import json
import math
import sqlite3
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.data.splits import seed_from
from zoo.training.resume.lock import exclusive, is_locked
from zoo.training.sweeps.search_settings import SearchSettings

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.distributions import BaseDistribution
    from optuna.pruners import BasePruner
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

DATABASE = "study.db"
NAME = "search"
WORKER = "worker"  # the attribute of a trial that names the process that runs it
IDENTITY = "identity"  # the attribute of the study that says what is searched


@dataclass
class SharedStudy:
    """A study, and this process as one of its workers.

    Attributes:
        study: Optuna's study.
        storage: its storage.
        folder: the sweep's folder.
        settings: the settings of the search.
        space: key -> distribution of its values.
        worker: the name of this process, unlike that of any other one.
        failed: the number of trials that failed in this process.
    """

    study: "Study"
    storage: "BaseStorage"
    folder: Path
    settings: SearchSettings
    space: "Mapping[str, BaseDistribution]"
    worker: str = field(default_factory=lambda: uuid.uuid4().hex)
    failed: int = 0

    @classmethod
    def open(
        cls,
        folder: Path,
        settings: SearchSettings,
        space: "Mapping[str, BaseDistribution]",
        *,
        direction: str,
        shared: Mapping[str, Any],
    ) -> "SharedStudy":
        """Open the study of a folder; create it if there is none.

        Args:
            folder: the sweep's folder.
            settings: the settings of the search.
            space: key -> distribution of its values.
            direction: minimize or maximize.
            shared: what else must be the same in all processes that share the study, such as the metric.

        Raises:
            FileExistsError: the folder contains another search.
        """
        import optuna
        from optuna.distributions import distribution_to_json
        from optuna.study import StudyDirection

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        identity = {**shared, "direction": direction}
        identity |= {key: distribution_to_json(distribution) for key, distribution in space.items()}

        # Two processes may open it at the same time.
        with _exclusive(folder):
            storage = _storage(folder)
            study = optuna.create_study(
                storage=storage, study_name=NAME, direction=StudyDirection[direction.upper()], load_if_exists=True
            )
            before = json.loads(study.user_attrs.get(IDENTITY, "null"))
            if before is None:
                study.set_user_attr(IDENTITY, json.dumps(identity))
        if before not in (None, identity):
            changed = next(key for key in {**before, **identity} if before.get(key) != identity.get(key))
            raise FileExistsError(
                f"{folder} contains another search, which differs in {changed}; repeat its command to continue it, or "
                "set another hydra.sweep.dir="
            )
        return cls(study, storage, folder, settings, space)

    @contextmanager
    def working(self) -> Iterator[None]:
        """Within the block, other processes know that this one is alive."""
        path = self._lock_of(self.worker)
        try:
            with exclusive(path):
                yield
        finally:
            path.unlink(missing_ok=True)

    def next_trials(self) -> "list[FrozenTrial]":
        """The trials to run next, at most ``n_jobs``: first those that a process has left, then new ones.

        Empty once enough trials are finished, running, or failed in this process.
        """
        from optuna.trial import TrialState

        with _exclusive(self.folder):
            # Trials of processes that have ended. One without all of its values was stopped while it was created.
            running = self.study.get_trials(deepcopy=False, states=[TrialState.RUNNING])
            left = [trial for trial in running if not self._is_alive(trial.user_attrs.get(WORKER))]
            for trial in [trial for trial in left if trial.params.keys() != self.space.keys()]:
                self.study.tell(trial.number, state=TrialState.FAIL)
                left.remove(trial)
                running.remove(trial)
            if left:
                left = left[: self.settings.n_jobs]
                for trial in left:
                    self._claim(trial.number)
                return left

            # New trials, until enough are finished, failed here, or running somewhere.
            count = min(self.settings.n_jobs, self.settings.n_trials - self.finished() - self.failed - len(running))
            return [self._ask() for _ in range(count)]

    def tell(self, number: int, value: float | None, *, is_pruned: bool) -> None:
        """Store the result of a trial; None, NaN or infinite: it failed."""
        from optuna.trial import TrialState

        if is_pruned:
            self.study.tell(number, state=TrialState.PRUNED)
        elif value is None or not math.isfinite(value):
            self.failed += 1
            self.study.tell(number, state=TrialState.FAIL)
        else:
            self.study.tell(number, value)

    def finished(self) -> int:
        """The number of trials that are completed or pruned, in all processes."""
        from optuna.trial import TrialState

        return len(self.study.get_trials(deepcopy=False, states=[TrialState.COMPLETE, TrialState.PRUNED]))

    def best(self) -> "FrozenTrial | None":
        """The best completed trial; the first one of equal trials."""
        from optuna.study import StudyDirection
        from optuna.trial import TrialState

        trials: Sequence[FrozenTrial] = self.study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
        sign = 1 if self.study.direction == StudyDirection.MAXIMIZE else -1
        return max(trials, key=lambda trial: sign * (trial.value or 0.0), default=None)

    def _ask(self) -> "FrozenTrial":
        """A new trial. Its values depend only on the seed, its number and the results so far.

        So a search that was stopped and continued tries the same values as one that was not stopped.
        """
        from optuna.samplers import RandomSampler, TPESampler

        settings = self.settings
        seed = seed_from(settings.seed, len(self.study.get_trials(deepcopy=False))) % 2**32
        self.study.sampler = (
            TPESampler(n_startup_trials=settings.startup_trials, seed=seed)
            if settings.sampler == "tpe"
            else RandomSampler(seed=seed)
        )
        number = self.study.ask(dict(self.space)).number
        self._claim(number)
        return self.study.get_trials(deepcopy=False)[number]

    def _claim(self, number: int) -> None:
        """Store that this process runs a trial."""
        self.storage.set_trial_user_attr(_trial_id(self.storage, number), WORKER, self.worker)

    def _is_alive(self, worker: str | None) -> bool:
        return worker is not None and (worker == self.worker or is_locked(self._lock_of(worker)))

    def _lock_of(self, worker: str) -> Path:
        return self.folder / f".{worker}.lock"


def load_trial(folder: Path, number: int, settings: SearchSettings) -> "Trial":
    """A running trial of the study in a folder, to report its values and to ask whether it should be pruned."""
    import optuna
    from optuna.samplers import RandomSampler

    # The sampler is not asked: all values of the trial are known.
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = _storage(folder)
    study = optuna.load_study(study_name=NAME, storage=storage, sampler=RandomSampler(), pruner=_pruner(settings))
    return optuna.Trial(study, _trial_id(storage, number))


def _trial_id(storage: "BaseStorage", number: int) -> int:
    """The storage's own number of a trial."""
    return storage.get_trial_id_from_study_id_trial_number(storage.get_study_id_from_name(NAME), number)


def _storage(folder: Path) -> "BaseStorage":
    """The storage of a folder. SQLite stays intact if a process is killed while it writes.

    Raises:
        ValueError: the file is damaged, or not a study.
    """
    from optuna.exceptions import StorageInternalError
    from optuna.storages import RDBStorage
    from sqlalchemy.exc import SQLAlchemyError

    folder.mkdir(parents=True, exist_ok=True)
    path = (folder / DATABASE).absolute()
    # A path in the URL would be decoded: name the file to SQLite itself.
    connect = partial(sqlite3.connect, str(path), timeout=60, check_same_thread=False)
    try:
        return RDBStorage(f"sqlite:///{DATABASE}", engine_kwargs={"creator": connect})
    except (SQLAlchemyError, StorageInternalError, sqlite3.Error) as error:
        reason = str(getattr(error, "orig", None) or error).partition("\n")[0]
        raise ValueError(f"{path}: not a readable study ({reason}); name another hydra.sweep.dir=") from error


def _pruner(settings: SearchSettings) -> "BasePruner":
    from optuna.pruners import MedianPruner, NopPruner, SuccessiveHalvingPruner

    # Epochs are counted from 1; the first one after the warm-up may be the last.
    first = settings.warmup_epochs + 1
    if settings.pruner == "median":
        return MedianPruner(n_startup_trials=settings.startup_trials, n_warmup_steps=first)
    if settings.pruner == "halving":
        return SuccessiveHalvingPruner(min_resource=first)
    return NopPruner()


@contextmanager
def _exclusive(folder: Path) -> Iterator[None]:
    """Within the block, no other process opens the study or takes trials from it."""
    folder.mkdir(parents=True, exist_ok=True)
    with exclusive(folder / ".study.lock"):
        yield
