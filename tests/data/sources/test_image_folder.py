"""Image folders: which splits they have, which files are refused or skipped."""

import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from support import image_folder_at, load_images, solid_image, split_sizes, truncate, write_noise

import zoo
from zoo.config.compose import compose
from zoo.data.sources import image_folder


def test_one_folder_is_cut_into_splits(pictures):
    splits = image_folder.load(root=str(pictures), shape=(1, 28, 28), stratified=False)
    assert sum(split_sizes(splits)) == 20
    for split in (splits.train, splits.validation, splits.test):
        assert set(split.labels().tolist()) == {0, 1}  # every class is in every split
    assert splits.origins == {
        "train": f"the rest of {pictures}",
        "validation": f"10 % of the rest of {pictures}, by a hash of each path",
        "test": f"20 % of {pictures}, by a hash of each path",
    }
    assert splits.classes == ("above", "below")
    assert splits.shape == (1, 28, 28)
    files = [Path(file) for split in (splits.train, splits.validation, splits.test) for file in split.files]
    assert sorted(files) == sorted(pictures.rglob("*.png"))
    for split in (splits.train, splits.validation, splits.test):
        x, y = split.batch(range(len(split)))
        assert torch.equal(y, split.labels())
        assert x.dtype == torch.uint8
        brighter_below = x[:, 0, 14:].float().mean((1, 2)) > x[:, 0, :14].float().mean((1, 2))
        assert torch.equal(brighter_below.long(), y)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ({"train": 10, "val": 3, "test": 4}, [20, 6, 8]),
        ({"train": 10, "test": 4}, [18, 2, 8]),
        ({"train": 10, "val": 3}, [20, 6, 0]),
        ({"train": 10}, [14, 2, 4]),
        ({"train": 10, "valid": 3}, [20, 6, 0]),
        ({"train": 10, "validation": 3, "test": 4}, [20, 6, 8]),
    ],
)
def test_split_folders_are_used_and_missing_ones_cut_from_train(tmp_path, counts, expected):
    for split, count in counts.items():
        for name in ("cat", "dog"):
            for i in range(count):
                solid_image(tmp_path / split / name / f"{i}.png")
    splits = image_folder.load(root=str(tmp_path), shape=(1, 4, 4))
    assert split_sizes(splits) == expected
    validation = next((name for name in counts if name.startswith("val")), "train")
    for name, split in ((validation, splits.validation), ("test", splits.test)):
        if split is None:
            assert splits.origins["test"].startswith(
                "the data have a validation split and no test split; dataset.test="
            )
            continue
        assert {Path(file).parts[-3] for file in split.files} == {name if name in counts else "train"}


def test_fractions_of_0_give_no_split(pictures):
    assert split_sizes(image_folder.load(root=str(pictures), shape=(1, 4, 4), validation=0, test=0)) == [20, 0, 0]


def test_a_test_split_is_held_out_beside_a_validation_folder_only_if_asked_for(tmp_path):
    image_folder_at(tmp_path, split="train", count=10)
    image_folder_at(tmp_path, split="val", count=3)
    assert split_sizes(load_images(tmp_path)) == [20, 6, 0]
    splits = load_images(tmp_path, test=0.2, stratified=True)
    assert split_sizes(splits) == [16, 6, 4]
    assert splits.origins["test"] == f"20 % of {tmp_path}/train, in proportion to the classes"


@pytest.mark.parametrize("dataset", ["image_folder", "faces"])
@pytest.mark.parametrize(("size", "sides"), [(8, (8, 8)), ([6, 9], (6, 9))])
def test_size_replaces_height_and_width_alone(tmp_path, dataset, size, sides):
    names = ("face", "other") if dataset == "faces" else ("cat", "dog")
    image_folder_at(tmp_path, classes=names, count=10)
    keys = {"validation": 2, "test": 4, "workers": 0}
    splits = zoo.dataset(dataset, root=str(tmp_path), size=size, **keys)
    assert splits.shape[1:] == splits.train.batch([0])[0].shape[2:] == sides
    assert splits.shape[0] == (1 if dataset == "faces" else 3)
    assert zoo.dataset(dataset, root=str(tmp_path), size=size, shape=[1, 99, 99], **keys).shape == (1, *sides)


