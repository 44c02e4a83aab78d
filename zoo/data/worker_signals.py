"""Keep signals that ask a command to stop away from the worker processes of its data loaders.

Ctrl-C in a terminal, ``timeout``, systemd and SLURM signal all processes of a command. Only the main process knows what
to do, see `zoo.training.signals`, and it needs its workers until then. Imports the standard library only.
"""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# Windows has no SIGUSR1, SIGUSR2 and SIGHUP.
_NAMES = ("SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2", "SIGHUP")
SIGNALS = [getattr(signal, name) for name in _NAMES if name in dir(signal)]
ignored = False  # whether new workers ignore signals; a command sets it, and ends its workers by `end`
_CAN_BLOCK = "pthread_sigmask" in dir(signal)  # not on Windows


@contextmanager
def blocked() -> Iterator[None]:
    """Within the block, this process and those that it starts handle no signals; they wait until after it."""
    if not _CAN_BLOCK or threading.current_thread() is not threading.main_thread():
        yield
        return
    # The mask keeps signals from the new processes. This process may have threads that still receive them, and Python
    # would call the handlers here: an exception of one could leave a process half-started, so only note the numbers.
    arrived: list[int] = []
    handlers = {number: signal.getsignal(number) for number in SIGNALS if callable(signal.getsignal(number))}
    for number in handlers:
        signal.signal(number, lambda number, frame: arrived.append(number))
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)
        for number, handler in handlers.items():
            signal.signal(number, handler)
    # Call the handlers now; the first may raise.
    for number in arrived:
        handler = handlers[number]
        assert callable(handler)
        handler(number, None)


def ignore(worker: int) -> None:
    """Ignore signals in a worker that was started within `blocked`. It also ignores SIGTERM, so only `end` ends it."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    # Signals that arrived since the start are discarded.
    if _CAN_BLOCK:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def accept(worker: int) -> None:
    """Receive signals again in a worker that was started within `blocked`."""
    if _CAN_BLOCK:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def end(*, wait: bool) -> None:
    """Kill the worker processes of data loaders that are still running.

    Args:
        wait: wait until they have ended; only in the main thread.
    """
    # Without the module there is no such process.
    multiprocessing: Any = sys.modules.get("multiprocessing")
    if multiprocessing is None:
        return
    workers = [process for process in multiprocessing.active_children() if process.daemon]
    # Torch's handler of SIGCHLD would report the end of a worker as an error.
    previous = signal.signal(signal.SIGCHLD, signal.SIG_DFL) if wait and workers and _CAN_BLOCK else None
    for process in workers:
        process.kill()
    if wait:
        for process in workers:
            process.join()
    if previous is not None:
        signal.signal(signal.SIGCHLD, previous)
