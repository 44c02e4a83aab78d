"""Reading pictures: every mode, orientation and depth to the bytes that a net was promised.

Imports Pillow and NumPy beside torch.
"""

import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import ceil
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from zoo.data.splits import shape_text

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm"}
FILTERS = {name: Image.Resampling[name.upper()] for name in ("nearest", "box", "bilinear", "hamming", "bicubic")}
FILTERS["lanczos"] = Image.Resampling.LANCZOS
DAMAGE = (  # what Pillow raises, by format and by place of the damage
    *(OSError, SyntaxError, EOFError, IndexError, TypeError, struct.error, zlib.error),
    Image.DecompressionBombError,
)
NARROWEST, LONGEST = 2, 100  # pixels; times as long as wide
ORIENTATION = 0x0112  # EXIF's tag, and of its values, 1 to 8, those that ...
ON_ITS_SIDE = (5, 6, 7, 8)  # swap width and height
END_LEFT, END_ABOVE = (2, 3, 6, 7), (3, 4, 7, 8)  # turn what is stored last to the left; to the top

Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels


def read(
    path: str | Path, shape: Sequence[int], *, resize: bool, side: int | None = None, interpolation: str = "bilinear"
) -> Tensor:
    """The picture in a file as uint8, channels x height x width. See `to_tensor`.

    A JPEG that is to become much smaller is decoded at a fraction of its size, never below twice the one wanted: its
    pixels then differ from those of `to_tensor` by about one of 255.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a picture, a truncated one, a strip, or one of another size; the message names the file.
    """
    with opened(path) as picture:
        full, scale = upright_size(picture), 1.0
        if resize and len(shape) == 3:
            scale = _draft(picture, _around(full, side) if side else (shape[2], shape[1]))
        return _converted(picture, full, scale, shape, resize, side, interpolation)


def crop(
    path: str | Path, shape: Sequence[int], draw: Callable[[int, int], Box], *, interpolation: str = "bilinear"
) -> Tensor:
    """A part of the picture in a file, stretched to ``shape``: uint8, channels x height x width.

    Args:
        path: the file.
        shape: channels, height, width.
        draw: given the upright picture's width and height, where to cut.
        interpolation: one of `FILTERS`.

    Raises:
        As `read`.
    """
    channels, height, width = shape
    with opened(path) as picture:
        full = upright_size(picture)
        refuse_strip(full)
        left, top, right, bottom = draw(*full)
        scale = _draft(picture, (width * full[0] / (right - left), height * full[1] / (bottom - top)))
        upright = flat(ImageOps.exif_transpose(picture), channels)
        x, y, _, _ = _frame(picture, full, scale)
        box = x + left / scale, y + top / scale, x + right / scale, y + bottom / scale
        return _bytes(upright.resize((width, height), resampling(interpolation), box=box))


def to_tensor(
    picture: Image.Image,
    shape: Sequence[int],
    *,
    resize: bool,
    side: int | None = None,
    interpolation: str = "bilinear",
) -> Tensor:
    """A Pillow image as uint8 of ``shape``: upright, on white, grey for one channel, RGB for three.

    Args:
        picture: of any mode and size.
        shape: channels, height, width.
        resize: convert; without it, size and channels must be right already.
        side: the shorter side is brought to this, then the centre of ``shape`` is cut out, framed in black where it is
            too small; None: the picture is stretched to ``shape``.
        interpolation: one of `FILTERS`.

    Raises:
        ValueError: ``shape`` is not that of a picture, the picture has another and ``resize`` is off, it is a strip, or
            its pixels are real numbers.
    """
    return _converted(picture, upright_size(picture), 1.0, shape, resize, side, interpolation)


def find(folder: str | Path) -> list[Path]:
    """All pictures below a folder, by their endings, sorted; nothing hidden, such as macOS's ``._1.jpg``."""
    folder = Path(folder)
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
    )


def resampling(interpolation: str) -> Image.Resampling:
    """Pillow's filter of this name, or ValueError."""
    if interpolation not in FILTERS:
        raise ValueError(f"interpolation={interpolation}: choose one of: {', '.join(FILTERS)}")
    return FILTERS[interpolation]


