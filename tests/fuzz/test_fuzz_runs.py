"""Run folders with one or two damaged files, resumed, evaluated, applied and shown."""

import csv
import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from harness import for_each
from hypothesis import strategies as st
from mutations import changed, damaged, places
from PIL import Image
from support import no_plots
from values import TEXTS, nodes

from zoo.cli.main import main

FILES = ("config.yaml", "preprocess.json", "splits.json", "metrics.csv", "metrics.json", "checkpoints/last.ckpt")
STORED = (*FILES, "model.safetensors")
COMMANDS: dict[str, tuple[str, ...]] = {
    "train": ("resume=run", "progress=false"),
    "evaluate": ("checkpoint=run",),
    "predict": ("checkpoint=run", "input=a.png", "sheet=false"),
    "show": ("./run",),
}
COUNTS = {"train": 300, "evaluate": 100, "predict": 90, "show": 80}


def write_data(path: Path) -> None:
    """Forty small images of two classes."""
    rng = np.random.default_rng(0)
    np.savez(path, x=rng.integers(0, 256, (40, 8, 8), dtype=np.uint8), y=np.arange(40) % 2)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """The folder of a run of one epoch, and the data beside it."""
    folder = tmp_path_factory.mktemp("whole")
    write_data(folder / "data.npz")
    words = ["model=mlp", "model.net.hidden=[3]", "dataset=npz", f"dataset.root={folder / 'data.npz'}", "epochs=1"]
    with pytest.MonkeyPatch.context() as patch:
        no_plots(patch)
        main("train", [*words, "progress=false", f"hydra.run.dir={folder / 'run'}"])
    return folder


# Mutations: each takes the path of a file and draws what happens to it.


def structure(draw: st.DrawFn, path: Path) -> str:
    """Other entries in a mapping, cells in a table, or values in a pickle."""
    if path.suffix in (".yaml", ".json"):
        content = yaml.safe_load(path.read_text())
        place = draw(st.sampled_from([*places(content), ("zzz",)]))
        values = [draw(nodes)] if draw(st.integers(0, 4)) else []
        copy = changed(content | {"zzz": 1}, place, *values)
        if place != ("zzz",):
            del copy["zzz"]
        if path.suffix == ".yaml":
            text = yaml.safe_dump(copy, allow_unicode=draw(st.booleans()))
        else:
            text = json.dumps(copy, indent=draw(st.sampled_from([None, 2])))
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        return f"{'.'.join(place)}={str(values)[:80]}"
    if path.suffix == ".csv":
        rows = list(csv.reader(path.read_text().splitlines()))
        row = draw(st.integers(0, len(rows) - 1))
        column = draw(st.integers(0, len(rows[0]) - 1))
        cell = draw(st.sampled_from([*TEXTS, "nan", "-1", "1e300", "9" * 500, "1,2"]))
        rows[row][column] = cell
        with path.open("w", newline="", encoding="utf-8", errors="surrogatepass") as file:
            csv.writer(file, lineterminator=draw(st.sampled_from(["\n", "\r\n", "\r"]))).writerows(rows)
        return f"row {row} column {column}={cell[:60]!r}"
    if path.suffix == ".ckpt":
        content = torch.load(path, weights_only=True)
        values = [draw(nodes | st.just(torch.zeros(3)))] if draw(st.integers(0, 4)) else []
        # A third of the changes is in the optimizer, which is in a list.
        optimizers = content["optimizer_states"]
        groups = optimizers[0]["param_groups"]
        parent = draw(st.sampled_from([content, content, content, content, optimizers[0], groups[0]]))
        place = draw(st.sampled_from(list(places(parent))))
        copy = changed(parent, place, *values)
        if parent is content:
            content = copy
        elif parent is groups[0]:
            groups[0] = copy
        else:
            optimizers[0] = copy
        torch.save(content, path)
        return f"{place}={str(values)[:80]}"
    return damage(draw, path)


