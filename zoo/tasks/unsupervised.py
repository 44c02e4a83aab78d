"""Shared code of the tasks without targets: input checks, persistent Gibbs chains and metrics."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from zoo.models.free_energy_difference import free_energy_difference
from zoo.protocols import Contrasting, HasLabelUnits, HasPseudoLikelihood, RBMLayer, Reconstructing, SharesWeights
from zoo.tasks.optimization import MakeOptimizer, MakeSchedule
from zoo.tasks.task import Batch, Task, inputs_and_labels

NO_TARGETS = "none"
FP16 = {"16-mixed": "free energies and their differences exceed the range of float16; use bf16-mixed or 32-true"}


class GenerativeTask(Task):
    """Abstract: a task that trains a distribution by Gibbs chains.

    Only the gradient of the loss is meaningful, not its value, so there is no validation loss. Checkpoints contain the
    persistent chains. They are not a buffer: DDP would copy a buffer to all processes, but each process has its own
    chains.

    Args:
        k: Gibbs steps per update, >= 1.
        persistent: whether chains continue from batch to batch.
        restart: probability, per update, with which a persistent chain is restarted from noise, in [0, 1).
        optimizer, lr_schedule, total_steps: as in `zoo.tasks.task.Task`.

    Raises:
        ValueError: k < 1, restart outside [0, 1), or a restart of chains that are not persistent.
    """

    targets: ClassVar[str] = NO_TARGETS
    monitor: ClassVar[str] = "val/reconstruction_error"
    mode: ClassVar[str] = "min"
    has_validation_loss: ClassVar[bool] = False
    refused_precisions: ClassVar[dict[str, str]] = FP16

    def __init__(
        self,
        *,
        k: int,
        persistent: bool,
        restart: float,
        optimizer: MakeOptimizer | None,
        lr_schedule: MakeSchedule | None,
        total_steps: int | None,
    ) -> None:
        super().__init__(optimizer=optimizer, lr_schedule=lr_schedule, total_steps=total_steps)
        if k < 1:
            raise ValueError(f"k={k} must be >= 1")
        if not 0 <= restart < 1:
            raise ValueError(f"restart={restart} must be in [0, 1)")
        if restart and not persistent:
            raise ValueError(f"restart={restart} is for persistent chains; set persistent=true, or restart=0")
        self.k = k
        self.persistent = persistent
        self.restart = restart
        self.chains: Tensor | None = None  # one row of V units per persistent chain; None before the first update

    def continued_chains(self, rbm: RBMLayer, *, like: Tensor) -> Tensor:
        """The states from which the persistent chains continue, after random restarts; one row of V units per chain.

        Args:
            rbm: the RBM that the chains sample.
            like: tensor with the device and dtype of the result.
        """
        assert self.chains is not None, "no chain has started yet"
        chains = self.chains.to(like)
        if self.restart:
            # Restart each chain from noise with the probability ``restart`` (as in Du & Mordatch 2019).
            noise = rbm.noise(len(chains)).to(chains)
            again = torch.rand(len(chains), 1, device=chains.device) < self.restart  # chains x 1
            chains = torch.where(again.view(-1, *[1] * (chains.dim() - 1)), noise, chains)
        return chains

    def free_energy_difference(self, rbm: RBMLayer, v0: Tensor, vk: Tensor, *, hidden_input: Tensor) -> Tensor:
        """mean F(v0) - mean F(vk), a scalar; divided by the number of hidden units that share a kernel, if they do.

        Then the gradient is a mean over positions (Lee et al. 2009), and one learning rate suits images of any size.

        Args:
            rbm: the RBM.
            v0: the data, N x visible.
            vk: the ends of the Gibbs chains.
            hidden_input: the hidden pre-activations of v0.
        """
        # An RBM may compute it by itself.
        if isinstance(rbm, Contrasting):
            difference = rbm.free_energy_difference(v0, vk, hidden_input=hidden_input)
        else:
            difference = free_energy_difference(rbm, v0, vk, hidden_input)
        return difference / rbm.positions if isinstance(rbm, SharesWeights) else difference

    def unpacked(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Inputs and class numbers of a batch. Raises ValueError if a net with label units gets no labels."""
        return inputs_and_labels(batch, needed=isinstance(self.net, HasLabelUnits) and bool(self.net.label_units))

    def mean_over_processes(self, values: Tensor) -> Tensor:
        """The mean over all processes of the trainer."""
        if self._trainer is None or self.trainer.world_size == 1:
            return values
        mean = self.trainer.strategy.reduce(values, reduce_op="mean")
        assert isinstance(mean, Tensor)
        return mean

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["chains"] = self.chains

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.chains = checkpoint["chains"]

    def test_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        x, y = self.unpacked(batch)
        log_generative(self, self.net, x, y, split="test")


def check_unit_interval(v: Tensor, *, what: str, fix: str) -> None:
    """Raise ValueError if values are not in [0, 1].

    Args:
        v: the values, of any shape.
        what: start of the message, such as "inputs must be".
        fix: what to set for real values, such as "loss=squared_error".
    """
    low = v.min().item()
    high = v.max().item()
    if low < 0 or high > 1:
        raise ValueError(
            f"{what} in [0, 1], got [{low:.3g}, {high:.3g}]: "
            f"set model.input_scaling=unit for images, or {fix} for real values"
        )


def squared_error(x: Tensor, reconstruction: Tensor) -> Tensor:
    """The squared error (x - x')², summed over the values of each example: two tensors of N examples -> N."""
    return (x.flatten(1) - reconstruction.flatten(1)).square().sum(dim=1)


def log_generative(task: Task, net: nn.Module | RBMLayer, x: Tensor, y: Tensor, *, split: str) -> None:
    """Log the metrics of a generative net, or of one RBM of a stack. They replace a validation loss.

    - ``reconstruction_error``: squared error of `net.reconstruct`, summed over the inputs.
    - ``pseudo_log_likelihood``: for an RBM with Bernoulli units, in nats; inputs are rounded to zeros and ones.
    - ``accuracy``: for a net with label units.

    Args:
        task: the task that logs.
        net: the net to evaluate.
        x: inputs of the net, N x in_shape (N x V for one RBM).
        y: class numbers, N; read only if the net has label units.
        split: "val" or "test", the first part of the metrics' names.
    """
    # The reconstruction error.
    assert isinstance(net, Reconstructing), f"{type(net).__name__} has no method reconstruct"
    error = squared_error(x, net.reconstruct(x)).mean()
    task.log_mean(f"{split}/reconstruction_error", error, len(x))

    # The pseudo-likelihood, with one unit of each example flipped; the same units in every call.
    if isinstance(net, HasPseudoLikelihood) and net.visible.binary and not net.label_units:
        v = x.flatten(1).round()
        flips = torch.randint(v.shape[1], (len(v),), generator=torch.Generator().manual_seed(0)).to(v.device)
        value = net.pseudo_log_likelihood(v, flips).mean()
        task.log_mean(f"{split}/pseudo_log_likelihood", value, len(x))

    # The accuracy of the most probable class.
    if isinstance(net, HasLabelUnits) and net.label_units:
        accuracy = (net(x).argmax(dim=1) == y).float().mean()
        task.log_mean(f"{split}/accuracy", accuracy, len(x), prog_bar=split == "val")
