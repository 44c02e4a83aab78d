"""The RBM against enumeration of all its states from E(v, h), against long Gibbs sampling and scikit-learn's."""

from itertools import product

import numpy as np
import pytest
import torch
from enumeration import binary, close, p_value
from scipy.special import expit, log_softmax, logsumexp
from sklearn.neural_network import BernoulliRBM
from support import GRID, RBM_SIZES

from zoo.models import RBM
from zoo.models.units import bernoulli

EVERY_KIND = pytest.mark.parametrize("kind", RBM_SIZES)
BINARY = pytest.mark.parametrize("kind", ["bernoulli", "labels"])


def machine(kind, *, pixels=None, hidden=None, scale=0.8, seed=0):
    """An RBM in double precision, every parameter of it drawn from a normal distribution."""
    V, H, kinds = RBM_SIZES[kind]
    net = RBM(in_shape=(pixels or V,), hidden=hidden or H, **kinds).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn(p.shape, generator=generator, dtype=torch.double) * scale)
        if kind == "learned variance":
            net.log_variance.mul_(0.7)
    return net


def visible_states(net):
    """All states of the visible units and the logarithm of the weight of each in a sum or an integral."""
    if net.visible_units == "gaussian":
        states = np.array(list(product(GRID, repeat=net.weight.shape[1])))
        return states, states.shape[1] * np.log(0.25)
    pixels, labels = binary(net.weight.shape[1] - net.label_units), np.eye(net.label_units)
    if not net.label_units:
        return pixels, 0.0
    return np.array([[*v, *y] for v in pixels for y in labels]), 0.0


def hidden_states(net):
    if net.hidden_units == "gaussian":
        states = np.array(list(product(GRID, repeat=len(net.weight))))
        return states, states.shape[1] * np.log(0.25)
    return binary(len(net.weight)), 0.0


def energies(net, v, h):
    """E(v, h) of every v with every h."""
    W, b, c = (p.detach().numpy() for p in (net.weight, net.visible_bias, net.hidden_bias))
    own_h = h @ c - (np.square(h).sum(1) / 2 if net.hidden_units == "gaussian" else 0)
    if net.visible_units == "gaussian":
        variance = np.exp(net.log_variance.detach().numpy())
        return np.square((v - b) / np.sqrt(2 * variance)).sum(1)[:, None] - own_h - (v / variance) @ W.T @ h.T
    return -(v @ b)[:, None] - own_h - v @ W.T @ h.T


def enumerated(net):
    """States v and h, log of the weight of each, and E(v, h) of all pairs."""
    (v, log_dv), (h, log_dh) = visible_states(net), hidden_states(net)
    return v, log_dv, h, log_dh, energies(net, v, h)


def probabilities(net):
    """States v and p(v), for visible units that are zeros and ones."""
    v, _, _, log_dh, E = enumerated(net)
    log_p = logsumexp(-E, axis=1) + log_dh
    return v, np.exp(log_p - logsumexp(log_p))


def few(states, n=40):
    """Some of the states, those of a grid from its middle."""
    states = states[np.abs(states).max(axis=1) < 4]
    return states[np.random.default_rng(0).permutation(len(states))[:n]]


# Energies and conditionals


@EVERY_KIND
def test_energy_equals_the_formula(kind):
    net = machine(kind)
    v, h = few(visible_states(net)[0]), few(hidden_states(net)[0])
    pairs = [(i, j) for i in range(len(v)) for j in range(len(h))]
    left, right = torch.tensor(v[[i for i, _ in pairs]]), torch.tensor(h[[j for _, j in pairs]])
    close(net.energy(left, right), energies(net, v, h).flatten(), 1e-12)


