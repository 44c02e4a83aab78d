"""The MLP against back-propagation by hand, numerical differentiation and NumPy."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from zoo.models import DBN, MLP, StackedAutoencoder

SIGMOID_QUADRATIC = ("sigmoid", lambda output, target: 0.5 * ((output - F.one_hot(target, 4)) ** 2).sum())
TANH_CROSS_ENTROPY = ("tanh", lambda output, target: F.cross_entropy(output, target, reduction="sum"))
CASES = pytest.mark.parametrize(
    ("activation", "cost"), [SIGMOID_QUADRATIC, TANH_CROSS_ENTROPY], ids=["sigmoid, quadratic", "tanh, cross-entropy"]
)


def batch():
    torch.manual_seed(0)
    return torch.randn(7, 5, dtype=torch.double), torch.randint(4, (7,))


def net_and_gradients(activation, cost):
    """A net 5-6-3-4 in double precision with the cost's gradients on `batch`."""
    x, target = batch()
    net = MLP(in_shape=(5,), num_classes=4, hidden=(6, 3), activation=activation).double()
    cost(net(x), target).backward()
    return net, x, target


def parameters(net):
    return sum(p.numel() for p in net.parameters())


@CASES
def test_outputs_and_gradients_equal_back_propagation_by_hand(activation, cost):
    net, x, target = net_and_gradients(activation, cost)
    W1, b1, W2, b2, W3, b3 = (p.detach().numpy() for p in net.parameters())  # each W: outputs x inputs
    squash, slope = {  # the slope in terms of the output
        "sigmoid": (lambda z: 1 / (1 + np.exp(-z)), lambda a: a * (1 - a)),
        "tanh": (np.tanh, lambda a: 1 - a**2),
    }[activation]

    a0, t = x.numpy(), np.eye(4)[target]
    a1 = squash(a0 @ W1.T + b1)
    a2 = squash(a1 @ W2.T + b2)
    output = a2 @ W3.T + b3
    predicted = output if activation == "sigmoid" else np.exp(output) / np.exp(output).sum(axis=1, keepdims=True)
    delta3 = predicted - t  # quadratic cost on a linear output, cross-entropy on a softmax
    delta2 = delta3 @ W3 * slope(a2)
    delta1 = delta2 @ W2 * slope(a1)
    by_hand = [delta1.T @ a0, delta1.sum(0), delta2.T @ a1, delta2.sum(0), delta3.T @ a2, delta3.sum(0)]

    np.testing.assert_allclose(net(x).detach().numpy(), output, rtol=1e-10, atol=1e-12)
    for p, expected in zip(net.parameters(), by_hand, strict=True):
        np.testing.assert_allclose(p.grad.numpy(), expected, rtol=1e-10, atol=1e-12)


@CASES
def test_gradients_equal_central_differences(activation, cost):
    net, x, target = net_and_gradients(activation, cost)
    h = 1e-5
    for p in net.parameters():
        numerical, entries = torch.empty_like(p.grad), p.detach().view(-1)
        for i, middle in enumerate(entries.tolist()):
            entries[i] = middle + h
            above = cost(net(x), target).item()
            entries[i] = middle - h
            below = cost(net(x), target).item()
            entries[i] = middle
            numerical.view(-1)[i] = (above - below) / (2 * h)
        torch.testing.assert_close(numerical, p.grad, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    ("in_shape", "hidden", "num_classes", "count"),
    [
        ((1, 28, 28), (16, 16), 10, 13_002),
        ((1, 28, 28), (50, 100), 10, 45_360),
        ((2,), (3, 2), 2, 23),
        ((4,), (), 3, 15),
    ],
)
def test_parameter_count(in_shape, hidden, num_classes, count):
    assert parameters(MLP(in_shape=in_shape, hidden=hidden, num_classes=num_classes)) == count


def test_without_hidden_layer_the_net_is_linear():
    torch.manual_seed(0)
    net = MLP(in_shape=(2, 3), num_classes=4, hidden=()).double()
    x, y = torch.randn(2, 5, 2, 3, dtype=torch.double)
    torch.testing.assert_close(net(3 * x - 2 * y), 3 * net(x) - 2 * net(y))


def test_output_activation_follows_the_head():
    torch.manual_seed(0)
    net = MLP(in_shape=(5,), num_classes=3, hidden=(6,), output_activation="softmax")
    x = torch.randn(7, 5)
    torch.testing.assert_close(net(x), F.softmax(net.head(net.encode(x)), dim=1))


def test_encode_gives_the_output_of_each_hidden_layer():
    torch.manual_seed(0)
    net = MLP(in_shape=(1, 2, 3), num_classes=4, hidden=(5, 7), activation="tanh").double()
    x = torch.randn(8, 1, 2, 3, dtype=torch.double)
    W1, b1, W2, b2, W3, b3 = net.parameters()
    first = torch.tanh(x.reshape(8, 6) @ W1.T + b1)
    second = torch.tanh(first @ W2.T + b2)
    for depth, expected in [(0, x.reshape(8, 6)), (1, first), (2, second), (None, second)]:
        torch.testing.assert_close(net.encode(x, depth), expected)
    torch.testing.assert_close(net(x), second @ W3.T + b3)


