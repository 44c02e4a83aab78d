"""Fit the linear head of a classifier to the features of the training examples, before the layers below are trained.

A head with random weights sends gradients into the pretrained layers that have nothing to do with the classes, and
distorts them. A head that fits the features at the start avoids that: A. Kumar et al., "Fine-Tuning can Distort
Pretrained Features and Underperform Out-of-Distribution", ICLR 2022 (linear probing, then fine-tuning).
"""

import warnings

import numpy as np
import torch
from torch import Tensor, nn

from zoo.protocols import HasHead, head_of
from zoo.tasks.classification import Classification
from zoo.tasks.task import Task
from zoo.training.fit.feature_cache import training_features
from zoo.training.plan import Plan, StagePlan

STRENGTH = 10.0  # C of scikit-learn: weight of the losses against the penalty; the features have a mean norm of 1
MAX_STEPS = 200  # of L-BFGS


def check(task: Task, *, where: str) -> None:
    """Raise ValueError unless the head of the task's net can be fitted; ``where`` is the key of the stage."""
    reason = ""
    if not isinstance(task, Classification):
        reason = f"{type(task).__name__} has no classes"
    elif task.own_loss or task.loss_name != "cross_entropy":
        reason = "the loss must be cross_entropy"
    elif not isinstance(task.net, HasHead) or not isinstance(head_of(task.net), nn.Linear):
        reason = f"{type(task.net).__name__} has no linear layer as its head"
    if reason:
        raise ValueError(f"{where}.fit_head=true: {reason}; set it to false")


def fit_head(task: Task, stage: StagePlan, plan: Plan, *, progress: str | None) -> None:
    """Fit the head of the task's net by logistic regression, in place. It keeps its weights if all labels are equal.

    Args:
        task: a classification that `check` has passed.
        stage: its stage, whose training examples are used, without augmentation other than mirroring.
        plan: the plan of the run.
        progress: as in `cache_features`.

    Raises:
        ValueError: the features of the training examples do not fit in memory.
    """
    # The features of the whole training split, computed once; with those of mirror images, if training has these.
    net = task.net
    features, labels = training_features(
        net, stage, plan, key="fit_head=true", off="false", progress=progress, mirrored=plan.augment.flip
    )
    head = head_of(net)
    assert isinstance(task, Classification)
    assert isinstance(head, nn.Linear)
    if len(set(labels.tolist())) < 2:
        return

    # Write the result into the head, in its type and on its device.
    weight, bias = logistic_regression(features, labels.long(), task.num_classes, balanced=bool(task.class_weights))
    with torch.no_grad():
        head.weight.copy_(weight)
        if head.bias is not None:
            head.bias.copy_(bias)


def logistic_regression(
    features: Tensor, labels: Tensor, num_classes: int, *, balanced: bool, strength: float = STRENGTH
) -> tuple[Tensor, Tensor]:
    """The weights, K x H, and biases, K, of a multinomial logistic regression with an L2 penalty.

    Args:
        features: N x H.
        labels: N class numbers, of at least two classes.
        num_classes: K. A class without examples gets the weights 0 and the smallest of the biases.
        balanced: whether all classes have the same total weight, however many examples they have.
        strength: weight of the losses against the penalty on the weights.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    # Center the features, and divide by their root mean square norm, so that ``strength`` means the same for every net.
    x = features.double().numpy()
    center = x.mean(axis=0)  # H
    scale = max(float(np.sqrt(np.square(x - center).sum(axis=1).mean())), 1e-12)
    regression = LogisticRegression(C=strength, class_weight="balanced" if balanced else None, max_iter=MAX_STEPS)
    with warnings.catch_warnings():
        # An approximate optimum is a good start, too.
        warnings.simplefilter("ignore", ConvergenceWarning)
        regression.fit((x - center) / scale, labels.numpy())

    # Of two classes, scikit-learn gives the difference of their logits.
    coefficients, intercepts = regression.coef_, regression.intercept_
    if len(regression.classes_) == 2:
        coefficients = np.concatenate([-coefficients, coefficients]) / 2
        intercepts = np.concatenate([-intercepts, intercepts]) / 2

    # Undo the scaling: w . (x - center) / scale + b = (w / scale) . x + (b - w . center / scale).
    weight = torch.zeros(num_classes, features.shape[1], dtype=torch.float64)
    bias = torch.full((num_classes,), float(intercepts.min()), dtype=torch.float64)
    present = torch.from_numpy(regression.classes_)
    weight[present] = torch.from_numpy(coefficients / scale)
    bias[present] = torch.from_numpy(intercepts - coefficients @ center / scale)
    return weight, bias
