"""``zoo list [PATTERN]``: the models and checkpoints there are. Neither torch nor hydra is imported."""

from collections.abc import Sequence
from fnmatch import fnmatch

from rich.console import Console
from rich.table import Table

from zoo.config.catalogue import index, list_models, model_config


def main(words: Sequence[str]) -> None:
    """Print two tables; a pattern (``lenet*`` or a part of a name) narrows them.

    Raises:
        ValueError: more than one pattern, or one that nothing matches.
    """
    if len(words) > 1:
        raise ValueError("one pattern at most, such as zoo list 'lenet*'")
    pattern = words[0] if words else "*"
    pattern = pattern if any(sign in pattern for sign in "*?[") else f"*{pattern}*"
    models = [name for name in list_models() if fnmatch(name, pattern)]
    checkpoints = {name: entry for name, entry in sorted(index().items()) if fnmatch(name, pattern)}
    if not models and not checkpoints:
        raise ValueError(f"nothing matches {words[0]!r}; zoo list shows all")
    console = Console()
    if models:
        table = Table(title="models (zoo train model=NAME, zoo show NAME)", title_justify="left")
        table.add_column("model", no_wrap=True)
        table.add_column("layers", justify="right")
        table.add_column("parameters", justify="right")
        table.add_column("what it is")
        for name in models:
            about = model_config(name)["about"]
            table.add_row(name, str(about["layers"]), f"{about['parameters']:,}", about["title"])
        console.print(table)
    if checkpoints:
        table = Table(title="checkpoints (zoo evaluate checkpoint=NAME)", title_justify="left")
        for column in ("checkpoint", "model", "metric", "size"):
            table.add_column(column, no_wrap=True)
        for name, entry in checkpoints.items():
            metric = "\n".join(f"{key} {value:.4f}" for key, value in entry["metric"].items())
            kib = entry["size"] / 1024
            size = f"{kib:.0f} KiB" if kib < 1024 else f"{kib / 1024:.1f} MiB"
            table.add_row(name, entry["model"], metric, size)
        console.print(table)
