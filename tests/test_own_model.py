"""``examples/own_model``, a package with a net, a dataset and two YAML files, in every command, as a user runs them."""

import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import numpy as np
import pytest
from documents import blocks
from support import ROOT, metrics_of, no_plots, rows_of, same_weights

import zoo
from zoo.config import trust

EXAMPLE = ROOT / "examples" / "own_model"
TRAIN = ("train", "model=spirals_net", "dataset=spirals", "batch_size=32", "accelerator=cpu", "progress=false")


@pytest.fixture
def example(tmp_path, monkeypatch) -> Path:
    """A copy of the example that is the working directory, as after a download. Nothing is trusted."""
    folder = tmp_path / "own_model"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(trust, "_granted", [])
    monkeypatch.setenv("ZOO_TRUST", "")
    np.savez("points.npz", x=np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32))
    yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] == "own_model"]:
        del sys.modules[name]


def test_the_example_is_short():
    files = [path for path in (EXAMPLE / "own_model").rglob("*") if path.suffix in (".py", ".yaml")]
    lines = [line for path in files for line in path.read_text().splitlines() if line.strip()]
    assert len(files) == 5
    assert len(lines) <= 60


def test_the_documentation_shows_these_files():
    shown = {block.file: block.text for block in blocks(ROOT / "docs" / "own_code.md") if block.file}
    for path in (EXAMPLE / "own_model").rglob("*"):
        if path.suffix in (".py", ".yaml"):
            assert shown[str(path.relative_to(EXAMPLE))] == path.read_text()


def test_every_command_works_with_trust_and_refuses_without(example, cli, monkeypatch):
    no_plots(monkeypatch)
    commands = {
        (*TRAIN, "epochs=3", "hydra.run.dir=run"): "test/accuracy",
        ("list", "spirals*"): "spirals_net",
        ("show", "spirals_net"): "4,547 parameters",
        ("evaluate", "checkpoint=run", "accelerator=cpu"): "test/accuracy",
        ("predict", "checkpoint=run", "input=points.npz", "accelerator=cpu"): "5 predictions",
        ("export", "checkpoint=run", "format=torch_export"): "N x 2 preprocessed (float32) -> N x 3",
    }
    for words, says in commands.items():
        # Without trust: one line, and nothing is imported or written.
        monkeypatch.setenv("ZOO_TRUST", "")
        before = sorted(example.rglob("*"))
        outcome = cli(*words)
        assert (outcome.status, outcome.out, outcome.err.count("\n")) == (1, "", 1), outcome.err
        assert "--trust" in outcome.err
        assert "own_model" not in sys.modules
        assert sorted(example.rglob("*")) == before
        # With trust.
        outcome = cli(words[0], "--trust", "own_model", *words[1:])
        assert (outcome.status, outcome.err) == (0, "")
        assert says in outcome.out
        for name in [name for name in sys.modules if name.partition(".")[0] == "own_model"]:
            del sys.modules[name]

    # A net without `encode` has no features.
    outcome = cli("embed", "--trust", "own_model", "checkpoint=run", "input=points.npz", "accelerator=cpu")
    assert (outcome.status, outcome.err.count("\n")) == (1, 1)
    assert "own_model.SpiralsNet has no encode" in outcome.err
    # The checkpoint names everything of the package that it needs.
    assert "dataset: own_model.spirals, which needs --trust own_model" in cli("show", "run").out

    # From Python.
    monkeypatch.setenv("ZOO_TRUST", "")
    zoo.trust("own_model")
    assert zoo.info("run").classes == ["arm 0", "arm 1", "arm 2"]
    assert zoo.load("run")(zoo.dataset("spirals").test.x).shape == (180, 3)
    assert zoo.create("spirals_net", width=8).head.in_features == 8


