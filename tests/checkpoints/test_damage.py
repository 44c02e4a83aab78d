"""Thousands of damaged files: each is read as what it was, or refused by its name with ValueError or OSError.

Damage is a changed, lost or added byte, a cut or zeroed stretch, at places drawn from a fixed seed.
"""

import io
import random
import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from mutations import damaged
from PIL import Image

from zoo.checkpoints import checkpoint as checkpoints
from zoo.checkpoints import safe_pickle as pickled
from zoo.config import catalogue
from zoo.data import pixel_csv
from zoo.data.images import read
from zoo.data.sources import digit_recognizer, npz, torchvision_sets


def outcomes(path: Path, count: int, reader, *, seed: int = 0) -> list:
    """What the reader gave of ``count`` damaged copies that lie at ``path``; None where one was refused in one line."""
    content, chance, found, messages = path.read_bytes(), random.Random(seed), [], []
    for number in range(count):
        # Headers are small and matter most: every other hit is within the first kilobyte.
        head = damaged(content[:1024], chance) + content[1024:] if number % 2 else damaged(content, chance)
        path.write_bytes(head)
        try:
            found.append(reader(path))
        except (ValueError, OSError) as error:
            found.append(None)
            messages.append(str(error))
    path.write_bytes(content)
    assert [message for message in messages if len(message.splitlines()) != 1] == []
    return found


@pytest.mark.parametrize("cases", [200, pytest.param(800, marks=pytest.mark.slow)])
def test_a_damaged_checkpoint_is_refused_or_whole(cases, tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes((catalogue.CHECKPOINTS / "lenet_4_10-mnist.safetensors").read_bytes())
    net, about = checkpoints.open_checkpoint(path)
    state = net.state_dict()
    found = outcomes(path, cases, checkpoints.open_checkpoint)
    assert found.count(None) > 7 / 8 * cases
    for other, described in filter(None, found):
        assert described == about
        assert all(torch.equal(value, state[name]) for name, value in other.state_dict().items())


def test_a_damaged_index_is_refused_or_names_what_it_names(tmp_path, monkeypatch):
    for file in catalogue.CHECKPOINTS.glob("lenet_4_10-mnist*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    entry = {"lenet_4_10-mnist": catalogue.index()["lenet_4_10-mnist"]}
    path = tmp_path / "index.yaml"
    path.write_text(yaml.safe_dump(entry))
    monkeypatch.setattr(catalogue, "CHECKPOINTS", tmp_path)
    whole = checkpoints.load("lenet_4_10-mnist").state_dict()

    def reader(_: Path):
        return checkpoints.load("lenet_4_10-mnist").state_dict()

    for state in filter(None, outcomes(path, 300, reader)):
        assert all(torch.equal(value, whole[name]) for name, value in state.items())


def test_a_damaged_pickle_is_refused_or_holds_tensors(tmp_path):
    path = tmp_path / "last.ckpt"
    torch.save({"epoch": 3, "state_dict": {"w": torch.randn(5, 4), "b": torch.zeros(5)}}, path)
    for content in filter(None, outcomes(path, 400, pickled.load)):
        assert isinstance(content, (dict, torch.Tensor, list, tuple, int, float, str))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP"])
def test_a_damaged_picture_is_refused_or_read_in_its_shape(kind, tmp_path):
    path = tmp_path / f"picture.{kind.lower()}"
    pixels = np.random.default_rng(0).integers(0, 255, (28, 28), dtype=np.uint8)
    Image.fromarray(pixels).save(path, kind)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's about the damage
        for x in outcomes(path, 150, lambda path: read(path, (1, 28, 28), resize=True)):
            assert x is None or (x.shape == (1, 28, 28) and x.dtype == torch.uint8)


def test_a_damaged_table_of_pixels_is_refused_or_read_row_by_row(tmp_path):
    path = tmp_path / "train.csv"
    rng = np.random.default_rng(0)
    rows = [",".join(map(str, [k % 10, *rng.integers(0, 256, 784)])) for k in range(20)]
    path.write_text(",".join(["label", *(f"pixel{i}" for i in range(784))]) + "\n" + "\n".join(rows) + "\n")

    def reader(path: Path):
        return list(pixel_csv.read(path, pixels=784, labeled=True))

    for parts in filter(None, outcomes(path, 150, reader)):
        pixels = torch.cat([part.pixels for part in parts])
        assert pixels.shape[1] == 784
        assert pixels.dtype == torch.uint8
    path.write_bytes(b"\xff\xfe" + path.read_bytes())
    with pytest.raises(ValueError, match=r"train\.csv"):
        digit_recognizer.load(root=str(tmp_path))


def test_damaged_arrays_are_refused_or_read(tmp_path):
    path = tmp_path / "data.npz"
    rng = np.random.default_rng(0)
    buffer = io.BytesIO()
    np.savez(buffer, x=rng.integers(0, 256, (40, 4, 4), dtype=np.uint8), y=np.arange(40) % 4)
    path.write_bytes(buffer.getvalue())
    for splits in filter(None, outcomes(path, 300, lambda path: npz.load(root=str(path)))):
        assert len(splits.train) > 0


def test_damaged_idx_files_are_refused_or_read(tmp_path):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for part, count in (("train", 40), ("t10k", 20)):
        images = struct.pack(">IIII", 2051, count, 28, 28) + rng.bytes(count * 784)
        (raw / f"{part}-images-idx3-ubyte").write_bytes(images)
        labels = struct.pack(">II", 2049, count) + bytes(k % 10 for k in range(count))
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(labels)

    def reader(_: Path):
        return torchvision_sets.load(name="MNIST", root=str(tmp_path), download=False)

    for name in ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte"):
        for splits in filter(None, outcomes(raw / name, 100, reader)):
            assert splits.shape == (1, 28, 28)
