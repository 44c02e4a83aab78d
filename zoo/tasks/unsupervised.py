"""What the tasks without targets share: the range of their inputs, and how a whole net is measured."""

import torch
from torch import Tensor, nn

from zoo.tasks.task import Task

NO_TARGETS = "none"
FP16 = {"16-mixed": "free energies and their differences leave float16's range; use bf16-mixed or 32-true"}


def check_unit_interval(v: Tensor, *, what: str, fix: str) -> None:
    """Raise ValueError where values leave [0, 1]."""
    least, most = v.min().item(), v.max().item()
    if least < 0 or most > 1:
        raise ValueError(
            f"{what} within 0 to 1, these go from {least:.3g} to {most:.3g}: "
            f"set model.inputs=unit for pictures, or {fix} for real values"
        )


def check_chains(*, k: int, persistent: bool, restart: float) -> None:
    """Raise ValueError for Gibbs chains that cannot be: no steps, no probability, or a restart of what ends anyway."""
    if k < 1:
        raise ValueError(f"k={k}: at least 1 is needed")
    if not 0 <= restart < 1:
        raise ValueError(f"restart={restart}: from 0 up to 1 is allowed")
    if restart and not persistent:
        raise ValueError(f"restart={restart} is for persistent chains; set persistent=true, or restart=0")


def drawn(p: Tensor) -> Tensor:
    """Zeros and ones with P(1) = p. Chance is float32's: bfloat16 has too few values between 0 and 1."""
    return (torch.rand(p.shape, device=p.device) < p).to(p.dtype)


def restarted(chains: Tensor, noise: Tensor, share: float) -> Tensor:
    """Persistent chains, N x V, each with probability ``share`` begun anew in its row of ``noise``."""
    anew = torch.rand(len(chains), 1, device=chains.device) < share
    return torch.where(anew, noise.to(chains), chains)


def squared_error(x: Tensor, reconstruction: Tensor) -> Tensor:
    """Sum over all pixels of (x - x')², N."""
    return (x.flatten(1) - reconstruction.flatten(1)).square().sum(dim=1)


def log_generative(task: Task, net: nn.Module, x: Tensor, y: Tensor, *, part: str) -> None:
    """Log what a net (or one machine of a stack, x being its inputs) is measured by, when it has no loss.

    - ``reconstruction_error``: squared error of `net.reconstruct`, summed over pixels.
    - ``pseudo_log_likelihood``: of an RBM with Bernoulli units, inputs rounded to zeros and ones (nats).
    - ``accuracy``: where classes are units of the net.
    """
    error = squared_error(x, net.reconstruct(x)).mean()  # type: ignore[operator]
    task.log_mean(f"{part}/reconstruction_error", error, len(x))
    if getattr(net, "visible_units", "") == "bernoulli" and not net.label_units:
        v = x.flatten(1).round()
        flips = torch.randint(v.shape[1], (len(v),), generator=torch.Generator().manual_seed(0)).to(v.device)
        value = net.pseudo_log_likelihood(v, flips).mean()  # type: ignore[operator]
        task.log_mean(f"{part}/pseudo_log_likelihood", value, len(x))
    if getattr(net, "label_units", False):
        accuracy = (net(x).argmax(dim=1) == y).float().mean()
        task.log_mean(f"{part}/accuracy", accuracy, len(x), prog_bar=part == "val")
