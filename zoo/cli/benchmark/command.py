"""``zoo benchmark``: latency and throughput of a checkpoint's net by runtime and batch size, and its size.

The runtimes take turns, so that other programs on the machine slow down all of them alike.
"""

import csv
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import ceil, isfinite
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
from omegaconf import DictConfig
from torch import Tensor

from zoo.checkpoints.checkpoint import locate, open_checkpoint
from zoo.checkpoints.files import check_output, replacing
from zoo.checkpoints.provenance import hardware_name
from zoo.cli.benchmark.runtimes import CPU_ONLY, RUNTIMES, Call, Runtime, Target, multiply_adds
from zoo.cli.export.int8 import quiet_log
from zoo.config import hardware
from zoo.config.console import print_table, say
from zoo.protocols import shape_text

ROUNDS = 10  # number of turns of each runtime
MAX_BATCH = 2**16
MAX_THREADS = 1024


class Timing(NamedTuple):
    """The measurement of one runtime with one batch size. Times are in seconds.

    Attributes:
        setup: from the loaded net or file to the outputs of the first batch; for torch.compile, the compilation.
        calls: the time of each call.
    """

    runtime: str
    batch_size: int
    setup: float
    calls: list[float]

    @property
    def latency(self) -> float:
        """The median time of a call."""
        return median(self.calls)

    @property
    def throughput(self) -> float:
        """Inputs per second over all calls."""
        return self.batch_size * len(self.calls) / sum(self.calls)