@pytest.mark.parametrize(
    ("dataset", "size", "message"),
    [
        ("image_folder", 0, "dataset.size=0 must be >= 1"),
        ("image_folder", "big", "dataset.size=big must be a number"),
        ("image_folder", True, "dataset.size=True must be an integer >= 1, or two of them"),
        ("image_folder", 1.5, r"dataset.size=1.5 must be an integer >= 1, or two of them: \[height, width\]"),
        ("image_folder", [3, 8, 8], r"dataset.size=\[3, 8, 8\] must be an integer >= 1, or two of them"),
        ("image_folder", 60000, "dataset.size=60000: an input would have 10,800,000,000 values"),
        ("digits", 64, "dataset.size=64: dataset digits does not resize its inputs; model.net.enlarge= lets"),
    ],
)
def test_a_size_that_cannot_be_is_refused(dataset, size, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        zoo.dataset(dataset, size=size)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["cat/1.png", "dog/notes.txt"], "dog: no images .*png"),
        (["notes.txt"], "no subfolders; make one for each class"),
        (["train/cat/1.png", "train/dog/1.png", "test/cat/1.png", "test/emu/1.png"], "test: class 'emu' is not among"),
        (["train/cat/1.png", "train/dog/1.png", "val/cat/1.png", "val/emu/1.png"], "val: class 'emu' is not among"),
        (["train/cat/1.png", "train/dog/1.png", "val/cat/1.png", "valid/cat/1.png"], "has both val/ and valid/"),
    ],
)
def test_an_unusable_folder_says_why(tmp_path, files, message):
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text("") if file.endswith("txt") else solid_image(tmp_path / file)
    with pytest.raises(ValueError, match=message) as refusal:
        image_folder.load(root=str(tmp_path), shape=(1, 4, 4))
    assert str(refusal.value).startswith(str(tmp_path))


