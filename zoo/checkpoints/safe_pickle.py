"""The only place where a pickle is read: it gives tensors and plain values, and code in it is never run. Torch only."""

import os
import pickle
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

INSISTENCE = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"  # an environment variable that overrules weights_only=True


def load(path: str | Path) -> Any:
    """Read what ``torch.save`` wrote, onto the CPU.

    Raises:
        ValueError: the file holds more than tensors and plain values, or it is damaged.
    """
    try:
        # Warnings, such as of the pickle's protocol, would hide the one message that the user gets.
        with _refusing_code(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path}: not a plain state dict; refused, no code was run. "
            "Save its state_dict() alone, preferably as .safetensors"
        ) from error
    except Exception as error:
        # torch's reader raises errors of any kind on a damaged file.
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise ValueError(f"{path}: damaged or cut short ({reason})") from error


@contextmanager
def _refusing_code() -> Iterator[None]:
    """Take the variable that switches ``weights_only`` off out of the environment, and put it back."""
    value = os.environ.pop(INSISTENCE, None)
    try:
        yield
    finally:
        if value is not None:
            os.environ[INSISTENCE] = value
