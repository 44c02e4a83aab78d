"""Augmentation of training images: random for each example, computed for a whole batch on the batch's device.

It works on raw pixels, so that areas from outside the frame are filled with background (0). Only mixup and CutMix are
applied after preprocessing. Imports torch, and torchvision if RandAugment, mixup or CutMix is switched on.
"""

from dataclasses import dataclass
from math import inf

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.data.crop import crop_boxes

# The minimum and the maximum of each option. Options with maximum inf must be finite.
LIMITS = {
    # Geometry: pixels, degrees, a fraction of the size, pixels per row, pixels.
    "shift": (0, inf),
    "rotation": (0, inf),
    "scale": (0, 1),
    "shear": (0, inf),
    "elastic": (0, inf),
    # A probability.
    "erase": (0, 1),
    # A fraction of the area; > 0, since a crop needs some pixels.
    "crop": (1e-3, 1),
    # RandAugment: number of operations, and their magnitude, of which torchvision has 31 steps.
    "randaugment": (0, inf),
    "magnitude": (0, 30),
    # Parameters alpha of Beta distributions; 0 switches them off.
    "mixup": (0, inf),
    "cutmix": (0, inf),
}
ELASTIC_SMOOTHNESS = 1 / 7  # std of the Gaussian filter of elastic distortions, in sides of the image: 4 of 28 pixels


