"""A user's own arrays: ``x_train, y_train, x_test, y_test`` (and ``x_val, y_val``), or ``x, y`` to be cut here."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from zoo.data.splits import InMemory, Splits, check_labels, hold_out


def load(*, root: str, validation: float = 0.1, test: float = 0.2, num_classes: int | None = None) -> Splits:
    """Integer y are class numbers, real y are target values.

    Args:
        root: the ``.npz`` file. x: N x features, N x H x W, N x C x H x W or N x H x W x C (C 1 or 3).
        validation, test: a fraction below 1, or a number of examples, where the file has no such part.
        num_classes: how many classes; None takes the greatest label.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not an archive of plain arrays, an array missing, unequal lengths, a value that is not finite, or
            a label that is no class.
    """
    arrays = read(root)
    whole = "x_train" not in arrays
    train = _part(root, arrays, "" if whole else "_train")
    if train.y.is_floating_point():
        classes: tuple[str, ...] = ()
    else:
        count = num_classes or int(train.y.max()) + 1
        classes = tuple(map(str, range(count)))
        check_labels(train.y, count, where=f"{root}, y{'' if whole else '_train'}")
    held_out = _part(root, arrays, "_test") if "x_test" in arrays else None
    val = _part(root, arrays, "_val") if "x_val" in arrays else None
    for name, part in (("test", held_out), ("val", val)):
        if part is None:
            continue
        if (part.x.shape[1:], part.y.shape[1:]) != (train.x.shape[1:], train.y.shape[1:]):
            raise ValueError(f"{root}: x_{name} and y_{name} differ in kind or shape from the training part's")
        if classes:
            check_labels(part.y, len(classes), where=f"{root}, y_{name}")
    if held_out is None:
        train, held_out = hold_out(train, test, what="test", names=classes)
    if val is None:
        train, val = hold_out(train, validation, names=classes)
    targets = 0 if classes else train.y.shape[1]
    return Splits(train, val, held_out, tuple(train.x.shape[1:]), classes, targets)


def read(path: str | Path) -> dict[str, np.ndarray]:
    """All arrays of an archive. Pickled objects are refused, so loading runs no code."""
    if not Path(path).is_file():
        raise FileNotFoundError(
            f"{path}: no such file; dataset.root names an .npz with x_train, y_train, x_test, y_test"
        )
    try:
        with Path(path).open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except Exception as error:  # NumPy and zipfile raise many kinds for a damaged file
        raise ValueError(f"{path}: not a readable .npz archive of plain arrays ({error})") from error


def inputs(array: np.ndarray, *, where: str) -> Tensor:
    """x of an archive -> N x features or N x C x H x W, bytes or float32."""
    x = torch.from_numpy(array if array.dtype == np.uint8 else _real(array, where=where))
    if x.dim() in (1, 3):
        x = x[:, None]  # one feature; one channel
    elif x.dim() == 4 and x.shape[-1] in (1, 3) and x.shape[1] not in (1, 3):
        x = x.permute(0, 3, 1, 2).contiguous()
    if x.dim() not in (2, 4) or not x.numel():
        raise ValueError(f"{where}: shape {tuple(array.shape)}, expected N x features or N x channels x height x width")
    return x


def _part(path: str, arrays: dict[str, np.ndarray], suffix: str) -> InMemory:
    for name in (f"x{suffix}", f"y{suffix}"):
        if name not in arrays:
            raise ValueError(f"{path}: no array {name}; it has {', '.join(sorted(arrays)) or 'none'}")
    x = inputs(arrays[f"x{suffix}"], where=f"{path}, x{suffix}")
    y = _targets(arrays[f"y{suffix}"], where=f"{path}, y{suffix}")
    if len(x) != len(y):
        raise ValueError(f"{path}: {len(x)} inputs in x{suffix} but {len(y)} targets in y{suffix}")
    return InMemory(x, y)


def _targets(array: np.ndarray, *, where: str) -> Tensor:
    """y of an archive -> N class numbers, or N x targets real values."""
    whole = array.dtype.kind in "iub"
    if not array.ndim or (whole and array.size != len(array)):
        raise ValueError(f"{where}: shape {array.shape}, expected N class numbers or N x targets real values")
    if whole:
        return torch.from_numpy(array.astype(np.int64)).flatten()
    return torch.from_numpy(_real(array, where=where)).view(len(array), -1)


def _real(array: np.ndarray, *, where: str) -> np.ndarray:
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{where}: values of type {array.dtype}, expected numbers")
    array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise ValueError(f"{where}: a value is not finite")
    return array