def test_energy_of_two_units_worked_out_by_hand():
    def net(**kinds):
        rbm = RBM(in_shape=(1,), hidden=1, **kinds).double()
        with torch.no_grad():
            for p, value in ((rbm.weight, 2.0), (rbm.visible_bias, 3.0), (rbm.hidden_bias, 5.0)):
                p.fill_(value)
            if kinds.get("learn_variance"):
                rbm.log_variance.fill_(np.log(4.0))
        return rbm

    one, half = torch.ones(1, 1, dtype=torch.double), torch.full((1, 1), 0.5, dtype=torch.double)
    assert net().energy(one, one).item() == -3 - 5 - 2
    assert net(hidden_units="gaussian").energy(one, half).item() == -3 - 2.5 - 1 + 0.125
    assert net(visible_units="gaussian").energy(half, one).item() == 6.25 / 2 - 5 - 1
    of_variance_4 = net(visible_units="gaussian", learn_variance=True).energy(half, one).item()
    assert of_variance_4 == pytest.approx(6.25 / 8 - 5 - 0.25, abs=1e-12)


@EVERY_KIND
def test_free_energy_sums_the_hidden_states_out(kind):
    net = machine(kind)
    h, log_dh = hidden_states(net)
    v = few(visible_states(net)[0])
    close(net.free_energy(torch.tensor(v)), -logsumexp(-energies(net, v, h), axis=1) - log_dh)


@EVERY_KIND
def test_free_energy_of_hidden_sums_the_visible_states_out(kind):
    net = machine(kind)
    v, log_dv = visible_states(net)
    h = few(hidden_states(net)[0])
    close(net.free_energy_of_hidden(torch.tensor(h)), -logsumexp(-energies(net, v, h), axis=0) - log_dv)


@EVERY_KIND
def test_hidden_mean_is_the_mean_of_all_hidden_states_given_v(kind):
    net = machine(kind)
    h, _ = hidden_states(net)
    v = few(visible_states(net)[0])
    E = energies(net, v, h)
    p = np.exp(-E - logsumexp(-E, axis=1, keepdims=True))
    close(net.hidden_mean(torch.tensor(v)), p @ h)


@EVERY_KIND
def test_visible_mean_is_the_mean_of_all_visible_states_given_h(kind):
    net = machine(kind)
    v, _ = visible_states(net)
    h = few(hidden_states(net)[0])
    E = energies(net, v, h)
    p = np.exp(-E - logsumexp(-E, axis=0))
    close(net.visible_mean(torch.tensor(h)), p.T @ v)


@EVERY_KIND
def test_a_hidden_input_or_mean_given_saves_only_the_computing_of_it(kind):
    net = machine(kind)
    v = torch.tensor(few(visible_states(net)[0]))
    a = net.hidden_input(v)
    assert torch.equal(net.hidden_mean(v, hidden_input=a), net.hidden_mean(v))
    assert torch.equal(net.free_energy(v, hidden_input=a), net.free_energy(v))
    torch.manual_seed(0)
    h = net.sample_hidden(v)
    torch.manual_seed(0)
    assert torch.equal(net.sample_hidden(v, hidden_mean=net.hidden_mean(v)), h)


@pytest.mark.parametrize("kind", ["gaussian", "learned variance"])
def test_gaussian_visible_units_are_a_mixture_of_gaussians(kind):
    """In more dimensions than can be integrated over: the weights of 2^H components, each about b + W'h."""
    net = machine(kind, pixels=6, hidden=4)
    W, b, c = (p.detach().numpy() for p in (net.weight, net.visible_bias, net.hidden_bias))
    variance = np.exp(net.log_variance.detach().numpy())
    h, v = binary(4), np.random.default_rng(0).normal(size=(30, 6))
    centres = b + h @ W
    log_weights = h @ c + ((centres**2 - b**2) / (2 * variance)).sum(1)  # of the components, not normalised
    log_density = -(np.square(v[:, None] - centres) / variance + np.log(2 * np.pi * variance)).sum(2) / 2
    expected = logsumexp(log_weights - logsumexp(log_weights) + log_density, axis=1)
    log_z = logsumexp(log_weights) + np.log(2 * np.pi * variance).sum() / 2
    close(-net.free_energy(torch.tensor(v)) - log_z, expected, 1e-8)


