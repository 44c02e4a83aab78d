"""Pictures of runs and nets, as matplotlib figures: a notebook shows what is returned, ``path=`` writes a PNG as well.

Imports matplotlib when asked to draw; needs no display.
"""

from collections.abc import Mapping, Sequence
from itertools import product
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
        if any(lines):  # named
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


def panels(
    tiles: "Mapping[str, Tensor]",
    path: str | Path | None = None,
    *,
    columns: int = 4,
    signed: Sequence[str] = (),
    numbers: bool = False,
    width: float = 2.2,
) -> "Figure":
    """Pictures and maps of any sizes, each under its title and drawn at the same width.

    Args:
        tiles: title -> H x W or C x H x W with C 1 or 3, values from 0 to 1; all of one ratio of height to width.
        path: the PNG to write.
        columns: pictures in a row.
        signed: titles of those shown as `grid` shows weights: red below 0 and blue above, white at 0, by themselves.
        numbers: write the values into their cells, over shades from 0 (white) to the greatest; for small ones.
        width: of a picture, in inches.
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    columns, rows = min(columns, len(tiles)), -(-len(tiles) // columns)
    first = next(iter(tiles.values()))
    lines = max(title.count("\n") + 1 for title in tiles)
    down = width * first.shape[-2] / first.shape[-1] + 0.08 + 0.2 * lines  # inches a row
    layout = ConstrainedLayoutEngine(w_pad=0.03, h_pad=0.03)  # inches
    figure = Figure(figsize=(columns * (width + 0.1), rows * down), dpi=120, layout=layout)
    places = figure.subplots(rows, columns, squeeze=False).flat
    for axes, (title, tile) in zip(places, tiles.items(), strict=False):
        image = tile.detach().float().cpu()
        image = image.permute(1, 2, 0).squeeze(2) if image.dim() == 3 else image
        most = max(float(image.abs().max()), 1e-12) * (2 if numbers else 1)  # pale, so that black letters can be read
        if title in signed:
            image = image.mean(dim=2) if image.dim() == 3 else image
            colours, least, most = "RdBu", -most, most
        elif numbers:
            colours, least = "Greys", 0.0
        else:
            image, colours, least, most = image.clamp(0, 1), "gray", 0.0, 1.0
        axes.imshow(image.numpy(), cmap=colours, vmin=least, vmax=most, interpolation="nearest")
        if numbers:
            size = min(9.0, 72 * width / image.shape[1] * 0.5)  # points: half the side of a cell
            for (row, column), value in zip(product(*map(range, image.shape)), image.flatten().tolist(), strict=True):
                axes.text(column, row, f"{value:.3g}", ha="center", va="center", fontsize=size)
        axes.set_title(title, fontsize=9)
    for axes in figure.axes:
        axes.set(xticks=[], yticks=[])
    for axes in figure.axes[len(tiles) :]:
        axes.set_axis_off()
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


def network(
    sizes: Sequence[int],
    path: str | Path | None = None,
    *,
    weights: "Sequence[Tensor] | None" = None,
    activations: "Sequence[Tensor] | None" = None,
    names: Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
    drawn: Mapping[int, Sequence[int]] | None = None,
    most: int = 16,
) -> "Figure":
    """A fully connected net as a diagram: a column of units a layer, a line for each weight, input on the left.

    Args:
        sizes: units of each layer, the input's first.
        path: the PNG to write.
        weights: of each matrix, outputs x inputs: lines are red below 0 and blue above, paler the nearer to 0, each
            matrix by the greatest of its weights that are drawn.
        activations: of each layer, its units' values from 0 to 1: units are shaded from black to white.
        names: of each layer, to stand below its size.
        classes: of the last layer's units, to stand beside them.
        drawn: layer -> which of its units stand for it, for layers too wide to be drawn; default: the first and last.
        most: how many units of a layer are drawn; where it has more, dots stand in the middle.

    Raises:
        ValueError: weights, activations or drawn units that do not fit the sizes.
    """
    import numpy as np
    from matplotlib import colormaps
    from matplotlib.collections import LineCollection
    from matplotlib.figure import Figure

    shapes = [tuple(w.shape) for w in weights or ()]
    if weights is not None and shapes != list(zip(sizes[1:], sizes[:-1], strict=True)):
        raise ValueError(f"weights of {shapes} do not join layers of {list(sizes)}")
    if activations is not None and [a.numel() for a in activations] != list(sizes):
        raise ValueError(f"activations of {[a.numel() for a in activations]} are not those of layers of {list(sizes)}")
    units, heights = [], []
    for layer, size in enumerate(sizes):
        half = most // 2
        first_and_last = range(size) if size <= most else [*range(half), *range(size - half, size)]
        chosen = list((drawn or {}).get(layer, first_and_last))
        if not chosen or min(chosen) < 0 or max(chosen) >= size:
            raise ValueError(f"layer {layer} has units 0 to {size - 1}; drawn={chosen}")
        gap = (np.arange(len(chosen)) >= len(chosen) / 2) * (1.6 if len(chosen) < size else 0.0)
        y = -(np.arange(len(chosen)) + gap)
        units.append(chosen)
        heights.append(y - y.mean())
    tallest = max(float(np.ptp(y)) for y in heights)
    figure = Figure(figsize=(8, 5.2), dpi=120)
    axes = figure.add_axes((0.01, 0.01, 0.98, 0.98))
    across = 0.55 * max(tallest, 8)  # between two columns
    for layer in range(len(sizes) - 1):
        pairs = [(j, i) for j in range(len(units[layer + 1])) for i in range(len(units[layer]))]
        ends = [((across * layer, heights[layer][i]), (across * (layer + 1), heights[layer + 1][j])) for j, i in pairs]
        colours, widths = np.tile([0.55, 0.55, 0.55, 0.5], (len(pairs), 1)), np.full(len(pairs), 0.5)
        if weights is not None:
            matrix = weights[layer].detach().float().cpu().numpy()[np.ix_(units[layer + 1], units[layer])].ravel()
            strength = matrix / max(np.abs(matrix).max(), 1e-12)
            colours = colormaps["RdBu"](0.5 + 0.42 * np.sign(strength))  # the hue; the strength is in what shows of it
            colours[:, 3] = np.abs(strength)
            widths = 0.4 + 1.6 * np.abs(strength)
        axes.add_collection(LineCollection(ends, colors=colours, linewidths=widths, zorder=1))
    radius = 0.4
    for layer, (chosen, y) in enumerate(zip(units, heights, strict=True)):
        values = None if activations is None else activations[layer].detach().float().cpu().flatten().numpy()[chosen]
        fill = "white" if values is None else colormaps["gray"](values.clip(0, 1))
        x = np.full(len(y), across * layer)
        axes.scatter(
            x, y, s=(radius * 2 * 72 * 5.1 / (tallest + 4.2)) ** 2, c=fill, edgecolors="black", linewidths=0.9, zorder=2
        )
        if len(chosen) < sizes[layer]:
            cut = (len(y) + 1) // 2
            middle = (y[cut - 1] + y[cut]) / 2 if len(y) > 1 else y[0] - 1.3
            axes.plot([across * layer] * 3, middle + np.array([-0.45, 0, 0.45]), "k.", markersize=3.5, zorder=2)
        for line, text in enumerate((f"{sizes[layer]:,}", *(names[layer : layer + 1] if names else ()))):
            axes.text(across * layer, -tallest / 2 - 1.9 - line, text, ha="center", va="baseline", fontsize=13)
    for k in units[-1] if classes else ():
        at = heights[-1][units[-1].index(k)]
        axes.text(across * (len(sizes) - 1) + 0.9, at, classes[k], ha="left", va="center", fontsize=13)  # type: ignore[index]
    widest = max(map(len, classes)) if classes else 0
    axes.set_xlim(-0.36 * across, across * (len(sizes) - 1) + 0.36 * across + 0.35 * max(0, widest - 3))
    axes.set_ylim(-tallest / 2 - (3.4 if names else 2.4), tallest / 2 + 0.8)
    axes.set_axis_off()
    return _written(figure, path)


def _written(figure: "Figure", path: str | Path | None) -> "Figure":
    if path is not None:
        figure.savefig(path, format="png")  # whatever the name ends in
    return figure
