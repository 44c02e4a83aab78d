"""Run many commands in this process and judge each one: what it said, what it left, how long it took, how much memory.

A command may succeed without a word on standard error, or fail with status 1 and one line. A command that fails changes
nothing; one that succeeds changes no file that was there. `Judge` collects what is wrong, so that one run shows all of
it. If the environment names a file in FUZZ_LOG, every case is written to it.
"""

import os
import resource
import shutil
import signal
import socket
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from stat import S_ISDIR
from typing import Any

import pytest
from hydra._internal.hydra import Hydra
from hydra.types import RunMode
from hypothesis import HealthCheck, Phase, given, reject, seed, settings
from hypothesis.configuration import set_hypothesis_home_dir
from lightning.pytorch import Trainer

from zoo.checkpoints.files import TEMPORARY
from zoo.config.console import printable
from zoo.training.checks import run_checks

SECONDS = 20  # of processor time for one command
GIGABYTE = 2**30  # of memory on top of what the process had at first
LONGEST = 12_000  # characters of a message, which may quote a word of the command line twice
# Lines that a successful command may print on standard error.
NOTES = ("skipped: ", "note: the log-likelihood is left out: ")


class TooLongError(BaseException):
    """A command did not end; no command catches this."""


def peak() -> int:
    """The most memory that this process ever had, in bytes."""
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else used * 1024


def state(folder: Path) -> dict[str, Any]:
    """What is in a folder: for each path, its kind, size and time of change."""
    found: dict[str, Any] = {}
    for parent, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            path = Path(parent, name)
            about = path.lstat()
            # The time of a folder changes with what is in it.
            found[str(path)] = about.st_mode if S_ISDIR(about.st_mode) else (about.st_size, about.st_ctime_ns)
    return found


class Judge:
    """Runs commands in the working directory; ``problems`` has a line for everything that is wrong.

    Args:
        cli: the fixture `cli`.
        folder: what is watched: the working directory and its surroundings.
    """

    def __init__(self, cli: Callable[..., Any], folder: Path):
        self.cli, self.folder = cli, folder
        self.problems: list[str] = []
        self.messages: list[str] = []
        self.count = self.refused = 0
        self.memory = peak()

    def run(self, command: str, *words: str, note: str = "", may_change: Iterable[Path] = ()) -> None:
        """Run one command; what it has written is removed.

        Args:
            note: what is special about this case, for the report.
            may_change: folders in which a successful command may change files.
        """
        before = state(self.folder)
        start = time.process_time()
        signal.signal(signal.SIGALRM, _give_up)
        signal.alarm(5 * SECONDS)
        try:
            outcome = self.cli(command, *words)
        except TooLongError:
            outcome = None
        except BaseException as error:
            self._problem(command, words, note, f"raised {type(error).__name__}: {str(error)[:300]}")
            outcome = None
        finally:
            signal.alarm(0)
        seconds = time.process_time() - start
        after = state(self.folder)

        # What it said.
        self.count += 1
        wrong = []
        if outcome is None or seconds > SECONDS:
            wrong.append(f"took {seconds:.0f} s of processor time")
        failed = outcome is None or outcome.status != 0
        if outcome is not None:
            self.refused += failed
            wrong += _judged(outcome, command)
            message = outcome.err.strip()
            self.messages.append(f"{note} | {outcome.status} | {message}")
            _log(f"{command} {' '.join(words)[-200:]} | {self.messages[-1]}")

        # What it left.
        changed = [path for path in before if after.get(path) != before[path]]
        allowed = () if failed else tuple(map(str, may_change))
        wrong += [f"changed {path}" for path in changed if not path.startswith(allowed or ("\0",))]
        new = [path for path in after if path not in before]
        unfinished = [path for path in new if failed or TEMPORARY.fullmatch(Path(path).name)]
        wrong += [f"left {path}" for path in unfinished if str(Path(path).parent) not in unfinished]
        for path in map(Path, sorted(new)):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

        # What it needed.
        if peak() - self.memory > GIGABYTE:
            wrong.append(f"took {(peak() - self.memory) / GIGABYTE:.1f} GB")
            self.memory = peak()
        for text in wrong:
            self._problem(command, words, note, text)

    def _problem(self, command: str, words: Iterable[str], note: str, text: str) -> None:
        shown = " ".join(word[:100] for word in words)
        self.problems.append(ascii(f"zoo {command} {shown} [{note[:200]}]: {text}"))
        _log(f"PROBLEM {self.problems[-1]}")


