"""A stage as a sequence of fits: ``order`` says which layers of the net are trained together.

Each fit is trained to its end before the next task is built, so a later task sees what an earlier one learned.
"""

from collections.abc import Callable, Iterator
from functools import partial

from torch import nn

from zoo.config.build import build
from zoo.tasks.optimization import Optimization
from zoo.tasks.task import Task
from zoo.training.plan import StagePlan

Order = Callable[[StagePlan, nn.Module], Iterator[tuple[str, Task]]]


def fits(stage: StagePlan, net: nn.Module) -> Iterator[tuple[str, Task]]:
    """(name, task) of every fit of a stage, in order; a task is built when it is its turn."""
    return ORDERS[stage.order](stage, net)


def joint(stage: StagePlan, net: nn.Module) -> Iterator[tuple[str, Task]]:
    """The whole net at once."""
    yield stage.name, build(stage.task, net, optimization=_optimization(stage))


def layerwise(stage: StagePlan, net: nn.Module) -> Iterator[tuple[str, Task]]:
    """One layer after another, from the input up.

    Raises:
        ValueError: the net has no layers.
    """
    # A stack, such as a deep belief network, keeps its layers in the submodule `layers`.
    layers = dict(net.named_children()).get("layers")
    if layers is None:
        raise ValueError(f"order=layerwise needs a net with layers, got {type(net).__name__}; use order=joint")
    # Each task trains its own layer; the schedule of the learning rate starts again.
    for k, _ in enumerate(layers.children()):
        yield f"{stage.name}.layer{k}", build(stage.task, net, layer=k, optimization=_optimization(stage))


ORDERS: dict[str, Order] = {"joint": joint, "layerwise": layerwise}


def _optimization(stage: StagePlan) -> Optimization:
    # The optimizer is built when its parameters are known; the number of steps is that of the plan.
    return Optimization(
        optimizer=partial(build, stage.optimizer, where=f"model.stages.{stage.name}.optimizer"),
        lr_schedule=stage.lr_schedule,
        total_steps=stage.total_steps,
    )
