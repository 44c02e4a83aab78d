"""What a checkpoint was trained for, as its task class says: ``targets`` decides which commands apply to it."""

from typing import TYPE_CHECKING, cast

from zoo.checkpoints.checkpoint import CheckpointInfo
from zoo.config.build import check

if TYPE_CHECKING:  # tasks import Lightning, which most predictions can do without
    from zoo.tasks import Task


def task_class(about: CheckpointInfo) -> "type[Task]":
    """The class of the task that trained a checkpoint last.

    Raises:
        ValueError: the checkpoint names a task that does not exist, or an argument that it does not take.
    """
    target, _ = check(about.task, where="task")
    return cast("type[Task]", target)
