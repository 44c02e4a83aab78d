"""README, RESULTS and cards say "better" only where intervals do not overlap; the figure shows the index."""

import re

import pytest
from PIL import Image
from scipy.stats import binomtest
from test_results import ERROR, PUBLISHED, row

from zoo.config import catalogue
from zoo.release import claims, figure, intervals, results, tables, wording

ROOT = catalogue.CHECKPOINTS.parent
PLAIN = {**ERROR, "published": {**PUBLISHED, "value": 1.6}, "best_known": {**PUBLISHED, "value": 0.2}}
ENTRIES = {"good-mnist": row(claim=PLAIN), "level-mnist": row()}  # 0.60 against 1.60 and 0.20, and against 0.95


def rows_of(path) -> list[dict[str, str]]:
    """The rows of the tables of recipes in a Markdown file."""
    lines = [line.strip("| ").split(" | ") for line in path.read_text().splitlines() if line.startswith("|")]
    header = next(cells for cells in lines if "compared" in cells)
    return [dict(zip(header, cells, strict=True)) for cells in lines if len(cells) == len(header) and "](" in cells[0]]


@pytest.mark.parametrize("name", ["README.md", "RESULTS.md"])
def test_better_and_worse_stand_only_where_the_printed_intervals_do_not_overlap(name):
    """Computed again from the printed numbers, for errors and accuracies."""
    rows = rows_of(ROOT / name)
    assert len(rows) >= 13
    for cells in rows:
        ours = [float(limit) for limit in cells["95 % interval"].split(" to ")]
        assert ours[0] <= float(cells["ours"].split()[0]) <= ours[1]
        for column, verdict in zip(("its paper", "best known"), cells["compared"].split(" / "), strict=True):
            if verdict not in (intervals.BETTER, intervals.WORSE):
                assert verdict in (intervals.OVERLAP, claims.OTHER, claims.NOTHING)
                continue
            published = float(cells[column].rstrip("†"))
            if "%" in cells["metric"]:
                found = binomtest(round(100 * published), 10_000).proportion_ci(0.95, "wilson")
                theirs = [100 * found.low, 100 * found.high]
                assert ours[1] < theirs[0] + 0.01 or theirs[1] < ours[0] + 0.01
            less = "error" in cells["metric"]
            assert (verdict == intervals.BETTER) == ((float(cells["ours"].split()[0]) < published) == less)


def test_no_document_calls_a_result_better_unduly():
    entries = results.claimed()
    documents = {**results.documents(), ROOT / "README.md": (ROOT / "README.md").read_text()}
    for path, text in documents.items():
        assert not wording.undue(text, entries, name=path.stem), path


def test_the_headers_of_recipes_make_no_claim_about_published_numbers():
    """They also state no test results, which would not be regenerated."""
    for name in results.claimed():
        text = (catalogue.CONF / "experiment" / f"{name}.yaml").read_text()
        header = " ".join(line.lstrip("# ") for line in text.splitlines() if line.startswith("#"))
        assert not re.search(r"\btest (error|accuracy) (of )?[\d.]|exceeds?\b|beats?\b|outperform", header, re.I), name
        assert not re.search(r"\d ± \d", header), name


@pytest.mark.parametrize(
    ("line", "name", "due"),
    [
        ("good-mnist is better than its paper", "README", True),
        ("level-mnist is better than its paper", "README", False),
        ("`level-mnist` beats the paper", "README", False),
        ("The level-mnist recipe exceeds 0.95", "README", False),
        ("| level-mnist | 0.60 | better / - |", "RESULTS", False),
        ("our result is better than that of the paper", "level-mnist", False),
        ("our result is better than that of the paper", "good-mnist", True),
        ("level-mnist: intervals overlap", "README", True),
        ("level-mnist-plain is better", "README", True),  # another recipe, which has no entry
        ("a better tool", "README", True),  # about no recipe
        ("  - its paper: 0.95 (95 %: 0.78 to 1.16), the best of many runs", "level-mnist", True),
    ],
)
def test_undue_words_are_found(line, name, due):
    assert wording.undue(f"first\n{line}\n", ENTRIES, name=name) == ([] if due else [line])


