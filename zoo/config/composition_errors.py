"""Translate the errors of Hydra and OmegaConf into one line that a user reads.

Hydra and OmegaConf are imported within the functions, because they are slow to import.
"""

import re
import sys
from typing import TYPE_CHECKING

from zoo.config import catalogue, renamed
from zoo.config.catalogue import GIVEN, suggest

if TYPE_CHECKING:
    from hydra.errors import MissingConfigException
    from omegaconf.errors import OmegaConfBaseException

# Patterns of Hydra's messages, each with the message that is printed instead; "{command}" is the command.
REWORDED = (
    (
        r"BasicSweeper does not support sweep type : INTERVAL_SWEEP",
        "interval() needs a search: add hydra/sweeper=optuna, or a file of conf/hparams_search as hparams_search=NAME",
    ),
    (
        r"Ambiguous value for argument '(?P<argument>.*?)' 1\.",
        "{argument}: several values need a sweep, zoo {command} -m; write a list as [A,B], and a string in quotes",
    ),
    (
        r"Sweep parameters '(?P<argument>.*)' requires --multirun",
        "{argument}: several values need a sweep, zoo {command} -m",
    ),
    (
        r"Could not override '(?P<key>[^']*)'\. Did you mean to override (?P<near>\S+)\?",
        "{key}: no such group; did you mean {near}=?",
    ),
    (r"Could not override '(?P<key>[^']*)'\.", "{key}: no such key or group; see zoo {command} --help"),
    (r"Could not delete from config\. '(?P<key>[^']*)'", "~{key}: '{key}' does not exist; see zoo {command} --help"),
    (
        r"(?P<key>model\.stages\.\S+\.(?P<group>optimizer|lr_schedule)): \w+ \(DictConfig\) does not support deletion",
        "~{key}: cannot be deleted; {group}@{key}=NAME chooses a file of conf/{group}",
    ),
    (
        r"(?P<key>\S+): \w+ \(DictConfig\) does not support deletion",
        "~{key}: this key cannot be deleted; set it with {key}=VALUE",
    ),
    (r".*Missing mandatory value: (?P<key>\S+)", "{key}= is required; see zoo {command} --help"),
)


def config_message(error: BaseException, command: str) -> str | None:
    """The message of an error of Hydra or OmegaConf; None for any other error.

    Args:
        error: what was raised.
        command: the command that raised it, for a reference to its help page.
    """
    # If Hydra was not imported yet, the error cannot come from it.
    return _config_message(error, command) if "hydra" in sys.modules else None


def _config_message(error: BaseException, command: str) -> str | None:
    from hydra.errors import (
        ConfigCompositionException,
        HydraException,
        MissingConfigException,
        OverrideParseException,
        SearchPathException,
    )
    from omegaconf.errors import ConfigAttributeError, ConfigKeyError, MissingMandatoryValue, OmegaConfBaseException

    from zoo.config.build import wrong_type

    # Hydra: an unknown config of a group, a syntax error, or a wrapped error of OmegaConf.
    if isinstance(error, MissingConfigException) and (error.options or "/" in (error.missing_cfg_file or "")):
        return _unknown_choice(error)
    if isinstance(error, ConfigCompositionException):
        cause = error.__cause__ or error.__context__
        if isinstance(cause, OmegaConfBaseException) and cause.full_key:
            text = _config_message(cause, command)
            # "In 'model/mine': ..." is an error in a YAML file, all others are errors in an override.
            file = re.match(r"In '([^']+)'", str(error))
            return f"{file[1]}.yaml: {text}" if file else text
        return _reworded(error, command)
    if isinstance(error, SearchPathException):
        return f"--config-dir: {_reworded(error, command)}"
    if isinstance(error, OverrideParseException):
        return f"{error.override!r} cannot be parsed: {str(error).splitlines()[0]}"
    if isinstance(error, HydraException):
        return _reworded(error, command)

    # OmegaConf: a key that does not exist, a required value that is missing, a value of the wrong type.
    if isinstance(error, (ConfigAttributeError, ConfigKeyError)):
        return _unknown_key(error)
    if isinstance(error, MissingMandatoryValue):
        return f"{error.full_key}= is required; see zoo {command} --help"
    if isinstance(error, OmegaConfBaseException):
        if error.full_key and error.msg:
            text = wrong_type(error.full_key, str(error.msg))
            return _reword(text, command) or text
        return _reworded(error, command)
    return None


def _unknown_choice(error: "MissingConfigException") -> str:
    """``model=lenet_5``: the group has no config of that name; suggest similar names."""
    # The missing file is "model/lenet_5": the group and the name.
    group, _, name = re.sub("/+", "/", error.missing_cfg_file or "").rpartition("/")
    kind = group.split("/")[-1]
    # For a list of names, as in callbacks=[A,B], Hydra does not say which there are.
    names = map(str, error.options or catalogue.choices(group))
    options = sorted(name for name in names if name != GIVEN)
    own = f"; a {kind} of your own package needs --trust PACKAGE" if kind in ("model", "dataset") else ""
    return f"{group}={name}: no such {kind}; {suggest(name, options)}{own}"


def _unknown_key(error: "OmegaConfBaseException") -> str:
    """A key that does not exist, with its new name if it was renamed, or else with similar keys."""
    # The siblings of the key are the keys of the node in which it was looked up.
    key = str(error.full_key or "")
    parent = error.parent_node
    siblings = [str(name) for name in parent] if parent is not None else []
    new = renamed.message(key, siblings) or renamed.elsewhere(key)
    if new is not None:
        return new
    # A callback, an optimizer or a net of a user may have more arguments than a config sets.
    if key.startswith("callbacks.") or _is_argument(key.rpartition(".")[2], parent):
        return f"{key}: not in the config yet; +{key}=VALUE adds it"
    if not siblings:
        return f"{key}: no such key"
    return f"{key}: no such key; {suggest(key.rpartition('.')[2], siblings)}"


def _is_argument(name: str, node: object) -> bool:
    """Whether the class or function that a node names has an argument of that name."""
    from omegaconf import DictConfig

    from zoo.config import build, targets

    target = node.get("_target_") if isinstance(node, DictConfig) else None
    try:
        found = targets.find(target)
    except ValueError:
        return False
    return found is not None and name in build.parameters_of(found)[0]


def _reworded(error: BaseException, command: str) -> str:
    """The message of the error without line breaks, replaced as `REWORDED` says."""
    text = " ".join(str(error).split())
    return _reword(text, command) or text


def _reword(text: str, command: str) -> str | None:
    """The replacement of a message by `REWORDED`; None if no pattern matches."""
    for pattern, words in REWORDED:
        match = re.match(pattern, text)
        if match:
            return words.format(command=command, **match.groupdict())
    return None
