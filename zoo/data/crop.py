"""Where a random crop lies: a random share of the picture's area at a random aspect, anywhere in it.

C. Szegedy et al., "Going deeper with convolutions", CVPR 2015, section 6; as torchvision's RandomResizedCrop, but that
sides and corners are not rounded to whole pixels. Imports torch only.
"""

from math import log

import torch
from torch import Tensor

LONGEST = 4 / 3  # times as wide as high, and as high as wide
TRIES = 10


def boxes(count: int, height: int, width: int, *, least: float, generator: torch.Generator) -> Tensor:
    """Boxes within a frame, N x 4: left, top, width, height in pixels.

    Args:
        count: how many.
        height, width: of the frame, in pixels.
        least: the smallest share of its area; the share is uniform from there to 1, the logarithm of the aspect
            uniform too. A box that sticks out is drawn again; after `TRIES` it is the greatest central one.
        generator: the only source of chance; the boxes are on its device.
    """
    draws = torch.rand(count, 2 * TRIES + 2, device=generator.device, generator=generator)
    share, aspect, corner = draws.split([TRIES, TRIES, 2], dim=1)
    area = height * width * (least + (1 - least) * share)
    aspect = torch.exp(log(LONGEST) * (2 * aspect - 1))
    sides = torch.stack([(area * aspect).sqrt(), (area / aspect).sqrt()], dim=2)  # N x TRIES x (width, height)
    frame = sides.new_tensor([width, height])
    fits = (sides <= frame).all(dim=2)  # N x TRIES
    any_fits = fits.any(dim=1, keepdim=True)
    first = fits.int().argmax(dim=1)[:, None, None].expand(-1, 1, 2)
    greatest = sides.new_tensor([min(width, height * LONGEST), min(height, width * LONGEST)])
    size = torch.where(any_fits, sides.gather(1, first)[:, 0], greatest)  # N x 2
    return torch.cat([torch.where(any_fits, corner, 0.5) * (frame - size), size], dim=1)
