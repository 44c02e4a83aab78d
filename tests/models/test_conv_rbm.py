"""The convolutional RBM against the sum over all its states, by plain loops over pixels and units."""

from functools import partial
from itertools import product

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from enumeration import binary, close, p_value
from scipy.special import logsumexp
from scipy.stats import norm
from support import slow_but

from zoo.models import RBM, ConvRBM

# Small nets: channels x height x width, maps, side of the kernel, side of the blocks.
BERNOULLI = {
    "no pooling": ((1, 3, 3), 2, 2, 1),
    "whole blocks": ((1, 3, 3), 2, 2, 2),
    "border of one column": ((1, 3, 4), 2, 2, 2),
    "border in both directions": ((1, 4, 4), 1, 2, 2),
    "blocks of nine": ((1, 3, 5), 1, 2, 3),
    "three channels": ((3, 2, 3), 2, 2, 1),
    "three channels, no pooling": ((3, 2, 2), 1, 1, 1),
    "three channels, pairs": ((3, 2, 2), 2, 1, 2),
    "three channels, blocks of nine": ((3, 1, 5), 1, 1, 3),
}
GAUSSIAN = {
    "no pooling": ((1, 2, 3), 2, 2, 1),
    "pairs": ((1, 2, 3), 2, 2, 2),
    "border": ((1, 1, 5), 1, 1, 2),
    "blocks of nine": ((1, 1, 5), 1, 1, 3),
    "three channels, no pooling": ((3, 1, 2), 2, 1, 1),
    "three channels, pairs": ((3, 1, 2), 2, 1, 2),
    "three channels, border": ((3, 1, 2), 2, 1, 3),
}
NODES = 7  # of the numerical integration, for each pixel
CASES = [("bernoulli", case) for case in BERNOULLI] + [("gaussian", case) for case in GAUSSIAN]
SLOW = ("three channels", "border in both directions")
each_case = pytest.mark.parametrize(("kind", "case"), slow_but(CASES, fast=lambda _, case: case not in SLOW))


def slow(case):
    return pytest.param(case, marks=pytest.mark.slow)


def machine(kind, case, scale=None):
    """A net in double precision, every parameter of it drawn from a normal distribution."""
    in_shape, hidden, side, pool = (BERNOULLI if kind == "bernoulli" else GAUSSIAN)[case]
    std = {"visible_std": 1.3} if kind == "gaussian" else {}
    scale = scale or {"bernoulli": 0.7, "gaussian": 0.4}[kind]  # 7 nodes are exact enough for small weights
    net = ConvRBM(in_shape=in_shape, hidden=hidden, kernel_size=side, pool=pool, visible_units=kind, **std).double()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn(p.shape, generator=generator, dtype=torch.double) * scale)
        if kind == "gaussian":
            net.log_variance.fill_(2 * np.log(1.3))  # in double precision
    return net


