"""Whitening of photographs: neighboring pixels become uncorrelated, so that a net has to learn more than smoothness.

The amplitudes in the spectrum of a photograph fall as 1 / f, where f is the spatial frequency. The filter

    R(f) = f exp(-(f / f0)^4)        f0 = 0.4 cycles per pixel

makes the spectrum flat and suppresses the highest frequencies, which are mostly noise (Olshausen & Field 1997, "Sparse
coding with an overcomplete basis set: a strategy employed by V1?"). Then each image is divided by the root mean square
of its values, so that an image of low contrast counts as much as any other.

The filter is a convolution with a small kernel, the same for all images, sizes and channels: nothing is fitted to the
data, and an exported net contains it as one layer. Imports torch only.
"""

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

METHODS = ("none", "1/f")
KERNEL_SIZE = 15  # pixels; the rest of the filter has 0.1 % of its energy
CUTOFF = 0.4  # f0, in cycles per pixel
GRID = 256  # frequencies in each direction at which the filter is computed
FLOOR = 1e-3  # added to the root mean square, so that an image without contrast stays at 0; white is 1


@cache
def kernel() -> Tensor:
    """The filter as a kernel, `KERNEL_SIZE` x `KERNEL_SIZE`: its sum is 0 and the sum of its squares 1."""
    # The filter at each frequency, and its inverse Fourier transform with position 0 in the middle.
    f = torch.fft.fftfreq(GRID, dtype=torch.float64)
    radius = (f[:, None].square() + f.square()).sqrt()  # GRID x GRID
    whole = torch.fft.fftshift(torch.fft.ifft2(radius * torch.exp(-((radius / CUTOFF) ** 4))).real)
    # Its middle. A constant image must stay at 0.
    first = (GRID - KERNEL_SIZE + 1) // 2
    middle = whole[first : first + KERNEL_SIZE, first : first + KERNEL_SIZE]
    middle = middle - middle.mean()
    normalized: Tensor = (middle / middle.norm()).float()
    return normalized


def whiten(x: Tensor, filter_kernel: Tensor) -> Tensor:
    """Whitened images, N x C x H x W; each has about mean 0, and mean square 1. Each channel is filtered by itself.

    Args:
        x: N x C x H x W; beyond its border an image goes on with its outermost pixels.
        filter_kernel: `kernel`, on the device of x.
    """
    # A convolution of each channel with the kernel.
    channels = x.shape[1]
    padding = KERNEL_SIZE // 2
    weight = filter_kernel.expand(channels, 1, -1, -1)
    x = F.conv2d(F.pad(x, (padding,) * 4, mode="replicate"), weight, groups=channels)
    # One number for all values of an image, so that colors keep their balance.
    return x / (x.square().mean(dim=(1, 2, 3), keepdim=True).sqrt() + FLOOR)
