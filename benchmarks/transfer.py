"""Does pretraining help? ResNet-18 from MNIST to few images of other digits, and to photographs of faces.

    ZOO_DATA=FOLDER_OF_MNIST python benchmarks/transfer.py [FOLDER] [KEY=VALUE ...]

Pretrains on MNIST (experiment=transfer_source), unless FOLDER, by default runs/transfer, has such a run already. Then,
on scikit-learn's digits with 3, 10 and 30 labeled images a class and on scikit-image's faces with 5 and 20, with five
seeds each (experiment=transfer), it fine-tunes the head only, gradually, and in full; and it trains from random weights
by three recipes, of which it reports the one with the best mean validation accuracy. All runs of a seed have the same
labels.
Differences are paired by seed, the 95 % interval is Student's t. Writes transfer.csv.
"""

import csv
import json
import sys
from pathlib import Path
from shutil import rmtree
from statistics import mean, stdev

from scipy.stats import t

from zoo.cli.main import main

SEEDS = (1, 2, 3, 4, 5)
CASES = {"digits": (30, 100, 300), "faces": (10, 40)}  # dataset -> numbers of labeled images
CLASSES = {"digits": 10, "faces": 2}
PRETRAINED = {
    "head": ["stage@model.stages.fit=linear_probe"],
    "gradual": ["stage@model.stages.fit=gradual"],
    "full": ["stage@model.stages.fit=finetune"],
}
FROM_SCRATCH = ["model.stages.fit.task.head_lr_factor=1", "model.stages.fit.task.layer_decay=1"]
RANDOM = {
    f"random lr {lr} steps {steps}": [f"lr={lr}", f"model.stages.fit.min_steps={steps}", *FROM_SCRATCH]
    for lr, steps in ((0.001, 100), (0.003, 100), (0.001, 300))
}


def run(folder: Path, overrides: list[str]) -> dict[str, float]:
    """The metrics of a run; a finished run is not repeated."""
    if not (folder / "metrics.json").is_file():
        rmtree(folder, ignore_errors=True)  # remains of a run that was stopped
        main("train", [*overrides, "progress=false", f"hydra.run.dir={folder}"])
    return json.loads((folder / "metrics.json").read_text())


def difference(a: list[float], b: list[float]) -> str:
    """Mean of a - b and its 95 % interval, in points."""
    d = [100 * (x - y) for x, y in zip(a, b, strict=True)]
    margin = float(t.ppf(0.975, len(d) - 1)) * stdev(d) / len(d) ** 0.5
    return f"{mean(d):+.2f} ({mean(d) - margin:.2f} to {mean(d) + margin:.2f})"


def compare(dataset: str, labels: int, folder: Path, overrides: list[str]) -> list[dict[str, str]]:
    """A row for each way of fine-tuning."""
    results = {}
    for arm, setting in ({arm: [*s, f"weights={folder / 'source'}"] for arm, s in PRETRAINED.items()} | RANDOM).items():
        case = ["experiment=transfer", f"dataset={dataset}", f"dataset.labeled_examples={labels}", *setting, *overrides]
        name = f"{dataset}-{labels}-{arm}".replace(" ", "-")
        results[arm] = [run(folder / f"{name}-{seed}", [*case, f"seed={seed}"]) for seed in SEEDS]
    longest_first = reversed(list(RANDOM))  # among equally good recipes, `max` takes the first, the longest
    best = max(longest_first, key=lambda arm: mean(metrics["val/accuracy"] for metrics in results[arm]))
    accuracies = {arm: [metrics["test/accuracy"] for metrics in results[arm]] for arm in results}
    return [
        {
            "dataset": dataset,
            "labels a class": str(labels // CLASSES[dataset]),
            "trained": arm,
            "pretrained %": f"{100 * mean(accuracies[arm]):.2f}",
            "random start %": f"{100 * mean(accuracies[best]):.2f}",
            "difference (95 % interval)": difference(accuracies[arm], accuracies[best]),
            "random recipe": best.removeprefix("random "),
        }
        for arm in PRETRAINED
    ]


if __name__ == "__main__":
    folders = [argument for argument in sys.argv[1:] if "=" not in argument]
    overrides = [argument for argument in sys.argv[1:] if "=" in argument]
    folder = Path(folders[0] if folders else "runs/transfer").resolve()
    run(folder / "source", ["experiment=transfer_source", *overrides])
    rows = [
        row for dataset in CASES for labels in CASES[dataset] for row in compare(dataset, labels, folder, overrides)
    ]
    with (folder / "transfer.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    for row in rows:
        print(*row.values(), sep=" | ")
