"""Datasets through torchvision, from files in their formats; downloads that fail."""

import gzip
import pickle
import struct
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from support import split_sizes

from zoo.data.sources import torchvision_sets


def idx(array):
    """An array of bytes in the format of MNIST's files."""
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def make_idx_set(root, name):
    rng = np.random.default_rng(0)
    raw = root / name / "raw"
    raw.mkdir(parents=True)
    arrays = {}
    for split, count in (("train", 40), ("t10k", 20)):
        x, y = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8), (np.arange(count) % 10).astype(np.uint8)
        (raw / f"{split}-images-idx3-ubyte").write_bytes(idx(x))
        (raw / f"{split}-labels-idx1-ubyte").write_bytes(idx(y))
        arrays[split] = x, y
    return raw, arrays


@pytest.mark.parametrize(
    ("name", "classes"),
    [("MNIST", tuple("0123456789")), ("FashionMNIST", ("T-shirt/top", "Trouser")), ("KMNIST", ("o", "ki"))],
)
def test_idx_files_are_read_through_torchvision(tmp_path, name, classes):
    _, arrays = make_idx_set(tmp_path, name)
    splits = torchvision_sets.load(name=name, root=str(tmp_path), download=False)
    assert split_sizes(splits) == [40, 0, 20]
    for split, (x, y) in ((splits.train, arrays["train"]), (splits.test, arrays["t10k"])):
        assert split.x.dtype == torch.uint8
        assert np.array_equal(split.x[:, 0], x)
        assert split.y.dtype == torch.int64
        assert np.array_equal(split.y, y)
    assert splits.shape == (1, 28, 28)
    assert len(splits.classes) == 10
    assert splits.classes[: len(classes)] == classes


def test_validation_is_cut_from_the_training_split_only(tmp_path):
    _, arrays = make_idx_set(tmp_path, "MNIST")
    splits = torchvision_sets.load(name="MNIST", root=str(tmp_path), validation=10, download=False)
    assert split_sizes(splits) == [30, 10, 20]
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
def test_a_damaged_idx_file_is_reported_with_its_folder(tmp_path, file, cut, download):
    raw, _ = make_idx_set(tmp_path, "MNIST")
    (raw / file).write_bytes((raw / file).read_bytes()[cut])
    with pytest.raises(ValueError, match=r"a file is damaged .*; delete it and run again") as refusal:
        torchvision_sets.load(name="MNIST", root=str(tmp_path), download=download)
    assert str(refusal.value).startswith(str(raw))


def test_labels_of_another_dataset_are_noticed(tmp_path):
    raw, _ = make_idx_set(tmp_path, "MNIST")
    (raw / "train-labels-idx1-ubyte").write_bytes((raw / "t10k-labels-idx1-ubyte").read_bytes())
    with pytest.raises(ValueError, match="40 images but 20 labels"):
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
    assert split_sizes(splits) == [30, 0, 6]
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
def test_a_missing_dataset_says_where_its_files_go(tmp_path, name):
    with pytest.raises(FileNotFoundError, match=r"dataset\.root=.*dataset\.download=true") as refusal:
        torchvision_sets.load(name=name, root=str(tmp_path), download=False)
    assert f"{name} is not in {tmp_path}" in str(refusal.value)
    assert str(tmp_path / PLACES[name]) in str(refusal.value)


@pytest.mark.parametrize("name", PLACES)
def test_a_failed_download_says_why_and_where_the_files_go(tmp_path, monkeypatch, name):
    def fail(*_, **__):
        raise URLError("no route to host")

    for module in ("mnist", "cifar"):
        monkeypatch.setattr(f"torchvision.datasets.{module}.download_and_extract_archive", fail)
    with pytest.raises(FileNotFoundError, match="cannot be downloaded") as refusal:
        torchvision_sets.load(name=name, root=str(tmp_path))
    assert str(tmp_path / PLACES[name]) in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_failed_download_leaves_no_folder_and_a_readable_reason(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("Error downloading train-images-idx3-ubyte.gz:\nhttp://a: no route\n")

    monkeypatch.setattr("torchvision.datasets.mnist.download_and_extract_archive", fail)
    with pytest.raises(FileNotFoundError, match=r"downloaded \(Error downloading train-images-idx3-ubyte\.gz\): "):
        torchvision_sets.load(name="MNIST", root=str(tmp_path / "new"))
    assert not any(tmp_path.iterdir())


def test_an_unknown_dataset_lists_the_choices(tmp_path):
    with pytest.raises(ValueError, match="unknown dataset 'CIFAR100'; choose one of: MNIST, FashionMNIST, KMNIST, CIF"):
        torchvision_sets.load(name="CIFAR100", root=str(tmp_path))


@pytest.mark.parametrize("layout", ["compressed", "dots", "folders", "flat"])
def test_files_of_mnist_are_read_by_their_usual_names(tmp_path, layout):
    raw, arrays = make_idx_set(tmp_path, "MNIST")
    for path in list(raw.iterdir()):
        content = path.read_bytes()
        path.unlink()
        if layout == "compressed":
            path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(content))
        elif layout == "dots":
            path.with_name(path.name.replace("-idx", ".idx")).write_bytes(content)
        elif layout == "folders":
            path.mkdir()
            (path / path.name).write_bytes(content)
        else:
            (tmp_path / path.name).write_bytes(content)
    splits = torchvision_sets.load(name="MNIST", root=str(tmp_path), download=False)
    assert np.array_equal(splits.train.x[:, 0], arrays["train"][0])
    assert np.array_equal(splits.test.y, arrays["t10k"][1])
    assert splits.classes == tuple("0123456789")
    assert "MNIST is read from" in splits.notes[0]


@pytest.mark.parametrize(
    "damage", [lambda c: c[:-5], lambda c: c[:3], lambda c: b"", lambda c: c[:4] + b"\xff" * 4 + c[8:]]
)
def test_a_damaged_file_by_another_name_is_named(tmp_path, damage):
    raw, _ = make_idx_set(tmp_path, "MNIST")
    for path in list(raw.iterdir()):
        path.rename(path.with_name(path.name.replace("-idx", ".idx")))
    file = raw / "train-images.idx3-ubyte"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(ValueError, match=r"train-images\.idx3-ubyte: "):
        torchvision_sets.load(name="MNIST", root=str(tmp_path), download=False)


def test_missing_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"train-images-idx3-ubyte\[\.gz\], .*t10k-labels-idx1-ubyte"):
        torchvision_sets.load(name="MNIST", root=str(tmp_path), download=False)


def test_mnist_is_read_from_the_file_of_keras(tmp_path):
    _, arrays = make_idx_set(tmp_path / "idx", "MNIST")
    expected = torchvision_sets.load(name="MNIST", root=str(tmp_path / "idx"), download=False)
    x_train, y_train = arrays["train"]
    x_test, y_test = arrays["t10k"]
    np.savez(tmp_path / "mnist.npz", x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    splits = torchvision_sets.load(name="MNIST", root=str(tmp_path), download=False)
    assert splits.fingerprints() == expected.fingerprints()
    assert splits.classes == expected.classes
    assert "mnist.npz" in splits.notes[0]
    np.savez(tmp_path / "mnist.npz", x_train=x_train[:, :20], y_train=y_train)
    with pytest.raises(ValueError, match=r"mnist\.npz: x_train must be N x 28 x 28 bytes"):
        torchvision_sets.load(name="MNIST", root=str(tmp_path), download=False)
    with pytest.raises(FileNotFoundError, match="FashionMNIST is not in"):
        torchvision_sets.load(name="FashionMNIST", root=str(tmp_path), download=False)