def test_undue_words_are_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(catalogue, "CHECKPOINTS", tmp_path / "checkpoints")
    monkeypatch.setattr(results, "claimed", lambda: ENTRIES)
    monkeypatch.setattr(results, "documents", lambda: {tmp_path / "RESULTS.md": "level-mnist beats its paper"})
    for arguments in ([], ["--check"]):
        with pytest.raises(SystemExit, match="level-mnist beats its paper"):
            results.main(arguments)
    assert not (tmp_path / "RESULTS.md").exists()


@pytest.mark.parametrize(
    ("theirs", "ours", "verdicts"),
    [
        ("none", "none", "better / worse"),
        ("none", "shifts ≤ 1 px", "other conditions / other conditions"),
        ("elastic", "shifts ≤ 1 px", "better / worse"),
        ("elastic", "none", "other conditions / other conditions"),
        ("not stated", "none", "other conditions / other conditions"),
        ("not stated", "not stated", "other conditions / other conditions"),
    ],
)
def test_a_verdict_needs_like_conditions(theirs, ours, verdicts):
    numbers = {key: {**PLAIN[key], "distortions": theirs} for key in ("published", "best_known")}
    entry = row(claim={**PLAIN, **numbers}, distortions=ours)
    assert tables.compared(claims.parse(entry["claim"]), entry) == verdicts
    numbers["published"]["differs"] = "another estimate"
    entry = row(claim={**PLAIN, **numbers}, distortions=ours)
    assert tables.compared(claims.parse(entry["claim"]), entry).startswith("other conditions")


def test_a_log_likelihood_counts_the_spread_over_images_and_half_the_bracket():
    claim = {**ERROR, "metric": "test_log_likelihood_nats", "published": {**PUBLISHED, "value": -86.3}}
    entry = row(claim=claim, values=[-85.0, -85.0], images={"count": 10_000, "std": 25.0})
    entry["metric"] = {"test/log_likelihood_ais": -84.9, "test/log_likelihood_reverse_ais": -85.1}
    parsed = claims.parse(claim)
    low, high = parsed.interval(entry)
    assert (low, high) == pytest.approx((-85 - 0.49 - 0.1, -85 + 0.49 + 0.1), abs=0.01)
    assert parsed.verdict(entry, parsed.published) == intervals.BETTER  # -86.3 ± 0.49
    entry["metric"]["test/log_likelihood_reverse_ais"] = -86.9
    assert parsed.verdict(entry, parsed.published) == intervals.OVERLAP


@pytest.mark.parametrize(
    ("augment", "expected"),
    [
        ({}, "none"),
        ({"shift": 0, "rotation": 0.0, "crop": 1.0, "magnitude": 9, "_target_": "x"}, "none"),
        ({"shift": 2, "rotation": 10.0, "scale": 0.1}, "shifts ≤ 2 px, rotations ≤ 10°, size ± 10 %"),
        ({"flip": True, "crop": 0.35, "mixup": 0.2}, "mirror images, mixup, random crops"),
    ],
)
def test_distortions_are_named(augment, expected):
    assert claims.distortions({"augment": augment}) == expected


def width(path) -> int:
    with Image.open(path) as image:
        return image.size[0]


def test_the_figure_stores_what_it_shows(tmp_path):
    path = tmp_path / "docs" / "images" / "results.png"
    accuracy = row(claim={**PLAIN, "metric": "test_accuracy_percent", "goal": 90}, values=[98.0, 98.2])
    entries = {**ENTRIES, "net-fashion_mnist": accuracy}
    assert not figure.is_current(path, entries)
    figure.draw(path, ENTRIES)
    assert figure.is_current(path, ENTRIES)
    assert not figure.is_current(path, entries)
    narrow = width(path)
    figure.draw(path, entries)
    assert figure.is_current(path, entries)
    assert width(path) > 1.5 * narrow, "a panel for the second dataset"

    # Accuracies are drawn as errors.
    (drawn,) = figure.data(entries)["fashion_mnist"]
    assert drawn["ours"] == pytest.approx(1.9)
    assert drawn["interval"][0] < 1.9 < drawn["interval"][1]
    assert figure.is_current(tmp_path / "none.png", {})


def test_the_figure_of_the_readme_is_current_and_has_every_row_in_percent():
    entries = results.claimed()
    assert figure.is_current(ROOT / "docs" / "images" / "results.png", entries)
    drawn = {entry["name"].rstrip("*") for rows in figure.data(entries).values() for entry in rows}
    expected = [name for name, entry in entries.items() if "percent" in entry["claim"]["metric"]]
    assert drawn == {re.sub("-(fashion_)?mnist", "", name) for name in expected}
