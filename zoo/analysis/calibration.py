"""Calibration of a classifier: how often predictions with a given probability are right, and temperature scaling.

Guo et al. 2017, "On Calibration of Modern Neural Networks": a single number T > 0, fitted on validation examples,
divides the logits. The predicted class stays the same; above 1, T makes the probabilities less extreme.
"""

from collections.abc import Sequence
from math import exp, log
from typing import NamedTuple

import torch
from torch import Tensor, nn

from zoo.losses import probabilities

BINS = 15  # as in the metric ``calibration_error``
FITTED = (0.05, 20.0)  # the range in which a temperature is searched
TINY = 1e-300  # a probability of 0 would give an infinite loss


class Scaled(nn.Module):
    """A net whose outputs are divided by a temperature: N x in_shape -> N x K."""

    def __init__(self, net: nn.Module, temperature: float):
        super().__init__()
        self.net = net
        self.temperature = temperature

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.net(x)
        return outputs / self.temperature


class Bin(NamedTuple):
    """The examples whose predicted class has a probability in [low, high); only 1 itself has a bin of its own."""

    low: float
    high: float
    examples: int
    confidence: float  # mean probability of the predicted class
    accuracy: float  # fraction of right predictions


def reliability(p: Tensor, right: Tensor) -> list[Bin]:
    """The bins of a reliability diagram that have examples.

    The calibration error is the mean of abs(accuracy - confidence), weighted by the numbers of examples.

    Args:
        p: N probabilities of the predicted classes.
        right: N booleans, whether the predictions are right.
    """
    # The same edges as those of the metric.
    edges = torch.linspace(0, 1, BINS + 1)
    numbers = torch.bucketize(p.float().contiguous(), edges, right=True) - 1  # N; BINS for a probability of 1
    found: list[Bin] = []
    for k in sorted(set(numbers.tolist())):
        chosen = numbers == k
        low = float(edges[k])
        high = float(edges[min(k + 1, BINS)])
        accuracy = float(right[chosen].double().mean())
        found.append(Bin(low, high, int(chosen.sum()), float(p[chosen].double().mean()), accuracy))
    return found


def fit_temperature(outputs: Sequence[Tensor], y: Tensor, *, loss: str = "cross_entropy") -> float:
    """The temperature with the lowest negative log-likelihood of the classes.

    Args:
        outputs: logits of the same examples, N x K each; the probabilities of several, such as those of the images and
            of their mirror images, are averaged.
        y: N class numbers.
        loss: name of the loss that the net was trained with, which says how logits become probabilities.

    Raises:
        ValueError: there is no best temperature in `FITTED`: all predictions are right, or they are no better than
            chance.
    """
    from scipy.optimize import minimize_scalar

    views = [view.double() for view in outputs]

    def negative_log_likelihood(log_temperature: float) -> float:
        temperature = exp(log_temperature)
        p = torch.stack([probabilities(view, loss, temperature) for view in views]).mean(dim=0)  # N x K
        return -float(p.gather(1, y[:, None]).clamp(min=TINY).log().mean())

    # The likelihood has a single maximum. At an end of the range, the maximum lies beyond it.
    low, high = map(log, FITTED)
    options = {"xatol": 1e-6}
    found = float(minimize_scalar(negative_log_likelihood, bounds=(low, high), method="bounded", options=options).x)
    if found - low < 0.01:
        raise ValueError("nearly all predictions are right, so every lower temperature fits better")
    if high - found < 0.01:
        raise ValueError("the predictions are no better than chance, so every higher temperature fits better")
    return exp(found)
