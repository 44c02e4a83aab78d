"""The help pages: ``zoo --help``, ``zoo COMMAND --help`` and ``zoo --version``.

The keys of a command and their descriptions are read from the comments in ``conf/COMMAND.yaml``, so that they are
written only once. This module only reads text: it imports neither torch nor hydra.
"""

import platform
import re
import textwrap
from collections.abc import Iterable, Sequence
from importlib import metadata
from typing import NamedTuple

from zoo import __version__
from zoo.cli.commands import COMMANDS, Command
from zoo.config.catalogue import CONF, choices

WIDTH = 80  # width of a help page in columns
LEFT = 24  # maximum width of the names on the left; a longer name gets a separate line

# Groups inside another config: folder in conf/ -> the key to write before =NAME.
NESTED_GROUPS = {
    "stage": "stage@model.stages.STAGE",
    "optimizer": "optimizer@model.stages.STAGE.optimizer",
    "lr_schedule": "lr_schedule@model.stages.STAGE.lr_schedule",
    "augment": "augment@dataset.augment",
}
FLAGS = (
    ("--cfg job", "print the composed config instead of running"),
    ("--trust PACKAGE", "allow configs and checkpoints to use the code of a package of yours"),
    ("--config-dir FOLDER", "also search FOLDER for configs, such as FOLDER/model/NAME.yaml"),
    ("--hydra-help", "print all flags of Hydra"),
)
# Shown only for commands with models (zoo train), because a sweep of any other command is of no use.
SWEEP_FLAG = ("-m", "sweep: run every combination of comma-separated values")
# A key of a config with its default, or a group of the defaults list with its choice; either may have a comment.
_LINE = re.compile(r"(?P<indent>\s*(?:- )?)(?P<name>[a-z_]\w*):\s*(?P<value>.*?)(?:\s+#\s*(?P<comment>.*))?$")


class Key(NamedTuple):
    """A key of a command's config."""

    name: str
    default: str  # as in the YAML; "???" if a value is required
    description: str


class Page(NamedTuple):
    """The contents of a command's YAML that its help page shows."""

    description: str
    groups: list[Key]
    keys: list[Key]


def version() -> str:
    """The versions of zoo, torch and Python, for bug reports."""
    return f"zoo {__version__} (torch {metadata.version('torch')}, Python {platform.python_version()})\n"


def overview() -> str:
    """The page of ``zoo --help``: every command with its summary."""
    parts = [
        "zoo: classic deep-learning models in PyTorch, from the command line\n",
        "Usage: zoo COMMAND [ARGUMENT ...]\n",
        "Commands:",
        *_columns((name, command.summary) for name, command in COMMANDS.items()),
        "",
        "zoo COMMAND --help   the keys of a command, with examples",
        "zoo --version        the version",
    ]
    return "\n".join(parts) + "\n"


def command_page(name: str) -> str:
    """The page of ``zoo NAME --help``."""
    command = COMMANDS[name]
    # The usage and the summary.
    lines = [*_wrapped(f"Usage: zoo {name} {command.usage}", indent="  "), ""]
    summary = _sentence(command.summary)
    lines += _wrapped(summary)

    # For a command with a config: the description, the groups and the keys of its YAML.
    if command.composed:
        page = read_page(name)
        description = page.description.removeprefix(summary).strip()
        if description:
            lines += ["", *_wrapped(description)]
        lines += _groups(page.groups)
        lines += ["", "Keys (KEY=VALUE, with the default):"]
        lines += _columns((_assignment(key), _described(key)) for key in page.keys)
        flags = (*FLAGS, SWEEP_FLAG) if _has_model(page.groups) else FLAGS
        lines += ["", "Flags:", *_columns(flags)]

    for note in command.notes:
        lines += ["", *_wrapped(note)]
    return "\n".join([*lines, *_examples(name, command)]) + "\n"