@pytest.mark.parametrize("hidden", [(), (7,)])
@pytest.mark.parametrize("output_activation", ["identity", "maxout"])
def test_reset_head_replaces_only_the_head(hidden, output_activation):
    torch.manual_seed(0)
    net = MLP(in_shape=(5,), num_classes=4, hidden=hidden, output_activation=output_activation)
    x = torch.randn(6, 5)
    features, old = net.encode(x), net.head
    net.reset_head(9)
    assert net(x).shape == (6, 9)
    assert net.num_classes == 9
    assert net.head is not old
    assert torch.equal(net.encode(x), features)


def test_maxout_doubles_the_linear_layers_and_keeps_the_widths():
    net = MLP(in_shape=(5,), num_classes=3, hidden=(6, 4), activation="maxout", output_activation="maxout")
    assert [tuple(p.shape) for p in net.parameters() if p.ndim == 2] == [(12, 5), (8, 6), (6, 4)]
    x = torch.zeros(2, 5)
    assert net.encode(x, 1).shape == (2, 6)
    assert net.encode(x).shape == (2, 4)
    assert net(x).shape == (2, 3)


@pytest.mark.parametrize(("option", "depth"), [("dropout", 1), ("input_dropout", 0)])
def test_dropout_drops_in_training_only_and_keeps_the_mean(option, depth):
    torch.manual_seed(0)
    net = MLP(in_shape=(400,), num_classes=3, hidden=(400,), activation="sigmoid", **{option: 0.25})
    x = torch.rand(50, 400) + 0.1  # no zeros but dropped ones
    whole = net.eval().encode(x, depth)
    assert torch.equal(net.encode(x, depth), whole)
    assert (whole != 0).all()
    dropped = net.train().encode(x, depth)
    kept = dropped != 0
    torch.testing.assert_close(dropped[kept], whole[kept] / 0.75)
    assert kept.float().mean().item() == pytest.approx(0.75, abs=0.015)  # 5 standard errors of 20,000 draws


def test_without_dropout_training_and_evaluation_agree():
    torch.manual_seed(0)
    net, x = MLP(in_shape=(5,), num_classes=3, hidden=(6,)), torch.randn(4, 5)
    assert torch.equal(net.train()(x), net.eval()(x))


def test_noise_is_added_in_training_only_to_the_input_and_before_each_activation():
    torch.manual_seed(0)
    net = MLP(in_shape=(400,), num_classes=3, hidden=(500,), activation="identity", noise=0.3)
    x = torch.randn(60, 400)
    assert torch.equal(net.eval().encode(x, 0), x)
    whole = net.encode(x, 1)
    net.train()
    assert (net.encode(x, 0) - x).std().item() == pytest.approx(0.3, abs=0.01)
    weight = net.layers[0][0].weight
    received = 0.3 * (1 + weight.square().sum(dim=1).mean()).sqrt()  # its own, and the input's through the matrix
    assert (net.encode(x, 1) - whole).std().item() == pytest.approx(received.item(), rel=0.03)


def test_batch_normalization_stands_between_matrix_and_activation():
    torch.manual_seed(0)
    net = MLP(in_shape=(5,), num_classes=3, hidden=(6, 4), activation="relu", batch_norm=True)
    x = 3 + 2 * torch.randn(200, 5)
    h = net.layers[0][0](x)
    h = torch.relu((h - h.mean(dim=0)) / (h.var(dim=0, correction=0) + 1e-5).sqrt())
    torch.testing.assert_close(net.train().encode(x, 1), h)
    plain = MLP(in_shape=(5,), num_classes=3, hidden=(6, 4))
    assert sum(p.numel() for p in net.parameters()) == sum(p.numel() for p in plain.parameters()) + 2 * (6 + 4)


def test_negative_noise_is_refused():
    with pytest.raises(ValueError, match=r"noise=-0\.1 must be >= 0"):
        MLP(noise=-0.1)
    for stack in (DBN, StackedAutoencoder):
        with pytest.raises(ValueError, match=r"^input_noise=-0\.1 must be >= 0"):
            stack(input_noise=-0.1)


def test_xavier_spreads_weights_by_both_fans_and_starts_biases_at_zero():
    torch.manual_seed(0)
    net = MLP(in_shape=(300,), num_classes=200, hidden=(100,), init="xavier")
    for linear, fans in [(net.layers[0][0], 300 + 100), (net.head, 100 + 200)]:
        assert linear.weight.std().item() == pytest.approx((2 / fans) ** 0.5, rel=0.03)
        assert not linear.bias.any()


@pytest.mark.parametrize("init", ["0.1", "-2", "1e-3", "0"])
def test_a_number_is_what_every_weight_begins_with(init):
    net = MLP(in_shape=(4,), num_classes=3, hidden=(5,), init=init)
    net.reset_head(2)
    for linear, shape in [(net.layers[0][0], (5, 4)), (net.head, (2, 5))]:
        assert torch.equal(linear.weight, torch.full(shape, float(init)))
        assert not linear.bias.any()
        assert linear.weight.requires_grad


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden": (5, 0)}, r"hidden=\(5, 0\) must be >= 1"),
        ({"num_classes": -1}, "num_classes=-1 must be >= 1"),
        ({"in_shape": (0,)}, r"in_shape=\(0,\) must be >= 1"),
        ({"init": "zeros"}, "unknown init 'zeros'"),
        ({"init": "nan"}, "unknown init 'nan'"),
        ({"init": "inf"}, "unknown init 'inf'"),
        ({"init": ""}, "choose torch, xavier or a number"),
        ({"activation": "tahn"}, "unknown activation 'tahn'"),
        ({"output_activation": "tahn"}, "unknown activation 'tahn'"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        MLP(**options)
