"""Predictions are the net's own, whatever they are read from, and are written whole or not at all."""

import csv
import gzip
import io
import resource
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support import record_sheet

from zoo.checkpoints import checkpoint as checkpoints
from zoo.cli import checkpoint_task
from zoo.cli.predict import image_names, inputs, outputs
from zoo.cli.predict.sheet import Summary
from zoo.data import images
from zoo.data.sources import digits
from zoo.losses import probabilities


@pytest.fixture(scope="module")
def pixels() -> torch.Tensor:
    """The test split of digits, 360 x 1 x 28 x 28 bytes."""
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


def test_an_archive_is_labelled_with_the_nets_own_answers(cli, folder, trained, pixels, expected):
    np.savez("inputs.npz", x=pixels.numpy())
    outcome = cli("predict", f"checkpoint={trained}", "input=inputs.npz")
    assert (outcome.status, outcome.err) == (0, "")
    assert "360 predictions in predictions.csv" in outcome.out
    found = rows()
    assert list(found[0]) == ["row", "class", "probability"]
    assert [row["row"] for row in found] == [str(i + 1) for i in range(360)]
    assert [row["class"] for row in found] == [str(k) for k in expected.argmax(dim=1).tolist()]
    chance = torch.tensor([float(row["probability"]) for row in found])
    torch.testing.assert_close(chance, expected.amax(dim=1), atol=1e-5, rtol=0)


@pytest.mark.parametrize("label", [False, True])
def test_a_csv_of_pixels_becomes_a_kaggle_submission(label, cli, folder, trained, pixels, expected):
    write_csv(folder / "test.csv", pixels[:50], label=label)
    assert cli("predict", f"checkpoint={trained}", "input=test.csv", "output=submission.csv").status == 0
    assert (folder / "submission.csv").read_text().startswith("ImageId,Label\n1,")
    found = rows("submission.csv")
    assert [row["ImageId"] for row in found] == [str(i + 1) for i in range(50)]
    assert [row["Label"] for row in found] == [str(k) for k in expected[:50].argmax(dim=1).tolist()]


def test_format_goes_before_what_the_input_suggests(cli, folder, trained, pixels):
    write_csv(folder / "test.csv", pixels[:3], label=False)
    np.savez("inputs.npz", x=pixels[:3].numpy())
    cli("predict", f"checkpoint={trained}", "input=test.csv", "output=a.csv", "format=table")
    cli("predict", f"checkpoint={trained}", "input=inputs.npz", "output=b.csv", "format=kaggle")
    assert list(rows("a.csv")[0]) == ["row", "class", "probability"]
    assert list(rows("b.csv")[0]) == ["ImageId", "Label"]


def test_a_folder_is_labelled_by_relative_path(cli, folder, trained, pixels, expected):
    write_pictures(folder / "photos", pixels[:20])
    assert cli("predict", f"checkpoint={trained}", "input=photos", "batch_size=7").status == 0
    found = {row["file"]: row["class"] for row in rows()}
    assert found == {
        f"{'deep/' if i % 2 else ''}{i:03}.png": str(k) for i, k in enumerate(expected[:20].argmax(dim=1).tolist())
    }


def test_one_picture_is_labelled(cli, folder, trained, pixels, expected):
    Image.fromarray(pixels[5, 0].numpy()).save("five.png")
    assert cli("predict", f"checkpoint={trained}", "input=five.png", "output=deep/out.csv").status == 0
    chance, number = expected[5].max(dim=0)
    assert rows("deep/out.csv") == [{"file": "five.png", "class": str(int(number)), "probability": f"{chance:.6f}"}]


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "LA"])
def test_resize_brings_any_picture_to_what_the_net_takes(mode, cli, folder, trained, pixels, expected):
    large = Image.fromarray(pixels[5, 0].numpy()).resize((280, 280), Image.Resampling.NEAREST)
    large.convert(mode).save("large.png")
    assert cli("predict", f"checkpoint={trained}", "input=large.png", "resize=true").status == 0
    assert rows()[0]["class"] == str(int(expected[5].argmax()))


@pytest.mark.parametrize("batch_size", [1, 7, 360, 1000])
def test_the_batch_size_does_not_change_the_predictions(batch_size, cli, folder, trained, pixels, expected):
    np.savez("inputs.npz", x=pixels.numpy())
    assert cli("predict", f"checkpoint={trained}", "input=inputs.npz", f"batch_size={batch_size}").status == 0
    chance = torch.tensor([float(row["probability"]) for row in rows()])
    torch.testing.assert_close(chance, expected.amax(dim=1), atol=1e-5, rtol=0)


@pytest.fixture(scope="module")
def quadratic(tmp_path_factory) -> Path:
    """A run of mlp_16_16, whose outputs are no logits."""
    from zoo.cli.main import main

    run = tmp_path_factory.mktemp("quadratic") / "run"
    main("train", ["model=mlp_16_16", "dataset=digits", "epochs=1", "progress=false", f"hydra.run.dir={run}"])
    return run


