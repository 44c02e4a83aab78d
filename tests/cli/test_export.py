"""An exported file gives the model's own outputs at any batch size, or there is no file."""

import json
import logging
from dataclasses import replace

import numpy as np
import pytest
import torch

from zoo.checkpoints import checkpoint as checkpoints
from zoo.cli.export import command as export_command
from zoo.cli.export import formats
from zoo.data.preprocess import Preprocess
from zoo.data.sources import digits
from zoo.models import MLP

FORMATS = pytest.mark.parametrize("format", ["onnx", "torch_export"])


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    """Hydra's handler from an earlier run in this process holds a stream that is closed by now."""
    monkeypatch.setattr(logging.getLogger(), "handlers", [])


def outputs(path: str, x: torch.Tensor) -> torch.Tensor:
    """What the file computes, read as somebody without this package would."""
    if path.endswith(".pt2"):
        return torch.export.load(path).module()(x).detach()
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return torch.from_numpy(np.asarray(session.run(None, {"input": x.numpy()})[0]))


@FORMATS
def test_a_file_gives_the_models_outputs_at_any_batch_size(format, cli, folder, trained):
    name = "lenet5" + formats.FORMATS[format].suffix
    outcome = cli("export", f"checkpoint={trained}", f"format={format}")
    assert (outcome.status, outcome.err) == (0, "")
    assert name in outcome.out
    assert [path.name for path in folder.iterdir()] == [name]
    net = checkpoints.load(trained)
    for batch in (1, 2, 33):
        x = torch.randn(batch, 1, 28, 28, generator=torch.Generator().manual_seed(batch))
        torch.testing.assert_close(outputs(name, x), net(x).detach(), atol=1e-4, rtol=0)


@FORMATS
@pytest.mark.parametrize("answer", [0.001, float("nan")])
def test_outputs_that_differ_leave_no_file(format, answer, cli, folder, trained, monkeypatch):
    chosen = formats.FORMATS[format]
    wrong = chosen._replace(run=lambda file, x: chosen.run(file, x) + answer)
    monkeypatch.setitem(formats.FORMATS, format, wrong)
    outcome = cli("export", f"checkpoint={trained}", f"format={format}")
    assert outcome.status == 1
    assert "more than tolerance=0.0001" in outcome.err
    assert not list(folder.iterdir())
    if answer < 1:
        assert cli("export", f"checkpoint={trained}", f"format={format}", "tolerance=0.01").status == 0


def test_a_writer_that_fails_leaves_the_file_of_before(cli, folder, trained, monkeypatch):
    (folder / "lenet5.pt2").write_text("of before")

    def fail(net, x, file, description, opset):
        file.write_text("half")
        raise OSError("disk full")

    failing = formats.FORMATS["torch_export"]._replace(write=fail)
    monkeypatch.setitem(formats.FORMATS, "torch_export", failing)
    outcome = cli("export", f"checkpoint={trained}", "format=torch_export", "overwrite=true")
    assert outcome.status == 1
    assert "disk full" in outcome.err
    assert [path.read_text() for path in folder.iterdir()] == ["of before"]


def test_an_existing_output_is_replaced_only_when_asked(cli, folder, trained):
    (folder / "net.pt2").write_text("of before")
    words = [f"checkpoint={trained}", "format=torch_export", "output=net.pt2"]
    assert cli("export", *words).status == 1
    assert (folder / "net.pt2").read_text() == "of before"
    assert cli("export", *words, "overwrite=true").status == 0
    assert outputs("net.pt2", torch.zeros(3, 1, 28, 28)).shape == (3, 10)


def test_the_suffix_of_the_output_chooses_the_format(cli, folder, trained):
    assert cli("export", f"checkpoint={trained}", "output=deep/net.PT2").status == 0
    assert [path.name for path in (folder / "deep").iterdir()] == ["net.PT2"]
    (folder / "deep" / "net.PT2").rename("net.pt2")
    assert outputs("net.pt2", torch.zeros(1, 1, 28, 28)).shape == (1, 10)


REFUSED = {
    "suffix of neither format": (["output=net.bin"], "output=net.bin must be a .onnx or .pt2 file"),
    "no suffix": (["output=net"], "output=net must be a .onnx or .pt2 file"),
    "suffix of the other format": (["output=net.pt2", "format=onnx"], "output=net.pt2 must be a .onnx file"),
    "the checkpoint": (["output={run}/model.safetensors", "overwrite=true"], "must be a .onnx or .pt2 file"),
    "a link to the checkpoint": (["output=link.onnx", "overwrite=true"], "link.onnx is part of the input"),
    "opset too low": (["opset=17"], "opset=17 must be in [18, 23]"),
    "opset too high": (["opset=24"], "opset=24 must be in [18, 23]"),
    "opset of a program": (["opset=18", "format=torch_export"], "opset=18 is for format=onnx"),
    "tolerance": (["tolerance=nan"], "tolerance=nan must be finite"),
    "negative tolerance": (["tolerance=-1"], "tolerance=-1.0 must be finite and >= 0"),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_exported_is_one_line_and_leaves_no_file(case, cli, folder, trained):
    words, says = case
    (folder / "link.onnx").symlink_to(trained / "model.safetensors")
    before = (trained / "model.safetensors").read_bytes()
    outcome = cli("export", f"checkpoint={trained}", *[word.format(run=trained) for word in words])
    assert (outcome.status, outcome.out, len(outcome.err.splitlines())) == (1, "", 1)
    assert says in outcome.err
    assert [path.name for path in folder.iterdir()] == ["link.onnx"]
    assert (trained / "model.safetensors").read_bytes() == before


@pytest.mark.slow
@FORMATS
def test_a_net_that_an_exporter_refuses_is_one_line(format, cli, folder, trained, monkeypatch):
    def fail(*_):
        raise RuntimeError("Unsupported: data-dependent branch\n\nmany lines")

    failing = formats.FORMATS[format]._replace(write=fail)
    monkeypatch.setitem(formats.FORMATS, format, failing)
    outcome = cli("export", f"checkpoint={trained}", f"format={format}")
    assert (outcome.status, len(outcome.err.splitlines())) == (1, 1)
    assert f"this net cannot be exported as {format} (RuntimeError: Unsupported: data-dependent branch" in outcome.err
    assert not list(folder.iterdir())


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("../ESCAPED", "_ESCAPED"),
        ("/tmp/x", "_tmp_x"),
        ("..", "model"),
        ("", "model"),
        ("\x1b[31m\n", "__31m_"),
        ("x" * 1000, "x" * 100),
    ],
)
def test_the_default_output_is_a_file_of_this_folder_whatever_the_name_of_the_model(name, file):
    # A checkpoint of such a name is refused, too, see tests/checkpoints/test_descriptions.py.
    assert export_command._file_name(name) == file


