"""`kill -9`, by the operating system, of a process that trains: what it leaves is whole, and goes on to the same end.

The processes are forked from one that has imported everything, so that each starts in a moment.
"""

import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import pytest
from test_resume import ALWAYS, EVERY, RUNS, STOPS, assert_same, train

from zoo.checkpoints import safe_pickle as pickled
from zoo.cli.main import main

pytestmark = pytest.mark.slow

PLACES = {
    "within the second epoch": "classifier",
    "before the last batch of an epoch": "autoencoder",
    "in validation": "gradual",
    "at the end of an epoch": "belief",
    "between layers": "belief",
    "in validation, with workers": "classifier",
}
# Of 22 MB with its optimizer's state, so that a good part of the time goes into saving.
LARGE = [
    "model=mlp",
    "model.net.hidden=[1000,1000]",
    "optimizer@model.stages.fit.optimizer=adamw",
    EVERY("fit", 1),
    "epochs=6",
]
KILLS = 8


def run_until_killed(words: list[str], hook: str | None, count: int) -> None:
    """Train, and at the ``count``-th call of a hook die without a word."""
    if hook is not None:
        from zoo.training.fit.callbacks import SaveForResume

        calls, original = iter(range(1, 10**9)), getattr(SaveForResume, hook)

        def die(self, *rest):
            if next(calls) == count:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(self, *rest)

        setattr(SaveForResume, hook, die)
    os.environ["TMPDIR"] = "/dev/shm"  # saves must not pass through another file system
    main("train", words)


@pytest.fixture(scope="module")
def processes():
    """Where processes come from: a server that has imported the zoo and forks."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["zoo.cli.train", "zoo.cli.main", "test_kill"])
    return context


def killed(processes, words: list[str], hook: str, count: int) -> None:
    process = processes.Process(target=run_until_killed, args=(words, hook, count))
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL


@pytest.mark.parametrize(("place", "kind"), PLACES.items())
def test_a_killed_run_goes_on_as_if_it_had_not_been(place, kind, processes, tmp_path):
    whole, run = tmp_path / "whole", tmp_path / "run"
    words = [*ALWAYS, *RUNS[kind]]
    words += ["dataset.workers=2"] * place.endswith("workers")
    hook, count = STOPS.get(place.partition(",")[0], ("on_train_batch_start", 27 + 1))
    killed(processes, [*words, f"hydra.run.dir={run}"], hook, count)
    assert not (run / "metrics.json").exists()
    main("train", [f"resume={run}"])
    train(whole, *RUNS[kind])
    assert_same(run, whole)


def test_a_run_killed_again_and_again_while_it_saves_comes_to_the_same_end(processes, tmp_path):
    whole, run, chance = tmp_path / "whole", tmp_path / "run", random.Random(0)
    last = run / "checkpoints" / "last.ckpt"
    words = [*ALWAYS, *LARGE, f"hydra.run.dir={run}"]
    kills = steps = 0
    while kills < KILLS:
        process = processes.Process(target=run_until_killed, args=(words, None, 0))
        process.start()
        before = written(last)
        while written(last) == before and process.is_alive():
            time.sleep(0.005)
        time.sleep(chance.uniform(0, 0.15))  # somewhere between two saves, or within one
        process.kill()
        process.join(60)
        if process.exitcode == 0:
            break
        kills += 1
        reached = pickled.load(last)["global_step"]  # whole, whenever it was
        assert reached >= steps
        steps, words = reached, [f"resume={run}"]
    assert kills >= KILLS // 2
    main("train", [f"resume={run}"])
    train(whole, *LARGE)
    assert_same(run, whole)
    assert not list(run.rglob("*.tmp"))


def written(path: Path) -> int:
    return path.stat().st_mtime_ns if path.exists() else 0
