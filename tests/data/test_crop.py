"""Boxes of random crops: area, aspect ratio, position."""

import pytest
import torch

from zoo.data.crop import crop_boxes


@pytest.mark.parametrize(("height", "width"), [(300, 400), (400, 300), (100, 900), (900, 100)])
def test_boxes_lie_in_the_frame_with_allowed_area_and_aspect(height, width):
    box = crop_boxes(4000, height, width, min_area=0.2, generator=torch.Generator().manual_seed(0))
    left, top, wide, tall = box.unbind(1)
    assert box.min() >= 0
    assert (left + wide).max() <= width + 1e-3
    assert (top + tall).max() <= height + 1e-3
    aspect = wide / tall
    assert aspect.min() >= 3 / 4 - 1e-5
    assert aspect.max() <= 4 / 3 + 1e-5
    if max(width, height) < 2 * min(width, height):  # else some are central, of the greatest size
        assert (wide * tall).min() >= 0.2 * height * width - 1


def test_boxes_have_the_distribution_of_torchvision():
    from scipy.stats import ks_2samp
    from torchvision.transforms import RandomResizedCrop

    frame = torch.empty(3, 300, 400)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = torch.tensor([RandomResizedCrop.get_params(frame, (0.3, 1), (3 / 4, 4 / 3)) for _ in range(1500)])
    top, left, tall, wide = theirs.double().unbind(1)
    ours = crop_boxes(1500, 300, 400, min_area=0.3, generator=torch.Generator().manual_seed(0)).double()
    for mine, other in zip(ours.unbind(1), (left, top, wide, tall), strict=True):
        assert ks_2samp(mine.round(), other).pvalue > 1e-3


def test_if_no_box_fits_the_largest_central_one_is_used():
    box = crop_boxes(3, 100, 1000, min_area=1.0, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(box, torch.tensor([[500 - 200 / 3, 0, 400 / 3, 100]]).expand(3, -1))
