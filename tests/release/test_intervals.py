"""The 95 % intervals: their formulas, and their coverage in simulations with both kinds of chance."""

from math import sqrt
from statistics import mean, stdev

import numpy as np
import pytest
from scipy.stats import binomtest, t

from zoo.release import intervals
from zoo.release.intervals import BETTER, OVERLAP, WORSE, Images

IMAGES = Images(10_000)


def covered(intervals_of_trials, truth: float) -> float:
    found = list(intervals_of_trials)
    return mean(low <= truth <= high for low, high in found)


def error_rates(rng, *, seeds: int, error: float, spread: float, images: int, difficulty: float) -> list[float]:
    """Errors in percent of nets on the same images, which differ in difficulty; nets differ by ``spread`` points."""
    # Beta-distributed difficulty: with a small parameter sum most images are easy and a few are wrong for most seeds.
    mean_error = error / 100
    hardness = rng.beta(mean_error * difficulty, (1 - mean_error) * difficulty, images)
    values = []
    for _ in range(seeds):
        factor = max(1 + rng.normal(0, spread / error), 0)
        values.append(100 * float((rng.random(images) < np.minimum(hardness * factor, 1)).mean()))
    return values


@pytest.mark.parametrize(
    ("seeds", "error", "spread", "difficulty"),
    [(3, 1.0, 0.05, 0.1), (5, 1.0, 0.05, 0.1), (3, 0.3, 0.03, 0.1), (5, 9.0, 0.3, 0.5), (3, 1.0, 0.0, 0.02)],
)
def test_intervals_of_errors_cover_the_expected_error(seeds, error, spread, difficulty):
    rng = np.random.default_rng(0)
    trials = (
        intervals.of_seeds(
            error_rates(rng, seeds=seeds, error=error, spread=spread, images=4000, difficulty=difficulty), Images(4000)
        )
        for _ in range(500)
    )
    # 500 trials: the standard error of a coverage of 95 % is 1 point. Conservative, but not by much.
    assert 0.93 <= covered(trials, error) <= 0.999


def test_an_interval_that_counts_only_one_kind_of_chance_covers_too_little():
    """The simulation is able to tell: seeds alone, or images alone, are not enough."""
    rng = np.random.default_rng(1)
    runs = [error_rates(rng, seeds=5, error=1.0, spread=0.2, images=4000, difficulty=0.1) for _ in range(300)]
    both = covered((intervals.of_seeds(values, Images(4000)) for values in runs), 1.0)
    images_alone = covered((intervals.of_images(mean(values), Images(4000)) for values in runs), 1.0)
    shared = [error_rates(rng, seeds=5, error=1.0, spread=0.0, images=4000, difficulty=0.02) for _ in range(300)]
    margins = [float(t.ppf(0.975, 4)) * stdev(values) / sqrt(5) for values in shared]
    seeds_alone = covered(
        ((mean(v) - margin, mean(v) + margin) for v, margin in zip(shared, margins, strict=True)), 1.0
    )
    assert both >= 0.93
    assert images_alone < both
    assert seeds_alone < 0.8


@pytest.mark.parametrize(("seeds", "by_seed"), [(3, 0.3), (5, 0.3), (3, 0.02)])
def test_intervals_of_other_metrics_cover_the_expected_value(seeds, by_seed):
    rng = np.random.default_rng(2)
    std, count = 30.0, 10_000
    trials = []
    for _ in range(1000):
        shared = rng.normal(-85, std / sqrt(count))  # the images are the same for all seeds
        values = [shared + rng.normal(0, by_seed) for _ in range(seeds)]
        trials.append(intervals.of_seeds(values, Images(count, std)))
    assert 0.935 <= covered(trials, -85) <= 0.99


def test_the_formulas():
    # One published number of a fraction: Wilson's interval, as SciPy computes it.
    low, high = intervals.of_images(1.15, IMAGES)
    expected = binomtest(115, 10_000).proportion_ci(0.95, "wilson")
    assert (low, high) == pytest.approx((100 * expected.low, 100 * expected.high))

    # Seeds that agree: the images alone.
    assert intervals.of_seeds([1.15, 1.15], IMAGES) == pytest.approx((low, high), rel=2e-3)

    # Other metrics: t of Welch and Satterthwaite, and half a bracket.
    values, std, count = [2.3, 2.4, 2.5], 1.2, 10_000
    by_seed, by_image = 0.01 / 3, std**2 / count
    freedom = (by_seed + by_image) ** 2 / (by_seed**2 / 2 + by_image**2 / (count - 1))
    margin = t.ppf(0.975, freedom) * sqrt(by_seed + by_image) + 0.1
    assert intervals.of_seeds(values, Images(count, std, 0.1)) == pytest.approx((2.4 - margin, 2.4 + margin))
    assert intervals.of_images(2.0, Images(100, 1.0)) == pytest.approx((2 - 0.196, 2 + 0.196), abs=1e-4)


@pytest.mark.parametrize("value", [0.0, 100.0])
def test_no_error_or_no_hit_still_has_an_interval(value):
    low, high = intervals.of_seeds([value, value], IMAGES)
    assert 0 <= low <= value <= high <= 100
    assert high - low == pytest.approx(0.038, abs=0.002)
    assert intervals.of_seeds([value], IMAGES) is None


def test_more_spread_over_seeds_widens_the_interval():
    widths = [high - low for low, high in (intervals.of_seeds([1 - d, 1, 1 + d], IMAGES) for d in (0, 0.05, 0.2))]
    assert widths == sorted(widths)
    assert widths[2] > 1.5 * widths[0]


@pytest.mark.parametrize(
    ("ours", "theirs", "less", "expected"),
    [
        ((0.5, 0.7), (0.8, 1.0), True, BETTER),
        ((0.5, 0.7), (0.8, 1.0), False, WORSE),
        ((98.0, 98.4), (93.0, 94.0), False, BETTER),
        ((98.0, 98.4), (93.0, 94.0), True, WORSE),
        ((0.5, 0.8), (0.8, 1.0), True, OVERLAP),  # they touch
        ((0.5, 1.2), (0.8, 1.0), True, OVERLAP),
        (None, (0.8, 1.0), True, OVERLAP),
    ],
)
def test_better_needs_intervals_that_do_not_overlap(ours, theirs, less, expected):
    assert intervals.verdict(ours, theirs, less_is_better=less) == expected
