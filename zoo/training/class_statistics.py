"""Precision, recall and F1 of each class, from a confusion matrix, and both as CSV files."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from zoo.checkpoints.files import replacing

Counts = Sequence[Sequence[int]]  # a row for each true class, a column for each predicted class
PER_CLASS = "per_class.csv"
CONFUSION = "confusion.csv"


def per_class(confusion: Counts, classes: Sequence[str]) -> dict[str, dict[str, float | None]]:
    """Precision, recall, F1 and support (the number of examples) of each class; None where a denominator is 0.

    F1 is the harmonic mean of precision and recall, 2 TP / (2 TP + FP + FN). It is None only for a class that is
    neither present nor predicted.

    Args:
        confusion: number of examples of each true class (row) that were predicted as each class (column).
        classes: names of the classes.
    """
    table: dict[str, dict[str, float | None]] = {}
    for k, name in enumerate(classes):
        correct = confusion[k][k]
        support = sum(confusion[k])
        predicted = sum(row[k] for row in confusion)
        table[name] = {
            "precision": correct / predicted if predicted else None,
            "recall": correct / support if support else None,
            "f1": 2 * correct / (support + predicted) if support + predicted else None,
            "support": support,
        }
    return table


def write_tables(confusion: Counts, classes: Sequence[str], *, statistics: Path, counts: Path) -> None:
    """Write the statistics of the classes and the confusion matrix as CSV.

    Args:
        confusion: as in `per_class`.
        classes: names of the classes.
        statistics: the file of the statistics: one row per class, an empty cell where a denominator is 0.
        counts: the file of the confusion matrix: one row per true class, one column per predicted class.
    """
    table = per_class(confusion, classes)
    columns = ("precision", "recall", "f1", "support")
    rows = [[name, *(row[column] for column in columns)] for name, row in table.items()]
    _write(statistics, [["class", *columns], *rows])
    named = [[name, *row] for name, row in zip(classes, confusion, strict=True)]
    _write(counts, [["true class", *classes], *named])


def _write(path: Path, rows: Sequence[Sequence[object]]) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    with replacing(path) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8")
