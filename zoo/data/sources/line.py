"""Points on y = x: a minimal regression problem.

``experiment=warm_start_line`` shows on it that training is shorter if the initial weights are near the solution.
"""

import torch

from zoo.data.splits import InMemory, Splits

MAX_POINTS = 10**6


def load(*, points: int = 64) -> Splits:
    """x evenly spaced over [-1, 1] with y = x. Validation and test points lie between the training points.

    Args:
        points: number of training points, from 3 to `MAX_POINTS`.

    Raises:
        ValueError: ``points`` is out of this range.
    """
    if not 3 <= points <= MAX_POINTS:
        raise ValueError(f"dataset.source.points={points} must be in [3, {MAX_POINTS}]")

    def on_line(x: torch.Tensor) -> InMemory:
        return InMemory(x[:, None], x[:, None])

    # Midpoints between training points are validation and test points, alternately.
    train = torch.linspace(-1, 1, points)
    between = (train[1:] + train[:-1]) / 2
    return Splits(on_line(train), on_line(between[::2]), on_line(between[1::2]), shape=(1,), num_targets=1)
