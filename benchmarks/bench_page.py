"""Write the results of the benchmarks as a section of a Markdown page."""

import os
import platform
import re
from collections.abc import Iterable, Mapping
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from itertools import groupby
from pathlib import Path
from statistics import median
from typing import Any

import torch
from timing import AGAIN, Interval, interval, rate_text, verdict

from zoo.checkpoints.provenance import hardware_name

PACKAGES = ("torch", "torchvision", "lightning", "torchmetrics", "scikit-learn", "learnergy", "timm")
HEADER = """# Benchmarks

`make bench` and `make gpu` write this page; [CONTRIBUTING.md](CONTRIBUTING.md) describes both. Programs that are
compared are timed in turn. A ratio is the time of the first program of a table divided by the time of the program in
its row: below 1, the first program is faster. Given are the median over the rounds of the ratio within a round, and a
distribution-free interval of the median. The row "again" is the first program compared with itself: the noise. A goal
is met if the whole interval is at most the goal, missed if none of it is, and otherwise undecided.
"""
Record = Mapping[str, Any]


def machine(device: torch.device) -> str:
    """Lines about the machine, the load on it, and the versions."""
    versions = []
    for name in PACKAGES:
        try:
            versions.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    lines = [
        f"- Machine: {hardware_name(device)}; {os.cpu_count()} CPU cores; {platform.system()} {platform.machine()}",
        f"- Load average at the end: {os.getloadavg()[1]:.1f} (5 minutes)",
        f"- Python {platform.python_version()}, {', '.join(versions)}",
        f"- Date: {date.today().isoformat()}",
    ]
    return "\n".join(lines) + "\n"


def section(heading: str, records: Iterable[Record], device: torch.device) -> str:
    """The Markdown of all results."""
    parts = [f"## {heading}\n", machine(device)]
    for title, of_script in groupby(records, key=lambda record: record["title"]):
        listed = list(of_script)
        parts.append(f"### {title}\n\n`python benchmarks/{listed[0]['script']}`\n")
        timed = [record for record in listed if "seconds" in record]
        for case, rows in groupby(timed, key=lambda record: record["case"]):
            parts.append(_times(case, list(rows)))
        parts.append(_values([record for record in listed if "value" in record]))
        parts += [f"{r['case']}: {r['program']} skipped, {r['skipped']}.\n" for r in listed if "skipped" in r]
    return "\n".join(part for part in parts if part)


def _times(case: str, rows: list[Record]) -> str:
    """A table of programs that were compared."""
    first = rows[0]["program"]
    per_second = rows[0].get("items")
    columns = ["program", "seconds", *([f"{per_second}/s"] if per_second else []), f"ratio {first} / this", "goal"]
    rounds = len(rows[0]["seconds"])
    lines = [
        f"{case}; {rounds} round{'s' if rounds > 1 else ''}:\n",
        f"| {' | '.join(columns)} |",
        "|---" * len(columns) + "|",
    ]
    for row in rows:
        ratio = Interval(**row["ratio"]) if "ratio" in row else None
        goal = row.get("goal")
        cells = [row["program"], f"{median(row['seconds']):.3g}"]
        cells += [rate_text(row["per_second"])] if per_second else []
        cells.append(str(ratio) if ratio else "")
        cells.append(f"<= {goal}: {verdict(ratio, goal)}" if ratio and goal else "")
        lines.append(f"| {' | '.join(cells)} |")
    if rounds > 1:
        lines.append(f"\nThe intervals have {100 * interval(rows[0]['seconds']).confidence:.0f} % confidence.")
    return "\n".join(lines).replace(AGAIN, " (again)") + "\n"


def _values(rows: list[Record]) -> str:
    """A table of measured values."""
    if not rows:
        return ""
    lines = ["| case | measured | value | goal |", "|---|---|---|---|"]
    for row in rows:
        goal = row["goal"]
        reached = f"<= {goal}: {'met' if row['value'] <= goal else 'missed'}" if goal else ""
        lines.append(f"| {row['case']} | {row['program']} | {row['value']:,.4g} {row['unit']} | {reached} |")
    return "\n".join(lines) + "\n"


def write(page: Path, heading: str, records: Iterable[Record], device: torch.device) -> None:
    """Write a section; the others stay as they are."""
    text = page.read_text() if page.is_file() else HEADER
    # A section ends where the next one begins.
    old = re.compile(rf"^## {re.escape(heading)}\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)
    text = old.sub("", text).rstrip() + "\n\n" + section(heading, records, device)
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(text)
