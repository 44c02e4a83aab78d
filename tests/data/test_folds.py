"""Folds are disjoint, complete, stratified, the same in every run, and keep groups together."""

from collections import Counter

import numpy as np
import pytest
import torch
from support import image_folder_at, load_images, write_noise

import zoo
from zoo.data.folds import check_fold, fold_numbers, hold_out_groups, take_fold
from zoo.data.splits import InMemory, Splits


@pytest.mark.parametrize("folds", [2, 3, 5])
def test_folds_are_balanced_in_size_and_in_every_class(folds):
    labels = torch.randint(0, 4, (103,), generator=torch.Generator().manual_seed(0)).tolist()
    numbers = fold_numbers(labels, folds)
    sizes = Counter(numbers)
    assert sorted(sizes) == list(range(folds))
    assert max(sizes.values()) - min(sizes.values()) <= 1
    for label in range(4):
        counts = [sum(n == k and c == label for n, c in zip(numbers, labels, strict=True)) for k in range(folds)]
        assert max(counts) - min(counts) <= 1
    assert numbers == fold_numbers(labels, folds)
    assert numbers != sorted(numbers)


def test_the_folds_of_digits_are_the_whole_training_split_and_leave_the_test_split_alone():
    plain = zoo.dataset("digits")
    whole = {x.numpy().tobytes() for split in (plain.train, plain.validation) for x in split.x}
    splits = [zoo.dataset("digits", fold=fold, folds=4) for fold in range(4)]
    found = [{x.numpy().tobytes() for x in split.validation.x} for split in splits]
    assert set().union(*found) == whole
    assert sum(len(split.validation) for split in splits) == len(plain.train) + len(plain.validation)
    for split, held_out in zip(splits, found, strict=True):
        assert not held_out & {x.numpy().tobytes() for x in split.train.x}
        assert split.test.digest() == plain.test.digest()


def test_folds_of_an_image_folder_depend_on_the_paths_alone(tmp_path):
    root = image_folder_at(tmp_path / "a")
    splits = [take_fold(load_images(root, validation=0, stratified=False), fold, 3) for fold in range(3)]
    files = [sorted(split.validation.files.tolist()) for split in splits]
    train = load_images(root, validation=0, stratified=False).train.files.tolist()
    assert sorted(file for fold in files for file in fold) == sorted(train)
    # The same folder elsewhere, and files in another order, give the same folds.
    moved = image_folder_at(tmp_path / "b")
    again = take_fold(load_images(moved, validation=0, stratified=False), 1, 3)
    assert [file.replace("/b/", "/a/") for file in sorted(again.validation.files.tolist())] == files[1]


def test_two_formats_of_one_image_are_in_the_same_fold(tmp_path):
    root = image_folder_at(tmp_path)
    for k, name in enumerate(("cat", "dog")):
        for i in range(10):
            write_noise(root / name / f"{i}.bmp", seed=k * 100 + i)
    for fold in range(3):
        split = take_fold(load_images(root, test=0, validation=0), fold, 3)
        stems = [file.rpartition(".")[0] for file in split.validation.files.tolist()]
        assert set(Counter(stems).values()) == {2}


def test_folders_of_train_and_val_are_pooled_which_is_said(tmp_path):
    for split in ("train", "val", "test"):
        image_folder_at(tmp_path, split=split)
    splits = load_images(tmp_path)
    fold = take_fold(splits, 0, 4)
    assert len(fold.train) + len(fold.validation) == 40
    assert len(fold.validation) == 10
    assert fold.test.digest() == splits.test.digest()
    assert any("joined with the training split" in note for note in fold.notes)


def test_groups_stay_together():
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 30, 300).tolist()
    labels = [group % 3 for group in groups]
    numbers = fold_numbers(labels, 5, groups=groups)
    assert set(numbers) == set(range(5))
    assert all(len({n for n, g in zip(numbers, groups, strict=True) if g == group}) == 1 for group in set(groups))
    rest, held_out = hold_out_groups(labels, groups, 0.2, split="test")
    assert sorted(rest + held_out) == list(range(300))
    assert not {groups[k] for k in rest} & {groups[k] for k in held_out}
    assert 0.1 < len(held_out) / 300 < 0.3


def test_a_class_that_a_fold_lacks_is_said():
    y = torch.tensor([0] * 9 + [1])
    splits = Splits(InMemory(torch.rand(10, 2), y), None, None, (2,), ("common", "rare"))
    notes = [take_fold(splits, fold, 5).notes for fold in range(5)]
    assert (
        sum("the training split of this fold has no examples of rare" in note for note in notes for note in note) == 1
    )
    assert (
        sum("the validation split of this fold has no examples of rare" in note for note in notes for note in note) == 4
    )


@pytest.mark.parametrize(
    ("fold", "folds", "says"),
    [
        (0, None, "dataset.fold=0 needs the number of folds, such as dataset.folds=5"),
        (None, 5, "dataset.folds=5 needs dataset.fold"),
        (5, 5, r"dataset.fold=5 must be in .0, 4., since dataset.folds=5"),
        (0, 1, "dataset.folds=1 must be >= 2"),
    ],
)
def test_a_fold_out_of_range_is_refused(fold, folds, says):
    with pytest.raises(ValueError, match=says):
        check_fold(fold, folds)


def test_too_few_examples_or_groups_are_refused():
    with pytest.raises(ValueError, match=r"dataset\.folds=4: the training split has only 3 examples"):
        fold_numbers([0, 1, 0], 4)
    with pytest.raises(ValueError, match=r"dataset\.folds=3: needs 3 groups; these examples have 2"):
        fold_numbers([0, 1, 0, 1], 3, groups=["a", "a", "b", "b"])
    with pytest.raises(ValueError, match=r"dataset\.groups=who: dataset digits has no such key"):
        zoo.dataset("digits", groups="who")


def test_few_groups_are_held_out_whole():
    rest, held_out = hold_out_groups([0] * 12, [k // 4 for k in range(12)], 0.1, split="test")
    assert (len(rest), len(held_out)) == (8, 4)
    with pytest.raises(ValueError, match=r"dataset\.test=0\.1 with dataset\.groups: needs 2 groups"):
        hold_out_groups([0] * 4, ["a"] * 4, 0.1, split="test")
