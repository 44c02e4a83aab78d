"""Keep two processes from training the same run at once. Imports Lightning only."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lightning.pytorch.utilities import rank_zero_only

# The open folders that this process has locked.
_descriptors: set[int] = set()


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock a run folder within the block. The system unlocks it when the process ends, however it ends.

    Only the first process of a distributed run locks it. On a system or file
    system without such locks, nothing is locked.

    Raises:
        ValueError: another process has locked it.
    """
    descriptor = _open(folder)
    try:
        if descriptor is not None:
            _lock(descriptor, folder)
        yield
    finally:
        if descriptor is not None:
            _descriptors.discard(descriptor)
            os.close(descriptor)


@rank_zero_only
def _open(folder: Path) -> int | None:
    """The descriptor of a folder; None if there is none, or not in the first process."""
    if os.name != "posix" or not folder.is_dir():
        return None
    descriptor = os.open(folder, os.O_RDONLY)
    _descriptors.add(descriptor)
    return descriptor


def _lock(descriptor: int, folder: Path) -> None:
    # Lock the folder itself, so that no file is left behind.
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise ValueError(
            f"{folder}: another process is training this run; wait for it, stop it, or set another hydra.run.dir="
        ) from error
    except OSError:
        # Some network file systems have no such locks.
        return


def _close_in_child() -> None:
    """A worker process may outlive a killed run for seconds: it must not hold the lock."""
    while _descriptors:
        os.close(_descriptors.pop())


if os.name == "posix":
    os.register_at_fork(after_in_child=_close_in_child)
