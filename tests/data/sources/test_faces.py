"""The faces that come with scikit-image: written once, whole, and read back as they are."""

import sys

import numpy as np
import pytest

from zoo.config import build as config
from zoo.config import compose
from zoo.data.sources import faces

skimage_data = pytest.importorskip("skimage.data")


def test_faces_are_written_once_and_read_back(tmp_path):
    root = tmp_path / "deep" / "faces"
    splits = faces.load(root=str(root), shape=(1, 25, 25), validation=0, test=0)
    assert splits.classes == ("face", "other")
    assert splits.notes == ()  # no picture is there twice
    x, y = splits.train.batch(range(200))
    assert y.tolist() == [0] * 100 + [1] * 100
    np.testing.assert_allclose(x[:, 0].numpy(), 255 * skimage_data.lfw_subset(), atol=0.5001)
    written = {path: path.stat().st_mtime_ns for path in root.rglob("*.png")}
    assert len(written) == 200
    assert [path.name for path in root.parent.iterdir()] == ["faces"]  # nothing is left beside it
    splits = faces.load(root=str(root), shape=(1, 28, 28))
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [100, 20, 80]
    assert splits.test.labels().bincount().tolist() == [40, 40]
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*.png")} == written


def test_an_interrupted_writing_leaves_no_folder(tmp_path, monkeypatch):
    from PIL import Image

    save, count = Image.Image.save, iter(range(150))

    def full(self, path):
        next(count, None) is None and (_ for _ in ()).throw(OSError("no space left"))
        save(self, path)

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(OSError, match="no space left"):
        faces.load(root=str(tmp_path / "faces"), shape=(1, 25, 25))
    assert not list(tmp_path.iterdir())
    monkeypatch.undo()
    assert len(faces.load(root=str(tmp_path / "faces"), shape=(1, 25, 25)).train) == 100


def test_without_scikit_image_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage", None)
    monkeypatch.setitem(sys.modules, "skimage.data", None)
    with pytest.raises(ValueError, match=r"pip install 'reference-zoo\[faces\]'"):
        faces.load(root=str(tmp_path / "faces"), shape=(1, 25, 25))
    assert not list(tmp_path.iterdir())


def test_another_folder_is_not_written_into(tmp_path):
    (tmp_path / "holiday.txt").write_text("mine")
    with pytest.raises(ValueError, match="not the images of dataset=faces"):
        faces.load(root=str(tmp_path), shape=(1, 25, 25))
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.txt"]


def test_the_config_builds_it(tmp_path):
    node = compose.compose("train", ["model=lenet5", "dataset=faces", f"dataset.root={tmp_path / 'faces'}"]).dataset
    splits = config.build(node.source, where="dataset.source")
    assert (splits.shape, splits.num_outputs) == ((1, 28, 28), node.num_classes)
