"""Explanations are Grad-CAM's maps of the first pictures, beside them on one sheet."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support import record_sheet

from zoo.analysis.gradcam import gradcam
from zoo.checkpoints import checkpoint as checkpoints
from zoo.data.sources import digits
from zoo.models import MLP
from zoo.plots.images import overlay


@pytest.fixture(scope="module")
def pixels() -> torch.Tensor:
    """The first 15 of the test split of digits, bytes."""
    return digits.load().test.x[:15]


@pytest.fixture
def photos(folder, pixels) -> Path:
    for i, picture in enumerate(pixels[:, 0].numpy()):
        (folder / "photos" / str(i % 2)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(folder / "photos" / str(i % 2) / f"{i:03}.png")
    return folder / "photos"


@pytest.fixture
def drawn(monkeypatch) -> dict:
    """What the sheet is told to draw."""
    return record_sheet(monkeypatch, "zoo.cli.explain")


def test_a_sheet_of_the_first_pictures_is_drawn(cli, folder, trained, photos):
    outcome = cli("explain", f"checkpoint={trained}", "input=photos")
    assert (outcome.status, outcome.err, outcome.out) == (0, "", "12 images explained in explained.png\n")
    assert sorted(path.name for path in folder.iterdir()) == ["explained.png", "photos"]
    with Image.open("explained.png") as picture:
        assert picture.format == "PNG"
        colours = np.asarray(picture.convert("RGB")).astype(int)
    assert np.abs(colours[..., 0] - colours[..., 2]).max() > 80, "in colour"


@pytest.mark.parametrize("target", [None, 3])
def test_each_picture_stands_beside_the_map_of_its_class(target, cli, trained, photos, pixels, drawn):
    words = [] if target is None else [f"target={target}"]
    assert cli("explain", f"checkpoint={trained}", "input=photos", "n=10", *words).status == 0
    order = [*range(0, 15, 2), *range(1, 15, 2)][:10]  # by path
    net, x = checkpoints.load(trained), checkpoints.info(trained).transforms()(pixels[order])
    maps, classes = gradcam(net, x, None if target is None else torch.full((10,), target))
    chances = net(x).softmax(dim=1)
    for k, i in enumerate(order):
        caption = [f"{i % 2}/{i:03}.png", f"{int(classes[k])} {chances[k, classes[k]]:.3f}"]
        best = int(chances[k].argmax())
        if target not in (None, best):
            caption.append(f"predicted {best} {chances[k, best]:.3f}")
        assert drawn["captions"][k] == caption
        torch.testing.assert_close(drawn["tiles"][k], overlay(pixels[i] / 255, maps[k]), atol=1e-3, rtol=0)
    assert len(drawn["tiles"]) == 10
    assert drawn["title"] == f"lenet5: evidence for {'the predicted class' if target is None else target}"


def test_one_picture_of_another_size_is_explained(cli, trained, pixels, folder, drawn):
    Image.fromarray(pixels[5, 0].numpy()).resize((90, 60)).convert("RGB").save("large.png")
    words = [f"checkpoint={trained}", "input=large.png"]
    outcome = cli("explain", *words)
    assert outcome.status == 1
    assert "large.png: the image has shape 3x60x90" in outcome.err
    assert cli("explain", *words, "resize=true").status == 0
    assert [caption[0] for caption in drawn["captions"]] == ["large.png"]


ERRORS = {
    "class": (["target=cat"], "target=cat: no such class; choose one of: 0, 1, 2"),
    "n": (["n=0"], "n=0 must be in [1, 240]"),
    "too many": (["n=1000"], "n=1000 must be in [1, 240]"),
    "ending": (["output=x.jpg"], "output=x.jpg must be a .png file"),
    "there": (["output=there.png"], "there.png exists"),
    "replaces": (["output=photos/0/000.png", "overwrite=true"], "photos/0/000.png is part of the input"),
    "no input": (["input=gone"], "input=gone: no such file or folder"),
    "array": (["input=x.npz"], "input=x.npz must be an image or a folder of images"),
    "damaged": (["input=bad.png"], "bad.png: not a readable image"),
    "no maps": (
        ["checkpoint=mlp.safetensors"],
        "MLP has no convolutional feature maps, which Grad-CAM needs",
    ),
    "no classes": (["checkpoint=none.safetensors"], "mlp has no classes to explain"),
    "near class": (["checkpoint=mlp.safetensors", "target=cats"], "target=cats: no such class; did you mean cat?"),
}


@pytest.mark.parametrize("case", ERRORS.values(), ids=ERRORS.keys())
def test_an_error_is_one_line_and_leaves_no_file(case, cli, folder, trained, photos):
    words, says = case
    (folder / "there.png").write_text("of before")
    (folder / "bad.png").write_text("no picture")
    np.savez("x.npz", x=np.zeros((2, 28, 28)))
    net = {"_target_": "zoo.models.MLP", "in_shape": [1, 28, 28], "num_classes": 2, "hidden": [3]}
    preprocess = {"shape": [1, 28, 28], "scale": 255.0, "mean": [0.0], "std": [1.0]}
    for name, classes in (("mlp", ["cat", "dog"]), ("none", [])):
        about = checkpoints.CheckpointInfo("mlp", net, {}, preprocess, classes=classes)
        checkpoints.save(MLP(in_shape=[1, 28, 28], num_classes=2, hidden=[3]), f"{name}.safetensors", about)
    before = {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    given = {word.split("=")[0] for word in words}
    defaults = {"checkpoint": str(trained), "input": "photos"}
    outcome = cli("explain", *(f"{key}={value}" for key, value in defaults.items() if key not in given), *words)
    assert (outcome.status, outcome.out, len(outcome.err.splitlines())) == (1, "", 1)
    assert says in outcome.err
    assert "internal error" not in outcome.err
    assert {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
