"""Helpers that several test files share."""

from pathlib import Path

ROOT = Path(__file__).parents[1]  # of the repository


class Outcome:
    """What a user saw: exit status and both streams."""

    def __init__(self, status: int, out: str, err: str):
        self.status, self.out, self.err = status, out, err


class Touch:
    """Unpickled carelessly, it leaves a file."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)