def test_probabilities_follow_the_loss_that_trained_the_net(cli, folder, quadratic, pixels):
    np.savez("inputs.npz", x=pixels.numpy())
    cli("predict", f"checkpoint={quadratic}", "input=inputs.npz")
    outputs = checkpoints.load(quadratic)(checkpoints.info(quadratic).transforms()(pixels))
    chance = torch.tensor([float(row["probability"]) for row in rows()])
    torch.testing.assert_close(chance, probabilities(outputs, "quadratic").amax(dim=1), atol=1e-5, rtol=0)


def test_a_regression_checkpoint_gives_values(cli, folder, line):
    x = torch.linspace(-1, 1, 9)
    np.savez("inputs.npz", x=x.numpy())
    assert cli("predict", f"checkpoint={line}", "input=inputs.npz").status == 0
    values = torch.tensor([float(row["value"]) for row in rows()])
    own = checkpoints.load(line)(x[:, None])[:, 0]
    torch.testing.assert_close(values, own.detach(), atol=1e-5, rtol=1e-5)
    outcome = cli("predict", f"checkpoint={line}", "input=inputs.npz", "output=b.csv", "format=kaggle")
    assert outcome.status == 1
    assert "format=table" in outcome.err


@pytest.fixture(scope="module")
def line(tmp_path_factory) -> Path:
    """A run of linear regression on y = x."""
    from zoo.cli.main import main

    run = tmp_path_factory.mktemp("line") / "run"
    main("train", ["model=linear", "dataset=line", "epochs=2", "progress=false", f"hydra.run.dir={run}"])
    return run


@pytest.mark.parametrize("overwrite", [False, True])
def test_the_output_is_written_whole_or_not_at_all(overwrite, cli, folder, trained, pixels):
    write_csv(folder / "test.csv", pixels[:10], label=False)
    with (folder / "test.csv").open("a") as file:
        file.write("1,2,3\n")
    if overwrite:
        (folder / "predictions.csv").write_text("of before\n")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    words = [f"checkpoint={trained}", "input=test.csv", "batch_size=10", f"overwrite={overwrite}"]
    outcome = cli("predict", *words)
    assert outcome.status == 1
    assert "test.csv, line 12" in outcome.err
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_overwrite_replaces_an_output(cli, folder, trained, pixels):
    np.savez("inputs.npz", x=pixels[:2].numpy())
    (folder / "predictions.csv").write_text("of before\n")
    assert cli("predict", f"checkpoint={trained}", "input=inputs.npz", "overwrite=true").status == 0
    assert len(rows()) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_stays_flat_over_two_hundred_batches(cli, folder, trained, pixels, monkeypatch):
    write_csv(folder / "short.csv", pixels[:320], label=False)
    lines = (folder / "short.csv").read_text().splitlines(keepends=True)
    (folder / "long.csv").write_text("".join([lines[0], *lines[1:] * 10]))  # 3,200 rows
    sizes = []

    def watched(*arguments, **options):
        sizes.append(resident())
        return probabilities(*arguments, **options)

    monkeypatch.setattr(checkpoint_task, "probabilities", watched)
    assert cli("predict", f"checkpoint={trained}", "batch_size=16", "input=long.csv").status == 0
    assert len(sizes) == 200
    assert max(sizes[20:]) < 1.02 * sizes[20]


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@pytest.fixture(scope="module")
def coders(tmp_path_factory) -> dict[str, Path]:
    """Runs of nets that learn without labels, by name."""
    from zoo.cli.main import main

    hidden = {"rbm": "20", "deep_autoencoder": "[20,15]", "dbn_generative": "[20,15]"}
    runs = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("zoo.plots.stage_plots.draw", lambda *args, **options: None)
        for name, units in hidden.items():
            runs[name] = tmp_path_factory.mktemp(name) / "run"
            words = [f"model={name}", f"model.net.hidden={units}", "dataset=digits", "epochs=1", "progress=false"]
            main("train", [*words, f"hydra.run.dir={runs[name]}"])
    return runs


