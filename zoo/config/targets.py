"""The ``_target_``s that a config may instantiate, and the class names that stand for them in checkpoints.

The allowed targets are derived from what the packages export. So a new model or dataset needs one Python file and one
YAML file; a new task also needs a line in ``__all__`` of ``zoo/tasks/__init__.py``. Only the public name of a target is
allowed: ``zoo.models.MLP``, not ``zoo.models.mlp.MLP``. Of packages that the user trusts (`zoo.config.trust`), every
class and function of a fitting kind is allowed. Everything else is refused without being imported.

This module imports nothing of the zoo when it is loaded, because `zoo list` must not import torch. Each package is
imported by name when one of its targets is looked up.
"""

import inspect
import pkgutil
from collections.abc import Callable
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any, Literal

from zoo.config import trust

MODELS = "zoo.models"
TASKS = "zoo.tasks"
SCHEDULES = "zoo.tasks.optimization"
SOURCES = "zoo.data.sources"

AUGMENT = "zoo.data.augment"
OPTIMIZERS = "torch.optim"
LOGGERS = "lightning.pytorch.loggers"
CALLBACKS = "lightning.pytorch.callbacks"

# Packages of which only these names are allowed.
FIXED = {AUGMENT: ("Augment",)}

# Packages of which all classes with this base are allowed, and the exceptions.
BASES = {OPTIMIZERS: "Optimizer", LOGGERS: "Logger", CALLBACKS: "Callback"}
EXCEPTIONS = (
    "SparseAdam",  # needs sparse gradients, which no net here has
    # Base classes.
    "BaseFinetuning",
    "BasePredictionWriter",
    "Checkpoint",
    "ProgressBar",
    # Their arguments are functions, which a config cannot give.
    "LambdaCallback",
    "ThroughputMonitor",
)

# For each kind of node in a config: the base of the classes of a trusted package that it may name, and whether it may
# also name a function.
OF_TRUSTED: dict[str, tuple[str | None, bool]] = {
    "net": ("torch.nn.Module", False),
    "task": ("zoo.tasks.task.Task", False),
    "source": (None, True),
    "augment": ("zoo.data.augment.Augment", False),
    "loss": ("torch.nn.Module", True),
    "optimizer": ("torch.optim.Optimizer", True),
    "lr_schedule": ("object", True),
    "callback": ("lightning.pytorch.callbacks.Callback", False),
    "logger": ("lightning.pytorch.loggers.Logger", False),
}

# For each kind of class name in a checkpoint, the form of its target; "{}" stands for the name.
Kind = Literal["model", "task", "source", "augment"]
HOMES: dict[Kind, str] = {
    "model": "zoo.models.{}",
    "task": "zoo.tasks.{}",
    "source": "zoo.data.sources.{}.load",
    "augment": "zoo.data.augment.{}",
}


def find(target: object) -> Callable[..., Any] | None:
    """The class or function that a ``_target_`` names; None if it is not allowed."""
    if not isinstance(target, str):
        return None
    if trust.is_path(target) and trust.covers(target):
        found = trust.find(target)
        return found if any(is_of_kind(found, kind) for kind in OF_TRUSTED) else None
    package, _, name = target.rpartition(".")
    # A package that is not allowed is not imported, because an import runs code.
    return exported(package).get(name)


def is_of_kind(value: object, kind: str) -> bool:
    """Whether a class or function of a trusted package may be the target of a node of a kind in `OF_TRUSTED`.

    A function must be defined in a trusted package: one that it only imports, such as ``torch.load``, is refused.
    """
    base, may_be_function = OF_TRUSTED[kind]
    if inspect.isclass(value):
        if base is None:
            return False
        if base == "object":
            return trust.covers(value.__module__)
        module_name, _, name = base.rpartition(".")
        return issubclass(value, vars(import_module(module_name))[name])
    return may_be_function and inspect.isfunction(value) and trust.covers(value.__module__)