def zoo_process(*words: str, program: str | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the console script as a user does."""
    script = program or str(Path(sysconfig.get_path("scripts")) / "zoo")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | variables
    return subprocess.run([script, *words], env=environment, capture_output=True, text=True, timeout=900)


@pytest.mark.slow
@pytest.mark.usefixtures("example")
def test_a_run_reaches_99_percent_and_both_places_of_the_flag_and_the_variable_give_the_same_run():
    ways = (["--trust", "own_model", *TRAIN], ["train", "--trust=own_model", *TRAIN[1:]], [*TRAIN])
    for number, words in enumerate(ways):
        variable = "own_model" if number == 2 else ""
        done = zoo_process(*words, "epochs=30", f"hydra.run.dir=run{number}", ZOO_TRUST=variable)
        assert (done.returncode, done.stderr) == (0, "")
    assert same_weights(Path("run0"), Path("run1"))
    assert same_weights(Path("run0"), Path("run2"))
    assert metrics_of(Path("run0"))["test/accuracy"] > 0.98


@pytest.mark.slow
@pytest.mark.usefixtures("example")
def test_a_stopped_run_is_resumed_with_the_trust_only():
    whole = zoo_process("--trust", "own_model", *TRAIN, "epochs=100", "hydra.run.dir=whole")
    assert whole.returncode == 0, whole.stderr
    script = str(Path(sysconfig.get_path("scripts")) / "zoo")
    process = subprocess.Popen([script, "--trust", "own_model", *TRAIN, "epochs=100", "hydra.run.dir=run"])
    while not Path("run/checkpoints/last.ckpt").exists():
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(300) == 128 + signal.SIGTERM

    refused = zoo_process("train", "resume=run")
    assert refused.returncode == 1
    assert re.fullmatch(r"zoo train: run/config\.yaml: .*add --trust own_model.*\n", refused.stderr)
    done = zoo_process("--trust", "own_model", "train", "resume=run")
    assert (done.returncode, done.stderr) == (0, "")
    assert same_weights(Path("run"), Path("whole"))


@pytest.mark.slow
@pytest.mark.usefixtures("example")
@pytest.mark.parametrize("launcher", ["basic", "joblib", "submitit_local"])
def test_the_jobs_of_a_sweep_have_the_trust(launcher):
    words = ("epochs=1", "-m", "model.net.width=8,16", f"hydra/launcher={launcher}", "hydra.sweep.dir=sweep")
    done = zoo_process("--trust", "own_model", *TRAIN, *words)
    assert (done.returncode, done.stderr) == (0, "")
    assert [row["model.net.width"] for row in rows_of(Path("sweep/sweep.csv"))] == ["8", "16"]


@pytest.mark.slow
@pytest.mark.usefixtures("example")
def test_the_processes_of_a_distributed_run_have_the_trust():
    words = [word for word in TRAIN if word != "accelerator=cpu"]
    done = zoo_process("--trust", "own_model", *words, "accelerator=ddp_cpu", "epochs=1", "hydra.run.dir=run")
    assert done.returncode == 0, done.stderr
    assert zoo.info("run").num_params == 4547


@pytest.mark.slow
def test_wheels_in_an_empty_environment_need_no_flag(tmp_path, monkeypatch):
    """The environment has the two wheels only; the packages that they depend on are those of this environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ZOO_TRUST", raising=False)
    for source in (ROOT, EXAMPLE):
        words = ["-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path / "dist"), str(source)]
        subprocess.run([sys.executable, *words], check=True, capture_output=True, timeout=120)
    subprocess.run([sys.executable, "-m", "venv", "env"], check=True, timeout=120)
    pip = ["env/bin/python", "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, *map(str, (tmp_path / "dist").glob("*.whl"))], check=True, timeout=120)

    # Add the dependencies. A path in a .pth file does not read the .pth files there, so the zoo is the wheel's.
    (site,) = Path("env/lib").glob("python*/site-packages")
    Path(site, "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    found = subprocess.run(["env/bin/python", "-c", "import zoo; print(zoo.__file__)"], capture_output=True, text=True)
    assert found.stdout.startswith(str(tmp_path / "env"))

    # Every command, without a flag.
    Path("empty").mkdir()
    monkeypatch.chdir("empty")
    np.savez("points.npz", x=np.zeros((2, 2), np.float32))
    commands = {
        ("list", "spirals*"): "spirals_net",
        ("show", "spirals_net"): "4,547 parameters",
        (*TRAIN, "epochs=2", "hydra.run.dir=run"): "test/accuracy",
        ("train", "resume=run"): "this run is finished",
        ("evaluate", "checkpoint=run"): "test/accuracy",
        ("predict", "checkpoint=run", "input=points.npz"): "2 predictions",
        ("export", "checkpoint=run"): "N x 2 preprocessed (float32) -> N x 3",
        (*TRAIN, "epochs=1", "-m", "seed=1,2", "hydra.sweep.dir=sweep"): "sweep/sweep.csv",
    }
    for words, says in commands.items():
        done = zoo_process(*words, program=str(tmp_path / "env" / "bin" / "zoo"))
        assert done.returncode == 0, done.stderr
        assert says in done.stdout
