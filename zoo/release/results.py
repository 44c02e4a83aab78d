"""Generate RESULTS.md, the table of the README and the model cards from the index and the paired comparisons.

    python -m zoo.release.results          # write the files
    python -m zoo.release.results --check  # exit with status 1 if a file is out of date

Everything is generated, so that tables, cards, index and checkpoints always agree. Reads YAML, CSV and the headers of
checkpoints. May import config and the other files of this folder.
"""

import csv
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from zoo.config import catalogue
from zoo.release import cards, claims
from zoo.release.claims import Claim

LEGEND = "".join(f"- *{status}*: {meaning}.\n" for status, meaning in claims.STATUSES.items())
PROTOCOL = """\
# Results

Every row is a recipe of `conf/experiment`, run by the command listed under [Sources](#sources). Recipes were chosen on
a validation split of 10,000 images, taken from the training images (`dataset.validation=10000`). Then each was trained
on all 60,000 training images, once per seed, and evaluated once on the test images. "Ours" is the mean ± standard
deviation over the seeds. The shipped checkpoint is that of the first seed, whether or not it is the best.

"Published" is a number that others reached with a comparable net; "-" means that we found none. "Goal" is the target
that we set for the recipe. The squared reconstruction error of an image is summed over its pixels.

`zoo reproduce NAME` re-evaluates a checkpoint and compares its metrics with those stored in `checkpoints/index.yaml`;
`zoo reproduce NAME --train` first trains the recipe again. This file is generated from that index by
`python -m zoo.release.results`.

"""
SOURCES = """\
## Sources

Published numbers, hardware and commands. Some recipes were timed while another run shared the core, as their headers
say. The status of a published number says how we know it:

"""
START = "<!-- results: written by python -m zoo.release.results -->\n"
END = "<!-- end of results -->\n"
README_COLUMNS = ("recipe", "parameters", "metric", "published", "ours", "seeds")  # a subset of those of RESULTS.md


def documents() -> dict[Path, str]:
    """The text of every generated file, by path."""
    root = catalogue.CHECKPOINTS.parent
    claimed = {name: entry for name, entry in catalogue.index().items() if "claim" in entry}

    # RESULTS.md: the table, and a section for each comparison.
    comparisons = [comparison(path) for path in sorted(catalogue.CHECKPOINTS.glob("*.csv"))]
    found = {root / "RESULTS.md": "\n".join([table(claimed), *comparisons])}

    # README.md: only the text between the two markers.
    readme = root / "README.md"
    if readme.is_file():
        before, _, rest = readme.read_text().partition(START)
        after = rest.partition(END)[2]
        found[readme] = before + START + summary(claimed) + END + after

    # A model card next to each checkpoint of a recipe.
    for name, entry in claimed.items():
        found[catalogue.CHECKPOINTS / f"{name}.md"] = cards.card(name, entry)
    return found


def table(entries: Mapping[str, Mapping[str, Any]]) -> str:
    """RESULTS.md without the comparisons: one row per entry of the index, then the sources."""
    rows = [_cells(name, entry) for name, entry in entries.items()]
    sources = [_source(name, entry) for name, entry in entries.items()]
    return PROTOCOL + "\n".join([*_table(rows), "", SOURCES + LEGEND, *sources, ""])


def summary(entries: Mapping[str, Mapping[str, Any]]) -> str:
    """The table of the README: published numbers and ours."""
    rows = []
    for name, entry in entries.items():
        cells = _cells(name, entry)
        claim = claims.parse(entry["claim"])
        # The README has no column for goals, but it marks a missed goal.
        if not claim.reaches(entry["values"], claim.goal):
            cells["ours"] += " (goal missed)"
        rows.append({column: cells[column] for column in README_COLUMNS})
    return "\n".join([*_table(rows), ""])


