"""Hydra's config loader, with a check of what Hydra itself would create from a config.

Hydra creates its launcher, its sweeper, its callbacks and its logging from the node ``hydra`` of the composed config.
A file of ``--config-dir`` may change that node, so without a check it could call any function. The check runs after
every composition, those of the jobs of a sweep included, and before Hydra creates anything.

Imports Hydra, so it is imported late.
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, ClassVar

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig, OmegaConf

from zoo.config import renamed, trust
from zoo.config.catalogue import suggest
from zoo.config.failed_jobs import stops_at_an_error
from zoo.config.sweep_folder import refuse_comparison, refuse_other_sweep

# The callbacks that a config may name.
CALLBACKS = ("zoo.training.sweeps.sweep.SweepTable", "hydra.experimental.callbacks.LogJobReturnCallback")
# The handlers and formatters of Python's logging that a config may name, and the only log file.
HANDLERS = ("logging.StreamHandler", "logging.NullHandler", "logging.FileHandler")
FORMATTERS = ("logging.Formatter", "colorlog.ColoredFormatter")
STREAMS = ("ext://sys.stdout", "ext://sys.stderr")
LOG_FILES = ("${hydra.runtime.output_dir}/${hydra.job.name}.log",)
# Keys with commands of a shell or variables of an environment: only the command line may set them.
COMMAND_LINE_ONLY = ("launcher.setup", "launcher.additional_parameters", "launcher.python", "job.env_set")
MODE = "hydra.mode=RUN"  # what Hydra adds to the overrides of a single run
DEBUG = re.compile(r"\+{0,2}debug=(?P<value>.*)", re.DOTALL)
# The interpolations whose value is always a string.
TEXT_INTERPOLATION = re.compile(r"\$\{(hydra[.:]|now:|oc\.env:)")


class CheckedLoader(ConfigLoaderImpl):
    """Hydra's loader, which also searches the configs of trusted packages.

    Every composed config is checked by `check_hydra` and `check_added`, and every folder of configs, before it is
    searched, by `check_search_path`.

    Class attributes:
        sweep: the folder of the sweep that was composed last; None if there was none.
    """

    sweep: ClassVar[Path | None] = None

    def __init__(self, config_search_path: ConfigSearchPath) -> None:
        # Hydra's own configs and those of its plugins are in packages, too.
        for element in config_search_path.get_path():
            if element.provider in ("main", "command-line"):
                check_search_path(element.path, "--config-path")
        # Search trusted packages last, so that none of them can replace a file of the zoo.
        for package, folder in trust.conf_folders().items():
            config_search_path.prepend(f"trusted {package}", f"file://{folder}", anchor="schema")
        super().__init__(config_search_path)
        self._first: tuple[list[str], DictConfig] | None = None

    def _process_config_searchpath(self, config_name: str | None, parsed_overrides: Any, repo: Any) -> None:
        # Hydra imports a package to search it. Refuse that before Hydra does.
        primary = None if config_name is None else repo.load_config(config_path=config_name)
        paths = []
        if primary is not None and isinstance(primary.config, DictConfig):
            paths.append(OmegaConf.select(primary.config, "hydra.searchpath"))
        paths += [each.value() for each in parsed_overrides if each.get_key_element() == "hydra.searchpath"]
        for path in paths:
            for entry in path if isinstance(path, list | ListConfig) else [path]:
                check_search_path(entry, "hydra.searchpath")
        super()._process_config_searchpath(config_name, parsed_overrides, repo)

    def load_configuration(
        self,
        config_name: str | None,
        overrides: list[str],
        run_mode: RunMode,
        from_shell: bool = True,
        validate_sweep_overrides: bool = True,
    ) -> DictConfig:
        # Hydra composes the config of a command twice: first only to read hydra.mode, without a check of the overrides
        # for sweeps, then for the run. A single run takes the first one, which halves the time of the two.
        if run_mode == RunMode.MULTIRUN and not validate_sweep_overrides:
            cfg = self._compose(config_name, overrides, RunMode.RUN, from_shell, False)
            self._first = list(overrides), cfg
            return cfg
        if run_mode == RunMode.RUN and self._first is not None:
            (first, cfg), self._first = self._first, None
            if list(overrides) in (first, [*first, MODE]):
                parsed = OverridesParser.create(config_loader=self).parse_overrides(overrides)
                self.validate_sweep_overrides_legal(parsed, run_mode, from_shell)
                if list(overrides) != first:
                    cfg.hydra.mode = RunMode.RUN
                    cfg.hydra.overrides.hydra.append(MODE)
                return cfg
        cfg = self._compose(config_name, overrides, run_mode, from_shell, validate_sweep_overrides)
        if run_mode == RunMode.MULTIRUN:
            CheckedLoader.sweep = Path(cfg.hydra.sweep.dir)
            self._check_sweep(cfg)
        return cfg

    def _compose(
        self,
        config_name: str | None,
        overrides: list[str],
        run_mode: RunMode,
        from_shell: bool,
        validate_sweep_overrides: bool,
    ) -> DictConfig:
        """Compose a config and check it."""
        overrides, debug = without_debug(config_name, overrides)
        cfg = super().load_configuration(config_name, overrides, run_mode, from_shell, validate_sweep_overrides)
        if debug is not None:
            cfg.debug = debug
        # A shape on the command line has its own height and width, whatever size an experiment sets.
        given = {override.partition("=")[0].lstrip("+") for override in overrides}
        if "dataset.shape" in given and "dataset.size" not in given and OmegaConf.select(cfg, "dataset.size"):
            cfg.dataset.size = None
        check_hydra(cfg.hydra)
        check_added(cfg)
        return cfg

    def _check_sweep(self, cfg: DictConfig) -> None:
        """Raise an error if the folder contains another sweep, or if ``compare=`` names a key without two values."""
        # Only the first process of a distributed run checks: the others may start after it has written the table. A
        # search checks its folder itself.
        if os.environ.get("LOCAL_RANK", "0") != "0" or not stops_at_an_error(cfg.hydra):
            return
        texts = [f"{key}={value}" for key, value in (cfg.hydra.sweeper.params or {}).items()]
        overrides = OverridesParser.create(config_loader=self).parse_overrides([*texts, *cfg.hydra.overrides.task])
        if any(override.key_or_group == "hparams_search" and override.is_sweep_override() for override in overrides):
            raise ValueError("hparams_search= takes one name: start one search after another")
        jobs = [job for batch in BasicSweeper.split_arguments(overrides, None) for job in batch]
        if cfg.get("compare") is not None:
            refuse_comparison(str(cfg.compare), jobs)
        refuse_other_sweep(Path(cfg.hydra.sweep.dir), jobs)


def check_search_path(path: object, key: str) -> None:
    """Raise ValueError if a folder of configs is a package (``pkg://NAME``) that is not trusted."""
    scheme, has_scheme, name = str(path).partition("://")
    if not has_scheme or scheme.lower() != "pkg":
        return
    package = name.strip("/").replace("/", ".")
    if not trust.covers(package):
        raise ValueError(f"{key}={path} would import {package}{trust.hint(package + '.conf')}")


def without_debug(command: str | None, overrides: Sequence[str]) -> tuple[list[str], bool | None]:
    """The overrides without ``debug=true`` and ``debug=false``, and the last of their values; None without any.

    For ``zoo train``, any other value names a file of conf/debug, so ``debug`` is a group there.

    Raises:
        ValueError: another value, for another command.
    """
    rest: list[str] = []
    debug: bool | None = None
    for override in overrides:
        match = DEBUG.fullmatch(override)
        if match is None:
            rest.append(override)
        elif match["value"].lower() in ("true", "false"):
            debug = match["value"].lower() == "true"
        elif command == "train":
            rest.append(override)
        else:
            raise ValueError(f"{override}: choose true or false; only zoo train has other values")
        if override.lstrip("+~").startswith("debug."):
            raise ValueError(f"{override}: debug has no keys; see zoo {command} --help")
    return rest, debug


def check_added(node: Any, key: str = "") -> None:
    """Raise ValueError if a config has a key that its schema does not have; Hydra adds such keys for ``+KEY=VALUE``.

    They would have no effect, and most are misspelled. The node ``hydra`` is not checked.
    """
    if not isinstance(node, DictConfig) or node._is_none() or node._is_missing():
        return
    # Nodes with a _target_ have no schema here: zoo.config.build checks them.
    schema = OmegaConf.get_type(node)
    known = [field.name for field in fields(schema)] if is_dataclass(schema) else None
    for name in map(str, node):
        if not key and name == "hydra":
            continue
        if known is not None and name not in known:
            raise ValueError(renamed.elsewhere(f"{key}{name}") or f"{key}{name}: no such key; {suggest(name, known)}")
        check_added(node._get_node(name), f"{key}{name}.")


def check_hydra(node: DictConfig) -> None:
    """Check the ``hydra`` node of a composed config.

    Raises:
        ValueError: it names a class or function that is not allowed, or a file sets a shell command or an
            environment variable.
    """
    content = OmegaConf.to_container(node, resolve=False)
    assert isinstance(content, dict)

    # The launcher and the sweeper must be plugins that are installed for Hydra; callbacks are listed here.
    targets = {"hydra.launcher": _plugins(Launcher), "hydra.sweeper": _plugins(Sweeper)}
    callbacks = content.get("callbacks") or {}
    if not isinstance(callbacks, Mapping):
        raise ValueError(f"hydra.callbacks={callbacks} must be a mapping")
    targets |= {f"hydra.callbacks.{name}": CALLBACKS for name in callbacks}

    # No other node may have a target, and none may get one by an interpolation.
    for key, value in _leaves(content, "hydra"):
        where, _, name = key.rpartition(".")
        if name == "_target_" and value not in targets.get(where, ()):
            raise ValueError(f"{key}={value} is not allowed: a config must not call it")
        created = key.startswith(("hydra.launcher", "hydra.sweeper", "hydra.callbacks", "hydra.job_logging"))
        if created and isinstance(value, str) and "${" in value and not _is_text(value):
            raise ValueError(f"{key}={value} is not allowed: refer to keys of hydra only")
    for name in ("job_logging", "hydra_logging"):
        _check_logging(content.get(name), f"hydra.{name}")

    # Shell commands and environment variables must come from the command line.
    given = [override.lstrip("+~") for override in content["overrides"]["hydra"]]
    for key in COMMAND_LINE_ONLY:
        section, _, name = key.partition(".")
        settings = content.get(section)
        value = settings.get(name) if isinstance(settings, Mapping) else None
        if value and not any(override.startswith(f"hydra.{key}") for override in given):
            raise ValueError(f"hydra.{key} must be given on the command line, not in a file")


def _plugins(kind: type[Any]) -> tuple[str, ...]:
    """The import paths of the plugins of one kind that are installed for Hydra."""
    return tuple(f"{plugin.__module__}.{plugin.__qualname__}" for plugin in Plugins.instance().discover(kind))


def _leaves(node: Any, key: str) -> Iterator[tuple[str, Any]]:
    """(full key, value) of every value in nested mappings and lists."""
    if isinstance(node, Mapping):
        for name, value in node.items():
            yield from _leaves(value, f"{key}.{name}")
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _leaves(value, f"{key}.{index}")
    else:
        yield key, node


def _is_text(value: str) -> bool:
    """Whether the value of every interpolation in ``value`` is a string."""
    return value.count("${") == len(TEXT_INTERPOLATION.findall(value))


def _check_logging(config: Any, where: str) -> None:
    """Raise ValueError unless a config of Python's logging creates only handlers and formatters of the lists above."""
    for key, value in _leaves(config, where):
        section = key.removeprefix(f"{where}.").partition(".")[0]
        name = key.rpartition(".")[2]
        allowed: tuple[str, ...] | None = None
        if name in ("()", "class"):
            allowed = {"handlers": HANDLERS, "formatters": FORMATTERS}.get(section, ())
        elif name == "filename":
            allowed = LOG_FILES
        elif isinstance(value, str) and value.startswith(("ext://", "cfg://")):
            allowed = STREAMS
        elif isinstance(value, str) and "${" in value and not _is_text(value):
            allowed = ()
        if allowed is not None and value not in allowed:
            raise ValueError(f"{key}={value} is not allowed: a config must not call or open it")
