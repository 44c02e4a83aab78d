"""The schema of a checkpoint's description: the type and the limits of every field, checked before any of it is used.

A checkpoint may come from anywhere, and its SHA-256 shows damage, not who wrote it. So nothing in a description is
trusted. A field with a wrong type, a string or list that is too long, or a number that would need too much memory is
refused, and the message names the field. The limits are far above what the zoo writes.

May import losses, config and data.
"""

import re
from collections.abc import Callable, Mapping
from math import isfinite, prod
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from zoo.data.preprocess import Preprocess
from zoo.data.table_columns import MAX_COLUMNS, TableEncoding
from zoo.losses import check_temperature

MAX_HEADER = 2**23  # bytes of the header of a file: the description, and the name and shape of every tensor
MAX_DEPTH = 12  # levels of nested lists and mappings
MAX_TEXT = 10_000  # characters of a string
MAX_COMMAND = 2**20  # characters of a command line
MAX_NAME = 200  # characters of the name of a model, a key or a version
MAX_ENTRIES = 1000  # values of a list or mapping; so a net has at most this many layers
MAX_CLASSES = 100_000
MAX_INTEGER = 2**53  # absolute value; larger integers are not exact in float64
MAX_INPUT = 2**24  # numbers in one input: three channels of 2364x2364 pixels
MAX_SIDE = 2**13  # pixels
SHOWN = 60  # maximum number of characters of a value in a message


def check_depth(content: Any) -> None:
    """Raise ValueError if lists and mappings are nested deeper than `MAX_DEPTH`."""
    # Level by level, since recursion itself would fail for deep values.
    level = [content]
    for _ in range(MAX_DEPTH):
        level = [inner for value in level for inner in _inner(value)]
        if not level:
            return
    raise ValueError(f"nested more than {MAX_DEPTH} levels deep")


def check(values: Mapping[str, Any]) -> None:
    """Raise ValueError if a field of a description is missing, unknown, of a wrong type or beyond a limit.

    Args:
        values: the fields of a `CheckpointInfo`, with config nodes in place of stored ones.
    """
    unknown = sorted(set(values) - set(FIELDS), key=str)
    missing = [name for name in ("name", "net", "task", "preprocess") if name not in values]
    if unknown or missing:
        raise ValueError(f"{missing[0]}: missing" if missing else f"{shown(unknown[0])}: no such field")
    for name, value in values.items():
        FIELDS[name](value, name)


def check_name(name: object, where: str = "name") -> None:
    """Raise ValueError if a model's name could lead out of a folder, or has control characters."""
    _text(name, where, limit=MAX_NAME)
    text = str(name)
    parts = re.split(r"[/\\]", text)
    if not text.strip() or not text.isprintable() or not parts[0] or parts[0] == "~" or {".", ".."} & set(parts):
        raise ValueError(f"{where}: {shown(text)} is not the name of a model")


def check_preprocess(values: object, where: str = "preprocess") -> None:
    """Raise ValueError if a stored `Preprocess` has a wrong type or value. An empty one means unknown."""
    stored = _mapping(values, where)
    if not stored:
        return
    # Every field has the type that the class declares.
    hints = get_type_hints(Preprocess)
    for key, value in stored.items():
        if key not in hints:
            raise ValueError(f"{where}.{key}: no such field")
        _plain(value, f"{where}.{key}", limit=MAX_INPUT)
        if not _has_type(value, hints[key]):
            raise ValueError(f"{where}.{key}: {shown(value)} has a wrong type")
    if "shape" not in stored:
        raise ValueError(f"{where}.shape: missing")

    # The shape of an input, and one mean and std for all channels or for each.
    shape = stored["shape"]
    check_shape(shape, f"{where}.shape")
    for key in ("mean", "std"):
        if key in stored and len(stored[key]) not in (1, shape[0]):
            raise ValueError(f"{where}.{key}: has {len(stored[key])} values for {shape[0]} channels")

    # Scale and std divide; the side is that of an image before it is cropped.
    divisors = [("scale", stored.get("scale", 1)), *(("std", value) for value in stored.get("std", ()))]
    for key, value in divisors:
        if value <= 0:
            raise ValueError(f"{where}.{key}: {value} must be > 0")
    side = stored.get("side")
    if side is not None and not (len(shape) == 3 and min(shape[1:]) <= side <= MAX_SIDE):
        raise ValueError(f"{where}.side: {side} must be in [shorter side of an image, {MAX_SIDE}]")
    # `Preprocess` checks the rest, such as the interpolation and numbers that do not fit into float32.
    Preprocess.from_dict(stored)


def check_shape(shape: object, where: str) -> None:
    """Raise ValueError unless ``shape`` is that of an input: positive integers, at most `MAX_INPUT` numbers."""
    if not isinstance(shape, list | tuple) or not 1 <= len(shape) <= 4 or not all(_is_integer(n) for n in shape):
        raise ValueError(f"{where}: {shown(shape)} must be a list of one to four integers")
    if min(shape) < 1 or prod(shape) > MAX_INPUT:
        raise ValueError(f"{where}: {shown(shape)} must be positive, with a product of at most {MAX_INPUT:,}")


def shown(value: object) -> str:
    """A value for a message: its repr, which escapes control characters, cut to `SHOWN` characters."""
    # Cut a long text first: the repr of a large value would be larger still.
    if isinstance(value, str):
        text = repr(value[:SHOWN])
    elif isinstance(value, dict | list | tuple):
        text = f"a {type(value).__name__} of {len(value)}" if len(value) > 8 else repr(value)
    else:
        text = repr(value)
    return text if len(text) <= SHOWN + 2 else f"{text[:SHOWN]}…"


