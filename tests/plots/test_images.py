"""Pictures of a run: PNG files of a readable size, and what stands in them."""

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from zoo.plots.images import RED, codes, confusion, curves, grid, network, overlay, panels, sheet

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


# Tiles side by side


def pixels(path) -> np.ndarray:
    """H x W x 3 bytes."""
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


def cells(path, rows: int, columns: int) -> np.ndarray:
    """The colours of a mosaic's cells, rows x columns x 3; all pixels of a cell but the border's are alike.

    Where cells are large their edges are left out: before matplotlib 3.11 they may lie a pixel to the side.
    """
    found = pixels(path)
    scale, rest = divmod(found.shape[0], rows)
    assert rest == 0
    assert found.shape == (scale * rows, scale * columns, 3)
    blocks = found.reshape(rows, scale, columns, scale, 3)
    edge = scale // 3
    inner = blocks[1:-1, edge : scale - edge, 1:-1, edge : scale - edge]
    assert (inner == inner[:, :1, :, :1]).all()
    return blocks[:, scale // 2, :, scale // 2]


GAP = [136, 136, 136]


def test_every_value_of_a_tile_is_where_it_belongs(tmp_path):
    tiles = torch.tensor([[[0.0, 1.0], [0.2, 0.4]], [[1.0, 0.6], [0.0, 0.8]], [[0.4, 0.0], [1.0, 0.2]]])[:, None]
    grid(tiles, tmp_path / "grid.png", columns=2)
    found = cells(tmp_path / "grid.png", 7, 7)
    expected = np.full((7, 7), 136)
    expected[1:3, 1:3] = [[0, 255], [51, 102]]
    expected[1:3, 4:6] = [[255, 153], [0, 204]]
    expected[4:6, 1:3] = [[102, 0], [255, 51]]
    assert np.abs(found - expected[..., None])[1:-1, 1:-1].max() <= 1
    assert (found[3, 3] == GAP).all()
    assert (found[4:6, 4:6] == GAP).all(), "there is no fourth tile"


@pytest.mark.parametrize("count", [1, 3, 100, 101])
@pytest.mark.parametrize("shape", [(1, 28, 28), (1, 8, 5), (3, 16, 16)])
def test_tiles_of_any_size_are_drawn_pixel_by_pixel(shape, count, tmp_path):
    _, height, width = shape
    tiles = torch.rand(count, *shape, generator=torch.Generator().manual_seed(0))
    grid(tiles, tmp_path / "grid.png")
    rows = -(-count // 10)
    found = cells(tmp_path / "grid.png", rows * (height + 1) + 1, 10 * (width + 1) + 1)
    for i, tile in enumerate(tiles):
        top, left = 1 + i // 10 * (height + 1), 1 + i % 10 * (width + 1)
        drawn = found[top : top + height, left : left + width]
        expected = tile.permute(1, 2, 0).expand(-1, -1, 3).numpy() * 255
        assert np.abs(drawn - expected).max() <= 2, "256 shades of grey"


def test_values_beyond_0_to_1_are_black_and_white(tmp_path):
    grid(torch.tensor([[[[-3.0, 0.0, 1.0, 7.0]]]]), tmp_path / "grid.png", columns=1)
    assert cells(tmp_path / "grid.png", 3, 6)[1, 1:5, 0].tolist() == [0, 0, 255, 255]


@pytest.mark.parametrize("shape", [(6,), (2, 3), (2, 3, 1), (3, 2, 1)])
def test_what_is_no_picture_is_one_strip_each(shape, tmp_path):
    tiles = torch.linspace(0, 1, 12).view(2, *shape)
    grid(tiles, tmp_path / "grid.png", columns=1)
    if shape == (3, 2, 1):
        assert cells(tmp_path / "grid.png", 7, 3).shape, "three channels are a picture"
    else:
        found = cells(tmp_path / "grid.png", 5, 8)[[1, 3], 1:7, 0]
        assert np.abs(found - torch.linspace(0, 255, 12).view(2, 6).numpy()).max() <= 1


def test_weights_are_red_below_0_and_blue_above_each_tile_by_its_own_measure(tmp_path):
    tiles = torch.tensor([[-2.0, 0.0, 2.0, 1.0], [0.0, 0.01, -0.01, 0.0], [0.0, 0.0, 0.0, 0.0]]).view(3, 1, 1, 4)
    grid(tiles, tmp_path / "grid.png", columns=1, signed=True)
    first, second, none = cells(tmp_path / "grid.png", 7, 6)[1::2, 1:5]
    red, white, blue, pale = first
    assert red[0] > red[1:].max() + 60
    assert blue[2] > blue[:2].max() + 40
    assert white.min() > 240
    assert blue[2] < pale[2] < white[2] or blue[0] < pale[0] < white[0]
    assert (second == [white, blue, red, white]).all()
    assert (none == white).all(), "a tile of zeros is blank, not divided by nothing"


def test_signed_tiles_of_three_channels_are_drawn_by_their_mean(tmp_path):
    tiles = torch.tensor([[[[3.0]], [[0.0]], [[-6.0]]], [[[1.0]], [[1.0]], [[1.0]]]])
    grid(tiles, tmp_path / "grid.png", columns=1, signed=True)
    below, above = cells(tmp_path / "grid.png", 5, 3)[[1, 3], 1]
    assert below[0] > below[2]
    assert above[2] > above[0]


def test_a_row_bears_the_name_of_its_first_tile(tmp_path, figures):
    names = ["cat", "cat", "dog", "dog", "emu"]
    grid(torch.rand(5, 1, 8, 8), tmp_path / "grid.png", columns=2, names=names)
    (axes,) = figures[0].axes
    assert [text.get_text() for text in axes.texts] == ["cat", "dog", "emu"]
    assert [text.get_position()[1] for text in axes.texts] == [5, 14, 23]  # the middle of each row
    width, height = size(tmp_path / "grid.png")
    grid(torch.rand(5, 1, 8, 8), tmp_path / "plain.png", columns=2)
    assert size(tmp_path / "plain.png")[0] < width
    assert size(tmp_path / "plain.png")[1] == height
    assert not figures[1].axes[0].texts


@pytest.mark.parametrize("names", [["original", "reconstructed"], ["0", "500"], ["Ankle boot", "T-shirt/top"]])
def test_names_are_whole_inside_the_picture(names, tmp_path, figures):
    grid(torch.rand(2, 1, 28, 28), tmp_path / "grid.png", columns=1, names=names)
    for text in figures[0].axes[0].texts:
        box = text.get_window_extent()
        assert box.x0 >= 0
        assert box.y0 >= 0


# A map of codes


def offsets(figure) -> list[np.ndarray]:
    """Points in the plane, class by class."""
    return [np.asarray(part.get_offsets()) for part in figure.axes[0].collections]


def test_codes_of_two_units_are_drawn_as_they_are(tmp_path, figures):
    points = torch.tensor([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]])
    codes(points, [1, 0, 1], ["cat", "dog"], tmp_path / "codes.png", method="pca")
    cat, dog = offsets(figures[0])
    assert cat.tolist() == [[2, 3]]
    assert dog.tolist() == [[0, 1], [4, 5]]
    axes = figures[0].axes[0]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["cat", "dog"]
    assert axes.get_title() == "codes of 3 examples"
    assert size(tmp_path / "codes.png") == (840, 720)


def test_codes_of_one_unit_lie_on_a_line(tmp_path, figures):
    codes(torch.tensor([[0.5], [0.25]]), [0, 1], ["a", "b"], tmp_path / "codes.png", method="tsne")
    assert np.concatenate(offsets(figures[0])).tolist() == [[0.5, 0], [0.25, 0]]


def test_codes_without_classes_are_one_cloud(tmp_path, figures):
    codes(torch.rand(7, 2), [], [], tmp_path / "codes.png", method="pca")
    (cloud,) = offsets(figures[0])
    assert len(cloud) == 7
    assert figures[0].axes[0].get_legend() is None


def test_pca_keeps_the_two_directions_of_greatest_variance(tmp_path, figures):
    generator = torch.Generator().manual_seed(0)
    plane = torch.randn(50, 2, generator=generator) * torch.tensor([5.0, 2.0])
    turned, _ = torch.linalg.qr(torch.randn(6, 6, generator=generator))
    codes(plane @ turned[:2] + 3, [0] * 50, ["a"], tmp_path / "codes.png", method="pca")
    (found,) = offsets(figures[0])
    between = torch.cdist(plane, plane).numpy()
    assert np.allclose(np.linalg.norm(found[:, None] - found, axis=-1), between, atol=1e-3)
    assert figures[0].axes[0].get_title() == "codes of 50 examples, by pca"


def test_tsne_keeps_clusters_together_the_same_every_time(tmp_path, figures):
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(60, 5, generator=generator) * 0.1 + torch.eye(5)[:2].repeat_interleave(30, dim=0) * 10
    for _ in range(2):
        codes(points, [0] * 30 + [1] * 30, ["a", "b"], tmp_path / "codes.png", method="tsne")
    first, again = (offsets(figure) for figure in figures)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    a, b = first
    apart = np.linalg.norm(a[:, None] - b, axis=-1)
    near = np.linalg.norm(a - a.mean(axis=0), axis=-1)
    assert apart.min() > near.mean()
    assert figures[0].axes[0].get_title() == "codes of 60 examples, by tsne"


@pytest.mark.parametrize("units", [2, 5])
def test_an_unknown_method_is_refused_and_nothing_is_drawn(units, tmp_path):
    with pytest.raises(ValueError, match="latent_map=umap: choose pca or tsne"):
        codes(torch.rand(9, units), [0] * 9, ["a"], tmp_path / "codes.png", method="umap")
    assert not list(tmp_path.iterdir())


# Contact sheets

LONG = [
    "deep/folder/a rather long name of a picture 0001.png",
    "Wwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwww 0.123",
    "true cat",
]


@pytest.mark.parametrize("count", [1, 2, 7, 24])
@pytest.mark.parametrize(("shape", "options"), [((1, 28, 28), {}), ((3, 20, 43), {"columns": 3, "width": 3.5})])
def test_captions_of_a_sheet_are_whole_and_apart(shape, options, count, tmp_path, figures):
    sheet([torch.rand(shape)] * count, [LONG] * count, tmp_path / "sheet.png", title=f"{count:,} of 12,345", **options)
    (figure,) = figures
    width, height = size(tmp_path / "sheet.png")
    boxes = [text.get_window_extent() for text in figure.texts] + [axes.bbox for axes in figure.axes]
    assert len(figure.axes) == count
    assert len(boxes) == 1 + 4 * count
    for box in boxes:
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= width
        assert box.y1 <= height
    edges = np.array([(box.x0, box.y0, box.x1, box.y1) for box in boxes])
    x0, y0, x1, y1 = edges.T
    apart = (x1[:, None] <= x0 + 1) | (x1 <= x0[:, None] + 1) | (y1[:, None] <= y0 + 1) | (y1 <= y0[:, None] + 1)
    assert (apart | np.eye(len(boxes), dtype=bool)).all()


def test_a_sheet_shows_each_picture_with_its_own_lines_and_the_wrong_ones_in_red(tmp_path, figures):
    tiles = [torch.full((1, 4, 4), 0.25), torch.rand(3, 4, 4)]
    lines = [["a.png", "cat 0.500"], ["b.png", "dog 0.600", "true emu"]]
    sheet(tiles, lines, tmp_path / "sheet.png", title="1 wrong", wrong=[False, True])
    first, second = figures[0].axes
    assert np.allclose(first.images[0].get_array(), 0.25)
    assert np.allclose(second.images[0].get_array(), tiles[1].permute(1, 2, 0))
    title, *captions = figures[0].texts
    assert title.get_text() == "1 wrong"
    assert [text.get_text() for text in captions] == [line for caption in lines for line in caption]
    assert [text.get_color() for text in captions] == ["black"] * 2 + [RED] * 3
    left, right = (axes.bbox.x0 for axes in (first, second))
    assert [text.get_window_extent().x0 for text in captions] == pytest.approx([left] * 2 + [right] * 3, abs=2)
    found = pixels(tmp_path / "sheet.png")
    red = (np.abs(found - [0xC0, 0, 0]).max(axis=2) < 8).nonzero()[1]
    assert red.min() > left + first.bbox.width, "only the second is framed"


def test_a_caption_of_any_letters_is_drawn_plainly(tmp_path, figures):
    names = ["$a_b$.png", "two\nlines.png", "日本 🐈.png", "raw\udcff.png"]
    sheet([torch.rand(1, 4, 4)] * 4, [[name] for name in names], tmp_path / "sheet.png", title="$4$")
    found = [text.get_text() for text in figures[0].texts]
    assert found == ["$4$", "$a_b$.png", "two?lines.png", "日本 🐈.png", "raw?.png"]
    assert not any(text.get_parse_math() for text in figures[0].texts)


def test_a_long_name_keeps_its_ends(tmp_path, figures):
    sheet([torch.rand(1, 4, 4)], [LONG], tmp_path / "sheet.png", title="")
    name = figures[0].texts[1].get_text()
    head, tail = name.split("…")
    assert len(name) == 29
    assert LONG[0].startswith(head)
    assert LONG[0].endswith(tail)
    assert abs(len(head) - len(tail)) <= 1


def test_an_overlay_is_the_picture_and_beside_it_grey_under_colour():
    tile, heat = torch.rand(3, 6, 8), torch.zeros(6, 8)
    heat[0, 0], heat[5, 7] = 1.0, 0.5
    both = overlay(tile, heat)
    assert both.shape == (3, 6, 8 + 1 + 8)
    assert torch.equal(both[..., :8], tile)
    assert (both[..., 8] == 1).all()
    right = both[..., 9:]
    assert both.min() >= 0
    assert both.max() <= 1
    red, _, blue = right[:, 0, 0]
    assert red > blue + 0.2
    cold = right[:, 1:5]
    assert (cold[2] > cold[0] + 0.1).all(), "blue where nothing is"
    shades = 0.45 * 0.7 * tile.mean(dim=0)[1:5]
    torch.testing.assert_close(cold - cold[:, :1, :1], (shades - shades[0, 0]).expand(3, -1, -1), atol=1e-5, rtol=0)
    grey = overlay(tile[:1], heat)
    assert torch.equal(grey[0, :, :8], grey[2, :, :8])


# A net as a diagram


def lines(figure):
    """Of each matrix, what its lines show: end points (lines x 2 x 2), colours (lines x 4), widths."""
    parts = figure.axes[0].collections
    return [
        (np.array(part.get_segments()), part.get_colors(), part.get_linewidths())
        for part in parts
        if hasattr(part, "get_segments")
    ]


def test_a_network_has_a_line_for_each_weight_in_its_colour():
    first, second = torch.tensor([[3.0, -1.5], [0.0, 0.5], [1.0, -3.0]]), torch.tensor([[-1.0, 1.0, 0.5]])
    figure = network([2, 3, 1], weights=[first, second], names=["in", "middle", "out"], classes=["yes"])
    assert [text.get_text() for text in figure.axes[0].texts] == ["2", "in", "3", "middle", "1", "out", "yes"]
    for matrix, (ends, colours, widths) in zip((first, second), lines(figure), strict=True):
        assert len(ends) == matrix.numel()
        for i, weight in enumerate(matrix.flatten().tolist()):
            red, _, blue, shown = colours[i]
            assert shown == pytest.approx(abs(weight) / matrix.abs().max().item())
            assert weight == 0 or (blue > red) == (weight > 0)
            into, out_of = divmod(i, matrix.shape[1])
            assert ends[i, 0, 1] == ends[out_of, 0, 1]
            assert ends[i, 1, 1] == ends[into * matrix.shape[1], 1, 1]
        assert np.argmax(widths) == matrix.abs().argmax()
        assert (ends[:, 0, 0] < ends[:, 1, 0]).all(), "the input is on the left"


def test_a_wide_layer_of_a_network_is_drawn_by_some_of_its_units():
    weight, values = torch.arange(40.0).view(2, 20), [torch.linspace(0, 1, 20), torch.tensor([1.0, 0.0])]
    for options, shown in (({"most": 4}, [0, 1, 18, 19]), ({"drawn": {0: [7, 3, 11]}}, [7, 3, 11])):
        figure = network([20, 2], weights=[weight], activations=values, **options)
        ((_, colours, _),) = lines(figure)
        part = weight[:, shown]
        assert np.allclose(colours[:, 3], (part / part.max()).flatten())
        dots = [line.get_xydata() for line in figure.axes[0].lines]
        assert [len(points) for points in dots] == [3]
        units = [part for part in figure.axes[0].collections if not hasattr(part, "get_segments")]
        assert np.allclose(units[0].get_facecolor()[:, 0], values[0][shown], atol=1 / 200)
        heights = units[0].get_offsets()[:, 1]
        assert (np.diff(heights) < 0).all(), "from the top down"
        assert np.abs(dots[0][:, 1:] - np.asarray(heights)).min() > 0.4, "no dot on a unit"
    assert not network([4, 2]).axes[0].lines, "no dots where all are there"


@pytest.mark.parametrize("sizes", [(784, 16, 16, 10), (2, 3, 1), (300, 300), (9, 1)])
def test_all_of_a_network_is_inside_its_picture(sizes, tmp_path, figures):
    network(sizes, tmp_path / "net.png", names=["a layer of units"] * len(sizes), classes=["Ankle boot"] * sizes[-1])
    (axes,) = figures[0].axes
    box = axes.get_window_extent()
    for text in axes.texts:
        found = text.get_window_extent()
        assert found.x0 >= box.x0
        assert found.x1 <= box.x1
        assert found.y0 >= box.y0
    assert size(tmp_path / "net.png") == (960, 624)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": [torch.ones(3, 2)]}, r"weights of \[\(3, 2\)\] do not join layers of \[3, 2\]"),
        ({"weights": []}, "do not join"),
        ({"activations": [torch.ones(3)]}, r"activations of \[3\]"),
        ({"drawn": {1: [2]}}, r"layer 1 has units 0 to 1; drawn=\[2\]"),
        ({"drawn": {0: []}}, "drawn"),
    ],
)
def test_what_does_not_fit_a_network_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        network([3, 2], **options)


