"""Predictions are the net's own, whatever they are read from, and are written whole or not at all."""

import csv
import resource
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from zoo import checkpoints, predict
from zoo.data import digits
from zoo.losses import probabilities


@pytest.fixture(scope="module")
def pixels() -> torch.Tensor:
    """The test part of digits, 360 x 1 x 28 x 28 bytes."""
    return digits.load().test.x


@pytest.fixture(scope="module")
def expected(trained, pixels) -> torch.Tensor:
    """The net's own probabilities for them."""
    with torch.inference_mode():
        return checkpoints.load(trained)(checkpoints.info(trained).transforms()(pixels)).softmax(dim=1)


def rows(path: str | Path = "predictions.csv") -> list[dict[str, str]]:
    with Path(path).open(newline="") as file:
        return list(csv.DictReader(file))


def write_csv(path: Path, x: torch.Tensor, *, label: bool) -> None:
    names = [*(["label"] if label else []), *(f"pixel{i}" for i in range(784))]
    lines = [",".join(map(str, [*([3] if label else []), *row])) for row in x.flatten(1).tolist()]
    path.write_text("\n".join([",".join(names), *lines]) + "\n")


def write_pictures(folder: Path, x: torch.Tensor) -> None:
    (folder / "deep").mkdir(parents=True)
    for i, picture in enumerate(x[:, 0].numpy()):
        Image.fromarray(picture).save(folder / ("deep" if i % 2 else "") / f"{i:03}.png")


def test_an_archive_is_labelled_with_the_nets_own_answers(zoo, folder, trained, pixels, expected):
    np.savez("inputs.npz", x=pixels.numpy())
    outcome = zoo("predict", f"checkpoint={trained}", "input=inputs.npz")
    assert (outcome.status, outcome.err) == (0, "")
    assert "360 predictions in predictions.csv" in outcome.out
    found = rows()
    assert list(found[0]) == ["row", "class", "probability"]
    assert [row["row"] for row in found] == [str(i + 1) for i in range(360)]
    assert [row["class"] for row in found] == [str(k) for k in expected.argmax(dim=1).tolist()]
    chance = torch.tensor([float(row["probability"]) for row in found])
    torch.testing.assert_close(chance, expected.amax(dim=1), atol=1e-5, rtol=0)


@pytest.mark.parametrize("label", [False, True])
def test_a_csv_of_pixels_becomes_a_kaggle_submission(label, zoo, folder, trained, pixels, expected):
    write_csv(folder / "test.csv", pixels[:50], label=label)
    assert zoo("predict", f"checkpoint={trained}", "input=test.csv", "output=submission.csv").status == 0
    assert (folder / "submission.csv").read_text().startswith("ImageId,Label\n1,")
    found = rows("submission.csv")
    assert [row["ImageId"] for row in found] == [str(i + 1) for i in range(50)]
    assert [row["Label"] for row in found] == [str(k) for k in expected[:50].argmax(dim=1).tolist()]


def test_format_goes_before_what_the_input_suggests(zoo, folder, trained, pixels):
    write_csv(folder / "test.csv", pixels[:3], label=False)
    np.savez("inputs.npz", x=pixels[:3].numpy())
    zoo("predict", f"checkpoint={trained}", "input=test.csv", "output=a.csv", "format=table")
    zoo("predict", f"checkpoint={trained}", "input=inputs.npz", "output=b.csv", "format=kaggle")
    assert list(rows("a.csv")[0]) == ["row", "class", "probability"]
    assert list(rows("b.csv")[0]) == ["ImageId", "Label"]


def test_a_folder_is_labelled_by_relative_path(zoo, folder, trained, pixels, expected):
    write_pictures(folder / "photos", pixels[:20])
    assert zoo("predict", f"checkpoint={trained}", "input=photos", "batch_size=7").status == 0
    found = {row["file"]: row["class"] for row in rows()}
    assert found == {
        f"{'deep/' if i % 2 else ''}{i:03}.png": str(k) for i, k in enumerate(expected[:20].argmax(dim=1).tolist())
    }


