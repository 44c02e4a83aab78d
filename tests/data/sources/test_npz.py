"""A user's own arrays: every layout that is read, and what is wrong with which array."""

import warnings

import numpy as np
import pytest
import torch
from support import split_sizes

from zoo.data.sources import npz


def write_npz(folder, **arrays):
    np.savez(folder / "data.npz", **{name: array for name, array in arrays.items() if array is not None})
    return str(folder / "data.npz")


PARTS = {f"{kind}_{split}": None for split in ("train", "test", "val") for kind in "xy"}


X8 = np.random.default_rng(0).integers(0, 256, (20, 6, 4), dtype=np.uint8)
X, Y = np.arange(60, dtype=np.float64).reshape(20, 3), np.arange(20) % 2


def test_npz_holds_no_test_split_out_beside_x_val_unless_asked_for(tmp_path):
    root = write_npz(tmp_path, x_train=X, y_train=Y, x_val=X[:6], y_val=Y[:6])
    splits = npz.load(root=root)
    assert split_sizes(splits) == [20, 6, 0]
    assert splits.origins["test"].startswith("the data have a validation split and no test split; dataset.test=")
    assert split_sizes(npz.load(root=root, test=0.2)) == [16, 6, 4]
    assert not npz.load(root=root, test=0).origins


@pytest.mark.parametrize(
    ("array", "shape"),
    [
        (np.zeros((20, 5)), (5,)),
        (np.zeros(20), (1,)),
        (np.zeros((20, 6, 4), np.uint8), (1, 6, 4)),
        (np.zeros((20, 1, 6, 4), np.uint8), (1, 6, 4)),
        (np.zeros((20, 3, 6, 4), np.uint8), (3, 6, 4)),
        (np.zeros((20, 6, 4, 3), np.uint8), (3, 6, 4)),
        (np.zeros((20, 6, 4, 1), np.uint8), (1, 6, 4)),
        (np.zeros((20, 3, 6, 3), np.uint8), (3, 6, 3)),
    ],
)
def test_npz_takes_features_and_images_in_every_layout(tmp_path, array, shape):
    splits = npz.load(root=write_npz(tmp_path, x=array, y=Y))
    assert splits.shape == shape
    assert splits.train.x.shape[1:] == shape
    assert splits.train.x.dtype == (torch.uint8 if array.dtype == np.uint8 else torch.float32)
    assert split_sizes(splits) == [14, 2, 4]


def test_npz_permutes_channels_last_images(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (20, 6, 4, 3), dtype=np.uint8)
    splits = npz.load(root=write_npz(tmp_path, x_train=x, y_train=Y), validation=0, test=0)
    assert np.array_equal(splits.train.x, x.transpose(0, 3, 1, 2))
    assert split_sizes(splits) == [20, 0, 0]


def test_npz_splits_are_taken_as_they_are(tmp_path):
    arrays = {"x_train": X, "y_train": Y, "x_test": X + 100, "y_test": Y, "x_val": X[:9] - 100, "y_val": Y[:9]}
    splits = npz.load(root=write_npz(tmp_path, **arrays))
    assert split_sizes(splits) == [20, 9, 20]
    assert np.array_equal(splits.train.x, X)
    assert np.array_equal(splits.validation.x, X[:9] - 100)
    assert np.array_equal(splits.test.x, X + 100)
    assert splits.classes == ("0", "1")


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, ">i4", np.uint64, bool])
@pytest.mark.parametrize("shape", [(20,), (20, 1)])
def test_npz_integers_are_classes(tmp_path, dtype, shape):
    splits = npz.load(root=write_npz(tmp_path, x=X, y=Y.astype(dtype).reshape(shape)), validation=0, test=0)
    assert splits.train.y.dtype == torch.int64
    assert np.array_equal(splits.train.y, Y)
    assert splits.num_outputs == 2
    assert npz.load(root=write_npz(tmp_path, x=X, y=Y), num_classes=5).num_outputs == 5


@pytest.mark.parametrize(("y", "targets"), [(X[:, 0], 1), (X[:, :1], 1), (X.astype(np.float32), 3)])
def test_npz_real_numbers_are_target_values(tmp_path, y, targets):
    splits = npz.load(root=write_npz(tmp_path, x=X, y=y))
    assert splits.classes == ()
    assert splits.num_outputs == targets
    assert splits.train.y.dtype == torch.float32
    assert torch.equal(splits.train.y[:, 0], splits.train.x[:, 0])