@dataclass(frozen=True)
class Augment:
    """The options of augmentation. By default all are switched off.

    Attributes:
        shift: maximum shift in whole pixels, horizontally and vertically; must be smaller than the image.
        rotation: maximum rotation in degrees, in both directions.
        scale: maximum relative change of size: images are scaled by a factor in [1 - scale, 1 + scale].
        shear: maximum horizontal shear in pixels per row, in both directions.
        elastic: standard deviation in pixels of smooth random displacements of the pixels (Simard, Steinkraus & Platt
            2003, section 2). Their MNIST settings, uniform noise times 34 with a Gaussian filter of 4 pixels,
            correspond to 1.4.
        flip: mirror left and right, with probability 1/2.
        erase: probability of blanking a rectangle of up to half the height and width (Zhong et al. 2020).
        crop: minimum fraction of the image's area that a random crop keeps, see `zoo.data.crop`; 1: the whole image.
        randaugment: number of operations of RandAugment for each image; uint8 images only.
        magnitude: magnitude of the RandAugment operations, 0 to 30.
        mixup: alpha of the Beta distribution from which mixup draws its weights, see `mix`; 0: no mixup.
        cutmix: alpha of the Beta distribution from which CutMix draws its areas, see `mix`; 0: no CutMix.

    Raises:
        ValueError: a value is out of its range.
    """

    shift: int = 0
    rotation: float = 0.0
    scale: float = 0.0
    shear: float = 0.0
    elastic: float = 0.0
    flip: bool = False
    erase: float = 0.0
    crop: float = 1.0
    randaugment: int = 0
    magnitude: int = 9
    mixup: float = 0.0
    cutmix: float = 0.0

    def __post_init__(self) -> None:
        for key, (minimum, maximum) in LIMITS.items():
            value = getattr(self, key)
            if minimum <= value <= maximum and value != inf:
                continue
            allowed = f"in [{minimum:g}, {maximum:g}]" if maximum < inf else f"finite and >= {minimum:g}"
            raise ValueError(f"dataset.augment.{key}={value:g}: must be {allowed}")

    @property
    def active(self) -> bool:
        """Whether any option is switched on. ``magnitude`` alone does nothing."""
        return self != Augment(magnitude=self.magnitude)

    @property
    def only_flips(self) -> bool:
        """Whether mirroring is the only option that is switched on: each image then has two views."""
        return self == Augment(flip=True, magnitude=self.magnitude)

    @property
    def mixes(self) -> bool:
        """Whether mixup or CutMix is switched on, which need classes."""
        return bool(self.mixup or self.cutmix)

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Augment each image of a batch separately, with all options except mixup and CutMix.

        Args:
            x: N x C x H x W raw pixels.
            generator: the only source of randomness, on the device of the batch.

        Returns:
            The same shape, raw pixels as float32.

        Raises:
            ValueError: RandAugment of images that are not uint8 with 1 or 3 channels.
        """
        if self.randaugment and (x.dtype != torch.uint8 or x.shape[1] not in (1, 3)):
            raise ValueError("dataset.augment.randaugment needs uint8 images with 1 or 3 channels")
        x = x.float()
        if self.crop < 1:
            x = self._crop(x, generator)
        if self.randaugment:
            from zoo.data.torchvision_transforms import rand_augment

            pixels = x.round().to(torch.uint8)
            x = rand_augment(pixels, generator, operations=self.randaugment, magnitude=self.magnitude).float()
        if self.rotation or self.scale or self.shear or self.elastic:
            x = self._warp(x, generator)
        if self.shift:
            x = self._shift(x, generator)
        if self.flip:
            mirrored = _uniform(x, generator, 1) < 0.5  # N x 1
            x = torch.where(mirrored[:, :, None, None], x.flip(-1), x)
        if self.erase:
            x = self._erase(x, generator)
        return x

    def mix(self, x: Tensor, y: Tensor, num_classes: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Blend each example with its neighbor in the batch, by mixup or CutMix.

        Args:
            x: N x C x H x W, preprocessed.
            y: N class numbers.
            num_classes: number of classes.
            generator: the only source of randomness, on the device of the batch.

        Returns:
            x, and y as N x num_classes probabilities. Without ``mixup`` and ``cutmix`` both stay as they are.
        """
        if not self.mixes:
            return x, y
        from zoo.data.torchvision_transforms import mix

        return mix(x, y, num_classes, generator, mixup=self.mixup, cutmix=self.cutmix)

    def _crop(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Stretch a random box of each image to the whole frame."""
        height, width = x.shape[-2:]
        boxes = crop_boxes(len(x), height, width, min_area=self.crop, generator=generator)  # N x 4
        left, top, box_width, box_height = boxes.unbind(1)  # each N

        # `affine_grid` has coordinates from -1 to 1 on both axes: convert the size and the center of the box.
        zero = torch.zeros_like(left)
        scale_x = box_width / width
        scale_y = box_height / height
        center_x = (2 * left + box_width) / width - 1
        center_y = (2 * top + box_height) / height - 1
        theta = torch.stack([scale_x, zero, center_x, zero, scale_y, center_y], dim=1).view(-1, 2, 3)
        grid = F.affine_grid(theta, list(x.shape), align_corners=False)  # N x H x W x 2
        return F.grid_sample(x, grid, padding_mode="border", align_corners=False)

    def _warp(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Rotate, scale and shear each image around its center, then distort it elastically; interpolates once."""
        grid = F.affine_grid(self._affine(x, generator), list(x.shape), align_corners=False)  # N x H x W x 2
        if self.elastic:
            grid = grid + self._displacements(x, generator)
        return F.grid_sample(x, grid, padding_mode="zeros", align_corners=False)

    def _affine(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Random matrices of rotation, scaling and shear: N x 2 x 3."""
        height, width = x.shape[-2:]
        angle, size, slant = (2 * _uniform(x, generator, 3) - 1).unbind(1)  # each N, in [-1, 1)
        angle = torch.deg2rad(self.rotation * angle)
        cos = angle.cos() / (1 + self.scale * size)
        sin = angle.sin() / (1 + self.scale * size)
        slant = self.shear * slant

        # The matrix maps output to input coordinates. Both axes of the grid run from -1 to 1, so images that are not
        # square need their aspect ratio.
        aspect = height / width
        zero = torch.zeros_like(cos)
        rows = [cos, (slant * cos - sin) * aspect, zero, sin / aspect, slant * sin + cos, zero]
        return torch.stack(rows, dim=1).view(-1, 2, 3)  # N x 2 x 3

    def _displacements(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Smooth random displacements in the units of a grid, from -1 to 1 over the image: N x H x W x 2."""
        height, width = x.shape[-2:]
        noise = torch.randn(len(x), 2, height, width, device=x.device, generator=generator)
        smooth = _gaussian_filter(height, x) @ noise @ _gaussian_filter(width, x).T  # N x 2 x H x W, std 1
        pixels = x.new_tensor([2 / width, 2 / height])  # size of a pixel in x and y
        return self.elastic * smooth.permute(0, 2, 3, 1) * pixels

    def _shift(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Move each image by whole pixels: cut it out of a padded copy, at a random offset."""
        height, width = x.shape[-2:]
        offset = (_uniform(x, generator, 2) * (2 * self.shift + 1)).long()  # N x 2, in 0 … 2·shift
        padded = F.pad(x, [self.shift] * 4)
        rows = offset[:, :1] + torch.arange(height, device=x.device)  # N x H
        columns = offset[:, 1:] + torch.arange(width, device=x.device)  # N x W
        batch = torch.arange(len(x), device=x.device)[:, None, None]
        return padded.permute(0, 2, 3, 1)[batch, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)

    def _erase(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Set a random rectangle of some images to 0."""
        # Draw the decision, position and size of each rectangle, each N x 1. It lies inside the frame.
        height, width = x.shape[-2:]
        decision, top, left, box_height, box_width = _uniform(x, generator, 5)[:, :, None].unbind(1)
        box_height = box_height * height / 2
        box_width = box_width * width / 2
        top = top * (height - box_height)
        left = left * (width - box_width)

        # A pixel is erased if its center is inside.
        rows = torch.arange(height, device=x.device) + 0.5
        columns = torch.arange(width, device=x.device) + 0.5
        inside_rows = (rows >= top) & (rows < top + box_height)  # N x H
        inside_columns = (columns >= left) & (columns < left + box_width) & (decision < self.erase)  # N x W
        return x.masked_fill((inside_rows[:, :, None] & inside_columns[:, None, :])[:, None], 0)


def _uniform(x: Tensor, generator: torch.Generator, columns: int) -> Tensor:
    """``columns`` random numbers in [0, 1) for each example of a batch: N x columns."""
    return torch.rand(len(x), columns, device=x.device, generator=generator)


def _gaussian_filter(size: int, like: Tensor) -> Tensor:
    """A Gaussian filter along a side as a matrix, size x size. White noise keeps its standard deviation everywhere."""
    place = torch.arange(size, device=like.device, dtype=like.dtype)
    distance = (place[:, None] - place) / (ELASTIC_SMOOTHNESS * size)
    return F.normalize(torch.exp(-distance.square() / 2), dim=1)
