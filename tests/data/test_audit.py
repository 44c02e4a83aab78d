"""Duplicates: images that appear in two splits, or under two classes."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from support import image_folder_at, load_images, solid_image, write_noise

from zoo.data import audit


def test_a_good_dataset_has_no_notes(tmp_path):
    image_folder_at(tmp_path, split="train")
    assert load_images(image_folder_at(tmp_path, split="test")).notes == ()


def test_images_in_two_splits_are_noted_whatever_their_format(tmp_path, photograph):
    for split in ("train", "val", "test"):
        image_folder_at(tmp_path, split=split, count=2)
    exif = Image.Exif()
    exif[0x010E] = "another description"
    write_noise(tmp_path / "train" / "cat" / "a.png", 77)
    write_noise(tmp_path / "test" / "cat" / "b.bmp", 77)
    photograph.save(tmp_path / "train" / "dog" / "c.jpg", quality=80)
    photograph.save(tmp_path / "val" / "dog" / "d.jpg", quality=80, exif=exif)
    with Image.open(tmp_path / "val" / "dog" / "d.jpg") as image:
        image.save(tmp_path / "test" / "dog" / "e.png")  # the same pixels, but no longer a JPEG
    assert load_images(tmp_path).notes == (
        "2 images appear in both the training and the test split: metrics will be optimistic "
        "(train/cat/a.png = test/cat/b.bmp, train/dog/c.jpg = test/dog/e.png)",
        "1 image appears in both the training and the validation split: metrics will be optimistic "
        "(train/dog/c.jpg = val/dog/d.jpg)",
        "1 image appears in both the validation and the test split: metrics will be optimistic "
        "(val/dog/d.jpg = test/dog/e.png)",
    )


def test_a_large_jpeg_and_its_png_copy_are_duplicates(tmp_path, photograph):
    for split in ("train", "test"):
        image_folder_at(tmp_path, split=split, count=2)
    photograph.save(tmp_path / "train" / "cat" / "a.jpg")
    with Image.open(tmp_path / "train" / "cat" / "a.jpg") as image:
        image.save(tmp_path / "test" / "cat" / "a.png")
    (note,) = load_images(tmp_path, validation=0).notes
    assert note.endswith("(train/cat/a.jpg = test/cat/a.png)")


def test_images_that_differ_in_one_pixel_are_not_duplicates(tmp_path, photograph):
    image_folder_at(tmp_path, split="train", count=2)
    image_folder_at(tmp_path, split="test", count=2)
    pixels = np.zeros((512, 512, 3), np.uint8) + 100
    for split, dot in (("train", 0), ("test", 3)):
        pixels[256, 256] = 100 + dot  # vanishes where the JPEG is decoded at an eighth
        Image.fromarray(pixels).save(tmp_path / split / "cat" / "a.jpg", quality=100, subsampling=0)
    assert len({check.digest for check in map(audit._check, sorted(tmp_path.rglob("a.jpg")))}) == 1
    assert load_images(tmp_path, validation=0).notes == ()


def test_duplicates_are_noted_across_classes_but_not_within_one(tmp_path):
    image_folder_at(tmp_path)
    write_noise(tmp_path / "cat" / "again.png", 3)  # as cat/3
    write_noise(tmp_path / "dog" / "again.png", 5)  # as cat/5
    splits = load_images(tmp_path, validation=0, test=0)
    assert splits.notes == ("1 image appears under two classes (cat/5.png = dog/again.png)",)
    many = image_folder_at(tmp_path / "many", count=5)
    for i in range(4):
        write_noise(many / "dog" / f"again{i}.png", i)
    (note,) = load_images(many, validation=0, test=0).notes
    assert note.startswith("4 images appear under two classes (cat/0.png = dog/again0.png, ")
    assert note.endswith(", …)")


def test_duplicates_that_the_cut_separates_are_noted(tmp_path):
    image_folder_at(tmp_path)
    for i in range(10):
        write_noise(tmp_path / "cat" / f"again{i}.png", i)
    notes = load_images(tmp_path, test=0.4, validation=0.2).notes
    assert any("in both the training and the test split" in note for note in notes)
    assert load_images(tmp_path, test=0.4, validation=0.2, check=False).notes == ()


def test_resized_and_compressed_copies_in_two_splits_are_noted(tmp_path, photograph):
    for split in ("train", "test"):
        image_folder_at(tmp_path, split=split, count=3)
    photograph.save(tmp_path / "train" / "cat" / "a.png")
    width, height = photograph.size
    photograph.resize((width * 2 // 3, height * 2 // 3)).save(tmp_path / "test" / "cat" / "small.png")
    photograph.save(tmp_path / "test" / "dog" / "b.jpg", quality=60)
    (note,) = load_images(tmp_path, validation=0).notes
    assert note == (
        "2 images of the test split look like one of the training split: metrics may be optimistic "
        "(train/cat/a.png ~ test/cat/small.png, train/cat/a.png ~ test/dog/b.jpg)"
    )


def test_blank_and_different_images_do_not_look_alike(tmp_path):
    for split, level in (("train", 100), ("test", 101)):
        image_folder_at(tmp_path, split=split, count=20)
        solid_image(tmp_path / split / "cat" / "blank.png", level)
    assert load_images(tmp_path, validation=0).notes == ()


def save_16_bit(folder, peak):
    for name in ("cat", "dog"):
        for i in range(3):
            (folder / name).mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng(i + len(name) * (name == "cat")).integers(
                0, peak + 1, (20, 20), dtype=np.uint16
            )
            pixels[0, 0] = peak
            Image.fromarray(pixels).save(folder / name / f"{i}.png")
    return folder


def test_images_of_16_bits_are_noted_with_their_largest_value(tmp_path):
    assert load_images(save_16_bit(tmp_path / "full", 65535)).notes[0] == (
        "6 images of 16 bits: only the upper 8 bits are used; the largest value is 65,535"
    )
    assert (
        load_images(save_16_bit(tmp_path / "camera", 4095))
        .notes[0]
        .endswith("the largest value is 4,095; the images are dark: multiply their values by 16")
    )
    with pytest.raises(ValueError, match=r"6 images of 16 bits with values of at most 200: .* convert .* to 8 bits"):
        load_images(save_16_bit(tmp_path / "bytes", 200))


def test_very_large_images_are_read_without_a_warning(tmp_path):
    image_folder_at(tmp_path, count=2)
    Image.new("L", (40, 40)).save(tmp_path / "cat" / "large.png")
    code = (
        "from PIL import Image; Image.MAX_IMAGE_PIXELS = 1000;"  # Pillow warns from there on
        "from zoo.data.sources.image_folder import load\n"
        f"splits = load(root={str(tmp_path)!r}, shape=(1, 4, 4), validation=0, test=0)\n"
        "print(len(splits.train), splits.notes)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (result.stdout, result.stderr) == ("5 ()\n", "")
