"""The deep belief network against enumeration of all its states, and against the perceptron of sigmoids that it is."""

from copy import deepcopy
from itertools import product

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.special import expit, log_expit, logsumexp
from scipy.stats import chisquare

from zoo.models import DBN, MLP
from zoo.models.units import bernoulli
from zoo.protocols import ChangesConfig

OPTIONS = {
    "no classes": {"num_classes": None},
    "head": {"num_classes": 3},
    "label units": {"num_classes": 3, "label_units": True},
    "gaussian": {"num_classes": 3, "visible_units": "gaussian"},
}
EVERY_KIND = pytest.mark.parametrize("kind", OPTIONS)
BERNOULLI = pytest.mark.parametrize("kind", ["no classes", "head", "label units"])
TIED_OR_NOT = pytest.mark.parametrize("untied", [False, True], ids=["tied", "untied"])


def stack(kind="no classes", *, pixels=4, hidden=(3, 3), scale=1.0, seed=0, **options):
    """A net in double precision, every parameter of it drawn from a normal distribution."""
    net = DBN(in_shape=(pixels,), hidden=hidden, **{**OPTIONS[kind], **options}).double()
    scramble(net.parameters(), scale, seed)
    return net


def scramble(parameters, scale=1.0, seed=1):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in parameters:
            p.copy_(torch.randn(p.shape, generator=generator, dtype=torch.double) * scale)


def numbers(rbm):
    return [p.detach().numpy() for p in (rbm.weight, rbm.visible_bias, rbm.hidden_bias)]


def binary(n):
    """All 2^n states of n units."""
    return np.array(list(product([0.0, 1.0], repeat=n)))


def prior(net):
    """p(states of the layer below the top, class), from the energy of the top pair: states x classes (1 if none)."""
    W, b, c = numbers(net.layers[-1])
    classes = net.num_classes if net.label_units else 0
    below, h = binary(W.shape[1] - classes), binary(len(W))
    labels = np.eye(classes) if classes else np.zeros((1, 0))
    v = np.array([[*x, *y] for x in below for y in labels])
    minus_e = (v @ b)[:, None] + h @ c + v @ W.T @ h.T
    return np.exp(logsumexp(minus_e, axis=1) - logsumexp(minus_e)).reshape(len(below), len(labels))


def marginals(net):
    """All states of the pixels, and p(v, class) by summing every hidden layer out: states x classes (1 if none)."""
    p = prior(net)
    for rbm in reversed(net.layers[:-1]):
        W, b, _ = numbers(rbm)
        v, inputs = binary(len(b)), b + binary(len(W)) @ W  # p(v | h) = product of sigmoids
        given = np.exp(v @ log_expit(inputs).T + (1 - v) @ log_expit(-inputs).T)
        p = given @ p
    return binary(net.layers[0].weight.shape[1]), p


def p_value(samples, p):
    """Of the samples, zeros and ones, being from p over all states; rare ones are put together."""
    place = 2 ** np.arange(samples.shape[1])[::-1]  # the order of `binary`
    observed = np.bincount((samples.numpy() @ place).astype(int), minlength=len(p))
    expected = len(samples) * p / p.sum()
    rare = expected < 5
    if rare.any():
        observed = np.append(observed[~rare], observed[rare].sum())
        expected = np.append(expected[~rare], expected[rare].sum())
    return chisquare(observed, expected).pvalue


def close(actual, expected, tolerance=1e-10):
    np.testing.assert_allclose(actual.detach().numpy(), expected, rtol=tolerance, atol=tolerance)


# The way up and the way down


@EVERY_KIND
def test_encode_is_the_chain_of_hidden_means(kind):
    net = stack(kind, hidden=(5, 3, 2))
    x = np.random.default_rng(0).random((6, 4))
    code = x
    for depth, rbm in enumerate(net.layers):
        close(net.encode(torch.tensor(x), depth), code)
        W, _, c = numbers(rbm)
        code = expit(c + code @ W[:, : code.shape[1]].T)
    close(net.encode(torch.tensor(x), 3), code)
    close(net.encode(torch.tensor(x)), code)


