"""The runtimes of ``zoo benchmark``: functions that prepare a net for a batch, and the size of what they run."""

import warnings
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from zoo.cli.export.formats import export_net, open_onnx
from zoo.cli.export.int8 import quantize

Call = Callable[[], object]  # one pass of a batch; it returns when the outputs are computed
# Precisions of an accelerator config that run the net in a smaller floating-point type.
AUTOCAST = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


class Target(NamedTuple):
    """What is measured.

    Attributes:
        net: the net in eval mode, on its device.
        device: that device.
        precision: a precision of `zoo.config.hardware`.
        threads: number of threads on the CPU.
        checkpoint: the file of the checkpoint.
        folder: an empty folder for exported files.
        shape: shape of one input.
    """

    net: nn.Module
    device: torch.device
    precision: str
    threads: int
    checkpoint: Path
    folder: Path
    shape: tuple[int, ...]


class Runtime(NamedTuple):
    """A net that is ready to run.

    Attributes:
        prepare: a batch, N x shape, on the CPU -> a function that runs it.
        size: bytes of the file that holds the weights.
    """

    prepare: Callable[[Tensor], Call]
    size: int


def pytorch(target: Target) -> Runtime:
    """The net as it is."""
    return Runtime(lambda batch: _call(target.net, batch, target), target.checkpoint.stat().st_size)


def compiled(target: Target) -> Runtime:
    """The net within torch.compile, compiled for each batch size."""

    def prepare(batch: Tensor) -> Call:
        # Forget earlier batch sizes: after several of them, torch stops compiling and runs the net as it is.
        torch.compiler.reset()
        return _call(cast(nn.Module, torch.compile(target.net, dynamic=False)), batch, target)

    return Runtime(prepare, target.checkpoint.stat().st_size)


def onnx(target: Target) -> Runtime:
    """An ONNX file in ONNX Runtime."""
    return _onnx_runtime(_exported(target), target)


def onnx_int8(target: Target) -> Runtime:
    """The same in int8, with ranges of activations from random inputs: they change the accuracy, not the speed."""
    file = target.folder / "int8.onnx"
    generator = torch.Generator().manual_seed(0)
    quantize(_exported(target), file, lambda _: torch.randn(2, *target.shape, generator=generator), count=4)
    return _onnx_runtime(file, target)


RUNTIMES: Mapping[str, Callable[[Target], Runtime]] = {
    "pytorch": pytorch,
    "compile": compiled,
    "onnx": onnx,
    "onnx_int8": onnx_int8,
}
CPU_ONLY = ("onnx", "onnx_int8")


def multiply_adds(net: nn.Module, shape: tuple[int, ...]) -> int:
    """The number of multiplications of convolutions and matrix products for one input, each with its addition.

    Normalization, activations and pooling are not counted, as usual in papers.

    Args:
        net: the net in eval mode, on the CPU.
        shape: shape of one input.
    """
    counter = FlopCounterMode(display=False)
    fast = torch.backends.mha.get_fastpath_enabled()
    # The counter does not know fused attention, so compute it by matrix products.
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
            net(torch.zeros(1, *shape))
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return int(counter.get_total_flops()) // 2  # it counts multiplications and additions


def _call(net: nn.Module, batch: Tensor, target: Target) -> Call:
    """A function that runs a net of PyTorch on a batch, which is moved to the device first."""
    # Images are channels-last in memory, as `Preprocess` returns them.
    x = batch.contiguous(memory_format=torch.channels_last) if batch.dim() == 4 else batch
    x = x.to(target.device)
    kind = target.device.type
    dtype = AUTOCAST.get(target.precision)

    def run() -> Tensor:
        precision: Any = nullcontext() if dtype is None else torch.autocast(kind, dtype)
        with torch.inference_mode(), precision:
            outputs: Tensor = net(x)
        # A GPU computes after the call has returned.
        if kind == "cuda":
            torch.cuda.synchronize()
        elif kind == "mps":
            torch.mps.synchronize()
        return outputs

    return run


def _exported(target: Target) -> Path:
    """The float32 ONNX file of the net, which is exported once."""
    file = target.folder / "float32.onnx"
    if not file.exists():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            export_net(target.net, target.shape, file, format="onnx", tolerance=1e-2)
    return file


def _onnx_runtime(file: Path, target: Target) -> Runtime:
    """A file in ONNX Runtime."""

    def prepare(batch: Tensor) -> Call:
        run = open_onnx(file, threads=target.threads)
        return lambda: run(batch)

    return Runtime(prepare, file.stat().st_size)
