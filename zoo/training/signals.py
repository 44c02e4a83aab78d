"""Handle signals that ask a run to stop: the fit saves after the current or the next step and raises `Stopped`.

Ctrl-C, ``kill``, and the signals that a cluster sends before it ends a job (SLURM's ``--signal=USR1@60``, submitit's
USR2) are treated alike. A second Ctrl-C stops at once and saves nothing. Imports the standard library only.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# Windows has no SIGUSR1 and SIGUSR2.
SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2") if name in dir(signal)]


class Stopped(Exception):  # noqa: N818 - not an error
    """Raised when a run that was asked to stop has saved its state; it can be resumed.

    Attributes:
        status: exit status of the process: 128 + the signal's number: 130 after Ctrl-C, 143 after ``kill``.
    """

    def __init__(self, number: int, message: str):
        super().__init__(message)
        self.status = 128 + number


class StopRequest:
    """The number of the signal that asked the run to stop; None until then."""

    signal: int | None = None


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Within the block, signals set the `StopRequest`; after it they have their previous handlers again."""
    request = StopRequest()
    # Only the main thread can receive signals.
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def handle(number: int, frame: Any) -> None:
        if number == signal.SIGINT and request.signal is not None:
            raise KeyboardInterrupt
        request.signal = request.signal or number

    # Install the handler, and restore the previous ones whatever happens in the block.
    previous = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield request
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