@pytest.mark.parametrize("kind", ["gaussian", "learned variance"])
def test_samples_of_gaussian_visible_units_have_the_mean_and_variance(kind):
    torch.manual_seed(0)
    net, n = machine(kind, pixels=3), 100_000
    h = torch.tensor([[1.0, 0, 1, 1, 0]], dtype=torch.double)
    v = net.sample_visible(h.expand(n, -1)).detach()
    variance = net.log_variance.detach().exp()
    assert ((v.mean(0) - net.visible_mean(h)[0]).abs() < 4 * (variance / n).sqrt()).all()
    assert ((v.var(0) / variance - 1).abs() < 4 * (2 / n) ** 0.5).all()
    assert (torch.corrcoef(v.t()) - torch.eye(3)).abs().max() < 4 * n**-0.5


def test_samples_of_gaussian_hidden_units_have_the_mean_and_variance_1():
    torch.manual_seed(0)
    net, n = machine("gaussian hidden"), 100_000
    v = torch.tensor([[1.0, 0, 1, 1, 0]], dtype=torch.double)
    h = net.sample_hidden(v.expand(n, -1)).detach()
    assert ((h.mean(0) - net.hidden_mean(v)[0]).abs() < 4 * n**-0.5).all()
    assert ((h.var(0) - 1).abs() < 4 * (2 / n) ** 0.5).all()


@BINARY
def test_samples_of_either_layer_given_the_other_are_of_the_enumerated_conditional(kind):
    torch.manual_seed(0)
    net, n = machine(kind, pixels=4, hidden=3), 20_000
    (v, _), (h, _) = visible_states(net), hidden_states(net)
    joint = np.exp(-energies(net, v, h))
    samples = net.sample_visible(torch.tensor(h[[5]]).expand(n, -1))
    assert p_value(samples, v, joint[:, 5]) > 1e-4
    samples = net.sample_hidden(torch.tensor(v[[9]]).expand(n, -1))
    assert p_value(samples, h, joint[9]) > 1e-4


# Gibbs sampling


@BINARY
def test_long_gibbs_sampling_reproduces_the_enumerated_distribution(kind):
    torch.manual_seed(0)
    net = machine(kind, pixels=4, hidden=3, scale=1.0)
    with torch.no_grad():
        samples = net.gibbs(net.noise(20_000), 50)
    states, p = probabilities(net)
    assert p_value(samples, states, p) > 1e-4

    other = machine(kind, pixels=4, hidden=3, scale=1.0)
    with torch.no_grad():
        other.weight *= 0.8
    assert p_value(samples, *probabilities(other)) < 1e-6  # the test can tell a slightly different machine


@pytest.mark.parametrize("label", [0, 2])
def test_gibbs_sampling_with_labels_held_reproduces_the_conditional_distribution(label):
    torch.manual_seed(0)
    net, n = machine("labels", pixels=4, hidden=3, scale=1.0), 20_000
    with torch.no_grad():
        samples = net.gibbs(net.noise(n), 50, labels=torch.full((n,), label))
    states, p = probabilities(net)
    assert (samples[:, 4 + label] == 1).all()
    assert (samples[:, 4:].sum(1) == 1).all()
    given = states[:, 4 + label] == 1
    assert p_value(samples[:, :4], states[given][:, :4], p[given]) > 1e-4
    another = states[:, 4 + 1] == 1
    assert p_value(samples[:, :4], states[another][:, :4], p[another]) < 1e-6


