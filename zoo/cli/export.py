"""``zoo export``: a checkpoint as ONNX or as a ``torch.export`` program, kept only if it gives the model's own outputs.

The file takes a batch of any size, preprocessed as `zoo.info(...).transforms()` does, or raw with ``preprocess=true``.
It says what it is: in the ``metadata_props`` of ONNX (model, classes, preprocess and more; JSON but for text), in
the extra file ``zoo.json`` of a program.
"""

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from rich.console import Console
from torch import Tensor, nn

from zoo.checkpoints.checkpoint import CheckpointInfo, open_checkpoint
from zoo.checkpoints.files import refuse_existing, replacing
from zoo.data.preprocess import Preprocess
from zoo.data.splits import shape_text

SUFFIXES = {"onnx": ".onnx", "torch_export": ".pt2"}
CARD = "zoo.json"  # the extra file of a program


class Preprocessed(nn.Module):
    """A net behind its preprocessing: raw values, bytes or real, N x shape -> what the net gives for them."""

    offset: Tensor
    factor: Tensor

    def __init__(self, net: nn.Module, preprocess: Preprocess):
        super().__init__()
        self.net = net
        per_channel = (-1, *[1] * (len(preprocess.shape) - 1))
        mean, std = (torch.tensor(values).view(per_channel) for values in (preprocess.mean, preprocess.std))
        self.register_buffer("offset", mean * preprocess.scale)
        self.register_buffer("factor", 1 / (std * preprocess.scale))

    def forward(self, raw: Tensor) -> Tensor:
        return self.net((raw - self.offset) * self.factor)


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
    preprocess = about.transforms()
    difference = export_net(
        net,
        preprocess.shape,
        output,
        format=cfg.format,
        tolerance=cfg.tolerance,
        preprocess=preprocess if cfg.preprocess else None,
        card=_card(about, inside=cfg.preprocess),
    )
    takes = f"N x {shape_text(preprocess.shape)} preprocessed (float32)"
    if cfg.preprocess:
        kind = "bytes, 0 to 255 (uint8)" if _bytes(preprocess) else "values (float32)"
        takes = f"N x {shape_text(preprocess.shape)} raw {kind}"
    with torch.inference_mode():
        gives = shape_text(net(preprocess(torch.zeros(1, *preprocess.shape))).shape[1:])
    size = output.stat().st_size / 1024
    text = f"{output}: {takes} -> N x {gives}, {size:,.0f} KiB, outputs within {difference:.1e} of the model's"
    Console().print(text, soft_wrap=True, highlight=False, markup=False)
    return output


def _card(about: CheckpointInfo, *, inside: bool) -> dict[str, Any]:
    """What a file says of itself. ``loss`` tells how outputs are read: see `zoo.losses.probabilities`."""
    return {
        "model": about.name,
        "classes": about.classes,
        "preprocess": about.transforms().to_dict(),
        "preprocess_inside": inside,
        "loss": about.task.get("loss", ""),
        "license": about.license,
    }


def _bytes(preprocess: Preprocess) -> bool:
    return preprocess.scale == 255


def export_net(
    net: nn.Module,
    in_shape: tuple[int, ...],
    output: Path,
    *,
    format: str,
    tolerance: float,
    preprocess: Preprocess | None = None,
    card: Mapping[str, Any] | None = None,
) -> float:
    """Write ``net`` to ``output`` and read it back.

    Args:
        net: in eval mode.
        in_shape: of one input.
        output: the file; it appears only once it is checked.
        format: onnx or torch_export.
        tolerance: greatest absolute difference allowed between the outputs.
        preprocess: goes into the file, which takes raw inputs then; None: leave it to the user.
        card: what the file says of itself, plain values by name.

    Returns:
        The greatest difference found, over batches of 1 and of 5.

    Raises:
        ValueError: the difference is greater than ``tolerance``, or the extra ``onnx`` is not installed.
    """
    write, run = (_write_onnx, _run_onnx) if format == "onnx" else (_write_program, _run_program)
    generator = torch.Generator().manual_seed(0)
    whole = net if preprocess is None else Preprocessed(net, preprocess).eval()
    with replacing(output) as temporary, torch.inference_mode(False), torch.no_grad():
        file = temporary.with_name(temporary.stem + SUFFIXES[format])  # the readers go by the ending
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of the exporters about themselves
                write(whole, _inputs(2, in_shape, preprocess, generator), file, card or {})
            batches = [_inputs(batch, in_shape, preprocess, generator) for batch in (1, 5)]
            own = [net(x if preprocess is None else preprocess(x)) for x in batches]
            difference = float(
                torch.stack([(run(file, x) - y).abs().max() for x, y in zip(batches, own, strict=True)]).max()
            )
            if not difference <= tolerance:  # nor where an output is not a number
                raise ValueError(f"{output}: outputs differ by {difference:.2e}, more than tolerance={tolerance:g}")
            file.replace(temporary)
        finally:
            file.unlink(missing_ok=True)
    return difference


def _inputs(batch: int, shape: tuple[int, ...], preprocess: Preprocess | None, generator: torch.Generator) -> Tensor:
    """Random inputs such as the file is to take: preprocessed, raw bytes, or raw values spread as the data are."""
    if preprocess is not None and _bytes(preprocess):
        return torch.randint(256, (batch, *shape), generator=generator, dtype=torch.uint8)
    x = torch.randn(batch, *shape, generator=generator)
    if preprocess is None:
        return x
    behind = Preprocessed(nn.Identity(), preprocess)
    return x / behind.factor + behind.offset


def _write_onnx(net: nn.Module, x: Tensor, file: Path, card: Mapping[str, Any]) -> None:
    try:
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ModuleNotFoundError as error:
        raise ValueError(f"format=onnx needs {error.name}: pip install 'reference-zoo[onnx]'") from error
    program = torch.onnx.export(
        net,
        (x,),
        input_names=["input"],
        output_names=["output"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    program.model.metadata_props.update({k: v if isinstance(v, str) else json.dumps(v) for k, v in card.items()})
    program.save(str(file), external_data=False)


def _run_onnx(file: Path, x: Tensor) -> Tensor:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {"input": x.numpy()})[0])


def _write_program(net: nn.Module, x: Tensor, file: Path, card: Mapping[str, Any]) -> None:
    program = torch.export.export(net, (x,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    torch.export.save(program, str(file), extra_files={CARD: json.dumps(card)})


def _run_program(file: Path, x: Tensor) -> Tensor:
    return torch.export.load(str(file)).module()(x)


if __name__ == "__main__":
    from zoo.cli.main import main

    main("export")
