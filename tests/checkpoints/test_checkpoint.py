"""A checkpoint comes back as it was saved or not at all, and loading one runs no code."""

import dataclasses
import hashlib
import json
import pickle
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from zoo.api import create
from zoo.checkpoints import checkpoint as checkpoints
from zoo.checkpoints.checkpoint import CheckpointInfo
from zoo.config import catalogue
from zoo.data.preprocess import Preprocess
from zoo.data.sources import digits
from zoo.release import publish

NET = {"_target_": "zoo.models.MLP", "in_shape": [4], "num_classes": 3, "hidden": [5]}
INFO = CheckpointInfo(
    name="mlp",
    net=NET,
    task={"_target_": "zoo.tasks.Classification", "loss": "cross_entropy"},
    preprocess=Preprocess((4,), 1.0, (0.5,), (2.0,)).to_dict(),
    classes=["a", "b", "ü"],
    metrics={"test/accuracy": 0.1 + 0.2},
    num_params=43,
    command="zoo train model=mlp 'model.net.hidden=[5]'",
    dataset="npz",
    dataset_config={"name": "npz", "root": "${oc.env:ZOO_DATA,data}"},
    license="CC0",
    commit="0" * 40,
    versions={"torch": "2"},
)


@pytest.fixture
def net():
    torch.manual_seed(0)
    return create("mlp", in_shape=[4], num_classes=3, hidden=[5])


@pytest.fixture
def file(net, tmp_path) -> Path:
    checkpoints.save(net, tmp_path / "model.safetensors", INFO)
    return tmp_path / "model.safetensors"


def header_of(file: Path) -> dict:
    with safe_open(file, framework="pt") as opened:
        return json.loads(opened.metadata()["zoo"])


def signed(file: Path, tensors: dict[str, torch.Tensor], description) -> Path:
    """A checkpoint with this description and a digest that fits it, as a forger would write it."""
    digest = checkpoints.digest(json.dumps(description, sort_keys=True), tensors)
    header = {"format": checkpoints.FORMAT, "description": description, "sha256": digest}
    save_file(tensors, file, {"zoo": json.dumps(header, sort_keys=True)})
    return file


def rewritten(file: Path, **changes) -> Path:
    """A checkpoint whose description is changed and signed again, as a forger would."""
    return signed(file, load_file(file), {**header_of(file)["description"], **changes})


def test_a_loaded_net_gives_the_same_output_bit_for_bit_in_eval_mode(net, file):
    x = torch.randn(7, 4)
    loaded = checkpoints.load(file)
    assert not any(module.training for module in loaded.modules())
    assert torch.equal(loaded(x), net.eval()(x))
    assert all(torch.equal(loaded.state_dict()[name], value) for name, value in net.state_dict().items())


def test_saving_again_gives_the_same_bytes(net, file, tmp_path):
    whole = file.read_bytes()
    for name in "abcdefgh":
        checkpoints.save(net, tmp_path / name, INFO)
        assert (tmp_path / name).read_bytes() == whole
    again, about = checkpoints.open_checkpoint(file)
    checkpoints.save(again, tmp_path / "again", about)
    assert (tmp_path / "again").read_bytes() == whole


def test_a_file_stores_class_names_and_no_import_path(net, tmp_path):
    augment = {"_target_": "zoo.data.augment.Augment", "shift": 1}
    source = {"_target_": "zoo.data.sources.digits.load", "test": "${..test}"}
    about = dataclasses.replace(INFO, dataset_config={"name": "digits", "source": source, "augment": augment})
    checkpoints.save(net, tmp_path / "model.safetensors", about)
    stored = header_of(tmp_path / "model.safetensors")["description"]
    assert stored["net"] == {"class": "MLP", "in_shape": [4], "num_classes": 3, "hidden": [5]}
    assert stored["task"] == {"class": "Classification", "loss": "cross_entropy"}
    assert stored["dataset_config"]["source"] == {"class": "digits", "test": "${..test}"}
    assert stored["dataset_config"]["augment"] == {"class": "Augment", "shift": 1}
    assert "zoo." not in json.dumps(stored)
    assert checkpoints.info(tmp_path) == about


@pytest.mark.parametrize("target", ["os.system", "zoo.models.mlp.MLP", "torch.nn.Linear", None])
def test_a_net_that_is_not_of_the_zoo_is_not_saved(net, tmp_path, target):
    with pytest.raises(ValueError, match="is not the _target_ of a model"):
        checkpoints.save(net, tmp_path / "model.safetensors", dataclasses.replace(INFO, net={"_target_": target}))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(CheckpointInfo) if field.compare])
def test_info_gives_back_every_field(file, field):
    assert getattr(checkpoints.info(file), field) == getattr(INFO, field)


