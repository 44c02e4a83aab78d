"""Rows of the tables in RESULTS.md, README.md and the model cards, from entries of the index.

May import config and the other files of this folder.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from zoo.release import claims, intervals
from zoo.release.claims import NOTHING, Claim
from zoo.release.published import Published

REOPENED = "*"  # marks recipes that were changed after a test result had been seen
# Columns of the README: a subset of those of RESULTS.md.
README = ("recipe", "metric", "ours", "95 % interval", "its paper", "best known", "distortions", "compared")


def cells(name: str, entry: Mapping[str, Any]) -> dict[str, str]:
    """A row of RESULTS.md, by column."""
    claim = claims.parse(entry["claim"])
    values = entry["values"]
    goal = claim.text(claim.goal)
    return {
        "recipe": f"[{name}](checkpoints/{name}.md)" + (REOPENED if claim.reopened else ""),
        "parameters": f"{entry['parameters']:,}",
        "metric": claim.title,
        "ours": claim.spread(values),
        "95 % interval": claim.interval_text(claim.interval(entry)),
        "seeds": str(len(values)),
        "its paper": claim.published_text(claim.published),
        "best known": claim.published_text(claim.best_known),
        "distortions": f"{claim.published.distortions if claim.published else NOTHING} / {entry['distortions']}",
        "compared": compared(claim, entry),
        "goal": goal if claim.reaches(values, claim.goal) else f"{goal}: **not reached**",
        "minutes per run": f"{entry['minutes']:g}",
    }


def compared(claim: Claim, entry: Mapping[str, Any]) -> str:
    """How our result compares with the result of its paper and with the best known number, as two verdicts."""
    return f"{claim.verdict(entry, claim.published)} / {claim.verdict(entry, claim.best_known)}"


def source(name: str, entry: Mapping[str, Any]) -> str:
    """Lines of the list of sources: command and hardware of ours, then the conditions of the published numbers."""
    claim = claims.parse(entry["claim"])
    lines = [
        f"- {name}: `zoo train experiment={name}`; ours {claim.spread(entry['values'])} on {entry['hardware']}, "
        f"distortions: {entry['distortions']}"
    ]
    for title, number in (("its paper", claim.published), ("best known", claim.best_known)):
        lines.append(f"  - {title}: {conditions(claim, entry, number)}")
    return "\n".join(lines)


def conditions(claim: Claim, entry: Mapping[str, Any], number: Published | None) -> str:
    """A published number with its interval and its conditions."""
    if number is None:
        return "nothing comparable found"
    limits = intervals.of_images(number.value, claim.images(entry))
    return f"{claim.text(number.value)} (95 %: {claim.interval_text(limits)}), {number.conditions()}"


def history(name: str, claim: Claim, now: str) -> list[dict[str, str]]:
    """Rows of the table of reopened recipes; ``now`` is the current result."""
    rows = []
    for entry in claim.reopened:
        # The two values of a paired comparison belong to two settings and have no mean.
        result = claim.spread(entry.values)
        if claim.gain is not None:
            result = " and ".join(claim.text(value) for value in entry.values)
        row = {"recipe": name, "earlier result": result, "with": entry.recipe, "why it was changed": entry.reason}
        rows.append(row | {"result now": now})
    return rows


def markdown(rows: Sequence[Mapping[str, str]]) -> list[str]:
    """The lines of a Markdown table; the keys of the first row are its header."""
    header = list(rows[0]) if rows else []
    return [_row(header), _row(["---"] * len(header)), *(_row(row.values()) for row in rows)]


def _row(values: Iterable[str]) -> str:
    return f"| {' | '.join(values)} |"
