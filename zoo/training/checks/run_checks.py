"""Check a run before anything is written: the config becomes one frozen `Plan`, or one readable error.

Where a rule belongs:

- keys outside the stages, net against data: here, in `check_values` and `_net`;
- the keys of a dataset, augmentation against data: in `zoo.training.checks.data_checks`;
- the values of a stage, and task against data: in `zoo.training.checks.stage_checks`;
- what one task alone requires: in that task, as an attribute or a method of `zoo.tasks.task.Task`.

A disabled stage (``epochs=0``) is not checked.
"""

from copy import deepcopy
from typing import Any, cast

import torch
from lightning.pytorch import seed_everything
from omegaconf import DictConfig, OmegaConf
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from zoo.checkpoints import pretrained
from zoo.checkpoints.description_schema import check_name
from zoo.checkpoints.own_net import Sized, state_sizes
from zoo.config import hardware
from zoo.config.build import build, check, check_seed
from zoo.config.ranges import check_numbers
from zoo.data.preprocess import Preprocess
from zoo.data.splits import Splits
from zoo.data.value_range import guess_scale
from zoo.plots.latent import LATENT_MAPS
from zoo.protocols import HasLabelUnits, RBMLayer, shape_text
from zoo.training import pseudo_labels
from zoo.training.checks import data_checks, given_net, stage_checks, trainer_checks
from zoo.training.fit import trainer_settings, user_callbacks
from zoo.training.plan import Given, Plan

INPUT_SCALINGS = ("standardized", "unit", "whitened")


def plan(cfg: DictConfig, *, preprocess: Preprocess | None = None, given: Given | None = None) -> Plan:
    """Check a composed config, read its data and build its net.

    Args:
        cfg: the config of ``zoo train``; it is not changed.
        preprocess: the preprocessing of a resumed run. Such a run loads its weights from ``last.ckpt`` later, so
            ``weights=`` is not loaded. None for a new run.
        given: a net or data that replace those of the config.

    Raises:
        FileNotFoundError: the data or the pretrained weights do not exist.
        ValueError: an invalid value, dataset or combination.
    """
    # 1. Check the values of all keys, one by one.
    cfg = deepcopy(cfg)
    given = given or Given()
    given_net.refuse_missing(cfg, given)
    enabled, trainer_kwargs = check_values(cfg)
    settings = trainer_settings.parse(cfg.trainer)
    callbacks = stage_checks.plain(cfg.callbacks)
    user_callbacks.check_callbacks(callbacks, list(enabled))

    # 2. Load the data, and check that the augmentation and every stage can use them.
    splits = data_checks.dataset(cfg.dataset) if given.splits is None else given.splits
    if cfg.optimized_metric is not None and splits.validation is None:
        raise ValueError(f"optimized_metric={cfg.optimized_metric} needs a validation split: set dataset.validation")
    cfg.dataset.shape = list(splits.shape)
    cfg.dataset.num_classes = splits.num_outputs or None  # None: the data have no labels
    augment = data_checks.augmentation(cfg.dataset, splits)
    dataset = "the given data" if given.splits is not None else f"dataset {cfg.dataset.name}"
    model_and_dataset = f"model {cfg.model.name} with {dataset}"
    for name, stage in enabled.items():
        where = f"model.stages.{name}"
        stage_checks.check_data(stage, splits, where=where, model_and_dataset=model_and_dataset)
        pseudo_labels.check_stage(stage, where=where, labeled_examples=cfg.dataset.labeled_examples, settings=settings)
        trainer_checks.check_stage(name, stage, settings, callbacks)

    # 3. Build the net, and check that the data fit it. The seed determines its initial weights.
    seed_everything(cfg.seed, verbose=False)
    net = _net(cfg.model, splits, model_and_dataset=model_and_dataset) if given.net is None else given.net
    if isinstance(net, Sized):
        _check_net(net, enabled, splits, model_and_dataset=model_and_dataset)
    net = net.to(memory_format=torch.channels_last)
    notes = list(splits.notes)
    if cfg.weights is None and given.net is None:
        notes += stage_checks.random_weights_notes(enabled)
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
        if stage.pseudo_labels is not None:
            examples = splits.hide_labels(cfg.dataset.labeled_examples, seed=cfg.seed)
        planned.append(stage_checks.stage_plan(name, stage, examples, drop_single=drop_single, settings=settings))
    notes = [f"note: {note}" for note in notes]
    inputs = preprocess(data_checks.first_inputs(splits))
    if not torch.isfinite(inputs).all():
        raise ValueError(
            f"{dataset}: the preprocessed inputs have NaN or Inf: the data contain such values, or values that are too "
            "small or too large for float32; remove such examples, or scale the values to about 1"
        )
    if not isinstance(net, Sized) and any(stage.needs_labels for stage in planned):
        net = given_net.with_outputs(net, splits, inputs, model_and_dataset=model_and_dataset)
    notes += stage_checks.check_tasks(
        planned, net, inputs, num_outputs=splits.num_outputs, model_and_dataset=model_and_dataset
    )

    if drop_single:
        stage_checks.check_batches(planned, net, inputs, processes=hardware.processes(trainer_kwargs))

    # Try the compiler last, since that takes seconds.
    if settings.compile:
        notes += trainer_checks.check_compile(planned, hardware.device(trainer_kwargs))

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
        settings=settings,
        callbacks=callbacks,
        weights=_initial_weights(cfg) if given.net is None else "",
        report=cfg.report,
    )


