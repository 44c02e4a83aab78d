"""Task: fine-tune a whole deep belief network as a generative model by wake-sleep (up-down)."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from zoo.models.units import bernoulli
from zoo.protocols import BeliefNet, RBMLayer, head_of, layers_of
from zoo.tasks.layer_input import LayerInput
from zoo.tasks.optimization import MakeOptimizer, MakeSchedule, is_logging_step
from zoo.tasks.task import Batch
from zoo.tasks.unsupervised import GenerativeTask, check_unit_interval, log_generative


class WakeSleep(GenerativeTask):
    """Contrastive wake-sleep, also known as the up-down algorithm (Hinton, Osindero & Teh 2006, section 5, appendix B).

    - Wake: every layer is sampled from the bottom up with the recognition weights. The generative weights are trained
      to predict each layer from the layer above.
    - Top: the top RBM is trained by contrastive divergence with k Gibbs steps.
    - Sleep: from the end of the Gibbs chain, every layer is sampled from the top down with the generative weights. The
      recognition weights are trained to predict each layer from the layer below.

    The three terms of the loss depend on different parameters, so the loss is their sum.

    For a net that should also classify well, log p(label | image) can be added to the objective (the hybrid of
    Larochelle & Bengio 2008). The top RBM computes it exactly; its gradient also trains the recognition weights.

    Args:
        net: a deep belief network (`zoo.protocols.BeliefNet`); the constructor unties its recognition weights.
        layer: must be None, since the algorithm trains all layers.
        k: Gibbs steps in the top RBM, >= 1.
        persistent: whether the chains of the top RBM, one per example of the first batch, continue from batch to batch
            instead of starting at the data (Tieleman 2008). Without it, the chains of `net.sample`, which start from
            noise, may reach states that training never visited.
        restart: probability, per update, with which a persistent chain is restarted from noise, in [0, 1).
        label_weight: weight of log p(label | image), >= 0; 0 is the algorithm as published.
        optimizer, lr_schedule, total_steps: as in `zoo.tasks.task.Task`.

    Raises:
        ValueError: ``layer`` is not None, k < 1, a restart out of range or of chains that are not persistent, a
            ``label_weight`` that is negative or for a net without label units, or a net that is not a deep belief
            network of Bernoulli units.
    """

    layer_input: LayerInput

    def __init__(
        self,
        net: nn.Module,
        layer: int | None = None,
        *,
        k: int = 3,
        persistent: bool = False,
        restart: float = 0.0,
        label_weight: float = 0.0,
        optimizer: MakeOptimizer | None = None,
        lr_schedule: MakeSchedule | None = None,
        total_steps: int | None = None,
    ):
        super().__init__(
            k=k,
            persistent=persistent,
            restart=restart,
            optimizer=optimizer,
            lr_schedule=lr_schedule,
            total_steps=total_steps,
        )
        if layer is not None:
            raise ValueError("wake-sleep (up-down) trains the whole net; set order=joint")
        if not isinstance(net, BeliefNet):
            raise ValueError(
                f"wake-sleep (up-down) needs a deep belief network, got {type(net).__name__}; choose another stage, or "
                "model=dbn_generative"
            )
        if label_weight < 0:
            raise ValueError(f"label_weight={label_weight} must be >= 0")
        if label_weight and not net.label_units:
            raise ValueError(f"label_weight={label_weight}: the net has no label units, set model.net.label_units=true")
        # Untie the recognition weights, so that both directions are trained separately.
        self.net = net
        self.label_weight = label_weight
        self.layer_input = LayerInput(net, None)
        net.untie()

    @property
    def belief_net(self) -> BeliefNet:
        """The net, typed as `BeliefNet` for the type checker; the constructor has checked it."""
        module: Any = self.net
        net: BeliefNet = module
        return net

    def rbms(self) -> tuple[list[RBMLayer], RBMLayer]:
        """The RBMs of the directed layers, from the input up, and the top RBM."""
        net = self.belief_net
        *directed, top = [net.rbm(k) for k in range(len(layers_of(self.net)))]
        return directed, top

    def check_inputs(self, x: Tensor) -> None:
        """Raise ValueError if the inputs, N x in_shape, are not in [0, 1]."""
        check_unit_interval(x, what="inputs of Bernoulli visible units must be", fix="use another model")

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        x, y = self.unpacked(batch)
        net = self.belief_net
        directed, top = self.rbms()

        with torch.no_grad():
            # Wake: sample every layer with the recognition weights, from the pixels up.
            awake = [self.layer_input(x)]  # N x H_k for each layer k
            for k in range(len(directed)):
                logits = net.recognition_input(awake[k], k)
                awake.append(bernoulli(torch.sigmoid(logits)))

            # Top: Gibbs chains that start at the states of the wake phase, or continue from the last batch.
            v0 = top.with_labels(awake[-1], y)  # N x V of the top RBM
            start = v0 if self.chains is None else self.continued_chains(top, like=v0)
            vk = top.gibbs(start, self.k)
            self.chains = vk if self.persistent else None

            # Sleep: sample every layer with the generative weights, from the ends of the chains down.
            asleep = [vk[:, : awake[-1].shape[1]]]  # without the labels
            for rbm in reversed(directed):
                asleep.append(rbm.sample_visible(asleep[-1]))
            asleep.reverse()

        # The three terms of the loss, for the generative weights, the top RBM and the recognition weights.
        wake = torch.zeros((), device=x.device)
        sleep = torch.zeros((), device=x.device)
        for k, rbm in enumerate(directed):
            wake = wake + _cross_entropy(rbm.visible_input(awake[k + 1]), awake[k])
            sleep = sleep + _cross_entropy(net.recognition_input(asleep[k], k), asleep[k + 1])
        divergence = top.free_energy(v0).mean() - top.free_energy(vk).mean()
        loss = wake + divergence + sleep
        # The hybrid objective: log p(label | image) from the free energies of the top RBM.
        if self.label_weight:
            loss = loss + self.label_weight * F.cross_entropy(net(x), y)

        if is_logging_step(self):
            self.log("train/wake", wake)
            self.log("train/sleep", sleep)
            self.log("train/loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        x, y = self.unpacked(batch)
        log_generative(self, self.net, x, y, split="val")

    def trainable_parameters(self) -> list[nn.Parameter]:
        """All parameters except those of a head, and those that the untied net no longer uses."""
        head = head_of(self.net)
        others = set(self.belief_net.unused_parameters())
        others |= set() if head is None else set(head.parameters())
        return [p for p in self.net.parameters() if p not in others]

    def default_optimizer(self, parameters: Any) -> Optimizer:
        """SGD with a learning rate of 0.01."""
        return torch.optim.SGD(parameters, lr=0.01)


def _cross_entropy(logits: Tensor, states: Tensor) -> Tensor:
    """-log p(states), summed over units, mean over the batch; logits and states are N x H."""
    return F.binary_cross_entropy_with_logits(logits, states, reduction="sum") / len(states)
