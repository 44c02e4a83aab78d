"""Task: train an autoencoder, one layer of a stack, or the whole stack unrolled, to reconstruct its input."""

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from zoo.protocols import Decoding, HasJacobian, head_of, layers_of
from zoo.tasks.layer_input import LayerInput
from zoo.tasks.optimization import MakeOptimizer, MakeSchedule, is_logging_step
from zoo.tasks.task import Batch, Task, inputs_and_labels
from zoo.tasks.unsupervised import NO_TARGETS, check_unit_interval, squared_error

CORRUPTIONS = ("none", "masking", "gaussian", "salt_and_pepper")
LOSSES = ("cross_entropy", "squared_error")


class Reconstruction(Task):
    """Trains an autoencoder to reconstruct its input, optionally from a corrupted copy (Vincent et al. 2010).

    Args:
        net: an autoencoder, or a stack of them (`zoo.protocols.Decoding`).
        layer: index of the layer of a stack that is trained on the outputs of those below; None for the whole net.
        loss: cross_entropy (values in [0, 1] and sigmoid outputs) or squared_error; both summed over the
            V values of an example, and averaged over the batch.
        corruption: corruption of the encoder's inputs: none, masking (set to 0), gaussian (add noise) or
            salt_and_pepper (set to 0 or 1 with equal probability).
        level: corruption level: the fraction of inputs that are replaced, in [0, 1], or the std of the Gaussian noise,
            >= 0. One value for all layers, or a list with one value per layer.
        sparsity_target: target of the mean activation of each hidden unit, in (0, 1).
        sparsity_cost: weight of KL(target || mean over the batch), summed over the hidden units, which must be in
            [0, 1]; 0 for none.
        contractive: weight of the squared Frobenius norm of the encoder's Jacobian (Rifai et al. 2011); for training
            one layer at a time. 0 for none.
        optimizer, lr_schedule, total_steps: as in `zoo.tasks.task.Task`.

    Raises:
        ValueError: a net that is not an autoencoder, an unknown loss or corruption, or a level or target out of range.
    """

    targets: ClassVar[str] = NO_TARGETS
    monitor: ClassVar[str] = "val/reconstruction_error"
    mode: ClassVar[str] = "min"
    layer_input: LayerInput

    def __init__(
        self,
        net: nn.Module,
        layer: int | None = None,
        *,
        loss: str = "cross_entropy",
        corruption: str = "none",
        level: float | list[float] = 0.25,
        sparsity_target: float = 0.1,
        sparsity_cost: float = 0.0,
        contractive: float = 0.0,
        optimizer: MakeOptimizer | None = None,
        lr_schedule: MakeSchedule | None = None,
        total_steps: int | None = None,
    ):
        super().__init__(optimizer=optimizer, lr_schedule=lr_schedule, total_steps=total_steps)
        if loss not in LOSSES:
            raise ValueError(f"loss={loss}: choose one of: {', '.join(LOSSES)}")
        if corruption not in CORRUPTIONS:
            raise ValueError(f"corruption={corruption}: choose one of: {', '.join(CORRUPTIONS)}")
        if not 0 < sparsity_target < 1:
            raise ValueError(f"sparsity_target={sparsity_target} must be in (0, 1)")
        self.net = net
        self.layer = layer
        self.loss_name = loss
        self.corruption = corruption
        self.level = _level_of_layer(level, layer, corruption)
        self.sparsity_target = sparsity_target
        self.sparsity_cost = sparsity_cost
        self.contractive = contractive
        self.layer_input = LayerInput(net, layer)

        # The trained module, which is the net or one of its layers, must be able to decode.
        trained = self.trained_module
        if not isinstance(trained, Decoding):
            found = type(net).__name__ if layer is None else f"layer {layer} of {type(net).__name__}"
            raise ValueError(
                f"reconstruction needs an autoencoder, got {found}; choose another stage, or "
                "model=sae or deep_autoencoder"
            )

    @property
    def trained_module(self) -> nn.Module:
        """The module that is trained: the net, or one of its layers."""
        return self.net if self.layer is None else list(layers_of(self.net).values())[self.layer]

    @property
    def autoencoder(self) -> Decoding:
        """`trained_module`, typed as `Decoding` for the type checker; the constructor has checked it."""
        module: Any = self.trained_module
        found: Decoding = module
        return found

    def check_inputs(self, x: Tensor) -> None:
        """Raise ValueError if the loss or the penalties do not work for the net or its inputs, N x in_shape."""
        v = self.layer_input(x)  # N x V
        if self.loss_name == "cross_entropy":
            self._check_cross_entropy(v)
        if self.sparsity_cost:
            # The penalty compares mean activations with a probability.
            with torch.no_grad():
                h = self.autoencoder.encode(v)  # N x H
            if h.min() < 0 or h.max() > 1:
                raise ValueError("sparsity_cost needs hidden units in [0, 1], such as sigmoid units")
        if self.contractive and not isinstance(self.trained_module, HasJacobian):
            raise ValueError("contractive is for one layer at a time; use order=layerwise")

    def _check_cross_entropy(self, v: Tensor) -> None:
        """Raise ValueError if cross-entropy does not work for the outputs of the net or for its inputs v, N x V."""
        # The outputs must be sigmoids, since the loss is computed from logits. Test it with two examples.
        with torch.no_grad():
            h = self.autoencoder.encode(v[:2])
            logits = self.autoencoder.decode(h, activate=False)
            outputs = self.autoencoder.decode(h)
        if not torch.allclose(outputs, torch.sigmoid(logits)):
            raise ValueError("loss=cross_entropy needs sigmoid outputs; set loss=squared_error")
        check_unit_interval(
            v,
            what="loss=cross_entropy needs values",
            fix="loss=squared_error with model.net.output_activation=identity",
        )

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        # Encode the corrupted input, decode it, and compare with the clean one.
        x, _ = inputs_and_labels(batch)
        v = self.layer_input(x)  # N x V
        h = self.autoencoder.encode(self.corrupt(v))  # N x H
        loss = self._loss(h, v)

        # Add the penalties.
        if self.sparsity_cost:
            loss = loss + self.sparsity_cost * self._divergence(h)
        if self.contractive:
            loss = loss + self.contractive * self._jacobian(v)

        if is_logging_step(self):
            self.log("train/loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        self._evaluate(batch, "val")

    def test_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        self._evaluate(batch, "test")

    def corrupt(self, v: Tensor) -> Tensor:
        """The corrupted inputs of the encoder: N x V -> N x V."""
        if self.corruption == "none":
            return v
        if self.corruption == "gaussian":
            return v + self.level * torch.randn_like(v)
        uniform = torch.rand(v.shape, device=v.device)  # N x V
        if self.corruption == "masking":
            return v * (uniform >= self.level)
        # Salt and pepper: half of the chosen inputs become 0, the others 1.
        v = v.masked_fill(uniform < self.level, 1)
        return v.masked_fill(uniform < self.level / 2, 0)

    def trainable_parameters(self) -> list[nn.Parameter]:
        """All parameters except those of a head."""
        # A head is trained later, by classification.
        head = head_of(self.net)
        others = set() if head is None else set(head.parameters())
        return [p for p in self.trained_module.parameters() if p not in others]

    def default_optimizer(self, parameters: Any) -> Optimizer:
        """Adam with a learning rate of 0.001."""
        return torch.optim.Adam(parameters, lr=1e-3)

    def _loss(self, h: Tensor, v: Tensor) -> Tensor:
        """The loss of v, N x V, decoded from the hidden units h, N x H: summed over inputs, mean over the batch."""
        # Cross-entropy of logits is more precise than cross-entropy of their sigmoid.
        if self.loss_name == "squared_error":
            return squared_error(v, self.autoencoder.decode(h)).mean()
        logits = self.autoencoder.decode(h, activate=False)  # N x V
        return F.binary_cross_entropy_with_logits(logits, v, reduction="sum") / len(v)

    def _divergence(self, h: Tensor) -> Tensor:
        """Σ_j KL(p || q_j) between Bernoulli distributions with the target p and the batch's mean q_j."""
        # Clamp the mean away from 0 and 1, where the logarithms are infinite.
        p = self.sparsity_target
        q = h.mean(dim=0).clamp(1e-6, 1 - 1e-6)  # H
        return (p * torch.log(p / q) + (1 - p) * torch.log((1 - p) / (1 - q))).sum()

    def _jacobian(self, v: Tensor) -> Tensor:
        """The squared Frobenius norm of the encoder's Jacobian at the clean inputs, mean over the batch."""
        layer = self.trained_module
        assert isinstance(layer, HasJacobian)
        return layer.squared_jacobian(v).mean()

    def _evaluate(self, batch: Batch, split: str) -> None:
        """Log the loss and the reconstruction error, without corruption and penalties."""
        # Encode and decode the clean inputs. The error is computed from activated outputs for both losses.
        x, _ = inputs_and_labels(batch)
        v = self.layer_input(x)  # N x V
        h = self.autoencoder.encode(v)  # N x H
        self.log_mean(f"{split}/loss", self._loss(h, v), len(v))
        error = squared_error(v, self.autoencoder.decode(h)).mean()
        self.log_mean(f"{split}/reconstruction_error", error, len(v), prog_bar=True)


def _level_of_layer(level: float | list[float], layer: int | None, corruption: str) -> float:
    """The corruption level of a layer. Raises ValueError if a list has none for the layer, or it is out of range."""
    # A list has one value for each layer.
    if isinstance(level, list):
        if (layer or 0) >= len(level):
            raise ValueError(f"level={level} has no value for layer {layer or 0}")
        level = level[layer or 0]
    # A std of noise has no maximum; a fraction of the inputs is at most 1.
    if level < 0 or (level > 1 and corruption != "gaussian"):
        raise ValueError(f"level={level} must be in [0, 1] (with corruption=gaussian, a std: >= 0)")
    return level
