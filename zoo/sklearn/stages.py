"""The stages by which an estimator trains, read from the config of its model; and parameters as overrides."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from torch import nn

from zoo.config.given import GIVEN
from zoo.training import stage_checks
from zoo.training.given_config import prepare


@dataclass(frozen=True)
class Stages:
    """The stages of a config, by name.

    Attributes:
        targets: what the task of each stage needs besides inputs: classes, values or none.
        losses: the loss of each stage; "" if it has none.
        input_scaling: standardized, unit or whitened: the inputs that the model expects.
        label_units: whether the net is an RBM or a deep belief network with units for the classes.
    """

    targets: Mapping[str, str]
    losses: Mapping[str, str]
    input_scaling: str
    label_units: bool

    @property
    def unlabeled(self) -> list[str]:
        """The stages that need no labels."""
        return [name for name, targets in self.targets.items() if targets == "none"]

    @property
    def loss(self) -> str:
        """The loss of the last stage, which decides what the outputs of the net mean."""
        return list(self.losses.values())[-1]


@lru_cache(maxsize=256)
def stages(model: str | None, chosen: tuple[str, ...], overrides: tuple[str, ...]) -> Stages:
    """The enabled stages by which `zoo.train` trains with these arguments.

    Composing a config takes longer than to train a small net for some epochs, so the answer is remembered.

    Args:
        model: the name of a model; None: a net that has no config, which needs ``chosen``.
        chosen: names of files in ``conf/stage``; empty: the model's own stages.
        overrides: as on the command line.

    Raises:
        ValueError: an unknown model, stage or key, or a value that the key cannot have.
    """
    net = nn.Linear(1, 1) if model is None else model  # any net: the config does not depend on it
    cfg = prepare(net, GIVEN, stage=chosen or None, validation_data=None, keys={}, overrides=overrides).cfg
    nodes = {str(name): node for name, node in cfg.model.stages.items() if node.epochs}
    return Stages(
        targets={name: stage_checks.task_class(node).targets for name, node in nodes.items()},
        losses={name: str(node.task.get("loss", "")) for name, node in nodes.items()},
        input_scaling=cfg.model.input_scaling,
        label_units=bool(cfg.model.net.get("label_units", False)),
    )


def override(key: str, value: Any) -> str:
    """KEY=VALUE in Hydra's grammar, of a Python or NumPy value.

    Raises:
        ValueError: a value that a config cannot hold.
    """
    try:
        text = json.dumps(value, default=_plain, ensure_ascii=False)
    except TypeError as error:
        raise ValueError(f"{key}={value!r} must be a number, a string, a list of them, or None") from error
    return f"{key}={text}"


def _plain(value: Any) -> Any:
    """A NumPy number or array as Python's."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError
