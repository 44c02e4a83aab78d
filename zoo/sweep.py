"""After a sweep: one table over its jobs, from the metrics that each left in its folder."""

import csv
import json
from pathlib import Path
from typing import Any

import yaml
from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table


class SweepTable(Callback):
    """Hydra callback: writes ``sweep.csv`` into the sweep's folder and prints it."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        folder = Path(config.hydra.sweep.dir)
        jobs = sorted(folder.glob("*/metrics.json"), key=lambda path: (len(path.parent.name), path))  # 2 before 10
        rows = [_row(path) for path in jobs]
        if not rows:
            return
        columns = list(dict.fromkeys(key for row in rows for key in row))
        with (folder / "sweep.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        shown = [key for key in columns if "/" not in key or key.startswith("test/")]
        table = Table(title=str(folder / "sweep.csv"), title_justify="left")
        for key in shown:
            table.add_column(key, justify="right")
        for row in rows:
            table.add_row(*(f"{v:.4f}" if isinstance(v := row.get(key, ""), float) else str(v) for key in shown))
        Console().print(table)


def _row(metrics: Path) -> dict[str, Any]:
    overrides = yaml.safe_load((metrics.parent / ".hydra" / "overrides.yaml").read_text())
    settings = dict(override.lstrip("+~").split("=", 1) for override in overrides if "=" in override)
    return {"job": metrics.parent.name, **settings, **json.loads(metrics.read_text())}
