"""Publish the runs of a recipe. The shipped checkpoint is that of the first seed, whether or not it is the best.

    zoo train -m experiment=NAME seed=1,2,3 hydra.sweep.dir=sweeps/NAME
    python -m zoo.release.publish NAME sweeps/NAME

If the claim has arguments for ``zoo evaluate``, each run is first evaluated with them and gets an ``evaluation.json``.
Large files are stored as float16; the metric in the index is then computed again, on the stored weights.

The file, the recipe's claim and the values of all seeds are entered in ``checkpoints/index.yaml``;
`zoo.release.results` then writes the tables and cards. For a sweep that compares two settings, the differences are
written to ``checkpoints/NAME.csv`` instead. A recipe that has results already is refused, unless ``claim.reopened`` in
its YAML lists them: whoever reads the table must know that a test result had been seen. For maintainers, in a checkout.
May import config and checkpoints.
"""

import csv
import hashlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

from zoo.checkpoints import checkpoint as checkpoints
from zoo.checkpoints import files
from zoo.config import catalogue
from zoo.release import claims, images, index
from zoo.release.claims import Claim

LARGE = 4 * 2**20  # bytes; a larger file is stored in half precision
VARIES = ("seed", "resume", "progress", "claim")  # keys in which the runs of one recipe may differ
# Metrics in the index for a checkpoint without a claim, and in the table of a paired comparison.
HEADLINES = ("test/accuracy", "test/mse")


def publish(name: str, sweep: Path) -> dict[str, Any]:
    """Publish the runs of a sweep over seeds under ``name``.

    Returns:
        The entry of the index.

    Raises:
        FileNotFoundError: the sweep has no finished runs.
        ValueError: the runs differ in more than the seed, their recipe has no claim, a metric of the claim is missing,
            or the recipe has results that ``claim.reopened`` does not list.
        SystemExit: ``zoo evaluate`` failed.
    """
    runs, config = finished_runs(sweep)
    seeds = sorted(runs)
    first = runs[seeds[0]]
    claim_values, claim = _claim(name, first, config)

    # Collect the metrics of every seed, and the run times.
    metrics = {seed: _metrics(run, claim.evaluate) for seed, run in runs.items()}
    minutes = min(_minutes(run) for run in runs.values())  # others may have been stopped for a while, then resumed
    about = checkpoints.info(first)
    values = [round(claim.value(metrics[seed]), 4) for seed in seeds]
    entry = {
        "experiment": name,
        "claim": claim_values,
        "parameters": about.num_params,
        "seeds": seeds,
        "values": values,
        "images": images.measure(first, claim.metric, config["dataset"]),
        "distortions": claims.distortions(config["dataset"]),
        "minutes": round(minutes, 1),
        "hardware": about.hardware,
    }

    # Refuse to replace results silently.
    before = catalogue.index().get(name, {})
    known = claims.of(before)
    index.check_history(name, claim, values, before.get("values", ()), known.reopened if known else ())

    # Ship the file of the first seed. Store a large one in half precision and evaluate it again.
    names = claims.METRICS[claim.metric].metrics
    measured = metrics[seeds[0]]
    shipped = first / "model.safetensors"
    with tempfile.TemporaryDirectory() as temporary:
        if shipped.stat().st_size > LARGE:
            shipped, measured = _halved(first, Path(temporary), claim)
        return add_to_index(shipped, name, metric={key: measured[key] for key in names}, **entry)


def add_to_index(
    checkpoint: str | Path, name: str, *, metric: dict[str, float] | None = None, **more: Any
) -> dict[str, Any]:
    """Copy a checkpoint to ``checkpoints/NAME.safetensors`` and enter it in ``checkpoints/index.yaml``.

    Args:
        checkpoint: a file or a run folder, as `zoo.load` takes them.
        name: name of the checkpoint in the index.
        metric: the metrics in the index, by name; None: accuracy or squared error, if the checkpoint has one.
        more: further keys of the entry.

    Returns:
        The entry.

    Raises:
        FileNotFoundError, ValueError: as `zoo.load`; a checkpoint that cannot be loaded is not published.
    """
    # Load the checkpoint once: a file that is damaged or does not fit its net must not ship.
    _, about = checkpoints.open_checkpoint(checkpoint)
    path, _ = checkpoints.locate(checkpoint)
    content = path.read_bytes()
    if metric is None:
        metric = {key: about.metrics[key] for key in HEADLINES if key in about.metrics}

    # Write the file first: the index must never name a missing file.
    with files.replacing(catalogue.CHECKPOINTS / f"{name}.safetensors") as temporary:
        temporary.write_bytes(content)
    entry = {"file": f"{name}.safetensors", **fingerprint(content), "model": about.name, "metric": metric, **more}
    index.write({**catalogue.index(), name: entry})
    return entry


def fingerprint(content: bytes) -> dict[str, Any]:
    """SHA-256 and size in bytes of a file, as entries of the index."""
    return {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}


