"""Write ``checkpoints/index.yaml``, and keep the history of the results in it. May import config and checkpoints."""

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from zoo.checkpoints import files
from zoo.config import catalogue
from zoo.release import claims
from zoo.release.claims import Claim
from zoo.release.published import Reopened


def write(entries: Mapping[str, Any]) -> None:
    """Replace ``checkpoints/index.yaml``."""
    with files.replacing(catalogue.CHECKPOINTS / "index.yaml") as temporary:
        temporary.write_text(yaml.safe_dump(dict(entries), sort_keys=True, width=120))


def with_current_claims(entries: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The entries with the claims of their recipes, whose sources and wording may have been corrected.

    Raises:
        ValueError: a claim is not valid, or lacks earlier results that the index lists.
    """
    found = {name: dict(entry) for name, entry in entries.items()}
    for name, entry in found.items():
        path = catalogue.CONF / "experiment" / f"{entry.get('experiment')}.yaml"
        if "claim" in entry and path.is_file():
            values = yaml.safe_load(path.read_text())["claim"]
            before = claims.parse(entry["claim"]).reopened
            check_history(name, claims.parse(values), entry["values"], (), before)
            entry["claim"] = dict(values)
    return found


def check_history(
    name: str, claim: Claim, values: Sequence[float], before: Sequence[float], reopened: Sequence[Reopened] = ()
) -> None:
    """Refuse new results of a published recipe, unless ``claim.reopened`` has the earlier ones.

    Once a test result has been seen, a change of the recipe may have been chosen for it. More seeds beside the same
    values are not a change.

    Args:
        name: name of the recipe.
        claim: its current claim.
        values: the new results.
        before: the published results; empty: none were published.
        reopened: earlier results that the published entry lists.

    Raises:
        ValueError: earlier results are missing; the message gives the lines to add.
    """
    # What was listed once stays listed, in the same order.
    listed = [tuple(entry.values) for entry in claim.reopened]
    kept = [tuple(entry.values) for entry in reopened]
    if listed[: len(kept)] != kept:
        raise ValueError(f"{name}: claim.reopened must begin with the earlier results of the index, {kept}")

    # The published values must be listed, too, unless they are among the new ones.
    if before and tuple(values[: len(before)]) != tuple(before) and tuple(before) not in listed[len(kept) :]:
        raise ValueError(
            f"{name}: results have been published before; add to its recipe: claim.reopened: "
            f"[{{values: {list(before)}, recipe: WHAT IT WAS, reason: WHY IT WAS CHANGED}}]"
        )
