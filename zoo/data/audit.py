"""Check every image of a dataset once before a run: find unreadable and duplicate images.

Imports Pillow besides torch.
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

DRAFT_SIZE = 64  # pixels: JPEGs are decoded at 1/2, 1/4 or 1/8 of their size, but not below this
SPLITS = ("training", "validation", "test")
EXAMPLES_SHOWN = 3  # maximum number of files that a message names
# Pillow decodes without holding the GIL, so threads run at the same time.
THREADS = 8

LabeledFiles = list[tuple[Path, int]]  # files and their class numbers


@dataclass(frozen=True)
class ImageCheck:
    """The result for one file: why it cannot be read, or a digest of its pixels.

    Attributes:
        problem: why the file cannot be read, in one line; empty if it can.
        digest: hash of the decoded RGB pixels.
        size: width and height as stored.
        drafted: whether the digest is of a smaller version of the image.
    """

    problem: str = ""
    digest: bytes = b""
    size: tuple[int, int] = (0, 0)
    drafted: bool = False


def inspect(files: Sequence[Path]) -> list[ImageCheck]:
    """Decode every file. In the result, equal digests mean equal pixels, whatever the format and the metadata."""
    # Decode all files, JPEGs as small drafts, in threads.
    with ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1)) as threads:
        checks = list(threads.map(_check, files))

        # A draft cannot be compared with an image of another format, and may hide a small difference. So decode
        # possible duplicates at full size: drafts with the size of an undrafted image, and equal drafts.
        undrafted_sizes = {check.size for check in checks if not check.drafted}
        drafts = Counter(check.digest for check in checks if check.drafted)
        uncertain = [
            k
            for k, check in enumerate(checks)
            if check.drafted and (check.size in undrafted_sizes or drafts[check.digest] > 1)
        ]
        # Replace the results of these drafts by the exact ones.
        exact = threads.map(_check_at_full_size, [files[k] for k in uncertain])
        for k, check in zip(uncertain, exact, strict=True):
            checks[k] = check
    return checks


def duplicates(splits: dict[str, LabeledFiles], checks: dict[Path, ImageCheck], *, below: Path) -> list[str]:
    """Find the same images in two splits, or under two classes.

    Args:
        splits: name of each split -> its files.
        checks: file -> its result from `inspect`.
        below: the folder to which the file names in the result are relative.

    Returns:
        One note for each pair of splits that share images, and one for images in two classes.
    """
    # Group the files by their pixels.
    groups: dict[bytes, list[tuple[Path, str, int]]] = defaultdict(list)
    for split, files in splits.items():
        for path, label in files:
            groups[checks[path].digest].append((path, split, label))

    # In each group, the first file of each split and of each class represents the others.
    across: dict[tuple[str, str], list[str]] = defaultdict(list)
    mixed: list[str] = []
    for group in groups.values():
        by_split = {split: path for path, split, _ in reversed(group)}
        for one, other in combinations([split for split in SPLITS if split in by_split], 2):
            across[one, other].append(_pair(by_split[one], by_split[other], below))
        by_class = {label: path for path, _, label in reversed(group)}
        if len(by_class) > 1:
            first, second = sorted(by_class.values())[:2]
            mixed.append(_pair(first, second, below))

    # Write one note for each kind of duplicates.
    notes = []
    for (one, other), pairs in sorted(across.items()):
        where = f"in both the {one} and the {other} split: metrics will be optimistic"
        notes.append(f"{count_text(len(pairs))} {_appear(pairs)} {where} ({_first(pairs)})")
    if mixed:
        notes.append(f"{count_text(len(mixed))} {_appear(mixed)} under two classes ({_first(mixed)})")
    return notes


def count_text(images: int) -> str:
    """2 -> "2 images"."""
    return f"{images:,} image" + ("" if images == 1 else "s")


def _appear(pairs: list[str]) -> str:
    return "appears" if len(pairs) == 1 else "appear"


def _pair(one: Path, other: Path, below: Path) -> str:
    return f"{one.relative_to(below)} = {other.relative_to(below)}"


def _first(pairs: list[str]) -> str:
    return ", ".join(pairs[:EXAMPLES_SHOWN]) + (", …" if len(pairs) > EXAMPLES_SHOWN else "")


def _check(path: Path, draft: bool = True) -> ImageCheck:
    """Decode one file, as a draft if its format allows that."""
    try:
        with images.open_image(path) as image:
            images.refuse_narrow(image.size)
            size = image.size
            # Ask for a draft, which only JPEGs give, then hash the pixels with their size.
            if draft:
                image.draft(None, (DRAFT_SIZE, DRAFT_SIZE))
            image.load()
            pixels = images.to_8_bits(image, 3)
            digest = blake2b(repr(pixels.size).encode() + pixels.tobytes(), digest_size=16).digest()
            return ImageCheck(digest=digest, size=size, drafted=pixels.size != size)
    except (ValueError, FileNotFoundError) as error:
        return ImageCheck(problem=str(error))


def _check_at_full_size(path: Path) -> ImageCheck:
    return _check(path, draft=False)
