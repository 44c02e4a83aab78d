"""Write a report as one HTML file: no scripts, no network, all images inside."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from math import inf
from pathlib import Path

from zoo.checkpoints.files import replacing
from zoo.report.charts import MATRIX_CLASSES, confusion_matrix, reliability_diagram, reliability_table
from zoo.report.content import Prediction, Report
from zoo.report.elements import Child, Element, element, number, table, to_html

STYLE = Path(__file__).with_name("style.css")
# A browser neither runs scripts of the page nor fetches anything for it.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
HEADLINES = {
    "accuracy": "accuracy",
    "f1": "macro-F1",
    "calibration_error": "calibration error",
    "mean_average_precision": "mean average precision",
    "exact_match": "exact match",
    "loss": "loss",
}
MAX_CLASSES = 200  # rows of the table of classes
MAX_TEXT = 200_000  # characters of the config
MAX_COMMAND = 4000  # characters of a command
MAX_CURVES = 2**20  # bytes of the PNG of the training curves


def write(report: Report, path: Path) -> None:
    """Write the page; the file appears whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(html(report), encoding="utf-8")


def html(report: Report) -> str:
    """The page as text."""
    sections = [
        _section("Metrics", *_metrics(report)),
        _section("Classes", *_classes(report)) if report.statistics else None,
        _section("Confusion matrix", *_confusion(report)) if report.classes else None,
        _section("Calibration", *_calibration(report)) if report.bins else None,
        _section("Wrong predictions", *_wrong(report)) if report.classes else None,
        _section("Least certain right predictions", *_uncertain(report)) if report.uncertain else None,
        _section("Training curves", _curves(report.curves)) if _has_curves(report.curves) else None,
        _section("Commands", *_commands(report.commands)) if report.commands else None,
        _section("Checkpoint", *_checkpoint(report)),
    ]
    shown = [section for section in sections if section is not None]
    links = [element("a", section[0].text or "", href=f"#{section.get('id')}") for section in shown]
    title = f"{report.name} on {report.examples}"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("title", title),
        _style(),
    )
    top = element("header", element("h1", report.name), element("p", f"on {report.examples}"), element("nav", *links))
    return to_html(element("html", head, element("body", element("main", top, _headlines(report), *shown)), lang="en"))


def _style() -> Element:
    # HTML reads a style sheet as it is, without escapes.
    style = Element("style")
    style.text = STYLE.read_text(encoding="utf-8")
    return style


def _section(heading: str, *children: Child) -> Element:
    return element("section", element("h2", heading), *children, id=heading.lower().replace(" ", "-"))


def _paragraph(text: str) -> Element:
    return element("p", text, class_="note")


def _headlines(report: Report) -> Element:
    """The most important metrics, in large letters."""
    tiles: list[Child] = []
    for name, label in HEADLINES.items():
        value = report.metrics.get(f"{report.prefix}/{name}")
        if value is not None:
            tiles.append(element("div", element("b", number(value)), element("span", label), class_="tile"))
    return element("div", *tiles, class_="tiles")


def _metrics(report: Report) -> list[Child]:
    """All metrics, next to those that were stored, and the notes."""
    rows: list[list[Child]] = []
    for name, value in sorted(report.metrics.items()):
        row: list[Child] = [element("code", name), number(value)]
        if report.saved:
            row.append(number(report.saved.get(name)))
        rows.append(row)
    headings: list[Child] = ["metric", "value", *(["when saved"] if report.saved else [])]
    return [table(headings, rows, id="metrics-table"), *(_paragraph(f"Note: {note}") for note in report.notes)]


def _classes(report: Report) -> list[Child]:
    """Precision, recall, F1 and support, the class with the lowest F1 first."""

    def f1(name: str) -> float:
        value = report.statistics[name]["f1"]
        return inf if value is None else value

    names = sorted(report.statistics, key=f1)
    rows: list[list[Child]] = []
    for name in names[:MAX_CLASSES]:
        row = report.statistics[name]
        value = row["f1"]
        bar = element("i", class_="bar", style=f"width: {60 * (value or 0):.1f}px")
        cell = element("span", bar, number(value))
        rows.append([name, number(row["precision"]), number(row["recall"]), cell, number(row["support"])])
    note = "The lowest F1 first; support is the number of examples of the class."
    if len(names) > MAX_CLASSES:
        note = f"The {MAX_CLASSES} of {len(names):,} classes with the lowest F1; support is the number of examples."
    return [_paragraph(note), table(["class", "precision", "recall", "F1", "support"], rows, id="classes-table")]


