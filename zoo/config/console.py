"""Print lines of text and tables. Untrusted names, such as those of files, cannot control the terminal.

All text is printed as it is, except for characters that control a terminal or that it cannot show: see `printable`.
"""

import sys
import textwrap
import unicodedata
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

JOINERS = "\u200c\u200d"  # invisible, but parts of words and of emoji


def printable(text: object) -> str:
    r"""The text on one line, with escapes in place of all characters that are not visible.

    Control characters (``\x1b``, ``\n``), lone surrogates (``\udcff``: a byte of a file name that is not UTF-8) and
    marks that change the direction of the text (``\u202e``) become escapes as in Python. Backslashes stay as they are.
    """
    return "".join(letter if _is_visible(letter) else _escape(letter) for letter in str(text))


def say(text: str) -> None:
    """Print one line: no line breaks in long lines, no markup in names with brackets, no colors."""
    console = Console()
    console.print(_text(text, console), soft_wrap=True, highlight=False)


def say_wrapped(text: str, *, indent: str = "    ") -> None:
    """Print text, wrapped to the width of the terminal; all lines but the first begin with ``indent``."""
    console = Console()
    # No hyphenation: names and sizes such as 1x28x28 stay whole.
    lines = textwrap.wrap(
        printable(text),
        console.width,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
        drop_whitespace=True,
    )
    for line in lines:
        say(line)


def warn(text: str) -> None:
    """Print one line on standard error."""
    sys.stderr.write(f"{printable(text)}\n")


def print_table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[str] = ()
) -> None:
    """Print a table. Cells that are too long for the terminal continue on the next line, so nothing is cut off.

    Args:
        title: the line above it; it may be longer than the table is wide.
        columns: the headings.
        rows: the cells of each row, one per column.
        right: the headings of the columns to align on the right, such as numbers.
    """
    # Cells are `Text`: rich would read markup in strings.
    console = Console()
    table = Table()
    for heading in columns:
        text = _text(heading, console)
        table.add_column(text, justify="right" if heading in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_text(cell, console) for cell in row))
    say(title)
    console.print(table)


def _is_visible(letter: str) -> bool:
    """Whether a character is a letter, a sign or a space."""
    # `str.isprintable` is false for every space but the ASCII one; the no-break space and similar ones are harmless.
    return letter.isprintable() or letter in JOINERS or unicodedata.category(letter) == "Zs"


def _escape(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")


def _text(text: str, console: Console) -> Text:
    """The printable text, with escapes in place of letters that the encoding of the output lacks."""
    return Text(printable(text).encode(console.encoding, "backslashreplace").decode(console.encoding))
