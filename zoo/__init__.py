"""A reference zoo of the classic deep-learning models in PyTorch.

    net = zoo.create("lenet5", num_classes=10)      # fresh weights
    net = zoo.load("runs/…/model.safetensors")      # trained ones, in eval mode
    splits = zoo.dataset("digits")                  # as tensors, cut as `zoo train` cuts them
    from zoo.models import MLP, LeNet5, InceptionBlock

Nothing is imported until it is asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zoo import models as models
    from zoo.catalogue import list_checkpoints as list_checkpoints
    from zoo.catalogue import list_models as list_models
    from zoo.checkpoints import CheckpointInfo as CheckpointInfo
    from zoo.checkpoints import info as info
    from zoo.checkpoints import load as load
    from zoo.config import create as create
    from zoo.config import dataset as dataset

__version__ = "0.1.0"

_HOME = {
    "list_models": "zoo.catalogue",
    "list_checkpoints": "zoo.catalogue",
    "create": "zoo.config",
    "dataset": "zoo.config",
    "load": "zoo.checkpoints",
    "info": "zoo.checkpoints",
    "CheckpointInfo": "zoo.checkpoints",
}

__all__ = ["CheckpointInfo", "create", "dataset", "info", "list_checkpoints", "list_models", "load", "models"]


def __getattr__(name: str) -> Any:
    if name == "models":
        return import_module("zoo.models")
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'zoo' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
