"""Pictures of runs and nets, as matplotlib figures: a notebook shows what is returned, ``path=`` writes a PNG as well.

Imports matplotlib when asked to draw; needs no display.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

CODE_MAPS = ("pca", "tsne")
RED = "#c00000"
CAPTION = 7  # points
Series = Mapping[str, tuple[Sequence[float], Sequence[float]]]  # a line's name -> its x and y values


def curves(
    panels: Mapping[str, Series], path: str | Path | None = None, *, x_label: str = "optimizer step"
) -> "Figure":
    """One panel a quantity, side by side, each with its lines over the optimizer's steps.

    Args:
        panels: title of the panel -> its lines.
        path: the PNG to write.
        x_label: of the horizontal axes.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2 * len(panels), 3.6), dpi=120, layout="constrained")
    for axes, (title, lines) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        for name, (x, y) in lines.items():
            axes.plot(x, y, label=name, marker="o" if len(x) < 40 else None, markersize=3, linewidth=1.4)
        axes.set_xlabel(x_label)
        axes.set_title(title)
        axes.grid(alpha=0.3)
        values = [value for _, y in lines.values() for value in y]
        if values and min(values) > 0 and max(values) / min(values) > 20:
            axes.set_yscale("log")
        if lines:
            axes.legend()
    return _written(figure, path)


def confusion(counts: Sequence[Sequence[int]], classes: Sequence[str], path: str | Path | None = None) -> "Figure":
    """A confusion matrix: rows the true class, columns the predicted one, counts in the cells.

    Shades leave the diagonal out, so that the mistakes show.

    Args:
        counts: classes x classes.
        classes: their names.
        path: the PNG to write.
    """
    import numpy as np
    from matplotlib.figure import Figure

    matrix = np.asarray(counts)
    mistakes = matrix * (1 - np.eye(len(classes), dtype=matrix.dtype))
    side = min(16.0, 2.4 + 0.42 * len(classes))
    figure = Figure(figsize=(side, side), dpi=120, layout="constrained")
    axes = figure.subplots()
    axes.imshow(mistakes, cmap="Oranges", vmin=0, vmax=max(5, mistakes.max()))
    axes.set_xticks(range(len(classes)), classes, rotation=90 if max(map(len, classes)) > 3 else 0)
    axes.set_yticks(range(len(classes)), classes)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    correct = int(np.trace(matrix))
    axes.set_title(f"{int(matrix.sum()) - correct} mistakes in {int(matrix.sum())}")
    if len(classes) <= 30:
        for row, column in zip(*np.nonzero(matrix), strict=True):
            dark = mistakes[row, column] > 0.6 * max(5, mistakes.max())
            weight = "bold" if row == column else "normal"
            text = str(matrix[row, column])
            axes.text(
                column,
                row,
                text,
                ha="center",
                va="center",
                color="white" if dark else "black",
                fontsize=8,
                weight=weight,
            )
    return _written(figure, path)


