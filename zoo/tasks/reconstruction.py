"""Reconstruction: how an autoencoder, a layer of a stack or the whole stack unrolled, is learned."""

from typing import Any, ClassVar, Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.tasks.encoded import Encoded
from zoo.tasks.fitting import Fitting
from zoo.tasks.optimization import Optimization, is_logging_step
from zoo.tasks.unsupervised import NO_TARGETS, check_unit_interval, squared_error

CORRUPTIONS = ("none", "masking", "gaussian", "salt_and_pepper")
LOSSES = ("cross_entropy", "squared_error")


class Coder(Protocol):
    """What the task needs: N x V -> N x H -> N x V."""

    def encode(self, x: Tensor) -> Tensor: ...

    def decode(self, h: Tensor, *, activate: bool = True) -> Tensor: ...


class Reconstruction(Fitting):
    """Fits an autoencoder to give its input back, from a corrupted copy if asked to (Vincent et al. 2010).

    Args:
        net: an autoencoder; or a stack of them, of which ``layer`` is fitted on the codes of those below.
        layer: its number, counted from the input; None for the whole net.
        loss: cross_entropy (values within 0 to 1 and sigmoid outputs) or squared_error; both summed over inputs.
        corruption: of what the coder sees: none, masking (set to 0), gaussian (add noise) or salt_and_pepper (set to
            0 or 1 with even chance).
        level: the fraction of inputs that are masked or salted, or the noise's deviation; one for all layers, or a
            list with one for each.
        sparsity_target, sparsity_cost: wanted mean of each sigmoid unit of the code, and the weight of its divergence
            KL(target || mean over the batch) (0: none).
        contractive: weight of the squared Frobenius norm of the code's Jacobian (Rifai et al. 2011; 0: none), for one
            layer.
        optimization: optimizer and learning-rate course; None for evaluation only.

    Raises:
        ValueError: an unknown loss or corruption, a level out of range, or a penalty that the net does not have.
    """

    targets: ClassVar[str] = NO_TARGETS
    monitor: ClassVar[str] = "val/reconstruction_error"
    mode: ClassVar[str] = "min"
    layer_input: Encoded

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
        optimization: Optimization | None = None,
    ):
        super().__init__()
        for name, value, choices in (("loss", loss, LOSSES), ("corruption", corruption, CORRUPTIONS)):
            if value not in choices:
                raise ValueError(f"{name}={value}: choose one of: {', '.join(choices)}")
        if not hasattr(net if layer is None else net.layers[layer], "decode"):  # type: ignore[index]
            raise ValueError(f"reconstruction is for autoencoders; {type(net).__name__} is none")
        self.net, self.layer, self.optimization = net, layer, optimization
        self.loss_name, self.corruption, self.level = loss, corruption, _level(level, layer, corruption)
        if not 0 < sparsity_target < 1:
            raise ValueError(f"sparsity_target={sparsity_target}: between 0 and 1 is needed")
        self.sparsity_target, self.sparsity_cost, self.contractive = sparsity_target, sparsity_cost, contractive
        self.layer_input = Encoded(net, layer)

    @property
    def coder(self) -> Coder:
        """What is fitted."""
        return cast(Coder, self.net if self.layer is None else self.net.layers[self.layer])  # type: ignore[index]

    def check_inputs(self, x: Tensor) -> None:
        """Raise ValueError where the net or its inputs, N x in_shape, do not fit the loss and the penalties."""
        v = self.layer_input(x)
        with torch.no_grad():
            coder = self.coder
            logits, outputs = (coder.decode(coder.encode(v[:2]), activate=on) for on in (False, True))
        if self.loss_name == "cross_entropy":
            if not torch.allclose(outputs, torch.sigmoid(logits)):
                raise ValueError("loss=cross_entropy needs sigmoid outputs; set loss=squared_error")
            check_unit_interval(
                v,
                what="loss=cross_entropy needs values",
                fix="loss=squared_error with model.net.output_activation=identity",
            )
        if self.sparsity_cost:
            code = coder.encode(v)
            if code.min() < 0 or code.max() > 1:
                raise ValueError("sparsity_cost is for codes within 0 to 1, such as sigmoid ones")
        if self.contractive and self.layer is None:
            raise ValueError("contractive is for one layer at a time; use the schedule layerwise")

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        v = self.layer_input(batch[0])  # N x V
        code = self.coder.encode(self.corrupt(v))  # N x H
        loss = self._loss(self.coder.decode(code, activate=self.loss_name == "squared_error"), v)
        if self.sparsity_cost:
            loss = loss + self.sparsity_cost * self._divergence(code)
        if self.contractive:
            loss = loss + self.contractive * self._jacobian(v)
        if is_logging_step(self):
            self.log("train/loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self._measure(batch, "val")

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self._measure(batch, "test")

    def corrupt(self, v: Tensor) -> Tensor:
        """What the coder gets to see: N x V -> the same."""
        if self.corruption == "none":
            return v
        if self.corruption == "gaussian":
            return v + self.level * torch.randn_like(v)
        chance = torch.rand(v.shape, device=v.device)
        if self.corruption == "masking":
            return v * (chance >= self.level)
        v = v.masked_fill(chance < self.level, 1)
        return v.masked_fill(chance < self.level / 2, 0)

    def trainable_parameters(self) -> list[nn.Parameter]:
        head = getattr(self.net, "head", None)
        others = set() if head is None else set(head.parameters())
        return [p for p in cast(nn.Module, self.coder).parameters() if p not in others]

    def _loss(self, outputs: Tensor, v: Tensor) -> Tensor:
        """Summed over inputs, the mean over the batch; cross-entropy takes logits."""
        if self.loss_name == "squared_error":
            return squared_error(v, outputs).mean()
        return F.binary_cross_entropy_with_logits(outputs, v, reduction="sum") / len(v)

    def _divergence(self, code: Tensor) -> Tensor:
        """Σ_j KL(p || q_j) between Bernoulli distributions with the target p and the batch's mean q_j."""
        p, q = self.sparsity_target, code.mean(dim=0).clamp(1e-6, 1 - 1e-6)
        return (p * torch.log(p / q) + (1 - p) * torch.log((1 - p) / (1 - q))).sum()

    def _jacobian(self, v: Tensor) -> Tensor:
        """Mean over the batch of Σ_ij (dh_j / dv_i)² = Σ_j f'(a_j)² Σ_i W_ji², for h = f(a), a = c + W v."""
        layer: Any = self.coder
        a = layer.hidden_input(v)
        (slope,) = torch.autograd.grad(layer.activation(a).sum(), a, create_graph=True)  # N x H, f acts by element
        return (slope.square() @ layer.weight.square().sum(dim=1)).mean()

    def _measure(self, batch: tuple[Tensor, Tensor], part: str) -> None:
        v = self.layer_input(batch[0])
        code = self.coder.encode(v)
        loss = self._loss(self.coder.decode(code, activate=self.loss_name == "squared_error"), v)
        self.log_mean(f"{part}/loss", loss, len(v))
        error = squared_error(v, self.coder.decode(code)).mean()
        self.log_mean(f"{part}/reconstruction_error", error, len(v), prog_bar=True)


def _level(level: float | list[float], layer: int | None, corruption: str) -> float:
    if isinstance(level, list):
        if not (layer or 0) < len(level):
            raise ValueError(f"level has {len(level)} values, layer {layer} has none")
        level = level[layer or 0]
    if level < 0 or (level > 1 and corruption != "gaussian"):
        raise ValueError(f"level={level}: a fraction from 0 to 1 is needed (gaussian: a deviation from 0 on)")
    return level
