"""Precision, recall and F1 of classes, against scikit-learn, and their CSV files."""

import csv

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from zoo.training.class_statistics import per_class, write_tables


def test_they_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    true, predicted = rng.integers(0, 4, 200), rng.integers(0, 4, 200)
    counts = confusion_matrix(true, predicted).tolist()
    expected = precision_recall_fscore_support(true, predicted)
    table = per_class(counts, "abcd")
    for column, values in zip(("precision", "recall", "f1", "support"), expected, strict=True):
        assert [table[name][column] for name in "abcd"] == pytest.approx(values.tolist())


def test_a_denominator_of_0_gives_none():
    assert per_class([[3, 1, 0, 0], [1, 5, 0, 0], [0, 0, 0, 0], [0, 2, 0, 0]], "abcd") == {
        "a": {"precision": 3 / 4, "recall": 3 / 4, "f1": 3 / 4, "support": 4},
        "b": {"precision": 5 / 8, "recall": 5 / 6, "f1": 5 / 7, "support": 6},
        "c": {"precision": None, "recall": None, "f1": None, "support": 0},
        "d": {"precision": None, "recall": 0.0, "f1": 0.0, "support": 2},
    }


def test_the_tables_name_the_classes_of_rows_and_columns(tmp_path):
    classes = ["cat, big", 'the "dog"']
    write_tables([[3, 1], [0, 0]], classes, statistics=tmp_path / "s.csv", counts=tmp_path / "c.csv")
    with (tmp_path / "c.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [["true class", *classes], [classes[0], "3", "1"], [classes[1], "0", "0"]]
    with (tmp_path / "s.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0] == {"class": "cat, big", "precision": "1.0", "recall": "0.75", "f1": str(6 / 7), "support": "4"}
    assert rows[1] == {"class": 'the "dog"', "precision": "0.0", "recall": "", "f1": "0.0", "support": "0"}
