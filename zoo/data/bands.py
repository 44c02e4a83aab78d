"""Images with another number of channels than gray and color: several bands, or several pages of a TIFF.

Imports Pillow.
"""

from PIL import Image, ImageSequence


def split(image: Image.Image, channels: int) -> list[Image.Image]:
    """One image of a single band for each channel: the bands of the image, or its pages.

    Bands are taken as they are stored: the four bands of a PNG with transparency are red, green, blue and alpha, those
    of a TIFF may be any four. Pillow reads files of up to four bands; more must be pages of a TIFF.

    Args:
        image: an opened image.
        channels: number of channels.

    Raises:
        ValueError: the image has another number of bands, and of pages with one band each.
    """
    image.load()
    names = image.getbands()
    if len(names) == channels and image.mode != "P":
        return list(image.split())

    # Pages, such as the channels of a microscope.
    pages = [page.copy() for page in ImageSequence.Iterator(image)]
    if len(pages) == channels and all(len(page.getbands()) == 1 and page.mode != "P" for page in pages):
        return pages
    found = f"{len(names)} band{'s' if len(names) > 1 else ''} ({image.mode})"
    found += f" and {len(pages)} pages" if len(pages) > 1 else ""
    raise ValueError(f"the image has {found}; the net takes {channels} channels")
