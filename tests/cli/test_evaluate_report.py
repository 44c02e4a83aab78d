"""``report=true`` and ``calibrate=true``: the page says what metrics.json says, and predictions are calibrated."""

import csv
import json
import shutil

import numpy as np
import pytest
import torch
from report.pages import assert_self_contained, read
from safetensors.torch import load_file
from support import metrics_of, no_plots, rows_of

from zoo.checkpoints import checkpoint as checkpoints
from zoo.config import catalogue
from zoo.data.sources import digits


@pytest.fixture
def copied(trained, folder):
    """A copy of the run, which calibration may change."""
    return shutil.copytree(trained, folder / "run")


def test_every_number_of_the_report_is_that_of_the_metrics_file(cli, folder, trained):
    outcome = cli("evaluate", f"checkpoint={trained}", "output=out/metrics.json", "report=true")
    assert (outcome.status, outcome.err) == (0, "")
    assert "report: out/report.html" in outcome.out
    content = json.loads((folder / "out" / "metrics.json").read_text())
    saved = checkpoints.info(trained).metrics
    page = read(folder / "out" / "report.html")
    assert_self_contained(page)

    # The metrics and the statistics of the classes.
    metrics = {name: value for name, value in content.items() if isinstance(value, float)}
    assert {row[0]: row[1:] for row in page.tables["metrics-table"][1:]} == {
        name: [value, saved[name]] for name, value in metrics.items()
    }
    names = ("precision", "recall", "f1", "support")
    classes = {row[0]: dict(zip(names, row[1:], strict=True)) for row in page.tables["classes-table"][1:]}
    assert classes == content["classes"]
    # The confusion matrix and the reliability diagram.
    with (folder / "out" / "metrics_confusion.csv").open() as file:
        rows = [[row[0], *map(float, row[1:])] for row in csv.reader(file) if row[0] != "true class"]
    assert page.tables["confusion"][1:] == rows
    bins = content["reliability"]
    assert [row[1:] for row in page.tables["reliability"][1:]] == [
        [found["examples"], found["confidence"], found["accuracy"]] for found in bins
    ]
    error = sum(found["examples"] * abs(found["accuracy"] - found["confidence"]) for found in bins) / 360
    assert error == pytest.approx(content["test/calibration_error"], abs=1e-6)

    # The pictures: the mistakes of the net and no others, with its probabilities.
    test = digits.load().test
    with torch.inference_mode():
        p = checkpoints.load(trained)(checkpoints.info(trained).transforms()(test.x)).softmax(dim=1)
    wrong = (p.argmax(dim=1) != test.y).nonzero()[:, 0].tolist()
    mistakes = [figure for figure in page.figures if len(figure) == 4]
    assert len(mistakes) == min(len(wrong), 24) > 0
    for predicted, probability, true, name in mistakes:
        k = int(name.removeprefix("example "))
        assert k in wrong
        assert (predicted, true) == (str(int(p[k].argmax())), f"true: {int(test.y[k])}")
        assert probability == pytest.approx(float(p[k].max()), abs=1e-5)
    assert len(page.figures) == len(mistakes) + 12
    # No other number is on the page.
    in_pictures = [value for figure in page.figures for value in figure if isinstance(value, float)]
    in_tables = [cell for table in page.tables.values() for row in table for cell in row if isinstance(cell, float)]
    headlines = [metrics[f"test/{name}"] for name in ("accuracy", "f1", "calibration_error", "loss")]
    assert sorted(page.numbers) == sorted(in_pictures + in_tables + headlines)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["report=page.txt"], "report=page.txt must be true, false or the name of an .html file"),
        (["report=2"], "report=2 must be"),
        (["report=old.html"], "old.html exists; add overwrite=true"),
        (["report=old.html", "overwrite=true", "calibrate=maybe"], "calibrate"),
    ],
)
def test_a_report_that_cannot_be_written_is_refused_first(words, message, cli, folder, trained):
    (folder / "old.html").write_text("old")
    outcome = cli("evaluate", f"checkpoint={trained}", *words)
    assert outcome.status == 1
    assert message in outcome.err
    assert outcome.err.count("\n") == 1
    assert [path.name for path in folder.iterdir()] == ["old.html"]
    assert (folder / "old.html").read_text() == "old"


