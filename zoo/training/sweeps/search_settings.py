"""The settings of a search, checked: the node ``hydra.sweeper`` of ``conf/hydra/sweeper/optuna.yaml``."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from zoo.config.catalogue import suggest

CHOICES = {
    "sampler": ("tpe", "random"),
    "pruner": ("median", "halving", "none"),
    "direction": ("minimize", "maximize", None),
}
MINIMUM = {"n_trials": 1, "n_jobs": 1, "seed": 0, "startup_trials": 0, "warmup_epochs": 0}


@dataclass(frozen=True)
class SearchSettings:
    """The settings of a search; ``conf/hydra/sweeper/optuna.yaml`` describes them."""

    n_trials: int = 20
    n_jobs: int = 1
    sampler: str = "tpe"
    seed: int = 1
    pruner: str = "median"
    startup_trials: int = 5
    warmup_epochs: int = 1
    direction: str | None = None
    params: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> "SearchSettings":
        """The settings of a config.

        Raises:
            ValueError: an unknown key, or a value of the wrong type or out of its range.
        """
        known = [key.name for key in fields(cls)]
        for key, value in values.items():
            where = f"hydra.sweeper.{key}"
            if key not in known:
                raise ValueError(f"{where}: no such key; {suggest(key, known)}")
            if key in CHOICES and value not in CHOICES[key]:
                choices = ("null" if choice is None else choice for choice in CHOICES[key])
                raise ValueError(f"{where}={value}: choose {' or '.join(choices)}")
            is_integer = isinstance(value, int) and not isinstance(value, bool)
            if key in MINIMUM and not (is_integer and value >= MINIMUM[key]):
                raise ValueError(f"{where}={value} must be an integer >= {MINIMUM[key]}")
            if key == "params" and not isinstance(value, Mapping):
                raise ValueError(f"{where}={value} must be a mapping from keys to values")
        return cls(**{**values, "params": {str(key): str(text) for key, text in values.get("params", {}).items()}})
