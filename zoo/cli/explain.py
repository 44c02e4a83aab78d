"""``zoo explain``: draw which regions of an image support the predicted class (or another), by Grad-CAM, as one PNG.

Each image is drawn twice: unchanged, and in gray with its map on top. Red marks the strongest evidence for the
class, blue marks no evidence.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from zoo.analysis.gradcam import gradcam
from zoo.checkpoints.checkpoint import CheckpointInfo, locate, open_checkpoint
from zoo.checkpoints.files import check_output, replacing
from zoo.cli.checkpoint_task import output_probabilities
from zoo.cli.predict import inputs
from zoo.cli.predict.checks import InputCheck, preprocess_for
from zoo.config import hardware
from zoo.config.catalogue import suggest
from zoo.config.console import say
from zoo.data.preprocess import Preprocess
from zoo.plots import images as plots

MAX_IMAGES = 240  # maximum number of images on a sheet
BATCH_SIZE = 16  # small, because the gradients of every feature map are kept


class Explained(NamedTuple):
    """Some images with their maps."""

    tiles: list[Tensor]  # each 3 x H x (2 W + gap), values from 0 to 1
    captions: list[list[str]]  # the lines of text below each image
    maps: Tensor  # N x H x W, values from 0 to 1


def explain(cfg: DictConfig) -> Tensor:
    """Draw the images with their maps on one sheet.

    Returns:
        The maps, n x H x W, with values from 0 to 1.

    Raises:
        FileNotFoundError, ValueError: an invalid value, no such checkpoint, class or input, a net without classes or
            convolutions, or an image that the net cannot take.
        FileExistsError: the output exists already.
    """
    # Refuse invalid values before anything is computed.
    source = Path(cfg.input)
    output = Path(cfg.output)
    _check(cfg, output)
    device = hardware.device(hardware.trainer_kwargs(cfg.accelerator))
    net, about = open_checkpoint(cfg.checkpoint)
    _check_target(cfg.target, about, cfg.checkpoint)
    files, notes = inputs.find(source)
    if not files:
        raise ValueError(f"input={source} must be an image or a folder of images")
    check_output(output, overwrite=cfg.overwrite, inputs=[*files, locate(cfg.checkpoint)[0]])

    # Explain the images batch by batch.
    net = net.to(device)
    preprocess = preprocess_for(about.transforms(), files=True, scale=cfg.scale, invert=cfg.invert)
    check = InputCheck(preprocess, where=str(source), files=True, stated=cfg.scale is not None)
    read = inputs.reader(about, resize=cfg.resize)
    tiles: list[Tensor] = []
    captions: list[list[str]] = []
    maps: list[Tensor] = []
    for names, raw in inputs.read_images(files[: cfg.n], source, read, batch_size=BATCH_SIZE):
        check.add(raw)
        batch = _explain_batch(net, about, preprocess, names, raw, device, target=cfg.target)
        tiles += batch.tiles
        captions += batch.captions
        maps.append(batch.maps)
    notes += check.finish()

    # Draw them on one sheet.
    title = f"{about.title}: evidence for {cfg.target or 'the predicted class'}"
    with replacing(output) as temporary:
        plots.sheet(tiles, captions, temporary, title=title, columns=3, width=3.5)
    say(f"{len(tiles):,} image{'' if len(tiles) == 1 else 's'} explained in {output}")
    for note in notes:
        say(f"note: {note}")
    return torch.cat(maps)


def _check(cfg: DictConfig, output: Path) -> None:
    """Raise ValueError or FileExistsError for invalid values, before the checkpoint is read."""
    check_output(output, overwrite=cfg.overwrite, suffixes=[".png"])
    if not 1 <= cfg.n <= MAX_IMAGES:
        raise ValueError(f"n={cfg.n} must be in [1, {MAX_IMAGES}]")


def _check_target(target: str | None, about: CheckpointInfo, checkpoint: str) -> None:
    """Raise ValueError unless the checkpoint has classes, and ``target`` is one of them or None."""
    if not about.classes:
        raise ValueError(f"{checkpoint}: {about.name} has no classes to explain")
    if target is not None and target not in about.classes:
        raise ValueError(f"target={target}: no such class; {suggest(target, about.classes)}")


def _explain_batch(
    net: nn.Module,
    about: CheckpointInfo,
    preprocess: Preprocess,
    names: Sequence[str],
    raw: Tensor,
    device: torch.device,
    *,
    target: str | None,
) -> Explained:
    """Compute the maps of a batch, and prepare tiles and captions.

    Args:
        net: the net, on ``device``.
        about: description of its checkpoint.
        preprocess: the preprocessing for the images.
        names: names of the images.
        raw: N x C x H x W bytes.
        device: where to compute.
        target: the class to explain; None: the predicted class of each image.
    """
    # The maps, and the probabilities for the captions.
    x = preprocess(raw.to(device))  # N x C x H x W
    wanted = None
    if target is not None:
        wanted = torch.full((len(x),), about.classes.index(target))
    heat, explained = gradcam(net, x, wanted)  # N x H x W, N
    with torch.inference_mode():
        p = output_probabilities(about)(net(x).float())  # N x classes
    predicted = p.argmax(dim=1).tolist()

    # The caption names the class of the map, and the predicted class if it is another one.
    tiles: list[Tensor] = []
    captions: list[list[str]] = []
    for i, (name, k, best) in enumerate(zip(names, explained.tolist(), predicted, strict=True)):
        caption = [name, f"{about.classes[k]} {p[i, k]:.3f}"]
        if k != best:
            caption.append(f"predicted {about.classes[best]} {p[i, best]:.3f}")
        captions.append(caption)
        tiles.append(plots.overlay(raw[i] / 255, heat[i].cpu()))
    return Explained(tiles, captions, heat.cpu())
