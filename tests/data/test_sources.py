"""Every source on small files made here: what it reads, and the one line it says where it cannot."""

import pickle
import struct
import tracemalloc
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from PIL import Image

import zoo
from zoo.data import images, pixel_csv
from zoo.data.sources import digit_recognizer
from zoo.data.sources import digits
from zoo.data.sources import image_folder
from zoo.data.sources import line
from zoo.data.sources import npz
from zoo.data.sources import torchvision_sets


def sizes(splits):
    return [0 if part is None else len(part) for part in (splits.train, splits.validation, splits.test)]


# Embedded


def test_digits_are_1797_of_which_360_are_always_the_test_part():
    splits = digits.load()
    assert sizes(splits) == [1293, 144, 360]
    assert splits.shape == (1, 28, 28)
    assert splits.classes == tuple("0123456789")
    assert all(part.x.dtype == torch.uint8 for part in (splits.train, splits.test))
    assert sizes(digits.load(validation=0)) == [1437, 0, 360]
    assert torch.equal(digits.load(validation=0).test.x, splits.test.x)
    # The very same examples on every machine and in every version, or past results could not be compared.
    assert splits.test.y[:20].tolist() == [3, 0, 1, 8, 9, 6, 5, 0, 7, 7, 0, 7, 9, 0, 0, 4, 6, 6, 4, 7]


def test_digits_keep_their_labels_and_fill_the_frame_of_mnist():
    from sklearn.datasets import load_digits

    bunch = load_digits()
    splits = digits.load(validation=0)
    x, y = (torch.cat([getattr(part, name) for part in (splits.train, splits.test)]) for name in "xy")
    assert x[..., 4:24, 4:24].sum() == x.sum()  # 20 x 20 in a border of 4
    small = torch.nn.functional.avg_pool2d(x[..., 4:24, 4:24].float(), 5).flatten(1)  # 4 x 4 blocks
    original = torch.from_numpy(bunch.images).float()[:, None] * 255 / 16
    original = torch.nn.functional.avg_pool2d(original, 2).flatten(1)
    nearest = torch.cdist(small, original).argmin(dim=1)
    assert len(nearest.unique()) > 1780
    assert torch.equal(torch.from_numpy(bunch.target)[nearest], y)


def test_line_puts_validation_and_test_between_the_training_points():
    splits = line.load(points=9)
    assert splits.train.x.flatten().tolist() == [-1, -0.75, -0.5, -0.25, 0, 0.25, 0.5, 0.75, 1]
    assert splits.validation.x.flatten().tolist() == [-0.875, -0.375, 0.125, 0.625]
    assert splits.test.x.flatten().tolist() == [-0.625, -0.125, 0.375, 0.875]
    assert all(torch.equal(part.x, part.y) for part in (splits.train, splits.validation, splits.test))
    assert (splits.shape, splits.num_outputs, splits.classes) == ((1,), 1, ())


# torchvision


def idx(array):
    """An array of bytes in the format of MNIST's files."""
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def make_idx_set(root, name):
    rng = np.random.default_rng(0)
    raw = root / name / "raw"
    raw.mkdir(parents=True)
    arrays = {}
    for part, count in (("train", 40), ("t10k", 20)):
        x, y = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8), (np.arange(count) % 10).astype(np.uint8)
        (raw / f"{part}-images-idx3-ubyte").write_bytes(idx(x))
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(idx(y))
        arrays[part] = x, y
    return raw, arrays


@pytest.mark.parametrize(
    ("name", "classes"),
    [("MNIST", tuple("0123456789")), ("FashionMNIST", ("T-shirt/top", "Trouser")), ("KMNIST", ("o", "ki"))],
)
def test_idx_files_are_read_through_torchvision(tmp_path, name, classes):
    _, arrays = make_idx_set(tmp_path, name)
    splits = torchvision_sets.load(name=name, root=str(tmp_path), download=False)
    assert sizes(splits) == [40, 0, 20]
    for part, (x, y) in ((splits.train, arrays["train"]), (splits.test, arrays["t10k"])):
        assert part.x.dtype == torch.uint8
        assert np.array_equal(part.x[:, 0], x)
        assert part.y.dtype == torch.int64
        assert np.array_equal(part.y, y)
    assert splits.shape == (1, 28, 28)
    assert len(splits.classes) == 10
    assert splits.classes[: len(classes)] == classes


