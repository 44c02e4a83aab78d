"""What all plots share: matplotlib's default settings, figures of a bounded size, and names that are drawn as they are.

Names of classes, files and runs may have any letters. By default, matplotlib reads text between ``$`` as mathematics,
and omits names that begin with ``_`` from a legend.
"""

import logging
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.config.console import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_SIDE = 4000  # maximum width and height of a figure, in pixels
MAX_LETTERS = 24  # maximum length of a name in a plot; longer ones are shortened in the middle
MAX_LINES_IN_LEGEND = 20

_lock = threading.RLock()  # matplotlib's settings and Python's filters of warnings belong to the whole process


@contextmanager
def default_style() -> Iterator[None]:
    """Draw with matplotlib's default settings, whatever the user's are, and without warnings.

    Every function that draws is decorated with it. Threads draw one after another. The user's settings are restored.
    """
    # matplotlib uses `warnings` (about letters that the font lacks, or a layout that does not fit) and `logging` (about
    # a missing cache folder or unknown settings), also while it is imported.
    logger = logging.getLogger("matplotlib")
    with _lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        level = logger.level
        logger.setLevel(logging.ERROR)
        try:
            import matplotlib

            with matplotlib.rc_context():
                matplotlib.rcdefaults()
                yield
        finally:
            logger.setLevel(level)


def new_figure(width: float, height: float, *, dpi: float, layout: Any = None) -> "Figure":
    """An empty figure, whose resolution is lowered if it would have more than `MAX_SIDE` pixels on a side.

    Args:
        width: in inches.
        height: in inches.
        dpi: pixels per inch.
        layout: layout engine of matplotlib.
    """
    from matplotlib.figure import Figure

    # Round down: matplotlib rounds the number of pixels.
    dpi = min(dpi, (MAX_SIDE - 0.5) / max(width, height))
    return Figure(figsize=(width, height), dpi=dpi, layout=layout)


def write_png(figure: "Figure", path: str | Path | None) -> "Figure":
    """Write the figure as a PNG (whatever the suffix of the path), unless the path is None, and return it."""
    if path is not None:
        figure.savefig(path, format="png")
    return figure


def plain(name: str, max_letters: int = MAX_LETTERS) -> str:
    """A name on one line. A long one is shortened in the middle, since the beginning and the end identify a file."""
    text = printable(name)
    if len(text) <= max_letters:
        return text
    # Cut the middle out.
    head = (max_letters - 1) // 2
    tail = max_letters - 1 - head
    return f"{text[:head]}…{text[len(text) - tail :]}"


def add_legend(axes: "Axes", lines: Sequence[Any], names: Sequence[str], *, max_letters: int, **options: Any) -> None:
    """Add a legend with the names as they are; of many lines, only the first ones are named.

    Args:
        axes: where to draw.
        lines: the lines or clouds of points.
        names: the name of each line.
        max_letters: maximum length of a name.
        options: further arguments of matplotlib's ``legend``.
    """
    # If not all lines are named, the title of the legend says so.
    shown = lines[:MAX_LINES_IN_LEGEND]
    title = None
    if len(lines) > len(shown):
        title = f"the first {len(shown)} of {len(lines)}"

    # Set the texts afterwards: a label that begins with "_" would be left out.
    legend = axes.legend(shown, [str(k) for k in range(len(shown))], title=title, **options)
    for text, name in zip(legend.get_texts(), names, strict=False):
        text.set(text=plain(name, max_letters), parse_math=False)
