"""The config of a run that a program starts with `zoo.train`, and the net and the data that replace parts of it."""

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

from omegaconf import DictConfig, open_dict
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from zoo.checkpoints.net_configs import net_config
from zoo.config import compose
from zoo.config.composition_errors import config_message
from zoo.config.given import GIVEN
from zoo.config.overrides import readable
from zoo.data.array_splits import ArrayLike, splits_of
from zoo.data.loaders import LoadedExamples, splits_of_loader
from zoo.data.splits import Splits
from zoo.training.checks import data_checks
from zoo.training.checks.given_net import count_outputs, ready, unwrapped
from zoo.training.plan import Given

Data: TypeAlias = str | Splits | Tensor | tuple[ArrayLike, ArrayLike] | DataLoader[Any]
Validation: TypeAlias = float | tuple[ArrayLike, ArrayLike] | DataLoader[Any]


@dataclass(frozen=True)
class Prepared:
    """A composed config, what replaces parts of it, and the command line or call that describes the run."""

    cfg: DictConfig
    given: Given
    command: str


def prepare(
    net: str | nn.Module,
    data: Data,
    *,
    stage: str | Sequence[str] | None,
    validation_data: Validation | None,
    keys: Mapping[str, object],
    overrides: Sequence[str],
) -> Prepared:
    """Compose the config.

    Arguments and errors are those of `zoo.train`; ``keys`` are epochs, batch_size, lr and seed.
    """
    if isinstance(overrides, str | Mapping) or not all(isinstance(override, str) for override in overrides):
        raise ValueError(f"overrides={overrides!r} must be a list of strings, such as ['model.net.dropout=0.5']")
    for override in overrides:
        if override.startswith("-") or override.lstrip("+").startswith(("hydra", "resume=")):
            raise ValueError(f"overrides: {override} is for the command line only; see folder= and resume=")
        # A net or data that were passed would be used in place of those that such an override names.
        for key, given in (("model", net), ("dataset", data)):
            if re.match(rf"[+~]*{key}(=|$)", override) and not isinstance(given, str):
                raise ValueError(f"overrides: {override} has no effect, because the {key} was passed; leave it out")
    if not isinstance(net, str | nn.Module):
        raise ValueError(f"net is of type {type(net).__name__}, expected the name of a model or a torch.nn.Module")
    own_net = None if isinstance(net, str) else net
    stages = () if stage is None else (stage,) if isinstance(stage, str) else tuple(stage)

    # The arguments as overrides of the command line. Those that the caller gave in ``overrides`` come last, so
    # they take precedence.
    model = net if isinstance(net, str) else GIVEN
    dataset = data if isinstance(data, str) else GIVEN
    arguments = [f"model={model}", f"dataset={dataset}"]
    arguments += [f"{key}={value}" for key, value in keys.items() if value is not None]
    if isinstance(data, str) and validation_data is not None:
        if not isinstance(validation_data, int | float):
            raise ValueError(f"validation_data: dataset {data} has splits of its own; give a fraction or a number")
        arguments.append(f"dataset.validation={validation_data}")
    splits = None if isinstance(data, str) else _splits(net, data, validation_data, multi_label="multi_label" in stages)
    if isinstance(data, DataLoader):
        arguments += _for_loader(splits, keys)
    arguments += overrides

    chosen = [f"stage={name}" for name in stages]
    # Without a name, there is no config that lists stages: the targets of the data decide.
    if own_net is not None and not stages:
        splits = splits or data_checks.dataset(_composed(arguments).dataset)
        stages = (_stage_for(splits),)
    cfg = _with_stages(arguments, stages, own_net)
    if own_net is not None:
        _describe(cfg, own_net)
    command = shlex.join(["zoo", "train", *arguments])
    if own_net is not None or not isinstance(data, str) or stages:
        shown = [repr(net) if isinstance(net, str) else cfg.model.name, repr(data) if isinstance(data, str) else "data"]
        command = f"zoo.train({', '.join([*shown, *arguments[2:], *chosen])})"
    return Prepared(cfg, Given(None if own_net is None else ready(own_net), splits), command)


def _composed(arguments: Sequence[str]) -> DictConfig:
    """The config of ``zoo train`` with these arguments. Raises ValueError in place of the errors of Hydra."""
    with readable_errors():
        return compose.compose("train", readable("train", arguments))


