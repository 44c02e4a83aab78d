"""A CSV logger: every logged step of a run, over all its fits, in one ``metrics.csv``."""

import csv
import io
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from zoo.checkpoints.files import replacing

KEYS = ("fit", "epoch", "step")


class CSVLogger(Logger):
    """Lightning logger that keeps rows of (fit, epoch, step, metric …) and writes them to a CSV file.

    Lightning's own CSVLogger deletes the file of an earlier run and cannot hold several fits.

    Args:
        path: the file. Rows of an existing file are kept.
    """

    def __init__(self, path: str | Path):
        super().__init__()
        self.path = Path(path)
        self.fit = ""
        self.epoch = 0  # of rows that do not name theirs
        self.rows: list[dict[str, Any]] = []
        self.has_logged = False  # whether the fit has logged a row
        # A resumed run continues its file. Empty cells are metrics that were not logged at a step.
        if self.path.is_file():
            with self.path.open(newline="") as file:
                for cells in csv.DictReader(file):
                    row = {key: _number(cell) for key, cell in cells.items() if cell and key != "fit"}
                    self.rows.append({"fit": cells["fit"], **row})

    @property
    def name(self) -> str:
        return "csv"

    @property
    def version(self) -> str:
        return ""

    def start(self, fit: str, *, step: int = 0) -> None:
        """Start logging ``fit`` at ``step``. Drop its rows from ``step`` on, since a resumed fit logs them again."""
        self.fit = fit
        self.epoch = 0
        self.has_logged = False
        self.rows = [row for row in self.rows if row["fit"] != fit or row["step"] < step]

    def series(self, metric: str) -> dict[str, tuple[list[float], list[float]]]:
        """For each fit, the steps at which ``metric`` was logged, and its values."""
        # Order the fits by their first logged step.
        found: dict[str, tuple[list[float], list[float]]] = {}
        for row in self.rows:
            if metric in row:
                steps, values = found.setdefault(row["fit"], ([], []))
                steps.append(row["step"])
                values.append(row[metric])
        return found

    def steps(self, stage: str) -> dict[str, int]:
        """For each fit of a stage, its number of steps."""
        return {row["fit"]: row["step"] + 1 for row in self.rows if row["fit"].partition(".")[0] == stage}

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Add metrics to the row of this step, or start a new row."""
        self.has_logged = True
        # A row is one step of one fit. Lightning logs the metrics of a step in several consecutive calls.
        values = {name: float(value) for name, value in metrics.items() if name != "epoch"}
        key = {"fit": self.fit, "epoch": int(metrics.get("epoch", self.epoch)), "step": step or 0}
        if self.rows and all(self.rows[-1][k] == key[k] for k in KEYS):
            self.rows[-1].update(values)
        else:
            self.rows.append(key | values)

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the hyperparameters are in the run folder's config.yaml."""

    @rank_zero_only
    def save(self) -> None:
        """Rewrite the whole file, so that it is complete at any time."""
        # Before the first row of a fit, the file is complete. A fit that cannot be resumed must leave it as it is.
        if not self.has_logged and self.path.is_file():
            return
        # The keys come first, then all metrics in alphabetical order.
        metrics = {name for row in self.rows for name in row} - set(KEYS)
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, [*KEYS, *sorted(metrics)], restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        # Do not wait until the rows are on disk, since this is called often; only last.ckpt is synced.
        with replacing(self.path, sync=False) as temporary:
            temporary.write_text(text.getvalue())


def _number(text: str) -> Any:
    """Convert a cell to int or float."""
    return int(text) if text.isdigit() else float(text)
