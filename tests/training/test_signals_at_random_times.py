"""Runs that are signalled at random times end as promised, and are resumed to the weights of a run without a signal.

There are four times for each of SIGTERM, SIGINT and SIGUSR1; ``SIGNAL_CASES=50 SIGNAL_SEED=3 pytest -m slow FILE``
tries 50 others for each. The processes are forked from one that has imported everything, so they start in a moment.
"""

import multiprocessing
import os
import random
import re
import signal
import sys
import time
from pathlib import Path

import pytest
from support import image_folder_at
from test_resume import ALWAYS, EVERY, assert_same

from zoo.checkpoints import safe_pickle
from zoo.cli.main import main

pytestmark = pytest.mark.slow

SEED = int(os.environ.get("SIGNAL_SEED", "0"))
CASES = int(os.environ.get("SIGNAL_CASES", "4"))  # for each signal
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
FOLDER = ["dataset=image_folder", "dataset.shape=[1,16,16]", "epochs=2", "batch_size=16", "progress=false"]
RUNS = {
    "classifier": ["model=lenet5", *ALWAYS, EVERY("fit", 3)],
    "patience": ["model=logistic", *ALWAYS, "epochs=12", "model.stages.fit.patience=1", "lr=0.3"],
    "layers": ["model=dbn", "model.net.hidden=[12,8]", *ALWAYS],
    "images": ["model=mlp", "model.net.hidden=[16]", *FOLDER, "dataset.workers=0"],
    "images by workers": ["model=mlp", "model.net.hidden=[16]", *FOLDER, "dataset.workers=2"],
    "layers by workers": ["model=sae", "model.net.hidden=[12,8]", *FOLDER, "dataset.workers=2"],
}
GRACE = 60  # seconds within which a run must have stopped, on a busy machine


def run_command(words: list[str], log: Path) -> None:
    """Train in a process group of its own; what it prints as an error goes to a file."""
    os.setsid()
    # Workers are forked from this process, as those of a command are, and not from the server; nor is the temporary
    # folder that of the server, which the first process to end removes.
    multiprocessing.set_start_method("fork", force=True)
    vars(multiprocessing.current_process())["_config"].pop("tempdir", None)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
    sys.stdout = os.fdopen(1, "w", closefd=False)
    main("train", words)


@pytest.fixture(scope="module")
def processes():
    """Where processes come from: a server that has imported the zoo and forks."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["zoo.cli.train", "zoo.cli.main", "test_signals_at_random_times"])
    # Its own start must not count as a part of the first run.
    first = context.Process(target=os.getpid)
    first.start()
    first.join()
    return context


@pytest.fixture(scope="module")
def whole(processes, tmp_path_factory):
    """``whole(kind)``: the words, folder and duration of a run without a signal, made when it is first asked for."""
    root = tmp_path_factory.mktemp("whole")
    photos = image_folder_at(root / "photos", count=40)
    made = {}

    def get(kind: str):
        if kind not in made:
            words = [*RUNS[kind], *([f"dataset.root={photos}"] if "images" in kind or "workers" in kind else [])]
            run = root / kind.replace(" ", "_")
            start = time.monotonic()
            process = processes.Process(target=run_command, args=([*words, f"hydra.run.dir={run}"], root / "log"))
            process.start()
            process.join()
            assert process.exitcode == 0, (root / "log").read_text()
            made[kind] = words, run, time.monotonic() - start
        return made[kind]

    return get


def has_ended(group: int) -> bool:
    """Whether all processes of a group end within some seconds."""
    for _ in range(50):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


@pytest.mark.parametrize("k", range(CASES))
@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_a_signal_at_any_time_stops_as_promised(number, k, processes, whole, tmp_path):
    # What is trained, when the signal comes, and whether the workers get it too: all from one seed.
    rng = random.Random(f"{SEED} {number} {k}")
    kind = rng.choice(list(RUNS))
    to_group = rng.random() < 0.5
    words, reference, duration = whole(kind)
    delay = rng.uniform(0, duration)
    target = "the group" if to_group else "the process"
    where = f"{kind}, {number.name} to {target} after {delay:.3f} of {duration:.1f} s (SIGNAL_SEED={SEED}, {k})"

    run, log = tmp_path / "run", tmp_path / "log"
    process = processes.Process(target=run_command, args=([*words, f"hydra.run.dir={run}"], log))
    process.start()
    time.sleep(delay)
    sent = time.monotonic()
    if log.exists() and process.is_alive():  # from then on it has its own group
        (os.killpg if to_group else os.kill)(process.pid, number)
    process.join(GRACE)
    took = time.monotonic() - sent
    status, text = process.exitcode, log.read_text() if log.exists() else ""
    print(f"{where}: status {status} in {took:.1f} s: {text.strip()}")  # noqa: T201

    # It has ended, and so have its workers; no temporary file is left.
    assert status is not None, f"{where}: still running"
    assert not list(run.rglob("*.tmp")), where
    assert has_ended(process.pid), where

    # Before the command had its first line run, the operating system ends the process.
    if status == -number:
        assert (text, run.exists()) == ("", False), where
        return
    # Or the signal came too late: all is done.
    if status == 0:
        assert text == "", where
        assert_same(run, reference)
        return
    # Or it stopped, and said what can be done.
    assert status == 128 + number, f"{where}: {status} {text}"
    assert re.fullmatch(r"zoo train: stopped [^\n]*\n", text), f"{where}: {text}"
    last = run / "checkpoints" / "last.ckpt"
    if text.endswith("nothing was written\n"):
        assert not run.exists(), where
        return
    if text.endswith("starts from the beginning\n"):
        assert not last.exists(), where
    else:
        assert f"continue with resume={run}" in text
        assert safe_pickle.load(last)["fit"], where
    resumed = processes.Process(target=run_command, args=([f"resume={run}"], log))
    resumed.start()
    resumed.join()
    assert (resumed.exitcode, log.read_text()) == (0, ""), where
    assert_same(run, reference)
