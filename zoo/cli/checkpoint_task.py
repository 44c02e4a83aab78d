"""The task of a checkpoint, whose attribute ``targets`` decides which commands apply to the checkpoint."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from zoo.checkpoints.checkpoint import CheckpointInfo
from zoo.config.build import build, check
from zoo.losses import CLASSIFICATION, probabilities

if TYPE_CHECKING:  # tasks import Lightning, which most predictions do not need
    from zoo.tasks import Task


def task_class(about: CheckpointInfo) -> "type[Task]":
    """The class of the last task that trained a checkpoint.

    Raises:
        ValueError: the checkpoint names no task or one that does not exist, or an argument that it does not take.
    """
    # A net that was saved without a task can still predict.
    if not about.task:
        raise ValueError(f"{about.file}: the description in its header names no task that trained the net")
    try:
        target, _ = check(about.task, where="task")
    except ValueError as error:
        raise ValueError(f"{about.file}: the description in its header is damaged ({error})") from error
    # The class `Task`, from which all tasks derive, has no targets and trains nothing.
    if "targets" not in dir(target):
        raise ValueError(
            f"{about.file}: the description in its header is damaged (task: {target.__name__} is not a task)"
        )
    return cast("type[Task]", target)


def is_multi_label(about: CheckpointInfo) -> bool:
    """Whether the outputs of a checkpoint are logits of labels, of which an input may have any number.

    Raises:
        ValueError: as `task_class`.
    """
    # The name of a loss for classes is enough; most predictions need not import the tasks, which import Lightning.
    if not about.classes or not about.task or about.task.get("loss") in CLASSIFICATION:
        return False
    return task_class(about).targets == "labels"


def output_probabilities(about: CheckpointInfo) -> Callable[[Tensor], Tensor]:
    """A function that turns the outputs of a checkpoint's net into probabilities of its classes or labels, N x K.

    Raises:
        ValueError: as `task_class`.
    """
    if is_multi_label(about):
        return torch.sigmoid
    return partial(probabilities, loss=about.task.get("loss", "cross_entropy"), temperature=about.temperature)


def build_task(about: CheckpointInfo, net: nn.Module) -> "Task":
    """The task of a checkpoint with its net, for evaluation.

    Raises:
        ValueError: as `task_class`, or the task cannot train such a net.
    """
    task_class(about)
    try:
        return cast("Task", build(about.task, net, where="task"))
    except (ValueError, TypeError, AttributeError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"{about.file}: the task it describes does not fit its net ({reason})") from error
