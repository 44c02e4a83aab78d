"""Random crops: a box with a random share of the image's area and a random aspect ratio, anywhere in the image.

C. Szegedy et al., "Going deeper with convolutions", CVPR 2015, section 6. Like torchvision's RandomResizedCrop, except
that sides and corners are not rounded to whole pixels. Imports torch only.
"""

from math import log

import torch
from torch import Tensor

MAX_ASPECT = 4 / 3  # of width to height, and of height to width
ATTEMPTS = 10  # boxes that are drawn until one fits into the image


def crop_boxes(count: int, height: int, width: int, *, min_area: float, generator: torch.Generator) -> Tensor:
    """Random boxes inside a frame.

    The share of the area is uniform in [min_area, 1], the logarithm of the aspect ratio is uniform too. A box that
    does not fit is drawn again; after `ATTEMPTS` it is the largest one in the center.

    Args:
        count: number of boxes.
        height, width: of the frame, in pixels.
        min_area: minimum share of the frame's area.
        generator: the only source of randomness; the boxes are on its device.

    Returns:
        N x 4: left, top, width, height in pixels.
    """
    # Draw all attempts at once: the share, the aspect ratio, and the corner of the box that will be used.
    draws = torch.rand(count, 2 * ATTEMPTS + 2, device=generator.device, generator=generator)
    share, aspect, corner = torch.split(draws, [ATTEMPTS, ATTEMPTS, 2], dim=1)
    area = height * width * (min_area + (1 - min_area) * share)
    aspect = torch.exp(log(MAX_ASPECT) * (2 * aspect - 1))  # width / height
    sides = torch.stack([(area * aspect).sqrt(), (area / aspect).sqrt()], dim=2)  # N x ATTEMPTS x (width, height)

    # Take the first attempt that fits, else the largest box of an allowed aspect ratio.
    frame = sides.new_tensor([width, height])
    fits = (sides <= frame).all(dim=2)  # N x ATTEMPTS
    any_fits = fits.any(dim=1, keepdim=True)  # N x 1
    first = fits.int().argmax(dim=1)[:, None, None].expand(-1, 1, 2)
    largest = sides.new_tensor([min(width, height * MAX_ASPECT), min(height, width * MAX_ASPECT)])
    size = torch.where(any_fits, sides.gather(1, first)[:, 0], largest)  # N x 2

    # Place it: anywhere inside, or in the center.
    position = torch.where(any_fits, corner, 0.5)
    return torch.cat([position * (frame - size), size], dim=1)
