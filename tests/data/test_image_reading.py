"""Decoding image files: modes, transparency, EXIF, JPEG drafts, crops at full resolution."""

import warnings

import numpy as np
import pytest
import torch
from PIL import Image
from support import solid_image
from torchvision.transforms.v2 import functional as F

from zoo.data import images
from zoo.data.orientation import ORIENTATION


def test_what_is_transparent_in_a_palette_becomes_white(tmp_path):
    image = Image.new("P", (4, 2), 0)
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((3, 1), 1)
    for transparency in (0, bytes([0, 255])):  # an index, and an opacity for each
        image.save(tmp_path / "a.png", transparency=transparency)
        out = images.read(tmp_path / "a.png", (3, 2, 4), resize=True)
        expected = torch.full((3, 2, 4), 255, dtype=torch.uint8)
        expected[:, 1, 3] = torch.tensor([0, 0, 255])
        assert torch.equal(out, expected)


@pytest.mark.parametrize("mode", ["L", "RGB", "1"])
def test_a_transparent_color_becomes_white(tmp_path, mode):
    transparent = {"L": 7, "RGB": (0, 9, 0), "1": 0}[mode]
    image = Image.new(mode, (4, 2), transparent)
    image.putpixel((0, 0), {"L": 50, "RGB": (50, 50, 50), "1": 1}[mode])
    image.save(tmp_path / "a.png", transparency=transparent)
    out = images.read(tmp_path / "a.png", (1, 2, 4), resize=True)
    assert out.flatten().tolist() == [255 if mode == "1" else 50, *[255] * 7]


def test_half_transparent_is_half_white():
    out = images.to_tensor(Image.new("RGBA", (4, 4), (100, 0, 200, 51)), (3, 4, 4), resize=True)
    assert out[:, 0, 0].tolist() == [224, 204, 244]  # 0.2 x color + 0.8 x 255


@pytest.mark.parametrize("shape", [(3, 40, 30), (1, 40, 30)])
def test_16_bit_gray_keeps_its_range(tmp_path, shape):
    ramp = np.linspace(0, 65535, 1200).astype(np.uint16).reshape(40, 30)
    Image.fromarray(ramp).save(tmp_path / "a.png")
    out = images.read(tmp_path / "a.png", shape, resize=True)
    np.testing.assert_array_equal(out, np.broadcast_to(ramp >> 8, shape))


def test_damaged_exif_does_not_stop_decoding(tmp_path, photograph):
    photograph.save(tmp_path / "a.jpg", exif=b"Exif\0\0nonsense")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert images.read(tmp_path / "a.jpg", (3, 8, 8), resize=True).float().std() > 10


@pytest.mark.parametrize("size", [(1, 30), (30, 1), (2, 201), (404, 4)])
def test_a_too_narrow_image_is_refused_with_its_size(tmp_path, size):
    Image.new("L", size).save(tmp_path / "a.png")
    for read in (
        lambda: images.read(tmp_path / "a.png", (1, 4, 4), resize=True),
        lambda: images.read_crop(tmp_path / "a.png", (1, 4, 4), lambda width, height: (0, 0, width, height)),
    ):
        with pytest.raises(ValueError, match=rf"a\.png: the image is {size[0]} pixels wide and {size[1]} high"):
            read()


@pytest.mark.parametrize("size", [(2, 2), (2, 200), (400, 4)])
def test_a_narrow_image_is_read(size):
    assert images.to_tensor(Image.new("L", size), (1, 4, 4), resize=True).shape == (1, 4, 4)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("shape", "side"), [((3, 60, 50), None), ((3, 60, 60), 70), ((1, 30, 130), None)])
