"""Activations against formulas in NumPy, and Rosenblatt's rule as a gradient."""

import numpy as np
import pytest
import torch

from zoo.models import ACTIVATIONS, MLP, activation
from zoo.models.activations import pieces


def softmax(x):
    exp = np.exp(x)
    return exp / exp.sum(axis=1, keepdims=True)


FORMULAS = {
    "identity": lambda x: x,
    "step": lambda x: np.where(x > 0, 1.0, 0.0),
    "straight_through_step": lambda x: np.where(x > 0, 1.0, 0.0),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "tanh": lambda x: (np.exp(x) - np.exp(-x)) / (np.exp(x) + np.exp(-x)),
    "scaled_tanh": lambda x: 1.7159 * np.tanh(2 * x / 3),
    "relu": lambda x: np.maximum(x, 0),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.01 * x),
    "prelu": lambda x: np.where(x > 0, x, 0.25 * x),  # the slope where training starts
    "rrelu": lambda x: np.where(x > 0, x, (1 / 8 + 1 / 3) / 2 * x),  # the mean slope once trained
    "elu": lambda x: np.where(x > 0, x, np.exp(x) - 1),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "swish": lambda x: x / (1 + np.exp(-x)),
    "softplus": lambda x: np.log(1 + np.exp(x)),
    "softmax": softmax,
    "maxout": lambda x: np.maximum(x[:, ::2], x[:, 1::2]),
}


def test_every_activation_has_a_formula_here():
    assert set(FORMULAS) == set(ACTIVATIONS)


@pytest.mark.parametrize("shape", [(5, 8), (2, 6, 3, 4)], ids=["units", "maps"])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_equals_its_formula(name, shape):
    torch.manual_seed(0)
    x = 2 * torch.randn(shape, dtype=torch.double)
    x[0] = 0  # where most of them bend
    y = activation(name).double().eval()(x)
    np.testing.assert_allclose(y.detach().numpy(), FORMULAS[name](x.numpy()), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", ["step", "straight_through_step"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_step_is_exactly_zero_or_one_at_any_scale(name, dtype):
    torch.manual_seed(0)
    x = torch.randn(1000, dtype=dtype) * torch.logspace(-12, 12, 1000, dtype=dtype)
    assert torch.equal(activation(name)(x), (x > 0).to(dtype))


@pytest.mark.parametrize(("name", "slope"), [("step", 0.0), ("straight_through_step", 1.0)])
def test_step_of_infinity_is_zero_or_one_and_has_a_finite_gradient(name, slope):
    x = torch.tensor([-torch.inf, torch.inf], requires_grad=True)
    y = activation(name)(x)
    assert y.tolist() == [0, 1]
    y.sum().backward()
    assert x.grad.tolist() == [slope, slope]


@pytest.mark.parametrize(("name", "slope"), [("step", 0.0), ("straight_through_step", 1.0)])
def test_gradient_of_the_step_is_exactly_zero_and_straight_through_the_identity(name, slope):
    torch.manual_seed(0)
    x = torch.randn(4, 5, dtype=torch.double, requires_grad=True)
    upstream = torch.randn(4, 5, dtype=torch.double)
    (gradient,) = torch.autograd.grad(activation(name)(x), x, upstream)
    assert torch.equal(gradient, slope * upstream)


def test_scaled_tanh_maps_one_to_one_and_bends_most_there():
    x = torch.linspace(0.2, 2, 1801, dtype=torch.double, requires_grad=True)
    squash = activation("scaled_tanh")
    one = torch.tensor([1.0, -1.0], dtype=torch.double)
    torch.testing.assert_close(squash(one), one, rtol=0, atol=1e-4)
    (slope,) = torch.autograd.grad(squash(x).sum(), x, create_graph=True)
    (bend,) = torch.autograd.grad(slope.sum(), x)
    assert x[bend.abs().argmax()].item() == pytest.approx(1, abs=0.02)


def test_maxout_takes_the_greater_of_neighbouring_pieces_by_hand():
    x = torch.tensor([[1.0, 2.0, -3.0, -4.0], [0.0, -1.0, 5.0, 6.0]], requires_grad=True)
    y = activation("maxout")(x)
    assert y.tolist() == [[2, -3], [0, 6]]
    y.sum().backward()
    assert x.grad.tolist() == [[0, 1, 1, 0], [1, 0, 0, 1]]


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_pieces_say_how_much_wider_the_layer_below_must_be(name):
    width = activation(name)(torch.zeros(2, 12)).shape[1]
    assert width * pieces(name) == 12


def test_each_call_gives_a_fresh_module():
    assert activation("prelu").weight is not activation("prelu").weight


def test_unknown_activation_lists_the_choices():
    with pytest.raises(ValueError, match="'tahn'") as error:
        activation("tahn")
    assert all(name in str(error.value) for name in ACTIVATIONS)


def test_straight_through_gradient_of_quadratic_cost_is_the_perceptron_rule():
    torch.manual_seed(0)
    net = MLP(in_shape=(3,), num_classes=1, hidden=(), output_activation="straight_through_step").double()
    seen = set()
    for x, target in zip(torch.randn(40, 1, 3).double(), torch.arange(40) % 2, strict=True):
        output = float((net.head.weight.detach() @ x[0] + net.head.bias.detach()).item() > 0)
        net.zero_grad()
        (0.5 * (target - net(x)) ** 2).sum().backward()
        assert torch.equal(net.head.weight.grad, -(target - output) * x)
        assert net.head.bias.grad.item() == -(target - output)
        seen.add((target.item(), output))
    assert len(seen) == 4  # each target met with each output


def test_straight_through_gradient_descent_repeats_rosenblatt_and_finds_or():
    net = MLP(in_shape=(2,), num_classes=1, hidden=(), output_activation="straight_through_step")
    torch.nn.init.zeros_(net.head.weight)
    torch.nn.init.zeros_(net.head.bias)
    descent = torch.optim.SGD(net.parameters(), lr=1.0)
    weights = np.zeros(3)
    inputs, targets = np.array([[0, 0], [0, 1], [1, 0], [1, 1]]), np.array([0, 1, 1, 1])
    for _ in range(5):
        for x, target in zip(inputs, targets, strict=True):
            weights += (target - float(weights @ [*x, 1] > 0)) * np.array([*x, 1])
            descent.zero_grad()
            (0.5 * (target - net(torch.tensor(x[None]).float())) ** 2).sum().backward()
            descent.step()
            assert [*net.head.weight[0].tolist(), net.head.bias.item()] == weights.tolist()
    assert net(torch.tensor(inputs).float())[:, 0].tolist() == targets.tolist()
