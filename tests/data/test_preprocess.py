"""Scaling: fitted moments, round trips, pictures, and torchvision's Normalize as a second opinion."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_image, load_wine
from torchvision import models
from torchvision.transforms import v2
from torchvision.transforms.functional import InterpolationMode

from zoo.data.preprocess import Preprocess
from zoo.data.sources import digits
from zoo.data.value_range import guess_scale

KINDS = pytest.mark.parametrize(
    ("shape", "dtype"),
    [((3, 6, 5), "bytes"), ((1, 4, 4), "bytes"), ((7,), "bytes"), ((3, 6, 5), "real"), ((7,), "real")],
)


def examples(shape, dtype, count=500):
    generator = torch.Generator().manual_seed(0)
    level = torch.arange(1, shape[0] + 1).view(-1, *[1] * (len(shape) - 1))  # every channel differs
    if dtype == "bytes":
        return (torch.rand(count, *shape, generator=generator) * 30 * level).to(torch.uint8)
    return torch.randn(count, *shape, generator=generator) * level - 5 * level


@KINDS
def test_standardizing_gives_every_channel_mean_0_and_deviation_1(shape, dtype):
    x = examples(shape, dtype)
    out = Preprocess.from_data(x, standardize=True)(x)
    assert out.dtype == torch.float32
    assert out.shape == x.shape
    rest = [0, *range(2, x.dim())]
    torch.testing.assert_close(out.mean(rest), torch.zeros(shape[0]), atol=1e-5, rtol=0)
    torch.testing.assert_close(out.std(rest, correction=0), torch.ones(shape[0]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("standardize", [True, False])
@KINDS
def test_values_are_those_of_the_formula(shape, dtype, standardize):
    x = examples(shape, dtype)
    values = x.double().numpy() / (255 if dtype == "bytes" else 1)
    if standardize:
        axes = (0, *range(2, x.dim()))
        values = (values - values.mean(axes, keepdims=True)) / values.std(axes, keepdims=True)
    np.testing.assert_allclose(Preprocess.from_data(x, standardize=standardize)(x), values, atol=2e-6, rtol=1e-5)


def test_moments_do_not_depend_on_how_many_parts_the_data_are_read_in():
    x = examples((2,), "real", count=20_000)  # more than two parts
    mean, std = Preprocess.from_data(x, standardize=True).mean, Preprocess.from_data(x, standardize=True).std
    np.testing.assert_allclose(mean, x.double().mean(0), rtol=1e-12)
    np.testing.assert_allclose(std, x.double().std(0, correction=0), rtol=1e-12)


@pytest.mark.parametrize("value", [0.1, 0.7, 1e-3, 12345.678])
def test_a_constant_feature_is_only_centred(value):
    x = examples((2,), "real")
    x[:, 1] = value
    out = Preprocess.from_data(x, standardize=True)(torch.tensor([[0.0, value], [0.0, value + 2]]))
    torch.testing.assert_close(out[:, 1], torch.tensor([0.0, 2.0]), atol=1e-3, rtol=0)


def test_a_constant_channel_of_bytes_is_only_centred_and_scaled():
    x = examples((2, 4, 4), "bytes")
    x[:, 1] = 51
    preprocess = Preprocess.from_data(x, standardize=True)
    assert not preprocess(x)[:, 1].abs().max() > 1e-6
    x[:, 1] = 102
    torch.testing.assert_close(preprocess(x)[:, 1], torch.full((500, 4, 4), 0.2))


def test_unit_scaling_brings_bytes_to_0_and_1_and_leaves_real_values():
    pixels = torch.tensor([[0, 255, 51]], dtype=torch.uint8)
    torch.testing.assert_close(Preprocess.from_data(pixels, standardize=False)(pixels), torch.tensor([[0, 1, 0.2]]))
    real = torch.tensor([[-3.0, 1e4]])
    assert torch.equal(Preprocess.from_data(real, standardize=False)(real), real)


@pytest.mark.parametrize("standardize", [True, False])
@KINDS
def test_survives_json(shape, dtype, standardize):
    preprocess = Preprocess.from_data(examples(shape, dtype), standardize=standardize)
    assert Preprocess.from_dict(json.loads(json.dumps(preprocess.to_dict()))) == preprocess


@KINDS
def test_one_input_comes_out_as_it_does_in_a_batch(shape, dtype):
    x = examples(shape, dtype)
    preprocess = Preprocess.from_data(x, standardize=True)
    assert torch.equal(preprocess(x[3]), preprocess(x)[3])


@pytest.mark.parametrize("channels", [1, 3])
def test_equals_torchvision_normalize_on_the_same_pixels(channels):
    x = examples((channels, 6, 5), "bytes")
    preprocess = Preprocess.from_data(x, standardize=True)
    reference = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(preprocess.mean, preprocess.std)])
    torch.testing.assert_close(preprocess(x), reference(x), atol=1e-5, rtol=1e-5)


def test_batches_of_images_are_channels_last_in_memory():
    x = examples((3, 6, 5), "bytes")
    out = Preprocess.from_data(x, standardize=True)(x)
    assert out.is_contiguous(memory_format=torch.channels_last)
    assert not out.is_contiguous()


def test_a_picture_becomes_the_tensor_of_its_pixels():
    pixels = np.random.default_rng(0).integers(0, 256, (6, 5, 3), dtype=np.uint8)
    preprocess = Preprocess((3, 6, 5), mean=(0.5, 0.4, 0.3), std=(0.1, 0.2, 0.4))
    expected = ((pixels / 255 - [0.5, 0.4, 0.3]) / [0.1, 0.2, 0.4]).transpose(2, 0, 1)
    np.testing.assert_allclose(preprocess(Image.fromarray(pixels)), expected, atol=1e-5)


def test_a_picture_of_another_size_and_mode_is_converted():
    red = Image.new("RGBA", (40, 20), (255, 0, 0, 255))
    out = Preprocess((1, 6, 5))(red)
    torch.testing.assert_close(out, torch.full((1, 6, 5), 76 / 255))  # ITU-R 601: 0.299 of full red


PRESETS = {  # torchvision's own transforms, which differ in the shorter side, the crop and the interpolation
    "resnet18, 256 to 224": models.ResNet18_Weights.IMAGENET1K_V1.transforms(),
    "resnet50, 232 to 224": models.ResNet50_Weights.IMAGENET1K_V2.transforms(),
    "efficientnet_b0, bicubic": models.EfficientNet_B0_Weights.IMAGENET1K_V1.transforms(),
    "a crop that sticks out": models.ResNet18_Weights.IMAGENET1K_V1.transforms(
        crop_size=225, resize_size=200, interpolation=InterpolationMode.BICUBIC
    ),
}


@pytest.mark.parametrize("size", [(640, 427), (427, 641), (50, 33), (33, 50), (257, 256), (256, 257), (801, 225)])
@pytest.mark.parametrize("name", PRESETS)
def test_a_picture_becomes_what_the_preset_of_torchvision_makes_of_it(name, size):
    preset = PRESETS[name]
    crop, interpolation = preset.crop_size[0], preset.interpolation.value
    mean, std = tuple(preset.mean), tuple(preset.std)
    preprocess = Preprocess((3, crop, crop), 255.0, mean, std, side=preset.resize_size[0], interpolation=interpolation)
    picture = Image.fromarray(load_sample_image("china.jpg")).resize(size)
    torch.testing.assert_close(preprocess(picture), preset(picture), atol=1e-5, rtol=0)
    again = Preprocess.from_dict(json.loads(json.dumps(preprocess.to_dict())))
    assert again == preprocess


def test_checkpoints_from_before_there_was_a_side_are_read():
    old = {"shape": [3, 4, 4], "scale": 255.0, "mean": [0.1, 0.2, 0.3], "std": [1.0, 1.0, 1.0]}
    assert Preprocess.from_dict(old) == Preprocess((3, 4, 4), 255.0, (0.1, 0.2, 0.3), (1.0, 1.0, 1.0))
    assert Preprocess.from_dict(old).side is None


def test_checkpoints_from_before_there_was_whitening_are_read_and_whitening_survives_json():
    assert Preprocess.from_dict({"shape": [3, 4, 4]}).whitening == "none"
    whitened = Preprocess.from_data(examples((3, 6, 5), "bytes"), whiten=True)
    assert whitened.whitening == "1/f"
    assert Preprocess.from_dict(json.loads(json.dumps(whitened.to_dict()))) == whitened


@pytest.mark.parametrize("standardize", [True, False])
def test_images_to_look_at_undo_the_preprocessing(standardize):
    raw = examples((3, 6, 5), "bytes")
    preprocess = Preprocess.from_data(raw, standardize=standardize)
    shown = preprocess.images(preprocess(raw).flatten(1))
    torch.testing.assert_close(shown * 255, raw.float(), atol=1e-3, rtol=0)
    assert Preprocess((7,), std=(2.0,)).images(torch.ones(4, 7)).eq(1).all()


def test_whitened_images_are_shown_around_gray():
    raw = examples((3, 20, 20), "bytes")
    preprocess = Preprocess.from_data(raw, whiten=True)
    x = preprocess(raw)
    shown = preprocess.images(x)
    assert float(shown.mean()) == pytest.approx(0.5, abs=0.01)
    assert float(shown.std()) == pytest.approx(1 / 6, abs=0.01)
    torch.testing.assert_close((shown - 0.5) * 6, x, atol=0.02, rtol=0.02)
    # Reconstructions have less contrast; they are shown with the same, but an empty one stays gray.
    torch.testing.assert_close(preprocess.images(x / 10), shown, atol=0.02, rtol=0)
    assert preprocess.images(0 * x).eq(0.5).all()


def test_whitening_is_for_images():
    with pytest.raises(ValueError, match=r"model\.input_scaling=whitened is for images, not for inputs of shape 7"):
        Preprocess.from_data(examples((7,), "real"), whiten=True)


def test_an_unknown_interpolation_lists_the_choices():
    with pytest.raises(ValueError, match=r"interpolation=cubic: choose one of: nearest, .*bicubic"):
        Preprocess((3, 4, 4), interpolation="cubic")(Image.new("RGB", (9, 9)))


def test_another_shape_is_refused_by_name():
    with pytest.raises(ValueError, match=r"photo\.png: input of shape 3x32x32, but .* expects shape 1x28x28"):
        Preprocess((1, 28, 28)).check((3, 32, 32), where="photo.png")
    Preprocess((1, 28, 28)).check([1, 28, 28], where="photo.png")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (None, "preprocess must be a mapping"),
        ([1], "preprocess must be a mapping"),
        ({}, "preprocess.shape must be"),
        ({"shape": [1, 2], "zzz": 1}, "unknown key 'zzz'"),
        ({"shape": "1x2"}, "preprocess.shape must be"),
        ({"shape": [1, 0, 2]}, "preprocess.shape must be"),
        ({"shape": [True, 2, 2]}, "preprocess.shape must be"),
        ({"shape": [2**20, 2**20]}, "more than 67,108,864 values"),
        ({"shape": [3, 4, 4], "mean": [0, 0]}, "preprocess.mean must be a list of 1 or 3 numbers"),
        ({"shape": [3, 4, 4], "mean": 1}, "preprocess.mean must be a list"),
        ({"shape": [3, 4, 4], "mean": ["0"]}, "preprocess.mean must be a finite number"),
        ({"shape": [3, 4, 4], "std": [0.0]}, "preprocess.scale and preprocess.std must be > 0"),
        ({"shape": [3, 4, 4], "std": [float("nan")]}, "preprocess.std must be a finite number"),
        ({"shape": [3, 4, 4], "scale": 10**400}, "preprocess.scale must be a finite number"),
        ({"shape": [3, 4, 4], "scale": -1}, "preprocess.scale and preprocess.std must be > 0"),
        ({"shape": [3, 4, 4], "side": 10**9}, r"preprocess.side must be an integer in .1, 64."),
        ({"shape": [3, 4, 4], "side": 2.5}, "preprocess.side must be an integer"),
        ({"shape": [3, 4, 4], "interpolation": 3}, "preprocess.interpolation must be a string"),
        ({"shape": [3, 4, 4], "whitening": "zca"}, "preprocess.whitening must be one of none, 1/f"),
        ({"shape": [3, 4, 4], "whitening": ["1/f"]}, "preprocess.whitening must be one of none, 1/f"),
        ({"shape": [3], "whitening": "1/f"}, r"preprocess.whitening is for images, not for shape \[3\]"),
    ],
)
def test_stored_values_are_typed_and_limited(values, message):
    with pytest.raises(ValueError, match=message):
        Preprocess.from_dict(values)


def test_bytes_of_0_and_1_are_not_divided_and_other_scales_can_be_stated():
    binary = torch.tensor([[[[0, 1], [1, 0]]]], dtype=torch.uint8)
    assert Preprocess.from_data(binary, standardize=False).scale == 1
    assert "all 0 or 1" in guess_scale(binary)[1]
    assert Preprocess.from_data(binary, standardize=False, scale=255).scale == 255
    assert guess_scale(binary * 255) == (255, "")
    assert guess_scale(binary * 0) == (255, "")
    assert "reach only 16 of 255" in guess_scale(binary * 16)[1]
    deep = Preprocess.from_data(binary.float() * 65535, standardize=False, scale=65535)
    torch.testing.assert_close(deep(binary.float() * 65535), binary.float())
    for scale in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(ValueError, match=r"dataset\.scale=.* must be finite and > 0"):
            Preprocess.from_data(binary, standardize=False, scale=scale)


def test_the_range_and_the_border_of_the_training_data_are_kept():
    x = torch.full((2, 1, 4, 4), 255, dtype=torch.uint8)
    x[:, :, 1:3, 1:3] = 0
    preprocess = Preprocess.from_data(x, standardize=True)
    assert (preprocess.low, preprocess.high, preprocess.border, preprocess.white) == (0, 255, 1, 255)
    assert preprocess.dark_border is False
    assert Preprocess((1, 4, 4), mean=(0.13,), std=(0.3,)).dark_border is True, "the mean stands in"
    assert Preprocess((1, 4, 4)).dark_border is None


SCALES = {
    "bytes": lambda x: x,
    "real bytes": lambda x: x.float(),
    "unit": lambda x: x / 255,
    "normalized": lambda x: (x / 255 - 0.13) / 0.31,
    "-1 to 1": lambda x: x / 127.5 - 1,
    "binary": lambda x: (x > 127).float(),
    "0 to 16": lambda x: x / 255 * 16,
}
ALIKE = [{"bytes", "real bytes"}, {"unit", "binary"}]


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("trained", SCALES)
def test_the_same_images_on_another_scale_are_refused(trained, flat):
    splits = digits.load()
    train, test = (split.x.flatten(1) if flat else split.x for split in (splits.train, splits.test))
    preprocess = Preprocess.from_data(SCALES[trained](train), standardize=True)
    for name, scaled in SCALES.items():
        for x in (scaled(test), scaled(test[:1])):
            if name == trained or any({name, trained} <= alike for alike in ALIKE):
                preprocess.check_values(x, where="x")
            else:
                with pytest.raises(ValueError, match="another scale"):
                    preprocess.check_values(x, where="x")


def test_rows_of_a_table_are_accepted_and_standardized_ones_are_not():
    table = torch.tensor(load_wine().data).float()[torch.randperm(178, generator=torch.Generator().manual_seed(0))]
    train, test = table[:140], table[140:]
    preprocess = Preprocess.from_data(train, standardize=True)
    for rows in (test, *torch.split(test, 1)):
        preprocess.check_values(rows, where="x")
    for other in ((test - train.mean(0)) / train.std(0), (test - table.amin(0)) / (table.amax(0) - table.amin(0))):
        with pytest.raises(ValueError, match="another scale; scale=1 takes them as they are"):
            preprocess.check_values(other, where="x")


def test_the_message_about_another_scale_suggests_the_white_level_of_the_inputs():
    preprocess = Preprocess.from_data(torch.arange(256).to(torch.uint8).view(1, 1, 16, 16), standardize=True)
    for high, level in ((1.0, "1"), (16.0, "16"), (65535.0, "65535")):
        with pytest.raises(ValueError, match=f"such as scale={level}$"):
            preprocess.check_values(torch.tensor([0.0, high]), where="x")


@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("dtype", ["bytes", "unit"])
def test_inputs_of_another_white_level_and_inverted_ones_come_out_alike(standardize, dtype):
    x = torch.randint(0, 256, (50, 1, 4, 4), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    x[0] = 255
    raw = x if dtype == "bytes" else x / 255
    preprocess = Preprocess.from_data(raw, standardize=standardize)
    expected = preprocess(raw)
    for white in (1, 255, 16):
        given = x.float() * (white / 255)
        torch.testing.assert_close(preprocess.for_inputs(scale=white)(given), expected, atol=1e-4, rtol=1e-4)
        inverted = preprocess.for_inputs(scale=white, invert=True)
        torch.testing.assert_close(inverted(white - given), expected, atol=1e-4, rtol=1e-4)


def test_features_near_those_of_training_are_accepted():
    features = torch.randn(200, 5, generator=torch.Generator().manual_seed(0))
    preprocess = Preprocess.from_data(features, standardize=True)
    preprocess.check_values(4 * features, where="x")
    with pytest.raises(ValueError, match=r"x: values from .* another scale; scale=1 takes them as they are"):
        preprocess.check_values(1000 * features, where="x")
    preprocess.check_values(1000 * features, where="x", stated=True)
    share = Preprocess.from_data(torch.rand(200, 5), standardize=True)
    share.check_values(torch.tensor([-0.1, 1.3]), where="x")
    with pytest.raises(ValueError, match="another scale"):
        share.check_values(torch.tensor([0.0, 255.0]), where="x")
