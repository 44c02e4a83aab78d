"""Checkpoints of format 1: their description becomes one of format 2, so that they keep loading.

Format 1 stored import paths and the argument names of its time. Three things may have changed since: a module moved, an
argument was renamed, and a `DBN` with recognition weights now says so (``untied``). This module imports a class to ask
which arguments it takes; a checkpoint of format 2 needs nothing of it.
"""

import inspect
from collections.abc import Collection, Mapping
from dataclasses import fields
from typing import Any

from zoo.config.renamed import KEYS, VALUES
from zoo.config.targets import Kind, class_name, find, source_names, target_of


def convert(description: Mapping[str, Any], tensor_names: Collection[str]) -> dict[str, Any]:
    """A description of format 1 -> the same in format 2.

    Args:
        description: as the header of the file holds it.
        tensor_names: names of the file's tensors.

    Raises:
        ValueError, TypeError: a node that is not a mapping, or that names something else than the zoo's classes.
    """
    net = _converted(description["net"], "model")
    # The net could not say that the way up has weights of its own; only its tensors did.
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
    from zoo.config.schemas import Dataset  # imports hydra, which loading a net does without

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
    # What every source was called before zoo/data/sources was there.
    old_homes = {f"zoo.data.{name}.load": target_of(name, "source") for name in source_names()}
    return old_homes.get(str(target), target)


def _converted(node: Mapping[str, Any], kind: Kind) -> dict[str, Any]:
    """A node with a ``_target_`` -> one with a ``class`` and today's argument names."""
    # The task of a net that nothing trained is an empty node.
    if not node:
        return {}
    # The arguments of the class, without its own name.
    old = {key: value for key, value in node.items() if key != "_target_"}
    stored = {"class": class_name(node.get("_target_"), kind)}
    return {**stored, **_renamed(old, _arguments(stored, kind))}


def _arguments(stored: Mapping[str, Any], kind: Kind) -> set[str]:
    """Names of the arguments that a class takes today; none where there is no such class: building it will say so."""
    target = find(target_of(stored["class"], kind))
    return set(inspect.signature(target).parameters) if target is not None else set()


def _renamed(values: Mapping[str, Any], taken: Collection[str]) -> dict[str, Any]:
    """The arguments under today's names.

    An argument is renamed only if the class takes the new name and not the old one: another class may well have an
    argument that is called as this one once was.
    """
    renamed = {}
    for key, value in values.items():
        # Values that are words may have been renamed with their key.
        new_key = KEYS.get(key, key)
        if key not in taken and new_key in taken:
            renamed[new_key] = VALUES.get(new_key, {}).get(value, value) if isinstance(value, str) else value
        else:
            renamed[key] = value
    return renamed
