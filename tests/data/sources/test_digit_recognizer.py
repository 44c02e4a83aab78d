"""Kaggle's Digit Recognizer, from a file in its format."""

import numpy as np
import pytest
from support import split_sizes, write_csv

from zoo.data.sources import digit_recognizer


@pytest.mark.parametrize("at", [0, 300, 784])
def test_digit_recognizer_finds_the_label_in_any_column(tmp_path, at):
    pixels, labels = write_csv(tmp_path, at=at)
    splits = digit_recognizer.load(root=str(tmp_path), validation=10, test=20)
    assert split_sizes(splits) == [30, 10, 20]
    assert splits.shape == (1, 28, 28)
    splits = (splits.train, splits.validation, splits.test)
    found = {(x.numpy().tobytes(), int(y)) for split in splits for x, y in zip(split.x, split.y, strict=True)}
    assert found == {(x.astype(np.uint8).tobytes(), int(y)) for x, y in zip(pixels, labels, strict=True)}


@pytest.mark.parametrize("label", [10, -1])
def test_digit_recognizer_refuses_a_label_that_is_not_a_digit(tmp_path, label):
    labels = np.arange(60) % 10
    labels[17] = label
    write_csv(tmp_path, labels=labels)
    with pytest.raises(ValueError, match=rf"train\.csv: example 17 .* has label {label}; labels must be in .0, 9."):
        digit_recognizer.load(root=str(tmp_path))


def test_digit_recognizer_needs_rows_labels_and_a_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"train\.csv is missing: download .* kaggle"):
        digit_recognizer.load(root=str(tmp_path))
    write_csv(tmp_path, rows=0)
    with pytest.raises(ValueError, match="no rows below the header"):
        digit_recognizer.load(root=str(tmp_path))
    write_csv(tmp_path, at=None)
    with pytest.raises(ValueError, match=r"no column 'label' \(the first columns are pixel0, pixel1, pixel2\)"):
        digit_recognizer.load(root=str(tmp_path))
