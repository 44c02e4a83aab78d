"""Find the task class of a checkpoint. Its attribute ``targets`` decides which commands work with the checkpoint."""

from typing import TYPE_CHECKING, cast

from zoo.checkpoints.checkpoint import CheckpointInfo
from zoo.config.build import check

if TYPE_CHECKING:  # tasks import Lightning, which most predictions do not need
    from zoo.tasks import Task


def task_class(about: CheckpointInfo) -> "type[Task]":
    """The class of the last task that trained a checkpoint.

    Raises:
        ValueError: the checkpoint names a task that does not exist, or an argument that it does not take.
    """
    target, _ = check(about.task, where="task")
    return cast("type[Task]", target)
