"""Data without labels train what needs none, and are refused by what needs them."""

import json

import numpy as np
import pytest
from support import metrics_of, no_plots

from zoo.data.sources import digits


@pytest.fixture
def words(folder, monkeypatch) -> list[str]:
    """The dataset of 100 images without labels."""
    no_plots(monkeypatch)
    np.savez("x.npz", x=digits.load().train.x[:100, 0].numpy())
    return ["dataset=npz", "dataset.root=x.npz", "epochs=1", "progress=false", "hydra.run.dir=run"]


def test_an_rbm_is_trained_and_evaluated_without_labels(words, cli, folder):
    outcome = cli("train", "model=rbm", "model.net.hidden=5", *words)
    assert outcome.status == 0
    assert "x.npz has no y; it has x: only models that need no labels can be trained" in outcome.out + outcome.err
    assert "test/reconstruction_error" in metrics_of(folder / "run")
    assert cli("evaluate", "checkpoint=run", "likelihood=false").status == 0
    assert cli("predict", "checkpoint=run", "input=x.npz").status == 0


@pytest.mark.parametrize("model", ["mlp", "dbn_generative"])
def test_a_model_that_needs_labels_is_refused_in_one_line(model, words, cli, folder):
    outcome = cli("train", f"model={model}", *words)
    assert (outcome.status, len(outcome.err.splitlines())) == (1, 1)
    assert "label" in outcome.err
    assert not (folder / "run" / "config.yaml").exists()


def test_bytes_of_0_and_1_train_like_booleans(words, cli, folder):
    sharp = digits.load().train.x[:100, 0].numpy() > 127
    for dtype in (np.uint8, bool):
        np.savez("x.npz", x=sharp.astype(dtype))
        run = f"run-{np.dtype(dtype)}"
        outcome = cli("train", "model=rbm", "model.net.hidden=5", *words[:-1], f"hydra.run.dir={run}")
        assert outcome.status == 0
        assert ("the bytes are all 0 or 1, so they are not divided" in outcome.out + outcome.err) == (dtype is np.uint8)
    assert metrics_of(folder / "run-uint8") == metrics_of(folder / "run-bool")


@pytest.mark.parametrize(("scale", "stored"), [("null", 1.0), ("65535", 65535.0)])
def test_the_scale_of_the_training_data_can_be_stated(scale, stored, words, cli, folder):
    x = digits.load().train.x[:100, 0].numpy().astype(np.uint16) * np.uint16(257)
    np.savez("x.npz", x=x)
    sized = ["model=rbm", "model.net.hidden=5", "model.net.visible_units=gaussian", "model.input_scaling=standardized"]
    assert cli("train", *sized, *words, f"dataset.scale={scale}").status == 0
    preprocess = json.loads((folder / "run" / "preprocess.json").read_text())
    assert (preprocess["scale"], preprocess["low"], preprocess["high"]) == (stored, 0.0, 65535.0)
