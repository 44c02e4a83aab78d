"""Each distortion alone, against NumPy or by hand; random numbers are replaced where an exact value is needed."""

import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from zoo.data import augment
from zoo.data.augment import Augment

EACH = {
    "shift": 2,
    "rotation": 20.0,
    "scale": 0.2,
    "shear": 0.3,
    "elastic": 1.5,
    "flip": True,
    "erase": 0.5,
    "crop": 0.3,
    "randaugment": 2,
}


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def noise(*shape):
    """Raw pixels, none of them 0."""
    return torch.randint(1, 256, shape, generator=rng(9), dtype=torch.uint8)


@pytest.fixture
def drawn(monkeypatch):
    """``drawn(0.5, 1.0)`` makes these the numbers that every example draws."""

    def fix(*values):
        monkeypatch.setattr(augment, "_uniform", lambda x, generator, columns: torch.tensor([values] * len(x)))

    return fix


def test_nothing_is_falsy_and_changes_nothing():
    x = noise(5, 3, 6, 4)
    generator = rng()
    before = generator.get_state()
    assert not Augment().active
    assert torch.equal(Augment()(x, generator), x.float())
    assert torch.equal(generator.get_state(), before)


@pytest.mark.parametrize("name", EACH)
def test_each_distortion_is_truthy_and_keeps_shape_and_raw_pixels(name):
    distort = Augment(**{name: EACH[name]})
    x = noise(16, 3, 9, 5)
    out = distort(x, rng())
    assert distort.active
    assert out.dtype == torch.float32
    assert out.shape == x.shape
    assert not torch.equal(out, x.float())
    assert out.min() >= 0
    assert out.max() <= 255


@pytest.mark.parametrize("name", EACH)
def test_same_seed_gives_the_same_distortion_and_another_seed_another(name):
    distort, x = Augment(**{name: EACH[name]}), noise(16, 1, 8, 8)
    assert torch.equal(distort(x, rng(1)), distort(x, rng(1)))
    assert not torch.equal(distort(x, rng(1)), distort(x, rng(2)))


@pytest.mark.parametrize("name", EACH)
def test_the_given_generator_is_the_only_source_of_randomness(name):
    before = torch.get_rng_state()
    Augment(**{name: EACH[name]})(noise(16, 1, 8, 8), rng())
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", EACH)
def test_equal_examples_of_a_batch_get_distortions_of_their_own(name):
    x = noise(1, 3, 8, 8).expand(64, -1, -1, -1)
    out = Augment(**{name: EACH[name]})(x, rng())
    assert len(out.unique(dim=0)) >= (2 if name == "flip" else 20)


@pytest.mark.parametrize("name", EACH)
def test_channels_of_an_example_are_distorted_alike(name):
    x = noise(16, 1, 8, 8).expand(-1, 3, -1, -1)
    out = Augment(**{name: EACH[name]})(x, rng())
    assert torch.equal(out[:, :1].expand(-1, 3, -1, -1), out)


# Shift


def shifted(image, down, right):
    """C x H x W moved by whole pixels, 0 where nothing came in."""
    _, height, width = image.shape
    out = np.zeros_like(image)
    for row in range(height):
        for column in range(width):
            if 0 <= row - down < height and 0 <= column - right < width:
                out[:, row, column] = image[:, row - down, column - right]
    return out


def test_shift_reaches_every_offset_within_its_bound_equally_often():
    x = noise(500, 2, 6, 4)
    out = Augment(shift=2)(x, rng()).numpy()
    offsets = [(down, right) for down in range(-2, 3) for right in range(-2, 3)]
    counts = dict.fromkeys(offsets, 0)
    for before, after in zip(x.numpy().astype(np.float32), out, strict=True):
        found = [offset for offset in offsets if np.array_equal(shifted(before, *offset), after)]
        assert len(found) == 1
        counts[found[0]] += 1
    chi_square = sum((count - 20) ** 2 / 20 for count in counts.values())
    assert chi_square < 51.2  # 24 degrees of freedom, one in a thousand


