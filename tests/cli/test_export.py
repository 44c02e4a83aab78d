"""An exported file gives the model's own outputs at any batch size, or there is no file."""

import json
import logging

import numpy as np
import pytest
import torch

from zoo.checkpoints import checkpoint as checkpoints
from zoo.cli import export_formats
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
    name = "lenet5" + export_formats.FORMATS[format].suffix
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
    chosen = export_formats.FORMATS[format]
    wrong = chosen._replace(run=lambda file, x: chosen.run(file, x) + answer)
    monkeypatch.setitem(export_formats.FORMATS, format, wrong)
    outcome = cli("export", f"checkpoint={trained}", f"format={format}")
    assert outcome.status == 1
    assert "more than tolerance=0.0001" in outcome.err
    assert not list(folder.iterdir())
    if answer < 1:
        assert cli("export", f"checkpoint={trained}", f"format={format}", "tolerance=0.01").status == 0


def test_a_writer_that_fails_leaves_the_file_of_before(cli, folder, trained, monkeypatch):
    (folder / "lenet5.pt2").write_text("of before")

    def fail(net, x, file, description):
        file.write_text("half")
        raise OSError("disk full")

    failing = export_formats.FORMATS["torch_export"]._replace(write=fail)
    monkeypatch.setitem(export_formats.FORMATS, "torch_export", failing)
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


def test_an_output_of_any_name_is_taken(cli, folder, trained):
    assert cli("export", f"checkpoint={trained}", "format=torch_export", "output=deep/net").status == 0
    assert [path.name for path in (folder / "deep").iterdir()] == ["net"]


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
    outcome = cli("export", f"checkpoint={trained}", f"format={format}", "output=net", f"preprocess={inside}")
    assert (outcome.status, outcome.err) == (0, "")
    takes = "raw bytes, 0 to 255 (uint8)" if inside else "preprocessed (float32)"
    assert f"N x 1x28x28 {takes} -> N x 10" in outcome.out
    path = str((folder / "net").rename(folder / f"net{export_formats.FORMATS[format].suffix}"))
    raw, preprocess = digits.load().test.x[:7], checkpoints.info(trained).transforms()
    own = checkpoints.load(trained)(preprocess(raw)).detach()
    x = raw if inside else preprocess(raw).contiguous()
    torch.testing.assert_close(outputs(path, x), own, atol=1e-4, rtol=0)
    said = card(path)
    assert (said["model"], said["classes"]) == ("lenet5", [str(k) for k in range(10)])
    assert said["preprocess"] == preprocess.to_dict()
    assert said["preprocess"].keys() >= {"mean", "std", "scale", "shape", "side", "interpolation"}
    assert said["preprocess_inside"] is inside
    assert said["loss"] == checkpoints.info(trained).task["loss"]


@FORMATS
def test_raw_values_stay_real_numbers(format, tmp_path):
    torch.manual_seed(0)
    net, preprocess = (
        MLP(in_shape=[3], num_classes=2, hidden=[4]).eval(),
        Preprocess((3,), 1.0, (5, -50, 0), (1, 9, 0.1)),
    )
    path = tmp_path / f"net{export_formats.FORMATS[format].suffix}"
    assert export_formats.export_net(net, (3,), path, format=format, tolerance=1e-4, preprocess=preprocess) <= 1e-4
    raw = torch.tensor([[5.5, -60.0, 0.05], [4.25, 0.0, -0.2], [0.0, 0.0, 0.0]])
    torch.testing.assert_close(
        outputs(str(path), raw), net((raw - torch.tensor([5, -50, 0])) / torch.tensor([1, 9, 0.1]))
    )
    if format == "onnx":
        with pytest.raises(Exception, match=r"tensor\(float\)"):
            outputs(str(path), raw.to(torch.uint8))


def test_a_file_with_other_preprocessing_than_the_checkpoints_is_not_kept(folder, monkeypatch):
    net, preprocess = MLP(in_shape=[3], num_classes=2, hidden=[4]).eval(), Preprocess((3,), 1.0, (5.0,), (2.0,))
    monkeypatch.setattr(export_formats.Preprocessed, "forward", lambda self, raw: self.net(raw))
    with pytest.raises(ValueError, match="outputs differ from the net's"):
        export_formats.export_net(
            net, (3,), folder / "net.pt2", format="torch_export", tolerance=1e-4, preprocess=preprocess
        )
    assert not list(folder.iterdir())
