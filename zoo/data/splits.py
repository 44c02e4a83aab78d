"""A dataset in memory, and how it is cut into training, validation and test parts.

Imports torch only.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

AnyExamples = TypeVar("AnyExamples", bound="Examples")


class Examples(Protocol):
    """What the loader needs of a part: its length, and a finished batch for a list of indices."""

    def __len__(self) -> int: ...

    def __getitems__(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]: ...

    def labels(self) -> Tensor: ...

    def take(self: AnyExamples, indices: Sequence[int]) -> AnyExamples:
        """The part that holds these examples only, in this order."""
        ...


@dataclass(frozen=True)
class InMemory:
    """Examples held as two tensors, so that a batch is one gather and no Python runs per example.

    Attributes:
        x: N x shape; uint8 for pixels (0 to 255), float32 for anything else.
        y: N class numbers (int64), or N x targets real values (float32).
    """

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.x[index], self.y[index]

    def __getitems__(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        picked = torch.as_tensor(indices, device=self.x.device)
        return self.x[picked], self.y[picked]

    def labels(self) -> Tensor:
        return self.y

    def take(self, indices: Sequence[int]) -> "InMemory":
        return InMemory(*self.__getitems__(indices))

    def to(self, device: torch.device) -> "InMemory":
        return replace(self, x=self.x.to(device), y=self.y.to(device))


@dataclass(frozen=True)
class Splits:
    """What a source gives.

    Attributes:
        train, validation, test: the parts; None where there is none.
        shape: of one input.
        classes: their names in the order of their numbers; empty for real-valued targets.
        num_outputs: what a net for these data puts out: number of classes, or of target values.
        notes: what a user should know about the data, one line each.
    """

    train: Examples
    validation: Examples | None
    test: Examples | None
    shape: tuple[int, ...]
    classes: tuple[str, ...] = ()
    targets: int = 0
    notes: tuple[str, ...] = ()

    @property
    def num_outputs(self) -> int:
        return len(self.classes) or self.targets

    def with_preprocess(self, preprocess: Any) -> "Splits":
        read_like = import_module("zoo.data.sources.image_folder").read_like
        found: Splits = read_like(self, preprocess)
        return found

    def keep_labels(self, count: int, *, seed: int) -> "Splits":
        """The same with ``count`` training examples, every class in proportion: those that keep their labels.

        Raises:
            ValueError: the training part is too small, or a class of it.
        """
        if count < 1:
            raise ValueError(f"dataset.labeled_examples={count}: at least 1 is needed")
        _, part = hold_out(self.train, count, what="labels", draw=seed, names=self.classes)
        assert part is not None
        return replace(self, train=part)


def shape_text(shape: Sequence[int]) -> str:
    """(1, 28, 28) -> "1x28x28"."""
    return "x".join(map(str, shape))


def seed_from(*parts: object) -> int:
    """One 63-bit seed from several numbers or names, so that neighbouring seeds share no stream."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "big") >> 1


def hold_out(
    examples: AnyExamples,
    size: float,
    *,
    what: str = "validation",
    draw: int | None = None,
    names: Sequence[str] = (),
) -> tuple[AnyExamples, AnyExamples | None]:
    """Cut a part off, stratified by class: the same examples at every call and, without ``draw``, in every run.

    Args:
        examples: what to cut; real-valued targets are cut without strata.
        size: a fraction below 1, or a number of examples; 0 cuts nothing.
        what: the part's name, for the error and the draw: parts of different names are different draws.
        draw: a number for another draw.
        names: of the classes, for the error; without them it gives their numbers.

    Returns:
        The rest, and the part (None where ``size`` is 0).

    Raises:
        ValueError: fewer examples than asked for, or a class that would be left empty on either side.
    """
    if size == 0:
        return examples, None
    labels = examples.labels()
    strata = labels if not labels.is_floating_point() else torch.zeros(len(examples), dtype=torch.int64)
    rest, part = stratify(strata.tolist(), size, what=what, draw=draw, names=names)
    return examples.take(rest), examples.take(part)


def stratify(
    labels: Sequence[int], size: float, *, what: str, draw: int | None = None, names: Sequence[str] = ()
) -> tuple[list[int], list[int]]:
    """Indices of the rest and of a part of ``size``, every class in proportion. See `hold_out`."""
    if not 0 < size < float("inf"):
        raise ValueError(f"{what}={size:g}: a fraction below 1 or a number of examples is needed")
    total = round(size * len(labels)) if size < 1 else int(size)
    if not 0 < total < len(labels):
        raise ValueError(f"{what} of {size:g} does not fit {len(labels)} examples; set a smaller dataset.{what}")
    by_class: dict[int, list[int]] = {}
    for index, label in enumerate(labels):
        by_class.setdefault(label, []).append(index)
    # Largest remainder: whole numbers for each class that add up to the total.
    exact = {label: total * len(members) / len(labels) for label, members in by_class.items()}
    counts = {label: int(share) for label, share in exact.items()}
    for label in sorted(exact, key=lambda label: (counts[label] - exact[label], label))[: total - sum(counts.values())]:
        counts[label] += 1
    rest, part = [], []
    for label, members in sorted(by_class.items()):
        if not 0 < counts[label] < len(members):
            needed = max(-(-len(labels) // total), -(-len(labels) // (len(labels) - total)))  # one on either side
            raise ValueError(
                f"class {names[label] if names else label} has {len(members)} examples, too few for a {what} part of "
                f"{size:g}, which needs {needed} of each class: add examples or change dataset.{what}"
            )
        place = (what, label) if draw is None else (what, label, draw)
        order = torch.randperm(len(members), generator=torch.Generator().manual_seed(seed_from(*place))).tolist()
        part += [members[i] for i in order[: counts[label]]]
        rest += [members[i] for i in order[counts[label] :]]
    return sorted(rest), sorted(part)


def check_labels(labels: Tensor, num_classes: int, *, where: str) -> None:
    """Raise ValueError where a class number is not 0 … num_classes - 1; ``where`` names the file."""
    wrong = ((labels < 0) | (labels >= num_classes)).nonzero().flatten()
    if len(wrong):
        first = int(wrong[0])
        raise ValueError(
            f"{where}: example {first} (counted from 0) has label {int(labels[first])}, but labels go from 0 to "
            f"{num_classes - 1} ({num_classes} classes); set dataset.num_classes if there are more"
        )