def unrolled(net):
    """The weight of each hidden unit to each pixel, H x V; the biases of all of them; the block of each hidden unit."""
    W = net.weight.detach().numpy()
    maps, channels, side, _ = W.shape
    _, height, width = net.in_shape
    positions = [(k, i, j) for k in range(maps) for i in range(height - side + 1) for j in range(width - side + 1)]
    matrix = np.zeros((len(positions), channels, height, width))
    for unit, (k, i, j) in enumerate(positions):
        for c, r, s in product(range(channels), range(side), range(side)):
            matrix[unit, c, i + r, j + s] = W[k, c, r, s]
    c = np.array([net.hidden_bias[k].item() for k, _, _ in positions])
    b = np.repeat(net.visible_bias.detach().numpy(), height * width)
    pool = net.hidden.pool
    blocks = np.array([hash((k, i // pool, j // pool)) for k, i, j in positions])
    names = list(dict.fromkeys(blocks.tolist()))
    return matrix.reshape(len(positions), -1), b, c, np.array([names.index(name) for name in blocks])


def hidden_states(blocks):
    """All states with at most one unit of each block on."""
    units = [np.flatnonzero(blocks == block) for block in range(blocks.max() + 1)]
    states = []
    for choice in product(*[[None, *members] for members in units]):
        h = np.zeros(len(blocks))
        h[[unit for unit in choice if unit is not None]] = 1
        states.append(h)
    return np.array(states)


def visible_states(net):
    """All states of the visible units, or nodes of Gauss and Hermite; the log of the weight of each in a sum."""
    V = int(np.prod(net.in_shape))
    if net.visible_units == "bernoulli":
        return binary(V), np.zeros(2**V)
    nodes, weights = np.polynomial.hermite_e.hermegauss(NODES)
    b = unrolled(net)[1]
    v = b + 1.3 * np.array(list(product(nodes, repeat=V)))
    log_dv = np.array(list(product(np.log(weights) + nodes**2 / 2 + np.log(1.3), repeat=V))).sum(1)
    return v, log_dv


def energies(net, v, h):
    """E(v, h) of every v with every h."""
    matrix, b, c, _ = unrolled(net)
    if net.visible_units == "gaussian":
        return (np.square(v - b) / (2 * 1.3**2)).sum(1)[:, None] - h @ c - (v / 1.3**2) @ matrix.T @ h.T
    return -(v @ b)[:, None] - h @ c - v @ matrix.T @ h.T


def few(states, n=20):
    return states[np.random.default_rng(0).permutation(len(states))[:n]]


def maps(net, h):
    """Flat hidden states as maps."""
    return torch.as_tensor(h).reshape(-1, *net.hidden_shape)


@each_case
def test_energy_equals_the_formula(kind, case):
    net = machine(kind, case)
    v, h = few(visible_states(net)[0]), few(hidden_states(unrolled(net)[3]))
    E = [net.energy(torch.tensor(v), maps(net, one[None]).expand(len(v), -1, -1, -1)) for one in h]
    close(torch.stack(E, dim=1), energies(net, v, h), 1e-12)


@each_case
def test_conditionals_pooling_and_free_energies_equal_the_sum_over_all_states(kind, case):
    net = machine(kind, case)
    blocks = unrolled(net)[3]
    h = hidden_states(blocks)
    v, log_dv = visible_states(net)

    # Given v: the mean of the hidden units, the probability that a block has one on, and the free energy.
    some = few(v)
    x = torch.tensor(some).reshape(-1, *net.in_shape)
    E = energies(net, some, h)
    p = np.exp(-E - logsumexp(-E, axis=1, keepdims=True))
    close(net.hidden_mean(x).flatten(1), p @ h, 1e-9)
    pooled = np.stack([h[:, blocks == block].max(1) for block in range(blocks.max() + 1)], axis=1)
    close(net.pool_mean(x).flatten(1), p @ pooled, 1e-9)
    close(net.encode(x), p @ pooled, 1e-9)
    close(net.free_energy(x), -logsumexp(-E, axis=1), 1e-9)
    assert torch.equal(net.free_energy(x.flatten(1)), net.free_energy(x)), "flat inputs are the same"

    # Given h: the mean of the visible units and the other free energy.
    some = few(h)
    log_p = -energies(net, v, some) + log_dv[:, None]
    p = np.exp(log_p - logsumexp(log_p, axis=0))
    assert net.visible_mean(maps(net, some)).shape == (len(some), *net.in_shape)
    close(net.visible_mean(maps(net, some)).flatten(1), p.T @ v)
    close(net.free_energy_of_hidden(maps(net, some)), -logsumexp(log_p, axis=0))

    # log Z, by both free energies.
    log_z = logsumexp(-energies(net, v, h) + log_dv[:, None])
    with torch.no_grad():
        assert logsumexp(-net.free_energy(torch.tensor(v)).numpy() + log_dv) == pytest.approx(log_z, abs=1e-8)
        assert torch.logsumexp(-net.free_energy_of_hidden(maps(net, h)), 0).item() == pytest.approx(log_z, abs=1e-6)


@each_case
def test_the_gradient_of_the_free_energies_is_the_statistic_of_contrastive_divergence(kind, case):
    """Of two batches: minus the difference of <h v'>, <h> and <v>, summed over the units that share a parameter."""
    net = machine(kind, case)
    states = visible_states(net)[0]
    v0, vk = few(states, 6), few(states[::-1], 6)
    (net.free_energy(torch.tensor(v0)).mean() - net.free_energy(torch.tensor(vk)).mean()).backward()

    # The statistics of the unrolled net, from the enumerated hidden means.
    blocks = unrolled(net)[3]
    h = hidden_states(blocks)
    variance = 1.69 if kind == "gaussian" else 1.0
    statistics = []
    for v in (v0, vk):
        E = energies(net, v, h)
        means = np.exp(-E - logsumexp(-E, axis=1, keepdims=True)) @ h
        statistics.append((means.T @ v / len(v) / variance, means.mean(0), v.mean(0) / variance))
    dW, dc, db = (model - data for data, model in zip(*statistics, strict=True))

    # Add up what the shared parameters get: correlate with a one at each place of a kernel.
    for place in np.ndindex(*net.weight.shape):
        one = machine(kind, case)
        with torch.no_grad():
            one.weight.zero_()[place] = 1.0
        assert net.weight.grad[place].item() == pytest.approx((dW * unrolled(one)[0]).sum(), abs=1e-9)
    close(net.hidden_bias.grad, dc.reshape(len(net.hidden_bias), -1).sum(1), 1e-9)
    close(net.visible_bias.grad, db.reshape(len(net.visible_bias), -1).sum(1), 1e-9)


@each_case
@pytest.mark.parametrize("chains", [6, 2], ids=["as many chains as examples", "fewer chains"])
def test_the_gradient_in_closed_form_is_that_of_autograd(chains, kind, case):
    net = machine(kind, case)
    states = visible_states(net)[0]
    v0, vk = torch.tensor(few(states, 6)), torch.tensor(few(states[::-1], chains))
    a0 = net.hidden_input(v0)
    loss = 3 * net.free_energy_difference(v0, vk, hidden_input=a0)
    expected = 3 * (net.free_energy(v0).mean() - net.free_energy(vk).mean())
    assert "PooledDifferenceBackward" in graph_of(loss)
    for found, value in zip(gradients(net, loss), gradients(net, expected), strict=True):
        torch.testing.assert_close(found, value, rtol=0, atol=1e-12)
    assert loss.item() == pytest.approx(expected.item(), abs=1e-12)


def gradients(net, loss):
    return torch.autograd.grad(loss, [net.weight, net.visible_bias, net.hidden_bias])


def graph_of(loss):
    """The names of all steps that autograd takes back from a loss."""
    found, left = set(), [loss.grad_fn]
    while left:
        step = left.pop()
        if step is not None:
            found.add(type(step).__name__)
            left += [before for before, _ in step.next_functions]
    return found


def test_mixed_precision_uses_autograd():
    net = ConvRBM(in_shape=(1, 8, 8), hidden=2, kernel_size=3)
    v0, vk = torch.rand(4, 1, 8, 8), torch.rand(4, 1, 8, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = net.free_energy_difference(v0, vk)
    assert "PooledDifferenceBackward" not in graph_of(loss)
    loss.backward()
    assert net.weight.grad.dtype == torch.float32


@pytest.mark.parametrize("pool", [1, 2, 3])
def test_large_pre_activations_do_not_overflow(pool):
    net = ConvRBM(in_shape=(1, 5, 5), hidden=2, kernel_size=2, pool=pool)
    for size in (-300.0, 300.0):
        a = torch.full((1, 2, 4, 4), size)
        mean, log_sum = net.hidden.mean_and_log_sum(a)
        units = net.hidden.log_sum(torch.zeros(1, 2, 4, 4), net.hidden_bias).exp() - 1  # number of units in a block
        expected = torch.zeros(()) if size < 0 else size + units.log()
        torch.testing.assert_close(log_sum, expected.expand_as(log_sum))
        torch.testing.assert_close(mean, net.hidden.spread(1 / units) * (size > 0))


@pytest.mark.parametrize("channels", [1, 3])
def test_the_visible_input_is_the_transposed_convolution(channels):
    net = ConvRBM(in_shape=(channels, 7, 9), hidden=4, kernel_size=3).double()
    h = torch.rand(5, 4, 5, 7, dtype=torch.double)
    expected = F.conv_transpose2d(h, net.weight, net.visible_bias)
    torch.testing.assert_close(net.visible_input(h), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", ["bernoulli", "gaussian"])
def test_without_pooling_it_is_the_rbm_of_the_unrolled_convolution(kind):
    net = ConvRBM(in_shape=(3, 7, 6), hidden=4, kernel_size=3, pool=1, visible_units=kind).double()
    with torch.no_grad():
        for p in net.parameters():
            p.normal_()
    matrix, b, c, _ = unrolled(net)
    rbm = RBM(in_shape=(3, 7, 6), hidden=len(c), visible_units=kind).double()
    with torch.no_grad():
        rbm.weight.copy_(torch.tensor(matrix))
        rbm.visible_bias.copy_(torch.tensor(b))
        rbm.hidden_bias.copy_(torch.tensor(c))
    x = torch.rand(5, 3, 7, 6, dtype=torch.double).round()
    flat = x.flatten(1)
    h = torch.rand(5, len(c), dtype=torch.double).round()
    close(net.hidden_mean(x).flatten(1), rbm.hidden_mean(flat).detach().numpy(), 1e-10)
    close(net.encode(x), rbm.encode(x.flatten(1)).detach().numpy(), 1e-10)
    close(net.visible_mean(maps(net, h)).flatten(1), rbm.visible_mean(h).detach().numpy(), 1e-10)
    close(net.free_energy(x), rbm.free_energy(flat).detach().numpy(), 1e-10)
    close(net.energy(x, maps(net, h)), rbm.energy(flat, h).detach().numpy(), 1e-10)
    close(net.reconstruct(x), rbm.reconstruct(x).detach().numpy(), 1e-10)
    if kind == "bernoulli":
        flips = torch.arange(5)
        expected = rbm.pseudo_log_likelihood(flat, flips).detach().numpy()
        close(net.pseudo_log_likelihood(flat, flips), expected, 1e-9)


@pytest.mark.parametrize("case", ["border of one column", "blocks of nine", "no pooling"])
def test_samples_given_v_are_of_the_enumerated_conditional(case):
    torch.manual_seed(0)
    net, n = machine("bernoulli", case), 20_000
    v = torch.tensor(few(visible_states(net)[0], 1))
    samples = net.sample_hidden(v.expand(n, -1)).detach().flatten(1)
    states = hidden_states(unrolled(net)[3])
    p = np.exp(-energies(net, v.numpy(), states))[0]
    assert p_value(samples, states, p) > 1e-4
    assert torch.equal(net.hidden.pool_states(samples.reshape(n, *net.hidden_shape)).amax(), torch.tensor(1.0))
    torch.manual_seed(1)
    sample = net.sample_hidden(v.expand(n, -1))
    torch.manual_seed(1)
    assert torch.equal(net.sample_hidden(v.expand(n, -1), hidden_mean=net.hidden_mean(v).expand(n, -1, -1, -1)), sample)
    other = np.exp(-1.2 * energies(net, v.numpy(), states))[0]
    assert p_value(samples, states, other) < 1e-6  # the test can tell a slightly different net


@pytest.mark.parametrize("case", ["whole blocks", slow("blocks of nine"), slow("three channels, pairs")])
def test_long_gibbs_chains_reproduce_the_enumerated_distribution(case):
    """The marginals of the first nine pixels and of all hidden units, and the statistics of all parameters."""
    assert min(p_values_of_long_chains(machine("bernoulli", case, scale=1.5))) > 1e-4


def p_values_of_long_chains(net):
    """Of the chains being from the distribution of the net's parameters, whatever its conditionals are."""
    torch.manual_seed(0)
    v, log_dv = visible_states(net)
    h = hidden_states(unrolled(net)[3])
    joint = np.exp(-energies(net, v, h) + log_dv[:, None])
    joint /= joint.sum()
    p_v, p_h = joint.sum(1), joint.sum(0)
    with torch.no_grad():
        pixels = net.gibbs(net.noise(10_000), 20)
        hidden = net.sample_hidden(pixels)

    # The means of what each parameter multiplies in the energy, which a conditional that lacks a term changes most.
    found = statistics_of(net, pixels.flatten(1).numpy(), hidden.flatten(1).numpy())
    expected = p_v @ statistics_of(net, v, joint @ h / p_v[:, None])
    error = np.abs(found.mean(0) - expected) / (found.std(0) + 1e-12) * len(found) ** 0.5
    of_statistics = len(error) * 2 * norm.sf(error.max())
    if not net.visible.binary:
        return (of_statistics,)
    # The frequencies of all states.
    of_pixels = p_value(pixels.flatten(1)[:, :9], binary(9), p_v.reshape(512, -1).sum(1))
    return of_statistics, of_pixels, p_value(hidden.flatten(1), h, p_h)


def statistics_of(net, v, h):
    """Of each example: the correlation of each weight, by plain loops; the pixels, their squares and the hidden units.

    They are linear in h, so that E[h | v] in place of h gives their means.
    """
    images, states = v.reshape(-1, *net.in_shape), h.reshape(-1, *net.hidden_shape)
    rows, columns = net.hidden_shape[1:]
    correlations = [
        (states[:, k] * images[:, c, r : r + rows, s : s + columns]).sum((1, 2))
        for k, c, r, s in np.ndindex(*net.weight.shape)
    ]
    return np.concatenate([np.stack(correlations, axis=1), v, v**2, h], axis=1)


# Terms that a conditional may lack: the conditional, then the parameter and the place in it.
WEIGHTS = [("weight", place) for place in np.ndindex(2, 1, 2, 2)]
TERMS = [
    *[("hidden_input", *term) for term in [*WEIGHTS, ("hidden_bias", (0,)), ("hidden_bias", (1,))]],
    *[("visible_input", *term) for term in [*WEIGHTS, ("visible_bias", (0,))]],
]
FAST_TERMS = [("hidden_input", "weight", (0, 0, 1, 1)), ("visible_input", "weight", (1, 0, 0, 0))]


@pytest.mark.parametrize(("conditional", "name", "place"), slow_but(TERMS, fast=lambda *term: term in FAST_TERMS))
def test_the_test_of_long_chains_fails_for_a_conditional_that_lacks_one_term(conditional, name, place, monkeypatch):
    net, other = (balanced() for _ in range(2))
    with torch.no_grad():
        other.get_parameter(name)[place] = 0.0
    monkeypatch.setattr(net, conditional, getattr(other, conditional))
    assert min(p_values_of_long_chains(net)) < 1e-6


def balanced():
    """A net in which every term matters: weights of 1 and -1, and units that are often on and often off."""
    net = machine("bernoulli", "whole blocks")
    with torch.no_grad():
        net.weight.sign_()
        net.hidden_bias.copy_(torch.tensor([-1.0, -0.7]))
        net.visible_bias.fill_(0.4)
    return net


# The conditionals as a programmer may get them wrong.
FAULTS = {
    "kernels upside down": {
        "visible_input": lambda net, h: F.conv_transpose2d(h, net.weight.flip(2, 3), net.visible_bias)
    },
    "a block that cannot be off": {
        "sample_hidden": lambda net, v: net.hidden.sample(net.hidden_input(v) + 20),
    },
    "a block that is off twice as often": {
        "sample_hidden": lambda net, v: net.hidden.sample(net.hidden_input(v) - np.log(2)),
    },
    "a mean in place of a sample": {"sample_visible": lambda net, h: net.visible_mean(h).round()},
}


@pytest.mark.parametrize("fault", slow_but(list(FAULTS), fast=lambda fault: fault == "kernels upside down"))
def test_the_test_of_long_chains_fails_for_wrong_conditionals(fault, monkeypatch):
    net = balanced()
    for conditional, wrong in FAULTS[fault].items():
        monkeypatch.setattr(net, conditional, partial(wrong, net))
    assert min(p_values_of_long_chains(net)) < 1e-6


def test_long_gibbs_chains_of_gaussian_units_have_the_enumerated_moments():
    assert min(p_values_of_long_chains(machine("gaussian", "pairs"))) > 1e-4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("conditional", "wrong"),
    [
        ("hidden_input", lambda net, v: F.conv2d(v, net.weight, net.hidden_bias)),  # not divided by the variance
        ("visible_input", lambda net, h: F.conv_transpose2d(h, net.weight)),  # without the bias
        ("sample_visible", lambda net, h: net.visible_mean(h) + torch.randn(len(h), *net.in_shape)),  # variance 1
    ],
)
def test_the_test_of_gaussian_chains_fails_for_wrong_conditionals(conditional, wrong, monkeypatch):
    net = machine("gaussian", "pairs")
    monkeypatch.setattr(net, conditional, partial(wrong, net))
    assert min(p_values_of_long_chains(net)) < 1e-6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"in_shape": (784,)}, "takes images"),
        ({"kernel_size": 29}, "28 pixels are fewer than the 29"),
        ({"kernel_size": 0}, "kernel_size=0 must be >= 1"),
        ({"hidden": 0}, "hidden=0 must be >= 1"),
        ({"pool": 0}, "pool=0 must be >= 1"),
        ({"visible_units": "softmax"}, "visible_units=softmax: choose one of: bernoulli, gaussian"),
        ({"visible_std": 0.0, "visible_units": "gaussian"}, "visible_std=0.0 must be finite and > 0"),
        ({"visible_std": 2.0}, "set visible_units=gaussian"),
        ({"init_std": float("nan")}, "init_std=nan must be finite and > 0"),
    ],
)
def test_wrong_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        ConvRBM(**options)


@pytest.mark.parametrize("pool", [1, 2, 3])
def test_biases_start_at_given_means_and_trained_ones_stay(pool):
    net = ConvRBM(in_shape=(2, 7, 7), hidden=2, kernel_size=2, pool=pool, init_std=1e-9)
    net.init_biases(channels(0.2, 0.9), 0.05)
    close(net.hidden_mean(torch.rand(1, 2, 7, 7)), np.full((1, 2, 6, 6), 0.05), 1e-5)
    close(net.visible_mean(torch.zeros(1, *net.hidden_shape)).mean((0, 2, 3)), [0.2, 0.9], 1e-5)
    before = net.hidden_bias.clone()
    net.init_biases(channels(0.3, 0.5), 0.2)
    assert torch.equal(net.hidden_bias, before)
    gaussian = ConvRBM(in_shape=(2, 7, 7), hidden=2, kernel_size=2, visible_units="gaussian")
    gaussian.init_biases(channels(-3.0, 5.0).flatten(), 0.05)
    assert gaussian.visible_bias.tolist() == [-3, 5]


def channels(*values):
    """An image of 7x7 pixels whose channels have these values."""
    return torch.tensor(values).view(-1, 1, 1).expand(-1, 7, 7)


def test_a_block_larger_than_the_map_pools_what_there_is():
    net = ConvRBM(in_shape=(1, 5, 5), hidden=2, kernel_size=4, pool=7)
    assert net.pool_mean(torch.rand(3, 1, 5, 5)).shape == (3, 2, 1, 1)
    assert net.sample_hidden(torch.rand(3, 1, 5, 5)).flatten(2).sum(2).max() <= 1
