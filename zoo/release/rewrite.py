"""Rewrite the shipped checkpoints in the current format: new headers, bit-identical tensors.

    python -m zoo.release.rewrite           # rewrite the files that need it, and the index
    python -m zoo.release.rewrite --check   # exit with status 1 if a file needs it

For maintainers, after the format or the name of an argument has changed. A file that is already in the current format
is not touched, because the history of the repository keeps every version of a file forever. `zoo.release.results` then
writes the tables and cards again. May import config and checkpoints.
"""

import sys
import tempfile
from pathlib import Path

import torch
from torch import Tensor

from zoo.checkpoints import checkpoint as checkpoints
from zoo.checkpoints import files
from zoo.config import catalogue
from zoo.release import index, publish


def rewrite(*, check: bool = False) -> list[str]:
    """Rewrite the files of the index in the current format; update hash, size and the recipe's claim in the index.

    Args:
        check: only report which files need it.

    Returns:
        Names of the checkpoints that need rewriting or were rewritten.

    Raises:
        ValueError: a file is damaged or does not fit its net, or the rewritten file would differ from it. Nothing is
            replaced in this case.
    """
    entries = catalogue.index()
    changed: dict[str, bytes] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, entry in entries.items():
            path = catalogue.CHECKPOINTS / entry["file"]
            content = _rewritten(name, Path(folder) / entry["file"])
            if content != path.read_bytes():
                changed[name] = content
    if check:
        return list(changed)

    # All files have been checked: replace those that differ, and then the index.
    for name, content in changed.items():
        with files.replacing(catalogue.CHECKPOINTS / entries[name]["file"]) as temporary:
            temporary.write_bytes(content)
        entries[name] |= publish.fingerprint(content)
    index.write(index.with_current_claims(entries))
    return list(changed)


def _rewritten(name: str, path: Path) -> bytes:
    """The bytes of a checkpoint in the current format, written to ``path`` and read back."""
    # Build the net once, so that a header that no longer fits its tensors does not ship.
    checkpoints.open_checkpoint(name)
    tensors, about = checkpoints.read(name)
    checkpoints.write(tensors, path, about)

    # The rewritten file must load, too, and hold the same tensors and the same description.
    checkpoints.open_checkpoint(path)
    new_tensors, new_about = checkpoints.read(path)
    if new_about != about:
        raise ValueError(f"{name}: the rewritten file has another description; nothing was replaced")
    if new_tensors.keys() != tensors.keys() or not all(_same_bits(new_tensors[key], tensors[key]) for key in tensors):
        raise ValueError(f"{name}: the rewritten tensors differ from those of the file; nothing was replaced")
    return path.read_bytes()


def _same_bits(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors are bit-identical: NaN equals NaN, and 0.0 differs from -0.0."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    bytes_of_a, bytes_of_b = (tensor.contiguous().flatten().view(torch.uint8) for tensor in (a, b))
    return torch.equal(bytes_of_a, bytes_of_b)


def main(arguments: list[str]) -> None:
    """Rewrite, or with --check exit with status 1 if a file is not in the current format."""
    check = "--check" in arguments
    names = rewrite(check=check)
    if check and names:
        sys.exit(f"not in the current format, run python -m zoo.release.rewrite: {', '.join(names)}")
    sys.stdout.write(f"rewritten: {', '.join(names) or 'none'}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
