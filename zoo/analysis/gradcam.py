"""Grad-CAM: where in a picture a net saw a class, for any net with convolutional maps. Torch only.

Selvaraju et al. 2017, "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization", eq. 1 and 2.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.protocols import eval_mode


def gradcam(net: nn.Module, x: Tensor, classes: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """How much each pixel's surroundings speak for a class; the net is left as it was.

    The maps explained are the last that a module puts out with more than one pixel, such as those before the pooling.

    Args:
        net: gives N x classes logits (N x 1: of the second of two classes); run in eval mode.
        x: N x C x H x W, preprocessed.
        classes: N class numbers; None: those the net predicts.

    Returns:
        Maps N x H x W within 0 to 1, each with its own scale (all 0 where nothing speaks for the class), and the N
        class numbers.

    Raises:
        ValueError: the net has no maps.
    """
    last: list[Tensor] = []  # none, or the maps of the module that ended last

    def keep(module: nn.Module, inputs: object, output: object) -> Tensor | None:
        if not isinstance(output, Tensor) or output.dim() != 4 or output.shape[2:].numel() < 2:
            return None
        last[:] = [output]
        return output.clone()  # a ReLU in place may follow

    hooks = [module.register_forward_hook(keep) for module in net.modules()]
    try:
        with eval_mode(net), torch.inference_mode(False), torch.enable_grad():
            # asked of the input, so that frozen weights do not matter; cloned, so that nothing is written into x
            logits = net(x.detach().clone().requires_grad_().clone())  # N x classes
            if not last:
                raise ValueError(f"{type(net).__name__} has no maps: Grad-CAM explains convolutional nets only")
            if logits.shape[1] == 1:
                logits = torch.cat([-logits, logits], dim=1)
            numbers = logits.argmax(dim=1) if classes is None else classes.to(logits.device)
            (gradient,) = torch.autograd.grad(logits.gather(1, numbers[:, None]).sum(), last)  # N x K x h x w
    finally:
        for hook in hooks:
            hook.remove()
    weights = gradient.mean(dim=(2, 3), keepdim=True)  # N x K x 1 x 1
    maps = (weights * last[0].detach()).sum(dim=1, keepdim=True).relu().float()  # N x 1 x h x w
    maps = F.interpolate(maps, size=x.shape[2:], mode="bilinear", align_corners=False)[:, 0]
    peak = maps.amax(dim=(1, 2), keepdim=True)
    return torch.where(peak > 0, maps / peak.clamp(min=torch.finfo(torch.float32).tiny), 0.0), numbers