def test_a_trained_checkpoint_says_what_it_is(trained):
    about = checkpoints.info(trained)
    assert (about.name, about.dataset, about.classes) == ("lenet5", "digits", list("0123456789"))
    assert about.num_params == sum(p.numel() for p in checkpoints.load(trained).parameters())
    assert about.metrics == json.loads((trained / "metrics.json").read_text())
    assert about.command == "zoo train model=lenet5 dataset=digits epochs=3 progress=false"
    assert about.net["_target_"] == "zoo.models.LeNet5"
    assert about.task["loss"] == "cross_entropy"
    assert {"zoo", "torch", "torchvision", "lightning"} <= set(about.versions)
    assert "CC BY" in about.license


def test_transforms_are_those_of_training(trained):
    splits = digits.load()
    transforms = checkpoints.info(trained).transforms()
    assert transforms == Preprocess.from_data(splits.train.x, standardize=True)
    pixels = splits.test.x[:1]
    picture = Image.fromarray(pixels[0, 0].numpy())
    assert torch.equal(transforms(pixels)[0], transforms(picture))


def planted(monkeypatch, folder: Path, file: Path, sha256: str) -> None:
    index = {"tiny": {"file": file.name, "sha256": sha256, "size": 1, "model": "mlp", "metric": {"test/accuracy": 1.0}}}
    (folder / "index.yaml").write_text(yaml.safe_dump(index))
    monkeypatch.setattr(catalogue, "CHECKPOINTS", folder)


def test_a_net_is_loaded_by_folder_file_and_name(net, file, monkeypatch):
    planted(monkeypatch, file.parent, file, hashlib.sha256(file.read_bytes()).hexdigest())
    x = torch.randn(2, 4)
    assert catalogue.list_checkpoints() == ["tiny"]
    for name in (file, str(file), file.parent, str(file.parent), "tiny"):
        assert torch.equal(checkpoints.load(name)(x), net.eval()(x))
        assert checkpoints.info(name) == INFO


def test_a_file_that_is_not_the_one_in_the_index_is_refused(file, monkeypatch):
    planted(monkeypatch, file.parent, file, "0" * 64)
    with pytest.raises(ValueError, match=r"model\.safetensors.*SHA-256"):
        checkpoints.load("tiny")


def test_an_indexed_file_that_is_missing_and_a_name_that_is_near_are_told(file, monkeypatch):
    planted(monkeypatch, file.parent, file, "0" * 64)
    with pytest.raises(FileNotFoundError, match="did you mean tiny"):
        checkpoints.load("tinny")
    file.unlink()
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors is missing"):
        checkpoints.load("tiny")


@pytest.mark.parametrize("cases", [120, pytest.param(480, marks=pytest.mark.slow)])
def test_every_flipped_bit_is_noticed(cases, file):
    whole = file.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    chance = random.Random(0)
    tensors = cases // 6
    described = cases - 8 - tensors
    places = [
        *range(8),
        *chance.sample(range(8, header), described),
        *chance.sample(range(header, len(whole)), tensors),
    ]
    for place in places:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << chance.randrange(8)
        file.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"model\.safetensors"):
            checkpoints.load(file)


@pytest.mark.parametrize("kept", [0, 4, 100, 0.5, 0.999])
def test_a_truncated_file_is_refused(file, kept):
    whole = file.read_bytes()
    file.write_bytes(whole[: int(kept * len(whole)) if 0 < kept < 1 else kept])
    for read in (checkpoints.load, checkpoints.info):
        with pytest.raises(ValueError, match=r"model\.safetensors"):
            read(file)


