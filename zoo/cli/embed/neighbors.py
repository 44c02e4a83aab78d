"""Find nearest neighbors and near duplicates of features by cosine similarity, and write them as CSV files.

All features are held in memory here, since each input is compared with all others.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn import config_context
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import normalize

from zoo.cli.predict.outputs import write_rows

Array = np.ndarray[Any, Any]

ENTRIES = 2**24  # maximum number of similarities in memory at a time: 64 MiB
ROUNDING = 1e-6  # similarities of equal features differ from 1 by less


def nearest_neighbors(features: Array, count: int) -> Iterator[tuple[int, int, int, float]]:
    """The ``count`` most similar other inputs of each input, the most similar first.

    Args:
        features: N x D, with N > ``count``.
        count: number of neighbors, >= 1.

    Yields:
        the index of an input, the rank of a neighbor from 1, the index of the neighbor, and the cosine similarity in
        [-1, 1]; 0 for features that are all 0.
    """
    # scikit-learn leaves out the input itself, even if others have the same features.
    search = NearestNeighbors(n_neighbors=count, metric="cosine", algorithm="brute").fit(_scaled(features))
    with config_context(working_memory=ENTRIES * 8 // 2**20):
        distances, neighbors = search.kneighbors()  # both N x count
    for i, (row, found) in enumerate(zip(distances.tolist(), neighbors.tolist(), strict=True)):
        for rank, (distance, j) in enumerate(zip(row, found, strict=True), start=1):
            yield i, rank, j, 1 - distance


def near_duplicates(features: Array, threshold: float) -> Iterator[tuple[int, int, float]]:
    """The inputs that are similar to an earlier one. Without them, no two inputs are near duplicates.

    Args:
        features: N x D.
        threshold: minimum cosine similarity, in (0, 1].

    Yields:
        the index of an input, that of the most similar earlier input, and their cosine similarity.
    """
    unit = normalize(_scaled(features))  # N x D, rows of length 1
    chunk = max(1, ENTRIES // max(1, len(unit)))
    for first in range(0, len(unit), chunk):
        rows = unit[first : first + chunk]
        similarity = rows @ unit[: first + len(rows)].T
        # Row i is compared with the inputs before first + i: the other similarities become -2.
        similarity[:, first:][np.triu(np.ones((len(rows), len(rows)), dtype=bool))] = -2
        best = similarity.argmax(axis=1)
        for i, j in enumerate(best.tolist()):
            if similarity[i, j] >= threshold - ROUNDING:
                yield first + i, j, float(similarity[i, j])


def _scaled(features: Array) -> Array:
    """Each row divided by its largest absolute value, so that the sum of squares neither overflows nor becomes 0."""
    largest = np.abs(features).max(axis=1, keepdims=True, initial=0)
    return features / np.where(largest == 0, 1, largest)


def write_neighbors(
    path: Path, found: Iterable[tuple[int, int, int, float]], names: Sequence[str], labels: Sequence[str]
) -> None:
    """Write one row per neighbor: name, rank, neighbor, similarity, and both labels if there are any."""
    header = ["name", "rank", "neighbor", "similarity", *(["label", "neighbor_label"] if labels else [])]
    rows = (
        [names[i], rank, names[j], _text(similarity), *([labels[i], labels[j]] if labels else [])]
        for i, rank, j, similarity in found
    )
    _write(path, header, rows)


def write_duplicates(
    path: Path, found: Iterable[tuple[int, int, float]], names: Sequence[str], labels: Sequence[str]
) -> int:
    """Write one row per near duplicate: name, duplicate_of, similarity, and both labels. Returns their number."""
    header = ["name", "duplicate_of", "similarity", *(["label", "duplicate_of_label"] if labels else [])]
    pairs = list(found)
    rows = (
        [names[i], names[j], _text(similarity), *([labels[i], labels[j]] if labels else [])]
        for i, j, similarity in pairs
    )
    _write(path, header, rows)
    return len(pairs)


def _text(similarity: float) -> str:
    """A similarity with six decimals; rounding errors beyond 1 are cut off."""
    return f"{min(1.0, max(-1.0, similarity)):.6f}"


def _write(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    # File names may contain bytes that are not valid text; they are written unchanged.
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        write_rows(file, [header])
        write_rows(file, rows)
