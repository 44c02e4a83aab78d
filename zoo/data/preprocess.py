"""From raw values to what a net takes: the same steps in training, evaluation and prediction.

They are kept in every checkpoint. Imports torch, and Pillow when it is handed a picture.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from zoo.data.splits import shape_text


@dataclass(frozen=True)
class Preprocess:
    """(x / scale - mean) / std.

    Attributes:
        shape: of one input: (channels, height, width) or (features,).
        scale: 255 for bytes, so that pixels lie in [0, 1]; 1 for real values.
        mean, std: one for each channel or feature, after scaling.
        side: the shorter side of a picture is brought to this, then the centre of ``shape`` is cut out; None: the
            picture is stretched to ``shape``.
        interpolation: how a picture is resized, one of `zoo.data.images.FILTERS`.
    """

    shape: tuple[int, ...]
    scale: float = 255.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    side: int | None = None
    interpolation: str = "bilinear"

    @classmethod
    def fit(cls, x: Tensor, *, standardize: bool) -> "Preprocess":
        """From the raw training inputs, N x shape.

        With ``standardize`` every channel (or feature) gets mean 0 and standard deviation 1; a constant one is only
        centred. Without, bytes go to [0, 1] and real values stay as they are.
        """
        shape, scale = tuple(x.shape[1:]), 255.0 if x.dtype == torch.uint8 else 1.0
        if not standardize:
            return cls(shape, scale)
        rest = [0, *range(2, x.dim())]  # all dimensions but the channel
        chunks = x.split(8192)  # in parts: a float64 copy of everything may not fit
        count = x.numel() / x.shape[1]
        mean = sum(part.double().sum(rest) for part in chunks) / count
        variance = sum((part.double() - _spread(mean, x.dim())).square().sum(rest) for part in chunks) / count
        std = torch.where(variance > 0, variance.sqrt(), scale)
        return cls(shape, scale, tuple((mean / scale).tolist()), tuple((std / scale).tolist()))

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Preprocess":
        """Of `to_dict`; checkpoints from before there were ``side`` and ``interpolation`` have neither."""
        known: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
        }
        return cls(**known)

    def to_dict(self) -> dict[str, Any]:
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    def __call__(self, x: "Tensor | Any") -> Tensor:
        """A batch (N x shape), a single input (shape) or a Pillow image, raw -> the same in float32, ready for the net.

        A picture of another size or mode is converted. Batches of images come out in channels-last memory order,
        in which convolutions run fastest.
        """
        if not isinstance(x, Tensor):
            from zoo.data.images import to_tensor

            x = to_tensor(x, self.shape, resize=True, side=self.side, interpolation=self.interpolation)
        offset, factor = _constants(self, x.device)
        x = (x - offset).mul_(factor)  # bytes become float32 in the same pass
        return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x

    def check(self, shape: Sequence[int], *, where: str) -> None:
        """Raise ValueError where one raw input has another shape than the net takes; ``where`` names it."""
        if tuple(shape) != self.shape:
            raise ValueError(f"{where} is {shape_text(shape)}, the checkpoint takes {shape_text(self.shape)}")


@cache
def _constants(preprocess: Preprocess, device: torch.device) -> tuple[Tensor, Tensor]:
    """What to subtract from raw values, and by what to multiply then: C x 1 x 1, or one for each feature."""
    mean, std = (
        torch.tensor(v).view(-1, *[1] * (len(preprocess.shape) - 1)) for v in (preprocess.mean, preprocess.std)
    )
    return (mean * preprocess.scale).to(device), (1 / (std * preprocess.scale)).to(device)


def _spread(values: Tensor, dims: int) -> Tensor:
    return values.view(1, -1, *[1] * (dims - 2))