def test_one_picture_is_labelled(zoo, folder, trained, pixels, expected):
    Image.fromarray(pixels[5, 0].numpy()).save("five.png")
    assert zoo("predict", f"checkpoint={trained}", "input=five.png", "output=deep/out.csv").status == 0
    chance, number = expected[5].max(dim=0)
    assert rows("deep/out.csv") == [{"file": "five.png", "class": str(int(number)), "probability": f"{chance:.6f}"}]


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "LA"])
def test_resize_brings_any_picture_to_what_the_net_takes(mode, zoo, folder, trained, pixels, expected):
    large = Image.fromarray(pixels[5, 0].numpy()).resize((280, 280), Image.Resampling.NEAREST)
    large.convert(mode).save("large.png")
    assert zoo("predict", f"checkpoint={trained}", "input=large.png", "resize=true").status == 0
    assert rows()[0]["class"] == str(int(expected[5].argmax()))


@pytest.mark.parametrize("batch_size", [1, 7, 360, 1000])
def test_the_batch_size_does_not_change_the_predictions(batch_size, zoo, folder, trained, pixels, expected):
    np.savez("inputs.npz", x=pixels.numpy())
    assert zoo("predict", f"checkpoint={trained}", "input=inputs.npz", f"batch_size={batch_size}").status == 0
    chance = torch.tensor([float(row["probability"]) for row in rows()])
    torch.testing.assert_close(chance, expected.amax(dim=1), atol=1e-5, rtol=0)


@pytest.fixture(scope="module")
def quadratic(tmp_path_factory) -> Path:
    """A run of mlp_16_16, whose outputs are no logits."""
    from zoo.cli import main

    run = tmp_path_factory.mktemp("quadratic") / "run"
    main("train", ["model=mlp_16_16", "dataset=digits", "epochs=1", "progress=false", f"hydra.run.dir={run}"])
    return run


def test_probabilities_follow_the_loss_that_trained_the_net(zoo, folder, quadratic, pixels):
    np.savez("inputs.npz", x=pixels.numpy())
    zoo("predict", f"checkpoint={quadratic}", "input=inputs.npz")
    outputs = checkpoints.load(quadratic)(checkpoints.info(quadratic).transforms()(pixels))
    chance = torch.tensor([float(row["probability"]) for row in rows()])
    torch.testing.assert_close(chance, probabilities(outputs, "quadratic").amax(dim=1), atol=1e-5, rtol=0)


def test_a_regression_checkpoint_gives_values(zoo, folder, line):
    x = torch.linspace(-1, 1, 9)
    np.savez("inputs.npz", x=x.numpy())
    assert zoo("predict", f"checkpoint={line}", "input=inputs.npz").status == 0
    values = torch.tensor([float(row["value"]) for row in rows()])
    own = checkpoints.load(line)(x[:, None])[:, 0]
    torch.testing.assert_close(values, own.detach(), atol=1e-5, rtol=1e-5)
    outcome = zoo("predict", f"checkpoint={line}", "input=inputs.npz", "output=b.csv", "format=kaggle")
    assert outcome.status == 1
    assert "format=table" in outcome.err


@pytest.fixture(scope="module")
def line(tmp_path_factory) -> Path:
    """A run of linear regression on y = x."""
    from zoo.cli import main

    run = tmp_path_factory.mktemp("line") / "run"
    main("train", ["model=linear", "dataset=line", "epochs=2", "progress=false", f"hydra.run.dir={run}"])
    return run


@pytest.mark.parametrize("overwrite", [False, True])
def test_the_output_is_written_whole_or_not_at_all(overwrite, zoo, folder, trained, pixels):
    write_csv(folder / "test.csv", pixels[:10], label=False)
    with (folder / "test.csv").open("a") as file:
        file.write("1,2,3\n")
    if overwrite:
        (folder / "predictions.csv").write_text("of before\n")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    words = [f"checkpoint={trained}", "input=test.csv", "batch_size=10", f"overwrite={overwrite}"]
    outcome = zoo("predict", *words)
    assert outcome.status == 1
    assert "test.csv, line 12" in outcome.err
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_overwrite_replaces_an_output(zoo, folder, trained, pixels):
    np.savez("inputs.npz", x=pixels[:2].numpy())
    (folder / "predictions.csv").write_text("of before\n")
    assert zoo("predict", f"checkpoint={trained}", "input=inputs.npz", "overwrite=true").status == 0
    assert len(rows()) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_stays_flat_over_two_hundred_batches(zoo, folder, trained, pixels, monkeypatch):
    write_csv(folder / "short.csv", pixels[:320], label=False)
    lines = (folder / "short.csv").read_text().splitlines(keepends=True)
    (folder / "long.csv").write_text("".join([lines[0], *lines[1:] * 10]))  # 3,200 rows
    sizes = []

    def watched(outputs, loss):
        sizes.append(resident())
        return probabilities(outputs, loss)

    monkeypatch.setattr(predict, "probabilities", watched)
    assert zoo("predict", f"checkpoint={trained}", "batch_size=16", "input=long.csv").status == 0
    assert len(sizes) == 200
    assert max(sizes[20:]) < 1.02 * sizes[20]


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@pytest.fixture(scope="module")
def coders(tmp_path_factory) -> dict[str, Path]:
    """Runs of nets that learn without labels, by name."""
    from zoo.cli import main

    hidden = {"rbm": "20", "deep_autoencoder": "[20,15]", "dbn_generative": "[20,15]"}
    runs = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("zoo.train.gallery.draw", lambda *args, **options: None)
        for name, units in hidden.items():
            runs[name] = tmp_path_factory.mktemp(name) / "run"
            words = [f"model={name}", f"model.net.hidden={units}", "dataset=digits", "epochs=1", "progress=false"]
            main("train", [*words, f"hydra.run.dir={runs[name]}"])
    return runs


