"""Decode images of any mode, EXIF orientation and bit depth to uint8 tensors, channels x height x width.

Imports Pillow and NumPy besides torch.
"""

import struct
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import ceil
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from zoo.data import bands, image_tree
from zoo.data.orientation import ORIENTATION, TRANSPOSED, Box, image_box, upright_size
from zoo.protocols import shape_text

# Files with other suffixes are ignored.
SUFFIXES = image_tree.SUFFIXES

# Pillow's resampling filters by name.
FILTERS = {name: Image.Resampling[name.upper()] for name in ("nearest", "box", "bilinear", "hamming", "bicubic")}
FILTERS["lanczos"] = Image.Resampling.LANCZOS

# Exceptions that Pillow raises for damaged files, depending on the format and on the kind of damage.
DAMAGE = (
    *(OSError, SyntaxError, EOFError, IndexError, TypeError, struct.error, zlib.error),
    Image.DecompressionBombError,
)

# Pillow warns about damaged metadata and about images of more than 89 million pixels; it refuses images of more than
# twice as many pixels. Unreadable images raise an error below, and very large images are read one at a time, so the
# warnings add nothing.
warnings.filterwarnings("ignore", module=r"PIL\.")
LARGE = 2**24  # pixels; larger images are decoded one at a time

# Images that are narrower, or that have a larger aspect ratio, are refused.
MIN_SIDE = 2  # pixels
MAX_16_BITS = 65535
MAX_ASPECT = 100


def read(
    path: str | Path, shape: Sequence[int], *, resize: bool, side: int | None = None, interpolation: str = "bilinear"
) -> Tensor:
    """Read an image file. Arguments as for `to_tensor`.

    A JPEG that will be much smaller is decoded at 1/2, 1/4 or 1/8 of its size, but at least at twice the target size.
    Its pixels then differ from those of `to_tensor` by about 1 of 255.

    Returns:
        uint8, channels x height x width.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not an image, is truncated, too narrow, or of another size than ``shape`` without
            ``resize``; the message names the file.
    """
    with open_image(path) as image:
        full_size = upright_size(image)
        # Let the decoder produce a smaller version, if the format supports it.
        scale = 1.0
        if resize and len(shape) == 3:
            target = _resized(full_size, side) if side else (shape[2], shape[1])
            scale = _draft(image, target)
        return _convert(image, full_size, scale, shape, resize, side, interpolation)


def read_crop(
    path: str | Path, shape: Sequence[int], draw: Callable[[int, int], Box], *, interpolation: str = "bilinear"
) -> Tensor:
    """Read a box of an image file, resized to ``shape``.

    Args:
        path: the file.
        shape: channels, height, width.
        draw: called with the width and height of the upright image; returns the box.
        interpolation: one of `FILTERS`.

    Returns:
        uint8, channels x height x width.

    Raises:
        As `read`.
    """
    channels, height, width = shape
    with open_image(path) as image:
        full_size = upright_size(image)
        refuse_narrow(full_size)
        left, top, right, bottom = draw(*full_size)

        # Decode the whole image at a size at which the box is at least twice as large as ``shape``.
        full_width, full_height = full_size
        target = (width * full_width / (right - left), height * full_height / (bottom - top))
        scale = _draft(image, target)
        upright = _pixels(image, channels)

        # Find the box in the smaller image, and resize it.
        x, y, _, _ = image_box(image, full_size, scale)
        box = x + left / scale, y + top / scale, x + right / scale, y + bottom / scale
        return _to_bytes([band.resize((width, height), resampling(interpolation), box=box) for band in upright])


def to_tensor(
    image: Image.Image,
    shape: Sequence[int],
    *,
    resize: bool,
    side: int | None = None,
    interpolation: str = "bilinear",
) -> Tensor:
    """Convert a Pillow image: upright, transparency on white, gray for one channel and RGB for three.

    Args:
        image: of any size, and of any mode except floating-point pixels.
        shape: channels, height, width. One channel is gray, three are RGB; of other numbers, the image must have as
            many bands or pages, see `zoo.data.bands.split`.
        resize: whether to convert size and channels; without it, they must be those of ``shape``.
        side: number of pixels to which the shorter side is resized; then the center of the image is cropped to
            ``shape``, padded with black where the image is too small. None: the image is stretched to ``shape``.
        interpolation: one of `FILTERS`.

    Returns:
        uint8, channels x height x width.

    Raises:
        ValueError: ``shape`` is not the shape of an image, the image has another shape and ``resize`` is off, the image
            is too narrow, its pixels are floating-point numbers, or ``interpolation`` is unknown.
    """
    return _convert(image, upright_size(image), 1.0, shape, resize, side, interpolation)


def find(folder: str | Path) -> list[Path]:
    """All image files below a folder, as `zoo.data.image_tree.scan` finds them, sorted."""
    return image_tree.scan(Path(folder)).files


def resampling(interpolation: str) -> Image.Resampling:
    """Pillow's filter of this name, or ValueError."""
    if interpolation not in FILTERS:
        raise ValueError(f"interpolation={interpolation}: choose one of: {', '.join(FILTERS)}")
    return FILTERS[interpolation]


@contextmanager
def open_image(path: str | Path) -> Iterator[Image.Image]:
    """Open an image file without decoding it. Any error in the block becomes a ValueError that names the file."""
    try:
        with Image.open(path) as image:
            yield image
    except FileNotFoundError:
        raise
    except DAMAGE as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{path}: not a readable image ({reason})") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def largest_16_bit(source: str | Path | Image.Image) -> int | None:
    """The largest value of an image of 16 bits, or None for an image of 8 bits. Errors as for `open_image`."""
    if isinstance(source, Image.Image):
        return int(np.asarray(source).max()) if source.mode.startswith("I") else None
    with open_image(source) as image:
        return largest_16_bit(image)


