"""Pictures of a run, as PNG files. Imports matplotlib when asked to draw, without a display."""

from collections.abc import Mapping, Sequence
from pathlib import Path

Series = Mapping[str, tuple[Sequence[float], Sequence[float]]]  # a line's name -> its x and y values


def curves(panels: Mapping[str, Series], path: str | Path) -> None:
    """One panel a quantity, side by side, each with its lines over the optimizer's steps.

    Args:
        panels: title of the panel -> its lines.
        path: the PNG to write.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2 * len(panels), 3.6), layout="constrained")
    for axes, (title, lines) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        for name, (x, y) in lines.items():
            axes.plot(x, y, label=name, marker="o" if len(x) < 40 else None, markersize=3, linewidth=1.4)
        axes.set_xlabel("optimizer step")
        axes.set_title(title)
        axes.grid(alpha=0.3)
        values = [value for _, y in lines.values() for value in y]
        if values and min(values) > 0 and max(values) / min(values) > 20:
            axes.set_yscale("log")
        if lines:
            axes.legend()
    figure.savefig(path, dpi=120)


def confusion(counts: Sequence[Sequence[int]], classes: Sequence[str], path: str | Path) -> None:
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
    figure = Figure(figsize=(side, side), layout="constrained")
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
    figure.savefig(path, dpi=120)
