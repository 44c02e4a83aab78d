"""Contrastive divergence trains an RBM, alone or as one layer of a stack."""

from typing import Any, cast

import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from zoo.models.units import bernoulli
from zoo.protocols import Centering, RBMLayer, Reconstructing, StackOfRBMs, Unrollable, layers_of
from zoo.tasks.layer_input import LayerInput
from zoo.tasks.optimization import Optimization, is_logging_step
from zoo.tasks.unsupervised import GenerativeTask, check_unit_interval, log_generative, squared_error

SAMPLE = 10  # batches of each epoch that are kept to compare free energies with


class ContrastiveDivergence(GenerativeTask):
    """Trains an RBM by CD-k (Hinton 2002) or persistent CD (Tieleman 2008).

    The gradient of -log p(v) is that of F(v), minus its expectation under the model. CD replaces the expectation by
    the end of a Gibbs chain of k steps that starts at the data; PCD by a chain that continues from batch to batch.
    So the loss is mean F(v0) - mean F(vk), with vk held constant: autograd makes the familiar
    <h v>_data - <h v>_reconstruction of it, and a strategy of several processes averages it like any other.

    Args:
        net: an RBM (`zoo.protocols.RBMLayer`), or a stack of them (`zoo.protocols.StackOfRBMs`).
        layer: index of the layer of a stack that is trained on the outputs of those below; None for an RBM by itself.
        k: Gibbs steps for each update.
        persistent: whether chains continue from batch to batch.
        chains: number of persistent chains of each process.
        restart: the probability with which a persistent chain starts again at noise in each update (as in Du &
            Mordatch 2019). Without it, a mode that grows where no chain has been is never found and never lowered.
        sample_data: draw zeros and ones with the data as probabilities, again in every batch.
        sample_visible: also draw the visible units of a CD chain's last step; otherwise their probabilities are used
            (Hinton 2010, section 3.2). Persistent chains are always drawn.
        centered: center units at their running means (Montavon & Müller 2012; Melchior, Fischer & Wiskott 2016).
        sparsity_target: wanted mean activation of each hidden unit.
        sparsity_cost: weight of the sparsity penalty; 0 for none.
        gaussian_lr_factor: factor of the learning rate for an RBM with Gaussian units, whose states have no bound
            (Hinton 2010, section 13.2: one or two orders of magnitude).
        initial_momentum: of the optimizer during the first ``initial_momentum_epochs``; None leaves it alone.
        optimization: optimizer and learning-rate schedule; its weight decay applies to weights, not to biases. None
            for evaluation only.

    Raises:
        ValueError: k or chains below 1, a restart or sparsity target that is no probability, a restart of chains
            that are not persistent, or a net that has no RBM or none for these options.
    """

    layer_input: LayerInput
    activation: Tensor  # buffers: running means
    visible_offset: Tensor
    hidden_offset: Tensor

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
        gaussian_lr_factor: float = 0.01,
        initial_momentum: float | None = None,
        initial_momentum_epochs: int = 5,
        optimization: Optimization | None = None,
    ):
        super().__init__(k=k, persistent=persistent, restart=restart)
        if chains < 1:
            raise ValueError(f"chains={chains} must be >= 1")
        if not 0 < sparsity_target < 1:
            raise ValueError(f"sparsity_target={sparsity_target} must be in (0, 1)")
        # What is trained, and the options.
        self.net = net
        self.layer = layer
        self.optimization = optimization
        self.num_chains = chains
        self.sample_data = sample_data
        self.sample_visible = sample_visible
        self.centered = centered
        self.sparsity_target = sparsity_target
        self.sparsity_cost = sparsity_cost
        self.gaussian_lr_factor = gaussian_lr_factor
        self.initial_momentum = initial_momentum
        self.initial_momentum_epochs = initial_momentum_epochs
        self.layer_input = LayerInput(net, layer)
        self._seen: list[Tensor] = []  # the first batches of this epoch

        # A whole stack has no single RBM: it can be evaluated, not trained.
        self.has_rbm = isinstance(net, StackOfRBMs) if layer is not None else isinstance(net, RBMLayer)
        if not self.has_rbm and not (layer is None and isinstance(net, Reconstructing)):
            raise ValueError(f"contrastive divergence needs an RBM or a stack of RBMs, got {type(net).__name__}")
        if not self.has_rbm:
            return
        rbm = self.rbm
        if centered and not isinstance(rbm, Centering):
            raise ValueError(f"centered=true: {type(rbm).__name__} has no centered gradient; set centered=false")
        if sparsity_cost and not rbm.hidden.binary:
            raise ValueError(f"sparsity_cost={sparsity_cost} needs Bernoulli hidden units; set it to 0")

        # Running means of the units, which the checkpoint keeps.
        self.register_buffer("activation", torch.full(rbm.hidden_shape, sparsity_target))
        self.register_buffer("visible_offset", torch.full(rbm.visible_shape, 0.5))
        self.register_buffer("hidden_offset", torch.full(rbm.hidden_shape, 0.5))

    @property
    def rbm(self) -> RBMLayer:
        """The RBM that is trained. It is asked for every time, since the net owns it and may move to another device."""
        net: Any = self.net  # checked by the constructor
        rbm: RBMLayer = net if self.layer is None else net.rbm(self.layer)
        return rbm

    def check_inputs(self, x: Tensor) -> None:
        """Raise ValueError where the RBM does not accept the inputs, N x in_shape."""
        if self.has_rbm and self.rbm.visible.binary:
            check_unit_interval(
                self.layer_input(x),
                what="inputs of Bernoulli visible units must be",
                fix="model.net.visible_units=gaussian",
            )

    # What is trained, and how

    def trainable_parameters(self) -> list[nn.Parameter]:
        return self.rbm.energy_parameters()

    def parameter_groups(self) -> list[Any]:
        """Weights with weight decay, biases without; the learning rate is smaller for Gaussian units."""
        # Biases are vectors; Gaussian units have no bound, so that a large step could diverge.
        weights = [p for p in self.trainable_parameters() if p.dim() > 1]
        biases = [p for p in self.trainable_parameters() if p.dim() == 1]
        bounded = self.rbm.visible.binary and self.rbm.hidden.binary
        lr_factor = 1.0 if bounded else self.gaussian_lr_factor
        return [
            {"params": weights, "lr_factor": lr_factor},
            {"params": biases, "weight_decay": 0.0, "lr_factor": lr_factor},
        ]

    def configure_optimizers(self) -> OptimizerLRScheduler:
        if not self.has_rbm:
            raise ValueError("contrastive divergence trains one RBM at a time; use order=layerwise")
        # An initial momentum needs an optimizer that has a momentum to return to.
        configured: Any = super().configure_optimizers()
        optimizer = configured["optimizer"] if isinstance(configured, dict) else configured
        if self.initial_momentum is not None and "momentum" not in optimizer.defaults:
            raise ValueError(f"initial_momentum is not for {type(optimizer).__name__}: set it to null, or use SGD")
        return cast(OptimizerLRScheduler, configured)

    def on_train_epoch_start(self) -> None:
        self._seen.clear()
        super().on_train_epoch_start()

    def begin_epoch(self) -> None:
        """Set the momentum of this epoch."""
        if self.initial_momentum is not None:
            (optimizer,) = self.trainer.optimizers
            early = self.current_epoch < self.initial_momentum_epochs
            for group in optimizer.param_groups:
                group["momentum"] = self.initial_momentum if early else optimizer.defaults["momentum"]

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        rbm = self.rbm
        v0 = self._visible(batch)  # N x V
        if batch_idx < SAMPLE:
            self._seen.append(v0)

        # The loss: free energies of the data less those at the ends of the Gibbs chains. The hidden inputs of the data
        # are computed once, for the start of the chains and for F(v0).
        a0 = rbm.hidden_input(v0)  # N x H
        vk = self._persistent_end() if self.persistent else self._chain_end(v0, a0.detach())  # N x V
        loss = rbm.free_energy(v0, hidden_input=a0).mean() - rbm.free_energy(vk).mean()

        # Options: centering moves its offsets here and the gradients later, sparsity adds a term.
        if self.centered:
            self._move_offsets(v0, vk, a0)
        if self.sparsity_cost:
            loss = loss + self._sparsity(a0)

        if is_logging_step(self):
            self.log("train/loss", loss, prog_bar=True)
            self.log("train/hidden_activation", rbm.hidden_mean(v0, hidden_input=a0).mean())
            # The end of a persistent chain has nothing to do with this batch.
            reconstruction = rbm.visible_mean(rbm.hidden_mean(v0)) if self.persistent else vk
            self.log("train/reconstruction_error", squared_error(v0, reconstruction).mean(), prog_bar=True)
        return loss

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Center the gradients, which are averaged over all processes by now."""
        if self.centered:
            rbm = self.rbm
            assert isinstance(rbm, Centering)
            rbm.center_gradients(self.visible_offset, self.hidden_offset)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        x, y = batch
        log_generative(self, self.rbm if self.has_rbm else self.net, self.layer_input(x), y, split="val")
        if not self._seen:
            return  # not during training

        # By how much the free energy of these examples is above that of training examples: it rises with overfitting.
        if batch_idx == 0:
            self._seen_energy = self.rbm.free_energy(torch.cat(self._seen)).mean()
        gap = self.rbm.free_energy(self._visible(batch, sampled=False)).mean() - self._seen_energy
        self.log_mean("val/free_energy_gap", gap, len(x))

    def teardown(self, stage: str) -> None:
        super().teardown(stage)
        if stage == "fit" and self.layer is not None:
            # An autoencoder's decoder matrix follows the encoder's, which was trained as an RBM.
            layer = list(layers_of(self.net).values())[self.layer]
            if isinstance(layer, Unrollable):
                layer.unroll()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["seen"] = self._seen

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        self._seen = checkpoint["seen"]

    # The chains

    def _visible(self, batch: tuple[Tensor, Tensor], *, sampled: bool = True) -> Tensor:
        """N x V: the inputs of the layer, followed by the labels where it has units for them."""
        x, y = batch
        v = self.layer_input(x)
        if self.sample_data and sampled:
            v = bernoulli(v)
        return self.rbm.with_labels(v, y)

    @torch.no_grad()
    def _chain_end(self, v0: Tensor, a0: Tensor) -> Tensor:
        """The end of k Gibbs steps that start at the data, N x V; a0 are the hidden inputs of v0."""
        # Up from the data, then k - 1 times down and up, then down.
        rbm = self.rbm
        h = rbm.sample_hidden(v0, hidden_input=a0)
        for _ in range(self.k - 1):
            h = rbm.sample_hidden(rbm.sample_visible(h))
        return rbm.sample_visible(h) if self.sample_visible else rbm.visible_mean(h)

    @torch.no_grad()
    def _persistent_end(self) -> Tensor:
        """The persistent chains, k Gibbs steps further, num_chains x V."""
        # The chains start at noise, once; then each update moves them on.
        rbm = self.rbm
        if self.chains is None:
            self.chains = rbm.noise(self.num_chains)
        v = self.continued_chains(rbm, like=rbm.energy_parameters()[0])
        for _ in range(self.k):
            v = rbm.sample_visible(rbm.sample_hidden(v))
        self.chains = v
        return v

    # Sparsity and centering

    def _sparsity(self, a0: Tensor) -> Tensor:
        """A term whose gradient is that of the sparsity penalty.

        The penalty is the cross-entropy between the target p and the running mean q of a unit's activation,
        -p log q - (1 - p) log(1 - q). Its derivative by q is (q - p) / (q (1 - q)), and that of a mean activation by
        the unit's input a is about q (1 - q): together q - p for each unit (Hinton 2010, section 11). So the term
        is (q - p)·a, with q - p held constant.
        """
        # q is an exponential moving average over batches.
        now = self.rbm.hidden.mean(a0.detach()).mean(dim=0)  # H
        self.activation = 0.9 * self.activation + 0.1 * self._mean_of_all(now)
        return self.sparsity_cost * ((self.activation - self.sparsity_target) * a0.mean(dim=0)).sum()

    @torch.no_grad()
    def _move_offsets(self, v0: Tensor, vk: Tensor, a0: Tensor) -> None:
        """Move the offsets towards the mean of data and model, with which no flip of a unit changes the gradient."""
        # The mean of both expectations, then an exponential moving average of it.
        rbm = self.rbm
        visible = (v0.mean(dim=0) + vk.mean(dim=0)) / 2
        hidden = (rbm.hidden_mean(v0, hidden_input=a0).mean(dim=0) + rbm.hidden_mean(vk).mean(dim=0)) / 2
        self.visible_offset = 0.99 * self.visible_offset + 0.01 * self._mean_of_all(visible.float())
        self.hidden_offset = 0.99 * self.hidden_offset + 0.01 * self._mean_of_all(hidden.float())

    def _mean_of_all(self, values: Tensor) -> Tensor:
        """The mean over all processes."""
        if self.trainer.world_size == 1:
            return values
        mean = self.trainer.strategy.reduce(values, reduce_op="mean")
        assert isinstance(mean, Tensor)
        return mean
