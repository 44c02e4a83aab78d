"""Building: the only place that instantiates what a config names.

Every ``_target_`` is built by `build`: only if its name is on `TARGETS`, and only with arguments that its own signature
takes - the constructor is the schema.
"""

import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field, make_dataclass
from importlib import import_module
from types import NoneType, UnionType
from typing import Any, Optional, Union

from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from zoo.config import renamed
from zoo.config.catalogue import suggest

TARGETS = frozenset(
    {
        "zoo.models.DBN",
        "zoo.models.GoogLeNet",
        "zoo.models.InceptionSmall",
        "zoo.models.LeNet",
        "zoo.models.LeNet1998",
        "zoo.models.LeNet5",
        "zoo.models.MLP",
        "zoo.models.RBM",
        "zoo.models.StackedAutoencoder",
        "zoo.models.TorchvisionNet",
        "zoo.tasks.Classification",
        "zoo.tasks.ContrastiveDivergence",
        "zoo.tasks.Reconstruction",
        "zoo.tasks.Regression",
        "zoo.tasks.WakeSleep",
        "zoo.tasks.optimization.constant",
        "zoo.tasks.optimization.cosine",
        "zoo.tasks.optimization.one_cycle",
        "zoo.tasks.optimization.plateau",
        "zoo.training.schedules.joint",
        "zoo.training.schedules.layerwise",
        "zoo.data.sources.digit_recognizer.load",
        "zoo.data.sources.digits.load",
        "zoo.data.sources.faces.load",
        "zoo.data.sources.image_folder.load",
        "zoo.data.sources.line.load",
        "zoo.data.sources.npz.load",
        "zoo.data.sources.torchvision_sets.load",
        "zoo.data.augment.Augment",
        "torch.optim.SGD",
        "torch.optim.Adam",
        "torch.optim.AdamW",
        "lightning.pytorch.loggers.TensorBoardLogger",
        "lightning.pytorch.loggers.MLFlowLogger",
        "lightning.pytorch.loggers.WandbLogger",
    }
)
MOVED = {  # as older checkpoints have them
    **{
        f"zoo.data.{name}.load": f"zoo.data.sources.{name}.load"
        for name in ("digit_recognizer", "digits", "faces", "image_folder", "line", "npz", "torchvision_sets")
    },
}


def build(node: Mapping[str, Any] | DictConfig, *args: Any, where: str = "config", **extra: Any) -> Any:
    """Call the node's ``_target_`` with its other keys, ``args`` and ``extra``.

    Raises:
        ValueError: as `check`.
    """
    target, arguments = check(node, where=where)
    return target(*args, **arguments, **extra)


def check(node: Mapping[str, Any] | DictConfig, *, where: str = "config") -> tuple[Callable[..., Any], dict[str, Any]]:
    """The callable that a node names and its arguments, converted to the types of the signature.

    Raises:
        ValueError: a target that is not allowed, an argument it does not take, or a value of the wrong type; the
            message begins with ``where`` and the key.
    """
    plain = OmegaConf.to_container(node, resolve=True) if isinstance(node, DictConfig) else node
    values: dict[str, Any] = dict(plain)  # type: ignore[arg-type]
    name = values.pop("_target_", None)
    name = MOVED.get(name, name)
    if name not in TARGETS:
        raise ValueError(f"{where}._target_: {name!r} is not one of the targets that a config may name")
    module, _, attribute = name.rpartition(".")
    target = getattr(import_module(module), attribute)
    parameters = inspect.signature(target).parameters
    for key in values:
        if key not in parameters:
            new = renamed.message(f"{where}.{key}", parameters)
            raise ValueError(new or f"{where}.{key}: {name} takes no {key!r}; {suggest(key, list(parameters))}")
    hints = typing.get_type_hints(target.__init__ if inspect.isclass(target) else target)
    fields = [(key, _plain_type(hints.get(key, Any)), field(default=MISSING)) for key in values]
    schema = OmegaConf.structured(make_dataclass("Arguments", fields))
    try:
        typed = OmegaConf.to_container(OmegaConf.merge(schema, OmegaConf.create(values)))
    except OmegaConfBaseException as error:
        raise ValueError(f"{where}.{error.full_key}: {str(error.msg).splitlines()[0]}") from error
    return target, dict(typed)  # type: ignore[arg-type]


def check_seed(seed: int) -> None:
    """Raise ValueError where a seed is none that every generator takes."""
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed={seed}: between 0 and {2**32 - 1} is needed")


def _plain_type(hint: Any) -> Any:
    """An annotation in the words that OmegaConf checks: plain values, lists of them, both optional; else Any."""
    if hint in (int, float, bool, str):
        return hint
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, UnionType):
        kinds = [_plain_type(kind) for kind in arguments if kind is not NoneType]
        if float in kinds and all(kind in (int, float, Any) for kind in kinds):
            kinds = [float]  # such as an optimizer's "float | Tensor"
        plain = kinds[0] if len(kinds) == 1 else Any
        return Optional[plain] if NoneType in arguments and plain is not Any else plain  # noqa: UP045 - a runtime value
    if origin in (list, tuple, Sequence) and arguments and arguments[0] in (int, float, bool, str):
        return list[arguments[0]]  # type: ignore[valid-type]
    return Any
