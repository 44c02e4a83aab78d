"""Command lines with keys of the real configs and values of every kind."""

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from harness import for_each
from hypothesis import strategies as st
from mutations import STORED, write
from omegaconf import OmegaConf
from PIL import Image
from support import no_plots
from values import NUMBERS, words

from zoo.api import create
from zoo.config.compose import compose

SMALL = ("dataset=npz", "dataset.root=data.npz", "epochs=1", "progress=false", "hydra.run.dir=run")
# For each command, the words that come first; for training, one of several small runs.
COMMANDS: dict[str, list[tuple[str, ...]]] = {
    "train": [
        ("model=mlp", "model.net.hidden=[3]", *SMALL),
        ("model=lenet", "model.net.kernels=[2]", "model.net.hidden=[3]", "model.net.kernel_size=3", *SMALL),
        ("model=rbm", "model.net.hidden=3", *SMALL),
        ("model=dbn", "model.net.hidden=[3,2]", *SMALL),
        ("model=sae", "model.net.hidden=[3,2]", *SMALL),
        ("model=deep_autoencoder", "model.net.hidden=[3,2]", *SMALL),
        ("model=linear", "dataset=line", "epochs=1", "progress=false", "hydra.run.dir=run"),
        ("model=inception_small", "model.net.width=0.1", "dataset=image_folder", "dataset.root=pictures", *SMALL[2:]),
    ],
    "evaluate": [("checkpoint=m.safetensors",), ("checkpoint=m.safetensors", "dataset=npz", "dataset.root=data.npz")],
    "predict": [
        ("checkpoint=m.safetensors", "input=a.png", "sheet=false"),
        ("checkpoint=m.safetensors", "input=a.npz"),
    ],
    "embed": [
        ("checkpoint=m.safetensors", "input=a.npz", "neighbors=2"),
        ("checkpoint=m.safetensors", "dataset=npz", "dataset.root=data.npz", "duplicates=true"),
    ],
    "explain": [("checkpoint=m.safetensors", "input=a.png")],
    "sample": [("checkpoint=rbm.safetensors", "n=1", "steps=1")],
    "export": [
        ("checkpoint=m.safetensors", "format=torch_export"),
        ("checkpoint=m.safetensors", "quantize=int8", "dataset=npz", "dataset.root=data.npz"),
    ],
}
COUNTS = {"train": 400, "evaluate": 100, "predict": 120, "embed": 80, "explain": 80, "sample": 80, "export": 60}
# Keys that are not drawn: what they may do on purpose is too much for a test, or says more than one line.
NOT_DRAWN = ("debug", "hydra")
# Values that most keys of some type accept.
PLAUSIBLE = ["0", "1", "2", "3", "0.1", "0.5", "1.0", "true", "false", "null", "auto", "[3]", "[1,28,28]"]
DATASETS = ["digits", "npz", "line", "image_folder", "digit_recognizer", "faces", "null"]


def keys(node: Any, prefix: str = "") -> Iterator[str]:
    """The keys of a config, nested ones included."""
    for name, value in node.items():
        yield f"{prefix}{name}"
        if isinstance(value, Mapping):
            yield from keys(value, f"{prefix}{name}.")


@cache
def keys_of(command: str, first: tuple[str, ...]) -> list[str]:
    """The keys that the command has with these words."""
    config = OmegaConf.to_container(compose(command, [word for word in first if not word.startswith("hydra.")]))
    return [key for key in keys(config) if not key.startswith(NOT_DRAWN)]


@st.composite
def command_lines(draw: st.DrawFn, command: str) -> tuple[str, ...]:
    """A command line with one to three more words."""
    first = draw(st.sampled_from(COMMANDS[command]))
    more = []
    for _ in range(draw(st.sampled_from([1, 1, 1, 2, 3]))):
        key = draw(st.sampled_from(keys_of(command, first)))
        key = draw(st.sampled_from([key] * 45 + [f"{key}.zzz", f"{key}x", key.upper(), f"{key}@x", f"{key}."]))
        prefix = draw(st.sampled_from([""] * 12 + ["+", "++", "~", "~"]))
        value = draw(draw(st.sampled_from([words, st.sampled_from(NUMBERS), *[st.sampled_from(PLAUSIBLE)] * 2])))
        # A group takes the name of one of its files.
        if key == "dataset" and draw(st.booleans()):
            value = draw(st.sampled_from(DATASETS))
        if prefix == "~" and draw(st.booleans()):
            more.append(f"~{key}")
        else:
            more.append(f"{prefix}{key}={value}")
    if draw(st.integers(0, 19)) == 0:
        more.append(draw(words.filter(lambda word: word not in ("--help", "-h"))))
    return (*first, *more)


def write_inputs() -> None:
    """Two small checkpoints, arrays and pictures in the working directory."""
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    net = create("lenet", in_shape=(1, 28, 28), num_classes=10, kernels=[2], hidden=[3])
    write(Path("m.safetensors"), net.state_dict(), STORED)
    rbm = {"in_shape": [1, 28, 28], "hidden": 3, "label_units": 10}
    about = {**STORED, "net": {"class": "RBM", **rbm}, "task": {"class": "ContrastiveDivergence"}}
    write(Path("rbm.safetensors"), create("rbm", **rbm).state_dict(), {**about, "preprocess": {"shape": [1, 28, 28]}})
    images = rng.integers(0, 256, (40, 28, 28), dtype=np.uint8)
    np.savez("data.npz", x=images, y=np.arange(40) % 2)
    np.savez("a.npz", x=images[:3])
    Image.fromarray(images[0]).save("a.png")
    for k, image in enumerate(images[:24]):
        Path(f"pictures/class{k % 2}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(f"pictures/class{k % 2}/{k}.png")


def check(judge: Any, command: str, count: int, *, number: int) -> None:
    write_inputs()
    for_each(command_lines(command), count, lambda words: judge.run(command, *words), number=number)
    assert judge.count == count


@pytest.mark.slow
@pytest.mark.parametrize("command", COUNTS)
@pytest.mark.parametrize("part", range(2))
def test_command_lines(command, part, judge, monkeypatch):
    no_plots(monkeypatch)
    check(judge, command, COUNTS[command] // 2, number=part)
    assert judge.refused < judge.count, "some are accepted"


@pytest.mark.parametrize("command", ["train", "predict"])
def test_some_command_lines(command, judge, monkeypatch):
    no_plots(monkeypatch)
    check(judge, command, 8, number=9)
