"""``zoo export``: write a checkpoint as ONNX or as a ``torch.export`` program.

The file takes a batch of any size, preprocessed as `zoo.info(...).transforms()` does, or raw with ``preprocess=true``.
The file is kept only if its outputs match those of the net (see `zoo.cli.export_formats`). With ``quantize=int8`` it is
kept if it is nearly as accurate as the float32 file (see `zoo.cli.export_int8`).
"""

import re
from functools import partial
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import nn

from zoo.analysis.calibration import Scaled
from zoo.checkpoints.checkpoint import CheckpointInfo, locate, open_checkpoint
from zoo.checkpoints.files import check_output, is_stream
from zoo.cli import evaluate_data
from zoo.cli.export_formats import FORMATS, MAX_OPSET, MIN_OPSET, OPSET, takes_bytes
from zoo.cli.export_formats import export_net as export_net
from zoo.cli.export_int8 import export_int8
from zoo.config.compose import given_keys
from zoo.config.console import say
from zoo.data.preprocess import Preprocess
from zoo.losses import CLASSIFICATION
from zoo.protocols import shape_text

QUANTIZE_KEYS = ("calibration_examples", "split", "max_drop", "force")  # keys that only quantize=int8 reads

# How the outputs of a net that was trained with a loss become class probabilities. Other losses have logits.
PROBABILITIES = {
    "quadratic": "set negative outputs to 0 and divide by their sum for class probabilities",
    "binary_cross_entropy": (
        "one logit, or two whose difference is the logit: its sigmoid is the probability of the second class"
    ),
}


def export(cfg: DictConfig) -> Path:
    """Write the file and print its inputs, outputs and size.

    Returns:
        Its path.

    Raises:
        FileNotFoundError, ValueError: no such checkpoint, format or data, a net that cannot be exported, outputs that
            differ by more than ``tolerance``, int8 that loses more than ``max_drop``, or the extra ``onnx`` is not
            installed.
        FileExistsError: the output exists already.
        OSError: the output cannot be written.
    """
    # Refuse invalid values before anything is exported.
    format = _format(cfg.format, cfg.output)
    opset = _opset(cfg.opset, format)
    if not (isfinite(cfg.tolerance) and cfg.tolerance >= 0):
        raise ValueError(f"tolerance={cfg.tolerance} must be finite and >= 0")
    _check_quantize(cfg, format)
    net, about = open_checkpoint(cfg.checkpoint)
    if about.temperature != 1:
        net = Scaled(net, about.temperature).eval()
    suffix = FORMATS[format].suffix
    output = Path(cfg.output or _file_name(about.name) + suffix)
    check_output(output, overwrite=cfg.overwrite, suffixes=[suffix], inputs=[locate(cfg.checkpoint)[0]])

    # Write the file and check it.
    preprocess = about.transforms()
    export_to = partial(
        export_net,
        net,
        preprocess.shape,
        format=format,
        tolerance=cfg.tolerance,
        preprocess=preprocess if cfg.preprocess else None,
        description=_description(about, has_preprocess=cfg.preprocess),
        opset=opset,
    )
    notes: list[str] = []
    if cfg.quantize is None:
        result = f"outputs within {export_to(output):.1e} of the net's"
    else:
        data = evaluate_data.load(cfg, about)
        comparison = export_int8(
            output,
            export_to,
            data,
            about,
            has_preprocess=cfg.preprocess,
            calibration=cfg.calibration_examples,
            max_drop=cfg.max_drop,
            force=cfg.force,
        )
        result = f"int8, calibrated on {comparison.calibration:,} training examples"
        notes = [*(f"note: {note}" for note in data.notes), str(comparison)]

    # Print the inputs and outputs of the file, what int8 costs, and what must be done outside the file.
    size = "" if is_stream(output) else f" {output.stat().st_size / 1024:,.0f} KiB,"
    signature = _signature(net, preprocess, has_preprocess=cfg.preprocess)
    say(f"{output}: {signature},{size} {result}")
    for line in [*notes, *instructions(about, has_preprocess=cfg.preprocess)]:
        say(f"  {line}")
    return output


def _format(format: str | None, output: str | None) -> str:
    """The given format, or else that of the output's suffix; ONNX without an output."""
    if format is None:
        if output is None or is_stream(output):
            return "onnx"
        by_suffix = {known.suffix: name for name, known in FORMATS.items()}
        suffix = Path(output).suffix.lower()
        if suffix not in by_suffix:
            raise ValueError(f"output={output} must be a {' or '.join(by_suffix)} file")
        return by_suffix[suffix]
    if format not in FORMATS:
        raise ValueError(f"format={format} must be {' or '.join(FORMATS)}")
    return format


