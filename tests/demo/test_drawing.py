"""A drawing becomes an image as those of MNIST were made: box, aspect ratio, center of mass, gray levels."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted import strokes

import zoo
from zoo.demo.drawing import CANVAS, FRAMINGS, Stroke, frame, framing_of, rasterize

MNIST = FRAMINGS["mnist"]


def extent(image):
    """First and last row and column with ink."""
    rows, columns = (np.flatnonzero(image.any(axis=axis)) for axis in (1, 0))
    return rows[0], rows[-1], columns[0], columns[-1]


def center_of_mass(image):
    y, x = np.indices(image.shape)
    return (y * image).sum() / image.sum(), (x * image).sum() / image.sum()


coordinates = st.floats(0.05, 0.95)
lines = st.lists(st.tuples(coordinates, coordinates), min_size=2, max_size=8)


@given(st.lists(lines, min_size=1, max_size=3), st.floats(0.03, 0.12))
@settings(max_examples=60, deadline=None, database=None)
def test_any_drawing_fits_the_box_keeps_its_aspect_and_is_centered_by_mass(drawing, width):
    ink = rasterize([Stroke(line, width) for line in drawing])
    top, bottom, left, right = extent(ink)
    high, wide = bottom - top + 1, right - left + 1
    image = frame(ink, 28, 28, MNIST)[0].numpy().astype(float)
    # The longer side has 20 pixels; an outermost pixel with less than half a level of ink may be empty.
    first, last, west, east = extent(image)
    sides = np.array([last - first + 1, east - west + 1])
    expected = np.array([high, wide]) * 20 / max(high, wide)
    assert np.all(np.abs(sides - expected) <= 1.5)
    assert sides.max() <= 20
    # The center of mass is at pixel 14, up to the rounding to whole pixels, unless the image ends there.
    for center, begin, side in zip(center_of_mass(image), (first, west), sides, strict=True):
        assert abs(center - 14) <= 0.51 or begin <= 1 or begin + side >= 27
    # The ink is an average over areas, so its mean over the box is kept, up to rounding.
    box = ink[top : bottom + 1, left : right + 1]
    area = max(1, round(expected[0])) * max(1, round(expected[1]))
    if min(high, wide) >= 100:  # the edges of the areas are those of pixels of the canvas
        assert image.sum() / area == pytest.approx(box.mean(), abs=3)


def test_where_and_how_large_a_drawing_is_does_not_matter():
    pad = frame(rasterize(strokes(5)), 28, 28, MNIST)
    step = 14 / CANVAS  # whole pixels of the canvas
    for dx, dy in ((step, 0), (0, -3 * step), (-4 * step, 2 * step)):
        assert torch.equal(frame(rasterize(strokes(5, dx=dx, dy=dy)), 28, 28, MNIST), pad)
    small = frame(rasterize(strokes(5, width=0.0375, scale=0.5)), 28, 28, MNIST)
    assert (small.float() - pad.float()).abs().mean() < 6  # of 255


@pytest.mark.mnist
def test_an_image_of_mnist_that_is_enlarged_is_framed_to_itself(mnist_root):
    images = zoo.dataset("mnist", root=mnist_root).test.x[:300, 0].numpy()
    for image in images:
        large = np.kron(image, np.ones((20, 20), dtype=np.uint8))
        assert np.array_equal(frame(large, 28, 28, MNIST)[0].numpy(), image)


def test_other_framings():
    ink = rasterize([Stroke([(0.1, 0.1), (0.1, 0.5)], 0.02)])
    assert extent(frame(ink, 28, 28, FRAMINGS["digits"])[0].numpy())[:2] == (4, 23)
    assert extent(frame(ink, 28, 28, FRAMINGS["fashion_mnist"])[0].numpy())[:2] == (0, 27)
    # Without a framing the pad is the image, at any size.
    as_drawn = frame(ink, 40, 20, None)
    assert as_drawn.shape == (1, 40, 20)
    assert extent(as_drawn[0].numpy())[:2] == (3, 20)
    # Larger images have larger boxes.
    assert extent(frame(ink, 56, 56, MNIST)[0].numpy())[1] - extent(frame(ink, 56, 56, MNIST)[0].numpy())[0] == 39


def test_the_eraser_takes_ink_away_and_a_point_is_a_disk():
    line = Stroke([(0.2, 0.5), (0.8, 0.5)], 0.1)
    halved = rasterize([line, Stroke([(0.8, 0.5), (0.65, 0.5)], 0.2, erases=True)])
    assert extent(halved)[3] < 0.6 * CANVAS
    disk = rasterize([Stroke([(0.5, 0.5)], 0.2)])
    assert (disk > 0).sum() == pytest.approx(np.pi * (0.1 * CANVAS) ** 2, rel=0.03)
    with pytest.raises(ValueError, match="the drawing is empty"):
        frame(rasterize([line, Stroke(line.points, 0.3, erases=True)]), 28, 28, MNIST)


def test_the_framing_follows_the_dataset():
    assert framing_of("mnist", (1, 28, 28)) == framing_of("digit_recognizer", (1, 28, 28)) == "mnist"
    assert framing_of("fashion_mnist", (1, 28, 28)) == "fashion_mnist"
    assert framing_of("npz", (1, 28, 28)) == "mnist"
    assert framing_of("image_folder", (3, 224, 224)) == framing_of("faces", (1, 64, 64)) == "none"


@pytest.mark.parametrize("options", [{}, {"scale": 0.6, "dx": 0.15, "dy": -0.12}, {"width": 0.05}], ids=str)
@pytest.mark.parametrize("name", ["lenet5-mnist", "mlp-mnist", "lenet5-digits"])
def test_scripted_digits_are_recognized(name, options):
    net, about = zoo.load(name), zoo.info(name)
    framing = FRAMINGS[framing_of(about.dataset, net.in_shape)]
    images = torch.stack([frame(rasterize(strokes(k, **options)), 28, 28, framing) for k in range(10)])
    right = int((net(about.transforms()(images)).argmax(dim=1) == torch.arange(10)).sum())
    assert right >= (9 if about.dataset == "mnist" else 7)