def test_panels_show_each_map_at_one_width_under_its_title():
    """Colour, one channel and signed values side by side; places left over stay empty."""
    colour, plain, signed = torch.rand(3, 8, 8), torch.rand(1, 4, 4), torch.tensor([[-2.0, 0.0], [1.0, 0.5]])
    tiles = {"colour": colour, "plain": plain, "signed": signed}
    first, second, third, empty = panels(tiles, columns=2, signed=["signed"]).axes
    assert [axes.get_title() for axes in (first, second, third, empty)] == [*tiles, ""]
    assert not empty.axison
    shown = [axes.images[0] for axes in (first, second, third)]
    np.testing.assert_allclose(shown[0].get_array(), colour.permute(1, 2, 0))
    np.testing.assert_allclose(shown[1].get_array(), plain[0])
    assert shown[1].get_clim() == (0, 1)
    assert shown[2].get_clim() == (-2, 2)  # white at 0
    widths = [axes.get_window_extent().width for axes in (first, second, third)]
    assert max(widths) - min(widths) < 1


def test_panels_write_the_numbers_of_small_maps():
    (axes,) = panels({"kernel": torch.tensor([[-1.0, 0.0], [2.25, 12.0]])}, numbers=True).axes
    written = {text.get_position(): text.get_text() for text in axes.texts}
    assert written == {(0, 0): "-1", (1, 0): "0", (0, 1): "2.25", (1, 1): "12"}  # column, row
    least, greatest = axes.images[0].get_clim()
    assert (least, greatest) == (0, 24)  # pale below black letters


def test_figures_come_back_and_need_no_file():
    """A notebook shows what a function returns; ``path`` writes the same picture beside it."""
    drawn = {
        "curves": curves({"loss": {"train": ([0, 1], [2.0, 1.0])}}, x_label="epoch"),
        "confusion": confusion([[3, 1], [0, 2]], ["a", "b"]),
        "grid": grid(torch.rand(4, 1, 5, 5)),
        "sheet": sheet([torch.rand(1, 5, 5)], [["one"]], title="one picture"),
        "codes": codes(torch.randn(6, 2), [0, 1] * 3, ["a", "b"]),
        "network": network([3, 2]),
        "panels": panels({"one": torch.rand(4, 4)}),
    }
    assert {name: len(figure.axes) for name, figure in drawn.items()} == dict.fromkeys(drawn, 1)
    assert drawn["curves"].axes[0].get_xlabel() == "epoch"


def test_a_line_without_a_name_gets_no_legend():
    """As the one job of a sweep has it."""
    assert curves({"loss": {"": ([0, 1], [2.0, 1.0])}}).axes[0].get_legend() is None
