"""The words with which a command line may continue, for the completion of shells.

Everything is read from the YAML files of ``conf/``, without Hydra, so that an answer takes a fraction of a second.
Keys are completed one level at a time: ``model.`` first, then ``model.net.``.
"""

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from zoo.cli import arguments as grammar
from zoo.cli.commands import COMMANDS, SPLITS
from zoo.cli.help import NESTED_GROUPS, read_page
from zoo.config import trust
from zoo.config.catalogue import choices, fields, list_checkpoints, list_models, model_config, tree
from zoo.config.overrides import CHOICES, FLAGS

SCHEMAS = {"dataset": "Dataset", "trainer": "Trainer", "accelerator": "Accelerator"}  # classes with further keys
# The keys of Hydra that users of the zoo set; Hydra itself has hundreds.
HYDRA = {
    "run": {"dir": None},
    "sweep": {"dir": None, "subdir": None},
    "launcher": {"n_jobs": None},
    "sweeper": {"n_trials": None, "n_jobs": None},
}
PLAIN = re.compile(r"[\w.@%+=:,^-]+")  # names of files that need no quotes in any shell
NOT_SET = ("_target_", "about", "claim")  # keys that users do not set
OPTIONS = {
    "list": ("--json",),
    "show": ("--json",),
    "reproduce": ("all", "--train"),
    "completion": ("bash", "zsh", "fish"),
}


class Candidate(NamedTuple):
    """A whole word that the line may end with, and a phrase about it."""

    word: str
    description: str = ""


def candidates(line: str) -> list[Candidate]:
    """The words that may replace the last word of a line.

    Args:
        line: the command line up to the cursor, such as ``zoo train model=le``. After a space, the last word is empty.
    """
    # Split the line as a shell does. The packages that it trusts may have models of their own.
    words = _split(line)
    current = words.pop() if words else ""
    if words and words[-1] == grammar.TRUST:
        return []
    with suppress(ValueError):
        words, packages = grammar.without_trust(words)
        trust.trust_in_process(packages)
    given = words[1:]

    # The command, or the arguments of one.
    if not given:
        found = [Candidate(name, command.summary) for name, command in COMMANDS.items()]
        found += [Candidate(flag) for flag in ("--help", "--version", grammar.TRUST)]
    elif given[0] == "help":
        found = [Candidate(name, command.summary) for name, command in COMMANDS.items()] if len(given) == 1 else []
    elif given[0] not in COMMANDS:
        found = []
    elif COMMANDS[given[0]].composed:
        found = _overrides(given[0], given[1:], current)
    else:
        found = _plain(given[0], given[1:], current)
    return [candidate for candidate in found if candidate.word.startswith(current)]


def _split(line: str) -> list[str]:
    """The words of a line; the last one is what is being typed, "" after a space."""
    try:
        words = shlex.split(line)
    except ValueError:  # a quotation mark that is still open
        words = line.split()
    return [*words, ""] if line[-1:].isspace() else words


def _plain(command: str, given: Sequence[str], current: str) -> list[Candidate]:
    """The arguments of a command that takes a name and flags."""
    found = [Candidate(option) for option in (*OPTIONS.get(command, ()), "--help") if option not in given]
    if command in ("list", "show") and not [word for word in given if not word.startswith("-")]:
        found += _models()
    if command in ("list", "show", "reproduce"):
        found += map(Candidate, list_checkpoints())
    if command == "show" and not given:
        found += _paths("", current)
    return found


def _overrides(command: str, given: Sequence[str], current: str) -> list[Candidate]:
    """The flags, keys and values of a command with a config."""
    # A flag, or the value of one.
    previous = given[-1] if given else ""
    if FLAGS.get(previous, False):
        return [Candidate(choice) for choice in CHOICES[previous]] if previous in CHOICES else _paths("", current)
    if current.startswith("-"):
        return [Candidate(flag) for flag in ("--help", grammar.TRUST, *FLAGS) if len(flag) > 3 or flag == "-m"]

    # KEY=VALUE. In a sweep, the value may be a list: only its last element is completed.
    key, has_value, value = current.partition("=")
    name = key.lstrip("+")
    if has_value:
        start = value[: value.rfind(",") + 1]
        prefix = f"{key}={start}"
        return _values(command, given, name, prefix, value.removeprefix(start))

    # KEY=, where keys below another one end in a dot. ~KEY removes a key.
    sign = current[: len(current) - len(current.lstrip("+~"))]
    ending = "" if sign == "~" else "="
    return [Candidate(f"{sign}{word}", text) for word, text in _keys(command, given, current.lstrip("+~"), ending)]


