"""Convert descriptions of checkpoint format 1 to format 2, so that old checkpoints can still be loaded.

Format 1 stored import paths and the argument names of its time. Three things may have changed since: a module moved, an
argument was renamed, and a `DBN` with separate recognition weights now has the argument ``untied``. This module imports
a class to find the arguments that it takes. Checkpoints of format 2 do not need this module.
"""

import inspect
from collections.abc import Collection, Mapping
from dataclasses import fields
from typing import Any

from zoo.config.renamed import KEYS, VALUES
from zoo.config.targets import Kind, class_name, find, source_names, target_of


def convert(description: Mapping[str, Any], tensor_names: Collection[str]) -> dict[str, Any]:
    """Convert a description of format 1 to format 2.

    Args:
        description: the description in the header of the file.
        tensor_names: names of the file's tensors.

    Raises:
        ValueError, TypeError: a node that is not a mapping, or that names a class outside the zoo.
    """
    net = _converted(description["net"], "model")
    # Format 1 had no argument for separate recognition weights; only the names of the tensors show them.
    has_recognition = any(name.startswith("recognition.") for name in tensor_names)
    if has_recognition and "untied" in _arguments(net, "model"):
        net["untied"] = True

    return {
        **description,
        "net": net,
        "task": _converted(description["task"], "task"),
        "dataset_config": _dataset(description.get("dataset_config", {})),
    }


def _dataset(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config of a dataset: its own keys, its source and its augmentation."""
    from zoo.config.schemas import Dataset  # imports Hydra; loading a net of format 2 does not need it

    # The keys of the dataset itself, then the two nodes in it.
    dataset = _renamed(config, {entry.name for entry in fields(Dataset)})
    if dataset.get("source"):
        source = dict(dataset["source"])
        source["_target_"] = _moved(source.get("_target_"))
        dataset["source"] = _converted(source, "source")
    if dataset.get("augment"):
        dataset["augment"] = _converted(dataset["augment"], "augment")
    return dataset


def _moved(target: Any) -> Any:
    """``zoo.data.digits.load`` is now ``zoo.data.sources.digits.load``; every other target stays."""
    # Map the target that each source had before the folder zoo/data/sources existed to its current target.
    old_homes = {f"zoo.data.{name}.load": target_of(name, "source") for name in source_names()}
    return old_homes.get(str(target), target)


def _converted(node: Mapping[str, Any], kind: Kind) -> dict[str, Any]:
    """A node with a ``_target_`` -> one with a ``class`` and today's argument names."""
    # A net that no task trained has an empty node as its task.
    if not node:
        return {}
    # Translate the target and the names of the arguments.
    old = {key: value for key, value in node.items() if key != "_target_"}
    stored = {"class": class_name(node.get("_target_"), kind)}
    return {**stored, **_renamed(old, _arguments(stored, kind))}


def _arguments(stored: Mapping[str, Any], kind: Kind) -> set[str]:
    """Names of the arguments that a class takes today; empty for an unknown class, which `build` refuses later."""
    target = find(target_of(stored["class"], kind))
    return set(inspect.signature(target).parameters) if target is not None else set()


def _renamed(values: Mapping[str, Any], accepted: Collection[str]) -> dict[str, Any]:
    """The arguments under today's names.

    An argument is renamed only if the class takes the new name and not the old one: the old name of one class may be
    the current name of an argument of another class.
    """
    renamed = {}
    for key, value in values.items():
        # Text values may have been renamed together with their key.
        new_key = KEYS.get(key, key)
        if key not in accepted and new_key in accepted:
            renamed[new_key] = VALUES.get(new_key, {}).get(value, value) if isinstance(value, str) else value
        else:
            renamed[key] = value
    return renamed
