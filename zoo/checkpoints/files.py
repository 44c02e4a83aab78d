"""Writing files so that they appear whole or not at all. Imports nothing of the zoo."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError


@contextmanager
def replacing(path: str | Path, *, sync: bool = True) -> Iterator[Path]:
    """Give a temporary path in the folder of ``path``; when the block ends well, it replaces ``path``.

    Args:
        path: the file to write. Its folder is created where it does not exist.
        sync: wait until the content is on disk before the file is renamed.

    Raises:
        OSError: the file could not be written, such as on a full disk. The file that was there before is untouched.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    # The process id keeps two processes that write the same file apart.
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        # Rename only what is on disk: after a power cut there is the old file or the new one.
        if sync:
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
        temporary.replace(target)
    except (OSError, RuntimeError, SafetensorError) as error:
        # torch and safetensors report a full disk by errors of their own kinds.
        reason = " ".join(str(error).split())[:200]
        raise OSError(f"{target} could not be written ({reason}); what was there before is untouched") from error
    finally:
        temporary.unlink(missing_ok=True)


def remove_unfinished(folder: str | Path) -> None:
    """Delete the temporary files of `replacing` that killed processes left under ``folder``."""
    for temporary in Path(folder).rglob(".*.tmp"):
        temporary.unlink(missing_ok=True)


def refuse_existing(path: str | Path, *, overwrite: bool) -> None:
    """Raise FileExistsError if an output would replace a file and ``overwrite`` is off."""
    if Path(path).exists() and not overwrite:
        raise FileExistsError(f"{path} exists; add overwrite=true to replace it, or name another output=")
