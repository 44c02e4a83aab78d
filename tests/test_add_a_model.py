"""CONTRIBUTING.md is enough to add a model: its two files, written into a copy of the package, and nothing else."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from documents import blocks
from support import ROOT

pytestmark = pytest.mark.slow  # four new processes

BLOCKS = blocks(ROOT / "CONTRIBUTING.md")
FILES = [block for block in BLOCKS if block.file]
(COMMANDS,) = (block.commands() for block in BLOCKS if "zoo show" in block.text)


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    """A copy of what the package and its model tests need, with the files of the worked example."""
    folder = tmp_path_factory.mktemp("copy")
    ignored = shutil.ignore_patterns("__pycache__", "*.safetensors")
    for name in ("zoo", "conf", "checkpoints", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", folder)
    for block in FILES:
        path = folder / block.file
        assert not path.exists(), f"{block.file} exists already: the example must be a new model"
        path.write_text(block.text)
    return folder


def run(folder: Path, command: str) -> str:
    program, *words = shlex.split(command)
    module = {"zoo": ["zoo.cli"], "pytest": ["pytest", "-n", "0", "-p", "no:cacheprovider"]}[program]
    done = subprocess.run(
        [sys.executable, "-m", *module, *words],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder), "COLUMNS": "120"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_the_example_is_one_python_file_and_one_yaml():
    assert [Path(block.file).suffix for block in FILES] == [".py", ".yaml"]
    assert [shlex.split(command)[0] for command in COMMANDS] == ["zoo", "zoo", "zoo", "pytest"]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_of_the_example_work(command, copy):
    name = Path(FILES[1].file).stem
    printed = run(copy, command)
    if command.startswith("pytest"):
        assert int(printed.rpartition(" passed")[0].split()[-1]) >= 8
    else:
        assert name in printed


@pytest.mark.parametrize("tool", ["ruff check", "ruff format --check", "mypy --strict"])
def test_the_example_keeps_to_the_style(tool, copy):
    (file,) = (block.file for block in FILES if block.language == "python")
    words = [sys.executable, "-m", *tool.split(), file]
    done = subprocess.run(words, cwd=copy, capture_output=True, text=True, timeout=300)
    complaints = [line for line in done.stdout.splitlines() if file in line and "Success" not in line]
    assert not complaints
