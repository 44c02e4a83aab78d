"""Cutting a dataset: proportions, totals, and that the cut is always the same."""

from collections import Counter

import pytest
import torch

from zoo.data.splits import InMemory, Splits, check_labels, hold_out, seed_from, stratify

LABELS = [0] * 50 + [1] * 30 + [7] * 13 + [3] * 8  # 101, unequal


@pytest.mark.parametrize("size", [0.1, 0.25, 0.5, 0.9, 10, 37, 50, 90])
def test_part_has_its_exact_size_and_every_class_in_proportion(size):
    rest, part = stratify(LABELS, size, what="test")
    total = round(101 * size) if size < 1 else size
    assert len(part) == total
    counts = Counter(LABELS[i] for i in part)
    for label, members in Counter(LABELS).items():
        assert abs(counts[label] - total * members / 101) < 1
    assert sorted(rest + part) == list(range(101))  # disjoint and complete


def test_fractions_left_over_go_to_the_classes_with_the_largest_remainders():
    rest, part = stratify([0] * 14 + [1] * 13 + [2] * 3, 10, what="test")  # exactly 4.67, 4.33 and 1
    labels = [0] * 14 + [1] * 13 + [2] * 3
    assert Counter(labels[i] for i in part) == {0: 5, 1: 4, 2: 1}
    assert Counter(labels[i] for i in rest) == {0: 9, 1: 9, 2: 2}


def test_cut_is_the_same_at_each_call_whatever_the_global_seed():
    torch.manual_seed(1)
    first = stratify(LABELS, 20, what="test")
    torch.manual_seed(2)
    assert stratify(LABELS, 20, what="test") == first


def test_cut_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    stratify(LABELS, 20, what="test")
    assert torch.equal(torch.get_rng_state(), before)


def test_cuts_of_different_names_and_classes_are_different_draws():
    assert stratify(LABELS, 20, what="test")[1] != stratify(LABELS, 20, what="validation")[1]
    part = torch.tensor(stratify([0] * 100 + [1] * 100, 100, what="test")[1])
    assert not torch.equal(part[part < 100], part[part >= 100] - 100)


def test_a_draw_is_no_stretch_of_the_file():
    part = stratify([0] * 1000, 100, what="test")[1]
    assert all(sum(low <= i < low + 250 for i in part) > 10 for low in (0, 250, 500, 750))


@pytest.mark.parametrize("size", [101, 200, 0.001, 0.999])
def test_a_part_that_leaves_nothing_is_refused(size):
    with pytest.raises(ValueError, match=r"validation of .* does not fit 101 examples.*dataset\.validation"):
        stratify(LABELS, size, what="validation")


@pytest.mark.parametrize("size", [-1, -0.1, float("inf"), float("nan")])
def test_a_size_that_is_none_is_refused(size):
    with pytest.raises(ValueError, match=f"test={size:g}: a fraction below 1 or a number of examples is needed"):
        stratify(LABELS, size, what="test")


@pytest.mark.parametrize(("size", "label"), [(2, 3), (99, 3)])
def test_a_class_left_without_examples_on_either_side_is_refused(size, label):
    with pytest.raises(
        ValueError, match=f"class {label} has 8 examples, too few for a test part of {size}, which needs 51 of each"
    ):
        stratify(LABELS, size, what="test")


@pytest.mark.parametrize(("size", "needed"), [(0.1, 10), (0.5, 2), (0.9, 10), (30, 4)])
def test_a_class_of_as_many_examples_as_the_refusal_asks_for_is_cut(size, needed):
    names = ("cat", "dog")
    with pytest.raises(ValueError, match=f"class dog has 1 examples, .* which needs {needed} of each class"):
        stratify([0] * 99 + [1], size, what="test", names=names)
    _, part = stratify([0] * (100 - needed) + [1] * needed, size, what="test", names=names)
    assert 0 < sum(index >= 100 - needed for index in part) < needed


def test_labels_are_kept_in_proportion_and_drawn_by_the_seed():
    examples = InMemory(torch.arange(101.0)[:, None], torch.tensor(LABELS))
    splits = Splits(examples, None, None, (1,), classes=tuple("abcdefgh"), notes=("careful",))
    kept = splits.keep_labels(10, seed=1)
    assert Counter(kept.train.y.tolist()) == {0: 5, 1: 3, 7: 1, 3: 1}
    assert torch.equal(kept.train.y, torch.tensor(LABELS)[kept.train.x[:, 0].long()])
    assert torch.equal(splits.keep_labels(10, seed=1).train.x, kept.train.x)
    assert not torch.equal(splits.keep_labels(10, seed=2).train.x, kept.train.x)
    assert kept.notes == ("careful",)
    with pytest.raises(ValueError, match="class d has 8 examples, too few for a labels part of 2"):
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


def test_hold_out_cuts_real_targets_without_strata():
    examples = InMemory(torch.arange(20.0)[:, None], torch.arange(20.0)[:, None])
    rest, part = hold_out(examples, 0.25)
    assert (len(rest), len(part)) == (15, 5)
    assert torch.equal(part.x, part.y)


def test_seeds_of_neighbours_never_collide():
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
    with pytest.raises(ValueError, match=rf"a\.csv: example {at} .* has label {wrong}, but labels go from 0 to 9"):
        check_labels(labels, 10, where="a.csv")


def test_check_labels_accepts_every_class():
    check_labels(torch.arange(10), 10, where="a.csv")


def test_outputs_are_classes_or_targets():
    part = InMemory(torch.zeros(1, 2), torch.zeros(1, 3))
    assert Splits(part, None, None, (2,), classes=("a", "b")).num_outputs == 2
    assert Splits(part, None, None, (2,), targets=3).num_outputs == 3