@EVERY_KIND
def test_reconstruct_from_every_depth_is_up_and_down_by_means(kind):
    net = stack(kind, hidden=(5, 3, 2))
    x = np.random.default_rng(0).random((6, 4))
    for depth in range(4):
        code = x
        for rbm in net.layers[:depth]:
            W, _, c = numbers(rbm)
            code = expit(c + code @ W[:, : code.shape[1]].T)
        for k in reversed(range(depth)):
            W, b, _ = numbers(net.layers[k])
            code = b + code @ W
            code = code[:, : [4, 5, 3][k]]  # without the labels
            code = code if kind == "gaussian" and k == 0 else expit(code)
        close(net.reconstruct(torch.tensor(x), depth), code)
    close(net.reconstruct(torch.tensor(x)), code)


def test_forward_equals_a_perceptron_of_sigmoids_with_the_same_weights():
    net = stack("head", hidden=(5, 3))
    mlp = MLP(in_shape=(4,), num_classes=3, hidden=(5, 3), activation="sigmoid").double()
    weights = [p for rbm in net.layers for p in (rbm.weight, rbm.hidden_bias)] + [net.head.weight, net.head.bias]
    with torch.no_grad():
        for p, same in zip(mlp.parameters(), weights, strict=True):
            p.copy_(same)
    x = torch.rand(6, 4, dtype=torch.double)
    torch.testing.assert_close(net(x), mlp(x), rtol=1e-12, atol=1e-12)


def test_forward_without_classes_is_the_top_code():
    net = stack(hidden=(5, 3))
    x = torch.rand(6, 4, dtype=torch.double)
    torch.testing.assert_close(net(x), net.encode(x))


@pytest.mark.parametrize("hidden", [(3,), (5, 3)])
def test_forward_with_label_units_is_the_enumerated_log_probability_of_the_classes(hidden):
    """p(y | code below the top), from the energy of the top pair with all its hidden states summed out."""
    net = stack("label units", hidden=hidden)
    x = torch.rand(6, 4, dtype=torch.double)
    W, b, c = numbers(net.layers[-1])
    h, below = binary(len(W)), net.encode(x, len(hidden) - 1).detach().numpy()
    scores = []
    for y in np.eye(3):
        v = np.array([[*row, *y] for row in below])
        scores.append(logsumexp((v @ b)[:, None] + h @ c + v @ W.T @ h.T, axis=1))
    expected = np.stack(scores, axis=1)
    expected -= logsumexp(expected, axis=1, keepdims=True)
    close(net(x).log_softmax(dim=1), expected, 1e-8)


@EVERY_KIND
def test_the_weights_of_the_machines_are_those_of_forward(kind):
    net = stack(kind)
    x = torch.rand(6, 4, dtype=torch.double)
    for k in range(2):
        before = net(x)
        with torch.no_grad():
            net.layers[k].weight += 1
        assert not torch.allclose(net(x), before)
        assert net.rbm(k) is net.layers[k]
    assert net.top is net.layers[1]


@pytest.mark.parametrize("kind", ["head", "label units"])
@pytest.mark.parametrize("option", ["dropout", "input_dropout", "noise", "input_noise"])
def test_dropout_and_noise_are_in_forward_while_training_and_nowhere_else(option, kind):
    torch.manual_seed(0)
    net, still = stack(kind, **{option: 0.5}), stack(kind)
    x = torch.rand(6, 4, dtype=torch.double)
    net.train()
    assert not torch.equal(net(x), still(x))
    assert torch.equal(net.encode(x), still.encode(x))
    assert torch.equal(net.reconstruct(x), still.reconstruct(x))
    net.eval()
    assert torch.equal(net(x), still(x))


