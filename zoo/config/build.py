"""Build objects from configs. No other module does so.

`build` calls a ``_target_`` only if `zoo.config.targets` allows it, and only with arguments that its signature has: the
signature is the schema.
"""

import inspect
import re
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field, make_dataclass
from functools import partial
from types import GenericAlias, NoneType, UnionType
from typing import Any, Optional, Union

from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from zoo.config import renamed, targets, trust
from zoo.config.catalogue import suggest
from zoo.config.ranges import check_numbers

# The package that the target of a node must come from, by the last part of the node's key.
PACKAGES = {
    "net": targets.MODELS,
    "task": targets.TASKS,
    "lr_schedule": targets.SCHEDULES,
    "source": targets.SOURCES,
    "optimizer": targets.OPTIMIZERS,
    "augment": targets.AUGMENT,
    "logger": targets.LOGGERS,
    "callback": targets.CALLBACKS,
}

GROUPS = ("stage", "optimizer", "lr_schedule", "augment")  # groups of configs within a model or a dataset

# Messages of OmegaConf about a value of the wrong type, and what the value must be instead.
WRONG_TYPES = (
    (r"Value '(?P<value>.*)' of type '.*' could not be converted to Integer", "an integer"),
    (r"Value '(?P<value>.*)' of type '.*' could not be converted to Float", "a number"),
    (r"Value '(?P<value>.*)' is not a valid bool", "true or false"),
    (r"Cannot convert '.*' to string: '(?P<value>.*)'", "a string"),
)


def build(node: Mapping[str, Any] | DictConfig, *args: Any, where: str = "config", **extra: Any) -> Any:
    """Call the node's ``_target_`` with ``args``, its other keys and ``extra``.

    Raises:
        ValueError: as `check`, or a required argument is missing.
    """
    # The config gives keyword arguments; the caller may add further ones.
    target, arguments = check(node, where=where)
    if trust.is_path(arguments.get("loss")):
        arguments["loss"] = targets.find(arguments["loss"])
    # A learning-rate schedule may be a function of the optimizer and the number of steps, which are known later.
    if _kind(where) == "lr_schedule" and inspect.isfunction(target):
        return partial(target, **arguments)
    try:
        inspect.signature(target).bind(*args, **arguments, **extra)
    except TypeError as error:
        raise ValueError(f"{where}: {target.__name__}: {error}") from error
    return target(*args, **arguments, **extra)


def check(node: Mapping[str, Any] | DictConfig, *, where: str = "config") -> tuple[Callable[..., Any], dict[str, Any]]:
    """The class or function that a node names, and its arguments, converted to the types of the signature.

    Args:
        node: a ``_target_`` and its arguments by name.
        where: the node's key in the config, for messages.

    Raises:
        ValueError: a target that is not allowed or of another kind than the node, an unknown argument, or a value of
            the wrong type or out of its range (`zoo.config.ranges`); the message starts with ``where`` and the key.
    """
    # The target must be allowed, and each other key must be one of its arguments.
    plain = OmegaConf.to_container(node, resolve=True) if isinstance(node, DictConfig) else node
    if not isinstance(plain, Mapping):
        raise ValueError(f"{where}={plain} must be a mapping: a _target_ and its arguments")
    values = {str(key): value for key, value in plain.items()}
    name = values.pop("_target_", None)
    target = _allowed(name, where=where)
    kind = _kind(where)
    if trust.is_path(values.get("loss")):
        _allowed(values["loss"], where=f"{where}.loss")
    # A class or function of a trusted package may pass arguments on.
    parameters, is_open = parameters_of(target) if trust.covers(name) else (inspect.signature(target).parameters, False)
    for key in values:
        if key not in parameters and not is_open:
            new = renamed.message(f"{where}.{key}", parameters)
            raise ValueError(new or f"{where}.{key}: {name} has no argument {key!r}; {suggest(key, list(parameters))}")

    # Make an OmegaConf schema of the annotations. It converts the values, or finds the one with the wrong type.
    hints = _hints(target)
    fields = [(key, _plain_type(hints.get(key, Any), value), field(default=MISSING)) for key, value in values.items()]
    schema = OmegaConf.structured(make_dataclass("Arguments", fields))
    try:
        typed = OmegaConf.to_container(OmegaConf.merge(schema, OmegaConf.create(values)))
    except OmegaConfBaseException as error:
        reason = wrong_type(f"{where}.{error.full_key}", str(error.msg))
        # Some keys take one value or a list.
        hint = hints.get(error.full_key or "", Any)
        takes_both = _plain_type(hint, value=0) != _plain_type(hint, value=[])
        raise ValueError(reason + (", or a list" if takes_both else "")) from error
    # Pass on plain values: no container of OmegaConf goes beyond this point.
    assert isinstance(typed, dict)
    typed_values = {str(key): value for key, value in typed.items()}
    # OmegaConf accepts a list within a list of numbers.
    for key, kind_of_value, _ in fields:
        value = typed_values[key]
        if _is_list(kind_of_value) and any(isinstance(entry, list | dict) for entry in value or ()):
            raise ValueError(f"{where}.{key}={value} must be a list without lists in it")
    check_numbers(typed_values, kind=kind, where=where)
    return target, typed_values


def parameters_of(target: Callable[..., Any]) -> tuple[dict[str, inspect.Parameter], bool]:
    """The parameters of a class or function by name, and whether it takes further ones.

    If a class takes ``**kwargs``, it passes them on to its base class: the parameters of that are added.
    """
    found: dict[str, inspect.Parameter] = {}
    for function in _constructors(target):
        parameters = inspect.signature(function).parameters
        is_open = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
        named = {k: v for k, v in parameters.items() if v.kind not in (v.VAR_KEYWORD, v.VAR_POSITIONAL) and k != "self"}
        found = {**named, **found}
        if not is_open:
            return found, False
    return found, True


