"""Read pickles safely: only tensors and plain values, never code. No other module reads pickles. Imports torch only."""

import os
import pickle
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

# This environment variable would override weights_only=True.
OVERRIDE_VARIABLE = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"


def load(path: str | Path) -> Any:
    """Read a file written by ``torch.save``, onto the CPU.

    Raises:
        ValueError: the file holds more than tensors and plain values, is damaged, or does not exist.
    """
    try:
        # Suppress warnings, for example about the pickle protocol: the user should get one message.
        with _without_override(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path}: not a plain state dict; refused, no code was run. "
            "Save its state_dict() alone, preferably as .safetensors"
        ) from error
    except Exception as error:
        # torch raises many types of errors for a damaged file.
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise ValueError(f"{path}: damaged or cut short ({reason})") from error


@contextmanager
def _without_override() -> Iterator[None]:
    """Within the block, remove the environment variable that switches ``weights_only`` off."""
    value = os.environ.pop(OVERRIDE_VARIABLE, None)
    try:
        yield
    finally:
        if value is not None:
            os.environ[OVERRIDE_VARIABLE] = value
