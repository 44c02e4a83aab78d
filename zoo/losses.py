"""Losses by name, and how they read a net's outputs: pure functions. May import torch only.

A loss decides what outputs mean: cross-entropy reads them as logits, quadratic cost as the answer itself.
"""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

# The losses by name, as configs have them.
CLASSIFICATION = ("cross_entropy", "quadratic", "binary_cross_entropy")
REGRESSION: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": F.mse_loss,
    "mae": F.l1_loss,
    "smooth_l1": F.smooth_l1_loss,
}


def classification_loss(
    name: str, *, label_smoothing: float = 0.0, class_weights: Tensor | None = None
) -> Callable[[Tensor, Tensor], Tensor]:
    """A function of outputs and targets that gives the mean loss, a scalar.

    Outputs are N x K. Targets are N class numbers, or N x K class probabilities.

    - ``cross_entropy``: minus the log of the softmax at the class.
    - ``quadratic``: half the squared distance to the one-hot target, summed over classes.
    - ``binary_cross_entropy``: for two classes, from one logit (N x 1) or from two, whose difference is the logit.

    Args:
        name: one of the three above.
        label_smoothing: s in [0, 1] mixes the target with the uniform distribution: (1 - s) · target + s / K.
        class_weights: K weights of the classes in the mean; for cross_entropy only.

    Raises:
        ValueError: no loss has that name, ``label_smoothing`` is out of range, or another loss is given weights.
    """
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"label_smoothing={label_smoothing} must be in [0, 1]")
    # Class weights are for cross-entropy only, the one loss of torch that takes them.
    if name == "cross_entropy":
        return partial(F.cross_entropy, label_smoothing=label_smoothing, weight=class_weights)
    if class_weights is not None:
        raise ValueError(f"class_weights are for the loss cross_entropy, not {name}")
    if name == "quadratic":
        return partial(_quadratic, label_smoothing=label_smoothing)
    if name == "binary_cross_entropy":
        return partial(_binary_cross_entropy, label_smoothing=label_smoothing)
    raise ValueError(f"unknown loss {name!r}; choose one of: {', '.join(CLASSIFICATION)}")


def regression_loss(name: str) -> Callable[[Tensor, Tensor], Tensor]:
    """A function of outputs and targets, both N x targets, that gives the mean loss: mse, mae or smooth_l1.

    Raises:
        ValueError: no loss has that name.
    """
    if name not in REGRESSION:
        raise ValueError(f"unknown loss {name!r}; choose one of: {', '.join(REGRESSION)}")
    return REGRESSION[name]


def probabilities(outputs: Tensor, loss: str) -> Tensor:
    """A net's outputs, N x K, as class probabilities, N x K, whose rows sum to 1.

    Quadratic cost leaves outputs near the one-hot target, not logits: negative ones are set to 0, and the rest divided
    by their sum. Where no output is above 0, all classes are equally likely. One logit for two classes, N x 1, becomes
    N x 2.

    Args:
        outputs: of the net.
        loss: the name of the loss that the net was trained with.
    """
    # The loss that the net was trained with decides what its outputs mean.
    if loss == "binary_cross_entropy":
        positive = torch.sigmoid(_binary_logit(outputs))  # N
        return torch.stack([1 - positive, positive], dim=1)  # N x 2
    if loss == "quadratic":
        scores = outputs.clamp(min=0)  # N x K
        total = scores.sum(dim=1, keepdim=True)  # N x 1
        return torch.where(total > 0, scores / total.clamp(min=1e-30), 1 / outputs.shape[1])  # N x K
    return outputs.softmax(dim=1)  # N x K


def _quadratic(outputs: Tensor, targets: Tensor, *, label_smoothing: float) -> Tensor:
    # Class numbers become one-hot vectors; class probabilities are vectors already.
    count = outputs.shape[1]
    target = targets if targets.is_floating_point() else F.one_hot(targets, count)  # N x K
    target = target.to(outputs.dtype) * (1 - label_smoothing) + label_smoothing / count  # N x K
    return 0.5 * (outputs - target).square().sum(dim=1).mean()


def _binary_cross_entropy(outputs: Tensor, targets: Tensor, *, label_smoothing: float) -> Tensor:
    # The target is the probability of the second class.
    target = targets[:, 1] if targets.is_floating_point() else targets  # N
    target = target.to(outputs.dtype) * (1 - label_smoothing) + label_smoothing / 2  # N
    return F.binary_cross_entropy_with_logits(_binary_logit(outputs), target)


def _binary_logit(outputs: Tensor) -> Tensor:
    """N x 1, or N x 2 -> N: the logit of the second class."""
    # One output is the logit itself; of two, the softmax is the sigmoid of their difference.
    if outputs.shape[1] > 2:
        raise ValueError(f"binary_cross_entropy needs two classes, the net has {outputs.shape[1]} outputs")
    if outputs.shape[1] == 1:
        return outputs[:, 0]
    return outputs[:, -1] - outputs[:, 0]