@pytest.mark.parametrize(("name", "units"), [("rbm", 20), ("deep_autoencoder", 15)])
def test_a_net_without_classes_gives_its_codes(name, units, cli, folder, coders, pixels):
    np.savez("inputs.npz", x=pixels[:50].numpy())
    outcome = cli("predict", f"checkpoint={coders[name]}", "input=inputs.npz", "batch_size=7")
    assert (outcome.status, outcome.err) == (0, "")
    found = rows()
    assert list(found[0]) == ["row", *(f"feature{k}" for k in range(units))]
    assert [row["row"] for row in found] == [str(i + 1) for i in range(50)]
    codes = torch.tensor([[float(row[f"feature{k}"]) for k in range(units)] for row in found])
    x = checkpoints.info(coders[name]).transforms()(pixels[:50])
    torch.testing.assert_close(codes, checkpoints.load(coders[name]).encode(x).detach(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("input", ["inputs.npz", "test.csv"])
def test_codes_are_no_submission(input, cli, folder, coders, pixels):
    np.savez("inputs.npz", x=pixels[:2].numpy())
    write_csv(folder / "test.csv", pixels[:2], label=False)
    before = {path.name for path in folder.iterdir()}
    outcome = cli("predict", f"checkpoint={coders['rbm']}", f"input={input}", "format=kaggle")
    assert (outcome.status, outcome.out) == (1, "")
    assert len(outcome.err.splitlines()) == 1
    assert "format=kaggle needs a checkpoint with classes" in outcome.err
    assert "format=table" in outcome.err
    assert {path.name for path in folder.iterdir()} == before


def test_a_csv_of_pixels_becomes_a_table_where_no_submission_can_be_written(cli, folder, coders, trained, pixels):
    write_csv(folder / "test.csv", pixels[:5], label=False)
    # A net without classes.
    outcome = cli("predict", f"checkpoint={coders['rbm']}", "input=test.csv")
    assert (outcome.status, outcome.err) == (0, "")
    assert list(rows()[0]) == ["row", *(f"feature{k}" for k in range(20))]
    # Several classes per row.
    outcome = cli("predict", f"checkpoint={trained}", "input=test.csv", "output=b.csv", "top=2")
    assert (outcome.status, outcome.err) == (0, "")
    assert list(rows("b.csv")[0]) == ["row", "class", "probability", "class2", "probability2"]


def test_a_refused_top_does_not_name_a_format_that_was_not_set(cli, folder, coders, pixels):
    write_csv(folder / "test.csv", pixels[:5], label=False)
    outcome = cli("predict", f"checkpoint={coders['rbm']}", "input=test.csv", "top=2")
    assert outcome.status == 1
    assert "top=2 must be 1: this checkpoint has no classes to rank" in outcome.err
    assert "format=" not in outcome.err


def test_classes_that_are_units_of_the_net_are_predicted_by_free_energy(cli, folder, coders, pixels):
    np.savez("inputs.npz", x=pixels.numpy())
    run = coders["dbn_generative"]
    assert cli("predict", f"checkpoint={run}", "input=inputs.npz").status == 0
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
def test_nets_of_rbms_are_exported_within_tolerance(name, cli, folder, coders, pixels, monkeypatch):
    import logging

    onnxruntime = pytest.importorskip("onnxruntime")
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # Hydra's, of a stream that is closed by now
    outcome = cli("export", f"checkpoint={coders[name]}", "format=onnx")
    assert (outcome.status, outcome.err) == (0, "")
    session = onnxruntime.InferenceSession(f"{name}.onnx", providers=["CPUExecutionProvider"])
    x = checkpoints.info(coders[name]).transforms()(pixels[:9]).contiguous()
    own = checkpoints.load(coders[name])(x).detach()
    torch.testing.assert_close(torch.from_numpy(session.run(None, {"input": x.numpy()})[0]), own, atol=1e-4, rtol=0)


# The most likely classes


def test_top_names_the_likeliest_classes_in_order(cli, folder, trained, pixels, expected):
    np.savez("inputs.npz", x=pixels.numpy())
    assert cli("predict", f"checkpoint={trained}", "input=inputs.npz", "top=3").status == 0
    found = rows()
    assert list(found[0]) == ["row", "class", "probability", "class2", "probability2", "class3", "probability3"]
    chances, numbers = expected.topk(3, dim=1)
    for k, suffix in enumerate(("", "2", "3")):
        assert [row[f"class{suffix}"] for row in found] == [str(number) for number in numbers[:, k].tolist()]
        chance = torch.tensor([float(row[f"probability{suffix}"]) for row in found])
        torch.testing.assert_close(chance, chances[:, k], atol=1e-5, rtol=0)


def test_top_beyond_the_number_of_classes_lists_them_all_and_says_so(cli, folder, trained, pixels):
    np.savez("inputs.npz", x=pixels[:3].numpy())
    outcome = cli("predict", f"checkpoint={trained}", "input=inputs.npz", "top=11")
    assert outcome.status == 0
    assert "note: top=11: the checkpoint has 10 classes, so 10 are listed" in outcome.out
    assert list(rows()[0])[-2:] == ["class10", "probability10"]


def test_a_csv_without_a_header_gives_a_row_for_each_line(cli, folder, trained, pixels, expected):
    write_csv(folder / "with.csv", pixels[:9], label=False)
    lines = (folder / "with.csv").read_text().splitlines(keepends=True)
    (folder / "without.csv").write_text("".join(lines[1:]))
    outcome = cli("predict", f"checkpoint={trained}", "input=without.csv")
    assert outcome.status == 0
    assert (
        "note: without.csv: the first line is taken as values, not names; set header=true if it is not" in outcome.out
    )
    assert [row["Label"] for row in rows()] == [str(k) for k in expected[:9].argmax(dim=1).tolist()]
    outcome = cli("predict", f"checkpoint={trained}", "input=with.csv", "header=false", "output=b.csv")
    assert (outcome.status, len(outcome.err.splitlines())) == (1, 1)
    assert "with.csv, line 1: 'pixel0' is not an integer" in outcome.err


def test_compressed_tables_and_bare_arrays_are_read(cli, folder, trained, pixels, expected):
    write_csv(folder / "a.csv", pixels[:9], label=True)
    (folder / "a.csv.gz").write_bytes(gzip.compress((folder / "a.csv").read_bytes()))
    np.save("a.npy", pixels[:9].numpy())
    classes = [str(k) for k in expected[:9].argmax(dim=1).tolist()]
    assert cli("predict", f"checkpoint={trained}", "input=a.csv.gz").status == 0
    assert [row["Label"] for row in rows()] == classes
    assert cli("predict", f"checkpoint={trained}", "input=a.npy", "output=b.csv").status == 0
    assert [row["class"] for row in rows("b.csv")] == classes


@pytest.mark.parametrize("name", ["t.zip", "t.csv.zip", "t.tar.gz", "t.xlsx", "t.safetensors"])
def test_files_of_another_kind_are_not_taken_for_images(name, cli, folder, trained):
    (folder / name).write_bytes(b"PK")
    outcome = cli("predict", f"checkpoint={trained}", f"input={name}")
    assert (outcome.status, len(outcome.err.splitlines())) == (1, 1)
    assert (
        "this kind of file is not supported; the input must be an image, a folder of images, a CSV of pixels"
        in outcome.err
    )


def test_a_folder_of_tables_names_one(cli, folder, trained, pixels):
    (folder / "data").mkdir()
    np.savez("data/x.npz", x=pixels[:3].numpy())
    outcome = cli("predict", f"checkpoint={trained}", "input=data")
    assert outcome.status == 1
    assert "for a table, give the file: input=data/x.npz" in outcome.err


MODES = {
    "1": lambda x: Image.fromarray((x > 127).astype(np.uint8) * np.uint8(255)).convert("1"),
    "P": lambda x: Image.fromarray(x).convert("P"),
    "I;16": lambda x: Image.fromarray(x.astype(np.uint16) * np.uint16(257)),
    "L": Image.fromarray,
}


@pytest.mark.parametrize("mode", MODES)
def test_image_files_of_every_depth_are_predicted_alike(mode, cli, folder, trained, pixels):
    x = pixels[5, 0].numpy()
    x = (x > 127).astype(np.uint8) * np.uint8(255) if mode == "1" else x
    MODES[mode](x).save("a.png")
    np.savez("a.npz", x=x[None])
    # A palette is in color, so it must be converted.
    words = [f"checkpoint={trained}", "resize=true"]
    assert cli("predict", *words, "input=a.png", "sheet=false").status == 0
    assert cli("predict", *words, "input=a.npz", "output=b.csv").status == 0
    one, other = rows()[0], rows("b.csv")[0]
    assert one["class"] == other["class"]
    assert float(one["probability"]) == pytest.approx(float(other["probability"]), abs=1e-3)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["top=0"], "top=0 must be >= 1"),
        (["top=2", "format=kaggle"], "top=2 must be 1 with format=kaggle; use format=table"),
        (["on_bad_image=ignore"], "on_bad_image=ignore must be refuse or skip"),
        (["output=photos.png"], "output=photos.png must be a .csv"),
        (
            ["output=photos/0/000.csv", "overwrite=true"],
            "photos/0/000.png is part of the input and would be replaced; use another output=, or sheet=false",
        ),
        (["output=photos/0/000.png", "sheet=false", "overwrite=true"], "000.png must be a .csv"),
        (["output=x.npz"], "output=x.npz must be a .csv"),
        (["output={run}/model.safetensors", "overwrite=true"], "model.safetensors must be a .csv"),
        (["output={run}/metrics.csv", "overwrite=true"], "metrics.csv belongs to the run in"),
        (["output=link.csv", "overwrite=true"], "link.csv belongs to the run in"),
        (["header=maybe"], "header=maybe must be auto, true or false"),
        (["scale=0"], "scale=0 must be finite and > 0"),
        (["output=there.csv"], "there.png exists; add overwrite=true"),
    ],
)
def test_what_cannot_be_asked_for_is_one_line_and_nothing_is_computed(
    words, says, cli, folder, trained, pixels, monkeypatch
):
    write_labelled(folder / "photos", pixels[:3], ["0", "0", "1"])
    (folder / "there.png").write_text("of before")
    (folder / "link.csv").symlink_to(trained / "model.safetensors")
    before = contents(folder)
    monkeypatch.setattr(images, "read", None)
    outcome = cli("predict", f"checkpoint={trained}", "input=photos", *[word.format(run=trained) for word in words])
    assert (outcome.status, outcome.out, len(outcome.err.splitlines())) == (1, "", 1)
    assert says in outcome.err
    assert contents(folder) == before


