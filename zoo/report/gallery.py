"""Choose the wrong and the least certain predictions; draw their images, with Grad-CAM maps, as ``data:`` URIs."""

from base64 import b64encode
from collections.abc import Sequence
from io import BytesIO
from typing import NamedTuple

import torch
from torch import Tensor, nn

from zoo.analysis.calibration import Bin, reliability
from zoo.analysis.gradcam import gradcam
from zoo.data.combined import name_of
from zoo.data.preprocess import Preprocess
from zoo.data.splits import Examples
from zoo.plots.images import overlay
from zoo.report.content import Prediction

WRONG = 24  # maximum number of wrong predictions
UNCERTAIN = 12  # maximum number of right predictions
BATCH = 12  # number of images whose maps are computed at a time
MAX_HEIGHT = 180  # pixels
PIXELATED = 64  # images with fewer rows are stored without loss


class Shown(NamedTuple):
    """The predictions that a report shows.

    Attributes:
        bins: the bins of the reliability diagram.
        wrong, uncertain: see `zoo.report.content.Report`.
        explained: whether the images have Grad-CAM maps.
    """

    bins: list[Bin]
    wrong: list[Prediction]
    uncertain: list[Prediction]
    explained: bool


def show(
    predictions: Tensor,
    examples: Examples,
    *,
    net: nn.Module,
    preprocess: Preprocess,
    classes: Sequence[str],
    processes: int = 1,
) -> Shown:
    """Choose predictions, and draw them.

    Args:
        predictions: N x 3, as `zoo.tasks.Classification` collects them.
        examples: the N examples.
        net: the net, on any device; it is not changed.
        preprocess: the preprocessing from raw values to the net's input.
        classes: names of the classes.
        processes: number of processes that evaluated the examples, each of them every n-th example.
    """
    # Put the examples of all processes in order.
    count = len(predictions)
    order = torch.cat([torch.arange(rank, count, processes) for rank in range(processes)])
    rows = torch.empty_like(predictions)
    rows[order] = predictions
    p, predicted, true = rows.unbind(dim=1)  # N each
    right = predicted == true

    # The most confident mistakes first; of the right predictions, the least confident.
    wrong = [k for k in p.argsort(descending=True, stable=True).tolist() if not right[k]][:WRONG]
    uncertain = [k for k in p.argsort(stable=True).tolist() if right[k]][:UNCERTAIN]
    images, explained = _images(wrong + uncertain, examples, net, preprocess, predicted.long())
    shown = [
        Prediction(
            name_of(examples, k),
            classes[int(predicted[k])],
            classes[int(true[k])],
            round(float(p[k]), 6),
            images.get(k, ""),
        )
        for k in wrong + uncertain
    ]
    return Shown(reliability(p, right), shown[: len(wrong)], shown[len(wrong) :], explained)


def _images(
    numbers: Sequence[int], examples: Examples, net: nn.Module, preprocess: Preprocess, predicted: Tensor
) -> tuple[dict[int, str], bool]:
    """The ``data:`` URIs of some examples, and whether they have maps; none if the inputs are not images."""
    if len(preprocess.shape) != 3 or preprocess.shape[0] not in (1, 3):
        return {}, False
    device = next((parameter.device for parameter in net.parameters()), torch.device("cpu"))
    found: dict[int, str] = {}
    explained = True
    for first in range(0, len(numbers), BATCH):
        chosen = numbers[first : first + BATCH]
        raw, _ = examples.batch(chosen)  # N x C x H x W
        tiles = _visible(raw.cpu(), preprocess)
        try:
            maps, _ = gradcam(net, preprocess(raw.to(device)), predicted[chosen])  # N x H x W
            tiles = [overlay(tile, heat.cpu()) for tile, heat in zip(tiles, maps, strict=True)]
        except ValueError:  # a net without convolutions
            explained = False
        found |= {k: _uri(tile) for k, tile in zip(chosen, tiles, strict=True)}
    return found, explained and bool(found)


def _visible(raw: Tensor, preprocess: Preprocess) -> list[Tensor]:
    """Raw images with values in [0, 1], each C x H x W."""
    white = preprocess.white
    low, high = 0.0, white
    if high is None:
        # Values without black and white: their range becomes that from black to white.
        low, high = float(raw.min()), max(float(raw.max()), float(raw.min()) + 1e-12)
    return list(((raw.float() - low) / (high - low)).clamp(0, 1))


def _uri(tile: Tensor) -> str:
    """An image with values in [0, 1], C x H x W, as a ``data:`` URI of a PNG or, if it is large, of a JPEG."""
    from PIL import Image

    pixels = (tile * 255).round().byte().permute(1, 2, 0).squeeze(2).numpy()  # H x W x 3, or H x W
    image = Image.fromarray(pixels)
    kind = "png" if image.height < PIXELATED else "jpeg"
    if image.height > MAX_HEIGHT:
        size = (max(1, round(image.width * MAX_HEIGHT / image.height)), MAX_HEIGHT)
        image = image.resize(size, Image.Resampling.BILINEAR)
    file = BytesIO()
    image.save(file, kind.upper(), **({"quality": 80} if kind == "jpeg" else {}))
    return f"data:image/{kind};base64,{b64encode(file.getvalue()).decode()}"
