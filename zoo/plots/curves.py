"""Plots of metrics: training curves and confusion matrices."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.plots.figure import write_png

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Series = Mapping[str, tuple[Sequence[float], Sequence[float]]]  # name of a line -> its x and y values

FEW_POINTS = 40  # lines with fewer points get a marker for each
LOG_RATIO = 20  # quantities whose values differ by a larger factor get a logarithmic axis
MAX_CLASSES_WITH_COUNTS = 30  # confusion matrices of more classes show no numbers


def curves(
    panels: Mapping[str, Series], path: str | Path | None = None, *, x_label: str = "optimizer step"
) -> "Figure":
    """Draw one panel for each quantity, side by side.

    Args:
        panels: title of each panel -> its lines. A line with an empty name gets no legend.
        path: the PNG to write.
        x_label: label of the horizontal axes.
    """
    from matplotlib.figure import Figure

    # Make one row of axes, one for each panel.
    figure = Figure(figsize=(5.2 * len(panels), 3.6), dpi=120, layout="constrained")
    row_of_axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (title, lines) in zip(row_of_axes, panels.items(), strict=True):
        # Mark the points of short lines: one point alone would be invisible.
        for name, (x, y) in lines.items():
            marker = "o" if len(x) < FEW_POINTS else None
            axes.plot(x, y, label=name, marker=marker, markersize=3, linewidth=1.4)
        axes.set_xlabel(x_label)
        axes.set_title(title)
        axes.grid(alpha=0.3)

        # Positive values of several magnitudes are only readable on a logarithmic axis.
        values = [value for _, y in lines.values() for value in y]
        if values and min(values) > 0 and max(values) / min(values) > LOG_RATIO:
            axes.set_yscale("log")
        if any(lines):  # any name that is not empty
            axes.legend()
    return write_png(figure, path)


def confusion(counts: Sequence[Sequence[int]], classes: Sequence[str], path: str | Path | None = None) -> "Figure":
    """Draw a confusion matrix: true classes in rows, predicted classes in columns, counts in the cells.

    Only the mistakes are shaded, since the large counts on the diagonal would hide their differences.

    Args:
        counts: classes x classes.
        classes: names of the classes.
        path: the PNG to write.
    """
    import numpy as np
    from matplotlib.figure import Figure

    # Shade everything but the diagonal.
    matrix = np.asarray(counts)
    mistakes = matrix * (1 - np.eye(len(classes), dtype=matrix.dtype))
    darkest = max(5, mistakes.max())
    side = min(16.0, 2.4 + 0.42 * len(classes))  # inches
    figure = Figure(figsize=(side, side), dpi=120, layout="constrained")
    axes = figure.subplots()
    axes.imshow(mistakes, cmap="Oranges", vmin=0, vmax=darkest)

    # Name the classes and count the mistakes.
    long_names = max(map(len, classes)) > 3
    axes.set_xticks(range(len(classes)), classes, rotation=90 if long_names else 0)
    axes.set_yticks(range(len(classes)), classes)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    correct = int(np.trace(matrix))
    axes.set_title(f"{int(matrix.sum()) - correct} mistakes in {int(matrix.sum())}")

    # Write the numbers that are not 0 into their cells.
    if len(classes) <= MAX_CLASSES_WITH_COUNTS:
        for row, column in zip(*np.nonzero(matrix), strict=True):
            dark = mistakes[row, column] > 0.6 * darkest
            axes.text(
                column,
                row,
                str(matrix[row, column]),
                ha="center",
                va="center",
                color="white" if dark else "black",
                fontsize=8,
                weight="bold" if row == column else "normal",
            )
    return write_png(figure, path)
