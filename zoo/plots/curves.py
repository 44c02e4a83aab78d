"""Plots of metrics: training curves and confusion matrices."""

import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.plots.figure import add_legend, default_style, new_figure, plain, write_png

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Series = Mapping[str, tuple[Sequence[float], Sequence[float]]]  # name of a line -> its x and y values

FEW_POINTS = 40  # lines with fewer points get a marker for each
LOG_RATIO = 20  # quantities whose values differ by a larger factor get a logarithmic axis
MAX_CLASSES_WITH_COUNTS = 30  # confusion matrices of more classes show no numbers
MAX_CELLS = 1600  # larger confusion matrices are drawn in blocks of rows and columns
MAX_PANELS = 6
MAX_LETTERS_OF_A_LINE = 60
MAX_VALUE = 1e300  # larger values cannot be placed on an axis


@default_style()
def curves(
    panels: Mapping[str, Series], path: str | Path | None = None, *, x_label: str = "optimizer step"
) -> "Figure":
    """Draw one panel for each quantity, side by side.

    Args:
        panels: title of each panel -> its lines. A panel has a legend unless its only line has an empty name. Of more
            than `MAX_PANELS` panels, the first ones are drawn. Values that are NaN or Inf are left out.
        path: the PNG to write.
        x_label: label of the horizontal axes.
    """
    import numpy as np

    # Make one row of axes, one for each panel.
    titles = list(panels)[:MAX_PANELS]
    figure = new_figure(5.2 * len(titles), 3.6, dpi=120, layout="constrained")
    row_of_axes = figure.subplots(1, len(titles), squeeze=False)[0]
    for axes, title in zip(row_of_axes, titles, strict=True):
        # Leave out values that are NaN or Inf, or too large for matplotlib.
        lines: dict[str, tuple[Any, Any]] = {}
        for name, (steps, values) in panels[title].items():
            x, y = np.asarray(steps, dtype=float), np.asarray(values, dtype=float)
            drawable = np.abs(y) < MAX_VALUE  # False for NaN
            lines[name] = (x[drawable], y[drawable])

        # Mark the points of short lines: one point alone would be invisible.
        drawn = []
        for x, y in lines.values():
            marker = "o" if len(x) < FEW_POINTS else None
            drawn += axes.plot(x, y, marker=marker, markersize=3, linewidth=1.4)
        axes.set_xlabel(plain(x_label, MAX_LETTERS_OF_A_LINE), parse_math=False)
        axes.set_title(plain(title, MAX_LETTERS_OF_A_LINE), parse_math=False)
        axes.grid(alpha=0.3)

        # Positive values of several magnitudes are only readable on a logarithmic axis.
        smallest = min((y.min() for _, y in lines.values() if len(y)), default=0)
        largest = max((y.max() for _, y in lines.values() if len(y)), default=0)
        if smallest > 0 and largest / smallest > LOG_RATIO:
            axes.set_yscale("log")
        if any(lines):  # any name that is not empty
            add_legend(axes, drawn, list(lines), max_letters=MAX_LETTERS_OF_A_LINE, fontsize=_legend_size(lines))
    return write_png(figure, path)


def _legend_size(names: Collection[str]) -> float:
    """The font size of a legend, in points: smaller if there are many names or long ones."""
    longest = max(map(len, names))
    return 10 if len(names) <= 8 and longest <= 30 else 6


@default_style()
def confusion(counts: Sequence[Sequence[int]], classes: Sequence[str], path: str | Path | None = None) -> "Figure":
    """Draw a confusion matrix: true classes in rows, predicted classes in columns, counts in the cells.

    Only the mistakes are shaded, since the large counts on the diagonal would hide their differences.

    Args:
        counts: classes x classes.
        classes: names of the classes.
        path: the PNG to write.
    """
    import numpy as np

    # Shade everything but the diagonal.
    matrix = np.asarray(counts)
    mistakes = matrix * (1 - np.eye(len(classes), dtype=matrix.dtype))
    darkest = max(5, mistakes.max())

    # A square with a side of 16 inches at most, and margins for long names.
    names = [plain(name) for name in classes]
    longest = max(map(len, names))
    cells = min(13.6, 0.42 * len(classes))  # inches
    side = 2.4 + cells + 0.075 * max(0, longest - 16)
    figure = new_figure(side, side, dpi=120, layout="constrained")
    axes = figure.subplots()
    edges = (-0.5, len(classes) - 0.5, len(classes) - 0.5, -0.5)  # left, right, bottom, top
    axes.imshow(_shrink(mistakes), cmap="Oranges", vmin=0, vmax=darkest, extent=edges)

    # Name the classes, in small letters if there are many. If there are too many, name every second or third one, …
    points = 72 * cells / len(classes)  # height of a row
    font_size = min(10.0, max(5.0, 0.85 * points))
    named = range(0, len(classes), math.ceil(font_size / points))
    drawn = [names[k] for k in named]
    axes.set_xticks(named, drawn, rotation=90 if longest > 3 else 0, fontsize=font_size, parse_math=False)
    axes.set_yticks(named, drawn, fontsize=font_size, parse_math=False)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    correct = int(np.trace(matrix))
    axes.set_title(f"{int(matrix.sum()) - correct} mistakes in {int(matrix.sum())}", wrap=True)

    # Write the numbers that are not 0 into their cells.
    if len(classes) <= MAX_CLASSES_WITH_COUNTS:
        for row, column in zip(*np.nonzero(matrix), strict=True):
            dark = mistakes[row, column] > 0.6 * darkest
            count = str(matrix[row, column])
            axes.text(
                column,
                row,
                count,
                ha="center",
                va="center",
                color="white" if dark else "black",
                fontsize=min(8.0, 40 / len(count)),
                weight="bold" if row == column else "normal",
            )
    return write_png(figure, path)


def _shrink(matrix: Any) -> Any:
    """The maximum of each block of a large matrix, so that no mistake is lost between the pixels."""
    import numpy as np

    step = math.ceil(len(matrix) / MAX_CELLS)
    if step == 1:
        return matrix
    # Blocks of step x step; the last ones may be smaller.
    starts = np.arange(0, len(matrix), step)
    return np.maximum.reduceat(np.maximum.reduceat(matrix, starts, axis=0), starts, axis=1)
