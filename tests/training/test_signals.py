"""A signal ends every command with one message and status 128 + its number, wherever it comes."""

import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from support import image_folder_at, no_plots, slow_but
from test_resume import ALWAYS, assert_same

from zoo.data import worker_signals
from zoo.data.workers import FULL, told_errors
from zoo.tasks import Classification
from zoo.training import checks, feature_cache, fit_data, outputs
from zoo.training import run as runs
from zoo.training.callbacks import SaveForResume
from zoo.training.progress import reported
from zoo.training.signals import Reaction, Stopped, StopRequest, stop_on_signals, unmasked

LOGISTIC = ["model=logistic", *ALWAYS]
LAYERS = ["model=dbn", "model.net.hidden=[12,8]", *ALWAYS]


@pytest.fixture(autouse=True, scope="module")
def _hangup_is_not_ignored():
    """Tests that nohup started would otherwise ignore SIGHUP, as every command does that nohup started."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def signal_in(monkeypatch, module, name: str, number: int = signal.SIGTERM, *, at: int = 1, after: bool = False):
    """Send this process a signal at the ``at``-th call of a function, before or after it."""
    original, calls = getattr(module, name), iter(range(1, 10**9))

    def call(*args, **options):
        mine = next(calls) == at
        if mine and not after:
            os.kill(os.getpid(), number)
        result = original(*args, **options)
        if mine and after:
            os.kill(os.getpid(), number)
        return result

    monkeypatch.setattr(module, name, call)


# While a run trains


PLACES = {
    "while the data are read": (checks, "plan", {}, "before training began; nothing was written"),
    "while the first files are written": (
        outputs,
        "begin",
        {},
        "before training began; nothing was saved yet: resume=",
    ),
    "at the start of a fit": (
        SaveForResume,
        "on_train_start",
        {},
        "at step 1 of pretrain.layer0; continue with resume=",
    ),
    "at a step": (SaveForResume, "on_train_batch_end", {"at": 5}, "at step 5 of pretrain.layer0; continue"),
    "at the step before a logged one": (SaveForResume, "on_train_batch_end", {"at": 8, "after": True}, "of pretrain.l"),
    "at the last step of a fit": (
        SaveForResume,
        "on_train_epoch_end",
        {"at": 3, "after": True},
        "after pretrain.layer0;",
    ),
    "between two fits": (fit_data, "cache_features", {}, "after pretrain.layer0; continue with resume="),
    "while features are computed": (feature_cache, "reported", {}, "after pretrain.layer0; continue with resume="),
    "while a stage is drawn": (outputs, "draw_stage", {}, "after pretrain.layer1; continue with resume="),
    "in validation": (Classification, "validation_step", {}, "at step 9 of finetune; continue with resume="),
    "while the net is evaluated": (runs, "measure", {}, "after finetune; continue with resume="),
    "within the evaluation": (Classification, "test_step", {}, "after finetune; continue with resume="),
}
QUICK = ("while the data are read", "while features are computed", "in validation", "while the net is evaluated")


@pytest.fixture(scope="module")
def whole(tmp_path_factory, module_cli):
    """A run without a signal."""
    run = tmp_path_factory.mktemp("whole") / "run"
    module_cli("train", *LAYERS, f"hydra.run.dir={run}")
    return run


@pytest.fixture(scope="module")
def module_cli():
    from zoo.cli.main import main

    return lambda command, *words: main(command, words)


@pytest.mark.parametrize("place", slow_but(PLACES, lambda place: place in QUICK))
def test_a_run_that_is_signalled_says_what_was_saved_and_is_resumed(place, whole, tmp_path, monkeypatch, cli):
    module, name, options, message = PLACES[place]
    run = tmp_path / "run"
    words = [*LAYERS, f"hydra.run.dir={run}"]
    words[-2] = "progress=true" if name == "reported" else words[-2]
    with monkeypatch.context() as patch:
        no_plots(patch)
        signal_in(patch, module, name, **options)
        outcome = cli("train", *words)
    assert (outcome.status, outcome.err.count("\n")) == (143, 1)
    assert message in outcome.err
    assert not list(run.rglob("*.tmp"))
    if "nothing was written" in message:
        assert not run.exists()
        return
    assert (run / "checkpoints" / "last.ckpt").exists() == ("nothing was saved yet" not in message)
    no_plots(monkeypatch)
    outcome = cli("train", f"resume={run}")
    assert (outcome.status, outcome.err) == (0, "")
    assert_same(run, whole)


def test_a_run_whose_results_are_being_written_finishes(tmp_path, monkeypatch, cli):
    no_plots(monkeypatch)
    signal_in(monkeypatch, outputs, "finish")
    outcome = cli("train", *LOGISTIC, f"hydra.run.dir={tmp_path / 'run'}")
    assert (outcome.status, outcome.err) == (0, "")
    assert (tmp_path / "run" / "metrics.json").is_file()


@pytest.mark.parametrize("epochs", slow_but([2, 12], lambda epochs: epochs == 12))
def test_early_stopping_is_resumed_exactly(epochs, tmp_path, monkeypatch, cli):
    words = [*LOGISTIC, "lr=0.3", "model.stages.fit.patience=1", f"epochs={epochs}"]
    no_plots(monkeypatch)
    assert cli("train", *words, f"hydra.run.dir={tmp_path / 'whole'}").status == 0
    for module, name in ((SaveForResume, "on_train_epoch_end"), (runs, "measure")):
        run = tmp_path / name
        with monkeypatch.context() as patch:
            signal_in(patch, module, name)
            assert cli("train", *words, f"hydra.run.dir={run}").status == 143
        assert cli("train", f"resume={run}").status == 0
        assert_same(run, tmp_path / "whole")
        assert [path.name for path in (run / "checkpoints").iterdir()] == ["last.ckpt"]


# Sweeps


SWEEPS = [(signal.SIGINT, SaveForResume, "on_train_start"), (signal.SIGTERM, outputs, "finish")]


@pytest.mark.parametrize(("number", "module", "name"), SWEEPS)
def test_a_signal_ends_the_whole_sweep(number, module, name, tmp_path, monkeypatch, cli):
    no_plots(monkeypatch)
    signal_in(monkeypatch, module, name, number)
    outcome = cli("train", "-m", *LOGISTIC, "seed=1,2,3", f"hydra.sweep.dir={tmp_path}")
    assert (outcome.status, outcome.err.count("\n")) == (128 + number, 1)
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["0"]


def test_the_signal_that_stopped_a_job_of_another_process_is_told_by_its_status():
    stopped = pickle.loads(pickle.dumps(Stopped(15, "stopped at step 1")))
    assert (stopped.status, str(stopped)) == (143, "stopped at step 1")


# Other commands


@pytest.mark.parametrize("number", worker_signals.SIGNALS)
def test_a_signalled_prediction_leaves_no_file(number, trained, tmp_path, monkeypatch, cli):
    from zoo.cli import predict

    before = {n: signal.getsignal(n) for n in worker_signals.SIGNALS}
    monkeypatch.chdir(tmp_path)
    image_folder_at(tmp_path / "images", classes=("a",), count=2)
    signal_in(monkeypatch, predict, "replacing", number, after=True)
    outcome = cli("predict", f"checkpoint={trained}", "input=images/a", "resize=true")
    assert (outcome.status, outcome.err) == (128 + number, "zoo predict: interrupted\n")
    assert [path.name for path in tmp_path.iterdir()] == ["images"]
    assert {n: signal.getsignal(n) for n in before} == before


def test_a_signalled_plain_command_says_so(monkeypatch, cli):
    from zoo.cli import list_models

    signal_in(monkeypatch, list_models, "main", signal.SIGUSR1)
    outcome = cli("list")
    assert (outcome.status, outcome.err) == (128 + signal.SIGUSR1, "zoo list: interrupted\n")


# The pieces


def test_a_noted_signal_stops_when_the_block_ends():
    request = StopRequest(Reaction.RAISE, "now")
    with pytest.raises(Stopped, match="now"), request.held():
        request.receive(signal.SIGTERM, None)
    request.receive(signal.SIGTERM, None)  # a second one does not disturb the clean-up


def test_a_noted_signal_that_comes_too_late_does_not_stop():
    request = StopRequest(Reaction.RAISE)
    with request.held(stop_after=False):
        request.receive(signal.SIGTERM, None)
    assert request.signal == signal.SIGTERM


def test_an_error_of_the_clean_up_does_not_hide_a_stop():
    with pytest.raises(Stopped, match="here"), unmasked():
        raise RuntimeError("clean-up") from Stopped(15, "here")
    with pytest.raises(RuntimeError, match="other"), unmasked():
        raise RuntimeError("other")


@pytest.mark.parametrize("block", [StopRequest().raised, stop_on_signals])
def test_an_error_in_the_clean_up_of_a_library_does_not_hide_the_signal(block):
    """OmegaConf restores flags in a ``finally``, which fails for a config that is half built, and renames the error."""

    def half_built():
        try:
            raise Stopped(signal.SIGINT, "here")
        finally:
            None._invalidate_flags_cache()

    def compose():
        try:
            half_built()
        except Exception as error:
            raise ValueError(f"config.unfreeze_at: {error}") from None

    with pytest.raises(Stopped, match="here"), block():
        compose()


def test_a_second_interrupt_ends_a_call_from_python():
    with stop_on_signals() as request, request.held(stop_after=False):
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


LONG_STEP = """
import os, signal, sys, threading, time, torch
from zoo.training.signals import command_signals

