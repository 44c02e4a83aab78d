"""Print lines of text and tables on standard output."""

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table


def say(text: str) -> None:
    """Print text unchanged: no line breaks in long lines, no markup in file names with brackets, no colors."""
    Console().print(text, soft_wrap=True, highlight=False, markup=False)


def print_table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[str] = ()
) -> None:
    """Print a table.

    Args:
        title: the line above it.
        columns: the headings.
        rows: the cells of each row, one per column.
        right: the headings of the columns to align on the right, such as numbers.
    """
    table = Table(title=title, title_justify="left")
    for heading in columns:
        table.add_column(heading, justify="right" if heading in right else "left")
    for row in rows:
        table.add_row(*row)
    Console().print(table)