def test_a_missing_folder_says_what_it_should_hold(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no such folder; set dataset\.root to a folder with one subfolder"):
        image_folder.load(root=str(tmp_path / "none"), shape=(1, 4, 4))


@pytest.mark.parametrize("hidden", [".cache", "train/.cache", "test/.cache", "cat/.cache", "train/cat/.cache"])
def test_hidden_folders_and_other_files_are_ignored(tmp_path, hidden):
    folders = ("train", "test") if "/" in hidden else ("",)
    for split in folders:
        for name in ("cat", "dog"):
            for i in range(10):
                solid_image(tmp_path / split / name / f"{i}.png")
            (tmp_path / split / name / "notes.txt").write_text("")
    solid_image(tmp_path / hidden / "1.png")
    (tmp_path / hidden).with_name("._1.png").write_text("macOS")
    splits = image_folder.load(root=str(tmp_path), shape=(1, 4, 4))
    assert splits.classes == ("cat", "dog")
    assert sum(split_sizes(splits)) == 20 * len(folders)


def test_unreadable_files_are_refused_with_the_fix(tmp_path):
    image_folder_at(tmp_path)
    for i in range(4):
        truncate(tmp_path / "cat" / f"{i}.png")
    Image.new("L", (1, 90)).save(tmp_path / "dog" / "7.png")
    with pytest.raises(ValueError, match=r"5 of 20 images cannot be read: .*dataset\.on_bad_image=skip") as refusal:
        load_images(tmp_path)
    message = str(refusal.value)
    assert len(message.splitlines()) == 1
    assert "cat/0.png: not a readable image" in message
    assert message.count(".png") == 3  # the first few


@pytest.mark.parametrize("damage", ["truncated", "empty", "text", "narrow"])
@pytest.mark.parametrize("ending", ["jpg", "png", "gif", "webp", "bmp", "tif"])
def test_bad_files_are_skipped_and_noted(tmp_path, damage, ending):
    image_folder_at(tmp_path, count=5)
    bad = write_noise(tmp_path / "cat" / f"bad.{ending}", size=(200, 1) if damage == "narrow" else (200, 200))
    if damage == "truncated":
        truncate(bad)
    elif damage != "narrow":
        bad.write_text("" if damage == "empty" else "hello, I am not an image")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's own words about broken TIFFs
        splits = load_images(tmp_path, on_bad_image="skip", test=2, validation=2)
    files = [file for split in (splits.train, splits.validation, splits.test) for file in split.files]
    assert sorted(files) == sorted(str(path) for path in tmp_path.rglob("*.png") if path != bad)
    assert len(splits.notes) == 1
    assert splits.notes[0].startswith("1 of 11 images cannot be read and is skipped: ")
    assert str(bad) in splits.notes[0]


def test_the_check_of_a_drafted_jpeg_notices_truncation(tmp_path, photograph):
    image_folder_at(tmp_path)
    for progressive in (False, True):
        photograph.save(tmp_path / "cat" / "big.jpg", progressive=progressive)
        truncate(tmp_path / "cat" / "big.jpg")
        with pytest.raises(ValueError, match=r"1 of 21 images cannot be read: .*big\.jpg"):
            load_images(tmp_path)


def test_a_class_that_loses_all_its_images_is_refused(tmp_path):
    image_folder_at(tmp_path, count=3)
    for path in (tmp_path / "dog").iterdir():
        truncate(path)
    with pytest.raises(ValueError, match=r"dog: none of the images in .* is readable"):
        load_images(tmp_path, on_bad_image="skip")


def test_without_the_check_a_bad_image_raises_when_read(tmp_path):
    bad = truncate(image_folder_at(tmp_path) / "cat" / "3.png")
    split = load_images(tmp_path, check=False, validation=0, test=0).train
    assert split.batch([0, 1])[0].shape == (2, 3, 8, 8)
    with pytest.raises(ValueError, match="not a readable image") as refusal:
        split.batch([2, 3])
    assert str(refusal.value).startswith(str(bad))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"on_bad_image": "drop"}, "on_bad_image=drop: choose refuse or skip"),
        ({"on_bad_image": "skip", "check": False}, r"on_bad_image=skip needs dataset\.check=true"),
    ],
)
def test_on_bad_image_is_checked(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        load_images(image_folder_at(tmp_path), **options)


def test_a_class_with_too_few_images_is_named(tmp_path):
    image_folder_at(tmp_path, count=20)
    write_noise(tmp_path / "emu" / "1.png", 999)
    splits = load_images(tmp_path)
    assert splits.train.labels().bincount()[2] == 1
    assert splits.notes == tuple(
        f"the {split} split has no image of emu (too few images to divide)" for split in ("test", "validation")
    )
    with pytest.raises(ValueError, match=r"class emu has 1 example,.*6 of each class.*dataset\.test"):
        load_images(tmp_path, stratified=True)


def test_a_class_may_be_missing_from_a_validation_or_test_folder(tmp_path):
    image_folder_at(tmp_path, split="train", classes=("cat", "dog", "emu"))
    image_folder_at(tmp_path, split="val", count=2)
    image_folder_at(tmp_path, split="test", count=2, classes=("emu",))
    splits = load_images(tmp_path)
    assert splits.classes == ("cat", "dog", "emu")
    assert splits.validation.labels().tolist() == [0, 0, 1, 1]
    assert splits.test.labels().tolist() == [2, 2]
    assert splits.notes == (f"{tmp_path}/val has no images of emu", f"{tmp_path}/test has no images of cat, dog")
    # The same images, numbered as another dataset numbers its classes.
    renumbered = replace(splits, classes=("b", "c", "d")).with_classes(("a", "b", "c", "d"))
    assert renumbered.test.labels().tolist() == [3, 3]
    assert renumbered.classes == ("a", "b", "c", "d")
    with pytest.raises(ValueError, match="class 'emu' is not among cat, dog"):
        splits.with_classes(("cat", "dog"))


@pytest.mark.parametrize("below", ["", "all"])
def test_images_without_class_folders_have_no_labels(tmp_path, below):
    for i in range(30):
        write_noise(tmp_path / below / f"{i}.png", i)
    splits = load_images(tmp_path)
    assert (splits.classes, splits.num_targets, splits.num_outputs, splits.labeled) == ((), 0, 0, False)
    assert splits.train.labels().dtype == torch.int64
    assert not splits.train.labels().any()
    assert sum(split_sizes(splits)) == 30
    assert min(split_sizes(splits)) > 0
    assert splits.notes == (f"no labels: {splits.unlabeled}",)
    assert "one class (all)" in splits.unlabeled if below else "outside of class folders" in splits.unlabeled


def test_a_table_of_labels_beside_unlabeled_images_names_the_dataset_that_reads_it(tmp_path):
    solid_image(tmp_path / "train" / "1.png")
    solid_image(tmp_path / "train" / "2.png")
    (tmp_path / "labels.csv").write_text("file,label\n")
    splits = load_images(tmp_path, validation=0, test=1)
    assert f"for labels in a table, use dataset=image_list dataset.root={tmp_path / 'labels.csv'}" in splits.unlabeled


def test_models_that_need_no_labels_train_without_them_and_others_say_why_not(cli, folder):
    for i in range(12):
        write_noise(folder / "photos" / f"{i}.png", i)
    data = ["dataset=image_folder", "dataset.root=photos", "dataset.shape=[1,4,4]", "dataset.workers=0"]
    options = [*data, "progress=false", "accelerator=cpu", "hydra.run.dir=run"]
    refused = cli("train", "model=mlp", *options)
    assert refused.status == 1
    assert "Classification needs class labels, the data have no labels (photos has images outside" in refused.err
    assert len(refused.err.splitlines()) == 1
    refused = cli("train", "model=rbm", "model.net.label_units=2", *options)
    assert "label_units need class labels, the data have no labels (photos" in refused.err
    assert not (folder / "run" / "config.yaml").exists()
    trained = cli("train", "model=deep_autoencoder", "model.net.hidden=[4]", "epochs=1", *options)
    assert (trained.status, trained.err) == (0, "")
    assert (
        "classes     none: the data have no labels" in " ".join(trained.out.split("  ")) or "no labels" in trained.out
    )


def test_labeled_examples_need_labels(tmp_path):
    for i in range(12):
        write_noise(tmp_path / f"{i}.png", i)
    with pytest.raises(ValueError, match=r"dataset\.labeled_examples=3: the data have no labels"):
        load_images(tmp_path).keep_labels(3, seed=1)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (None, r"dataset\.shape=null: must be channels"),
        ((3, 8), r"dataset\.shape=\[3, 8\]: must be channels"),
        ((3, 0, 8), "must be channels"),
        ((3, 100_000, 100_000), r"30,000,000,000 values in each image; must be <= 16,777,216"),
    ],
)
def test_an_invalid_shape_is_refused_before_anything_is_read(tmp_path, shape, message):
    with pytest.raises(ValueError, match=message):
        load_images(image_folder_at(tmp_path, count=2), shape=shape)


