"""From the runs of a recipe to a checkpoint that ships: its file is that of the first seed, never the best of several.

    zoo train -m experiment=NAME seed=1,2,3 hydra.sweep.dir=sweeps/NAME
    python -m zoo.release.publish NAME sweeps/NAME

Where the claim has words for ``zoo evaluate``, each run is first measured by it, into its ``evaluation.json``. Large
files ship with 16 bits a number, and the metric beside them in the index is measured anew, of the file as it ships.

Enters the file, the recipe's claim and the values of all seeds in ``checkpoints/index.yaml``;
`zoo.release.results` then writes the table and the cards. Of a sweep that compares two settings, the differences are
kept in ``checkpoints/NAME.csv`` instead. For maintainers, in a checkout.
"""

import csv
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
from zoo.release import claims

LARGE = 4 * 2**20  # bytes, from which on a file is stored in halves
VARIES = ("seed", "resume", "progress", "claim")  # what the runs of one recipe may differ in


def publish(name: str, sweep: Path) -> dict[str, Any]:
    """Returns the entry of the index.

    Raises:
        FileNotFoundError, ValueError: no finished runs there, runs that differ in more than the seed, or no claim.
    """
    runs: dict[int, tuple[Path, dict[str, Any]]] = {}
    for path in sorted(sweep.glob("*/metrics.json")):
        config: Any = OmegaConf.to_container(OmegaConf.load(path.parent / "config.yaml"))
        runs[config["seed"]] = (path.parent, config)
    if not runs:
        raise FileNotFoundError(f"{sweep}: no finished runs in its folders; name the folder of a sweep over seeds")
    seeds = sorted(runs)
    folder, config = runs[seeds[0]]
    for seed in seeds[1:]:
        other = runs[seed][1]
        odd = [key for key in config if key not in VARIES and config[key] != other.get(key)]
        if odd:
            raise ValueError(f"{runs[seed][0]}: {odd[0]} is another than in {folder}; these are runs of two recipes")
    recipe = catalogue.CONF / "experiment" / f"{name}.yaml"
    if recipe.is_file():  # as it is worded now
        config["claim"] = yaml.safe_load(recipe.read_text()).get("claim")
    claim = claims.of(config)
    if claim is None:
        raise ValueError(
            f"{folder}: its recipe claims nothing; a claim= with quantity, reference, source and goal is needed"
        )
    metrics = {seed: _metrics(run, claim.evaluate) for seed, (run, _) in runs.items()}
    minutes = [_minutes(run) for run, _ in runs.values()]
    entry = {
        "experiment": name,
        "claim": config["claim"],
        "parameters": checkpoints.info(folder).num_params,
        "seeds": seeds,
        "values": [round(claim.value(metrics[seed]), 4) for seed in seeds],
        "minutes": round(sum(minutes) / len(minutes), 1),
        "hardware": checkpoints.info(folder).hardware,
    }
    names = claims.QUANTITIES[claim.quantity].metrics
    with tempfile.TemporaryDirectory() as temporary:
        shipped, measured = folder / "model.safetensors", metrics[seeds[0]]
        if shipped.stat().st_size > LARGE:
            net, about = checkpoints.open_checkpoint(folder)
            shipped = Path(temporary) / "model.safetensors"
            checkpoints.save(net, shipped, about, halves=True)
            measured = _evaluated(shipped, Path(temporary) / "evaluation.json", claim.evaluate)
            about = replace(about, metrics={key: measured.get(key, value) for key, value in about.metrics.items()})
            checkpoints.save(net, shipped, about, halves=True)
        return checkpoints.publish(shipped, name, metric={key: measured[key] for key in names}, **entry)


def compare(name: str, sweep: Path) -> Path:
    """Keep the rows of a sweep's ``paired.csv`` that are about the headlines. Returns the file."""
    with (sweep / "paired.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["metric"] in checkpoints.HEADLINES]
    target = catalogue.CHECKPOINTS / f"{name}.csv"
    with files.replacing(target) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return target


def _metrics(run: Path, words: Sequence[str]) -> Mapping[str, float]:
    """Those that the run was left with, and those that ``zoo evaluate`` adds."""
    metrics: dict[str, float] = json.loads((run / "metrics.json").read_text())
    return metrics | _evaluated(run, run / "evaluation.json", words) if words else metrics


def _evaluated(checkpoint: Path, output: Path, words: Sequence[str]) -> dict[str, float]:
    """What ``zoo evaluate`` measures, kept in ``output``."""
    if not output.is_file():
        command = [
            sys.executable,
            "-m",
            "zoo.cli.evaluate",
            f"checkpoint={checkpoint}",
            f"output={output}",
            *words,
        ]
        if subprocess.run(command, check=False).returncode:
            raise SystemExit(f"{checkpoint}: it could not be measured, see above; nothing was published")
    measured: dict[str, float] = json.loads(output.read_text())
    return measured


def _minutes(run: Path) -> float:
    """From the first file of a run to its last."""
    return ((run / "metrics.json").stat().st_mtime - (run / "config.yaml").stat().st_mtime) / 60


def main(name: str, sweep: Path) -> None:
    """Publish a sweep over seeds, or one that compares."""
    if (sweep / "paired.csv").is_file():
        sys.stdout.write(f"{compare(name, sweep)}\n")
        return
    entry = publish(name, sweep)
    sys.stdout.write(f"{name}: {entry['values']} in {entry['file']}\n")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
