"""Preprocessing from raw values to the input of a net: the same in training, evaluation, prediction and export.

Every checkpoint stores its `Preprocess`. Imports torch, and Pillow when it is called with an image.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from math import isfinite
from typing import Any

import torch
from torch import Tensor

from zoo.data import stored_preprocess, whitening
from zoo.data.value_range import DARK, ValueRange, border, features_differ, guess_scale, mismatch, white_level
from zoo.protocols import shape_text

# Number of examples in a chunk when mean and std are computed.
CHUNK = 8192
# A standard deviation below this is a rounding error: 1 / std would overflow in float32.
MIN_STD = 1e-30
# The value of a whitened image that is shown as white, as a multiple of its root mean square.
WHITENED_WHITE = 3.0


@dataclass(frozen=True)
class Preprocess:
    """Compute (x / scale - mean) / std, then whiten images if ``whitening`` says so.

    Attributes:
        shape: shape of one input: (channels, height, width) or (features,).
        scale: 255 for uint8 pixels, so that they are in [0, 1]; 1 for floating-point values.
        mean: one value for each channel or feature, after scaling; or one for all.
        std: one value for each channel or feature, after scaling; or one for all.
        side: images are resized so that their shorter side has this many pixels, then their center is cropped to
            ``shape``; None: images are stretched to ``shape``.
        interpolation: filter that resizes images, one of `zoo.data.images.FILTERS`.
        low: minimum of the raw training data; None if it is not known.
        high: their maximum.
        border: mean of the outermost pixels of the training images, from 0 (black) to 1 (white); None if it is not
            known.
        whitening: "1/f" for the filter of `zoo.data.whitening`, or "none".
    """

    shape: tuple[int, ...]
    scale: float = 255.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    side: int | None = None
    interpolation: str = "bilinear"
    low: float | None = None
    high: float | None = None
    border: float | None = None
    whitening: str = "none"

    @classmethod
    def from_data(
        cls, x: Tensor, *, standardize: bool = False, whiten: bool = False, scale: float | None = None
    ) -> "Preprocess":
        """The preprocessing for these raw training inputs.

        Args:
            x: N x shape, raw.
            standardize: give every channel (or feature) mean 0 and std 1. A constant channel is only centered.
                Without it bytes are scaled to [0, 1] and real values stay as they are.
            whiten: whiten photographs; this also gives each image mean 0 and mean square 1.
            scale: the number that raw values are divided by; None: `zoo.data.value_range.guess_scale`
                guesses it.

        Raises:
            ValueError: ``scale`` is not a finite number > 0, or inputs that are not images are to be whitened.
        """
        shape = tuple(x.shape[1:])
        if scale is None:
            scale, _ = guess_scale(x)
        if not (isfinite(scale) and scale > 0):
            raise ValueError(f"dataset.scale={scale:g} must be finite and > 0")
        if whiten and len(shape) != 3:
            raise ValueError(
                f"model.input_scaling=whitened is for images, not for inputs of shape {shape_text(shape)}; "
                "use standardized"
            )
        if whiten or not standardize:
            return cls(shape, scale, whitening="1/f" if whiten else "none").seen(x)

        # Mean and variance over everything but the channels, in float64. Chunk by chunk, since a float64 copy of a
        # large dataset may not fit in memory.
        all_but_channels = [0, *range(2, x.dim())]
        chunks = torch.split(x, CHUNK)
        count = x.numel() / x.shape[1]  # values in each channel
        mean = torch.zeros(x.shape[1], dtype=torch.float64, device=x.device)
        for chunk in chunks:
            mean += chunk.double().sum(all_but_channels)
        mean /= count  # C
        centers = mean.view(1, -1, *[1] * (x.dim() - 2))  # 1 x C x 1 x 1, or 1 x features
        variance = torch.zeros_like(mean)
        for chunk in chunks:
            variance += (chunk.double() - centers).square().sum(all_but_channels)
        variance /= count

        # A constant channel would be divided by 0: divide by ``scale`` only.
        std = torch.where(variance.sqrt() > MIN_STD, variance.sqrt(), scale)
        return cls(shape, scale, tuple((mean / scale).tolist()), tuple((std / scale).tolist())).seen(x)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Preprocess":
        """The inverse of `to_dict`. Keys that older checkpoints do not have get the defaults.

        Raises:
            ValueError: a key is missing, unknown, of the wrong type or out of its range.
        """
        return cls(**stored_preprocess.checked(values, keys=cls.__dataclass_fields__))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    def __call__(self, x: "Tensor | Any") -> Tensor:
        """Raw values -> the input of the net, in float32.

        Args:
            x: a raw batch (N x shape), one raw input (shape), or a Pillow image of any size and mode.

        Returns:
            The same shape as x; for a Pillow image, ``shape``. Batches of images are channels-last in memory, in which
            convolutions run fastest.
        """
        # An image of any size and mode becomes uint8 of ``shape``.
        if not isinstance(x, Tensor):
            from zoo.data.images import to_tensor

            x = to_tensor(x, self.shape, resize=True, side=self.side, interpolation=self.interpolation)
        # Compute (x / scale - mean) / std by one subtraction and one multiplication.
        offset, factor = _offset_and_factor(self, x.device)
        x = (x - offset).mul_(factor)  # bytes become float32 in the same pass
        if self.whitening != "none":
            batch = x if x.dim() == 4 else x[None]
            x = whitening.whiten(batch, whitening.kernel().to(x.device)).view_as(x)
        return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x

    def images(self, x: Tensor) -> Tensor:
        """Inputs of the net, reconstructions or samples as images to look at, N x C x H x W: black is 0 and white 1.

        Whitening removes the brightness and the contrast for good. So whitened images are shown as they are, each with
        the same contrast: 0 is gray, and three times the root mean square of the image is black or white. Inputs that
        are not images stay as they are.

        Args:
            x: N x shape, or flattened; on the scale of the net's input.
        """
        if len(self.shape) != 3:
            return x
        x = x.reshape(-1, *self.shape)
        if self.whitening != "none":
            rms = x.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
            return 0.5 + x / (2 * WHITENED_WHITE * (rms + whitening.FLOOR))
        mean, std = (torch.tensor(values, device=x.device).view(-1, 1, 1) for values in (self.mean, self.std))
        return x * std + mean

    def seen(self, x: Tensor) -> "Preprocess":
        """The same preprocessing, with the range and the border of the raw training inputs ``x``, N x shape."""
        if not x.numel():
            return self
        found = ValueRange.of(x)
        known = replace(self, shape=tuple(x.shape[1:]), low=found.low, high=found.high, border=None)
        white = known.white
        if white is None or x.dim() != 4:
            return known
        return replace(
            known, border=float(torch.cat([border(chunk) for chunk in torch.split(x, CHUNK)]).mean()) / white
        )

    @property
    def white(self) -> float | None:
        """The raw value of white in the training data, such as 255 or 1; None for values without black and white."""
        return white_level(self.shape, self.scale, self.mean, self._range)

    @property
    def dark_border(self) -> bool | None:
        """Whether the borders of the training images were dark; None if they were neither dark nor bright.

        Without a stored border, the mean of all pixels stands in for it.
        """
        level = self.border
        if level is None and self.mean != (0.0,):
            level = sum(self.mean) / len(self.mean)
        return None if level is None else is_dark(level)

    @property
    def inverts(self) -> bool:
        """Whether black and white are exchanged, see `for_inputs`."""
        return self.std[0] < 0

    def for_inputs(self, *, scale: float | None = None, invert: bool = False) -> "Preprocess":
        """The preprocessing of inputs with another white level, or with black and white exchanged.

        Args:
            scale: white level of the inputs, such as 255 or 1; None: that of the training data.
            invert: exchange black and white.

        Raises:
            ValueError: ``scale`` is not finite and > 0, or the training data have no white level.
        """
        if scale is not None and not (isfinite(scale) and scale > 0):
            raise ValueError(f"scale={scale:g} must be finite and > 0")
        white = self.white
        if white is None:
            # Without a white level, values cannot be converted, only used as they are.
            if invert:
                raise ValueError("invert=true needs a white level; the training data of this checkpoint have none")
            if scale in (None, self.scale):
                return self
            raise ValueError(
                f"scale={scale:g}: the training data of this checkpoint have no white level to convert to; "
                f"scale={self.scale:g} takes values as they are"
            )

        # A factor between the two white levels goes into the scale, and into what is known about the raw values.
        factor = 1.0 if scale is None else scale / white
        converted = replace(
            self,
            scale=self.scale * factor,
            low=None if self.low is None else self.low * factor,
            high=None if self.high is None else self.high * factor,
        )
        if not invert:
            return converted
        # ((white - x) / scale - mean) / std = (x / scale - (white / scale - mean)) / -std
        return replace(
            converted,
            mean=tuple(white / self.scale - value for value in self.mean),
            std=tuple(-value for value in self.std),
            border=None if self.border is None else 1 - self.border,
        )

    def check(self, shape: Sequence[int], *, where: str) -> None:
        """Raise ValueError if ``shape`` of a raw input is not that of the net; ``where`` names the input."""
        if tuple(shape) != self.shape:
            raise ValueError(
                f"{where}: input of shape {shape_text(shape)}, "
                f"but the checkpoint expects shape {shape_text(self.shape)}"
            )

    def check_values(self, x: Tensor, *, where: str, stated: bool = False) -> None:
        """Raise ValueError if raw values cannot be on the scale of the training data.

        Args:
            x: raw values of any shape: all inputs, or the minimum and maximum of all.
            where: names the inputs, for the message.
            stated: whether the user has stated the scale of the inputs, so that only a contradiction is an error.
        """
        if not x.numel():
            return
        found = ValueRange.of(x)
        is_image = len(self.shape) == 3
        reason = mismatch(found, is_image=is_image, white=self.white, seen=self._range, stated=stated)
        # Standardized features are also compared by the mean and std of each feature.
        seen = self._range
        if seen and x.dim() == 2 and self.white is None and self.mean != (0.0,) and not (reason or stated):
            differs = features_differ(x, torch.tensor(self.mean), torch.tensor(self.std), seen)
            reason = f"values from {found} are not like those in training, from {seen}" if differs else ""
        if not reason:
            return
        # Say how to state the scale, or, if the user has stated it, that the stated one is wrong.
        how = "set scale= to the value of white in the input" if stated else "state the value of white with scale="
        if self.white is None:
            advice = f"scale={self.scale:g} takes them as they are"
        elif found.low < 0:
            advice = f"undo their normalization, so that black is 0, and {how}"
        else:
            level = 1 if found.high <= 1 else 255 if 255 * DARK <= found.high <= 255 else found.high
            advice = f"{how}, such as scale={level:.6g}"
        if stated and self.white is not None:
            raise ValueError(f"{where}: values from {found}, but white is {self.white:g} on the stated scale; {advice}")
        raise ValueError(f"{where}: {reason}: another scale; {advice}")

    @property
    def _range(self) -> ValueRange | None:
        """The range of the raw training data, if it is known."""
        return None if self.low is None or self.high is None else ValueRange(self.low, self.high)


def is_dark(level: float) -> bool | None:
    """True for a mean brightness (0 to 1) below 0.3, False above 0.7, None between them."""
    if level < 0.3:
        return True
    return False if level > 0.7 else None


@cache
def _offset_and_factor(preprocess: Preprocess, device: torch.device) -> tuple[Tensor, Tensor]:
    """The offset to subtract from raw values and the factor to multiply by: each C x 1 x 1, or features."""
    # One value for each channel, broadcast over height and width.
    per_channel = [-1] + [1] * (len(preprocess.shape) - 1)
    mean = torch.tensor(preprocess.mean).view(per_channel)
    std = torch.tensor(preprocess.std).view(per_channel)
    offset = mean * preprocess.scale
    factor = 1 / (std * preprocess.scale)
    return offset.to(device), factor.to(device)
