"""Check a run before anything is written: the config becomes one frozen `Plan`, or one readable error.

Where a rule belongs:

- net against data, augmentation against data, keys outside the stages: here, in `_net`, `_augment` and `_check_run`;
- the values of a stage, and task against data: in `zoo.training.stage_checks`;
- what one task alone requires: in that task, as an attribute or a method of `zoo.tasks.task.Task`.

A disabled stage (``epochs=0``) is not checked.
"""

from copy import deepcopy
from typing import cast

import torch
from lightning.pytorch import seed_everything
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from zoo.checkpoints import pretrained
from zoo.config import hardware
from zoo.config.build import build, check_seed
from zoo.data.augment import Augment
from zoo.data.preprocess import Preprocess
from zoo.data.splits import InMemory, Splits
from zoo.plots.latent import LATENT_MAPS
from zoo.protocols import HasLabelUnits, RBMLayer, shape_text
from zoo.training import stage_checks
from zoo.training.plan import Plan

INPUT_SCALINGS = ("standardized", "unit")
SAMPLE = 2048  # number of images from which mean and std are computed, if they are not all in memory
CHECKED = 1000  # number of images that a task checks before training; real values are all checked
CHECKED_FILES = 64  # number of images that it checks if they must be read from files first


def plan(cfg: DictConfig, *, preprocess: Preprocess | None = None) -> Plan:
    """Check a composed config, read its data and build its net.

    Args:
        cfg: the config of ``zoo train``; it is not changed.
        preprocess: the preprocessing of a resumed run, which loads its weights from ``last.ckpt``; None for a new run.

    Raises:
        FileNotFoundError, ValueError: an invalid value, dataset or combination.
    """
    # 1. Check the values of all keys, one by one.
    cfg = deepcopy(cfg)
    _check_run(cfg)
    enabled = stage_checks.enabled_stages(cfg)
    trainer_kwargs = hardware.trainer_kwargs(cfg.accelerator)
    for name, stage in enabled.items():
        stage_checks.check_values(stage, where=f"model.stages.{name}", precision=cfg.accelerator.precision)

    # 2. Load the data, and check that the augmentation and every stage can use them.
    splits = dataset(cfg.dataset)
    cfg.dataset.shape = list(splits.shape)
    cfg.dataset.num_classes = splits.num_outputs
    augment = _augment(cfg.dataset, splits)
    model_and_dataset = f"model {cfg.model.name} with dataset {cfg.dataset.name}"
    for name, stage in enabled.items():
        where = f"model.stages.{name}"
        stage_checks.check_data(stage, splits, where=where, model_and_dataset=model_and_dataset)

    # 3. Build the net, and check that the data fit it. The seed determines its initial weights.
    seed_everything(cfg.seed, verbose=False)
    net = _net(cfg.model, enabled, splits, model_and_dataset=model_and_dataset)
    notes = list(splits.notes)
    if preprocess is None:
        preprocess = _load_weights(cfg, net, splits, notes)
    splits = splits.with_preprocess(preprocess)

    # 4. Plan the stages, and try every task on a copy of the net.
    drop_single = any(isinstance(module, _BatchNorm) for module in net.modules())
    labeled = _labeled(cfg, net, splits)
    planned = []
    for name, stage in enabled.items():
        needs_labels = stage_checks.task_class(stage).targets != "none"
        examples = labeled if needs_labels else splits
        planned.append(stage_checks.stage_plan(name, stage, examples, drop_single=drop_single))
    notes = [f"note: {note}" for note in notes]
    inputs = preprocess(_first_inputs(splits))
    notes += stage_checks.check_tasks(
        planned, net, inputs, num_outputs=splits.num_outputs, model_and_dataset=model_and_dataset
    )

    # Store the dataset's config unresolved, so that ${oc.env:...} is resolved on the machine that loads the checkpoint.
    return Plan(
        model=cfg.model.name,
        dataset=cfg.dataset.name,
        license=cfg.dataset.license,
        seed=cfg.seed,
        stages=tuple(planned),
        trainer_kwargs=trainer_kwargs,
        net_config=stage_checks.plain(cfg.model.net),
        dataset_config=stage_checks.plain(cfg.dataset, resolve=False),
        logger=None if cfg.logger is None else stage_checks.plain(cfg.logger),
        augment=augment,
        workers=cfg.dataset.workers,
        drop_single=drop_single,
        latent_map=cfg.latent_map,
        progress=cfg.progress,
        config_yaml=OmegaConf.to_yaml(cfg, resolve=True),
        splits=splits,
        net=net,
        preprocess=preprocess,
        notes=tuple(notes),
    )


# The values of single keys


def _check_run(cfg: DictConfig) -> None:
    """Check the keys outside the stages."""
    check_seed(cfg.seed)
    for key, value, choices in (
        ("model.input_scaling", cfg.model.input_scaling, INPUT_SCALINGS),
        ("pretrained_head", cfg.pretrained_head, pretrained.HEAD_CHOICES),
        ("latent_map", cfg.latent_map, LATENT_MAPS),
    ):
        if value not in choices:
            raise ValueError(f"{key}={value}: choose {' or '.join(choices)}")


# The data


