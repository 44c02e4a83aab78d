"""Losses of tasks with targets, by name, and how a loss reads the outputs of a net. May import torch only.

The loss decides what the outputs mean. Cross-entropy reads them as logits; the quadratic loss as predictions of the
one-hot target. So each classification loss comes with a function that turns outputs into class probabilities.

**Adding a classification loss** takes a function of outputs, targets and ``label_smoothing``, and an entry in
`CLASSIFICATION` at the end of this file; CONTRIBUTING.md says what else. Adding a regression loss takes an entry in
`REGRESSION`. The losses of reconstruction are in `zoo.tasks.reconstruction`.

Shapes: N examples, K classes. Outputs are N x K. Targets are N class numbers, or N x K class probabilities.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

RUBBISH = 10.0  # j of cross_entropy_with_rubbish: minus the logit of the rubbish class

# A function of outputs and targets that returns the mean loss, a scalar; or an `nn.Module` that is called like one.
Loss = Callable[[Tensor, Tensor], Tensor]
TEMPERATURES = (0.01, 100.0)  # minimum and maximum number that divides logits


@dataclass(frozen=True)
class ClassificationLoss:
    """A loss, and how it reads the outputs of a net.

    Attributes:
        function: called with outputs, targets and ``label_smoothing``; returns the mean over the batch, a scalar.
        probabilities: turns outputs into class probabilities, N x K, whose rows sum to 1.
        has_class_weights: whether ``function`` also takes ``weight``, the K weights of the classes in the mean.
        num_classes: the only number of classes for which the loss works; None: any number.
    """

    function: Callable[..., Tensor]
    probabilities: Callable[[Tensor], Tensor]
    has_class_weights: bool = False
    num_classes: int | None = None


def classification_loss(name: str | Loss, *, label_smoothing: float = 0.0, class_weights: Tensor | None = None) -> Loss:
    """A function of outputs and targets that returns the mean loss, a scalar.

    - ``cross_entropy``: minus the log of the softmax at the class.
    - ``cross_entropy_with_rubbish``: the same with one more class, "rubbish", whose logit is the constant -10. No
      example belongs to it. So the logit of the right class is raised until it is well above -10, even if the other
      logits are far below it. For outputs that are minus the squared distance to the code of each class: LeCun,
      Bottou, Bengio & Haffner 1998, equation 9, with j = 10 (the paper does not state its j).
    - ``quadratic``: half the squared distance to the one-hot target, summed over classes.
    - ``binary_cross_entropy``: for two classes. Outputs are one logit (N x 1), or two (N x 2) whose difference is the
      logit.

    Args:
        name: a name of `CLASSIFICATION`; or a loss of the user, as in `own_loss`, which gets logits and targets.
        label_smoothing: s in [0, 1] mixes the target with the uniform distribution: (1 - s) · target + s / K.
        class_weights: K weights of the classes in the mean; for cross_entropy only.

    Raises:
        ValueError: no loss has that name, ``label_smoothing`` is out of range, or the loss has no class weights; a
            loss of the user has neither label smoothing nor class weights, or `own_loss` refuses it.
    """
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"label_smoothing={label_smoothing} must be in [0, 1]")
    if callable(name):
        if label_smoothing or class_weights is not None:
            raise ValueError("a loss of your own has no label_smoothing and no class_weights; compute them in the loss")
        return own_loss(name)
    if name not in CLASSIFICATION:
        raise ValueError(f"unknown loss {name!r}; choose one of: {', '.join(CLASSIFICATION)}")
    loss = CLASSIFICATION[name]
    # Pass class weights only to losses that have them.
    if loss.has_class_weights:
        return partial(loss.function, label_smoothing=label_smoothing, weight=class_weights)
    if class_weights is not None:
        weighted = ", ".join(key for key, other in CLASSIFICATION.items() if other.has_class_weights)
        raise ValueError(f"class_weights are for the loss {weighted}, not {name}")
    return partial(loss.function, label_smoothing=label_smoothing)


def regression_loss(name: str | Loss) -> Loss:
    """A function of outputs and targets, both N x targets, that returns the mean loss.

    Args:
        name: mse, mae or smooth_l1; or a loss of the user, as in `own_loss`.

    Raises:
        ValueError: no loss has that name, or `own_loss` refuses it.
    """
    if callable(name):
        return own_loss(name)
    if name not in REGRESSION:
        raise ValueError(f"unknown loss {name!r}; choose one of: {', '.join(REGRESSION)}")
    return REGRESSION[name]


def own_loss(loss: Loss | type[nn.Module]) -> Loss:
    """A loss of the user: a function of outputs and targets, an `nn.Module`, or a class of such modules.

    Raises:
        ValueError: the class needs arguments, or the module has parameters to train.
    """
    # A class is called with its defaults.
    if isinstance(loss, type):
        try:
            made: Loss = loss()
        except TypeError as error:
            name = loss.__name__
            raise ValueError(
                f"loss={name}: {error}; define a default value for each argument of {name}, or write a function of "
                f"outputs and targets that returns {name}(…)(outputs, targets)"
            ) from error
        loss = made
    # The optimizer gets the parameters of the net only.
    if isinstance(loss, nn.Module) and any(parameter.requires_grad for parameter in loss.parameters()):
        raise ValueError(
            f"loss={type(loss).__name__} has parameters, which would not be trained; make them buffers, or a part of "
            "the net"
        )
    return loss


def probabilities(outputs: Tensor, loss: str | Loss, temperature: float = 1.0) -> Tensor:
    """Turn the outputs of a net, N x K, into class probabilities, N x K, whose rows sum to 1.

    A single logit of ``binary_cross_entropy``, N x 1, becomes N x 2.

    Args:
        outputs: of the net.
        loss: the loss that the net was trained with. Outputs are read as logits if it is not the name of a
            classification loss, such as that of an autoencoder with a head.
        temperature: number > 0 that divides the outputs: above 1, the probabilities are less extreme.

    Raises:
        ValueError: the loss does not work for that number of outputs.
    """
    known = CLASSIFICATION.get(loss) if isinstance(loss, str) else None
    read = _softmax if known is None else known.probabilities
    return read(outputs if temperature == 1 else outputs / temperature)


def check_temperature(temperature: float, loss: object = "cross_entropy") -> None:
    """Raise ValueError unless ``temperature`` is in range and the outputs of a net with this loss are logits."""
    low, high = TEMPERATURES
    if isinstance(temperature, bool) or not isinstance(temperature, int | float) or not low <= temperature <= high:
        raise ValueError(f"temperature={temperature} must be in [{low:g}, {high:g}]")
    if temperature != 1 and loss == "quadratic":
        raise ValueError("temperature divides logits; the outputs of loss=quadratic are not logits")


def _smoothed(outputs: Tensor, targets: Tensor, label_smoothing: float) -> Tensor:
    """Class numbers, or class probabilities, as smoothed probabilities: N x K, of the type of the outputs."""
    count = outputs.shape[1]
    target = targets if targets.is_floating_point() else F.one_hot(targets, count)  # N x K
    return target.to(outputs.dtype) * (1 - label_smoothing) + label_smoothing / count


# Cross-entropy: the outputs are logits.


def _softmax(outputs: Tensor) -> Tensor:
    return outputs.softmax(dim=1)  # N x K


# Cross-entropy with a rubbish class: the outputs are logits, and training adds one more of -RUBBISH.


def _with_rubbish(outputs: Tensor, targets: Tensor, *, label_smoothing: float) -> Tensor:
    # Targets become probabilities of the classes; that of the rubbish class is 0.
    target = _smoothed(outputs, targets, label_smoothing)  # N x K
    logits = F.pad(outputs, (0, 1), value=-RUBBISH)  # N x (K + 1)
    return F.cross_entropy(logits, F.pad(target, (0, 1)))


# Quadratic loss: the outputs predict the one-hot target.


def _quadratic(outputs: Tensor, targets: Tensor, *, label_smoothing: float) -> Tensor:
    target = _smoothed(outputs, targets, label_smoothing)  # N x K
    return 0.5 * (outputs - target).square().sum(dim=1).mean()


def _clamped_and_normalized(outputs: Tensor) -> Tensor:
    """Negative outputs are set to 0; then each row is divided by its sum, or is uniform if the sum is 0."""
    scores = outputs.clamp(min=0)  # N x K
    total = scores.sum(dim=1, keepdim=True)  # N x 1
    return torch.where(total > 0, scores / total.clamp(min=1e-30), 1 / outputs.shape[1])  # N x K


# Binary cross-entropy: the outputs are one logit, or two whose difference is the logit.


def _binary_cross_entropy(outputs: Tensor, targets: Tensor, *, label_smoothing: float) -> Tensor:
    # The target is the probability of the second class.
    target = targets[:, 1] if targets.is_floating_point() else targets  # N
    target = target.to(outputs.dtype) * (1 - label_smoothing) + label_smoothing / 2  # N
    return F.binary_cross_entropy_with_logits(_binary_logit(outputs), target)


def _sigmoid(outputs: Tensor) -> Tensor:
    """N x 1 or N x 2 -> N x 2."""
    positive = torch.sigmoid(_binary_logit(outputs))  # N
    return torch.stack([1 - positive, positive], dim=1)  # N x 2


def _binary_logit(outputs: Tensor) -> Tensor:
    """N x 1, or N x 2 -> N: the logit of the second class."""
    # A single output is the logit. With two outputs, their softmax is the sigmoid of their difference.
    if outputs.shape[1] > 2:
        raise ValueError(f"binary_cross_entropy needs two classes, the net has {outputs.shape[1]} outputs")
    if outputs.shape[1] == 1:
        return outputs[:, 0]
    return outputs[:, -1] - outputs[:, 0]


# The losses by the name that a config has for them.
CLASSIFICATION: dict[str, ClassificationLoss] = {
    "cross_entropy": ClassificationLoss(F.cross_entropy, _softmax, has_class_weights=True),
    "cross_entropy_with_rubbish": ClassificationLoss(_with_rubbish, _softmax),
    "quadratic": ClassificationLoss(_quadratic, _clamped_and_normalized),
    "binary_cross_entropy": ClassificationLoss(_binary_cross_entropy, _sigmoid, num_classes=2),
}
REGRESSION: dict[str, Loss] = {
    "mse": F.mse_loss,
    "mae": F.l1_loss,
    "smooth_l1": F.smooth_l1_loss,
}
