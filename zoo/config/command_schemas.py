"""The schemas of the commands that use a checkpoint, as `zoo.config.schemas` has that of ``zoo train``.

The keys have the defaults given here; MISSING: the YAML of the command must set it, or the user must.
"""

from dataclasses import dataclass, field, fields, make_dataclass
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

from zoo.config.schemas import Accelerator, Dataset

# A `Dataset` without defaults, so that `zoo evaluate` sees which keys the command line sets. The other keys come from
# the checkpoint's dataset.
GivenDataset = make_dataclass("GivenDataset", [(key.name, key.type, field(default=MISSING)) for key in fields(Dataset)])


@dataclass
class Evaluate:
    """The config of ``zoo evaluate``. The comments in ``conf/evaluate.yaml`` describe the keys."""

    checkpoint: str = MISSING
    dataset: Any = field(default_factory=GivenDataset)  # the keys of a `Dataset` that the command line sets
    split: str | None = None
    scale: float | None = None
    invert: bool = False
    accelerator: Accelerator = field(default_factory=Accelerator)
    likelihood: bool = True
    chains: int = MISSING
    temperatures: int = MISSING
    output: str | None = None
    report: Any = False  # true, false or the name of an .html file
    calibrate: bool = False
    overwrite: bool = False
    debug: bool = False


@dataclass
class Sample:
    """The config of ``zoo sample``. The comments in ``conf/sample.yaml`` describe the keys."""

    checkpoint: str = MISSING
    n: int = MISSING
    steps: int = MISSING
    labels: Any = None  # name of a class, or a list of names; null: all classes, if the net has label units
    output: str = MISSING
    seed: int = 1
    accelerator: Accelerator = field(default_factory=Accelerator)
    overwrite: bool = False
    debug: bool = False


@dataclass
class Predict:
    """The config of ``zoo predict``. The comments in ``conf/predict.yaml`` describe the keys."""

    checkpoint: str = MISSING
    input: str = MISSING
    output: str = MISSING
    format: str = MISSING
    top: int = MISSING
    sheet: bool = True
    spreadsheet: bool = False
    mirror_average: bool | None = None
    header: Any = "auto"  # auto, true or false
    scale: float | None = None
    invert: bool = False
    resize: bool | None = None
    on_bad_image: str = MISSING
    batch_size: int = MISSING
    accelerator: Accelerator = field(default_factory=Accelerator)
    overwrite: bool = False
    debug: bool = False


@dataclass
class Embed:
    """The config of ``zoo embed``. The comments in ``conf/embed.yaml`` describe the keys."""

    checkpoint: str = MISSING
    input: str | None = None
    dataset: Any = field(default_factory=GivenDataset)  # the keys of a `Dataset` that the command line sets
    split: str = MISSING
    output: str = MISSING
    depth: Any = None  # an integer, a list of integers, or null
    neighbors: int | None = None
    duplicates: bool = False
    threshold: float = MISSING
    header: Any = "auto"  # auto, true or false
    scale: float | None = None
    invert: bool = False
    resize: bool | None = None
    on_bad_image: str = MISSING
    batch_size: int = MISSING
    accelerator: Accelerator = field(default_factory=Accelerator)
    overwrite: bool = False
    debug: bool = False


@dataclass
class Explain:
    """The config of ``zoo explain``. The comments in ``conf/explain.yaml`` describe the keys."""

    checkpoint: str = MISSING
    input: str = MISSING
    output: str = MISSING
    n: int = MISSING
    target: str | None = None
    scale: float | None = None
    invert: bool = False
    resize: bool | None = None
    accelerator: Accelerator = field(default_factory=Accelerator)
    overwrite: bool = False
    debug: bool = False


@dataclass
class Export:
    """The config of ``zoo export``. The comments in ``conf/export.yaml`` describe the keys."""

    checkpoint: str = MISSING
    format: str | None = None
    preprocess: bool = False
    output: str | None = None
    opset: int | None = None
    tolerance: float = MISSING
    quantize: str | None = None
    calibration_examples: int = MISSING
    dataset: Any = field(default_factory=GivenDataset)  # the keys of a `Dataset` that the command line sets
    split: str = MISSING
    max_drop: float = MISSING
    force: bool = False
    overwrite: bool = False
    debug: bool = False


@dataclass
class Benchmark:
    """The config of ``zoo benchmark``. The comments in ``conf/benchmark.yaml`` describe the keys."""

    checkpoint: str = MISSING
    runtimes: list[str] = MISSING
    batch_sizes: list[int] = MISSING
    seconds: float = MISSING
    threads: int | None = None
    accelerator: Accelerator = field(default_factory=Accelerator)
    output: str | None = None
    overwrite: bool = False
    debug: bool = False


@dataclass
class Push:
    """The config of ``zoo push``. The comments in ``conf/push.yaml`` describe the keys."""

    checkpoint: str = MISSING
    to: str = MISSING
    license: str | None = None
    private: bool = False
    dry_run: bool = False
    overwrite: bool = False
    debug: bool = False


@dataclass
class Demo:
    """The config of ``zoo demo``. The comments in ``conf/demo.yaml`` describe the keys."""

    checkpoint: str = MISSING
    port: int = MISSING
    open_browser: bool = False
    accelerator: Accelerator = field(default_factory=Accelerator)
    debug: bool = False


# One schema per command: the first entry of the defaults in its YAML.
for _schema in (Evaluate, Predict, Embed, Sample, Explain, Export, Benchmark, Push, Demo):
    ConfigStore.instance().store(name=f"{_schema.__name__.lower()}_schema", node=_schema)