def test_an_input_is_never_replaced(cli, folder, trained, pixels):
    write_csv(folder / "test.csv", pixels[:2], label=False)
    before = contents(folder)
    outcome = cli("predict", f"checkpoint={trained}", "input=test.csv", "output=./test.csv", "overwrite=true")
    assert outcome.status == 1
    assert "test.csv is part of the input" in outcome.err
    assert contents(folder) == before


def test_predictions_can_be_piped(folder, trained, pixels):
    write_labelled(folder / "photos", pixels[:2], ["0", "1"])
    words = [f"checkpoint={trained}", "input=photos", "output=/dev/stdout"]
    done = subprocess.run([sys.executable, "-m", "zoo.cli", "predict", *words], stdout=subprocess.PIPE, check=True)
    assert done.stdout.decode().startswith("file,class,probability,label\n0/000.png,")
    assert [path.name for path in folder.iterdir()] == ["photos"]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# Mirror images


def test_mirror_average_is_over_the_probabilities_of_a_picture_and_its_mirror_image(cli, folder, quadratic, pixels):
    np.savez("inputs.npz", x=pixels[:50].numpy())
    words = [f"checkpoint={quadratic}", "input=inputs.npz"]
    assert cli("predict", *words, "mirror_average=true").status == 0
    assert cli("predict", *words, "output=plain.csv").status == 0
    net, preprocess = checkpoints.load(quadratic), checkpoints.info(quadratic).transforms()
    both = [probabilities(net(preprocess(x)).detach(), "quadratic") for x in (pixels[:50], pixels[:50].flip(-1))]
    chance = torch.tensor([float(row["probability"]) for row in rows()])
    torch.testing.assert_close(chance, sum(both).div(2).amax(dim=1), atol=1e-5, rtol=0)
    chance = torch.tensor([float(row["probability"]) for row in rows("plain.csv")])
    torch.testing.assert_close(chance, both[0].amax(dim=1), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("argument", "averaged"), [("mirror_average=null", True), ("mirror_average=false", False)])
