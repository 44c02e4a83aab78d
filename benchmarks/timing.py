"""Time programs in turn and report the ratios of their times; shared by the benchmarks of speed and memory.

Each round runs every program once, odd rounds in the reverse order, so that other load on the machine and its clock
slow down all of them alike. The first program is compared with each of the others: the result is the median over the
rounds of the ratio within a round. The first program also runs a second time in each round; that ratio, of a program
to itself, is the noise.

A benchmark prints tables. With ``--jsonl FILE`` it also appends its results to a file, one JSON object per line, from
which `bench_page.py` makes BENCHMARKS.md.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch

Program = Callable[[], float]  # runs once and returns its time in seconds
AGAIN = ", again"


@dataclass(frozen=True)
class Interval:
    """Median of some values, and the interval that has the median of their distribution with ``confidence``."""

    median: float
    low: float
    high: float
    confidence: float

    def __str__(self) -> str:
        return f"{self.median:.3g} ({self.low:.3g} to {self.high:.3g})"


def interval(values: list[float], confidence: float = 0.95) -> Interval:
    """The distribution-free interval of a median: from the k-th smallest to the k-th largest value.

    k is the largest with the confidence asked for. With fewer than six values, not even the range has 95 %; the
    interval is then the range, with the confidence that it has. (David & Nagaraja 2003, Order Statistics, section 7.1.)
    """
    n = len(values)
    ordered = sorted(values)
    chosen, reached = 1, 1 - 2 * 0.5**n
    for k in range(1, n // 2 + 1):
        # P(fewer than k values are below the median), twice.
        covered = 1 - 2 * sum(math.comb(n, i) for i in range(k)) * 0.5**n
        if covered >= confidence:
            chosen, reached = k, covered
    return Interval(median(ordered), ordered[chosen - 1], ordered[-chosen], reached)


def verdict(ratio: Interval, goal: float) -> str:
    """Whether a ratio is at most its goal: too few rounds, or an interval with the goal inside, decide nothing."""
    if ratio.confidence < 0.9:
        return "undecided"
    if ratio.high <= goal:
        return "met"
    return "missed" if ratio.low > goal else "undecided"


def rate_text(per_second: float) -> str:
    return f"{per_second:,.0f}" if per_second >= 100 else f"{per_second:.3g}"


def synchronize() -> None:
    """Wait for the GPU, if there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def seconds(run: Callable[[], object]) -> float:
    """The time of one call, with everything that it started on a GPU."""
    start = time.perf_counter()
    run()
    synchronize()
    return time.perf_counter() - start


class Benchmark:
    """The command line of a benchmark, and its results.

    Args:
        description: docstring of the benchmark; its first line is the title in BENCHMARKS.md.
        jsonl: file for the results if the command line names none.

    Attributes:
        rounds: number of rounds; fewer if the time of ``--minutes`` is over, but at least one.
        quick: whether this is a rehearsal, with one round of small programs.
    """

    def __init__(self, description: str, jsonl: Path | None = None):
        parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawTextHelpFormatter)
        parser.add_argument("--rounds", type=int, default=7, help="number of rounds (default: 7)")
        parser.add_argument("--quick", action="store_true", help="rehearse: one round of small programs")
        parser.add_argument("--jsonl", type=Path, help="append the results to this file")
        parser.add_argument("--minutes", type=float, default=math.inf, help="begin no further round after this time")
        options = parser.parse_args()
        self.deadline = time.monotonic() + 60 * options.minutes
        self.title = description.partition("\n")[0].rstrip(".")
        self.quick: bool = options.quick
        self.rounds: int = 1 if options.quick else options.rounds
        self.jsonl: Path | None = options.jsonl or jsonl

    def record(self, case: str, **fields: Any) -> None:
        """Append one result to the file."""
        if self.jsonl:
            line = {"script": Path(sys.argv[0]).name, "title": self.title, "case": case, **fields}
            with self.jsonl.open("a") as file:
                file.write(json.dumps(line) + "\n")

    def skip(self, case: str, program: str, reason: str) -> None:
        """Report a program that does not run here."""
        print(f"{case}: {program}: skipped, {reason}")
        self.record(case, program=program, skipped=reason)

    def value(self, case: str, name: str, value: float, unit: str, goal: float | None = None) -> None:
        """Report a measured value that is not a time compared with another."""
        reached = f" (goal {goal}: {'met' if value <= goal else 'missed'})" if goal else ""
        print(f"{case}: {name}: {value:,.4g} {unit}{reached}", flush=True)
        self.record(case, program=name, value=value, unit=unit, goal=goal)

    def compare(
        self,
        case: str,
        programs: Mapping[str, Program],
        *,
        goals: Mapping[str, float] | None = None,
        items: tuple[int, str] | None = None,
        again: bool = True,
    ) -> dict[str, list[float]]:
        """Time programs in turn; print and record the ratios of the first one's time to each of the others'.

        Args:
            case: what is timed, such as "CD-1 784-500, an epoch".
            programs: name -> program.
            goals: name -> largest ratio that is wanted.
            items: number and name of the inputs that a run processes, to report their number per second.
            again: whether the first program runs twice in a round, for the noise; not in a rehearsal.

        Returns:
            Name -> seconds in each round.
        """
        # One more program: the first one again.
        goals = goals or {}
        first = next(iter(programs))
        runs = {first: programs[first]}
        if again and not self.quick:
            runs[first + AGAIN] = programs[first]
        runs |= programs

        # The rounds, every second one in the reverse order.
        times: dict[str, list[float]] = {name: [] for name in runs}
        for number in range(self.rounds):
            if number and time.monotonic() > self.deadline:
                print(f"out of time: {number} of {self.rounds} rounds")
                break
            for name in list(runs)[:: -1 if number % 2 else 1]:
                times[name].append(runs[name]())

        # A line for each program.
        print(f"\n{case}\n{'':44}{'seconds':>26}{'ratio':>26}")
        for name, values in times.items():
            ratio = interval([a / b for a, b in zip(times[first], values, strict=True)])
            goal = goals.get(name)
            rate = [items[0] / value for value in values] if items else None
            notes = [f"goal {goal}: {verdict(ratio, goal)}"] if goal else []
            notes += [f"{rate_text(median(rate))} {items[1]}/s"] if rate and items else []
            shown = "" if name == first else str(ratio)
            print(f"{name:44}{interval(values)!s:>26}{shown:>26}  {', '.join(notes)}", flush=True)
            fields = {"per_second": median(rate), "items": items[1]} if rate and items else {}
            compared = {} if name == first else {"ratio": vars(ratio), "goal": goal}
            self.record(case, program=name, seconds=values, **compared, **fields)
        return times
