"""The claim of a recipe: its goal, the published numbers that it is compared with, and its history.

A published recipe of ``conf/experiment`` has a ``claim``:

    claim:
      metric: test_error_percent
      goal: 0.6                     # the target, set before the final runs
      published:                    # this net in its paper; null: nothing comparable was published
        value: 0.8
        net: LeNet-5
        training_data: 60,000 images
        distortions: shifts, scaling, skewing and compression   # or none, or not stated
        source: LeCun et al. 1998, section III, page 2290
        status: secondary           # read: in the source; secondary: in another text or in notes
        differs: …                  # optional: what else makes it incomparable to ours
      best_known: null              # the best number known for this class of net, with the same keys
      reopened: []                  # earlier test results, if the recipe was changed after they were seen

A goal must never be entered under ``published``. May import config and the other files of this folder.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import mean, stdev
from typing import Any

from zoo.config.catalogue import suggest
from zoo.release import intervals
from zoo.release.intervals import Images
from zoo.release.published import NONE, Published, Reopened, check_number, checked_keys

NOTHING = "-"  # printed in tables if no comparable published number was found
SECONDARY = "†"  # marks published numbers whose source we did not read
# Augmentations, as they are named in tables. {} is the value of the key.
DISTORTIONS = {
    "shift": "shifts ≤ {:g} px",
    "rotation": "rotations ≤ {:g}°",
    "scale": "size ± {:.0%}",
    "shear": "shear ≤ {:g}",
    "elastic": "elastic distortions, std {:g} px",
    "flip": "mirror images",
    "erase": "erased rectangles",
    "randaugment": "RandAugment",
    "mixup": "mixup",
    "cutmix": "CutMix",
}
CROPS = {"crop": "random crops"}
OTHER = "other conditions"  # verdict on a published number that was reached under other conditions


@dataclass(frozen=True)
class Metric:
    """A metric of claims, and how it is computed from the metrics of a run.

    Attributes:
        title: name in tables.
        metrics: names of a run's metrics. The mean of several is taken, such as of the AIS and reverse-AIS estimates.
        factor, offset: the value is factor * mean + offset.
        less_is_better: whether a smaller value is better.
        is_fraction: whether it is a percentage of the test images, whose spread over the images follows from its value.
        digits: number of decimal places that are printed.
    """

    title: str
    metrics: tuple[str, ...]
    factor: float
    offset: float
    less_is_better: bool
    is_fraction: bool
    digits: int


METRICS = {
    "test_accuracy_percent": Metric("test accuracy, %", ("test/accuracy",), 100.0, 0.0, False, True, 2),
    "test_error_percent": Metric("test error, %", ("test/accuracy",), -100.0, 100.0, True, True, 2),
    "squared_error_per_image": Metric(
        "squared reconstruction error per test image", ("test/reconstruction_error",), 1.0, 0.0, True, False, 2
    ),
    "test_log_likelihood_nats": Metric(
        "log-likelihood of a test image, nats",
        ("test/log_likelihood_ais", "test/log_likelihood_reverse_ais"),
        1.0,
        0.0,
        False,
        False,
        1,
    ),
}


@dataclass(frozen=True)
class Claim:
    """The goal of a recipe, the published numbers and the history.

    Attributes:
        metric: one of `METRICS`.
        goal: target for the mean over the seeds, in the units of ``metric``.
        published: this net in its paper; None: its paper has no comparable number.
        best_known: the best number that is known for this class of net; None: none was found.
        gain: target for the difference between the two settings of a paired comparison, in the units of ``metric``.
        evaluate: arguments of ``zoo evaluate``, if the metric is not among those at the end of training.
        deviations: deviations from the paper in addition to those of the model.
        reopened: earlier test results, the first one first, if the recipe was changed after they were seen.

    Raises:
        ValueError: a value of the wrong type, or an unknown metric.
    """

    metric: str
    goal: float
    published: Published | None
    best_known: Published | None
    gain: float | None = None
    evaluate: Sequence[str] = ()
    deviations: Sequence[str] = ()
    reopened: Sequence[Reopened] = ()

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise ValueError(f"claim.metric={self.metric}: {suggest(str(self.metric), list(METRICS))}")
        check_number("claim.goal", self.goal)
        if self.gain is not None:
            check_number("claim.gain", self.gain)
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

    def published_text(self, number: Published | None) -> str:
        """A published value for tables, with a mark if we did not read its source; "-" if there is none."""
        if number is None:
            return NOTHING
        return self.text(number.value) + ("" if number.status == "read" else SECONDARY)

    def interval_text(self, limits: tuple[float, float] | None) -> str:
        """An interval for tables; "-" if there is none."""
        return NOTHING if limits is None else f"{self.text(limits[0])} to {self.text(limits[1])}"

    def images(self, entry: Mapping[str, Any]) -> Images:
        """The test images of an entry of the index: their number, and the spread of the metric over them."""
        kind = METRICS[self.metric]
        # Several metrics are estimates from above and from below; the truth is between them.
        estimates = [entry["metric"][name] for name in kind.metrics] if len(kind.metrics) > 1 else [0.0]
        bracket = abs(kind.factor) * (max(estimates) - min(estimates)) / 2
        std = None if kind.is_fraction else entry["images"]["std"]
        return Images(entry["images"]["count"], std, bracket)

    def interval(self, entry: Mapping[str, Any]) -> tuple[float, float] | None:
        """The 95 % interval of an entry of the index."""
        return intervals.of_seeds(entry["values"], self.images(entry))

    def verdict(self, entry: Mapping[str, Any], number: Published | None) -> str:
        """How ours compares with a published number: `intervals.verdict`, `OTHER` conditions, or "-" without one."""
        if number is None:
            return NOTHING
        if not number.is_comparable(entry["distortions"]):
            return OTHER
        # The published interval covers the test images, which are the same as ours.
        theirs = intervals.of_images(number.value, replace(self.images(entry), bracket=0.0))
        return intervals.verdict(self.interval(entry), theirs, less_is_better=METRICS[self.metric].less_is_better)

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
    known = checked_keys(values, Claim, "claim")
    for key in ("published", "best_known"):
        if known[key] is not None:
            known[key] = Published.parse(known[key], f"claim.{key}")
    earlier = known.get("reopened", ())
    if not isinstance(earlier, Sequence) or isinstance(earlier, str):
        raise ValueError("claim.reopened must be a list of earlier results")
    known["reopened"] = [Reopened.parse(entry, "claim.reopened") for entry in earlier]
    return Claim(**known)


def of(config: Mapping[str, Any]) -> Claim | None:
    """The claim of a recipe or of a run's config; None if it has none."""
    claim = config.get("claim")
    return parse(claim) if claim else None


def distortions(dataset: Mapping[str, Any]) -> str:
    """The distortions of the training images, from the config of a dataset; `NONE` if there are none."""
    augment = dataset.get("augment", {})
    found = [text.format(augment[key]).replace("%", " %") for key, text in DISTORTIONS.items() if augment.get(key)]
    found += [text for key, text in CROPS.items() if augment.get(key, 1.0) < 1.0]
    return ", ".join(found) or NONE
