"""What holds for every size of net, batch and type: hypothesis looks for one where it does not."""

import itertools
from math import prod

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.models import DBN, MLP, RBM, InceptionSmall, LeNet5, StackedAutoencoder

settings.register_profile("zoo", deadline=None, derandomize=True, database=None, max_examples=30)
settings.load_profile("zoo")

SHAPES = st.one_of(
    st.tuples(st.integers(1, 9)),
    st.tuples(st.integers(1, 3), st.integers(1, 6), st.integers(1, 6)),
)
WIDTHS = st.lists(st.integers(1, 7), min_size=1, max_size=3)
BATCHES = st.integers(1, 5)
CLASSES = st.integers(1, 6)
SMALLEST = {LeNet5: 12, InceptionSmall: 8}
TYPES = st.sampled_from([torch.float32, torch.float64, torch.bfloat16])


def batch(count: int, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    return torch.rand(count, *shape).to(dtype)


@given(SHAPES, st.one_of(st.just([]), WIDTHS), BATCHES, CLASSES, TYPES, st.booleans(), st.floats(0, 0.9))
def test_a_perceptron_maps_every_input_to_its_classes(shape, hidden, count, classes, dtype, batch_norm, rate):
    net = MLP(in_shape=shape, hidden=hidden, num_classes=classes, batch_norm=batch_norm, dropout=rate, noise=rate)
    net, x = net.to(dtype).eval(), batch(count, shape, dtype)
    assert net(x).shape == (count, classes)
    assert net(x).dtype == dtype
    assert torch.isfinite(net(x)).all()
    for depth, width in enumerate([prod(shape), *hidden]):
        assert net.encode(x, depth).shape == (count, width)
    # Each example by itself: nothing of the others in its batch reaches it.
    alone = torch.cat([net(one[None]) for one in x])
    torch.testing.assert_close(alone, net(x), rtol=0.05 if dtype == torch.bfloat16 else 1e-4, atol=0.05)
    net.reset_head(classes + 1)
    assert net(x).shape == (count, classes + 1)


@given(SHAPES, WIDTHS, BATCHES, st.one_of(st.none(), CLASSES), st.booleans())
def test_a_stack_of_autoencoders_gives_back_what_has_its_inputs_shape(shape, hidden, count, classes, tied):
    net = StackedAutoencoder(in_shape=shape, hidden=hidden, num_classes=classes, tied=tied).eval()
    x = batch(count, shape, torch.float32)
    assert net.reconstruct(x).shape == x.shape
    assert net.encode(x).shape == (count, hidden[-1])
    if classes is not None:
        assert net(x).shape == (count, classes)


@given(SHAPES, WIDTHS, BATCHES, CLASSES)
def test_a_belief_network_codes_and_gives_back(shape, hidden, count, classes):
    net = DBN(in_shape=shape, hidden=hidden, num_classes=classes).eval()
    x = batch(count, shape, torch.float32)
    assert net(x).shape == (count, classes)
    assert net.reconstruct(x).shape == x.shape
    for depth, width in enumerate([prod(shape), *hidden]):
        code = net.encode(x, depth)
        assert code.shape == (count, width)
        assert ((code >= 0) & (code <= 1)).all()


@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 3), BATCHES, st.integers(0, 10**6))
def test_an_rbms_free_energy_sums_its_hidden_states_out(visible, hidden, labels, count, seed):
    torch.manual_seed(seed)
    rbm = RBM(in_shape=(visible,), hidden=hidden, label_units=labels).double()
    for parameter in rbm.parameters():
        torch.nn.init.normal_(parameter)
    v = rbm.noise(count)
    states = torch.tensor(list(itertools.product([0.0, 1.0], repeat=hidden))).double()
    energies = torch.stack([rbm.energy(v, h.expand(count, -1)) for h in states])  # 2^H x N
    torch.testing.assert_close(rbm.free_energy(v), -torch.logsumexp(-energies, dim=0))
    mean = (torch.softmax(-energies, dim=0)[:, :, None] * states[:, None]).sum(dim=0)  # N x H
    torch.testing.assert_close(rbm.hidden_mean(v), mean)


@given(st.integers(1, 3), st.integers(5, 34), st.integers(5, 34), st.integers(2, 4), CLASSES)
@settings(max_examples=10)
@pytest.mark.parametrize("kind", [LeNet5, InceptionSmall])
def test_a_convolutional_net_takes_the_picture_or_says_how_large_it_must_be(kind, channels, high, wide, count, classes):
    options = {"in_shape": (channels, high, wide), "num_classes": classes}
    if min(high, wide) < SMALLEST[kind]:
        with pytest.raises(ValueError, match=f"{channels}x{high}x{wide}"):
            kind(**options)
        return
    net, x = kind(**options).eval(), batch(count, (channels, high, wide), torch.float32)
    assert net(x).shape == (count, classes)
    assert torch.isfinite(net(x)).all()