@pytest.mark.parametrize("kind", ["gaussian", "learned variance"])
def test_gibbs_sampling_of_gaussian_units_has_the_moments_of_the_mixture(kind):
    torch.manual_seed(0)
    net, n = machine(kind), 40_000
    with torch.no_grad():
        samples = net.gibbs(net.noise(n), 50).numpy()
    v, _, _, _, E = enumerated(net)
    log_p = logsumexp(-E, axis=1)
    p = np.exp(log_p - logsumexp(log_p))
    mean, second = p @ v, (v.T * p) @ v
    assert (np.abs(samples.mean(0) - mean) < 4 * samples.std(0) / n**0.5).all()
    products = samples[:, :, None] * samples[:, None]
    assert (np.abs(products.mean(0) - second) < 4 * products.std(0) / n**0.5).all()


@pytest.mark.parametrize("label", [None, 1])
def test_sample_gives_means_of_pixels_that_when_drawn_follow_the_distribution(label):
    torch.manual_seed(0)
    net, n = machine("labels", pixels=4, hidden=3, scale=1.0), 20_000
    labels = None if label is None else torch.full((n,), label)
    means = net.sample(n, 40, labels=labels)
    assert not means.requires_grad
    states, p = probabilities(net)
    pixels = binary(4)
    wanted = states[:, 4:].sum(1) > 0 if label is None else states[:, 4 + label] == 1
    marginal = np.array([p[wanted & (states[:, :4] == v).all(1)].sum() for v in pixels])
    assert p_value(bernoulli(means), pixels, marginal) > 1e-4
    expected = marginal @ pixels / marginal.sum()
    assert (np.abs(means.numpy().mean(0) - expected) < 4 * means.numpy().std(0) / n**0.5).all()


def test_labels_are_held_from_the_first_step_on():
    """One hidden unit that the label alone decides, and pixels that the hidden unit alone decides."""
    torch.manual_seed(0)
    net = RBM(in_shape=(3,), hidden=1, label_units=2).double()
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[60.0, 60, 60, -100, 100]]))
        net.visible_bias.copy_(torch.tensor([-30.0, -30, -30, 0, 0]))
        net.hidden_bias.fill_(-90)
    labels = torch.tensor([0, 1] * 10)
    with torch.no_grad():
        v = net.gibbs(torch.zeros(20, 5, dtype=torch.double), 1, labels=labels)
    assert torch.equal(v[:, 0].long(), labels)
    assert torch.equal(net.sample(20, 1, labels=labels)[:, 0].round().long(), labels)


def test_gibbs_of_no_steps_is_where_it_starts():
    net = machine("bernoulli")
    v = net.noise(5)
    assert torch.equal(net.gibbs(v, 0), v)


def test_noise_of_bernoulli_units_is_fair_coins_and_of_label_units_one_class_in_k():
    torch.manual_seed(0)
    v = machine("labels").noise(10_000)
    assert v.shape == (10_000, 7)
    assert v.dtype == torch.double
    assert set(v.unique().tolist()) == {0.0, 1.0}
    assert (v[:, 4:].sum(1) == 1).all()
    assert ((v[:, :4].mean(0) - 1 / 2).abs() < 0.02).all()
    assert ((v[:, 4:].mean(0) - 1 / 3).abs() < 0.02).all()


def test_noise_of_gaussian_units_is_about_the_bias():
    torch.manual_seed(0)
    net, n = machine("learned variance"), 100_000
    v, variance = net.noise(n).detach(), net.log_variance.detach().exp()
    assert ((v.mean(0) - net.visible_bias.detach()).abs() < 4 * (variance / n).sqrt()).all()
    assert ((v.var(0) / variance - 1).abs() < 4 * (2 / n) ** 0.5).all()


def test_draws_of_bernoulli_under_bfloat16_are_as_frequent_as_those_of_float32():
    torch.manual_seed(0)
    n = 2_000_000
    drawn = bernoulli(torch.full((n,), 0.001, dtype=torch.bfloat16))
    assert drawn.dtype == torch.bfloat16
    p = torch.tensor(0.001, dtype=torch.bfloat16).item()
    assert abs(drawn.float().mean().item() - p) < 4 * (p / n) ** 0.5
    assert bernoulli(torch.ones(1000)).all()
    assert not bernoulli(torch.zeros(1000)).any()


