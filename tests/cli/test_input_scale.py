"""The same images on any scale are predicted alike, or refused: never differently without a word."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support import no_plots, slow_but

from zoo.cli.main import main
from zoo.data.sources import digits


@pytest.fixture(scope="module")
def images() -> tuple[np.ndarray, np.ndarray]:
    """50 test images of digits, N x 28 x 28 bytes, and their labels."""
    test = digits.load().test
    return test.x[:50, 0].numpy(), test.y[:50].numpy()


@pytest.fixture(scope="module")
def nets(tmp_path_factory) -> Callable[[str], str]:
    """``nets("unit")``: a checkpoint by the scale of its training data; the one of bytes is shipped."""
    folder = tmp_path_factory.mktemp("scales")

    def net(name: str) -> str:
        run = folder / name
        if name == "bytes":
            return "lenet5-digits"
        if not run.exists():
            train = digits.load().train
            np.savez(folder / f"{name}.npz", x=scaled(train.x[:300, 0].numpy())[name], y=train.y[:300].numpy())
            data = ["dataset=npz", f"dataset.root={folder / f'{name}.npz'}", "dataset.validation=0"]
            with pytest.MonkeyPatch.context() as patch:
                no_plots(patch)
                main("train", ["model=lenet5", *data, "epochs=1", "progress=false", f"hydra.run.dir={run}"])
        return str(run)

    return net


def scaled(x: np.ndarray) -> dict[str, np.ndarray]:
    """The same images on every scale that people save them on."""
    unit = np.float32(x) / np.float32(255)
    return {
        "bytes": x,
        "int64": x.astype(np.int64),
        "uint16": x.astype(np.uint16),
        "float 255": x.astype(np.float64),
        "unit": unit,
        "double unit": x / 255,
        "half unit": unit.astype(np.float16),
        "normalized": (unit - 0.1307) / 0.3081,
        "centered": 2 * unit - 1,
        "imagenet": (unit - 0.485) / 0.229,
        "scaled twice": unit / 255,
        "binary": (x > 127).astype(np.uint8),
        "bool": x > 127,
        "0 and 255": (x > 127).astype(np.uint8) * np.uint8(255),
        "sixteen": (x // 16).astype(np.uint8),
        "16 bits": x.astype(np.uint16) * np.uint16(257),
    }


# Sharp black and white images are other images; each is compared with its own kind.
SHARP = ("binary", "bool", "0 and 255")


def predict(cli, checkpoint: str, source: str, *words: str) -> list[float] | str:
    """The probabilities, or the one line of an error."""
    outcome = cli("predict", f"checkpoint={checkpoint}", f"input={source}", "overwrite=true", "top=10", *words)
    if outcome.status:
        assert len(outcome.err.splitlines()) == 1
        assert "internal error" not in outcome.err
        return outcome.err
    with Path("predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = ["probability", *(f"probability{k}" for k in range(2, 11))]
    return [float(row[name]) for row in rows for name in names]


TRAINED = ("bytes", "unit", "normalized", "centered", "imagenet", "binary")

FEW = ("bytes", "unit", "double unit", "normalized", "binary")
CASES = [*(("bytes", FEW), ("unit", FEW)), *((name, None) for name in TRAINED)]


@pytest.mark.parametrize(("trained", "scales"), slow_but(CASES, lambda _, scales: scales is not None))
def test_no_accepted_input_changes_predictions_by_its_scale(trained, scales, cli, folder, nets, images):
    x, _ = images
    answers = {}
    for name, array in scaled(x).items():
        if scales is not None and name not in scales:
            continue
        np.savez("x.npz", x=array)
        answers[name] = predict(cli, nets(trained), "x.npz")
    accepted = {name: answer for name, answer in answers.items() if not isinstance(answer, str)}
    # The scale of the training data is always accepted.
    assert trained in accepted
    gray = [name for name in accepted if name not in SHARP]
    sharp = [name for name in accepted if name in SHARP]
    for group in (gray, sharp):
        for name in group[1:]:
            tolerance = 1e-2 if "half" in name else 1e-3
            assert np.allclose(accepted[name], accepted[group[0]], atol=tolerance), (trained, name, group[0])


@pytest.mark.parametrize(("trained", "given", "scale"), [("bytes", "unit", 1), ("unit", "bytes", 255)])
def test_a_stated_scale_gives_the_same_predictions(trained, given, scale, cli, folder, nets, images):
    x, _ = images
    np.savez("own.npz", x=scaled(x)[trained])
    np.savez("given.npz", x=scaled(x)[given])
    refusal = predict(cli, nets(trained), "given.npz")
    assert isinstance(refusal, str)
    assert f"scale={scale}" in refusal
    own = predict(cli, nets(trained), "own.npz")
    assert np.allclose(predict(cli, nets(trained), "given.npz", f"scale={scale}"), own, atol=1e-4)
    # A wrong scale that the user has stated: the message does not ask for one, but says that it is wrong.
    white = scaled(x)[trained].max()
    says = (
        f"but white is 0.01 on the stated scale; set scale= to the value of white in the input, such as scale={white:g}"
    )
    assert says in str(predict(cli, nets(trained), "own.npz", "scale=0.01"))


@pytest.mark.parametrize(
    "name", slow_but(["unit", "normalized", "binary", "sixteen"], fast=lambda name: name == "unit")
)
def test_evaluate_refuses_another_scale(name, cli, folder, images):
    x, y = images
    np.savez("x.npz", x_train=scaled(x)[name], y_train=y, x_test=scaled(x)[name], y_test=y)
    words = ["dataset=npz", "dataset.root=x.npz", "dataset.validation=0"]
    outcome = cli("evaluate", "checkpoint=lenet5-digits", *words)
    assert (outcome.status, len(outcome.err.splitlines())) == (1, 1)
    assert "dataset npz: values from" in outcome.err


def test_evaluate_takes_a_stated_scale(cli, folder, images):
    x, y = images
    np.savez("x.npz", x_train=np.float32(x / 255), y_train=y, x_test=np.float32(x / 255), y_test=y)
    words = ["dataset=npz", "dataset.root=x.npz", "dataset.validation=0", "scale=1", "output=m.json"]
    assert cli("evaluate", "checkpoint=lenet5-digits", *words).status == 0
    assert float(Path("m.json").read_text().split('"test/accuracy": ')[1].split(",")[0]) > 0.9


@pytest.mark.parametrize("trained", slow_but(["unit", "binary"], fast=lambda name: name == "unit"))
def test_image_files_are_put_on_the_scale_of_the_training_data(trained, cli, folder, nets, images):
    x, _ = images
    array = scaled(x)["0 and 255"]
    Path("photos").mkdir()
    for i, picture in enumerate(array[:20]):
        Image.fromarray(picture).save(f"photos/{i:02}.png")
    np.savez("x.npz", x=(array[:20] / 255).astype(np.float32))
    assert np.allclose(
        predict(cli, nets(trained), "photos", "resize=true", "sheet=false"),
        predict(cli, nets(trained), "x.npz"),
        atol=1e-4,
    )


@pytest.mark.slow
def test_image_files_are_refused_by_a_net_of_normalized_values(cli, folder, nets, images):
    Image.fromarray(images[0][0]).save("a.png")
    for command, words in (("predict", ["sheet=false"]), ("explain", [])):
        outcome = cli(command, f"checkpoint={nets('normalized')}", "input=a.png", "resize=true", *words)
        assert (outcome.status, len(outcome.err.splitlines())) == (1, 1)
        assert "was trained on values from" in outcome.err


@pytest.mark.parametrize("command", ["predict", "explain"])
def test_masks_of_0_and_1_are_not_predicted_as_black_images(command, cli, folder, images):
    for i, picture in enumerate(images[0][:3]):
        Image.fromarray((picture > 127).astype(np.uint8)).save(f"{i}.png")
    outcome = cli(command, "checkpoint=lenet5-digits", "input=.")
    assert (outcome.status, len(outcome.err.splitlines())) == (1, 1)
    assert "scale=1" in outcome.err
    assert cli(command, "checkpoint=lenet5-digits", "input=.", "scale=1").status == 0


@pytest.mark.parametrize("command", ["predict", "explain"])
def test_ink_on_paper_is_noted_and_inverted(command, cli, folder, images):
    Path("paper").mkdir()
    for i, picture in enumerate(images[0][:9]):
        Image.fromarray(255 - picture).save(f"paper/{i}.png")
    plain = cli(command, "checkpoint=lenet5-digits", "input=paper")
    assert plain.status == 0
    assert "bright border" in plain.out
    assert "invert=true" in plain.out
    inverted = cli(command, "checkpoint=lenet5-digits", "input=paper", "invert=true", "overwrite=true")
    assert inverted.status == 0
    assert "border" not in inverted.out

    # Inverted by mistake.
    Path("dark").mkdir()
    for i, picture in enumerate(images[0][:9]):
        Image.fromarray(picture).save(f"dark/{i}.png")
    mistaken = cli(command, "checkpoint=lenet5-digits", "input=dark", "invert=true", "overwrite=true")
    assert "a dark border, as those of the training data have; leave out invert=true" in mistaken.out


def test_inverted_paper_is_predicted_as_light_on_dark(cli, folder, images):
    np.savez("dark.npz", x=images[0])
    np.savez("paper.npz", x=255 - images[0])
    dark = predict(cli, "lenet5-digits", "dark.npz")
    assert np.allclose(predict(cli, "lenet5-digits", "paper.npz", "invert=true"), dark, atol=1e-4)
    np.savez("unit_paper.npz", x=1 - images[0] / 255)
    assert np.allclose(predict(cli, "lenet5-digits", "unit_paper.npz", "invert=true", "scale=1"), dark, atol=1e-4)


def test_blank_images_are_counted(cli, folder):
    for i, level in enumerate((0, 255, 128)):
        Image.new("L", (28, 28), level).save(f"{i}.png")
    outcome = cli("predict", "checkpoint=lenet5-digits", "input=.")
    assert outcome.status == 0
    assert "3 of 3 images have the same value in all pixels" in outcome.out


@pytest.mark.parametrize("scale", ["0", "-1", ".inf", "nan"])
def test_a_scale_that_is_no_white_level_is_refused(scale, cli, folder, images):
    np.savez("x.npz", x=images[0])
    outcome = cli("predict", "checkpoint=lenet5-digits", "input=x.npz", f"scale={scale}")
    assert (outcome.status, len(outcome.err.splitlines())) == (1, 1)
    assert "scale=" in outcome.err
