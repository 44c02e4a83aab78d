"""The official weight files of torchvision: find them by name, download and verify them.

torchvision compares the hash of a file only while it downloads it. Here every file is verified whenever it is used.
torchvision is imported when a function needs it. May import data and config.
"""

import hashlib
import http.client
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch

from zoo.checkpoints.wrapped import Wrapped
from zoo.data.preprocess import Preprocess

# The name of an official file contains the first eight digits of its SHA-256. For these files, all digits are compared.
SHA256 = {
    "resnet18-f37072fd.pth": "f37072fd47e89c5e827621c5baffa7500819f7896bbacec160b1a16c560e07ec",
    "resnet34-b627a593.pth": "b627a593bcbe140c234610266fe4f8ae95ea42fc881d091c9b6052e6b1d0590f",
    "resnet50-0676ba61.pth": "0676ba61b6795bbe1773cffd859882e5e297624d384b6993f7c9e683e722fb8a",
    "resnet50-11ad3fa6.pth": "11ad3fa62ca79e40addfd354a8ec4b7c75143b3038b8d2a807fbc68deab379ca",
    "resnet101-63fe2227.pth": "63fe2227b86e8f1f2063f43a75c84d195911b6a0eace650907dd3dc62dd49a0a",
    "resnet101-cd907fc2.pth": "cd907fc2a0de2292b2ba2b27d2216bc672d84632d1cf20058d01c0c03b5e020e",
    "resnet152-394f9c45.pth": "394f9c45966e3651a89bbb78a48410a6755854ce4a5ab64927cf1c7247f85e58",
}
CROP_FRACTION = 0.875  # fraction of the shorter side that the usual evaluation transform keeps: 224 of 256 pixels


def entries(net: object) -> dict[str, Any]:
    """torchvision's weight enum for the net's architecture: name -> entry; empty if the net is not from torchvision."""
    if not isinstance(net, Wrapped) or net.library != "torchvision":
        return {}
    from torchvision import models

    return dict(models.get_model_weights(net.architecture).__members__)


def file_name(entry: Any) -> str:
    """The name of an entry's file: the last part of its URL."""
    return str(entry.url).rpartition("/")[2]


def preset(entry: Any) -> Preprocess:
    """torchvision's evaluation transform as a `Preprocess`."""
    transform = entry.transforms()
    # Both are lists of one number: the side of the square crop, and the shorter side before the crop.
    (crop,) = transform.crop_size
    (side,) = transform.resize_size
    return Preprocess(
        shape=(3, crop, crop),
        mean=tuple(transform.mean),
        std=tuple(transform.std),
        side=side,
        interpolation=transform.interpolation.value,
    )


def usual_preset(net: object) -> Preprocess | None:
    """The preprocessing to assume for weights of unknown origin; None if the net is not from torchvision.

    Weights that were trained elsewhere nearly always use torchvision's normalization and crop.
    """
    # Keep the official crop size, and set the side before the crop from the usual fraction.
    official_entries = entries(net)
    if not official_entries:
        return None
    official = preset(official_entries["DEFAULT"])
    return replace(official, side=round(official.shape[1] / CROP_FRACTION))


def fetch(url: str) -> Path:
    """The file of ``url`` in the cache of torch.hub. A missing file is downloaded, and then its hash is checked.

    Raises:
        FileNotFoundError: the file cannot be downloaded; the message says where to put it.
        ValueError: the downloaded file is not the official one.
    """
    # Use torch.hub's cache, so that nothing is downloaded twice.
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    path = folder / url.rpartition("/")[2]
    if path.is_file():
        return path

    # Download the file; torch.hub keeps it only if its hash matches.
    folder.mkdir(parents=True, exist_ok=True)
    try:
        torch.hub.download_url_to_file(url, str(path), hash_prefix=_expected(path), progress=False)
    except (URLError, OSError, http.client.HTTPException) as error:
        reason = error.reason if isinstance(error, URLError) else error
        raise FileNotFoundError(
            f"{url} cannot be reached ({reason}): download it elsewhere and put it at {path}, "
            "or name the file with weights=FILE"
        ) from error
    except RuntimeError as error:
        # torch.hub raises RuntimeError if the hash differs, and keeps nothing.
        raise ValueError(f"{url}: the download is not the official file ({error}); nothing was kept") from error
    return path


def verify(path: Path) -> None:
    """Raise ValueError if a file does not have the SHA-256 of the official file of its name."""
    found = sha256_of(path)
    expected = _expected(path)
    if not found.startswith(expected):
        raise ValueError(f"{path}: not the official file (SHA-256 {found[:16]}…, not {expected[:16]}…); delete it")


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hex digits. It is read in chunks of a MiB, since such files may be large."""
    hasher = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(2**20):
            hasher.update(chunk)
    return hasher.hexdigest()


def _expected(path: Path) -> str:
    """The expected SHA-256 of an official file, or its first digits from the name of the file."""
    return SHA256.get(path.name) or path.stem.rpartition("-")[2]
