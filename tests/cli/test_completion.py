"""Shells complete commands, keys and names: the words that may end a line, and the scripts in real shells."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from support import ROOT

from zoo.cli.commands import COMMANDS
from zoo.cli.completion.command import SCRIPTS
from zoo.cli.completion.words import candidates
from zoo.config import catalogue
from zoo.config.compose import compose


def words(line: str) -> list[str]:
    return [candidate.word for candidate in candidates(line)]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("zoo tra", ["train"]),
        ("zoo nothing ", []),
        ("zoo train model=lenet5", ["model=lenet5", "model=lenet5_1998"]),
        ("zoo train -m model=mlp,lin", ["model=mlp,linear"]),
        ("zoo train dataset=fash", ["dataset=fashion_mnist"]),
        ("zoo train experiment=fine", ["experiment=finetune"]),
        ("zoo train model=dbn model.stages.", ["model.stages.pretrain.", "model.stages.finetune."]),
        ("zoo train ~model=dbn model.st", ["model.stages."]),
        ("zoo train model=dbn ~model.stages.fine", ["~model.stages.finetune."]),
        ("zoo train experiment=finetune model.stages.fit.task.unf", ["model.stages.fit.task.unfreeze_at="]),
        ("zoo train model=dbn stage@model.stages.pre", ["stage@model.stages.pretrain="]),
        ("zoo train optimizer@model.stages.fit.optimizer=adamw", ["optimizer@model.stages.fit.optimizer=adamw"]),
        ("zoo train progress=", ["progress=true", "progress=false"]),
        ("zoo train --cfg ", ["job", "hydra", "all"]),
        ("zoo evaluate checkpoint=rbm", ["checkpoint=rbm-mnist"]),
        ("zoo evaluate 'checkpoint=rbm", []),  # an open quotation mark: no more than no candidates
        ("zoo evaluate split=v", ["split=validation"]),
        ("zoo show lenet_4", ["lenet_4_10", "lenet_4_10-mnist"]),
        ("zoo list --", ["--json", "--help"]),
        ("zoo completion f", ["fish"]),
        ("zoo help ev", ["evaluate"]),
        ("zoo --trust nothing_like_it ev", ["evaluate"]),
    ],
)
def test_the_last_word_is_completed(line, found):
    assert words(line) == found


def test_every_command_every_model_and_every_checkpoint_is_a_candidate():
    assert set(COMMANDS) <= set(words("zoo "))
    assert words("zoo train model=") == [f"model={name}" for name in catalogue.list_models()]
    assert set(catalogue.list_checkpoints()) <= set(words("zoo reproduce "))


@pytest.mark.parametrize("command", [name for name, command in COMMANDS.items() if command.composed])
def test_every_key_that_is_offered_exists(command):
    """Walk down all keys: each leads to a value that Hydra composes."""
    cfg = compose(command, ["model=dbn"] if command == "train" else [])
    seen = 0
    todo = [""]
    while todo:
        start = todo.pop()
        for word in words(f"zoo {command} model=dbn {start}" if command == "train" else f"zoo {command} {start}"):
            if word.startswith(("-", "hydra.")) or "@" in word:
                continue
            if word.endswith("."):
                todo.append(word)
                continue
            key = word.removesuffix("=")
            above, _, name = key.rpartition(".")
            parent = OmegaConf.select(cfg, above) if above else cfg
            # A group may be empty by default: dataset of evaluate, callbacks of train.
            assert (parent is not None and name in list(parent)) or (catalogue.CONF / key).is_dir(), key
            seen += 1
    assert seen >= len(cfg) - 2


def test_files_and_folders_are_completed(folder):
    (folder / "photos").mkdir()
    (folder / "photos" / "a.png").touch()
    (folder / ".hidden").touch()
    assert words("zoo predict input=") == ["input=photos/"]
    assert words("zoo predict input=photos/") == ["input=photos/a.png"]
    assert words("zoo predict input=nowhere/") == []
    assert words("zoo train resume=.h") == ["resume=.hidden"]


def test_the_models_of_a_trusted_package_are_completed(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "examples" / "own_model")
    monkeypatch.setenv("ZOO_TRUST", "")
    assert words("zoo train model=spi") == []
    assert words("zoo train --trust own_model model=spi") == ["model=spirals_net"]


def test_a_shell_that_is_not_known_is_refused(cli):
    outcome = cli("completion", "powershell")
    assert (outcome.status, outcome.out) == (1, "")
    assert outcome.err == "zoo completion: expected one of bash, zsh, fish, such as zoo completion bash\n"


def test_completing_imports_neither_torch_nor_hydra_and_answers_at_once():
    code = (
        "import time; t = time.process_time(); import sys; from zoo.cli.main import main; "
        "main('completion', ['words', 'zoo train model=dbn model.stages.fine']); "
        "print(time.process_time() - t, *{'torch', 'hydra', 'lightning', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    first, last = done.stdout.splitlines()
    seconds, *heavy = last.split()
    assert first.split("\t")[0] == "model.stages.finetune."
    assert not heavy
    assert float(seconds) < 0.5


TYPED = {
    "zoo train model=lenet5_": "zoo train model=lenet5_1998",
    "zoo train model=dbn model.stages.pre": "zoo train model=dbn model.stages.pretrain.",
    "zoo evaluate checkpoint=lenet5-f": "zoo evaluate checkpoint=lenet5-fashion_mnist",
}


def test_bash_puts_the_candidates_in_place():
    """As readline calls the function: words are broken at "=", and only the last piece is replaced."""
    path = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    for typed, whole in TYPED.items():
        pieces = typed.replace("=", " = ").split()
        array = " ".join(pieces)
        script = (
            f"compopt() {{ :; }}\n{SCRIPTS['bash']}\nCOMP_LINE='{typed}'; COMP_POINT=${{#COMP_LINE}}\n"
            f'COMP_WORDS=({array}); COMP_CWORD={len(pieces) - 1}; _zoo_complete; echo "${{COMPREPLY[0]}}"'
        )
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=path, check=True)
        assert typed.removesuffix(pieces[-1]) + done.stdout.strip() == whole


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
def test_fish_offers_the_candidates():
    path = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    for typed, whole in TYPED.items():
        script = f"{SCRIPTS['fish']}\ncomplete -C '{typed}'"
        words = ["fish", "--no-config", "-c", script]
        done = subprocess.run(words, capture_output=True, text=True, env=path, check=True)
        assert done.stdout.split("\t")[0].strip() == whole.split()[-1]


@pytest.mark.parametrize("name", ["$(touch HACKED).png", "a b.png", "`id`.png", "x;ls.png", "'q'.png", "a\\b.png"])
def test_names_that_a_shell_would_read_are_not_completed(name, tmp_path, monkeypatch):
    (tmp_path / name).touch()
    (tmp_path / "plain-1_ä.png").touch()
    monkeypatch.chdir(tmp_path)
    assert [word for word in words("zoo predict input=") if word.endswith(".png")] == ["input=plain-1_ä.png"]


def test_the_home_of_an_unknown_user_has_no_files():
    assert candidates("zoo predict input=~nobody-of-this-name/") == []