def test_a_run_writes_its_report_at_the_end(cli, folder, monkeypatch):
    no_plots(monkeypatch)
    words = ["model=logistic", "dataset=digits", "epochs=1", "progress=false", "hydra.run.dir=run", "report=true"]
    outcome = cli("train", *words)
    assert (outcome.status, outcome.err) == (0, "")
    assert "report: run/report.html" in outcome.out
    page = read(folder / "run" / "report.html")
    assert {row[0]: row[1] for row in page.tables["metrics-table"][1:]} == metrics_of(folder / "run")
    assert sum(row[4] for row in page.tables["classes-table"][1:]) == len(digits.load().test)
    assert "zoo train model=logistic" in page.text
    assert "zoo predict checkpoint=" in page.text
    # It belongs to the run.
    refused = cli("evaluate", "checkpoint=run", "report=run/report.html", "overwrite=true")
    assert "belongs to the run" in refused.err


def test_without_a_test_split_the_validation_split_is_reported(cli, folder, pictures, monkeypatch):
    no_plots(monkeypatch)
    words = ["model=logistic", "epochs=1", "dataset=image_folder", f"dataset.root={pictures}", "dataset.workers=0"]
    words += ["dataset.shape=[1,28,28]", "dataset.test=0", "dataset.validation=6", "progress=false"]
    outcome = cli("train", *words, "report=true", "hydra.run.dir=run")
    assert (outcome.status, outcome.err) == (0, "")
    page = read(folder / "run" / "report.html")
    assert "the validation split of image_folder, 6 examples" in page.text
    assert sum(row[4] for row in page.tables["classes-table"][1:]) == 6
    assert sum(int(row["support"]) for row in rows_of(folder / "run" / "per_class.csv")) == 6
    assert all(figure[-1].startswith(("above/", "below/")) for figure in page.figures)
    # So it is evaluated, too.
    outcome = cli("evaluate", "checkpoint=run", "output=metrics.json")
    assert "note: there is no test split, so the validation split is evaluated" in outcome.out
    saved = checkpoints.info("run").metrics
    assert {name: json.loads((folder / "metrics.json").read_text())[name] for name in saved} == pytest.approx(saved)


@pytest.mark.slow
def test_a_regression_has_a_report_without_classes(cli, folder, monkeypatch):
    no_plots(monkeypatch)
    words = ["model=linear", "dataset=line", "epochs=1", "progress=false", "report=true", "hydra.run.dir=run"]
    assert cli("train", *words).err == ""
    page = read(folder / "run" / "report.html")
    assert {row[0]: row[1] for row in page.tables["metrics-table"][1:]} == metrics_of(folder / "run")
    assert set(page.tables) == {"metrics-table"}


# Calibration


def test_a_temperature_lowers_the_loss_and_is_stored(cli, folder, copied):
    before, weights = checkpoints.info(copied), load_file(copied / "model.safetensors")
    outcome = cli("evaluate", f"checkpoint={copied}", "calibrate=true", "output=metrics.json", "report=true")
    assert (outcome.status, outcome.err) == (0, "")
    content, after = json.loads((folder / "metrics.json").read_text()), checkpoints.info(copied)
    temperature = after.temperature
    assert temperature == content["temperature"] != 1
    assert f"temperature {temperature:.4f}, fitted to the 144 examples of the validation split" in outcome.out
    assert content["val/loss"] < content["val/loss_uncalibrated"]
    assert content["val/loss_uncalibrated"] == pytest.approx(before.metrics["val/loss"])
    assert content["test/calibration_error_uncalibrated"] == pytest.approx(before.metrics["test/calibration_error"])
    page = read(folder / "report.html")
    shown = {row[0]: row[1] for row in page.tables["metrics-table"][1:]}
    assert shown == {name: value for name, value in content.items() if isinstance(value, float)}

    # Only the temperature and the metrics that depend on it have changed.
    now = load_file(copied / "model.safetensors")
    assert all(torch.equal(weights[name], now[name]) for name in weights)
    assert after.metrics.keys() == before.metrics.keys()
    changed = {name for name, value in after.metrics.items() if value != pytest.approx(before.metrics[name])}
    assert {name.partition("/")[2] for name in changed} <= {"loss", "calibration_error"}