def test_mirror_average_is_what_the_task_says_unless_told_otherwise(argument, averaged, cli, folder, trained, pixels):
    net, about = checkpoints.open_checkpoint(trained)
    checkpoints.save(net, "mirrored.safetensors", replace(about, task={**about.task, "mirror_average": True}))
    np.savez("inputs.npz", x=pixels[:20].numpy())
    cli("predict", "checkpoint=mirrored.safetensors", "input=inputs.npz", argument)
    cli("predict", f"checkpoint={trained}", "input=inputs.npz", f"mirror_average={averaged}", "output=expected.csv")
    assert rows() == rows("expected.csv")


def test_mirror_average_needs_classes_of_images(cli, folder, line):
    np.savez("inputs.npz", x=np.zeros((2, 1)))
    outcome = cli("predict", f"checkpoint={line}", "input=inputs.npz", "mirror_average=true")
    assert (outcome.status, len(outcome.err.splitlines())) == (1, 1)
    assert "mirror_average=true averages class probabilities" in outcome.err
    outcome = cli("predict", f"checkpoint={line}", "input=inputs.npz", "top=2")
    assert "top=2 must be 1: this checkpoint has no classes" in outcome.err


# Labels from the names of folders


def write_labelled(folder: Path, x: torch.Tensor, labels: list[str]) -> None:
    for i, (picture, label) in enumerate(zip(x[:, 0].numpy(), labels, strict=True)):
        (folder / label).mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(folder / label / f"{i:03}.png")


@pytest.fixture
def drawn(monkeypatch) -> dict:
    """What the sheet is told to draw."""
    return record_sheet(monkeypatch, "zoo.cli.predict.sheet")


