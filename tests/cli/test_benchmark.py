"""``zoo benchmark`` counts what a net computes, and measures what it says."""

import csv

import pytest
import torch
from torch import nn

from zoo.cli import benchmark, benchmark_runtimes
from zoo.cli.benchmark import Timing
from zoo.models import MLP, LeNet5

QUICK = ("accelerator=cpu", "seconds=0.02", "batch_sizes=[1,3]")


def test_multiply_adds_of_lenet5_equal_a_count_by_hand():
    convolutions = 6 * 28 * 28 * 25 + 16 * 10 * 10 * 6 * 25  # output values x weights of each
    linear = 400 * 120 + 120 * 84 + 84 * 10
    assert benchmark_runtimes.multiply_adds(LeNet5().eval(), (1, 28, 28)) == convolutions + linear
    assert benchmark_runtimes.multiply_adds(MLP(in_shape=[3], num_classes=2, hidden=[4]).eval(), (3,)) == 3 * 4 + 4 * 2


def test_multiply_adds_count_attention():
    """Four linear maps of 5 tokens, and the two products of the attention, 5 x 5 x 8 each."""

    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, x):
            return self.layer(x, x, x, need_weights=False)[0]

    assert benchmark_runtimes.multiply_adds(Attention().eval(), (5, 8)) == 4 * 5 * 8 * 8 + 2 * 5 * 5 * 8


def test_a_timing_is_summarized_by_its_calls():
    timing = Timing("pytorch", 4, 1.0, [0.1, 0.2, 0.9])
    assert timing.latency == 0.2
    assert timing.throughput == pytest.approx(4 * 3 / 1.2)
    reference = Timing("compile", 4, 0.0, [0.4])
    row = benchmark._row(timing, [reference, timing], 7, {"model": "m"})
    assert (row["speedup"], row["latency_ms"], row["latency_p90_ms"], row["fastest_ms"]) == (2.0, 200.0, 900.0, 100.0)
    assert (row["calls"], row["file_bytes"], row["model"]) == (3, 7, "m")


def test_the_table_and_the_csv_have_a_row_for_each_runtime_and_batch_size(cli, folder, trained):
    pytest.importorskip("onnxruntime")
    threads = torch.get_num_threads()
    words = ("runtimes=[pytorch,onnx,onnx_int8]", "output=speed.csv", "threads=1")
    outcome = cli("benchmark", f"checkpoint={trained}", *QUICK, *words)
    assert (outcome.status, outcome.err) == (0, "")
    assert "lenet5: 61,706 parameters, 416,520 multiply-adds for an input of 1x28x28" in outcome.out
    assert [path.name for path in folder.iterdir()] == ["speed.csv"]
    with (folder / "speed.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["runtime"], row["batch_size"]) for row in rows] == [
        (name, size) for size in "13" for name in ("pytorch", "onnx", "onnx_int8")
    ]
    for row in rows:
        assert 0 < float(row["fastest_ms"]) <= float(row["latency_ms"]) <= float(row["latency_p90_ms"])
        assert int(row["calls"]) >= benchmark.ROUNDS
    # A quarter of the bytes for most weights.
    sizes = {row["runtime"]: int(row["file_bytes"]) for row in rows}
    assert sizes["pytorch"] == (trained / "model.safetensors").stat().st_size
    assert sizes["onnx_int8"] < 0.4 * sizes["onnx"]
    assert torch.get_num_threads() == threads


def test_a_runtime_that_fails_is_a_note_and_the_others_are_measured(cli, folder, trained, monkeypatch):
    def fail(target):
        def prepare(batch):
            raise RuntimeError("no C++\ncompiler")

        return benchmark_runtimes.Runtime(prepare, 1)

    monkeypatch.setitem(benchmark_runtimes.RUNTIMES, "compile", fail)
    outcome = cli("benchmark", f"checkpoint={trained}", *QUICK, "runtimes=[compile,pytorch]")
    assert (outcome.status, outcome.err) == (0, "")
    assert "note: compile fails with batch size 1 (RuntimeError: no C++ compiler)" in outcome.out
    outcome = cli("benchmark", f"checkpoint={trained}", *QUICK, "runtimes=[compile]")
    assert (outcome.status, len(outcome.err.splitlines())) == (1, 1)
    assert "none of them works here" in outcome.err


@pytest.mark.slow
def test_torch_compile_is_measured(cli, folder, trained):
    outcome = cli("benchmark", f"checkpoint={trained}", *QUICK, "runtimes=[pytorch,compile]")
    assert (outcome.status, outcome.err) == (0, "")
    assert outcome.out.count("compile") >= 2


REFUSED = {
    "runtimes=[tensorrt]": "runtimes: tensorrt must be one of: pytorch, compile, onnx, onnx_int8",
    "runtimes=[]": "runtimes=[] must name at least one",
    "batch_sizes=[2,2]": "batch_sizes=[2, 2] must name at least one, none of them twice",
    "batch_sizes=[0]": "batch_sizes: 0 must be in [1, 65536]",
    "seconds=nan": "seconds=nan must be finite and > 0",
    "threads=0": "threads=0 must be in [1, 1024], or null",
    "output=speed.txt": "output=speed.txt must be a .csv file",
}


@pytest.mark.parametrize("word", REFUSED)
def test_an_invalid_value_is_one_line(word, cli, folder, trained):
    outcome = cli("benchmark", f"checkpoint={trained}", word)
    assert (outcome.status, outcome.out, len(outcome.err.splitlines())) == (1, "", 1)
    assert REFUSED[word] in outcome.err
    assert not list(folder.iterdir())
