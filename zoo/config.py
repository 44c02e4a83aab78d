"""Where ``conf/`` is, how it is composed, and the only place that instantiates.

Two things guard a config. Its root and its stages are typed by `zoo.schemas`, so a misspelled key or a wrong
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
from dataclasses import field, make_dataclass
from importlib import import_module
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Optional, Union

from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from zoo import schemas as schemas  # registers them with Hydra
from zoo.catalogue import CONF, model_config, suggest

TARGETS = frozenset(
    {
        "zoo.models.DBN",
        "zoo.models.GoogLeNet",
        "zoo.models.InceptionSmall",
        "zoo.models.LeNet",
        "zoo.models.LeNet1998",
        "zoo.models.LeNet5",
        "zoo.models.MLP",
        "zoo.models.RBM",
        "zoo.models.StackedAutoencoder",
        "zoo.models.TorchvisionNet",
        "zoo.tasks.Classification",
        "zoo.tasks.ContrastiveDivergence",
        "zoo.tasks.Reconstruction",
        "zoo.tasks.Regression",
        "zoo.tasks.WakeSleep",
        "zoo.tasks.optimization.constant",
        "zoo.tasks.optimization.cosine",
        "zoo.tasks.optimization.one_cycle",
        "zoo.tasks.optimization.plateau",
        "zoo.schedules.joint",
        "zoo.schedules.layerwise",
        "zoo.data.digit_recognizer.load",
        "zoo.data.digits.load",
        "zoo.data.faces.load",
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

    failure: list[Exception] = []

    def guarded(cfg: DictConfig) -> Any:
        sweep = HydraConfig.get().mode == RunMode.MULTIRUN
        if sweep:
            sys.stdout.write(f"job {HydraConfig.get().job.num}: {HydraConfig.get().job.override_dirname}\n")
        try:
            return job(cfg)
        except Exception as error:
            _remove_unused(run_folder())
            if sweep:
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
    here = Path.cwd()
    if folder == here or not folder.is_dir() or any(path.name != ".hydra" for path in folder.iterdir()):
        return
    shutil.rmtree(folder)
    for parent in folder.resolve().parents:  # such as runs/, where this was the first
        if parent == here or here not in parent.parents or any(parent.iterdir()):
            return
        parent.rmdir()


# Building


def create(name: str, *, weights: str | None = None, **overrides: Any) -> Any:
    """A model by name, with fresh weights or, but for its head, pretrained ones.

    Args:
        name: one of `zoo.list_models`.
        weights: None, or what `zoo.weights.load` takes, such as IMAGENET1K_V1.
        overrides: arguments of its net, such as ``num_classes=10, in_shape=(1, 28, 28)``; what neither they nor the
            model's YAML fix is the constructor's default.

    Raises:
        ValueError: an unknown model, or an argument that the net does not take.
        FileNotFoundError, ValueError: as `zoo.weights.load`.
    """
    node = model_config(name)["net"]
    fixed = {key: value for key, value in node.items() if not str(value).startswith("${")}  # not the dataset's
    net = build({**fixed, **overrides}, where=f"model {name}")
    if weights is not None:
        from zoo.weights import load  # which needs more than torch

        load(net, weights)
    return net


def dataset(name: str, **overrides: Any) -> Any:
    """The training, validation and test parts of a dataset, as `zoo train` cuts them.

    Args:
        name: of ``conf/dataset``, such as digits or mnist.
        overrides: its other keys, such as ``validation=10000, root="data"``.

    Returns:
        A `zoo.data.splits.Splits`: ``.train``, ``.validation``, ``.test`` with raw ``.x`` and ``.y``, and ``.classes``.

    Raises:
        ValueError: an unknown dataset or key, or a value of another type.
        FileNotFoundError, ValueError: as its source.
    """
    names = sorted(path.stem for path in (CONF / "dataset").glob("*.yaml"))
    if name not in names:
        raise ValueError(f"no dataset {name!r}; {suggest(name, names)}")
    node = compose("train", [f"dataset={name}"]).dataset
    unknown = next((key for key in overrides if key not in node), None)
    if unknown is not None:
        raise ValueError(f"dataset {name} has no {unknown!r}; {suggest(unknown, [str(key) for key in node])}")
    try:
        node.update(overrides)
    except OmegaConfBaseException as error:
        raise ValueError(f"dataset {name}: {str(error).splitlines()[0]}") from error
    return build(node.source, where=f"dataset {name}")


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


def check_seed(seed: int) -> None:
    """Raise ValueError where a seed is none that every generator takes."""
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed={seed}: between 0 and {2**32 - 1} is needed")


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