def _constructors(target: Callable[..., Any]) -> list[Callable[..., Any]]:
    """The function, or the constructors of a class and of its bases, in the order in which they are called."""
    if not inspect.isclass(target):
        return [target]
    return [vars(base)["__init__"] for base in target.__mro__[:-1] if "__init__" in vars(base)]


def _hints(target: Callable[..., Any]) -> dict[str, Any]:
    """The annotations of the arguments of a class or function; those of a class come before those of its bases."""
    hints: dict[str, Any] = {}
    for function in _constructors(target):
        try:
            hints = {**typing.get_type_hints(function), **hints}
        except NameError:
            continue  # a logger whose package is not installed; its constructor says so
    return hints


def _kind(where: str) -> str:
    """The kind of a node: the last part of its key, and "callback" for each entry of ``callbacks``."""
    parent, _, name = where.rpartition(".")
    return "callback" if parent == "callbacks" else name


def _allowed(name: object, *, where: str) -> Callable[..., Any]:
    """The class or function that a target names; ValueError if it is not allowed or of another kind than its node."""
    try:
        target = targets.find(name)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    kind = _kind(where)
    key = where if kind == "loss" else f"{where}._target_"
    if target is None:
        reason = "" if trust.covers(name) else trust.hint(name)
        raise ValueError(f"{key}: {name!r} is not one of the targets that a config may name{reason}")

    # A target of a trusted package must be a class or function of the kind that the node needs. A target of the zoo
    # must be in the package for that kind.
    if trust.covers(name):
        if kind in targets.OF_TRUSTED and not targets.is_of_kind(target, kind):
            base, may_be_function = targets.OF_TRUSTED[kind]
            forms = [f"a subclass of {base}"] if base else []
            forms += ["a function of the package"] if may_be_function else []
            raise ValueError(f"{key}={name} must be {' or '.join(forms)}")
        return target
    package = str(name).rpartition(".")[0]
    if kind in PACKAGES and package != PACKAGES[kind] and not (kind == "source" and package.startswith(PACKAGES[kind])):
        raise ValueError(f"{key}={name} is of another kind; name one of {PACKAGES[kind]}")
    return target


def wrong_type(key: str, text: str) -> str:
    """Reword OmegaConf's message about a value of the wrong type, such as ``epochs=two must be an integer``.

    Args:
        key: the full key.
        text: the message of OmegaConf. If it is about something else, its first line is kept, after the key.
    """
    first_line = text.partition("\n")[0]
    for pattern, kind in WRONG_TYPES:
        match = re.match(pattern, first_line)
        if match:
            return f"{key}={match['value']} must be {kind}"
    match = re.match(r"Invalid value assigned: (\w+) is not a ListConfig", first_line)
    if match:
        return f"{key} must be a list, such as {key}={'[a,b]' if match[1] == 'str' else '[1,2]'}"
    # A text in place of a mapping is often the name of a config of a group.
    if re.match(
        r"Cannot (assign \w+ to Dict|merge DictConfig with ListConfig)|Invalid type assigned: \w+ is not a subclass of",
        first_line,
    ):
        parent, _, name = key.rpartition(".")
        group = "stage" if parent == "model.stages" else name
        hint = f"; {group}@{key}=NAME chooses a file of conf/{group}" if group in GROUPS else ""
        return f"{key} must be a mapping{hint}"
    # The message for null does not give the type.
    if re.match(r"field '.*' is not Optional|Incompatible value 'None'", first_line):
        return f"{key}=null is not allowed; give a value"
    return f"{key}: {first_line}"


def check_seed(seed: int) -> None:
    """Raise ValueError if the seed is outside [0, 2**32), the range that all random number generators accept."""
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed={seed} must be in [0, {2**32 - 1}]")


def _plain_type(hint: Any, value: Any) -> Any:
    """Turn an annotation into one that OmegaConf can check: a plain type or a list of one, each possibly optional.

    Args:
        hint: the annotation.
        value: the value that will be checked; of "int | Sequence[int]", it decides which of the two is meant.

    Returns:
        The type; Any if the annotation says something that OmegaConf cannot check.
    """
    if hint in (int, float, bool, str):
        return hint
    origin = typing.get_origin(hint)
    arguments = typing.get_args(hint)

    # Of a union, only the lists apply to a list, and only the others to any other value. What is left is checked if it
    # is one type, or as a float if float is one of them and the others are int or become Any, such as an optimizer's
    # "float | Tensor"; otherwise it becomes Any. X | None is optional.
    if origin in (Union, UnionType):
        kinds = [_plain_type(kind, value) for kind in arguments if kind is not NoneType]
        if any(_is_list(kind) for kind in kinds):
            kinds = [kind for kind in kinds if kind is Any or _is_list(kind) == isinstance(value, list | tuple)]
        if float in kinds and all(kind in (int, float, Any) for kind in kinds):
            kinds = [float]
        plain = kinds[0] if len(kinds) == 1 else Any
        if NoneType in arguments and plain is not Any:
            return Optional[plain]  # noqa: UP045 - a runtime value
        return plain

    # Sequences of plain values, tuples included, are checked as lists.
    if origin in (list, tuple, Sequence) and arguments and arguments[0] in (int, float, bool, str):
        return GenericAlias(list, arguments[0])
    return Any


def _is_list(kind: Any) -> bool:
    """Whether a plain type is a list of some type."""
    return typing.get_origin(kind) is list
