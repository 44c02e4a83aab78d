"""Images that a table lists: with their targets, in the splits that were asked for, or refused by row."""

import csv

import pytest
from support import write_noise

from zoo.data.sources import image_list
from zoo.data.splits import Splits


def listed(folder, rows=40, names=("file", "label"), label=lambda k: "cat" if k % 2 else "dog", **extra):
    """A folder with images 0.png, 1.png, … and a list of them."""
    for k in range(rows):
        write_noise(folder / "images" / f"{k}.png", k, size=(8, 8))
    with (folder / "list.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*names, *extra])
        writer.writerows([f"images/{k}.png", label(k), *(value(k) for value in extra.values())] for k in range(rows))
    return str(folder / "list.csv")


def load(root, **options) -> Splits:
    return image_list.load(root=root, shape=(3, 8, 8), **options)


def numbers(split):
    return [int(file.rpartition("/")[2].partition(".")[0]) for file in split.files.tolist()]


def test_files_have_the_class_of_their_row(tmp_path):
    splits = load(listed(tmp_path))
    assert splits.classes == ("cat", "dog")
    assert [len(split) for split in splits.existing().values()] == [29, 3, 8]
    for split in splits.existing().values():
        assert [splits.classes[y] for y in split.labels()] == ["cat" if k % 2 else "dog" for k in numbers(split)]
        assert split.batch([0])[0].shape == (1, 3, 8, 8)
    assert any("the images are named by the column file" in note for note in splits.notes)
    assert any("the targets are in the column label" in note for note in splits.notes)


def test_lists_of_labels_and_values(tmp_path):
    splits = load(listed(tmp_path, label=lambda k: "|".join(["even"] * (k % 2 == 0) + ["third"] * (k % 3 == 0))))
    assert (splits.multi_label, splits.classes) == (True, ("even", "third"))
    expected = [[float(k % 2 == 0), float(k % 3 == 0)] for k in numbers(splits.train)]
    assert splits.train.batch(range(5))[1].tolist() == expected[:5]
    more = splits.with_classes(["x", "third", "even"])
    assert more.train.labels().tolist() == [[0, third, even] for even, third in expected]

    values = load(listed(tmp_path, label=lambda k: k / 8))
    assert values.num_targets == 1
    assert values.train.labels()[:, 0].tolist() == [k / 8 for k in numbers(values.train)]


def test_groups_splits_and_folds(tmp_path):
    root = listed(tmp_path, patient=lambda k: k // 4, part=lambda k: ("train", "val", "test")[min(2, k // 16)])
    splits = load(root, target="label", split_column="part")
    assert [numbers(split) for split in splits.existing().values()] == [
        [*range(16)],
        [*range(16, 32)],
        [*range(32, 40)],
    ]
    found = [load(root, target="label", groups="patient", split_column="part", fold=k, folds=4) for k in range(4)]
    assert sorted(k for fold in found for k in numbers(fold.validation)) == [*range(32)]
    for fold in found:
        assert numbers(fold.test) == [*range(32, 40)]
        assert not {k // 4 for k in numbers(fold.train)} & {k // 4 for k in numbers(fold.validation)}


def test_no_images_are_held_out_beside_a_validation_split_unless_asked_for(tmp_path):
    root = listed(tmp_path, part=lambda k: "val" if k < 8 else "train")
    splits = load(root, target="label", split_column="part")
    assert [numbers(split) for split in splits.existing().values()] == [[*range(8, 40)], [*range(8)]]
    asked = load(root, target="label", split_column="part", test=4)
    assert [len(split) for split in asked.existing().values()] == [28, 8, 4]


def test_a_group_in_two_given_splits_is_refused(tmp_path):
    root = listed(tmp_path, patient=lambda k: k // 4, part=lambda k: "train" if k % 2 else "test")
    with pytest.raises(ValueError, match=r"group '0' is in the .* and in the .* split"):
        load(root, target="label", groups="patient", split_column="part")


def test_names_without_a_suffix_and_another_folder(tmp_path):
    root = listed(tmp_path)
    text = (tmp_path / "list.csv").read_text().replace("images/", "").replace(".png", "")
    (tmp_path / "list.csv").write_text(text)
    splits = load(root, file_column="file", image_root=str(tmp_path / "images"))
    assert len(splits.train) == 29
    assert any("the files have the suffix .png" in note for note in splits.notes)


def test_files_outside_the_folder_of_the_list(tmp_path):
    listed(tmp_path)
    (tmp_path / "lists").mkdir()
    text = (tmp_path / "list.csv").read_text().replace("images/", "../images/")
    (tmp_path / "lists" / "a.csv").write_text(text)
    splits = load(str(tmp_path / "lists" / "a.csv"))
    assert splits.train.digest() == load(str(tmp_path / "list.csv")).train.digest()


def test_missing_and_damaged_files_are_refused_or_skipped(tmp_path):
    root = listed(tmp_path)
    (tmp_path / "images" / "3.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 40 files do not exist below .*images/3\.png \(row 4\)"):
        load(root)
    (tmp_path / "images" / "5.png").write_bytes(b"no image")
    splits = load(root, on_bad_image="skip")
    assert sum(map(len, splits.existing().values())) == 38


@pytest.mark.parametrize(
    ("text", "options", "says"),
    [
        ("file,label\nimages/0.png,a\nimages/0.png,b\n", {}, "rows 1 and 2 name the same file"),
        ("file,label\nimages/0.png,a\nimages/1.png,\n", {}, "the target 'label' has no value in row 2"),
        ("name,label\nx,a\ny,b\n", {}, r"no column has names of images .*dataset\.file_column"),
        ("file,a,b\nimages/0.png,1,2\n", {}, r"dataset\.target=.*; the columns besides file are a, b"),
        ("file,a\nimages/0.png,1\n", {"target": "c"}, r"dataset\.target=c: no such column"),
    ],
)
def test_what_a_list_lacks_is_named(tmp_path, text, options, says):
    root = listed(tmp_path, rows=4)
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(ValueError, match=says):
        load(root, **options)
