"""Check each enabled stage, and make its `StagePlan`; a part of `zoo.training.checks`.

Where a rule belongs:

- the range of a number: in `zoo.config.ranges`; net against data: in `zoo.training.checks.run_checks`;
- task against data, and schedule against data: in `check_data` and `zoo.training.checks.target_checks`;
- what one task or schedule alone requires: in the task (`zoo.tasks.task.Task`) or schedule, as attributes and methods.
"""

import re
from copy import deepcopy
from math import ceil
from typing import Any, cast

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from zoo.config.build import build, check
from zoo.config.ranges import RANGES, check_numbers
from zoo.data.datamodule import batches
from zoo.data.splits import Splits
from zoo.protocols import shape_text
from zoo.tasks.optimization import MakeSchedule, reads_validation_loss
from zoo.tasks.task import Task
from zoo.training import pseudo_labels, stages
from zoo.training.checks.target_checks import check_targets
from zoo.training.fit import head_fit
from zoo.training.fit.trainer_settings import DEFAULT, TrainerSettings, limited, overfit
from zoo.training.plan import StagePlan

UNSUPPORTED = ("capturable", "differentiable")  # options of PyTorch's optimizers that need another step function


def enabled_stages(cfg: DictConfig) -> dict[str, DictConfig]:
    """The stages with epochs >= 1, by name.

    Side effect: ``epochs``, ``batch_size`` and ``lr`` at the root of ``cfg`` replace those of every stage in it whose
    ``epochs`` are not 0.

    Raises:
        ValueError: no stage, a negative ``epochs``, or no stage with epochs >= 1.
    """
    if not cfg.model.stages:
        raise ValueError("model.stages must have at least one stage")
    # Plots and checkpoints are named after their stage.
    for name in map(str, cfg.model.stages):
        if not re.fullmatch(r"\w[\w-]{0,59}", name):
            raise ValueError(
                f"model.stages: {name!r} must be a name of at most 60 letters, digits, _ and -, and must not begin "
                "with -"
            )
    # Apply the keys at the root of the config to every stage; one that is switched off stays off.
    for name, stage in cfg.model.stages.items():
        for key in ("epochs", "batch_size"):
            if cfg[key] is not None and stage.epochs != 0:
                stage[key] = cfg[key]
        stage.optimizer.lr = stage.optimizer.lr if cfg.lr is None else cfg.lr
        if stage.epochs < 0:
            raise ValueError(f"model.stages.{name}.epochs={stage.epochs} must be >= 0")
    enabled = {str(name): stage for name, stage in cfg.model.stages.items() if stage.epochs}
    if not enabled:
        raise ValueError("epochs=0: at least one stage must have epochs >= 1")
    # Lightning does not clip the gradients of fused optimizers in mixed precision, so switch fused off.
    for stage in enabled.values():
        if stage.gradient_clip and cfg.accelerator.precision.endswith("mixed") and stage.optimizer.get("fused"):
            stage.optimizer.fused = False
    return enabled


def check_values(stage: DictConfig, *, where: str, precision: str) -> None:
    """Check the values and the ``_target_`` classes of a stage, and that its task supports the precision.

    Args:
        stage: the stage, as `zoo.config.schemas.Stage` defines it.
        where: its key in the config, for messages.
        precision: the precision of the accelerator config.

    Raises:
        ValueError: a value out of range, a target that is not allowed, or an unsupported precision.
    """
    if stage.order not in stages.ORDERS:
        raise ValueError(f"{where}.order={stage.order}: choose {' or '.join(stages.ORDERS)}")
    if stage.first_layer and stage.order != "layerwise":
        raise ValueError(f"{where}.first_layer={stage.first_layer} is for order=layerwise; set it to 0")

    # Check the numbers of the stage itself.
    numbers = {key: stage[key] for key in RANGES["stage"] if stage[key] is not None}
    check_numbers(numbers, kind="stage", where=where)

    # Check that the task, the optimizer and the schedule are allowed classes with the right arguments.
    for key in ("task", "optimizer", "lr_schedule"):
        check(stage[key], where=f"{where}.{key}")
    for key in UNSUPPORTED:
        if stage.optimizer.get(key):
            raise ValueError(f"{where}.optimizer.{key}=true is not supported; leave it out")
    refuse_precision(task_class(stage), precision)


