"""The metric by which jobs are compared: what a job of a sweep returns, and what a search optimizes."""

from collections.abc import Iterable, Mapping
from copy import deepcopy

from omegaconf import DictConfig

from zoo.training.checks import stage_checks

# The last words of the names of metrics of which a lower value is better.
LOWER_IS_BETTER = ("loss", "error", "mse", "mae", "gap", "steps")


def metric_name(cfg: DictConfig) -> str:
    """The key ``optimized_metric``; by default the metric that the last stage monitors, such as "val/accuracy".

    Raises:
        ValueError: a metric of the test split, or stages that are invalid.
    """
    name = cfg.optimized_metric
    if name is None:
        *_, last = stage_checks.enabled_stages(deepcopy(cfg)).values()
        return stage_checks.task_class(last).monitor
    if str(name).startswith("test/"):
        raise ValueError(
            f"optimized_metric={name}: settings must not be chosen by the test split; choose a metric val/..."
        )
    if not str(name).startswith("val/") and not str(name).endswith("/steps"):
        raise ValueError(
            f"optimized_metric={name} must be a metric of the validation split, such as val/accuracy, or the number of "
            "steps of a fit, such as fit/steps"
        )
    return str(name)


def direction(metric: str) -> str:
    """ "minimize" or "maximize": which is better for a metric, by the last word of its name."""
    return "minimize" if metric.rpartition("/")[2].rpartition("_")[2] in LOWER_IS_BETTER else "maximize"


def value_of(metrics: Mapping[str, float], name: str) -> float:
    """The value of a metric.

    Raises:
        ValueError: there is no such metric; the message lists those that there are.
    """
    if name not in metrics:
        raise unknown(name, metrics)
    return float(metrics[name])


def unknown(name: str, measured: Iterable[str]) -> ValueError:
    """The error for a metric that was not measured."""
    known = sorted(metric for metric in measured if not metric.startswith(("test/", "train/")))
    choices = f"choose one of: {', '.join(known)}" if known else "there is no validation split, set dataset.validation="
    return ValueError(f"optimized_metric={name}: no such metric; {choices}")
