"""``zoo reproduce NAME|all [--train]``: evaluate shipped checkpoints again and compare with their stored metrics.

The stored metrics are those of ``checkpoints/index.yaml``. With ``--train``, the recipe of the checkpoint is trained
first, and the new weights are evaluated.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import stdev
from typing import Any, NamedTuple

from zoo.config.catalogue import index, suggest
from zoo.config.console import print_table

# Tolerance for the same weights on another machine, where rounding may change the class of a few of 10,000 images.
# It is relative for stored values above 1, else absolute.
TOLERANCE = 5e-4
SPREAD = 4  # tolerance for newly trained weights, in standard deviations over seeds


class Comparison(NamedTuple):
    """A metric of a checkpoint: the stored value and the new one."""

    metric: str
    stored: float
    now: float
    tolerance: float  # maximum absolute difference

    @property
    def agrees(self) -> bool:
        return abs(self.now - self.stored) <= self.tolerance


def main(arguments: Sequence[str]) -> None:
    """Print a table of the stored and the new metrics.

    Raises:
        ValueError: an unknown name, a metric that is not reproduced, a command that fails, or ``--train`` for a
            checkpoint without a recipe.
    """
    # The arguments: a name and optionally --train, in any order.
    train = "--train" in arguments
    names = [argument for argument in arguments if argument != "--train"]
    entries = index()
    if len(names) != 1:
        raise ValueError(f"expected one checkpoint, or all; choose from {', '.join(sorted(entries))}")
    if names[0] not in (*entries, "all"):
        raise ValueError(f"no shipped checkpoint {names[0]!r}; {suggest(names[0], sorted(entries))}")

    # With --train, "all" leaves out checkpoints without a recipe. Report at the end, so that no failure hides others.
    chosen = list(entries) if names[0] == "all" else names
    skipped = [name for name in chosen if train and "experiment" not in entries[name]]
    if names[0] != "all" and skipped:
        raise ValueError(f"{skipped[0]}: --train needs a recipe, but this checkpoint has none; leave out --train")
    rows: list[tuple[str, str, str, str, str]] = []
    failures: list[str] = []
    for name in chosen:
        if name in skipped:
            rows.append((name, "", "", "", "skipped: no recipe"))
            continue
        try:
            comparisons = _compare(name, entries[name], train=train)
        except (ValueError, OSError) as error:
            rows.append((name, "", "", "", "failed"))
            failures.append(f"{name}: {error}")
            continue
        for found in comparisons:
            verdict = "reproduced" if found.agrees else "differs"
            rows.append((name, found.metric, f"{found.stored:.4f}", f"{found.now:.4f}", verdict))
            if not found.agrees:
                failures.append(f"{name} {found.metric}: {found.now:.4f}, expected {found.stored:.4f}")

    # Print all results, then fail if one differs or has failed. A single error needs no table.
    if len(chosen) > 1 or not failures or rows[0][-1] != "failed":
        columns = ("checkpoint", "metric", "stored", "now", "result")
        print_table("stored and new metrics", columns, rows, right=("stored", "now"))
    if failures:
        raise ValueError("; ".join(failures))


def _compare(name: str, entry: Mapping[str, Any], *, train: bool) -> list[Comparison]:
    """Evaluate a checkpoint, with ``train`` after training it again, and compare each metric with the stored one."""
    with tempfile.TemporaryDirectory() as folder:
        # Train the recipe that the index names, in a temporary folder.
        checkpoint = name
        if train:
            run = Path(folder) / "run"
            _zoo("train", f"experiment={entry['experiment']}", "progress=false", f"hydra.run.dir={run}")
            checkpoint = str(run)
        # Evaluate the shipped or the new weights, with the arguments that the claim gives for `zoo evaluate`.
        output = Path(folder) / "metrics.json"
        options = entry.get("claim", {}).get("evaluate", ())
        _zoo("evaluate", f"checkpoint={checkpoint}", f"output={output}", *options)
        metrics: dict[str, float] = json.loads(output.read_text())

    # Metrics of the same weights differ only by rounding; those of new weights vary as between seeds.
    comparisons: list[Comparison] = []
    for metric, stored in entry["metric"].items():
        if metric not in metrics:
            raise ValueError(f"zoo evaluate gives no {metric}")
        tolerance = TOLERANCE * max(1.0, abs(stored))
        if train and len(entry.get("values", ())) > 1:
            scale = 100.0 if metric == "test/accuracy" else 1.0  # the values of a claim are in percent
            tolerance = max(tolerance, SPREAD * stdev(entry["values"]) / scale)
        comparisons.append(Comparison(metric, stored, metrics[metric], tolerance))
    return comparisons


def _zoo(command: str, *arguments: str) -> None:
    """Run a command in a separate process, as a user does.

    Raises:
        ValueError: the command failed; the message is its error message.
    """
    # Use the same Python, so that the same package is run.
    process = [sys.executable, "-m", "zoo.cli", command, *arguments]
    done = subprocess.run(process, capture_output=True, text=True, check=False)
    if done.returncode:
        # The last line is the error message; notes and warnings may come before it.
        lines = done.stderr.strip().splitlines()
        raise ValueError(lines[-1] if lines else f"zoo {command} ended with exit status {done.returncode}")
