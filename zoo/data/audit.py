"""Looking at every picture of a set once, before a run: which cannot be read, and which are the same.

Imports Pillow beside torch.
"""

import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b
from itertools import combinations
from pathlib import Path

from zoo.data import images

QUICK = 64  # pixels: JPEGs are decoded no smaller than this, at a half, quarter or eighth of their size
ORDER = ("training", "validation", "test")
SHOWN = 3  # files that a message names
THREADS = 8  # Pillow decodes without holding Python's lock


@dataclass(frozen=True)
class Look:
    """One file: why it cannot be read, or what its pixels are.

    Attributes:
        problem: one line; empty where there is none.
        digest: of the decoded pixels in RGB.
        size: width and height as stored.
        drafted: the pixels are those of a smaller version.
    """

    problem: str = ""
    digest: bytes = b""
    size: tuple[int, int] = (0, 0)
    drafted: bool = False


def inspect(files: Sequence[Path]) -> list[Look]:
    """Decode every file. Afterwards, equal digests are equal pixels, whatever the format and the metadata."""
    with ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1)) as threads:
        looks = list(threads.map(_look, files))
        # A smaller version cannot be compared with a picture of another format, and may hide a small difference.
        exact = {look.size for look in looks if not look.drafted}
        seen = Counter(look.digest for look in looks if look.drafted)
        doubtful = [k for k, look in enumerate(looks) if look.drafted and (look.size in exact or seen[look.digest] > 1)]
        for k, look in zip(doubtful, threads.map(_exact_look, [files[k] for k in doubtful]), strict=True):
            looks[k] = look
    return looks


def doubles(parts: dict[str, list[tuple[Path, int]]], looks: dict[Path, Look], *, below: Path) -> list[str]:
    """One line for each pair of parts that share pictures, and one for those that stand under two classes.

    Args:
        parts: files and class numbers of each part, by its name.
        looks: of `inspect`.
        below: the folder from which on files are named.
    """
    groups: dict[bytes, list[tuple[Path, str, int]]] = defaultdict(list)
    for part, files in parts.items():
        for path, number in files:
            groups[looks[path].digest].append((path, part, number))
    across: dict[tuple[str, str], list[str]] = defaultdict(list)
    mixed: list[str] = []
    for group in groups.values():
        by_part = {part: path for path, part, _ in reversed(group)}  # the first file of each
        for one, other in combinations([part for part in ORDER if part in by_part], 2):
            across[one, other].append(_equal(by_part[one], by_part[other], below))
        by_class = {number: path for path, _, number in reversed(group)}
        if len(by_class) > 1:
            first, second = sorted(by_class.values())[:2]
            mixed.append(_equal(first, second, below))
    notes = [
        f"both in the {one} and in the {other} part, so that metrics flatter: {counted(len(pairs))}, {_first(pairs)}"
        for (one, other), pairs in sorted(across.items())
    ]
    return notes + ([f"under two classes: {counted(len(mixed))}, {_first(mixed)}"] if mixed else [])


def counted(pictures: int) -> str:
    """2 -> "2 pictures"."""
    return f"{pictures:,} picture" + ("" if pictures == 1 else "s")


def _equal(one: Path, other: Path, below: Path) -> str:
    return f"{one.relative_to(below)} = {other.relative_to(below)}"


def _first(pairs: list[str]) -> str:
    return ", ".join(pairs[:SHOWN]) + (", …" if len(pairs) > SHOWN else "")


def _look(path: Path, quick: bool = True) -> Look:
    try:
        with images.opened(path) as picture:
            images.refuse_strip(picture.size)
            size = picture.size
            if quick:
                picture.draft(None, (QUICK, QUICK))
            picture.load()
            pixels = images.flat(picture, 3)
            digest = blake2b(repr(pixels.size).encode() + pixels.tobytes(), digest_size=16).digest()
            return Look(digest=digest, size=size, drafted=pixels.size != size)
    except (ValueError, FileNotFoundError) as error:
        return Look(problem=str(error))


def _exact_look(path: Path) -> Look:
    return _look(path, quick=False)
