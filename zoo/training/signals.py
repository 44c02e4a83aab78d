"""Asked to stop: a signal is noted, and the fit saves after the step it is at and ends with `Stopped`. Imports nothing.

Ctrl-C, ``kill``, and what a cluster sends before it takes the machine away (SLURM's ``--signal=USR1@60``, submitit's
USR2) are all asked alike. A second Ctrl-C stops at once, and saves nothing.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

NOTED = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2") if hasattr(signal, name)]


class Stopped(Exception):  # noqa: N818 - no error
    """A run that was asked to stop has saved what it needs to go on.

    Attributes:
        status: that of the process, 128 and the signal's number: 130 after Ctrl-C, 143 after ``kill``.
    """

    def __init__(self, number: int, message: str):
        super().__init__(message)
        self.status = 128 + number


class Request:
    """Whether a signal has come: its number."""

    signal: int | None = None


@contextmanager
def noting() -> Iterator[Request]:
    """Within the block, signals that ask to stop are noted; afterwards they mean what they meant before."""
    request = Request()
    if threading.current_thread() is not threading.main_thread():
        yield request  # only the main thread can receive them
        return

    def note(number: int, frame: Any) -> None:
        if number == signal.SIGINT and request.signal is not None:
            raise KeyboardInterrupt
        request.signal = request.signal or number

    before = {number: signal.signal(number, note) for number in NOTED}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