# Learning


@pytest.mark.parametrize("kind", ["bernoulli", "labels", "gaussian", "learned variance"])
def test_the_gradient_of_free_energy_differences_is_the_statistic_of_contrastive_divergence(kind):
    torch.manual_seed(0)
    net, n = machine(kind), 9
    with torch.no_grad():
        v0 = net.noise(n)
        vk = net.gibbs(v0, 2)
    (net.free_energy(v0).mean() - net.free_energy(vk).mean()).backward()

    W, b, c = (p.detach().numpy() for p in (net.weight, net.visible_bias, net.hidden_bias))
    variance = np.exp(net.log_variance.detach().numpy()) if "gaussian" in net.visible_units else np.ones(len(b))
    statistics = []
    for v in (v0.numpy(), vk.numpy()):
        h = expit(c + v / variance @ W.T)
        log_variance = (np.square(v - b) / 2 - v * (h @ W)).mean(0) / variance
        statistics.append((h.T @ (v / variance) / n, (v / variance).mean(0), h.mean(0), log_variance))
    dW, db, dc, dlog_variance = (-(data - model) for data, model in zip(*statistics, strict=True))
    close(net.weight.grad, dW, 1e-10)
    close(net.visible_bias.grad, db, 1e-10)
    close(net.hidden_bias.grad, dc, 1e-10)
    if kind == "learned variance":
        close(net.log_variance.grad, dlog_variance, 1e-10)


def test_pseudo_log_likelihood_averages_to_the_sum_of_all_conditionals():
    net = machine("bernoulli")
    states, p = probabilities(net)
    log_p, v = np.log(p), torch.tensor(states)
    expected = np.zeros(len(states))
    for i in range(7):
        flipped = states.copy()
        flipped[:, i] = 1 - flipped[:, i]
        other = [np.flatnonzero((states == row).all(1))[0] for row in flipped]
        expected += log_p - np.logaddexp(log_p, log_p[other])
    each = [net.pseudo_log_likelihood(v, torch.full((len(v),), i)) for i in range(7)]
    close(torch.stack(each).mean(0), expected)


# scikit-learn's machine with the same weights


def scikit_learns(net):
    rbm = BernoulliRBM(n_components=len(net.weight), random_state=3)
    rbm.components_, rbm.intercept_hidden_, rbm.intercept_visible_ = (
        p.detach().numpy() for p in (net.weight, net.hidden_bias, net.visible_bias)
    )
    rbm.n_features_in_ = net.weight.shape[1]
    return rbm


def test_hidden_means_and_free_energies_equal_those_of_scikit_learn():
    net = machine("bernoulli", pixels=20, hidden=11)
    v = np.random.default_rng(0).integers(2, size=(50, 20)).astype(float)
    close(net.hidden_mean(torch.tensor(v)), scikit_learns(net).transform(v), 1e-10)
    close(net.free_energy(torch.tensor(v)), scikit_learns(net)._free_energy(v), 1e-8)


def test_pseudo_log_likelihood_equals_that_of_scikit_learn():
    net = machine("bernoulli", pixels=20, hidden=11)
    v = np.random.default_rng(0).integers(2, size=(50, 20)).astype(float)
    flips = np.random.RandomState(3).randint(0, 20, 50)  # what its score_samples draws
    scores = scikit_learns(net).score_samples(v)
    close(net.pseudo_log_likelihood(torch.tensor(v), torch.tensor(flips)), scores, 1e-8)


# Labels


def test_softmax_of_class_logits_is_the_enumerated_probability_of_the_classes():
    net = machine("labels")
    pixels = binary(4)
    _, p = probabilities(net)
    joint = p.reshape(16, 3)  # pixels, then classes: the order of the states
    expected = np.log(joint / joint.sum(1, keepdims=True))
    for logits in (net.class_logits(torch.tensor(pixels)), net(torch.tensor(pixels))):
        np.testing.assert_allclose(log_softmax(logits.detach().numpy(), axis=1), expected, rtol=0, atol=1e-8)


