"""Convolution with named, fixed kernels: it shows what a kernel does before any is trained. May import torch only.

Like every deep-learning "convolution" this is cross-correlation: the kernel is not flipped. A true convolution flips it
in both directions; only then does the convolution theorem hold.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# A sum, a second derivative, a sharpened image, two first derivatives and a weighted mean.
KERNELS: dict[str, list[list[float]]] = {
    "box": [[1, 1, 1], [1, 1, 1], [1, 1, 1]],
    "laplace": [[0, 1, 0], [1, -4, 1], [0, 1, 0]],
    "sharpen": [[0, -1, 0], [-1, 5, -1], [0, -1, 0]],
    "sobel_x": [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]],
    "sobel_y": [[-1, -2, -1], [0, 0, 0], [1, 2, 1]],
    "gaussian": [[1 / 16, 2 / 16, 1 / 16], [2 / 16, 4 / 16, 2 / 16], [1 / 16, 2 / 16, 1 / 16]],
}


class FixedConv(nn.Module):
    """Cross-correlates each channel with one fixed kernel. It has no trainable parameters.

    Args:
        kernel: a name of `KERNELS`, or the kernel itself, kh x kw.
        stride: step of the kernel, in pixels.
        padding: rows and columns of zeros added on each side of the image; if ``transposed``, rows and columns removed
            from each side of the result.
        dilation: distance between the elements of the kernel, in pixels; 1: no gaps.
        transposed: whether to compute the transposed operation, which spreads each pixel over the kernel and so
            enlarges the image.

    Raises:
        ValueError: no kernel has that name; the message lists the choices.
    """

    kernel: Tensor

    def __init__(
        self,
        kernel: str | Tensor,
        *,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
        transposed: bool = False,
    ):
        super().__init__()
        if isinstance(kernel, str):
            if kernel not in KERNELS:
                raise ValueError(f"unknown kernel {kernel!r}; choose one of: {', '.join(KERNELS)}")
            kernel = torch.tensor(KERNELS[kernel])
        # A buffer moves with the module to another device, but no optimizer sees it.
        self.register_buffer("kernel", kernel)
        self.stride = stride
        self.padding = padding
        self.dilation = dilation
        self.transposed = transposed

    def forward(self, x: Tensor) -> Tensor:
        """N x C x H x W -> N x C x H' x W'."""
        # Every channel is a separate group with the same kernel.
        channels = x.shape[1]
        weight = self.kernel.to(x.dtype).expand(channels, 1, -1, -1)  # C x 1 x kh x kw
        convolve = F.conv_transpose2d if self.transposed else F.conv2d
        return convolve(
            x, weight, stride=self.stride, padding=self.padding, dilation=self.dilation, groups=channels
        )  # N x C x H' x W'
