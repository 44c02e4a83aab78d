"""Split a stage into fits: ``order`` determines which layers of the net are trained together.

Each fit ends before the next task is built, so a later task uses the weights that earlier fits have trained.
"""

from collections.abc import Callable, Iterator
from functools import partial

from torch import nn

from zoo.config.build import build
from zoo.tasks.task import Task
from zoo.training.plan import StagePlan

Order = Callable[[StagePlan, nn.Module], Iterator[tuple[str, Task]]]


def fits(stage: StagePlan, net: nn.Module) -> Iterator[tuple[str, Task]]:
    """Yield (name, task) of every fit of a stage, in order. Each task is built when the iterator reaches it.

    Raises:
        ValueError: the task does not support the net or an argument; the message begins with the config path.
    """
    return ORDERS[stage.order](stage, net)


def joint(stage: StagePlan, net: nn.Module) -> Iterator[tuple[str, Task]]:
    """One fit of a task on the whole net; the task decides which parameters are trained."""
    yield stage.name, _task(stage, net)


def layerwise(stage: StagePlan, net: nn.Module) -> Iterator[tuple[str, Task]]:
    """One fit for each layer from number ``first_layer`` up.

    Raises:
        ValueError: the net has no layers, or not as many as ``first_layer``.
    """
    # The layers of a stack, such as a deep belief network, are in its submodule ``layers``.
    layers = dict(net.named_children()).get("layers")
    if layers is None:
        raise ValueError(
            f"model.stages.{stage.name}.order=layerwise needs a net with layers, got {type(net).__name__}; "
            "use order=joint"
        )
    number = len(list(layers.children()))
    if stage.first_layer >= number:
        raise ValueError(
            f"model.stages.{stage.name}.first_layer={stage.first_layer}: the net has {number} layers, numbered from 0"
        )
    # Each task trains one layer; the learning-rate schedule starts again for each.
    for k in range(stage.first_layer, number):
        yield f"{stage.name}.layer{k}", _task(stage, net, layer=k)


ORDERS: dict[str, Order] = {"joint": joint, "layerwise": layerwise}


def _task(stage: StagePlan, net: nn.Module, **layer: int) -> Task:
    """The task of a stage, for the whole net or for one ``layer``."""
    where = f"model.stages.{stage.name}.task"
    # The optimizer is built later, when its parameters are known.
    optimization = {
        "optimizer": partial(build, stage.optimizer, where=f"model.stages.{stage.name}.optimizer"),
        "lr_schedule": stage.lr_schedule,
        "total_steps": stage.total_steps,
    }
    try:
        task: Task = build(stage.task, net, where=where, **optimization, **layer)
    except ValueError as error:
        # A message about an argument begins with "NAME=": complete it to the config path of the argument.
        message = str(error)
        separator = "." if message.partition("=")[0] in stage.task else ": "
        raise ValueError(f"{where}{separator}{message}") from error
    return task
