"""The one place where a pickle is read: tensors and plain values come out of it, code in it is never run."""

import os
import pickle
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

INSISTENCE = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"  # by which a user's environment overrules weights_only=True


def load(path: str | Path) -> Any:
    """What ``torch.save`` wrote, on the CPU.

    Raises:
        ValueError: it holds more than tensors and plain values, or is damaged.
    """
    try:
        with _refusing(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as of a pickle's protocol
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path}: holds more than tensors, or is no weights file; nothing of it was executed. "
            "Save its state_dict() alone, best as .safetensors"
        ) from error
    except Exception as error:  # torch's reader trips over a damaged file in any way there is
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise ValueError(f"{path}: damaged or cut short ({reason})") from error


@contextmanager
def _refusing() -> Iterator[None]:
    value = os.environ.pop(INSISTENCE, None)
    try:
        yield
    finally:
        if value is not None:
            os.environ[INSISTENCE] = value
