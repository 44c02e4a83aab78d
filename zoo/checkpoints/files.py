"""Files that appear whole or not at all."""

import os
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError


@contextmanager
def replacing(path: str | Path, *, sync: bool = True):
    """A temporary path beside ``path`` that takes its place, synced to disk, when the block ends well."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        if sync:
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
        temporary.replace(target)
    except (OSError, RuntimeError, SafetensorError) as error:  # a full disk, in the words of whoever wrote
        reason = " ".join(str(error).split())[:200]
        raise OSError(f"{target} could not be written ({reason}); what was there before is untouched") from error
    finally:
        temporary.unlink(missing_ok=True)


def remove_unfinished(folder: str | Path) -> None:
    """Delete what killed processes had begun to write under ``folder`` by `replacing`."""
    for temporary in Path(folder).rglob(".*.tmp"):
        temporary.unlink(missing_ok=True)


def refuse_existing(path: str | Path, *, overwrite: bool) -> None:
    """Raise FileExistsError where an output would replace a file and ``overwrite`` is off."""
    if Path(path).exists() and not overwrite:
        raise FileExistsError(f"{path} exists; add overwrite=true to replace it, or name another output=")
