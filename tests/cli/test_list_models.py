"""``zoo list`` names every model and checkpoint with the sizes that their configs claim."""

import json
import re
import subprocess
import sys

import pytest
import yaml

from zoo.cli import list_models as list_module
from zoo.config import catalogue
from zoo.config.catalogue import list_models, model_config


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")


def test_every_model_is_listed_with_its_layers_and_parameters(cli):
    lines = cli("list").out.splitlines()
    for name in list_models():
        about = model_config(name)["about"]
        cells = [re.split(r" {2,}", line.strip()) for line in lines if line.split()[:1] == [name]]
        assert cells == [[name, str(about["layers"]), f"{about['parameters']:,}", about["title"]]]


@pytest.mark.parametrize("columns", ["80", "40"])
def test_names_and_sizes_are_whole_in_narrow_terminals(columns, cli, monkeypatch):
    monkeypatch.setenv("COLUMNS", columns)
    out = cli("list").out
    lines = out.splitlines()
    assert max(map(len, lines)) <= 80
    assert "…" not in out
    first_words = {line.split()[0] for line in lines if line.strip()}
    assert {*list_models(), *catalogue.list_checkpoints()} <= first_words
    for name, entry in catalogue.index().items():
        (row,) = (line for line in lines if line.split()[:1] == [name])
        assert row.rstrip().endswith(list_module._size(entry["size"]))


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("lenet*", [name for name in list_models() if name.startswith("lenet")]),
        ("et5", ["lenet5", "lenet5_1998", "resnet50"]),
        ("l?near", ["linear"]),
        ("mlp", [name for name in list_models() if "mlp" in name]),
    ],
)
def test_a_pattern_narrows_the_list(pattern, names, cli):
    out = cli("list", pattern).out
    listed = {line.split()[0] for line in out.splitlines() if line.strip()}
    assert listed & set(list_models()) == set(names)


@pytest.mark.parametrize(("size", "shown"), [(1024 * 234, "234 KiB"), (1024 * 12345, "12.1 MiB")])
def test_a_checkpoint_is_listed_with_its_metric_and_size(size, shown, cli, tmp_path, monkeypatch):
    entry = {"file": "x", "sha256": "0" * 64, "size": size, "model": "lenet5", "metric": {"test/accuracy": 0.98765}}
    (tmp_path / "index.yaml").write_text(yaml.safe_dump({"lenet5-mnist": entry}))
    monkeypatch.setattr(catalogue, "CHECKPOINTS", tmp_path)
    out = cli("list", "*mnist").out
    for part in ("lenet5-mnist", "accuracy 0.9877", shown):
        assert part in out
    assert "googlenet" not in out


def test_listing_imports_neither_torch_nor_hydra():
    code = "import sys; from zoo.cli.main import main; main('list', []); print({'torch', 'hydra'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"


def test_the_list_as_json(cli):
    outcome = cli("list", "--json")
    found = json.loads(outcome.out)
    assert (outcome.status, outcome.err) == (0, "")
    assert [model["name"] for model in found["models"]] == list_models()
    assert [entry["name"] for entry in found["checkpoints"]] == catalogue.list_checkpoints()
    lenet5 = next(model for model in found["models"] if model["name"] == "lenet5")
    about = model_config("lenet5")["about"]
    assert lenet5 == {"name": "lenet5", "class": "zoo.models.LeNet5", **about}
    entry = next(entry for entry in found["checkpoints"] if entry["name"] == "lenet5-digits")
    assert entry == {"name": "lenet5-digits", **catalogue.index()["lenet5-digits"]}
    some = json.loads(cli("list", "--json", "rbm").out)["models"]
    assert [model["name"] for model in some] == [name for name in list_models() if "rbm" in name]
