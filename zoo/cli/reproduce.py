"""``zoo reproduce NAME|all [--train]``: check shipped checkpoints against the index.

``zoo evaluate`` measures each one; with ``--train`` its recipe is run first, and the new weights are measured.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import stdev
from typing import Any, NamedTuple

from zoo.cli.console import print_table
from zoo.config.catalogue import index, suggest

TOLERANCE = 5e-4  # relative, for the same weights on another machine: a few of 10,000 images are borderline
SPREAD = 4  # for newly trained weights: number of standard deviations over seeds


class Comparison(NamedTuple):
    """A metric of a checkpoint, in the index and as it was measured now."""

    metric: str
    indexed: float
    measured: float
    tolerance: float

    @property
    def agrees(self) -> bool:
        return abs(self.measured - self.indexed) <= self.tolerance


def main(arguments: Sequence[str]) -> None:
    """Print a table of the indexed and the measured values.

    Raises:
        ValueError: an unknown name, or a value that is not reproduced.
    """
    # The arguments: a name, and perhaps the flag, in any order.
    train = "--train" in arguments
    names = [argument for argument in arguments if argument != "--train"]
    entries = index()
    if len(names) != 1 or names[0] not in (*entries, "all"):
        hint = suggest(names[0] if names else "", sorted(entries))
        raise ValueError(f"zoo reproduce takes the name of one checkpoint, or all; {hint}")

    # Measure them all before anything is reported, so that one that differs does not hide the others.
    rows: list[tuple[str, str, str, str, str]] = []
    failures: list[str] = []
    for name in entries if names[0] == "all" else names:
        for found in _compare(name, entries[name], train=train):
            verdict = "reproduced" if found.agrees else "differs"
            rows.append((name, found.metric, f"{found.indexed:.4f}", f"{found.measured:.4f}", verdict))
            if not found.agrees:
                failures.append(f"{name} {found.metric}: {found.measured:.4f}, expected {found.indexed:.4f}")
    # Show everything, then fail if anything differs.
    print_table("index and now", ("checkpoint", "metric", "index", "now", "result"), rows, right=("index", "now"))
    if failures:
        raise ValueError("; ".join(failures))


def _compare(name: str, entry: Mapping[str, Any], *, train: bool) -> list[Comparison]:
    """Measure a checkpoint, after training it again if ``train``, and compare each metric with its index entry."""
    with tempfile.TemporaryDirectory() as folder:
        # Train by the recipe that the index names, into a folder that is thrown away.
        checkpoint = name
        if train:
            if "experiment" not in entry:
                raise ValueError(f"{name}: the index names no experiment to train it with")
            run = Path(folder) / "run"
            _zoo("train", f"experiment={entry['experiment']}", "progress=false", f"hydra.run.dir={run}")
            checkpoint = str(run)
        # Measure the shipped weights or the new ones, with the options that the claim was measured with.
        output = Path(folder) / "metrics.json"
        options = entry.get("claim", {}).get("evaluate", ())
        _zoo("evaluate", f"checkpoint={checkpoint}", f"output={output}", *options)
        metrics = json.loads(output.read_text())

    # The same weights differ by rounding only; new ones differ as other seeds do.
    comparisons: list[Comparison] = []
    for metric, indexed in entry["metric"].items():
        tolerance = TOLERANCE * max(1.0, abs(indexed))
        if train and len(entry.get("values", ())) > 1:
            scale = 100.0 if metric == "test/accuracy" else 1.0  # the values of a claim are in percent
            tolerance = max(tolerance, SPREAD * stdev(entry["values"]) / scale)
        comparisons.append(Comparison(metric, indexed, metrics[metric], tolerance))
    return comparisons


def _zoo(command: str, *arguments: str) -> None:
    """Run a command in a process of its own, as a user does.

    Raises:
        ValueError: it failed; the message is the command's.
    """
    # The environment's own Python, whose package this is.
    process = [sys.executable, "-m", f"zoo.cli.{command}", *arguments]
    done = subprocess.run(process, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(done.stderr.strip() or f"zoo {command} ended with exit status {done.returncode}")


if __name__ == "__main__":
    from zoo.cli.main import main as command_line

    command_line("reproduce")
