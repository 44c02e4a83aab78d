"""From the X of scikit-learn to the inputs of a net, and back."""

import numpy as np
import pytest
import torch

from zoo.sklearn.inputs import Scaler, flattened, input_shape
from zoo.sklearn.stages import override

RNG = np.random.default_rng(0)


def test_a_table_is_scaled_per_feature():
    rows = RNG.normal(size=(50, 3)) * [1, 10, 100] + [0, 5, -7]
    standard = Scaler("standard", (3,)).fit(rows).to_net(rows).numpy()
    assert np.allclose(standard, (rows - rows.mean(axis=0)) / rows.std(axis=0), atol=1e-12)
    low, high = rows.min(axis=0), rows.max(axis=0)
    minmax = Scaler("minmax", (3,)).fit(rows).to_net(rows).numpy()
    assert np.allclose(minmax, (rows - low) / (high - low), atol=1e-12)


def test_images_are_scaled_per_channel():
    images = RNG.uniform(size=(20, 3, 4, 5)) * np.array([1, 10, 100])[:, None, None]
    images[:, 2, 0, 0] = 0  # a pixel that is constant stays one, as a border does
    x = Scaler("standard", (3, 4, 5)).fit(images.reshape(20, 60)).to_net(images.reshape(20, 60)).numpy()
    mean, std = images.mean(axis=(0, 2, 3), keepdims=True), images.std(axis=(0, 2, 3), keepdims=True)
    assert np.allclose(x, (images - mean) / std, atol=1e-12)


@pytest.mark.parametrize("kind", ["minmax", "standard", "none"])
@pytest.mark.parametrize("shape", [(24,), (2, 3, 4)])
def test_scaling_is_inverted(kind, shape):
    rows = RNG.normal(size=(10, 24)) * 30
    scaler = Scaler(kind, shape).fit(rows)
    assert np.allclose(scaler.from_net(scaler.to_net(rows)), rows, atol=1e-12)


def test_a_large_offset_is_removed_before_the_precision_of_float32():
    """Float32 cannot tell 1e8 from 1e8 + 1."""
    rows = 1e8 + np.arange(4.0)[:, None]
    assert Scaler("minmax", (1,)).fit(rows).to_net(rows).flatten().tolist() == pytest.approx([0, 1 / 3, 2 / 3, 1])


def test_later_values_outside_the_range_are_clipped_so_that_an_rbm_accepts_them():
    scaler = Scaler("minmax", (1,)).fit(np.array([[0.0], [10.0]]))
    assert scaler.to_net(np.array([[-5.0], [20.0]])).flatten().tolist() == [0, 1]


def test_the_array_of_the_user_is_neither_changed_nor_shared():
    rows = np.ones((2, 3), dtype=np.float32)
    rows.flags.writeable = False
    Scaler("none", (3,)).fit(rows).to_net(rows).fill_(7)
    assert (rows == 1).all()


def test_images_become_rows():
    images = RNG.uniform(size=(5, 3, 2, 4))
    for given in (images, torch.tensor(images)):
        rows, shape = flattened(given)
        assert shape == (3, 2, 4)
        assert (rows == images.reshape(5, 24)).all()
    assert flattened(images[:, 0])[1] == (1, 2, 4)  # gray
    assert flattened([[1, 2]]) == ([[1, 2]], ())


def test_the_shape_of_an_input():
    assert input_shape(None, (), 12) == (12,)
    assert input_shape(None, (3, 2, 2), 12) == (3, 2, 2)
    assert input_shape([1, 3, 4], (), 12) == (1, 3, 4)
    with pytest.raises(ValueError, match=r"in_shape=\[1, 4, 4\] has 16 values, but X has 12 features"):
        input_shape([1, 4, 4], (), 12)
    with pytest.raises(ValueError, match="but X has images of shape 3x2x2"):
        input_shape([12], (3, 2, 2), 12)
    # The channels are probably last; in_shape says that they are not.
    with pytest.raises(ValueError, match=r"pass X.transpose\(0, 3, 1, 2\), otherwise in_shape=\[6, 5, 3\]"):
        input_shape(None, (6, 5, 3), 90)
    assert input_shape([6, 5, 3], (6, 5, 3), 90) == (6, 5, 3)
    assert input_shape(None, (3, 6, 4), 72) == (3, 6, 4)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.int64(3), "3"),
        (np.float64(0.5), "0.5"),
        (np.array([2, 3]), "[2, 3]"),
        ((4, 5), "[4, 5]"),
        ("relu", '"relu"'),
        (None, "null"),
        (True, "true"),
    ],
)
def test_a_parameter_as_an_override(value, text):
    assert override("key", value) == f"key={text}"
