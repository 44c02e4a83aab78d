"""Layouts of image folders: names of splits and classes, and layouts that could mean two things."""

import os
from pathlib import Path

import pytest
from support import solid_image

from zoo.data.folder_layout import class_folders, read_layout, split_of


def made(root, *files):
    for file in files:
        solid_image(root / file)
    return root


@pytest.mark.parametrize(
    ("name", "split"),
    [
        *[
            (name, "train")
            for name in ("train", "Train", "TRAIN", "training", "Training", "training_set", "train-data")
        ],
        *[(name, "validation") for name in ("val", "Valid", "validation", "dev", "VALIDATION SET", "val_images")],
        *[(name, "test") for name in ("test", "Test", "testing", "Testing", "test_set", "TestSet")],
        *[(name, None) for name in ("trains", "trained", "cat", "test1", "contest", "0", "set", "", "évaluation")],
    ],
)
def test_the_usual_spellings_of_splits_are_known(name, split):
    assert split_of(name) == split


@pytest.mark.parametrize(("train", "test"), [("Train", "Test"), ("Training", "Testing"), ("train_set", "TEST")])
def test_folders_of_splits_are_found_however_they_are_spelled(tmp_path, train, test):
    made(tmp_path, f"{train}/a/1.png", f"{train}/b/1.png", f"{test}/a/1.png", f"{test}/b/1.png")
    layout = read_layout(tmp_path)
    assert layout.homes == {"train": tmp_path / train, "test": tmp_path / test}
    assert layout.classes == ("a", "b")
    assert not layout.notes


def test_an_unlabeled_test_folder_is_left_for_predict(tmp_path):
    made(tmp_path, "train/a/1.png", "train/b/1.png", "test/1.png", "val/unknown/1.png")
    layout = read_layout(tmp_path)
    assert list(layout.homes) == ["train"]
    assert layout.notes == [
        f"{tmp_path}/{split} has no class folders, so it is not used; zoo predict reads such a folder"
        for split in ("val", "test")
    ]


@pytest.mark.parametrize("name", ["train", "Test", "valid"])
def test_a_class_may_have_the_name_of_a_split(tmp_path, name):
    made(tmp_path, "bus/1.png", "car/1.png", f"{name}/1.png")
    layout = read_layout(tmp_path)
    assert layout.homes == {"train": tmp_path}
    assert set(layout.classes) == {"bus", "car", name}


def test_splits_without_labels_are_used_as_they_are(tmp_path):
    layout = read_layout(made(tmp_path, "train/1.png", "test/1.png", "test1/1.png"))
    assert layout.homes == {"train": tmp_path / "train", "test": tmp_path / "test"}
    assert layout.classes == ()
    assert layout.notes == ["not used, since train/ has the training images: test1/"]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["train/a/1.png", "Train/a/1.png"], "has both Train/ and train/"),
        (["train/a/1.png", "train/b/1.png", "test/a/1.png", "Testing/a/1.png"], "has both Testing/ and test/"),
        (["train/a/1.png", "train/b/1.png", "bus/1.png"], "train/ may be the training split or a class beside bus/"),
        (["a/1.png", "b/1.png", "test/a/1.png"], "test/ looks like a split, beside class folders such as a/"),
        (["val/a/1.png", "test/a/1.png"], "has val/, but no folder train/"),
        (["train/1.png", "test/a/1.png", "test/b/1.png"], "train: has no class folders, but .*test has"),
        (["a/train/1.png", "a/test/1.png", "b/train/1.png"], r"the splits are below the classes \(a/test\)"),
        (["flowers/a/1.png", "flowers/b/1.png"], "only subfolder flowers has .* a, b: set dataset.root=.*/flowers$"),
        (["x/train/1.png"], "only subfolder x has the subfolders train: set dataset.root="),
    ],
)
def test_a_layout_with_two_meanings_is_refused_with_the_change_that_makes_it_clear(tmp_path, files, message):
    with pytest.raises(ValueError, match=message) as refusal:
        read_layout(made(tmp_path, *files))
    assert len(str(refusal.value).splitlines()) == 1


def test_a_folder_with_an_archive_only_says_so(tmp_path):
    (tmp_path / "photos.zip").write_text("")
    with pytest.raises(ValueError, match=r"no subfolders; .* 1 archive that is not unpacked \(photos.zip\)"):
        read_layout(tmp_path)


def test_names_of_classes_are_composed_and_must_be_text(tmp_path):
    made(tmp_path, "A\u0308pfel/1.png", "b/1.png")
    assert list(class_folders(tmp_path)) == ["b", "\xc4pfel"]
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xc4pfel")).mkdir()
    with pytest.raises(ValueError, match=r"the class folder \\xc4pfel is not valid UTF-8; rename"):
        class_folders(tmp_path)
