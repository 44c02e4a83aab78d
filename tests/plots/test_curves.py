"""Training curves and confusion matrices."""

import numpy as np
import pytest
from support import png_size

from zoo.plots.curves import confusion, curves

COUNTS = [[50, 2, 0], [1, 40, 3], [0, 0, 5]]


@pytest.mark.parametrize("panels", [1, 2, 3])
def test_each_quantity_adds_a_panel_to_the_curves(tmp_path, panels):
    lines = {"train": ([0, 1, 2], [3.0, 2.0, 1.5]), "val": ([1, 2], [2.5, 2.0])}
    curves({f"loss {k}": lines for k in range(panels)}, tmp_path / "curves.png")
    assert png_size(tmp_path / "curves.png") == (624 * panels, 432)


def test_curves_draw_the_points_they_are_given(tmp_path, figures):
    curves({"loss": {"train": ([0, 5], [3.0, 2.0])}, "accuracy": {}}, tmp_path / "curves.png")
    loss, accuracy = figures[0].axes
    assert [axes.get_title() for axes in (loss, accuracy)] == ["loss", "accuracy"]
    assert loss.lines[0].get_xydata().tolist() == [[0, 3], [5, 2]]
    assert [text.get_text() for text in loss.get_legend().get_texts()] == ["train"]
    assert not accuracy.lines


@pytest.mark.parametrize(
    ("values", "scale"), [([10.0, 0.1], "log"), ([10.0, 1.0], "linear"), ([10.0, 0.0], "linear"), ([9.0, -1], "linear")]
)
def test_values_of_several_magnitudes_get_a_logarithmic_axis(tmp_path, figures, values, scale):
    curves({"loss": {"train": ([0, 1], values)}}, tmp_path / "curves.png")
    assert figures[0].axes[0].get_yscale() == scale


def test_confusion_counts_the_mistakes_and_names_the_classes(tmp_path, figures):
    confusion(COUNTS, ["cat", "dog", "emu"], tmp_path / "confusion.png")
    (axes,) = figures[0].axes
    assert axes.get_title() == "6 mistakes in 101"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "true")
    for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
        assert [label.get_text() for label in labels] == ["cat", "dog", "emu"]
    written = {(text.get_position()[1], text.get_position()[0]): text.get_text() for text in axes.texts}
    assert written == {(0, 0): "50", (0, 1): "2", (1, 0): "1", (1, 1): "40", (1, 2): "3", (2, 2): "5"}


def test_confusion_shades_only_the_mistakes(tmp_path, figures):
    confusion(COUNTS, ["cat", "dog", "emu"], tmp_path / "confusion.png")
    shades = figures[0].axes[0].images[0].get_array()
    assert np.array_equal(shades, [[0, 2, 0], [1, 0, 3], [0, 0, 0]])


@pytest.mark.parametrize(("classes", "side"), [(2, 388), (10, 792), (100, 1920)])
def test_confusion_is_square_and_never_huge(tmp_path, classes, side):
    confusion(np.eye(classes, dtype=int), [f"class {k}" for k in range(classes)], tmp_path / "confusion.png")
    width, height = png_size(tmp_path / "confusion.png")
    assert width == height
    assert width == pytest.approx(side, abs=2)


def test_confusion_of_many_classes_is_shades_without_numbers(tmp_path, figures):
    confusion(np.eye(31, dtype=int), [str(k) for k in range(31)], tmp_path / "confusion.png")
    assert not figures[0].axes[0].texts
    assert figures[0].axes[0].get_title() == "0 mistakes in 31"


def test_a_line_without_a_name_gets_no_legend():
    """As the one job of a sweep has it."""
    assert curves({"loss": {"": ([0, 1], [2.0, 1.0])}}).axes[0].get_legend() is None