def test_validation_is_cut_from_the_training_part_only(tmp_path):
    _, arrays = make_idx_set(tmp_path, "MNIST")
    splits = torchvision_sets.load(name="MNIST", root=str(tmp_path), validation=10, download=False)
    assert sizes(splits) == [30, 10, 20]
    assert sorted(splits.validation.y.tolist()) == list(range(10))
    both = torch.cat([splits.train.x, splits.validation.x])[:, 0].numpy()
    assert {x.tobytes() for x in both} == {x.tobytes() for x in arrays["train"][0]}


@pytest.mark.parametrize(
    ("file", "cut"),
    [
        ("train-images-idx3-ubyte", slice(0, -5)),
        ("train-images-idx3-ubyte", slice(0, 16)),
        ("t10k-labels-idx1-ubyte", slice(0, 3)),
        ("t10k-images-idx3-ubyte", slice(0, 0)),
        ("train-labels-idx1-ubyte", slice(10, None)),
    ],
)
@pytest.mark.parametrize("download", [True, False])
def test_a_damaged_idx_file_gives_its_folder(tmp_path, file, cut, download):
    raw, _ = make_idx_set(tmp_path, "MNIST")
    (raw / file).write_bytes((raw / file).read_bytes()[cut])
    with pytest.raises(ValueError, match=r"a file is damaged .*; delete it and run again") as refusal:
        torchvision_sets.load(name="MNIST", root=str(tmp_path), download=download)
    assert str(refusal.value).startswith(str(raw))


def test_labels_of_another_set_are_noticed(tmp_path):
    raw, _ = make_idx_set(tmp_path, "MNIST")
    (raw / "train-labels-idx1-ubyte").write_bytes((raw / "t10k-labels-idx1-ubyte").read_bytes())
    with pytest.raises(ValueError, match="40 pictures but 20 labels"):
        torchvision_sets.load(name="MNIST", root=str(tmp_path), download=False)


@pytest.fixture
def cifar(tmp_path, monkeypatch):
    """CIFAR-10's files with 6 pictures in each, and their arrays; torchvision is kept from comparing their MD5."""
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda path, md5=None: Path(path).is_file())
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    rng = np.random.default_rng(0)
    names = [f"data_batch_{k}" for k in range(1, 6)] + ["test_batch"]
    batches = {
        n: {"data": rng.integers(0, 256, (6, 3072), dtype=np.uint8), "labels": [0, 1, 2, 3, 4, 9]} for n in names
    }
    for name, content in {**batches, "batches.meta": {"label_names": [f"class {k}" for k in range(10)]}}.items():
        (folder / name).write_bytes(pickle.dumps(content))
    return tmp_path, [batches[name]["data"].reshape(6, 3, 32, 32) for name in names]


def test_cifar_is_read_channels_first(cifar):
    root, arrays = cifar
    splits = torchvision_sets.load(name="CIFAR10", root=str(root), download=False)
    assert sizes(splits) == [30, 0, 6]
    assert np.array_equal(splits.train.x, np.concatenate(arrays[:5]))
    assert np.array_equal(splits.test.x, arrays[5])
    assert splits.test.y.tolist() == [0, 1, 2, 3, 4, 9]
    assert splits.shape == (3, 32, 32)
    assert splits.classes == tuple(f"class {k}" for k in range(10))


PLACES = {
    "MNIST": "MNIST/raw",
    "FashionMNIST": "FashionMNIST/raw",
    "KMNIST": "KMNIST/raw",
    "CIFAR10": "cifar-10-batches-py",
}