def compare(name: str, sweep: Path) -> Path:
    """Write the headline metrics of a sweep's ``paired.csv`` to ``checkpoints/NAME.csv``; return its path.

    Raises:
        ValueError: the recipe has results that ``claim.reopened`` does not list.
    """
    # The file has a row for every metric; the table shows only `HEADLINES`.
    rows = [row for row in _rows(sweep / "paired.csv") if row["metric"] in HEADLINES]
    target = catalogue.CHECKPOINTS / f"{name}.csv"
    if target.is_file():
        _, claim = _claim(name, sweep, {})
        index.check_history(name, claim, first_row(rows), first_row(_rows(target)))
    with files.replacing(target) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return target


def first_row(rows: Sequence[Mapping[str, str]]) -> list[float]:
    """The means of the settings in the first row of a paired comparison, in percent, as they are printed."""
    return [round(100 * float(value), 2) for key, value in rows[0].items() if "=" in key]


def _rows(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def finished_runs(sweep: Path) -> tuple[dict[int, Path], dict[str, Any]]:
    """The finished runs of a sweep by seed, and the config of the first seed. All runs must be of one recipe."""
    # A run is finished if it has metrics.json.
    folders: dict[int, Path] = {}
    configs: dict[int, dict[str, Any]] = {}
    for path in sorted(sweep.glob("*/metrics.json")):
        config: Any = OmegaConf.to_container(OmegaConf.load(path.parent / "config.yaml"))
        folders[config["seed"]] = path.parent
        configs[config["seed"]] = config
    if not folders:
        raise FileNotFoundError(f"{sweep}: no finished runs in its subfolders; name the folder of a sweep over seeds")

    # Refuse to average runs of two recipes.
    first = min(folders)
    for seed, config in configs.items():
        for key, value in configs[first].items():
            if key not in VARIES and not _equal(config.get(key), value):
                raise ValueError(f"{key} differs between {folders[first]} and {folders[seed]}: not one recipe")
    return folders, configs[first]


def _equal(one: Any, other: Any) -> bool:
    """Whether two values of configs are equal. A key that a later version has added may be missing if it is off."""
    if not (isinstance(one, dict) and isinstance(other, dict)):
        return bool(one == other)
    merged = {**one, **other}
    return all(
        _equal(one[key], other[key]) if key in one and key in other else value in (None, False)
        for key, value in merged.items()
    )


def _claim(name: str, run: Path, config: Mapping[str, Any]) -> tuple[dict[str, Any], Claim]:
    """The claim in the recipe's current YAML, or else in the run's config: as plain values, and parsed."""
    # Prefer the YAML: sources and wording may have been corrected since the runs.
    recipe = catalogue.CONF / "experiment" / f"{name}.yaml"
    if recipe.is_file():
        config = yaml.safe_load(recipe.read_text())
    claim = claims.of(config)
    if claim is None:
        raise ValueError(f"{run}: its recipe has no claim; add claim: with metric, goal and published")
    return config["claim"], claim


def _halved(run: Path, folder: Path, claim: Claim) -> tuple[Path, dict[str, float]]:
    """A copy of a run's checkpoint in half precision, and the metrics of that copy."""
    path = folder / "model.safetensors"
    # Evaluate the rounded weights, which are those that users get.
    net, about = checkpoints.open_checkpoint(run)
    checkpoints.save(net, path, about, half_precision=True)
    measured = _evaluated(path, folder / "evaluation.json", claim.evaluate)

    # Write the copy again with its own metrics, not those of the original weights.
    metrics = {key: measured.get(key, value) for key, value in about.metrics.items()}
    checkpoints.save(net, path, replace(about, metrics=metrics), half_precision=True)
    return path, measured


def _metrics(run: Path, arguments: Sequence[str]) -> Mapping[str, float]:
    """The final metrics of a run, and those of ``zoo evaluate`` with the claim's arguments, if it has any."""
    metrics = metrics_of(run)
    if not arguments:
        return metrics
    return metrics | _evaluated(run, run / "evaluation.json", arguments)


def metrics_of(run: Path) -> dict[str, float]:
    """The final metrics of a run."""
    metrics: dict[str, float] = json.loads((run / "metrics.json").read_text())
    return metrics


def _evaluated(checkpoint: Path, output: Path, arguments: Sequence[str]) -> dict[str, float]:
    """The metrics of ``zoo evaluate``. They are stored in ``output``; if that file exists, it is read instead."""
    if not output.is_file():
        # Run the command in a separate process, as a user would.
        command = [
            sys.executable,
            "-m",
            "zoo.cli",
            "evaluate",
            f"checkpoint={checkpoint}",
            f"output={output}",
            *arguments,
        ]
        if subprocess.run(command, check=False).returncode:
            raise SystemExit(f"{checkpoint}: zoo evaluate failed, see above; nothing was published")
    measured: dict[str, float] = json.loads(output.read_text())
    return measured


def _minutes(run: Path) -> float:
    """Run time in minutes, from the first file of a run to its last."""
    began = (run / "config.yaml").stat().st_mtime
    ended = (run / "metrics.json").stat().st_mtime
    return (ended - began) / 60


def main(name: str, sweep: Path) -> None:
    """Publish a sweep over seeds, or one that compares two settings."""
    if (sweep / "paired.csv").is_file():
        sys.stdout.write(f"{compare(name, sweep)}\n")
        return
    entry = publish(name, sweep)
    sys.stdout.write(f"{name}: {entry['values']} in {entry['file']}\n")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