def test_shift_beyond_the_frame_leaves_background():
    out = Augment(shift=8)(noise(200, 1, 4, 4), rng())
    assert any(not image.any() for image in out)


# Rotation, scale, shear


def test_rotation_by_90_degrees_turns_the_image_exactly(drawn):
    drawn(1.0, 0.5, 0.5)
    x = noise(3, 2, 6, 6)
    out = Augment(rotation=90)(x, rng())
    torch.testing.assert_close(out, x.float().rot90(1, (2, 3)), atol=0.01, rtol=0)


def test_rotation_by_180_degrees_of_an_oblong_image_flips_both_sides(drawn):
    drawn(0.0, 0.5, 0.5)
    x = noise(3, 2, 4, 9)
    torch.testing.assert_close(Augment(rotation=180)(x, rng()), x.float().flip(2, 3), atol=0.05, rtol=0)


@pytest.mark.parametrize(("height", "width"), [(9, 15), (15, 9), (11, 11)])
def test_rotation_by_90_degrees_of_an_oblong_image_moves_pixels_as_in_the_plane(drawn, height, width):
    drawn(1.0, 0.5, 0.5)
    x = torch.zeros(1, 1, height, width)
    middle_row, middle_column = height // 2, width // 2
    x[0, 0, middle_row, middle_column + 3] = 200  # three to the right
    x[0, 0, middle_row - 2, middle_column] = 100  # two up
    out = Augment(rotation=90)(x, rng())
    expected = torch.zeros_like(x)
    expected[0, 0, middle_row - 3, middle_column] = 200  # three up
    expected[0, 0, middle_row, middle_column - 2] = 100  # two to the left
    torch.testing.assert_close(out, expected, atol=0.05, rtol=0)


def smooth(height, width, transform):
    """A bump whose center and form are known everywhere, looked up at transformed coordinates (right, down)."""
    down, right = np.mgrid[:height, :width] - np.array([(height - 1) / 2, (width - 1) / 2])[:, None, None]
    right, down = np.tensordot(transform, np.stack([right, down]), axes=1)
    bump = np.exp(-((right - 4) ** 2) / 160 - (down - 1) ** 2 / 60)
    return torch.tensor(200 * bump, dtype=torch.float32)[None, None]


@pytest.mark.parametrize(
    ("options", "draw", "lookup"),
    [
        ({"rotation": 60}, (0.75, 0.5, 0.5), [[np.cos(np.pi / 6), -0.5], [0.5, np.cos(np.pi / 6)]]),
        ({"scale": 0.5}, (0.5, 1.0, 0.5), [[1 / 1.5, 0], [0, 1 / 1.5]]),
        ({"scale": 0.5}, (0.5, 0.25, 0.5), [[1 / 0.75, 0], [0, 1 / 0.75]]),
        ({"shear": 0.4}, (0.5, 0.5, 1.0), [[1, 0.4], [0, 1]]),
        ({"shear": 0.4}, (0.5, 0.5, 0.25), [[1, -0.2], [0, 1]]),
        ({"rotation": 90, "scale": 1.0}, (1.0, 0.75, 0.5), [[0, -1 / 1.5], [1 / 1.5, 0]]),
        ({"rotation": 90, "shear": 0.4}, (1.0, 0.5, 1.0), [[0, -1], [1, 0.4]]),
    ],
    ids=["rotation 30", "larger", "smaller", "shear", "shear back", "rotation and scale", "rotation and shear"],
)
def test_affine_distortions_look_every_pixel_up_where_the_matrix_says(drawn, options, draw, lookup):
    drawn(*draw)
    out = Augment(**options)(smooth(31, 47, np.eye(2)), rng())
    difference = (out - smooth(31, 47, np.array(lookup)))[..., 11:20, 11:36].abs()  # where all sources are inside
    assert difference.max() < 2  # of 200: what interpolation costs