def test_folders_named_for_classes_are_labels(cli, folder, trained, pixels, expected, drawn):
    labels = [str((k + (i < 4)) % 10) for i, k in enumerate(expected[:40].argmax(dim=1).tolist())]  # four wrong
    write_labelled(folder / "photos", pixels[:40], labels)
    outcome = cli("predict", f"checkpoint={trained}", "input=photos", "batch_size=7", "top=2")
    assert (outcome.status, outcome.err) == (0, "")
    assert "40 predictions in predictions.csv, 36 of 40 right (90.0%)" in outcome.out
    found = rows()
    assert list(found[0]) == ["file", "class", "probability", "class2", "probability2", "label"]
    assert [row["label"] for row in found] == [row["file"].split("/")[0] for row in found] == sorted(labels)
    assert drawn["title"] == "4 of 40 wrong, then the least certain"
    assert drawn["wrong"] == [True] * 4 + [False] * 20
    named = {
        Path(caption[0]).stem: (caption, tile) for caption, tile in zip(drawn["captions"], drawn["tiles"], strict=True)
    }
    chance, number = expected[:40].max(dim=1)
    wrong = sorted(range(4), key=lambda i: chance[i])
    right = sorted(range(4, 40), key=lambda i: chance[i])[:20]
    assert list(named) == [f"{i:03}" for i in [*wrong, *right]]
    for i in [*wrong, *right]:
        caption, tile = named[f"{i:03}"]
        line = [f"{labels[i]}/{i:03}.png", f"{int(number[i])} {chance[i]:.3f}"]
        assert caption == line + ([f"true {labels[i]}"] if i in wrong else [])
        assert torch.equal(tile, pixels[i] / 255)


@pytest.mark.parametrize(
    ("extra", "says"),
    [
        ("cat/1.png", "labels are not used: cat in photos is not a class"),
        ("loose.png", "labels are not used: 1 of the images in photos are outside the folders of classes"),
    ],
)
def test_half_a_set_of_labels_is_none_and_is_said(extra, says, cli, folder, trained, pixels):
    write_labelled(folder / "photos", pixels[:4], ["0", "1", "1", "7"])
    (folder / "photos" / "cat").mkdir()
    Image.fromarray(pixels[0, 0].numpy()).save(folder / "photos" / extra)
    outcome = cli("predict", f"checkpoint={trained}", "input=photos", "sheet=false")
    assert (outcome.status, outcome.err) == (0, "")
    assert "5 predictions in predictions.csv" in outcome.out
    assert says in outcome.out
    assert "right" not in outcome.out
    assert list(rows()[0]) == ["file", "class", "probability"]


def test_folders_of_other_names_are_no_labels_and_need_no_word(cli, folder, trained, pictures):
    outcome = cli("predict", f"checkpoint={trained}", f"input={pictures}", "sheet=false")
    assert outcome.out == "20 predictions in predictions.csv\n"
    assert "label" not in rows()[0]


# The sheet


@pytest.mark.parametrize("count", [1, 24, 60])
def test_the_sheet_shows_the_least_certain(count, cli, folder, trained, pixels, expected, drawn):
    write_pictures(folder / "photos", pixels[:count])
    outcome = cli("predict", f"checkpoint={trained}", "input=photos", "batch_size=7")
    assert "contact sheet in predictions.png" in outcome.out
    chance = expected[:count].amax(dim=1)
    order = chance.sort(stable=True).indices[:24].tolist()
    assert [Path(caption[0]).stem for caption in drawn["captions"]] == [f"{i:03}" for i in order]
    assert not any(drawn["wrong"])
    title = {1: "", 24: "all 24, the least certain first", 60: "the 24 least certain of 60"}
    assert drawn["title"] == title[count]


def test_what_is_kept_for_the_sheet_holds_no_batch_in_memory():
    summary = Summary(["cat", "dog"])
    for first in range(0, 300, 100):
        summary.add([f"{i}.png" for i in range(first, first + 100)], torch.zeros(100, 1, 4, 4), torch.rand(100, 2), [])
    assert len(summary.shown) == 24
    assert all(shown.tile.untyped_storage().nbytes() == 4 * 16 for shown in summary.shown)


def test_the_sheet_is_a_picture_beside_the_csv_and_can_be_left_out(cli, folder, trained, pixels):
    write_pictures(folder / "photos", pixels[:30])
    assert cli("predict", f"checkpoint={trained}", "input=photos", "output=deep/out.csv").status == 0
    assert sorted(path.name for path in (folder / "deep").iterdir()) == ["out.csv", "out.png"]
    with Image.open("deep/out.png") as picture:
        assert picture.format == "PNG"
    cli("predict", f"checkpoint={trained}", "input=photos", "output=bare/out.csv", "sheet=false")
    assert [path.name for path in (folder / "bare").iterdir()] == ["out.csv"]


def test_a_sheet_that_cannot_be_drawn_leaves_no_csv(cli, folder, trained, pixels, monkeypatch):
    write_pictures(folder / "photos", pixels[:3])

    def fail(tiles, captions, path, **options):
        path.write_text("half")
        raise OSError("disk full")

    monkeypatch.setattr("zoo.cli.predict.sheet.plots.sheet", fail)
    outcome = cli("predict", f"checkpoint={trained}", "input=photos")
    assert outcome.status == 1
    assert "disk full" in outcome.err
    assert [path.name for path in folder.iterdir()] == ["photos"]


