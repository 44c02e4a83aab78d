"""Check the values of a preprocessing that a checkpoint or a run folder stores: types, ranges and limits.

A damaged or hostile file must not cause large allocations of memory. Imports `zoo.data.whitening`, and
`zoo.data.images` when it is needed.
"""

from collections.abc import Collection, Mapping
from math import prod
from typing import Any

from zoo.data.whitening import METHODS

# Limits of the shape of an input, and of the size that images are resized to.
MAX_DIMENSION = 2**20
MAX_VALUES = 2**26  # in one input
MAX_SIDE = 16  # times the longer side of the shape
# Numbers are finite in float32.
MAX_NUMBER = 3.4e38


def checked(values: Any, *, keys: Collection[str]) -> dict[str, Any]:
    """Check the types and ranges of stored values.

    Args:
        values: the stored value, of any type.
        keys: the names of all attributes of `zoo.data.preprocess.Preprocess`.

    Returns:
        The arguments of `Preprocess`.

    Raises:
        ValueError: a key is missing, unknown, of the wrong type or out of its range; the message names it.
    """
    # Refuse unknown keys, and check the shape.
    if not isinstance(values, Mapping):
        raise ValueError("preprocess must be a mapping")
    unknown = [key for key in values if key not in keys]
    if unknown:
        raise ValueError(f"preprocess: unknown key {unknown[0]!r}")
    shape = values.get("shape")
    sizes: list[Any] = list(shape) if isinstance(shape, list | tuple) else []
    if not 1 <= len(sizes) <= 4 or not all(type(size) is int and 1 <= size <= MAX_DIMENSION for size in sizes):
        raise ValueError(f"preprocess.shape must be 1 to 4 integers in [1, {MAX_DIMENSION}]")
    if prod(sizes) > MAX_VALUES:
        raise ValueError(f"preprocess.shape={sizes}: an input has more than {MAX_VALUES:,} values")
    known: dict[str, Any] = {"shape": tuple(sizes)}

    # Numbers: one for all channels, or one for each.
    for key in ("mean", "std"):
        if key in values:
            numbers = values[key]
            if not isinstance(numbers, list | tuple) or len(numbers) not in (1, sizes[0]):
                raise ValueError(f"preprocess.{key} must be a list of 1 or {sizes[0]} numbers")
            known[key] = tuple(_number(number, f"preprocess.{key}") for number in numbers)
    if "scale" in values:
        known["scale"] = _number(values["scale"], "preprocess.scale")
    for key in ("low", "high", "border"):
        if values.get(key) is not None:
            known[key] = _number(values[key], f"preprocess.{key}")
    if known.get("scale", 1) <= 0 or min(known.get("std", (1,))) <= 0:
        raise ValueError("preprocess.scale and preprocess.std must be > 0")

    # The size of resized images is limited by that of the net's input.
    side = values.get("side")
    if side is not None:
        most = MAX_SIDE * max(sizes[1:], default=1)
        if type(side) is not int or not 1 <= side <= most:
            raise ValueError(f"preprocess.side must be an integer in [1, {most}]")
        known["side"] = side
    if "interpolation" in values:
        if not isinstance(values["interpolation"], str):
            raise ValueError("preprocess.interpolation must be a string")
        # The filters are those of Pillow, which is imported only if the filter is not the default.
        if values["interpolation"] != "bilinear":
            from zoo.data.images import FILTERS

            if values["interpolation"] not in FILTERS:
                raise ValueError(f"preprocess.interpolation must be one of {', '.join(FILTERS)}")
        known["interpolation"] = values["interpolation"]

    # Whitening is for images.
    if "whitening" in values:
        if values["whitening"] not in METHODS:
            raise ValueError(f"preprocess.whitening must be one of {', '.join(METHODS)}")
        if values["whitening"] != "none" and len(sizes) != 3:
            raise ValueError(f"preprocess.whitening is for images, not for shape {sizes}")
        known["whitening"] = values["whitening"]
    return known


def _number(value: Any, key: str) -> float:
    """A finite number, or ValueError that names its key."""
    # An integer may be too large for any float.
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < MAX_NUMBER:
        raise ValueError(f"{key} must be a finite number")
    return float(value)
