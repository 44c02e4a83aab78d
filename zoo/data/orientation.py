"""Turn photographs upright by their EXIF orientation: sizes and boxes. Imports Pillow."""

from PIL import Image

# The EXIF tag for the orientation of a photograph has values from 1 (upright) to 8. Each tuple lists the values for
# which turning the stored image upright has a certain effect.
ORIENTATION = 0x0112
TRANSPOSED = (5, 6, 7, 8)  # its rows become columns
LAST_COLUMN_TO_LEFT = (2, 3, 6, 7)  # its last column (or row, if transposed) is then on the left
LAST_ROW_TO_TOP = (3, 4, 7, 8)  # its last row (or column, if transposed) is then at the top

Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Width and height after the rotation by EXIF orientation, without decoding."""
    width, height = image.size
    return (height, width) if image.getexif().get(ORIENTATION) in TRANSPOSED else (width, height)


def image_box(image: Image.Image, full_size: tuple[int, int], scale: float) -> Box:
    """The box of the upright image in its drafted version.

    The last column and row of the draft may be only partly filled; turned upright, they may come first.
    """
    # The size of the upright draft, and the size of the image within it.
    orientation = image.getexif().get(ORIENTATION)
    width, height = image.size if orientation not in TRANSPOSED else image.size[::-1]
    scaled_width, scaled_height = full_size[0] / scale, full_size[1] / scale
    left = width - scaled_width if orientation in LAST_COLUMN_TO_LEFT else 0.0
    top = height - scaled_height if orientation in LAST_ROW_TO_TOP else 0.0
    return left, top, left + scaled_width, top + scaled_height