def test_codes_have_no_sheet(cli, folder, coders, pixels):
    write_pictures(folder / "photos", pixels[:3])
    assert cli("predict", f"checkpoint={coders['rbm']}", "input=photos").status == 0
    assert sorted(path.name for path in folder.iterdir()) == ["photos", "predictions.csv"]


# Pictures as they come


def test_a_picture_that_cannot_be_read_is_refused_or_left_out_by_name(cli, folder, trained, pixels):
    write_labelled(folder / "photos", pixels[:9], list("012345678"))
    (folder / "photos" / "4" / "004.png").write_text("no picture")
    words = [f"checkpoint={trained}", "input=photos", "batch_size=2"]
    outcome = cli("predict", *words)
    assert (outcome.status, len(outcome.err.splitlines())) == (1, 1)
    assert "photos/4/004.png: not a readable image" in outcome.err
    assert [path.name for path in folder.iterdir()] == ["photos"]
    outcome = cli("predict", *words, "on_bad_image=skip")
    assert outcome.status == 0
    assert outcome.err.startswith("skipped: photos/4/004.png: not a readable image")
    assert len(outcome.err.splitlines()) == 1
    assert "8 predictions in predictions.csv" in outcome.out
    assert "1 skipped" in outcome.out
    assert [(row["file"], row["label"]) for row in rows()] == [(f"{k}/{k:03}.png", str(k)) for k in range(9) if k != 4]


def test_none_that_can_be_read_is_an_error(cli, folder, trained):
    (folder / "photos").mkdir()
    (folder / "photos" / "a.png").write_text("no picture")
    outcome = cli("predict", f"checkpoint={trained}", "input=photos", "on_bad_image=skip")
    assert outcome.status == 1
    assert "photos: none of the 1 images can be read" in outcome.err
    assert "a.png" in outcome.err
    assert [path.name for path in folder.iterdir()] == ["photos"]


@pytest.mark.parametrize(
    ("source", "side", "word", "resized"),
    [
        ("zoo.data.sources.digits.load", None, "resize=null", False),
        ("zoo.data.sources.image_folder.load", None, "resize=null", True),
        ("zoo.data.sources.faces.load", None, "resize=null", True),
        ("zoo.data.sources.digits.load", 30, "resize=null", True),
        ("zoo.data.sources.image_folder.load", None, "resize=false", False),
        ("zoo.data.sources.digits.load", None, "resize=true", True),
    ],
)
def test_pictures_are_brought_to_size_where_the_training_data_were(
    source, side, word, resized, cli, folder, trained, pixels
):
    net, about = checkpoints.open_checkpoint(trained)
    preprocess = {**about.preprocess, "side": side, "interpolation": "bicubic"}
    shape = {} if "digits" in source else {"shape": [1, 28, 28]}
    data = {**about.dataset_config, "source": {"_target_": source, **shape}}
    checkpoints.save(net, "own.safetensors", replace(about, preprocess=preprocess, dataset_config=data))
    Image.fromarray(pixels[5, 0].numpy()).resize((300, 200)).save("large.png")
    outcome = cli("predict", "checkpoint=own.safetensors", "input=large.png", word)
    if not resized:
        assert outcome.status == 1
        assert "large.png: the image has shape 1x200x300" in outcome.err
        return
    raw = images.read("large.png", (1, 28, 28), resize=True, side=side, interpolation="bicubic")
    own = net(about.transforms()(raw[None])).softmax(dim=1).amax().detach()
    assert float(rows()[0]["probability"]) == pytest.approx(float(own), abs=1e-5)


def test_pictures_are_read_ahead_but_not_all_at_once(folder, monkeypatch):
    begun, lock = [], threading.Lock()

    def read(path):
        with lock:
            begun.append(path)
        return torch.full((1, 2, 2), int(path.stem), dtype=torch.uint8)

    files = [folder / f"{i:03}.png" for i in range(200)]
    monkeypatch.setattr(inputs, "THREADS", 4)
    seen = []
    for names, batch in inputs.read_images(files, folder, read, batch_size=10):
        assert batch.shape[1:] == (1, 2, 2)
        seen += zip(names, batch[:, 0, 0, 0].tolist(), strict=True)
        assert len(begun) <= len(seen) + 20  # two batches
    assert seen == [(path.name, int(path.stem)) for path in files]
    assert sorted(begun) == files


def test_a_file_name_of_any_bytes_is_written_as_it_is(cli, folder, trained, pixels):
    (folder / "photos").mkdir()
    for name in ("$a_b$ [bold].png", 'komma, "und".png', "日本.png", "raw\udcff.png"):
        Image.fromarray(pixels[0, 0].numpy()).save(folder / "photos" / "x.png")
        (folder / "photos" / "x.png").rename(folder / "photos" / name)
    outcome = cli("predict", f"checkpoint={trained}", "input=photos")
    assert (outcome.status, outcome.err) == (0, "")
    with Path("predictions.csv").open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        assert {row["file"] for row in csv.DictReader(file)} == {path.name for path in (folder / "photos").iterdir()}


