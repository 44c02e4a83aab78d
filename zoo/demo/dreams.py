"""Gibbs chains of an RBM or a deep belief network that start at the drawing or at noise."""

from base64 import b64decode, b64encode
from binascii import Error
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo.demo import layers
from zoo.demo.exhibits import Exhibit
from zoo.protocols import Generative, HasLabelUnits, Net, RBMLayer, StackOfRBMs, layers_of

MAX_CHAINS = 20
MAX_STEPS = 2000  # Gibbs steps of one request, over all frames


@dataclass(frozen=True)
class Request:
    """A part of a Gibbs chain.

    Attributes:
        frames: number of images of each chain.
        steps: Gibbs steps before each image.
        chains: number of chains; one if they start at a drawing.
        label: number of the class at which the label units are fixed; None: they are sampled.
        state: where the last part ended, see `dream`; "": begin.
    """

    frames: int
    steps: int
    chains: int
    label: int | None
    state: str


def dream(exhibit: Exhibit, request: Request, raw: Tensor | None) -> dict[str, Any]:
    """The next images of the chains.

    Args:
        exhibit: a generative net.
        request: which chains, and how far.
        raw: the drawing to start from, C x H x W bytes; None: start at noise, or continue.

    Returns:
        ``images``: frames x chains images; ``classes``: the class that the label units show, for each of them, if there
        are label units; ``state``, from which the next request continues.

    Raises:
        ValueError: the net is not generative or has no such class, too many steps or chains, or a damaged state.
    """
    net = exhibit.generative
    if net is None or not isinstance(net, Net):
        raise ValueError("this net is not generative")
    if request.frames * request.steps > MAX_STEPS or request.chains > MAX_CHAINS:
        raise ValueError(f"at most {MAX_STEPS:,} Gibbs steps and {MAX_CHAINS} chains at a time")
    if request.label is not None and not (exhibit.has_labels and request.label < len(exhibit.about.classes)):
        raise ValueError(f"label={request.label}: this net has no label unit for it")
    with torch.inference_mode():
        top = _top(net)
        v = _begin(exhibit, net, top, request, raw)  # N x V
        labels = None if request.label is None else torch.full((len(v),), request.label, device=v.device)

        # Draw an image after every few steps. The label units follow the pixels, or the units of the layer below.
        images: list[list[dict[str, Any]]] = []
        classes: list[list[int]] = []
        count = len(exhibit.about.classes) if exhibit.has_labels else 0
        for _ in range(request.frames):
            v = top.gibbs(v, request.steps, labels=labels)
            images.append([layers.image(pixels) for pixels in exhibit.pixels(net.generate(v))])
            if count:
                classes.append(v[:, -count:].argmax(dim=1).tolist())
    state = b64encode(v.float().cpu().numpy().tobytes()).decode()
    return {"images": images, "classes": classes, "state": state}


def _top(net: Generative) -> RBMLayer:
    """The RBM in which the chains run: the net itself, or the top of a stack."""
    top = net.rbm(-1) if isinstance(net, StackOfRBMs) else net
    if not isinstance(top, RBMLayer):
        raise ValueError("this net has no RBM to run a chain in")
    return top


def _begin(exhibit: Exhibit, net: Net, top: RBMLayer, request: Request, raw: Tensor | None) -> Tensor:
    """The states of the visible units of the top RBM at which the chains start, N x V."""
    if request.state:
        return _restored(request, top).to(exhibit.device)
    if raw is None:
        return top.noise(request.chains).to(exhibit.device)
    # Bottom-up to the layer below the top RBM; the label units begin at the predicted class.
    x = exhibit.preprocess(raw[None].to(exhibit.device))  # 1 x C x H x W
    depth = len(layers_of(exhibit.net)) - 1
    v = net.encode(x, depth)  # 1 x units
    if isinstance(net, HasLabelUnits) and net.label_units:
        v = top.with_labels(v, net(x).argmax(dim=1))
    return v


def _restored(request: Request, top: RBMLayer) -> Tensor:
    """The state that an earlier request returned."""
    try:
        values = np.frombuffer(b64decode(request.state, validate=True), dtype=np.float32).copy()
    except (Error, ValueError) as error:
        raise ValueError("state: damaged; start the chain again") from error
    shape = (request.chains, *top.visible_shape)
    if values.size != np.prod(shape) or not np.isfinite(values).all():
        raise ValueError("state: of another net or number of chains; start the chain again")
    return torch.from_numpy(values).reshape(shape)
