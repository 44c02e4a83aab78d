"""The formats of ``zoo export``: functions that write a net to a file and that run the file.

Each file contains a description (see `zoo.cli.export.command`): an ONNX file in its ``metadata_props`` (as JSON
unless a value is text), a ``torch.export`` program in the extra file ``zoo.json``.
"""

import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from zoo.checkpoints.files import replacing
from zoo.data import whitening
from zoo.data.preprocess import Preprocess

DESCRIPTION_FILE = "zoo.json"  # the extra file of a torch.export program
TEST_BATCHES = (1, 5)  # batch sizes with which a file is checked
# ONNX operator sets: the default, and the range that the exporter of torch writes.
OPSET = 18
MIN_OPSET = 18
MAX_OPSET = 23


class Format(NamedTuple):
    """A file format."""

    suffix: str
    write: Callable[[nn.Module, Tensor, Path, Mapping[str, Any], int], None]  # net, batch, file, description, opset
    run: Callable[[Path, Tensor], Tensor]  # file, batch -> outputs


class Preprocessed(nn.Module):
    """A net with its preprocessing: raw bytes or values, N x shape -> outputs of the net."""

    offset: Tensor
    factor: Tensor
    kernel: Tensor

    def __init__(self, net: nn.Module, preprocess: Preprocess):
        super().__init__()
        self.net = net
        # (raw / scale - mean) / std as one subtraction and one multiplication, with one constant per channel.
        per_channel = (-1, *[1] * (len(preprocess.shape) - 1))
        mean = torch.tensor(preprocess.mean).view(per_channel)  # C x 1 x 1, or features
        std = torch.tensor(preprocess.std).view(per_channel)
        self.register_buffer("offset", mean * preprocess.scale)
        self.register_buffer("factor", 1 / (std * preprocess.scale))
        self.whitens = preprocess.whitening != "none"
        if self.whitens:
            self.register_buffer("kernel", whitening.kernel())

    def forward(self, raw: Tensor) -> Tensor:
        x = (raw - self.offset) * self.factor
        outputs: Tensor = self.net(whitening.whiten(x, self.kernel) if self.whitens else x)
        return outputs


def takes_bytes(preprocess: Preprocess) -> bool:
    """Whether the file takes raw inputs as bytes: if they are divided by 255. Otherwise it takes float32 values."""
    return preprocess.scale == 255


def export_net(
    net: nn.Module,
    in_shape: tuple[int, ...],
    output: Path,
    *,
    format: str,
    tolerance: float,
    preprocess: Preprocess | None = None,
    description: Mapping[str, Any] | None = None,
    opset: int = OPSET,
) -> float:
    """Write ``net`` to ``output``, read it back, and compare its outputs with the net's.

    Args:
        net: in eval mode.
        in_shape: shape of one input.
        output: path of the file, which appears only after the check.
        format: a key of `FORMATS`.
        tolerance: maximum absolute difference between the outputs.
        preprocess: included in the file, which then takes raw inputs; None: the file takes preprocessed inputs.
        description: metadata of the file, plain values by name.
        opset: ONNX operator set; other formats have none.

    Returns:
        The maximum absolute difference found.

    Raises:
        ValueError: the difference exceeds ``tolerance``, the net cannot be exported, or the extra ``onnx`` is not
            installed.
        OSError: the file cannot be written.
    """
    # The module to export: the net, or the net with its preprocessing.
    chosen = FORMATS[format]
    generator = torch.Generator().manual_seed(0)
    exported = net if preprocess is None else Preprocessed(net, preprocess).eval()
    with replacing(output) as temporary, torch.inference_mode(False), torch.no_grad():
        # Write to a name with the suffix of the format, because readers rely on it.
        file = temporary.with_name(temporary.name + chosen.suffix)
        try:
            with in_one_line(format), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the exporters warn a lot, such as of deprecated functions
                example = _random_inputs(2, in_shape, preprocess, generator)
                chosen.write(exported, example, file, description or {}, opset)

            # Compare with the net on several batch sizes.
            differences: list[Tensor] = []
            for size in TEST_BATCHES:
                x = _random_inputs(size, in_shape, preprocess, generator)
                expected = net(x if preprocess is None else preprocess(x))
                with in_one_line(format):
                    differences.append((chosen.run(file, x) - expected).abs().max())
            difference = float(torch.stack(differences).max())

            # "not <=" rather than ">", so that NaN is refused as well.
            if not difference <= tolerance:
                raise ValueError(
                    f"{output} is not kept: its outputs differ from the net's by {difference:.2e}, "
                    f"more than tolerance={tolerance:g}"
                )
            file.replace(temporary)
        finally:
            file.unlink(missing_ok=True)
    return difference


