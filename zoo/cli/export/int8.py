"""``quantize=int8`` of ``zoo export``: an ONNX file with 8-bit weights and activations, compared with the float32 file.

Static quantization (Jacob et al. 2018, "Quantization and training of neural networks for efficient integer-arithmetic-
only inference", section 2) by ONNX Runtime. Weights are int8 with one scale for each output channel. Activations are
uint8 with one scale and zero point for each tensor. These come from a histogram of the tensor's absolute values over
some training examples, without the largest 0.001 % of the values. A first convolution stays in float32. Both files are
then run on the examples of a split, by default one that was not trained on.
"""

import json
import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
from torch import Tensor

from zoo.checkpoints.checkpoint import CheckpointInfo
from zoo.checkpoints.files import replacing
from zoo.cli.checkpoint_task import is_multi_label, output_probabilities
from zoo.cli.evaluate.examples import Evaluated
from zoo.cli.export.formats import in_one_line, open_onnx, takes_bytes
from zoo.data.datamodule import DataModule
from zoo.data.preprocess import Preprocess
from zoo.data.workers import told_errors

CALIBRATION_BATCH = 4  # number of examples whose activations, of all layers, are in memory at a time
HEAVY = ("Conv", "MatMul", "Gemm")  # operators of ONNX that multiply by weights

Convert = Callable[[Tensor], Tensor]  # a raw batch -> the inputs of the file


class Comparison(NamedTuple):
    """The quality of the int8 file beside that of the float32 file.

    Attributes:
        metric: "accuracy"; without one class per example "R²", the share of the variance of the float32 file's outputs
            that the int8 file's outputs explain.
        before: of the float32 file, a fraction.
        after: of the int8 file, a fraction; R² may be negative.
        changed: number of examples whose predicted class differs; None without classes.
        examples: the examples on which both were computed, in words.
        calibration: number of training examples from which the ranges of activations come.
    """

    metric: str
    before: float
    after: float
    changed: int | None
    examples: str
    calibration: int

    @property
    def drop(self) -> float:
        """The loss, as a fraction; negative if int8 is better."""
        return self.before - self.after

    def __str__(self) -> str:
        text = f"{self.metric} on {self.examples}: {_percent(self.before)} in float32, {_percent(self.after)} in int8"
        if self.changed is None:
            return text
        return f"{text} ({self.changed:,} {'prediction differs' if self.changed == 1 else 'predictions differ'})"


def export_int8(
    output: Path,
    export_float: Callable[[Path], object],
    data: Evaluated,
    about: CheckpointInfo,
    *,
    has_preprocess: bool,
    calibration: int,
    max_drop: float,
    force: bool,
) -> Comparison:
    """Write the int8 file of a checkpoint to ``output``; it appears only if it is good enough.

    Args:
        output: path of the file.
        export_float: writes the float32 ONNX file to a path, and checks it.
        data: the training split, which gives the calibration examples, and the examples to compare the files on.
        about: the description of the checkpoint.
        has_preprocess: whether the file takes raw inputs.
        calibration: number of training examples; all of them if there are fewer.
        max_drop: maximum loss of accuracy (or R²), as a fraction.
        force: keep the file even if it loses more.

    Raises:
        ValueError: int8 loses more than ``max_drop``, or ONNX Runtime cannot quantize the file.
        OSError: the file cannot be written.
    """
    # Inputs of the files: raw, as bytes or float32, or preprocessed.
    preprocess = about.transforms()
    convert: Convert = preprocess
    if has_preprocess:
        convert = _unchanged if takes_bytes(preprocess) else Tensor.float
    # Choose the calibration examples at random, the same in every call.
    order = torch.randperm(len(data.splits.train), generator=torch.Generator().manual_seed(0))
    chosen = order[:calibration]

    with replacing(output) as temporary, TemporaryDirectory() as folder:
        # Write both files.
        float_file = Path(folder) / "float32.onnx"
        int8_file = Path(folder) / "int8.onnx"
        export_float(float_file)
        parts = torch.split(chosen, CALIBRATION_BATCH)
        quantize(
            float_file,
            int8_file,
            lambda number: convert(data.splits.train.batch(parts[number].tolist())[0]),
            count=len(parts),
        )

        # Compare them, and refuse a loss that is too large. "not <=" rather than ">", so that NaN is refused as well.
        comparison = _compare(float_file, int8_file, data, about, preprocess, convert, calibration=len(chosen))
        if not (comparison.drop <= max_drop or force):
            raise ValueError(
                f"{output} is not kept: {comparison}, a loss of more than max_drop={max_drop:g}; "
                "raise calibration_examples= or max_drop=, or add force=true to keep it"
            )
        _describe(int8_file, float_file, comparison)
        shutil.copyfile(int8_file, temporary)
    return comparison


