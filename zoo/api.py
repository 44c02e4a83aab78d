"""What ``import zoo`` hands out: models, checkpoints and datasets by name."""

from typing import Any

from omegaconf.errors import OmegaConfBaseException

from zoo.config.build import build
from zoo.config.catalogue import CONF, model_config, suggest
from zoo.config.compose import compose


def create(name: str, *, weights: str | None = None, **overrides: Any) -> Any:
    """A model by name, with fresh weights or, but for its head, pretrained ones.

    Args:
        name: one of `zoo.list_models`.
        weights: None, or what `zoo.checkpoints.pretrained.load` takes, such as IMAGENET1K_V1.
        overrides: arguments of its net, such as ``num_classes=10, in_shape=(1, 28, 28)``; what neither they nor the
            model's YAML fix is the constructor's default.

    Raises:
        ValueError: an unknown model, or an argument that the net does not take.
        FileNotFoundError, ValueError: as `zoo.checkpoints.pretrained.load`.
    """
    node = model_config(name)["net"]
    fixed = {key: value for key, value in node.items() if not str(value).startswith("${")}  # not the dataset's
    net = build({**fixed, **overrides}, where=f"model {name}")
    if weights is not None:
        from zoo.checkpoints.pretrained import load  # which needs more than torch

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
