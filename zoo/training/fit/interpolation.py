"""Mix the weights after a fit with those before it.

Fine-tuning on few examples makes a net overconfident, and it forgets some of what the pretrained weights knew. A net
whose weights lie between those before and after the fine-tuning is often more accurate than both: M. Wortsman et al.,
"Robust fine-tuning of zero-shot models", CVPR 2022 (WiSE-FT, there with a mixing coefficient of 0.5).
"""

from collections.abc import Callable
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch import Callback
from torch import Tensor, nn

AUTO = "auto"
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)  # from which AUTO chooses


def check(share: Any, *, where: str) -> None:
    """Raise ValueError unless ``share``, the value of a config's key ``where``, is null, a number or auto."""
    is_number = isinstance(share, int | float) and not isinstance(share, bool)
    if not (share is None or is_number or share == AUTO):
        raise ValueError(f"{where}={share}: choose a number in (0, 1], {AUTO} or null")


class Interpolation(Callback):
    """Keeps the weights that a net has before the first step, also over a stop, for `apply` after the fit.

    Args:
        net: the net that is trained.
        share: share of the trained weights, in (0, 1]; the rest are the weights before. Or `AUTO`: the one of `SHARES`
            with the lowest loss.
    """

    def __init__(self, net: nn.Module, share: float | str):
        self.net = net
        self.share = share
        self.initial: dict[str, Tensor] = {}

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # A resumed fit has them from its checkpoint.
        if not self.initial:
            self.initial = _copy(self.net)

    def state_dict(self) -> dict[str, Any]:
        return {"initial": self.initial}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.initial = state_dict["initial"]

    def apply(self, loss: Callable[[], float]) -> float:
        """Set every weight and buffer w of the net to (1 - share) * w before + share * w; integers stay as they are.

        Args:
            loss: the validation loss of the net with the weights that it has.

        Returns:
            The share. Of shares with the same loss, `AUTO` takes the smallest.
        """
        trained = _copy(self.net)
        losses = {}
        if isinstance(self.share, str):
            for share in SHARES:
                self._mix(trained, share)
                losses[share] = loss()
        chosen = min(losses, key=lambda share: losses[share]) if isinstance(self.share, str) else self.share
        self._mix(trained, chosen)
        return chosen

    @torch.no_grad()
    def _mix(self, trained: dict[str, Tensor], share: float) -> None:
        for name, value in self.net.state_dict().items():
            if value.is_floating_point():
                # lerp keeps values that did not change, to the bit.
                value.copy_(torch.lerp(self.initial[name].to(value), trained[name], share))


def _copy(net: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in net.state_dict().items()}
