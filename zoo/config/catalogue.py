"""What there is: the models of ``conf/model`` and the checkpoints of ``checkpoints/index.yaml``.

Reads YAML only - neither torch nor hydra - so that `zoo list` answers at once.
"""

from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

_PACKAGE = Path(__file__).parents[1]  # zoo/


def _folder(name: str, shipped: str) -> Path:
    installed = _PACKAGE / shipped  # inside the wheel
    return installed if installed.is_dir() else _PACKAGE.parent / name  # in a checkout


CONF = _folder("conf", "conf")
CHECKPOINTS = _folder("checkpoints", "shipped")


def list_models() -> list[str]:
    """The names of all models, sorted: what `zoo.create` and ``model=`` take."""
    return sorted(path.stem for path in (CONF / "model").glob("*.yaml"))


def list_checkpoints() -> list[str]:
    """The names of all indexed checkpoints, sorted: what `zoo.load` and ``checkpoint=`` take."""
    return sorted(index())


def model_config(name: str) -> dict[str, Any]:
    """A model's YAML, as it stands in ``conf/model``.

    Raises:
        ValueError: no model has that name; the message lists the near ones.
    """
    if name not in list_models():
        raise ValueError(f"unknown model {name!r}; {suggest(name, list_models())}")
    return _read(CONF / "model" / f"{name}.yaml")


def index() -> dict[str, dict[str, Any]]:
    """For each checkpoint: ``file`` (in the same folder), ``sha256``, ``size``, ``model``, ``metric``, and more.

    Raises:
        ValueError: the index is corrupt; the message names its file, and the entry.
    """
    path = CHECKPOINTS / "index.yaml"
    entries = (_read(path) or {}) if path.is_file() else {}
    if not isinstance(entries, dict):
        raise ValueError(f"{path}: corrupt index: it must map names of checkpoints to their entries")
    for name, entry in entries.items():
        for key, kind in {"file": str, "sha256": str, "size": int, "model": str, "metric": dict}.items():
            if not isinstance(name, str) or not isinstance(entry, dict) or not isinstance(entry.get(key), kind):
                raise ValueError(f"{path}: corrupt index: {name}.{key} is missing or not of type {kind.__name__}")
        if Path(entry["file"]).name != entry["file"] or "\0" in entry["file"]:
            raise ValueError(f"{path}: corrupt index: {name}.file must be a file name in the checkpoints folder")
    return entries


def _read(path: Path) -> Any:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # in C where it is built: ten times as fast
    try:
        return yaml.load(path.read_text(encoding="utf-8"), loader)
    except (yaml.YAMLError, UnicodeError, ValueError) as error:
        raise ValueError(f"{path}: damaged ({' '.join(str(error).split())[:200]})") from error


def suggest(name: str, choices: list[str]) -> str:
    """ "did you mean …?" with the near choices, or all of them where none is near."""
    near = get_close_matches(name, choices, n=4, cutoff=0.5)
    return f"did you mean {' or '.join(near)}?" if near else f"choose one of: {', '.join(choices)}"
