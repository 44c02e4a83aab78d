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
    from zoo.api import create as create
    from zoo.api import dataset as dataset
    from zoo.checkpoints.checkpoint import CheckpointInfo as CheckpointInfo
    from zoo.checkpoints.checkpoint import info as info
    from zoo.checkpoints.checkpoint import load as load
    from zoo.config.catalogue import list_checkpoints as list_checkpoints
    from zoo.config.catalogue import list_models as list_models

__version__ = "0.2.0"

_HOME = {
    "list_models": "zoo.config.catalogue",
    "list_checkpoints": "zoo.config.catalogue",
    "create": "zoo.api",
    "dataset": "zoo.api",
    "load": "zoo.checkpoints.checkpoint",
    "info": "zoo.checkpoints.checkpoint",
    "CheckpointInfo": "zoo.checkpoints.checkpoint",
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