@pytest.mark.parametrize("opset", [pytest.param(None, marks=pytest.mark.slow), 21])
def test_the_operator_set_is_the_one_asked_for(opset, cli, folder, trained):
    onnx = pytest.importorskip("onnx")
    words = [] if opset is None else [f"opset={opset}"]
    assert cli("export", f"checkpoint={trained}", *words).status == 0
    assert [item.version for item in onnx.load("lenet5.onnx").opset_import if not item.domain] == [opset or 18]


# Preprocessing inside, and what a file says of itself


def card(path: str) -> dict:
    """What a file says of itself, read as somebody without this package would."""
    if path.endswith(".pt2"):
        extra = {"zoo.json": ""}
        torch.export.load(path, extra_files=extra)
        return json.loads(extra["zoo.json"])
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    found = session.get_modelmeta().custom_metadata_map
    texts = {"model", "license", "loss"}
    return {key: value if key in texts else json.loads(value) for key, value in found.items()}


@FORMATS
@pytest.mark.parametrize("inside", [True, False])
def test_a_file_takes_raw_bytes_where_asked_and_says_what_it_is(format, inside, cli, folder, trained):
    path = f"net{formats.FORMATS[format].suffix}"
    outcome = cli("export", f"checkpoint={trained}", f"output={path}", f"preprocess={inside}")
    assert (outcome.status, outcome.err) == (0, "")
    takes = "raw bytes, 0 to 255 (uint8)" if inside else "preprocessed (float32)"
    assert f"N x 1x28x28 {takes} -> N x 10" in outcome.out
    raw, preprocess = digits.load().test.x[:7], checkpoints.info(trained).transforms()
    own = checkpoints.load(trained)(preprocess(raw)).detach()
    x = raw if inside else preprocess(raw).contiguous()
    torch.testing.assert_close(outputs(path, x), own, atol=1e-4, rtol=0)
    said = card(path)
    assert (said["model"], said["classes"]) == ("lenet5", [str(k) for k in range(10)])
    assert said["preprocess"] == preprocess.to_dict()
    assert said["preprocess"].keys() >= {"mean", "std", "scale", "shape", "side", "interpolation"}
    assert said["preprocess_inside"] is inside
    assert any("softmax" in step for step in said["instructions"])
    assert any(step.startswith("input: (raw / 255 - mean) / std") for step in said["instructions"]) is not inside
    assert all(step in outcome.out for step in said["instructions"])
    assert said["loss"] == checkpoints.info(trained).task["loss"]


def test_a_file_says_that_it_does_not_average_mirror_images(trained):
    about = checkpoints.info(trained)
    averaging = replace(about, task={**about.task, "mirror_average": True})
    first, second = (export_command.instructions(each, has_preprocess=True) for each in (about, averaging))
    assert [step.partition(":")[0] for step in second if step not in first] == ["mirror images"]


@FORMATS
def test_raw_values_stay_real_numbers(format, tmp_path):
    torch.manual_seed(0)
    net, preprocess = (
        MLP(in_shape=[3], num_classes=2, hidden=[4]).eval(),
        Preprocess((3,), 1.0, (5, -50, 0), (1, 9, 0.1)),
    )
    path = tmp_path / f"net{formats.FORMATS[format].suffix}"
    assert formats.export_net(net, (3,), path, format=format, tolerance=1e-4, preprocess=preprocess) <= 1e-4
    raw = torch.tensor([[5.5, -60.0, 0.05], [4.25, 0.0, -0.2], [0.0, 0.0, 0.0]])
    torch.testing.assert_close(
        outputs(str(path), raw), net((raw - torch.tensor([5, -50, 0])) / torch.tensor([1, 9, 0.1]))
    )
    if format == "onnx":
        with pytest.raises(Exception, match=r"tensor\(float\)"):
            outputs(str(path), raw.to(torch.uint8))


def test_a_file_with_other_preprocessing_than_the_checkpoints_is_not_kept(folder, monkeypatch):
    net, preprocess = MLP(in_shape=[3], num_classes=2, hidden=[4]).eval(), Preprocess((3,), 1.0, (5.0,), (2.0,))
    monkeypatch.setattr(formats.Preprocessed, "forward", lambda self, raw: self.net(raw))
    with pytest.raises(ValueError, match="outputs differ from the net's"):
        formats.export_net(net, (3,), folder / "net.pt2", format="torch_export", tolerance=1e-4, preprocess=preprocess)
    assert not list(folder.iterdir())