def _keys(command: str, given: Sequence[str], current: str, ending: str) -> Iterable[tuple[str, str]]:
    """The keys of the level at which ``current`` stands, with their descriptions."""
    page = read_page(command)
    nodes = _nodes(command, given)
    described = {key.name: key.description for key in (*page.groups, *page.keys)}
    # The level below the last dot.
    above, dot, _ = current.rpartition(".")
    node: Any = nodes
    for part in above.split(".") if dot else ():
        node = node.get(part) if isinstance(node, Mapping) else None
    for name, value in node.items() if isinstance(node, Mapping) else ():
        if name in NOT_SET:
            continue
        text = "" if dot else described.get(name, "")
        if isinstance(value, Mapping) and value:
            yield f"{above}{dot}{name}.", text
        # A group at the top can be chosen, and has keys as well.
        if not (isinstance(value, Mapping) and value) or (not dot and choices(name)):
            yield f"{above}{dot}{name}{ending}", text

    # The groups inside a model or a dataset.
    if "model" in nodes:
        for nested in NESTED_GROUPS.values():
            stages = nodes["model"].get("stages", {}) if "STAGE" in nested else {"": None}
            for stage in stages:
                yield nested.replace("STAGE", stage) + ending, ""


def _values(command: str, given: Sequence[str], key: str, prefix: str, value: str) -> list[Candidate]:
    """The values of a key: names of a group, checkpoints, true and false, or paths."""
    page = read_page(command)
    group = key.partition("@")[0]
    if group in {entry.name for entry in page.groups} or group in NESTED_GROUPS:
        if group == "model":
            return [Candidate(prefix + model.word, model.description) for model in _models()]
        return [Candidate(prefix + name) for name in choices(group)]
    if key in ("hydra/launcher", "hydra/sweeper"):
        return []

    # Look the default up in the config.
    node: Any = _nodes(command, given)
    for part in key.split("."):
        node = node.get(part) if isinstance(node, Mapping) else None
    if isinstance(node, bool):
        return [Candidate(prefix + choice) for choice in ("true", "false")]
    if key == "split":
        return [Candidate(prefix + split) for split in SPLITS]
    names = list_checkpoints() if key in ("checkpoint", "weights") else []
    return [*(Candidate(prefix + name) for name in names), *_paths(prefix, value)]


def _nodes(command: str, given: Sequence[str]) -> dict[str, Any]:
    """The keys of a command's config with their defaults, as nested mappings, for the model and so on in ``given``."""
    # Which file of each group: the default, that of the recipe, or that of the line.
    page = read_page(command)
    chosen = {group.name: group.default for group in page.groups}
    picked = dict(word.partition("=")[::2] for word in given if "=" in word)
    recipe = picked.get("experiment", "null")
    chosen |= {name: file for name, file in tree("experiment", recipe).pop("override", {}).items() if name in chosen}
    chosen |= {name: file for name, file in picked.items() if name in chosen}

    # The keys of the YAML files, and those that only a schema has.
    nodes: dict[str, Any] = {}
    for group, name in chosen.items():
        if group in ("experiment", "hparams_search", "debug"):
            nodes[group] = None
            continue
        keys = dict.fromkeys(fields(SCHEMAS[group])) if group in SCHEMAS else {}
        nodes[group] = {**keys, **tree(group, name.partition(",")[0])}
    if "model" in nodes:
        for stage in nodes["model"].get("stages", {}).values():
            for key in fields("Stage"):
                stage.setdefault(key)
    booleans = {"true": True, "false": False}
    nodes |= {entry.name: booleans.get(entry.default) for entry in page.keys}
    return {**nodes, "hydra": HYDRA}


def _models() -> list[Candidate]:
    """All models with their titles."""
    return [Candidate(name, str(model_config(name).get("about", {}).get("title", ""))) for name in list_models()]


def _paths(prefix: str, value: str) -> list[Candidate]:
    """The files and folders whose paths begin with ``value``, without hidden ones; folders end in a slash.

    Names that a shell would have to quote are left out: in the line, ``$(command).png`` would run the command.
    """
    folder, slash, name = value.rpartition("/")
    found = []
    with suppress(OSError, RuntimeError):  # RuntimeError: the home of an unknown user
        start = Path(folder + slash).expanduser() if slash else Path()
        for path in sorted(start.iterdir()):
            is_shown = name.startswith(".") or not path.name.startswith(".")
            if path.name.startswith(name) and is_shown and PLAIN.fullmatch(path.name):
                found.append(Candidate(f"{prefix}{folder}{slash}{path.name}{'/' if path.is_dir() else ''}"))
    return found
