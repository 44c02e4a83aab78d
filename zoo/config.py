"""Where ``conf/`` is, how it is composed, and the only place that instantiates.

Two things guard a config. Its root and its stages are typed by the dataclasses below, so a misspelled key or a wrong
type fails while Hydra composes. And every ``_target_`` is built by `build`: only if its name is on `TARGETS`, and only
with arguments that its own signature takes - the constructor is the schema.
"""

import inspect
import os
import shlex
import shutil
import sys
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, make_dataclass
from importlib import import_module
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Optional, Union

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from zoo.catalogue import CONF, model_config, suggest

TARGETS = frozenset(
    {
        "zoo.models.GoogLeNet",
        "zoo.models.InceptionSmall",
        "zoo.models.LeNet",
        "zoo.models.LeNet1998",
        "zoo.models.LeNet5",
        "zoo.models.MLP",
        "zoo.tasks.Classification",
        "zoo.tasks.Regression",
        "zoo.tasks.optimization.constant",
        "zoo.tasks.optimization.cosine",
        "zoo.tasks.optimization.one_cycle",
        "zoo.tasks.optimization.plateau",
        "zoo.schedules.joint",
        "zoo.schedules.layerwise",
        "zoo.data.digit_recognizer.load",
        "zoo.data.digits.load",
        "zoo.data.image_folder.load",
        "zoo.data.line.load",
        "zoo.data.npz.load",
        "zoo.data.torchvision_sets.load",
        "zoo.data.augment.Augment",
        "torch.optim.SGD",
        "torch.optim.Adam",
        "torch.optim.AdamW",
        "lightning.pytorch.loggers.TensorBoardLogger",
        "lightning.pytorch.loggers.MLFlowLogger",
        "lightning.pytorch.loggers.WandbLogger",
    }
)


# Typed schemas. Free-form nodes (dict[str, Any]) hold a ``_target_`` and are checked against its signature.


@dataclass
class Stage:
    """One way of fitting: the schedule yields the fits, each for ``epochs``."""

    schedule: dict[str, Any] = MISSING
    task: dict[str, Any] = MISSING
    optimizer: dict[str, Any] = MISSING
    lr_schedule: dict[str, Any] = MISSING
    epochs: int = MISSING
    batch_size: int = MISSING
    gradient_clip: float | None = None  # greatest norm of the gradient
    ema: float | None = None  # decay of the weights' moving average, which is what is evaluated and kept
    patience: int | None = None  # epochs without a better validation metric before stopping; keeps the best


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
    shape: list[int] | None = None
    num_classes: int | None = None
    augment: dict[str, Any] = MISSING
    workers: int = 0


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
    seed: int = 1
    epochs: int | None = None
    batch_size: int | None = None
    lr: float | None = None
    resume: str | None = None
    progress: bool = True
    debug: bool = False


@dataclass
class Evaluate:
    checkpoint: str = MISSING
    dataset: Dataset | None = None
    accelerator: Accelerator = field(default_factory=Accelerator)
    output: str | None = None
    overwrite: bool = False
    debug: bool = False


@dataclass
class Predict:
    checkpoint: str = MISSING
    input: str = MISSING
    output: str = MISSING
    format: str = MISSING
    resize: bool = False
    batch_size: int = MISSING
    accelerator: Accelerator = field(default_factory=Accelerator)
    overwrite: bool = False
    debug: bool = False


@dataclass
class Export:
    checkpoint: str = MISSING
    format: str = MISSING
    output: str | None = None
    tolerance: float = MISSING
    overwrite: bool = False
    debug: bool = False


for _name, _schema in {"train": Train, "evaluate": Evaluate, "predict": Predict, "export": Export}.items():
    ConfigStore.instance().store(name=f"{_name}_schema", node=_schema)


# Composing


def compose(verb: str, overrides: Sequence[str] = ()) -> DictConfig:
    """The config that ``zoo VERB OVERRIDES`` would run with."""
    import hydra

    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        return hydra.compose(verb, overrides=list(overrides))


