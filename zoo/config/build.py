"""Build what a config names. This is the only place that does.

Every ``_target_`` is built by `build`: only if `zoo.config.targets` allows it, and only with arguments that its own
signature takes - the constructor is the schema.
"""

import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field, make_dataclass
from types import GenericAlias, NoneType, UnionType
from typing import Any, Optional, Union

from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from zoo.config import renamed, targets
from zoo.config.catalogue import suggest


def build(node: Mapping[str, Any] | DictConfig, *args: Any, where: str = "config", **extra: Any) -> Any:
    """Call the node's ``_target_`` with its other keys, ``args`` and ``extra``. Errors as `check`."""
    # Arguments of a config are keywords; those that only the program knows come beside them.
    target, arguments = check(node, where=where)
    return target(*args, **arguments, **extra)


def check(node: Mapping[str, Any] | DictConfig, *, where: str = "config") -> tuple[Callable[..., Any], dict[str, Any]]:
    """The class or function that a node names, and its arguments, converted to the types of the signature.

    Args:
        node: a ``_target_`` and its arguments by name.
        where: the node's key in the config, for messages.

    Raises:
        ValueError: a target that is not allowed, an unknown argument, or a value of the wrong type; the message starts
            with ``where`` and the key.
    """
    # The target must be on the list of those that a config may name.
    plain = OmegaConf.to_container(node, resolve=True) if isinstance(node, DictConfig) else node
    assert isinstance(plain, Mapping)
    values = {str(key): value for key, value in plain.items()}
    name = values.pop("_target_", None)
    target = targets.find(name)
    if target is None:
        raise ValueError(f"{where}._target_: {name!r} is not one of the targets that a config may name")
    parameters = inspect.signature(target).parameters
    for key in values:
        if key not in parameters:
            new = renamed.message(f"{where}.{key}", parameters)
            raise ValueError(new or f"{where}.{key}: {name} has no argument {key!r}; {suggest(key, list(parameters))}")

    # The annotations become an OmegaConf schema, which converts the values or says which one has the wrong type.
    hints = typing.get_type_hints(target.__init__ if inspect.isclass(target) else target)
    fields = [(key, _plain_type(hints.get(key, Any)), field(default=MISSING)) for key in values]
    schema = OmegaConf.structured(make_dataclass("Arguments", fields))
    try:
        typed = OmegaConf.to_container(OmegaConf.merge(schema, OmegaConf.create(values)))
    except OmegaConfBaseException as error:
        raise ValueError(f"{where}.{error.full_key}: {str(error.msg).splitlines()[0]}") from error
    # OmegaConf's containers end here: what is built gets plain values.
    assert isinstance(typed, dict)
    return target, {str(key): value for key, value in typed.items()}


def check_seed(seed: int) -> None:
    """Raise ValueError if the seed is outside [0, 2**32), which is what every generator accepts."""
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed={seed} must be in [0, {2**32 - 1}]")


def _plain_type(hint: Any) -> Any:
    """An annotation as OmegaConf can check it: a plain type, a list of one, either optional; Any for all others."""
    if hint in (int, float, bool, str):
        return hint
    origin = typing.get_origin(hint)
    arguments = typing.get_args(hint)

    # X | None is optional; of several other types, such as an optimizer's "float | Tensor", only numbers are checked.
    if origin in (Union, UnionType):
        kinds = [_plain_type(kind) for kind in arguments if kind is not NoneType]
        if float in kinds and all(kind in (int, float, Any) for kind in kinds):
            kinds = [float]
        plain = kinds[0] if len(kinds) == 1 else Any
        if NoneType in arguments and plain is not Any:
            return Optional[plain]  # noqa: UP045 - a runtime value
        return plain

    # Sequences of plain values are lists; a tuple becomes one, too.
    if origin in (list, tuple, Sequence) and arguments and arguments[0] in (int, float, bool, str):
        return GenericAlias(list, arguments[0])
    return Any
