"""What a config turns into before anything is fitted: data, net, place - or one line that says why it cannot work."""

from typing import TYPE_CHECKING, cast

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from zoo.config import build as config
from zoo.data.splits import InMemory, Splits, shape_text

if TYPE_CHECKING:  # tasks import Lightning, which a prediction can do without
    from zoo.tasks import Task

PRECISIONS = ("32-true", "64-true", "bf16-mixed", "bf16-true", "16-mixed")
STRATEGIES = ("auto", "ddp")
SAMPLE = 2048  # pictures from which mean and deviation are taken where they are not all in memory


def dataset(node: DictConfig) -> Splits:
    """The parts of a dataset; ``shape`` and ``num_classes`` that its config left open are filled in.

    Raises:
        FileNotFoundError, ValueError: as its source, or the data are not what the config says.
    """
    splits: Splits = config.build(node.source, where="dataset.source")
    if node.shape is not None and tuple(node.shape) != splits.shape:
        raise ValueError(f"dataset.shape={list(node.shape)}, but dataset {node.name} is {list(splits.shape)}")
    if node.num_classes is not None and node.num_classes != splits.num_outputs:
        raise ValueError(f"dataset.num_classes={node.num_classes}, but dataset {node.name} has {splits.num_outputs}")
    node.shape, node.num_classes = list(splits.shape), splits.num_outputs
    return splits


def sample(splits: Splits) -> Tensor:
    """Raw training inputs, N x shape: all that are in memory, or evenly spaced pictures."""
    if isinstance(splits.train, InMemory):
        return splits.train.x
    every = max(1, len(splits.train) // SAMPLE)
    return splits.train.__getitems__(range(0, len(splits.train), every))[0]


def net(node: DictConfig, splits: Splits, *, dataset: str) -> nn.Module:
    """A model's net with fresh weights, its convolutions in channels-last order, that fits its tasks and the data.

    Args:
        node: the model config.
        splits: the data.
        dataset: their name, for the message.

    Raises:
        ValueError: model and dataset cannot work together.
    """
    pair = f"model {node.name} with dataset {dataset}"
    for stage in node.stages.values():
        for key in ("patience", "stop_below"):
            if stage[key] is not None and splits.validation is None:
                raise ValueError(f"{key} needs a validation part: set dataset.validation, or {key} to null")
        if stage.lr_schedule._target_.endswith(".plateau") and splits.validation is None:
            raise ValueError(
                "lr_schedule plateau needs a validation part: set dataset.validation, or another lr_schedule"
            )
        target, arguments = config.check(stage.task, where="task")
        task = cast("type[Task]", target)
        if not task.has_validation_loss:
            if stage.stop_below is not None:
                raise ValueError(f"stop_below: {task.__name__} has no loss to go by; set it to null")
            if stage.lr_schedule._target_.endswith(".plateau"):
                raise ValueError(
                    f"lr_schedule plateau: {task.__name__} has no loss to go by; choose another lr_schedule"
                )
        if arguments.get("flips") and len(splits.shape) != 3:
            raise ValueError(f"{pair}: flips are for pictures, the data are {shape_text(splits.shape)}")
        kind = "classes" if splits.classes else "values"
        if task.targets not in ("none", kind):
            words = {"classes": "class labels", "values": "real target values"}
            raise ValueError(f"{pair}: {task.__name__} learns {words[task.targets]}, the data have {words[kind]}")
        binary = arguments.get("loss") == "binary_cross_entropy"
        if binary and splits.num_outputs != 2:
            raise ValueError(f"{pair}: binary_cross_entropy is for two classes, the data have {splits.num_outputs}")
    try:
        built = config.build(node.net, where="model.net")
    except ValueError as error:
        raise ValueError(f"{pair}: {error}") from error
    if built.in_shape != splits.shape:
        raise ValueError(f"{pair}: the net takes {shape_text(built.in_shape)}, the data are {shape_text(splits.shape)}")
    if getattr(built, "label_units", 0) and not splits.classes:
        raise ValueError(f"{pair}: label_units need class labels, the data have real target values")
    outputs = built.num_classes
    if outputs is None and task.targets != "none":
        raise ValueError(f"{pair}: {task.__name__} needs outputs; set model.net.num_classes={splits.num_outputs}")
    if outputs not in (None, splits.num_outputs) and not (binary and outputs == 1):
        raise ValueError(f"{pair}: the net has {outputs} outputs, the data call for {splits.num_outputs}")
    return built.to(memory_format=torch.channels_last)


def refuse_precision(stage: DictConfig, precision: str) -> None:
    """Raise ValueError where a stage's task cannot work at the accelerator's precision."""
    task, _ = config.check(stage.task, where="task")
    reason = getattr(task, "refused_precisions", {}).get(precision)
    if reason:
        raise ValueError(f"accelerator.precision={precision}: {reason} ({task.__name__})")
