"""The scale of raw values: guess it from the training data, and check whether other data are on the same scale.

A net that was trained on bytes (0 to 255) gives wrong predictions for the same images as floating-point numbers in
[0, 1], without any error. So inputs that are clearly on another scale are refused; the message names the key that
states the scale. Imports torch only.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

# Data whose maximum is below this fraction of white are on another scale, or nearly black.
DARK = 1 / 8
# Images may exceed the range from black to white by this fraction, as resizing by bicubic interpolation does.
OVERSHOOT = 0.1
# Features in [0, 1] are often scaled by the range of other data: they may exceed it by more.
BELOW_UNIT = 0.3
ABOVE_UNIT = 2.0
# Values without black and white may be this many times as large as those of the training data.
GROSS = 50.0
# Normalized images that use less than this fraction of the range in training are on another scale.
NARROW = 0.5
# Features are on another scale than the training data if
# - MANY of the values are FAR from the mean, or negative although no training value was;
# - their mean square is below SMALL_SQUARES times that of the training data; or
# - fewer than FEW of the values are below the mean (by more than BELOW).
FAR = 10.0  # standard deviations
BELOW = 0.05  # standard deviations
MANY = 0.05  # fraction of the values
FEW = 0.01  # fraction of the values
SMALL_SQUARES = 1 / 64
ENOUGH = 8  # minimum number of values to compare, and of values that are far or negative
ENOUGH_BELOW = 64  # minimum number of values for the check of those below the mean
# Images whose maximum in training was below this fraction of white were not on the scale of bytes.
SMALL_FRACTION = 1 / 4


@dataclass(frozen=True)
class ValueRange:
    """The minimum and maximum of raw values."""

    low: float
    high: float

    @classmethod
    def of(cls, x: Tensor) -> "ValueRange":
        """The range of all values of a tensor with at least one value."""
        low, high = torch.aminmax(x)
        return cls(float(low), float(high))

    def __or__(self, other: "ValueRange") -> "ValueRange":
        """The range of both."""
        return ValueRange(min(self.low, other.low), max(self.high, other.high))

    def __str__(self) -> str:
        return f"{self.low:.4g} to {self.high:.4g}"


def guess_scale(x: Tensor) -> tuple[float, str]:
    """The scale of training data, for `zoo.data.preprocess.Preprocess`.

    Args:
        x: raw values, N x shape.

    Returns:
        255 for bytes, 1 for floating-point values and for bytes that are all 0 or 1; and a note for the user about
        what was guessed, or "".
    """
    if x.dtype != torch.uint8:
        return 1.0, ""
    # Zeros alone give no hint.
    high = float(x.max()) if x.numel() else 0.0
    if high == 1:
        return 1.0, "the bytes are all 0 or 1, so they are not divided by 255 (dataset.scale=255 divides them)"
    if 0 < high < 255 * DARK:
        return 255.0, (
            f"the bytes reach only {high:g} of 255, and they are divided by 255; "
            f"dataset.scale={high:g} makes {high:g} the white level"
        )
    return 255.0, ""


def white_level(shape: tuple[int, ...], scale: float, mean: tuple[float, ...], seen: ValueRange | None) -> float | None:
    """The raw value of white in the training data, or None if they have none.

    Args:
        shape: shape of one input.
        scale: the number that raw values are divided by.
        mean: mean of the scaled training data.
        seen: the range of the raw training data; None if it is not known.
    """
    # A scale other than 1 is the white level, unless the training data were far below it.
    if scale != 1:
        is_small = seen is not None and 0 < seen.high < scale * SMALL_FRACTION
        return seen.high if seen is not None and is_small else scale
    is_image = len(shape) == 3
    # Older checkpoints do not store the range: infer from the mean whether it was [0, 1].
    if seen is None:
        return 1.0 if is_image and 0 <= min(mean) <= max(mean) <= 1 else None
    # Data with negative values were standardized beforehand, so they have no white level.
    if seen.low < 0 or seen.high <= 0:
        return None
    if seen.high <= 1:
        return 1.0
    if not is_image:
        return None
    return 255.0 if 255 * SMALL_FRACTION <= seen.high <= 255 else seen.high


def mismatch(
    found: ValueRange, *, is_image: bool, white: float | None, seen: ValueRange | None, stated: bool = False
) -> str:
    """Why values cannot be on the scale of the training data, for a message; "" if they can.

    Args:
        found: the range of the values.
        is_image: whether an input is an image and not a row of features.
        white: the white level of the training data, or None.
        seen: the range of the training data, or None if it is not known.
        stated: whether the user has stated the scale; then only values beyond white are a contradiction.
    """
    trained = f"the training data go from {seen}" if seen is not None else f"the training data go from 0 to {white:g}"
    # Images, and features between black and white.
    if white is not None:
        below, above = (OVERSHOOT, 1 + OVERSHOOT) if is_image or white != 1 else (BELOW_UNIT, ABOVE_UNIT)
        # Compare the minimum with the maximum of these values if that is below white: normalized images have a small
        # range.
        reach = min(white, max(found.high, 0.0)) if is_image or white != 1 else white
        beyond = found.low < -below * reach or found.high > above * white
        dark = (is_image or white != 1) and 0 < found.high < white * DARK
        return f"values from {found}, but {trained}" if beyond or (dark and not stated) else ""

    # Values on any scale. The range of features varies, so only a large difference is a sign of another scale.
    if seen is None or stated:
        return ""
    largest = max(abs(seen.low), abs(seen.high))
    reach = max(abs(found.low), abs(found.high))
    differs = largest > 0 and reach > GROSS * largest
    # Small values on both sides of 0, where those of training were all positive, were normalized.
    differs = differs or (found.low < 0 <= seen.low and reach < DARK * largest)
    # Normalized images have black and white at fixed values, so their ranges are about the same.
    if is_image:
        span = seen.high - seen.low
        beyond = found.low < seen.low - OVERSHOOT * span or found.high > seen.high + OVERSHOOT * span
        is_flat = found.low == found.high
        narrow = not is_flat and found.high - found.low < NARROW * span
        differs = differs or beyond or narrow or seen.low < 0 <= found.low
    return f"values from {found}, but {trained}" if differs else ""


def features_differ(x: Tensor, mean: Tensor, std: Tensor, seen: ValueRange) -> bool:
    """Whether rows of features cannot be on the scale of the training data, by the statistics of each feature.

    The range of all values together is not enough, since the features of a table have different ranges.

    Args:
        x: N x features, raw.
        mean: the mean of each feature in training.
        std: its standard deviation.
        seen: the range of all features in training.
    """
    if x.numel() < ENOUGH:
        return False
    z = (x.float() - mean) / std
    # Many values that are far from the mean, or negative although no training value was.
    for strange in (z.abs() > FAR, (x < 0) & (seen.low >= 0)):
        if int(strange.sum()) >= ENOUGH and float(strange.float().mean()) > MANY:
            return True
    # Values that are all small, or nearly all above the mean, as values in [0, 1] instead of standardized ones.
    expected = ((mean / std).square() + 1).mean()
    is_small = bool((x / std).square().mean() < SMALL_SQUARES * expected)
    return is_small or (x.numel() >= ENOUGH_BELOW and float((z < -BELOW).float().mean()) < FEW)


def border(x: Tensor) -> Tensor:
    """The mean of the outermost pixels of each image, N, of raw images N x C x H x W."""
    # Both rows with their corners, then both columns.
    rows = torch.cat([x[:, :, 0], x[:, :, -1]], dim=2).flatten(1)
    columns = torch.cat([x[:, :, :, 0], x[:, :, :, -1]], dim=2).flatten(1)
    return torch.cat([rows, columns], dim=1).float().mean(dim=1)
