"""Diagrams of fully connected nets."""

import numpy as np
import pytest
import torch
from support import png_size

from zoo.plots.network import network


def lines(figure):
    """Of each matrix, what its lines show: end points (lines x 2 x 2), colors (lines x 4), widths."""
    parts = figure.axes[0].collections
    return [
        (np.array(part.get_segments()), part.get_colors(), part.get_linewidths())
        for part in parts
        if hasattr(part, "get_segments")
    ]


def test_a_network_has_a_line_for_each_weight_in_its_color():
    first, second = torch.tensor([[3.0, -1.5], [0.0, 0.5], [1.0, -3.0]]), torch.tensor([[-1.0, 1.0, 0.5]])
    figure = network([2, 3, 1], weights=[first, second], names=["in", "middle", "out"], classes=["yes"])
    assert [text.get_text() for text in figure.axes[0].texts] == ["2", "in", "3", "middle", "1", "out", "yes"]
    for matrix, (ends, colors, widths) in zip((first, second), lines(figure), strict=True):
        assert len(ends) == matrix.numel()
        for i, weight in enumerate(matrix.flatten().tolist()):
            red, _, blue, shown = colors[i]
            assert shown == pytest.approx(abs(weight) / matrix.abs().max().item())
            assert weight == 0 or (blue > red) == (weight > 0)
            into, out_of = divmod(i, matrix.shape[1])
            assert ends[i, 0, 1] == ends[out_of, 0, 1]
            assert ends[i, 1, 1] == ends[into * matrix.shape[1], 1, 1]
        assert np.argmax(widths) == matrix.abs().argmax()
        assert (ends[:, 0, 0] < ends[:, 1, 0]).all(), "the input is on the left"


def test_of_a_wide_layer_some_units_are_drawn():
    weight, values = torch.arange(40.0).view(2, 20), [torch.linspace(0, 1, 20), torch.tensor([1.0, 0.0])]
    for options, shown in (({"max_units": 4}, [0, 1, 18, 19]), ({"shown": {0: [7, 3, 11]}}, [7, 3, 11])):
        figure = network([20, 2], weights=[weight], activations=values, **options)
        ((_, colors, _),) = lines(figure)
        part = weight[:, shown]
        assert np.allclose(colors[:, 3], (part / part.max()).flatten())
        dots = [line.get_xydata() for line in figure.axes[0].lines]
        assert [len(points) for points in dots] == [3]
        units = [part for part in figure.axes[0].collections if not hasattr(part, "get_segments")]
        assert np.allclose(units[0].get_facecolor()[:, 0], values[0][shown], atol=1 / 200)
        heights = units[0].get_offsets()[:, 1]
        assert (np.diff(heights) < 0).all(), "from the top down"
        assert np.abs(dots[0][:, 1:] - np.asarray(heights)).min() > 0.4, "no dot on a unit"
    assert not network([4, 2]).axes[0].lines, "no dots where all are there"


@pytest.mark.parametrize("sizes", [(784, 16, 16, 10), (2, 3, 1), (300, 300), (9, 1)])
def test_a_network_fits_into_its_figure(sizes, tmp_path, figures):
    network(sizes, tmp_path / "net.png", names=["a layer of units"] * len(sizes), classes=["Ankle boot"] * sizes[-1])
    (axes,) = figures[0].axes
    box = axes.get_window_extent()
    for text in axes.texts:
        found = text.get_window_extent()
        assert found.x0 >= box.x0
        assert found.x1 <= box.x1
        assert found.y0 >= box.y0
    assert png_size(tmp_path / "net.png") == (960, 624)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": [torch.ones(3, 2)]}, r"weights of shapes \[\(3, 2\)\] do not connect layers of sizes \[3, 2\]"),
        ({"weights": []}, "do not connect"),
        ({"activations": [torch.ones(3)]}, r"activations of \[3\]"),
        ({"shown": {1: [2]}}, r"shown=\[2\]: units of layer 1 must be in \[0, 1\]"),
        ({"shown": {0: []}}, "shown"),
    ],
)
def test_what_does_not_match_the_sizes_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        network([3, 2], **options)
