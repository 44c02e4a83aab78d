"""A dataset: a function that returns `zoo.data.splits.Splits`."""

import torch

from zoo.data.splits import InMemory, Splits, hold_out


def spirals(*, n: int = 900, arms: int = 3, noise: float = 0.1, validation: float = 0.1, test: float = 0.2) -> Splits:
    """Points on spiral arms, as in "CS231n: Convolutional Neural Networks", lecture notes on a minimal network.

    Args:
        n: number of points.
        arms: number of arms, which are the classes.
        noise: standard deviation of the angle, in radians.
        validation, test: sizes of these splits, as numbers of points or as fractions; the test split is taken first.
    """
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(n) % arms  # N
    radius = torch.rand(n, generator=generator)  # N
    angle = 4 * radius + labels * 2 * torch.pi / arms + noise * torch.randn(n, generator=generator)  # N
    points = torch.stack([radius * angle.sin(), radius * angle.cos()], dim=1)  # N x 2

    rest, test_split = hold_out(InMemory(points, labels), test, split="test")
    train, validation_split = hold_out(rest, validation)
    return Splits(train, validation_split, test_split, (2,), tuple(f"arm {k}" for k in range(arms)))
