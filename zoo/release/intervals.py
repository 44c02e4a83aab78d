"""95 % intervals that count both the seeds and the test images, and verdicts that follow from them.

A recipe is trained with k seeds, and all k nets are evaluated on the same n test images. The mean m over the seeds
would be another one with other seeds or with other test images, so its variance has two terms:

    V = s^2 / k  +  v / n

s is the standard deviation over the seeds. v is the variance over the images of the value of one image: q (1 - q) for a
fraction q of the images, such as the errors, else the square of the measured standard deviation. The effective degrees
of freedom d are those of Welch and Satterthwaite, with k - 1 for the first term and n - 1 for the second.

- A fraction: the Wilson interval of q with the effective number of images n* = q (1 - q) / V * (z / t)^2, as in surveys
  (Korn & Graubard 1998). z and t are the 97.5 % quantiles of the normal distribution and of Student's t with d degrees
  of freedom.
- Other metrics: m ± t sqrt(V). If log Z is only known within a bracket, half of its width is added on both sides.

Assumptions: the seeds are independent, and the test images are independent draws from all images of this kind. Images
on which the nets of several seeds disagree are counted in both terms, so the interval is slightly wider than needed.
Uses numbers only; imports nothing of the zoo.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, sqrt
from statistics import NormalDist, mean, variance

LEVEL = 0.975  # quantile of the upper limit
Z = NormalDist().inv_cdf(LEVEL)

BETTER = "better"
WORSE = "worse"
OVERLAP = "intervals overlap"


@dataclass(frozen=True)
class Images:
    """The test images of a result.

    Attributes:
        count: number of images.
        std: standard deviation of the metric over the images; None for a fraction of the images, in percent.
        bracket: half of the difference between an upper and a lower estimate of the metric; 0 if it is exact.
    """

    count: int
    std: float | None = None
    bracket: float = 0.0


def of_seeds(values: Sequence[float], images: Images) -> tuple[float, float] | None:
    """The 95 % interval of the mean over the seeds; None for a single seed, whose spread is unknown."""
    if len(values) < 2:
        return None
    center = mean(values)
    by_seed = variance(values) / len(values)
    by_image = _variance(center, images) / images.count
    total = by_seed + by_image
    if total == 0:
        # All images are right, or all are wrong, with every seed: only the number of images limits the interval.
        return _limits(center, total, inf, images)

    # Welch-Satterthwaite: the more a term contributes to the variance, the more its degrees of freedom count.
    freedom = total**2 / (by_seed**2 / (len(values) - 1) + by_image**2 / (images.count - 1))
    return _limits(center, total, freedom, images)


def of_images(value: float, images: Images) -> tuple[float, float]:
    """The 95 % interval of one published number: it covers the test images only."""
    return _limits(value, _variance(value, images) / images.count, inf, images)


def verdict(ours: tuple[float, float] | None, theirs: tuple[float, float], *, less_is_better: bool) -> str:
    """`BETTER` or `WORSE` if the intervals do not overlap, else `OVERLAP`."""
    if ours is None or (ours[0] <= theirs[1] and theirs[0] <= ours[1]):
        return OVERLAP
    return BETTER if (ours[1] < theirs[0]) == less_is_better else WORSE


def _variance(value: float, images: Images) -> float:
    """The variance of the metric over the images."""
    if images.std is not None:
        return images.std**2
    return value * (100 - value)  # a percentage: 100^2 q (1 - q)


def _limits(center: float, total: float, freedom: float, images: Images) -> tuple[float, float]:
    """The limits of the interval, from the variance of the center and its degrees of freedom."""
    quantile = _quantile(freedom)
    if images.std is not None:
        margin = quantile * sqrt(total) + images.bracket
        return center - margin, center + margin

    # Wilson's interval of a fraction, with the effective number of images.
    q = center / 100
    count = images.count if total == 0 else center * (100 - center) / total * (Z / quantile) ** 2
    middle = (q + Z**2 / (2 * count)) / (1 + Z**2 / count)
    margin = Z / (1 + Z**2 / count) * sqrt(q * (1 - q) / count + Z**2 / (4 * count**2))
    return 100 * max(middle - margin, 0.0), 100 * min(middle + margin, 1.0)


def _quantile(freedom: float) -> float:
    """The 97.5 % quantile of Student's t."""
    if freedom == inf:
        return Z
    from scipy.stats import t

    return float(t.ppf(LEVEL, freedom))