def press():
    for _ in range(2):
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGINT)

x = torch.zeros(20_000_000)
with command_signals("zoo test") as stop, stop.held():
    threading.Thread(target=press, daemon=True).start()
    torch.mm(torch.ones(6000, 6000), torch.ones(6000, 6000)) if sys.argv[1:] else torch.sort(torch.rand(400_000_000))
"""


@pytest.mark.slow
def test_a_second_interrupt_ends_a_long_native_step_at_once():
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-c", LONG_STEP], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (130, "zoo test: ended at once; what was not saved yet is lost\n")
    assert time.monotonic() - start < 60


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_while_modules_are_imported_ends_the_command(number, tmp_path):
    command = [sys.executable, "-m", "zoo.cli", "train", "dataset=digits", f"hydra.run.dir={tmp_path / 'run'}"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    time.sleep(1.5)
    process.send_signal(number)
    _, text = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert text == "zoo train: stopped before it began; nothing was written\n"
    assert not (tmp_path / "run").exists()


# Worker processes


def images(root: Path, count: int = 20) -> list[str]:
    folder = image_folder_at(root / "images", count=count)
    words = ["model=logistic", "dataset=image_folder", f"dataset.root={folder}", "dataset.shape=[1,8,8]", "epochs=2"]
    return [*words, "batch_size=4", "dataset.workers=2", "progress=false", f"hydra.run.dir={root / 'run'}"]


def workers_of(*rest) -> list:
    return [process for process in multiprocessing.active_children() if process.daemon]


def test_workers_do_not_end_by_the_signals_of_their_group(tmp_path, monkeypatch, cli):
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
    seen = []

    def send(self, trainer, module, batch, batch_idx):
        if not seen:
            for worker in workers_of():
                seen.append(worker)
                for number in numbers:
                    os.kill(worker.pid, number)
            os.kill(os.getpid(), signal.SIGTERM)

    no_plots(monkeypatch)
    monkeypatch.setattr(SaveForResume, "on_train_batch_start", send)
    outcome = cli("train", *images(tmp_path))
    assert len(seen) >= 2
    assert outcome.status == 143
    assert "continue with resume=" in outcome.err
    assert not workers_of()


def test_a_lost_worker_is_told_in_one_line(tmp_path, monkeypatch, cli):
    def kill(self, trainer, module, *rest):
        for worker in workers_of():
            worker.kill()
            time.sleep(0.2)

    no_plots(monkeypatch)
    monkeypatch.setattr(SaveForResume, "on_train_batch_start", kill)
    outcome = cli("train", *images(tmp_path, count=40))
    assert (outcome.status, outcome.err.count("\n")) == (1, 1)
    assert "a worker process that reads images has ended unexpectedly (DataLoader worker" in outcome.err
    assert "dataset.workers=0" in outcome.err
    assert "could not be written" not in outcome.err


def test_an_image_that_a_worker_cannot_read_is_named_in_one_line(tmp_path, monkeypatch, cli):
    def damage(self, trainer, module):
        for path in (tmp_path / "images" / "cat").iterdir():
            path.write_bytes(b"no image")

    words = images(tmp_path)
    monkeypatch.setattr(SaveForResume, "on_train_start", damage)
    outcome = cli("train", *words)
    assert (outcome.status, outcome.err.count("\n")) == (1, 1)
    assert "images/cat/" in outcome.err
    assert "Traceback" not in outcome.err


@pytest.mark.parametrize(
    "text",
    [
        "DataLoader worker (pid 5) is killed by signal: Bus error. It is possible that dataloader's workers are out of "
        "shared memory. Please try to raise your shared memory limit.",
        "Caught RuntimeError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n  File ...\n"
        "RuntimeError: unable to write to file </torch_4711_1_0>: No space left on device (28)\n",
    ],
)
def test_full_shared_memory_is_told_with_the_ways_out(text):
    with pytest.raises(OSError, match="/dev/shm") as caught, told_errors():
        raise RuntimeError(text)
    assert str(caught.value) == FULL


def test_other_errors_are_as_they_were():
    with pytest.raises(RuntimeError, match=r"^shapes$"), told_errors():
        raise RuntimeError("shapes")


# Progress while features are computed


def test_long_work_outside_the_epochs_reports_its_progress(monkeypatch, capsys):
    clock = iter(range(0, 10**6, 4))
    monkeypatch.setattr("zoo.training.progress.time.monotonic", lambda: float(next(clock)))
    assert list(reported(range(10), 10, "fit: computing features")) == list(range(10))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "fit: computing features  10%  36.0 s left"
    assert 2 <= len(lines) <= 5


def test_short_work_reports_nothing(capsys):
    assert list(reported([torch.zeros(1)], 1, "fit")) == [torch.zeros(1)]
    assert capsys.readouterr().out == ""
