"""Checkpoints whose description has one or two entries changed, given to every command that reads checkpoints."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from harness import for_each
from hypothesis import strategies as st
from mutations import STORED, changed, mutations, places, write
from PIL import Image
from support import no_plots
from values import nodes

from zoo.api import create

TINY = ("model=lenet", "model.net.kernels=[2]", "model.net.hidden=[3]", "dataset=npz", "epochs=1", "progress=false")
COMMANDS: dict[str, tuple[str, ...]] = {
    "show": ("./m.safetensors",),
    "predict": ("checkpoint=m.safetensors", "input=a.png", "sheet=false"),
    "evaluate": ("checkpoint=m.safetensors", "temperatures=2", "chains=2"),
    "explain": ("checkpoint=m.safetensors", "input=a.png"),
    "sample": ("checkpoint=m.safetensors", "n=2", "steps=1"),
    "export": ("checkpoint=m.safetensors", "format=torch_export"),
    "train": (*TINY, "dataset.root=data.npz", "weights=m.safetensors", "hydra.run.dir=run", "pretrained_head=keep"),
}
COUNTS = {"show": 320, "predict": 160, "evaluate": 120, "explain": 120, "sample": 100, "export": 80, "train": 80}
RBM = {"class": "RBM", "in_shape": [1, 28, 28], "hidden": 3, "label_units": 10, "visible_units": "bernoulli"}
GENERATIVE = {
    **STORED,
    "net": RBM,
    "task": {"class": "ContrastiveDivergence", "k": 1},
    "preprocess": {"shape": [1, 28, 28]},
}


def described(command: str) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """The description and the tensors of a small net that the command accepts."""
    torch.manual_seed(0)
    if command == "sample":
        return GENERATIVE, create("rbm", **{key: value for key, value in RBM.items() if key != "class"}).state_dict()
    return STORED, create("lenet", in_shape=(1, 28, 28), num_classes=10, kernels=[2], hidden=[3]).state_dict()


def changes(description: dict[str, Any]) -> st.SearchStrategy[tuple[str, dict[str, Any]]]:
    """Descriptions with a listed mutation, or with any values at one or two places."""
    listed = st.sampled_from(list(mutations(description)))
    place = st.sampled_from(list(places(description)))

    @st.composite
    def any_values(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
        copy, names = description, []
        for path in draw(st.lists(place, min_size=1, max_size=2, unique_by=lambda path: path[0])):
            value = draw(nodes)
            copy = changed(copy, path, value)
            names.append(f"{'.'.join(path)}={str(value)[:60]!r}")
        return ", ".join(names), copy

    return listed | any_values()


def check(judge: Any, command: str, count: int, *, number: int) -> None:
    labels = np.arange(200) % 10
    np.savez("data.npz", x=np.random.default_rng(0).integers(0, 256, (200, 28, 28), dtype=np.uint8), y=labels)
    Image.new("L", (28, 28), 100).save("a.png")
    description, tensors = described(command)
    write(Path("m.safetensors"), tensors, description)
    judge.run(command, *COMMANDS[command], note="unchanged")

    def one(case: tuple[str, dict[str, Any]]) -> None:
        name, changed_description = case
        write(Path("m.safetensors"), tensors, changed_description)
        judge.run(command, *COMMANDS[command], note=name)

    for_each(changes(description), count, one, number=number)
    assert judge.count == count + 1
    assert not judge.messages[0].split(" | ")[2], "the unchanged one is accepted"


@pytest.mark.slow
@pytest.mark.parametrize("command", COUNTS)
def test_descriptions(command, judge, monkeypatch):
    no_plots(monkeypatch)
    check(judge, command, COUNTS[command], number=1)


@pytest.mark.parametrize(("command", "count"), [("show", 60), ("predict", 6)])
def test_some_descriptions(command, count, judge):
    check(judge, command, count, number=2)
