"""The digits of scikit-learn, as a source and by name."""

import pytest
import torch
from support import split_sizes

import zoo
from zoo.data.sources import digits


def test_digits_are_1797_with_a_fixed_test_split_of_360():
    splits = digits.load()
    assert split_sizes(splits) == [1293, 144, 360]
    assert splits.shape == (1, 28, 28)
    assert splits.classes == tuple("0123456789")
    assert all(split.x.dtype == torch.uint8 for split in (splits.train, splits.test))
    assert split_sizes(digits.load(validation=0)) == [1437, 0, 360]
    assert torch.equal(digits.load(validation=0).test.x, splits.test.x)
    # The very same examples on every machine and in every version, or past results could not be compared.
    assert splits.test.y[:20].tolist() == [3, 0, 1, 8, 9, 6, 5, 0, 7, 7, 0, 7, 9, 0, 0, 4, 6, 6, 4, 7]


def test_digits_keep_their_labels_in_the_format_of_mnist():
    from sklearn.datasets import load_digits

    bunch = load_digits()
    splits = digits.load(validation=0)
    x, y = (torch.cat([getattr(split, name) for split in (splits.train, splits.test)]) for name in "xy")
    assert x[..., 4:24, 4:24].sum() == x.sum()  # 20 x 20 in a border of 4
    small = torch.nn.functional.avg_pool2d(x[..., 4:24, 4:24].float(), 5).flatten(1)  # 4 x 4 blocks
    original = torch.from_numpy(bunch.images).float()[:, None] * 255 / 16
    original = torch.nn.functional.avg_pool2d(original, 2).flatten(1)
    nearest = torch.cdist(small, original).argmin(dim=1)
    assert len(nearest.unique()) > 1780
    assert torch.equal(torch.from_numpy(bunch.target)[nearest], y)


def test_a_dataset_by_name_is_cut_as_zoo_train_cuts_it():
    splits = zoo.dataset("digits", validation=100)
    assert split_sizes(splits) == [1337, 100, 360]
    assert torch.equal(splits.train.x, digits.load(validation=100).train.x)


@pytest.mark.parametrize(
    ("name", "keys", "said"),
    [
        ("digitz", {}, "did you mean digits"),
        ("digits", {"validtion": 3}, "did you mean validation"),
        ("digits", {"validation": "some"}, "dataset.validation=some must be a number"),
    ],
)
def test_a_dataset_that_cannot_be_had_is_one_line(name, keys, said):
    with pytest.raises(ValueError, match=said) as error:
        zoo.dataset(name, **keys)
    assert "\n" not in str(error.value)