def test_a_large_jpeg_is_decoded_small_and_looks_the_same(tmp_path, photograph, monkeypatch, shape, side, orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    photograph.resize((1283, 857)).save(tmp_path / "a.jpg", quality=92, exif=exif)
    with Image.open(tmp_path / "a.jpg") as image:
        whole = images.to_tensor(image, shape, resize=True, side=side).float()
    sizes = []
    flat = images.to_8_bits
    monkeypatch.setattr(images, "to_8_bits", lambda image, channels: sizes.append(image.size) or flat(image, channels))
    quick = images.read(tmp_path / "a.jpg", shape, resize=True, side=side).float()
    assert (quick - whole).abs().mean() < 0.8
    (width, height), upright = sizes[0], (1283, 857) if orientation < 5 else (857, 1283)
    assert width < 0.6 * upright[0]
    wanted = (shape[2], shape[1]) if side is None else (side, side)
    assert width >= 2 * wanted[0]
    assert height >= 2 * wanted[1]


@pytest.mark.parametrize("side", [None, 232])
def test_a_jpeg_of_less_than_four_times_the_size_is_exact(tmp_path, photograph, side):
    photograph.resize((801, 863)).save(tmp_path / "a.jpg", quality=92)
    with Image.open(tmp_path / "a.jpg") as image:
        whole = images.to_tensor(image, (3, 224, 224), resize=True, side=side)
    assert torch.equal(images.read(tmp_path / "a.jpg", (3, 224, 224), resize=True, side=side), whole)


@pytest.mark.parametrize("box", [(0, 0, 640, 427), (31, 17, 431, 317), (600, 400, 640, 427)])
def test_a_crop_equals_torchvision_except_at_its_border(tmp_path, photograph, box):
    photograph.save(tmp_path / "a.png")
    left, top, right, bottom = box
    out = images.read_crop(tmp_path / "a.png", (3, 60, 50), lambda *_: box)
    expected = F.pil_to_tensor(F.resized_crop(photograph, top, left, bottom - top, right - left, [60, 50]))
    assert (out[:, 2:-2, 2:-2].int() - expected[:, 2:-2, 2:-2].int()).abs().max() <= 1


def test_a_crop_of_a_drafted_jpeg_equals_that_of_the_whole(tmp_path, photograph):
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    photograph.resize((1283, 857)).save(tmp_path / "a.jpg", quality=92, exif=exif)
    with Image.open(tmp_path / "a.jpg") as image:
        image.transpose(Image.Transpose.ROTATE_270).save(tmp_path / "a.png", exif=Image.Exif())
    seen = []

    def draw(width, height):
        seen.append((width, height))
        return 100.5, 200.25, 500.5, 800.75

    quick, whole = (images.read_crop(tmp_path / name, (3, 40, 30), draw).float() for name in ("a.jpg", "a.png"))
    assert seen == [(857, 1283)] * 2
    assert (quick - whole).abs().mean() < 0.8


def test_a_file_that_is_not_an_image_is_named(tmp_path):
    (tmp_path / "a.png").write_text("hello")
    with pytest.raises(ValueError, match=r"a\.png: not a readable image"):
        images.read(tmp_path / "a.png", (1, 4, 4), resize=True)


@pytest.mark.parametrize(
    ("mode", "color", "gray", "rgb"),
    [
        ("L", 100, 100, (100, 100, 100)),
        ("1", 1, 255, (255, 255, 255)),
        ("LA", (100, 7), 251, (251, 251, 251)),
        ("RGB", (255, 0, 0), 76, (255, 0, 0)),
        ("RGBA", (255, 0, 0, 255), 76, (255, 0, 0)),
        ("RGBA", (255, 0, 0, 0), 255, (255, 255, 255)),
        ("I;16", 100 * 256 + 99, 100, (100, 100, 100)),
        ("P", 0, 76, (255, 0, 0)),
    ],
)
def test_every_mode_becomes_uint8_of_the_requested_shape(tmp_path, mode, color, gray, rgb):
    image = Image.new(mode, (6, 4), color)
    if mode == "P":
        image.putpalette([255, 0, 0])
    image.save(tmp_path / "a.png")
    out = images.read(tmp_path / "a.png", (1, 4, 6), resize=True)
    assert out.dtype == torch.uint8
    assert torch.equal(out, torch.full((1, 4, 6), gray, dtype=torch.uint8))
    out = images.read(tmp_path / "a.png", (3, 4, 6), resize=True)
    assert torch.equal(out, torch.tensor(rgb, dtype=torch.uint8)[:, None, None].expand(3, 4, 6))


def test_a_cmyk_photograph_becomes_rgb(tmp_path):
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=95)
    red, green, blue = images.read(tmp_path / "a.jpg", (3, 8, 8), resize=True).float().mean((1, 2)).tolist()
    assert (red, green, blue) == pytest.approx((254, 0, 0), abs=3)


@pytest.mark.parametrize(("orientation", "turns"), [(1, 0), (3, 2), (6, 3), (8, 1)])
def test_a_photograph_is_turned_upright_by_its_exif(tmp_path, orientation, turns):
    pixels = np.zeros((16, 32), np.uint8)
    pixels[:8, :8] = 255  # a bright corner
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(tmp_path / "a.jpg", quality=100, exif=exif)
    expected = np.rot90(pixels, turns)
    out = images.read(tmp_path / "a.jpg", (1, *expected.shape), resize=False)
    np.testing.assert_allclose(out[0].float(), expected, atol=3)


def test_images_are_resized_only_on_request(tmp_path):
    solid_image(tmp_path / "a.png", size=(6, 4))
    assert images.read(tmp_path / "a.png", (3, 10, 20), resize=True).shape == (3, 10, 20)
    with pytest.raises(ValueError, match=r"a\.png: .* has shape 1x4x6 .*, the net expects 1x10x20; add resize"):
        images.read(tmp_path / "a.png", (1, 10, 20), resize=False)
    with pytest.raises(ValueError, match=r"expects inputs of shape 784, not images"):
        images.read(tmp_path / "a.png", (784,), resize=True)
