"""What is wrong with a file: values of a wrong type or size in a description, and damaged bytes.

`mutations` gives every field a wrong type, a missing, huge or deep value, a reference, and an unknown class.
"""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from zoo.checkpoints import checkpoint as checkpoints
from zoo.checkpoints.checkpoint import CheckpointInfo
from zoo.checkpoints.description import to_stored
from zoo.data.preprocess import Preprocess

# A small classifier of images, with every field that a description may have.
NET = {"_target_": "zoo.models.LeNet", "in_shape": [1, 28, 28], "num_classes": 10, "kernels": [2], "hidden": [3]}
INFO = CheckpointInfo(
    name="lenet",
    net={**NET, "kernel_size": 5, "activation": "relu", "dropout": 0.5},
    task={"_target_": "zoo.tasks.Classification", "loss": "cross_entropy", "mirror_average": False},
    preprocess=Preprocess((1, 28, 28), 255.0, (0.5,), (0.25,), side=28, interpolation="bicubic").to_dict(),
    classes=list("0123456789"),
    metrics={"test/accuracy": 0.5},
    num_params=300,
    command="zoo train",
    dataset="digits",
    dataset_config={
        "name": "digits",
        "validation": 0.1,
        "test": 360,
        "source": {"_target_": "zoo.data.sources.digits.load", "test": "${..test}"},
        "augment": {"_target_": "zoo.data.augment.Augment", "shift": 1},
    },
    license="CC0",
    commit="0" * 40,
    versions={"torch": "2"},
    hardware="a processor",
    splits={"test": {"count": 360, "digest": "00ff"}},
)


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


# Values that are wrong nearly everywhere.
WRONG: dict[str, Any] = {
    "null": None,
    "true": True,
    "negative": -1,
    "zero": 0,
    "huge": 10**15,
    "beyond": 10**400,
    "fraction": 0.5,
    "nan": float("nan"),
    "inf": float("inf"),
    "text": "x",
    "empty text": "",
    "long text": "x" * 2_000_000,
    "reference": "${oc.env:ZOO_SECRET}",
    "missing value": "???",
    "markup": "[/bold]",
    "escape": "\x1b[2J\n",
    "surrogate": "\ud800",
    "path": "../../x",
    "list": [1],
    "empty list": [],
    "long list": [1] * 200_000,
    "list of nulls": [None, None],
    "huge list": [10**9, 10**9, 10**9],
    "deep": nested(500),
    "mapping": {"a": 1},
    "empty mapping": {},
    "class": {"class": "MLP"},
    "no class": {"class": "os.system"},
    "layer": {"class": "FixedConv", "kernel": "box"},
    "target": {"_target_": "os.system", "command": "touch marker"},
}


def places(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The paths of all entries of nested mappings."""
    for key, entry in value.items():
        yield (*path, key)
        if isinstance(entry, dict):
            yield from places(entry, (*path, key))


def changed(value: dict[str, Any], path: tuple[str, ...], *new: Any) -> dict[str, Any]:
    """A copy with another value at ``path``, or with none."""
    head, *rest = path
    copy = dict(value)
    if rest:
        copy[head] = changed(copy[head], tuple(rest), *new)
    elif new:
        copy[head] = new[0]
    else:
        copy.pop(head)
    return copy


def mutations(description: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every description with one entry changed or missing, or one unknown entry, with a name that says which."""
    for path in places(description):
        name = ".".join(path)
        yield f"{name}: missing", changed(description, path)
        for kind, wrong in WRONG.items():
            yield f"{name}: {kind}", changed(description, path, wrong)
    for path in [(), ("net",), ("task",), ("preprocess",)]:
        yield f"{'.'.join(path)}: unknown", changed(description, (*path, "zzz"), 1)


def write(file: Path, tensors: dict[str, torch.Tensor], description: Any) -> Path:
    """A checkpoint with this description and a digest that fits it, as a forger would write it."""
    digest = checkpoints.digest(json.dumps(description, sort_keys=True), tensors)
    header = {"format": checkpoints.FORMAT, "description": description, "sha256": digest}
    save_file(tensors, file, {"zoo": json.dumps(header, sort_keys=True)})
    return file


STORED = json.loads(json.dumps(to_stored(INFO)))


def damaged(content: bytes, chance: random.Random) -> bytes:
    """The content with one thing wrong."""
    at = chance.randrange(len(content))
    length = chance.randrange(1, 1 + min(64, len(content) - at))
    return chance.choice(
        [
            lambda: content[:at] + bytes([content[at] ^ (1 << chance.randrange(8))]) + content[at + 1 :],
            lambda: content[:at] + bytes([chance.randrange(256)]) + content[at + 1 :],
            lambda: content[:at],
            lambda: content[:at] + content[at + length :],
            lambda: content[:at] + chance.randbytes(length) + content[at:],
            lambda: content[:at] + bytes(length) + content[at + length :],
        ]
    )()
