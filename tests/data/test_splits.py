"""Cutting a dataset into splits: proportions, totals, and that the cut is always the same."""

import re
import shutil
from collections import Counter
from dataclasses import fields, replace

import pytest
import torch
from support import load_images
from torch.utils.data import DataLoader, Subset

from zoo.data.augment import Augment
from zoo.data.preprocess import Preprocess
from zoo.data.splits import Examples, InMemory, Splits, check_labels, hold_out, seed_from, stratify

LABELS = [0] * 50 + [1] * 30 + [7] * 13 + [3] * 8  # 101, unequal


@pytest.mark.parametrize("size", [0.1, 0.25, 0.5, 0.9, 10, 37, 50, 90])
def test_a_split_has_its_exact_size_and_every_class_in_proportion(size):
    rest, part = stratify(LABELS, size, split="test")
    total = round(101 * size) if size < 1 else size
    assert len(part) == total
    counts = Counter(LABELS[i] for i in part)
    for label, members in Counter(LABELS).items():
        assert abs(counts[label] - total * members / 101) < 1
    assert sorted(rest + part) == list(range(101))  # disjoint and complete


def test_the_classes_with_the_largest_remainders_get_one_more():
    rest, part = stratify([0] * 14 + [1] * 13 + [2] * 3, 10, split="test")  # exactly 4.67, 4.33 and 1
    labels = [0] * 14 + [1] * 13 + [2] * 3
    assert Counter(labels[i] for i in part) == {0: 5, 1: 4, 2: 1}
    assert Counter(labels[i] for i in rest) == {0: 9, 1: 9, 2: 2}


def test_the_cut_does_not_depend_on_the_global_seed():
    torch.manual_seed(1)
    first = stratify(LABELS, 20, split="test")
    torch.manual_seed(2)
    assert stratify(LABELS, 20, split="test") == first


def test_the_cut_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    stratify(LABELS, 20, split="test")
    assert torch.equal(torch.get_rng_state(), before)


def test_cuts_of_different_names_and_classes_are_different_draws():
    assert stratify(LABELS, 20, split="test")[1] != stratify(LABELS, 20, split="validation")[1]
    part = torch.tensor(stratify([0] * 100 + [1] * 100, 100, split="test")[1])
    assert not torch.equal(part[part < 100], part[part >= 100] - 100)


def test_the_examples_are_spread_over_the_whole_file():
    part = stratify([0] * 1000, 100, split="test")[1]
    assert all(sum(low <= i < low + 250 for i in part) > 10 for low in (0, 250, 500, 750))


@pytest.mark.parametrize("size", [101, 200, 0.001, 0.999])
def test_a_split_that_takes_all_or_nothing_is_refused(size):
    with pytest.raises(ValueError, match=r"^dataset\.validation=.*: takes \d+ of 101 examples; must take and leave"):
        stratify(LABELS, size, split="validation")


@pytest.mark.parametrize("size", [-1, -0.1, 1.5, 20.25, float("inf"), float("nan")])
def test_an_invalid_size_is_refused(size):
    with pytest.raises(ValueError, match=f"^dataset.test={size:g}: must be 0, a fraction below 1, or a whole number"):
        stratify(LABELS, size, split="test")


@pytest.mark.parametrize(("size", "label", "needed"), [(4, 3, 26), (99, 3, 51)])
def test_a_class_left_without_examples_on_either_side_is_refused(size, label, needed):
    with pytest.raises(
        ValueError, match=f"class {label} has 8 examples, too few for dataset.test={size}: .*\\({needed} of each"
    ):
        stratify(LABELS, size, split="test")


def test_fewer_examples_than_classes_are_refused():
    with pytest.raises(ValueError, match=r"dataset\.test=2: takes 2 of 101 .* each of the 4 classes; take at least 4"):
        stratify(LABELS, 2, split="test")


@pytest.mark.parametrize(("size", "needed"), [(0.1, 10), (0.5, 2), (0.9, 10), (30, 4)])
def test_a_class_with_as_many_examples_as_needed_is_cut(size, needed):
    names = ("cat", "dog")
    with pytest.raises(ValueError, match=f"class dog has 1 example, .*\\({needed} of each class are enough"):
        stratify([0] * 99 + [1], size, split="test", names=names)
    _, part = stratify([0] * (100 - needed) + [1] * needed, size, split="test", names=names)
    assert 0 < sum(index >= 100 - needed for index in part) < needed


def test_keep_labels_keeps_proportions_and_draws_by_the_seed():
    examples = InMemory(torch.arange(101.0)[:, None], torch.tensor(LABELS))
    splits = Splits(examples, None, None, (1,), classes=tuple("abcdefgh"), notes=("careful",))
    kept = splits.keep_labels(10, seed=1)
    assert Counter(kept.train.y.tolist()) == {0: 5, 1: 3, 7: 1, 3: 1}
    assert torch.equal(kept.train.y, torch.tensor(LABELS)[kept.train.x[:, 0].long()])
    assert torch.equal(splits.keep_labels(10, seed=1).train.x, kept.train.x)
    assert not torch.equal(splits.keep_labels(10, seed=2).train.x, kept.train.x)
    assert kept.notes == ("careful",)
    with pytest.raises(
        ValueError,
        match=r"^dataset\.labeled_examples=2: takes 2 of 101 examples, too few .* take at least 4",
    ):
        splits.keep_labels(2, seed=1)


