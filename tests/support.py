"""Helpers that several test files share."""

import hashlib
import json
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

ROOT = Path(__file__).parents[1]  # of the repository


class Outcome:
    """What a user saw: exit status and both streams."""

    def __init__(self, status: int, out: str, err: str):
        self.status, self.out, self.err = status, out, err


class Touch:
    """Unpickled carelessly, it leaves a file."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


def write_format1(path: Path, tensors: dict[str, Tensor], description: dict[str, Any]) -> Path:
    """A checkpoint of format 1: three entries in its header, the digest of the description's text and the tensors."""
    text = json.dumps(description, sort_keys=True)
    digest = hashlib.sha256(text.encode())
    for name, value in sorted(tensors.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.contiguous().numpy().tobytes())
    save_file(tensors, path, {"format": "1", "zoo": text, "sha256": digest.hexdigest()})
    return path
