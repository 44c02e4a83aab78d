"""Splits by a hash of the path: stable as a folder grows, and with every class on both sides."""

from collections import Counter

import pytest

from zoo.data.hash_split import position, split_by_hash

KEYS = [f"{name}/{i}".encode() for name in "abc" for i in range(200)]
LABELS = [k // 200 for k in range(600)]


def test_positions_are_the_same_everywhere_and_spread_evenly():
    assert position(b"cat/1", "test") == pytest.approx(0.9784118, abs=1e-7)
    assert position(b"cat/1", "validation") != position(b"cat/1", "test")
    positions = [position(key, "test") for key in KEYS]
    assert abs(sum(positions) / 600 - 0.5) < 0.04
    assert 0 <= min(positions) < max(positions) < 1


def test_a_fraction_does_not_move_an_example_when_others_come():
    _, few, _ = split_by_hash(KEYS[:300], LABELS[:300], 0.2, split="test")
    _, many, _ = split_by_hash(KEYS, LABELS, 0.2, split="test")
    assert [index for index in many if index < 300] == few
    assert 80 < len(many) < 160


@pytest.mark.parametrize("size", [3, 17, 300, 597])
def test_a_number_is_exact_and_leaves_every_class_on_both_sides(size):
    rest, held_out, notes = split_by_hash(KEYS, LABELS, size, split="test")
    assert len(held_out) == size
    assert sorted(rest + held_out) == list(range(600))
    for side in (rest, held_out):
        assert set(Counter(LABELS[index] for index in side)) == {0, 1, 2}
    assert notes == []


@pytest.mark.parametrize("size", [0.01, 0.99])
def test_small_classes_keep_an_example_on_each_side(size):
    labels = [k // 2 for k in range(20)]
    rest, held_out, notes = split_by_hash(KEYS[:20], labels, size, split="test")
    assert len(rest) == len(held_out) == 10
    assert {labels[index] for index in rest} == {labels[index] for index in held_out} == set(range(10))
    assert notes == []


def test_classes_that_cannot_be_divided_are_named():
    _, held_out, notes = split_by_hash(KEYS[:11], [0] * 10 + [1], 0.3, split="test", names=("cat", "emu"))
    assert 10 not in held_out
    assert notes == ["the test split has no image of emu (too few images to divide)"]
    _, held_out, notes = split_by_hash(KEYS, LABELS, 2, split="test")
    assert len(held_out) == 2
    assert len(notes) == 1
    assert "more classes than dataset.test=2" in notes[0]


@pytest.mark.parametrize(
    ("size", "message"), [(600, "takes 600 of 600"), (-1, "must be 0, a fraction below 1"), (1.5, "must be")]
)
def test_an_invalid_size_is_refused(size, message):
    with pytest.raises(ValueError, match=rf"^dataset\.test={size}: {message}"):
        split_by_hash(KEYS, LABELS, size, split="test")


def test_a_single_example_cannot_be_divided():
    with pytest.raises(ValueError, match=r"dataset\.test=0\.5: takes 0 of 1 examples"):
        split_by_hash([b"a"], [0], 0.5, split="test")


@pytest.mark.parametrize("size", [0.05, 0.5, 0.95, 2, 3, 4])
def test_versions_of_an_image_stay_together_in_small_classes_too(size):
    keys = [f"{k // 2}".encode() for k in range(12)]  # two formats of six images
    rest, held_out, _ = split_by_hash(keys, [k // 4 for k in range(12)], size, split="test")
    assert not {keys[index] for index in rest} & {keys[index] for index in held_out}
    assert sorted(rest + held_out) == list(range(12))
