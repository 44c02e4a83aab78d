"""The arguments with which nets were built, so that a checkpoint of a net that a program passes can describe it.

`zoo.create` and `zoo.load` record them. Imports torch and protocols.
"""

from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary

from torch import nn

from zoo.protocols import Net

# The name of the model and the config of each net, as long as the net is in use.
_configs: WeakKeyDictionary[nn.Module, tuple[str, dict[str, Any]]] = WeakKeyDictionary()


def record(net: nn.Module, name: str, config: Mapping[str, Any]) -> None:
    """Remember how a net was built.

    Args:
        net: the net.
        name: the name of its model.
        config: its ``_target_`` and arguments.
    """
    _configs[net] = (name, dict(config))


def net_config(net: nn.Module) -> tuple[str, dict[str, Any]]:
    """The name of a net's model, and its config; for any other net, the name of its class and an empty config."""
    if net not in _configs:
        return type(net).__name__, {}
    name, config = _configs[net]
    # `reset_head` may have changed the number of outputs since.
    if isinstance(net, Net) and "num_classes" in config:
        config = {**config, "num_classes": net.num_classes}
    return name, {key: list(value) if isinstance(value, tuple) else value for key, value in config.items()}
