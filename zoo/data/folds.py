"""Cross-validation: divide the training split into folds, one of which becomes the validation split.

The folds are disjoint, and together they are the whole training split. The test split is not touched. The same data
give the same folds in every run: they depend neither on the seed of a run nor on the machine.
"""

import warnings
from collections.abc import Hashable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from zoo.data.hash_split import position
from zoo.data.image_files import ImageFiles, path_key
from zoo.data.splits import Examples, InMemory, Splits
from zoo.data.stratify import seed_from

SHOWN = 3  # maximum number of classes that a note names


def check_fold(fold: int | None, folds: int | None) -> None:
    """Raise ValueError unless both are None, or ``folds`` is at least 2 and ``fold`` is in [0, folds)."""
    if fold is None and folds is None:
        return
    if folds is None:
        raise ValueError(f"dataset.fold={fold} needs the number of folds, such as dataset.folds=5")
    if folds < 2:
        raise ValueError(f"dataset.folds={folds} must be >= 2")
    if fold is None:
        raise ValueError(
            f"dataset.folds={folds} needs dataset.fold, the number of the fold that is the validation split"
        )
    if not 0 <= fold < folds:
        raise ValueError(f"dataset.fold={fold} must be in [0, {folds - 1}], since dataset.folds={folds}")


def take_fold(splits: Splits, fold: int, folds: int) -> Splits:
    """The same data with fold ``fold`` of ``folds`` as the validation split, and the other folds as the training split.

    A validation split that the data already have is joined with the training split before that. The folds are
    stratified by class. If the data have groups (`Splits.groups`), all examples of a group are in the same fold. Image
    files whose names differ only in the suffix stay together.

    Raises:
        ValueError: ``fold`` or ``folds`` is out of range, or there are fewer examples or groups than folds.
    """
    check_fold(fold, folds)
    # Pool both splits. Their order is fixed, so the folds are the same in every run.
    notes = []
    examples = splits.train
    if splits.validation is not None:
        if splits.groups is not None:
            raise ValueError("dataset.fold with dataset.groups needs data without a validation split of their own")
        examples = _joined(splits.train, splits.validation)
        notes = [
            "the validation split of the data is joined with the training split, and both are divided into the folds"
        ]

    # Divide the examples.
    labels = class_numbers(examples)
    keys = _image_keys(examples) if isinstance(examples, ImageFiles) else None
    numbers = fold_numbers(labels, folds, keys=keys, groups=splits.groups)
    train = [index for index, number in enumerate(numbers) if number != fold]
    validation = [index for index, number in enumerate(numbers) if number == fold]

    # Say what is missing, and where the splits come from.
    if splits.classes and not splits.multi_label:
        notes += missing_classes({"training": [labels[k] for k in train]}, labels, splits.classes)
        notes += missing_classes({"validation": [labels[k] for k in validation]}, labels, splits.classes)
    method = origin(
        fold, folds, stratified=bool(splits.classes) and not splits.multi_label, grouped=bool(splits.groups)
    )
    return replace(
        splits,
        train=examples.take(train),
        validation=examples.take(validation),
        groups=None if splits.groups is None else tuple(splits.groups[k] for k in train),
        notes=(*splits.notes, *notes),
        origins={**splits.origins, "train": "the other folds", "validation": method},
    )


def origin(fold: int, folds: int, *, stratified: bool, grouped: bool) -> str:
    """Where a fold comes from, in words."""
    words = [f"fold {fold} of {folds} (counted from 0) of the training split"]
    words += ["stratified by class"] if stratified else []
    words += ["groups kept together"] if grouped else []
    return ", ".join(words)


def class_numbers(examples: Examples) -> list[int]:
    """The class number of each example; 0 for all if their targets are real values or several labels."""
    labels = examples.labels()
    return [0] * len(examples) if labels.is_floating_point() else labels.tolist()


