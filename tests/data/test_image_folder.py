"""Folders of pictures: how files are decoded, which are refused, what is noted, and random crops at full resolution."""

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_image
from torch.utils.data import DataLoader
from torchvision.transforms.v2 import functional as F

from zoo.data import images

from zoo.data.sources import image_folder

from zoo.data import audit as inspection
from zoo.data.augment import Augment
from zoo.data.crop import boxes
from zoo.data.sources.image_folder import Pictures, Views, read_like
from zoo.data.preprocess import Preprocess
from zoo.data.splits import Splits


@pytest.fixture(scope="module")
def photograph() -> Image.Image:
    return Image.fromarray(load_sample_image("china.jpg"))  # 640 x 427


def noise(path: Path, seed: int = 0, size=(20, 24), colour=True, **options) -> Path:
    """A picture unlike any of another seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (size[1], size[0], 3) if colour else (size[1], size[0])
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)).save(path, **options)
    return path


def zoo_of(root: Path, *, count: int = 10, classes=("cat", "dog"), part: str = "") -> Path:
    for k, name in enumerate(classes):
        for i in range(count):
            noise(root / part / name / f"{i}.png", seed=sum(map(ord, part)) * 1000 + k * 100 + i)
    return root


def load(root: Path, **options) -> Splits:
    return image_folder.load(root=str(root), **{"shape": (3, 8, 8), **options})


# Decoding


def test_what_is_transparent_in_a_palette_becomes_white(tmp_path):
    picture = Image.new("P", (4, 2), 0)
    picture.putpalette([255, 0, 0, 0, 0, 255])
    picture.putpixel((3, 1), 1)
    for transparency in (0, bytes([0, 255])):  # an index, and an opacity for each
        picture.save(tmp_path / "a.png", transparency=transparency)
        out = images.read(tmp_path / "a.png", (3, 2, 4), resize=True)
        expected = torch.full((3, 2, 4), 255, dtype=torch.uint8)
        expected[:, 1, 3] = torch.tensor([0, 0, 255])
        assert torch.equal(out, expected)


@pytest.mark.parametrize("mode", ["L", "RGB", "1"])
def test_a_transparent_colour_becomes_white(tmp_path, mode):
    transparent = {"L": 7, "RGB": (0, 9, 0), "1": 0}[mode]
    picture = Image.new(mode, (4, 2), transparent)
    picture.putpixel((0, 0), {"L": 50, "RGB": (50, 50, 50), "1": 1}[mode])
    picture.save(tmp_path / "a.png", transparency=transparent)
    out = images.read(tmp_path / "a.png", (1, 2, 4), resize=True)
    assert out.flatten().tolist() == [255 if mode == "1" else 50, *[255] * 7]


def test_half_transparent_is_half_white():
    out = images.to_tensor(Image.new("RGBA", (4, 4), (100, 0, 200, 51)), (3, 4, 4), resize=True)
    assert out[:, 0, 0].tolist() == [224, 204, 244]  # 0.2 x colour + 0.8 x 255


@pytest.mark.parametrize("shape", [(3, 40, 30), (1, 40, 30)])
def test_sixteen_bits_of_grey_keep_their_range(tmp_path, shape):
    ramp = np.linspace(0, 65535, 1200).astype(np.uint16).reshape(40, 30)
    Image.fromarray(ramp).save(tmp_path / "a.png")
    out = images.read(tmp_path / "a.png", shape, resize=True)
    np.testing.assert_array_equal(out, np.broadcast_to(ramp >> 8, shape))


def test_a_damaged_exif_does_not_spoil_the_picture(tmp_path, photograph):
    photograph.save(tmp_path / "a.jpg", exif=b"Exif\0\0nonsense")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert images.read(tmp_path / "a.jpg", (3, 8, 8), resize=True).float().std() > 10


@pytest.mark.parametrize("size", [(1, 30), (30, 1), (2, 201), (404, 4)])
def test_a_strip_is_refused_with_its_size(tmp_path, size):
    Image.new("L", size).save(tmp_path / "a.png")
    for read in (
        lambda: images.read(tmp_path / "a.png", (1, 4, 4), resize=True),
        lambda: images.crop(tmp_path / "a.png", (1, 4, 4), lambda width, height: (0, 0, width, height)),
    ):
        with pytest.raises(ValueError, match=rf"a\.png: the picture is {size[0]} pixels wide and {size[1]} high"):
            read()


@pytest.mark.parametrize("size", [(2, 2), (2, 200), (400, 4)])
def test_a_narrow_picture_is_read(size):
    assert images.to_tensor(Image.new("L", size), (1, 4, 4), resize=True).shape == (1, 4, 4)


# JPEGs at a fraction of their size


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("shape", "side"), [((3, 60, 50), None), ((3, 60, 60), 70), ((1, 30, 130), None)])
def test_a_large_jpeg_is_decoded_small_and_looks_the_same(tmp_path, photograph, monkeypatch, shape, side, orientation):
    exif = Image.Exif()
    exif[images.ORIENTATION] = orientation
    photograph.resize((1283, 857)).save(tmp_path / "a.jpg", quality=92, exif=exif)
    with Image.open(tmp_path / "a.jpg") as picture:
        whole = images.to_tensor(picture, shape, resize=True, side=side).float()
    sizes = []
    flat = images.flat
    monkeypatch.setattr(images, "flat", lambda picture, channels: sizes.append(picture.size) or flat(picture, channels))
    quick = images.read(tmp_path / "a.jpg", shape, resize=True, side=side).float()
    assert (quick - whole).abs().mean() < 0.8
    (width, height), upright = sizes[0], (1283, 857) if orientation < 5 else (857, 1283)
    assert width < 0.6 * upright[0]
    wanted = (shape[2], shape[1]) if side is None else (side, side)
    assert width >= 2 * wanted[0]
    assert height >= 2 * wanted[1]


@pytest.mark.parametrize("side", [None, 232])
def test_a_jpeg_of_less_than_four_times_the_size_is_decoded_exactly(tmp_path, photograph, side):
    photograph.resize((801, 863)).save(tmp_path / "a.jpg", quality=92)
    with Image.open(tmp_path / "a.jpg") as picture:
        whole = images.to_tensor(picture, (3, 224, 224), resize=True, side=side)
    assert torch.equal(images.read(tmp_path / "a.jpg", (3, 224, 224), resize=True, side=side), whole)


# Random crops


@pytest.mark.parametrize("box", [(0, 0, 640, 427), (31, 17, 431, 317), (600, 400, 640, 427)])
def test_a_crop_is_torchvisions_but_that_its_rim_sees_the_neighbourhood(tmp_path, photograph, box):
    photograph.save(tmp_path / "a.png")
    left, top, right, bottom = box
    out = images.crop(tmp_path / "a.png", (3, 60, 50), lambda *_: box)
    expected = F.pil_to_tensor(F.resized_crop(photograph, top, left, bottom - top, right - left, [60, 50]))
    assert (out[:, 2:-2, 2:-2].int() - expected[:, 2:-2, 2:-2].int()).abs().max() <= 1


def test_a_crop_of_a_large_jpeg_is_that_of_the_whole_one(tmp_path, photograph):
    exif = Image.Exif()
    exif[images.ORIENTATION] = 6
    photograph.resize((1283, 857)).save(tmp_path / "a.jpg", quality=92, exif=exif)
    with Image.open(tmp_path / "a.jpg") as picture:
        picture.transpose(Image.Transpose.ROTATE_270).save(tmp_path / "a.png", exif=Image.Exif())
    seen = []

    def draw(width, height):
        seen.append((width, height))
        return 100.5, 200.25, 500.5, 800.75

    quick, whole = (images.crop(tmp_path / name, (3, 40, 30), draw).float() for name in ("a.jpg", "a.png"))
    assert seen == [(857, 1283)] * 2
    assert (quick - whole).abs().mean() < 0.8


@pytest.mark.parametrize(("height", "width"), [(300, 400), (400, 300), (100, 900), (900, 100)])
def test_boxes_lie_within_the_frame_and_keep_their_share_and_aspect(height, width):
    box = boxes(4000, height, width, least=0.2, generator=torch.Generator().manual_seed(0))
    left, top, wide, tall = box.unbind(1)
    assert box.min() >= 0
    assert (left + wide).max() <= width + 1e-3
    assert (top + tall).max() <= height + 1e-3
    aspect = wide / tall
    assert aspect.min() >= 3 / 4 - 1e-5
    assert aspect.max() <= 4 / 3 + 1e-5
    if max(width, height) < 2 * min(width, height):  # else some are central, of the greatest size
        assert (wide * tall).min() >= 0.2 * height * width - 1


def test_boxes_are_distributed_as_torchvisions():
    from scipy.stats import ks_2samp
    from torchvision.transforms import RandomResizedCrop

    frame = torch.empty(3, 300, 400)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = torch.tensor([RandomResizedCrop.get_params(frame, (0.3, 1), (3 / 4, 4 / 3)) for _ in range(1500)])
    top, left, tall, wide = theirs.double().unbind(1)
    ours = boxes(1500, 300, 400, least=0.3, generator=torch.Generator().manual_seed(0)).double()
    for mine, other in zip(ours.unbind(1), (left, top, wide, tall), strict=True):
        assert ks_2samp(mine.round(), other).pvalue > 1e-3


def test_a_picture_on_which_no_box_fits_gives_its_greatest_central_one():
    box = boxes(3, 100, 1000, least=1.0, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(box, torch.tensor([[500 - 200 / 3, 0, 400 / 3, 100]]).expand(3, -1))


def views(root: Path, seed=1, **options) -> Views:
    part = load(root, validation=0, test=0, shape=(3, 16, 16)).train
    return Views(part, augment=Augment(**{"crop": 0.3, **options}), seed=seed)


def test_a_view_is_a_function_of_seed_epoch_and_index_alone(tmp_path):
    some = views(zoo_of(tmp_path, count=4))
    x, y = some.__getitems__([(5, 0), (2, 0), (5, 1), (5, 0)])
    assert y.tolist() == [1, 0, 1, 1]
    assert torch.equal(x[0], x[3])
    assert not torch.equal(x[0], x[2])
    assert not torch.equal(views(tmp_path, seed=2).__getitems__([(5, 0)])[0], x[:1])
    torch.manual_seed(3)
    assert torch.equal(some.__getitems__([(2, 0)])[0], x[1:2])


def test_views_cut_from_the_picture_at_its_full_resolution(tmp_path):
    stripes = np.zeros((512, 512), np.uint8)
    stripes[:, ::8] = stripes[:, 1::8] = stripes[:, 2::8] = stripes[:, 3::8] = 255  # gone once the whole is 16 x 16
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        Image.fromarray(stripes).save(tmp_path / name / "1.png")
    part = load(tmp_path, validation=0, test=0, shape=(1, 16, 16)).train
    small = Views(part, augment=Augment(crop=0.001), seed=1).__getitems__([(0, epoch) for epoch in range(40)])[0]
    contrast = small.float().flatten(1).std(dim=1)
    assert contrast.max() > 50
    assert part.__getitems__([0])[0].float().std() < 5


def test_randaugment_of_a_view_leaves_the_global_generator_alone(tmp_path):
    some = views(zoo_of(tmp_path, count=4), crop=1.0, randaugment=2)
    before = torch.get_rng_state()
    x, _ = some.__getitems__([(0, epoch) for epoch in range(8)])
    assert torch.equal(torch.get_rng_state(), before)
    assert x.dtype == torch.uint8
    assert len(x.unique(dim=0)) > 3
    assert torch.equal(some.__getitems__([(0, 3)])[0], x[3:4])


# Checking


def truncate(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def test_files_that_cannot_be_read_are_refused_with_the_way_out(tmp_path):
    zoo_of(tmp_path)
    for i in range(4):
        truncate(tmp_path / "cat" / f"{i}.png")
    Image.new("L", (1, 90)).save(tmp_path / "dog" / "7.png")
    with pytest.raises(ValueError, match=r"5 of 20 pictures cannot be read: .*dataset\.on_bad_image=skip") as refusal:
        load(tmp_path)
    message = str(refusal.value)
    assert len(message.splitlines()) == 1
    assert "cat/0.png: not a readable picture" in message
    assert message.count(".png") == 3  # the first few


@pytest.mark.parametrize("damage", ["truncated", "empty", "text", "narrow"])
@pytest.mark.parametrize("ending", ["jpg", "png", "gif", "webp", "bmp", "tif"])
def test_skipping_leaves_bad_files_out_and_says_so(tmp_path, damage, ending):
    zoo_of(tmp_path, count=5)
    bad = noise(tmp_path / "cat" / f"bad.{ending}", size=(200, 1) if damage == "narrow" else (200, 200))
    if damage == "truncated":
        truncate(bad)
    elif damage != "narrow":
        bad.write_text("" if damage == "empty" else "hello, I am no picture")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's own words about broken TIFFs
        splits = load(tmp_path, on_bad_image="skip", test=2, validation=2)
    files = [file for part in (splits.train, splits.validation, splits.test) for file in part.files]
    assert sorted(files) == sorted(str(path) for path in tmp_path.rglob("*.png") if path != bad)
    assert len(splits.notes) == 1
    assert splits.notes[0].startswith("1 of 11 pictures cannot be read and is left out: ")
    assert str(bad) in splits.notes[0]


def test_a_truncated_jpeg_is_noticed_although_it_is_decoded_small(tmp_path, photograph):
    zoo_of(tmp_path)
    for progressive in (False, True):
        photograph.save(tmp_path / "cat" / "big.jpg", progressive=progressive)
        truncate(tmp_path / "cat" / "big.jpg")
        with pytest.raises(ValueError, match=r"1 of 21 pictures cannot be read: .*big\.jpg"):
            load(tmp_path)


def test_a_class_that_loses_all_its_pictures_is_refused(tmp_path):
    zoo_of(tmp_path, count=3)
    for path in (tmp_path / "dog").iterdir():
        truncate(path)
    with pytest.raises(ValueError, match="dog: no pictures are left"):
        load(tmp_path, on_bad_image="skip")


def test_without_the_check_a_bad_picture_raises_when_it_is_met(tmp_path):
    bad = truncate(zoo_of(tmp_path) / "cat" / "3.png")
    part = load(tmp_path, check=False, validation=0, test=0).train
    assert part.__getitems__([0, 1])[0].shape == (2, 3, 8, 8)
    with pytest.raises(ValueError, match="not a readable picture") as refusal:
        part.__getitems__([2, 3])
    assert str(refusal.value).startswith(str(bad))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"on_bad_image": "drop"}, "on_bad_image=drop: choose refuse or skip"),
        ({"on_bad_image": "skip", "check": False}, r"on_bad_image=skip needs dataset\.check=true"),
    ],
)
def test_how_to_treat_bad_pictures_is_checked(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        load(zoo_of(tmp_path), **options)


# Doubles


def test_a_good_set_has_no_notes(tmp_path):
    zoo_of(tmp_path, part="train")
    assert load(zoo_of(tmp_path, part="test")).notes == ()


def test_pictures_in_two_parts_are_noted_whatever_their_name_format_and_metadata(tmp_path, photograph):
    for part in ("train", "val", "test"):
        zoo_of(tmp_path, part=part, count=2)
    exif = Image.Exif()
    exif[0x010E] = "another description"
    noise(tmp_path / "train" / "cat" / "a.png", 77)
    noise(tmp_path / "test" / "cat" / "b.bmp", 77)
    photograph.save(tmp_path / "train" / "dog" / "c.jpg", quality=80)
    photograph.save(tmp_path / "val" / "dog" / "d.jpg", quality=80, exif=exif)
    with Image.open(tmp_path / "val" / "dog" / "d.jpg") as picture:
        picture.save(tmp_path / "test" / "dog" / "e.png")  # the same pixels, but no longer a JPEG
    assert load(tmp_path).notes == (
        "both in the training and in the test part, so that metrics flatter: 2 pictures, "
        "train/cat/a.png = test/cat/b.bmp, train/dog/c.jpg = test/dog/e.png",
        "both in the training and in the validation part, so that metrics flatter: 1 picture, "
        "train/dog/c.jpg = val/dog/d.jpg",
        "both in the validation and in the test part, so that metrics flatter: 1 picture, "
        "val/dog/d.jpg = test/dog/e.png",
    )


def test_a_large_jpeg_and_its_copy_in_another_format_are_doubles(tmp_path, photograph):
    for part in ("train", "test"):
        zoo_of(tmp_path, part=part, count=2)
    photograph.save(tmp_path / "train" / "cat" / "a.jpg")
    with Image.open(tmp_path / "train" / "cat" / "a.jpg") as picture:
        picture.save(tmp_path / "test" / "cat" / "a.png")
    (note,) = load(tmp_path, validation=0).notes
    assert note.endswith("train/cat/a.jpg = test/cat/a.png")


def test_pictures_that_differ_a_little_are_no_doubles(tmp_path, photograph):
    zoo_of(tmp_path, part="train", count=2)
    zoo_of(tmp_path, part="test", count=2)
    pixels = np.zeros((512, 512, 3), np.uint8) + 100
    for part, dot in (("train", 0), ("test", 3)):
        pixels[256, 256] = 100 + dot  # vanishes where the JPEG is decoded at an eighth
        Image.fromarray(pixels).save(tmp_path / part / "cat" / "a.jpg", quality=100, subsampling=0)
    assert len({look.digest for look in map(inspection._look, sorted(tmp_path.rglob("a.jpg")))}) == 1
    assert load(tmp_path, validation=0).notes == ()


def test_a_picture_under_two_classes_is_noted_and_one_twice_in_a_class_is_not(tmp_path):
    zoo_of(tmp_path)
    noise(tmp_path / "cat" / "again.png", 3)  # as cat/3
    noise(tmp_path / "dog" / "again.png", 5)  # as cat/5
    splits = load(tmp_path, validation=0, test=0)
    assert splits.notes == ("under two classes: 1 picture, cat/5.png = dog/again.png",)
    many = zoo_of(tmp_path / "many", count=5)
    for i in range(4):
        noise(many / "dog" / f"again{i}.png", i)
    (note,) = load(many, validation=0, test=0).notes
    assert note.startswith("under two classes: 4 pictures, cat/0.png = dog/again0.png, ")
    assert note.endswith(", …")


def test_doubles_that_the_cut_puts_into_two_parts_are_noted(tmp_path):
    zoo_of(tmp_path)
    for i in range(10):
        noise(tmp_path / "cat" / f"again{i}.png", i)
    notes = load(tmp_path, test=0.4, validation=0.2).notes
    assert any("both in the training and in the test part" in note for note in notes)
    assert load(tmp_path, test=0.4, validation=0.2, check=False).notes == ()


# Parts


def test_a_class_with_too_few_pictures_is_named_with_what_it_needs(tmp_path):
    zoo_of(tmp_path, count=20)
    noise(tmp_path / "emu" / "1.png", 999)
    with pytest.raises(ValueError, match=r"class emu has 1 examples.* which needs 6 of each class.*dataset\.test"):
        load(tmp_path)


def test_the_cut_is_always_the_same(tmp_path):
    zoo_of(tmp_path, count=20)
    one, other = load(tmp_path), load(tmp_path)
    for part in ("train", "validation", "test"):
        assert getattr(one, part).files.tolist() == getattr(other, part).files.tolist()
        assert torch.equal(getattr(one, part).targets, getattr(other, part).targets)


def test_grey_pictures_among_coloured_ones_are_read_in_the_shape_asked_for(tmp_path):
    zoo_of(tmp_path, count=3)
    noise(tmp_path / "cat" / "grey.png", 50, colour=False)
    for shape in ((3, 8, 8), (1, 8, 8)):
        part = load(tmp_path, validation=0, test=0, shape=shape).train
        assert part.__getitems__(range(7))[0].shape == (7, *shape)


def test_labels_are_kept_for_some_of_the_pictures(tmp_path):
    splits = load(zoo_of(tmp_path, count=20))
    kept = splits.keep_labels(4, seed=1)
    assert kept.train.labels().tolist() == [0, 0, 1, 1]
    assert set(kept.train.files) < set(splits.train.files)
    assert set(splits.keep_labels(4, seed=2).train.files) != set(kept.train.files)
    x, y = kept.train.__getitems__([3])
    assert y.tolist() == [1]
    assert torch.equal(x[0], images.read(kept.train.files[3], (3, 8, 8), resize=True))


def test_files_and_targets_are_arrays_which_forked_workers_share(tmp_path):
    part = load(zoo_of(tmp_path)).train
    assert isinstance(part.files, np.ndarray)
    assert part.files.dtype.kind == "U"  # the text itself, not references to Python's
    assert isinstance(part.targets, torch.Tensor)


def test_pictures_are_read_like_a_nets_preprocessing_says(tmp_path, photograph):
    zoo_of(tmp_path)
    photograph.save(tmp_path / "cat" / "photo.png")
    preprocess = Preprocess((3, 64, 64), side=80, interpolation="bicubic")
    splits = read_like(load(tmp_path, shape=(3, 64, 64), validation=0), preprocess)
    assert splits.validation is None
    for part in (splits.train, splits.test):
        assert (part.side, part.interpolation) == (80, "bicubic")
    everything = read_like(load(tmp_path, shape=(3, 64, 64), validation=0, test=0), preprocess).train
    (k,) = [i for i, file in enumerate(everything.files) if file.endswith("photo.png")]
    assert torch.equal(preprocess(everything.__getitems__([k])[0][0]), preprocess(photograph))
    with pytest.raises(ValueError, match="interpolation=best: choose one of"):
        read_like(splits, replace(preprocess, interpolation="best"))


def test_parts_that_are_no_pictures_are_read_as_before():
    from zoo.data.sources import line

    splits = line.load()
    assert read_like(splits, Preprocess((1,), side=3)).train is splits.train


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded, use of fork")
def test_a_set_without_check_is_read_by_workers(tmp_path):
    part = load(zoo_of(tmp_path), check=False, validation=0, test=0).train
    loader = DataLoader(part, batch_size=7, num_workers=1, collate_fn=lambda batch: batch)
    assert isinstance(part, Pictures)
    assert torch.cat([x for x, _ in loader]).shape == (20, 3, 8, 8)