def test_class_logits_are_what_each_label_takes_off_the_free_energy():
    net = machine("labels")
    pixels = torch.tensor(binary(4))
    without = net.free_energy(torch.cat([pixels, torch.zeros(16, 3)], dim=1))
    for y in range(3):
        expected = without - net.free_energy(net.with_labels(pixels, torch.full((16,), y)))
        torch.testing.assert_close(net.class_logits(pixels)[:, y], expected, rtol=1e-10, atol=1e-10)


@EVERY_KIND
def test_generative_parameters_are_those_to_which_no_gradient_of_forward_flows(kind):
    net = machine(kind)
    net(torch.rand(6, RBM_SIZES[kind][0], dtype=torch.double)).square().sum().backward()
    generative = {id(p) for p in net.generative_parameters()}
    assert generative == {id(p) for p in net.parameters() if p.grad is None}


def test_with_labels_puts_one_hot_classes_behind_the_pixels():
    v = machine("labels").with_labels(torch.tensor([[0.25, 0, 1, 1], [1, 0, 0, 0]]), torch.tensor([2, 0]))
    assert v.tolist() == [[0.25, 0, 1, 1, 0, 0, 1], [1, 0, 0, 0, 1, 0, 0]]
    plain = torch.rand(2, 7)
    assert machine("bernoulli").with_labels(plain, torch.tensor([2, 0])) is plain


def test_reset_head_replaces_the_label_units_and_nothing_else():
    net = machine("labels")
    before = {name: p.clone() for name, p in net.state_dict().items()}
    net.reset_head(6)
    assert net.num_classes == net.label_units == 6
    assert net.weight.shape == (5, 10)
    assert torch.equal(net.weight[:, :4], before["weight"][:, :4])
    assert 0 < net.weight[:, 4:].abs().max() < 0.1
    assert net.visible_bias[:4].tolist() == before["visible_bias"][:4].tolist()
    assert net.visible_bias[4:].tolist() == [0] * 6
    assert torch.equal(net.hidden_bias, before["hidden_bias"])
    assert net.weight.dtype == net.visible_bias.dtype == torch.double
    assert len(list(net.parameters())) == 3
    assert all(p.requires_grad for p in net.parameters())
    logits = net(torch.rand(2, 4, dtype=torch.double))
    assert logits.shape == (2, 6)
    logits.sum().backward()
    assert net.weight.grad.shape == (5, 10)
    assert net.noise(3).shape == (3, 10)


# What it answers to as a model of the zoo


@EVERY_KIND
def test_shapes_and_ranges(kind):
    _, _, kinds = RBM_SIZES[kind]
    torch.manual_seed(0)
    net = RBM(in_shape=(1, 3, 4), hidden=5, **kinds)
    x = torch.rand(7, 1, 3, 4)
    assert net(x).shape == (7, kinds.get("label_units", 5))
    assert net.encode(x).shape == net.encode(x, 1).shape == (7, 5)
    assert torch.equal(net.encode(x, 0), x.flatten(1))
    assert net.reconstruct(x).shape == x.shape
    assert net.sample(4, 3).shape == (4, 1, 3, 4)
    assert net.generate(net.noise(6)).shape == (6, 1, 3, 4)
    assert net.noise(6).shape == net.gibbs(net.noise(6), 2).shape == (6, 12 + net.label_units)
    if net.hidden_units == "bernoulli":
        assert ((net.encode(x) > 0) & (net.encode(x) < 1)).all()
    if net.visible_units == "bernoulli":
        assert ((net.reconstruct(x) > 0) & (net.reconstruct(x) < 1)).all()
        assert ((net.sample(4, 3) > 0) & (net.sample(4, 3) < 1)).all()