def benchmark(cfg: DictConfig) -> list[dict[str, Any]]:
    """Measure, print a table, and write the CSV.

    Returns:
        The rows of the CSV.

    Raises:
        FileNotFoundError, ValueError: no such checkpoint, an invalid value, or no runtime works.
        FileExistsError: the output exists already.
        OSError: the output cannot be written.
    """
    # Refuse invalid values before anything is measured.
    _check(cfg)
    file, _ = locate(cfg.checkpoint)
    if cfg.output is not None:
        check_output(cfg.output, overwrite=cfg.overwrite, suffixes=[".csv"], inputs=[file])
    trainer_kwargs = hardware.trainer_kwargs(cfg.accelerator)
    device = hardware.device(trainer_kwargs)
    net, about = open_checkpoint(cfg.checkpoint)
    shape = about.transforms().shape

    with _threads(cfg.threads) as threads, TemporaryDirectory() as folder:
        # Count what does not depend on the runtime.
        parameters = sum(parameter.numel() for parameter in net.parameters())
        macs = multiply_adds(net, shape)
        target = Target(net.to(device), device, cfg.accelerator.precision, threads, file, Path(folder), shape)

        # Measure one batch size after another.
        runtimes, notes = _ready(cfg.runtimes, target)
        timings: list[Timing] = []
        for batch_size in cfg.batch_sizes:
            batch = torch.randn(batch_size, *shape, generator=torch.Generator().manual_seed(0))
            timings += _measure(runtimes, batch, cfg.seconds, notes)
        where = hardware_name(device)

    if not timings:
        raise ValueError(f"runtimes={list(cfg.runtimes)}: none of them works here ({'; '.join(notes)})")
    sizes = {name: runtime.size for name, runtime in runtimes.items()}
    common = {
        "model": about.name,
        "parameters": parameters,
        "multiply_adds": macs,
        "precision": cfg.accelerator.precision,
        "hardware": where,
    }
    rows = [_row(timing, timings, sizes[timing.runtime], common) for timing in timings]

    # Write the CSV, and print the table.
    if cfg.output is not None:
        with replacing(cfg.output) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.DictWriter(stream, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    say(f"{about.title}: {parameters:,} parameters, {macs:,} multiply-adds for an input of {shape_text(shape)}")
    files = ", ".join(f"{name} {size / 1024:,.0f} KiB" for name, size in sizes.items())
    say(f"files: {files}")
    _print(rows, f"{where}, {cfg.accelerator.precision}; times of one call in milliseconds")
    for note in notes:
        say(f"note: {note}")
    return rows


def _check(cfg: DictConfig) -> None:
    """Raise ValueError for a value that is out of range."""
    for key in ("runtimes", "batch_sizes"):
        values = list(cfg[key])
        if not values or len(set(values)) < len(values):
            raise ValueError(f"{key}={values} must name at least one, none of them twice")
    for name in cfg.runtimes:
        if name not in RUNTIMES:
            raise ValueError(f"runtimes: {name} must be one of: {', '.join(RUNTIMES)}")
    for size in cfg.batch_sizes:
        if not 1 <= size <= MAX_BATCH:
            raise ValueError(f"batch_sizes: {size} must be in [1, {MAX_BATCH}]")
    if not (isfinite(cfg.seconds) and cfg.seconds > 0):
        raise ValueError(f"seconds={cfg.seconds} must be finite and > 0")
    if cfg.threads is not None and not 1 <= cfg.threads <= MAX_THREADS:
        raise ValueError(f"threads={cfg.threads} must be in [1, {MAX_THREADS}], or null")


@contextmanager
def _threads(threads: int | None) -> Iterator[int]:
    """Within the block, PyTorch uses this number of threads; yields the number."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield threads or before
    finally:
        torch.set_num_threads(before)


def _ready(names: list[str], target: Target) -> tuple[dict[str, Runtime], list[str]]:
    """The runtimes that work here, by name, and a note about each of the others."""
    runtimes: dict[str, Runtime] = {}
    notes: list[str] = []
    for name in names:
        if name in CPU_ONLY and target.device.type != "cpu":
            notes.append(f"{name} is measured on the CPU only: add accelerator=cpu")
            continue
        try:
            runtimes[name] = RUNTIMES[name](target)
        except ValueError as error:  # the net cannot be exported, or the extra onnx is not installed
            notes.append(f"{name} does not work here: {error}")
    return runtimes, notes


def _measure(runtimes: Mapping[str, Runtime], batch: Tensor, seconds: float, notes: list[str]) -> list[Timing]:
    """Measure all runtimes with one batch, in turn; add a note about each that fails."""
    # Start each runtime; the first calls are not counted.
    calls: dict[str, Call] = {}
    timings: dict[str, Timing] = {}
    for name, runtime in runtimes.items():
        started = time.perf_counter()
        try:
            with quiet_log(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                call = runtime.prepare(batch)
                call()
        except Exception as error:  # torch.compile and runtimes raise many types, such as for a missing C++ compiler
            reason = " ".join(str(error).split())[:200]
            notes.append(f"{name} fails with batch size {len(batch)} ({type(error).__name__}: {reason})")
            continue
        timings[name] = Timing(name, len(batch), time.perf_counter() - started, [])
        call()
        calls[name] = call

    # In each round, every runtime gets an equal share of the time, and at least one call.
    for _ in range(ROUNDS):
        for name, call in calls.items():
            end = time.perf_counter() + seconds / ROUNDS
            while True:
                started = time.perf_counter()
                call()
                finished = time.perf_counter()
                timings[name].calls.append(finished - started)
                if finished >= end:
                    break
    return list(timings.values())


def _row(timing: Timing, timings: list[Timing], size: int, common: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the CSV. The reference of the speed-up is the first runtime that was measured with this batch size."""
    reference = next(other for other in timings if other.batch_size == timing.batch_size)
    times = sorted(timing.calls)
    return {
        "runtime": timing.runtime,
        "batch_size": timing.batch_size,
        "latency_ms": 1000 * timing.latency,
        "latency_p90_ms": 1000 * times[ceil(0.9 * len(times)) - 1],
        "fastest_ms": 1000 * times[0],
        "inputs_per_second": timing.throughput,
        "speedup": reference.latency / timing.latency,
        "calls": len(times),
        "setup_seconds": timing.setup,
        "file_bytes": size,
        **common,
    }


def _print(rows: list[dict[str, Any]], title: str) -> None:
    """Print the table."""
    right = ("batch", "median", "90 %", "inputs/s", "speed-up", "setup, s")
    cells = [
        (
            row["runtime"],
            f"{row['batch_size']:,}",
            f"{row['latency_ms']:.2f}",
            f"{row['latency_p90_ms']:.2f}",
            f"{row['inputs_per_second']:,.0f}",
            f"{row['speedup']:.2f}",
            f"{row['setup_seconds']:.1f}",
        )
        for row in rows
    ]
    print_table(title, ("runtime", *right), cells, right=right)
