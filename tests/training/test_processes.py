"""Two processes, started by torchrun, train on halves of each batch: a step of the two is that of one process."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from zoo.cli.main import main

pytestmark = pytest.mark.slow

SCRIPT = """
import json, os, sys, torch
from zoo.cli.main import main
from zoo.training.fit.trainer import Fit

train = Fit.train

def train_and_keep(self, stop=None):
    train(self, stop)
    kept = {"weights": self.task.net.state_dict(), "chains": getattr(self.task, "chains", None)}
    torch.save(kept, f"{self.session.folder.parent.name}-{self.name}-{os.environ['RANK']}.pt")

Fit.train = train_and_keep
for words in json.load(open("runs.json")):
    main("train", words)
"""
BARE = ["model.stages.pretrain.epochs=0", "model.stages.finetune.epochs=1", "lr=0.001"]
SMALL_MAPS = ["model.net.hidden=[6,8]"]  # a convolutional deep belief network of few maps
DIGITS = ["dataset=digits", "epochs=1", "progress=false"]
# One step of plain gradient descent on all training examples: the weights tell the gradient.
STEP = ["dataset=digits", "dataset.validation=0.1", "dataset.test=101", "batch_size=100000", "lr=0.5", "progress=false"]
SGD = ["optimizer@model.stages.{0}.optimizer=sgd", "lr_schedule@model.stages.{0}.lr_schedule=constant"]


def one_step(model: str, stage: str, *words: str) -> list[str]:
    return [f"model={model}", *STEP, *(word.format(stage) for word in SGD), *words]


RUNS = {
    "belief": [
        "model=dbn_generative",
        "model.net.hidden=[20,15]",
        *DIGITS,
        "model.stages.pretrain.task.centered=true",
        "model.stages.pretrain.task.sparsity_cost=0.1",
    ],
    "gradual": ["model=lenet5", *DIGITS, "epochs=2", "model.stages.fit.task.policy=gradual"],
    "classify": one_step("mlp", "fit", "model.net.hidden=[16]", "epochs=1"),
    "head": one_step("mlp", "fit", "model.net.hidden=[16]", "model.stages.fit.task.policy=head", "epochs=1"),
    "reconstruct": one_step("deep_autoencoder", "finetune", "model.net.hidden=[8]", *BARE),
    "convolve": ["model=conv_dbn", *SMALL_MAPS, *DIGITS],
    "fine-tune": one_step("conv_dbn", "finetune", *SMALL_MAPS, *BARE),
}
ALIKE = ("classify", "head", "reconstruct", "fine-tune")  # no chance in them but the first weights and the order
FITS = {
    "belief": ("pretrain.layer0", "pretrain.layer1", "updown"),
    "reconstruct": ("finetune",),
    "convolve": ("pretrain.layer0", "pretrain.layer1", "finetune"),
    "fine-tune": ("finetune",),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Where two processes have trained one net after the other, and left what they had after each fit."""
    folder = tmp_path_factory.mktemp("processes")
    (folder / "script.py").write_text(SCRIPT)
    runs = [[*words, "accelerator=ddp_cpu", f"hydra.run.dir={name}"] for name, words in RUNS.items()]
    (folder / "runs.json").write_text(json.dumps(runs))
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "script.py"]
    done = subprocess.run([sys.executable, *launch], cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.mark.parametrize(("run", "fit"), [(run, fit) for run in RUNS for fit in FITS.get(run, ("fit",))])
def test_all_processes_hold_the_same_weights_after_every_fit(run, fit, folder):
    first, second = (torch.load(folder / f"{run}-{fit}-{rank}.pt") for rank in (0, 1))
    assert first["weights"].keys() == second["weights"].keys()
    for name, value in first["weights"].items():
        assert torch.equal(value, second["weights"][name]), name


@pytest.mark.parametrize("run", ALIKE)
def test_two_processes_take_the_step_of_one(run, folder, tmp_path):
    main("train", [*RUNS[run], f"hydra.run.dir={tmp_path / 'alone'}"])
    alone, together = (load_file(path / "model.safetensors") for path in (tmp_path / "alone", folder / run))
    for name, value in alone.items():
        torch.testing.assert_close(together[name], value, rtol=0, atol=1e-6)
    # And every one of the 101 test pictures counts once.
    ours, theirs = (json.loads((path / "metrics.json").read_text()) for path in (folder / run, tmp_path / "alone"))
    assert ours == pytest.approx(theirs, rel=1e-6, abs=1e-6)
    if "test/accuracy" in ours:
        assert 101 * ours["test/accuracy"] == pytest.approx(round(101 * ours["test/accuracy"]), abs=1e-4)


def test_each_process_has_persistent_chains_of_its_own(folder):
    first, second = (torch.load(folder / f"belief-pretrain.layer0-{rank}.pt")["chains"] for rank in (0, 1))
    assert first.shape == second.shape
    assert not torch.equal(first, second)


def test_one_process_alone_writes_the_run_folder(folder):
    assert (folder / "belief" / "model.safetensors").is_file()
    assert (folder / "belief" / "pretrain-samples.png").is_file()
    assert not list(folder.glob("*/**/*.tmp"))


def test_a_sweep_goes_to_a_cluster_s_queue(tmp_path, cli):
    """By submitit, whose local executor stands in for SLURM's: the job is another process."""
    outcome = cli(
        "train",
        "-m",
        "model=mlp_16_16",
        "epochs=1",
        "seed=1",
        "progress=false",
        "hydra/launcher=submitit_local",
        f"hydra.sweep.dir={tmp_path}",
    )
    assert (outcome.status, outcome.err) == (0, "")
    assert json.loads((tmp_path / "0" / "metrics.json").read_text())["test/accuracy"] > 0.1
    assert (tmp_path / "sweep.csv").read_text().startswith("job,")
    assert list(tmp_path.glob(".submitit/*/*_0_result.pkl"))


def test_the_commands_start_the_other_process_themselves(tmp_path):
    """Started by the script or as a module, a command must start a process that runs the same command."""
    script = [str(Path(sys.executable).with_name("zoo"))]
    module = [sys.executable, "-m", "zoo.cli"]
    for start, words in (
        (script, ["train", "epochs=1", "progress=false", "hydra.run.dir=run"]),
        (module, ["evaluate", "checkpoint=run", "output=found.json"]),
    ):
        command = [*start, *words, "accelerator=ddp_cpu"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
    stored = json.loads((tmp_path / "run" / "metrics.json").read_text())
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["test/accuracy"] == pytest.approx(stored["test/accuracy"])
