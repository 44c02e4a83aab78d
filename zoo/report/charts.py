"""The charts of a report: the reliability diagram, as SVG, and the confusion matrix, as a table."""

from collections.abc import Sequence
from math import sqrt

from zoo.analysis.calibration import Bin
from zoo.plots.figure import plain
from zoo.report.elements import Child, Element, element, number, table

SIDE = 300  # of the diagram, in units of the SVG
MARGIN = 46
LARGEST = 13  # radius of the point of a bin with all examples
MATRIX_CLASSES = 25  # number of classes up to which the whole matrix is shown
CONFUSED = 30  # number of pairs of classes that are listed for more


def reliability_diagram(bins: Sequence[Bin]) -> Element:
    """Accuracy over confidence: one point per bin, whose area is the number of examples."""
    total = sum(found.examples for found in bins)

    def x(value: float) -> str:
        return f"{MARGIN + SIDE * value:.1f}"

    def y(value: float) -> str:
        return f"{10 + SIDE * (1 - value):.1f}"

    # The grid and its labels.
    parts: list[Child] = []
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts.append(element("line", x1=x(tick), x2=x(tick), y1=y(0), y2=y(1), class_="grid"))
        parts.append(element("line", x1=x(0), x2=x(1), y1=y(tick), y2=y(tick), class_="grid"))
        parts.append(element("text", f"{tick:g}", x=x(tick), y=f"{SIDE + 28}", text_anchor="middle"))
        parts.append(element("text", f"{tick:g}", x=f"{MARGIN - 7}", y=f"{float(y(tick)) + 4}", text_anchor="end"))
    parts.append(element("line", x1=x(0), y1=y(0), x2=x(1), y2=y(1), class_="perfect"))

    # The gap between the diagonal and each point, then the points.
    for found in bins:
        at = x(found.confidence)
        parts.append(element("line", x1=at, x2=at, y1=y(found.confidence), y2=y(found.accuracy), class_="gap"))
    for found in bins:
        radius = max(3.0, LARGEST * sqrt(found.examples / total))
        about = f"{found.examples:,} examples: confidence {found.confidence:.4f}, accuracy {found.accuracy:.4f}"
        point = element("title", about)
        parts.append(
            element("circle", point, cx=x(found.confidence), cy=y(found.accuracy), r=f"{radius:.1f}", class_="point")
        )
    parts.append(element("text", "confidence", x=x(0.5), y=f"{SIDE + 46}", text_anchor="middle"))
    middle = f"{10 + SIDE / 2}"
    parts.append(
        element("text", "accuracy", x="12", y=middle, text_anchor="middle", transform=f"rotate(-90 12 {middle})")
    )
    size = f"0 0 {SIDE + MARGIN + 16} {SIDE + 54}"
    return element("svg", *parts, viewBox=size, role="img", aria_label="reliability diagram", class_="diagram")


def reliability_table(bins: Sequence[Bin]) -> Element:
    """The numbers of the diagram."""
    rows: list[list[Child]] = [
        [
            f"{found.low:.2f} to {found.high:.2f}" if found.high > found.low else f"{found.low:.2f}",
            number(found.examples),
            number(found.confidence),
            number(found.accuracy),
        ]
        for found in bins
    ]
    return table(["probability", "examples", "confidence", "accuracy"], rows, id="reliability")


def confusion_matrix(counts: Sequence[Sequence[int]], classes: Sequence[str]) -> Element:
    """The matrix with mistakes shaded; of many classes, only the pairs that are confused most often."""
    if len(classes) > MATRIX_CLASSES:
        return _confused_pairs(counts, classes)
    names = [plain(name, 18) for name in classes]
    worst = max((n for i, row in enumerate(counts) for j, n in enumerate(row) if i != j), default=0)

    # One row for each true class. The shade of a mistake is its count relative to the largest.
    rows: list[Child] = []
    for i, row in enumerate(counts):
        cells: list[Child] = [element("th", names[i], scope="row", title=classes[i])]
        for j, n in enumerate(row):
            about = f"true {classes[i]}, predicted {classes[j]}"
            if i == j:
                cells.append(element("td", number(n), class_="right", title=about))
            else:
                shade = 0.85 * n / worst if n else 0.0
                style = f"background: rgba(217, 95, 2, {shade:.3f})"
                cells.append(element("td", number(n), class_="" if n else "zero", style=style, title=about))
        rows.append(element("tr", *cells))
    corner = element("th", "true \\ predicted", class_="corner")
    heads = [
        element("th", element("span", name), scope="col", title=full) for name, full in zip(names, classes, strict=True)
    ]
    matrix = element(
        "table",
        element("thead", element("tr", corner, *heads)),
        element("tbody", *rows),
        class_="matrix",
        id="confusion",
    )
    return element("div", matrix, class_="wide")


def _confused_pairs(counts: Sequence[Sequence[int]], classes: Sequence[str]) -> Element:
    """The pairs of a true and another predicted class with the most examples."""
    pairs = [(n, i, j) for i, row in enumerate(counts) for j, n in enumerate(row) if n and i != j]
    pairs.sort(key=lambda pair: (-pair[0], pair[1:]))
    rows: list[list[Child]] = [[classes[i], classes[j], number(n)] for n, i, j in pairs[:CONFUSED]]
    return table(["true class", "predicted class", "examples"], rows, numbers_from=2, id="confusion")
