"""The search space: Hydra's overrides become distributions of Optuna, and the values of a trial become overrides.

Optuna is imported within the functions, because it is an optional package.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


def split(params: Mapping[str, str], arguments: Sequence[str]) -> tuple[dict[str, "BaseDistribution"], list[str]]:
    """The search space, and the overrides that all trials share.

    Args:
        params: key -> values, from a file of ``conf/hparams_search``.
        arguments: the overrides of the command line. A key with several values is searched for, too; one with a single
            value is fixed, even if it is in ``params``.

    Raises:
        ValueError: values that cannot be searched for, or nothing to search for.
    """
    # Later overrides of the same key replace earlier ones.
    texts = [f"{key}={value}" for key, value in params.items()] + list(arguments)
    overrides = {}
    for override in OverridesParser.create().parse_overrides(texts):
        overrides[override.key_or_group, override.package] = override

    # A key with several values is searched for; the others are the same in all trials.
    space: dict[str, BaseDistribution] = {}
    fixed = []
    for override in overrides.values():
        if override.is_sweep_override():
            space[override.get_key_element()] = _distribution(override)
        elif override.is_delete():
            fixed.append(str(override.input_line))
        else:
            fixed.append(f"{override.get_key_element()}={override.get_value_element_as_str()}")
    if not space:
        raise ValueError("there is nothing to search for: give a key several values, such as lr=interval(0.001,0.1)")
    return space, fixed


def overrides_of(values: Mapping[str, Any]) -> list[str]:
    """The overrides of a trial, such as ``lr=0.0123``."""
    return [f"{key}={value}" for key, value in values.items()]


def _distribution(override: Override) -> "BaseDistribution":
    """The distribution of the values of an override.

    Raises:
        ValueError: a range without values, or a logarithmic one that reaches 0.
    """
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    sweep = override.value()
    is_log = isinstance(sweep, (IntervalSweep, RangeSweep)) and "log" in sweep.tags
    try:
        # A range without its end, as in Hydra's grid sweeps.
        if isinstance(sweep, RangeSweep) and not sweep.shuffle:
            numbers = list(sweep.range())
            step = None if is_log else sweep.step
            if all(isinstance(number, int) for number in numbers):
                return IntDistribution(min(numbers), max(numbers), log=is_log, step=abs(int(step or 1)))
            return FloatDistribution(min(numbers), max(numbers), log=is_log, step=step and abs(float(step)))
        # An interval with both ends. int(interval(1, 8)) has bounds of type int.
        if isinstance(sweep, IntervalSweep):
            assert sweep.start is not None
            assert sweep.end is not None
            if isinstance(sweep.start, int) and isinstance(sweep.end, int):
                return IntDistribution(sweep.start, sweep.end, log=is_log)
            return FloatDistribution(float(sweep.start), float(sweep.end), log=is_log)
        # A choice, or a pattern of names.
        choices = list(dict.fromkeys(override.sweep_string_iterator()))
        if isinstance(sweep, ChoiceSweep) and "log" in sweep.tags:
            raise ValueError("a choice has no logarithmic scale")
        return CategoricalDistribution(choices)
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{override.input_line}: cannot be searched for ({reason})") from error