class Touch:
    """Unpickling it makes a file."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


@pytest.mark.parametrize("write", [pickle.dump, torch.save], ids=["pickle", "torch"])
@pytest.mark.parametrize("ending", ["safetensors", "pth"])
def test_a_pickle_is_refused_and_not_run(tmp_path, write, ending):
    file, marker = tmp_path / f"model.{ending}", tmp_path / "marker"
    with file.open("wb") as opened:
        write(Touch(marker), opened)
    with pytest.raises(ValueError, match="not a readable safetensors file"):
        checkpoints.load(file)
    assert not marker.exists()


def test_foreign_weights_are_refused(net, tmp_path):
    torch.save(net.state_dict(), tmp_path / "foreign.pth")
    with pytest.raises(ValueError, match=r"foreign\.pth: not a readable safetensors file"):
        checkpoints.load(tmp_path / "foreign.pth")
    for metadata in (None, {"format": "pt"}):
        save_file(net.state_dict(), tmp_path / "foreign.safetensors", metadata)
        with pytest.raises(ValueError, match="not a checkpoint of this zoo"):
            checkpoints.load(tmp_path / "foreign.safetensors")


def test_another_format_is_refused_by_its_number(file):
    header = header_of(file)
    for changed in ({**header, "format": 99}, {"format": 99, "text": "of another kind"}):
        save_file(load_file(file), file, {"zoo": json.dumps(changed)})
        with pytest.raises(ValueError, match=r"format 99, but this version of zoo reads formats 1 and 2"):
            checkpoints.load(file)


@pytest.mark.parametrize(
    "node",
    [
        {"_target_": "os.system", "command": "touch marker"},
        {"_target_": "zoo.models.MLP", "in_shape": [4], "num_classes": 3, "hidden": [5]},  # a class alone is stored
        {"class": "MLP", "_target_": "os.system", "command": "touch marker"},
        {"class": "os.system", "command": "touch marker"},
        {"class": "system", "command": "touch marker"},
        {"class": "torch.load", "f": "marker"},
        {"class": "mlp.nn.Module"},
        {"class": "nn"},
        {"class": "activation", "name": "relu"},
        {"class": "npz", "root": "marker"},
        {"class": "Classification"},
        {"class": ["MLP"]},
        {"class": None},
        ["MLP"],
        "MLP",
        {},
    ],
    ids=str,
)
def test_a_forged_description_builds_nothing_but_models(file, folder, node):
    with pytest.raises(ValueError, match=r"model\.safetensors"):
        checkpoints.load(rewritten(file, net=node))
    assert not (folder / "marker").exists()


@pytest.mark.parametrize("change", [{"hidden": [6]}, {"num_classes": 4}, {"hidden": []}, {"depth": 3}])
def test_weights_that_do_not_fit_the_described_net_are_refused(file, change):
    with pytest.raises(ValueError, match=r"model\.safetensors: the weights do not fit"):
        checkpoints.load(rewritten(file, net={**header_of(file)["description"]["net"], **change}))


DAMAGED = [[], {}, None, "text", {"name": "mlp", "unknown": 1}]
DAMAGED += [{"name": "mlp", "net": {"class": "MLP"}, "task": {}, "preprocess": {}, "dataset_config": {"source": 3}}]


@pytest.mark.parametrize("description", DAMAGED, ids=str)
def test_a_damaged_description_is_refused(net, tmp_path, description):
    signed(tmp_path / "model.safetensors", net.state_dict(), description)
    for read in (checkpoints.load, checkpoints.info):
        with pytest.raises(ValueError, match="the description in its header is damaged"):
            read(tmp_path)


@pytest.mark.parametrize("text", ["[]", "{}", "not json", "3", '{"description": {}, "sha256": ""}'])
@pytest.mark.parametrize("number", [None, "1"])
def test_a_damaged_header_is_refused(net, tmp_path, text, number):
    metadata = {"zoo": text} | ({"format": number, "sha256": ""} if number else {})
    save_file(net.state_dict(), tmp_path / "model.safetensors", metadata)
    for read in (checkpoints.load, checkpoints.info):
        with pytest.raises(ValueError, match=r"model\.safetensors: .* damaged"):
            read(tmp_path)


def test_saving_replaces_a_file_whole_or_not_at_all(net, file, monkeypatch):
    before = file.read_bytes()

    def half(tensors, path, metadata):
        Path(path).write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(checkpoints, "save_file", half)
    with pytest.raises(OSError, match="disk full"):
        checkpoints.save(net, file, INFO)
    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]


def test_weights_in_another_memory_order_are_saved(net, tmp_path):
    with torch.no_grad():
        weight = next(net.parameters())
        weight.data = torch.from_numpy(np.asfortranarray(weight.numpy()))
    assert not weight.is_contiguous()
    checkpoints.save(net, tmp_path / "model.safetensors", INFO)
    x = torch.randn(3, 4)
    torch.testing.assert_close(checkpoints.load(tmp_path)(x), net.eval()(x))


def test_a_published_run_is_found_by_its_name(trained, tmp_path, monkeypatch, cli):
    monkeypatch.setattr(catalogue, "CHECKPOINTS", tmp_path / "checkpoints")
    publish.add_to_index(trained, "lenet5-digits")
    publish.add_to_index(trained, "again")
    assert catalogue.list_checkpoints() == ["again", "lenet5-digits"]
    x = torch.rand(3, 1, 28, 28)
    assert torch.equal(checkpoints.load("lenet5-digits")(x), checkpoints.load(trained)(x))
    listed = cli("list", "lenet5-digits").out
    assert f"{checkpoints.info(trained).metrics['test/accuracy']:.4f}" in listed


@pytest.mark.parametrize(
    ("target", "architecture", "title"),
    [
        ("zoo.models.TorchvisionNet", "mobilenet_v2", "mobilenet_v2"),
        ("zoo.models.TorchvisionNet", "a\x1b[31m", "torchvision"),
        ("zoo.models.TorchvisionNet", 7, "torchvision"),
        ("other.Net", "mobilenet_v2", "torchvision"),
        ("zoo.models.LeNet5", None, "torchvision"),
    ],
)
def test_a_net_of_another_library_has_the_title_of_its_architecture(target, architecture, title):
    net = {"_target_": target} | ({} if architecture is None else {"architecture": architecture})
    assert replace(INFO, name="torchvision", net=net).title == title
