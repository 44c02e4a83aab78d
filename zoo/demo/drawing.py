"""Turn strokes on a sketch pad into an input image, prepared as the training images of a dataset were.

LeCun, Bottou, Bengio & Haffner 1998, section III.A, describe the images of MNIST: a digit is scaled to fit into a box
of 20 x 20 pixels, keeping its aspect ratio, by a method that leaves gray levels (anti-aliasing). The box is placed into
28 x 28 pixels so that the center of mass of the pixels is at the center of the image.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

Ink = NDArray[np.uint8]  # height x width; 0 is empty, 255 is ink

CANVAS = 560  # height and width at which strokes are drawn, in pixels; a multiple of 28
FRAME = 28  # height and width of the images that a `Framing` describes, in pixels


@dataclass(frozen=True)
class Stroke:
    """A line on the pad, which is a square of side 1 with its origin at the upper left.

    Attributes:
        points: at least one (x, y).
        width: width of the pen.
        erases: whether the stroke removes ink.
    """

    points: Sequence[tuple[float, float]]
    width: float
    erases: bool = False


@dataclass(frozen=True)
class Framing:
    """How the training images of a dataset were scaled and placed; for an image of FRAME x FRAME pixels.

    Attributes:
        box: the longer side of the drawing has this many pixels.
        by_mass: whether the center of mass is at the center of the image; otherwise the center of the bounding box.
    """

    box: int
    by_mass: bool


# By dataset. Measured on the test images: the longer side of every MNIST digit has 20 pixels, and the mean of their
# centers of mass is at pixel 14.0; digits have boxes of 20 pixels around 13.5; images of Fashion-MNIST fill the frame.
FRAMINGS = {
    "mnist": Framing(20, by_mass=True),
    "digits": Framing(20, by_mass=False),
    "fashion_mnist": Framing(28, by_mass=False),
}
LIKE_MNIST = ("mnist", "kmnist", "digit_recognizer")  # datasets of that format


def framing_of(dataset: str, shape: Sequence[int]) -> str:
    """The name of the framing for a dataset; "none" for images of which nothing is known.

    Args:
        dataset: name of the dataset.
        shape: channels, height and width of its images.
    """
    if dataset in LIKE_MNIST:
        return "mnist"
    if dataset in FRAMINGS:
        return dataset
    # Small gray images are most often digits or letters in the format of MNIST.
    return "mnist" if tuple(shape) == (1, FRAME, FRAME) else "none"


def rasterize(strokes: Sequence[Stroke], side: int = CANVAS) -> Ink:
    """Draw strokes with round ends, in order, on an empty square of ``side`` x ``side`` pixels."""
    image = Image.new("L", (side, side))
    draw = ImageDraw.Draw(image)
    for stroke in strokes:
        ink = 0 if stroke.erases else 255
        width = max(1, round(stroke.width * side))
        points = [(x * side, y * side) for x, y in stroke.points]
        draw.line(points, fill=ink, width=width)
        # A disk at every point makes round joints and ends.
        r = width / 2
        for x, y in points:
            draw.ellipse((x - r, y - r, x + r, y + r), fill=ink)
    return np.asarray(image)


def frame(ink: Ink, height: int, width: int, framing: Framing | None) -> Tensor:
    """Scale and place a drawing.

    Args:
        ink: of any size.
        height: height of the image, in pixels.
        width: its width.
        framing: None: the whole canvas becomes the image.

    Returns:
        uint8, 1 x height x width; ink is white on black.

    Raises:
        ValueError: there is no ink.
    """
    rows = np.flatnonzero(ink.any(axis=1))
    columns = np.flatnonzero(ink.any(axis=0))
    if not rows.size:
        raise ValueError("the drawing is empty")
    if framing is None:
        return torch.from_numpy(_resized(ink, height, width))[None]

    # Cut the bounding box out, and scale it so that its longer side is that of the framing.
    box = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    unit = min(height, width) / FRAME  # for images of another size than FRAME
    scale = framing.box * unit / max(box.shape)
    small = _resized(box, *(max(1, round(side * scale)) for side in box.shape))

    # Place it. It is moved by whole pixels, as in MNIST, and stays inside the image.
    image = np.zeros((height, width), dtype=np.uint8)
    top, left = (
        _corner(small.sum(axis=1 - axis, dtype=np.float64), side, by_mass=framing.by_mass)
        for axis, side in enumerate((height, width))
    )
    image[top : top + small.shape[0], left : left + small.shape[1]] = small
    return torch.from_numpy(image)[None]


def _corner(mass: NDArray[np.float64], side: int, *, by_mass: bool) -> int:
    """Where a box begins along one axis of an image of ``side`` pixels; ``mass`` is that of its rows or columns."""
    free = side - len(mass)
    if not by_mass or not mass.any():
        return free // 2
    center = float(mass @ np.arange(len(mass)) / mass.sum())
    return min(max(round(side / 2 - center), 0), free)


def _resized(ink: Ink, height: int, width: int) -> Ink:
    """The ink at another size; a pixel is the mean of the area that it covers."""
    shrinks = height <= ink.shape[0] and width <= ink.shape[1]
    method = Image.Resampling.BOX if shrinks else Image.Resampling.BILINEAR
    return np.array(Image.fromarray(ink).resize((width, height), method))