def test_dropout_of_inputs_and_hidden_units_leaves_out_the_share_asked_for():
    torch.manual_seed(0)
    net = DBN(in_shape=(1000,), hidden=(1000,), num_classes=None, dropout=0.25, input_dropout=0.5)
    assert (net(torch.ones(50, 1000)) == 0).float().mean().item() == pytest.approx(0.25, abs=0.01)
    with torch.no_grad():
        net.layers[0].weight.fill_(1 / 1000)  # all units receive the sum of what is left, doubled: 1 on average
    sums = torch.logit(net(torch.ones(50, 1000)).amax(dim=1) * 0.75)
    assert sums.mean().item() == pytest.approx(1, abs=0.02)
    assert sums.std().item() == pytest.approx(1000**-0.5, rel=0.3)


def test_noise_is_added_to_the_input_and_to_what_units_receive():
    torch.manual_seed(0)
    net = DBN(in_shape=(400,), hidden=(3000,), num_classes=None, input_noise=0.4, noise=0.3, init="xavier")
    x = torch.rand(40, 400)
    weight = net.layers[0].weight
    received = (0.3**2 + 0.4**2 * weight.square().sum(dim=1).mean()).sqrt()
    added = torch.logit(net(x)) - net.layers[0].hidden_input(x)
    assert added.std().item() == pytest.approx(received.item(), rel=0.03)


# The distribution


@TIED_OR_NOT
@pytest.mark.parametrize("hidden", [(3,), (3, 3), (3, 4, 2)], ids=str)
def test_samples_of_pixels_reproduce_the_enumerated_marginal_distribution(hidden, untied):
    torch.manual_seed(0)
    net, n = stack(hidden=hidden, scale=1.5), 20_000
    if untied:
        net.untie()
        scramble(net.recognition.parameters())  # the way up has no part in it
    means = net.sample(n, 50)
    states, p = marginals(net)
    assert (np.abs(means.numpy().mean(0) - p[:, 0] @ states) < 4 * means.numpy().std(0) / n**0.5).all()
    assert p_value(bernoulli(means), p[:, 0]) > 1e-4

    with torch.no_grad():
        net.layers[0].weight *= 0.8
    assert p_value(bernoulli(means), marginals(net)[1][:, 0]) < 1e-6  # the test can tell a slightly different net


def test_generate_goes_down_from_hidden_states_sampled_in_the_top():
    torch.manual_seed(0)
    net, n = stack(hidden=(3, 3), scale=1.5), 20_000
    with torch.no_grad():
        v = net.top.gibbs(net.top.noise(n), 50)
        means = net.generate(v)
    assert p_value(v, prior(net)[:, 0]) > 1e-4
    W, b, _ = numbers(net.layers[0])
    close(means, expit(b + v.numpy() @ W))
    states, p = marginals(net)
    assert (np.abs(means.numpy().mean(0) - p[:, 0] @ states) < 4 * means.numpy().std(0) / n**0.5).all()
    assert p_value(bernoulli(means), p[:, 0]) > 1e-4


@pytest.mark.parametrize("label", [None, 0, 2])
@pytest.mark.parametrize("hidden", [(3,), (3, 3)], ids=str)
def test_samples_with_label_units_reproduce_the_marginal_or_the_conditional_distribution(hidden, label):
    torch.manual_seed(0)
    net, n = stack("label units", hidden=hidden, scale=1.5), 20_000
    means = net.sample(n, 50, labels=None if label is None else torch.full((n,), label))
    _, p = marginals(net)
    drawn = bernoulli(means)
    assert p_value(drawn, p.sum(1) if label is None else p[:, label]) > 1e-4
    if label is not None:
        assert p_value(drawn, p[:, 1]) < 1e-6


def test_labels_are_held_from_the_first_step_on():
    """One hidden unit of the top that the label alone decides, and units below that it alone decides."""
    torch.manual_seed(0)
    net = stack("label units", hidden=(3, 1), num_classes=2)
    with torch.no_grad():
        net.top.weight.copy_(torch.tensor([[60.0, 60, 60, -100, 100]]))
        net.top.visible_bias.copy_(torch.tensor([-30.0, -30, -30, 0, 0]))
        net.top.hidden_bias.fill_(-90)
        net.layers[0].weight.fill_(40)
        net.layers[0].visible_bias.fill_(-60)
    labels = torch.tensor([0, 1] * 10)
    assert torch.equal(net.sample(20, 1, labels=labels)[:, 0].round().long(), labels)


