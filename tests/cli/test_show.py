"""``zoo show`` prints a card for every model and checkpoint, and its sums are right."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from zoo.checkpoints import checkpoint as checkpoints
from zoo.config.catalogue import list_models, model_config


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")


@pytest.mark.parametrize("name", list_models())
def test_a_models_card_adds_up_to_its_claim(name, cli):
    outcome = cli("show", name)
    assert (outcome.status, outcome.err) == (0, "")
    about = model_config(name)["about"]
    assert f"{about['parameters']:,} parameters, {about['layers']} layers with weights" in outcome.out
    rows = [line.split("│")[1:-1] for line in outcome.out.splitlines() if line.startswith("│")]
    assert sum(int(row[-1].replace(",", "")) for row in rows) == about["parameters"]
    assert all(re.fullmatch(r"\d+(x\d+)*", row[2].strip()) for row in rows)
    words = " ".join(outcome.out.split())
    for line in (f"command: zoo train model={name}", f"Python: zoo.create({name!r})", "class: zoo.models."):
        assert re.search(f"^{re.escape(line)}", outcome.out, re.MULTILINE)
    for part in (about["title"], about["paper"], *about["deviations"]):
        assert part in words


def test_the_card_of_lenet5_shows_the_shapes_of_the_paper(cli):
    out = cli("show", "lenet5").out
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in out.splitlines() if line.startswith("│")]
    assert "input 1x28x28" in out
    assert rows[-1][2:] == ["10", "850"]
    assert {"6x28x28", "6x14x14", "16x10x10", "120", "84"} <= {row[2] for row in rows}


@pytest.mark.parametrize("ending", ["", "/model.safetensors"])
def test_a_checkpoint_says_what_it_is(ending, cli, trained):
    outcome = cli("show", f"{trained}{ending}")
    about = checkpoints.info(trained)
    assert (outcome.status, outcome.err) == (0, "")
    for part in ("lenet5 on digits", "61,706 parameters", about.command, about.license, "input: 1x28x28"):
        assert part in outcome.out
    assert f"test/accuracy {about.metrics['test/accuracy']:.4f}" in outcome.out


def test_the_paths_of_the_training_data_are_shown(cli, folder, trained):
    about = checkpoints.info(trained)
    assert "dataset.root" not in cli("show", str(trained)).out  # digits has no folder
    paths = {"root": "/home/me/labels.csv", "image_root": "/home/me/\x1b[2Jphotos"}
    changed = replace(about, dataset_config={**about.dataset_config, **paths})
    checkpoints.save(checkpoints.load(trained), Path("m.safetensors"), changed)
    out = cli("show", "m.safetensors").out
    assert "\ndataset.root: /home/me/labels.csv\n" in out
    assert "\ndataset.image_root: /home/me/\\x1b[2Jphotos\n" in out


def test_a_run_folder_is_shown_by_its_name(cli, trained, monkeypatch):
    monkeypatch.chdir(trained.parent)
    assert "lenet5 on digits" in cli("show", trained.name).out


def test_a_run_that_is_not_finished_is_no_checkpoint(cli, folder):
    Path("run").mkdir()
    Path("run/config.yaml").touch()
    fix = "this run is not finished; finish it with zoo train resume=run"
    assert cli("show", "run").err == f"zoo show: run: {fix}\n"


def test_long_lines_continue_indented(cli, trained, monkeypatch):
    monkeypatch.setenv("COLUMNS", "50")
    for name in ("lenet5", str(trained)):
        lines = cli("show", name).out.splitlines()
        starts = ("deviation", "paper", "made with", "data license", name)
        first = [k for k, line in enumerate(lines) if line.strip().startswith(starts)]
        continued = [line for k, line in enumerate(lines) if line.startswith("    ")]
        assert first
        assert continued
        assert all(len(line) <= 50 for line in continued)
        known = ("layers", "head", "input", "command", "Python", "class", "trained by", "61,706", "  test/", "  val/")
        assert all(line.startswith((*starts, *known, "  ", "│", "┃", "┏", "┡", "└")) for line in lines)


HOSTILE = "[/b]\x1b[2J[bold]\nall is well"
MARKUP = "[/b][bold]"  # a name may hold brackets, but no control characters


@pytest.mark.parametrize("command", ["show", "evaluate"])
def test_texts_of_a_checkpoint_are_shown_as_they_are(command, cli, folder, trained, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    about = checkpoints.info(trained)
    metrics = {**about.metrics, f"test/{MARKUP}": 0.5}
    changed = replace(about, name=MARKUP, metrics=metrics, classes=[*about.classes[:-1], HOSTILE])
    Path("d[/x]").mkdir(parents=True)
    path = "d[/x]/m.safetensors"
    checkpoints.save(checkpoints.load(trained), Path(path), changed)
    outcome = cli(command, path) if command == "show" else cli(command, f"checkpoint='{path}'", "accelerator=cpu")
    assert "\x1b" not in outcome.out + outcome.err
    assert r"[/b]\x1b[2J[bold]\nall is well" in outcome.out + outcome.err
    if command == "show":
        assert MARKUP in outcome.out
    assert outcome.status == 0 or outcome.err.count("\n") == 1


def test_a_model_as_json(cli):
    card = json.loads(cli("show", "lenet5", "--json").out)
    about = model_config("lenet5")["about"]
    assert {key: card[key] for key in about} == about
    assert card["in_shape"] == [1, 28, 28]
    assert sum(module["parameters"] for module in card["modules"]) == card["parameters"] == 61706
    assert card["modules"][-1] == {"path": "head", "type": "Linear", "output": [10], "parameters": 850}


def test_a_checkpoint_as_json(cli, trained):
    card = json.loads(cli("show", "--json", str(trained)).out)
    about = checkpoints.info(trained)
    assert card["metrics"] == about.metrics
    assert card["net"] == about.net
    assert (card["checkpoint"], card["name"], card["temperature"]) == (str(trained), "lenet5", 1.0)
