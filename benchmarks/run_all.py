"""Run the benchmarks of speed and memory one after another and write BENCHMARKS.md.

    ZOO_DATA=FOLDER_OF_MNIST python benchmarks/run_all.py [--quick] [--rounds N] [NAME ...]

Each benchmark is a process of its own. Those named are run, or all in `BENCHMARKS`. The results are kept in
runs/benchmarks/results.jsonl, and the page has the last ones of each benchmark. A rehearsal (--quick) writes
runs/benchmarks/BENCHMARKS.md and quick.jsonl there instead.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import bench_page
import torch

ROOT = Path(__file__).parents[1]
BENCHMARKS = (
    "rbm_epoch",
    "conv_rbm_epoch",
    "ais",
    "lenet5_epoch",
    "hydra_template",
    "linear_probe",
    "predict",
    "image_folder",
    "startup",
    "scaling",
    "train_memory",
    "embed_memory",
)
BUSY = 0.5  # load average per core above which another program is running


def read(path: Path) -> list[dict[str, Any]]:
    """The results in a file, none if there is no file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def stem(record: dict[str, Any]) -> str:
    """The name of the benchmark that a result is from."""
    return Path(record["script"]).stem


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="rehearse: one round of small programs")
    parser.add_argument("--rounds", help="number of rounds of each benchmark")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}")
    options = parser.parse_args()
    if unknown := set(options.names) - set(BENCHMARKS):
        parser.error(f"unknown benchmark {', '.join(sorted(unknown))}")
    if os.getloadavg()[0] > BUSY * (os.cpu_count() or 1):
        print(f"warning: load average {os.getloadavg()[0]:.1f}: other programs are running", file=sys.stderr)

    # Each benchmark appends its results to one file. One that fails does not keep the others from running.
    names = options.names or BENCHMARKS
    results = ROOT / "runs" / "benchmarks" / ("quick.jsonl" if options.quick else "results.jsonl")
    results.parent.mkdir(parents=True, exist_ok=True)
    new = results.with_suffix(".new")
    new.unlink(missing_ok=True)
    arguments = ["--jsonl", str(new)] + ["--quick"] * options.quick
    arguments += ["--rounds", options.rounds] if options.rounds else []
    failed = []
    for name in names:
        print(f"\n=== {name}", flush=True)
        script = ROOT / "benchmarks" / f"{name}.py"
        if subprocess.run([sys.executable, str(script), *arguments], cwd=ROOT).returncode:
            failed.append(name)

    # The new results replace older ones of the same benchmarks.
    records = [record for record in read(results) if stem(record) not in names] + read(new)
    records.sort(key=lambda record: BENCHMARKS.index(stem(record)))
    results.write_text("".join(json.dumps(record) + "\n" for record in records))
    new.unlink(missing_ok=True)
    page = (results.parent if options.quick else ROOT) / "BENCHMARKS.md"
    bench_page.write(page, "CPU", records, torch.device("cpu"))
    print(f"\nwrote {page}")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")
