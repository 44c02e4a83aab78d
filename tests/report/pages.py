"""Read a report back: its tables, images, and everything that could load or run something."""

from html.parser import HTMLParser
from typing import Any


class Page(HTMLParser):
    """The parsed page.

    Attributes:
        tables: id of a table -> its rows, of cells; a cell is the exact number in it, or its text.
        numbers: the exact numbers of the page, in order.
        figures: for each image its caption: the texts and exact numbers in it.
        tags: all tags with their attributes.
        text: the visible text.
    """

    def __init__(self, html: str):
        super().__init__()
        self.tables: dict[str, list[list[Any]]] = {}
        self.numbers: list[float] = []
        self.figures: list[list[Any]] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._rows: list[list[Any]] | None = None
        self._open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.append((tag, attributes))
        self._open.append(tag)
        if tag == "table":
            self._rows = self.tables.setdefault(attributes.get("id") or "", [])
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th"):
            self._rows[-1].append(None)
        elif tag == "figure":
            self.figures.append([])
        elif tag == "data":
            value = float(attributes["value"])
            self.numbers.append(value)
            self._add(value)

    def handle_endtag(self, tag):
        while self._open and self._open.pop() != tag:  # void elements have no end
            pass

    def handle_data(self, data):
        if not {"style", "title"} & set(self._open):
            self.text += data
        if "data" not in self._open and data.strip() and not {"style", "title"} & set(self._open):
            self._add(data.strip())

    def _add(self, value):
        if "figcaption" in self._open:
            self.figures[-1].append(value)
        elif {"td", "th"} & set(self._open):
            self._rows[-1][-1] = value


def read(path) -> Page:
    return Page(path.read_text(encoding="utf-8"))


def assert_self_contained(page: Page) -> None:
    """Nothing is fetched, and nothing runs."""
    assert not {"script", "link", "iframe", "object", "embed", "form", "base"} & {tag for tag, _ in page.tags}
    for tag, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "srcset", "data", "poster", "xlink:href", "action"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:image/", "#")), (tag, name, value)
    policy = [attributes["content"] for _, attributes in page.tags if "http-equiv" in attributes]
    assert policy == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]