@pytest.mark.parametrize(("name", "units"), [("rbm", 20), ("deep_autoencoder", 15)])
def test_a_net_without_classes_gives_its_codes(name, units, zoo, folder, coders, pixels):
    np.savez("inputs.npz", x=pixels[:50].numpy())
    outcome = zoo("predict", f"checkpoint={coders[name]}", "input=inputs.npz", "batch_size=7")
    assert (outcome.status, outcome.err) == (0, "")
    found = rows()
    assert list(found[0]) == ["row", *(f"code{k}" for k in range(units))]
    assert [row["row"] for row in found] == [str(i + 1) for i in range(50)]
    codes = torch.tensor([[float(row[f"code{k}"]) for k in range(units)] for row in found])
    x = checkpoints.info(coders[name]).transforms()(pixels[:50])
    torch.testing.assert_close(codes, checkpoints.load(coders[name]).encode(x).detach(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("words", [["input=inputs.npz", "format=kaggle"], ["input=test.csv"]])
def test_codes_are_no_submission(words, zoo, folder, coders, pixels):
    np.savez("inputs.npz", x=pixels[:2].numpy())
    write_csv(folder / "test.csv", pixels[:2], label=False)
    before = {path.name for path in folder.iterdir()}
    outcome = zoo("predict", f"checkpoint={coders['rbm']}", *words)
    assert (outcome.status, outcome.out) == (1, "")
    assert len(outcome.err.splitlines()) == 1
    assert "format=kaggle is for classes" in outcome.err
    assert "format=table" in outcome.err
    assert {path.name for path in folder.iterdir()} == before


def test_classes_that_are_units_of_the_net_are_predicted_by_free_energy(zoo, folder, coders, pixels):
    np.savez("inputs.npz", x=pixels.numpy())
    run = coders["dbn_generative"]
    assert zoo("predict", f"checkpoint={run}", "input=inputs.npz").status == 0
    found = rows()
    assert list(found[0]) == ["row", "class", "probability"]
    net = checkpoints.load(run)
    with torch.inference_mode():
        below = net.encode(checkpoints.info(run).transforms()(pixels), 1)
        joint = [
            -net.top.free_energy(net.top.with_labels(below, torch.full((len(below),), k))).double() for k in range(10)
        ]
    expected = torch.stack(joint, dim=1).softmax(dim=1)
    chance = torch.tensor([float(row["probability"]) for row in found], dtype=torch.float64)
    torch.testing.assert_close(chance, expected.amax(dim=1), atol=1e-4, rtol=0)
    agree = [row["class"] == str(k) for row, k in zip(found, expected.argmax(dim=1).tolist(), strict=True)]
    assert sum(agree) >= 358, "but for ties"


@pytest.mark.parametrize("name", ["rbm", "dbn_generative"])
def test_nets_of_rbms_are_exported_within_tolerance(name, zoo, folder, coders, pixels, monkeypatch):
    import logging

    onnxruntime = pytest.importorskip("onnxruntime")
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # Hydra's, of a stream that is closed by now
    outcome = zoo("export", f"checkpoint={coders[name]}", "format=onnx")
    assert (outcome.status, outcome.err) == (0, "")
    session = onnxruntime.InferenceSession(f"{name}.onnx", providers=["CPUExecutionProvider"])
    x = checkpoints.info(coders[name]).transforms()(pixels[:9]).contiguous()
    own = checkpoints.load(coders[name])(x).detach()
    torch.testing.assert_close(torch.from_numpy(session.run(None, {"input": x.numpy()})[0]), own, atol=1e-4, rtol=0)