def refuse_precision(task: type[Task], precision: str) -> None:
    """Raise ValueError if a task does not support the accelerator's precision."""
    reason = task.refused_precisions.get(precision)
    if reason:
        raise ValueError(f"accelerator.precision={precision}: {reason} ({task.__name__})")


def check_data(stage: DictConfig, splits: Splits, *, where: str, model_and_dataset: str) -> None:
    """Raise ValueError unless the data have the targets, the validation split and the images that a stage needs."""
    task = task_class(stage)
    schedule: MakeSchedule = build(stage.lr_schedule, where=f"{where}.lr_schedule")
    schedule_name = type(schedule).__name__

    # patience, stop_below and some schedules need a validation split, and the last two a task with a validation loss.
    for key in ("patience", "stop_below"):
        if stage[key] is not None and splits.validation is None:
            raise ValueError(f"{where}.{key} needs a validation split: set dataset.validation, or {key} to null")
    needs_validation = reads_validation_loss(schedule)
    if needs_validation and splits.validation is None:
        raise ValueError(
            f"{where}.lr_schedule: {schedule_name} needs a validation split: set dataset.validation, "
            "or choose another lr_schedule"
        )
    if stage.stop_below is not None and not task.has_validation_loss:
        raise ValueError(f"{where}.stop_below: {task.__name__} has no validation loss; set it to null")
    if needs_validation and not task.has_validation_loss:
        raise ValueError(
            f"{where}.lr_schedule: {schedule_name} needs a validation loss, {task.__name__} has none; "
            "choose another lr_schedule"
        )

    # Only images can be mirrored.
    if stage.task.get("mirror_average") and len(splits.shape) != 3:
        raise ValueError(
            f"{model_and_dataset}: mirror_average needs images, the data have shape {shape_text(splits.shape)}"
        )
    check_targets(task, splits, where=where, model_and_dataset=model_and_dataset)


def stage_plan(
    name: str, stage: DictConfig, splits: Splits, *, drop_single: bool, settings: TrainerSettings = DEFAULT
) -> StagePlan:
    """The `StagePlan` of a checked stage. Side effect: raises ``stage.epochs`` if ``min_steps`` needs more epochs."""
    task = task_class(stage)
    examples = len(splits.train)
    if stage.pseudo_labels is not None:
        examples = pseudo_labels.count(splits.train.labels(), stage.pseudo_labels)
    per_epoch = batches(examples, stage.batch_size, drop_single=drop_single)
    # A limit on the batches makes a run shorter, so it does not add epochs.
    if stage.min_steps is not None:
        stage.epochs = max(stage.epochs, ceil(stage.min_steps / ceil(per_epoch / settings.accumulate_grad_batches)))
    if settings.overfit_batches:
        per_epoch = limited(per_epoch, settings.overfit_batches)
        splits = overfit(splits, per_epoch * stage.batch_size)
    return StagePlan(
        name=name,
        order=stage.order,
        first_layer=stage.first_layer,
        task={"_target_": stage.task._target_, **check(stage.task)[1]},  # values of the types that its class declares
        optimizer=plain(stage.optimizer),
        lr_schedule=build(stage.lr_schedule, where="lr_schedule"),
        epochs=stage.epochs,
        batch_size=stage.batch_size,
        encode_once=stage.encode_once,
        fit_head=stage.fit_head,
        pseudo_labels=stage.pseudo_labels,
        gradient_clip=stage.gradient_clip,
        ema=stage.ema,
        interpolation=stage.interpolation,
        patience=stage.patience,
        stop_below=stage.stop_below,
        checkpoint_every=stage.checkpoint_every,
        checkpoint_every_steps=stage.checkpoint_every_steps,
        checkpoint_every_minutes=stage.checkpoint_every_minutes,
        splits=splits,
        total_steps=stage.epochs * settings.steps(per_epoch),
        needs_labels=task.targets != "none",
        monitor=task.monitor,
    )


