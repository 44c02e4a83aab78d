"""The ranges of numbers in a config, checked before anything is written.

A number outside its range would fail after minutes, run for years, or train with NaN. The ranges of networks,
augmentation and data sources are checked where these are built; here, their numbers must only be finite.

Imports the standard library only.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import inf
from typing import Any

COUNT = 10**9  # maximum of numbers of epochs, steps, examples and the like
FACTOR = 1e6  # maximum of factors and weights


@dataclass(frozen=True)
class Range:
    """An interval of numbers.

    Attributes:
        low, high: the bounds. Infinite and NaN values are always out of range.
        above: whether a value must be > low, not only >= low.
        below: whether it must be < high, not only <= high.
    """

    low: float
    high: float = inf
    above: bool = False
    below: bool = False

    def __contains__(self, value: float) -> bool:
        if not _is_finite(value):
            return False
        is_above = self.low < value if self.above else self.low <= value
        is_below = value < self.high if self.below else value <= self.high
        return is_above and is_below

    def reason(self, value: float) -> str:
        """The condition that ``value``, which is out of the range, does not meet, such as "must be >= 1"."""
        # For a short interval, give both bounds; for a long one, give only the bound that is exceeded.
        if self.high <= 1:
            opening = "(" if self.above else "["
            closing = ")" if self.below else "]"
            return f"must be in {opening}{_text(self.low)}, {_text(self.high)}{closing}"
        lower = f"{'>' if self.above else '>='} {_text(self.low)}"
        if not _is_finite(value):
            return "must be finite" if self.low < 0 else f"must be finite and {lower}"
        if value <= self.low:
            return f"must be {lower}"
        return f"must be <= {_text(self.high)}"


FRACTION = Range(0, 1)
MOMENTUM = Range(0, 1, below=True)
WEIGHT = Range(0, FACTOR)
SCALE = Range(0, FACTOR, above=True)
NATURAL = Range(1, COUNT)
WHOLE = Range(0, COUNT)

# For each kind of node, the ranges of its keys. Null is always allowed where the type allows it.
RANGES: dict[str, dict[str, Range]] = {
    "stage": {
        "epochs": WHOLE,
        "batch_size": NATURAL,
        "first_layer": WHOLE,
        "min_steps": NATURAL,
        "pseudo_labels": Range(0, 1, above=True),
        "gradient_clip": WEIGHT,
        "ema": MOMENTUM,
        "interpolation": Range(0, 1, above=True),
        "patience": WHOLE,
        "stop_below": Range(0, COUNT),
        "checkpoint_every": WHOLE,
        "checkpoint_every_steps": NATURAL,
        "checkpoint_every_minutes": Range(0, COUNT, above=True),
    },
    "optimizer": {
        "lr": Range(0, 1e30),  # the maximum only keeps it finite in float32; training stops if the loss becomes NaN
        "momentum": MOMENTUM,
        "dampening": FRACTION,
        "betas": MOMENTUM,
        "eps": FRACTION,
        "weight_decay": WEIGHT,
    },
    "lr_schedule": {
        "warmup": FRACTION,
        "factor": Range(0, 1, above=True, below=True),
        "patience": WHOLE,
    },
    "task": {
        "label_smoothing": FRACTION,
        "auxiliary_weight": WEIGHT,
        "unfreeze_at": WHOLE,
        "head_lr_factor": SCALE,
        "layer_decay": Range(0, 1, above=True),
        "level": WEIGHT,
        "sparsity_target": Range(0, 1, above=True, below=True),
        "sparsity_cost": WEIGHT,
        "sparsity_decay": MOMENTUM,
        "contractive": WEIGHT,
        "k": Range(1, 10**6),
        "chains": Range(1, 10**6),
        "restart": MOMENTUM,
        "gaussian_lr_factor": WEIGHT,
        "gaussian_weight_decay": WEIGHT,
        "hidden_bias_lr_factor": WEIGHT,
        "initial_momentum": MOMENTUM,
        "initial_momentum_epochs": WHOLE,
        "label_weight": WEIGHT,
    },
    "dataset": {
        "validation": WHOLE,
        "test": WHOLE,
        "labeled_examples": NATURAL,
        "folds": Range(2, 10**6),
        "fold": WHOLE,
        "shape": Range(1, 2**16),
        "size": Range(1, 2**16),
        "num_classes": Range(1, 10**6),
        "workers": Range(0, 256),
    },
    "trainer": {
        "accumulate_grad_batches": Range(1, 10**6),
        "check_val_every_n_epoch": NATURAL,
        "num_sanity_val_steps": Range(-1, COUNT),
    },
    "accelerator": {
        "devices": Range(1, 1024),
        "num_nodes": Range(1, 10**4),
    },
}
ANY = Range(-1e18, 1e18)  # fits into 64 bits


def check_numbers(values: Mapping[str, Any], *, kind: str, where: str) -> None:
    """Check every number of a node, those in lists and mappings included.

    Args:
        values: the keys of the node.
        kind: a key of `RANGES`; for any other kind, numbers must be finite and fit into 64 bits.
        where: the node's key in the config, for messages.

    Raises:
        ValueError: a number is out of its range; the message begins with ``where`` and the key.
    """
    ranges = RANGES.get(kind, {})
    for key, value in values.items():
        allowed = ranges.get(key, ANY)
        for number in scalars(value):
            if isinstance(number, str):
                # A string passes the check of types if the signature allows several types.
                if key in ranges:
                    raise ValueError(f"{where}.{key}={value} must be a number")
            elif number not in allowed:
                raise ValueError(f"{where}.{key}={value} {allowed.reason(number)}")


def scalars(value: Any) -> Iterator[float | str]:
    """The numbers and strings in a value, those in lists and mappings included; true and false are left out."""
    if isinstance(value, Mapping):
        for inner in value.values():
            yield from scalars(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from scalars(inner)
    elif isinstance(value, (int, float, str)) and not isinstance(value, bool):
        yield value


def _is_finite(value: float) -> bool:
    """Whether a number is neither infinite nor NaN; `math.isfinite` fails for integers beyond all floats."""
    return -inf < value < inf


def _text(bound: float) -> str:
    """A bound as people write it: 1,000,000 rather than 1e+06."""
    return f"{bound:,.10g}"