def dataset(node: DictConfig) -> Splits:
    """Load the splits of a dataset config.

    Raises:
        FileNotFoundError, ValueError: the source cannot load the data, or they do not have the configured shape or
            number of classes.
    """
    splits: Splits = build(node.source, where="dataset.source")
    if node.shape is not None and tuple(node.shape) != splits.shape:
        raise ValueError(
            f"dataset.shape={list(node.shape)}, but inputs of dataset {node.name} have shape {list(splits.shape)}"
        )
    if node.num_classes is not None and node.num_classes != splits.num_outputs:
        raise ValueError(f"dataset.num_classes={node.num_classes}, but dataset {node.name} has {splits.num_outputs}")
    return splits


def sample(splits: Splits, size: int = SAMPLE) -> Tensor:
    """Raw training inputs, N x shape: all of them if they are in memory, else about ``size``, evenly spaced."""
    if isinstance(splits.train, InMemory):
        return splits.train.x
    every = max(1, len(splits.train) // size)
    return splits.train.batch(range(0, len(splits.train), every))[0]


def _first_inputs(splits: Splits) -> Tensor:
    """Raw inputs that tasks check: some images, since all have bytes as values; or all real-valued inputs."""
    raw = sample(splits, CHECKED_FILES)
    return raw[:CHECKED] if raw.dtype == torch.uint8 else raw


def _augment(node: DictConfig, splits: Splits) -> Augment:
    """The augmentation, after checking that it fits the data."""
    augment: Augment = build(node.augment, where="dataset.augment")
    if augment.active and len(splits.shape) != 3:
        raise ValueError(
            f"dataset.augment needs images; inputs of dataset {node.name} have shape {shape_text(splits.shape)}"
        )
    # A shift by the whole side would move an image out of its frame.
    if augment.shift and augment.shift >= min(splits.shape[1:]):
        raise ValueError(
            f"dataset.augment.shift={augment.shift} must be < {min(splits.shape[1:])}, "
            f"the smaller side of the images of dataset {node.name}"
        )
    if augment.mixes and not splits.classes:
        raise ValueError(f"mixup and cutmix need classes; dataset {node.name} has none")
    return augment


# The net


def _net(node: DictConfig, enabled: dict[str, DictConfig], splits: Splits, *, model_and_dataset: str) -> nn.Module:
    """The net with initial weights, its convolutions in channels-last order, after checking that it fits the data."""
    try:
        net = build(node.net, where="model.net")
    except ValueError as error:
        raise ValueError(f"{model_and_dataset}: {error}") from error
    if net.in_shape != splits.shape:
        raise ValueError(
            f"{model_and_dataset}: the net expects inputs of shape {shape_text(net.in_shape)}, "
            f"the data have shape {shape_text(splits.shape)}"
        )
    if isinstance(net, HasLabelUnits) and net.label_units and not splits.classes:
        raise ValueError(
            f"{model_and_dataset}: label_units need class labels, the data have real target values; "
            "set model.net.label_units=false"
        )

    # For each stage, the net must have one output for each class or target value.
    outputs = net.num_classes
    for stage in enabled.values():
        task = stage_checks.task_class(stage)
        if outputs is None and task.targets != "none":
            # An RBM has label units in place of a head.
            key = "label_units" if isinstance(net, RBMLayer) else "num_classes"
            raise ValueError(
                f"{model_and_dataset}: {task.__name__} needs outputs; set model.net.{key}={splits.num_outputs}"
            )
        single_logit = outputs == 1 and stage.task.get("loss") == "binary_cross_entropy"
        if outputs not in (None, splits.num_outputs) and not single_logit:
            raise ValueError(f"{model_and_dataset}: the net has {outputs} outputs, the data need {splits.num_outputs}")
    return cast(nn.Module, net.to(memory_format=torch.channels_last))


def _load_weights(cfg: DictConfig, net: nn.Module, splits: Splits, notes: list[str]) -> Preprocess:
    """Load the weights of ``weights=``, if any; append to ``notes``; return the preprocessing of the run."""
    weights = None
    if cfg.weights is not None:
        weights = pretrained.load(net, cfg.weights, head=cfg.pretrained_head)
        note = weights.note(net)
        notes += [note] if note else []

    # Use the preprocessing of the pretrained weights, if it is known; otherwise mean and std of the data.
    if weights is None or weights.preprocess is None:
        return Preprocess.from_data(sample(splits), standardize=cfg.model.input_scaling == "standardized")
    real_values = isinstance(splits.train, InMemory) and splits.train.x.is_floating_point()
    return pretrained.for_data(weights.preprocess, splits.shape, scale=1.0 if real_values else 255.0)


# The stages


def _labeled(cfg: DictConfig, net: nn.Module, splits: Splits) -> Splits:
    """The splits for stages that need labels: with ``dataset.labeled_examples``, fewer training examples."""
    if cfg.dataset.labeled_examples is None:
        return splits
    if isinstance(net, HasLabelUnits) and net.label_units:
        raise ValueError(
            "dataset.labeled_examples does not work with label_units: such a net needs the label of every example"
        )
    return splits.keep_labels(cfg.dataset.labeled_examples, seed=cfg.seed)
