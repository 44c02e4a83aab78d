"""Fine-tuning on photographs: the zoo's recipes, random weights, the script of PyTorch's tutorial, and timm's recipe.

    ZOO_DATA=FOLDER python benchmarks/photos.py FOLDER [--set ants_bees] [--per-class 20 all] [--recipe head full]
                                                       [--seeds 1 2 3 4 5] [--size 224] [--choose] [--key KEY=VALUE]
    python benchmarks/photos.py FOLDER --table

MobileNetV2 with ImageNet weights on ants and bees, faces and CIFAR-10 (as JPEG files): `photo_sets.py`; the recipes are
those of `photo_recipes.py`. Each run appends one line to FOLDER/photos.csv and is not repeated, so the command may be
stopped and started again. The seed determines the training images (except with all of them), the initial head, the
order and the augmentation; all recipes of a seed have the same training images, so differences are paired by seed.

With --choose, settings are compared on five folds of the training images in place of the test images; --key adds keys
of `zoo train` to the zoo's recipes. The table never mixes both.

Minutes are those of the processor (user and system time of this process), so other work on the machine matters little.
"""

import argparse
import csv
import os
import resource
import shutil
from collections import defaultdict
from collections.abc import Iterator
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from statistics import mean, stdev

import torch
from photo_recipes import RECIPES, Case, Scores, full, zoo_run
from photo_sets import SETS, data_root, write
from scipy.stats import t

FIELDS = ("split", "set", "per_class", "recipe", "seed", "size", "test", "validation", "minutes")
KEY = FIELDS[:6]  # what identifies a run
WEIGHTS = "weights/mobilenet_v2_imagenet_features.safetensors"
ZOO = ("head", "full", "gradual")  # the recipes that are compared with all others
Row = dict[str, str]


def rows_of(folder: Path) -> list[Row]:
    path = folder / "photos.csv"
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def append(folder: Path, row: Row) -> None:
    """Add one line to the CSV, with a header in a new file."""
    path = folder / "photos.csv"
    is_new = not path.is_file()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerow(row)
        file.flush()
        os.fsync(file.fileno())


def minutes() -> float:
    """Minutes of the processor that this process and its finished children have used."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used) / 60


def run(folder: Path, row: Row, keys: list[str]) -> None:
    """Train once, and append the result."""
    data = folder / f"data-{os.getpid()}"
    per_class = None if row["per_class"] == "all" else int(row["per_class"])
    choose = row["split"] == "fold"
    write(data, row["set"], per_class=per_class, seed=int(row["seed"]), choose=choose, scratch=folder)
    case = Case(data, folder / f"runs-{os.getpid()}", int(row["size"]), int(row["seed"]), data_root() / WEIGHTS)

    # A recipe with further keys has them in its name: "full lr=0.001".
    name = row["recipe"].removesuffix(" ".join(["", *keys]))
    recipe = partial(KEYED[name], keys=keys) if keys else RECIPES[name]
    start = minutes()
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):  # noqa: PTH123
        scores: Scores = recipe(case)
    used = minutes() - start
    validation = "" if scores.validation is None else f"{scores.validation:.4f}"
    append(folder, {**row, "test": f"{scores.test:.4f}", "validation": validation, "minutes": f"{used:.2f}"})
    shutil.rmtree(data)


KEYED = {
    "head": lambda case, keys: zoo_run(case, "experiment=linear_probe", *keys),
    "full": lambda case, keys: full(case, *keys),
}


def interval(values: list[float]) -> str:
    """Mean and 95 % interval (Student's t) of percentages or points."""
    if len(values) < 2:
        return f"{mean(values):.2f}"
    margin = float(t.ppf(0.975, len(values) - 1)) * stdev(values) / len(values) ** 0.5
    return f"{mean(values):.2f} ({mean(values) - margin:.2f} to {mean(values) + margin:.2f})"


def table(rows: list[Row]) -> Iterator[str]:
    """Lines of a table: for each case, a row for each recipe with its difference from the zoo's recipes."""
    cases: dict[tuple[str, ...], dict[str, dict[str, Row]]] = defaultdict(lambda: defaultdict(dict))
    for row in rows:
        case = (row["split"], row["set"], row["per_class"], row["size"])
        cases[case][row["recipe"]][row["seed"]] = row
    yield (
        "| images | per class | size | recipe | seeds | accuracy % | "
        + " | ".join(f"{name} minus it" for name in ZOO)
        + " | minutes |"
    )
    yield "|---|---|---|---|---|---|" + "---|" * len(ZOO) + "---|"
    for (split, name, per_class, size), recipes in sorted(cases.items()):
        for recipe, runs in with_best_random(recipes).items():
            scores = {seed: 100 * float(row["test"]) for seed, row in runs.items()}
            cells = [f"{name}{' (folds)' if split == 'fold' else ''}", per_class, size, recipe, str(len(scores))]
            cells.append(interval(list(scores.values())))
            for own in ZOO:
                # Only the seeds that both have.
                mine = {seed: 100 * float(row["test"]) for seed, row in recipes.get(own, {}).items()}
                pairs = [mine[seed] - scores[seed] for seed in scores if seed in mine]
                cells.append(interval(pairs) if pairs and own != recipe else "")
            cells.append(f"{mean(float(row['minutes']) for row in runs.values()):.1f}")
            yield "| " + " | ".join(cells) + " |"


def with_best_random(recipes: dict[str, dict[str, Row]]) -> dict[str, dict[str, Row]]:
    """The recipes; of those from random weights, only the one with the best mean accuracy on validation images."""
    scored = {}
    for name in recipes:
        values = [float(row["validation"]) for row in recipes[name].values() if row["validation"]]
        if name.startswith("random"):
            scored[name] = mean(values) if values else 0.0
    best = max(scored, key=lambda name: scored[name]) if scored else None
    return {name: runs for name, runs in recipes.items() if name not in scored or name == best}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--set", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--per-class", nargs="+", default=["5", "20", "all"])
    parser.add_argument("--recipe", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3, 4, 5])
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--choose", action="store_true")
    parser.add_argument("--key", nargs="+", default=[])
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    folder = options.folder.resolve()
    if options.table:
        print("\n".join(table(rows_of(folder))))
        return

    # Run what the CSV does not have yet, seed by seed, so that a stopped benchmark has pairs.
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(options.threads)
    if options.key and not set(options.recipe) <= set(KEYED):
        parser.error(f"--key needs --recipe {' or '.join(KEYED)}")
    split = "fold" if options.choose else "test"
    done = {tuple(row[field] for field in KEY) for row in rows_of(folder)}
    for name in options.set:
        for per_class in options.per_class:
            for seed in options.seeds:
                for recipe in options.recipe:
                    label = " ".join([recipe, *options.key])
                    values = (split, name, per_class, label, str(seed), str(options.size))
                    if values not in done:
                        run(folder, dict(zip(KEY, values, strict=True)), options.key)


if __name__ == "__main__":
    main()
