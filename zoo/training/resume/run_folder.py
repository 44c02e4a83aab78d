"""Read and check the files of a run folder when the run is resumed.

A file may be damaged, written by another program or edited by hand, so every file is checked completely before it is
used. A folder without ``config.yaml`` raises FileNotFoundError; every other error is a ValueError that begins with the
path of the file.
"""

import csv
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from zoo.config import catalogue, renamed, schemas
from zoo.config.build import wrong_type
from zoo.data.preprocess import Preprocess
from zoo.data.splits import Splits
from zoo.training.fit.csv_logger import KEYS

CONFIG = "config.yaml"
PREPROCESS = "preprocess.json"
SPLITS = "splits.json"
METRICS = "metrics.json"
ROWS = "metrics.csv"
LAST = Path("checkpoints") / "last.ckpt"

MAX_BYTES = 2**18  # size of a YAML or JSON file; the zoo writes a few kilobytes
MAX_DIGITS = 18  # digits of an epoch or a step in metrics.csv
MAX_LINE = 2**16  # characters in a line of metrics.csv
MAX_DEPTH = 40  # levels of nested mappings and lists in config.yaml


@contextmanager
def naming(path: Path, fix: str = "") -> Iterator[None]:
    """Turn an error of reading a file into a ValueError that begins with its path and ends with ``fix``."""
    try:
        yield
    except (ConfigAttributeError, ConfigKeyError) as error:
        # An earlier version may have had this key under another name.
        siblings = [] if error.parent_node is None else [str(key) for key in error.parent_node]
        reason = renamed.message(str(error.full_key), siblings) or f"{error.full_key}: no such key"
    except OmegaConfBaseException as error:
        reason = wrong_type(str(error.full_key), str(error.msg)) if error.full_key else str(error)
    except (ValueError, TypeError, KeyError, ArithmeticError, yaml.YAMLError, csv.Error, RecursionError) as error:
        reason = str(error) or type(error).__name__
    else:
        return
    one_line = " ".join(reason.split())[:300]
    one_line = one_line.removeprefix(f"{path}: ")
    raise ValueError(f"{path}: {one_line}{fix}")


def check_files(folder: Path) -> None:
    """Raise ValueError if a file of the run is not a file, such as a folder, a broken link or a link out of the folder.

    Writing to a link replaces the file that it leads to, which could be any file of the user.
    """
    for name in (CONFIG, PREPROCESS, SPLITS, METRICS, ROWS, LAST):
        path = folder / name
        if (path.exists() or path.is_symlink()) and not path.is_file():
            raise ValueError(f"{path}: not a file; move it away")
    checkpoints = (folder / LAST).parent
    if (checkpoints.exists() or checkpoints.is_symlink()) and not checkpoints.is_dir():
        raise ValueError(f"{checkpoints}: not a folder; move it away")
    # Refuse links out of the folder, also those named like plots. A link to a folder, such as the data, is allowed.
    inside = folder.resolve()
    for path in [*folder.glob("*"), *checkpoints.glob("*")]:
        leads_out = path.is_symlink() and not path.resolve().is_relative_to(inside)
        if leads_out and (path == checkpoints or not path.is_dir()):
            raise ValueError(f"{path}: a link out of the run folder; replace it with the file it leads to")


