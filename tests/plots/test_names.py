"""Names of classes, files and runs are drawn as they are, whatever letters they have."""

import logging
import os
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor

import matplotlib
import numpy as np
import pytest
import torch
from support import ROOT, png_size

from zoo.plots import tiling
from zoo.plots.curves import confusion, curves
from zoo.plots.figure import MAX_SIDE, plain
from zoo.plots.images import grid, panels, sheet
from zoo.plots.latent import latent_map
from zoo.plots.network import network

NAMES = [
    r"$\frac$",
    "$x_{$",
    "a$b",
    "_background",
    "日本 🐈",
    os.fsdecode(b"\xff\xfe"),
    "a\x1b[2J\nb\t",
    "[/x]",
    "%s {0}",
]
NAMES += ["", " ", "\\", "x" * 5000]
COUNT = len(NAMES)
GRAY = torch.linspace(0, 1, 16).view(1, 4, 4)

PLOTS = {
    "curves": lambda path: curves({name: {n: ([0, 1], [1, 0]) for n in NAMES} for name in NAMES[:3]}, path),
    "confusion": lambda path: confusion(np.eye(COUNT, dtype=int), NAMES, path),
    "latent_map": lambda path: latent_map(torch.eye(COUNT)[:, :2], range(COUNT), NAMES, path),
    "network": lambda path: network([COUNT, COUNT], path, names=NAMES[:2], classes=NAMES),
    "grid": lambda path: grid(GRAY.expand(COUNT, 1, 4, 4), path, columns=1, names=NAMES),
    "sheet": lambda path: sheet([GRAY] * COUNT, [[n] for n in NAMES], path, title=NAMES[0]),
    "panels": lambda path: panels(dict.fromkeys(NAMES, GRAY), path),
}


def texts(figure):
    """All texts of a figure but those of numbers on axes."""
    legends = [legend for axes in figure.axes if (legend := axes.get_legend())]
    found = [*figure.texts, *(text for legend in legends for text in legend.get_texts())]
    for axes in figure.axes:
        found += [axes.title, axes.xaxis.label, *axes.texts]
        if axes.images:
            found += [*axes.get_xticklabels(), *axes.get_yticklabels()]
    return [text for text in found if any(letter in text.get_text() for letter in "$_")]


@pytest.mark.parametrize("kind", PLOTS)
def test_names_are_drawn_as_they_are_without_a_warning(kind, tmp_path, capfd, caplog):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = PLOTS[kind](tmp_path / "plot.png")
    assert max(png_size(tmp_path / "plot.png")) <= MAX_SIDE
    found = texts(figure)
    assert r"$\frac$" in {text.get_text() for text in found}
    assert not any(text.get_parse_math() for text in found)
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


def test_names_that_begin_with_an_underscore_are_in_legends():
    figures = [latent_map(torch.eye(3)[:, :2], [0, 1, 2], ["_a", "b", "$c"]), curves({"": {"_a": ([0], [1])}})]
    found = [[text.get_text() for text in figure.axes[0].get_legend().get_texts()] for figure in figures]
    assert found == [["_a", "b", "$c"], ["_a"]]


def test_a_name_keeps_both_of_its_ends():
    assert plain("a" * 24) == "a" * 24
    assert plain("folder/" + "x" * 30 + ".png") == "folder/xxxx…xxxxxxxx.png"
    assert plain("a\nb\udcff") == r"a\nb\udcff"


SETTINGS = {
    "text.usetex": True,
    "font.size": 40,
    "font.family": "no such font",
    "figure.facecolor": "red",
    "savefig.bbox": "tight",
    "savefig.dpi": 7,
    "image.cmap": "jet",
    "axes.prop_cycle": matplotlib.cycler(color=["k"]),
    "figure.constrained_layout.use": True,
}


@pytest.mark.parametrize("kind", ["curves", "confusion", "sheet"])
def test_the_settings_of_the_user_do_not_alter_plots_and_stay_as_they_are(kind, tmp_path):
    PLOTS[kind](tmp_path / "default.png")
    with matplotlib.rc_context(SETTINGS):
        before = dict(matplotlib.rcParams)
        PLOTS[kind](tmp_path / "user.png")
        assert dict(matplotlib.rcParams) == before
    assert (tmp_path / "user.png").read_bytes() == (tmp_path / "default.png").read_bytes()
    assert logging.getLogger("matplotlib").level == logging.NOTSET


def test_plots_are_the_same_in_threads(tmp_path):
    kinds = ["confusion", "grid"] * 3
    for kind in kinds[:2]:
        PLOTS[kind](tmp_path / f"{kind}.png")
    paths = [tmp_path / f"{number}.png" for number in range(len(kinds))]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda kind, path: PLOTS[kind](path), kinds, paths))
    for kind, path in zip(kinds, paths, strict=True):
        assert path.read_bytes() == (tmp_path / f"{kind}.png").read_bytes()


# Sizes