def read_page(name: str) -> Page:
    """Read ``conf/NAME.yaml``: its opening comment, its groups and its keys, each with the comment beside it.

    A comment beside a key describes it; so does a whole-line comment above it, or an indented comment below it. An
    indented comment within ``defaults`` is for readers of the YAML and is not shown.
    """
    header: list[str] = []
    groups: list[Key] = []
    keys: list[Key] = []
    above: list[str] = []
    section = ""
    for line in (CONF / f"{name}.yaml").read_text(encoding="utf-8").splitlines():
        text = line.strip()
        # Lines without a key: blank ones, and comments.
        if not text:
            above = []
        elif text.startswith("#"):
            comment = text.lstrip("# ")
            if not section:
                header.append(comment)
            elif line[0] == "#":
                above.append(comment)
            elif keys:
                keys[-1] = keys[-1]._replace(description=f"{keys[-1].description} {comment}".strip())
        # Lines with a key: in the defaults list, at the top level of the config, or below another key.
        elif match := _LINE.match(line):
            key = Key(match["name"], match["value"], match["comment"] or " ".join(above))
            above = []
            if not match["indent"]:
                section = key.name
                if section not in ("defaults", "hydra"):
                    keys.append(key)
            elif section == "defaults":
                groups.append(key)

    # The first line of the header repeats the usage.
    description = " ".join(part for part in header if not part.startswith("zoo "))
    return Page(description.strip(), groups, keys)


def _groups(groups: Sequence[Key]) -> list[str]:
    """The paragraph about groups; for a command with models, also those inside a model or a dataset."""
    # The groups of the defaults list, with the names of all their configs.
    rows: list[tuple[str, str]] = []
    for group in groups:
        names = ", ".join(choices(group.name))
        rows.append((_assignment(group), f"{names} ({group.description})" if group.description else names))
    # The groups inside a model or a dataset, if they exist.
    if _has_model(groups):
        for group_name, key in NESTED_GROUPS.items():
            if choices(group_name):
                rows.append((f"{key}=", ", ".join(choices(group_name))))
    return ["", "Groups (GROUP=NAME, with the default):", *_columns(rows)] if rows else []


def _has_model(groups: Sequence[Key]) -> bool:
    """Whether a command has the group ``model``, as ``zoo train`` does."""
    return any(group.name == "model" for group in groups)


def _examples(name: str, command: Command) -> list[str]:
    """The paragraph of examples."""
    lines = [f"  zoo {name} {example}".rstrip() for example in command.examples]
    return ["", "Examples:", *lines]


def _assignment(key: Key) -> str:
    """``KEY=DEFAULT``, or ``KEY=`` if there is none."""
    return f"{key.name}={'' if key.default == '???' else key.default}"


def _described(key: Key) -> str:
    """The description of a key, with "required" in front if it has no default."""
    return f"required: {key.description}" if key.default == "???" else key.description


def _sentence(text: str) -> str:
    """A phrase as a sentence."""
    return f"{text[0].upper()}{text[1:]}."


def _wrapped(text: str, indent: str = "") -> list[str]:
    """Text in lines of at most `WIDTH` columns; all but the first are indented."""
    return textwrap.wrap(text, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def _columns(rows: Iterable[tuple[str, str]]) -> list[str]:
    """Two aligned columns of at most `WIDTH` columns in all: names on the left, wrapped descriptions on the right."""
    # The left column is as wide as the longest name, up to a limit.
    table = list(rows)
    left = min(LEFT, max((len(name) for name, _ in table), default=0))
    indent = " " * (left + 4)
    lines: list[str] = []
    for name, description in table:
        # A short name is on the same line as the description, a long name on the line above.
        if len(name) <= left:
            first = f"  {name:<{left}}  "
        else:
            lines.append(f"  {name}")
            first = indent
        wrapped = textwrap.wrap(description, WIDTH - len(indent), break_long_words=False, break_on_hyphens=False)
        lines += [(first if k == 0 else indent) + part for k, part in enumerate(wrapped or [""])]
    return [line.rstrip() for line in lines]