def read_config(folder: Path) -> tuple[DictConfig, str]:
    """The config of a run, and the command line that started it.

    Raises:
        FileNotFoundError: the folder is not a run folder.
        ValueError: the file is damaged, or has aliases or references, which the zoo never writes.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise FileNotFoundError(f"resume={folder}: not a run folder (no {CONFIG})")
    with naming(path, "; the run cannot be resumed, start a new one"):
        text = _text(path)
        if not text.strip():
            raise ValueError("the file is empty")
        # Check the YAML before anything is built: a few lines of aliases can stand for billions of values.
        _check_yaml(text)
        content = OmegaConf.create(text)
        if not isinstance(content, DictConfig):
            raise ValueError("must be a mapping of keys to values")
        cfg = OmegaConf.merge(OmegaConf.structured(schemas.Train), content)
        assert isinstance(cfg, DictConfig)
        _restore_references(cfg)
    # The first line of config.yaml is the command line that started the run.
    return cfg, text.partition("\n")[0].removeprefix("# ")


def _restore_references(cfg: DictConfig) -> None:
    """Replace values of the dataset by the references of ``conf/dataset`` if these have the same value.

    One such reference is ``${oc.env:ZOO_DATA,data}``. So a resumed run stores the same description of its dataset as
    one that was not stopped.
    """
    if cfg.dataset.name not in catalogue.list_datasets():
        return
    values = catalogue.dataset_config(cfg.dataset.name)
    for node, own in ((cfg.dataset, values), (cfg.dataset.source, values["source"])):
        for key, reference in own.items():
            if isinstance(reference, str) and "${" in reference and key in node:
                value = node[key]
                node[key] = reference
                if node[key] != value:
                    node[key] = value


def read_preprocess(folder: Path) -> Preprocess | None:
    """The preprocessing of the first start; None if the file is missing.

    Raises:
        ValueError: the file is damaged.
    """
    path = folder / PREPROCESS
    if not path.exists():
        return None
    with naming(path):
        values = _json(path)
        if not isinstance(values, dict):
            raise ValueError("must be a mapping")
        # A default in place of a lost value would change the inputs silently.
        missing = [key for key in ("shape", "scale", "mean", "std") if key not in values]
        if missing:
            raise ValueError(f"{missing[0]}: missing")
        return Preprocess.from_dict(values)


def check_splits(folder: Path, splits: Splits) -> None:
    """Check that the data are those of the first start, if ``splits.json`` exists.

    Raises:
        ValueError: examples were added, removed or changed, or the file is damaged.
    """
    path = folder / SPLITS
    if not path.exists():
        return
    with naming(path):
        before = _json(path)
        if not isinstance(before, dict) or not all(isinstance(split, dict) for split in before.values()):
            raise ValueError("must map splits to count and digest")
    now = splits.fingerprints()
    for name in dict.fromkeys([*before, *now]):
        if before.get(name) == now.get(name):
            continue
        counts = [split.get(name, {}).get("count", 0) for split in (before, now)]
        change = (
            f"{counts[0]} examples, now {counts[1]}" if counts[0] != counts[1] else "the same number, other examples"
        )
        raise ValueError(
            f"{path}: the {name} split has changed since the run began ({change}): restore the data, or start a new run"
        )


def own_logger(logger: Mapping[str, Any] | None, folder: Path) -> dict[str, Any] | None:
    """The logger of a resumed run. It writes to the current run folder, which may have been moved.

    Args:
        logger: a ``_target_`` and its arguments, or None.
        folder: the run folder.

    Raises:
        ValueError: it would write outside the run folder, or send metrics to another server than the one in the
            environment variable MLFLOW_TRACKING_URI.
    """
    if logger is None:
        return None
    own = dict(logger)
    for key in ("save_dir", "dir", "root_dir"):
        if key in own:
            own[key] = str(folder.absolute())
    # TensorBoard creates folders with these names.
    for key in ("name", "version", "sub_dir"):
        path = Path(str(own.get(key)))
        if path.is_absolute() or ".." in path.parts:
            raise ValueError(f"{folder / CONFIG}: logger.{key}={own[key]} must not lead out of the run folder")
    server = os.environ.get("MLFLOW_TRACKING_URI", "file:./mlruns")
    if own.get("tracking_uri", server) != server or own.get("artifact_location"):
        raise ValueError(
            f"{folder / CONFIG}: logger.tracking_uri={own.get('tracking_uri')} is not that of this environment; set "
            "MLFLOW_TRACKING_URI to it if you trust it"
        )
    return own


def check_rows(folder: Path) -> None:
    """Raise ValueError if ``metrics.csv`` exists and is not a table of logged steps."""
    path = folder / ROWS
    if not path.exists():
        return
    with (
        naming(path, "; delete it to resume without the earlier rows"),
        path.open(newline="", encoding="utf-8") as file,
    ):
        reader = csv.DictReader(_lines(file))
        names = reader.fieldnames or []
        missing = [key for key in KEYS if key not in names]
        if missing:
            raise ValueError(f"no column {missing[0]!r}")
        for number, row in enumerate(reader, start=2):
            # DictReader puts surplus cells under the key None, and None into missing cells.
            if None in row or None in row.values():
                raise ValueError(f"row {number} does not have {len(names)} cells")
            if not row["fit"]:
                raise ValueError(f"row {number}: fit= is missing")
            for key in ("epoch", "step"):
                if not (row[key].isascii() and row[key].isdigit() and len(row[key]) <= MAX_DIGITS):
                    raise ValueError(f"row {number}: {key}={row[key][:20]} must be an integer >= 0")
            for key, cell in row.items():
                if key not in KEYS and cell:
                    float(cell)


def read_metrics(folder: Path) -> dict[str, float]:
    """The metrics of a finished run.

    Raises:
        ValueError: the file is damaged.
    """
    path = folder / METRICS
    with naming(path, "; delete it to evaluate and finish the run again"):
        metrics = _json(path)
        if not isinstance(metrics, dict) or not all(isinstance(value, (int, float)) for value in metrics.values()):
            raise ValueError("must map names to numbers")
        return metrics


def _lines(file: TextIO) -> Iterator[str]:
    """The lines of a file; ValueError for one so long that it would not fit into memory."""
    while line := file.readline(MAX_LINE):
        if len(line) == MAX_LINE:
            raise ValueError(f"a line has {MAX_LINE:,} characters or more")
        yield line


def _text(path: Path) -> str:
    """The text of a file in UTF-8, unless it is far larger than any that the zoo writes."""
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise ValueError(f"{size:,} bytes, more than the maximum of {MAX_BYTES:,}")
    return path.read_text(encoding="utf-8")


def _json(path: Path) -> Any:
    text = _text(path)
    if not text.strip():
        raise ValueError("the file is empty")
    return json.loads(text)


def _check_yaml(text: str) -> None:
    """Raise ValueError for a single value, aliases, references and deep nesting: the zoo never writes them."""
    depth = 0
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the C version, if available, is ten times as fast
    for event in yaml.parse(text, Loader=loader):
        if isinstance(event, yaml.AliasEvent):
            raise ValueError("has an alias (*), which is not allowed here")
        if isinstance(event, yaml.ScalarEvent) and not depth:
            raise ValueError("must be a mapping of keys to values")
        # A reference could read an environment variable, whose value would be stored in the checkpoint.
        if isinstance(event, yaml.ScalarEvent) and "${" in event.value:
            raise ValueError("has a reference (${…}), which is not allowed here")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            raise ValueError(f"is nested more than {MAX_DEPTH} levels deep")
