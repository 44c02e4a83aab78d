"""Plots of images and feature maps: grids, sheets with captions, panels with titles, heat maps over images."""

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.plots import tiling
from zoo.plots.figure import MAX_SIDE, default_style, new_figure, plain, write_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor

RED = "#c00000"  # frames and captions of wrong predictions
GRAY = "#888888"  # frames and gaps
CAPTION_SIZE = 7  # points
SCREEN = 1600  # maximum width and height of a plot of strips, in pixels
LETTER_WIDTH = 0.61  # width of a letter of DejaVu Sans Mono, in font sizes (0.602, rounded up)


@default_style()
def grid(
    tiles: "Tensor",
    path: str | Path | None = None,
    *,
    columns: int = 10,
    names: Sequence[str] | None = None,
    signed: bool = False,
) -> "Figure":
    """Draw images side by side, row by row, without interpolation.

    Rows of values, such as the examples of a table, are strips, one below the other. Images and strips that would be
    too large are shrunk: the pixels of an image are averaged; of neighboring values in a strip, the one farthest from
    the median is kept.

    Args:
        tiles: N x C x H x W with C 1 or 3, values in [0, 1]; other shapes are drawn as one row of pixels each.
        path: the PNG to write.
        columns: number of images in a row.
        names: a name for each image; the name of the first image of a row is written beside it.
        signed: draw weights: red below 0, white at 0 and blue above, each tile scaled by its own maximum.

    Raises:
        ValueError: more images than `zoo.plots.tiling.max_count`.
    """
    # Bring the tiles to N x C x H x W, and weights into [-1, 1].
    x = tiles.detach().float().cpu()
    if x.dim() != 4 or x.shape[1] not in (1, 3):
        x = x.reshape(len(x), 1, 1, -1)
    if signed:
        x = x.mean(dim=1, keepdim=True)
        x = x / x.abs().amax(dim=(1, 2, 3), keepdim=True).clamp(min=1e-12)

    maximum = tiling.max_count(x.shape[1:], columns)
    if len(x) > maximum:
        raise ValueError(f"{len(x):,} images do not fit into one plot: the maximum is {maximum:,}")

    # Arrange them in one large image. Strips stand one below the other, in the order of the images.
    named = range(0, len(x), columns)
    strips = tiling.is_strip(x.shape[1:])
    if strips:
        columns, x = 1, tiling.strips(x)
    else:
        x = tiling.shrink_images(x, columns)
    channels, height = x.shape[1:3]
    mosaic = tiling.mosaic(x if signed else x.clamp(0, 1), columns)

    # Choose the size of a pixel. Strips are made to fit on a screen, if they are not too many.
    largest = SCREEN if strips else MAX_SIDE
    across, down = (max(1, min(max(2, 56 // max(height, 2)), largest // n)) for n in (mosaic.shape[1], mosaic.shape[0]))

    # Draw it, with a margin for the names. NaN is transparent in gray images; in RGB the gap is painted.
    texts = [plain(names[first]) for first in named] if names else []
    margin = 0.1 + 0.09 * max(map(len, texts)) if names else 0.0
    size = (margin + across * mosaic.shape[1] / 100, down * mosaic.shape[0] / 100)
    figure = new_figure(*size, dpi=100)
    axes = figure.add_axes((margin / size[0], 0, 1 - margin / size[0], 1), facecolor=GRAY)
    axes.imshow(
        mosaic[..., 0] if channels == 1 else mosaic.nan_to_num(0.5),
        interpolation="nearest",
        aspect="auto",
        cmap="RdBu" if signed else "gray",
        vmin=-1 if signed else 0,
        vmax=1,
    )
    axes.set(xticks=[], yticks=[])

    # Write each name beside the middle of its row.
    for first, text in zip(named, texts, strict=False):
        y = 1 + first // columns * (height + 1) + height / 2
        axes.text(-0.5 - 7 / across, y, text, ha="right", va="center", parse_math=False)
    return write_png(figure, path)


@default_style()
def sheet(
    tiles: "Sequence[Tensor]",
    captions: Sequence[Sequence[str]],
    path: str | Path | None = None,
    *,
    title: str,
    wrong: Sequence[bool] | None = None,
    columns: int = 6,
    width: float = 1.75,
) -> "Figure":
    """Draw a contact sheet: images in rows, each with its caption below.

    Args:
        tiles: C x H x W with C 1 or 3, values in [0, 1]; all of one size.
        captions: the lines below each image; lines that are too long are shortened in the middle.
        path: the PNG to write.
        title: title of the sheet.
        wrong: whether each image is framed and captioned in red.
        columns: number of images in a row.
        width: width of an image, in inches.
    """
    # Lay the sheet out, in inches: columns and rows of cells that hold an image and its caption.
    columns = min(columns, len(tiles))
    rows = -(-len(tiles) // columns)
    height = width * min(2.0, max(0.1, tiles[0].shape[1] / tiles[0].shape[2]))
    gap, title_height, line_height = 0.15, 0.4, 0.15
    cell_width = width + gap
    cell_height = height + line_height * max(map(len, captions)) + 0.2
    size = (max(3.9, gap + columns * cell_width), title_height + rows * cell_height)
    max_letters = int(width * 72 / (CAPTION_SIZE * LETTER_WIDTH))

    figure = new_figure(*size, dpi=120)
    text = plain(title, int((size[0] - 2 * gap) * 72 / (10 * LETTER_WIDTH)))
    figure.text(gap / size[0], 1 - 0.2 / size[1], text, fontsize=10, va="center", parse_math=False)
    for i, (tile, caption) in enumerate(zip(tiles, captions, strict=True)):
        # The lower left corner of the image, in inches; matplotlib expects fractions of the figure's size.
        x = gap + (i % columns) * cell_width
        y = size[1] - title_height - (i // columns) * cell_height - height
        axes = figure.add_axes((x / size[0], y / size[1], width / size[0], height / size[1]))
        image = tile.detach().float().cpu().clamp(0, 1).permute(1, 2, 0).numpy()  # H x W x C
        axes.imshow(image[..., 0] if image.shape[2] == 1 else image, cmap="gray", vmin=0, vmax=1)
        axes.set(xticks=[], yticks=[])

        # Mark wrong predictions by a red frame and a red caption.
        is_wrong = wrong is not None and wrong[i]
        for spine in axes.spines.values():
            spine.set(color=RED if is_wrong else GRAY, linewidth=2 if is_wrong else 0.6)
        font: dict[str, Any] = {"size": CAPTION_SIZE, "family": "DejaVu Sans Mono"}
        font["color"] = RED if is_wrong else "black"
        for k, line in enumerate(caption):
            line_y = y - 0.06 - line_height * k
            text = plain(line, max_letters)
            figure.text(x / size[0], line_y / size[1], text, va="top", parse_math=False, fontdict=font)

    return write_png(figure, path)


@default_style()
def panels(
    tiles: "Mapping[str, Tensor]",
    path: str | Path | None = None,
    *,
    columns: int = 4,
    signed: Sequence[str] = (),
    numbers: bool = False,
    width: float = 2.2,
) -> "Figure":
    """Draw images and maps of any sizes at one width, each under its title.

    Args:
        tiles: title -> H x W or C x H x W with C 1 or 3, values in [0, 1]; all of one aspect ratio.
        path: the PNG to write.
        columns: number of images in a row.
        signed: titles of those that are drawn as weights: red below 0, white at 0 and blue above, each scaled by its
            own maximum.
        numbers: write the values into the cells, over shades from 0 (white) to the maximum; for small maps.
        width: width of an image, in inches.
    """
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    # Lay the panels out, in inches; the titles may have several lines.
    columns = min(columns, len(tiles))
    rows = -(-len(tiles) // columns)
    first = next(iter(tiles.values()))
    title_lines = max(title.count("\n") + 1 for title in tiles)
    ratio = min(8.0, max(0.05, first.shape[-2] / first.shape[-1]))
    row_height = width * ratio + 0.08 + 0.2 * title_lines
    max_letters = int(width * 72 / (9 * LETTER_WIDTH))
    layout = ConstrainedLayoutEngine(w_pad=0.03, h_pad=0.03)
    figure = new_figure(columns * (width + 0.1), rows * row_height, dpi=120, layout=layout)
    all_axes = list(figure.subplots(rows, columns, squeeze=False).flat)

    for axes, (title, tile) in zip(all_axes, tiles.items(), strict=False):
        _panel(axes, tile, signed=title in signed, numbers=numbers, width=width)
        lines = [plain(line, max_letters) for line in title.split("\n")]
        axes.set_title("\n".join(lines), fontsize=9, parse_math=False)
    for axes in all_axes:
        axes.set(xticks=[], yticks=[])
    for axes in all_axes[len(tiles) :]:  # empty cells of the last row
        axes.set_axis_off()
    return write_png(figure, path)


def _panel(axes: "Axes", tile: "Tensor", *, signed: bool, numbers: bool, width: float) -> None:
    """Draw one image or map of `panels`."""
    image = tile.detach().float().cpu()
    # matplotlib wants the channels last, and none for gray images.
    if image.dim() == 3:
        image = image.permute(1, 2, 0).squeeze(2)  # H x W x 3, or H x W

    # Choose colors and their range. Behind numbers the shades stay pale, so that black letters can be read.
    maximum = max(float(image.abs().max()), 1e-12) * (2 if numbers else 1)
    if signed:
        image = image.mean(dim=2) if image.dim() == 3 else image
        color_map, minimum = "RdBu", -maximum
    elif numbers:
        color_map, minimum = "Greys", 0.0
    else:
        image = image.clamp(0, 1)
        color_map, minimum, maximum = "gray", 0.0, 1.0
    axes.imshow(image.numpy(), cmap=color_map, vmin=minimum, vmax=maximum, interpolation="nearest")

    if numbers:
        font_size = min(9.0, 72 * width / image.shape[1] * 0.5)  # points: half the side of a cell
        for row, column in product(range(image.shape[0]), range(image.shape[1])):
            text = f"{image[row, column].item():.3g}"
            axes.text(column, row, text, ha="center", va="center", fontsize=font_size)


def overlay(tile: "Tensor", heat: "Tensor") -> "Tensor":
    """An image, and beside it the same image in gray under a colored map: blue at 0, red at 1.

    Args:
        tile: C x H x W, values in [0, 1].
        heat: H x W, values in [0, 1].

    Returns:
        3 x H x (2 W + gap).
    """
    import torch
    from matplotlib import colormaps

    # The ends of the color map are left out: both are dark.
    colors = colormaps["turbo"](0.08 + 0.8 * heat.cpu().numpy())[..., :3]
    color = torch.from_numpy(colors).permute(2, 0, 1).float()  # 3 x H x W
    # An image with another number of channels is drawn as their mean.
    tile = tile if tile.shape[0] in (1, 3) else tile.mean(dim=0, keepdim=True)
    # Blend the colors with the gray image, which is kept bright: on black, colors would be dark.
    gray = 0.3 + 0.7 * tile.mean(dim=0).expand(3, -1, -1)
    gap = torch.ones(3, tile.shape[1], max(1, tile.shape[2] // 28))
    return torch.cat([tile.expand(3, -1, -1), gap, 0.45 * gray + 0.55 * color], dim=2)
