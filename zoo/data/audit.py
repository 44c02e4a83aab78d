"""Check every image of a dataset once before a run: find unreadable and duplicate images.

Imports Pillow besides torch.
"""

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from hashlib import blake2b
from itertools import combinations
from math import prod
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from PIL import Image

from zoo.data import images

DRAFT_SIZE = 64  # pixels: JPEGs are decoded at 1/2, 1/4 or 1/8 of their size, but not below this
SPLITS = ("train", "validation", "test")
SPLIT_WORDS = {"train": "training", "validation": "validation", "test": "test"}
EXAMPLES_SHOWN = 3  # maximum number of files that a message names
# Pillow decodes without holding the GIL, so threads run at the same time.
THREADS = 8
ONE_LARGE = Lock()  # held while a very large image is decoded

# Two images look alike if the root mean square difference of their thumbnails is below MAX_DIFFERENCE.
THUMBNAIL = 16  # pixels
MAX_DIFFERENCE = 2.0  # gray levels, of 255
MIN_CONTRAST = 4.0  # minimum standard deviation of a thumbnail, in gray levels; flatter images are not compared
MAX_COMPARED = 30_000  # larger datasets are not searched for images that look the same: it would take minutes
COMPARED_AT_ONCE = 1000

LabeledFiles = list[tuple[Path, int]]  # files and their class numbers


@dataclass(frozen=True)
class ImageCheck:
    """The result for one file: why it cannot be read, or a digest of its pixels.

    Attributes:
        problem: why the file cannot be read, in one line; empty if it can.
        digest: hash of the decoded RGB pixels.
        size: width and height as stored.
        drafted: whether the digest is of a smaller version of the image.
        largest: the largest value of a 16-bit image; None for images of 8 bits.
        thumbnail: 16 x 16 gray pixels; empty if the image has almost no contrast.
    """

    problem: str = ""
    digest: bytes = b""
    size: tuple[int, int] = (0, 0)
    drafted: bool = False
    largest: int | None = None
    thumbnail: bytes = b""


def inspect(files: Sequence[Path]) -> list[ImageCheck]:
    """Decode every file, and return one result for each, in the same order.

    Equal digests mean equal pixels, whatever the format and the metadata of the files. A file that cannot be read
    raises no error: its result has an `ImageCheck.problem`.
    """
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


def size_range(checks: Iterable[ImageCheck]) -> str:
    """The heights and widths of the files that can be read, in words; "" if no file was read."""
    sizes = [check.size for check in checks if not check.problem]
    if not sizes:
        return ""
    widths, heights = zip(*sizes, strict=True)
    if len(set(sizes)) == 1:
        return f"all files {heights[0]}x{widths[0]}"
    return f"files {min(heights)} to {max(heights)} high and {min(widths)} to {max(widths)} wide"