def edited(array, value):
    array = array.copy()
    array[3] = value
    return array


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"y": Y}, "no array x; it has y"),
        ({"X": X, "z": Y}, "no array x; it has X, z"),
        ({"x": edited(X, 1e300), "y": Y}, "x: a value is too large for float32"),
        (
            {"x": X, "y": edited(Y, 10**9)},
            "y: the largest label is 1000000000 for 20 examples; number the classes from 0",
        ),
        ({"x": X, "y": edited(Y, 30000)}, "y: the largest label is 30000 for 20 examples"),
        ({"x": X + 1j, "y": Y}, "x: values of type complex128, expected numbers"),
        ({"x": X.view([("a", "f8"), ("b", "f8"), ("c", "f8")]), "y": Y}, "x: values of type .*, expected numbers"),
        (
            {"x_train": X8, "y_train": Y, "x_test": X8 / 255, "y_test": Y},
            "x_test: values from .*save all splits on one",
        ),
        ({"x_train": X8 / 255, "y_train": Y, "x_val": X8, "y_val": Y}, "x_val: values from .*save all splits on one"),
        ({"x_train": X8, "y_train": Y, "x_test": X8 > 99, "y_test": Y}, "x_test: values from .*save all splits on one"),
        ({}, "no array x; it has none"),
        ({"x_train": X, "y_train": Y, "x_test": X}, "no array y_test"),
        ({"x": X, "y": Y[:19]}, "20 inputs in x but 19 targets in y"),
        ({"x": edited(X, np.nan), "y": Y}, "x: contains NaN or Inf"),
        ({"x": edited(X, np.inf), "y": Y}, "x: contains NaN or Inf"),
        ({"x": X, "y": edited(X, np.nan)}, "y: contains NaN or Inf"),
        ({"x": X.astype(object), "y": Y}, "not a readable .npz or .npy file of plain arrays"),
        ({"x": X, "y": Y.astype(object)}, "not a readable .npz or .npy file of plain arrays"),
        ({"x": X.astype(str), "y": Y}, "x: values of type .*, expected numbers"),
        ({"x": X, "y": Y.astype(str)}, r"y: the labels are text; number the classes from 0, as by np\.unique"),
        ({"x": X, "y": np.eye(20, dtype=int)}, r"y: shape \(20, 20\), expected N class numbers or N x targets"),
        ({"x": X, "y": np.array(1)}, r"y: shape \(\), expected"),
        ({"x": X.reshape(20, 1, 1, 1, 3), "y": Y}, r"x: shape \(20, 1, 1, 1, 3\), expected"),
        ({"x": X[:0], "y": Y[:0]}, r"x: shape \(0, 3\), expected"),
        ({"x": X, "y": edited(Y, 2), "num_classes": 2}, "y: example 3 .* has label 2; labels must be in .0, 1."),
        ({"x": X, "y": edited(Y, -1)}, "y: example 3 .* has label -1"),
        ({"x_train": X, "y_train": Y, "x_test": X, "y_test": edited(Y, 2)}, "y_test: example 3 .* has label 2"),
        ({"x_train": X, "y_train": Y, "x_val": X, "y_val": edited(Y, 7)}, "y_val: example 3 .* has label 7"),
        ({"x_train": X, "y_train": Y, "x_test": X[:, :2], "y_test": Y}, "x_test and y_test differ in kind or shape"),
        ({"x_train": X, "y_train": Y, "x_val": X, "y_val": X}, "x_val and y_val differ in kind or shape"),
    ],
)
def test_npz_says_what_is_wrong_with_which_array(tmp_path, arrays, message):
    num_classes = arrays.get("num_classes")
    path = write_npz(tmp_path, **{name: array for name, array in arrays.items() if name != "num_classes"})
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a warning would be a second line
        with pytest.raises(ValueError, match=message) as refusal:
            npz.load(root=path, num_classes=num_classes)
    assert str(refusal.value).startswith(path)


