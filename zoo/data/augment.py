"""Random distortions: each example gets its own, the whole batch is computed at once, on its device.

Imports torch only. Works on raw pixels, so that what comes in from outside the frame is background (0).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Augment:
    """Which distortions, and how far. All zero: none.

    Attributes:
        shift: whole pixels, up to this many in each direction.
        rotation: degrees, up to this far either way.
        scale: relative size, within 1 ± this.
        shear: horizontal shear, up to this many pixels a row either way.
        flip: mirror left and right, for half of the examples.
        erase: probability of blanking a rectangle of up to half the height and width (Zhong et al. 2020).
    """

    shift: int = 0
    rotation: float = 0.0
    scale: float = 0.0
    shear: float = 0.0
    flip: bool = False
    erase: float = 0.0

    def __bool__(self) -> bool:
        return self != Augment()

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """N x C x H x W raw pixels -> the same shape, each image distorted on its own, as float32.

        Args:
            x: the batch.
            generator: of the batch's device; the only source of chance.
        """
        x = x.float()
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