@pytest.mark.parametrize("name", PLACES)
def test_a_missing_set_says_where_its_files_go(tmp_path, name):
    with pytest.raises(FileNotFoundError, match=r"dataset\.root=.*dataset\.download=true") as refusal:
        torchvision_sets.load(name=name, root=str(tmp_path), download=False)
    assert f"{name} is not under {tmp_path}" in str(refusal.value)
    assert str(tmp_path / PLACES[name]) in str(refusal.value)


@pytest.mark.parametrize("name", PLACES)
def test_a_failing_download_gives_the_reason_and_says_where_the_files_go(tmp_path, monkeypatch, name):
    def fail(*_, **__):
        raise URLError("no route to host")

    for module in ("mnist", "cifar"):
        monkeypatch.setattr(f"torchvision.datasets.{module}.download_and_extract_archive", fail)
    with pytest.raises(FileNotFoundError, match="cannot be downloaded") as refusal:
        torchvision_sets.load(name=name, root=str(tmp_path))
    assert str(tmp_path / PLACES[name]) in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_an_unknown_set_lists_the_choices(tmp_path):
    with pytest.raises(ValueError, match="unknown dataset 'CIFAR100'; choose one of: MNIST, FashionMNIST, KMNIST, CIF"):
        torchvision_sets.load(name="CIFAR100", root=str(tmp_path))


# CSV


def write_csv(folder, *, rows=60, at=0, labels=None, name="train.csv"):
    """Kaggle's format with the label in column ``at`` (None: no label); returns the values."""
    pixels = np.random.default_rng(0).integers(0, 256, (rows, 784))
    names = [f"pixel{k}" for k in range(784)]
    labels = np.arange(rows) % 10 if labels is None else labels
    table = pixels
    if at is not None:
        table, names = np.insert(pixels, at, labels, axis=1), [*names[:at], "label", *names[at:]]
    np.savetxt(folder / name, table, fmt="%d", delimiter=",", header=",".join(names), comments="")
    return pixels, labels


@pytest.mark.parametrize("at", [0, 300, 784])
def test_digit_recognizer_finds_the_label_in_any_column(tmp_path, at):
    pixels, labels = write_csv(tmp_path, at=at)
    splits = digit_recognizer.load(root=str(tmp_path), validation=10, test=20)
    assert sizes(splits) == [30, 10, 20]
    assert splits.shape == (1, 28, 28)
    parts = (splits.train, splits.validation, splits.test)
    found = {(x.numpy().tobytes(), int(y)) for part in parts for x, y in zip(part.x, part.y, strict=True)}
    assert found == {(x.astype(np.uint8).tobytes(), int(y)) for x, y in zip(pixels, labels, strict=True)}


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("quote", ["", '"'])
def test_csv_may_have_quoted_names_a_byte_order_mark_and_any_line_ending(tmp_path, ending, encoding, quote):
    header = ",".join(f"{quote}{name}{quote}" for name in ("a", "b", "label"))
    (tmp_path / "x.csv").write_bytes(ending.join([header, "1,2,3", " 4, 5,6"]).encode(encoding))
    (rows,) = pixel_csv.read(tmp_path / "x.csv", pixels=2, labelled=True)
    assert rows.pixels.tolist() == [[1, 2], [4, 5]]
    assert rows.labels.tolist() == [3, 6]