@EVERY_KIND
@pytest.mark.parametrize("hidden", [(5,), (5, 6)], ids=str)
def test_shapes_and_ranges(kind, hidden):
    torch.manual_seed(0)
    net = DBN(in_shape=(1, 3, 4), hidden=hidden, **OPTIONS[kind])
    x = torch.rand(7, 1, 3, 4)
    assert net(x).shape == (7, net.num_classes or hidden[-1])
    assert torch.equal(net.encode(x, 0), x.flatten(1))
    for depth, width in enumerate(hidden, start=1):
        assert net.encode(x, depth).shape == (7, width)
        assert net.reconstruct(x, depth).shape == x.shape
    assert net.sample(4, 3).shape == (4, 1, 3, 4)
    assert not net.sample(4, 3).requires_grad
    if kind != "gaussian":
        for pictures in (net.reconstruct(x), net.sample(4, 3)):
            assert ((pictures >= 0) & (pictures <= 1)).all()


# Recognition weights of their own


@BERNOULLI
@pytest.mark.parametrize("hidden", [(3,), (3, 2), (4, 3, 2)], ids=str)
def test_untie_changes_nothing_at_first(kind, hidden):
    net = stack(kind, hidden=hidden)
    x = torch.rand(6, 4, dtype=torch.double)
    before = net(x), net.encode(x), net.reconstruct(x)
    net.untie()
    assert len(net.recognition) == len(hidden) - 1
    for now, then in zip((net(x), net.encode(x), net.reconstruct(x)), before, strict=True):
        torch.testing.assert_close(now, then, rtol=1e-12, atol=1e-12)
    assert all(p.dtype == torch.double for p in net.parameters())


@pytest.mark.parametrize("kind", ["head", "label units"])
def test_after_untie_the_way_up_and_the_way_down_change_by_themselves(kind):
    net = stack(kind, hidden=(4, 3, 2))
    net.untie()
    x = torch.rand(6, 4, dtype=torch.double)
    output, code, h = net(x), net.encode(x, 2), torch.rand(6, 4, dtype=torch.double)
    scramble(p for rbm in net.layers[:2] for p in rbm.parameters())
    assert torch.equal(net(x), output)
    assert torch.equal(net.encode(x, 2), code)
    down = net.down(h, 0)
    W, b, _ = numbers(net.layers[0])
    close(down, expit(b + h.numpy() @ W))
    scramble(net.recognition.parameters(), seed=2)
    assert not torch.allclose(net.encode(x, 2), code)
    assert torch.equal(net.down(h, 0), down)


def test_a_second_untie_does_nothing():
    net = stack(hidden=(4, 3, 2))
    net.untie()
    scramble(net.recognition.parameters())
    maps, before = list(net.recognition), deepcopy(net.state_dict())
    net.untie()
    assert all(now is then for now, then in zip(net.recognition, maps, strict=True))
    assert net.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


@BERNOULLI
def test_the_state_of_an_untied_net_loads_into_a_new_one_constructed_untied(kind):
    net = stack(kind, hidden=(4, 3, 2))
    net.untie()
    fresh = stack(kind, hidden=(4, 3, 2), seed=5, **net.config_changes())
    scramble(net.recognition.parameters())
    fresh.load_state_dict(net.state_dict())
    x = torch.rand(6, 4, dtype=torch.double)
    for outputs in (lambda net: net(x), lambda net: net.encode(x), lambda net: net.reconstruct(x)):
        assert torch.equal(outputs(fresh), outputs(net))
    inside = torch.nn.Sequential(stack(kind, hidden=(4, 3, 2), seed=5, untied=True))
    inside.load_state_dict(torch.nn.Sequential(net).state_dict())
    assert torch.equal(inside(x), net(x))