@contextmanager
def readable_errors() -> Iterator[None]:
    """Raise the errors of Hydra and OmegaConf as ValueErrors of one line."""
    try:
        yield
    except Exception as error:
        text = config_message(error, "train")
        if text is None:
            raise
        raise ValueError(text) from error


# The stages


def _with_stages(arguments: Sequence[str], stages: Sequence[str], net: nn.Module | None) -> DictConfig:
    """The config with these stages in place of the model's own; without any, the model's own.

    A single stage is called fit, as in most models; several are named after their files.
    """
    if not stages:
        return _composed(arguments)
    names = ["fit"] if len(stages) == 1 else list(stages)
    # Hydra adds a stage, or replaces the one of that name. Keys of the stages can only be set together with them.
    own = [] if net is not None else list(_composed(arguments[:2]).model.stages)
    chosen = [
        f"{'' if name in own else '+'}stage@model.stages.{name}={stage}"
        for name, stage in zip(names, stages, strict=True)
    ]
    cfg = _composed([*arguments, *chosen])
    with open_dict(cfg):
        for name in own:
            if name not in names:
                del cfg.model.stages[name]
    # A net without layers is trained as a whole.
    if net is not None and "layers" not in dict(net.named_children()):
        for stage in cfg.model.stages.values():
            stage.order = "joint"
    return cfg


def _stage_for(splits: Splits) -> str:
    """The stage that trains with the targets of the data."""
    if splits.multi_label:
        return "multi_label"
    if not splits.labeled:
        raise ValueError("the data have no labels: choose a stage that needs none, such as stage='reconstruct'")
    return "classify" if splits.classes else "regress"


# The net and the data


def _describe(cfg: DictConfig, net: nn.Module) -> None:
    """Name the net in the config, and describe it if its arguments are known, so that its checkpoint can be loaded."""
    name, config = net_config(unwrapped(net))
    cfg.model.name = name
    cfg.model.net = config


def _splits(net: str | nn.Module, data: Data, validation_data: Validation | None, *, multi_label: bool) -> Splits:
    """The data as splits."""
    if isinstance(data, Splits):
        if validation_data is not None:
            raise ValueError(
                "validation_data: the data are Splits, which name their validation split themselves; leave "
                "validation_data out, or set the field validation of the Splits (dataclasses.replace)"
            )
        return data

    # Loaders come in pairs; arrays go with arrays, or with a fraction to hold out.
    if isinstance(data, DataLoader):
        if validation_data is not None and not isinstance(validation_data, DataLoader):
            raise ValueError("validation_data: the training data are a DataLoader, so it must be one, too")
        inputs, _ = LoadedExamples(data, multi_label=multi_label).batch([0])
        outputs = _num_outputs(net, inputs.shape[1:])
        return splits_of_loader(data, validation_data, num_classes=outputs, multi_label=multi_label)
    if isinstance(validation_data, DataLoader):
        raise ValueError(
            "validation_data: the training data are not a DataLoader, so it must be a pair (x, y), a fraction or a "
            "number"
        )
    if isinstance(data, Dataset):
        raise ValueError(
            f"data: a {type(data).__name__} has no batches; pass DataLoader(dataset, batch_size=…, shuffle=True)"
        )
    if isinstance(data, tuple) and len(data) != 2:
        raise ValueError(f"data: a tuple of {len(data)}, expected a pair (x, y)")
    # A single array has no labels.
    x, y = data if isinstance(data, tuple) else (data, None)
    splits = splits_of(x, None)
    outputs = _num_outputs(net, splits.shape)
    return splits_of(x, y, validation=validation_data or 0, num_classes=outputs, multi_label=multi_label)


def _num_outputs(net: str | nn.Module, shape: Sequence[int]) -> int | None:
    """The number of outputs of a net that was passed; None if it is not known."""
    return None if isinstance(net, str) else count_outputs(net, shape)


def _for_loader(splits: Splits | None, keys: Mapping[str, object]) -> list[str]:
    """The keys that a loader determines: its batch size, and that its inputs reach the net as they are."""
    assert splits is not None
    assert isinstance(splits.train, LoadedExamples)
    if keys["batch_size"] is not None:
        raise ValueError(f"batch_size={keys['batch_size']}: the batches are those of the DataLoader; leave it out")
    return [f"batch_size={splits.train.batch_size}", "model.input_scaling=unit"]
