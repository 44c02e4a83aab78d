"""The schema of ``zoo train``. Hydra refuses unknown keys and values of the wrong type.

A node of type ``dict[str, Any]``, except ``about``, names a class or function in ``_target_``; `zoo.config.build.check`
compares its other keys with the signature. Keys have the defaults given here; MISSING: conf/ or the user must set it.
"""

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING


@dataclass
class Stage:
    """One way of training a net: a task, an optimizer, and how long."""

    task: dict[str, Any] = MISSING  # training objective: a class of zoo.tasks and its arguments
    optimizer: dict[str, Any] = MISSING  # a file of conf/optimizer
    lr_schedule: dict[str, Any] = MISSING  # learning-rate schedule: a file of conf/lr_schedule
    order: str = "joint"  # joint: the whole net together; layerwise: one layer after another, from the input up
    first_layer: int = 0  # layerwise: number of lowest layers that are not trained; only they are read from weights=
    epochs: int = MISSING  # number of epochs of each fit; 0 switches the stage off
    batch_size: int = MISSING  # global batch size: number of examples per step, summed over processes
    min_steps: int | None = None  # minimum number of steps: raises the number of epochs if there are few examples
    encode_once: bool = True  # compute features of frozen layers once per fit; not if too large or with augmentation
    fit_head: bool = False  # before the first epoch, fit a classifier's linear head to features that are computed once
    # Fraction of the unlabeled examples, the most certain ones, that get pseudo-labels before the first epoch; null:
    # none.
    pseudo_labels: float | None = None
    gradient_clip: float | None = None  # maximum norm of the gradient; null: no clipping
    ema: float | None = None  # decay of the moving average of the weights, which is evaluated and saved; null: none
    interpolation: float | None = None  # share of the trained weights, mixed with those before the fit; null: all
    patience: int | None = None  # stop after this many epochs without a better validation metric; keep the best epoch
    stop_below: float | None = None  # stop once the validation loss is below this; metrics.json has the number of steps
    checkpoint_every: int = 1  # number of epochs between checkpoints for resume=; 0: only at the end
    checkpoint_every_steps: int | None = None  # number of steps between further checkpoints; null: none
    checkpoint_every_minutes: float | None = None  # minutes between further checkpoints; null: none


@dataclass
class Model:
    """A net, and the stages that train it."""

    name: str = MISSING  # name of the file in conf/model
    # What `zoo list` and `zoo show` print: title, paper, layers, parameters, deviations.
    about: dict[str, Any] = field(default_factory=dict)
    net: dict[str, Any] = MISSING  # a class of zoo.models and its arguments
    # standardized: mean 0 and std 1; unit: pixels in [0, 1], real values unchanged; whitened: for photographs
    input_scaling: str = MISSING
    stages: dict[str, Stage] = MISSING  # in the order in which they run


