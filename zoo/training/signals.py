"""Handle signals that ask a command to stop: Ctrl-C, ``kill``, and those that a cluster sends before it ends a job.

A command that a signal stops ends with one message and the exit status 128 + the signal's number; Ctrl-C is the
regular end of ``zoo demo``. What happens before that depends on what the command is doing, its `Reaction`:

* EXIT, while modules are imported: there is nothing to clean up, so the process ends at once.
* RAISE, most of the time: `Stopped` is raised at the current line, as KeyboardInterrupt would be, and temporary files
  are removed.
* HOLD, within a fit and while files that belong together are written: the signal is noted. A fit saves ``last.ckpt``
  and raises `Stopped` itself; after other blocks, `Stopped` is raised as soon as RAISE is the reaction again.

So a run that is asked to stop while it trains saves first; one that reads data, computes features or evaluates stops at
once, and ``resume=`` repeats only that. Once the results are being written the run finishes, with status 0.

A second Ctrl-C ends the process at once, even within a long call of native code. Python runs signal handlers only
after such a call, but writes the number of each signal to a socket at once, and a thread reads it there.

Imports only the standard library and `zoo.data.worker_signals`.
"""

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from enum import Enum
from typing import Any

from zoo.data import worker_signals
from zoo.data.worker_signals import SIGNALS

AGAIN = 0.1  # seconds; a second Ctrl-C within them is ignored, since wrappers such as `timeout` deliver one twice


class Stopped(BaseException):
    """Raised where a signal asked a command to stop.

    Like KeyboardInterrupt, it is not an Exception. So code that catches the errors of one job or one file and continues
    with the next, such as a sweep, does not catch it.

    Attributes:
        status: exit status of the process, 128 + the signal's number: 130 after Ctrl-C, 143 after ``kill``.
    """

    def __init__(self, number: int, message: str):
        super().__init__(number, message)  # both, so that a process of a parallel sweep can send it to its parent
        self.status = 128 + number

    def __str__(self) -> str:
        return str(self.args[1])


class Reaction(Enum):
    """What a signal does; see the docstring of the module."""

    EXIT = "exit"
    RAISE = "raise"
    HOLD = "hold"


class StopRequest:
    """Whether a signal has asked the command to stop, and how the command reacts.

    Attributes:
        signal: the number of the first signal; None until then.
        reaction: what a signal does now.
        message: what a user reads if the command stops now.
        watched: whether a thread ends the process at a second Ctrl-C.
    """

    def __init__(self, reaction: Reaction = Reaction.HOLD, message: str = "interrupted"):
        self.signal: int | None = None
        self.reaction = reaction
        self.message = message
        self.watched = False

    def check(self) -> None:
        """Raise `Stopped` if a signal has asked to stop."""
        if self.signal is not None:
            raise Stopped(self.signal, self.message)

    @contextmanager
    def held(self, *, stop_after: bool = True) -> Iterator[None]:
        """Within the block, signals are only noted.

        Args:
            stop_after: whether a noted signal raises `Stopped` after the block, if the reaction there is RAISE.
        """
        with self._reacting(Reaction.HOLD):
            yield
        if stop_after and self.reaction is Reaction.RAISE:
            self.check()

    @contextmanager
    def raised(self, message: str | None = None) -> Iterator[None]:
        """Within the block, a signal raises `Stopped`; so does one that was noted before.

        Args:
            message: the message of `Stopped`; None: unchanged.
        """
        with self._reacting(Reaction.RAISE):
            self.message = message or self.message
            self.check()
            with unmasked():
                yield

    @contextmanager
    def _reacting(self, reaction: Reaction) -> Iterator[None]:
        # Never return to EXIT: from now on there may be something to clean up.
        previous = Reaction.HOLD if self.reaction is Reaction.EXIT else self.reaction
        self.reaction = reaction
        try:
            yield
        finally:
            self.reaction = previous

    def receive(self, number: int, frame: Any) -> None:
        """The signal handler."""
        # Only the first signal counts: another one must not interrupt the clean-up. But a second Ctrl-C ends a command
        # at once (see `_watch`), and in a notebook it interrupts the call.
        if self.signal is not None:
            if number == signal.SIGINT and not self.watched:
                raise KeyboardInterrupt
            return
        self.signal = number
        # With EXIT, the thread that watches ends the process.
        if self.reaction is Reaction.RAISE:
            raise Stopped(number, self.message)


# The request that the signal handlers set; None while signals have the handlers of the caller.
_current: StopRequest | None = None


