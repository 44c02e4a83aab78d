"""Build HTML as a tree, so that every text is escaped. Untrusted names, such as those of files, cannot add elements."""

from typing import TypeAlias
from xml.etree import ElementTree

from zoo.config.console import printable

Element: TypeAlias = ElementTree.Element
Child: TypeAlias = "Element | str | None"


def element(tag: str, *children: Child, **attributes: object) -> Element:
    """An element with children, which are elements or texts; None is left out.

    Underscores in the names of attributes stand for hyphens; one at the end is dropped, as in ``class_``.
    """
    names = {name.rstrip("_").replace("_", "-"): printable(value) for name, value in attributes.items()}
    parent = Element(tag, names)
    last: Element | None = None
    for child in children:
        if child is None:
            continue
        if not isinstance(child, str):
            parent.append(child)
            last = child
            continue
        # A text belongs to the element before it, or to the parent.
        text = "\n".join(printable(line) for line in child.split("\n"))
        if last is None:
            parent.text = (parent.text or "") + text
        else:
            last.tail = (last.tail or "") + text
    return parent


def number(value: float | None, digits: int = 4) -> Element:
    """A number: the text is rounded, the attribute ``value`` is exact; a dash if the value is None."""
    if value is None:
        return element("span", "–", class_="none")
    text = f"{value:,}" if isinstance(value, int) else f"{value:.{digits}f}"
    return element("data", text, value=repr(value))


def table(
    headings: "list[Child]", rows: "list[list[Child]]", *, numbers_from: int = 1, **attributes: object
) -> Element:
    """A table that scrolls sideways where it is too wide; the columns from ``numbers_from`` on are aligned right."""

    def cells(tag: str, row: "list[Child]") -> "list[Child]":
        return [element(tag, cell, **({"class_": "n"} if k >= numbers_from else {})) for k, cell in enumerate(row)]

    head = element("thead", element("tr", *cells("th", headings)))
    body = element("tbody", *(element("tr", *cells("td", row)) for row in rows))
    return element("div", element("table", head, body, **attributes), class_="wide")


def to_html(root: Element) -> str:
    """The page as text."""
    return "<!DOCTYPE html>\n" + ElementTree.tostring(root, encoding="unicode", method="html") + "\n"
