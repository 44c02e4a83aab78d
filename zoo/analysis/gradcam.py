"""Grad-CAM: the parts of an image that support a class, for any net with feature maps, or tokens on a grid.

Selvaraju et al. 2017, "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization", eq. 1 and 2.
"""

from collections import deque
from collections.abc import Iterable
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.protocols import eval_mode

CANDIDATES = 32  # number of last feature maps that are kept for a net with tokens


@runtime_checkable
class HasTokens(Protocol):
    """A net whose features may be tokens or maps with the channels last, such as `zoo.models.TimmNet`."""

    def map_modules(self) -> Iterable[nn.Module]:
        """The modules whose outputs may be feature maps."""

    def as_maps(self, output: Tensor) -> Tensor | None:
        """The output of a module as feature maps, N x C x h x w; None if it has none."""


def gradcam(net: nn.Module, x: Tensor, classes: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """How much each region of an image supports a class; the net is not changed.

    Explains the feature maps closest to the head: the last output of a module with more than one pixel, such as the
    input of the final pooling. Where only a class token reaches the head, these are the tokens from which the last
    block computes it.

    Args:
        net: returns logits, N x classes (N x 1: of the second of two classes); used in evaluation mode.
        x: N x C x H x W, preprocessed.
        classes: N class numbers; None: the predicted classes.

    Returns:
        Heatmaps N x H x W in [0, 1], each with its own scale (all 0 if nothing supports the class), and the N
        class numbers.

    Raises:
        ValueError: the net has no convolutional feature maps.
    """
    # The last feature maps are explained. The last tokens may not reach the head, so for tokens keep earlier ones, too.
    tokens = net if isinstance(net, HasTokens) else None
    last: deque[Tensor] = deque(maxlen=1 if tokens is None else CANDIDATES)

    def keep(module: nn.Module, inputs: object, output: object) -> Tensor | None:
        if not isinstance(output, Tensor) or as_maps(output) is None:
            return None
        last.append(output)
        return output.clone()  # a ReLU in place may follow

    as_maps = _maps if tokens is None else tokens.as_maps
    modules = net.modules() if tokens is None else tokens.map_modules()
    hooks = [module.register_forward_hook(keep) for module in modules]
    try:
        with eval_mode(net), torch.inference_mode(False), torch.enable_grad():
            # The input requires a gradient, so that frozen weights do not matter. The clone keeps the net from writing
            # into x.
            logits = net(x.detach().clone().requires_grad_().clone())  # N x classes
            if not last:
                raise ValueError(f"{type(net).__name__} has no convolutional feature maps, which Grad-CAM needs")
            if logits.shape[1] == 1:
                logits = torch.cat([-logits, logits], dim=1)

            # The gradient of each example's class with respect to the maps.
            numbers = logits.argmax(dim=1) if classes is None else classes.to(logits.device)
            chosen = logits.gather(1, numbers[:, None]).sum()
            gradients = torch.autograd.grad(chosen, list(last), materialize_grads=True)
    finally:
        for hook in hooks:
            hook.remove()

    # The last maps that the class depends on.
    pairs = [(as_maps(output.detach()), as_maps(gradient)) for output, gradient in zip(last, gradients, strict=True)]
    used = [(maps, gradient) for maps, gradient in pairs if gradient is not None and gradient.any()]
    found, gradient = (used or pairs)[-1]  # N x K x h x w, both
    assert found is not None
    assert gradient is not None

    # Equation 1: the weight of a map is the mean of its gradient. Equation 2: add the weighted maps, and keep the
    # positive values, which support the class.
    weights = gradient.mean(dim=(2, 3), keepdim=True)  # N x K x 1 x 1
    maps = (weights * found).sum(dim=1, keepdim=True).relu().float()  # N x 1 x h x w

    # Enlarge to the size of the image and divide by the peak, unless that is 0.
    maps = F.interpolate(maps, size=x.shape[2:], mode="bilinear", align_corners=False)[:, 0]  # N x H x W
    peak = maps.amax(dim=(1, 2), keepdim=True)
    tiny = torch.finfo(torch.float32).tiny
    return torch.where(peak > 0, maps / peak.clamp(min=tiny), 0.0), numbers


def _maps(output: Tensor) -> Tensor | None:
    """The output of a module if it is feature maps of more than one pixel, N x C x h x w; else None."""
    return output if output.dim() == 4 and output.shape[2:].numel() > 1 else None
