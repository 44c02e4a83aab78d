"""``zoo export``: a checkpoint as ONNX or as a ``torch.export`` program, kept only if it gives the model's own outputs.

The file takes a batch of any size, preprocessed as `zoo.info(...).transforms()` does.
"""

import warnings
from pathlib import Path

import torch
from omegaconf import DictConfig
from rich.console import Console
from torch import Tensor, nn

from zoo.checkpoints import open_checkpoint, refuse_existing, replacing

SUFFIXES = {"onnx": ".onnx", "torch_export": ".pt2"}


def export(cfg: DictConfig) -> Path:
    """Returns the file.

    Raises:
        FileNotFoundError, ValueError: no such checkpoint or format, or outputs that differ by more than
            ``tolerance``.
        FileExistsError: the output is there already.
    """
    if cfg.format not in SUFFIXES:
        raise ValueError(f"format={cfg.format}: choose {' or '.join(SUFFIXES)}")
    net, about = open_checkpoint(cfg.checkpoint)
    output = Path(cfg.output or about.name + SUFFIXES[cfg.format])
    refuse_existing(output, overwrite=cfg.overwrite)
    difference = export_net(net, about.transforms().shape, output, format=cfg.format, tolerance=cfg.tolerance)
    size = output.stat().st_size / 1024
    text = f"{output}: {size:,.0f} KiB, outputs within {difference:.1e} of the model's"
    Console().print(text, soft_wrap=True, highlight=False)
    return output


def export_net(net: nn.Module, in_shape: tuple[int, ...], output: Path, *, format: str, tolerance: float) -> float:
    """Write ``net`` to ``output`` and read it back.

    Args:
        net: in eval mode.
        in_shape: of one input.
        output: the file; it appears only once it is checked.
        format: onnx or torch_export.
        tolerance: greatest absolute difference allowed between the outputs.

    Returns:
        The greatest difference found, over batches of 1 and of 5.

    Raises:
        ValueError: the difference is greater than ``tolerance``, or the extra ``onnx`` is not installed.
    """
    write, run = (_write_onnx, _run_onnx) if format == "onnx" else (_write_program, _run_program)
    generator = torch.Generator().manual_seed(0)
    with replacing(output) as temporary, torch.inference_mode(False), torch.no_grad():
        file = temporary.with_name(temporary.stem + SUFFIXES[format])  # the readers go by the ending
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of the exporters about themselves
                write(net, torch.randn(2, *in_shape, generator=generator), file)
            batches = [torch.randn(batch, *in_shape, generator=generator) for batch in (1, 5)]
            difference = float(torch.stack([(run(file, x) - net(x)).abs().max() for x in batches]).max())
            if not difference <= tolerance:  # nor where an output is not a number
                raise ValueError(f"{output}: outputs differ by {difference:.2e}, more than tolerance={tolerance:g}")
            file.replace(temporary)
        finally:
            file.unlink(missing_ok=True)
    return difference


def _write_onnx(net: nn.Module, x: Tensor, file: Path) -> None:
    try:
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ModuleNotFoundError as error:
        raise ValueError(f"format=onnx needs {error.name}: pip install 'reference-zoo[onnx]'") from error
    torch.onnx.export(
        net,
        (x,),
        str(file),
        input_names=["input"],
        output_names=["output"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        dynamo=True,
        external_data=False,
        verbose=False,
    )


def _run_onnx(file: Path, x: Tensor) -> Tensor:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {"input": x.numpy()})[0])


def _write_program(net: nn.Module, x: Tensor, file: Path) -> None:
    torch.export.save(torch.export.export(net, (x,), dynamic_shapes=({0: torch.export.Dim("batch")},)), str(file))


def _run_program(file: Path, x: Tensor) -> Tensor:
    return torch.export.load(str(file)).module()(x)


if __name__ == "__main__":
    from zoo.cli import main

    main("export")