def launch(verb: str, job: Callable[[DictConfig], Any], overrides: Sequence[str]) -> None:
    """Run ``job`` on the composed config, or on each config of a sweep (``-m``).

    Raises whatever ``job`` raises. A run folder in which nothing was written yet is removed then.
    """
    import hydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    failure: list[BaseException] = []

    def guarded(cfg: DictConfig) -> Any:
        try:
            return job(cfg)
        except BaseException as error:
            _remove_unused(Path(HydraConfig.get().runtime.output_dir))
            if HydraConfig.get().mode == RunMode.MULTIRUN or not isinstance(error, Exception):
                raise
            failure.append(error)  # past Hydra, which would print a report of its own
            return None

    os.environ["HYDRA_FULL_ERROR"] = "1"  # let errors through to the caller, who words them
    argv = sys.argv
    sys.argv = [str(import_module(f"zoo.{verb}").__file__), *overrides]
    try:
        hydra.main(config_path=str(CONF), config_name=verb, version_base="1.3")(guarded)()
    finally:
        sys.argv = argv
    if failure:
        raise failure[0]


def run_folder() -> Path:
    """Where this run's files go: ``hydra.run.dir``, or the job's own folder in a sweep."""
    from hydra.core.hydra_config import HydraConfig

    return Path(HydraConfig.get().runtime.output_dir)


def command(verb: str) -> str:
    """The command line that gives this run again."""
    from hydra.core.hydra_config import HydraConfig

    overrides = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    return shlex.join(["zoo", verb, *overrides])


def _remove_unused(folder: Path) -> None:
    if folder.is_dir() and all(path.name == ".hydra" for path in folder.iterdir()) and folder != Path.cwd():
        shutil.rmtree(folder)


# Building


def create(name: str, **overrides: Any) -> Any:
    """A model by name, with fresh weights.

    Args:
        name: one of `zoo.list_models`.
        overrides: arguments of its net, such as ``num_classes=10, in_shape=(1, 28, 28)``; what neither they nor the
            model's YAML fix is the constructor's default.

    Raises:
        ValueError: an unknown model, or an argument that the net does not take.
    """
    node = model_config(name)["net"]
    fixed = {key: value for key, value in node.items() if not str(value).startswith("${")}  # not the dataset's
    return build({**fixed, **overrides}, where=f"model {name}")


def build(node: Mapping[str, Any] | DictConfig, *args: Any, where: str = "config", **extra: Any) -> Any:
    """Call the node's ``_target_`` with its other keys, ``args`` and ``extra``.

    Raises:
        ValueError: as `check`.
    """
    target, arguments = check(node, where=where)
    return target(*args, **arguments, **extra)


def check(node: Mapping[str, Any] | DictConfig, *, where: str = "config") -> tuple[Callable[..., Any], dict[str, Any]]:
    """The callable that a node names and its arguments, converted to the types of the signature.

    Raises:
        ValueError: a target that is not allowed, an argument it does not take, or a value of the wrong type; the
            message begins with ``where`` and the key.
    """
    plain = OmegaConf.to_container(node, resolve=True) if isinstance(node, DictConfig) else node
    values: dict[str, Any] = dict(plain)  # type: ignore[arg-type]
    name = values.pop("_target_", None)
    if name not in TARGETS:
        raise ValueError(f"{where}._target_: {name!r} is not one of the targets that a config may name")
    module, _, attribute = name.rpartition(".")
    target = getattr(import_module(module), attribute)
    parameters = inspect.signature(target).parameters
    for key in values:
        if key not in parameters:
            raise ValueError(f"{where}.{key}: {name} takes no {key!r}; {suggest(key, list(parameters))}")
    hints = typing.get_type_hints(target.__init__ if inspect.isclass(target) else target)
    fields = [(key, _plain_type(hints.get(key, Any)), field(default=MISSING)) for key in values]
    schema = OmegaConf.structured(make_dataclass("Arguments", fields))
    try:
        typed = OmegaConf.to_container(OmegaConf.merge(schema, OmegaConf.create(values)))
    except OmegaConfBaseException as error:
        raise ValueError(f"{where}.{error.full_key}: {str(error.msg).splitlines()[0]}") from error
    return target, dict(typed)  # type: ignore[arg-type]


def _plain_type(hint: Any) -> Any:
    """An annotation in the words that OmegaConf checks: plain values, lists of them, both optional; else Any."""
    if hint in (int, float, bool, str):
        return hint
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, UnionType):
        kinds = [_plain_type(kind) for kind in arguments if kind is not NoneType]
        if float in kinds and all(kind in (int, float, Any) for kind in kinds):
            kinds = [float]  # such as an optimizer's "float | Tensor"
        plain = kinds[0] if len(kinds) == 1 else Any
        return Optional[plain] if NoneType in arguments and plain is not Any else plain  # noqa: UP045 - a runtime value
    if origin in (list, tuple, Sequence) and arguments and arguments[0] in (int, float, bool, str):
        return list[arguments[0]]  # type: ignore[valid-type]
    return Any
