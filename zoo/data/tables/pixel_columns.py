"""Find the columns of a CSV file of pixels: separator, header, labels, an index column, and the order of the pixels."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

# The separator is the one of these that the first line has most often.
SEPARATORS = (",", ";", "\t")
# If at least this fraction of the columns has names that differ only in a number, any other column is not a pixel.
NEARLY_ALL = 0.9
HEADERS = ("auto", "true", "false")


@dataclass(frozen=True)
class Columns:
    """The columns of a table.

    Attributes:
        count: number of columns in the file.
        separator: the character between two values.
        has_header: whether the first line has names.
        label: position of the column of labels, or None.
        pixels: positions of the pixel columns, in the order of the pixels.
        notes: the guesses that were made, one line each.
    """

    count: int
    separator: str
    has_header: bool
    label: int | None
    pixels: tuple[int, ...]
    notes: tuple[str, ...]


def find_columns(first_line: str, *, pixels: int, labeled: bool, header: str = "auto") -> Columns:
    """Find the columns of a table from its first line.

    Args:
        first_line: the first line of the file.
        pixels: required number of pixel columns.
        labeled: whether a column of labels is required.
        header: "true" or "false": whether the line has names. "auto": it has names unless all columns are numbers, and
            also if these numbers count the columns from 0 or 1.

    Raises:
        ValueError: ``header`` is unknown, the line may be values or names, ``label`` is missing, the number of pixel
            columns is wrong, a name appears twice, or the numbers in the names have a gap.
    """
    # Split the line at the separator that it has most often.
    if header not in HEADERS:
        raise ValueError(f"header={header} must be auto, true or false")
    separator = max(SEPARATORS, key=first_line.count)
    names = [name.strip().strip("\"'").strip() for name in first_line.split(separator)]
    notes = []
    if separator != ",":
        notes.append("columns are separated by " + ("tabs" if separator == "\t" else f"{separator!r}"))

    # Decide whether the line has names or values.
    numbers = [name for name in names if _is_number(name)]
    numeric = len(numbers) == len(names)
    counting = _count_columns(numbers)
    if header == "auto" and not numeric and not counting and 2 * len(numbers) > len(names):
        odd = next(name for name in names if not _is_number(name))
        raise ValueError(f"line 1 has numbers and {odd!r}: values or names? Set header=false or header=true")
    has_header = header == "true" or (header == "auto" and (not numeric or counting))
    if header == "auto" and numeric:
        kind = "the numbers of the columns, not values" if counting else "values, not names"
        notes.append(f"the first line is taken as {kind}; set header={'false' if counting else 'true'} if it is not")
    # Without a header, all columns are pixels.
    if not has_header:
        if labeled:
            raise ValueError("no column 'label': the first line has no names; add one such as label,pixel0,pixel1")
        if len(names) != pixels:
            raise ValueError(
                f"{len(names)} pixel columns, expected {pixels}; a column that is not a pixel needs a name: "
                "add a header"
            )
        return Columns(len(names), separator, False, None, tuple(range(len(names))), tuple(notes))

    # Find the column of labels, the pixel columns, and the columns that are neither.
    _refuse_twice(names)
    lower = [name.lower() for name in names]
    label = lower.index("label") if "label" in lower else None
    if labeled and label is None:
        raise ValueError(f"no column 'label' (the first columns are {', '.join(names[:3])})")
    others = [k for k in range(len(names)) if k != label]
    found = _pixel_columns(names, others)
    if len(found) == pixels < len(others):
        left_out = [names[k] or "(without a name)" for k in others if k not in set(found)]
        notes.append(f"columns that are not pixels are left out: {_some(left_out)}")
    elif len(others) != pixels:
        raise ValueError(f"{len(others)} pixel columns, expected {pixels}")
    elif len(found) == len(others) or len(found) < NEARLY_ALL * len(others):
        found = others
    else:
        stray = next(names[k] for k in others if k not in set(found))
        raise ValueError(f"column {stray!r} is not a pixel: {pixels} pixel columns are expected beside it")

    # Numbers in the names give the order.
    order = _in_order(names, found)
    if order != found:
        moved = next(names[k] for k, wanted in zip(found, order, strict=True) if k != wanted)
        notes.append(f"the pixel columns are put in the order of their numbers ({moved!r} is out of order)")
    return Columns(len(names), separator, True, label, tuple(order), tuple(notes))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _count_columns(numbers: Sequence[str]) -> bool:
    """Whether these are consecutive integers from 0 or 1, in any order: then they are names of columns, not values."""
    if len(numbers) < 2 or not all(number.isdecimal() for number in numbers):
        return False
    values = sorted(int(number[:18]) for number in numbers)
    return values[0] in (0, 1) and values == list(range(values[0], values[0] + len(values)))


def _template(name: str) -> str:
    """A name with every number replaced by #."""
    return re.sub(r"\d+", "#", name)


def _numbers(name: str) -> tuple[int, ...]:
    return tuple(int(digits) for digits in re.findall(r"\d{1,18}", name))


def _pixel_columns(names: Sequence[str], others: Sequence[int]) -> list[int]:
    """The columns whose names differ only in their numbers, if they are more than half of all columns; else none.

    If no name has a number and exactly one column has no name, all columns but this one.
    """
    # The most frequent template with a number is that of the pixels.
    templates = [_template(names[k]) for k in others]
    numbered = [template for template in templates if "#" in template]
    if not numbered:
        # A single column without a name is an index, as pandas writes it.
        named = [k for k in others if names[k]]
        return named if len(named) == len(others) - 1 else []
    most = Counter(numbered).most_common(1)[0][0]
    found = [k for k, template in zip(others, templates, strict=True) if template == most]
    return found if 2 * len(found) > len(others) else []


def _in_order(names: Sequence[str], columns: Sequence[int]) -> list[int]:
    """The columns sorted by the numbers in their names; unchanged if the names do not number them.

    Raises:
        ValueError: the numbers have a gap.
    """
    if len({_template(names[k]) for k in columns}) != 1 or "#" not in _template(names[columns[0]]):
        return list(columns)
    order = sorted(columns, key=lambda k: _numbers(names[k]))
    # If each name has one number, it counts the pixels, so no number may be missing.
    numbers = [_numbers(names[k]) for k in order]
    if len(numbers[0]) == 1:
        missing = next((a[0] + 1 for a, b in pairwise(numbers) if b[0] != a[0] + 1), None)
        if missing is not None:
            name = re.sub(r"\d+", str(missing), names[order[0]])
            raise ValueError(f"the columns are numbered, but {name!r} is missing")
    return order


def _refuse_twice(names: Sequence[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name and name in seen:
            raise ValueError(f"the column {name!r} appears twice")
        seen.add(name)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