# The types of fields


def _text(value: object, where: str, *, limit: int = MAX_TEXT) -> None:
    if not isinstance(value, str):
        raise ValueError(f"{where}: {shown(value)} must be a string")
    if len(value) > limit:
        raise ValueError(f"{where}: a string of {len(value):,} characters, more than {limit:,}")


def _command(value: object, where: str) -> None:
    _text(value, where, limit=MAX_COMMAND)


def _count(value: object, where: str) -> None:
    if not _is_integer(value) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{where}: {shown(value)} must be an integer >= 0")


def _classes(value: object, where: str) -> None:
    if not isinstance(value, list) or len(value) > MAX_CLASSES:
        raise ValueError(f"{where}: {shown(value)} must be a list of at most {MAX_CLASSES:,} names")
    for name in value:
        _text(name, where)


def _metrics(value: object, where: str) -> None:
    for name, number in _mapping(value, where).items():
        # A metric may be NaN, where there is nothing to count.
        if not isinstance(number, float) and not _is_integer(number):
            raise ValueError(f"{where}.{name}: {shown(number)} must be a number")


def _versions(value: object, where: str) -> None:
    for name, version in _mapping(value, where).items():
        _text(version, f"{where}.{name}", limit=MAX_NAME)


def _splits(value: object, where: str) -> None:
    # A split is described by numbers and strings, such as its count and a digest of its examples.
    for name, split in _mapping(value, where).items():
        for key, entry in _mapping(split, f"{where}.{name}").items():
            check_entry = _count if key == "count" else _text
            check_entry(entry, f"{where}.{name}.{key}")


def _node(value: object, where: str) -> None:
    """Check the config node of a net or task, which may not contain references such as ``${seed}``."""
    node = _mapping(value, where)
    _plain(node, where, references=False)
    if "in_shape" in node:
        check_shape(node["in_shape"], f"{where}.in_shape")
    if not isinstance(node.get("mirror_average", False), bool):
        raise ValueError(f"{where}.mirror_average: {shown(node['mirror_average'])} must be true or false")
    # A task of a trusted package may use this name for something else.
    if "temperature" in node and str(node.get("_target_")).startswith("zoo.tasks."):
        check_temperature(node["temperature"], node.get("loss"))


def _dataset_config(value: object, where: str) -> None:
    _plain(_mapping(value, where), where)


def _table(value: object, where: str) -> None:
    """Check the encoding of a table's columns. An empty one means that the data are not a table."""
    stored = _mapping(value, where)
    if stored:
        _plain(stored, where, limit=MAX_COLUMNS)
        TableEncoding.from_dict(stored)


FIELDS: dict[str, Callable[[object, str], None]] = {
    "name": check_name,
    "net": _node,
    "task": _node,
    "preprocess": check_preprocess,
    "classes": _classes,
    "metrics": _metrics,
    "num_params": _count,
    "command": _command,
    "dataset": _text,
    "dataset_config": _dataset_config,
    "license": _text,
    "commit": _text,
    "versions": _versions,
    "hardware": _text,
    "splits": _splits,
    "table": _table,
}


# Values


def _mapping(value: object, where: str) -> dict[str, Any]:
    """A mapping from short names; ValueError if it is not one."""
    if not isinstance(value, dict) or len(value) > MAX_ENTRIES:
        raise ValueError(f"{where}: {shown(value)} must be a mapping of at most {MAX_ENTRIES} entries")
    for key in value:
        _text(key, where, limit=MAX_NAME)
        if not key.isprintable():
            raise ValueError(f"{where}: {shown(key)} is not a printable name")
    return value


def _plain(value: object, where: str, *, references: bool = True, limit: int = MAX_ENTRIES) -> None:
    """Raise ValueError if a value is not plain, or too large.

    Args:
        value: the value; a mapping or list is checked entry by entry.
        where: the name of the field.
        references: whether strings may have references to other values, such as ``${..root}``.
        limit: maximum length of a list.
    """
    if isinstance(value, dict):
        for key, entry in _mapping(value, where).items():
            _plain(entry, f"{where}.{key}", references=references, limit=limit)
    elif isinstance(value, list):
        if len(value) > limit:
            raise ValueError(f"{where}: a list of {len(value):,} values, more than {limit:,}")
        for entry in value:
            _plain(entry, where, references=references, limit=limit)
    elif isinstance(value, str):
        _text(value, where)
        if "${" in value and not references:
            raise ValueError(f"{where}: {shown(value)} must not refer to another value")
    elif isinstance(value, float):
        if not isfinite(value):
            raise ValueError(f"{where}: {value} must be finite")
    elif value is not None and not isinstance(value, bool) and not _is_integer(value):
        raise ValueError(f"{where}: {shown(value)} must be a string, a number, a boolean or null")


def _inner(value: object) -> list[Any]:
    """The entries of a list or mapping; an empty list for anything else."""
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _is_integer(value: object) -> bool:
    """Whether a value is an integer in [-`MAX_INTEGER`, `MAX_INTEGER`], and not a boolean."""
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= MAX_INTEGER


def _has_type(value: object, hint: Any) -> bool:
    """Whether a JSON value has the type of an annotation. JSON has lists for tuples, and integers for whole floats."""
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        return any(_has_type(value, kind) for kind in get_args(hint))
    if origin is tuple:
        return isinstance(value, list) and all(_has_type(entry, get_args(hint)[0]) for entry in value)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return _is_integer(value)
    return value is None if hint in (None, NoneType) else hint is Any or isinstance(value, hint)
