"""``zoo reproduce NAME|all [--train]``: do the shipped checkpoints still give the numbers in the index?

Each is measured by ``zoo evaluate``; with --train its recipe is run again and the new file measured, too.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import stdev
from typing import Any

from rich.console import Console
from rich.table import Table

from zoo.config.catalogue import index, suggest

TOLERANCE = 5e-4  # relative, of the same weights on another machine: a few of 10,000 pictures on the edge
SPREAD = 4  # standard deviations of the seeds, of newly trained weights


def main(words: Sequence[str]) -> None:
    """Print a table of what the index says and what was measured.

    Raises:
        ValueError: an unknown name, or a number that is not reproduced.
    """
    train = "--train" in words
    names = [word for word in words if word != "--train"]
    entries = index()
    if len(names) != 1 or (names[0] not in entries and names[0] != "all"):
        raise ValueError(f"name a checkpoint, or all: {suggest(names[0] if names else '', sorted(entries))}")
    table = Table(title="reproduced", title_justify="left")
    for column in ("checkpoint", "metric", "index", "now", ""):
        table.add_column(column, no_wrap=True)
    off = []
    for name in entries if names[0] == "all" else names:
        for metric, value, now, tolerance in _compared(name, entries[name], train=train):
            good = abs(now - value) <= tolerance
            table.add_row(name, metric, f"{value:.4f}", f"{now:.4f}", "as it says" if good else "differs")
            off += [] if good else [f"{name} {metric}: {now:.4f}, not {value:.4f}"]
    Console().print(table)
    if off:
        raise ValueError("; ".join(off))


def _compared(name: str, entry: Mapping[str, Any], *, train: bool) -> list[tuple[str, float, float, float]]:
    """(metric, value of the index, value now, difference allowed) of each metric."""
    with tempfile.TemporaryDirectory() as folder:
        checkpoint, run = name, Path(folder) / "run"
        if train:
            if "experiment" not in entry:
                raise ValueError(f"{name}: the index names no recipe to train it by")
            _zoo("train", f"experiment={entry['experiment']}", "progress=false", f"hydra.run.dir={run}")
            checkpoint = str(run)
        output = Path(folder) / "metrics.json"
        words = entry.get("claim", {}).get("evaluate", ())
        _zoo("evaluate", f"checkpoint={checkpoint}", f"output={output}", *words)
        metrics = json.loads(output.read_text())
    rows = []
    for metric, value in entry["metric"].items():
        allowed = TOLERANCE * max(1.0, abs(value))
        if train and len(entry.get("values", ())) > 1:
            scale = 100.0 if metric == "test/accuracy" else 1.0  # of the claim's percent
            allowed = max(allowed, SPREAD * stdev(entry["values"]) / scale)
        rows.append((metric, value, metrics[metric], allowed))
    return rows


def _zoo(verb: str, *words: str) -> None:
    """A verb as a user runs it."""
    done = subprocess.run(
        [sys.executable, "-m", f"zoo.cli.{verb}", *words], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ValueError(done.stderr.strip() or f"zoo {verb} ended with {done.returncode}")


if __name__ == "__main__":
    from zoo.cli.main import main as command_line

    command_line("reproduce")