def test_csv_without_labels_has_none(tmp_path):
    pixels, _ = write_csv(tmp_path, at=None, rows=3)
    (rows,) = pixel_csv.read(tmp_path / "train.csv", pixels=784)
    assert rows.labels is None
    assert np.array_equal(rows.pixels, pixels)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("1,2,3,4", "line 3: 4 values, but the header has 3"),
        ("1,2", "line 3: 2 values, but the header has 3"),
        ("", "line 3: 0 values, but the header has 3"),
        ("1,2,256", "line 3: pixel 1 is 256, not within 0 to 255"),
        ("1,-1,2", "line 3: pixel 0 is -1, not within 0 to 255"),
        ("1,x,2", "line 3: 'x' is not a whole number"),
        ("1,3.5,2", "line 3: '3.5' is not a whole number"),
        ("1,,2", "line 3: '' is not a whole number"),
        ("#,2,2", "line 3: '#' is not a whole number"),
        ("x,2,2", "line 3: 'x' is not a whole number"),
        ("1,99999999999999999999,2", "line 2 or below: .*99999999999999999999"),
    ],
)
@pytest.mark.parametrize("part", [1024, 2])
def test_a_wrong_csv_row_names_file_and_line(tmp_path, row, message, part):
    path = tmp_path / "x.csv"
    path.write_text(f"label,a,b\n1,2,3\n{row}\n4,5,6\n")
    with pytest.raises(ValueError, match=message) as refusal:
        list(pixel_csv.read(path, pixels=2, part=part))
    assert str(refusal.value).startswith(f"{path}, line")


def test_lines_are_counted_over_parts(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("a\n" + "1\n" * 10 + "900\n")
    with pytest.raises(ValueError, match="line 12: pixel 0 is 900"):
        list(pixel_csv.read(path, pixels=1, part=4))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"a,b,c\n1,2,3\n", r"no column 'label' \(the first columns are a, b, c\)"),
        (b"label,a\n1,2\n", "1 pixel columns, expected 2"),
        (b"\xff\xfe\x00", "not a text file"),
    ],
)
def test_a_file_that_is_no_such_csv_is_refused(tmp_path, content, message):
    (tmp_path / "x.csv").write_bytes(content)
    with pytest.raises(ValueError, match=rf"x\.csv: {message}"):
        list(pixel_csv.read(tmp_path / "x.csv", pixels=2, labelled=True))


def test_csv_is_streamed_in_parts(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("a\n" + "7\n" * 10 + "wrong\n")
    parts = pixel_csv.read(path, pixels=1, part=4)
    assert [next(parts).pixels.flatten().tolist() for _ in range(2)] == [[7] * 4] * 2  # before the wrong row is met


def test_reading_a_longer_csv_takes_no_more_memory(tmp_path):
    def peak(rows):
        (tmp_path / "x.csv").write_text(",".join("abcdefgh") + "\n" + "10,20,30,40,50,60,70,80\n" * rows)
        tracemalloc.start()
        count = sum(len(part.pixels) for part in pixel_csv.read(tmp_path / "x.csv", pixels=8, part=100))
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert count == rows
        return used

    peak(100)  # imports and caches
    assert peak(4000) < 1.5 * peak(400)


@pytest.mark.parametrize("label", [10, -1])
def test_digit_recognizer_refuses_a_label_that_is_no_digit(tmp_path, label):
    labels = np.arange(60) % 10
    labels[17] = label
    write_csv(tmp_path, labels=labels)
    with pytest.raises(ValueError, match=rf"train\.csv: example 17 .* has label {label}, but labels go from 0 to 9"):
        digit_recognizer.load(root=str(tmp_path))


def test_digit_recognizer_needs_rows_labels_and_a_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"train\.csv is missing: download .* kaggle"):
        digit_recognizer.load(root=str(tmp_path))
    write_csv(tmp_path, rows=0)
    with pytest.raises(ValueError, match="no rows below the header"):
        digit_recognizer.load(root=str(tmp_path))
    write_csv(tmp_path, at=None)
    with pytest.raises(ValueError, match=r"no column 'label' \(the first columns are pixel0, pixel1, pixel2\)"):
        digit_recognizer.load(root=str(tmp_path))


# Arrays


def write_npz(folder, **arrays):
    np.savez(folder / "data.npz", **{name: array for name, array in arrays.items() if array is not None})
    return str(folder / "data.npz")


PARTS = {f"{kind}_{part}": None for part in ("train", "test", "val") for kind in "xy"}
X, Y = np.arange(60, dtype=np.float64).reshape(20, 3), np.arange(20) % 2


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
def test_npz_takes_features_and_pictures_in_every_layout(tmp_path, array, shape):
    splits = npz.load(root=write_npz(tmp_path, x=array, y=Y))
    assert splits.shape == shape
    assert splits.train.x.shape[1:] == shape
    assert splits.train.x.dtype == (torch.uint8 if array.dtype == np.uint8 else torch.float32)
    assert sizes(splits) == [14, 2, 4]


