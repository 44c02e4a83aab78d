"""What a loss compares, and what it makes of a net's outputs: pure functions, torch only.

A loss decides how outputs are read. Cross-entropy takes them for logits; quadratic cost for the answer itself.
"""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

CLASSIFICATION = ("cross_entropy", "quadratic", "binary_cross_entropy")
REGRESSION: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": F.mse_loss,
    "mae": F.l1_loss,
    "smooth_l1": F.smooth_l1_loss,
}


def classification_loss(
    name: str, *, label_smoothing: float = 0.0, class_weights: Tensor | None = None
) -> Callable[[Tensor, Tensor], Tensor]:
    """A function of outputs (N x classes) and class numbers (N), or class probabilities (N x classes), that gives the
    mean loss.

    - ``cross_entropy``: minus the log of the softmax at the class.
    - ``quadratic``: half the squared distance to the one-hot target, summed over classes.
    - ``binary_cross_entropy``: for two classes, from one logit (N x 1) or from two, whose difference is the logit.

    ``label_smoothing`` s mixes the target with the uniform distribution: (1 - s) · target + s / classes.
    ``class_weights`` (classes) make a class count for more in the mean; for cross_entropy.

    Raises:
        ValueError: no loss has that name, ``label_smoothing`` is not within 0 to 1, or weights for another loss.
    """
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"label_smoothing={label_smoothing}: between 0 and 1 is needed")
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
    """A function of outputs and targets (both N x targets) that gives the mean loss: mse, mae or smooth_l1.

    Raises:
        ValueError: no loss has that name.
    """
    if name not in REGRESSION:
        raise ValueError(f"unknown loss {name!r}; choose one of: {', '.join(REGRESSION)}")
    return REGRESSION[name]


def probabilities(outputs: Tensor, loss: str) -> Tensor:
    """A net's outputs as class probabilities, N x classes, rows that sum to 1, by the loss it was trained with.

    Quadratic cost leaves outputs near the one-hot target rather than logits: they are cut at 0 and divided by
    their sum; where none is above 0, all classes are equally likely.
    """
    if loss == "binary_cross_entropy":
        positive = torch.sigmoid(_binary_logit(outputs))
        return torch.stack([1 - positive, positive], dim=1)
    if loss == "quadratic":
        scores = outputs.clamp(min=0)
        total = scores.sum(dim=1, keepdim=True)
        return torch.where(total > 0, scores / total.clamp(min=1e-30), 1 / outputs.shape[1])
    return outputs.softmax(dim=1)


def _quadratic(outputs: Tensor, classes: Tensor, *, label_smoothing: float) -> Tensor:
    count = outputs.shape[1]
    target = classes if classes.is_floating_point() else F.one_hot(classes, count)
    target = target.to(outputs.dtype) * (1 - label_smoothing) + label_smoothing / count
    return 0.5 * (outputs - target).square().sum(dim=1).mean()


def _binary_cross_entropy(outputs: Tensor, classes: Tensor, *, label_smoothing: float) -> Tensor:
    target = classes[:, 1] if classes.is_floating_point() else classes  # the probability of the second class
    target = target.to(outputs.dtype) * (1 - label_smoothing) + label_smoothing / 2
    return F.binary_cross_entropy_with_logits(_binary_logit(outputs), target)


def _binary_logit(outputs: Tensor) -> Tensor:
    if outputs.shape[1] > 2:
        raise ValueError(f"binary_cross_entropy is for two classes, the net puts out {outputs.shape[1]}")
    return outputs[:, -1] - outputs[:, 0] if outputs.shape[1] == 2 else outputs[:, 0]  # softmax over two = sigmoid
