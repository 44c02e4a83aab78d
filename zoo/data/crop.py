"""Random crops: boxes with a random fraction of the image's area, a random aspect ratio and a random position.

C. Szegedy et al., "Going deeper with convolutions", CVPR 2015, section 6. Like torchvision's RandomResizedCrop, except
that sides and corners are not rounded to whole pixels. Imports torch only.
"""

from math import log

import torch
from torch import Tensor

MAX_ASPECT = 4 / 3  # maximum of width / height and of height / width
ATTEMPTS = 10  # number of random boxes, of which the first that fits into the image is used


def crop_boxes(count: int, height: int, width: int, *, min_area: float, generator: torch.Generator) -> Tensor:
    """Random boxes inside a frame.

    The fraction of the area is uniform in [min_area, 1]. The aspect ratio is in [3/4, 4/3], with a uniform logarithm. A
    box that does not fit is drawn again. If none of `ATTEMPTS` boxes fits, the largest box with an aspect ratio in this
    range is used, in the center.

    Args:
        count: number of boxes.
        height, width: size of the frame in pixels.
        min_area: minimum fraction of the frame's area.
        generator: the only source of randomness; the boxes are on its device.

    Returns:
        N x 4: left, top, width, height in pixels.
    """
    # Draw all attempts together: fractions, aspect ratios, and the corner of the box that will be used.
    draws = torch.rand(count, 2 * ATTEMPTS + 2, device=generator.device, generator=generator)
    fraction, aspect, corner = torch.split(draws, [ATTEMPTS, ATTEMPTS, 2], dim=1)
    area = height * width * (min_area + (1 - min_area) * fraction)
    aspect = torch.exp(log(MAX_ASPECT) * (2 * aspect - 1))  # width / height
    sides = torch.stack([(area * aspect).sqrt(), (area / aspect).sqrt()], dim=2)  # N x ATTEMPTS x (width, height)

    # Take the first attempt that fits, otherwise the largest box of an allowed aspect ratio.
    frame = sides.new_tensor([width, height])
    fits = (sides <= frame).all(dim=2)  # N x ATTEMPTS
    any_fits = fits.any(dim=1, keepdim=True)  # N x 1
    first = fits.int().argmax(dim=1)[:, None, None].expand(-1, 1, 2)
    largest = sides.new_tensor([min(width, height * MAX_ASPECT), min(height, width * MAX_ASPECT)])
    size = torch.where(any_fits, sides.gather(1, first)[:, 0], largest)  # N x 2

    # Place it at the random corner, or in the center.
    position = torch.where(any_fits, corner, 0.5)
    return torch.cat([position * (frame - size), size], dim=1)
