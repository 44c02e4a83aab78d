"""The up-down algorithm: how a whole deep belief network is fine-tuned as a generative model."""

from typing import Any, ClassVar, Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.tasks.encoded import Encoded
from zoo.tasks.fitting import Fitting
from zoo.tasks.optimization import Optimization, is_logging_step
from zoo.tasks.unsupervised import (
    FP16,
    NO_TARGETS,
    check_chains,
    check_unit_interval,
    drawn,
    log_generative,
    restarted,
)


class Belief(Protocol):
    """What the task needs of a deep belief network: RBMs, and recognition weights for all but the top one."""

    layers: nn.ModuleList
    recognition: nn.ModuleList

    def untie(self) -> None: ...


class WakeSleep(Fitting):
    """Contrastive wake-sleep (Hinton, Osindero & Teh 2006, section 5 and appendix B).

    Wake: the data are recognised upwards, each layer drawn; the generative weights learn to give each layer back from
    the one above. At the top, k steps of Gibbs sampling, and contrastive divergence. Sleep: what the chain ended in is
    generated downwards; the recognition weights learn to tell what it came from. Each part is a sum of log
    probabilities that concerns parameters of its own, so the loss is their sum.

    A net that also has to classify well can be told so: log p(label | picture), which the top RBM gives exactly, may
    count on its own (the hybrid of Larochelle & Bengio 2008). Its gradient goes through the recognition weights.

    Args:
        net: a deep belief network; its recognition weights are parted from the generative ones here.
        layer: None; the algorithm is about all layers.
        k: Gibbs steps in the top RBM.
        persistent: whether its chains, as many as a batch has examples, go on from batch to batch in place of starting
            at the data (Tieleman 2008). Else samples that start at noise may end where no chain has been.
        restart: the probability with which a persistent chain begins anew from noise at each update.
        label_weight: how much log p(label | picture) counts beside the rest; 0 is the algorithm as published.
        optimization: optimizer and learning-rate course; None for evaluation only.

    Raises:
        ValueError: a ``layer``, k below 1, a restart that is no probability or of chains that do not persist, a
            negative ``label_weight`` or one for a net without label units, or a net that is no deep belief network of
            Bernoulli units.
    """

    targets: ClassVar[str] = NO_TARGETS
    monitor: ClassVar[str] = "val/reconstruction_error"
    has_validation_loss: ClassVar[bool] = False  # what is descended has no value of its own
    mode: ClassVar[str] = "min"
    refused_precisions: ClassVar[dict[str, str]] = FP16
    layer_input: Encoded

    def __init__(
        self,
        net: nn.Module,
        layer: int | None = None,
        *,
        k: int = 3,
        persistent: bool = False,
        restart: float = 0.0,
        label_weight: float = 0.0,
        optimization: Optimization | None = None,
    ):
        super().__init__()
        if layer is not None:
            raise ValueError("wake-sleep fits the whole net; use the schedule joint")
        check_chains(k=k, persistent=persistent, restart=restart)
        if not hasattr(net, "untie"):
            raise ValueError(f"wake-sleep is for deep belief networks; {type(net).__name__} is none")
        if label_weight < 0:
            raise ValueError(f"label_weight={label_weight}: a weight from 0 on is needed")
        if label_weight and not getattr(net, "label_units", False):
            raise ValueError(f"label_weight={label_weight}: the net has no label units, set model.net.label_units=true")
        self.net, self.optimization = net, optimization
        self.k, self.persistent, self.restart, self.label_weight = k, persistent, restart, label_weight
        self.chains: Tensor | None = None  # not a buffer: those are made equal in all processes
        self.belief.untie()
        self.layer_input = Encoded(net, None)

    @property
    def belief(self) -> Belief:
        return cast(Belief, self.net)

    def check_inputs(self, x: Tensor) -> None:
        """Raise ValueError where the inputs, N x in_shape, leave [0, 1]."""
        check_unit_interval(x, what="Bernoulli visible units need inputs", fix="another model")

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        x, y = batch
        *lower, top = list(cast(Any, self.belief.layers))
        recognition = self.belief.recognition
        with torch.no_grad():
            awake = [self.layer_input(x)]  # states of the layers, from the pixels up: N x H_k
            for up in recognition:
                awake.append(drawn(torch.sigmoid(up(awake[-1]))))
            v0 = top.with_labels(awake[-1], y)
            start = v0 if self.chains is None else self.chains.to(v0)
            if self.chains is not None and self.restart:
                start = restarted(start, top.noise(len(start)), self.restart)
            vk = top.gibbs(start, self.k)
            self.chains = vk if self.persistent else None
            asleep = [vk[:, : awake[-1].shape[1]]]  # from the top down
            for rbm in reversed(lower):
                asleep.append(rbm.sample_visible(asleep[-1]))
            asleep.reverse()
        wake = sum(
            _cross_entropy(rbm.visible_input(above), below)
            for rbm, below, above in zip(lower, awake, awake[1:], strict=False)
        )
        divergence = top.free_energy(v0).mean() - top.free_energy(vk).mean()
        sleep = sum(_cross_entropy(up(asleep[k]), asleep[k + 1]) for k, up in enumerate(recognition))
        loss = wake + divergence + sleep
        if self.label_weight:
            loss = loss + self.label_weight * F.cross_entropy(self.net(x), y)
        if is_logging_step(self):
            self.log("train/wake", wake)
            self.log("train/sleep", sleep)
            self.log("train/loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        log_generative(self, self.net, *batch, part="val")

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        log_generative(self, self.net, *batch, part="test")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["chains"] = self.chains

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.chains = checkpoint["chains"]

    def trainable_parameters(self) -> list[nn.Parameter]:
        """All but a head, and the hidden biases of the directed layers, for which the recognition has its own."""
        head = getattr(self.net, "head", None)
        others = {cast(Any, rbm).hidden_bias for rbm in list(self.belief.layers)[:-1]}
        others |= set() if head is None else set(head.parameters())
        return [p for p in self.net.parameters() if p not in others]


def _cross_entropy(logits: Tensor, states: Tensor) -> Tensor:
    """-log p(states), summed over units, the mean over the batch."""
    return F.binary_cross_entropy_with_logits(logits, states, reduction="sum") / len(states)
