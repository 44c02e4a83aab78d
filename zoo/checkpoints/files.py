"""Write files atomically: completely or not at all. Imports nothing from the zoo."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError


@contextmanager
def replacing(path: str | Path, *, sync: bool = True) -> Iterator[Path]:
    """Yield a temporary path in the folder of ``path``; if the block succeeds, the temporary file replaces ``path``.

    Args:
        path: the file to write. Its folder is created if it does not exist.
        sync: wait until the content is on disk before the file is renamed.

    Raises:
        OSError: the file could not be written, such as on a full disk. An existing file is left untouched.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    # The process id keeps two processes that write the same file apart.
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        # Sync before renaming: after a power cut there is either the old file or the new one.
        if sync:
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
        temporary.replace(target)
    except (OSError, RuntimeError, SafetensorError) as error:
        # torch and safetensors raise their own error types if the disk is full.
        reason = " ".join(str(error).split())[:200]
        raise OSError(f"{target} could not be written ({reason}); an existing file is left untouched") from error
    finally:
        temporary.unlink(missing_ok=True)


def remove_unfinished(folder: str | Path) -> None:
    """Delete the temporary files of `replacing` that killed processes left under ``folder``."""
    for temporary in Path(folder).rglob(".*.tmp"):
        temporary.unlink(missing_ok=True)


def refuse_existing(path: str | Path, *, overwrite: bool) -> None:
    """Raise FileExistsError if ``path`` exists and ``overwrite`` is False."""
    if Path(path).exists() and not overwrite:
        raise FileExistsError(f"{path} exists; add overwrite=true to replace it, or name another output=")