def comparison(path: Path) -> str:
    """A section of RESULTS.md: the paired comparison of the recipe that the CSV file is named after."""
    # The claim of the recipe, and the rows of its paired comparison.
    recipe = catalogue.CONF / "experiment" / f"{path.stem}.yaml"
    claim = claims.parse(yaml.safe_load(recipe.read_text())["claim"])
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))

    # Columns: other keys that vary, the mean of each setting, the difference of the means.
    settings = [key for key in rows[0] if "=" in key]
    results = ("metric", *settings, "difference", "from", "to", "pairs")
    others = [key for key in rows[0] if key not in results]
    lines = []
    for row in rows:
        cells = {key.rpartition(".")[2]: row[key] for key in others}
        for setting in settings:
            cells[f"`{setting}`"] = _percent(row[setting])
        interval = f"{_percent(row['from'])} to {_percent(row['to'])}"
        cells["difference (95 %)"] = f"{_percent(row['difference'])} ({interval})"
        cells["pairs"] = row["pairs"]
        lines.append(cells)

    about = f"`zoo train experiment={path.stem}`: {claim.title}, means over paired seeds; {_published(claim)}."
    about += _verdicts(claim, rows[0], settings[0])
    return "\n".join([f"## {path.stem}", "", about, "", *_table(lines), ""])


def _verdicts(claim: Claim, row: Mapping[str, str], setting: str) -> str:
    """Whether the first row of a comparison reaches the two targets of the claim."""
    if claim.gain is None:
        return ""
    # The goal is the target for the first setting, the gain that for the difference to the second.
    reached = _verdict(row[setting], claim.goal)
    gained = _verdict(row["difference"], claim.gain)
    return (
        f" Goals for the first row: `{setting}` >= {claim.goal:g} ({reached}); "
        f"difference >= {claim.gain:g} points ({gained})."
    )


def _verdict(fraction: str, goal: float) -> str:
    """Whether a fraction, rounded to the printed percentage, reaches a goal in percent."""
    return "reached" if float(_percent(fraction)) >= goal else "**not reached**"


def _percent(fraction: str) -> str:
    return f"{100 * float(fraction):.2f}"


def _source(name: str, entry: Mapping[str, Any]) -> str:
    """One line: source of the published number, hardware and command of ours."""
    published = _published(claims.parse(entry["claim"]))
    return f"- {name}: {published}; ours on {entry['hardware']}; `zoo train experiment={name}`"


def _published(claim: Claim) -> str:
    """The published number with its source and status."""
    if claim.published is None:
        return "nothing comparable found"
    return f"published {claim.published_text()}, {claim.published.source} (*{claim.published.status}*)"


def _cells(name: str, entry: Mapping[str, Any]) -> dict[str, str]:
    """A row of RESULTS.md, by column."""
    claim = claims.parse(entry["claim"])
    values = entry["values"]
    goal = claim.text(claim.goal)
    return {
        "recipe": f"[{name}](checkpoints/{name}.md)",
        "parameters": f"{entry['parameters']:,}",
        "metric": claim.title,
        "published": claim.published_text(),
        "ours": claim.spread(values),
        "seeds": str(len(values)),
        "goal": goal if claim.reaches(values, claim.goal) else f"{goal}: **not reached**",
        "minutes per run": f"{entry['minutes']:g}",
    }


def _table(rows: Sequence[Mapping[str, str]]) -> list[str]:
    """The lines of a Markdown table; the keys of the first row are its header."""
    header = list(rows[0]) if rows else []
    return [_row(header), _row(["---"] * len(header)), *(_row(row.values()) for row in rows)]


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def main(arguments: Sequence[str]) -> None:
    """Write the files, or with --check exit with status 1 if one of them is out of date."""
    # Write only the files that differ.
    found = documents()
    stale = [path for path, text in found.items() if not path.is_file() or path.read_text() != text]
    if "--check" in arguments:
        if stale:
            sys.exit(f"out of date, run python -m zoo.release.results: {', '.join(map(str, stale))}")
        return
    for path in stale:
        path.write_text(found[path])


if __name__ == "__main__":
    main(sys.argv[1:])