def test_the_state_of_a_tied_net_leaves_a_new_one_tied():
    net, fresh = stack("head"), stack("head", seed=5)
    fresh.load_state_dict(net.state_dict())
    assert len(fresh.recognition) == 0
    x = torch.rand(6, 4, dtype=torch.double)
    assert torch.equal(fresh(x), net(x))


def test_a_tied_net_refuses_the_state_of_an_untied_one():
    """No module is built while a state dict loads: whether a net is untied is decided by its constructor."""
    net, fresh = stack("head"), stack("head", seed=5)
    net.untie()
    with pytest.raises(RuntimeError, match=r"Unexpected key.*recognition\.0\.weight"):
        fresh.load_state_dict(net.state_dict())
    assert len(fresh.recognition) == 0


@BERNOULLI
@pytest.mark.parametrize("hidden", [(3,), (4, 3, 2)], ids=str)
def test_a_net_constructed_untied_is_one_that_was_untied(kind, hidden):
    torch.manual_seed(0)
    constructed = DBN(in_shape=(4,), hidden=hidden, **OPTIONS[kind], untied=True)
    torch.manual_seed(0)
    other = DBN(in_shape=(4,), hidden=hidden, **OPTIONS[kind])
    assert not other.untied
    other.untie()
    assert constructed.untied
    assert other.untied
    assert constructed.state_dict().keys() == other.state_dict().keys()
    for name, value in constructed.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


def test_only_an_untied_net_changes_its_config():
    net = stack(hidden=(4, 3, 2))
    assert isinstance(net, ChangesConfig)
    assert net.config_changes() == {}
    net.untie()
    assert net.config_changes() == {"untied": True}
    assert stack(hidden=(4, 3, 2), **net.config_changes()).config_changes() == {"untied": True}


def test_untie_of_gaussian_units_is_refused():
    net = stack("gaussian")
    with pytest.raises(ValueError, match=r"wake-sleep \(up-down\) needs bernoulli units"):
        net.untie()
    assert len(net.recognition) == 0
    assert not net.untied
    with pytest.raises(ValueError, match=r"wake-sleep \(up-down\) needs bernoulli units"):
        stack("gaussian", untied=True)


def test_unused_parameters_are_the_hidden_biases_that_recognition_has_replaced():
    net = stack("label units", hidden=(4, 3, 2))
    assert not list(net.unused_parameters())
    net.untie()
    assert [id(p) for p in net.unused_parameters()] == [id(net.rbm(k).hidden_bias) for k in range(2)]


# What is learned by whom


@EVERY_KIND
@pytest.mark.parametrize("hidden", [(3,), (4, 3, 2)], ids=str)
def test_generative_parameters_are_those_to_which_no_gradient_of_forward_flows(kind, hidden):
    check_generative_parameters(stack(kind, hidden=hidden))


@BERNOULLI
def test_generative_parameters_of_an_untied_net_are_those_to_which_no_gradient_of_forward_flows(kind):
    net = stack(kind, hidden=(4, 3, 2))
    net.untie()
    check_generative_parameters(net)


def check_generative_parameters(net):
    net(torch.rand(6, 4, dtype=torch.double)).square().sum().backward()
    without = {name for name, p in net.named_parameters() if p.grad is None}
    generative = [id(p) for p in net.generative_parameters()]
    assert {name for name, p in net.named_parameters() if id(p) in generative} == without
    assert len(generative) == len(without)


@pytest.mark.parametrize("kind", ["no classes", "head"])
def test_reset_head_gives_a_new_linear_head(kind):
    net = stack(kind)
    code = net.encode(torch.ones(2, 4, dtype=torch.double))
    net.reset_head(7)
    assert net.num_classes == 7
    assert net(torch.ones(2, 4, dtype=torch.double)).shape == (2, 7)
    assert torch.equal(net.encode(torch.ones(2, 4, dtype=torch.double)), code)