def _opset(opset: int | None, format: str) -> int:
    """The ONNX operator set, or ValueError if it is out of range or the format has none."""
    if opset is None:
        return OPSET
    if format != "onnx":
        raise ValueError(f"opset={opset} is for format=onnx; leave it out with format={format}")
    if not MIN_OPSET <= opset <= MAX_OPSET:
        raise ValueError(f"opset={opset} must be in [{MIN_OPSET}, {MAX_OPSET}]")
    return opset


def _check_quantize(cfg: DictConfig, format: str) -> None:
    """Raise ValueError unless the keys of ``quantize=int8`` are valid, and set only where they are used."""
    if cfg.quantize is None:
        unused = [key for key in sorted(given_keys()) if key in QUANTIZE_KEYS or key.split(".")[0] == "dataset"]
        if unused:
            raise ValueError(f"{unused[0]}= is for quantize=int8; add quantize=int8, or leave {unused[0]}= out")
        return
    if cfg.quantize != "int8":
        raise ValueError(f"quantize={cfg.quantize} must be int8 or null")
    if format != "onnx":
        raise ValueError(f"quantize=int8 is for format=onnx; leave it out with format={format}")
    if cfg.calibration_examples < 1:
        raise ValueError(f"calibration_examples={cfg.calibration_examples} must be >= 1")
    if not 0 <= cfg.max_drop <= 1:
        raise ValueError(f"max_drop={cfg.max_drop} must be in [0, 1]")


def _file_name(name: str) -> str:
    """A file name in the working directory for a model's name, which an untrusted checkpoint may have chosen."""
    plain = re.sub(r"[^A-Za-z0-9_.-]", "_", name)[:100].lstrip(".-")
    return plain or "model"


def _description(about: CheckpointInfo, *, has_preprocess: bool) -> dict[str, Any]:
    """The metadata of the file. `zoo.losses.probabilities` needs ``loss`` to turn the outputs into probabilities."""
    return {
        "model": about.name,
        "classes": about.classes,
        "preprocess": about.transforms().to_dict(),
        "preprocess_inside": has_preprocess,
        "instructions": instructions(about, has_preprocess=has_preprocess),
        "loss": about.task.get("loss", ""),
        "license": about.license,
    }


def instructions(about: CheckpointInfo, *, has_preprocess: bool) -> list[str]:
    """The steps before and after running the file, one sentence per step."""
    preprocess = about.transforms()
    steps: list[str] = []

    # Images are resized outside the file, as `zoo.data.images.to_tensor` does it.
    if len(preprocess.shape) == 3 and preprocess.shape[0] in (1, 3):
        channels, height, width = preprocess.shape
        mode = "gray" if channels == 1 else "RGB"
        if preprocess.side is None:
            resized = f"resize it to {height}x{width} (height x width)"
        else:
            resized = f"resize its shorter side to {preprocess.side}, then crop its center to {height}x{width}"
        steps.append(
            f"image: turn it upright (EXIF), convert it to {mode}, {resized} ({preprocess.interpolation}); "
            f"axes are N x channels x height x width"
        )

    # The arithmetic is inside the file or not.
    if not has_preprocess:
        mean = ", ".join(f"{value:.6g}" for value in preprocess.mean[:3])
        std = ", ".join(f"{value:.6g}" for value in preprocess.std[:3])
        more = ", …" if len(preprocess.mean) > 3 else ""
        steps.append(f"input: (raw / {preprocess.scale:g} - mean) / std with mean {mean}{more} and std {std}{more}")
        if preprocess.whitening != "none":
            steps.append("input: then whitened, as zoo.data.whitening does; preprocess=true puts it into the file")

    # The outputs of a classifier.
    if about.classes:
        loss = about.task.get("loss", "")
        known = loss if loss in CLASSIFICATION else ""
        step = f"outputs: {PROBABILITIES.get(known, 'logits; their softmax gives class probabilities')}"
        if about.temperature != 1:
            step += f"; the logits are already divided by the temperature of the checkpoint, {about.temperature:.4f}"
        steps.append(step)
        if about.task.get("mirror_average"):
            steps.append(
                "mirror images: zoo evaluate and zoo predict average an image and its mirror; the file does not"
            )
    return steps


def _signature(net: nn.Module, preprocess: Preprocess, *, has_preprocess: bool) -> str:
    """The inputs and outputs of the file, such as ``N x 1x28x28 preprocessed (float32) -> N x 10``."""
    # The type of the inputs.
    if not has_preprocess:
        kind = "preprocessed (float32)"
    elif takes_bytes(preprocess):
        kind = "raw bytes, 0 to 255 (uint8)"
    else:
        kind = "raw values (float32)"
    # The shape of the outputs, by running the net on one input.
    with torch.inference_mode():
        outputs = net(preprocess(torch.zeros(1, *preprocess.shape)))  # 1 x outputs
    return f"N x {shape_text(preprocess.shape)} {kind} -> N x {shape_text(outputs.shape[1:])}"


if __name__ == "__main__":
    from zoo.cli.main import main

    main("export")
