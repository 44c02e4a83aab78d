"""The progress of a fit in a Jupyter notebook: one figure, redrawn after an epoch in place of a line for each.

IPython is imported within the functions: only a notebook has it.
"""

import io
import sys
import time
from collections.abc import Mapping
from typing import Any, cast

from zoo.plots import curves

REDRAW_EVERY = 1.0  # seconds: drawing takes about 0.2 seconds
DPI = 70


def in_notebook() -> bool:
    """Whether the program runs in a notebook, which can show figures."""
    # Do not import IPython: a notebook has imported it.
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return any(kind.__name__ == "ZMQInteractiveShell" for kind in type(shell).__mro__)


class LiveCurve:
    """The curves of one fit: the losses in one panel, the monitored metric in the next.

    Args:
        name: name of the fit.
        monitor: the metric by which epochs are compared; without it, the second panel has all metrics but the losses.
    """

    def __init__(self, name: str, monitor: str = "") -> None:
        from IPython import display

        self.name = name
        self.monitor = monitor
        self._values: dict[str, tuple[list[float], list[float]]] = {}
        self._image: Any = display.Image
        self._handle = cast(Any, display).display({"text/plain": f"{name}: training …"}, raw=True, display_id=True)
        self._drawn = 0.0

    def add(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Add the metrics of an epoch, counted from 1, and draw the figure again if it is a second old."""
        for name, value in metrics.items():
            epochs, values = self._values.setdefault(name, ([], []))
            epochs.append(epoch)
            values.append(value)
        if time.monotonic() - self._drawn >= REDRAW_EVERY:
            self.draw()

    def draw(self) -> None:
        """Replace the figure in the notebook."""
        losses = {name: line for name, line in self._values.items() if name.endswith("/loss")}
        others = {name: line for name, line in self._values.items() if name not in losses}
        if self.monitor in others:
            others = {self.monitor: others[self.monitor]}
        panels = {f"{self.name}: loss": losses, f"{self.name}: metrics": others}
        figure = curves.curves({title: lines for title, lines in panels.items() if lines}, x_label="epoch")
        png = io.BytesIO()
        figure.savefig(png, format="png", dpi=DPI)
        self._handle.update(self._image(data=png.getvalue()))
        self._drawn = time.monotonic()
