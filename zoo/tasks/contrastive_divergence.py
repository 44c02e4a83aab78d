"""Contrastive divergence: how a restricted Boltzmann machine, alone or a layer of a stack, is learned."""

from typing import Any, ClassVar, Protocol, cast

import torch
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
    squared_error,
)

SAMPLE = 10  # batches of each epoch that are kept to compare free energies with


class Machine(Protocol):
    """What the task needs of a restricted Boltzmann machine. N examples, V visible and H hidden units."""

    weight: nn.Parameter  # H x V
    visible_bias: nn.Parameter
    hidden_bias: nn.Parameter
    log_variance: Tensor  # V, with Gaussian visible units only
    visible_units: str
    hidden_units: str
    label_units: int

    def hidden_input(self, v: Tensor) -> Tensor: ...

    def hidden_mean(self, v: Tensor, *, hidden_input: Tensor | None = None) -> Tensor: ...

    def sample_hidden(self, v: Tensor, *, hidden_input: Tensor | None = None) -> Tensor: ...

    def visible_mean(self, h: Tensor) -> Tensor: ...

    def sample_visible(self, h: Tensor) -> Tensor: ...

    def free_energy(self, v: Tensor, *, hidden_input: Tensor | None = None) -> Tensor: ...

    def with_labels(self, v: Tensor, labels: Tensor) -> Tensor: ...

    def noise(self, n: int) -> Tensor: ...

    def parameters(self) -> Any: ...


