"""Two processes, started as torchrun starts them, learn the same weights from halves of every batch."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = """
import os, sys, torch
import zoo.train
from zoo.cli import main

fit = zoo.train.fit

def fit_and_keep(task, *args, name, **options):
    fit(task, *args, name=name, **options)
    kept = {"weights": task.net.state_dict(), "chains": getattr(task, "chains", None)}
    torch.save(kept, f"{name}-{os.environ['RANK']}.pt")

zoo.train.fit = fit_and_keep
main("train", sys.argv[1:])
"""
WORDS = [
    "model=dbn_generative",
    "model.net.hidden=[20,15]",
    "dataset=digits",
    "accelerator=ddp_cpu",
    "epochs=1",
    "progress=false",
    "model.stages.pretrain.task.centered=true",
    "model.stages.pretrain.task.sparsity_cost=0.1",
    "hydra.run.dir=run",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Where two processes have trained a small deep belief network, and left what they had after each fit."""
    folder = tmp_path_factory.mktemp("processes")
    (folder / "script.py").write_text(SCRIPT)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    running = [
        subprocess.Popen(
            [sys.executable, "script.py", *WORDS],
            cwd=folder,
            env=os.environ | shared | {"TORCHELASTIC_RUN_ID": "x", "GROUP_RANK": "0", "RANK": rank, "LOCAL_RANK": rank},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in ("0", "1")
    ]
    outputs = [process.communicate(timeout=300)[0] for process in running]
    assert [process.returncode for process in running] == [0, 0], "\n".join(outputs)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("fit", ["pretrain.layer0", "pretrain.layer1", "updown"])
def test_all_processes_hold_the_same_weights_after_every_fit(fit, folder):
    first, second = (torch.load(folder / f"{fit}-{rank}.pt") for rank in (0, 1))
    assert first["weights"].keys() == second["weights"].keys()
    for name, value in first["weights"].items():
        assert torch.equal(value, second["weights"][name]), name


@pytest.mark.slow
def test_each_process_has_persistent_chains_of_its_own(folder):
    first, second = (torch.load(folder / f"pretrain.layer0-{rank}.pt")["chains"] for rank in (0, 1))
    assert first.shape == second.shape
    assert not torch.equal(first, second)


@pytest.mark.slow
def test_one_process_alone_writes_the_run_folder(folder):
    assert (folder / "run" / "model.safetensors").is_file()
    assert (folder / "run" / "pretrain-samples.png").is_file()
    assert not list(folder.glob("run*/**/*.tmp"))
