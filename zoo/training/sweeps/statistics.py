"""Statistics of the jobs of a sweep: differences of two settings paired by seed, and cross-validation."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

Row = dict[str, Any]
Metrics = dict[str, float]
FOLD = "dataset.fold"
REPEATS = ("seed", FOLD)  # keys that repeat a measurement: jobs that differ in nothing else are compared as pairs
MIN_PAIRS = 3  # fewer pairs give no useful confidence interval


def paired(
    settings: Sequence[Mapping[str, str]], metrics: Sequence[Metrics], *, compare: str | None = None
) -> list[Row]:
    """Differences between jobs that differ in one setting only, paired by seed and by fold.

    Args:
        settings: the overrides of each job, key -> value.
        metrics: the metrics of each job, name -> value.
        compare: the key whose two values are compared; None: the only key with two values, except for `REPEATS`.

    Returns:
        One row for each combination of the other settings and each metric, those of the validation split first: the
        mean for each of the two values, the mean difference (first value minus second), its 95 % confidence interval
        by Student's t (``from``, ``to``), and the number of pairs. There is no interval (None) for fewer than
        `MIN_PAIRS` pairs, or if all differences are equal. Empty if the jobs do not form such a comparison.
    """
    # Find the one key with two values.
    values = _values(settings)
    repeats = [key for key in REPEATS if len(values.get(key, [])) > 1]
    choices = [
        key for key, found in values.items() if len(found) == 2 and key not in REPEATS and compare in (None, key)
    ]
    if not repeats or len(choices) != 1:
        return []
    key = choices[0]

    # Group the jobs by their other settings, then by seed and fold, then by the value of the key.
    others = [name for name, found in values.items() if len(found) > 1 and name not in (key, *REPEATS)]
    cases: dict[tuple[Any, ...], dict[Any, dict[Any, Metrics]]] = {}
    for job, measured in zip(settings, metrics, strict=True):
        seeds = cases.setdefault(tuple(job.get(name) for name in others), {})
        seeds.setdefault(tuple(job.get(name) for name in repeats), {})[job.get(key)] = measured

    # A seed with both values is a pair. Each metric that all pairs have gives a row.
    first, second = values[key]
    rows: list[Row] = []
    for case, seeds in cases.items():
        pairs = [(arms[first], arms[second]) for arms in seeds.values() if len(arms) == 2]
        if len(pairs) < 2:
            continue
        shared = set.intersection(*(set(a) & set(b) for a, b in pairs))
        for metric in sorted((name for name in shared if name.startswith(("val/", "test/"))), key=metric_order):
            firsts = [a[metric] for a, _ in pairs]
            seconds = [b[metric] for _, b in pairs]
            row = dict(zip(others, case, strict=True)) | {"metric": metric}
            row |= {f"{key}={first}": sum(firsts) / len(pairs), f"{key}={second}": sum(seconds) / len(pairs)}
            rows.append(row | _difference(firsts, seconds))
    return rows


def why_not(settings: Sequence[Mapping[str, str]], key: str) -> str:
    """Why the jobs cannot compare the values of ``key``."""
    values = _values(settings)
    found = values.get(key, [])
    if key == "seed":
        return "jobs are paired by seed; name the other key"
    if len(found) != 2:
        listed = f" ({', '.join(map(str, found))})" if found else ""
        return f"the key has {len(found)} values in the finished jobs of this sweep{listed}, but a comparison needs 2"
    if len(values.get("seed", [])) < 2:
        return "a comparison needs at least two seeds, such as seed=1,2,3"
    return "fewer than two seeds have a finished job with each of the two values"


def _values(settings: Sequence[Mapping[str, str]]) -> dict[str, list[str | None]]:
    """The values of each key in the order of the jobs; None where a job does not set it."""
    return {key: list(dict.fromkeys(job.get(key) for job in settings)) for job in settings for key in job}


def _difference(firsts: Sequence[float], seconds: Sequence[float]) -> Row:
    """The mean of first - second over n >= 2 pairs, and its interval."""
    differences = [a - b for a, b in zip(firsts, seconds, strict=True)]
    mean, _, low, high = _interval(differences)
    return {"difference": mean, "from": low, "to": high, "pairs": len(differences)}


def k_fold(settings: Sequence[Mapping[str, str]], metrics: Sequence[Metrics]) -> list[Row]:
    """Statistics of a cross-validation over its folds, the values of ``dataset.fold``.

    Args:
        settings: the overrides of each job, key -> value.
        metrics: the metrics of each job, name -> value.

    Returns:
        One row for each combination of the other settings and each metric that all of its jobs have, those of the
        validation split first: the mean, the standard deviation (with n - 1) and the 95 % confidence interval of the
        mean by Student's t (``from``, ``to``) over the folds, and their number. With several seeds, the value of a fold
        is the mean over its seeds. Empty if the jobs do not differ in their fold.
    """
    values = _values(settings)
    if len(values.get(FOLD, [])) < 2:
        return []
    # Group the jobs by their other settings, then by fold.
    others = [name for name, found in values.items() if len(found) > 1 and name not in REPEATS]
    cases: dict[tuple[Any, ...], dict[Any, list[Metrics]]] = {}
    for job, measured in zip(settings, metrics, strict=True):
        folds = cases.setdefault(tuple(job.get(name) for name in others), {})
        folds.setdefault(job.get(FOLD), []).append(measured)

    # Each metric that all jobs of a case have gives a row.
    rows: list[Row] = []
    for case, folds in cases.items():
        if len(folds) < 2:
            continue
        shared = set.intersection(*(set(measured) for jobs in folds.values() for measured in jobs))
        for metric in sorted((name for name in shared if name.startswith(("val/", "test/"))), key=metric_order):
            means = [sum(measured[metric] for measured in jobs) / len(jobs) for jobs in folds.values()]
            mean, std, low, high = _interval(means)
            row = dict(zip(others, case, strict=True)) | {"metric": metric, "mean": mean, "std": std}
            rows.append(row | {"from": low, "to": high, "folds": len(folds)})
    return rows


def _interval(values: Sequence[float]) -> tuple[float, float, float | None, float | None]:
    """The mean and the standard deviation of n >= 2 values, and the interval mean ± t(0.975, n - 1) · standard error.

    There is no interval for fewer than `MIN_PAIRS` values, or if all are equal.
    """
    from scipy.stats import t

    n = len(values)
    mean = sum(values) / n
    variance = sum((value - mean) ** 2 for value in values) / (n - 1)
    # Equal values do not show their spread: few jobs on few examples often agree by chance.
    margin = float(t.ppf(0.975, n - 1)) * (variance / n) ** 0.5
    if n >= MIN_PAIRS and math.isfinite(margin) and margin > 1e-12 * abs(mean):
        return mean, variance**0.5, mean - margin, mean + margin
    return mean, variance**0.5, None, None


def metric_order(name: str) -> tuple[bool, str]:
    """Sorts test metrics after all others."""
    return name.startswith("test/"), name
