"""Evaluating a checkpoint measures what training measured, on the same or on other data."""

import json

import numpy as np
import pytest
import torch

from zoo import catalogue, checkpoints
from zoo.data import digits


def test_the_metrics_are_those_of_training(zoo, folder, trained):
    outcome = zoo("evaluate", f"checkpoint={trained}", "output=metrics.json")
    assert (outcome.status, outcome.err) == (0, "")
    metrics, saved = json.loads((folder / "metrics.json").read_text()), checkpoints.info(trained).metrics
    assert metrics == pytest.approx({name: value for name, value in saved.items() if name.startswith("test/")})
    assert f"{metrics['test/accuracy']:.4f}" in outcome.out
    assert [path.name for path in folder.iterdir()] == ["metrics.json"]


def test_the_accuracy_is_that_of_the_nets_own_answers(zoo, folder, trained):
    test = digits.load().test
    with torch.inference_mode():
        answers = checkpoints.load(trained)(checkpoints.info(trained).transforms()(test.x)).argmax(dim=1)
    zoo("evaluate", f"checkpoint={trained}", "output=metrics.json")
    own = (answers == test.y).float().mean().item()
    assert json.loads((folder / "metrics.json").read_text())["test/accuracy"] == pytest.approx(own)


def test_another_dataset_of_the_same_classes_is_measured_without_the_saved_column(zoo, folder, trained):
    test = digits.load().test
    shifted = (test.y + 1) % 10
    arrays = {"x_train": test.x.numpy(), "y_train": test.y.numpy(), "x_val": test.x.numpy(), "y_val": test.y.numpy()}
    np.savez("own.npz", **arrays, x_test=test.x.numpy(), y_test=shifted.numpy())
    words = ["dataset=npz", "dataset.root=own.npz", "output=metrics.json"]
    outcome = zoo("evaluate", f"checkpoint={trained}", *words)
    assert outcome.status == 0
    assert json.loads((folder / "metrics.json").read_text())["test/accuracy"] < 0.1
    assert f"{checkpoints.info(trained).metrics['test/accuracy']:.4f}" not in outcome.out


def test_other_classes_are_refused(zoo, folder, trained):
    test = digits.load().test
    np.savez("own.npz", x=test.x.numpy(), y=(test.y % 3).numpy())
    outcome = zoo("evaluate", f"checkpoint={trained}", "dataset=npz", "dataset.root=own.npz", "output=metrics.json")
    assert outcome.status == 1
    assert "classes 0, 1, 2; the checkpoint knows 0, 1, 2, 3" in outcome.err
    assert not (folder / "metrics.json").exists()


def test_a_dataset_without_a_test_part_is_refused(zoo, folder, trained):
    outcome = zoo("evaluate", f"checkpoint={trained}", "dataset=digits", "dataset.test=0")
    assert outcome.status == 1
    assert "no test part" in outcome.err


def test_a_regression_is_measured_by_its_errors(zoo, folder):
    zoo("train", "model=linear", "dataset=line", "epochs=1", "progress=false", "hydra.run.dir=run")
    assert zoo("evaluate", "checkpoint=run", "output=metrics.json").status == 0
    metrics = json.loads((folder / "metrics.json").read_text())
    assert set(metrics) == {"test/loss", "test/mse", "test/mae"}
    assert metrics["test/mse"] == pytest.approx(checkpoints.info("run").metrics["test/mse"])


def test_overwrite_replaces_an_output(zoo, folder, trained):
    (folder / "metrics.json").write_text("of before")
    assert zoo("evaluate", f"checkpoint={trained}", "output=metrics.json", "overwrite=true").status == 0
    assert "test/accuracy" in json.loads((folder / "metrics.json").read_text())


@pytest.mark.parametrize("name", catalogue.list_checkpoints())
def test_an_indexed_metric_is_what_evaluate_measures(name, folder, zoo):
    if checkpoints.info(name).dataset != "digits":
        pytest.skip("needs data that are not embedded")
    assert zoo("evaluate", f"checkpoint={name}", "output=metrics.json").status == 0
    measured = json.loads((folder / "metrics.json").read_text())
    for metric, value in catalogue.index()[name]["metric"].items():
        assert measured[metric] == pytest.approx(value, abs=1e-6)
