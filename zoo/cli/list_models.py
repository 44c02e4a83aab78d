"""``zoo list [PATTERN]``: list the models and the checkpoints. Imports neither torch nor hydra."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from zoo.config.catalogue import index, list_models, model_config

MIN_WIDTH = 80  # of the tables, in characters


def main(arguments: Sequence[str]) -> None:
    """Print a table of models and a table of checkpoints; a pattern (``lenet*``, or part of a name) selects rows.

    Raises:
        ValueError: more than one pattern, or a pattern that matches nothing.
    """
    if len(arguments) > 1:
        raise ValueError("expected one pattern at most, such as 'lenet*'")
    # A pattern without wildcards matches any part of a name.
    pattern = arguments[0] if arguments else "*"
    if not any(sign in pattern for sign in "*?["):
        pattern = f"*{pattern}*"

    # Select the rows, and print the tables that are not empty.
    models = [name for name in list_models() if fnmatch(name, pattern)]
    checkpoints = {name: entry for name, entry in sorted(index().items()) if fnmatch(name, pattern)}
    if not models and not checkpoints:
        raise ValueError(
            f"nothing matches {arguments[0]!r}; zoo list shows everything (with --trust PACKAGE, also the models of "
            "your package)"
        )
    tables = [_models_table(models)] if models else []
    if checkpoints:
        tables.append(_checkpoints_table(checkpoints))
    # A narrow terminal wraps the lines, but does not cut names off.
    console = Console(highlight=False, width=max(Console().width, MIN_WIDTH))
    for number, table in enumerate(tables):
        if number:
            console.print()
        console.print(table)


def _models_table(names: Sequence[str]) -> Table:
    """A table with one row per model."""
    table = _table("models (zoo train model=NAME, zoo show NAME)")
    table.add_column("model", no_wrap=True)
    table.add_column("weight\nlayers", justify="right", no_wrap=True)
    table.add_column("parameters", justify="right", no_wrap=True)
    table.add_column("description")
    for name in names:
        # Read from the YAML: building the net would need torch.
        config = model_config(name)
        about = config.get("about", {})
        layers = str(about.get("layers", ""))
        parameters = f"{about['parameters']:,}" if "parameters" in about else ""
        _add_row(table, name, layers, parameters, str(about.get("title", config["net"]["_target_"])))
    return table


def _checkpoints_table(entries: Mapping[str, Mapping[str, Any]]) -> Table:
    """A table with one row per checkpoint."""
    table = _table("checkpoints (zoo evaluate checkpoint=NAME)")
    # No column for the model: almost every checkpoint name contains it, and the sizes would no longer fit.
    table.add_column("checkpoint", no_wrap=True)
    table.add_column("test metric", no_wrap=True)
    table.add_column("size", justify="right", no_wrap=True)
    for name, entry in entries.items():
        # One line for each metric in the same cell.
        metrics = "\n".join(f"{key.removeprefix('test/')} {value:.4f}" for key, value in entry["metric"].items())
        _add_row(table, name, metrics, _size(entry["size"]))
    return table


def _table(title: str) -> Table:
    """An empty table without borders, so that names and sizes fit into a terminal of 80 columns."""
    return Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, show_edge=False)


def _add_row(table: Table, *cells: str) -> None:
    """Add a row of plain text: rich would read markup in strings, such as a title with brackets."""
    table.add_row(*map(Text, cells))


def _size(num_bytes: int) -> str:
    """A file size in KiB or MiB."""
    kib = num_bytes / 1024
    return f"{kib:.0f} KiB" if kib < 1024 else f"{kib / 1024:.1f} MiB"
