"""What only the real MNIST can show; skipped where it is not."""

import json

import pytest

from zoo.data.sources import torchvision_sets

pytestmark = pytest.mark.mnist


def test_the_official_parts_are_kept_apart_and_validation_is_cut_from_training(mnist_root):
    splits = torchvision_sets.load(name="MNIST", root=mnist_root, validation=5000, download=False)
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [55_000, 5_000, 10_000]
    assert splits.test.labels().bincount().tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


def test_an_epoch_of_the_linear_classifier_reaches_ninety_percent(mnist_root, folder, cli, monkeypatch):
    monkeypatch.setenv("ZOO_DATA", mnist_root)
    words = ["model=logistic", "dataset=mnist", "epochs=1", "progress=false", "hydra.run.dir=run"]
    assert cli("train", *words).status == 0
    assert json.loads((folder / "run" / "metrics.json").read_text())["test/accuracy"] > 0.9