def grid(
    tiles: "Tensor",
    path: str | Path | None = None,
    *,
    columns: int = 10,
    names: Sequence[str] | None = None,
    signed: bool = False,
) -> "Figure":
    """Pictures side by side, row by row.

    Args:
        tiles: N x C x H x W with C 1 or 3, values from 0 to 1; other shapes are drawn as one strip each.
        path: the PNG to write.
        columns: pictures in a row.
        names: of each picture; a row bears that of its first.
        signed: show weights: each picture by itself, red below 0 and blue above, white at 0.
    """
    import numpy as np
    from matplotlib.figure import Figure

    x = tiles.detach().float().cpu()
    if x.dim() != 4 or x.shape[1] not in (1, 3):
        x = x.reshape(len(x), 1, 1, -1)
    if signed:
        x = x.mean(dim=1, keepdim=True)
        x = x / x.abs().amax(dim=(1, 2, 3), keepdim=True).clamp(min=1e-12)
    count, channels, height, width = x.shape
    rows = -(-count // columns)
    mosaic = np.full((rows * (height + 1) + 1, columns * (width + 1) + 1, channels), np.nan)
    for i, tile in enumerate(x.permute(0, 2, 3, 1).numpy()):
        top, left = 1 + (i // columns) * (height + 1), 1 + (i % columns) * (width + 1)
        mosaic[top : top + height, left : left + width] = tile if signed else tile.clip(0, 1)
    scale = max(2, 56 // max(height, 2)) / 100  # inches a pixel
    margin = 0.1 + 0.09 * max(map(len, names)) if names else 0.0
    size = (margin + scale * mosaic.shape[1], scale * mosaic.shape[0])
    figure = Figure(figsize=size, dpi=100)
    axes = figure.add_axes((margin / size[0], 0, 1 - margin / size[0], 1), facecolor="#888888")
    shown = mosaic[..., 0] if channels == 1 else np.nan_to_num(mosaic, nan=0.5)
    colours, least = ("RdBu", -1) if signed else ("gray", 0)
    axes.imshow(shown, interpolation="nearest", aspect="auto", cmap=colours, vmin=least, vmax=1)
    axes.set_xticks([])
    axes.set_yticks([])
    for row in range(rows) if names else ():
        axes.text(-4, 1 + row * (height + 1) + height / 2, names[row * columns], ha="right", va="center")  # type: ignore[index]
    return _written(figure, path)


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
    """A contact sheet: pictures in rows, each with its caption below.

    Args:
        tiles: C x H x W with C 1 or 3, values from 0 to 1; all of one size.
        captions: the lines below each; what does not fit is cut in the middle.
        path: the PNG to write.
        title: of the sheet.
        wrong: whether a picture is framed and captioned in red.
        columns: pictures in a row.
        width: of a picture, in inches.
    """
    import warnings

    from matplotlib.figure import Figure

    columns, rows = min(columns, len(tiles)), -(-len(tiles) // columns)
    picture = width * min(2.0, max(0.1, tiles[0].shape[1] / tiles[0].shape[2]))  # inches high
    lines = max(map(len, captions))
    across, down, gap, top = width + 0.15, picture + 0.15 * lines + 0.2, 0.15, 0.4  # inches
    size = (max(3.9, gap + columns * across), top + rows * down)
    room = int(width * 72 / (CAPTION * 0.61))  # letters of DejaVu Sans Mono, 0.602 em each, in the width of a picture
    figure = Figure(figsize=size, dpi=120)
    figure.text(gap / size[0], 1 - 0.2 / size[1], title, fontsize=10, va="center", parse_math=False)
    for i, (tile, caption) in enumerate(zip(tiles, captions, strict=True)):
        x, y = gap + (i % columns) * across, size[1] - top - (i // columns) * down - picture  # of the lower left corner
        axes = figure.add_axes((x / size[0], y / size[1], width / size[0], picture / size[1]))
        image = tile.detach().float().cpu().clamp(0, 1).permute(1, 2, 0).numpy()
        axes.imshow(image[..., 0] if image.shape[2] == 1 else image, cmap="gray", vmin=0, vmax=1)
        axes.set(xticks=[], yticks=[])
        red = wrong is not None and wrong[i]
        for spine in axes.spines.values():
            spine.set(color=RED if red else "#888888", linewidth=2 if red else 0.6)
        for k, line in enumerate(caption):
            place = (x / size[0], (y - 0.06 - 0.15 * k) / size[1])
            text = _shortened(line, room)
            font: dict[str, Any] = {"size": CAPTION, "family": "DejaVu Sans Mono", "color": RED if red else "black"}
            figure.text(*place, text, va="top", parse_math=False, fontdict=font)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a letter that the font lacks is drawn as a box
        return _written(figure, path)


def overlay(tile: "Tensor", heat: "Tensor") -> "Tensor":
    """A picture, and beside it the same in grey under a map in colour: blue at 0, red at 1.

    Args:
        tile: C x H x W with C 1 or 3, values from 0 to 1.
        heat: H x W, values from 0 to 1.

    Returns:
        3 x H x (2 W + gap).
    """
    import torch
    from matplotlib import colormaps

    values = 0.08 + 0.8 * heat.cpu().numpy()  # without the ends, which are dark both
    colour = torch.from_numpy(colormaps["turbo"](values)[..., :3]).permute(2, 0, 1).float()
    grey = 0.3 + 0.7 * tile.mean(dim=0).expand(3, -1, -1)  # on black, colours would be dark
    gap = torch.ones(3, tile.shape[1], max(1, tile.shape[2] // 28))
    return torch.cat([tile.expand(3, -1, -1), gap, 0.45 * grey + 0.55 * colour], dim=2)


def _shortened(text: str, room: int) -> str:
    """What fits, on one line: the beginning and the end, which tell files of a folder apart."""
    plain = "".join(letter if letter.isprintable() else "?" for letter in text)
    if len(plain) <= room:
        return plain
    head = (room - 1) // 2
    return f"{plain[:head]}…{plain[len(plain) - (room - 1 - head) :]}"


def codes(
    points: "Tensor",
    labels: Sequence[int],
    classes: Sequence[str],
    path: str | Path | None = None,
    *,
    method: str = "pca",
) -> "Figure":
    """A map of codes in the plane, coloured by class. Codes of two units are drawn as they are.

    Args:
        points: N x H.
        labels: N class numbers; empty without classes.
        classes: their names.
        path: the PNG to write.
        method: pca, or tsne (van der Maaten & Hinton 2008), which takes seconds for each thousand points.

    Raises:
        ValueError: an unknown method.
    """
    import numpy as np
    from matplotlib.figure import Figure
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    if method not in CODE_MAPS:
        raise ValueError(f"codes={method}: choose {' or '.join(CODE_MAPS)}")
    x = points.detach().float().cpu().numpy()
    few, alike = len(x) < 5, not x.std(axis=0).any()
    if x.shape[1] > 2 and not few and not alike:
        neighbours = min(30.0, (len(x) - 1) / 3)
        x = (PCA(2) if method == "pca" else TSNE(random_state=0, perplexity=neighbours)).fit_transform(x)
    elif x.shape[1] == 1:
        x = np.hstack([x, np.zeros_like(x)])
    figure = Figure(figsize=(7, 6), dpi=120, layout="constrained")
    axes = figure.subplots()
    numbers = np.asarray(labels)
    for k, name in enumerate(classes or [""]):
        chosen = numbers == k if len(numbers) else slice(None)
        axes.scatter(x[chosen, 0], x[chosen, 1], s=6, alpha=0.7, label=name, color=f"C{k % 10}")
    if 0 < len(classes) <= 20:
        axes.legend(markerscale=2, loc="center left", bbox_to_anchor=(1, 0.5))
    axes.set_title(f"codes of {len(x):,} examples" + (f", by {method}" if points.shape[1] > 2 else ""))
    axes.set_xticks([])
    axes.set_yticks([])
    return _written(figure, path)


def _written(figure: "Figure", path: str | Path | None) -> "Figure":
    if path is not None:
        figure.savefig(path, format="png")  # whatever the name ends in
    return figure