def test_hold_out_keeps_inputs_with_their_labels():
    x = torch.arange(101.0)[:, None]
    y = torch.tensor(LABELS)
    rest, part = hold_out(InMemory(x, y), 30)
    for side in (rest, part):
        assert torch.equal(side.y, y[side.x[:, 0].long()])
    assert torch.equal(torch.cat([rest.x, part.x]).sort(dim=0).values, x)


def test_hold_out_of_nothing_gives_everything_back():
    examples = InMemory(torch.zeros(3, 2), torch.zeros(3, dtype=torch.long))
    assert hold_out(examples, 0) == (examples, None)


def test_hold_out_does_not_stratify_real_targets():
    examples = InMemory(torch.arange(20.0)[:, None], torch.arange(20.0)[:, None])
    rest, part = hold_out(examples, 0.25)
    assert (len(rest), len(part)) == (15, 5)
    assert torch.equal(part.x, part.y)


def test_neighboring_seeds_never_collide():
    seeds = [seed_from(seed, epoch, batch) for seed in range(40) for epoch in range(40) for batch in range(10)]
    seeds += [seed_from(seed, epoch) for seed in range(40) for epoch in range(40)]
    seeds += [seed_from(str(seed), "1") for seed in range(40)]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_seed_is_the_same_in_every_process():
    assert seed_from(1, "test") == 6183898988473350726


@pytest.mark.parametrize(("wrong", "at"), [(10, 2), (-1, 0)])
def test_check_labels_names_place_example_and_label(wrong, at):
    labels = torch.arange(5)
    labels[at] = wrong
    with pytest.raises(ValueError, match=rf"a\.csv: example {at} .* has label {wrong}; labels must be in \[0, 9\]"):
        check_labels(labels, 10, where="a.csv")


def test_check_labels_accepts_every_class():
    check_labels(torch.arange(10), 10, where="a.csv")


def test_outputs_are_classes_or_targets():
    part = InMemory(torch.zeros(1, 2), torch.zeros(1, 3))
    assert Splits(part, None, None, (2,), classes=("a", "b")).num_outputs == 2
    assert Splits(part, None, None, (2,), num_targets=3).num_outputs == 3


def test_keep_labels_must_keep_at_least_one():
    examples = InMemory(torch.arange(101.0)[:, None], torch.tensor(LABELS))
    with pytest.raises(ValueError, match=r"^dataset\.labeled_examples=0: must be >= 1$"):
        Splits(examples, None, None, (1,), classes=tuple("abcdefgh")).keep_labels(0, seed=1)


def test_the_docstring_of_splits_names_every_field_and_no_other():
    documented = re.findall(r"^ {8}(\w+):", Splits.__doc__ or "", flags=re.MULTILINE)
    assert documented == [field.name for field in fields(Splits)]


def test_examples_of_ones_own_need_four_methods_only():
    """`Examples` has defaults for those that only image files need."""

    class Squares(Examples):
        def __len__(self):
            return 5

        def batch(self, indices):
            numbers = torch.as_tensor(indices)
            return (numbers.float() ** 2)[:, None], numbers

        def labels(self):
            return torch.arange(5)

        def take(self, indices):
            raise NotImplementedError

    splits = Splits(Squares(), None, None, (1,), classes=tuple("abcde"))
    assert splits.with_preprocess(Preprocess((1,), side=3)).train is splits.train
    assert splits.train.augmented(Augment(crop=0.5), seed=1) is None


@pytest.mark.parametrize("source", ["memory", "files"])
def test_a_split_is_a_dataset_that_a_plain_loader_batches(pictures, source):
    train = load_images(pictures).train if source == "files" else InMemory(torch.rand(14, 3, 8, 8), torch.arange(14))
    x, y = train.batch(range(len(train)))
    loader = DataLoader(train, batch_size=4)
    assert torch.equal(torch.cat([batch for batch, _ in loader]), x)
    assert torch.equal(torch.cat([batch for _, batch in loader]), y)
    (some, labels), *_ = DataLoader(Subset(train, [3, 1]), batch_size=2)
    assert torch.equal(some, x[[3, 1]])
    assert torch.equal(labels, y[[3, 1]])
    assert torch.equal(train[7][0], x[7])
    assert [label.item() for _, label in train] == y.tolist()  # ends with an IndexError, as a list does


def test_fingerprints_count_and_identify_the_examples():
    x, y = torch.rand(1500, 2), torch.arange(1500)
    splits = Splits(InMemory(x, y), None, InMemory(x[:10], y[:10]), (2,), classes=("a",))
    prints = splits.fingerprints()
    assert {name: entry["count"] for name, entry in prints.items()} == {"train": 1500, "test": 10}
    assert splits.fingerprints() == prints
    changed = x.clone()
    changed[1499, 1] += 1
    for other in (InMemory(changed, y), InMemory(x, y.flip(0)), InMemory(x[:1499], y[:1499])):
        assert replace(splits, train=other).fingerprints()["train"]["digest"] != prints["train"]["digest"]


def test_fingerprints_of_image_files_do_not_depend_on_where_the_folder_is(tmp_path, pictures):
    moved = tmp_path / "elsewhere"
    shutil.copytree(pictures, moved)
    assert load_images(moved).fingerprints() == load_images(pictures).fingerprints()
    next(moved.rglob("*.png")).rename(moved / "above" / "renamed.png")
    assert load_images(moved).fingerprints() != load_images(pictures).fingerprints()
