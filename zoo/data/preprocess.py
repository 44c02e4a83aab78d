"""Preprocessing from raw values to the input of a net: the same in training, evaluation, prediction and export.

Every checkpoint stores its `Preprocess`. Imports torch, and Pillow when it is called with an image.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from zoo.protocols import shape_text

# Number of examples in a chunk when mean and std are computed.
CHUNK = 8192


@dataclass(frozen=True)
class Preprocess:
    """Compute (x / scale - mean) / std.

    Attributes:
        shape: shape of one input: (channels, height, width) or (features,).
        scale: 255 for uint8 pixels, so that they are in [0, 1]; 1 for floating-point values.
        mean: one value for each channel or feature, after scaling; or one for all.
        std: one value for each channel or feature, after scaling; or one for all.
        side: images are resized so that their shorter side has this many pixels, then their center is cropped to
            ``shape``; None: images are stretched to ``shape``.
        interpolation: filter that resizes images, one of `zoo.data.images.FILTERS`.
    """

    shape: tuple[int, ...]
    scale: float = 255.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    side: int | None = None
    interpolation: str = "bilinear"

    @classmethod
    def from_data(cls, x: Tensor, *, standardize: bool) -> "Preprocess":
        """The preprocessing for these raw training inputs.

        Args:
            x: N x shape, raw.
            standardize: True gives every channel (or feature) mean 0 and std 1; a constant channel is only scaled and
                centered. False only scales uint8 values to [0, 1] and leaves real values as they are.
        """
        shape = tuple(x.shape[1:])
        scale = 255.0 if x.dtype == torch.uint8 else 1.0
        if not standardize:
            return cls(shape, scale)

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
        std = torch.where(variance > 0, variance.sqrt(), scale)
        return cls(shape, scale, tuple((mean / scale).tolist()), tuple((std / scale).tolist()))

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Preprocess":
        """The inverse of `to_dict`. Old checkpoints have no ``side`` and ``interpolation``: they get the defaults."""
        known: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
        }
        return cls(**known)

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
        return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x

    def check(self, shape: Sequence[int], *, where: str) -> None:
        """Raise ValueError if ``shape`` of a raw input is not that of the net; ``where`` names the input."""
        if tuple(shape) != self.shape:
            raise ValueError(
                f"{where}: input of shape {shape_text(shape)}, "
                f"but the checkpoint expects shape {shape_text(self.shape)}"
            )


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