def test_rotation_angles_are_uniform_within_the_bound():
    x = torch.zeros(2000, 1, 41, 41)
    x[:, 0, 20, 36] = 255  # a dot 16 to the right
    weights = Augment(rotation=30)(x, rng())[:, 0]
    rows, columns = torch.meshgrid(torch.arange(41.0) - 20, torch.arange(41.0) - 20, indexing="ij")
    mass = weights.sum((1, 2))
    angle = torch.rad2deg(torch.atan2((weights * rows).sum((1, 2)) / mass, (weights * columns).sum((1, 2)) / mass))
    assert angle.abs().max() < 31
    quarters = torch.histc(angle, bins=4, min=-30, max=30) / 2000
    torch.testing.assert_close(quarters, torch.full((4,), 0.25), atol=0.04, rtol=0)


def centers(images):
    """The center of mass of each image, in pixels: N x 2 (right, down)."""
    height, width = images.shape[-2:]
    share = images[:, 0] / images[:, 0].sum((1, 2), keepdim=True)
    right = (share * torch.arange(width)).sum((1, 2))
    down = (share * torch.arange(height)[:, None]).sum((1, 2))
    return torch.stack([right, down], dim=1)


@pytest.mark.parametrize(("row", "column"), [(14, 20), (4, 33)])
def test_elastic_distortions_move_pixels_by_the_standard_deviation_in_both_directions(row, column):
    x = torch.zeros(3000, 1, 28, 40)
    x[:, 0, row - 1 : row + 2, column - 1 : column + 2] = 255
    moved = centers(Augment(elastic=1.0)(x, rng())) - torch.tensor([column, row])  # N x 2
    torch.testing.assert_close(moved.mean(0), torch.zeros(2), atol=0.1, rtol=0)
    torch.testing.assert_close(moved.std(0), torch.ones(2), atol=0.12, rtol=0)  # stretching weighs some pixels more


def test_elastic_distortions_move_near_pixels_alike_and_far_ones_independently():
    flat = torch.zeros(3000, 1, 28, 28)
    field = Augment(elastic=2.0)._displacements(flat, rng())[:, :, :, 0] * 14  # N x H x W, pixels to the right
    torch.testing.assert_close(field.std(0), torch.full((28, 28), 2.0), atol=0.15, rtol=0)
    # A Gaussian filter of std 4 gives a correlation of exp(-d² / 64) at a distance of d pixels.
    for distance in (1, 4, 8, 20):
        both = torch.stack([field[:, 14, 4], field[:, 14, 4 + distance]])
        expected = np.exp(-(distance**2) / 64)
        assert torch.corrcoef(both)[0, 1].item() == pytest.approx(expected, abs=0.06)


def test_what_comes_in_from_outside_is_background():
    out = Augment(rotation=45)(torch.full((64, 1, 20, 20), 255), rng())
    assert (out[:, 0, 0, 0] < 1).float().mean() > 0.5


# Crop


def test_a_crop_stretches_its_box_to_the_frame(monkeypatch):
    from torchvision.transforms.v2 import functional as reference

    x = noise(2, 3, 20, 30)
    places = [(4, 3, 16, 12), (0, 0, 30, 20)]  # left, top, width, height
    monkeypatch.setattr(augment, "crop_boxes", lambda *_, **__: torch.tensor(places, dtype=torch.float32))
    out = Augment(crop=0.5)(x, rng())
    for image, result, (left, top, width, height) in zip(x.float(), out, places, strict=True):
        expected = reference.resized_crop(image, top, left, height, width, [20, 30], antialias=False)
        torch.testing.assert_close(result[:, 1:-1, 1:-1], expected[:, 1:-1, 1:-1], atol=0.01, rtol=0)