class ContrastiveDivergence(Fitting):
    """Fits an RBM by CD-k (Hinton 2002) or persistent CD (Tieleman 2008).

    The gradient of -log p(v) is that of F(v), minus its expectation under the model. CD puts in place of the
    expectation the end of a Gibbs chain of k steps that starts at the data; PCD one that goes on from batch to batch.
    So the loss is mean F(v0) - mean F(vk), with vk taken as given: autograd makes the familiar
    <h v>_data - <h v>_reconstruction of it, and a strategy of several processes averages it like any other.

    Args:
        net: an RBM; or a stack of them, of which ``layer`` is fitted on the codes of those below.
        layer: its number, counted from the input; None for an RBM by itself.
        k: Gibbs steps for each update.
        persistent: whether chains go on from batch to batch.
        chains: how many persistent chains each process has.
        restart: the probability with which a persistent chain begins anew from noise at each update (as in Du &
            Mordatch 2019). Else no chain finds, and no update lowers, a mode that grows where none of them has been.
        sample_data: draw zeros and ones with the data's values for probabilities, anew in every batch.
        sample_visible: draw the visible units of a CD chain's last step, too; else their probabilities are taken
            (Hinton 2010, section 3.2). Persistent chains are always drawn.
        centered: centre units at their running means (Montavon & Müller 2012; Melchior, Fischer & Wiskott 2016).
        sparsity_target, sparsity_cost: wanted mean activation of each hidden unit, and how much it counts (0: not).
        gaussian_lr_factor: what the rate is multiplied by for a machine with Gaussian units, whose states have no bound
            (Hinton 2010, section 13.2: one or two orders of magnitude).
        initial_momentum: of the optimizer during the first ``initial_momentum_epochs``; None leaves it alone.
        optimization: optimizer and learning-rate course; its weight decay is applied to weights, not to biases. None
            for evaluation only.

    Raises:
        ValueError: k or chains below 1, a restart or sparsity target that is no probability, or a restart of chains
            that do not persist.
    """

    targets: ClassVar[str] = NO_TARGETS
    monitor: ClassVar[str] = "val/reconstruction_error"
    has_validation_loss: ClassVar[bool] = False  # what is descended has no value of its own
    mode: ClassVar[str] = "min"
    refused_precisions: ClassVar[dict[str, str]] = FP16
    layer_input: Encoded
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
        super().__init__()
        check_chains(k=k, persistent=persistent, restart=restart)
        if chains < 1:
            raise ValueError(f"chains={chains}: at least 1 is needed")
        if not 0 < sparsity_target < 1:
            raise ValueError(f"sparsity_target={sparsity_target}: between 0 and 1 is needed")
        self.net, self.layer, self.optimization = net, layer, optimization
        self.k, self.persistent, self.num_chains, self.restart = k, persistent, chains, restart
        self.sample_data, self.sample_visible, self.centered = sample_data, sample_visible, centered
        self.sparsity_target, self.sparsity_cost = sparsity_target, sparsity_cost
        self.gaussian_lr_factor = gaussian_lr_factor
        self.initial_momentum, self.initial_momentum_epochs = initial_momentum, initial_momentum_epochs
        self.layer_input = Encoded(net, layer)
        if not hasattr(net, "rbm" if layer is not None else "reconstruct"):
            raise ValueError(
                f"contrastive divergence is for RBMs and stacks that hold them; {type(net).__name__} is none"
            )
        machine: Any = net if layer is None else cast(Any, net).rbm(layer)
        self._rbm = (cast(Machine, machine),)  # in a tuple: it is part of the net, and registered there
        if hasattr(machine, "free_energy"):  # else the whole of a stack, to be evaluated
            hidden, visible = machine.weight.shape
            self.register_buffer("activation", torch.full((hidden,), sparsity_target))  # running mean, for the sparsity
            self.register_buffer("visible_offset", torch.full((visible,), 0.5))
            self.register_buffer("hidden_offset", torch.full((hidden,), 0.5))
        self.chains: Tensor | None = None  # not a buffer: those are made equal in all processes
        self._seen: list[Tensor] = []

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        """To another device or type: also the machine that an autoencoder makes of its parameters."""
        result = super()._apply(fn, recurse)
        if hasattr(self.rbm, "free_energy"):
            cast(nn.Module, self.rbm)._apply(fn, recurse)
        return result

    @property
    def rbm(self) -> Machine:
        """What is fitted."""
        return self._rbm[0]

    def check_inputs(self, x: Tensor) -> None:
        """Raise ValueError where an RBM cannot take the inputs, N x in_shape."""
        if self.rbm.visible_units == "bernoulli":
            check_unit_interval(
                self.layer_input(x), what="Bernoulli visible units need inputs", fix="model.net.visible_units=gaussian"
            )

    def trainable_parameters(self) -> list[nn.Parameter]:
        return list(self.rbm.parameters())

    def teardown(self, stage: str) -> None:
        super().teardown(stage)
        if stage == "fit" and self.layer is not None:
            layer = cast(Any, self.net).layers[self.layer]
            if hasattr(layer, "unroll"):  # the decoder of an autoencoder follows
                layer.unroll()

    def parameter_groups(self) -> list[Any]:
        weights = [p for p in self.trainable_parameters() if p.dim() > 1]
        biases = [p for p in self.trainable_parameters() if p.dim() == 1]
        gaussian = "gaussian" in (self.rbm.visible_units, self.rbm.hidden_units)
        rate = {"lr_factor": self.gaussian_lr_factor if gaussian else 1.0}
        return [{"params": weights, **rate}, {"params": biases, "weight_decay": 0.0, **rate}]

    def configure_optimizers(self) -> Any:
        if not hasattr(self.rbm, "free_energy"):
            raise ValueError("contrastive divergence fits one RBM at a time; use the schedule layerwise")
        configured = super().configure_optimizers()
        optimizer = configured["optimizer"] if isinstance(configured, dict) else configured
        if self.initial_momentum is not None and "momentum" not in optimizer.defaults:
            raise ValueError(f"initial_momentum is not for {type(optimizer).__name__}: set it to null, or use SGD")
        return configured

    def on_train_epoch_start(self) -> None:
        self._seen.clear()
        super().on_train_epoch_start()

    def begin_epoch(self) -> None:
        if self.initial_momentum is not None:
            (optimizer,) = self.trainer.optimizers
            early = self.current_epoch < self.initial_momentum_epochs
            for group in optimizer.param_groups:
                group["momentum"] = self.initial_momentum if early else optimizer.defaults["momentum"]

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        v0 = self._visible(batch)  # N x V
        if batch_idx < SAMPLE:
            self._seen.append(v0)
        a0 = self.rbm.hidden_input(v0)  # N x H, once for the chain's start and for F(v0)
        vk = self._persistent_end() if self.persistent else self._chain_end(v0, a0.detach())
        loss = self.rbm.free_energy(v0, hidden_input=a0).mean() - self.rbm.free_energy(vk).mean()
        if self.centered:
            self._move_offsets(v0, vk, a0)
        if self.sparsity_cost:
            loss = loss + self._sparsity(a0)
        if is_logging_step(self):
            self.log("train/loss", loss, prog_bar=True)
            self.log("train/hidden_activation", self.rbm.hidden_mean(v0, hidden_input=a0).mean())
            reconstruction = vk if not self.persistent else self.rbm.visible_mean(self.rbm.hidden_mean(v0))
            self.log("train/reconstruction_error", squared_error(v0, reconstruction).mean(), prog_bar=True)
        return loss

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Turn the gradients, reduced over all processes by now, into those of the centred machine.

        With x = v (Gaussian units: v / σ²), offsets μ and λ, and d< > the difference of the expectations:
        dW = d<(h - λ)(x - μ)'> = d<h x'> - λ d<x>' - d<h> μ'. The biases then make up for what moves with W.
        """
        if not self.centered:
            return
        mu, lambda_ = self.visible_offset, self.hidden_offset
        if self.rbm.visible_units == "gaussian":
            mu = mu * torch.exp(-self.rbm.log_variance.detach())
        weight, visible, hidden = (self.rbm.weight.grad, self.rbm.visible_bias.grad, self.rbm.hidden_bias.grad)
        assert weight is not None
        assert visible is not None
        assert hidden is not None
        weight -= torch.outer(lambda_, visible) + torch.outer(hidden, mu)
        visible -= lambda_ @ weight
        hidden -= weight @ mu

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        log_generative(self, cast(nn.Module, self.rbm), self.layer_input(batch[0]), batch[1], part="val")
        if not self._seen:
            return  # not in a fit
        # How much better the training data are known than these: it rises with overfitting.
        if batch_idx == 0:
            self._known = self.rbm.free_energy(torch.cat(self._seen)).mean()
        gap = self.rbm.free_energy(self._visible(batch, sampled=False)).mean() - self._known
        self.log_mean("val/free_energy_gap", gap, len(batch[0]))

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        log_generative(self, self.net, *batch, part="test")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["chains"], checkpoint["seen"] = self.chains, self._seen

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.chains, self._seen = checkpoint["chains"], checkpoint["seen"]

    def _visible(self, batch: tuple[Tensor, Tensor], *, sampled: bool = True) -> Tensor:
        """N x V: the inputs of the layer, with the labels where it has units for them."""
        x, y = batch
        v = self.layer_input(x)
        return self.rbm.with_labels(drawn(v) if self.sample_data and sampled else v, y)

    @torch.no_grad()
    def _chain_end(self, v0: Tensor, a0: Tensor) -> Tensor:
        h = self.rbm.sample_hidden(v0, hidden_input=a0)
        for _ in range(self.k - 1):
            h = self.rbm.sample_hidden(self.rbm.sample_visible(h))
        return self.rbm.sample_visible(h) if self.sample_visible else self.rbm.visible_mean(h)

    @torch.no_grad()
    def _persistent_end(self) -> Tensor:
        if self.chains is None:
            self.chains = self.rbm.noise(self.num_chains)
        v = self.chains.to(self.rbm.weight.device)
        if self.restart:
            v = restarted(v, self.rbm.noise(len(v)), self.restart)
        for _ in range(self.k):
            v = self.rbm.sample_visible(self.rbm.sample_hidden(v))
        self.chains = v
        return v

    def _sparsity(self, a0: Tensor) -> Tensor:
        """A term whose gradient is that of the sparsity penalty.

        The penalty is the cross-entropy between the target p and the running mean q of a unit's activation,
        -p log q - (1 - p) log(1 - q). Its derivative by q is (q - p) / (q (1 - q)), and that of a mean activation by
        the unit's input a is about q (1 - q): together q - p for each unit (Hinton 2010, section 11). So the term
        is (q - p)·a, with q - p taken as given.
        """
        now = torch.sigmoid(a0.detach()).mean(dim=0)
        self.activation = 0.9 * self.activation + 0.1 * self._mean_of_all(now)
        return self.sparsity_cost * ((self.activation - self.sparsity_target) * a0.mean(dim=0)).sum()

    @torch.no_grad()
    def _move_offsets(self, v0: Tensor, vk: Tensor, a0: Tensor) -> None:
        """Towards the means of data and model together (the enhanced gradient's, which no flip of units changes)."""
        visible = (v0.mean(dim=0) + vk.mean(dim=0)) / 2
        hidden = (self.rbm.hidden_mean(v0, hidden_input=a0).mean(dim=0) + self.rbm.hidden_mean(vk).mean(dim=0)) / 2
        self.visible_offset = 0.99 * self.visible_offset + 0.01 * self._mean_of_all(visible.float())
        self.hidden_offset = 0.99 * self.hidden_offset + 0.01 * self._mean_of_all(hidden.float())

    def _mean_of_all(self, values: Tensor) -> Tensor:
        """The mean over all processes."""
        return self.trainer.strategy.reduce(values, reduce_op="mean") if self.trainer.world_size > 1 else values
