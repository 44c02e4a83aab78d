"""A run as it was checked: frozen objects of plain values, and the data and the net that they were checked with.

`zoo.training.checks.plan` makes a `Plan` from a config. Nothing below it reads the config.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from zoo.data.augment import Augment
from zoo.data.preprocess import Preprocess
from zoo.data.splits import Splits
from zoo.tasks.optimization import LRSchedule


@dataclass(frozen=True)
class StagePlan:
    """A stage that is switched on.

    Attributes:
        name: its key in ``model.stages``.
        order: joint or layerwise, see `zoo.training.stages`.
        task, optimizer: a ``_target_`` and its arguments, for `zoo.config.build.build`.
        lr_schedule: the learning-rate schedule.
        epochs: number of epochs of each fit, min_steps taken into account.
        splits: its examples: with ``dataset.labeled_examples``, a stage that needs labels has fewer.
        total_steps: number of steps of each fit.
        needs_labels: whether its task needs targets.
        monitor: the validation metric by which epochs are compared.

    The others are those of `zoo.config.schemas.Stage`.
    """

    name: str
    order: str
    task: Mapping[str, Any]
    optimizer: Mapping[str, Any]
    lr_schedule: LRSchedule
    epochs: int
    batch_size: int
    encode_once: bool
    gradient_clip: float | None
    ema: float | None
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
    """A run.

    Attributes:
        model: name of the model.
        dataset: name of the dataset.
        license: of the data.
        seed: of the run.
        stages: those that are switched on, in order.
        trainer_kwargs: where it is trained, as arguments of a Trainer.
        net_config, dataset_config: as checkpoints keep them; the dataset's may name environment variables.
        logger: a ``_target_`` and its arguments, or None.
        augment: random changes of training images.
        workers: number of processes that read images.
        drop_single: whether a last batch of a single example is left out, since batch normalization needs two.
        latent_map: pca or tsne, for the plot of latent codes.
        progress: whether to show a progress bar.
        config_yaml: the whole config, resolved.
        splits: the data, read as ``preprocess`` says.
        net: with its initial or pretrained weights.
        preprocess: from raw values to the net's input.
        notes: what a user should know before training starts.
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