def _initial_weights(cfg: DictConfig) -> str:
    """The weights that the net begins with, in words."""
    if cfg.weights is None:
        return "random weights"
    return f"weights {cfg.weights}, {'with their' if cfg.pretrained_head == 'keep' else 'new'} head"


# The values of single keys


def check_values(cfg: DictConfig) -> tuple[dict[str, DictConfig], dict[str, Any]]:
    """Check every value on its own, before any data are read.

    Side effect: `stage_checks.enabled_stages` sets keys of the stages.

    Returns:
        The enabled stages by name, and the arguments of a Trainer.

    Raises:
        ValueError: a value of the wrong type, out of its range or not among the choices.
    """
    # The keys outside the stages.
    check_seed(cfg.seed)
    check_name(cfg.model.name, "model.name")
    for key, value, choices in (
        ("model.input_scaling", cfg.model.input_scaling, INPUT_SCALINGS),
        ("pretrained_head", cfg.pretrained_head, pretrained.HEAD_CHOICES),
        ("latent_map", cfg.latent_map, LATENT_MAPS),
    ):
        if value not in choices:
            raise ValueError(f"{key}={value}: choose {', '.join(choices[:-1])} or {choices[-1]}")
    data_checks.check_keys(cfg.dataset)
    check_numbers(stage_checks.plain(cfg.model.net), kind="net", where="model.net")
    check(cfg.dataset.augment, where="dataset.augment")
    if cfg.logger is not None:
        check(cfg.logger, where="logger")

    # The stages. A task may not support the precision.
    enabled = stage_checks.enabled_stages(cfg)
    for name, stage in enabled.items():
        stage_checks.check_values(stage, where=f"model.stages.{name}", precision=cfg.accelerator.precision)
        if stage.fit_head and cfg.weights is not None and cfg.pretrained_head == "keep":
            raise ValueError(
                f"model.stages.{name}.fit_head=true would replace the head that pretrained_head=keep loads; set "
                "fit_head=false or pretrained_head=reset"
            )
    return enabled, hardware.trainer_kwargs(cfg.accelerator)


# The net


def _net(node: DictConfig, splits: Splits, *, model_and_dataset: str) -> nn.Module:
    """The net with initial weights."""
    if node.net.get("label_units") and not splits.labeled:
        reason = f" ({splits.unlabeled})" if splits.unlabeled else ""
        raise ValueError(f"{model_and_dataset}: label_units need class labels, the data have no labels{reason}")
    try:
        return cast(nn.Module, state_sizes(build(node.net, where="model.net"), splits.shape))
    except ValueError as error:
        raise ValueError(f"{model_and_dataset}: {error}") from error


def _check_net(net: Sized, enabled: dict[str, DictConfig], splits: Splits, *, model_and_dataset: str) -> None:
    """Raise ValueError if the net does not fit the data or a stage."""
    if net.in_shape != splits.shape:
        raise ValueError(
            f"{model_and_dataset}: the net expects inputs of shape {shape_text(net.in_shape)}, "
            f"the data have shape {shape_text(splits.shape)}"
        )
    if isinstance(net, HasLabelUnits) and net.label_units and (not splits.classes or splits.multi_label):
        found = "several labels per example" if splits.multi_label else "real target values"
        raise ValueError(
            f"{model_and_dataset}: label_units need class labels, the data have {found}; "
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


def _load_weights(cfg: DictConfig, net: nn.Module, splits: Splits, notes: list[str]) -> Preprocess:
    """Load the weights of ``weights=``, if any; append to ``notes``; return the preprocessing of the run."""
    weights = None
    if cfg.weights is not None:
        # Of a net whose upper layers alone are trained, only the lower ones must be in the file.
        lowest = max((stage.first_layer for stage in cfg.model.stages.values()), default=0) or None
        weights = pretrained.load(net, cfg.weights, head=cfg.pretrained_head, lowest=lowest)
        note = weights.note(net, resized="shape" in cfg.dataset.source)
        notes += [note] if note else []

    # The scale of the raw values is given, or guessed and reported. A guess needs fewer images than mean and std.
    known = weights is not None and weights.preprocess is not None
    raw = data_checks.sample(splits, data_checks.CHECKED_FILES if known else data_checks.SAMPLE)
    scale, guessed = (cfg.dataset.scale, "") if cfg.dataset.scale is not None else guess_scale(raw)
    notes += [guessed] if guessed else []

    # Use the preprocessing of the pretrained weights, if it is known; otherwise mean and std of the data.
    if weights is None or weights.preprocess is None:
        scaling = cfg.model.input_scaling
        return Preprocess.from_data(
            raw, standardize=scaling == "standardized", whiten=scaling == "whitened", scale=scale
        )
    return pretrained.for_data(weights.preprocess, splits.shape, scale=scale).seen(raw)


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
