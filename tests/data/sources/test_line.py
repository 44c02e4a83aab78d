"""Points on a line."""

import torch

from zoo.data.sources import line


def test_line_puts_validation_and_test_between_the_training_points():
    splits = line.load(points=9)
    assert splits.train.x.flatten().tolist() == [-1, -0.75, -0.5, -0.25, 0, 0.25, 0.5, 0.75, 1]
    assert splits.validation.x.flatten().tolist() == [-0.875, -0.375, 0.125, 0.625]
    assert splits.test.x.flatten().tolist() == [-0.625, -0.125, 0.375, 0.875]
    assert all(torch.equal(split.x, split.y) for split in (splits.train, splits.validation, splits.test))
    assert (splits.shape, splits.num_outputs, splits.classes) == ((1,), 1, ())
