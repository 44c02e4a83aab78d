"""Write a figure as a PNG; all plots use it."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_png(figure: "Figure", path: str | Path | None) -> "Figure":
    """Write the figure as a PNG (whatever the suffix of the path), unless the path is None, and return it."""
    if path is not None:
        figure.savefig(path, format="png")
    return figure
