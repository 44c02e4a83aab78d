"""The types of every config: a misspelled key or a wrong type fails against them before anything is built.

Free-form nodes (``dict[str, Any]``) hold a ``_target_``; `zoo.config.build.check` holds them against its signature.
"""

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING


@dataclass
class Stage:
    """One way of fitting: the schedule yields the fits, each for ``epochs``."""

    schedule: dict[str, Any] = MISSING
    task: dict[str, Any] = MISSING
    optimizer: dict[str, Any] = MISSING
    lr_schedule: dict[str, Any] = MISSING
    epochs: int = MISSING  # of each fit; 0 leaves the stage out
    batch_size: int = MISSING
    min_steps: int | None = None  # more epochs where they would be fewer steps, as with few examples
    encode_once: bool = True  # codes of the layers below are computed once for a fit, where they fit in memory
    gradient_clip: float | None = None  # greatest norm of the gradient
    ema: float | None = None  # decay of the weights' moving average, which is what is evaluated and kept
    patience: int | None = None  # epochs without a better validation metric before stopping; keeps the best
    stop_below: float | None = None  # validation loss at which the fit ends; the metrics then say after how many steps
    checkpoint_every: int = 1  # epochs between checkpoints to resume from; 0: none
    checkpoint_every_steps: int | None = None  # and within an epoch, by steps
    checkpoint_every_minutes: float | None = None  # or by time


@dataclass
class Model:
    """A net, and the stages that fit it."""

    name: str = MISSING
    about: dict[str, Any] = MISSING
    net: dict[str, Any] = MISSING
    inputs: str = MISSING  # standardized: mean 0, deviation 1; unit: pixels within 0 to 1
    stages: dict[str, Stage] = MISSING


@dataclass
class Dataset:
    """A source, and what is known of it before it is read (null: what it turns out to be)."""

    name: str = MISSING
    license: str = MISSING
    source: dict[str, Any] = MISSING
    root: str | None = None
    download: bool = True
    validation: float = MISSING  # a fraction below 1, or a number of examples
    test: float | None = None
    labels: int | None = None  # so many training examples keep their labels, drawn by the run's seed; null: all
    shape: list[int] | None = None
    num_classes: int | None = None
    augment: dict[str, Any] = MISSING
    workers: int = 0
    on_bad_image: str = "refuse"  # or skip: files of an image folder that are no pictures
    check: bool = True  # read every file of an image folder once before training


@dataclass
class Accelerator:
    """Lightning's own words for where a fit runs."""

    accelerator: str = "auto"
    devices: Any = 1
    strategy: str = "auto"
    precision: str = "32-true"
    num_nodes: int = 1


@dataclass
class Train:
    model: Model = field(default_factory=Model)
    dataset: Dataset = field(default_factory=Dataset)
    accelerator: Accelerator = field(default_factory=Accelerator)
    logger: dict[str, Any] | None = None
    weights: str | None = None
    weights_head: str = "fresh"
    seed: int = 1
    epochs: int | None = None
    batch_size: int | None = None
    lr: float | None = None
    resume: str | None = None
    progress: bool = True
    codes: str = "pca"
    compare: str | None = None
    claim: dict[str, Any] | None = None
    debug: bool = False


@dataclass
class Evaluate:
    checkpoint: str = MISSING
    dataset: Dataset | None = None
    accelerator: Accelerator = field(default_factory=Accelerator)
    likelihood: bool = True
    chains: int = MISSING
    temperatures: int = MISSING
    output: str | None = None
    overwrite: bool = False
    debug: bool = False


@dataclass
class Sample:
    checkpoint: str = MISSING
    n: int = MISSING
    steps: int = MISSING
    labels: Any = None  # a class's name, or a list of them; None: samples of any, or in turn of each class
    output: str = MISSING
    seed: int = 1
    accelerator: Accelerator = field(default_factory=Accelerator)
    overwrite: bool = False
    debug: bool = False


@dataclass
class Predict:
    checkpoint: str = MISSING
    input: str = MISSING
    output: str = MISSING
    format: str = MISSING
    top: int = MISSING
    sheet: bool = True
    mirror_average: bool | None = None
    resize: bool | None = None
    on_bad_image: str = MISSING
    batch_size: int = MISSING
    accelerator: Accelerator = field(default_factory=Accelerator)
    overwrite: bool = False
    debug: bool = False


@dataclass
class Explain:
    checkpoint: str = MISSING
    input: str = MISSING
    output: str = MISSING
    n: int = MISSING
    target: str | None = None
    resize: bool | None = None
    accelerator: Accelerator = field(default_factory=Accelerator)
    overwrite: bool = False
    debug: bool = False


@dataclass
class Export:
    checkpoint: str = MISSING
    format: str = MISSING
    preprocess: bool = False
    output: str | None = None
    tolerance: float = MISSING
    overwrite: bool = False
    debug: bool = False


for _schema in (Train, Evaluate, Predict, Sample, Explain, Export):
    ConfigStore.instance().store(name=f"{_schema.__name__.lower()}_schema", node=_schema)
