"""The claim of a recipe: its goal and the published number that it is compared with.

A published recipe of ``conf/experiment`` has a ``claim``:

    claim:
      metric: test_error_percent
      goal: 0.6                     # the target, set before the final runs
      published:                    # a number that others reached with a comparable net; null: none found
        value: 0.8
        source: LeCun et al. 1998, trained with distortions
        status: secondary           # primary: read in the source itself; secondary: quoted by another text

A goal must never be entered under ``published``. May import config.
"""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from statistics import mean, stdev
from typing import Any

from zoo.config.catalogue import suggest

# How we know a published number; the keys are the values of `Published.status`.
STATUSES = {
    "primary": "we read the number in the source itself",
    "secondary": "another text quotes the number from the source; we have not checked the source",
}
NOTHING = "-"  # printed in tables if no comparable published number was found


@dataclass(frozen=True)
class Metric:
    """A metric of claims, and how it is computed from the metrics of a run.

    Attributes:
        title: name in tables.
        metrics: names of a run's metrics. The mean of several is taken, such as of the AIS and reverse-AIS estimates.
        factor, offset: the value is factor * mean + offset.
        less_is_better: whether a smaller value is better.
        digits: number of decimal places that are printed.
    """

    title: str
    metrics: tuple[str, ...]
    factor: float
    offset: float
    less_is_better: bool
    digits: int


METRICS = {
    "test_accuracy_percent": Metric("test accuracy, %", ("test/accuracy",), 100.0, 0.0, False, 2),
    "test_error_percent": Metric("test error, %", ("test/accuracy",), -100.0, 100.0, True, 2),
    "squared_error_per_image": Metric(
        "squared reconstruction error per test image", ("test/reconstruction_error",), 1.0, 0.0, True, 2
    ),
    "test_log_likelihood_nats": Metric(
        "log-likelihood of a test image, nats",
        ("test/log_likelihood_ais", "test/log_likelihood_reverse_ais"),
        1.0,
        0.0,
        False,
        1,
    ),
}


@dataclass(frozen=True)
class Published:
    """A published number of a comparable net.

    Attributes:
        value: the number, in the units of the claim's metric.
        source: who published it and where, and under which conditions.
        status: one of `STATUSES`.
    """

    value: float
    source: str
    status: str

    def __post_init__(self) -> None:
        # YAML reads words as strings: refuse a text such as "none found" in place of a number.
        _check_number("claim.published.value", self.value)
        if not isinstance(self.source, str) or not self.source.strip():
            raise ValueError("claim.published.source must say who published the number and where")
        if self.status not in STATUSES:
            raise ValueError(f"claim.published.status={self.status} must be {' or '.join(STATUSES)}")


@dataclass(frozen=True)
class Claim:
    """The goal of a recipe, and the published number.

    Attributes:
        metric: one of `METRICS`.
        goal: target for the mean over the seeds, in the units of ``metric``.
        published: a number that others reached with a comparable net; None: none was found.
        gain: target for the difference between the two settings of a paired comparison, in the units of ``metric``.
        evaluate: arguments of ``zoo evaluate``, if the metric is not among those at the end of training.
        deviations: deviations from the paper in addition to those of the model.

    Raises:
        ValueError: a value of the wrong type, or an unknown metric.
    """

    metric: str
    goal: float
    published: Published | None
    gain: float | None = None
    evaluate: Sequence[str] = ()
    deviations: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise ValueError(f"claim.metric={self.metric}: {suggest(str(self.metric), list(METRICS))}")
        _check_number("claim.goal", self.goal)
        if self.gain is not None:
            _check_number("claim.gain", self.gain)
        # A string is also a sequence of strings: refuse it.
        for key, values in {"evaluate": self.evaluate, "deviations": self.deviations}.items():
            if isinstance(values, str) or not all(isinstance(value, str) for value in values):
                raise ValueError(f"claim.{key} must be a list of strings")

    @property
    def title(self) -> str:
        """Name of the metric in tables."""
        return METRICS[self.metric].title

    def value(self, metrics: Mapping[str, float]) -> float:
        """Compute the value of the claim's metric for one run.

        Raises:
            ValueError: a metric is missing.
        """
        kind = METRICS[self.metric]
        # Name the missing metric, so that the maintainer knows which command computes it.
        missing = [name for name in kind.metrics if name not in metrics]
        if missing:
            raise ValueError(f"{self.metric} needs the metric {missing[0]}, which the run does not have")
        return kind.factor * mean(metrics[name] for name in kind.metrics) + kind.offset

    def text(self, value: float) -> str:
        """Format a value for tables."""
        return f"{value:.{METRICS[self.metric].digits}f}"

    def published_text(self) -> str:
        """The published value, formatted for tables; "-" if there is none."""
        return self.text(self.published.value) if self.published else NOTHING

    def spread(self, values: Sequence[float]) -> str:
        """Mean ± standard deviation of the values of all seeds."""
        if len(values) == 1:
            return self.text(values[0])
        return f"{self.text(mean(values))} ± {self.text(stdev(values))}"

    def reaches(self, values: Sequence[float], bound: float) -> bool:
        """Whether the mean of the values, rounded as in the tables, is as good as ``bound`` or better."""
        # Compare the printed value: 0.603 is printed as 0.60 and reaches a goal of 0.60.
        ours = float(self.text(mean(values)))
        return ours <= bound if METRICS[self.metric].less_is_better else ours >= bound


def parse(values: Any) -> Claim:
    """Parse the claim of a recipe or of an entry in the index.

    Raises:
        ValueError: an unknown or missing key, or a wrong value; the message begins with the key.
    """
    # Check the outer keys first, so that a message names the outermost wrong key.
    known = _checked_keys(values, Claim, "claim")
    if known["published"] is not None:
        published = _checked_keys(known["published"], Published, "claim.published")
        known["published"] = Published(**published)
    return Claim(**known)


def of(config: Mapping[str, Any]) -> Claim | None:
    """The claim of a recipe or of a run's config; None if it has none."""
    claim = config.get("claim")
    return parse(claim) if claim else None


def _checked_keys(values: Any, kind: type[Claim] | type[Published], where: str) -> dict[str, Any]:
    """Return the mapping as a dict; raise ValueError for a missing or an unknown key of the dataclass."""
    if not isinstance(values, Mapping):
        raise ValueError(f"{where} must be a mapping, got {values!r}")
    # Every key must be a field of the dataclass, and every field without a default must be present.
    known = {entry.name: entry for entry in fields(kind)}
    for key in values:
        if key not in known:
            raise ValueError(f"{where}.{key}: unknown key; {suggest(str(key), list(known))}")
    for key, entry in known.items():
        if entry.default is MISSING and key not in values:
            raise ValueError(f"{where}.{key} is missing")
    return dict(values)


def _check_number(key: str, value: object) -> None:
    # bool is a subclass of int: refuse it explicitly.
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{key}={value!r} must be a number")
