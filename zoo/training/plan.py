"""The checked plan of a run: frozen dataclasses of plain values, with the data and the net.

`zoo.training.checks.run_checks.plan` makes a `Plan` from a config. The code that trains reads the plan, not the config.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from zoo.data.augment import Augment
from zoo.data.preprocess import Preprocess
from zoo.data.splits import Splits
from zoo.tasks.optimization import MakeSchedule
from zoo.training.fit.trainer_settings import DEFAULT, TrainerSettings


@dataclass(frozen=True)
class Given:
    """What a program passes in place of parts of the config; see `zoo.training.from_python`.

    Attributes:
        net: a net in place of ``model.net``; None: the net is built from the config.
        splits: data in place of ``dataset.source``; None: the data are read as the config says.
    """

    net: nn.Module | None = None
    splits: Splits | None = None


@dataclass(frozen=True)
class StagePlan:
    """A stage with epochs >= 1.

    Attributes:
        name: its key in ``model.stages``.
        order: joint or layerwise, see `zoo.training.stages`.
        task, optimizer: a ``_target_`` and its arguments, for `zoo.config.build.build`.
        lr_schedule: the learning-rate schedule.
        epochs: number of epochs of each fit, including those that the key ``min_steps`` adds.
        splits: the data of the stage. With ``dataset.labeled_examples``, stages that need labels have fewer examples;
            with ``pseudo_labels``, they have all, of which most have the label `zoo.data.splits.UNLABELED`.
        total_steps: number of optimizer steps of each fit.
        needs_labels: whether its task needs targets.
        monitor: the validation metric that determines the best epoch.

    The other attributes are those of `zoo.config.schemas.Stage`.
    """

    name: str
    order: str
    first_layer: int
    task: Mapping[str, Any]
    optimizer: Mapping[str, Any]
    lr_schedule: MakeSchedule
    epochs: int
    batch_size: int
    encode_once: bool
    fit_head: bool
    pseudo_labels: float | None
    gradient_clip: float | None
    ema: float | None
    interpolation: float | None
    patience: int | None
    stop_below: float | None
    checkpoint_every: int
    checkpoint_every_steps: int | None
    checkpoint_every_minutes: float | None
    splits: Splits
    total_steps: int
    needs_labels: bool
    monitor: str


@dataclass(frozen=True)
class Plan:
    """A checked run.

    Attributes:
        model: name of the model.
        dataset: name of the dataset.
        license: license of the data.
        seed: seed of the run.
        stages: the enabled stages, in order.
        trainer_kwargs: the accelerator config (accelerator, devices, strategy, precision, num_nodes), as arguments of a
            Trainer.
        net_config, dataset_config: the configs that checkpoints store; that of the dataset may have references such as
            ``${oc.env:ZOO_DATA,data}``.
        logger: a ``_target_`` and its arguments, or None.
        augment: the augmentation of training images.
        workers: number of processes that read images.
        drop_single: whether to drop a last batch of one example, since batch normalization needs at least two.
        latent_map: method of the latent-code plot: pca or tsne.
        progress: whether to show a progress bar.
        report: whether to write ``report.html`` at the end.
        config_yaml: the whole config, resolved.
        splits: the data; images in files are decoded and resized for ``preprocess``.
        net: the net with its initial or pretrained weights.
        preprocess: the preprocessing from raw values to the net's input.
        notes: notes for the user, printed before training starts.
        settings: the trainer config.
        callbacks: the callbacks of the config: name -> a ``_target_`` and its arguments.
        weights: the initial weights of the net, in words; empty for a net that the program passed.
    """

    model: str
    dataset: str
    license: str
    seed: int
    stages: tuple[StagePlan, ...]
    trainer_kwargs: dict[str, Any]
    net_config: dict[str, Any]
    dataset_config: dict[str, Any]
    logger: Mapping[str, Any] | None
    augment: Augment
    workers: int
    drop_single: bool
    latent_map: str
    progress: bool
    config_yaml: str
    splits: Splits
    net: nn.Module
    preprocess: Preprocess
    notes: tuple[str, ...]
    settings: TrainerSettings = DEFAULT
    callbacks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    weights: str = ""
    report: bool = False
