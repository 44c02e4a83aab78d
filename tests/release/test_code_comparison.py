"""PCA, and the deep autoencoder without pretraining: measured as the text says, and shown beside the pretrained net."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from sklearn.decomposition import PCA

from zoo.config.compose import compose
from zoo.release import claims, images, reconstruction

NAME = "deep_autoencoder-mnist-plain"
IMAGES = {"count": 10_000, "std": 5.0}


def test_the_errors_of_pca_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    train, test = (rng.normal(size=(count, 12)) @ rng.normal(size=(12, 12)) + 3 for count in (200, 50))
    fitted = PCA(4, svd_solver="full").fit(train)
    expected = ((test - fitted.inverse_transform(fitted.transform(test))) ** 2).sum(axis=1)
    ours = reconstruction.pca(torch.from_numpy(train), torch.from_numpy(test), 4)
    np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-9)


@pytest.mark.mnist
def test_pca_of_mnist_has_the_published_error(mnist_root, monkeypatch):
    monkeypatch.setenv("ZOO_DATA", mnist_root)
    measured = reconstruction.measure_pca(NAME)
    assert measured == reconstruction.stored()[NAME]["pca"]
    assert round(measured["value"], 2) == reconstruction.PUBLISHED["mnist"]


def test_the_section_shows_what_there_is():
    assert reconstruction.section({}, {}) == ""
    results = {NAME: {"pca": {"value": 13.8663, "images": IMAGES}}}
    assert "| MNIST | PCA, 30 components | 13.87 | 13.77 to 13.96 | - | 13.87† |" in reconstruction.section({}, results)

    # The pretrained net and its twin stand above PCA.
    claim = {"metric": reconstruction.METRIC, "goal": 3.0, "published": None, "best_known": None}
    entry = {"claim": claim, "values": [2.0, 2.2], "images": IMAGES, "metric": {}}
    results[NAME]["twin"] = {"seeds": [1, 2], "values": [4.0, 4.4], "images": IMAGES}
    rows = [line for line in reconstruction.section({NAME: entry}, results).splitlines() if line.startswith("| MNIST")]
    assert [row.split(" | ")[1:3] for row in rows] == [
        [f"[{NAME}](checkpoints/{NAME}.md)", "2.10 ± 0.14"],
        [f"{NAME}, not pretrained", "4.20 ± 0.28"],
        ["PCA, 30 components", "13.87"],
    ]


def run(folder: Path, *overrides: str) -> None:
    """The files of a finished run, as far as they are read."""
    folder.mkdir(parents=True)
    node = compose("train", [f"experiment={NAME}", *overrides])
    OmegaConf.save(node, folder / "config.yaml")
    (folder / "metrics.json").write_text(json.dumps({"test/reconstruction_error": 4.0 + node.seed}))


def test_twins_are_runs_of_the_recipe_without_pretraining(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "measure", lambda *_: IMAGES)
    for seed in (2, 1):
        run(tmp_path / "twins" / str(seed), reconstruction.WITHOUT, f"seed={seed}")
    found = reconstruction.measure_twin(NAME, tmp_path / "twins")
    assert found == {"seeds": [1, 2], "values": [5.0, 6.0], "images": IMAGES}

    for name, wrong in (("pretrained", ()), ("other", (reconstruction.WITHOUT, "model.stages.finetune.epochs=7"))):
        run(tmp_path / name / "1", *wrong, "seed=1")
        with pytest.raises(ValueError, match=r"model\.stages\.\w+\.epochs=\d+, but \d+ in zoo train experiment="):
            reconstruction.measure_twin(NAME, tmp_path / name)


def test_every_recipe_exists_and_is_measured_by_the_squared_error():
    for recipes in reconstruction.RECIPES.values():
        for name in recipes:
            node = compose("train", [f"experiment={name}"])
            assert node.model.name == "deep_autoencoder"
            assert claims.METRICS[reconstruction.METRIC].metrics == ("test/reconstruction_error",)
            assert node.model.net.hidden[-1] == reconstruction.COMPONENTS
