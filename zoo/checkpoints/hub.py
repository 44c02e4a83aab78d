"""Files from the Hugging Face hub: checkpoints of the zoo, and weights in timm's format.

A repository has ``model.safetensors``; timm's also have ``config.json`` with the preprocessing.
May import data. huggingface_hub is an optional package, imported when it is needed.
"""

import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from zoo.checkpoints import description_schema as schema
from zoo.checkpoints.torchvision_files import CROP_FRACTION, sha256_of
from zoo.data.preprocess import Preprocess

PREFIX = "hf://"
ADDRESS = re.compile(r"hf://(?P<repository>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")
COMMIT = re.compile(r"[0-9a-f]{40}")
WEIGHTS = "model.safetensors"
CARD = "README.md"
MAX_CONFIG = 2**20  # bytes of a config.json


def parse(address: str, *, given: str) -> tuple[str, str | None]:
    """OWNER/NAME and the revision (a branch, tag or commit; None: the main branch) of ``hf://OWNER/NAME@REVISION``.

    Args:
        address: the address.
        given: how the user gave it, such as ``weights=hf://…``, for the message.

    Raises:
        ValueError: it has another form.
    """
    match = ADDRESS.fullmatch(address)
    if match is None:
        raise ValueError(f"{given}: must be {PREFIX}OWNER/NAME or {PREFIX}OWNER/NAME@REVISION")
    return match["repository"], match["revision"]


@cache
def checkpoint_file(address: str) -> Path:
    """The file of a checkpoint in the hub's cache. A branch or tag is looked up once in a process.

    Args:
        address: ``hf://OWNER/NAME``, ``hf://OWNER/NAME@REVISION``.

    Raises:
        ValueError: another form, huggingface_hub is not installed, or the file is damaged.
        FileNotFoundError: there is no such repository, revision or file, or no network and no copy in the cache.
    """
    repository, revision = parse(address, given=address)
    # Ask for the newest commit of a branch. Without network, the library takes the one in its cache.
    return download(repository, WEIGHTS, revision=revision, given=address, look_up=True)


def fetch(weights: str) -> Path:
    """The weight file of ``hf://OWNER/NAME@COMMIT`` in the hub's cache.

    Raises:
        ValueError: no full commit is given, huggingface_hub is not installed, or the file is damaged.
        FileNotFoundError: there is no such repository, or no network.
    """
    return _pinned(weights, WEIGHTS)


def fetch_config(weights: str) -> Preprocess | None:
    """The preprocessing in the ``config.json`` beside the file of `fetch`; None if it lacks mean, std or input size.

    Raises those of `fetch`, and ValueError if the config is damaged.
    """
    return read_config(_pinned(weights, "config.json"), weights)


def _pinned(weights: str, name: str) -> Path:
    """A file of ``hf://OWNER/NAME@COMMIT`` in the hub's cache; ValueError if no full commit is given."""
    # A branch or tag may be moved to other weights; a commit may not.
    repository, _, commit = weights.removeprefix(PREFIX).partition("@")
    if not COMMIT.fullmatch(commit):
        raise ValueError(
            f"weights={weights}: pin the revision: {PREFIX}{repository}@ and a full commit of 40 hex digits"
        )
    return download(repository, name, revision=commit, given=f"weights={weights}")


def download(repository: str, name: str, *, revision: str | None, given: str, look_up: bool = False) -> Path:
    """A file of a repository in the hub's cache; downloaded if it is missing.

    Args:
        repository: OWNER/NAME.
        name: name of the file.
        revision: a commit, branch or tag; None: the main branch.
        given: how the user named it, such as ``weights=hf://…``, for messages.
        look_up: whether to ask the hub which commit a branch or tag is now; False: the newest one in the cache.

    Raises:
        ValueError: huggingface_hub is not installed, or the file is damaged.
        FileNotFoundError: there is no such repository or file, or no network.
    """
    try:
        from huggingface_hub import hf_hub_download, try_to_load_from_cache
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    except ModuleNotFoundError as error:
        raise ValueError(f"{given} needs {error.name}: pip install 'reference-zoo[hub]'") from error
    # A file in the cache is used as it is, so nothing is downloaded twice.
    try:
        cached = None if look_up else try_to_load_from_cache(repository, name, revision=revision)
        path = Path(cached if isinstance(cached, str) else hf_hub_download(repository, name, revision=revision))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise FileNotFoundError(
            f"{given} cannot be fetched ({reason}): download its {WEIGHTS} elsewhere and name that file"
        ) from error

    # In the cache, a large file is a link to one that is named by its SHA-256.
    blob = path.resolve()
    if re.fullmatch(r"[0-9a-f]{64}", blob.name) and sha256_of(blob) != blob.name:
        raise ValueError(f"{given}: {blob} is damaged (its SHA-256 is not its name); delete it")
    return path


def upload(
    repository: str,
    branch: str | None,
    files: Mapping[str, Path | bytes],
    *,
    private: bool,
    overwrite: bool,
    given: str,
) -> str:
    """Upload files to a repository in one commit; the repository and the branch are created if they do not exist.

    Args:
        repository: OWNER/NAME.
        branch: the branch; None: the main one.
        files: name -> a file, or its content.
        private: whether a repository that is created is private.
        overwrite: whether the repository may have `WEIGHTS` already.
        given: how the user named the repository, such as ``to=hf://…``, for messages.

    Returns:
        The commit, 40 hex digits.

    Raises:
        FileExistsError: the repository has `WEIGHTS`, and ``overwrite`` is off.
        OSError: the hub refuses, or cannot be reached.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    api = HfApi()
    # The library raises errors of several packages, depending on its version and on what went wrong.
    try:
        exists = api.file_exists(repository, WEIGHTS, revision=branch)
        if exists and not overwrite:
            raise FileExistsError(f"{given} has a {WEIGHTS}; add overwrite=true to add a new version of it")
        api.create_repo(repository, private=private, exist_ok=True)
        if branch is not None:
            api.create_branch(repository, branch=branch, exist_ok=True)
        operations = [CommitOperationAdd(name, file) for name, file in files.items()]
        message = f"Upload {' and '.join(files)}"
        return str(api.create_commit(repository, operations, commit_message=message, revision=branch).oid)
    except FileExistsError:
        raise
    except Exception as error:
        texts = [str(each) for each in (error, error.__cause__) if each is not None]
        reason = " ".join(": ".join(texts).split())[:300] or type(error).__name__
        hint = "; run hf auth login, or set HF_TOKEN" if re.search(r"\b40[13]\b|oken", reason) else ""
        raise OSError(f"{given}: cannot be published ({reason}){hint}") from error


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
