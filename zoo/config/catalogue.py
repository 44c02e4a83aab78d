"""Read the models of ``conf/model`` and the checkpoints of ``checkpoints/index.yaml``.

Reads YAML only and imports neither torch nor Hydra, so that `zoo list` is fast.
"""

import ast
import re
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from zoo.config import trust

_PACKAGE = Path(__file__).parents[1]  # zoo/


def _folder(name: str, shipped: str) -> Path:
    """The folder ``shipped`` of an installed package, or the folder ``name`` of a checkout."""
    installed = _PACKAGE / shipped  # inside the wheel
    return installed if installed.is_dir() else _PACKAGE.parent / name  # in a checkout


CONF = _folder("conf", "conf")
GIVEN = "given"  # the name of a net or data that a program passes; see `zoo.config.given`
CHECKPOINTS = _folder("checkpoints", "shipped")
# Every entry of the index has these keys, of these types.
ENTRY = {"file": str, "sha256": str, "size": int, "model": str, "metric": dict}


def folders() -> list[Path]:
    """``conf/``, and the folder ``conf`` of each trusted package. The first folder that has a file is used."""
    return [CONF, *trust.conf_folders().values()]


def choices(group: str) -> dict[str, Path]:
    """The YAML files of a group, such as "model", by name, sorted."""
    found: dict[str, Path] = {}
    for folder in folders():
        for path in (folder / group).glob("*.yaml"):
            found.setdefault(path.stem, path)
    return dict(sorted(found.items()))


def list_models() -> list[str]:
    """The names of all models, sorted: what `zoo.create` and ``model=`` accept."""
    return list(choices("model"))


def list_checkpoints() -> list[str]:
    """The names of all indexed checkpoints, sorted: what `zoo.load` and ``checkpoint=`` accept."""
    return sorted(index())


def list_datasets() -> list[str]:
    """The names of all datasets, sorted: what ``dataset=`` accepts."""
    return list(choices("dataset"))


def dataset_config(name: str) -> dict[str, Any]:
    """The YAML of a dataset of `list_datasets`, without its augmentation."""
    content: dict[str, Any] = _read(choices("dataset")[name])
    return {key: value for key, value in content.items() if key != "defaults"}


def model_config(name: str) -> dict[str, Any]:
    """The YAML of a model, merged with those of the models it derives from. Its stages are left out.

    Raises:
        ValueError: no model has that name; the message lists similar ones, or all models if none is similar.
    """
    if name not in list_models():
        raise ValueError(f"unknown model {name!r}; {suggest(name, list_models())}")
    content: dict[str, Any] = _read(choices("model")[name])
    config: dict[str, Any] = {}
    # Hydra merges the entries of `defaults` in order and the file itself last. A plain string names another model;
    # `_self_` stands for this file, and mappings name files of other groups.
    for entry in content.pop("defaults", []):
        if isinstance(entry, str) and entry != "_self_":
            config = _merged(config, model_config(entry))
    return _merged(config, content)


def tree(group: str, name: str) -> dict[str, Any]:
    """The keys of a file of a group, with those of the files in its ``defaults``: as Hydra composes it, without Hydra.

    References are not resolved. ``override`` has the choices that a recipe makes for other groups: {"model": "lenet5"}.
    A file that does not exist has no keys.
    """
    path = choices(group).get(name)
    content = (_read(path) or {}) if path is not None else {}
    result: dict[str, Any] = {}
    for entry in content.pop("defaults", []):
        # The name of a file of the same group, or {GROUP@PLACE: NAME}.
        if isinstance(entry, str) and entry != "_self_":
            result = _merged(result, tree(group, entry))
        elif isinstance(entry, dict):
            key, chosen = next(iter(entry.items()))
            other, _, place = str(key).removeprefix("override ").lstrip("/").partition("@")
            if str(key).startswith("override "):
                result = _merged(result, {"override": {other: chosen}} if not place else {})
                continue
            inner = tree(other, str(chosen))
            for part in reversed((place or other).split(".")):
                inner = {part: inner}
            result = _merged(result, inner)
    return _merged(result, content)


def fields(schema: str) -> list[str]:
    """The fields of a class of `zoo.config.schemas`, read from its source: importing it would import Hydra."""
    source = Path(__file__).with_name("schemas.py").read_text(encoding="utf-8")
    (node,) = (part for part in ast.parse(source).body if isinstance(part, ast.ClassDef) and part.name == schema)
    return [
        part.target.id for part in node.body if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name)
    ]


def _merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """``base`` with ``changes`` on top: mappings are merged key by key, everything else is replaced."""
    result = dict(base)
    for key, value in changes.items():
        old = result.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            result[key] = _merged(old, value)
        else:
            result[key] = value
    return result


def index() -> dict[str, dict[str, Any]]:
    """The entries of ``checkpoints/index.yaml``: name -> entry; empty if there is no index.

    Every entry has ``file`` (a name in the checkpoints folder), ``sha256``, ``size`` (in bytes), ``model`` and
    ``metric`` (metrics by name). It may have further keys, such as ``url``.

    Raises:
        ValueError: the index is corrupt; the message names the entry and the key.
    """
    path = CHECKPOINTS / "index.yaml"
    entries = (_read(path) or {}) if path.is_file() else {}
    if not isinstance(entries, dict):
        raise ValueError(f"{path}: corrupt index: must map names of checkpoints to entries")
    for name, entry in entries.items():
        # Every entry is a mapping with all required keys.
        if not isinstance(name, str) or Path(name).name != name or not isinstance(entry, dict):
            raise ValueError(f"{path}: corrupt index: {name} must be a name with a mapping")
        for key, kind in ENTRY.items():
            if not isinstance(entry.get(key), kind):
                raise ValueError(f"{path}: corrupt index: {name}.{key} is missing or not of type {kind.__name__}")
        # The digest has 64 hex digits, and the metrics are numbers.
        if not re.fullmatch(r"[0-9a-f]{64}", entry["sha256"]) or entry["size"] is True:
            raise ValueError(f"{path}: corrupt index: {name}.sha256 must have 64 hex digits, and size be a number")
        for metric, value in entry["metric"].items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not isinstance(metric, str):
                raise ValueError(f"{path}: corrupt index: {name}.metric.{metric} must be a number")
        # A file name alone, so that an index cannot point at files elsewhere.
        if Path(entry["file"]).name != entry["file"] or "\0" in entry["file"]:
            raise ValueError(f"{path}: corrupt index: {name}.file must be a file name in the checkpoints folder")
    return entries


def _read(path: Path) -> Any:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the C version, if available, is ten times as fast
    try:
        return yaml.load(path.read_text(encoding="utf-8"), loader)
    except (yaml.YAMLError, UnicodeError, ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{path}: not readable YAML ({' '.join(str(error).split())[:200]})") from error


def suggest(name: object, choices: list[str]) -> str:
    """A hint for an unknown name: "did you mean …?" with similar choices, or all choices if none is similar.

    A value that is not a string, such as None, is similar to no choice.
    """
    near = get_close_matches(name, choices, n=4, cutoff=0.5) if isinstance(name, str) else []
    if near:
        return f"did you mean {' or '.join(near)}?"
    return f"choose one of: {', '.join(choices)}"
