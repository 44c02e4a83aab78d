"""Quote the values of a command line's KEY=VALUE that Hydra's grammar would misread.

Hydra reads every value by its own grammar: it cannot read ``input=Äpfel`` or ``input=My pictures (1)``, and it reads
``input=2024_01_02`` as the number 20240102. So the value of a key that holds a string, such as the path of a file,
is quoted here. All other values must follow Hydra's grammar; if one does not, the message says how to quote it.

Hydra and the schemas are imported late, because the command line reads `FLAGS` before it needs them.
"""

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_origin

from zoo.config.catalogue import CONF

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

# The flags of Hydra, and whether a value follows. Hydra's own list is not public.
FLAGS = {
    "--cfg": True,
    "-c": True,
    "--config-dir": True,
    "-cd": True,
    "--config-name": True,
    "-cn": True,
    "--config-path": True,
    "-cp": True,
    "--package": True,
    "-p": True,
    "--info": True,
    "-i": True,
    "--hydra-help": False,
    "--multirun": False,
    "-m": False,
    "--resolve": False,
    "--run": False,
    "-r": False,
    "--shell-completion": False,
    "-sc": False,
}
# Flags whose value is one of these.
CHOICES = {
    **dict.fromkeys(("--cfg", "-c"), ("job", "hydra", "all")),
    **dict.fromkeys(("--info", "-i"), ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")),
}
# Keys of Hydra that hold a path.
FOLDERS = ("hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir")
# KEY=VALUE, +KEY=VALUE or ++KEY=VALUE.
OVERRIDE = re.compile(r"(?P<prefix>\+{0,2})(?P<key>[^=]+)=(?P<value>.*)", re.DOTALL)
QUOTES = ("'", '"')
MAX = 10**300  # maximum absolute value of an integer
MAX_DEPTH = 20  # of brackets within brackets in a value
ESCAPE = re.compile(r"\\[,()\[\]{}:=\s]")


def is_sweep(arguments: Sequence[str]) -> bool:
    """Whether the arguments start a sweep or a search."""
    starts = ("-m", "--multirun", "hydra.mode=MULTIRUN")
    is_search = any(re.fullmatch(r"hparams_search=(?!null$).+", argument) for argument in arguments)
    return any(argument in starts for argument in arguments) or (is_search and "hydra.mode=RUN" not in arguments)


def readable(command: str, arguments: Sequence[str]) -> list[str]:
    """The arguments of a command with quotes where Hydra's grammar needs them, all flags first.

    Hydra reads no flag after an override. ``GROUP=null`` becomes ``~GROUP``, as Hydra writes it.

    Args:
        command: such as "train"; its schema says which keys hold a string.
        arguments: the arguments of the command, as the shell passes them on.

    Raises:
        ValueError: Hydra cannot read an argument, and the message says how to quote it; or a string is empty.
    """
    texts = text_keys(command)
    in_sweep = is_sweep(arguments)
    flags = []
    read = []
    for argument, is_flag in _with_flags(arguments):
        match = OVERRIDE.fullmatch(argument)
        if is_flag:
            flags.append(argument)
            continue
        if match is None:
            read.append(argument)
            continue
        # Refuse an empty string, the value of a shell variable that is not set: as a path, it is the working directory.
        is_text = match["key"] in texts
        is_group = (CONF / match["key"].partition("@")[0]).is_dir()
        if (is_text or is_group) and match["value"] in ("", "''", '""'):
            raise ValueError(f"{argument}: the value is empty; give one, or omit {match['key']}=")
        if is_group and match["value"] == "null":
            read.append(f"~{match['key']}")
            continue
        # The values of a sweep are separated by commas, so they must follow the grammar.
        if is_text and (not in_sweep or match["key"] in FOLDERS):
            argument = _as_text(match)
        else:
            _parse(argument)
        read.append(argument)
    return [*flags, *read]


@cache
def text_keys(command: str) -> frozenset[str]:
    """The keys of a command whose value is a string, such as ``input`` and ``dataset.root``."""
    from zoo.config import command_schemas, schemas

    named = {**vars(schemas), **vars(command_schemas)}
    schema = {name.lower(): value for name, value in named.items() if is_dataclass(value)}[command]
    return frozenset([*FOLDERS, *_text_fields(schema)])


def _text_fields(schema: Any, prefix: str = "") -> Iterator[str]:
    """The full keys of all fields of type str or optional str, nested schemas included."""
    for field in fields(schema):
        # "str | None" is a union of types; "str" is a single type, and so is "list[str]".
        types = () if get_origin(field.type) is list else get_args(field.type)
        kinds = [kind for kind in types or (field.type,) if kind is not type(None)]
        if kinds == [str]:
            yield prefix + field.name
        elif len(kinds) == 1 and is_dataclass(kinds[0]):
            yield from _text_fields(kinds[0], f"{prefix}{field.name}.")


def _with_flags(arguments: Sequence[str]) -> Iterator[tuple[str, bool]]:
    """Each argument, and whether it is a flag or the value of the flag before it."""
    is_value = False
    for argument in arguments:
        is_flag = argument.startswith("-") and not is_value
        yield argument, is_flag or is_value
        is_value = is_flag and FLAGS.get(argument, False)


def _as_text(match: re.Match[str]) -> str:
    """The override, quoted unless Hydra reads its value as the same string; null and references stay as they are."""
    value = match["value"]
    key = match["prefix"] + match["key"]
    # The grammar has escapes of its own, such as "a\\,b" for a comma.
    is_quoted = len(value) > 1 and value[0] in QUOTES and value[-1] == value[0]
    if value == "null" or "${" in value or is_quoted or ESCAPE.search(value):
        _parse(match[0])
        return match[0]
    # The shell expands ~ at the start of an argument only, so not after "input=".
    if value == "~" or value.startswith("~/"):
        value = str(Path(value).expanduser())
    try:
        if str(_parse(f"{key}={value}").value()) == value:
            return f"{key}={value}"
    except ValueError:
        pass
    return f"{key}={_in_quotes(value)}"


def _in_quotes(value: str) -> str:
    """``value`` in single quotes. Within quotes, only a quote and the backslashes before one have to be escaped."""
    escaped = re.sub(r"(\\*)'", r"\1\1\\'", value)
    escaped = re.sub(r"(\\+)$", r"\1\1", escaped)
    return f"'{escaped}'"


def _parse(argument: str) -> "Override":
    """Parse an override by Hydra's grammar.

    Raises:
        ValueError: it does not follow the grammar, and the message shows how to quote it; its value is nested too
            deeply, or it does not name a file of a group of configs.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    from zoo.config.catalogue import CONF
    from zoo.config.ranges import scalars

    # Hydra reads nested values by a recursion that Python limits.
    parse = OverridesParser.create().parse_override
    key, _, value = argument.partition("=")
    if max(accumulate((letter in "[{(") - (letter in "]})") for letter in value), default=0) > MAX_DEPTH:
        raise ValueError(f"{key}: its value is nested more than {MAX_DEPTH} levels deep")
    try:
        override = parse(argument)
    except HydraException as error:
        # If a simple value cannot be parsed either, the key is wrong.
        try:
            parse(f"{key}=1")
        except HydraException:
            raise ValueError(f"{argument!r} cannot be parsed: {key!r} is not a key") from error
        # The further lines of Hydra's message only mark the position of the error.
        reason = str(error).partition("\n")[0]
        advice = shlex.quote(f"{key}={_in_quotes(value)}")
        raise ValueError(
            f"{argument!r} cannot be parsed: {reason}; if the value is a string, quote it: {advice}"
        ) from error
    except ValueError as error:
        raise ValueError(f"{key}: {str(error).partition(';')[0]}") from error  # Python reads 4,300 digits at most

    # OmegaConf cannot convert an integer to a float if it is larger than every float.
    if not override.is_sweep_override() and any(isinstance(x, int) and abs(x) > MAX for x in scalars(override.value())):
        raise ValueError(f"{key}={value} is too large a number")

    # A group of configs takes the name of a file, or a list of names.
    group = str(override.key_or_group)
    if (CONF / group).is_dir() and not override.is_sweep_override():
        chosen = override.value()
        names = chosen if isinstance(chosen, list) else [chosen]
        is_flag = group == "debug" and isinstance(chosen, bool)  # debug=true does not name a file
        if not is_flag and not all(isinstance(name, str) for name in names):
            raise ValueError(f"{key}={value} must be the name of a file of conf/{group}, without .yaml")
    return override
