"""The help pages name every command and every key, fit into 80 columns, and cost next to nothing."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import zoo
from zoo.cli import help as pages
from zoo.cli import main as command_line
from zoo.cli.commands import COMMANDS
from zoo.config.catalogue import list_models
from zoo.config.compose import compose

COMPOSED = [name for name, command in COMMANDS.items() if command.composed]
PLAIN = [name for name in COMMANDS if name not in COMPOSED]
# The examples that only a user's own files make work.
OWN_FILES = ("my_photos", "runs/", "-m ")


@pytest.mark.parametrize("question", ["--help", "-h", "help"])
def test_the_overview_names_every_command(question, cli):
    outcome = cli(question)
    assert (outcome.status, outcome.err) == (0, "")
    for name, command in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(command.summary[:20])}", outcome.out, re.MULTILINE)


def test_no_command_is_the_overview(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["zoo"])
    monkeypatch.setenv("MPLBACKEND", "agg")  # restored afterwards
    command_line.main()
    assert capsys.readouterr().out == pages.overview()


def test_the_version_is_that_of_the_package(cli):
    outcome = cli("--version")
    assert (outcome.status, outcome.err) == (0, "")
    assert re.fullmatch(rf"zoo {re.escape(zoo.__version__)} \(torch \d\S*, Python \d\S*\)\n", outcome.out)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_explained_in_80_columns(name, cli):
    outcome = cli(name, "--help")
    assert (outcome.status, outcome.err) == (0, "")
    assert outcome.out.startswith(f"Usage: zoo {name}")
    assert "Examples:" in outcome.out
    examples = [line for line in outcome.out.splitlines() if line.startswith(f"  zoo {name}")]
    assert len(examples) == len(COMMANDS[name].examples)
    assert max(map(len, outcome.out.splitlines())) <= 80


@pytest.mark.parametrize("asked", [["train", "model=mlp", "-h"], ["help", "train"]])
def test_help_is_found_among_other_arguments(asked, cli):
    assert cli(*asked).out == pages.command_page("train")


@pytest.mark.parametrize("name", COMPOSED)
def test_every_key_of_a_command_is_on_its_page(name):
    page = pages.command_page(name)
    for key in compose(name):
        assert re.search(rf"^  {key}=", page, re.MULTILINE), key


@pytest.mark.parametrize("name", COMPOSED)
def test_every_key_has_a_description(name):
    page = pages.read_page(name)
    assert page.description
    assert [key.name for key in page.keys if not key.description] == []


def test_the_page_of_train_names_the_choices_of_every_group():
    words = " ".join(pages.command_page("train").split())
    for group in ("model", "dataset", "accelerator", "logger", "experiment", "stage", "optimizer", "lr_schedule"):
        assert ", ".join(pages.choices(group)) in words
    assert list(pages.choices("model")) == list_models()
    for nested in ("stage@model.stages.STAGE=", "optimizer@model.stages.STAGE.optimizer="):
        assert nested in words


def test_only_the_command_with_models_offers_a_sweep():
    assert [name for name in COMPOSED if re.search("^  -m  ", pages.command_page(name), re.MULTILINE)] == ["train"]


def test_comments_become_descriptions(tmp_path, monkeypatch):
    (tmp_path / "own.yaml").write_text(
        "# zoo own [KEY=VALUE]\n#\n# Does\n# something.\ndefaults:\n  - own_schema\n  - model: a   # which model\n"
        "  # not shown\n"
        "  - override hydra/job_logging: none\n\nfirst: 1   # a number\n           # of things\n# above\nsecond: '#'\n"
        "third: ???  # needed\nhydra:\n  run: {dir: .}   # not a key\n"
    )
    monkeypatch.setattr(pages, "CONF", tmp_path)
    page = pages.read_page("own")
    assert page.description == "Does something."
    assert page.groups == [("model", "a", "which model")]
    assert page.keys == [("first", "1", "a number of things"), ("second", "'#'", "above"), ("third", "???", "needed")]


@pytest.mark.parametrize(
    ("name", "example"), [(name, example) for name in COMPOSED for example in COMMANDS[name].examples]
)
def test_an_example_is_valid(name, example):
    if not any(part in example for part in OWN_FILES):
        compose(name, shlex.split(example))


def test_every_command_has_a_module():
    folder = Path(pages.__file__).parent
    assert all((folder / f"{command.module.replace('.', '/')}.py").is_file() for command in COMMANDS.values())


def test_help_imports_neither_torch_nor_hydra():
    code = (
        "import sys; from zoo.cli.main import main; main('train', ['--help']); main('--version'); "
        "print({'torch', 'hydra', 'lightning', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"


@pytest.mark.slow
def test_hydras_own_help_is_still_there():
    done = subprocess.run(
        [sys.executable, "-m", "zoo.cli", "train", "--hydra-help"], capture_output=True, text=True, check=True
    )
    assert "--config-dir" in done.stdout