def quantize(source: Path, target: Path, batch: Callable[[int], Tensor], *, count: int) -> None:
    """Quantize a float32 ONNX file to int8.

    Args:
        source: the float32 file.
        target: the file to write.
        batch: a number -> inputs of the file, N x shape, with which the ranges of activations are found.
        count: number of batches; they are numbered from 0.

    Raises:
        ValueError: ONNX Runtime cannot quantize the file.
    """
    import onnx
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with quiet_log(), redirect_stdout(StringIO()), in_one_line("int8"), TemporaryDirectory() as folder:
        # Fuse layers first, such as batch normalization into convolutions.
        fused = Path(folder) / "fused.onnx"
        quant_pre_process(str(source), str(fused), skip_symbolic_shape=True)

        # Leave in float32 what precedes the first weights, such as preprocessing, and a first convolution, which has
        # few weights and is sensitive. Quantize it if there is no other layer.
        nodes = onnx.load(str(fused)).graph.node
        heavy = [number for number, node in enumerate(nodes) if node.op_type in HEAVY]
        end = heavy[0] if heavy else len(nodes)
        if len(heavy) > 1 and nodes[end].op_type == "Conv":
            end += 1
        first = [node.name for node in nodes[:end]]

        # Unsigned activations with signed weights are what AVX2 and VNNI instructions multiply.
        quantization.quantize_static(
            str(fused),
            str(target),
            _Reader(batch, count),
            quant_format=quantization.QuantFormat.QDQ,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            per_channel=True,
            calibrate_method=quantization.CalibrationMethod.Percentile,
            nodes_to_exclude=first,
            extra_options={"CalibStridedMinMax": 1},  # for every method: one batch in memory at a time
        )


def _compare(
    float_file: Path,
    int8_file: Path,
    data: Evaluated,
    about: CheckpointInfo,
    preprocess: Preprocess,
    convert: Convert,
    *,
    calibration: int,
) -> Comparison:
    """Run both files on all examples of a split."""
    # Collect the outputs of both files, N x outputs.
    run_float, run_int8 = open_onnx(float_file), open_onnx(int8_file)
    loader = DataModule(data.splits, preprocess=preprocess, workers=data.workers).test_dataloader()
    before: list[Tensor] = []
    after: list[Tensor] = []
    labels: list[Tensor] = []
    with told_errors():
        for raw, y in loader:
            x = convert(raw)
            before.append(run_float(x))
            after.append(run_int8(x))
            labels.append(y)
    expected, found, targets = torch.cat(before), torch.cat(after), torch.cat(labels)

    # The accuracy of classes, otherwise the R² of the outputs.
    if about.classes and data.splits.classes and not is_multi_label(about):
        probabilities = output_probabilities(about)
        classes = probabilities(expected).argmax(1)  # N
        int8_classes = probabilities(found).argmax(1)  # N
        right = float((classes == targets).double().mean())
        int8_right = float((int8_classes == targets).double().mean())
        changed = int((classes != int8_classes).sum())
        return Comparison("accuracy", right, int8_right, changed, data.title, calibration)
    expected, found = expected.flatten(1).double(), found.flatten(1).double()
    unexplained = (found - expected).square().sum() / (expected - expected.mean(0)).square().sum()
    return Comparison("R²", 1.0, float(1 - unexplained), None, data.title, calibration)


class _Reader:
    """The batches, as the class ``CalibrationDataReader`` of ONNX Runtime gives them."""

    def __init__(self, batch: Callable[[int], Tensor], count: int):
        self.batch = batch
        self.count = count
        self.numbers: Iterator[int] = iter(range(count))

    def __len__(self) -> int:
        return self.count

    def set_range(self, start_index: int, end_index: int) -> None:
        """Go to some of the batches."""
        self.numbers = iter(range(start_index, end_index))

    def get_next(self) -> dict[str, Any] | None:
        """The next batch as the inputs of the file; None after the last one."""
        number = next(self.numbers, None)
        return None if number is None else {"input": self.batch(number).contiguous().numpy()}


def _describe(file: Path, source: Path, comparison: Comparison) -> None:
    """Give the file the metadata of its float32 source, how it was quantized, and what that cost."""
    import onnx

    model = onnx.load(str(file))
    given = {entry.key: entry.value for entry in onnx.load(str(source)).metadata_props}
    content = {"weights": "int8", "activations": "uint8", **comparison._asdict()}
    onnx.helper.set_model_props(model, {**given, "quantization": json.dumps(content)})
    onnx.save(model, str(file))


@contextmanager
def quiet_log() -> Iterator[None]:
    """Hide the warnings that ONNX Runtime and torch.compile log, which would be printed on standard error."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(disabled)


def _unchanged(raw: Tensor) -> Tensor:
    return raw


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.2f} %"