def _confusion(report: Report) -> list[Child]:
    """How many predictions are right, and the matrix."""
    total = sum(map(sum, report.confusion))
    right = sum(row[k] for k, row in enumerate(report.confusion))
    note = f"{right:,} of {total:,} predictions are right."
    if len(report.classes) > MATRIX_CLASSES:
        note += " The pairs of classes that are confused most often:"
    return [_paragraph(note), confusion_matrix(report.confusion, report.classes)]


def _calibration(report: Report) -> list[Child]:
    """The reliability diagram, its numbers, and the effect of the temperature."""
    texts = [
        "Each point is a bin of predictions with similar probabilities (confidence); its area is the number of "
        "examples. On the dashed line, predictions with a probability of 0.8 are right in 80 % of all cases; below the "
        "line, the net is too confident."
    ]
    temperature = report.metrics.get("temperature")
    before = report.metrics.get(f"{report.prefix}/calibration_error_uncalibrated")
    effect: Element | None = None
    if temperature is not None and before is not None:
        after = report.metrics.get(f"{report.prefix}/calibration_error")
        parts: list[Child] = ["Logits are divided by the temperature ", number(temperature), ": calibration error "]
        parts += [number(before), " before, ", number(after), " after."]
        effect = element("p", *parts, class_="note")
    details = element("details", element("summary", "Numbers of the diagram"), reliability_table(report.bins))
    return [*map(_paragraph, texts), effect, reliability_diagram(report.bins), details]


def _wrong(report: Report) -> list[Child]:
    mistakes = sum(n for i, row in enumerate(report.confusion) for j, n in enumerate(row) if i != j)
    if not mistakes:
        return [_paragraph("No prediction is wrong.")]
    shown = len(report.wrong)
    note = f"All {mistakes:,}, " if shown == mistakes else f"{shown:,} of {mistakes:,}, "
    return [_paragraph(f"{note}the most confident first.{_of_maps(report)}"), _gallery(report.wrong)]


def _uncertain(report: Report) -> list[Child]:
    return [_paragraph(f"The least confident first.{_of_maps(report)}"), _gallery(report.uncertain)]


def _of_maps(report: Report) -> str:
    """What the maps beside the images are."""
    if not report.explained:
        return ""
    return " Right half: Grad-CAM, red where the image supports the predicted class most."


def _gallery(predictions: Sequence[Prediction]) -> Element:
    """The images of predictions, with captions."""
    figures: list[Child] = []
    for prediction in predictions:
        image = element("img", src=prediction.image, alt=prediction.name, loading="lazy") if prediction.image else None
        is_right = prediction.predicted == prediction.true
        verdict = element("b", prediction.predicted, class_="ok" if is_right else "bad")
        true = None if is_right else element("div", f"true: {prediction.true}")
        caption = element(
            "figcaption", element("div", verdict, " ", number(prediction.p, 3)), true, element("small", prediction.name)
        )
        figures.append(element("figure", image, caption))
    return element("div", *figures, class_="gallery")


def _has_curves(path: Path | None) -> bool:
    return path is not None and path.is_file() and path.stat().st_size <= MAX_CURVES


def _curves(path: Path | None) -> Element:
    assert path is not None
    data = b64encode(path.read_bytes()).decode()
    return element("img", src=f"data:image/png;base64,{data}", alt="training curves", class_="curves")


def _commands(commands: Mapping[str, str]) -> list[Child]:
    lines = [f"# {about}\n{_cut(command, MAX_COMMAND)}" for about, command in commands.items()]
    return [element("pre", "\n".join(lines))]


def _checkpoint(report: Report) -> list[Child]:
    """Where the checkpoint comes from, and its config."""
    terms: list[Child] = []
    for term, text in report.facts.items():
        if text:
            terms += [element("dt", term), element("dd", _cut(text, MAX_COMMAND))]
    config = element("details", element("summary", "Config"), element("pre", _cut(report.config, MAX_TEXT)))
    return [element("dl", *terms), config if report.config else None]


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[:limit]} …"
