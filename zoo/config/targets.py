"""What a config may build: the allowed ``_target_``s, and the class names that stand for them in checkpoints.

The list is derived from what the packages export, so that a new model, task or dataset is one Python file (and one line
of ``__all__``) and one YAML. A target is allowed under one name only, the public one: ``zoo.models.MLP`` is,
``zoo.models.mlp.MLP`` is not. Everything else is refused before it is imported.

Imports of the zoo: none when this module is loaded. `config` stands below `tasks` and beside `models` and `data`, and
`zoo list` must not wait for torch. So each package is imported by name, when a target in it is asked for.
"""

import inspect
import pkgutil
from collections.abc import Callable
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any, Literal

MODELS = "zoo.models"
TASKS = "zoo.tasks"
SCHEDULES = "zoo.tasks.optimization"
SOURCES = "zoo.data.sources"

# Packages of which only these names are allowed: what else they export is not for configs.
FIXED = {
    "zoo.data.augment": ("Augment",),
    "torch.optim": ("SGD", "Adam", "AdamW"),
    "lightning.pytorch.loggers": ("TensorBoardLogger", "MLFlowLogger", "WandbLogger"),
}

# Where the classes live that a checkpoint names. "{}" stands for the name.
Kind = Literal["model", "task", "source", "augment"]
HOMES: dict[Kind, str] = {
    "model": "zoo.models.{}",
    "task": "zoo.tasks.{}",
    "source": "zoo.data.sources.{}.load",
    "augment": "zoo.data.augment.{}",
}


def find(target: object) -> Callable[..., Any] | None:
    """The class or function that a ``_target_`` names; None where it is not allowed, whatever its type."""
    if not isinstance(target, str):
        return None
    package, _, name = target.rpartition(".")
    # Nothing is imported for a package that is not on the list: an import runs code.
    return exported(package).get(name)


def allowed() -> frozenset[str]:
    """All allowed targets. Imports torch, Lightning and everything else that they need."""
    sources = [f"{SOURCES}.{name}" for name in source_names()]
    packages = [MODELS, TASKS, SCHEDULES, *sources, *FIXED]
    return frozenset(f"{package}.{name}" for package in packages for name in exported(package))


def exported(package: str) -> dict[str, Callable[..., Any]]:
    """The allowed classes and functions of one package, by name; none of a package that is not listed here."""
    # Nets: every `nn.Module` class that zoo.models exports.
    if package == MODELS:
        from torch import nn

        return {name: value for name, value in _public(package).items() if _is_class(value, nn.Module)}

    # Tasks: every `LightningModule` class that zoo.tasks exports.
    if package == TASKS:
        from lightning.pytorch import LightningModule

        return {name: value for name, value in _public(package).items() if _is_class(value, LightningModule)}

    # Learning-rate schedules: every class or function that says so by standing in `__all__`.
    if package == SCHEDULES:
        return {name: value for name, value in _public(package).items() if callable(value)}

    # Datasets: the function `load` of every module in zoo/data/sources.
    parent, _, module_name = package.rpartition(".")
    if parent == SOURCES and module_name in source_names():
        load = vars(import_module(package)).get("load")
        return {"load": load} if load is not None else {}

    # Everything else is listed by name.
    module = import_module(package) if package in FIXED else None
    return {name: getattr(module, name) for name in FIXED.get(package, ())}


@cache
def source_names() -> tuple[str, ...]:
    """The modules of ``zoo/data/sources``, each of which is a dataset; none of them is imported."""
    folder = import_module(SOURCES).__path__
    return tuple(sorted(module.name for module in pkgutil.iter_modules(folder)))


def class_name(target: object, kind: Kind) -> str:
    """The short name of a target: ``zoo.models.LeNet5`` is "LeNet5", ``zoo.data.sources.digits.load`` is "digits".

    Nothing is imported, and no such class need exist.

    Raises:
        ValueError: the target does not have the form that its kind has in `HOMES`.
    """
    before, _, after = HOMES[kind].partition("{}")
    name = str(target).removeprefix(before).removesuffix(after)
    if not name.isidentifier() or HOMES[kind].format(name) != target:
        raise ValueError(f"{target!r} is not the _target_ of a {kind}, such as {HOMES[kind].format('NAME')}")
    return name


def target_of(name: object, kind: Kind) -> str:
    """The target of a short name: the inverse of `class_name`. Whether it is allowed, `find` says.

    Raises:
        ValueError: the name is not a plain identifier, so it could lead elsewhere.
    """
    if not isinstance(name, str) or not name.isidentifier():
        raise ValueError(f"{name!r} is not the name of a {kind}")
    return HOMES[kind].format(name)


def _public(package: str) -> dict[str, Any]:
    """The names in a package's ``__all__`` with their values; none where it has no ``__all__``."""
    module: ModuleType = import_module(package)
    names: list[str] = vars(module).get("__all__", [])
    return {name: getattr(module, name) for name in names}


def _is_class(value: object, base: type) -> bool:
    return inspect.isclass(value) and issubclass(value, base)
