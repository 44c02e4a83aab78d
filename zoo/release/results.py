"""Generate RESULTS.md, the results in README.md and docs/generative.md, the figures and the model cards.

    python -m zoo.release.results          # write the files
    python -m zoo.release.results --check  # exit with status 1 if a file is out of date or claims too much

Everything is generated from the index, the recipes, the checkpoints and the stored tables beside them, so that tables,
figures, cards, index and checkpoints always agree. The claims in the index are first replaced by those of the recipes.
Reads YAML, CSV, the headers of checkpoints and, to draw samples, their weights. May import config and the other files
of this folder.
"""

import csv
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import yaml

from zoo.config import catalogue
from zoo.release import cards, claims, figure, index, protocol, publish, reconstruction, samples, tables, wording
from zoo.release.claims import Claim

START = "<!-- results: written by python -m zoo.release.results -->\n"
END = "<!-- end of results -->\n"
PRETRAINING = "label_fractions"  # the comparison that docs/generative.md shows


def claimed() -> dict[str, dict[str, Any]]:
    """The entries of the index that have a claim."""
    return {name: entry for name, entry in catalogue.index().items() if "claim" in entry}


def documents() -> dict[Path, str]:
    """The text of every generated file, by path."""
    root = catalogue.CHECKPOINTS.parent
    entries = claimed()

    # RESULTS.md: the table, a section for each comparison, the history and the sources.
    paired = sorted(catalogue.CHECKPOINTS.glob("*.csv"))
    found = {root / "RESULTS.md": table(entries, paired)}

    # README.md and the page of the comparison: only the text between the two markers.
    texts = {root / "README.md": summary(entries)}
    pretraining = catalogue.CHECKPOINTS / f"{PRETRAINING}.csv"
    if pretraining in paired:
        texts[root / "docs" / "generative.md"] = short_comparison(pretraining)
    for page, text in texts.items():
        if page.is_file():
            before, _, rest = page.read_text().partition(START)
            found[page] = before + START + text + END + rest.partition(END)[2]

    # A model card next to each checkpoint of a recipe.
    for name, entry in entries.items():
        found[catalogue.CHECKPOINTS / f"{name}.md"] = cards.card(name, entry)
    return found


def table(entries: Mapping[str, Mapping[str, Any]], paired: Sequence[Path] = ()) -> str:
    """RESULTS.md: one row per entry of the index, the paired comparisons, the history and the sources."""
    rows = [tables.cells(name, entry) for name, entry in entries.items()]
    parts = [
        protocol.RESULTS + "\n".join([*tables.markdown(rows), ""]),
        "\n".join([f"## {protocol.BEATEN_TITLE}", "", *beaten(entries), ""]),
        *(comparison(path) for path in paired),
    ]

    parts += [text for text in [reconstruction.section(entries, reconstruction.stored())] if text]

    # The history of the entries and of the comparisons.
    earlier = []
    for name, entry in entries.items():
        claim = claims.parse(entry["claim"])
        earlier += tables.history(name, claim, claim.spread(entry["values"]))
    for path in paired:
        earlier += _history(path)
    if earlier:
        parts.append(protocol.HISTORY + "\n".join([*tables.markdown(earlier), ""]))

    if samples.data(entries):
        parts.append(protocol.SAMPLES)
    sources = [tables.source(name, entry) for name, entry in entries.items()]
    parts.append(protocol.SOURCES + "\n".join([protocol.LEGEND, *sources, ""]))
    return "\n".join(parts)


def summary(entries: Mapping[str, Mapping[str, Any]]) -> str:
    """The results of the README."""
    rows = []
    for name, entry in entries.items():
        cells = tables.cells(name, entry)
        claim = claims.parse(entry["claim"])
        # The README has no column for goals, but it marks a missed goal.
        if not claim.reaches(entry["values"], claim.goal):
            cells["ours"] += " (goal missed)"
        rows.append({column: cells[column] for column in tables.README})
    titles = [figure.TITLES[dataset] for dataset in figure.by_dataset(entries)]
    intro = protocol.README.format(datasets=" and ".join(titles), alt=protocol.ALT)
    return intro + "\n".join([*tables.markdown(rows), "", f"### {protocol.BEATEN_TITLE}", "", *beaten(entries), ""])