def test_npz_turns_channels_last_pictures_without_mixing_pixels(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (20, 6, 4, 3), dtype=np.uint8)
    splits = npz.load(root=write_npz(tmp_path, x_train=x, y_train=Y), validation=0, test=0)
    assert np.array_equal(splits.train.x, x.transpose(0, 3, 1, 2))
    assert sizes(splits) == [20, 0, 0]


def test_npz_parts_are_taken_as_they_are(tmp_path):
    arrays = {"x_train": X, "y_train": Y, "x_test": X + 100, "y_test": Y, "x_val": X[:9] - 100, "y_val": Y[:9]}
    splits = npz.load(root=write_npz(tmp_path, **arrays))
    assert sizes(splits) == [20, 9, 20]
    assert np.array_equal(splits.train.x, X)
    assert np.array_equal(splits.validation.x, X[:9] - 100)
    assert np.array_equal(splits.test.x, X + 100)
    assert splits.classes == ("0", "1")


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, ">i4", np.uint64, bool])
@pytest.mark.parametrize("shape", [(20,), (20, 1)])
def test_npz_whole_numbers_are_classes(tmp_path, dtype, shape):
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
        ({"x": X}, "no array y; it has x"),
        ({"x_train": X, "z": Y}, "no array y_train; it has x_train, z"),
        ({}, "no array x; it has none"),
        ({"x_train": X, "y_train": Y, "x_test": X}, "no array y_test"),
        ({"x": X, "y": Y[:19]}, "20 inputs in x but 19 targets in y"),
        ({"x": edited(X, np.nan), "y": Y}, "x: a value is not finite"),
        ({"x": edited(X, np.inf), "y": Y}, "x: a value is not finite"),
        ({"x": X, "y": edited(X, np.nan)}, "y: a value is not finite"),
        ({"x": X.astype(object), "y": Y}, "not a readable .npz archive of plain arrays"),
        ({"x": X, "y": Y.astype(object)}, "not a readable .npz archive of plain arrays"),
        ({"x": X.astype(str), "y": Y}, "x: values of type .*, expected numbers"),
        ({"x": X, "y": Y.astype(str)}, "y: values of type .*, expected numbers"),
        ({"x": X, "y": np.eye(20, dtype=int)}, r"y: shape \(20, 20\), expected N class numbers or N x targets"),
        ({"x": X, "y": np.array(1)}, r"y: shape \(\), expected"),
        ({"x": X.reshape(20, 1, 1, 1, 3), "y": Y}, r"x: shape \(20, 1, 1, 1, 3\), expected"),
        ({"x": X[:0], "y": Y[:0]}, r"x: shape \(0, 3\), expected"),
        ({"x": X, "y": edited(Y, 2), "num_classes": 2}, "y: example 3 .* has label 2, but labels go from 0 to 1"),
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
    with pytest.raises(ValueError, match=message) as refusal:
        npz.load(root=path, num_classes=num_classes)
    assert str(refusal.value).startswith(path)


