"""Random distortions: each example gets its own, the whole batch is computed at once, on its device.

Imports torch only, and torchvision where its RandAugment, MixUp or CutMix are asked for. Works on raw pixels, so that
what comes in from outside the frame is background (0); only mixing comes after preprocessing.
"""

from dataclasses import dataclass
from math import inf

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.data.crop import boxes

LIMITS = {  # least and greatest value; a share of 0 of a picture is none
    "shift": (0, inf),
    "rotation": (0, inf),
    "scale": (0, 1),
    "shear": (0, inf),
    "erase": (0, 1),
    "crop": (1e-3, 1),
    "randaugment": (0, inf),
    "magnitude": (0, 30),  # torchvision's RandAugment has 31 steps
    "mixup": (0, inf),
    "cutmix": (0, inf),
}


@dataclass(frozen=True)
class Augment:
    """Which distortions, and how far. The defaults: none.

    Attributes:
        shift: whole pixels, up to this many in each direction.
        rotation: degrees, up to this far either way.
        scale: relative size, within 1 ± this.
        shear: horizontal shear, up to this many pixels a row either way.
        flip: mirror left and right, for half of the examples.
        erase: probability of blanking a rectangle of up to half the height and width (Zhong et al. 2020).
        crop: least share of the picture's area that a random crop keeps, see `zoo.data.crop`; 1: the whole picture.
        randaugment: operations of RandAugment for each picture of bytes.
        magnitude: of those operations, 0 to 30.
        mixup, cutmix: alpha of the Beta distribution of the share that an example keeps, see `mix`.

    Raises:
        ValueError: a value out of its range.
    """

    shift: int = 0
    rotation: float = 0.0
    scale: float = 0.0
    shear: float = 0.0
    flip: bool = False
    erase: float = 0.0
    crop: float = 1.0
    randaugment: int = 0
    magnitude: int = 9
    mixup: float = 0.0
    cutmix: float = 0.0

    def __post_init__(self) -> None:
        for key, (least, greatest) in LIMITS.items():
            value = getattr(self, key)
            if not least <= value <= greatest or value == inf:
                span = f"from {least:g} to {greatest:g}" if greatest < inf else f"{least:g} or more"
                raise ValueError(f"dataset.augment.{key}={value:g}: {span} is allowed")

    def __bool__(self) -> bool:
        return self != Augment(magnitude=self.magnitude)

    @property
    def mixes(self) -> bool:
        return bool(self.mixup or self.cutmix)

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """N x C x H x W raw pixels -> the same shape, each image distorted on its own, as float32.

        Args:
            x: the batch.
            generator: of the batch's device; the only source of chance.

        Raises:
            ValueError: RandAugment of what is no picture of bytes.
        """
        if self.randaugment and (x.dtype != torch.uint8 or x.shape[1] not in (1, 3)):
            raise ValueError("dataset.augment.randaugment is for pictures of bytes with 1 or 3 channels")
        x = x.float()
        if self.crop < 1:
            x = self._crop(x, generator)
        if self.randaugment:
            from zoo.data.torchvision_transforms import rand_augment

            pixels = x.round().to(torch.uint8)
            x = rand_augment(pixels, generator, operations=self.randaugment, magnitude=self.magnitude).float()
        if self.rotation or self.scale or self.shear:
            x = self._affine(x, generator)
        if self.shift:
            x = self._shift(x, generator)
        if self.flip:
            mirrored = _uniform(x, generator, 1) < 0.5  # N x 1
            x = torch.where(mirrored[:, :, None, None], x.flip(-1), x)
        if self.erase:
            x = self._erase(x, generator)
        return x

    def mix(self, x: Tensor, y: Tensor, num_classes: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """A preprocessed batch, N x C x H x W and N class numbers -> each example blended with another.

        y becomes N x ``num_classes`` probabilities. Without ``mixup`` and ``cutmix`` both stay as they are.
        """
        if not self.mixes:
            return x, y
        from zoo.data.torchvision_transforms import mix

        return mix(x, y, num_classes, generator, mixup=self.mixup, cutmix=self.cutmix)

    def _crop(self, x: Tensor, generator: torch.Generator) -> Tensor:
        height, width = x.shape[-2:]
        left, top, wide, tall = boxes(len(x), height, width, least=self.crop, generator=generator).unbind(1)  # each N
        zero = torch.zeros_like(left)
        across, right = wide / width, (2 * left + wide) / width - 1  # the grid counts both sides from -1 to 1
        down, below = tall / height, (2 * top + tall) / height - 1
        theta = torch.stack([across, zero, right, zero, down, below], dim=1).view(-1, 2, 3)
        grid = F.affine_grid(theta, list(x.shape), align_corners=False)  # N x H x W x 2
        return F.grid_sample(x, grid, padding_mode="border", align_corners=False)

    def _affine(self, x: Tensor, generator: torch.Generator) -> Tensor:
        height, width = x.shape[-2:]
        angle, size, slant = (2 * _uniform(x, generator, 3) - 1).unbind(1)  # each N, in [-1, 1)
        angle = torch.deg2rad(self.rotation * angle)
        cos, sin = angle.cos() / (1 + self.scale * size), angle.sin() / (1 + self.scale * size)
        slant = self.shear * slant
        aspect = height / width  # the grid counts both sides from -1 to 1
        zero = torch.zeros_like(cos)
        rows = [cos, (slant * cos - sin) * aspect, zero, sin / aspect, slant * sin + cos, zero]
        theta = torch.stack(rows, dim=1).view(-1, 2, 3)  # output coordinates -> input coordinates
        grid = F.affine_grid(theta, list(x.shape), align_corners=False)  # N x H x W x 2
        return F.grid_sample(x, grid, padding_mode="zeros", align_corners=False)

    def _shift(self, x: Tensor, generator: torch.Generator) -> Tensor:
        height, width = x.shape[-2:]
        offset = (_uniform(x, generator, 2) * (2 * self.shift + 1)).long()  # N x 2, in 0 … 2·shift
        padded = F.pad(x, [self.shift] * 4)
        rows = offset[:, :1] + torch.arange(height, device=x.device)  # N x H
        columns = offset[:, 1:] + torch.arange(width, device=x.device)  # N x W
        batch = torch.arange(len(x), device=x.device)[:, None, None]
        return padded.permute(0, 2, 3, 1)[batch, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)

    def _erase(self, x: Tensor, generator: torch.Generator) -> Tensor:
        height, width = x.shape[-2:]
        chance, top, left, tall, wide = _uniform(x, generator, 5)[:, :, None].unbind(1)  # each N x 1
        tall, wide = tall * height / 2, wide * width / 2
        top, left = top * (height - tall), left * (width - wide)
        rows, columns = (torch.arange(side, device=x.device) + 0.5 for side in (height, width))  # pixel centres
        inside_rows = (rows >= top) & (rows < top + tall)  # N x H
        inside_columns = (columns >= left) & (columns < left + wide) & (chance < self.erase)  # N x W
        return x.masked_fill((inside_rows[:, :, None] & inside_columns[:, None, :])[:, None], 0)


def _uniform(x: Tensor, generator: torch.Generator, columns: int) -> Tensor:
    return torch.rand(len(x), columns, device=x.device, generator=generator)
