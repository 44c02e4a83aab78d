"""The settings that all fits of a run share, from its plan: loggers, trainer config, callbacks, deadline."""

import time
from pathlib import Path

from lightning.pytorch.loggers import Logger

from zoo.config.build import build
from zoo.training.fit.csv_logger import CSVLogger
from zoo.training.fit.trainer import Session
from zoo.training.plan import Plan


def session_of(plan: Plan, folder: Path) -> tuple[CSVLogger, Session]:
    """The logger that writes ``metrics.csv`` in the run folder, and the session. trainer.max_time begins now.

    Raises:
        ValueError: the package of the additional logger is not installed.
    """
    logger = CSVLogger(folder / "metrics.csv")
    limit = plan.settings.max_time
    session = Session(
        folder / "checkpoints",
        [logger, *_extra_loggers(plan)],
        plan.trainer_kwargs,
        plan.progress,
        plan.settings,
        plan.callbacks,
        deadline=None if limit is None else time.monotonic() + limit,
    )
    return logger, session


def _extra_loggers(plan: Plan) -> list[Logger]:
    """The additional logger of the config, if there is one."""
    if plan.logger is None:
        return []
    try:
        return [build(plan.logger, where="logger")]
    except ModuleNotFoundError as error:
        name = str(plan.logger["_target_"]).rpartition(".")[2]
        extra = name.removesuffix("Logger").lower()
        raise ValueError(
            f"logger: {name} needs a package that is not installed; pip install 'reference-zoo[{extra}]', or leave "
            "logger= out"
        ) from error
