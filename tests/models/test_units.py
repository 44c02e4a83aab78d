"""Kinds of units against sums over all their states, and integrals over a grid, of their energy."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.special import logsumexp

from zoo.models import units
from zoo.models.rbm import RBM
from zoo.models.units import Bernoulli, Gaussian, ScaledGaussian, Softmax, WithLabels, bernoulli

GRID = np.arange(-20, 20, 0.1)
VARIANCE = torch.tensor([0.5, 2.0], dtype=torch.double)
KINDS = {  # the units, and how many of them
    "bernoulli": (Bernoulli(), 4),
    "gaussian": (Gaussian(), 2),
    "scaled gaussian": (ScaledGaussian(SimpleNamespace(log_variance=VARIANCE.log())), 2),
    "softmax": (Softmax(), 3),
    "with labels": (WithLabels(3), 5),
}
EVERY_KIND = pytest.mark.parametrize("kind", KINDS)
DISCRETE = pytest.mark.parametrize("kind", ["bernoulli", "softmax", "with labels"])


def binary(n):
    """All 2^n states of n units."""
    return (np.arange(2**n)[:, None] >> np.arange(n) & 1).astype(float)


def states(kind):
    """All states of the units, S x U, and the logarithm of the weight of each in a sum or an integral."""
    _, n = KINDS[kind]
    if kind == "bernoulli":
        return binary(n), 0.0
    if kind == "softmax":
        return np.eye(n), 0.0
    if kind == "with labels":
        return np.array([[*u, *y] for u in binary(n - 3) for y in np.eye(3)]), 0.0
    first, second = np.meshgrid(GRID, GRID, indexing="ij")
    return np.stack([first.flatten(), second.flatten()], axis=1), 2 * np.log(0.1)


def given(kind):
    """Units, inputs a (N x U) and bias (U)."""
    units, n = KINDS[kind]
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(3, n, generator=generator, dtype=torch.double) * 1.5
    bias = torch.randn(n, generator=generator, dtype=torch.double)
    return units, a, bias


def exponents(kind):
    """signal(u)·(a - bias) - energy(u, bias) of every state, with its weight in the sum: N x S."""
    units, a, bias = given(kind)
    u, log_weight = states(kind)
    u = torch.tensor(u)
    inner = (a - bias) @ units.signal(u).t() - units.energy(u, bias)
    return u.numpy(), inner.numpy() + log_weight


def close(actual, expected, tolerance=1e-9):
    np.testing.assert_allclose(actual.numpy(), expected, rtol=tolerance, atol=tolerance)


@EVERY_KIND
def test_log_sum_is_the_sum_over_all_states(kind):
    units, a, bias = given(kind)
    _, terms = exponents(kind)
    close(units.log_sum(a, bias).sum(dim=1), logsumexp(terms, axis=1))


@EVERY_KIND
def test_mean_is_the_mean_of_all_states(kind):
    units, a, _ = given(kind)
    u, terms = exponents(kind)
    close(units.mean(a), np.exp(terms - logsumexp(terms, axis=1, keepdims=True)) @ u)


@EVERY_KIND
def test_log_prob_is_the_term_of_the_state_less_the_sum(kind):
    units, a, _ = given(kind)
    u, terms = exponents(kind)
    _, log_weight = states(kind)
    picked = np.random.default_rng(0).permutation(len(u))[:3]
    expected = terms[np.arange(3), picked] - log_weight - logsumexp(terms, axis=1)
    close(units.log_prob(torch.tensor(u[picked]), a), expected, 1e-7)


@EVERY_KIND
def test_samples_have_the_mean_and_covariance_of_all_states(kind):
    units, a, _ = given(kind)
    u, terms = exponents(kind)
    p = np.exp(terms[0] - logsumexp(terms[0]))
    n = 100_000
    torch.manual_seed(0)
    samples = units.sample(a[:1].expand(n, -1)).numpy()
    assert samples.dtype == np.float64
    mean, second = p @ u, (u.T * p) @ u
    products = samples[:, :, None] * samples[:, None]
    assert (np.abs(samples.mean(0) - mean) <= 4.5 * samples.std(0) / n**0.5).all()
    assert (np.abs(products.mean(0) - second) <= 4.5 * products.std(0) / n**0.5 + 1e-12).all()


@DISCRETE
def test_samples_are_states(kind):
    units, a, _ = given(kind)
    torch.manual_seed(0)
    allowed = set(map(tuple, states(kind)[0]))
    assert set(map(tuple, units.sample(a.repeat(1000, 1)).numpy())) == allowed


@EVERY_KIND
def test_a_generator_decides_the_samples_and_leaves_the_global_one_alone(kind):
    units, a, _ = given(kind)
    before = torch.get_rng_state()
    first = units.sample(a, generator=torch.Generator().manual_seed(5))
    again = units.sample(a, generator=torch.Generator().manual_seed(5))
    assert torch.equal(first, again)
    assert torch.equal(torch.get_rng_state(), before)


@EVERY_KIND
def test_a_draw_from_the_means_is_the_sample(kind):
    units, a, _ = given(kind)
    sample = units.sample(a, generator=torch.Generator().manual_seed(5))
    assert torch.equal(units.draw(units.mean(a), generator=torch.Generator().manual_seed(5)), sample)


@EVERY_KIND
def test_noise_has_the_shape_type_and_range_of_states(kind):
    units, a, bias = given(kind)
    torch.manual_seed(0)
    noise = units.noise(500, bias)
    assert noise.shape == (500, a.shape[1])
    assert noise.dtype == torch.double
    if units.binary:
        assert set(map(tuple, noise.numpy())) == set(map(tuple, states(kind)[0]))
    else:
        variance = VARIANCE if kind == "scaled gaussian" else torch.ones(2)
        assert ((noise.mean(0) - bias).abs() < 4 * (variance / 500).sqrt()).all()
        assert (noise.var(0) / variance).sub(1).abs().max() < 0.3


@EVERY_KIND
def test_binary_says_whether_states_are_zeros_and_ones(kind):
    assert KINDS[kind][0].binary == (set(np.unique(states(kind)[0])) == {0.0, 1.0})


def test_a_scaled_gaussian_sees_the_variance_that_its_owner_has_now():
    owner = SimpleNamespace(log_variance=torch.zeros(2, dtype=torch.double))
    units, u = ScaledGaussian(owner), torch.ones(1, 2, dtype=torch.double)
    assert units.signal(u).tolist() == [[1, 1]]
    owner.log_variance = torch.tensor([4.0, 0.25], dtype=torch.double).log()
    torch.testing.assert_close(units.signal(u), torch.tensor([[0.25, 4]], dtype=torch.double))


def test_energies_of_bernoulli_units_are_not_rounded_under_autocast():
    """bfloat16 has three digits: of a sum of some hundreds it would lose the ones."""
    u, bias = torch.ones(1, 1000), torch.full((1000,), 0.3171)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        energy = Bernoulli().energy(u.to(torch.bfloat16), bias)
        log_sum = Bernoulli().log_sum(torch.zeros(1, 3, dtype=torch.bfloat16), bias)
    assert energy.item() == pytest.approx(-317.1, abs=1e-3)
    assert log_sum.dtype == torch.float32
    assert log_sum[0, 0].item() == pytest.approx(np.log(2), abs=1e-6)


def test_bernoulli_draws_ones_as_often_as_its_probability_says():
    torch.manual_seed(0)
    p = torch.tensor([0.0, 0.2, 0.7, 1.0]).expand(20_000, 4)
    drawn = bernoulli(p)
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(drawn.mean(dim=0), p[0], rtol=0, atol=0.015)


def test_a_kind_that_is_added_to_the_table_is_available_to_rbms(monkeypatch):
    class Copy(Bernoulli):
        pass

    monkeypatch.setitem(units.KINDS, "copy", units.Kind(visible=Copy, hidden=Copy, activation="hardsigmoid"))
    net = RBM(in_shape=(4,), hidden=3, visible_units="copy", hidden_units="copy")
    assert type(net.visible) is Copy
    assert type(net.hidden) is Copy
    net.reconstruct(torch.rand(2, 4))
    with pytest.raises(ValueError, match="choose one of: bernoulli, gaussian, copy"):
        RBM(visible_units="other")