@contextmanager
def command_signals(name: str) -> Iterator[StopRequest]:
    """Handle signals while a command of the command line runs; the previous handlers are restored after the block.

    Args:
        name: beginning of the message of a process that ends at once, such as ``zoo train``.
    """
    request = StopRequest(Reaction.EXIT, "stopped before it began; nothing was written")
    with _handled(request), _watched(request, name):
        worker_signals.ignored = True
        report = sys.unraisablehook
        # Python prints exceptions in finalizers and ignores them. Do not print `Stopped`: the request is still set.
        sys.unraisablehook = lambda args: None if isinstance(args.exc_value, Stopped) else report(args)
        try:
            yield request
        finally:
            sys.unraisablehook = report
            worker_signals.ignored = False
            worker_signals.end(wait=_in_main_thread())


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Yield the request of the running command. Without a command, as in a notebook, handle signals in the block."""
    if _current is not None:
        yield _current
        return
    request = StopRequest(Reaction.RAISE)
    with _handled(request), unmasked():
        yield request


def launching(request: StopRequest, *, sweep: bool) -> AbstractContextManager[None]:
    """Around the composition of a config and its jobs.

    Hydra writes its files before a single job, so signals wait until the job begins. In a sweep they do not wait, since
    its jobs may run in other processes; between jobs that run here, `one_job` makes them wait.
    """
    return request.raised() if sweep else request.held()


@contextmanager
def one_job() -> Iterator[None]:
    """The context of one job of a command: within the block, a signal raises `Stopped`."""
    with stop_on_signals() as request:
        try:
            with request.raised():
                request.message = "interrupted"
                yield
        finally:
            request.reaction = Reaction.HOLD
            request.message = "stopped between two jobs of the sweep; those before are finished"


@contextmanager
def held(*, stop_after: bool = True) -> Iterator[None]:
    """Like `StopRequest.held` of the current request; does nothing if there is none."""
    with nullcontext() if _current is None else _current.held(stop_after=stop_after):
        yield


@contextmanager
def unmasked() -> Iterator[None]:
    """Raise `Stopped` even if it caused another error, such as one in the clean-up of Lightning or OmegaConf."""
    try:
        yield
    except Exception as error:
        found: BaseException | None = error
        while found is not None and not isinstance(found, Stopped):
            found = found.__cause__ or found.__context__
        if found is None:
            raise
        raise found from None


def reinstall() -> None:
    """Install the handlers again, after Lightning has put its own in front of them.

    Lightning's handler of SIGTERM ends a fit where nothing was saved, and sends messages between processes at a time
    when another message may be in transit.
    """
    if _current is not None and _in_main_thread():
        for number in SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, _current.receive)


@contextmanager
def _handled(request: StopRequest) -> Iterator[None]:
    """Within the block, signals go to a request. Does nothing in other threads: only the main one can have handlers."""
    global _current
    if not _in_main_thread():
        yield
        return
    # A program that was started by nohup ignores SIGHUP, and continues to.
    previous = {number: signal.getsignal(number) for number in SIGNALS}
    hangup = getattr(signal, "SIGHUP", None)
    if hangup is not None and previous[hangup] == signal.SIG_IGN:
        del previous[hangup]
    # Set the request first: the handlers may be called as soon as they are installed.
    outer = _current
    _current = request
    try:
        for number in previous:
            signal.signal(number, request.receive)
        yield
    finally:
        _current = outer
        for number, handler in previous.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


@contextmanager
def _watched(request: StopRequest, name: str) -> Iterator[None]:
    """Within the block, a second Ctrl-C ends the process, whatever its main thread is doing."""
    if not _in_main_thread():
        yield
        return
    # Python's C code writes the number of each signal to the socket when it arrives.
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    previous = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    thread = threading.Thread(target=_watch, args=(reader, request, name), daemon=True)
    thread.start()
    request.watched = True
    try:
        yield
    finally:
        # Closing the socket ends the thread.
        signal.set_wakeup_fd(previous)
        writer.close()
        thread.join()
        reader.close()


def _watch(reader: socket.socket, request: StopRequest, name: str) -> None:
    """Read the numbers of signals as they arrive, and end the process at a second Ctrl-C."""
    first: float | None = None
    while received := reader.recv(1):
        number = received[0]
        if number not in SIGNALS:
            continue
        # While modules are imported, one signal is enough.
        if request.reaction is Reaction.EXIT:
            _end_process(number, f"{name}: {request.message}")
        now = time.monotonic()
        if first is None:
            first = now
        elif number == signal.SIGINT and now - first > AGAIN:
            _end_process(number, f"{name}: ended at once; what was not saved yet is lost")


def _end_process(number: int, message: str) -> None:
    """End this process and its worker processes now, without any clean-up."""
    worker_signals.end(wait=False)
    # The terminal may be gone. Use the descriptor: the main thread may hold the lock of sys.stderr.
    with suppress(OSError):
        os.write(2, f"{message}\n".encode(errors="backslashreplace"))
    os._exit(128 + number)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
