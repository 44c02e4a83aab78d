"""Pictures of a run: PNG files of a readable size, and what stands in them."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from zoo.pictures import confusion, curves

COUNTS = [[50, 2, 0], [1, 40, 3], [0, 0, 5]]


@pytest.fixture
def figures(monkeypatch):
    """Every figure that is saved, still open to questions."""
    saved = []
    save = Figure.savefig

    def keep(figure, *args, **options):
        saved.append(figure)
        save(figure, *args, **options)

    monkeypatch.setattr(Figure, "savefig", keep)
    return saved


def size(path):
    with Image.open(path) as picture:
        picture.load()
        assert picture.format == "PNG"
        return picture.size


@pytest.mark.parametrize("panels", [1, 2, 3])
def test_curves_grow_by_a_panel_a_quantity(tmp_path, panels):
    lines = {"train": ([0, 1, 2], [3.0, 2.0, 1.5]), "val": ([1, 2], [2.5, 2.0])}
    curves({f"loss {k}": lines for k in range(panels)}, tmp_path / "curves.png")
    assert size(tmp_path / "curves.png") == (624 * panels, 432)


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
def test_a_quantity_of_several_magnitudes_has_a_logarithmic_axis(tmp_path, figures, values, scale):
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
    width, height = size(tmp_path / "confusion.png")
    assert width == height
    assert width == pytest.approx(side, abs=2)


def test_confusion_of_many_classes_is_shades_without_numbers(tmp_path, figures):
    confusion(np.eye(31, dtype=int), [str(k) for k in range(31)], tmp_path / "confusion.png")
    assert not figures[0].axes[0].texts
    assert figures[0].axes[0].get_title() == "0 mistakes in 31"