def _log(line: str) -> None:
    """Add a line to the file that the environment names, if it names one."""
    name = os.environ.get("FUZZ_LOG")
    if name:
        with Path(name).open("a") as log:
            log.write(f"{line[:1000]!a}\n")


def _give_up(*_: Any) -> None:
    raise TooLongError


def _judged(outcome: Any, command: str) -> list[str]:
    """What is wrong with the status and the words of a command."""
    lines = outcome.err.splitlines()
    if outcome.status == 0:
        return [f"said {line!r}" for line in lines if not line.startswith(NOTES)]
    wrong = []
    if outcome.status != 1:
        wrong.append(f"status {outcome.status}")
    lines = [line for line in lines if not line.startswith(NOTES)]
    if len(lines) != 1 or not outcome.err.startswith(f"zoo {command}: "):
        wrong.append(f"said {len(lines)} lines: {outcome.err[:500]!r}")
    if "internal error" in outcome.err or "Traceback" in outcome.err:
        wrong.append(f"said {outcome.err[:500]!r}")
    if len(outcome.err) > LONGEST:
        wrong.append(f"said {len(outcome.err)} characters: {outcome.err[:200]!r}")
    if outcome.err.rstrip("\n") != printable(outcome.err.rstrip("\n")):
        wrong.append(f"said what cannot be printed: {outcome.err[:200]!r}")
    return wrong


def for_each(strategy: Any, count: int, check: Callable[[Any], None], *, number: int = 0) -> None:
    """Call ``check`` with ``count`` different cases, the same ones every time. ``number`` gives others."""
    seen: set[str] = set()

    @seed(number)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def body(case: Any) -> None:
        # Hypothesis likes to repeat itself, because many choices give the same case.
        if repr(case) in seen:
            reject()
        seen.add(repr(case))
        check(case)

    body()


def keep_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse what a command line may ask for but a test cannot wait for: long runs, processes, the network."""
    plan, init = run_checks.plan, Trainer.__init__

    def small_plan(*args: Any, **options: Any) -> Any:
        planned = plan(*args, **options)
        epochs = sum(stage.epochs for stage in planned.stages)
        if epochs > 2 or planned.workers > 1:
            raise ValueError("accepted, but too long for a test")
        return planned

    def small_trainer(self: Trainer, *args: Any, **options: Any) -> None:
        if options.get("devices", 1) not in (1, "auto") or options.get("num_nodes", 1) != 1:
            raise ValueError("accepted, but too many processes for a test")
        init(self, *args, **options)

    def no_network(*_: Any, **__: Any) -> None:
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    # Hydra composes each config twice, only to know whether it is a sweep.
    monkeypatch.setattr(Hydra, "get_mode", lambda *_, **__: RunMode.RUN)
    monkeypatch.setattr(run_checks, "plan", small_plan)
    monkeypatch.setattr(Trainer, "__init__", small_trainer)
    monkeypatch.setattr(socket, "getaddrinfo", no_network)


@contextmanager
def limited_memory() -> Iterator[None]:
    """Within the block, an allocation of many gigabytes fails, rather than that it takes the machine's memory."""
    status = Path("/proc/self/status")
    if not status.exists():
        yield
        return
    used = next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmData"))
    before = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (used * 1024 + 6 * GIGABYTE, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


@pytest.fixture
def judge(cli, tmp_path, monkeypatch, record_property, request) -> Any:
    """A `Judge` in an empty working directory; at the end, the test fails if anything was wrong."""
    set_hypothesis_home_dir(tmp_path.parent / "hypothesis")
    keep_small(monkeypatch)
    warnings.filterwarnings("ignore", module=r"PIL\.")  # as in zoo.data.images; pytest has put its own filters in place
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    judged = Judge(cli, tmp_path)
    with limited_memory():
        yield judged
    record_property("fuzz", (request.node.name, judged.count, judged.refused))
    assert not judged.problems, f"{len(judged.problems)} problems:\n" + "\n".join(judged.problems[:60])