@pytest.mark.parametrize("content", [b"", b"not an archive", b"PK\x03\x04 cut short"])
def test_a_file_that_is_no_npz_is_refused(tmp_path, content):
    (tmp_path / "data.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"data\.npz: not a readable"):
        npz.load(root=str(tmp_path / "data.npz"))


def test_a_missing_npz_says_what_it_would_hold(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no such file; dataset\.root names an \.npz with x_train"):
        npz.load(root=str(tmp_path / "data.npz"))


# Pictures


def paint(path, level=100, size=(6, 4), mode="L"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, level).save(path)
    return path


def test_one_folder_is_cut_into_parts(pictures):
    splits = image_folder.load(root=str(pictures), shape=(1, 28, 28))
    assert sizes(splits) == [14, 2, 4]
    assert splits.classes == ("above", "below")
    assert splits.shape == (1, 28, 28)
    files = [Path(file) for part in (splits.train, splits.validation, splits.test) for file in part.files]
    assert sorted(files) == sorted(pictures.rglob("*.png"))
    for part in (splits.train, splits.validation, splits.test):
        x, y = part.__getitems__(range(len(part)))
        assert torch.equal(y, part.labels())
        assert x.dtype == torch.uint8
        brighter_below = x[:, 0, 14:].float().mean((1, 2)) > x[:, 0, :14].float().mean((1, 2))
        assert torch.equal(brighter_below.long(), y)


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ({"train": 10, "val": 3, "test": 4}, [20, 6, 8]),
        ({"train": 10, "test": 4}, [18, 2, 8]),
        ({"train": 10, "val": 3}, [16, 6, 4]),
        ({"train": 10}, [14, 2, 4]),
        ({"train": 10, "valid": 3}, [16, 6, 4]),
        ({"train": 10, "validation": 3, "test": 4}, [20, 6, 8]),
    ],
)
def test_folders_for_parts_are_used_and_what_is_missing_is_cut_from_train(tmp_path, parts, expected):
    for part, count in parts.items():
        for name in ("cat", "dog"):
            for i in range(count):
                paint(tmp_path / part / name / f"{i}.png")
    splits = image_folder.load(root=str(tmp_path), shape=(1, 4, 4))
    assert sizes(splits) == expected
    validation = next((name for name in parts if name.startswith("val")), "train")
    for name, part in ((validation, splits.validation), ("test", splits.test)):
        assert {Path(file).parts[-3] for file in part.files} == {name if name in parts else "train"}


def test_fractions_of_0_leave_no_part(pictures):
    assert sizes(image_folder.load(root=str(pictures), shape=(1, 4, 4), validation=0, test=0)) == [20, 0, 0]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["cat/1.png", "cat/2.png"], r"only one class \(cat\)"),
        (["cat/1.png", "dog/notes.txt"], "dog: no pictures .*png"),
        (["1.png"], "no sub-folders; make one for each class"),
        (["train/cat/1.png", "train/dog/1.png", "test/cat/1.png", "test/emu/1.png"], "test: class 'emu' is not among"),
        (["train/cat/1.png", "train/dog/1.png", "val/cat/1.png", "val/emu/1.png"], "val: class 'emu' is not among"),
        (["train/cat/1.png", "train/dog/1.png", "test/cat/1.png"], "dog: no pictures"),
        (["train/cat/1.png"], r"train: only one class \(cat\)"),
        (["train/cat/1.png", "train/dog/1.png", "val/cat/1.png", "valid/cat/1.png"], "both val/ and valid/ are there"),
    ],
)
def test_a_folder_that_cannot_be_learned_from_says_why(tmp_path, files, message):
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text("") if file.endswith("txt") else paint(tmp_path / file)
    with pytest.raises(ValueError, match=message) as refusal:
        image_folder.load(root=str(tmp_path), shape=(1, 4, 4))
    assert str(refusal.value).startswith(str(tmp_path))


