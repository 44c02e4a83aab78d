"""Reading pictures: every mode, orientation and depth to the bytes that a net was promised.

Imports Pillow and NumPy beside torch.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from zoo.data.splits import shape_text

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm"}


def read(path: str | Path, shape: Sequence[int], *, resize: bool) -> Tensor:
    """The picture in a file as uint8, channels x height x width. See `to_tensor`.

    Raises:
        ValueError: not a picture, a truncated one, or one of another size; the message names the file.
    """
    try:
        with Image.open(path) as picture:
            picture.load()
            return to_tensor(picture, shape, resize=resize)
    except FileNotFoundError:
        raise
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path}: not a readable picture ({str(error).split(chr(10))[0]})") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def to_tensor(picture: Image.Image, shape: Sequence[int], *, resize: bool) -> Tensor:
    """A Pillow image as uint8 of ``shape``: upright, grey for one channel, RGB for three.

    Without ``resize``, size and channels must be right already.

    Raises:
        ValueError: ``shape`` is not that of a picture, the picture has another and ``resize`` is off, or its pixels are
            real numbers.
    """
    if len(shape) != 3 or shape[0] not in (1, 3):
        raise ValueError(f"this checkpoint takes inputs of shape {shape_text(shape)}, not pictures")
    channels, height, width = shape
    upright = ImageOps.exif_transpose(picture)
    if upright.mode == "F":
        raise ValueError("a picture of real numbers; convert it to 8 or 16 bits")
    if upright.mode.startswith("I"):  # 16 bits a pixel: keep the upper eight
        upright = Image.fromarray(np.clip(np.asarray(upright, dtype=np.int64) >> 8, 0, 255).astype(np.uint8))
    grey = upright.mode in ("1", "L", "LA")
    found = (1 if grey else 3, upright.height, upright.width)
    if not resize and found != tuple(shape):
        raise ValueError(
            f"the picture is {shape_text(found)} (channels x height x width), the net takes {shape_text(shape)}; "
            "add resize=true to convert"
        )
    upright = upright.convert("L" if channels == 1 else "RGB")
    if upright.size != (width, height):
        upright = upright.resize((width, height), Image.Resampling.BILINEAR)
    pixels = torch.from_numpy(np.array(upright))  # height x width (x 3)
    return pixels[None] if channels == 1 else pixels.permute(2, 0, 1).contiguous()


def find(folder: str | Path) -> list[Path]:
    """All pictures below a folder, by their endings, sorted."""
    return sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