def to_8_bits(image: Image.Image, channels: int) -> Image.Image:
    """Decode to 8 bits a channel: gray for one channel, else RGB. Transparent pixels become white."""
    image.load()
    if image.mode == "F":
        raise ValueError("floating-point images are not supported; convert the image to 8 or 16 bits")
    # 16 bits a pixel: keep the upper eight.
    if image.mode.startswith("I"):
        values = np.asarray(image)
        if values.min() < 0 or values.max() > MAX_16_BITS:
            raise ValueError(f"values outside [0, {MAX_16_BITS}] are not supported; convert the image to 8 or 16 bits")
        image = Image.fromarray((values >> 8).astype(np.uint8))
    # Put transparent images on a white background, then convert to gray or RGB.
    if image.has_transparency_data:
        background = Image.new("RGBA", image.size, "white")
        background.alpha_composite(image.convert("RGBA"))
        image = background.convert("RGB")
    mode = "L" if channels == 1 else "RGB"
    return image if image.mode == mode else image.convert(mode)


def refuse_narrow(size: tuple[int, int]) -> None:
    """Raise ValueError if an image of this width and height is too narrow to be resized."""
    width, height = size
    if min(width, height) < MIN_SIDE or max(width, height) > MAX_ASPECT * min(width, height):
        raise ValueError(f"the image is {width} pixels wide and {height} high, too narrow to be resized")


def _convert(
    image: Image.Image,
    full_size: tuple[int, int],
    scale: float,
    shape: Sequence[int],
    resize: bool,
    side: int | None,
    interpolation: str,
) -> Tensor:
    """`to_tensor` of an image of upright size ``full_size``, which may have been drafted at 1 / ``scale`` of it."""
    if len(shape) != 3:
        raise ValueError(f"the net expects inputs of shape {shape_text(shape)}, not images")
    channels, height, width = shape

    # Without resizing, the image must have exactly the given shape. Other numbers of channels are checked below.
    gray = image.mode in ("1", "L", "LA", "F") or image.mode.startswith("I")
    full_width, full_height = full_size
    found = ((1 if gray else 3) if channels in (1, 3) else channels, full_height, full_width)
    if not resize and found != tuple(shape):
        raise ValueError(
            f"the image has shape {shape_text(found)} (channels x height x width), "
            f"the net expects {shape_text(shape)}; add resize=true to convert"
        )
    pixels = _pixels(image, channels)
    if not resize:
        return _to_bytes(pixels)

    # Resize to the shape itself, or so that the shorter side is ``side``; then crop the center.
    refuse_narrow(full_size)
    size = (width, height) if side is None else _resized(full_size, side)
    if pixels[0].size != size:
        box = image_box(image, full_size, scale)
        pixels = [band.resize(size, resampling(interpolation), box=box) for band in pixels]
    if side is not None:
        pixels = [_center_crop(band, width, height) for band in pixels]
    return _to_bytes(pixels)


def _pixels(image: Image.Image, channels: int) -> list[Image.Image]:
    """An upright gray or RGB image of 8 bits, for one and three channels; otherwise one gray image per channel."""
    if channels in (1, 3):
        return [to_8_bits(ImageOps.exif_transpose(image), channels)]
    return [to_8_bits(ImageOps.exif_transpose(band), 1) for band in bands.split(image, channels)]


def _draft(image: Image.Image, size: tuple[float, float]) -> float:
    """Let a JPEG be decoded at 1/2, 1/4 or 1/8, if it stays at least twice as large as ``size`` (upright).

    Returns:
        How many times smaller it is now: 1, 2, 4 or 8.
    """
    # ``size`` is that of the upright image; the file may store it transposed.
    width, height = (ceil(2 * side) for side in size)
    if image.getexif().get(ORIENTATION) in TRANSPOSED:
        width, height = height, width
    # Pillow chooses the smallest version that is not below this size, and returns the box of the image in it.
    stored_width = image.width
    drafted = image.draft(None, (width, height))
    return 1.0 if drafted is None else float(round(stored_width / drafted[1][2]))


def _resized(size: tuple[int, int], side: int) -> tuple[int, int]:
    """The size at which the shorter side is ``side``. The longer one is rounded down, as torchvision does."""
    width, height = size
    return (side, side * height // width) if width <= height else (side * width // height, side)


def _center_crop(image: Image.Image, width: int, height: int) -> Image.Image:
    """Crop the center; its corner is rounded as in torchvision. Pillow fills what lies outside the image with black."""
    # If the image is smaller than the crop, compute how much is missing.
    missing_width = max(width - image.width, 0)
    missing_height = max(height - image.height, 0)
    left = -(missing_width // 2) if missing_width else round((image.width - width) / 2)
    top = -(missing_height // 2) if missing_height else round((image.height - height) / 2)
    return image.crop((left, top, left + width, top + height))


def _to_bytes(images: Sequence[Image.Image]) -> Tensor:
    """Images of height x width (x 3) pixels -> channels x height x width."""
    pixels = [torch.from_numpy(np.array(image)) for image in images]
    return torch.cat([x[None] if x.dim() == 2 else x.permute(2, 0, 1) for x in pixels]).contiguous()