def test_a_missing_folder_says_what_it_would_hold(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no such folder; dataset\.root names one that holds a sub-folder"):
        image_folder.load(root=str(tmp_path / "none"), shape=(1, 4, 4))


@pytest.mark.parametrize("hidden", [".cache", "train/.cache", "test/.cache", "cat/.cache", "train/cat/.cache"])
def test_hidden_folders_and_other_files_are_passed_over(tmp_path, hidden):
    parts = ("train", "test") if "/" in hidden else ("",)
    for part in parts:
        for name in ("cat", "dog"):
            for i in range(10):
                paint(tmp_path / part / name / f"{i}.png")
            (tmp_path / part / name / "notes.txt").write_text("")
    paint(tmp_path / hidden / "1.png")
    (tmp_path / hidden).with_name("._1.png").write_text("macOS")
    splits = image_folder.load(root=str(tmp_path), shape=(1, 4, 4))
    assert splits.classes == ("cat", "dog")
    assert sum(sizes(splits)) == 20 * len(parts)


def test_a_truncated_picture_is_named_when_it_is_read(pictures):
    broken = pictures / "above" / "3.png"
    broken.write_bytes(broken.read_bytes()[:200])
    everything = image_folder.load(root=str(pictures), shape=(1, 4, 4), validation=0, test=0, check=False).train
    with pytest.raises(ValueError, match="not a readable picture") as refusal:
        everything.__getitems__(range(len(everything)))
    assert str(refusal.value).startswith(str(broken))


def test_a_file_that_is_no_picture_is_named(tmp_path):
    (tmp_path / "a.png").write_text("hello")
    with pytest.raises(ValueError, match=r"a\.png: not a readable picture"):
        images.read(tmp_path / "a.png", (1, 4, 4), resize=True)


@pytest.mark.parametrize(
    ("mode", "colour", "grey", "rgb"),
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
def test_every_mode_becomes_bytes_of_the_shape_asked_for(tmp_path, mode, colour, grey, rgb):
    picture = Image.new(mode, (6, 4), colour)
    if mode == "P":
        picture.putpalette([255, 0, 0])
    picture.save(tmp_path / "a.png")
    out = images.read(tmp_path / "a.png", (1, 4, 6), resize=True)
    assert out.dtype == torch.uint8
    assert torch.equal(out, torch.full((1, 4, 6), grey, dtype=torch.uint8))
    out = images.read(tmp_path / "a.png", (3, 4, 6), resize=True)
    assert torch.equal(out, torch.tensor(rgb, dtype=torch.uint8)[:, None, None].expand(3, 4, 6))


def test_a_cmyk_photograph_becomes_rgb(tmp_path):
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=95)
    red, green, blue = images.read(tmp_path / "a.jpg", (3, 8, 8), resize=True).float().mean((1, 2)).tolist()
    assert (red, green, blue) == pytest.approx((254, 0, 0), abs=3)


@pytest.mark.parametrize(("orientation", "turns"), [(1, 0), (3, 2), (6, 3), (8, 1)])
def test_a_photograph_stands_upright_as_its_exif_says(tmp_path, orientation, turns):
    pixels = np.zeros((16, 32), np.uint8)
    pixels[:8, :8] = 255  # a bright corner
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(tmp_path / "a.jpg", quality=100, exif=exif)
    expected = np.rot90(pixels, turns)
    out = images.read(tmp_path / "a.jpg", (1, *expected.shape), resize=False)
    np.testing.assert_allclose(out[0].float(), expected, atol=3)


def test_pictures_are_resized_only_on_request(tmp_path):
    paint(tmp_path / "a.png", size=(6, 4))
    assert images.read(tmp_path / "a.png", (3, 10, 20), resize=True).shape == (3, 10, 20)
    with pytest.raises(ValueError, match=r"a\.png: the picture is 1x4x6 .*, the net takes 1x10x20; add resize=true"):
        images.read(tmp_path / "a.png", (1, 10, 20), resize=False)
    with pytest.raises(ValueError, match=r"takes inputs of shape 784, not pictures"):
        images.read(tmp_path / "a.png", (784,), resize=True)


# By name


def test_a_dataset_by_name_is_cut_as_zoo_train_cuts_it():
    splits = zoo.dataset("digits", validation=100)
    assert sizes(splits) == [1337, 100, 360]
    assert torch.equal(splits.train.x, digits.load(validation=100).train.x)


@pytest.mark.parametrize(
    ("name", "keys", "said"),
    [
        ("digitz", {}, "did you mean digits"),
        ("digits", {"validtion": 3}, "did you mean validation"),
        ("digits", {"validation": "some"}, "dataset digits: Value 'some'"),
    ],
)
def test_a_dataset_that_cannot_be_had_is_one_line(name, keys, said):
    with pytest.raises(ValueError, match=said) as error:
        zoo.dataset(name, **keys)
    assert "\n" not in str(error.value)