def damage(draw: st.DrawFn, path: Path) -> str:
    """Damaged bytes."""
    number = draw(st.integers(0, 2**32))
    path.write_bytes(damaged(path.read_bytes(), random.Random(number)))
    return f"damaged {number}"


def replaced(draw: st.DrawFn, path: Path) -> str:
    """No file, or something else in its place."""
    text = path.read_bytes()
    path.unlink()
    kinds: dict[str, Callable[[], Any]] = {
        "missing": lambda: None,
        "empty": path.touch,
        "spaces": lambda: path.write_text(" \n\n"),
        "folder": path.mkdir,
        "link to itself": lambda: path.symlink_to(path.name),
        "link to nothing": lambda: path.symlink_to("nothing"),
        "link to a device": lambda: path.symlink_to("/dev/zero"),
        "link to a picture": lambda: path.symlink_to(path.parents[-2] / "a.png"),
        "link to a folder": lambda: path.symlink_to("."),
        "pipe": lambda: os.mkfifo(path),
        "huge": lambda: (path.touch(), os.truncate(path, 2**35)),
        "null": lambda: path.write_text("null\n"),
        "list": lambda: path.write_text("[1, 2]\n"),
        "text": lambda: path.write_text("text"),
        "deep": lambda: path.write_text("[" * 50_000),
        "deep mapping": lambda: path.write_text('{"a":' * 50_000),
        "aliases": lambda: path.write_text("a: &a [1]\nb: [*a, *a]\n"),
        "other encoding": lambda: path.write_bytes(b"\xff\xfe" + "a: 1".encode("utf-16-le")),
        "byte order mark": lambda: path.write_bytes(b"\xef\xbb\xbf" + text),
        "zeros": lambda: path.write_bytes(bytes(1000)),
        "twice": lambda: path.write_bytes(text + text),
        "carriage returns": lambda: path.write_bytes(text.replace(b"\n", b"\r\n")),
        "secret": lambda: (path.write_bytes(text), path.chmod(0)),
    }
    kind = draw(st.sampled_from(list(kinds)))
    kinds[kind]()
    return kind


@st.composite
def damages(draw: st.DrawFn, files: tuple[str, ...]) -> str:
    """Damage one or two files of the run in the working directory; says what was done."""
    done = []
    if draw(st.integers(0, 9)) < 8:
        # A run that is not finished, which resume= trains further.
        Path("run/metrics.json").unlink(missing_ok=True)
        done.append("unfinished")
    if draw(st.integers(0, 9)) < 3:
        shutil.rmtree("run/checkpoints")
        done.append("nothing saved")
    there = [file for file in files if Path("run", file).is_file()]
    for file in draw(st.lists(st.sampled_from(there), min_size=1, max_size=2, unique=True)):
        mutate = draw(st.sampled_from([structure, structure, structure, damage, replaced]))
        done.append(f"{file}: {mutate(draw, Path('run', file))}")
    return "; ".join(done)


def check(judge: Any, whole: Path, command: str, count: int, *, number: int) -> None:
    Image.new("L", (8, 8), 100).save("a.png")

    def fresh() -> None:
        shutil.rmtree("run", ignore_errors=True)
        shutil.copytree(whole / "run", "run")

    # The folder is written again before each case is drawn, because the draw itself damages it.
    @st.composite
    def cases(draw: st.DrawFn) -> str:
        fresh()
        return draw(damages(FILES if command == "train" else STORED))

    def one(done: str) -> None:
        judge.run(command, *COMMANDS[command], note=done, may_change=[Path("run").absolute()])

    fresh()
    one("unchanged")
    for_each(cases(), count, one, number=number)
    assert judge.count == count + 1
    assert judge.messages[0].startswith("unchanged | 0 |")


@pytest.mark.slow
@pytest.mark.parametrize("command", COUNTS)
def test_run_folders(command, judge, whole, monkeypatch):
    no_plots(monkeypatch)
    check(judge, whole, command, COUNTS[command], number=1)


def test_some_run_folders(judge, whole, monkeypatch):
    no_plots(monkeypatch)
    check(judge, whole, "train", 6, number=2)
