"""The keys of the group ``trainer``: their checks, and how many batches and steps follow from them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from math import ceil
from typing import Any, Literal

import torch

from zoo.config.ranges import check_numbers
from zoo.data.splits import Splits

PROFILERS = ("simple", "advanced", "pytorch")
DETERMINISTIC = (False, True, "warn")
LIMITS = ("limit_train_batches", "limit_val_batches", "limit_test_batches", "overfit_batches")
MAX_TIME = re.compile(r"(\d{1,4}):(\d{1,2}):(\d{1,2}):(\d{1,2})")  # days, hours, minutes, seconds


@dataclass(frozen=True)
class TrainerSettings:
    """The checked keys of the group ``trainer``, as `zoo.config.schemas.Trainer` describes them.

    A limit that is an int is a number of batches; one that is a float is a fraction of them, and 1.0 is all.
    ``max_time`` is in seconds.
    """

    accumulate_grad_batches: int = 1
    limit_train_batches: int | float = 1.0
    limit_val_batches: int | float = 1.0
    limit_test_batches: int | float = 1.0
    overfit_batches: int | float = 0
    max_time: float | None = None
    check_val_every_n_epoch: int = 1
    num_sanity_val_steps: int = 0
    deterministic: bool | Literal["warn"] = False
    benchmark: bool | None = None
    detect_anomaly: bool = False
    profiler: str | None = None
    compile: bool = False

    @property
    def uses_all_batches(self) -> bool:
        """Whether an epoch has all training batches."""
        return isinstance(self.limit_train_batches, float) and self.limit_train_batches == 1.0

    def train_batches(self, batches: int) -> int:
        """The number of batches of an epoch, out of ``batches``."""
        return limited(batches, self.limit_train_batches)

    def steps(self, batches: int) -> int:
        """The number of optimizer steps of an epoch, out of ``batches``: the last step may have fewer batches."""
        return ceil(self.train_batches(batches) / self.accumulate_grad_batches)


DEFAULT = TrainerSettings()


def limited(batches: int, limit: int | float) -> int:
    """The number of batches that a limit leaves of ``batches``: at least one, unless the limit is 0."""
    if limit == 0:
        return 0
    return min(batches, limit if isinstance(limit, int) else max(1, int(batches * limit)))


def overfit(splits: Splits, count: int) -> Splits:
    """The same splits, with ``count`` training examples, the same in every run, for training and for validation."""
    order = torch.randperm(len(splits.train), generator=torch.Generator().manual_seed(0))
    few = splits.train.take(order[:count].tolist())
    return replace(splits, train=few, validation=few)


def parse(node: Mapping[str, Any]) -> TrainerSettings:
    """The settings of a config's node ``trainer``.

    Raises:
        ValueError: a value out of its range or not among the choices, or two values that exclude each other.
    """
    values = {field.name: node[field.name] for field in fields(TrainerSettings)}
    for key in LIMITS:
        _check_limit(key, values[key])
    for key, choices in (("profiler", (None, *PROFILERS)), ("deterministic", DETERMINISTIC)):
        if values[key] not in choices or type(values[key]) is int:
            listed = ", ".join(str(choice).lower() for choice in choices if choice is not None)
            raise ValueError(f"trainer.{key}={values[key]} must be one of: {listed}")
    numbers = {key: value for key, value in values.items() if type(value) is int and key not in LIMITS}
    check_numbers(numbers, kind="trainer", where="trainer")

    # Values that exclude each other.
    if values["overfit_batches"] and values["limit_train_batches"] != 1.0:
        raise ValueError("trainer.overfit_batches and trainer.limit_train_batches exclude each other; set one of them")
    if values["deterministic"] is True and values["benchmark"]:
        raise ValueError(
            "trainer.benchmark=true may choose another algorithm in every run, which trainer.deterministic=true "
            "forbids; set one of them to false"
        )
    return TrainerSettings(**{**values, "max_time": _seconds(values["max_time"])})


def _check_limit(key: str, value: object) -> None:
    """Raise ValueError unless a limit is a number of batches or a fraction of them; only training needs a batch."""
    high = 1.0 if isinstance(value, float) else 10**9
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value <= high:
        raise ValueError(f"trainer.{key}={value} must be a number of batches, or a fraction in [0.0, 1.0]")
    if key == "limit_train_batches" and value == 0:
        raise ValueError("trainer.limit_train_batches=0: training needs batches; epochs=0 of a stage switches it off")


def _seconds(text: str | None) -> float | None:
    """The seconds of ``DD:HH:MM:SS``."""
    if text is None:
        return None
    match = MAX_TIME.fullmatch(text)
    days, hours, minutes, seconds = (int(part) for part in match.groups()) if match else (0, 0, 0, 0)
    total = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    if not total:
        raise ValueError(f"trainer.max_time={text} must be DD:HH:MM:SS and > 0, such as 00:12:00:00; quote it in YAML")
    return float(total)


def texts(settings: TrainerSettings) -> list[str]:
    """What the settings change, for the summary before training."""
    parts = []
    if settings.accumulate_grad_batches > 1:
        parts.append(f"gradients of {settings.accumulate_grad_batches} batches are averaged for each step")
    for key, what in zip(LIMITS, ("training", "validation", "test"), strict=False):
        limit = getattr(settings, key)
        if limit != 1.0 or isinstance(limit, int):
            parts.append(f"{_amount(limit)} {what} batch{'' if limit == 1 else 'es'}")
    if settings.overfit_batches:
        parts.append(f"trains and validates on the same training batches: {_amount(settings.overfit_batches)}")
    if settings.check_val_every_n_epoch > 1:
        parts.append(f"validates every {settings.check_val_every_n_epoch} epochs")
    if settings.max_time is not None:
        parts.append(f"stops after {timedelta(seconds=settings.max_time)} (h:mm:ss)")
    parts += [f"{key}={getattr(settings, key)}" for key in ("deterministic", "profiler") if getattr(settings, key)]
    parts += [name for name in ("compile", "detect_anomaly") if getattr(settings, name)]
    return parts


def _amount(limit: int | float) -> str:
    if limit == 0:
        return "no"
    return f"at most {limit:,}" if isinstance(limit, int) else f"{limit:.3g} of all"
