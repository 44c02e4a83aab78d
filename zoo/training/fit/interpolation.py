"""Mix the weights after a fit with those before it.

Fine-tuning on few examples makes a net overconfident, and it forgets some of what the pretrained weights knew. A net
whose weights lie between those before and after the fine-tuning is often more accurate than both: M. Wortsman et al.,
"Robust fine-tuning of zero-shot models", CVPR 2022 (WiSE-FT, there with a mixing coefficient of 0.5).
"""

from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch import Callback
from torch import Tensor, nn


class Interpolation(Callback):
    """Keeps the weights that a net has before the first step, for `apply` after the fit.

    They are saved in ``last.ckpt``, so that a resumed fit has them, too.

    Args:
        net: the net that is trained.
        share: share of the trained weights, in (0, 1]; the rest are the weights before.
    """

    def __init__(self, net: nn.Module, share: float):
        self.net = net
        self.share = share
        self.initial: dict[str, Tensor] = {}

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # A resumed fit has them from its checkpoint.
        if not self.initial:
            self.initial = {name: value.detach().clone() for name, value in self.net.state_dict().items()}

    def state_dict(self) -> dict[str, Any]:
        return {"initial": self.initial}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.initial = state_dict["initial"]

    @torch.no_grad()
    def apply(self) -> None:
        """Set every weight and buffer w of the net to (1 - share) * w0 + share * w; integers stay as they are.

        w0 is the value of w before the fit.
        """
        for name, value in self.net.state_dict().items():
            if value.is_floating_point():
                # lerp keeps values that did not change, to the bit.
                value.copy_(torch.lerp(self.initial[name].to(value), value, self.share))
