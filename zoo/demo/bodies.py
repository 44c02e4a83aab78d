"""Read the JSON bodies of requests: every value is checked, and a wrong one is a ValueError with one line."""

import json
from typing import Any

from zoo.demo.drawing import FRAMINGS, Stroke
from zoo.demo.dreams import Request

MAX_STROKES = 500
MAX_POINTS = 20_000  # of all strokes
MAX_VALUES = 1000  # of a code


def parse(content: bytes) -> dict[str, Any]:
    """A JSON object.

    Raises:
        ValueError: the body is anything else.
    """
    try:
        body = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError("the request is not JSON") from error
    if not isinstance(body, dict):
        raise ValueError("the request is not a JSON object")
    return body


def strokes(body: dict[str, Any]) -> list[Stroke]:
    """``strokes``: a list of {"points": [x, y, x, y, …], "width": …, "erases": …}, in units of the pad's side."""
    given = _list(body.get("strokes", []), "strokes", MAX_STROKES)
    found = []
    remaining = MAX_POINTS
    for item in given:
        if not isinstance(item, dict):
            raise ValueError("strokes: each must be an object")
        flat = [_number(value, "points", -1, 2) for value in _list(item.get("points"), "points", 2 * remaining)]
        if not flat or len(flat) % 2:
            raise ValueError("points: must be pairs of x and y")
        remaining -= len(flat) // 2
        width = _number(item.get("width"), "width", 0.001, 0.5)
        points = list(zip(flat[::2], flat[1::2], strict=True))
        found.append(Stroke(points, width, erases=item.get("erases") is True))
    return found


def framing(name: object) -> str:
    """``framing``: one of `FRAMINGS`, or none."""
    if name != "none" and name not in FRAMINGS:
        raise ValueError(f"framing: must be one of {', '.join(FRAMINGS)}, none")
    return str(name)


def number_or_none(value: object, name: str, high: int = 10**6) -> int | None:
    """A whole number of at least 0, or None."""
    return None if value is None else _whole(value, name, 0, high)


def code(body: dict[str, Any]) -> list[float]:
    """``code``: a list of numbers."""
    return [_number(value, "code", -1e6, 1e6) for value in _list(body.get("code"), "code", MAX_VALUES)]


def dream(body: dict[str, Any]) -> Request:
    """``frames``, ``steps``, ``chains``, ``label`` and ``state``."""
    state = body.get("state", "")
    if not isinstance(state, str):
        raise ValueError("state: must be a string")
    return Request(
        frames=_whole(body.get("frames", 1), "frames", 1, 100),
        steps=_whole(body.get("steps", 1), "steps", 1, 1000),
        chains=_whole(body.get("chains", 1), "chains", 1, 100),
        label=number_or_none(body.get("label"), "label"),
        state=state,
    )


def _list(value: object, name: str, most: int) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{name}: must be a list")
    if len(value) > most:
        raise ValueError(f"{name}: {len(value):,} values, at most {most:,} are accepted")
    return value


def _number(value: object, name: str, low: float, high: float) -> float:
    """A number in [low, high]; NaN is in no interval."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise ValueError(f"{name}: must be a number from {low:g} to {high:g}")
    return float(value)


def _whole(value: object, name: str, low: int, high: int) -> int:
    """A whole number in [low, high]."""
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ValueError(f"{name}: must be a whole number from {low} to {high}")
    return value
