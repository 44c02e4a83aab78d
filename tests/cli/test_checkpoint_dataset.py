"""Of the dataset that a checkpoint names, only its name, split sizes and an existing folder of the user's are used."""

from dataclasses import replace
from pathlib import Path

import pytest

from zoo.checkpoints.checkpoint import CheckpointInfo
from zoo.cli.checkpoint_dataset import dataset_config

INFO = CheckpointInfo(name="x", net={}, task={}, preprocess={"shape": [1, 25, 25]}, file="m.safetensors")
ZOO_DATA = "${oc.env:ZOO_DATA,data}"


def config_of(file: str = "m.safetensors", **stored):
    return dataset_config(replace(INFO, dataset_config=stored, file=file))


def test_the_sizes_of_the_splits_are_those_of_the_file():
    node = config_of(name="digits", validation=0.2, test=100, workers=64, root="/etc")
    assert (node.validation, node.test, node.workers, node.root) == (0.2, 100, 0, None)
    assert node.source._target_ == "zoo.data.sources.digits.load"


def test_the_fold_is_that_of_the_file():
    node = config_of(name="digits", fold=2, folds=5)
    assert (node.fold, node.folds) == (2, 5)
    for value in (-1, 1.5, True, "${oc.env:SECRET}"):
        with pytest.raises(ValueError, match=r"^m\.safetensors: dataset_config\.fold: .* must be an integer"):
            config_of(name="digits", fold=value, folds=5)


def test_the_source_is_that_of_the_name():
    forged = {"_target_": "zoo.data.sources.faces.load", "root": "evil"}
    assert config_of(name="digits", source=forged).source._target_ == "zoo.data.sources.digits.load"


@pytest.mark.parametrize("name", ["x", "../x", "digits/../digits", None, 3, ["digits"], "", "${oc.env:SECRET}"])
def test_a_name_that_the_zoo_does_not_have_is_refused(name, folder):
    with pytest.raises(ValueError, match=r"^m\.safetensors: trained on .*, which is not a dataset of the zoo; add"):
        config_of(name=name)
    assert not list(folder.iterdir())


@pytest.mark.parametrize("test", ["${oc.env:SECRET}", True, -1, float("inf"), float("nan"), [1]])
def test_the_size_of_a_split_must_be_a_number(test, monkeypatch):
    monkeypatch.setenv("SECRET", "hunter2")
    with pytest.raises(ValueError, match=r"^m\.safetensors: dataset_config\.test: .* must be a number") as caught:
        config_of(name="digits", test=test)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("stored", "keys"),
    [
        ({"name": "npz", "root": "own.npz", "test": 0.5}, "dataset=npz dataset.root=own.npz dataset.validation=0.1"),
        ({"name": "image_folder", "root": "photos"}, "dataset.root=photos dataset.shape=[1,25,25]"),
        ({"name": "image_folder", "root": "pictures"}, "dataset=image_folder dataset.root=pictures"),
        ({"name": "npz", "root": "${oc.env:SECRET}"}, "dataset=npz dataset.root=FOLDER"),
        ({"name": "mnist", "root": "/mnt/other"}, "dataset=mnist dataset.root=/mnt/other"),
        ({"name": "mnist", "root": None}, "dataset=mnist dataset.root=FOLDER"),
    ],
)
def test_another_folder_is_the_users_to_name(stored, keys, monkeypatch, folder):
    monkeypatch.setenv("SECRET", "hunter2")
    with pytest.raises(
        ValueError, match=r"^m\.safetensors: trained on .* in a folder that does not exist here"
    ) as caught:
        config_of(**stored)
    assert keys in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert not list(folder.iterdir())


def test_an_existing_folder_of_ones_own_is_read_where_it_was(folder):
    (folder / "photos").mkdir()
    node = config_of(name="image_folder", root="photos")
    assert node.root == "photos"
    assert config_of(name="image_folder", root="photos", source={"stratified": False}).source.stratified is False
    assert node.source.stratified is True  # a checkpoint from before splits by hash


def test_the_folder_of_the_user_replaces_the_stored_one(folder):
    stored = {"name": "image_folder", "root": "${oc.env:SECRET}"}
    assert dataset_config(replace(INFO, dataset_config=stored), root="mine").root == "mine"


def test_nothing_is_fetched_for_a_file_that_is_not_in_the_index(folder, monkeypatch):
    monkeypatch.setenv("ZOO_DATA", "data")
    for stored in ({"name": "mnist", "root": ZOO_DATA}, {"name": "faces", "root": "data/faces"}):
        with pytest.raises(ValueError, match=rf"which is not in data.*; add dataset={stored['name']} to fetch it"):
            config_of(**stored)
    assert not list(folder.iterdir())
    # Of the shipped checkpoints the zoo itself says what they were trained on.
    assert config_of("lenet5-mnist", name="mnist", root=ZOO_DATA).download is True
    (folder / "data" / "faces").mkdir(parents=True)
    Path("data/faces/file").touch()
    node = config_of(name="mnist", root=ZOO_DATA)
    assert (node.download, node.root) == (False, "data")
    assert list(config_of(name="faces", root="data/faces").shape) == [1, 25, 25]
