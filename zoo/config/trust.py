"""The packages of users whose code a config may name, besides that of the zoo. Only the user can trust a package.

A package is trusted if it is

- installed and declares the entry point group ``reference_zoo``,
- named by ``--trust PACKAGE`` or in the environment variable ``ZOO_TRUST`` (names separated by commas), or
- passed to `trust`, which is `zoo.trust`.

No file grants trust. A package is imported when a config names one of its classes or functions, never to find it.
This module imports the standard library only.
"""

import importlib.util
import os
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from functools import cache
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

VARIABLE = "ZOO_TRUST"
GROUP = "reference_zoo"  # of entry points; the value of each is the name of a package
NOT_OF_USERS = ("zoo", "torch", "lightning", "hydra", "omegaconf", *sys.stdlib_module_names)  # get no hint

_granted: list[str] = []  # by calls of `trust`


def trust(package: str) -> None:
    """Trust a package, so that configs and checkpoints may name its nets, tasks, datasets, losses and so on.

    It lasts until the process ends. Importing a package runs its code, so trust only packages that you would import.

    Args:
        package: name of a package or module that can be imported, such as "my_package".

    Raises:
        ValueError: it is not the name of a package, or there is no such package.
    """
    check_name(package)
    if not _exists(package):
        raise ValueError(f"no package {package!r} to trust: it is neither installed nor in sys.path")
    if package not in _granted:
        _granted.append(package)


def trust_in_process(packages: Sequence[str]) -> None:
    """Trust packages in a process of the command line, and in the processes that it starts.

    A package that is not installed is searched in the working directory: only then can modules be imported from there.

    Args:
        packages: those of ``--trust``; those of ``ZOO_TRUST`` are added.

    Raises:
        ValueError: a name is not that of a package, or there is no such package.
    """
    for package in packages:
        check_name(package)
    wanted = [*packages, *_from_variable()]
    if not wanted:
        return

    # Put the working directory last, so that no file in it replaces an installed package.
    here = str(Path.cwd())
    if here not in sys.path and any(not _exists(package) and _exists(package, here) for package in wanted):
        sys.path.append(here)
    for package in packages:
        if not _exists(package):
            raise ValueError(f"--trust {package}: no such package, neither installed nor in the working directory")
    # Child processes inherit the environment: the jobs of a sweep, and the processes of a distributed run.
    if packages:
        os.environ[VARIABLE] = ",".join(dict.fromkeys([*_from_variable(), *packages]))


def given() -> tuple[str, ...]:
    """The packages that were trusted by name, without those that declare the entry point."""
    return tuple(dict.fromkeys([*_granted, *_from_variable()]))


def packages() -> tuple[str, ...]:
    """All trusted packages."""
    return tuple(dict.fromkeys([*given(), *_from_entry_points()]))


def covers(name: object) -> bool:
    """Whether the full name of a module, class or function belongs to a trusted package."""
    return isinstance(name, str) and any(name == package or name.startswith(f"{package}.") for package in packages())


def find(target: str) -> Any:
    """Import what a target of a trusted package names, such as ``my_package.nets.Net``.

    Raises:
        ValueError: its module cannot be imported, or has no such name.
    """
    module_name, _, name = target.rpartition(".")
    try:
        module = import_module(module_name)
    except (Exception, SystemExit) as error:  # importing runs the code of the package, which may raise anything
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise ValueError(f"{target}: {module_name} cannot be imported ({reason})") from error
    found = getattr(module, name, None)
    if found is None:
        near = get_close_matches(name, dir(module), n=1)
        hint = f"; did you mean {module_name}.{near[0]}?" if near else ""
        raise ValueError(f"{target}: {module_name} has no {name!r}{hint}")
    return found


def hint(target: object) -> str:
    """How to trust the package of a target, as the end of a message; empty if it cannot be one of the user's own."""
    package = str(target).partition(".")[0]
    if not is_path(target) or package in NOT_OF_USERS:
        return ""
    return (
        f"; {package} is not a trusted package: if you trust its code, add --trust {package}, "
        f'set {VARIABLE}={package}, or call zoo.trust("{package}")'
    )


def conf_folders() -> dict[str, Path]:
    """The folder ``conf`` of each trusted package that has one, by package. Nothing is imported."""
    found = {}
    for package in packages():
        top, *inner = package.split(".")
        spec = _spec(top)
        for location in (spec.submodule_search_locations or []) if spec else []:
            folder = Path(location, *inner, "conf")
            if folder.is_dir():
                found[package] = folder
    return found


def is_path(name: object) -> bool:
    """Whether a text has the form of an import path: two or more names with dots between them."""
    return isinstance(name, str) and "." in name and all(part.isidentifier() for part in name.split("."))


def check_name(package: str, where: str = "--trust") -> None:
    """Raise ValueError unless a text can be the name of a package that is not part of Python or of the zoo."""
    if not isinstance(package, str) or not all(part.isidentifier() for part in package.split(".")):
        raise ValueError(f"{where} {package!r}: not the name of a package, such as my_package")
    if package.partition(".")[0] in ("zoo", *sys.stdlib_module_names):
        raise ValueError(f"{where} {package}: part of the zoo or of Python itself, not a package of yours")


def _from_variable() -> list[str]:
    """The packages of ``ZOO_TRUST``. They need not exist here: the variable may be set for all folders."""
    named = [name.strip() for name in os.environ.get(VARIABLE, "").split(",") if name.strip()]
    for package in named:
        check_name(package, f"{VARIABLE}:")
    return named


@cache
def _from_entry_points() -> tuple[str, ...]:
    """The installed packages that declare the entry point group."""
    return tuple(sorted({entry.module for entry in metadata.entry_points(group=GROUP)}))


def _exists(package: str, folder: str | None = None) -> bool:
    """Whether the top package can be imported, or lies in a folder. Nothing is imported."""
    top = package.partition(".")[0]
    if folder is not None:
        return Path(folder, top).is_dir() or Path(folder, f"{top}.py").is_file()
    return top in sys.modules or _spec(top) is not None


def _spec(top: str) -> Any:
    """The `ModuleSpec` of a package without dots; None if there is none."""
    try:
        return importlib.util.find_spec(top)
    except (ImportError, ValueError):  # such as the module __main__, which has none
        return None