@pytest.mark.parametrize("content", [b"", b"not an archive", b"PK\x03\x04 cut short"])
def test_a_file_that_is_not_an_npz_is_refused(tmp_path, content):
    (tmp_path / "data.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"data\.npz: not a readable"):
        npz.load(root=str(tmp_path / "data.npz"))


def test_a_missing_npz_says_what_it_should_hold(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no such file; set dataset\.root to an \.npz file with x_train"):
        npz.load(root=str(tmp_path / "data.npz"))


@pytest.mark.parametrize("num_classes", [0, -1, 10_001, 10**9])
def test_a_number_of_classes_out_of_range_is_refused(tmp_path, num_classes):
    with pytest.raises(ValueError, match=rf"dataset\.num_classes={num_classes} must be in .1, 10000."):
        npz.load(root=write_npz(tmp_path, x=X, y=Y), num_classes=num_classes)


@pytest.mark.parametrize("suffix", ["", "_train"])
def test_arrays_without_labels_are_divided_like_others(tmp_path, suffix):
    splits = npz.load(root=write_npz(tmp_path, **{f"x{suffix}": X, "names": Y.astype(str)}))
    assert (splits.classes, splits.num_targets, splits.num_outputs) == ((), 0, 0)
    assert split_sizes(splits) == [14, 2, 4]
    assert splits.train.labels().dtype == torch.int64
    assert not splits.train.labels().any()
    assert any(f"no y{suffix}; it has names, x{suffix}" in note for note in splits.notes)


def test_an_npy_file_is_x_alone(tmp_path):
    np.save(tmp_path / "x.npy", X8)
    splits = npz.load(root=str(tmp_path / "x.npy"))
    assert splits.shape == (1, 6, 4)
    assert splits.num_outputs == 0
    with pytest.raises(FileNotFoundError, match=r"is a folder; name an \.npz or \.npy file"):
        npz.load(root=str(tmp_path))


@pytest.mark.parametrize("dtype", [np.int64, np.int16, np.uint16, ">i4"])
def test_images_of_wider_integers_are_bytes_if_they_fit(tmp_path, dtype):
    splits = npz.load(root=write_npz(tmp_path, x=X8.astype(dtype), y=Y), validation=0, test=0)
    assert splits.train.x.dtype == torch.uint8
    assert np.array_equal(splits.train.x[:, 0], X8)
    assert "are taken as bytes" in splits.notes[0]
    wide = npz.load(root=write_npz(tmp_path, x=X8.astype(dtype) * 100, y=Y), validation=0, test=0)
    assert wide.train.x.dtype == torch.float32


@pytest.mark.parametrize("array", [np.asfortranarray(X), X.astype(np.float16), X > 30, X.astype(np.int8)])
def test_every_layout_and_type_of_numbers_is_read(tmp_path, array):
    splits = npz.load(root=write_npz(tmp_path, x=array, y=Y), validation=0, test=0)
    assert np.array_equal(splits.train.x, array.astype(np.float32))
    assert splits.train.x.is_contiguous()


def test_whole_numbers_of_a_real_type_are_values_and_it_is_said(tmp_path):
    splits = npz.load(root=write_npz(tmp_path, x=X, y=Y.astype(float)))
    assert splits.num_targets == 1
    assert "for classes, save y as integers" in splits.notes[0]


def test_labels_that_begin_at_1_leave_classes_without_examples_which_is_said(tmp_path):
    y = 1 + np.arange(40) % 2
    splits = npz.load(root=write_npz(tmp_path, x=np.random.default_rng(0).normal(size=(40, 3)), y=y))
    assert splits.classes == ("0", "1", "2")
    assert any("the labels in y begin at 1" in note and "class 0 has no examples" in note for note in splits.notes)


@pytest.mark.parametrize(
    ("y", "says"),
    [
        (np.eye(2, dtype=int)[np.arange(40) % 2], r"for one-hot labels, save y\.argmax\(1\)"),
        (np.arange(40) % 2 * 2 - 1, r"has label -1; .*; number the classes from 0"),
    ],
)
def test_labels_that_are_no_class_numbers_are_refused_with_the_fix(y, says, tmp_path):
    with pytest.raises(ValueError, match=says):
        npz.load(root=write_npz(tmp_path, x=np.random.default_rng(0).normal(size=(40, 3)), y=y))


def test_a_test_table_on_another_scale_is_said(tmp_path):
    x, y = np.random.default_rng(0).uniform(0, 1000, (200, 6)), np.arange(200) % 2
    arrays = {"x_train": x[:150], "y_train": y[:150], "x_test": x[150:], "y_test": y[150:]}
    assert npz.load(root=write_npz(tmp_path, **arrays)).notes == ()
    notes = npz.load(root=write_npz(tmp_path, **{**arrays, "x_test": x[150:] / 1000})).notes
    assert len(notes) == 1
    assert "x_test: values from" in notes[0]
    assert "save all splits on one scale" in notes[0]