@pytest.mark.slow
def test_a_stored_temperature_is_applied_by_all_commands(cli, folder, copied):
    assert cli("evaluate", f"checkpoint={copied}", "calibrate=true").err == ""
    after = checkpoints.info(copied)
    temperature = after.temperature
    # Evaluating again finds the stored metrics; calibrating again writes the same file.
    outcome = cli("evaluate", f"checkpoint={copied}", "output=metrics.json")
    assert f"logits are divided by its temperature, {temperature:.4f}" in outcome.out
    again = json.loads((folder / "metrics.json").read_text())
    assert {name: again[name] for name in again if name in after.metrics} == pytest.approx(
        {name: value for name, value in after.metrics.items() if name.startswith("test/")}
    )
    file = (copied / "model.safetensors").read_bytes()
    cli("evaluate", f"checkpoint={copied}", "calibrate=true")
    assert (copied / "model.safetensors").read_bytes() == file

    # Predictions are calibrated, and so are exported logits.
    x = digits.load().test.x[:4]
    np.savez(folder / "x.npz", x=x.numpy())
    assert cli("predict", f"checkpoint={copied}", "input=x.npz", "output=out.csv").err == ""
    with torch.inference_mode():
        logits = checkpoints.load(copied)(after.transforms()(x))
    expected = (logits / temperature).softmax(dim=1).amax(dim=1)
    written = [float(row["probability"]) for row in rows_of(folder / "out.csv")]
    assert written == pytest.approx(expected.tolist(), abs=1e-5)
    outcome = cli("export", f"checkpoint={copied}", "format=torch_export", "output=net.pt2")
    assert f"already divided by the temperature of the checkpoint, {temperature:.4f}" in outcome.out
    exported = torch.export.load(folder / "net.pt2").module()(after.transforms()(x))
    torch.testing.assert_close(exported, logits / temperature)


def test_a_shipped_checkpoint_is_not_calibrated_by_its_path_either(cli, folder):
    shipped = catalogue.CHECKPOINTS / "lenet5-digits.safetensors"
    content = shipped.read_bytes()
    outcome = cli("evaluate", f"checkpoint={shipped}", "dataset=digits", "calibrate=true")
    assert "is a published one; copy" in outcome.err
    assert shipped.read_bytes() == content


@pytest.mark.slow
def test_a_checkpoint_that_cannot_be_calibrated_stays_as_it_is(cli, folder, copied, monkeypatch):
    file = copied / "model.safetensors"
    content = file.read_bytes()
    cases = {
        "a published one; copy": ["checkpoint=lenet5-digits"],
        "lacks here": [f"checkpoint={copied}", "split=all"],
        "no temperature fits the 144 examples": [f"checkpoint={copied}"],
    }

    def fails(*args, **options):
        raise ValueError("nearly all predictions are right")

    monkeypatch.setattr("zoo.cli.evaluate.calibration.fit_temperature", fails)
    for message, words in cases.items():
        outcome = cli("evaluate", *words, "calibrate=true", "output=metrics.json")
        assert outcome.status == 1
        assert message in outcome.err
        assert outcome.err.count("\n") == 1
    assert file.read_bytes() == content
    assert [path.name for path in folder.iterdir()] == ["run"]


@pytest.mark.parametrize("temperature", [0, -1, "warm", True, float("inf"), 1e-9, [2.0]])
def test_a_forged_temperature_is_refused(temperature, cli, copied):
    tensors, about = checkpoints.read(copied)
    about.task["temperature"] = temperature
    with pytest.raises(ValueError, match=r"temperature|finite"):
        checkpoints.write(tensors, copied / "model.safetensors", about)