def duplicates(splits: dict[str, LabeledFiles], checks: dict[Path, ImageCheck], *, below: Path) -> list[str]:
    """Find images that occur in two splits or in two classes.

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
        where = f"in both the {SPLIT_WORDS[one]} and the {SPLIT_WORDS[other]} split: metrics will be optimistic"
        notes.append(f"{count_text(len(pairs))} {_appear(pairs)} {where} ({_first(pairs)})")
    if mixed:
        notes.append(f"{count_text(len(mixed))} {_appear(mixed)} under two classes ({_first(mixed)})")
    return notes


def look_alikes(splits: dict[str, LabeledFiles], checks: dict[Path, ImageCheck], *, below: Path) -> list[str]:
    """Find images that look like one in another split: resized, compressed again, or in another format.

    Arguments as for `duplicates`. Images with equal pixels are left out, since `duplicates` finds them.

    Returns:
        One note for each pair of splits that share such images; none if there are more than `MAX_COMPARED` images.
    """
    # Collect the thumbnails of each split, unless there are too many images to compare.
    if sum(map(len, splits.values())) > MAX_COMPARED:
        return []
    files: dict[str, list[Path]] = {}
    thumbnails: dict[str, np.ndarray[Any, np.dtype[np.float32]]] = {}
    for split, labeled_files in splits.items():
        files[split] = [path for path, _ in labeled_files if checks[path].thumbnail]
        values = np.frombuffer(b"".join(checks[path].thumbnail for path in files[split]), np.uint8)
        thumbnails[split] = values.reshape(-1, THUMBNAIL**2).astype(np.float32) / np.float32(255)

    # Compare every image of one split with all of another: |a - b|^2 = |a|^2 + |b|^2 - 2ab.
    notes = []
    for one, other in combinations([split for split in SPLITS if split in splits], 2):
        pairs = []
        ours, theirs = thumbnails[one], thumbnails[other]
        limit = THUMBNAIL**2 * (MAX_DIFFERENCE / 255) ** 2
        for first in range(0, len(theirs), COMPARED_AT_ONCE):
            chunk = theirs[first : first + COMPARED_AT_ONCE]
            squares = (ours**2).sum(1)[:, None] + (chunk**2).sum(1) - 2 * ours @ chunk.T
            for column, row in enumerate(squares.argmin(0) if len(ours) else []):
                path, twin = files[other][first + column], files[one][row]
                if squares[row, column] < limit and checks[path].digest != checks[twin].digest:
                    pairs.append(_pair(twin, path, below, sign="~"))
        if pairs:
            verb = "looks" if len(pairs) == 1 else "look"
            where = f"of the {SPLIT_WORDS[other]} split {verb} like one of the {SPLIT_WORDS[one]} split"
            notes.append(f"{count_text(len(pairs))} {where}: metrics may be optimistic ({_first(pairs)})")
    return notes


def bit_depth(folder: Path, checks: dict[Path, ImageCheck]) -> list[str]:
    """A list with one note about 16-bit images, of which only the upper eight bits are used; empty if there are none.

    Args:
        folder: the folder of the dataset, for the error message.
        checks: file -> its result from `inspect`.

    Raises:
        ValueError: the upper eight bits are 0 in all of them, so that all images would be black.
    """
    largest = [check.largest for check in checks.values() if check.largest is not None]
    if not largest:
        return []
    # 12-bit cameras and label maps store small numbers in 16 bits.
    peak = max(largest)
    if peak < 256:
        raise ValueError(
            f"{folder}: {count_text(len(largest))} of 16 bits with values of at most {peak}: only the upper 8 bits are "
            "used, and they are all 0; convert the images to 8 bits"
        )
    dark = f"; the images are dark: multiply their values by {65536 >> peak.bit_length()}" if peak < 2**15 else ""
    return [
        f"{count_text(len(largest))} of 16 bits: only the upper 8 bits are used; the largest value is {peak:,}{dark}"
    ]


def count_text(images: int) -> str:
    """2 -> "2 images"."""
    return f"{images:,} image" + ("" if images == 1 else "s")


def _appear(pairs: list[str]) -> str:
    return "appears" if len(pairs) == 1 else "appear"


def _pair(one: Path, other: Path, below: Path, sign: str = "=") -> str:
    return f"{one.relative_to(below)} {sign} {other.relative_to(below)}"


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
            # Decode very large images one at a time: several may not fit in memory.
            with ONE_LARGE if prod(image.size) > images.LARGE else nullcontext():
                image.load()
                largest = images.largest_16_bit(image)
                pixels = images.to_8_bits(image, 3)
                digest = blake2b(repr(pixels.size).encode(), digest_size=16)
                digest.update(pixels.tobytes())
                thumbnail = _thumbnail(pixels)
            return ImageCheck(
                digest=digest.digest(), size=size, drafted=pixels.size != size, largest=largest, thumbnail=thumbnail
            )
    except (ValueError, FileNotFoundError) as error:
        return ImageCheck(problem=str(error))


def _thumbnail(pixels: Image.Image) -> bytes:
    """16 x 16 gray pixels; empty if they have almost no contrast, as a blank page."""
    small = np.asarray(pixels.convert("L").resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX))
    return small.tobytes() if small.std() >= MIN_CONTRAST else b""


def _check_at_full_size(path: Path) -> ImageCheck:
    return _check(path, draft=False)