FORMULAS = ["=1+1.png", "@SUM(A1).png", "+a.png", "-a.png", "＝a.png"]


@pytest.mark.parametrize("spreadsheet", [False, True])
def test_names_like_formulas_are_written_as_they_are_unless_for_a_spreadsheet(spreadsheet, cli, folder, trained):
    Path("images").mkdir()
    for name in (*FORMULAS, "plain.png"):
        Image.new("L", (28, 28)).save(Path("images", name))
    words = ["spreadsheet=true"] if spreadsheet else []
    outcome = cli("predict", f"checkpoint={trained}", "input=images", "sheet=false", *words)
    assert (outcome.status, outcome.err) == (0, "")
    written = [f"'{name}" for name in FORMULAS] if spreadsheet else FORMULAS
    assert {row["file"] for row in rows()} == {*written, "plain.png"}
    assert (
        "5 rows have a name or class that a spreadsheet would run as a formula; spreadsheet=true" in outcome.out
    ) == (not spreadsheet)


@pytest.mark.parametrize("cell", ["-1", "+1", "-0.5e3", "+inf", "a=b", "", "plain"])
def test_numbers_and_plain_names_are_no_formulas(cell):
    assert not outputs.is_formula(cell)


def test_classes_like_formulas_are_counted_and_escaped():
    columns = outputs.choose(
        "table", classes=["=a", "-1"], name_column="file", value_column="value", top=2, labeled=True, spreadsheet=True
    )
    p = torch.tensor([[0.75, 0.25], [0.25, 0.75]])
    found = list(columns.rows(["a", "b"], p, ["=a", "-1"]))
    assert found == [
        ["a", "'=a", "0.750000", "-1", "0.250000", "'=a"],
        ["b", "-1", "0.750000", "'=a", "0.250000", "-1"],
    ]
    summary = Summary(["=a", "-1"])
    summary.add(["a", "b"], None, p, [])
    assert summary.formulas == 1


def test_every_name_is_one_cell_of_one_row(tmp_path):
    names = ["a,b", 'a"b', "a\nb", "a\rb", "a\r\nb", " a", "日本"]
    with (tmp_path / "rows.csv").open("w", newline="", encoding="utf-8") as file:
        outputs.write_rows(file, [["name", "value"], *([name, 1] for name in names)])
    text = (tmp_path / "rows.csv").read_bytes().decode()
    assert [row["name"] for row in csv.DictReader(io.StringIO(text, newline=""))] == names


def test_files_that_are_not_read_are_counted(cli, folder, trained, pixels):
    write_labelled(folder / "photos", pixels[:2], ["0", "1"])
    (folder / "photos" / "0" / "phone.heic").write_bytes(b"x")
    (folder / "photos" / "more.zip").write_bytes(b"x")
    says = "skipped below photos: 1 image of a type that is not read (.heic); 1 archive that is not unpacked (more.zip)"
    for command, output in (("predict", "a.csv"), ("explain", "a2.png")):
        outcome = cli(command, f"checkpoint={trained}", "input=photos", f"output={output}")
        assert (outcome.status, outcome.err) == (0, "")
        assert f"note: {says}" in outcome.out


def test_labels_are_the_folders_of_classes_in_any_unicode_form(folder):
    (folder / "photos").mkdir()
    decomposed, composed = "a\u0308", "\u00e4"
    source = Path("photos")
    files = [source / decomposed / "1.png", source / "b" / "2.png"]
    named = {f"{decomposed}/1.png": composed, "b/2.png": "b"}
    assert image_names.labels(files, source, (composed, "b")) == (named, "")
    _, says = image_names.labels(files, source, ("B", "c"))
    assert says == f"labels are not used: b, {composed} in photos are not classes"


def test_an_image_of_16_bits_that_would_be_black_is_refused(cli, folder, trained, pixels):
    for level, status in ((1, 1), (257, 0)):
        Image.fromarray(pixels[0, 0].numpy().astype(np.uint16) * level).save(folder / "a.png")
        for command, output in (("predict", "o.csv"), ("explain", "o2.png")):
            outcome = cli(command, f"checkpoint={trained}", "input=a.png", f"output={output}", "overwrite=true")
            assert outcome.status == status
            assert ("a.png: 16 bits with values of at most" in outcome.err) == (status == 1)


def test_a_table_without_rows_is_refused(cli, folder, trained):
    (folder / "a.csv").write_text(",".join(f"pixel{k}" for k in range(784)) + "\n")
    outcome = cli("predict", f"checkpoint={trained}", "input=a.csv", "output=o.csv")
    assert (outcome.status, outcome.err) == (1, "zoo predict: a.csv: no rows below the header\n")
    assert not (folder / "o.csv").exists()
