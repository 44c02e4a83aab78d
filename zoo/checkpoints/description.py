"""The description of a checkpoint: in memory a `CheckpointInfo`, in the header of the file plain JSON values.

In memory, nets, tasks, datasets and augmentations are config nodes with a ``_target_``, as `zoo.config.build` takes
them. The file has a ``class`` instead: {"class": "LeNet5", "num_classes": 10, …}. A class name stays valid when its
module moves. ``class`` is a Python keyword, so no argument can have that name. The class name of a dataset's source is
the name of its module in ``zoo/data/sources``, such as "digits". A class or function of a package that the user trusts
is stored with its import path, such as "my_package.Net", and whoever loads it must trust the package again.

Imports config and data. Translating names builds and imports nothing. The types and limits of all fields are in
`zoo.checkpoints.description_schema`.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from zoo.checkpoints import description_schema as schema
from zoo.config import trust
from zoo.config.targets import Kind, class_name, target_of
from zoo.data.preprocess import Preprocess

ARCHITECTURE = re.compile(r"\w[\w.]{0,99}", re.ASCII)  # a library's name of a net; a file may have any text there


@dataclass(frozen=True)
class CheckpointInfo:
    """The description of a checkpoint.

    Attributes:
        name: name of the model, one of `zoo.list_models`.
        net: the config node that builds the net; its ``_target_`` is a class of `zoo.models` or of a trusted package.
        task: the config node of the task that trained it last; its ``_target_`` is a class of `zoo.tasks` or of a
            trusted package.
        preprocess: the preprocessing that `transforms` returns, as plain values.
        classes: names of the classes, in the order of the outputs; empty if the net does not classify.
        metrics: metrics of the saved net, such as {"test/accuracy": 0.99}.
        num_params: number of parameters of the net.
        command: the command line that trained it.
        dataset: name of the dataset.
        dataset_config: the config of the dataset. References such as ``${oc.env:ZOO_DATA,data}`` are kept, so that they
            are resolved where the checkpoint is used.
        splits: number of examples and digest of each split that it was trained on, see
            `zoo.data.splits.Splits.fingerprints`; empty in files of earlier versions.
        table: how the columns of a table become inputs and targets, by
            `zoo.data.tables.table_columns.TableEncoding.to_dict`; empty if it was not trained on a table.
        license: license of the data that it was trained on.
        commit: commit of the source tree; empty if unknown.
        versions: versions of the libraries.
        hardware: hardware that it was trained on.
        file: the file that it was read from, for messages; not stored.
    """

    name: str
    net: dict[str, Any]
    task: dict[str, Any]
    preprocess: dict[str, Any]
    classes: list[str] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)
    num_params: int = 0
    command: str = ""
    dataset: str = ""
    dataset_config: dict[str, Any] = field(default_factory=dict)
    license: str = ""
    commit: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    hardware: str = ""
    splits: dict[str, dict[str, Any]] = field(default_factory=dict)
    table: dict[str, Any] = field(default_factory=dict)
    file: str = field(default="", compare=False)

    @property
    def title(self) -> str:
        """The name of the model or, of a net that another library builds, of its architecture."""
        architecture = self.net.get("architecture")
        # A net of a trusted package may use this name for something else.
        is_own = str(self.net.get("_target_")).startswith("zoo.models.")
        if is_own and isinstance(architecture, str) and ARCHITECTURE.fullmatch(architecture):
            return architecture
        return self.name

    @property
    def temperature(self) -> float:
        """The number that divides the logits before they become probabilities; 1 if the net was not calibrated."""
        # A task of a trusted package may use this name for something else.
        is_own = str(self.task.get("_target_")).startswith("zoo.tasks.")
        return float(self.task.get("temperature", 1.0)) if is_own else 1.0

    def transforms(self) -> Preprocess:
        """The transform from a Pillow image, or raw pixels 0 to 255 (one input or a batch), to the net's input.

        Raises:
            ValueError: the checkpoint does not describe its preprocessing.
        """
        if not self.preprocess:
            raise ValueError(f"{self.file or self.name}: the description has no preprocessing")
        return Preprocess.from_dict(self.preprocess)


def to_stored(info: CheckpointInfo) -> dict[str, Any]:
    """The description as it is stored: plain values, with a ``class`` in place of each ``_target_``.

    Raises:
        ValueError: a ``_target_`` that is not a model, task, dataset or augmentation of the zoo, or a value that
            `from_stored` would refuse.
    """
    fields = {key: value for key, value in vars(info).items() if key != "file"}
    # The source and the augmentation of a dataset name a class; its other keys are stored unchanged.
    dataset = dict(info.dataset_config)
    for key, kind in _nodes_of(dataset).items():
        dataset[key] = _with_class(dataset[key], kind)
    stored = {
        **fields,
        "net": _with_class(info.net, "model"),
        "task": _with_class(info.task, "task"),
        "dataset_config": dataset,
    }
    # Check the values as a reader gets them: JSON turns tuples into lists.
    schema.check(json.loads(json.dumps(fields)))

    # Without fingerprints of the splits or a table, write what earlier versions wrote.
    for key in ("splits", "table"):
        if not stored[key]:
            del stored[key]
    return stored


def from_stored(stored: Any, *, file: str = "") -> CheckpointInfo:
    """The inverse of `to_stored`.

    Args:
        stored: the description in the header of a file. Nothing in it is trusted.
        file: the path of the file.

    Raises:
        ValueError: a key that is missing or unknown, a node without a class name, or a value of another type or beyond
            the limits of `zoo.checkpoints.description_schema`; the message begins with the name of the field.
    """
    # The net and the task are one node each.
    values = _as_node(stored, "description")
    values["net"] = _with_target(values.get("net"), "model", where="net")
    values["task"] = _with_target(values.get("task"), "task", where="task")

    # The dataset has up to two nodes: its source and its augmentation.
    dataset = _as_node(values.get("dataset_config", {}), "dataset_config")
    for key, kind in _nodes_of(dataset).items():
        dataset[key] = _with_target(dataset[key], kind, where=f"dataset_config.{key}")
    values["dataset_config"] = dataset
    schema.check(values)
    return CheckpointInfo(**values, file=file)


def refuse_untrusted(info: CheckpointInfo) -> None:
    """Raise ValueError if the net, the task or its loss is of a package that the user does not trust."""
    for name in (info.net.get("_target_"), info.task.get("_target_"), info.task.get("loss")):
        hint = trust.hint(name)
        if hint and not trust.covers(name):
            raise ValueError(f"{info.file}: uses {name}{hint}")


def _nodes_of(dataset: Mapping[str, Any]) -> dict[str, Kind]:
    """The keys of a dataset config that are nodes with a ``_target_``, and the kind of each."""
    # Here the keys are equal to the names of the kinds.
    kinds: dict[str, Kind] = {"source": "source", "augment": "augment"}
    return {key: kind for key, kind in kinds.items() if dataset.get(key)}


def _with_class(node: Mapping[str, Any], kind: Kind) -> dict[str, Any]:
    """A config node as it is stored. An empty node, such as that of a missing task, stays empty."""
    if not node:
        return {}
    arguments = {key: value for key, value in node.items() if key != "_target_"}
    return {"class": class_name(node.get("_target_"), kind), **arguments}


def _with_target(stored: Any, kind: Kind, *, where: str) -> dict[str, Any]:
    """A stored node as a config node: the inverse of `_with_class`. ``where`` is the name of its field."""
    node = _as_node(stored, where)
    if not node:
        return {}
    # A name without dots can only name a class of the zoo; `refuse_untrusted` and `build` check any other.
    if "_target_" in node:
        raise ValueError(f"{where}: must name its class by the key class, not by _target_")
    name = node.pop("class", None)
    try:
        target = target_of(name, kind)
    except ValueError as error:
        raise ValueError(f"{where}.class: {schema.shown(name)} is not the name of a {kind}") from error
    if len(target) > schema.MAX_NAME:
        raise ValueError(f"{where}.class: {schema.shown(name)} is not the name of a {kind}")
    return {"_target_": target, **node}


def _as_node(value: Any, what: str) -> dict[str, Any]:
    """A copy of a stored mapping; ValueError if it is not a mapping."""
    if not isinstance(value, dict):
        raise ValueError(f"{what}: {schema.shown(value)} is not a mapping")
    return dict(value)
