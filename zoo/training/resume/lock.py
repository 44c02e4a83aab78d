"""Keep two processes from training the same run, or from taking the same trial of a search. Imports Lightning only."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lightning.pytorch.utilities import rank_zero_only

# The open folders and files that this process has locked.
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


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Lock a file within the block, after waiting for the process that has locked it; create it if it does not exist.

    The system unlocks it when the process ends, however it ends. On a system or file system without such locks,
    nothing is locked.
    """
    if os.name != "posix":
        yield
        return
    import fcntl

    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    _descriptors.add(descriptor)
    try:
        with suppress(OSError):  # some network file systems have no such locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        _descriptors.discard(descriptor)
        os.close(descriptor)


def is_locked(path: Path) -> bool:
    """Whether a process has locked a file by `exclusive`."""
    if os.name != "posix" or not path.exists():
        return False
    import fcntl

    descriptor = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False


def _close_in_child() -> None:
    """A worker process may outlive a killed run for seconds: it must not hold the lock."""
    while _descriptors:
        os.close(_descriptors.pop())


if os.name == "posix":
    os.register_at_fork(after_in_child=_close_in_child)
