"""Cut a split out of files by a hash of each path, so that the splits of a growing folder stay as they are.

Each file has a position in [0, 1), which depends only on its path and on the name of the split. If the size of the
split is a fraction, the split gets the files whose position is below it, so a new file moves no other file, unless a
class would otherwise have no example on one side. If the size is a number of examples, the split first gets the file
with the lowest position of each class, then the files with the lowest positions until it has this number, or a few
fewer, since files with equal paths stay together.
"""

from collections import Counter
from collections.abc import Sequence
from hashlib import blake2b

from zoo.data.stratify import check_size

CLASSES_SHOWN = 3  # maximum number of classes that a note names


def position(key: bytes, split: str) -> float:
    """The position of a file in [0, 1); ``key`` is its path in a form that is the same on every machine."""
    digest = blake2b(split.encode() + b"\0" + key, digest_size=8).digest()
    # 53 bits, which a float represents exactly.
    return (int.from_bytes(digest, "big") >> 11) / 2**53


def split_by_hash(
    keys: Sequence[bytes],
    labels: Sequence[int],
    size: float,
    *,
    split: str,
    names: Sequence[str] = (),
) -> tuple[list[int], list[int], list[str]]:
    """Divide examples into a split and the rest.

    Examples with equal keys stay together. If the size is a fraction, every class with at least two keys has at least
    one in the split and one in the rest: where necessary, the example with the lowest position moves into the split, or
    that with the highest into the rest. If the size is a number, one example of each class is taken first.

    Args:
        keys: a path for each example. Equal paths, such as those of two formats of one image, have the same position.
        labels: the class number of each example.
        size: a fraction below 1, or a number of examples.
        split: name of the split.
        names: names of the classes, for the note.

    Returns:
        Indices of the rest, indices of the split, and a list with one note if the split lacks some classes.

    Raises:
        ValueError: ``size`` is not a fraction or a whole number, or it takes all examples or none.
    """
    option = f"dataset.{split}"
    check_size(size, option=option)
    positions = [position(key, split) for key in keys]
    order = sorted(range(len(keys)), key=lambda index: (positions[index], keys[index], index))

    # In the order of their positions, the first key of each class belongs to the split and the last to the rest.
    first = {labels[index]: keys[index] for index in reversed(order)}
    last = {labels[index]: keys[index] for index in order}
    must = {index for index in order if keys[index] == first[labels[index]] != last[labels[index]]}
    must_not = {index for index in order if keys[index] == last[labels[index]]}

    # Select the split: all positions below the fraction, or the requested number of examples.
    if size < 1:
        held_out = {index for index in order if positions[index] < size} | must
    else:
        total = int(size)
        if total >= len(keys):
            raise ValueError(f"{option}={total}: takes {total} of {len(keys)} examples; must leave at least one")
        wanted = [index for index in order if index in must] + [index for index in order if index not in must]
        held_out = set(_whole_groups([index for index in wanted if index not in must_not], keys, total))
    held_out -= must_not
    if not held_out:
        raise ValueError(f"{option}={size:g}: takes 0 of {len(keys)} examples; add images or change {option}")

    # Name the classes that are missing from the split.
    missing = [label for label in sorted(first) if label not in {labels[index] for index in held_out}]
    shown = ", ".join(names[label] if names else str(label) for label in missing[:CLASSES_SHOWN])
    shown += ", …" if len(missing) > CLASSES_SHOWN else ""
    few = max((Counter(labels)[label] for label in missing), default=0)
    reason = "too few images to divide" if few < 2 or size < 1 else f"more classes than {option}={size:g}"
    notes = [f"the {split} split has no image of {shown} ({reason})"] if missing else []
    return [k for k in range(len(keys)) if k not in held_out], sorted(held_out), notes


def _whole_groups(indices: Sequence[int], keys: Sequence[bytes], total: int) -> list[int]:
    """The first indices, ``total`` or a few fewer, so that neighbors with equal keys stay together."""
    taken = list(indices[:total])
    while taken and len(indices) > len(taken) and keys[indices[len(taken)]] == keys[taken[-1]]:
        taken.pop()
    return taken
