"""Kaggle's Digit Recognizer: ``train.csv`` with a label and 784 pixel columns, ``test.csv`` without labels.

The labels of the competition's test set are secret, so the test split is taken from ``train.csv``. ``zoo predict
input=…/test.csv`` writes a submission.
"""

from pathlib import Path
from typing import Any

import torch

from zoo.data.splits import InMemory, Splits, check_labels, hold_out
from zoo.data.tables import pixel_csv

MAX_CLASSES = 10_000


def load(
    *, root: str, validation: float = 0.1, test: float = 0.1, num_classes: int = 10, header: Any = "auto"
) -> Splits:
    """1 x 28 x 28 uint8 images from ``root/train.csv``.

    Args:
        root: the folder of ``train.csv``, or of ``train.csv.gz``.
        validation: a fraction below 1, or a number of examples.
        test: likewise.
        num_classes: number of classes; labels must be below it.
        header: whether the first line has names: auto, true or false. Without names, the labels
            cannot be found.

    Raises:
        FileNotFoundError: there is no ``train.csv``; the message says where to get it.
        ValueError: an error of `zoo.data.tables.pixel_csv.read`, a label is not in [0, num_classes), or a split has
            an invalid size.
    """
    if not 1 <= num_classes <= MAX_CLASSES:
        raise ValueError(f"dataset.num_classes={num_classes} must be in [1, {MAX_CLASSES}]")
    path = Path(root) / "train.csv"
    if not path.is_file() and path.with_name("train.csv.gz").is_file():
        path = path.with_name("train.csv.gz")
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing: download train.csv from kaggle.com/c/digit-recognizer/data and name its folder "
            f"with dataset.root=…"
        )

    # Read the whole file, chunk by chunk.
    notes: list[str] = []
    flag = str(header).lower()
    chunks = list(pixel_csv.read(path, pixels=784, labeled=True, header=flag, note=notes.append))
    if not chunks:
        raise ValueError(f"{path}: no rows below the header")
    x = torch.cat([chunk.pixels for chunk in chunks]).view(-1, 1, 28, 28)
    y = torch.cat([chunk.labels for chunk in chunks if chunk.labels is not None])
    check_labels(y, num_classes, where=str(path))

    # Hold out the test split first, so that it does not depend on the size of the validation split.
    classes = tuple(map(str, range(num_classes)))
    rest, test_split = hold_out(InMemory(x, y), test, split="test", names=classes)
    train, validation_split = hold_out(rest, validation, names=classes)
    return Splits(train, validation_split, test_split, (1, 28, 28), classes, notes=tuple(notes))