@EVERY_KIND
def test_encode_and_reconstruct_equal_the_computation_by_hand(kind):
    net = machine(kind)
    W, b, c = (p.detach().numpy() for p in (net.weight, net.visible_bias, net.hidden_bias))
    x = np.random.default_rng(0).random((6, RBM_SIZES[kind][0]))
    pixels = x.shape[1]
    variance = np.exp(net.log_variance.detach().numpy()) if "gaussian" in net.visible_units else 1
    code = c + x / variance @ W[:, :pixels].T
    if net.hidden_units == "bernoulli":
        code = expit(code)
    back = b[:pixels] + code @ W[:, :pixels]
    if net.visible_units == "bernoulli":
        back = expit(back)
    close(net.encode(torch.tensor(x)), code, 1e-10)
    close(net.reconstruct(torch.tensor(x)), back, 1e-10)
    if not net.label_units:
        close(net(torch.tensor(x)), code, 1e-10)


def test_a_new_machine_has_small_weights_and_no_biases():
    torch.manual_seed(0)
    net = RBM(hidden=100, visible_units="gaussian", learn_variance=True)
    assert net.weight.shape == (100, 784)
    assert net.weight.std().item() == pytest.approx(0.01, rel=0.02)
    assert not any(p.any() for p in (net.visible_bias, net.hidden_bias, net.log_variance))


def test_xavier_weights_are_four_times_the_uniform_ones_of_glorot_and_bengio():
    torch.manual_seed(0)
    net, bound = RBM(in_shape=(50,), hidden=100, init="xavier"), 4 * (6 / 150) ** 0.5
    assert 0.99 * bound < net.weight.abs().max() <= bound
    assert net.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.03)


def test_the_variance_is_a_parameter_only_where_it_is_learned():
    def names(**kinds):
        net = RBM(in_shape=(3,), hidden=2, **kinds)
        return {name for name, _ in net.named_parameters()}, {name for name, _ in net.named_buffers()}

    three = {"weight", "visible_bias", "hidden_bias"}
    assert names() == (three, set())
    assert names(visible_units="gaussian") == (three, {"log_variance"})
    assert names(visible_units="gaussian", learn_variance=True) == (three | {"log_variance"}, set())


def test_it_can_live_on_the_meta_device():
    for _, _, kinds in RBM_SIZES.values():
        net = RBM(in_shape=(4,), hidden=3, **kinds).to("meta")
        assert net(torch.empty(2, 4, device="meta")).device.type == "meta"
        assert net.noise(2).device.type == net.generate(net.noise(2)).device.type == "meta"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"visible_units": "binary"}, "visible_units=binary: choose one of: bernoulli, gaussian"),
        ({"hidden_units": "relu"}, "hidden_units=relu: choose one of"),
        ({"visible_units": "gaussian", "label_units": 3}, "label units need bernoulli"),
        ({"visible_units": "gaussian", "hidden_units": "gaussian"}, "gaussian visible units need bernoulli hidden"),
        ({"learn_variance": True}, "learn_variance is for gaussian visible units"),
        ({"init": "he"}, "unknown init 'he'; choose normal or xavier"),
        ({"label_units": -1}, "label_units=-1"),
        ({"hidden": 0}, "hidden=0"),
        ({"in_shape": (0, 3)}, "in_shape"),
    ],
)
def test_kinds_and_widths_that_cannot_be_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        RBM(**{"in_shape": (4,), "hidden": 3, **options})


@pytest.mark.parametrize("kind", ["labels", "gaussian"])
def test_pseudo_log_likelihood_of_other_than_plain_bernoulli_units_is_refused(kind):
    net = machine(kind)
    with pytest.raises(ValueError, match="pseudo-likelihood is for Bernoulli"):
        net.pseudo_log_likelihood(net.noise(2), torch.tensor([0, 1]))