def check_tasks(
    planned: list[StagePlan], net: nn.Module, inputs: Tensor, *, num_outputs: int, model_and_dataset: str
) -> list[str]:
    """Build every task on a copy of the net, so that an invalid later stage fails now and not after hours.

    Args:
        planned: the stages.
        net: the net with its initial weights; it is not changed.
        inputs: preprocessed examples, N x in_shape.
        num_outputs: number of classes or target values of the data.
        model_and_dataset: names of both, for messages.

    Returns:
        One note for each fit with frozen layers: the first epoch in which each group of layers is trained.

    Raises:
        ValueError: a task does not support the net, its optimizer, the targets or the inputs.
    """
    net = deepcopy(net)
    notes = []
    for stage in planned:
        for name, task in stages.fits(stage, net):
            _try_optimizer(task, where=f"model.stages.{stage.name}.optimizer")
            if stage.fit_head:
                head_fit.check(task, where=f"model.stages.{stage.name}")
            if stage.pseudo_labels is not None:
                pseudo_labels.check(task, where=f"model.stages.{stage.name}")
            # Prefix errors about the data with the model and the dataset.
            try:
                task.check_targets(num_outputs)
                task.check_inputs(inputs)
            except ValueError as error:
                raise ValueError(f"{model_and_dataset}: {error}") from error
            notes += _training_notes(name, task, stage.epochs)
    return notes


def check_batches(planned: list[StagePlan], net: nn.Module, inputs: Tensor, *, processes: int) -> None:
    """Raise ValueError if a stage has batches of one example, with which the net's batch normalization cannot train.

    Args:
        planned: the stages.
        net: the net; it is not changed.
        inputs: preprocessed examples, N x in_shape.
        processes: number of processes that share a batch.
    """
    for stage in planned:
        if ceil(stage.batch_size / processes) > 1 and len(stage.splits.train) // processes > 1:
            continue
        # Convolutions may give each channel several values even for one image, so try it.
        copy = deepcopy(net).train()
        try:
            with torch.random.fork_rng(devices=[]), torch.no_grad():
                copy(inputs[:1])
        except ValueError as error:
            raise ValueError(
                f"model.stages.{stage.name}.batch_size={stage.batch_size}: batch normalization needs at least two "
                "examples per batch and process"
            ) from error


def _try_optimizer(task: Task, *, where: str) -> None:
    """Build the optimizer once. Raises ValueError with PyTorch's reason if it refuses its options or the net."""
    try:
        task.configure_optimizers()
    except (RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"{where}: {' '.join(str(error).split())[:200]}") from error


def random_weights_notes(enabled: dict[str, DictConfig]) -> list[str]:
    """One note for each key that only makes sense for pretrained weights, in a run from random weights."""
    notes = []
    for number, (name, stage) in enumerate(enabled.items()):
        if stage.task.get("freeze_statistics"):
            what = "freeze_statistics=true keeps batch normalization at its initial mean 0 and variance 1"
            notes.append(f"model.stages.{name}.task.{what}: few nets train with it; set it to false, or set weights=")
        if stage.interpolation is not None and number == 0:
            what = f"interpolation={stage.interpolation:g} mixes the trained weights with random ones"
            notes.append(f"model.stages.{name}.{what}; set it to null, or set weights=")
    return notes


def _training_notes(name: str, task: Task, epochs: int) -> list[str]:
    """The first epoch in which each group of layers of a fit trains; none if all train from the start.

    A group that would start after the last epoch never trains, which is a warning if its epoch was given.
    """
    first_epochs = task.training_plan()
    if not set(first_epochs.values()) - {0}:
        return []
    starts = [group for group, begin in first_epochs.items() if begin is not None and begin < epochs]
    never = [group for group in first_epochs if group not in starts]
    late = [group for group in never if first_epochs[group] is not None]

    # Name each group that trains. In a deep net, many groups may never train: name only the first.
    parts = [f"{group} from epoch {first_epochs[group]}" for group in starts]
    notes = [f"{name}: {', '.join([*parts, *([_first_of(never) + ' never'] if never else [])])}"]
    if late:
        notes.append(
            f"warning: {name}: {_first_of(late)} never train{'s' if len(late) == 1 else ''}, since unfreeze_at is not "
            f"below epochs={epochs}; set more epochs or an earlier unfreeze_at"
        )
    return notes


def _first_of(names: list[str]) -> str:
    """The first name, and the number of the others."""
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more below it"


def task_class(stage: DictConfig) -> type[Task]:
    """The class of a stage's task."""
    return cast("type[Task]", check(stage.task, where="task")[0])


def plain(node: DictConfig, *, resolve: bool = True) -> dict[str, Any]:
    """A config node as a plain dictionary."""
    values = OmegaConf.to_container(node, resolve=resolve)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}
