"""Serve an application on loopback, in a thread beside the main one, which waits for Ctrl-C. Needs uvicorn."""

import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

HOST = "127.0.0.1"
CLOSING = 2  # seconds that open requests have when the server closes


class Server:
    """A running server.

    Attributes:
        address: of the page.
    """

    def __init__(self, address: str, thread: threading.Thread):
        self.address = address
        self._thread = thread

    def wait(self) -> None:
        """Wait until the server ends; a signal interrupts this in the main thread."""
        while self._thread.is_alive():
            self._thread.join(timeout=1)  # without a timeout, Windows would not deliver Ctrl-C


@contextmanager
def serving(app: ASGIApp, port: int) -> Iterator[Server]:
    """Within the block, answer requests on a port of loopback (0: a free one).

    Raises:
        OSError: the port is in use, or may not be used; the message names the key.
    """
    listener = _bound(port)
    address = f"http://{HOST}:{listener.getsockname()[1]}/"
    config = uvicorn.Config(
        app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=CLOSING, ws="none"
    )
    server = uvicorn.Server(config)
    log = logging.getLogger("uvicorn.error")
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield Server(address, thread)
    finally:
        # What the server raises and logs while its requests are cut off says nothing.
        before = threading.excepthook
        threading.excepthook = lambda _: None
        log.disabled = True
        server.should_exit = True
        thread.join(timeout=5 * CLOSING)
        # A thread that is computing a long answer still needs the socket; it ends with the process.
        if not thread.is_alive():
            threading.excepthook = before
            log.disabled = False
            listener.close()


def _bound(port: int) -> socket.socket:
    """A socket that listens on loopback."""
    listener = socket.socket()
    # Start again at once on the same port; on Windows this option would allow two servers on one port.
    if hasattr(socket, "SO_EXCLUSIVEADDRUSE"):
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
    else:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        listener.listen()
    except OSError as error:
        listener.close()
        reason = error.strerror or str(error)
        raise OSError(f"port={port}: {reason.lower()}; choose another port, or port=0 for a free one") from error
    return listener