def test_a_crop_is_drawn_from_its_least_share_up_to_the_whole(monkeypatch):
    asked = []
    real = augment.crop_boxes
    monkeypatch.setattr(
        augment, "crop_boxes", lambda *args, **named: asked.append((args, named["min_area"])) or real(*args, **named)
    )
    Augment(crop=0.3)(noise(7, 1, 20, 30), rng())
    assert asked == [((7, 20, 30), 0.3)]


def test_a_crop_brings_nothing_in_from_outside():
    out = Augment(crop=0.1)(torch.full((64, 1, 12, 9), 200), rng())
    torch.testing.assert_close(out, torch.full((64, 1, 12, 9), 200.0))


# RandAugment


def test_randaugment_is_torchvisions_one_image_after_the_other():
    from torchvision.transforms.v2 import RandAugment

    x, generator = noise(6, 3, 16, 16), rng(4)
    out = Augment(randaugment=3, magnitude=20)(x, generator)
    with torch.random.fork_rng():
        torch.manual_seed(int(torch.randint(2**31 - 1, (), generator=rng(4))))
        transform = RandAugment(num_ops=3, magnitude=20)
        expected = torch.stack([transform(image) for image in x])
    assert torch.equal(out, expected.float())


@pytest.mark.parametrize("x", [torch.rand(2, 1, 8, 8), torch.zeros(2, 4, 8, 8, dtype=torch.uint8)])
def test_randaugment_of_what_is_not_a_uint8_image_is_refused(x):
    with pytest.raises(ValueError, match="randaugment needs uint8 images with 1 or 3 channels"):
        Augment(randaugment=1)(x, rng())


# Mixing


def mixed(seed=0, count=12, **options):
    """Pictures whose pixels are all their own number, from 1, and what comes of them; 5 classes."""
    x = torch.arange(1.0, count + 1).view(-1, 1, 1, 1).expand(-1, 3, 10, 10).contiguous()
    y = torch.arange(count) % 5
    return x, y, *Augment(**options).mix(x, y, 5, rng(seed))


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_mixup_blends_images_and_labels_by_the_same_share(alpha):
    shares = []
    for seed in range(30):
        x, y, out, probabilities = mixed(seed, mixup=alpha)
        target = F.one_hot(y, 5).float()
        share = float(probabilities[0, 0])  # of class 0; its partner, the last, is of class 1
        torch.testing.assert_close(probabilities, share * target + (1 - share) * target.roll(1, 0))
        torch.testing.assert_close(out, share * x + (1 - share) * x.roll(1, 0))
        shares.append(share)
    assert len(set(shares)) == 30
    assert (np.mean([0.1 < share < 0.9 for share in shares]) > 0.5) == (alpha == 1.0)


def test_cutmix_pastes_a_rectangle_and_weighs_labels_by_its_area():
    areas = []
    for seed in range(20):
        x, y, out, probabilities = mixed(seed, cutmix=1.0)
        pasted = out == x.roll(1, 0)
        assert torch.equal(torch.where(pasted, x.roll(1, 0), x), out)
        area = pasted[0, 0].float().mean()
        target = F.one_hot(y, 5).float()
        torch.testing.assert_close(probabilities, (1 - area) * target + area * target.roll(1, 0))
        rows, columns = pasted[0, 0].any(1), pasted[0, 0].any(0)
        assert torch.equal(pasted[0, 0], rows[:, None] & columns)
        areas.append(float(area))
    assert len(set(areas)) > 5


def test_of_both_one_at_random_is_used_for_a_batch():
    kinds = set()
    for seed in range(12):
        x, _, out, _ = mixed(seed, mixup=1.0, cutmix=1.0)
        kinds.add(bool(((out == x) | (out == x.roll(1, 0))).all()))  # of whole pixels: CutMix
    assert kinds == {True, False}


def test_without_mixing_a_batch_stays_as_it_is():
    x, y, out, labels = mixed(flip=True, randaugment=2)
    assert out is x
    assert labels is y


