"""Guess which of torchvision's architectures the tensors of a weight file belong to, for a hint in an error message.

torchvision states the number of parameters of each architecture, so no net has to be built to rule most of them out.
torchvision is imported when a function needs it.
"""

from collections.abc import Iterator, Mapping
from itertools import takewhile
from math import prod

from torch import Tensor

from zoo.checkpoints import outline
from zoo.checkpoints.weight_files import HEAD_NAMES
from zoo.checkpoints.wrapped import Wrapped
from zoo.config.catalogue import list_models

MOST = 3  # maximum number of architectures that are built, as outlines, to compare names
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")  # buffers of batch normalization, not parameters
CLASSES = 1000  # number of classes of the official weights


def hint(tensors: Mapping[str, Tensor]) -> str:
    """The end of an error message that names the architecture of the tensors and the keys for it; "" if none is found.

    Args:
        tensors: by torchvision's names, perhaps with a common prefix.
    """
    name = architecture(tensors)
    if name is None:
        return ""
    keys = f"model={name}" if name in list_models() else f"model=torchvision model.net.architecture={name}"
    return f"; these look like {name}: {keys}"


def architecture(tensors: Mapping[str, Tensor]) -> str | None:
    """The name of torchvision's architecture whose tensors have the same names; None if there is none."""
    from torchvision import models

    # Remove the prefix that all names share.
    columns = zip(*(name.split(".") for name in tensors), strict=False)
    shared = len(list(takewhile(lambda column: len(set(column)) == 1, columns)))
    parts = [name.split(".")[shared:] for name in tensors if not name.endswith("num_batches_tracked")]
    names = {".".join(rest) for rest in parts}

    # The architectures with the right number of parameters.
    counts = set(_possible_counts(tensors))
    found = []
    for known in models.list_models(module=models):
        weights = list(models.get_model_weights(known))
        if weights and weights[0].meta["num_params"] in counts:
            found.append(str(known))

    # Of these, the one with the same names, but for its head: a file may lack it.
    for name in found[:MOST]:
        try:
            net = outline.draft({"_target_": "zoo.models.TorchvisionNet", "architecture": name})
        except (ValueError, RuntimeError):
            continue
        assert isinstance(net, Wrapped)
        theirs = {own: their for own, their in net.original_names.items() if not their.endswith("num_batches_tracked")}
        body = {their for own, their in theirs.items() if not own.startswith(HEAD_NAMES)}
        if names in (set(theirs.values()), body):
            return name
    return None


def _possible_counts(tensors: Mapping[str, Tensor]) -> Iterator[int]:
    """Numbers of parameters that the net of these tensors would have with 1000 classes."""
    sizes = {name: prod(value.shape) for name, value in tensors.items() if not name.endswith(STATISTICS)}
    total = sum(sizes.values())
    # Without a head, the last layer has as many outputs as the head has inputs.
    for width in {len(value) for value in tensors.values() if value.dim() == 1}:
        yield total + CLASSES * (width + 1)
    # Any matrix with a bias could be the head, which has another width for other classes.
    for name, value in tensors.items():
        bias = f"{name.removesuffix('weight')}bias"
        if value.dim() == 2 and name.endswith("weight") and bias in sizes:
            yield total - sizes[name] - sizes[bias] + CLASSES * (value.shape[1] + 1)
