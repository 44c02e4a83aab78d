"""``zoo list [PATTERN]``: the models and the checkpoints. Neither torch nor hydra is imported."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from typing import Any

from rich.console import Console
from rich.table import Table

from zoo.config.catalogue import index, list_models, model_config


def main(arguments: Sequence[str]) -> None:
    """Print two tables; a pattern (``lenet*``, or part of a name) narrows them.

    Raises:
        ValueError: more than one pattern, or a pattern that matches nothing.
    """
    if len(arguments) > 1:
        raise ValueError("zoo list takes one pattern at most, such as 'lenet*'")
    # A plain word matches anywhere in a name.
    pattern = arguments[0] if arguments else "*"
    if not any(sign in pattern for sign in "*?["):
        pattern = f"*{pattern}*"

    # Narrow both lists, and show the tables that are not empty.
    models = [name for name in list_models() if fnmatch(name, pattern)]
    checkpoints = {name: entry for name, entry in sorted(index().items()) if fnmatch(name, pattern)}
    if not models and not checkpoints:
        raise ValueError(f"nothing matches {arguments[0]!r}; zoo list shows everything")
    console = Console()
    if models:
        console.print(_models_table(models))
    if checkpoints:
        console.print(_checkpoints_table(checkpoints))


def _models_table(names: Sequence[str]) -> Table:
    """A row for each model, with what its YAML says about it."""
    table = Table(title="models (zoo train model=NAME, zoo show NAME)", title_justify="left")
    table.add_column("model", no_wrap=True)
    table.add_column("layers", justify="right")
    table.add_column("parameters", justify="right")
    table.add_column("description")
    for name in names:
        # Read from the YAML: building the net would need torch.
        about = model_config(name)["about"]
        table.add_row(name, str(about["layers"]), f"{about['parameters']:,}", about["title"])
    return table


def _checkpoints_table(entries: Mapping[str, Mapping[str, Any]]) -> Table:
    """A row for each checkpoint, with what the index says about it."""
    table = Table(title="checkpoints (zoo evaluate checkpoint=NAME)", title_justify="left")
    for column in ("checkpoint", "model", "metric", "size"):
        table.add_column(column, no_wrap=True)
    for name, entry in entries.items():
        # One line for each metric in the same cell.
        metrics = "\n".join(f"{metric} {value:.4f}" for metric, value in entry["metric"].items())
        table.add_row(name, entry["model"], metrics, _size(entry["size"]))
    return table


def _size(num_bytes: int) -> str:
    """A file size in KiB or MiB."""
    kib = num_bytes / 1024
    return f"{kib:.0f} KiB" if kib < 1024 else f"{kib / 1024:.1f} MiB"
