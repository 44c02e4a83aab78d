"""A reference zoo of the classic deep-learning models in PyTorch.

    net = zoo.create("lenet5", num_classes=10)      # random weights
    net = zoo.load("lenet5-mnist")                  # trained weights, in eval mode; also a file or a run folder
    splits = zoo.dataset("digits")                  # the same splits as in `zoo train`
    result = zoo.train(net, "digits", epochs=3)     # the same training as `zoo train`: net, metrics, history, folder
    from zoo.models import MLP, LeNet5, InceptionBlock

Submodules are imported lazily, when a name is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zoo import models as models
    from zoo import sklearn as sklearn
    from zoo import tasks as tasks
    from zoo.analysis import likelihood as likelihood
    from zoo.api import create as create
    from zoo.api import dataset as dataset
    from zoo.api import info as info
    from zoo.api import list_checkpoints as list_checkpoints
    from zoo.api import list_models as list_models
    from zoo.api import load as load
    from zoo.api import train as train
    from zoo.checkpoints.description import CheckpointInfo as CheckpointInfo
    from zoo.config.trust import trust as trust
    from zoo.training.from_python import Result as Result

__version__ = "0.2.0"

# The public functions and classes, each with the module that defines it; and the public modules.
_HOMES = {
    "list_models": "zoo.api",
    "list_checkpoints": "zoo.api",
    "create": "zoo.api",
    "load": "zoo.api",
    "info": "zoo.api",
    "dataset": "zoo.api",
    "train": "zoo.api",
    "CheckpointInfo": "zoo.checkpoints.description",
    "trust": "zoo.config.trust",
    "Result": "zoo.training.from_python",
}
_MODULES = {
    "models": "zoo.models",
    "sklearn": "zoo.sklearn",
    "tasks": "zoo.tasks",
    "likelihood": "zoo.analysis.likelihood",
}

__all__ = [
    "CheckpointInfo",
    "Result",
    "create",
    "dataset",
    "info",
    "likelihood",
    "list_checkpoints",
    "list_models",
    "load",
    "models",
    "sklearn",
    "tasks",
    "train",
    "trust",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used (PEP 562)."""
    if name in _MODULES:
        return import_module(_MODULES[name])
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'zoo' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