def fold_numbers(
    labels: Sequence[int],
    folds: int,
    *,
    keys: Sequence[bytes] | None = None,
    groups: Sequence[Hashable] | None = None,
) -> list[int]:
    """The number of the fold of each example, in [0, folds).

    Without groups, the sizes of two folds differ by at most 1, and so do their numbers of examples of a class.

    Args:
        labels: the class number of each example.
        folds: number of folds, >= 2.
        keys: a name for each example that does not depend on the order of the examples, and decides its fold.
            Examples with equal names get the same fold. None: the position of an example decides.
        groups: the group of each example. All examples of a group get the same fold; classes are in proportion as far
            as the groups allow.

    Raises:
        ValueError: there are fewer examples, or groups, than folds.
    """
    if groups is not None:
        return _grouped(labels, folds, groups)
    # Examples with equal names count as one.
    first = {key: index for index, key in reversed(list(enumerate(keys)))} if keys is not None else {}
    members = sorted(first.values()) if keys is not None else list(range(len(labels)))
    if len(members) < folds:
        count = f"{len(members)} example{'' if len(members) == 1 else 's'}"
        raise ValueError(f"dataset.folds={folds}: the training split has only {count}")

    # Deal the examples of each class to the folds in turn, in random order. The next class continues where the last
    # one stopped, so that the sizes of the folds differ by at most 1.
    by_class: dict[int, list[int]] = {}
    for index in members:
        by_class.setdefault(labels[index], []).append(index)
    number: dict[int, int] = {}
    dealt = 0
    for label, indices in sorted(by_class.items()):
        if keys is not None:
            indices.sort(key=lambda index: (position(keys[index], "fold"), keys[index]))
        else:
            generator = torch.Generator().manual_seed(seed_from("fold", label))
            order = torch.randperm(len(indices), generator=generator).tolist()
            indices = [indices[k] for k in order]
        for index in indices:
            number[index] = dealt % folds
            dealt += 1
    return [number[first[keys[k]] if keys is not None else k] for k in range(len(labels))]


def missing_classes(parts: dict[str, list[int]], labels: Sequence[int], names: Sequence[str]) -> list[str]:
    """One note for each split that lacks classes which occur in ``labels``."""
    notes = []
    for split, found in parts.items():
        missing = [names[label] for label in sorted(set(labels) - set(found))]
        if missing:
            shown = ", ".join(missing[:SHOWN]) + (", …" if len(missing) > SHOWN else "")
            notes.append(f"the {split} split of this fold has no examples of {shown}")
    return notes


def hold_out_groups(
    labels: Sequence[int], groups: Sequence[Hashable], size: float, *, split: str
) -> tuple[list[int], list[int]]:
    """Hold out whole groups: about ``size`` of the examples, all classes in proportion as far as the groups allow.

    Args:
        labels: the class number of each example.
        groups: the group of each example.
        size: a fraction below 1, or a number of examples; not 0. The groups are divided into 1 / size folds, with size
            as a fraction (at most as many folds as groups), and one fold is held out. So the size is exact only if the
            groups have equal sizes and 1 / size is a whole number.
        split: name of the split, for messages.

    Returns:
        The indices of the rest, and those of the split.

    Raises:
        ValueError: ``size`` takes more than half of the examples, or there is only one group.
    """
    share = size if size < 1 else size / len(labels)
    if not 0 < share <= 0.5:
        raise ValueError(f"dataset.{split}={size:g}: with dataset.groups, a split takes at most half of the examples")
    # Hold out at least one group, and leave at least one.
    folds = min(round(1 / share), max(2, len(set(groups))))
    numbers = _grouped(labels, folds, groups, option=f"dataset.{split}={size:g} with dataset.groups")
    rest = [index for index, number in enumerate(numbers) if number]
    return rest, [index for index, number in enumerate(numbers) if not number]


def _grouped(labels: Sequence[int], folds: int, groups: Sequence[Hashable], *, option: str | None = None) -> list[int]:
    """`fold_numbers` with groups."""
    from sklearn.model_selection import StratifiedGroupKFold

    # Number the groups in the order in which they first occur.
    order: dict[Hashable, int] = {}
    codes = np.array([order.setdefault(group, len(order)) for group in groups])
    if len(order) < folds:
        raise ValueError(
            f"{option or f'dataset.folds={folds}'}: needs {folds} groups; these examples have {len(order)} "
            "(dataset.groups)"
        )
    # scikit-learn raises an error if every class has fewer examples than there are folds, and warns if some have. To
    # avoid the error, put all examples into one class; then only the sizes of the folds are balanced.
    counts = np.bincount(np.asarray(labels))
    targets = np.asarray(labels) if counts.max() >= folds else np.zeros(len(labels), dtype=np.int64)
    numbers = np.zeros(len(labels), dtype=np.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        divided = StratifiedGroupKFold(folds, shuffle=True, random_state=0).split(targets, targets, codes)
        for number, (_, held_out) in enumerate(divided):
            numbers[held_out] = number
    found: list[int] = numbers.tolist()
    return found


def _image_keys(examples: ImageFiles) -> list[bytes]:
    """The path of each image below the folder of the dataset, without its suffix."""
    return [path_key(Path(file).with_suffix(""), examples.root) for file in examples.files.tolist()]


def _joined(train: Examples, validation: Examples) -> Examples:
    """The examples of two splits as one."""
    if isinstance(train, InMemory) and isinstance(validation, InMemory):
        return InMemory(torch.cat([train.x, validation.x]), torch.cat([train.y, validation.y]))
    if isinstance(train, ImageFiles) and isinstance(validation, ImageFiles):
        files = np.concatenate([train.files, validation.files])
        return replace(train, files=files, targets=torch.cat([train.targets, validation.targets]))
    raise ValueError("dataset.fold: the training and the validation split of these data cannot be joined")
