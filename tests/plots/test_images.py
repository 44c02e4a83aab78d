"""Grids, sheets, panels and overlays: PNG files of a readable size, and what they show."""

import numpy as np
import pytest
import torch
from PIL import Image
from support import png_size

from zoo.plots.images import RED, grid, overlay, panels, sheet


def pixels(path) -> np.ndarray:
    """H x W x 3 bytes."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def cells(path, rows: int, columns: int) -> np.ndarray:
    """The colors of a mosaic's cells, rows x columns x 3; all pixels of a cell but the border's are alike.

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
        assert np.abs(drawn - expected).max() <= 2, "256 shades of gray"


def test_values_beyond_0_to_1_are_black_and_white(tmp_path):
    grid(torch.tensor([[[[-3.0, 0.0, 1.0, 7.0]]]]), tmp_path / "grid.png", columns=1)
    assert cells(tmp_path / "grid.png", 6, 6)[1, 1:5, 0].tolist() == [0, 0, 255, 255]


@pytest.mark.parametrize("shape", [(6,), (2, 3), (2, 3, 1), (3, 2, 1)])
def test_tensors_that_are_not_images_are_one_strip_each(shape, tmp_path):
    tiles = torch.linspace(0, 1, 12).view(2, *shape)
    grid(tiles, tmp_path / "grid.png", columns=1)
    if shape == (3, 2, 1):
        assert cells(tmp_path / "grid.png", 7, 3).shape, "three channels are an image"
    else:
        found = cells(tmp_path / "grid.png", 11, 8)[[1, 6], 1:7, 0]
        assert np.abs(found - torch.linspace(0, 255, 12).view(2, 6).numpy()).max() <= 1


def test_weights_are_red_below_0_and_blue_above_each_tile_scaled_by_itself(tmp_path):
    tiles = torch.tensor([[-2.0, 0.0, 2.0, 1.0], [0.0, 0.01, -0.01, 0.0], [0.0, 0.0, 0.0, 0.0]]).view(3, 1, 1, 4)
    grid(tiles, tmp_path / "grid.png", columns=1, signed=True)
    first, second, none = cells(tmp_path / "grid.png", 16, 6)[1::5, 1:5]
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


def test_a_row_has_the_name_of_its_first_tile(tmp_path, figures):
    names = ["cat", "cat", "dog", "dog", "emu"]
    grid(torch.rand(5, 1, 8, 8), tmp_path / "grid.png", columns=2, names=names)
    (axes,) = figures[0].axes
    assert [text.get_text() for text in axes.texts] == ["cat", "dog", "emu"]
    assert [text.get_position()[1] for text in axes.texts] == [5, 14, 23]  # the middle of each row
    width, height = png_size(tmp_path / "grid.png")
    grid(torch.rand(5, 1, 8, 8), tmp_path / "plain.png", columns=2)
    assert png_size(tmp_path / "plain.png")[0] < width
    assert png_size(tmp_path / "plain.png")[1] == height
    assert not figures[1].axes[0].texts


@pytest.mark.parametrize("names", [["original", "reconstructed"], ["0", "500"], ["Ankle boot", "T-shirt/top"]])
def test_names_fit_into_the_figure(names, tmp_path, figures):
    grid(torch.rand(2, 1, 28, 28), tmp_path / "grid.png", columns=1, names=names)
    for text in figures[0].axes[0].texts:
        box = text.get_window_extent()
        assert box.x0 >= 0
        assert box.y0 >= 0


LONG = [
    "deep/folder/a rather long name of a image 0001.png",
    "Wwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwww 0.123",
    "true cat",
]


@pytest.mark.parametrize("count", [1, 2, 7, 24])
@pytest.mark.parametrize(("shape", "options"), [((1, 28, 28), {}), ((3, 20, 43), {"columns": 3, "width": 3.5})])
def test_captions_of_a_sheet_fit_and_do_not_overlap(shape, options, count, tmp_path, figures):
    sheet([torch.rand(shape)] * count, [LONG] * count, tmp_path / "sheet.png", title=f"{count:,} of 12,345", **options)
    (figure,) = figures
    width, height = png_size(tmp_path / "sheet.png")
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


def test_a_sheet_shows_each_image_with_its_caption_and_wrong_ones_in_red(tmp_path, figures):
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
    assert found == ["$4$", "$a_b$.png", "two\\nlines.png", "日本 🐈.png", "raw\\udcff.png"]
    assert not any(text.get_parse_math() for text in figures[0].texts)


def test_a_long_name_keeps_its_ends(tmp_path, figures):
    sheet([torch.rand(1, 4, 4)], [LONG], tmp_path / "sheet.png", title="")
    name = figures[0].texts[1].get_text()
    head, tail = name.split("…")
    assert len(name) == 29
    assert LONG[0].startswith(head)
    assert LONG[0].endswith(tail)
    assert abs(len(head) - len(tail)) <= 1


def test_an_overlay_is_the_image_and_beside_it_gray_under_color():
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
    gray = overlay(tile[:1], heat)
    assert torch.equal(gray[0, :, :8], gray[2, :, :8])


def test_panels_show_each_map_at_one_width_under_its_title():
    """Colour, one channel and signed values side by side; places left over stay empty."""
    color, plain, signed = torch.rand(3, 8, 8), torch.rand(1, 4, 4), torch.tensor([[-2.0, 0.0], [1.0, 0.5]])
    tiles = {"color": color, "plain": plain, "signed": signed}
    first, second, third, empty = panels(tiles, columns=2, signed=["signed"]).axes
    assert [axes.get_title() for axes in (first, second, third, empty)] == [*tiles, ""]
    assert not empty.axison
    shown = [axes.images[0] for axes in (first, second, third)]
    np.testing.assert_allclose(shown[0].get_array(), color.permute(1, 2, 0))
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
