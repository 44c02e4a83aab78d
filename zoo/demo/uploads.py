"""Decode an uploaded picture, without trust: only common formats, with a limit on the number of pixels."""

from io import BytesIO

import numpy as np
from PIL import Image, ImageOps

from zoo.data.images import DAMAGE, to_8_bits
from zoo.demo.drawing import Ink

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
MAX_PIXELS = 50_000_000
MAX_SIDE = 1024  # larger pictures of drawings are reduced first
PAPER = 0.25  # a difference to the paper below this fraction of that of the ink is texture or shadow
WHITEST = 99.5  # percentile of the differences that counts as ink


def open_picture(content: bytes) -> Image.Image:
    """A decoded picture of 8 or 16 bits a channel.

    Raises:
        ValueError: no picture, a damaged or too large one, or a format that is not accepted.
    """
    accepted = "PNG, JPEG, WebP, BMP, GIF or TIFF"
    if not content:
        raise ValueError(f"the file is empty; choose a picture ({accepted})")
    try:
        picture = Image.open(BytesIO(content), formats=FORMATS)
    except (*DAMAGE, ValueError) as error:
        raise ValueError(f"this file is not a picture that can be read; choose a {accepted} file") from error
    # The size is known before any pixel is decoded.
    if picture.width * picture.height > MAX_PIXELS:
        raise ValueError(
            f"the picture has {picture.width:,} x {picture.height:,} pixels; at most {MAX_PIXELS:,} are accepted"
        )
    try:
        picture.load()
    except (*DAMAGE, ValueError) as error:
        raise ValueError("the picture is damaged or cut off; save it again, or choose another one") from error
    return picture


def ink_of(picture: Image.Image, *, is_line: bool) -> Ink:
    """What is drawn on a picture of a drawing or a thing: what differs from its background, white on black.

    Args:
        picture: dark on bright paper, or bright on dark.
        is_line: whether it is a line drawing, on whose paper small differences are texture.
    """
    # Gray, upright, and no larger than needed.
    gray = to_8_bits(ImageOps.exif_transpose(picture), 1)
    gray.thumbnail((MAX_SIDE, MAX_SIDE))
    values = np.asarray(gray, dtype=np.float64)

    # The background is the median of the outermost pixels.
    border = np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]])
    paper = float(np.median(border))
    difference = (paper - values if paper > 127.5 else values - paper).clip(min=0)
    strongest = float(np.percentile(difference[difference > 0], WHITEST)) if difference.any() else 1.0
    ink = (difference / strongest).clip(max=1)
    if is_line:
        ink = ((ink - PAPER) / (1 - PAPER)).clip(min=0)
    return (255 * ink).round().astype(np.uint8)
