"""Arrays of images with any number of channels, on either axis; and several labels for each example."""

import numpy as np
import pytest
import torch
from PIL import Image

from zoo.data import arrays, images
from zoo.data.sources import npz
from zoo.data.sources.image_folder import load

Y = np.arange(40) % 2


def saved(folder, **content):
    np.savez(folder / "data.npz", **content)
    return str(folder / "data.npz")


@pytest.mark.parametrize(
    ("shape", "expected", "is_guess"),
    [
        ((5, 8, 8), (5, 8, 8), False),
        ((8, 8, 5), (5, 8, 8), True),
        ((12, 8, 8), (12, 8, 8), False),
        ((8, 6, 5), (5, 8, 6), True),
        ((5, 8, 6), (5, 8, 6), True),
        ((8, 8, 2), (2, 8, 8), True),
        ((2, 8, 8), (2, 8, 8), False),
        ((8, 6, 3), (3, 8, 6), False),
    ],
)
def test_the_axis_of_the_channels(shape, expected, is_guess):
    array = np.random.default_rng(0).normal(size=(3, *shape))
    x, notes = arrays.inputs(array, where="x")
    assert x.shape[1:] == expected
    assert [note.startswith("x: the channels are taken to be") for note in notes] == [True] * is_guess
    moved = array if shape == expected else array.transpose(0, 3, 1, 2)
    assert np.allclose(x, moved)
    # A stated axis, and a known shape, are used without a guess.
    axis = "first" if shape == expected else "last"
    assert torch.equal(arrays.inputs(array, where="x", channels=axis)[0], x)
    known, notes = arrays.inputs(array, where="x", shape=expected)
    assert torch.equal(known, x)
    assert not notes


def test_several_labels_for_each_example(tmp_path):
    y = np.random.default_rng(0).integers(0, 2, (40, 3))
    x = np.random.default_rng(1).normal(size=(40, 2))
    splits = npz.load(root=saved(tmp_path, x=x, y=y, classes=np.array(["a", "b", "c"])))
    assert (splits.multi_label, splits.classes, splits.num_outputs) == (True, ("a", "b", "c"), 3)
    assert splits.train.y.dtype == torch.float32
    rows = {tuple(row): tuple(labels) for row, labels in zip(x.astype(np.float32).tolist(), y.tolist(), strict=True)}
    for row, labels in zip(splits.train.x.tolist(), splits.train.y.int().tolist(), strict=True):
        assert rows[tuple(row)] == tuple(labels)
    # One label each may be one-hot classes, which must be said.
    one_hot = saved(tmp_path, x=x, y=np.eye(2, dtype=int)[Y])
    with pytest.raises(ValueError, match=r"one-hot labels, save y\.argmax\(1\), or set dataset\.target_type=labels"):
        npz.load(root=one_hot)
    assert npz.load(root=one_hot, target_type="labels").multi_label


def test_names_of_classes_and_groups(tmp_path):
    x = np.arange(40.0)[:, None]
    root = saved(tmp_path, x=x, y=Y, classes=np.array(["no", "yes"]), who=np.arange(40) // 4)
    splits = npz.load(root=root, groups="who")
    assert splits.classes == ("no", "yes")
    groups = [set((split.x[:, 0] // 4).tolist()) for split in splits.existing().values()]
    assert sum(map(len, groups)) == len(set().union(*groups))
    assert splits.groups == tuple((splits.train.x[:, 0] // 4).int().tolist())
    with pytest.raises(ValueError, match=r"dataset\.groups=x2: .* has no such array"):
        npz.load(root=root, groups="x2")
    with pytest.raises(ValueError, match=r"classes: shape .3,., expected 2 different names"):
        npz.load(root=saved(tmp_path, x=x, y=Y, classes=np.array(["a", "b", "c"])), num_classes=2)


def test_pages_and_bands_of_files_are_channels(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (5, 6, 8), dtype=np.uint8)
    pages = [Image.fromarray(page) for page in x]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    assert np.array_equal(images.read(tmp_path / "a.tif", (5, 6, 8), resize=False), x)
    resized = images.read(tmp_path / "a.tif", (5, 3, 4), resize=True)
    expected = [np.asarray(page.resize((4, 3), Image.Resampling.BILINEAR)) for page in pages]
    assert np.array_equal(resized, expected)

    rgba = np.random.default_rng(0).integers(0, 256, (6, 8, 4), dtype=np.uint8)
    Image.fromarray(rgba).save(tmp_path / "b.png")
    assert np.array_equal(images.read(tmp_path / "b.png", (4, 6, 8), resize=False), rgba.transpose(2, 0, 1))
    with pytest.raises(ValueError, match=r"b\.png: the image has 4 bands \(RGBA\); the net takes 5 channels"):
        images.read(tmp_path / "b.png", (5, 6, 8), resize=True)
    with pytest.raises(ValueError, match=r"a\.tif: the image has 1 band \(L\) and 5 pages; the net takes 4 channels"):
        images.read(tmp_path / "a.tif", (4, 6, 8), resize=True)


def test_a_folder_of_images_with_another_number_of_bands_is_refused_before_training(tmp_path):
    for k in range(4):
        path = tmp_path / "ab"[k % 2] / f"{k}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.random.default_rng(k).integers(0, 256, (8, 8, 4), dtype=np.uint8)).save(path)
    splits = load(root=str(tmp_path), shape=(4, 8, 8), test=0, validation=0)
    assert splits.train.batch([0, 1])[0].shape == (2, 4, 8, 8)
    with pytest.raises(ValueError, match="the net takes 2 channels"):
        load(root=str(tmp_path), shape=(2, 8, 8), test=0, validation=0)