@dataclass
class Dataset:
    """A source of examples, with its license, shape, splits and augmentation."""

    name: str = MISSING  # name of the file in conf/dataset
    license: str = MISSING  # license of the data
    source: dict[str, Any] = MISSING  # a function of zoo.data.sources and its arguments
    root: str | None = None  # folder or file of the data
    download: bool = True  # whether to download the data if root has no copy
    validation: float = MISSING  # validation split: a fraction below 1, or a number of examples
    test: float | None = None  # test split, if the data have none: a fraction or a number; null: see the dataset's file
    folds: int | None = None  # number of folds of the training split, for cross-validation; null: none
    fold: int | None = None  # the fold that is the validation split, in place of validation: 0 to folds - 1
    groups: str | None = None  # column (npz: array) with the group of each example; a group is in one split only
    channels: str | None = None  # of dataset=npz: axis of an image that has the channels: first, last or auto
    # Of tables and lists of images:
    file_column: str | None = None  # column with the paths of the images; null: the first that has names of images
    image_root: str | None = None  # folder that these paths are relative to; null: the folder of the table
    target: Any = None  # name of the column of targets, or a list of names; null: no targets
    target_type: str | None = None  # auto, classes, values (regression) or labels (any number of them for an example)
    label_separator: str | None = None  # text between two labels in a cell
    standardize_targets: bool | None = None  # whether real target values get mean 0 and std 1
    split_column: str | None = None  # column with the split of each row: train, val or test; null: none
    ignore: list[str] | None = None  # columns that are left out
    categorical: list[str] | None = None  # columns of numbers that are categories
    missing: str | None = None  # missing values: refuse, impute (by the median of the training split) or drop (the row)
    # Of all datasets again:
    labeled_examples: int | None = None  # number of training examples that keep their labels; null: all
    shape: list[int] | None = None  # shape of one input; null: as in the data
    size: Any = None  # images that are read from files: an integer or [height, width] that replaces those of shape
    num_classes: int | None = None  # number of classes; null: as in the data
    scale: float | None = None  # divisor of raw values (white); null: 255 for bytes (1 if all are 0 or 1), else 1
    header: Any = "auto"  # whether the first line of a CSV has names: auto, true or false
    augment: dict[str, Any] = MISSING  # random changes of training images: a file of conf/augment
    workers: int = 0  # number of processes that read images
    on_bad_image: str = "refuse"  # refuse or skip image files that cannot be read
    check: bool = True  # whether to check an image folder for bad files and duplicates before training


@dataclass
class Accelerator:
    """The hardware that a net runs on, as arguments of Lightning's Trainer."""

    accelerator: str = "auto"  # auto, cpu, cuda or mps
    devices: Any = 1  # number of devices, or auto: all
    strategy: str = "auto"  # auto or ddp
    precision: str = "32-true"  # 32-true, bf16-mixed or, on a GPU, 16-mixed
    num_nodes: int = 1  # number of machines


@dataclass
class Trainer:
    """How every stage is trained and evaluated: arguments of Lightning's Trainer, and ``compile``."""

    accumulate_grad_batches: int = 1  # number of batches whose gradients are averaged for one optimizer step
    limit_train_batches: Any = 1.0  # training batches per epoch: a number, or a fraction below 1; 1.0: all
    limit_val_batches: Any = 1.0  # validation batches, likewise; 0: no validation
    limit_test_batches: Any = 1.0  # test batches, likewise; 0: no test
    overfit_batches: Any = 0  # train and validate on the same few training batches, likewise; 0: off
    max_time: str | None = None  # DD:HH:MM:SS after which training stops and can be resumed; null: no limit
    check_val_every_n_epoch: int = 1  # number of epochs between validations
    num_sanity_val_steps: int = 0  # number of validation batches that are tried before training; -1: all
    deterministic: Any = False  # true: only deterministic algorithms; warn: warn of the others
    benchmark: bool | None = None  # whether cuDNN measures which algorithm is the fastest; null: PyTorch's setting
    detect_anomaly: bool = False  # find the operation whose gradient is NaN; slow
    profiler: str | None = None  # simple, advanced or pytorch: measure where the time goes; null: off
    compile: bool = False  # compile the net with torch.compile while a stage with targets trains


@dataclass
class Train:
    """The config of ``zoo train``. The comments in ``conf/train.yaml`` describe the keys."""

    model: Model = field(default_factory=Model)
    dataset: Dataset = field(default_factory=Dataset)
    accelerator: Accelerator = field(default_factory=Accelerator)
    trainer: Trainer = field(default_factory=Trainer)
    callbacks: dict[str, Any] = field(default_factory=dict)  # name -> a callback and its arguments
    logger: Any = None  # a mapping, or null; OmegaConf cannot merge a mapping into a null of type dict
    weights: str | None = None
    pretrained_head: str = "reset"
    seed: int = 1
    epochs: int | None = None
    batch_size: int | None = None
    lr: float | None = None
    resume: str | None = None
    progress: bool = True
    latent_map: str = "pca"
    report: bool = False
    compare: str | None = None
    optimized_metric: str | None = None
    show_test: bool = False
    claim: Any = None  # a mapping, or null
    debug: bool = False


ConfigStore.instance().store(name="train_schema", node=Train)
