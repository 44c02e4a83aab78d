"""Divide examples at random so that all classes keep their proportion; the same arguments give the same division.

Imports torch only.
"""

import hashlib
from collections.abc import Sequence
from typing import Protocol, TypeVar

import torch
from torch import Tensor


class Divisible(Protocol):
    """Examples that can be divided, such as `zoo.data.splits.Examples`."""

    def __len__(self) -> int: ...

    def labels(self) -> Tensor: ...

    def take(self: "AnyDivisible", indices: Sequence[int]) -> "AnyDivisible": ...


AnyDivisible = TypeVar("AnyDivisible", bound=Divisible)


def seed_from(*parts: object) -> int:
    """A 63-bit seed, hashed from several numbers or names, so that similar parts give unrelated random numbers."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "big") >> 1


def stratify(
    labels: Sequence[int],
    size: float,
    *,
    split: str,
    seed: int | None = None,
    names: Sequence[str] = (),
    option: str | None = None,
) -> tuple[list[int], list[int]]:
    """Divide examples into a split of ``size`` and the rest, with all classes in proportion.

    Returns the indices of the rest and those of the split. Arguments and errors as for `hold_out`, but
    ``size`` must not be 0.
    """
    # Turn the size into a number of examples.
    option = option or f"dataset.{split}"
    check_size(size, option=option)
    total = round(size * len(labels)) if size < 1 else int(size)
    if not 0 < total < len(labels):
        raise ValueError(
            f"{option}={size:g}: takes {total} of {len(labels)} examples; must take and leave at least one"
        )

    # Distribute the total over the classes: each class gets its exact share rounded down, and the classes with the
    # largest remainders get one more example until the total is reached.
    by_class: dict[int, list[int]] = {}
    for index, label in enumerate(labels):
        by_class.setdefault(label, []).append(index)
    if total < len(by_class):
        raise ValueError(
            f"{option}={size:g}: takes {total} of {len(labels)} examples, too few for one of each of the "
            f"{len(by_class)} classes; take at least {len(by_class)}"
        )
    exact = {label: total * len(members) / len(labels) for label, members in by_class.items()}
    counts = {label: int(share) for label, share in exact.items()}
    largest_remainder_first = sorted(exact, key=lambda label: (counts[label] - exact[label], label))
    for label in largest_remainder_first[: total - sum(counts.values())]:
        counts[label] += 1

    # Draw the examples of each class with a separate generator.
    rest: list[int] = []
    held_out: list[int] = []
    for label, members in sorted(by_class.items()):
        count = counts[label]
        if not 0 < count < len(members):
            # The smallest number of examples with which a class is in both parts.
            needed = max(-(-len(labels) // total), -(-len(labels) // (len(labels) - total)))
            name = names[label] if names else label
            found = f"{len(members)} example{'' if len(members) == 1 else 's'}"
            raise ValueError(
                f"class {name} has {found}, too few for {option}={size:g}: at least one must "
                f"be taken and at least one must remain ({needed} of each class are enough); add examples or change "
                f"{option}"
            )
        key = (split, label) if seed is None else (split, label, seed)
        generator = torch.Generator().manual_seed(seed_from(*key))
        order = torch.randperm(len(members), generator=generator).tolist()
        held_out += [members[i] for i in order[:count]]
        rest += [members[i] for i in order[count:]]
    return sorted(rest), sorted(held_out)


def check_size(size: float, *, option: str) -> None:
    """Raise ValueError if the size of a split is not a fraction below 1 or a whole number; ``option`` is its key."""
    is_whole = size >= 1 and size % 1 == 0
    if not (0 < size < 1 or is_whole):
        raise ValueError(f"{option}={size:.10g}: must be 0, a fraction below 1, or a whole number of examples")


def check_labels(labels: Tensor, num_classes: int, *, where: str) -> None:
    """Raise ValueError if a class number is not in [0, num_classes); ``where`` names the file in the message."""
    # Report only the first wrong label.
    wrong = ((labels < 0) | (labels >= num_classes)).nonzero().flatten()
    if len(wrong):
        first = int(wrong[0])
        label = int(labels[first])
        fix = "set dataset.num_classes if there are more" if label > 0 else "number the classes from 0"
        raise ValueError(
            f"{where}: example {first} (counted from 0) has label {label}; labels must be in "
            f"[0, {num_classes - 1}] ({num_classes} classes); {fix}"
        )


def hold_out(
    examples: AnyDivisible,
    size: float,
    *,
    split: str = "validation",
    seed: int | None = None,
    names: Sequence[str] = (),
    option: str | None = None,
) -> tuple[AnyDivisible, AnyDivisible | None]:
    """Hold out a split, stratified by class.

    For the same labels and ``size``, the choice depends on ``split`` and ``seed`` only: with the same ``seed``, or
    None, every call and every run holds out the same examples.

    Args:
        examples: the examples to divide. Examples with real-valued targets are not stratified.
        size: a fraction below 1, or a number of examples; 0 holds out nothing.
        split: name of the split, which also seeds the choice.
        seed: an additional seed; None for a choice that does not depend on the run.
        names: names of the classes, for error messages; without them, messages have the class numbers.
        option: the config key that sets ``size``, for error messages; by default ``dataset.`` and the split.

    Returns:
        The rest, and the split (None if ``size`` is 0).

    Raises:
        ValueError: ``size`` is not a fraction or a whole number, there are too few examples, or a class would be empty
            on either side.
    """
    if size == 0:
        return examples, None
    # Treat real-valued targets as one class.
    labels = examples.labels()
    if labels.is_floating_point():
        labels = torch.zeros(len(examples), dtype=torch.int64)
    # Divide the indices, then take the examples.
    rest, held_out = stratify(labels.tolist(), size, split=split, seed=seed, names=names, option=option)
    return examples.take(rest), examples.take(held_out)
