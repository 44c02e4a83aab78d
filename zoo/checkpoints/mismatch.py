"""Which tensors of a file do not fit a net: grouped by what is wrong, each with the most similar name of the others."""

from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher

import torch
from torch import Tensor

from zoo.protocols import shape_text

SHOWN = 3  # maximum number of tensors that a message lists in each group
COMPARED = (20, 150)  # maximum numbers of missing and of left-over tensors whose names are compared
SIMILAR = 0.7  # minimum similarity of two names, from 0 to 1
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


class Mismatch:
    """Collects the tensors of a file that do not fit a net.

    Attributes:
        missing: tensors of the net that the file does not have.
        left_over: tensors of the file that the net does not have.
        shapes, dtypes, values: tensors of another shape, of another dtype, and with NaN or Inf; each name with details.
    """

    def __init__(self) -> None:
        self.missing: dict[str, Tensor] = {}
        self.left_over: dict[str, Tensor] = {}
        self.shapes: list[str] = []
        self.dtypes: list[str] = []
        self.values: list[str] = []

    def compare(self, name: str, given: Tensor, expected: Tensor, *, any_width: bool) -> None:
        """Record why ``given`` cannot replace the net's tensor ``expected``, if it cannot.

        Args:
            name: the name of both.
            given: the tensor of the file.
            expected: the tensor of the net.
            any_width: whether the first dimension may differ, as for a new head with other classes.
        """
        first = 1 if any_width else 0
        if given.dim() != expected.dim() or given.shape[first:] != expected.shape[first:]:
            self.shapes.append(f"{name} ({_shape(given)} in the file, {_shape(expected)} in the net)")
        # A format of eight or four bits needs scales, which a net of PyTorch does not have.
        elif given.is_floating_point() != expected.is_floating_point() or (
            given.is_floating_point() and given.dtype not in FLOATS
        ):
            self.dtypes.append(f"{name} ({given.dtype} in the file, {expected.dtype} in the net)")
        # Convert first: a large float64 becomes Inf in float32.
        elif given.is_floating_point() and not given.to(expected.dtype).isfinite().all():
            self.values.append(name)

    def text(self) -> str:
        """All groups in one line; "" if everything fits."""
        missing = _nearest_first(self.missing, self.left_over, "in the file")
        left_over = [f"{name} ({_shape(value)})" for name, value in self.left_over.items()]
        groups = (
            (missing, "is missing", "are missing"),
            (self.shapes, "has another shape", "have another shape"),
            (self.dtypes, "has another dtype", "have another dtype"),
            (self.values, "contains NaN or Inf", "contain NaN or Inf"),
            (left_over, "is not in the net", "are not in the net"),
        )
        return "; ".join(
            f"{len(names)} tensor{'s' if len(names) > 1 else ''} {many if len(names) > 1 else one}: {listed(names)}"
            for names, one, many in groups
            if names
        )


def listed(names: Sequence[str]) -> str:
    """The first names, and the number of the others."""
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _nearest_first(missing: Mapping[str, Tensor], others: Mapping[str, Tensor], where: str) -> list[str]:
    """The missing names with the most similar one of ``others``; those with the most similar ones come first."""
    # Compare the names. Of two similar names, the one of a tensor of the same shape is more likely meant.
    pairs: list[tuple[float, str, str]] = []
    matcher = SequenceMatcher(autojunk=False)
    for name in list(missing)[: COMPARED[0]]:
        matcher.set_seq2(name)
        for other in list(others)[: COMPARED[1]]:
            matcher.set_seq1(other)
            if matcher.real_quick_ratio() >= SIMILAR and matcher.quick_ratio() >= SIMILAR:
                ratio = matcher.ratio()
                if ratio >= SIMILAR:
                    pairs.append((ratio + (others[other].shape == missing[name].shape), name, other))

    # Take the best pairs, each name once.
    nearest: dict[str, str] = {}
    for _, name, other in sorted(pairs, key=lambda pair: -pair[0]):
        if name not in nearest and other not in nearest.values():
            nearest[name] = other
    texts = {name: f"; nearest {where}: {other}" for name, other in nearest.items()}
    ordered = [*nearest, *(name for name in missing if name not in nearest)]
    return [f"{name} ({_shape(missing[name])}{texts.get(name, '')})" for name in ordered]


def _shape(value: Tensor) -> str:
    return shape_text(value.shape) or "1"
