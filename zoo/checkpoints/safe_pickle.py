"""Read pickles safely: only tensors and plain values, never code. No other module reads pickles. Imports torch only."""

import os
import pickle
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

# This environment variable would override weights_only=True.
OVERRIDE_VARIABLE = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
STATE_DICT = "save its state_dict() alone, preferably as .safetensors"

# Files of other kinds, by their first bytes.
OTHER_KINDS = {
    b"\x89HDF": "an HDF5 file, as Keras writes it",
    b"GGUF": "a GGUF file",
    b"\x93NUMPY": "a NumPy array",
}
# Archives of other kinds, by the end of the name of a file in them.
OTHER_ARCHIVES = {
    "/constants.pkl": f"a TorchScript program: load it with torch.jit.load, and {STATE_DICT}",
    "serialized_exported_program.json": f"a torch.export program: load it with torch.export.load, and {STATE_DICT}",
    "/archive_format": f"a torch.export program: load it with torch.export.load, and {STATE_DICT}",
    ".npy": "a NumPy archive; `zoo.checkpoints.mlp_npz.load_mlp` reads one of W1, b1, …",
}


def load(path: str | Path) -> Any:
    """Read a file written by ``torch.save``, onto the CPU.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file holds more than tensors and plain values, it is of another kind, or it is damaged.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        _check_kind(Path(path))
        # Suppress warnings, for example about the pickle protocol: the user should get one message.
        with _without_override(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except _OtherKindError as error:
        raise ValueError(f"{path}: {error}") from error
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path}: not a plain state dict; refused, no code was run. "
            "Save its state_dict() alone, preferably as .safetensors"
        ) from error
    except Exception as error:
        # torch raises many types of errors for a damaged file.
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise ValueError(f"{path}: damaged or truncated ({reason})") from error


class _OtherKindError(Exception):
    """The file was not written by ``torch.save``; the message says what it is."""


def _check_kind(path: Path) -> None:
    """Raise `_OtherKindError` for a file that ``torch.save`` did not write, if its kind is recognized."""
    # Some file formats begin with fixed bytes.
    with path.open("rb") as file:
        start = file.read(8)
    for magic, kind in OTHER_KINDS.items():
        if start.startswith(magic):
            raise _OtherKindError(f"not a state dict of PyTorch, but {kind}")

    # torch.save writes an archive without compression, so what it holds is no larger than the file.
    if not start.startswith(b"PK") or not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    for ending, kind in OTHER_ARCHIVES.items():
        if any(entry.filename.endswith(ending) for entry in entries):
            raise _OtherKindError(f"not a state dict, but {kind}")
    if sum(entry.file_size for entry in entries) > path.stat().st_size:
        raise _OtherKindError(
            "a compressed archive, which torch.save never writes. Unpack it, or save the state_dict() again"
        )


@contextmanager
def _without_override() -> Iterator[None]:
    """Within the block, remove the environment variable that switches ``weights_only`` off."""
    value = os.environ.pop(OVERRIDE_VARIABLE, None)
    try:
        yield
    finally:
        if value is not None:
            os.environ[OVERRIDE_VARIABLE] = value
