"""int8 files: small, nearly as accurate as the net, with the figures that the files themselves give; or no file."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from zoo.checkpoints import checkpoint as checkpoints
from zoo.cli.evaluate.examples import Evaluated
from zoo.cli.export import int8
from zoo.cli.export.formats import export_net
from zoo.data.sources import digits
from zoo.models import MLP

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


def outputs(path, x: torch.Tensor) -> torch.Tensor:
    """What the file computes, read as somebody without this package would."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return torch.from_numpy(np.asarray(session.run(None, {"input": x.contiguous().numpy()})[0]))


def test_an_int8_file_has_8_bit_weights_and_the_accuracies_that_are_printed(cli, folder, trained):
    for inside in (True, False):
        words = ["calibration_examples=40", "max_drop=0.2", f"preprocess={inside}", "overwrite=true"]
        outcome = cli("export", f"checkpoint={trained}", "quantize=int8", "output=i8.onnx", *words)
        assert (outcome.status, outcome.err) == (0, "")
        assert [path.name for path in folder.iterdir()] == ["i8.onnx"]
        validation = digits.load().validation
        preprocess = checkpoints.info(trained).transforms()
        after = outputs("i8.onnx", validation.x if inside else preprocess(validation.x)).argmax(1)
        before = checkpoints.load(trained)(preprocess(validation.x)).argmax(1)

        # The printed figures, from the two files by hand.
        right, int8_right = (float((found == validation.y).double().mean()) for found in (before, after))
        count = len(validation)
        changed = int((before != after).sum())
        differ = "prediction differs" if changed == 1 else "predictions differ"
        assert (
            f"accuracy on the validation split of digits, {count} examples: {100 * right:.2f} % in float32, "
            f"{100 * int8_right:.2f} % in int8 ({changed} {differ})"
        ) in " ".join(outcome.out.split())

        # They are also in the file, beside the metadata of every file.
        model = onnx.load("i8.onnx")
        metadata = {entry.key: entry.value for entry in model.metadata_props}
        assert json.loads(metadata["classes"]) == [str(k) for k in range(10)]
        stored = json.loads(metadata["quantization"])
        assert (stored["before"], stored["after"], stored["calibration"]) == (right, int8_right, 40)
        # All weights but those of the first layer are 8-bit integers.
        types = {int(np.prod(t.dims)): t.data_type for t in model.graph.initializer}
        first, *others = [weight.numel() for weight in checkpoints.load(trained).parameters() if weight.dim() > 1]
        assert types[first] == onnx.TensorProto.FLOAT
        assert [types[count] for count in others] == [onnx.TensorProto.INT8] * 4


def test_all_layers_of_a_net_without_convolutions_are_quantized(tmp_path):
    torch.manual_seed(0)
    for hidden in ([], [16]):
        net = MLP(in_shape=[30], num_classes=20, hidden=hidden).eval()
        export_net(net, (30,), tmp_path / "f.onnx", format="onnx", tolerance=1e-4)
        x = torch.randn(4, 8, 30)
        int8.quantize(tmp_path / "f.onnx", tmp_path / "i.onnx", lambda number, x=x: x[number], count=4)
        types = {int(np.prod(t.dims)): t.data_type for t in onnx.load(tmp_path / "i.onnx").graph.initializer}
        counts = [weight.numel() for weight in net.parameters() if weight.dim() > 1]
        assert [types[count] for count in counts] == [onnx.TensorProto.INT8] * len(counts)
        # An error of about one step of 8 bits: the range of the outputs is about 4 standard deviations.
        found, expected = outputs(tmp_path / "i.onnx", x[0]), net(x[0]).detach()
        assert float((found - expected).abs().max()) < 0.1 * float(expected.std())


def test_a_file_that_loses_too_much_is_kept_only_by_force(cli, folder, trained, monkeypatch):
    # Activations of another scale: the ranges are far too small, so that int8 predicts badly.
    quantize = int8.quantize

    def badly(source, target, batch, *, count):
        quantize(source, target, lambda number: 1e-3 * batch(number), count=count)

    monkeypatch.setattr(int8, "quantize", badly)
    words = [f"checkpoint={trained}", "quantize=int8", "output=i8.onnx", "calibration_examples=8"]
    outcome = cli("export", *words)
    assert (outcome.status, outcome.out, len(outcome.err.splitlines())) == (1, "", 1)
    assert "i8.onnx is not kept: accuracy on the validation split of digits" in outcome.err
    assert "a loss of more than max_drop=0.01" in outcome.err
    assert not list(folder.iterdir())
    assert cli("export", *words, "force=true").status == 0
    assert (folder / "i8.onnx").exists()


def test_outputs_without_classes_are_compared_by_the_variance_they_explain(monkeypatch, trained):
    """R² = 1 - squared error / variance, by hand: outputs 0, 2 and 4 (variance 8 in sum), int8 off by 1 once."""
    found = {"float": torch.tensor([[0.0], [2.0], [4.0]]), "int8": torch.tensor([[0.0], [3.0], [4.0]])}
    monkeypatch.setattr(int8, "open_onnx", lambda file: lambda x: found[file])
    about = checkpoints.info(trained)
    splits = digits.load()
    splits = replace(splits, test=splits.test.take(range(3)))
    data = Evaluated(splits, "test", "three examples", "digits", 0, False, None, False, ())
    about = replace(about, classes=[])
    compared = int8._compare("float", "int8", data, about, about.transforms(), torch.clone, calibration=1)
    assert (compared.metric, compared.before, compared.after, compared.changed) == ("R²", 1.0, 1 - 1 / 8, None)
    assert compared.drop == 1 / 8


REFUSED = {
    "another type": (["quantize=int4"], "quantize=int4 must be int8 or null"),
    "another format": (["quantize=int8", "format=torch_export"], "quantize=int8 is for format=onnx"),
    "no examples": (["quantize=int8", "calibration_examples=0"], "calibration_examples=0 must be >= 1"),
    "a loss above 1": (["quantize=int8", "max_drop=1.5"], "max_drop=1.5 must be in [0, 1]"),
    "a loss that is NaN": (["quantize=int8", "max_drop=nan"], "max_drop=nan must be in [0, 1]"),
    "another split": (["quantize=int8", "split=valid"], "split=valid must be train, validation, test or all"),
    "an unused key": (["force=true"], "force= is for quantize=int8; add quantize=int8, or leave force= out"),
    "unused data": (["dataset=digits"], "dataset= is for quantize=int8"),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_quantized_is_one_line_and_leaves_no_file(case, cli, folder, trained):
    words, says = case
    outcome = cli("export", f"checkpoint={trained}", *words)
    assert (outcome.status, outcome.out, len(outcome.err.splitlines())) == (1, "", 1)
    assert says in outcome.err
    assert not list(folder.iterdir())
