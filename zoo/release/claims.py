"""What a recipe claims, and whether its runs bear it out. Plain values in, plain values out; imports nothing heavy.

A recipe of ``conf/experiment`` has a ``claim``: the quantity, the published number and where it stands, and the goal.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any


@dataclass(frozen=True)
class Quantity:
    """A published kind of number: which metrics it is made of, and whether less is better."""

    metrics: tuple[str, ...]
    factor: float
    offset: float
    less_is_better: bool
    digits: int


QUANTITIES = {
    "test accuracy, %": Quantity(("test/accuracy",), 100.0, 0.0, False, 2),
    "test error, %": Quantity(("test/accuracy",), -100.0, 100.0, True, 2),
    "squared error per test image": Quantity(("test/reconstruction_error",), 1.0, 0.0, True, 2),
    "log p of the test part, nats": Quantity(
        ("test/log_likelihood_ais", "test/log_likelihood_reverse_ais"), 1.0, 0.0, False, 1
    ),
}


@dataclass(frozen=True)
class Claim:
    """What a recipe sets out to reach.

    Attributes:
        quantity: one of `QUANTITIES`.
        reference: the published number.
        source: where it was published.
        goal: what this recipe is to reach.
        gain: of a paired comparison: by how much its first setting is to be better.
        evaluate: words for ``zoo evaluate``, where the metrics are not those that training ends with.
        deviations: from the paper, beside those of the model.
    """

    quantity: str
    reference: float
    source: str
    goal: float
    gain: float | None = None
    evaluate: Sequence[str] = ()
    deviations: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.quantity not in QUANTITIES:
            raise ValueError(f"claim.quantity={self.quantity}: choose one of: {'; '.join(QUANTITIES)}")

    def value(self, metrics: Mapping[str, float]) -> float:
        """The quantity of one run: of several metrics, as of a bracket, the midpoint.

        Raises:
            ValueError: a metric is missing.
        """
        kind = QUANTITIES[self.quantity]
        missing = [name for name in kind.metrics if name not in metrics]
        if missing:
            raise ValueError(f"{self.quantity} needs the metric {missing[0]}")
        return kind.factor * mean(metrics[name] for name in kind.metrics) + kind.offset

    def text(self, value: float) -> str:
        return f"{value:.{QUANTITIES[self.quantity].digits}f}"

    def spread(self, values: Sequence[float]) -> str:
        """Mean ± standard deviation."""
        return self.text(mean(values)) + (f" ± {self.text(stdev(values))}" if len(values) > 1 else "")

    def reaches(self, values: Sequence[float], bound: float) -> bool:
        """Whether the mean, as it is printed, is as good as ``bound``."""
        ours = float(self.text(mean(values)))
        return ours <= bound if QUANTITIES[self.quantity].less_is_better else ours >= bound


def of(config: Mapping[str, Any]) -> Claim | None:
    """The claim of a recipe or of a run's config; None where it makes none."""
    return Claim(**config["claim"]) if config.get("claim") else None