def test_reset_head_gives_new_label_units():
    net = stack("label units")
    x = torch.ones(2, 4, dtype=torch.double)
    below = net.encode(x)
    net.reset_head(7)
    assert net.num_classes == net.top.num_classes == net.top.label_units == 7
    assert net.head is None
    assert net.top.weight.shape == (3, 3 + 7)
    assert net(x).shape == (2, 7)
    assert torch.equal(net.encode(x), below)
    assert net.sample(5, 3, labels=torch.tensor([0, 1, 2, 3, 6])).shape == (5, 4)


@TIED_OR_NOT
def test_a_deep_copy_is_equal_and_apart(untied):
    net = stack("head")
    if untied:
        net.untie()
    other = deepcopy(net)
    x = torch.rand(6, 4, dtype=torch.double)
    output = net(x)
    assert torch.equal(other(x), output)
    scramble(other.parameters())
    assert torch.equal(net(x), output)
    assert not torch.allclose(other(x), output)


@EVERY_KIND
def test_to_moves_everything(kind):
    net = DBN(in_shape=(4,), hidden=(3, 2), **OPTIONS[kind])
    if kind != "gaussian":
        net.untie()
    net.to(torch.float64)
    assert {value.dtype for value in net.state_dict().values()} == {torch.float64}
    assert net(torch.rand(2, 4, dtype=torch.double)).dtype == torch.double
    assert net.sample(2, 2).dtype == torch.double
    net.to("meta")
    assert {value.device.type for value in net.state_dict().values()} == {"meta"}
    assert net(torch.empty(2, 4, dtype=torch.double, device="meta")).device.type == "meta"


def test_untie_and_new_classes_come_in_the_precision_of_the_rest():
    net = stack("head")
    net.untie()
    net.reset_head(5)
    assert {p.dtype for p in net.parameters()} == {torch.double}
    with torch.device("meta"):
        there = DBN(in_shape=(4,), hidden=(3, 2))
    there.untie()
    there.reset_head(5)
    assert {p.device.type for p in there.parameters()} == {"meta"}


@pytest.mark.parametrize(("init", "deviation"), [("normal", 0.01), ("xavier", 4 * (2 / (80 + 60)) ** 0.5)])
def test_init_is_that_of_every_machine(init, deviation):
    torch.manual_seed(0)
    net = DBN(in_shape=(60,), hidden=(80, 60), init=init)
    for rbm in net.layers:
        assert rbm.weight.std().item() == pytest.approx(deviation, rel=0.05)


def test_a_machine_by_itself_fits_its_own_slot():
    """Layer k is an RBM of the zoo, its visible units those of the layer below and its labels the net's."""
    net = DBN(in_shape=(1, 2, 3), hidden=(5, 4), num_classes=3, label_units=True, visible_units="gaussian")
    assert [rbm.in_shape for rbm in net.layers] == [(1, 2, 3), (5,)]
    assert [rbm.weight.shape for rbm in net.layers] == [(5, 6), (4, 8)]
    assert [rbm.visible_units for rbm in net.layers] == ["gaussian", "bernoulli"]
    assert [rbm.label_units for rbm in net.layers] == [0, 3]
    assert net.head is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden": ()}, "at least one hidden layer"),
        ({"hidden": (3, 0)}, "hidden"),
        ({"num_classes": -1}, "num_classes=-1"),
        ({"label_units": True, "num_classes": None}, "label_units=true needs num_classes"),
        ({"visible_units": "binary"}, "visible_units=binary: choose one of"),
        ({"init": "he"}, "unknown init 'he'"),
        ({"visible_units": "gaussian", "hidden": (3,), "label_units": True}, "label units need bernoulli"),
    ],
)
def test_nets_that_cannot_be_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        DBN(**{"in_shape": (4,), **options})


def test_the_loss_of_a_head_trains_every_weight_on_the_way_up():
    net = stack("head", hidden=(4, 3, 2))
    F.cross_entropy(net(torch.rand(6, 4, dtype=torch.double)), torch.tensor([0, 1, 2, 0, 1, 2])).backward()
    for rbm in net.layers:
        assert rbm.weight.grad.abs().min() > 0
        assert rbm.hidden_bias.grad.abs().min() > 0
