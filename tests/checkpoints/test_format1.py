"""Checkpoints of format 1, written here by hand as that format was, load as checkpoints of format 2 do."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from support import write_format1
from torch import nn

from zoo.api import create
from zoo.checkpoints import checkpoint as checkpoints
from zoo.checkpoints import format1
from zoo.config.renamed import KEYS
from zoo.data.preprocess import Preprocess
from zoo.models import DBN

NET = {"_target_": "zoo.models.MLP", "in_shape": [4], "num_classes": 3, "hidden": [5]}
TASK = {"_target_": "zoo.tasks.Classification", "loss": "cross_entropy", "label_smoothing": 0.1}
DATASET = {
    "name": "digits",
    "root": "${oc.env:ZOO_DATA,data}",
    "source": {"_target_": "zoo.data.digits.load", "test": "${..test}"},
    "augment": {"_target_": "zoo.data.augment.Augment", "shift": 1},
}
DESCRIPTION = {
    "name": "mlp",
    "net": NET,
    "task": TASK,
    "preprocess": Preprocess((4,), 1.0).to_dict(),
    "classes": ["a", "b", "c"],
    "metrics": {"test/accuracy": 0.5},
    "num_params": 43,
    "command": "zoo train model=mlp",
    "dataset": "digits",
    "dataset_config": DATASET,
    "license": "CC0",
    "commit": "0" * 40,
    "versions": {"torch": "2"},
    "hardware": "a processor",
}


@pytest.fixture
def net() -> nn.Module:
    torch.manual_seed(0)
    return create("mlp", in_shape=[4], num_classes=3, hidden=[5]).eval()


@pytest.fixture
def file(net, tmp_path) -> Path:
    return write_format1(tmp_path / "old.safetensors", net.state_dict(), DESCRIPTION)


def test_a_file_of_format_1_is_loaded_with_its_description(net, file):
    x = torch.randn(7, 4)
    loaded, about = checkpoints.open_checkpoint(file)
    assert torch.equal(loaded(x), net(x))
    assert about == checkpoints.info(file)
    assert about.net == NET
    assert about.task == TASK
    kept = DESCRIPTION.keys() - {"net", "task", "dataset_config"}
    assert {key: vars(about)[key] for key in kept} == {key: DESCRIPTION[key] for key in kept}


def test_saved_again_it_is_of_format_2_and_the_same(file, tmp_path):
    tensors, about = checkpoints.read(file)
    checkpoints.write(tensors, tmp_path / "new.safetensors", about)
    assert checkpoints.info(tmp_path / "new.safetensors") == about
    new = load_file(tmp_path / "new.safetensors")
    assert new.keys() == tensors.keys()
    assert all(torch.equal(new[name], value) for name, value in tensors.items())


def test_a_source_that_moved_is_found(file):
    about = checkpoints.info(file)
    assert about.dataset_config["source"] == {"_target_": "zoo.data.sources.digits.load", "test": "${..test}"}
    assert about.dataset_config["augment"] == DATASET["augment"]
    assert about.dataset_config["root"] == DATASET["root"], "not resolved: it depends on who loads it"


@pytest.mark.parametrize("source", ["digits", "faces", "image_folder", "line", "npz", "torchvision_sets"])
@pytest.mark.parametrize("home", ["zoo.data", "zoo.data.sources"])
def test_every_source_is_found_at_either_place(source, home):
    node = {"source": {"_target_": f"{home}.{source}.load"}}
    stored = format1.convert({**DESCRIPTION, "dataset_config": node}, ())
    assert stored["dataset_config"]["source"] == {"class": source}


def test_an_argument_is_renamed_where_the_class_takes_the_new_name_alone():
    old = {"grey": "sum", "schedule": "joint", "width": 3}
    assert format1._renamed(old, {"gray", "width"}) == {"gray": "sum", "schedule": "joint", "width": 3}
    assert format1._renamed(old, {"grey", "order"}) == {"grey": "sum", "order": "joint", "width": 3}
    assert format1._renamed({"weights_head": "fresh"}, {"pretrained_head"}) == {"pretrained_head": "reset"}
    every = dict.fromkeys(KEYS, True)
    assert format1._renamed(every, set(KEYS.values())) == dict.fromkeys(KEYS.values(), True)


@pytest.mark.parametrize("target", ["zoo.models.TorchvisionNet", "zoo.tasks.Classification"])
def test_renamed_arguments_are_those_that_the_classes_take_today(target):
    kind = "model" if ".models." in target else "task"
    old = {"grey": "sum"} if kind == "model" else {"flips": True}
    converted = format1._converted({"_target_": target, **old}, kind)
    stored = {"class": target.rpartition(".")[2]}
    (argument,) = converted.keys() - {"class"}
    assert argument in format1._arguments(stored, kind)
    assert argument in {key for name in old for key in (name, KEYS[name])}


def test_a_dataset_of_format_1_has_the_keys_of_today():
    from dataclasses import fields

    from zoo.config.schemas import Dataset

    stored = format1.convert({**DESCRIPTION, "dataset_config": {**DATASET, "labels": 100}}, ())
    assert set(stored["dataset_config"]) <= {entry.name for entry in fields(Dataset)}
    assert 100 in stored["dataset_config"].values()


def test_a_dbn_with_recognition_weights_is_loaded(tmp_path):
    torch.manual_seed(0)
    arguments = {"in_shape": [6], "num_classes": 2, "hidden": [5, 4], "label_units": True}
    recognition = {"recognition.0.weight": torch.randn(5, 6), "recognition.0.bias": torch.randn(5)}
    tensors = {**DBN(**arguments).state_dict(), **recognition}
    description = {**DESCRIPTION, "net": {"_target_": "zoo.models.DBN", **arguments}, "classes": ["a", "b"]}
    description["preprocess"] = Preprocess((6,), 1.0).to_dict()
    loaded, about = checkpoints.open_checkpoint(write_format1(tmp_path / "dbn.safetensors", tensors, description))
    state = loaded.state_dict()
    assert all(torch.equal(state[name], value) for name, value in tensors.items())
    # The new argument, once the class has it, is in the description and so in a file of format 2.
    assert about.net.get("untied", None) == (
        True if "untied" in format1._arguments({"class": "DBN"}, "model") else None
    )
    tied = format1.convert(description, ["layers.0.weight"])
    assert "untied" not in tied["net"]


def test_a_damaged_file_of_format_1_is_refused(net, file, tmp_path):
    whole = bytearray(file.read_bytes())
    whole[-2] ^= 0x40
    file.write_bytes(whole)
    with pytest.raises(ValueError, match="the file is damaged"):
        checkpoints.load(file)
    for change in ({"net": None}, {"net": {"_target_": "os.system"}}, {"task": 3}, {"dataset_config": []}, {"x": 1}):
        write_format1(file, net.state_dict(), {**DESCRIPTION, **change})
        with pytest.raises(ValueError, match=r"old\.safetensors: (the description in its header is damaged|net: None)"):
            checkpoints.load(file)
