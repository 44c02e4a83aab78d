"""The figure of the README: our test errors with their intervals beside published numbers, a panel for each dataset.

Accuracies are drawn as errors. Recipes with other metrics are in the tables only. The data are stored in the file, so
that a test can tell whether it shows the current results. May import config, checkpoints, plots and the
other files of this folder.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zoo.checkpoints import files
from zoo.plots.figure import default_style
from zoo.release import claims
from zoo.release.published import Published

Entries = Mapping[str, Mapping[str, Any]]
DATASETS = {"fashion_mnist": "-fashion_mnist", "mnist": "-mnist"}  # parts of the names of recipes
TITLES = {"mnist": "MNIST", "fashion_mnist": "Fashion-MNIST"}
KEY = "Description"  # entry of the PNG file that holds the data
OURS, PAPER, BEST = "#1f5fa8", "#d1495b", "#5b5b5b"


def by_dataset(entries: Entries) -> dict[str, list[str]]:
    """Names of recipes by dataset, MNIST first; only datasets with recipes."""
    found: dict[str, list[str]] = {"mnist": [], "fashion_mnist": []}
    for name in entries:
        dataset = next((key for key, end in DATASETS.items() if end in name), "mnist")
        found[dataset].append(name)
    return {dataset: names for dataset, names in found.items() if names} or {"mnist": []}


def data(entries: Entries) -> dict[str, list[dict[str, Any]]]:
    """What the figure shows: the recipes of each panel with a percentage as the metric, the smallest error first."""
    panels = {}
    for dataset, names in by_dataset(entries).items():
        rows = [_row(name, entries[name]) for name in names if claims.of(entries[name])]
        panels[dataset] = sorted((row for row in rows if row), key=lambda row: float(row["ours"]))
    return {dataset: rows for dataset, rows in panels.items() if rows}


def _row(name: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers of a recipe as errors in percent; empty for another metric or a single seed."""
    claim = claims.parse(entry["claim"])
    kind = claims.METRICS[claim.metric]
    limits = claim.interval(entry)
    if not kind.is_fraction or limits is None:
        return {}

    # An accuracy becomes an error, which turns the limits around.
    def error(value: float) -> float:
        return round(value if kind.less_is_better else 100 - value, 4)

    def published(number: Published | None) -> dict[str, Any] | None:
        if number is None:
            return None
        return {"error": error(number.value), "like": number.is_comparable(entry["distortions"])}

    return {
        "name": _label(name) + ("*" if claim.reopened else ""),
        "ours": error(sum(entry["values"]) / len(entry["values"])),
        "interval": sorted(map(error, limits)),
        "distorted": entry["distortions"] != "none",
        "paper": published(claim.published),
        "best": published(claim.best_known),
    }


def _label(name: str) -> str:
    """The name of a recipe without that of its dataset, which is the title of the panel."""
    for end in DATASETS.values():
        name = name.replace(end, "")
    return name


def is_current(path: Path, entries: Entries) -> bool:
    """Whether the file shows these results; without results no file is needed."""
    return shows(path, data(entries))


def shows(path: Path, content: Mapping[str, Any]) -> bool:
    """Whether the file was drawn from this content; if the content is empty, the file may be missing."""
    from PIL import Image

    if not path.is_file():
        return not content
    with Image.open(path) as image:
        return bool(image.info.get(KEY) == json.dumps(content))


@default_style()
def draw(path: Path, entries: Entries) -> None:
    """Draw the panels and write the PNG file."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    # One panel per dataset, one line per recipe, errors on a logarithmic axis.
    panels = data(entries)
    rows = max(map(len, panels.values()))
    plot = Figure(figsize=(6.4 * len(panels) + 1.6, 0.36 * rows + 1.7), layout="constrained")
    for axes, (dataset, content) in zip(plot.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        for height, row in enumerate(reversed(content)):
            low, high = row["interval"]
            axes.plot([low, high], [height, height], color=OURS, linewidth=2.5, solid_capstyle="butt")
            face = "white" if row["distorted"] else OURS
            axes.plot(row["ours"], height, "o", color=OURS, markerfacecolor=face, markersize=7)
            # A filled mark was reached under like conditions.
            for key, marker, color in (("paper", "D", PAPER), ("best", "^", BEST)):
                if number := row[key]:
                    face = color if number["like"] else "none"
                    axes.plot(number["error"], height, marker, color=color, markerfacecolor=face, markersize=6.5)
        axes.set_yticks(range(len(content)), [row["name"] for row in reversed(content)])
        axes.set_xscale("log")
        ticks = [tick for tick in (0.2, 0.3, 0.5, 1, 2, 3, 5, 6, 7, 8, 10, 12, 15, 20) if _is_near(tick, content)]
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
        axes.set_xlabel("test error, %")
        axes.set_title(TITLES[dataset], fontsize=11)
        axes.grid(axis="x", color="0.9")
        axes.set_axisbelow(True)

    # The legend explains marks and fillings once, below the panels.
    marks = [
        Line2D([], [], color=OURS, marker="o", linewidth=2.5, label="ours, trained without distortions; 95 % interval"),
        Line2D([], [], color=OURS, marker="o", markerfacecolor="white", linewidth=2.5, label="ours, with distortions"),
        Line2D([], [], color=PAPER, marker="D", linewidth=0, label="its paper (hollow: other conditions)"),
        Line2D([], [], color=BEST, marker="^", linewidth=0, label="best known (hollow: other conditions)"),
    ]
    plot.legend(handles=marks, loc="outside lower center", ncols=2, fontsize=8.5, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.replacing(path) as temporary:
        plot.savefig(temporary, format="png", dpi=150, metadata={KEY: json.dumps(panels)})


def _is_near(tick: float, content: list[dict[str, Any]]) -> bool:
    """Whether a tick lies within the drawn values, or just outside."""
    values = [value for row in content for value in row["interval"]]
    values += [row[key]["error"] for row in content for key in ("paper", "best") if row[key]]
    return bool(min(values) * 0.8 <= tick <= max(values) * 1.25)
