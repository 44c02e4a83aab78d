"""Grad-CAM: the parts of an image that support a class, for any net with convolutional feature maps.

Selvaraju et al. 2017, "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization", eq. 1 and 2.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.protocols import eval_mode


def gradcam(net: nn.Module, x: Tensor, classes: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """How much each region of an image supports a class; the net is not changed.

    Explains the feature maps closest to the head: the last output of a module with more than one pixel, such as the
    input of the final pooling.

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
    last: list[Tensor] = []  # the maps of the last module that returned maps; empty before that

    def keep(module: nn.Module, inputs: object, output: object) -> Tensor | None:
        if not isinstance(output, Tensor) or output.dim() != 4 or output.shape[2:].numel() < 2:
            return None
        last[:] = [output]
        return output.clone()  # a ReLU in place may follow

    hooks = [module.register_forward_hook(keep) for module in net.modules()]
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
            (gradient,) = torch.autograd.grad(chosen, last)  # N x K x h x w
    finally:
        for hook in hooks:
            hook.remove()

    # Equation 1: the weight of a map is the mean of its gradient. Equation 2: add the weighted maps, and keep the
    # positive values, which support the class.
    weights = gradient.mean(dim=(2, 3), keepdim=True)  # N x K x 1 x 1
    maps = (weights * last[0].detach()).sum(dim=1, keepdim=True).relu().float()  # N x 1 x h x w

    # Enlarge to the size of the image and divide by the peak, unless that is 0.
    maps = F.interpolate(maps, size=x.shape[2:], mode="bilinear", align_corners=False)[:, 0]  # N x H x W
    peak = maps.amax(dim=(1, 2), keepdim=True)
    tiny = torch.finfo(torch.float32).tiny
    return torch.where(peak > 0, maps / peak.clamp(min=tiny), 0.0), numbers
