"""``zoo demo``: what it refuses, what it prints, and how it ends."""

import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request

import pytest
import torch

import zoo.tasks
from zoo.checkpoints import checkpoint as checkpoints
from zoo.cli import demo
from zoo.config.catalogue import CHECKPOINTS
from zoo.models import MLP
from zoo.training.signals import Stopped

server = pytest.importorskip("zoo.demo.server")
OWN = str(CHECKPOINTS / "lenet5-digits.safetensors")  # a file, as users have them


@pytest.fixture
def alone(monkeypatch):
    """A page without the shipped checkpoints opens faster."""
    monkeypatch.setattr(demo, "list_checkpoints", list)


@pytest.mark.usefixtures("alone")
def test_ctrl_c_is_the_regular_end(cli, monkeypatch):
    opened = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    for stop in (KeyboardInterrupt(), Stopped(signal.SIGINT, "interrupted")):
        monkeypatch.setattr(server.Server, "wait", lambda self, stop=stop: (_ for _ in ()).throw(stop))
        outcome = cli("demo", "checkpoint=lenet5-digits", "port=0", "open_browser=true")
        assert (outcome.status, outcome.err) == (0, "")
        shown = re.fullmatch(
            r"zoo demo: (http://127\.0\.0\.1:\d+/) \(Ctrl-C ends it\)\nzoo demo: closed\n", outcome.out
        )
        assert opened.pop() == shown[1]


@pytest.mark.usefixtures("alone")
def test_another_signal_has_its_own_status(cli, monkeypatch):
    def wait(self):
        raise Stopped(signal.SIGTERM, "interrupted")

    monkeypatch.setattr(server.Server, "wait", wait)
    outcome = cli("demo", "checkpoint=lenet5-digits", "port=0")
    assert (outcome.status, outcome.err) == (143, "zoo demo: interrupted\n")


def test_the_page_has_all_shipped_checkpoints_and_the_given_one_first():
    assert demo._names(OWN) == [OWN, *zoo.list_checkpoints()]
    assert demo._names("rbm-mnist")[0] == "rbm-mnist"
    assert sorted(demo._names("rbm-mnist")) == zoo.list_checkpoints()


def test_a_checkpoint_without_its_file_is_left_out(monkeypatch):
    def locate(name):
        if name == "resnet18-mnist":  # as in the wheel
            raise FileNotFoundError(name)

    monkeypatch.setattr(demo, "locate", locate)
    assert set(zoo.list_checkpoints()) - set(demo._names("rbm-mnist")) == {"resnet18-mnist"}


def test_the_tasks_without_targets_are_known_by_name():
    """They are not imported when a net is opened, so their names are listed."""
    found = {name for name in zoo.tasks.__all__ if getattr(getattr(zoo.tasks, name), "targets", "") == "none"}
    assert set(demo.WITHOUT_TARGETS) == found


@pytest.mark.usefixtures("alone")
def test_an_error_is_one_line(cli, folder, monkeypatch):
    about = checkpoints.CheckpointInfo(
        "mlp",
        {"_target_": "zoo.models.MLP", "in_shape": [4], "num_classes": 2, "hidden": [3]},
        {"_target_": "zoo.tasks.Classification"},
        {"shape": [4], "scale": 1.0, "mean": [0.0], "std": [1.0]},
        classes=["a", "b"],
    )
    torch.manual_seed(0)
    checkpoints.save(MLP(in_shape=[4], num_classes=2, hidden=[3]), "table.safetensors", about)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        cases = {
            "port=-1": "port=-1 must be in [0, 65535]; 0 chooses a free one",
            "port=65536": "port=65536 must be in [0, 65535]",
            f"port={taken.getsockname()[1]}": "address already in use; choose another port, or port=0 for a free one",
            "checkpoint=gone": "no checkpoint 'gone'",
            "checkpoint=table.safetensors": "the page shows nets of images; mlp takes 4 features",
            "prt=1": "prt",
        }
        for word, says in cases.items():
            outcome = cli("demo", word, *([] if "checkpoint" in word else ["checkpoint=lenet5-digits"]))
            assert (outcome.status, outcome.out, len(outcome.err.splitlines())) == (1, "", 1)
            assert says in outcome.err
            assert "internal error" not in outcome.err

    # Without the extra.
    for name in [name for name in sys.modules if name.startswith("zoo.demo.app")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "starlette.applications", None)
    outcome = cli("demo")
    assert outcome.status == 1
    assert re.search(r"needs starlette\S*: pip install 'reference-zoo\[demo\]'", outcome.err)


@pytest.mark.slow
def test_ctrl_c_ends_the_process(tmp_path):
    command = [sys.executable, "-m", "zoo.cli", "demo", "checkpoint=lenet5-digits", "port=0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    address = re.search(r"http://\S+", process.stdout.readline())[0]
    # An open connection does not hold it up.
    with socket.create_connection(("127.0.0.1", int(address.rstrip("/").rpartition(":")[2]))):
        assert urllib.request.urlopen(address, timeout=20).status == 200
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (0, "zoo demo: closed\n", "")
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(address, timeout=2)
    assert not list(tmp_path.iterdir())