@contextmanager
def opened(path: str | Path) -> Iterator[Image.Image]:
    """The picture in a file, not decoded yet; whatever goes wrong within becomes a ValueError that names the file."""
    try:
        with Image.open(path) as picture:
            yield picture
    except FileNotFoundError:
        raise
    except DAMAGE as error:
        raise ValueError(f"{path}: not a readable picture ({str(error).split(chr(10))[0]})") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def flat(picture: Image.Image, channels: int) -> Image.Image:
    """Decoded, eight bits a channel, grey or RGB; what is transparent becomes white, as on a page."""
    picture.load()
    if picture.mode == "F":
        raise ValueError("a picture of real numbers; convert it to 8 or 16 bits")
    if picture.mode.startswith("I"):  # 16 bits a pixel: keep the upper eight
        picture = Image.fromarray(np.clip(np.asarray(picture, dtype=np.int64) >> 8, 0, 255).astype(np.uint8))
    if picture.has_transparency_data:
        page = Image.new("RGBA", picture.size, "white")
        page.alpha_composite(picture.convert("RGBA"))
        picture = page.convert("RGB")
    mode = "L" if channels == 1 else "RGB"
    return picture if picture.mode == mode else picture.convert(mode)


def upright_size(picture: Image.Image) -> tuple[int, int]:
    """Width and height once the picture stands as its EXIF says; decodes nothing."""
    width, height = picture.size
    return (height, width) if picture.getexif().get(ORIENTATION) in ON_ITS_SIDE else (width, height)


def refuse_strip(size: tuple[int, int]) -> None:
    """Raise ValueError where a picture of this width and height is a mere line."""
    width, height = size
    if min(width, height) < NARROWEST or max(width, height) > LONGEST * min(width, height):
        raise ValueError(f"the picture is {width} pixels wide and {height} high, too narrow to be resized")


def _converted(
    picture: Image.Image,
    full: tuple[int, int],
    scale: float,
    shape: Sequence[int],
    resize: bool,
    side: int | None,
    interpolation: str,
) -> Tensor:
    """`to_tensor` of a picture of upright size ``full`` that may have been drafted at 1 / ``scale`` of it."""
    if len(shape) != 3 or shape[0] not in (1, 3):
        raise ValueError(f"this checkpoint takes inputs of shape {shape_text(shape)}, not pictures")
    channels, height, width = shape
    upright = ImageOps.exif_transpose(picture)
    grey = upright.mode in ("1", "L", "LA", "F") or upright.mode.startswith("I")
    found = (1 if grey else 3, full[1], full[0])
    if not resize and found != tuple(shape):
        raise ValueError(
            f"the picture is {shape_text(found)} (channels x height x width), the net takes {shape_text(shape)}; "
            "add resize=true to convert"
        )
    pixels = flat(upright, channels)
    if not resize:
        return _bytes(pixels)
    refuse_strip(full)
    size = (width, height) if side is None else _around(full, side)
    if pixels.size != size:
        pixels = pixels.resize(size, resampling(interpolation), box=_frame(picture, full, scale))
    return _bytes(pixels if side is None else _centre(pixels, width, height))


def _draft(picture: Image.Image, size: tuple[float, float]) -> float:
    """Let a JPEG be decoded at a half, quarter or eighth, while it stays twice as large as ``size`` (upright).

    Returns:
        How many times smaller it is now: 1, 2, 4 or 8.
    """
    width, height = (ceil(2 * side) for side in size)
    if picture.getexif().get(ORIENTATION) in ON_ITS_SIDE:
        width, height = height, width
    stored = picture.width
    drafted = picture.draft(None, (width, height))
    return 1.0 if drafted is None else float(round(stored / drafted[1][2]))


def _frame(picture: Image.Image, full: tuple[int, int], scale: float) -> Box:
    """Where the upright picture lies within a drafted one, whose last column and row may be filled in part only."""
    orientation = picture.getexif().get(ORIENTATION)
    width, height = picture.size if orientation not in ON_ITS_SIDE else picture.size[::-1]
    left = width - full[0] / scale if orientation in END_LEFT else 0.0
    top = height - full[1] / scale if orientation in END_ABOVE else 0.0
    return left, top, left + full[0] / scale, top + full[1] / scale


def _around(size: tuple[int, int], side: int) -> tuple[int, int]:
    """The size at which the shorter side is ``side``, the longer one rounded down as torchvision does."""
    width, height = size
    return (side, side * height // width) if width <= height else (side * width // height, side)


def _centre(picture: Image.Image, width: int, height: int) -> Image.Image:
    """The centre, its corner rounded as torchvision does; Pillow gives black for what lies outside."""
    beyond = max(width - picture.width, 0), max(height - picture.height, 0)
    left = -(beyond[0] // 2) if beyond[0] else round((picture.width - width) / 2)
    top = -(beyond[1] // 2) if beyond[1] else round((picture.height - height) / 2)
    return picture.crop((left, top, left + width, top + height))


def _bytes(picture: Image.Image) -> Tensor:
    pixels = torch.from_numpy(np.array(picture))  # height x width (x 3)
    return pixels[None] if pixels.dim() == 2 else pixels.permute(2, 0, 1).contiguous()
