"""The server of the page ends, whatever its answers do."""

import subprocess
import sys
import threading
import urllib.request
from contextlib import suppress

import pytest

server = pytest.importorskip("zoo.demo.server")


def test_an_answer_that_takes_too_long_does_not_hold_up_the_end_or_print_an_error(monkeypatch):
    monkeypatch.setattr(server, "CLOSING", 0.1)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)  # restored after the test
    began, over = threading.Event(), threading.Event()

    async def app(scope, receive, send):
        began.set()
        over.wait(timeout=30)  # blocks the whole thread, as a long computation does

    before = set(threading.enumerate())
    with server.serving(app, 0) as running:
        client = threading.Thread(target=_ignore_errors, args=(running.address,), daemon=True)
        client.start()
        assert began.wait(timeout=10)
    (thread,) = set(threading.enumerate()) - before - {client}
    assert thread.is_alive()
    assert threading.excepthook is not threading.__excepthook__
    assert threading.excepthook(threading.ExceptHookArgs((RuntimeError, RuntimeError(), None, thread))) is None
    over.set()
    thread.join(timeout=10)
    client.join(timeout=10)


BUSY = """
import threading, time, torch, urllib.request
from contextlib import contextmanager, suppress
from zoo.demo import app, server

server.CLOSING = 0.1
began = threading.Event()

class Collection:
    @contextmanager
    def use(self, key):
        began.set()
        end = time.monotonic() + 2
        while time.monotonic() < end:
            torch.relu(torch.randn(300, 300))
        yield

def ask(address):
    with suppress(OSError):
        urllib.request.urlopen(address + "api/checkpoint", timeout=20)

with server.serving(app.make_app(Collection()), 0) as running:
    threading.Thread(target=ask, args=(running.address,), daemon=True).start()
    began.wait()
print("closed")
"""


def test_a_net_that_computes_longer_than_the_server_closes_does_not_abort_the_process():
    result = subprocess.run([sys.executable, "-c", BUSY], capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout, result.stderr) == (0, "closed\n", "")


def _ignore_errors(address: str) -> None:
    with suppress(OSError):
        urllib.request.urlopen(address, timeout=20)
