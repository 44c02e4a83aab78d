"""What all plots have in common: writing the PNG."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_png(figure: "Figure", path: str | Path | None) -> "Figure":
    """Write the figure, if there is a path for it, and return it. The file is a PNG whatever its suffix."""
    if path is not None:
        figure.savefig(path, format="png")
    return figure
