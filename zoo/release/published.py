"""Numbers that others published, with their conditions, and earlier results of a recipe of our own.

Both are parts of a claim (`zoo.release.claims`). May import config.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from typing import Any, TypeVar

from zoo.config.catalogue import suggest

# How we know a published number; the keys are the values of `Published.status`.
STATUSES = {
    "read": "we read the number in the source",
    "secondary": "we know the number from another text or from notes, and could not read the source",
}
NONE = "none"  # distortions of a net that is trained on the images as they are
UNKNOWN = "not stated"  # a condition that the source does not state
# A source must say where in it the number is.
PLACE = re.compile(
    r"\b(page|table|figure|section|chapter|slide|abstract|README|notebook|documentation|comment)\b", re.I
)

Parsed = TypeVar("Parsed")


@dataclass(frozen=True)
class Published:
    """A published number and its conditions.

    Attributes:
        value: the number, in the units of the claim's metric.
        net: the net that it belongs to.
        training_data: the examples that the net was trained on.
        distortions: distortions of the training images; `NONE`, `UNKNOWN` or a string.
        source: who published it, and the page, table or file.
        status: one of `STATUSES`.
        differs: what else makes the number incomparable to ours, such as another method; None: nothing.
    """

    value: float
    net: str
    training_data: str
    distortions: str
    source: str
    status: str
    differs: str | None = None

    @classmethod
    def parse(cls, values: Any, where: str) -> "Published":
        """Parse a mapping; ``where`` is its key, for messages. Raises ValueError."""
        known = parsed(cls, values, where)
        # YAML reads words as strings: refuse a string such as "none found" in place of a number.
        check_number(f"{where}.value", known.value)
        for key, text in values.items():
            if key not in ("value", "status") and not (key == "differs" and text is None):
                check_text(f"{where}.{key}", text)
        if not PLACE.search(known.source):
            raise ValueError(f"{where}.source must say where the number is: a page, table, figure, README, …")
        if known.status not in STATUSES:
            raise ValueError(f"{where}.status={known.status} must be {' or '.join(STATUSES)}")
        return known

    def is_comparable(self, distortions: str) -> bool:
        """Whether a verdict is possible: both trained with distortions or both without, and nothing else differs."""
        if self.differs is not None or UNKNOWN in (self.distortions, distortions):
            return False
        return (self.distortions == NONE) == (distortions == NONE)

    def conditions(self) -> str:
        """Net, training data, distortions, source and status, in one line."""
        other = "" if self.differs is None else f"; differs: {self.differs}"
        return (
            f"{self.net}; training data: {self.training_data}; distortions: {self.distortions}{other}. "
            f"{self.source} (*{self.status}*)"
        )


@dataclass(frozen=True)
class Reopened:
    """An earlier test result of a recipe that was changed after the result was seen.

    Attributes:
        values: the earlier results, in the units of the claim's metric: one per seed, or one per setting of a paired
            comparison, for its first row.
        recipe: what the recipe was.
        reason: why it was changed, and how the new one was chosen.
    """

    values: tuple[float, ...]
    recipe: str
    reason: str

    @classmethod
    def parse(cls, values: Any, where: str) -> "Reopened":
        """Parse a mapping; ``where`` is its key, for messages. Raises ValueError."""
        known = parsed(cls, values, where)
        if not isinstance(known.values, Sequence) or isinstance(known.values, str) or not known.values:
            raise ValueError(f"{where}.values must be a list of numbers")
        for value in known.values:
            check_number(f"{where}.values", value)
        check_text(f"{where}.recipe", known.recipe)
        check_text(f"{where}.reason", known.reason)
        return cls(tuple(known.values), known.recipe, known.reason)


def parsed(kind: type[Parsed], values: Any, where: str) -> Parsed:
    """Build the dataclass ``kind`` from a mapping; raise ValueError for a missing or an unknown key."""
    return kind(**checked_keys(values, kind, where))


def checked_keys(values: Any, kind: type[Any], where: str) -> dict[str, Any]:
    """The mapping as a dict, with the keys of the dataclass; raise ValueError for a missing or an unknown one."""
    if not isinstance(values, Mapping):
        raise ValueError(f"{where} must be a mapping, got {values!r}")
    # Every key must be a field of the dataclass, and every field without a default must be present.
    known = {entry.name: entry for entry in fields(kind)}
    for key in values:
        if key not in known:
            raise ValueError(f"{where}.{key}: unknown key; {suggest(str(key), list(known))}")
    for key, entry in known.items():
        if entry.default is MISSING and key not in values:
            raise ValueError(f"{where}.{key} is missing")
    return dict(values)


def check_number(key: str, value: object) -> None:
    """Raise ValueError if the value is not a number."""
    # bool is a subclass of int: refuse it explicitly.
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{key}={value!r} must be a number")


def check_text(key: str, value: object) -> None:
    """Raise ValueError if the value is not a string, or an empty one."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{key} must be a string; write {UNKNOWN!r} if the source does not say")
