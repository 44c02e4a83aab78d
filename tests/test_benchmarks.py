"""What the benchmarks of speed and memory share: the interval of a median, programs that take turns, and the page."""

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def timing(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import timing

    return timing


@pytest.mark.parametrize("script", sorted(BENCHMARKS.glob("*.py")), ids=lambda path: path.stem)
def test_every_benchmark_finds_what_it_imports(script, timing):
    runpy.run_path(str(script), run_name="imported")


@pytest.mark.parametrize("count", [3, 5, 9, 20])
def test_the_interval_has_the_median_as_often_as_it_says(timing, count):
    """Draws from a skewed distribution, whose median is 1."""
    draws = np.exp(np.random.default_rng(0).normal(size=(4000, count)))
    intervals = [timing.interval(list(values)) for values in draws]
    covered = np.mean([found.low <= 1 <= found.high for found in intervals])
    assert covered == pytest.approx(intervals[0].confidence, abs=0.015)
    assert intervals[0].confidence >= (0.95 if count > 5 else 0.7)


def test_an_interval_that_has_the_goal_decides_nothing(timing):
    ratios = [1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6]
    found = timing.interval(ratios)
    assert [timing.verdict(found, goal) for goal in (0.9, 1.25, 1.7)] == ["missed", "undecided", "met"]
    assert timing.verdict(timing.interval([1.0, 1.1]), 2) == "undecided"  # too few rounds


def test_programs_take_turns_and_the_page_has_their_ratios(timing, tmp_path, monkeypatch, capsys):
    import bench_page

    calls = []

    def program(name: str, seconds: float):
        return lambda: calls.append(name) or seconds

    monkeypatch.setattr(sys, "argv", ["title.py", "--rounds", "2"])
    bench = timing.Benchmark("A title.\n\nMore.", jsonl=tmp_path / "results.jsonl")
    bench.compare("a case", {"ours": program("a", 1.0), "theirs": program("b", 4.0)}, goals={"theirs": 0.5})
    bench.value("a case", "memory", 12.0, "MiB", goal=10)
    assert calls == ["a", "a", "b", "b", "a", "a"]
    assert "0.25 (0.25 to 0.25)" in capsys.readouterr().out

    # A section is replaced, and the others stay.
    page = tmp_path / "page.md"
    records = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    for heading in ("CPU", "GPU: a card", "CPU"):
        bench_page.write(page, heading, records, torch.device("cpu"))
    text = page.read_text()
    assert text.count("## CPU\n") == text.count("## GPU: a card\n") == 1
    assert "| theirs | 4 | 0.25 (0.25 to 0.25) | <= 0.5: undecided |" in text
    assert "| a case | memory | 12 MiB | <= 10: missed |" in text
