"""The activations of every layer of a net, as bytes for the page."""

from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from zoo.protocols import Net, layers_of, shape_text

MAX_MAPS = 64  # maps of a layer that are shown
MAX_UNITS = 4096  # units of a layer that are shown
MAX_SIDE = 56  # pixels; larger maps are reduced


def encoded(values: Tensor) -> dict[str, Any]:
    """Values as bytes on a scale of their own, with what is needed to read them.

    Returns:
        ``data`` (base64), ``shape``, ``signed`` and ``scale``: a value is scale * byte / 255, or, if any is negative,
        scale * (byte - 128) / 127.
    """
    x = values.detach().float().cpu().nan_to_num()
    scale = float(x.abs().max()) or 1.0
    signed = bool((x < 0).any())
    levels = (x / scale * 127 + 128) if signed else (x / scale * 255)
    data = levels.round().clamp(0, 255).byte().numpy().tobytes()
    return {"data": b64encode(data).decode(), "shape": list(x.shape), "signed": signed, "scale": scale}


def image(pixels: Tensor) -> dict[str, Any]:
    """Bytes of an image, C x H x W, of which one or three channels are shown, as ``data`` and ``shape`` (H x W x C)."""
    shown = pixels if pixels.shape[0] in (1, 3) else pixels[:1]
    data = shown.permute(1, 2, 0).contiguous()  # H x W x C
    return {"data": b64encode(data.numpy().tobytes()).decode(), "shape": list(data.shape)}


def activations(net: nn.Module, x: Tensor) -> list[dict[str, Any]]:
    """The outputs of all layers below the head for one input, from one pass.

    Args:
        net: in eval mode.
        x: 1 x C x H x W, preprocessed.

    Returns:
        For each layer its ``name``, a ``title``, the values as `encoded` has them (K x h x w for maps, else one
        dimension), and ``total``, the number of its maps or units.
    """
    if not isinstance(net, Net):
        return []
    layers = layers_of(net)
    names = list(layers)
    with _last_maps(layers) as maps:
        outputs = net.encode(x, list(range(1, len(names) + 1)))
    found = []
    for number, (name, output) in enumerate(zip(names, outputs, strict=True), start=1):
        # A layer that ends by flattening its maps is shown as maps.
        last = maps.get(name)
        values = last[0] if last is not None and last.numel() == output.numel() else output[0]
        is_maps = values.dim() == 3 and values.shape[1:].numel() > 1
        shown = _reduced(values[:MAX_MAPS]) if is_maps else values.flatten()[:MAX_UNITS]
        total = values.shape[0] if is_maps else values.numel()
        kind = f"{total:,} maps of {shape_text(values.shape[1:])}" if is_maps else f"{total:,} units"
        label = f"layer {number}" if name.isdigit() or name == "net" else name
        found.append({"name": label, "title": kind, "total": total, **encoded(shown)})
    return found


def _reduced(maps: Tensor) -> Tensor:
    """Maps, K x h x w, of at most `MAX_SIDE` pixels in height and width."""
    height, width = maps.shape[1:]
    factor = max(height, width) / MAX_SIDE
    if factor <= 1:
        return maps
    size = (max(1, round(height / factor)), max(1, round(width / factor)))
    return F.adaptive_avg_pool2d(maps[None], size)[0]


@contextmanager
def _last_maps(layers: dict[str, nn.Module]) -> Iterator[dict[str, Tensor]]:
    """Within the block, note the last feature maps that are computed inside each layer."""
    found: dict[str, Tensor] = {}

    def note(name: str, output: object) -> None:
        if isinstance(output, Tensor) and output.dim() == 4:
            found[name] = output

    hooks = [
        module.register_forward_hook(lambda _module, _inputs, output, name=name: note(name, output))
        for name, layer in layers.items()
        for module in layer.modules()
    ]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()
