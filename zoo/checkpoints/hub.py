"""Weights from the Hugging Face hub, in timm's format: model.safetensors, and config.json with the preprocessing.

May import data. huggingface_hub is an optional package, imported when it is needed.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zoo.checkpoints import description_schema as schema
from zoo.checkpoints.torchvision_files import CROP_FRACTION, sha256_of
from zoo.data.preprocess import Preprocess

PREFIX = "hf://"
WEIGHTS = "model.safetensors"  # the file of timm's repositories
MAX_CONFIG = 2**20  # bytes of a config.json


def fetch(weights: str) -> tuple[Path, Preprocess | None]:
    """The weight file of ``hf://OWNER/NAME@COMMIT`` in the hub's cache, and the preprocessing that its config names.

    The preprocessing is None if ``config.json`` lacks mean, std or input size.

    Raises:
        ValueError: no full commit is given, huggingface_hub is not installed, or the config is damaged.
        FileNotFoundError: there is no such repository, or no network.
    """
    # A branch or tag may be moved to other weights; a commit may not.
    repository, _, commit = weights.removeprefix(PREFIX).partition("@")
    if not re.fullmatch(r"[0-9a-f]{40}", commit):
        raise ValueError(
            f"weights={weights}: pin the revision: {PREFIX}{repository}@ and a full commit of 40 hex digits"
        )
    # Download both files, unless they are in the cache.
    path = download(repository, WEIGHTS, revision=commit, weights=weights)
    return path, read_config(download(repository, "config.json", revision=commit, weights=weights), weights)


def download(repository: str, name: str, *, revision: str | None, weights: str) -> Path:
    """A file of a repository in the hub's cache; downloaded if it is missing.

    Args:
        repository: OWNER/NAME.
        name: name of the file.
        revision: a full commit; None: the newest one in the cache, or of the repository.
        weights: the value of ``weights=``, for messages.

    Raises:
        ValueError: huggingface_hub is not installed, or the file is damaged.
        FileNotFoundError: there is no such repository or file, or no network.
    """
    try:
        from huggingface_hub import hf_hub_download, try_to_load_from_cache
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    except ModuleNotFoundError as error:
        raise ValueError(f"weights={weights} needs {error.name}: pip install 'reference-zoo[hub]'") from error
    # A file in the cache is used as it is, so nothing is downloaded twice, and the newest commit stays the same.
    try:
        cached = try_to_load_from_cache(repository, name, revision=revision)
        path = Path(cached if isinstance(cached, str) else hf_hub_download(repository, name, revision=revision))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise FileNotFoundError(
            f"weights={weights} cannot be fetched ({reason}): download its {WEIGHTS} elsewhere and name that file"
        ) from error

    # In the cache, a large file is a link to one that is named by its SHA-256.
    blob = path.resolve()
    if re.fullmatch(r"[0-9a-f]{64}", blob.name) and sha256_of(blob) != blob.name:
        raise ValueError(f"weights={weights}: {blob} is damaged (its SHA-256 is not its name); delete it")
    return path


def read_config(file: Path, weights: str) -> Preprocess | None:
    """The preprocessing in a config.json; ValueError if it is damaged. ``weights`` names its source in the message."""
    # Anybody can publish a config, so check it like the description of a checkpoint.
    try:
        if file.stat().st_size > MAX_CONFIG:
            raise ValueError(f"more than {MAX_CONFIG:,} bytes")
        config = json.loads(file.read_text(encoding="utf-8"))
        schema.check_depth(config)
        return preprocess(config)
    except (ValueError, TypeError, ArithmeticError, RecursionError) as error:
        raise ValueError(f"weights={weights}: its config.json is damaged ({error})") from error


def preprocess(config: Any) -> Preprocess | None:
    """The preprocessing in a config.json of timm; None if mean, std or input size is missing."""
    described = config.get("pretrained_cfg") if isinstance(config, Mapping) else None
    if not isinstance(described, Mapping) or not {"mean", "std", "input_size"} <= described.keys():
        return None
    # timm stores the fraction that the crop keeps; `Preprocess` has the shorter side before the crop.
    schema.check_shape(described["input_size"], "input_size")
    shape = tuple(described["input_size"])  # channels, height, width
    shorter_side = min(shape[1:])
    kept = described.get("crop_pct", CROP_FRACTION)
    known = {
        "shape": list(shape),
        "mean": described["mean"],
        "std": described["std"],
        "side": int(shorter_side / kept),  # rounded down, as timm does
        "interpolation": described.get("interpolation", "bilinear"),
    }
    schema.check_preprocess(known, "pretrained_cfg")
    return Preprocess.from_dict(known)
