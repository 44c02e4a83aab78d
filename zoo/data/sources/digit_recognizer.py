"""Kaggle's Digit Recognizer: ``train.csv`` with a label and 784 pixel columns, ``test.csv`` without labels.

The competition's own test labels are secret, so the test part is cut from ``train.csv``; ``zoo predict
input=…/test.csv`` writes the submission.
"""

from pathlib import Path

import torch

from zoo.data import pixel_csv
from zoo.data.splits import InMemory, Splits, check_labels, hold_out


def load(*, root: str, validation: float = 0.1, test: float = 0.1, num_classes: int = 10) -> Splits:
    """1 x 28 x 28 bytes from ``root/train.csv``.

    Raises:
        FileNotFoundError: no ``train.csv`` there; the message says where to get it.
        ValueError: as `zoo.data.pixel_csv.read`, or a label that is no class.
    """
    path = Path(root) / "train.csv"
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing: download train.csv from kaggle.com/c/digit-recognizer/data and name its folder "
            f"with dataset.root=…"
        )
    parts = list(pixel_csv.read(path, pixels=784, labelled=True))
    if not parts:
        raise ValueError(f"{path}: no rows below the header")
    labels = torch.cat([part.labels for part in parts if part.labels is not None])
    check_labels(labels, num_classes, where=str(path))
    examples = InMemory(torch.cat([part.pixels for part in parts]).view(-1, 1, 28, 28), labels)
    classes = tuple(map(str, range(num_classes)))
    rest, held_out = hold_out(examples, test, what="test", names=classes)
    train, val = hold_out(rest, validation, names=classes)
    return Splits(train, val, held_out, shape=(1, 28, 28), classes=classes)