def allowed() -> frozenset[str]:
    """All allowed targets. Imports every package that has one, torch and Lightning included."""
    sources = [f"{SOURCES}.{name}" for name in source_names()]
    packages = [MODELS, TASKS, SCHEDULES, *sources, *FIXED, *BASES]
    return frozenset(f"{package}.{name}" for package in packages for name in exported(package))


def exported(package: str) -> dict[str, Callable[..., Any]]:
    """The allowed classes and functions of one package, by name; an empty dict for a package without any."""
    # Nets: every `nn.Module` class that zoo.models exports.
    if package == MODELS:
        from torch import nn

        return {name: value for name, value in _public(package).items() if _is_class(value, nn.Module)}

    # Tasks: every `LightningModule` class that zoo.tasks exports.
    if package == TASKS:
        from lightning.pytorch import LightningModule

        return {name: value for name, value in _public(package).items() if _is_class(value, LightningModule)}

    # Learning-rate schedules: every class or function in `__all__`.
    if package == SCHEDULES:
        return {name: value for name, value in _public(package).items() if callable(value)}

    # Datasets: the function `load` of every module in zoo/data/sources.
    parent, _, module_name = package.rpartition(".")
    if parent == SOURCES and module_name in source_names():
        load = vars(import_module(package)).get("load")
        return {"load": load} if load is not None else {}

    # Optimizers of PyTorch, loggers and callbacks of Lightning: every exported class with the base, but not the base.
    if package in BASES:
        public = _public(package)
        base = public[BASES[package]]
        classes = {name: value for name, value in public.items() if _is_class(value, base) and value is not base}
        return {name: value for name, value in classes.items() if name not in EXCEPTIONS}

    # The targets of other packages are listed by name.
    module = import_module(package) if package in FIXED else None
    return {name: getattr(module, name) for name in FIXED.get(package, ())}


@cache
def source_names() -> tuple[str, ...]:
    """The names of the modules of ``zoo/data/sources``, one per dataset. None of them is imported."""
    folder = import_module(SOURCES).__path__
    return tuple(sorted(module.name for module in pkgutil.iter_modules(folder)))


def class_name(target: object, kind: Kind) -> str:
    """The name of a target in a checkpoint: ``zoo.models.LeNet5`` is "LeNet5", ``zoo.data.sources.digits.load``
    "digits". A target of a trusted package has its import path, such as "my_package.Net".

    Nothing is imported; the class need not exist.

    Raises:
        ValueError: the target neither has the form that its kind has in `HOMES`, nor belongs to a trusted package.
    """
    if trust.is_path(target) and trust.covers(target):
        return str(target)
    before, _, after = HOMES[kind].partition("{}")
    name = str(target).removeprefix(before).removesuffix(after)
    if not name.isidentifier() or HOMES[kind].format(name) != target:
        raise ValueError(f"{target!r} is not the _target_ of a {kind}, such as {HOMES[kind].format('NAME')}")
    return name


def target_of(name: object, kind: Kind) -> str:
    """The target of a name in a checkpoint, the inverse of `class_name`. Use `find` to check that it is allowed.

    Raises:
        ValueError: the name is neither a Python identifier nor the import path of an object outside the zoo.
    """
    if trust.is_path(name) and not str(name).startswith("zoo."):
        return str(name)
    if not isinstance(name, str) or not name.isidentifier():
        raise ValueError(f"{name!r} is not the name of a {kind}")
    return HOMES[kind].format(name)


def _public(package: str) -> dict[str, Any]:
    """The names in a package's ``__all__`` with their values; an empty dict without ``__all__``."""
    module: ModuleType = import_module(package)
    names: list[str] = vars(module).get("__all__", [])
    return {name: getattr(module, name) for name in names}


def _is_class(value: object, base: type) -> bool:
    return inspect.isclass(value) and issubclass(value, base)