@pytest.mark.parametrize("count", [40, pytest.param(1700, marks=pytest.mark.slow)])
def test_a_confusion_matrix_of_many_classes_is_bounded_and_shows_every_mistake(count, tmp_path, figures):
    matrix = np.eye(count, dtype=int)
    matrix[count // 3, count // 2] = 4
    confusion(matrix, [f"a rather long class name {k}" for k in range(count)], tmp_path / "confusion.png")
    assert max(png_size(tmp_path / "confusion.png")) <= 2100
    (axes,) = figures[0].axes
    image = axes.images[0]
    assert image.get_array().max() == 4
    assert image.get_extent() == [-0.5, count - 0.5, count - 0.5, -0.5]
    labels = axes.get_yticklabels()
    tops = [label.get_window_extent().y1 for label in labels]
    assert min(-np.diff(tops)) > 5, "labels do not overlap"


def test_rows_of_a_wide_table_are_strips_that_keep_unusual_values(tmp_path, figures):
    rows = torch.zeros(20, 20_000)
    rows[:, 777] = 1
    names = ["original"] * 10 + ["reconstructed"] * 10
    grid(rows, tmp_path / "grid.png", names=names)
    width, height = png_size(tmp_path / "grid.png")
    assert max(width, height) <= 1800
    image = figures[0].axes[0].images[0].get_array()
    assert ((image == 1).sum(axis=1) > 0).sum() == 20 * tiling.STRIP_HEIGHT
    assert [text.get_text() for text in figures[0].axes[0].texts] == ["original", "reconstructed"]


def test_weights_of_a_wide_layer_keep_their_signs(figures, tmp_path):
    weights = torch.zeros(2, 20_000)
    weights[0, 5], weights[1, 19_999] = -3.0, 0.1
    grid(weights, tmp_path / "grid.png", signed=True)
    image = figures[0].axes[0].images[0].get_array()
    assert (image[1, 1], image[6, -2]) == (-1, pytest.approx(1))


@pytest.mark.parametrize(
    ("count", "shape"),
    [(4990, (1, 8, 8)), (10, (3, 900, 1200)), (5, (1, 3000, 8)), (700, (6,)), (2, (1, 1, 9000))],
)
def test_a_grid_of_any_images_is_bounded(count, shape, tmp_path):
    grid(torch.zeros(count, *shape), tmp_path / "grid.png")
    assert max(png_size(tmp_path / "grid.png")) <= MAX_SIDE


@pytest.mark.parametrize(("shape", "maximum"), [((1, 28, 28), 4990), ((6,), 799), ((1, 2, 2), 13330)])
def test_more_images_than_fit_into_a_grid_are_refused(shape, maximum, tmp_path):
    assert tiling.max_count(shape, 10) == maximum
    with pytest.raises(
        ValueError, match=f"{maximum + 1:,} images do not fit into one plot: the maximum is {maximum:,}"
    ):
        grid(torch.zeros(maximum + 1, *shape), tmp_path / "grid.png")
    assert not (tmp_path / "grid.png").exists()


def test_curves_of_many_lines_and_panels_are_bounded_and_say_what_is_left_out(tmp_path):
    lines = {f"job {k} " + "n" * 100: ([0, 1], [1.0, float(k)]) for k in range(50)}
    figure = curves({str(k): lines if k == 0 else {} for k in range(9)}, tmp_path / "curves.png")
    assert max(png_size(tmp_path / "curves.png")) <= MAX_SIDE
    legend = figure.axes[0].get_legend()
    assert (len(legend.get_texts()), legend.get_title().get_text()) == (20, "the first 20 of 50")
    assert len(figure.axes[0].lines) == 50


@pytest.mark.parametrize("values", [[1.0, float("nan")], [float("inf"), 2.0], [1e308, -1e308], [float("nan")] * 2, []])
def test_values_that_are_not_finite_are_left_out_of_curves(values, tmp_path):
    figure = curves({"loss": {"train": (range(len(values)), values)}}, tmp_path / "curves.png")
    shown = figure.axes[0].lines[0].get_ydata()
    assert shown.tolist() == [value for value in values if abs(value) < 1e300]


def test_features_that_are_not_finite_are_left_out_of_the_map(tmp_path, figures):
    features = torch.rand(9, 3)
    features[4, 1] = torch.nan
    latent_map(features, list(range(9)), list("abcdefghi"), tmp_path / "latent.png")
    assert sum(len(cloud.get_offsets()) for cloud in figures[0].axes[0].collections) == 8


def test_no_display_no_folder_for_a_cache_and_no_valid_settings_are_needed(tmp_path):
    (tmp_path / "matplotlibrc").write_text("no.such.key: 3\ntext.usetex: True\n")
    code = "from zoo.plots.curves import curves; curves({'loss': {'a': ([0, 1], [1, 2])}}, 'plot.png')"
    env = dict.fromkeys(("HOME", "MPLCONFIGDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"), "/proc/none")
    env |= {"MPLBACKEND": "TkAgg", "MATPLOTLIBRC": str(tmp_path / "matplotlibrc"), "PATH": os.environ["PATH"]}
    env["PYTHONPATH"] = str(ROOT)
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert png_size(tmp_path / "plot.png") == (624, 432)
