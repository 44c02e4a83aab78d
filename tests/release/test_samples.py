"""The figure of samples shows the shipped checkpoints that can draw, with the samples that `zoo sample` draws."""

import json

import numpy as np
import torch
from PIL import Image

from zoo.cli import sample
from zoo.config import catalogue
from zoo.plots import tiling
from zoo.release import figure, results, samples

SHIPPED = list(samples.data(catalogue.index()).get("checkpoints", {}))


def test_the_figure_has_a_panel_for_each_shipped_generative_checkpoint():
    # The command names the checkpoints that can draw; none of them is left out of the figure.
    assert set(SHIPPED) == set(sample._generative_checkpoints())
    assert [name for name in samples.RECIPES if name in SHIPPED] == SHIPPED
    assert "generative.png" not in results.table({})
    assert "docs/images/generative.png" in (catalogue.CHECKPOINTS.parent / "RESULTS.md").read_text()


def test_every_recipe_of_the_figure_has_a_title():
    titles = [samples.title(name) for name in samples.RECIPES]
    assert titles[0] == "RBM, MNIST"
    assert titles[-1] == "deep belief network, Fashion-MNIST"
    assert len(set(titles)) == len(titles)


def test_another_checkpoint_makes_the_figure_out_of_date(tmp_path, monkeypatch):
    monkeypatch.setattr(samples, "drawn", lambda name: torch.rand(5, 7, 1))
    entries = {name: {"sha256": f"hash of {name}"} for name in samples.RECIPES[1:3]}
    path = tmp_path / "images" / "generative.png"
    assert not samples.is_current(path, entries)
    samples.draw(path, entries)
    assert samples.is_current(path, entries)
    with Image.open(path) as image:
        assert list(json.loads(image.info[figure.KEY])["checkpoints"]) == list(samples.RECIPES[1:3])
    entries[samples.RECIPES[1]] = {"sha256": "another"}
    assert not samples.is_current(path, entries)
    # Without generative checkpoints, the figure may be missing.
    assert samples.is_current(tmp_path / "none.png", {})


def test_a_panel_has_the_samples_of_the_command(monkeypatch, cli, folder):
    monkeypatch.setattr(samples, "STEPS", 3)
    assert cli("sample", "checkpoint=rbm-mnist", "steps=3", "output=samples.npz").status == 0
    ours = samples.drawn("rbm-mnist")
    theirs = tiling.mosaic(torch.from_numpy(np.load("samples.npz")["x"]), samples.COLUMNS)
    torch.testing.assert_close(ours, theirs, equal_nan=True)
