"""``zoo export``: write a checkpoint as ONNX or as a ``torch.export`` program.

The file takes a batch of any size, preprocessed as `zoo.info(...).transforms()` does, or raw with ``preprocess=true``.
The file is kept only if its outputs match those of the net (see `zoo.cli.export_formats`).
"""

from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import nn

from zoo.checkpoints.checkpoint import CheckpointInfo, open_checkpoint
from zoo.checkpoints.files import refuse_existing
from zoo.cli.export_formats import FORMATS, takes_bytes
from zoo.cli.export_formats import export_net as export_net
from zoo.config.console import say
from zoo.data.preprocess import Preprocess
from zoo.protocols import shape_text


def export(cfg: DictConfig) -> Path:
    """Write the file and print its inputs, outputs and size.

    Returns:
        Its path.

    Raises:
        FileNotFoundError, ValueError: no such checkpoint or format, outputs that differ by more than ``tolerance``, or
            the extra ``onnx`` is not installed.
        FileExistsError: the output exists already.
    """
    # Refuse invalid values before anything is exported.
    if cfg.format not in FORMATS:
        raise ValueError(f"format={cfg.format} must be {' or '.join(FORMATS)}")
    net, about = open_checkpoint(cfg.checkpoint)
    output = Path(cfg.output or about.name + FORMATS[cfg.format].suffix)
    refuse_existing(output, overwrite=cfg.overwrite)

    # Write the file and check it.
    preprocess = about.transforms()
    difference = export_net(
        net,
        preprocess.shape,
        output,
        format=cfg.format,
        tolerance=cfg.tolerance,
        preprocess=preprocess if cfg.preprocess else None,
        description=_description(about, has_preprocess=cfg.preprocess),
    )

    # Print the inputs and outputs of the file.
    size = output.stat().st_size / 1024
    signature = _signature(net, preprocess, has_preprocess=cfg.preprocess)
    say(f"{output}: {signature}, {size:,.0f} KiB, outputs within {difference:.1e} of the net's")
    return output


def _description(about: CheckpointInfo, *, has_preprocess: bool) -> dict[str, Any]:
    """The metadata of the file. `zoo.losses.probabilities` needs ``loss`` to turn the outputs into probabilities."""
    return {
        "model": about.name,
        "classes": about.classes,
        "preprocess": about.transforms().to_dict(),
        "preprocess_inside": has_preprocess,
        "loss": about.task.get("loss", ""),
        "license": about.license,
    }


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