def test_an_added_image_never_moves_another_one(tmp_path):
    image_folder_at(tmp_path, count=40)
    before = {name: set(split.files.tolist()) for name, split in load_images(tmp_path).existing().items()}
    for i in range(40, 60):
        write_noise(tmp_path / "cat" / f"{i}.png", i)
    after = {name: set(split.files.tolist()) for name, split in load_images(tmp_path).existing().items()}
    assert all(before[name] < after[name] for name in before)


def test_two_formats_of_one_image_are_in_the_same_split(tmp_path):
    image_folder_at(tmp_path, count=30)
    for path in list(tmp_path.rglob("*.png")):
        with Image.open(path) as image:
            image.save(path.with_suffix(".JPG"))
    splits = load_images(tmp_path)
    for split in splits.existing().values():
        names = [Path(file).with_suffix("") for file in split.files]
        assert len(names) == 2 * len(set(names))


def test_what_is_skipped_is_counted_and_named(tmp_path):
    image_folder_at(tmp_path)
    for name in ("@eaDir/thumb.jpg", "__MACOSX/._1.png", ".thumbnails/2.png"):
        solid_image(tmp_path / "cat" / name)
    for name in ("Thumbs.db", ".DS_Store", "notes.txt", "5.HEIC", "more.zip"):
        (tmp_path / "cat" / name).write_text("")
    solid_image(tmp_path / "stray.png")
    (tmp_path / "lost+found").mkdir()
    splits = load_images(tmp_path)
    assert splits.classes == ("cat", "dog")
    assert sum(split_sizes(splits)) == 20
    assert splits.notes == (
        f"skipped below {tmp_path}: 3 files in .thumbnails, @eaDir, __MACOSX; 2 system or hidden files (.DS_Store, "
        "Thumbs.db); 1 image outside the class folders; 1 image of a type that is not read (.heic); 1 archive that is "
        "not unpacked (more.zip); 1 file that is not an image (.txt)",
    )


def test_the_function_itself_keeps_the_cut_of_older_checkpoints(pictures):
    splits = image_folder.load(root=str(pictures), shape=(1, 28, 28))
    assert split_sizes(splits) == [14, 2, 4]
    assert splits.origins["test"] == f"20 % of {pictures}, in proportion to the classes"
    node = compose("train", ["dataset=image_folder"]).dataset
    assert node.source.stratified is False


def test_the_cut_is_always_the_same(tmp_path):
    image_folder_at(tmp_path, count=20)
    one, other = load_images(tmp_path), load_images(tmp_path)
    for split in ("train", "validation", "test"):
        assert getattr(one, split).files.tolist() == getattr(other, split).files.tolist()
        assert torch.equal(getattr(one, split).targets, getattr(other, split).targets)