def beaten(entries: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Lines that say which numbers of the papers our means beat, by how sure that is."""
    found: dict[str, list[str]] = {verdict: [] for verdict in protocol.BEATEN}
    for name, entry in entries.items():
        claim = claims.parse(entry["claim"])
        if claim.published is None:
            continue
        ours, theirs = claim.text(mean(entry["values"])), claim.text(claim.published.value)
        if ours != theirs and claim.reaches(entry["values"], claim.published.value):
            reopened = tables.REOPENED if claim.reopened else ""
            text = f"{name}{reopened} ({ours}; its paper {claim.published_text(claim.published)})"
            found[claim.verdict(entry, claim.published)].append(text)
    return [f"- {title}: {', '.join(found[key]) or 'none'}." for key, title in protocol.BEATEN.items()]


def comparison(path: Path) -> str:
    """A section of RESULTS.md: the paired comparison of the recipe that the CSV file is named after."""
    claim = _recipe(path.stem)
    parts = [f"## {path.stem}", "", _about(path), "", *tables.markdown(_comparison_rows(path)), ""]
    for title, number in (("Published", claim.published), ("Best known", claim.best_known)):
        if number is not None:
            parts += [f"{title}: {claim.text(number.value)}, {number.conditions()}.", ""]
    return "\n".join(parts)


def short_comparison(path: Path) -> str:
    """The paired comparison with its earlier results, for a page of the documentation."""
    parts = ["", _about(path), "", *tables.markdown(_comparison_rows(path)), ""]
    earlier = _history(path)
    if earlier:
        parts += [protocol.EARLIER, "", *tables.markdown(earlier), ""]
    return "\n".join([*parts, ""])


def _history(path: Path) -> list[dict[str, str]]:
    """The earlier results of a paired comparison, as rows of a table."""
    claim = _recipe(path.stem)
    now = " and ".join(claim.text(value) for value in publish.first_row(_read(path)))
    return tables.history(path.stem, claim, now)


def _about(path: Path) -> str:
    """What a paired comparison compares, and whether it reaches its goals."""
    claim = _recipe(path.stem)
    row = _read(path)[0]
    setting = next(key for key in row if "=" in key)
    return (
        f"`zoo train experiment={path.stem}`: {claim.title}, means over paired seeds.{_verdicts(claim, row, setting)}"
    )


def _comparison_rows(path: Path) -> list[dict[str, str]]:
    """The rows of the table of a paired comparison."""
    rows = _read(path)

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

    return lines


def _verdicts(claim: Claim, row: Mapping[str, str], setting: str) -> str:
    """Whether the first row of a comparison reaches the two targets of the claim."""
    if claim.gain is None:
        return ""
    # The goal is the target for the first setting, the gain that for the difference to the second.
    reached = _verdict(row[setting], claim.goal)
    gained = _verdict(row["difference"], claim.gain)
    return (
        f" Goals for the first row: accuracy with `{setting}` >= {claim.goal:g} ({reached}); "
        f"difference >= {claim.gain:g} points ({gained})."
    )


def _verdict(fraction: str, goal: float) -> str:
    """Whether a fraction, rounded to the printed percentage, reaches a goal in percent."""
    return "reached" if float(_percent(fraction)) >= goal else "**not reached**"


def _percent(fraction: str) -> str:
    return f"{100 * float(fraction):.2f}"


def _recipe(name: str) -> Claim:
    """The claim of a recipe of ``conf/experiment``."""
    path = catalogue.CONF / "experiment" / f"{name}.yaml"
    return claims.parse(yaml.safe_load(path.read_text())["claim"])


def _read(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def main(arguments: Sequence[str]) -> None:
    """Write the files, or with --check exit with status 1 if one of them is out of date."""
    # First bring the claims in the index up to date with the recipes.
    indexed = catalogue.index()
    current = index.with_current_claims(indexed)
    if current != indexed:
        if "--check" in arguments:
            sys.exit("the claims of the index are not those of the recipes, run python -m zoo.release.results")
        index.write(current)

    # Refuse to write what the intervals do not support.
    entries = claimed()
    found = documents()
    undue = [line for path, text in found.items() for line in wording.undue(text, entries, name=path.stem)]
    if undue:
        sys.exit(f"says better, but the intervals overlap or the conditions differ: {undue[0]}")

    # Write only the files that differ, and draw only the figures that do.
    stale = [path for path, text in found.items() if not path.is_file() or path.read_text() != text]
    folder = catalogue.CHECKPOINTS.parent / "docs" / "images"
    figures = {folder / "results.png": figure, folder / "generative.png": samples}
    redraw = [path for path, module in figures.items() if not module.is_current(path, entries)]
    if "--check" in arguments:
        if stale or redraw:
            sys.exit(f"out of date, run python -m zoo.release.results: {', '.join(map(str, [*stale, *redraw]))}")
        return
    for path in stale:
        path.write_text(found[path])
    for path in redraw:
        figures[path].draw(path, entries)


if __name__ == "__main__":
    main(sys.argv[1:])
