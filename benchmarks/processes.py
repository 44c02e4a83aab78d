"""Run a command as a process of its own: its time, its peak memory and what it printed."""

import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple


class Finished(NamedTuple):
    """A process that has ended.

    Attributes:
        seconds: time from its start to its end.
        peak: largest resident set size (RSS), MiB.
        output: what it printed, with its error messages.
    """

    seconds: float
    peak: float
    output: str


def run(command: Sequence[str], *, cwd: Path | None = None, env: dict[str, str] | None = None) -> Finished:
    """Run a command to its end.

    Raises:
        RuntimeError: its exit status is not 0.
    """
    with tempfile.TemporaryFile("w+") as output:
        start = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=cwd, env={**os.environ, **(env or {})}, stdout=output, stderr=subprocess.STDOUT
        )
        # wait4 tells the peak memory of this one process; ru_maxrss is in KiB on Linux.
        _, status, usage = os.wait4(process.pid, 0)
        elapsed = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit status {process.returncode}\n{text}")
    return Finished(elapsed, usage.ru_maxrss / 1024, text)