@contextmanager
def in_one_line(format: str) -> Iterator[None]:
    """Turn the errors of an exporter or a runtime, which have many lines and types, into a ValueError of one line."""
    try:
        yield
    except (OSError, ValueError, MemoryError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"this net cannot be exported as {format} ({type(error).__name__}: {reason})") from error


def _random_inputs(
    size: int, in_shape: tuple[int, ...], preprocess: Preprocess | None, generator: torch.Generator
) -> Tensor:
    """Random inputs of the file: preprocessed values, raw bytes, or raw values.

    The mean and std of the preprocessing turn these raw values into standard normal ones.
    """
    if preprocess is not None and takes_bytes(preprocess):
        return torch.randint(256, (size, *in_shape), generator=generator, dtype=torch.uint8)
    x = torch.randn(size, *in_shape, generator=generator)
    if preprocess is None:
        return x
    # Undo the preprocessing.
    layer = Preprocessed(nn.Identity(), preprocess)
    return x / layer.factor + layer.offset


def _write_onnx(net: nn.Module, x: Tensor, file: Path, description: Mapping[str, Any], opset: int) -> None:
    # Check for the extra here rather than at import, because the other format does not need it.
    try:
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ModuleNotFoundError as error:
        raise ValueError(f"format=onnx needs {error.name}: pip install 'reference-zoo[onnx]'") from error
    # Trace the net with a dynamic batch size.
    program = torch.onnx.export(
        net,
        (x,),
        input_names=["input"],
        output_names=["output"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        opset_version=opset,
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    # torch keeps another operator set if it cannot convert the net to the given one.
    written = program.model.opset_imports[""]
    if written != opset:
        raise ValueError(f"opset={opset}: this net needs opset={written}")
    # Metadata of ONNX are strings.
    for key, value in description.items():
        program.model.metadata_props[key] = value if isinstance(value, str) else json.dumps(value)
    program.save(str(file), external_data=False)


def _run_onnx(file: Path, x: Tensor) -> Tensor:
    return open_onnx(file)(x)


def open_onnx(file: Path, *, threads: int = 0) -> Callable[[Tensor], Tensor]:
    """A function that runs an ONNX file on the CPU: N x shape -> its outputs.

    Args:
        file: the file.
        threads: number of threads; 0: as many as ONNX Runtime chooses.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Otherwise its threads wait for the next call by spinning, which slows down PyTorch in the same process.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])

    def run(x: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {"input": x.contiguous().numpy()})[0])

    return run


def _write_program(net: nn.Module, x: Tensor, file: Path, description: Mapping[str, Any], opset: int) -> None:
    # Trace the net with a dynamic batch size, and add the description as an extra file.
    program = torch.export.export(net, (x,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    try:
        torch.export.save(program, str(file), extra_files={DESCRIPTION_FILE: json.dumps(description)})
    except RuntimeError as error:  # what torch raises on a full disk
        raise OSError(str(error)) from error


def _run_program(file: Path, x: Tensor) -> Tensor:
    outputs: Tensor = torch.export.load(str(file)).module()(x)
    return outputs


FORMATS = {
    "onnx": Format(".onnx", _write_onnx, _run_onnx),
    "torch_export": Format(".pt2", _write_program, _run_program),
}
