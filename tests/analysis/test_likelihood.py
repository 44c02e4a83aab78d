"""Partition functions and likelihoods against sums over all states of E(v, h), integrals and trained machines."""

from dataclasses import FrozenInstanceError
from itertools import product
from math import inf, log

import numpy as np
import pytest
import torch
from scipy.special import expit, log_expit, logsumexp
from scipy.stats import multivariate_normal
from sklearn.datasets import load_digits
from support import GRID, RBM_SIZES

from zoo.analysis.likelihood import CHUNK, Estimate, binarize, log_likelihood, log_partition
from zoo.models import DBN, RBM

EVERY_KIND = pytest.mark.parametrize("kind", RBM_SIZES)
ANNEALED = pytest.mark.parametrize("kind", ["bernoulli", "labels", "gaussian", "learned variance"])
METHODS = pytest.mark.parametrize("method", ["ais", "reverse_ais"])


def scramble(net, scale=0.8, seed=0):
    """The net in double precision, every parameter of it drawn from a normal distribution."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in net.double().parameters():
            p.copy_(torch.randn(p.shape, generator=generator, dtype=torch.double) * scale)
    return net


def machine(kind, *, pixels=None, hidden=None, scale=0.8, seed=0):
    V, H, kinds = RBM_SIZES[kind]
    return scramble(RBM(in_shape=(pixels or V,), hidden=hidden or H, **kinds), scale, seed)


def numbers(rbm):
    return [p.detach().numpy() for p in (rbm.weight, rbm.visible_bias, rbm.hidden_bias)]


def variances(rbm):
    return np.exp(rbm.log_variance.detach().numpy()) if rbm.visible_units == "gaussian" else 1.0


def binary(n):
    """All 2^n states of n units."""
    return np.array(list(product([0.0, 1.0], repeat=n)))


def every_state(rbm):
    """States of either layer, -E of all pairs, and the logarithm of the weight of one pair in the sum or integral."""
    (W, b, c), K, log_weight = numbers(rbm), rbm.label_units, 0.0
    h, v = binary(len(c)) if rbm.hidden_units == "bernoulli" else None, None
    if h is None:
        h, log_weight = np.array(list(product(GRID, repeat=len(c)))), len(c) * log(0.25)
    if rbm.visible_units == "gaussian":
        v, log_weight = np.array(list(product(GRID, repeat=len(b)))), len(b) * log(0.25)
    elif K:
        v = np.array([[*x, *y] for x in binary(len(b) - K) for y in np.eye(K)])
    else:
        v = binary(len(b))
    own_v = -np.square(v - b) @ (0.5 / variances(rbm) * np.ones(len(b))) if rbm.visible_units == "gaussian" else v @ b
    own_h = h @ c - (np.square(h).sum(1) / 2 if rbm.hidden_units == "gaussian" else 0)
    return v, h, own_v[:, None] + own_h + (v / variances(rbm)) @ W.T @ h.T, log_weight


def log_z_of(rbm):
    _, _, minus_e, log_weight = every_state(rbm)
    return logsumexp(minus_e) + log_weight


def close(actual, expected, tolerance=1e-6):
    np.testing.assert_allclose(actual.detach().numpy(), expected, rtol=tolerance, atol=tolerance)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


# Exact log Z


@EVERY_KIND
def test_exact_log_z_is_the_sum_over_all_states(kind):
    rbm = machine(kind)
    estimate = log_partition(rbm)
    close(estimate.value, log_z_of(rbm))
    assert estimate.standard_error == 0
    assert estimate.interval == (estimate.value.item(), estimate.value.item())


@pytest.mark.parametrize("kind", ["bernoulli", "labels"])
@pytest.mark.parametrize(("pixels", "hidden"), [(3, 8), (8, 3), (5, 5), (4, 1), (1, 4)])
def test_exact_log_z_is_right_whichever_layer_is_the_smaller(kind, pixels, hidden):
    rbm = machine(kind, pixels=pixels, hidden=hidden)
    close(log_partition(rbm).value, log_z_of(rbm))


@pytest.mark.parametrize(("pixels", "hidden"), [(4, 9), (9, 4)])
def test_exact_log_z_by_way_of_the_hidden_units_is_that_by_way_of_the_visible_ones(pixels, hidden):
    rbm, swapped = (
        machine("bernoulli", pixels=pixels, hidden=hidden),
        machine("bernoulli", pixels=hidden, hidden=pixels),
    )
    with torch.no_grad():
        swapped.weight.copy_(rbm.weight.t())
        swapped.visible_bias.copy_(rbm.hidden_bias)
        swapped.hidden_bias.copy_(rbm.visible_bias)
    v, h = torch.tensor(binary(pixels)), torch.tensor(binary(hidden))
    by_visible, by_hidden = (-rbm.free_energy(v)).logsumexp(0), (-rbm.free_energy_of_hidden(h)).logsumexp(0)
    for value in (by_visible, by_hidden, log_partition(rbm).value, log_partition(swapped).value):
        close(value, log_z_of(rbm), 1e-8)


@pytest.mark.parametrize(("pixels", "hidden"), [(14, 16), (16, 14)])
def test_exact_log_z_over_several_chunks_of_states(pixels, hidden):
    """Two machines side by side that know nothing of each other: log Z is the sum of theirs."""
    halves = [machine("bernoulli", pixels=pixels // 2, hidden=hidden // 2, seed=seed) for seed in (1, 2)]
    rbm = machine("bernoulli", pixels=pixels, hidden=hidden)
    with torch.no_grad():
        rbm.weight.copy_(torch.block_diag(*(half.weight for half in halves)))
        for name in ("visible_bias", "hidden_bias"):
            getattr(rbm, name).copy_(torch.cat([getattr(half, name) for half in halves]))
    assert 2 ** min(pixels, hidden) > CHUNK
    close(log_partition(rbm).value, sum(log_z_of(half) for half in halves))


@pytest.mark.parametrize("kind", ["gaussian", "learned variance"])
def test_exact_log_z_of_many_gaussian_units_is_that_of_a_mixture(kind):
    """Σ_h of the Gaussian integrals ∫ exp(-(v - b)²/2σ² + v·W'h/σ²) dv, by completing the square."""
    rbm = machine(kind, pixels=30, hidden=6, scale=0.4)
    (W, b, c), s2, h = numbers(rbm), variances(rbm), binary(6)
    centres = b + h @ W
    log_weights = h @ c + ((centres**2 - b**2) / (2 * s2)).sum(1)
    close(log_partition(rbm).value, logsumexp(log_weights) + np.log(2 * np.pi * s2 * np.ones(30)).sum() / 2)


def test_exact_log_z_of_many_gaussian_hidden_units():
    """Σ_v of the Gaussian integrals ∫ exp(h·(c + W v) - h²/2) dh."""
    rbm = machine("gaussian hidden", pixels=5, hidden=30, scale=0.4)
    (W, b, c), v = numbers(rbm), binary(5)
    expected = logsumexp(v @ b + np.square(c + v @ W.T).sum(1) / 2) + 15 * np.log(2 * np.pi)
    close(log_partition(rbm).value, expected)


@EVERY_KIND
def test_gradient_of_the_exact_log_likelihood_is_the_data_s_statistic_less_the_model_s(kind):
    torch.manual_seed(0)
    rbm, pixels = machine(kind), RBM_SIZES[kind][0]
    data = (
        torch.randint(2, (9, pixels)).double() if rbm.visible_units == "bernoulli" else torch.randn(9, pixels).double()
    )
    log_likelihood(rbm, data).mean().backward()

    v, h, minus_e, _ = every_state(rbm)
    (W, b, _), s2 = numbers(rbm), variances(rbm)

    def statistics(v, h, p):
        """Expectations of -dE by weight, visible bias, hidden bias and log variance under p(v, h)."""
        p_v = p.sum(1)
        own = (v - b) / s2 if rbm.visible_units == "gaussian" else v
        spread = (np.square(v - b) / 2 * p_v[:, None] - (p @ (h @ W)) * v).sum(0) / s2
        return np.einsum("vh,hj,vi->ji", p, h, v / s2), p_v @ own, p.sum(0) @ h, spread

    model = statistics(v, h, np.exp(minus_e - logsumexp(minus_e)))
    expected = [-part for part in model]
    for x in data.numpy():  # every one with the labels and hidden states it may have
        if rbm.visible_units == "gaussian":
            possible = x[None]
            log_p = h @ numbers(rbm)[2] + h @ W @ (x / s2)
        else:
            rows = np.flatnonzero((v[:, :pixels] == x).all(1))
            possible, log_p = v[rows], minus_e[rows]
        p = np.exp(log_p - logsumexp(log_p)).reshape(len(possible), -1)
        expected = [total + part / len(data) for total, part in zip(expected, statistics(possible, h, p), strict=True)]
    close(rbm.weight.grad, expected[0])
    close(rbm.visible_bias.grad, expected[1])
    close(rbm.hidden_bias.grad, expected[2])
    if kind == "learned variance":
        close(rbm.log_variance.grad, expected[3])


# Likelihood of an RBM


@pytest.mark.parametrize("kind", ["bernoulli", "labels", "gaussian hidden"])
def test_likelihood_of_all_pixels_is_the_enumerated_one_and_sums_to_1(kind):
    rbm = machine(kind)
    v, _, minus_e, log_weight = every_state(rbm)
    pixels = binary(RBM_SIZES[kind][0])
    log_p = logsumexp(minus_e, axis=1) + log_weight - log_z_of(rbm)
    expected = [logsumexp(log_p[(v[:, : pixels.shape[1]] == x).all(1)]) for x in pixels]
    actual = log_likelihood(rbm, torch.tensor(pixels))
    close(actual, expected)
    assert actual.exp().sum().item() == pytest.approx(1, abs=1e-8)


@pytest.mark.parametrize("kind", ["gaussian", "learned variance"])
def test_likelihood_of_gaussian_units_is_a_density(kind):
    rbm = machine(kind)
    (W, b, c), s2 = numbers(rbm), variances(rbm) * np.ones(2)
    h = binary(5)
    log_weights = h @ c + (((b + h @ W) ** 2 - b**2) / (2 * s2)).sum(1)
    weights = np.exp(log_weights - logsumexp(log_weights))
    v = np.array(list(product(GRID, repeat=2)))
    components = [multivariate_normal(b + state @ W, np.diag(s2)).pdf(v) for state in h]
    actual = log_likelihood(rbm, torch.tensor(v)).exp()
    np.testing.assert_allclose(actual.detach().numpy(), weights @ components, rtol=0, atol=1e-8)
    assert actual.sum().item() * 0.25**2 == pytest.approx(1, abs=1e-6)


def test_likelihood_takes_inputs_of_any_shape_and_a_log_z_worked_out_before():
    rbm = scramble(RBM(in_shape=(1, 2, 3), hidden=4))
    x = torch.randint(2, (5, 1, 2, 3)).double()
    plain = log_likelihood(rbm, x)
    assert plain.shape == (5,)
    torch.testing.assert_close(log_likelihood(rbm, x, log_z=log_partition(rbm).value), plain)
    torch.testing.assert_close(log_likelihood(rbm, x, log_z=0.0), plain + log_z_of(rbm))


# Annealed importance sampling


@pytest.fixture(scope="module")
def digits():
    """1797 x 64 zeros and ones."""
    return (torch.tensor(load_digits().data) > 7.5).double()


@pytest.fixture(scope="module")
def learned(digits):
    """64 visible and 20 hidden units, after 500 steps of contrastive divergence by hand; and its exact log Z."""
    torch.manual_seed(0)
    rbm = RBM(in_shape=(64,), hidden=20).double()
    with torch.no_grad():
        rbm.visible_bias.copy_(torch.logit(digits.mean(0).clamp(0.01, 0.99)))
        for _ in range(500):
            v0 = digits[torch.randint(len(digits), (100,))]
            h0 = rbm.hidden_mean(v0)
            vk = rbm.sample_visible((torch.rand_like(h0) < h0).double())
            hk = rbm.hidden_mean(vk)
            rbm.weight += 0.1 * (h0.t() @ v0 - hk.t() @ vk) / 100
            rbm.visible_bias += 0.1 * (v0 - vk).mean(0)
            rbm.hidden_bias += 0.1 * (h0 - hk).mean(0)
        assert rbm.weight.std() > 0.2  # it has learned something
        return rbm, log_partition(rbm).value.item()


def near(estimate, log_z):
    return abs(estimate.value.item() - log_z) < max(3 * estimate.standard_error, 0.5)


def test_exact_log_z_of_the_learned_machine_is_that_of_float32(learned):
    rbm, log_z = learned
    with torch.no_grad():
        h = torch.tensor(binary(10), dtype=torch.float)
        W, c = rbm.weight.float(), rbm.hidden_bias.float()
        total = [  # over the states of the first ten hidden units, one state of the last ten at a time
            (
                torch.nn.functional.softplus(h @ W[:10] + (rbm.visible_bias.float() + last @ W[10:])).sum(1)
                + h @ c[:10]
                + last @ c[10:]
            ).logsumexp(0)
            for last in h
        ]
    assert torch.stack(total).logsumexp(0).item() == pytest.approx(log_z, abs=1e-3)


@METHODS
@pytest.mark.parametrize("base", ["own biases", "data"])
def test_annealing_both_ways_finds_log_z_of_a_learned_machine(learned, digits, method, base):
    rbm, log_z = learned
    data = digits if base == "data" else None
    estimate = log_partition(rbm, method, data=data, burn_in=500, generator=generator())
    assert near(estimate, log_z)
    assert 0 < estimate.standard_error < 0.5
    low, high = estimate.interval
    assert low < log_z < high


def test_annealing_in_few_steps_errs_to_below_and_back_to_above(learned):
    rbm, log_z = learned
    chance = generator()

    def average(method):
        options = {"chains": 2, "temperatures": 3, "burn_in": 50, "generator": chance}
        return np.mean([log_partition(rbm, method, **options).value.item() for _ in range(30)])

    assert average("ais") < log_z - 0.3
    assert average("reverse_ais") > log_z + 0.3


@METHODS
@ANNEALED
@pytest.mark.parametrize("base", ["own biases", "data"])
def test_annealing_both_ways_finds_the_enumerated_log_z(kind, method, base):
    rbm, pixels = machine(kind), RBM_SIZES[kind][0]
    data = torch.rand(30, 1, pixels, generator=generator(1)).double() if base == "data" else None
    estimate = log_partition(rbm, method, chains=500, temperatures=200, burn_in=50, data=data, generator=generator())
    log_z = log_z_of(rbm)
    assert abs(estimate.value.item() - log_z) < 4 * estimate.standard_error
    assert estimate.standard_error < 0.05
    low, high = estimate.interval
    assert low - estimate.standard_error < log_z < high + estimate.standard_error


@METHODS
@ANNEALED
@pytest.mark.parametrize("base", ["own biases", "data"])
def test_annealing_in_one_step_is_importance_sampling_without_bias(kind, method, base):
    """No chain moves then: the mean weight is Z_B / Z_A, or its inverse, from samples of the one or of the other."""
    rbm, pixels = machine(kind, scale=0.3), RBM_SIZES[kind][0]
    data = torch.rand(30, pixels, generator=generator(1)).double() if base == "data" else None
    options = {"chains": 40_000, "temperatures": 1, "burn_in": 20, "data": data, "generator": generator()}
    estimate = log_partition(rbm, method, **options)
    assert abs(estimate.value.item() - log_z_of(rbm)) < 4 * estimate.standard_error
    assert estimate.standard_error < 0.05


@METHODS
def test_a_mode_that_the_rates_cannot_see_is_found_from_fair_coins(method):
    """24 units that are off or, by a hidden unit that nothing near 0 turns on, all on: so mostly."""
    rbm = RBM(in_shape=(24,), hidden=2).double()
    with torch.no_grad():
        rbm.weight.copy_(torch.tensor([8.0, 0.0])[:, None].expand(2, 24))
        rbm.hidden_bias.copy_(torch.tensor([-93.0, 0.0]))
        rbm.visible_bias.fill_(-4.0)
    log_z = log_partition(rbm).value.item()
    off = 24 * np.log1p(np.exp(-4.0)) + np.log(2.0)  # log Z of the states with that unit off
    assert log_z > off + 2
    options = {"chains": 200, "temperatures": 1000, "burn_in": 300}
    blind = log_partition(rbm, method, coins=False, generator=generator(), **options)
    assert blind.value.item() == pytest.approx(off, abs=0.1)
    seen = log_partition(rbm, method, generator=generator(), **options).value.item()
    assert log_z - np.log(2) - 0.5 < seen < log_z + 0.3  # half of the chains are as blind as before


def test_hidden_units_at_the_rates_of_the_data_make_the_walk_to_a_sparse_machine_an_easy_one():
    """300 hidden units, each for three pixels of 14 and against the others, on once in 45 times. Were half of them on
    at first, their sum would turn the pixels off: then the standard error is 0.7."""
    rbm = RBM(in_shape=(14,), hidden=300).double()
    with torch.no_grad():
        three = torch.rand(300, 14, generator=generator()).argsort(dim=1) < 3
        rbm.weight.copy_(torch.where(three, 4.0, -3.0))
        rbm.hidden_bias.fill_(-8.0)
        rbm.visible_bias.zero_()
        v = torch.tensor(binary(14))
        log_p = log_likelihood(rbm, v)
        data = v[torch.multinomial(log_p.exp(), 1000, replacement=True, generator=generator(1))]
    estimate = log_partition(rbm, "ais", chains=50, temperatures=300, data=data, coins=False, generator=generator())
    assert estimate.value.item() == pytest.approx(log_partition(rbm).value.item(), abs=0.1)
    assert estimate.standard_error < 0.05


@METHODS
def test_annealing_is_exact_where_the_weights_are_zero(method):
    """The base-rate model of the machine's own biases is then the machine, but for the hidden units' share."""
    rbm = machine("labels")
    with torch.no_grad():
        rbm.weight.zero_()
        rbm.hidden_bias.zero_()
    estimate = log_partition(rbm, method, chains=3, temperatures=5, burn_in=2, coins=False)
    assert estimate.value.item() == pytest.approx(log_z_of(rbm), abs=1e-8)
    assert estimate.standard_error < 1e-8


@METHODS
@ANNEALED
def test_the_standard_error_is_the_spread_over_repetitions(kind, method):
    rbm = machine(kind)
    chance = generator()
    estimates = [
        log_partition(rbm, method, chains=200, temperatures=15, burn_in=20, generator=chance) for _ in range(60)
    ]
    spread = torch.stack([estimate.value for estimate in estimates]).std().item()
    assert np.mean([estimate.standard_error for estimate in estimates]) == pytest.approx(spread, rel=0.35)


@METHODS
@ANNEALED
def test_the_same_seed_gives_the_same_estimate(kind, method):
    rbm = machine(kind)

    def estimate(seed):
        options = {"chains": 20, "temperatures": 20, "burn_in": 10, "generator": generator(seed)}
        return log_partition(rbm, method, **options).value.item()

    torch.manual_seed(1)
    one = estimate(0)
    torch.manual_seed(2)
    assert estimate(0) == one
    assert estimate(1) != one


def test_interval_is_three_standard_errors_of_the_mean_weight():
    low, high = Estimate(torch.tensor(10.0), 0.1).interval
    assert low == pytest.approx(10 + log(0.7))
    assert high == pytest.approx(10 + log(1.3))
    assert Estimate(torch.tensor(10.0), 0.4).interval == pytest.approx((-inf, 10 + log(2.2)))
    with pytest.raises(FrozenInstanceError):
        Estimate(torch.tensor(10.0), 0.4).value = 3


def test_interval_of_the_walk_down_is_open_to_above():
    """Its weights average to Z_A / Z: where their mean may be nothing, Z may be anything from some value on."""
    rbm = machine("bernoulli", scale=5)
    options = {"chains": 5, "temperatures": 2, "burn_in": 20, "generator": generator()}
    estimate = log_partition(rbm, "reverse_ais", **options)
    assert 3 * estimate.standard_error > 1
    low, high = estimate.interval
    assert high == inf
    assert low == pytest.approx(estimate.value.item() - log(1 + 3 * estimate.standard_error))


@METHODS
def test_no_gradient_flows_through_an_annealed_estimate(method):
    assert not log_partition(machine("bernoulli"), method, chains=5, temperatures=5, burn_in=5).value.requires_grad


# Deep belief networks


def stack(*, pixels=4, hidden=(3, 3), scale=0.8, seed=0, log_variance=None, **options):
    net = scramble(DBN(in_shape=(pixels,), hidden=hidden, **{"num_classes": None, **options}), scale, seed)
    if log_variance is not None:
        net.layers[0].log_variance.copy_(torch.tensor(log_variance))
    return net


def log_bernoulli(v, inputs):
    """log p(v) of every v given every row of the inputs of its units."""
    return v @ log_expit(inputs).T + (1 - v) @ log_expit(-inputs).T


def enumerated_log_p(net, v):
    """log p(v), all hidden layers and labels summed out."""
    top = net.layers[-1]
    (W, b, c), K = numbers(top), top.label_units
    below, h = binary(len(b) - K), binary(len(c))
    labels = np.eye(K) if K else np.zeros((1, 0))
    states = np.array([[*x, *y] for x in below for y in labels])
    minus_e = (states @ b)[:, None] + h @ c + states @ W.T @ h.T
    log_p = logsumexp(logsumexp(minus_e, axis=1).reshape(len(below), -1), axis=1) - logsumexp(minus_e)
    for k in reversed(range(len(net.layers) - 1)):
        W, b, _ = numbers(net.layers[k])
        inputs, x = b + binary(len(W)) @ W, binary(len(b)) if k else v
        if net.layers[k].visible_units == "gaussian":
            s2 = variances(net.layers[k])
            given = -(np.square(x[:, None] - inputs) / s2 + np.log(2 * np.pi * s2)).sum(2) / 2
        else:
            given = log_bernoulli(x, inputs)
        log_p = logsumexp(given + log_p, axis=1)
    return log_p


STACKS = {
    "two layers": {},
    "three layers": {"hidden": (3, 4, 2), "scale": 0.4},
    "label units": {"num_classes": 3, "label_units": True},
    "head": {"num_classes": 3},
    "gaussian": {"pixels": 2, "visible_units": "gaussian", "log_variance": [0.3, -0.6]},
    "untied": {},
    "three layers untied": {"hidden": (3, 4, 2), "scale": 0.4},
}
EVERY_STACK = pytest.mark.parametrize("kind", STACKS)


def stack_and_inputs(kind):
    net = stack(**STACKS[kind])
    if "untied" in kind:
        net.untie()
        with torch.no_grad():
            for p in net.recognition.parameters():
                p += 0.3 * torch.randn(p.shape, generator=generator(), dtype=torch.double)
    v = binary(4) if kind != "gaussian" else np.random.default_rng(0).normal(size=(16, 2)) * 1.5
    return net, v


@EVERY_STACK
def test_bound_of_a_stack_lies_below_the_enumerated_likelihood_and_comes_near_it(kind):
    net, v = stack_and_inputs(kind)
    expected = enumerated_log_p(net, v)
    if kind != "gaussian":
        assert np.exp(expected).sum() == pytest.approx(1)
    with torch.no_grad():
        many = log_likelihood(net, torch.tensor(v), samples=2000, generator=generator()).numpy()
        assert np.abs(many - expected).max() < 0.15
        assert np.abs(many - expected).mean() < 0.05

        repeated, bounds = torch.tensor(v).repeat(400, 1), []
        for samples in (1, 5):
            bound = log_likelihood(net, repeated, samples=samples, generator=generator())
            bounds.append(bound.unflatten(0, (400, 16)).mean(0).numpy())
    assert bounds[0].mean() < bounds[1].mean() < expected.mean()
    assert bounds[0].mean() < expected.mean() - 0.01  # there is something to be near


@EVERY_STACK
def test_mean_weight_of_single_draws_is_the_likelihood_without_bias(kind):
    net, v = stack_and_inputs(kind)
    n = 4000
    with torch.no_grad():
        weights = log_likelihood(net, torch.tensor(v).repeat(n, 1), samples=1, generator=generator())
    weights = weights.exp().unflatten(0, (n, 16)).numpy()
    error = np.abs(weights.mean(0) - np.exp(enumerated_log_p(net, v)))
    assert (error < 4.5 * weights.std(0) / n**0.5).all()


def test_bound_by_one_draw_averages_to_the_enumerated_variational_bound():
    """Σ_h q(h|v) [log p(v|h) + log p(h) - log q(h|v)]."""
    net, v = stack(), binary(4)
    W, b, c = numbers(net.layers[0])
    h = binary(3)
    below = stack(seed=0).top
    _, _, minus_e, _ = every_state(below)
    log_prior = logsumexp(minus_e, axis=1) - logsumexp(minus_e)
    log_q = log_bernoulli(h, c + v @ W.T).T  # v x h
    expected = (np.exp(log_q) * (log_bernoulli(v, b + h @ W) + log_prior - log_q)).sum(1)
    with torch.no_grad():
        draws = log_likelihood(net, torch.tensor(v).repeat(2000, 1), samples=1, generator=generator())
    draws = draws.unflatten(0, (2000, 16)).numpy()
    assert (np.abs(draws.mean(0) - expected) < 4.5 * draws.std(0) / 2000**0.5).all()


@pytest.mark.parametrize("options", [{}, {"num_classes": 3, "label_units": True}])
def test_likelihood_of_a_stack_of_one_is_that_of_its_machine(options):
    net, v = stack(hidden=(3,), **options), binary(4)
    close(log_likelihood(net, torch.tensor(v), samples=1), enumerated_log_p(net, v))


def test_likelihood_of_a_stack_takes_the_log_z_of_its_top():
    net, v = stack(), torch.tensor(binary(4))
    exact = log_likelihood(net, v, generator=generator())
    by_hand = log_likelihood(net, v, log_z=log_z_of(net.top), generator=generator())
    torch.testing.assert_close(by_hand, exact)
    torch.testing.assert_close(log_likelihood(net, v, log_z=0.0, generator=generator()), exact + log_z_of(net.top))


def test_bound_stays_true_where_float32_takes_a_probability_for_1():
    """All weights 0 and a pixel that is on but for one time in e^30: log p(off) is -30, beyond what 1 - p can say."""
    net = DBN(in_shape=(1,), hidden=(1, 1), num_classes=None)
    with torch.no_grad():
        for p in net.parameters():
            p.zero_()
        for bias in (30.0, 200.0):
            net.layers[0].visible_bias.fill_(bias)
            off = log_likelihood(net, torch.zeros(1, 1), generator=generator())
            assert off.item() == pytest.approx(-bias, rel=1e-3)


# What is refused, and zeros and ones


def test_an_unknown_method_is_refused():
    with pytest.raises(ValueError, match="method=guess: choose one of: exact, ais, reverse_ais"):
        log_partition(machine("bernoulli"), "guess")


@pytest.mark.parametrize(
    "rbm",
    [
        RBM(in_shape=(26,), hidden=26),
        RBM(in_shape=(2,), hidden=26, visible_units="gaussian"),
        RBM(in_shape=(30,), hidden=27, label_units=3),
    ],
)
def test_exact_log_z_of_a_large_machine_is_refused_with_a_way_out(rbm):
    with pytest.raises(ValueError, match=r"26|27") as error:
        log_partition(rbm)
    assert "method='ais'" in str(error.value)
    with pytest.raises(ValueError, match="method='ais'"):
        log_likelihood(rbm, torch.zeros(2, rbm.in_shape[0]))


def test_exact_log_z_of_many_pixels_under_gaussian_hidden_units_is_refused():
    with pytest.raises(ValueError, match="26 bernoulli visible and 2 gaussian hidden"):
        log_partition(RBM(in_shape=(26,), hidden=2, hidden_units="gaussian"))


@METHODS
def test_annealing_of_gaussian_hidden_units_is_refused(method):
    with pytest.raises(ValueError, match=f"method={method} is for Bernoulli hidden units"):
        log_partition(machine("gaussian hidden"), method)


@METHODS
@pytest.mark.parametrize("options", [{"chains": 1}, {"temperatures": 0}])
def test_annealing_of_too_few_is_refused(method, options):
    with pytest.raises(ValueError, match="must be >= "):
        log_partition(machine("bernoulli"), method, **options)


@pytest.mark.parametrize("model", [machine("bernoulli", pixels=4), machine("labels"), stack()])
def test_likelihood_of_grey_pixels_is_refused(model):
    with pytest.raises(ValueError, match="binarize the data first"):
        log_likelihood(model, torch.full((2, 4), 0.5).double())


def test_binarize_draws_zeros_and_ones_with_the_values_for_probabilities_the_same_every_time():
    x = torch.tensor([0.0, 0.1, 0.5, 0.9, 1.0]).expand(20_000, 1, 5)
    torch.manual_seed(1)
    drawn = binarize(x)
    torch.manual_seed(2)
    assert torch.equal(binarize(x), drawn)
    assert not torch.equal(binarize(x, seed=1), drawn)
    assert drawn.shape == x.shape
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    assert ((drawn.mean(dim=(0, 1)) - x[0, 0]).abs() <= 0.015 * (x[0, 0] * (1 - x[0, 0])).sqrt() * 2).all()
    assert torch.equal(binarize(drawn), drawn)


def test_hidden_states_of_the_bound_come_from_the_recognition_conditionals():
    """Recognition that is certain of h where the net is certain of it too: the bound is exact with one draw."""
    net = stack(hidden=(4, 2))
    with torch.no_grad():
        net.layers[0].weight.copy_(torch.eye(4) * 60)
        net.layers[0].visible_bias.fill_(-30)
        net.layers[0].hidden_bias.fill_(-30)
    v = binary(4)
    close(log_likelihood(net, torch.tensor(v), samples=1), enumerated_log_p(net, v), 1e-5)
    close(net.encode(torch.tensor(v), 1), expit(60 * v - 30))
