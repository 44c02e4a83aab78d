"""Progress display during training: a live bar in a terminal, one line per epoch elsewhere."""

import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from typing import Any, TypeVar

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar as LightningProgressBar
from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar as Bar
from rich.table import Table
from rich.text import Text

from zoo.tasks.task import Task
from zoo.training.notebook import LiveCurve, in_notebook

REDRAW_EVERY = 0.1  # seconds: reading the metrics more often would slow the training of a small net
MIN_BAR = 8  # columns
MAX_BAR = 40
FIRST_REPORT = 2.0  # seconds; work outside the epochs that takes less time gets no line
REPORT_EVERY = 10.0  # seconds between lines of such work where the output is not a terminal

Item = TypeVar("Item")


class ProgressBar(LightningProgressBar):
    """The progress of one fit on standard output.

    In a terminal: a live line that always fits the terminal's width. It keeps the last state when the fit ends, so that
    a run of several fits leaves one line for each. In a notebook: a figure, see `zoo.training.notebook`. In a pipe or a
    log file: one line per epoch, without control characters.

    Args:
        name: name of the fit, such as ``fit`` or ``pretrain.layer0``.
    """

    def __init__(self, name: str = "fit") -> None:
        super().__init__()
        self.name = name
        self._enabled = True
        self._live: Live | None = None
        self._curve: LiveCurve | None = None
        self._epochs = "?"
        self._completed = 0  # batches of this epoch, of training and validation
        self._total = 1
        self._start = 0.0  # start time of the fit, in seconds
        self._epoch_start = 0.0
        self._start_share = 0.0  # share of the fit that was done before a resume
        self._drawn = 0.0

    # Lightning disables the bar in all processes but one.

    def disable(self) -> None:
        self._enabled = False

    def enable(self) -> None:
        self._enabled = True

    # Training, from the first epoch to the last.

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # A resumed fit starts in the middle: estimate the remaining time from the progress since then.
        self._start = time.monotonic()
        if trainer.max_epochs is not None and trainer.max_epochs > 0:
            self._epochs = str(trainer.max_epochs)
        self._start_share = self._share(trainer)
        if self._enabled and in_notebook():
            self._curve = LiveCurve(self.name, pl_module.monitor if isinstance(pl_module, Task) else "")
            return
        console = Console()
        if self._enabled and console.is_terminal and not console.is_dumb_terminal:
            # Redraw from these hooks and not from a thread, which would read metrics while they change.
            self._live = Live(console=console, auto_refresh=False)
            self._live.start()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._epoch_start = time.monotonic()
        self._completed = 0
        # Count training and validation batches, since validation may take as long as training.
        batches = [trainer.num_training_batches, *trainer.num_val_batches]
        self._total = max(1, int(sum(batches)))
        self._redraw(trainer)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *rest: Any) -> None:
        batch_idx: int = rest[-1]
        self._completed = batch_idx + 1  # not a count: a resumed epoch begins in the middle
        self._redraw(trainer)

    def on_validation_batch_end(self, trainer: Trainer, pl_module: LightningModule, *rest: Any) -> None:
        self._completed += 1
        self._redraw(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._live is not None:
            self._redraw(trainer, now=True)
        elif self._curve is not None:
            metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
            self._curve.add(trainer.current_epoch + 1, metrics)
        elif self._enabled:
            # Not a terminal: one line, flushed so that a log file can be followed.
            seconds = time.monotonic() - self._epoch_start
            parts = [self._description(trainer), *_texts(trainer.progress_bar_metrics), _duration(seconds)]
            sys.stdout.write("  ".join(parts) + "\n")
            sys.stdout.flush()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._stop()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._stop()

    # The live line.

    def _stop(self) -> None:
        """Stop the live display: the last line or figure stays, and the terminal returns to its normal state."""
        if self._curve is not None:
            self._curve.draw()
            self._curve = None
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _redraw(self, trainer: Trainer, *, now: bool = False) -> None:
        """Draw the line again, unless it was drawn less than `REDRAW_EVERY` seconds ago; ``now``: in any case."""
        if self._live is None or not (now or time.monotonic() - self._drawn >= REDRAW_EVERY):
            return
        self._drawn = time.monotonic()
        line = self._line(trainer, self._live.console.width)
        self._live.update(line, refresh=True)

    def _line(self, trainer: Trainer, width: int) -> Table:
        """Description, bar, percentage, time and as many metrics as fit into ``width`` columns."""
        # Percentage and time always stay; a long description is cut.
        share = self._completed / self._total
        parts = [f"{share:4.0%}", self._time(trainer)]
        description = self._description(trainer)
        description = description[: max(0, width - MIN_BAR - 2 - len(" ".join(parts)))]

        # Add metrics while they fit; the bar gets the remaining columns.
        room = width - len(description) - MIN_BAR - 2 - len(" ".join(parts))
        for text in _texts(trainer.progress_bar_metrics):
            if len(text) + 2 > room:
                break
            parts.append(f" {text}")
            room -= len(text) + 2
        rest = " ".join(parts)
        bar_width = min(MAX_BAR, max(1, width - len(description) - len(rest) - 2))

        # Put the description, the bar and the text side by side.
        line = Table.grid(padding=(0, 1, 0, 0))
        for _ in range(3):
            line.add_column(no_wrap=True)
        bar = Bar(total=self._total, completed=self._completed, width=bar_width)
        line.add_row(Text(description), bar, Text(rest))
        return line

    def _description(self, trainer: Trainer) -> str:
        """The fit and the epoch, such as ``fit epoch 3/20``."""
        return f"{self.name} epoch {trainer.current_epoch + 1}/{self._epochs}"

    def _share(self, trainer: Trainer) -> float:
        """The share of the fit that is done, from 0 to 1; 0 if its number of epochs is unknown."""
        if trainer.max_epochs is None or trainer.max_epochs < 1:
            return 0.0
        return min(1.0, (trainer.current_epoch + self._completed / self._total) / trainer.max_epochs)

    def _time(self, trainer: Trainer) -> str:
        """The remaining time, estimated from the time since the start; after the last epoch, the total time."""
        # Assume that the rest of the fit proceeds at the same speed.
        elapsed = time.monotonic() - self._start
        share = self._share(trainer)
        done = share - self._start_share
        if share >= 1 or done <= 0:
            return _duration(elapsed)
        return f"{_duration(elapsed * (1 - share) / done)} left"


def reported(items: Iterable[Item], total: int, text: str) -> Iterator[Item]:
    """Yield items, and report how many are done: a live line in a terminal, a line every ten seconds elsewhere.

    Args:
        items: the parts of some work outside the epochs, such as the batches whose features are computed.
        total: their number.
        text: what is done, such as ``fit: computing features``.
    """
    console = Console()
    in_terminal = console.is_terminal and not console.is_dumb_terminal
    every = REDRAW_EVERY if in_terminal else REPORT_EVERY
    start = time.monotonic()
    due = start + FIRST_REPORT
    # The live line disappears when the work is done.
    live = Live(console=console, auto_refresh=False, transient=True) if in_terminal else None
    with live or nullcontext():
        for done, item in enumerate(items):
            yield item
            now = time.monotonic()
            if now < due:
                continue
            # Assume that the rest proceeds at the same speed.
            due = now + every
            share = (done + 1) / total
            line = f"{text}  {share:.0%}  {_duration((now - start) * (1 - share) / share)} left"
            if live is not None:
                live.update(Text(line, no_wrap=True, overflow="ellipsis"), refresh=True)
            else:
                sys.stdout.write(f"{line}\n")
                sys.stdout.flush()


def _texts(metrics: Mapping[str, Any]) -> Iterable[str]:
    """Each metric with its value: with three decimals or, if very small or large, in scientific notation."""
    for name, value in metrics.items():
        if name == "v_num":  # the version of a logger, which Lightning adds
            continue
        # Three decimals are enough to see a change, and keep the columns aligned.
        number = float(value)
        plain = number == 0 or 0.001 <= abs(number) < 1e5
        yield f"{name} {number:.3f}" if plain else f"{name} {number:.2e}"


def _duration(seconds: float) -> str:
    """Seconds below a minute, otherwise minutes or hours: ``2.1 s``, ``3:05 min``, ``1:02:07 h``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}:{rest:02} min"
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02} h"
