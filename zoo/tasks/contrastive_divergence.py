"""Task: train an RBM, by itself or as one layer of a stack, by contrastive divergence."""

from typing import Any, cast

import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer

from zoo.models.units import bernoulli
from zoo.protocols import (
    Centering,
    Decoding,
    RBMLayer,
    Reconstructing,
    SharesWeights,
    StackOfRBMs,
    Unrollable,
    layers_of,
)
from zoo.tasks import sparsity
from zoo.tasks.gibbs import chain_end
from zoo.tasks.layer_input import LayerInput
from zoo.tasks.optimization import MakeOptimizer, MakeSchedule, is_logging_step
from zoo.tasks.rbm_options import check_options, parameter_groups
from zoo.tasks.task import Batch
from zoo.tasks.unsupervised import GenerativeTask, check_unit_interval, log_generative, squared_error

KEPT_BATCHES = 10  # the first batches of an epoch, kept to compute val/free_energy_gap


class ContrastiveDivergence(GenerativeTask):
    """Trains an RBM by CD-k (Hinton 2002) or persistent CD (Tieleman 2008).

    The gradient of -log p(v) is the gradient of F(v), minus its expectation under the model. CD replaces the
    expectation by the value at the end of a Gibbs chain of k steps that starts at the data; PCD by the value at the end
    of a chain that continues from batch to batch. So the loss is mean F(v0) - mean F(vk), with vk held constant, plus
    the sparsity penalty; of a convolutional RBM, the difference is divided by the number of positions. The gradient of
    mean F(v0) - mean F(vk) for the weights of Bernoulli units is -(<h v>_data - <h v>_reconstruction); DDP averages it.

    Args:
        net: an RBM (`zoo.protocols.RBMLayer`), or a stack of them (`zoo.protocols.StackOfRBMs`).
        layer: index of the layer of a stack that is trained on the outputs of those below; None for an RBM by itself.
        k: Gibbs steps per update, >= 1.
        persistent: whether chains continue from batch to batch.
        chains: number of persistent chains per process, >= 1.
        restart: probability, per update, with which a persistent chain is restarted from noise (as in Du & Mordatch
            2019), in [0, 1). With 0, a spurious mode that no chain visits would never be unlearned.
        sample_data: draw zeros and ones with the data as probabilities, resampled for every batch.
        sample_visible: also draw the visible units in the last step of a CD chain; otherwise their probabilities are
            used (Hinton 2010, section 3.2). The states of persistent chains are always drawn.
        centered: center units at their running means (Montavon & Müller 2012; Melchior, Fischer & Wiskott 2016).
        sparsity_target: target of the mean activation of each hidden unit, in (0, 1).
        sparsity_cost: weight of the sparsity penalty; 0 for none.
        sparsity_on: parameters that the penalty changes: "all", or "hidden_bias" alone (Lee et al. 2009).
        sparsity_decay: decay of the running mean of the activations, in [0, 1); with 0 it is that of the batch.
        gaussian_lr_factor: factor of the learning rate for an RBM with Gaussian units, whose states have no bound
            (Hinton 2010, section 13.2: one or two orders of magnitude smaller).
        gaussian_weight_decay: weight decay of an RBM with Gaussian units; None: that of the optimizer.
        hidden_bias_lr_factor: factor of the learning rate of a convolutional RBM's hidden biases, in place of
            ``gaussian_lr_factor``; None: as all biases.
        initial_momentum: momentum in the first ``initial_momentum_epochs`` epochs; None: that of the optimizer.
        initial_momentum_epochs: number of epochs with ``initial_momentum``.
        optimizer, lr_schedule, total_steps: as in `zoo.tasks.task.Task`.

    Raises:
        ValueError: k or chains below 1, an invalid restart or sparsity option, a restart of chains that are not
            persistent, a net that is neither an RBM nor a stack of RBMs, or an RBM that does not support the options.
    """

    layer_input: LayerInput
    activation: Tensor  # buffer, H or maps: running mean
    visible_offset: Tensor  # buffer, V: running mean
    hidden_offset: Tensor  # buffer, H: running mean

    def __init__(
        self,
        net: nn.Module,
        layer: int | None = None,
        *,
        k: int = 1,
        persistent: bool = False,
        chains: int = 100,
        restart: float = 0.0,
        sample_data: bool = False,
        sample_visible: bool = False,
        centered: bool = False,
        sparsity_target: float = 0.1,
        sparsity_cost: float = 0.0,
        sparsity_on: str = "all",
        sparsity_decay: float = 0.9,
        gaussian_lr_factor: float = 0.01,
        gaussian_weight_decay: float | None = None,
        hidden_bias_lr_factor: float | None = None,
        initial_momentum: float | None = None,
        initial_momentum_epochs: int = 5,
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
        if chains < 1:
            raise ValueError(f"chains={chains} must be >= 1")
        sparsity.check(sparsity_target, sparsity_on, sparsity_decay)
        self.net = net
        self.layer = layer
        self.num_chains = chains
        self.sample_data = sample_data
        self.sample_visible = sample_visible
        self.centered = centered
        self.sparsity_target = sparsity_target
        self.sparsity_cost = sparsity_cost
        self.sparsity_on = sparsity_on
        self.sparsity_decay = sparsity_decay
        self.gaussian_lr_factor = gaussian_lr_factor
        self.hidden_bias_lr_factor = hidden_bias_lr_factor
        self.gaussian_weight_decay = gaussian_weight_decay
        self.initial_momentum = initial_momentum
        self.initial_momentum_epochs = initial_momentum_epochs
        self.layer_input = LayerInput(net, layer)
        self._kept: list[Tensor] = []  # the first batches of this epoch

        # A whole stack is not an RBM: it can be evaluated, but not trained.
        self.has_rbm = isinstance(net, StackOfRBMs) if layer is not None else isinstance(net, RBMLayer)
        if not self.has_rbm and not (layer is None and isinstance(net, Reconstructing)):
            raise ValueError(
                f"contrastive divergence needs an RBM or a stack of RBMs, got {type(net).__name__}; choose another "
                "stage, or model=rbm, dbn or sae"
            )
        if not self.has_rbm:
            return
        rbm = self.rbm
        check_options(rbm, centered=centered, sparsity_cost=sparsity_cost)
        self.parameter_groups()
        self.register_buffer("activation", torch.full(rbm.hidden_shape[:1], sparsity_target))
        self.register_buffer("visible_offset", torch.full(rbm.visible_shape, 0.5))
        self.register_buffer("hidden_offset", torch.full(rbm.hidden_shape, 0.5))

    @property
    def rbm(self) -> RBMLayer:
        """The RBM that is trained. It is looked up on each access, since the net owns it."""
        net: Any = self.net  # checked by the constructor
        rbm: RBMLayer = net if self.layer is None else net.rbm(self.layer)
        return rbm

    def check_inputs(self, x: Tensor) -> None:
        """Raise ValueError if the RBM does not accept the inputs, N x in_shape."""
        if self.has_rbm and self.rbm.visible.binary:
            # A stack of autoencoders has output_activation in place of visible_units.
            gaussian = "output_activation=identity" if isinstance(self.net, Decoding) else "visible_units=gaussian"
            what = "inputs of Bernoulli visible units must be"
            check_unit_interval(self.layer_input(x), what=what, fix=f"model.net.{gaussian}")

    def trainable_parameters(self) -> list[nn.Parameter]:
        return self.rbm.energy_parameters()

    def parameter_groups(self) -> list[Any]:
        names = ("gaussian_lr_factor", "gaussian_weight_decay", "hidden_bias_lr_factor")
        return parameter_groups(self.rbm, **{name: vars(self)[name] for name in names})

    def default_optimizer(self, parameters: Any) -> Optimizer:
        """SGD with a learning rate of 0.05, momentum 0.5 and a small weight decay (Hinton 2010, sections 9 and 10)."""
        return torch.optim.SGD(parameters, lr=0.05, momentum=0.5, weight_decay=2e-4)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        if not self.has_rbm:
            raise ValueError("contrastive divergence trains one RBM at a time; use order=layerwise")
        configured: Any = super().configure_optimizers()
        optimizer = configured["optimizer"] if isinstance(configured, dict) else configured
        if self.initial_momentum is not None and "momentum" not in optimizer.defaults:
            raise ValueError(f"initial_momentum: {type(optimizer).__name__} has no momentum; set it to null or use SGD")
        return cast(OptimizerLRScheduler, configured)

    def on_train_epoch_start(self) -> None:
        self._kept.clear()
        super().on_train_epoch_start()

    def begin_epoch(self) -> None:
        """Set the momentum of this epoch."""
        if self.initial_momentum is not None:
            (optimizer,) = self.trainer.optimizers
            early = self.current_epoch < self.initial_momentum_epochs
            for group in optimizer.param_groups:
                group["momentum"] = self.initial_momentum if early else optimizer.defaults["momentum"]

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        rbm = self.rbm
        v0 = self._visible(batch)  # N x V
        if self.sparsity_cost and batch_idx == 0 and isinstance(rbm, SharesWeights):
            rbm.init_biases(self.mean_over_processes(v0.mean(dim=0)), self.sparsity_target)
        if batch_idx < KEPT_BATCHES:
            self._kept.append(v0)

        # The loss: free energies of the data minus those at the ends of the chains.
        a0 = rbm.hidden_input(v0)  # N x H, computed once for the means, the loss and sparsity
        h0 = rbm.hidden_mean(v0, hidden_input=a0.detach())  # N x H, for the chains, centering and sparsity
        vk = (
            self._persistent_end() if self.persistent else chain_end(rbm, v0, h0, self.k, sampled=self.sample_visible)
        )  # M x V
        loss = self.free_energy_difference(rbm, v0, vk, hidden_input=a0)

        # Centering updates its offsets here and corrects the gradients in `on_before_optimizer_step`.
        if self.centered:
            self._update_offsets(v0, vk, h0)
        if self.sparsity_cost:
            loss = loss + self._sparsity(a0, h0)

        if is_logging_step(self):
            self.log("train/loss", loss, prog_bar=True)
            self.log("train/hidden_activation", h0.mean())
            # A persistent chain does not start at this batch, so its end is not a reconstruction.
            reconstruction = rbm.visible_mean(h0) if self.persistent else vk
            self.log("train/reconstruction_error", squared_error(v0, reconstruction).mean(), prog_bar=True)
        return loss

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Center the gradients. At this point they are averaged over all processes."""
        if self.centered:
            cast(Centering, self.rbm).center_gradients(self.visible_offset, self.hidden_offset)

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        x, y = self.unpacked(batch)
        log_generative(self, self.rbm if self.has_rbm else self.net, self.layer_input(x), y, split="val")
        # Outside of a fit there are no training batches to compare with.
        if not self._kept:
            return

        # Mean F(validation) - mean F(training): it grows with overfitting (Hinton 2010, section 6).
        if batch_idx == 0:
            self._kept_energy = self.rbm.free_energy(torch.cat(self._kept)).mean()
        gap = self.rbm.free_energy(self._visible(batch, sampled=False)).mean() - self._kept_energy
        self.log_mean("val/free_energy_gap", gap, len(x))

    def teardown(self, stage: str) -> None:
        super().teardown(stage)
        if stage == "fit" and self.layer is not None:
            # Copy the trained weights, transposed, into the decoder of an autoencoder layer.
            layer = list(layers_of(self.net).values())[self.layer]
            if isinstance(layer, Unrollable):
                layer.unroll()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["seen"] = self._kept

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        self._kept = checkpoint["seen"]

    # Gibbs chains

    def _visible(self, batch: Batch, *, sampled: bool = True) -> Tensor:
        """The visible units for a batch, N x V: the inputs of the layer, then the label units, if any."""
        x, y = self.unpacked(batch)
        v = self.layer_input(x)
        if self.sample_data and sampled:
            v = bernoulli(v)
        return self.rbm.with_labels(v, y)

    @torch.no_grad()
    def _persistent_end(self) -> Tensor:
        """The states of the persistent chains after k more Gibbs steps, num_chains x V."""
        # The chains start from noise in the first update and continue in every later one.
        rbm = self.rbm
        if self.chains is None:
            self.chains = rbm.noise(self.num_chains)
        v = self.continued_chains(rbm, like=rbm.energy_parameters()[0])
        for _ in range(self.k):
            v = rbm.sample_visible(rbm.sample_hidden(v))
        self.chains = v
        return v

    def _sparsity(self, a0: Tensor, h0: Tensor) -> Tensor:
        """The sparsity penalty (`zoo.tasks.sparsity`), a scalar, from hidden pre-activations and means of the data."""
        now = self.mean_over_processes(sparsity.mean_of_units(h0))  # H, or K maps
        self.activation = self.activation.lerp(now, 1 - self.sparsity_decay)
        # The bias is added to every pre-activation, so it takes their place in the penalty on the biases alone.
        a = a0 if self.sparsity_on == "all" else self.rbm.energy_parameters()[2][None]
        return self.sparsity_cost * sparsity.penalty(a, self.activation, self.sparsity_target)

    @torch.no_grad()
    def _update_offsets(self, v0: Tensor, vk: Tensor, h0: Tensor) -> None:
        """Move the offsets towards the mean of data and model expectations.

        With this mean the centered gradient is invariant to flipping units, u -> 1 - u (Melchior et al. 2016).
        """
        rbm = self.rbm
        visible = (v0.mean(dim=0) + vk.mean(dim=0)) / 2
        hidden = (h0.mean(dim=0) + rbm.hidden_mean(vk).mean(dim=0)) / 2
        self.visible_offset = 0.99 * self.visible_offset + 0.01 * self.mean_over_processes(visible.float())
        self.hidden_offset = 0.99 * self.hidden_offset + 0.01 * self.mean_over_processes(hidden.float())
