"""Load the weights of a multi-layer perceptron from a NumPy archive, for example of a net written in plain NumPy.

May import models. NumPy is imported when a file is read.
"""

import math
import zlib
from pathlib import Path
from zipfile import BadZipFile, ZipFile

import torch
from torch import Tensor, nn

from zoo.models.mlp import MLP

# What NumPy and the archive raise for damaged files.
DAMAGE = (
    *(ValueError, TypeError, EOFError, AttributeError, LookupError, OverflowError, SyntaxError, RuntimeError),
    *(MemoryError, RecursionError, BadZipFile, zlib.error),
)
MAX_UNPACKED = 2**28  # bytes to which an archive of any size may unpack
MAX_RATIO = 20  # a larger archive may unpack to this many times its own size: weights hardly compress


def load_mlp(path: str | Path, *, activation: str = "sigmoid", output_activation: str = "identity") -> MLP:
    """An MLP, in evaluation mode, with the weights ``W1, b1, W2, b2, …`` of a NumPy archive.

    With two matrices, it computes ``output_activation(activation(x @ W1 + b1) @ W2 + b2)``.

    Args:
        path: a ``.npz`` file; each W is a matrix, inputs x outputs, and each b a vector with one value per output.
        activation: name of the hidden activation function, one of `zoo.models.ACTIVATIONS` except maxout.
        output_activation: name of the activation function after the head; not maxout.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is not such an archive, a matrix or bias is missing, the shapes do not fit each other, or
            an activation is unknown or maxout, whose weights have no names in this format.
    """
    if "maxout" in (activation, output_activation):
        raise ValueError("weights of maxout units are not stored as W1, b1, …")
    arrays = _read(path)
    _check(arrays, path)

    # Build a net of the same widths.
    depth = len(arrays) // 2
    weights = [arrays[f"W{k}"] for k in range(1, depth + 1)]
    net = MLP(
        in_shape=weights[0].shape[:1],
        num_classes=weights[-1].shape[1],
        hidden=[weight.shape[1] for weight in weights[:-1]],
        activation=activation,
        output_activation=output_activation,
    )
    net = net.to(weights[0].dtype)

    # Copy the arrays into it. torch keeps matrices as outputs x inputs.
    linears = [module for module in net.modules() if isinstance(module, nn.Linear)]
    with torch.no_grad():
        for k, linear in enumerate(linears, start=1):
            linear.weight.copy_(arrays[f"W{k}"].T)
            linear.bias.copy_(arrays[f"b{k}"])
    return net.eval()


def _read(path: str | Path) -> dict[str, Tensor]:
    """The arrays of an archive by name; pickled objects are refused."""
    import numpy as np

    try:
        _check_size(Path(path))
        with np.load(path, allow_pickle=False) as archive:
            return {name: torch.from_numpy(archive[name]) for name in archive.files}
    except DAMAGE as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{path}: not a readable .npz archive of plain arrays ({reason})") from error


def _check_size(path: Path) -> None:
    """Raise ValueError if a small archive unpacks to a large one, or an array claims more values than it holds."""
    import numpy as np

    with ZipFile(path) as archive:
        entries = archive.infolist()
        total = sum(entry.file_size for entry in entries)
        if total > max(MAX_UNPACKED, MAX_RATIO * path.stat().st_size):
            raise ValueError(f"it unpacks to {total:,} bytes, more than {MAX_RATIO} times its size")
        # Read only the header of each array: NumPy would allocate the size that it states.
        for entry in entries:
            with archive.open(entry) as file:
                version = np.lib.format.read_magic(file)
                read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                shape, _, dtype = read(file)
            if math.prod(shape) * dtype.itemsize > entry.file_size:
                raise ValueError(f"{entry.filename} is truncated")


def _check(arrays: dict[str, Tensor], path: str | Path) -> None:
    """Raise ValueError unless the arrays are W1, b1, W2, b2, … with shapes that fit each other."""
    # Check the names: as many biases as matrices, numbered from 1.
    depth = sum(name.startswith("W") for name in arrays)
    expected = [f"{kind}{k}" for k in range(1, depth + 1) for kind in "Wb"]
    if not expected or sorted(arrays) != sorted(expected):
        raise ValueError(f"{path}: expected the arrays W1, b1, W2, b2, …, found {', '.join(sorted(arrays)[:10])}")

    # Check dimensions and types: floating-point matrices and vectors.
    for name, array in arrays.items():
        dimensions = 2 if name.startswith("W") else 1
        if not array.is_floating_point() or array.dim() != dimensions:
            raise ValueError(f"{path}: every W must be a matrix and every b a vector of floating-point numbers")
        if not array.isfinite().all():
            raise ValueError(f"{path}: {name} contains NaN or Inf")

    # Check the shapes: the inputs of each matrix are the outputs of the previous one.
    inputs = arrays["W1"].shape[0]
    for k in range(1, depth + 1):
        weight = arrays[f"W{k}"]
        bias = arrays[f"b{k}"]
        if weight.shape[0] != inputs or bias.shape != weight.shape[1:]:
            raise ValueError(f"{path}: W{k} {tuple(weight.shape)} and b{k} do not fit {inputs} inputs")
        inputs = weight.shape[1]
