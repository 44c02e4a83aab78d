"""A fully connected net as a diagram: a column of units for each layer, a line for each weight."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.plots.figure import default_style, new_figure, plain, write_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor

# Lengths in the diagram's own unit: the distance between two units of a layer.
RADIUS = 0.4  # radius of a unit
GAP = 1.6  # gap in the middle of a layer if not all of its units are drawn
DOTS = (-0.45, 0.0, 0.45)  # heights of the three dots in that gap
FONT_SIZE = 13
MAX_LETTERS = 16  # maximum length of a name


@dataclass(frozen=True)
class Column:
    """A layer in the diagram.

    Attributes:
        size: number of units of the layer.
        units: the units that are drawn, from the top down.
        x: position of the column.
        y: position of each unit that is drawn; an array.
    """

    size: int
    units: list[int]
    x: float
    y: Any

    @property
    def complete(self) -> bool:
        return len(self.units) == self.size


@default_style()
def network(
    sizes: Sequence[int],
    path: str | Path | None = None,
    *,
    weights: "Sequence[Tensor] | None" = None,
    activations: "Sequence[Tensor] | None" = None,
    names: Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
    shown: Mapping[int, Sequence[int]] | None = None,
    max_units: int = 16,
) -> "Figure":
    """Draw a fully connected net, input on the left.

    Args:
        sizes: number of units of each layer, the input first.
        path: the PNG to write.
        weights: the weight matrices, each outputs x inputs. Lines are red below 0 and blue above, and paler near 0,
            each matrix scaled by the maximum of its weights that are drawn.
        activations: for each layer, the values of its units in [0, 1]: units are shaded from black to white.
        names: the name of each layer, written below its size.
        classes: names of the units of the last layer, written beside them.
        shown: layer -> the units that are drawn, for layers too wide to be drawn whole; by default the first and
            the last ones.
        max_units: maximum number of units per layer that are drawn by default.

    Raises:
        ValueError: weights, activations or shown units that do not match the sizes.
    """
    import numpy as np

    _check(sizes, weights, activations)
    # Choose the units that are drawn, and arrange them in columns.
    units = [_units(layer, size, shown or {}, max_units) for layer, size in enumerate(sizes)]
    heights = [_heights(len(chosen), complete=len(chosen) == size) for chosen, size in zip(units, sizes, strict=True)]
    tallest = max(float(np.ptp(y)) for y in heights)
    distance = 0.55 * max(tallest, 8)  # between two columns
    columns = [
        Column(size, chosen, distance * layer, y)
        for layer, (size, chosen, y) in enumerate(zip(sizes, units, heights, strict=True))
    ]

    # Weights go below the units.
    figure = new_figure(8, 5.2, dpi=120)
    axes = figure.add_axes((0.01, 0.01, 0.98, 0.98))
    for layer in range(len(sizes) - 1):
        matrix = None if weights is None else weights[layer]
        _draw_weights(axes, columns[layer], columns[layer + 1], matrix)
    for layer, column in enumerate(columns):
        values = None if activations is None else activations[layer]
        _draw_units(axes, column, values, tallest)
        _write_below(axes, column, names[layer] if names else None, -tallest / 2 - 1.9)

    # The names of the classes stand to the right of the last column, which is moved to the left if they are long.
    longest_name = 0
    if classes:
        texts = [plain(classes[unit], MAX_LETTERS) for unit in columns[-1].units]
        longest_name = max(map(len, texts))
        for text, y in zip(texts, columns[-1].y, strict=True):
            x = columns[-1].x + 0.9
            axes.text(x, y, text, ha="left", va="center", fontsize=FONT_SIZE, parse_math=False)
    axes.set_xlim(-0.36 * distance, columns[-1].x + 0.36 * distance + 0.35 * max(0, longest_name - 3))
    axes.set_ylim(-tallest / 2 - (3.4 if names else 2.4), tallest / 2 + 0.8)
    axes.set_axis_off()
    return write_png(figure, path)


def _check(sizes: Sequence[int], weights: "Sequence[Tensor] | None", activations: "Sequence[Tensor] | None") -> None:
    """Raise ValueError if weights or activations do not match the sizes."""
    if weights is not None:
        shapes = [tuple(matrix.shape) for matrix in weights]
        if shapes != list(zip(sizes[1:], sizes[:-1], strict=True)):
            raise ValueError(f"weights of shapes {shapes} do not connect layers of sizes {list(sizes)}")
    if activations is not None:
        counts = [values.numel() for values in activations]
        if counts != list(sizes):
            raise ValueError(f"activations of {counts} units do not match layers of sizes {list(sizes)}")


def _units(layer: int, size: int, shown: Mapping[int, Sequence[int]], max_units: int) -> list[int]:
    """The units of a layer that are drawn: those requested, or all, or the first and the last ones."""
    if layer in shown:
        chosen = list(shown[layer])
        if not chosen or min(chosen) < 0 or max(chosen) >= size:
            raise ValueError(f"shown={chosen}: units of layer {layer} must be in [0, {size - 1}]")
        return chosen
    if size <= max_units:
        return list(range(size))
    # Too wide to be drawn whole: the first and the last units.
    half = max_units // 2
    return [*range(half), *range(size - half, size)]


def _heights(count: int, *, complete: bool) -> Any:
    """The positions of units in a column, from the top down, around 0; a gap in the middle if some are left out."""
    import numpy as np

    # The lower half is moved down by the gap.
    position = np.arange(count)
    gap = 0.0 if complete else GAP
    y = -(position + (position >= count / 2) * gap)
    return y - y.mean()


def _draw_weights(axes: "Axes", left: Column, right: Column, matrix: "Tensor | None") -> None:
    """Draw a line for each weight between the units that are drawn of two layers."""
    import numpy as np
    from matplotlib import colormaps
    from matplotlib.collections import LineCollection

    # A line goes from each unit on the left to each unit on the right, in the order of the matrix.
    ends = [((left.x, left_y), (right.x, right_y)) for right_y in right.y for left_y in left.y]
    if matrix is None:
        axes.add_collection(LineCollection(ends, colors=[(0.55, 0.55, 0.55, 0.5)], linewidths=0.5, zorder=1))
        return

    # The hue shows the sign; the strength shows in the opacity and in the width of the line.
    chosen = matrix.detach().float().cpu().numpy()[np.ix_(right.units, left.units)].ravel()
    strength = chosen / max(np.abs(chosen).max(), 1e-12)  # in [-1, 1]
    colors = colormaps["RdBu"](0.5 + 0.42 * np.sign(strength))
    colors[:, 3] = np.abs(strength)
    widths = 0.4 + 1.6 * np.abs(strength)
    axes.add_collection(LineCollection(ends, colors=colors, linewidths=widths, zorder=1))


def _draw_units(axes: "Axes", column: Column, values: "Tensor | None", tallest: float) -> None:
    """Draw the units of a layer as circles, shaded by their values; dots stand for those left out."""
    import numpy as np
    from matplotlib import colormaps

    # Shade the circles, and make them as large as the tallest column allows.
    fill: Any = "white"
    if values is not None:
        chosen = values.detach().float().cpu().flatten().numpy()[column.units]
        fill = colormaps["gray"](chosen.clip(0, 1))
    diameter = RADIUS * 2 * 72 * 5.1 / (tallest + 4.2)  # points: the figure is 5.1 inches high without its margins
    x = np.full(len(column.y), column.x)
    axes.scatter(x, column.y, s=diameter**2, c=fill, edgecolors="black", linewidths=0.9, zorder=2)

    if not column.complete:
        # Between the two units around the gap; below the unit if there is only one.
        below = (len(column.y) + 1) // 2
        middle = (column.y[below - 1] + column.y[below]) / 2 if len(column.y) > 1 else column.y[0] - 1.3
        axes.plot([column.x] * 3, middle + np.array(DOTS), "k.", markersize=3.5, zorder=2)


def _write_below(axes: "Axes", column: Column, name: str | None, y: float) -> None:
    """Write the size of a layer below its column, and its name below that."""
    axes.text(column.x, y, f"{column.size:,}", ha="center", va="baseline", fontsize=FONT_SIZE)
    if name is not None:
        axes.text(
            column.x, y - 1, plain(name, MAX_LETTERS), ha="center", va="baseline", fontsize=FONT_SIZE, parse_math=False
        )