def test_a_batch_of_one_keeps_its_class():
    x, _, out, probabilities = mixed(count=1, mixup=1.0)
    torch.testing.assert_close(out, x)
    torch.testing.assert_close(probabilities, torch.tensor([[1.0, 0, 0, 0, 0]]))


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_mixing_takes_its_randomness_from_the_given_generator_only(name):
    before = torch.get_rng_state()
    first, again, other = (mixed(seed, **{name: 1.0})[2] for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    generator = rng()
    state = generator.get_state()
    Augment(**{name: 1.0}).mix(torch.rand(4, 1, 3, 3), torch.arange(4), 4, generator)
    assert not torch.equal(generator.get_state(), state)  # so that the next batch draws anew


# Ranges


@pytest.mark.parametrize(
    ("key", "value", "span"),
    [
        ("crop", 0.0, "in [0.001, 1]"),
        ("crop", 1.5, "in [0.001, 1]"),
        ("randaugment", -1, "finite and >= 0"),
        ("magnitude", 31, "in [0, 30]"),
        ("mixup", -0.1, "finite and >= 0"),
        ("cutmix", float("nan"), "finite and >= 0"),
        ("mixup", float("inf"), "finite and >= 0"),
        ("erase", 1.2, "in [0, 1]"),
        ("scale", 2.0, "in [0, 1]"),
        ("shift", -3, "finite and >= 0"),
    ],
)
def test_a_value_out_of_range_is_refused_by_its_key(key, value, span):
    with pytest.raises(ValueError, match=re.escape(f"dataset.augment.{key}={value:g}: must be {span}") + "$"):
        Augment(**{key: value})


def test_a_magnitude_alone_is_no_distortion():
    assert not Augment(magnitude=3).active
    assert Augment(mixup=0.1).active
    assert Augment(crop=0.99).active


# Flip


def test_flip_mirrors_half_of_the_examples_left_and_right():
    x = noise(2000, 1, 3, 4)
    out = Augment(flip=True)(x, rng())
    mirrored = (out == x.flip(3)).all(dim=3).all(dim=2).all(dim=1)
    kept = (out == x).all(dim=3).all(dim=2).all(dim=1)
    assert (mirrored ^ kept).all()
    assert mirrored.float().mean().item() == pytest.approx(0.5, abs=0.05)


# Erase


def test_erase_blanks_one_rectangle_and_nothing_else():
    x = noise(400, 2, 12, 8)
    out = Augment(erase=1.0)(x, rng())
    gone = out == 0
    assert torch.equal(torch.where(gone, x.float(), out), x.float())
    assert torch.equal(gone[:, 0], gone[:, 1])
    rows, columns = gone[:, 0].any(dim=2), gone[:, 0].any(dim=1)
    assert torch.equal(gone[:, 0], rows[:, :, None] & columns[:, None, :])
    for sides, longest in ((rows, 6), (columns, 4)):
        starts = (F.pad(sides.float(), (1, 0)).diff() == 1).sum(dim=1)
        assert starts.max() == 1  # without a gap
        assert sides.sum(dim=1).max() == longest


@pytest.mark.parametrize("probability", [0.2, 0.7])
def test_erase_happens_with_its_probability(probability):
    x = noise(2000, 1, 64, 64)
    out = Augment(erase=probability)(x, rng())
    erased = (out == 0).flatten(1).any(dim=1).float().mean().item()
    assert erased == pytest.approx(probability * (1 - 1 / 64) ** 2, abs=0.045)  # some rectangles hold no pixel's center


def test_erase_treats_all_borders_alike():
    gone = (Augment(erase=1.0)(noise(6000, 1, 10, 10), rng()) == 0)[:, 0].float().mean(dim=0)
    torch.testing.assert_close(gone, gone.flip(0), atol=0.03, rtol=0)
    torch.testing.assert_close(gone, gone.flip(1), atol=0.03, rtol=0)
    torch.testing.assert_close(gone, gone.T, atol=0.03, rtol=0)
    assert gone[0].min() > 0
