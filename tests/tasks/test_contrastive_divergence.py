"""Contrastive divergence against its formulas: one step, its chains, centring, sparsity, and what a fit is good for."""

import csv
import json
from functools import partial

import numpy as np
import pytest
import torch
from support import CPU, SILENT, array, fit_and_log, randomize
from torch import nn

from zoo.analysis.likelihood import log_likelihood
from zoo.config import hardware
from zoo.data.datamodule import DataModule, Shuffle
from zoo.data.preprocess import Preprocess
from zoo.data.splits import InMemory, Splits
from zoo.models import DBN, MLP, RBM, Autoencoder, ConvRBM, StackedAutoencoder
from zoo.models.units import Bernoulli, bernoulli
from zoo.protocols import RBMLayer
from zoo.tasks import ContrastiveDivergence, Reconstruction
from zoo.tasks.gibbs import chain_end
from zoo.training.checks.stage_checks import refuse_precision


def sgd(*, lr=0.1, momentum=0.0, weight_decay=0.0):
    return partial(torch.optim.SGD, lr=lr, momentum=momentum, weight_decay=weight_decay)


def machine(**options) -> RBM:
    """Six visible and four hidden units with drawn weights and biases."""
    rbm = randomize(RBM(**{"in_shape": [6], "hidden": 4, **options}))
    assert isinstance(rbm, RBM)
    return rbm


def binary(n=8, units=6, seed=1):
    return torch.randint(2, (n, units), generator=torch.Generator().manual_seed(seed)).float()


def real(n=8, units=6):
    return torch.randn(n, units, generator=torch.Generator().manual_seed(1)) * 1.5


def labels(n=8, classes=3):
    return torch.arange(n) % classes


def module(x, *, y=None, validation=None, batch_size=None):
    y = labels(len(x)) if y is None else y
    kept = None if validation is None else InMemory(validation, labels(len(validation)))
    splits = Splits(InMemory(x, y), kept, None, tuple(x.shape[1:]), classes=("a", "b", "c"))
    return DataModule(splits, preprocess=Preprocess(tuple(x.shape[1:]), scale=1.0), batch_size=batch_size or len(x))


def fit_on(task, x, folder, *, validation=None, batch_size=None, **options):
    return fit_and_log(task, module(x, validation=validation, batch_size=batch_size), folder, **options)


def recorded(rbm: RBM) -> tuple[list, list]:
    """(v, drawn h) of every `sample_hidden` and (h, drawn v) of every `sample_visible` from now on."""
    up, down, sample_hidden, sample_visible = [], [], rbm.sample_hidden, rbm.sample_visible

    def hidden(v, **options):
        h = sample_hidden(v, **options)
        up.append((v.clone(), h.clone()))
        return h

    def visible(h):
        v = sample_visible(h)
        down.append((h.clone(), v.clone()))
        return v

    rbm.sample_hidden, rbm.sample_visible = hidden, visible
    return up, down


def gradients(task, batch, *, seed=0):
    """Those of one training step, by name."""
    task.trainer = SILENT
    torch.manual_seed(seed)
    task.net.zero_grad()
    task.training_step(batch, 0).backward()
    task.on_before_optimizer_step(None)
    return {name: p.grad.clone() for name, p in task.rbm.named_parameters()}


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def sorted_rows(x):
    return np.array(sorted(map(tuple, array(x))))


# The step


@pytest.mark.parametrize("options", [{}, {"k": 3}, {"sample_visible": True}], ids=["CD-1", "CD-3", "drawn"])
def test_the_steps_of_a_fit_are_those_of_the_formula(options, tmp_path):
    rbm, x, k = machine(), binary(), options.get("k", 1)
    w, b, c = (array(p).copy() for p in (rbm.weight, rbm.visible_bias, rbm.hidden_bias))
    up, down = recorded(rbm)
    optimizer = sgd(lr=0.3, momentum=0.9, weight_decay=0.05)
    task = ContrastiveDivergence(rbm, initial_momentum=0.5, initial_momentum_epochs=2, optimizer=optimizer, **options)
    fit_on(task, x, tmp_path, epochs=5)
    assert len(up) == 5 * k
    assert len(down) == 5 * (k if "sample_visible" in options else k - 1)
    velocity = [0.0, 0.0, 0.0]
    for epoch in range(5):
        v0 = array(up[epoch * k][0])
        np.testing.assert_array_equal(sorted_rows(up[epoch * k][0]), sorted_rows(x))
        last = array(up[epoch * k + k - 1][1])  # of the chain's hidden states
        for step in range(1, k):  # each goes on from where the one before has come
            before, after = up[epoch * k + step - 1], up[epoch * k + step]
            drawn_from, drawn_v = down[epoch * (k - 1) + step - 1]
            assert torch.equal(drawn_from, before[1])
            assert torch.equal(drawn_v, after[0])
        vk = sigmoid(b + last @ w)
        if "sample_visible" in options:
            np.testing.assert_array_equal(array(down[epoch][0]), last)
            vk = array(down[epoch][1])
        h0, hk = sigmoid(c + v0 @ w.T), sigmoid(c + vk @ w.T)
        downhill = [(hk.T @ vk - h0.T @ v0) / 8 + 0.05 * w, (vk - v0).mean(axis=0), (hk - h0).mean(axis=0)]
        momentum = 0.5 if epoch < 2 else 0.9
        velocity = [momentum * old + new for old, new in zip(velocity, downhill, strict=True)]
        w, b, c = w - 0.3 * velocity[0], b - 0.3 * velocity[1], c - 0.3 * velocity[2]
    for found, expected in zip((rbm.weight, rbm.visible_bias, rbm.hidden_bias), (w, b, c), strict=True):
        np.testing.assert_allclose(array(found), expected, rtol=1e-4, atol=1e-5)


def test_without_an_initial_momentum_the_optimizer_keeps_its_own(tmp_path):
    task = ContrastiveDivergence(machine(), optimizer=sgd(momentum=0.7))
    fit_on(task, binary(), tmp_path)
    groups = torch.load(tmp_path / "last.ckpt", weights_only=True)["optimizer_states"][0]["param_groups"]
    assert [group["momentum"] for group in groups] == [0.7, 0.7]


def test_weight_decay_is_for_weights_and_not_for_biases():
    rbm = machine(visible_units="gaussian", learn_variance=True)
    optimizer = ContrastiveDivergence(rbm, optimizer=sgd(weight_decay=0.1)).configure_optimizers()
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert decay == {id(rbm.weight): 0.1, id(rbm.visible_bias): 0, id(rbm.hidden_bias): 0, id(rbm.log_variance): 0}


def test_an_initial_momentum_is_refused_where_the_optimizer_has_none():
    """Adam has none to go back to: without this, a run ends with a KeyError after ``initial_momentum_epochs``."""
    optimizer = partial(torch.optim.Adam, lr=0.1)
    task = ContrastiveDivergence(machine(), initial_momentum=0.5, optimizer=optimizer)
    with pytest.raises(ValueError, match="initial_momentum"):
        task.configure_optimizers()


def test_adam_fits_without_an_initial_momentum(tmp_path):
    rbm = machine()
    before = rbm.weight.clone()
    optimizer = partial(torch.optim.Adam, lr=0.1)
    fit_on(ContrastiveDivergence(rbm, initial_momentum_epochs=1, optimizer=optimizer), binary(), tmp_path, epochs=2)
    assert not torch.equal(rbm.weight, before)


@pytest.mark.parametrize("learned", [False, True])
def test_gaussian_units_are_moved_by_their_own_free_energy(learned):
    rbm, x = machine(visible_units="gaussian", learn_variance=learned), real()
    with torch.no_grad():
        rbm.log_variance.copy_(torch.linspace(-0.5, 0.5, 6))
    up, _ = recorded(rbm)
    found = gradients(ContrastiveDivergence(rbm), (x, labels()))
    w, b, c, s = (array(p) for p in (rbm.weight, rbm.visible_bias, rbm.hidden_bias, rbm.log_variance.exp()))
    v0, vk = array(x), b + array(up[0][1]) @ w
    h0, hk = sigmoid(c + (v0 / s) @ w.T), sigmoid(c + (vk / s) @ w.T)
    expected = {
        "weight": -(h0.T @ (v0 / s) - hk.T @ (vk / s)) / 8,
        "visible_bias": -((v0 - vk) / s).mean(axis=0),
        "hidden_bias": -(h0 - hk).mean(axis=0),
    }
    if learned:  # d/d log σ² of Σ (v-b)²/2σ² - h'W v/σ²
        energy = [-((v - b) ** 2) / (2 * s) + (h @ w) * v / s for v, h in ((v0, h0), (vk, hk))]
        expected["log_variance"] = (energy[0] - energy[1]).mean(axis=0)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(array(found[name]), value, rtol=1e-4, atol=1e-5, err_msg=name)


def test_gaussian_hidden_units_are_drawn_around_their_mean_and_count_by_it():
    rbm, x = machine(hidden_units="gaussian"), binary()
    up, _ = recorded(rbm)
    found = gradients(ContrastiveDivergence(rbm), (x, labels()))
    w, b, c = (array(p) for p in (rbm.weight, rbm.visible_bias, rbm.hidden_bias))
    v0, vk = array(x), sigmoid(b + array(up[0][1]) @ w)
    h0, hk = c + v0 @ w.T, c + vk @ w.T
    np.testing.assert_allclose(array(found["weight"]), (hk.T @ vk - h0.T @ v0) / 8, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(array(found["hidden_bias"]), (hk - h0).mean(axis=0), rtol=1e-4, atol=1e-5)


# Data and chains


def test_persistent_chains_go_on_from_batch_to_batch(tmp_path):
    rbm = machine()
    up, down = recorded(rbm)
    task = ContrastiveDivergence(rbm, persistent=True, chains=5, k=2, optimizer=sgd())
    fit_on(task, binary(12), tmp_path, batch_size=4, epochs=2)
    assert len(up) == len(down) == 2 * 6
    assert all(v.shape == (5, 6) for v, _ in up), "as many chains as asked for, whatever the batch"
    for (_, came), (start, _) in zip(down, up[1:], strict=False):
        assert torch.equal(came, start)
    assert torch.equal(task.chains, down[-1][1])
    assert set(task.chains.unique().tolist()) <= {0.0, 1.0}


def test_the_gradient_of_persistent_chains_is_by_where_they_came():
    rbm, x = machine(), binary()
    task = ContrastiveDivergence(rbm, persistent=True, chains=5)
    found = gradients(task, (x, labels()))
    w, c, v0, vk = (array(value) for value in (rbm.weight, rbm.hidden_bias, x, task.chains))
    h0, hk = sigmoid(c + v0 @ w.T), sigmoid(c + vk @ w.T)
    np.testing.assert_allclose(array(found["weight"]), hk.T @ vk / 5 - h0.T @ v0 / 8, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(array(found["visible_bias"]), vk.mean(0) - v0.mean(0), rtol=1e-4, atol=1e-5)


def test_persistent_chains_are_kept_in_the_checkpoint_and_go_on_from_it(tmp_path):
    task = ContrastiveDivergence(machine(), persistent=True, chains=5, optimizer=sgd())
    fit_on(task, binary(), tmp_path)
    kept = torch.load(tmp_path / "last.ckpt", weights_only=True)["chains"]
    assert torch.equal(kept, task.chains)
    other = machine()
    up, _ = recorded(other)
    again = ContrastiveDivergence(other, persistent=True, chains=5, optimizer=sgd())
    fit_on(again, binary(), tmp_path, epochs=2, resume=tmp_path / "last.ckpt")
    assert len(up) == 1
    assert torch.equal(up[0][0], kept)


def test_so_many_persistent_chains_begin_anew():
    """Chains of a machine that leaves 0 by no step of its own: what is inked began at fair coins."""
    rbm = machine(in_shape=[50], hidden=3)
    task = ContrastiveDivergence(rbm, persistent=True, chains=4000, restart=0.2)
    task.chains = torch.zeros(4000, 50)
    with torch.no_grad():
        rbm.weight.copy_(torch.tensor([40.0, 0.0, 0.0])[:, None].expand(3, 50))
        rbm.hidden_bias.copy_(torch.tensor([-10.0, 0.0, 0.0]))  # the first is on where there is any ink
        rbm.visible_bias.fill_(-30.0)  # and then so are the visible units
    inked = (task._persistent_end().sum(dim=1) > 10).float().mean().item()
    assert inked == pytest.approx(0.2, abs=0.03)


def test_sampled_data_are_zeros_and_ones_drawn_anew():
    rbm, x = machine(in_shape=[400], hidden=2), torch.full((300, 400), 0.3)
    task = ContrastiveDivergence(rbm, sample_data=True)
    first, second = task._visible((x, labels(300))), task._visible((x, labels(300)))
    assert set(first.unique().tolist()) == {0.0, 1.0}
    assert first.mean().item() == pytest.approx(0.3, abs=0.01)
    assert not torch.equal(first, second)
    assert torch.equal(task._visible((x, labels(300)), sampled=False), x)
    assert torch.equal(ContrastiveDivergence(rbm)._visible((x, labels(300))), x)


@pytest.mark.parametrize("drawn_last", [False, True])
def test_the_end_of_a_chain_is_drawn_only_if_asked_for(drawn_last):
    rbm = machine()
    task = ContrastiveDivergence(rbm, sample_visible=drawn_last)
    v0 = binary()
    vk = chain_end(rbm, v0, rbm.hidden_mean(v0), task.k, sampled=task.sample_visible)
    assert (set(vk.unique().tolist()) <= {0.0, 1.0}) == drawn_last


def test_labels_are_visible_units_of_their_own(tmp_path):
    rbm, x, y = machine(label_units=3), binary(), labels()
    up, _ = recorded(rbm)
    found = gradients(ContrastiveDivergence(rbm), (x, y))
    v0 = np.concatenate([array(x), np.eye(3)[y.numpy()]], axis=1)
    np.testing.assert_array_equal(array(up[0][0]), v0)
    w, b, c = (array(p) for p in (rbm.weight, rbm.visible_bias, rbm.hidden_bias))
    a = b + array(up[0][1]) @ w
    softmax = np.exp(a[:, 6:]) / np.exp(a[:, 6:]).sum(axis=1, keepdims=True)
    vk = np.concatenate([sigmoid(a[:, :6]), softmax], axis=1)
    h0, hk = sigmoid(c + v0 @ w.T), sigmoid(c + vk @ w.T)
    np.testing.assert_allclose(array(found["weight"]), (hk.T @ vk - h0.T @ v0) / 8, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(array(found["visible_bias"]), (vk - v0).mean(axis=0), rtol=1e-4, atol=1e-5)


# A layer of a stack


def stacks():
    return [
        DBN(in_shape=[6], num_classes=3, hidden=[5, 4, 3]),
        StackedAutoencoder(in_shape=[6], num_classes=3, hidden=[5, 4, 3]),
        StackedAutoencoder(in_shape=[6], num_classes=None, hidden=[5, 4, 3], tied=False, code_activation="identity"),
    ]


@pytest.mark.parametrize("net", stacks(), ids=["dbn", "tied", "free"])
@pytest.mark.parametrize("layer", [0, 1, 2])
def test_a_layer_is_fitted_on_the_codes_of_those_below(net, layer, tmp_path, monkeypatch):
    randomize(net)
    before = {name: p.clone() for name, p in net.named_parameters()}
    task, x = ContrastiveDivergence(net, layer, optimizer=sgd()), binary()
    rbm, rbm_of = net.rbm(layer), net.rbm  # an autoencoder gives another object every time, which is not recorded
    monkeypatch.setattr(net, "rbm", lambda k: rbm if k == layer else rbm_of(k))
    up, _ = recorded(rbm)
    expected = sorted_rows(net.encode(x, layer))
    fit_on(task, x, tmp_path)
    np.testing.assert_allclose(sorted_rows(up[0][0]), expected, rtol=1e-6)
    moved = {name for name, p in net.named_parameters() if not torch.equal(p, before[name])}
    fitted = {f"layers.{layer}.{name}" for name in ("weight", "visible_bias", "hidden_bias")}
    if getattr(net.layers[layer], "decoder_weight", None) is not None:
        fitted.add(f"layers.{layer}.decoder_weight")  # which follows in the end
        assert torch.equal(net.layers[layer].decoder_weight, net.layers[layer].weight.t())
    assert moved == fitted


def test_a_top_layer_with_label_units_learns_the_labels(tmp_path):
    net = randomize(DBN(in_shape=[6], num_classes=3, hidden=[5, 4], label_units=True))
    task, x = ContrastiveDivergence(net, 1), binary()
    up, _ = recorded(task.rbm)
    gradients(task, (x, labels()))
    expected = torch.cat([net.encode(x, 1), nn.functional.one_hot(labels(), 3)], dim=1)
    torch.testing.assert_close(up[0][0], expected)


@pytest.mark.parametrize("net", stacks()[:2], ids=["dbn", "sae"])
def test_a_whole_stack_at_once_is_refused(net):
    with pytest.raises(ValueError, match="one RBM at a time; use order=layerwise"):
        ContrastiveDivergence(net, optimizer=sgd()).configure_optimizers()


def test_a_free_decoder_follows_the_best_epochs_encoder(tmp_path):
    """The best weights come out of a checkpoint, in which the decoder has not followed yet."""
    net = stacks()[2]
    task = ContrastiveDivergence(net, 0, optimizer=sgd())
    fit_on(task, binary(), tmp_path, validation=binary(5, seed=2), epochs=3, patience=2)
    assert torch.equal(net.layers[0].decoder_weight, net.layers[0].weight.t())


def test_a_machine_made_of_an_autoencoder_goes_with_its_task_to_another_device_or_type():
    """Its variances are no part of the net, so a net that goes to a GPU would leave them behind."""
    net = StackedAutoencoder(in_shape=[6], hidden=[5, 4], output_activation="identity")
    task = ContrastiveDivergence(net, 0)
    task.double()
    assert task.rbm.weight is net.layers[0].weight
    assert task.rbm.log_variance.dtype == torch.float64


@pytest.mark.parametrize(
    ("net", "layer", "fitted"),
    [
        (machine(visible_units="gaussian", learn_variance=True), None, {""}),
        (stacks()[0], 1, {"layers.1."}),
        (stacks()[2], 0, {"layers.0."}),
    ],
    ids=["rbm", "dbn", "sae"],
)
def test_gradients_are_asked_for_where_a_fit_moves_something_and_everywhere_after(
    net, layer, fitted, tmp_path, monkeypatch
):
    """With several processes, a parameter that wants a gradient and gets none is an error."""
    seen = []

    def look(self, trainer, task, optimizer):
        wanted = {name for name, p in net.named_parameters() if p.requires_grad}
        given = {name for name, p in net.named_parameters() if p.grad is not None}
        seen.append((wanted, given))

    monkeypatch.setattr("zoo.training.fit.callbacks.SaveForResume.on_before_optimizer_step", look)
    x = binary() if layer is not None else real()
    fit_on(ContrastiveDivergence(net, layer, optimizer=sgd(), persistent=True), x, tmp_path)
    (prefix,) = fitted
    expected = {name for name, _ in net.named_parameters() if name.startswith(prefix) and "decoder" not in name}
    assert seen == [(expected, expected)]
    assert all(p.requires_grad for p in net.parameters())


# Centring


def centred_step(rbm, v0, vk, mu, lambda_, lr):
    """One step of the centred machine (Melchior et al. 2016), by autograd on its own free energy and in its own
    parameters: the weights and biases of the plain machine afterwards. E = -(v-μ)b' - (h-λ)c' - (h-λ)W(v-μ) of
    binary units; Σ (v-b')²/2σ² - (h-λ)c' - (h-λ)W(v-μ)/σ² of Gaussian ones."""
    w = rbm.weight.detach().double().requires_grad_()
    gaussian = rbm.visible_units == "gaussian"
    s = rbm.log_variance.detach().double().exp() if gaussian else torch.ones(len(mu), dtype=torch.float64)
    b = (rbm.visible_bias.detach().double() + lambda_ @ w.detach()).requires_grad_()
    c = (rbm.hidden_bias.detach().double() + w.detach() @ (mu / s)).requires_grad_()

    def free_energy(v):
        a = c + ((v - mu) / s) @ w.t()
        own = ((v - b).square() / (2 * s)).sum(dim=1) if gaussian else -(v - mu) @ b
        return own + a @ lambda_ - nn.functional.softplus(a).sum(dim=1)

    (free_energy(v0).mean() - free_energy(vk).mean()).backward()
    w, b, c = (p.detach() - lr * p.grad for p in (w, b, c))
    return {"weight": w, "visible_bias": b - lambda_ @ w, "hidden_bias": c - w @ (mu / s)}


@pytest.mark.parametrize(
    "options", [{}, {"visible_units": "gaussian"}, {"visible_units": "gaussian", "learn_variance": 1}]
)
def test_the_centred_gradient_is_that_of_the_centred_machine(options):
    rbm, x = machine(**options), real() if options else binary()
    if options:
        with torch.no_grad():
            rbm.log_variance.copy_(torch.linspace(-0.5, 0.5, 6))
    up, _ = recorded(rbm)
    task = ContrastiveDivergence(rbm, centered=True)
    task.visible_offset, task.hidden_offset = torch.rand(6), torch.rand(4)
    before = task.visible_offset.double(), task.hidden_offset.double()
    found = gradients(task, (x, labels()))
    v0, vk = x, rbm.visible_mean(up[0][1])
    means = (v0 + vk).mean(dim=0) / 2, (rbm.hidden_mean(v0) + rbm.hidden_mean(vk)).mean(dim=0) / 2
    offsets = [0.99 * old + 0.01 * new.detach().double() for old, new in zip(before, means, strict=True)]
    torch.testing.assert_close(task.visible_offset.double(), offsets[0], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(task.hidden_offset.double(), offsets[1], rtol=1e-5, atol=1e-6)
    after = centred_step(rbm, v0.double(), vk.detach().double(), *offsets, lr=0.3)
    for name, expected in after.items():
        now = getattr(rbm, name).detach() - 0.3 * found[name]
        torch.testing.assert_close(now.double(), expected, rtol=1e-4, atol=1e-5, msg=name)
    plain = gradients(ContrastiveDivergence(rbm), (x, labels()))
    assert not torch.allclose(plain["weight"], found["weight"], atol=1e-2)


def test_offsets_run_to_the_means_of_the_units(tmp_path):
    rbm = machine()
    x = (torch.rand(40, 6, generator=torch.Generator().manual_seed(0)) < 0.9).float()
    task = ContrastiveDivergence(rbm, centered=True, optimizer=sgd(lr=0.0))
    fit_on(task, x, tmp_path, batch_size=2, epochs=20)
    model = rbm.visible_mean(rbm.hidden_mean(x)).mean(dim=0)
    torch.testing.assert_close(task.visible_offset, ((x.mean(dim=0) + model) / 2).detach(), rtol=0, atol=0.06)
    kept = torch.load(tmp_path / "last.ckpt", weights_only=True)["state_dict"]
    assert torch.equal(kept["visible_offset"], task.visible_offset)
    assert torch.equal(kept["hidden_offset"], task.hidden_offset)


# Sparsity


def test_the_sparsity_term_moves_a_hidden_bias_by_its_activation_less_the_target():
    rbm, x = machine(), binary()
    task = ContrastiveDivergence(rbm, sparsity_target=0.2, sparsity_cost=3.0)
    with_cost, without = gradients(task, (x, labels())), gradients(ContrastiveDivergence(rbm), (x, labels()))
    q = 0.9 * 0.2 + 0.1 * array(rbm.hidden_mean(x)).mean(axis=0)
    np.testing.assert_allclose(array(task.activation), q, rtol=1e-5)
    pull = {name: array(with_cost[name] - without[name]) for name in with_cost}
    np.testing.assert_allclose(pull["hidden_bias"], 3 * (q - 0.2), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(pull["weight"], np.outer(3 * (q - 0.2), array(x).mean(axis=0)), rtol=1e-3, atol=1e-5)
    assert not pull["visible_bias"].any()
    gradients(task, (x, labels()))
    np.testing.assert_allclose(
        array(task.activation), 0.9 * q + 0.1 * array(rbm.hidden_mean(x)).mean(axis=0), rtol=1e-5
    )


def test_sparsity_on_the_hidden_biases_of_maps_is_the_update_of_the_paper():
    """The mean of each map over examples and positions, less the target; the weights do not move."""
    torch.manual_seed(0)
    net = ConvRBM(in_shape=(1, 5, 5), hidden=3, kernel_size=3)
    net.init_biases(torch.full((1, 5, 5), 0.5), 0.1)  # otherwise the first step sets them
    x = torch.rand(8, 1, 5, 5)
    options = {"sparsity_target": 0.02, "sparsity_cost": 3.0, "sparsity_on": "hidden_bias", "sparsity_decay": 0.0}
    with_cost = gradients(ContrastiveDivergence(net, **options), (x, labels()))
    without = gradients(ContrastiveDivergence(net), (x, labels()))
    expected = 3 * (array(net.hidden_mean(x)).mean(axis=(0, 2, 3)) - 0.02)
    pull = {name: array(with_cost[name] - without[name]) for name in with_cost}
    np.testing.assert_allclose(pull["hidden_bias"], expected, rtol=1e-3, atol=1e-5)
    assert not pull["weight"].any()
    assert not pull["visible_bias"].any()


def test_sparsity_brings_activations_to_their_target(tmp_path):
    x, found = binary(40), {}
    for cost in (0.0, 5.0):
        rbm = machine()
        task = ContrastiveDivergence(rbm, sparsity_target=0.1, sparsity_cost=cost, optimizer=sgd(lr=0.1))
        fit_on(task, x, tmp_path, batch_size=20, epochs=35)
        found[cost] = array(rbm.hidden_mean(x)).mean(axis=0)
    assert np.abs(found[5.0] - 0.1).max() < 0.08
    assert np.abs(found[0.0] - 0.1).max() > 0.2


# What a fit is good for


def patterns(n: int, seed: int) -> torch.Tensor:
    """Three patterns of six pixels, a twentieth of the pixels flipped."""
    chance = torch.Generator().manual_seed(seed)
    clean = torch.tensor([[1, 1, 0, 0, 0, 0], [0, 0, 1, 1, 0, 0], [0, 1, 0, 0, 1, 1.0]])
    x = clean[torch.randint(3, (n,), generator=chance)]
    return (x - (torch.rand(n, 6, generator=chance) < 0.05).float()).abs()


def error(rbm, x):
    return (x - rbm.reconstruct(x)).square().sum(dim=1).mean().item()


@pytest.mark.parametrize(
    "options", [{}, {"persistent": True, "chains": 50, "centered": True}, {"k": 3, "sample_visible": True}]
)
def test_a_fit_raises_the_likelihood_and_lowers_the_reconstruction_error(options, tmp_path):
    torch.manual_seed(0)
    rbm, x = RBM(in_shape=[6], hidden=4), patterns(100, 0)
    before = log_likelihood(rbm, x).mean().item(), error(rbm, x)
    fit_on(ContrastiveDivergence(rbm, optimizer=sgd(lr=0.3), **options), x, tmp_path, batch_size=20, epochs=35)
    assert log_likelihood(rbm, x).mean().item() > before[0] + 1
    assert error(rbm, x) < before[1] / 2


def test_the_average_of_the_weights_is_kept_with_ema(tmp_path):
    ends = {}
    for ema in (None, 0.9):
        torch.manual_seed(0)
        rbm = RBM(in_shape=[6], hidden=4)
        torch.manual_seed(0)
        task = ContrastiveDivergence(rbm, persistent=True, centered=True, chains=10, optimizer=sgd(lr=0.05))
        fit_on(task, patterns(40, 0), tmp_path, validation=patterns(10, 1), batch_size=20, epochs=8, ema=ema)
        ends[ema] = rbm
        assert log_likelihood(rbm, patterns(40, 0)).mean() > -6 * np.log(2)
    assert 0 < ends[0.9].weight.norm() < ends[None].weight.norm()


# What is logged


def test_a_fit_logs_its_training_and_its_validation(tmp_path):
    rbm, x, validation = machine(), patterns(24, 0), patterns(9, 1)
    history = fit_on(
        ContrastiveDivergence(rbm, optimizer=sgd()), x, tmp_path, validation=validation, batch_size=2, epochs=2
    )
    assert {name for row in history.rows for name in row} == {
        *("fit", "epoch", "step", "train/loss", "train/hidden_activation", "train/reconstruction_error"),
        *("val/reconstruction_error", "val/pseudo_log_likelihood", "val/free_energy_gap"),
    }
    steps, gaps = history.series("val/free_energy_gap")["fit"]
    assert len(steps) == 2
    sampler = Shuffle(24, seed=0)
    sampler.set_epoch(1)
    seen = x[list(sampler)[:20]]  # ten batches of two
    gap = rbm.free_energy(validation).mean() - rbm.free_energy(seen).mean()
    assert gaps[-1] == pytest.approx(gap.item(), abs=1e-4)
    errors = history.series("val/reconstruction_error")["fit"][1]
    assert errors[-1] == pytest.approx(error(rbm, validation), rel=1e-5)
    flips = torch.randint(6, (9,), generator=torch.Generator().manual_seed(0))
    expected = rbm.pseudo_log_likelihood(validation, flips).mean().item()
    assert history.series("val/pseudo_log_likelihood")["fit"][1][-1] == pytest.approx(expected, rel=1e-5)


def test_the_training_loss_is_the_difference_of_free_energies(tmp_path):
    rbm, x = machine(), binary()
    up, _ = recorded(rbm)
    history = fit_on(ContrastiveDivergence(rbm, optimizer=sgd(lr=0.0)), x, tmp_path)
    vk = rbm.visible_mean(up[0][1])
    expected = (rbm.free_energy(x).mean() - rbm.free_energy(vk).mean()).item()
    assert history.series("train/loss")["fit"][1] == [pytest.approx(expected, abs=1e-5)]
    expected = (up[0][0] - vk).square().sum(dim=1).mean().item()
    assert history.series("train/reconstruction_error")["fit"][1] == [pytest.approx(expected, rel=1e-5)]
    assert history.series("train/hidden_activation")["fit"][1] == [pytest.approx(rbm.hidden_mean(x).mean().item())]


@pytest.mark.parametrize(
    ("net", "layer", "logged"),
    [
        (machine(label_units=3), None, {"reconstruction_error", "accuracy", "free_energy_gap"}),
        (machine(visible_units="gaussian"), None, {"reconstruction_error", "free_energy_gap"}),
        (randomize(stacks()[0]), 1, {"reconstruction_error", "free_energy_gap", "pseudo_log_likelihood"}),
    ],
    ids=["labels", "gaussian", "layer"],
)
def test_what_is_measured_depends_on_the_units(net, layer, logged, tmp_path):
    validation = binary(7)
    task = ContrastiveDivergence(net, layer, optimizer=sgd())
    history = fit_on(task, binary(), tmp_path, validation=validation)
    found = {name for row in history.rows for name in row if name.startswith("val/")}
    assert found == {f"val/{name}" for name in logged}
    if layer is not None:  # of the codes, not of the pixels
        v = net.encode(validation, layer)
        expected = (v - net.rbm(layer).visible_mean(net.rbm(layer).hidden_mean(v))).square().sum(dim=1).mean().item()
        assert history.series("val/reconstruction_error")["fit"][1] == [pytest.approx(expected, rel=1e-5)]
    elif "accuracy" in logged:
        expected = (net(validation).argmax(dim=1) == labels(7)).float().mean().item()
        assert history.series("val/accuracy")["fit"][1] == [pytest.approx(expected)]


# What is refused, and precision


@pytest.mark.parametrize(
    "options",
    [
        {"k": 0},
        {"chains": 0},
        {"restart": 1.0},
        {"sparsity_target": 0.0},
        {"sparsity_target": 1.0},
        {"sparsity_decay": 1.0},
        {"sparsity_on": "weight"},
    ],
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        ContrastiveDivergence(machine(), **options)


def test_a_net_without_an_rbm_is_refused():
    with pytest.raises(ValueError, match="needs an RBM or a stack of RBMs, got MLP"):
        ContrastiveDivergence(MLP(in_shape=[6], num_classes=3, hidden=[4]))
    with pytest.raises(ValueError, match="needs an RBM or a stack of RBMs, got RBM"):
        ContrastiveDivergence(machine(), layer=0)


def test_sparsity_of_gaussian_hidden_units_is_refused():
    """Their mean is no probability: the cross-entropy with the target would be undefined."""
    with pytest.raises(ValueError, match=r"sparsity_cost=0\.5 needs Bernoulli hidden units"):
        ContrastiveDivergence(machine(hidden_units="gaussian"), sparsity_cost=0.5)


def test_a_single_autoencoder_is_a_stack_of_one(tmp_path):
    net = randomize(Autoencoder(in_shape=[6], hidden=4, tied=False))
    weight = net.weight.clone()
    fit_on(ContrastiveDivergence(net, 0, optimizer=sgd()), binary(), tmp_path)
    assert not torch.equal(net.weight, weight)
    assert torch.equal(net.decoder_weight, net.weight.t())


class FullyVisible(nn.Module):
    """The least that an RBM needs to be trained: its own equations, on images, with one hidden unit for each pixel.

    Not the zoo's class, and no weight matrix: w and c are one number for each pixel.
    """

    visible = hidden = Bernoulli()
    visible_shape = (6,)
    hidden_shape = (2, 3)

    def __init__(self):
        super().__init__()
        self.w, self.b, self.c = (nn.Parameter(torch.randn(2, 3)) for _ in range(3))

    def energy_parameters(self):
        return [self.w, self.b, self.c]

    def hidden_input(self, v):
        return v.unflatten(1, (2, 3)) * self.w + self.c

    def hidden_mean(self, v, *, hidden_input=None):
        return torch.sigmoid(self.hidden_input(v) if hidden_input is None else hidden_input)

    def sample_hidden(self, v, *, hidden_mean=None):
        return bernoulli(self.hidden_mean(v) if hidden_mean is None else hidden_mean)

    def visible_input(self, h):
        return (h * self.w + self.b).flatten(1)

    def visible_mean(self, h):
        return torch.sigmoid(self.visible_input(h))

    def sample_visible(self, h):
        return bernoulli(self.visible_mean(h))

    def gibbs(self, v, steps=1, *, labels=None):
        for _ in range(steps):
            v = self.sample_visible(self.sample_hidden(v))
        return v

    def free_energy(self, v, *, hidden_input=None):
        a = self.hidden_input(v) if hidden_input is None else hidden_input
        return -v @ self.b.flatten() - nn.functional.softplus(a).flatten(1).sum(dim=1)

    def reconstruct(self, x):
        return self.visible_mean(self.hidden_mean(x.flatten(1))).unflatten(1, (2, 3))

    def with_labels(self, v, labels):
        return v

    def noise(self, n):
        return torch.randint(2, (n, 6)).float()


@pytest.mark.parametrize("options", [{}, {"persistent": True, "restart": 0.1}, {"sparsity_cost": 0.1, "k": 2}])
def test_an_rbm_of_one_s_own_needs_the_methods_of_the_protocol_only(options, tmp_path):
    torch.manual_seed(0)
    net = FullyVisible()
    assert isinstance(net, RBMLayer)
    task = ContrastiveDivergence(net, optimizer=sgd(), **options)
    x = (torch.rand(200, 2, 3) < torch.tensor([0.05, 0.9, 0.5])).float()
    history = fit_on(task, x, tmp_path, validation=x, batch_size=20, epochs=10)
    assert history.series("val/free_energy_gap")["fit"][1]
    assert all(np.isfinite(history.series("val/reconstruction_error")["fit"][1]))
    samples = net.gibbs(net.noise(2000), 100).unflatten(1, (2, 3)).mean(dim=(0, 1))
    torch.testing.assert_close(samples, torch.tensor([0.05, 0.9, 0.5]), rtol=0, atol=0.12)


def test_centering_is_refused_where_the_rbm_has_no_centered_gradient():
    with pytest.raises(ValueError, match="centered=true: FullyVisible has no centered gradient"):
        ContrastiveDivergence(FullyVisible(), centered=True)


def test_a_restart_of_chains_that_do_not_persist_is_refused():
    with pytest.raises(ValueError, match=r"restart=0\.1 is for persistent chains; set persistent=true"):
        ContrastiveDivergence(machine(), restart=0.1)


@pytest.mark.parametrize("value", [-0.1, 1.1])
def test_bernoulli_units_take_no_values_outside_the_unit_interval(value):
    x = binary()
    x[3, 2] = value
    with pytest.raises(ValueError, match=r"must be in \[0, 1\], got \[.*model.input_scaling=unit.*visible_units"):
        ContrastiveDivergence(machine()).check_inputs(x)
    ContrastiveDivergence(machine(visible_units="gaussian")).check_inputs(x)
    ContrastiveDivergence(machine()).check_inputs(binary())


@pytest.fixture
def quick(monkeypatch):
    """No pictures."""
    monkeypatch.setattr("zoo.plots.stage_plots.draw", lambda *args, **options: None)


def plant(folder):
    rng = np.random.default_rng(0)
    np.savez(folder / "own.npz", x=rng.normal(size=(200, 6)), y=np.arange(200) % 2)


OWN = ("model=rbm", "model.net.hidden=5", "dataset=npz", "dataset.root=own.npz", "epochs=1", "progress=false")


def test_real_data_are_refused_in_one_message_and_fit_gaussian_units(cli, folder, quick):
    plant(folder)
    outcome = cli("train", *OWN, "hydra.run.dir=run")
    assert (outcome.status, outcome.out) == (1, "")
    assert len(outcome.err.splitlines()) == 1
    assert "inputs of Bernoulli visible units must be in [0, 1], got [-" in outcome.err
    assert not (folder / "run").exists()
    outcome = cli(
        "train", *OWN, "model.net.visible_units=gaussian", "model.input_scaling=standardized", "hydra.run.dir=run"
    )
    assert (outcome.status, outcome.err) == (0, "")
    assert set(json.loads((folder / "run" / "metrics.json").read_text())) == {
        "val/reconstruction_error",
        "test/reconstruction_error",
    }


def test_half_precision_is_refused_in_one_message(cli, folder):
    outcome = cli("train", "accelerator.precision=16-mixed", "model=rbm", "hydra.run.dir=run")
    assert (outcome.status, outcome.out) == (1, "")
    assert len(outcome.err.splitlines()) == 1
    assert "accelerator.precision=16-mixed" in outcome.err
    assert "use bf16-mixed or 32-true" in outcome.err
    assert not (folder / "run").exists()


def test_only_half_precision_is_refused():
    for precision in set(hardware.PRECISIONS) - {"16-mixed"}:
        refuse_precision(ContrastiveDivergence, precision)
    refuse_precision(Reconstruction, "16-mixed")


def test_bfloat16_comes_close_to_single_precision(tmp_path):
    errors = {}
    for precision in ("32-true", "bf16-mixed"):
        torch.manual_seed(0)
        rbm, x = RBM(in_shape=[6], hidden=4), patterns(100, 0)
        before = error(rbm, x)
        task = ContrastiveDivergence(rbm, persistent=True, chains=20, optimizer=sgd(lr=0.3))
        fit_on(task, x, tmp_path, batch_size=20, epochs=25, trainer_kwargs={**CPU, "precision": precision})
        errors[precision] = error(rbm, x)
    assert errors["bf16-mixed"] == pytest.approx(errors["32-true"], abs=0.15 * before)
    assert errors["bf16-mixed"] < 0.6 * before


def test_bfloat16_measures_the_free_energy_gap_as_single_precision_does(tmp_path):
    """Free energies are some hundreds of nats; a bfloat16 of that size is good to one or two."""
    gaps = {}
    for precision in ("32-true", "bf16-mixed"):
        rbm = randomize(RBM(in_shape=[400], hidden=30), 0.1)
        with torch.no_grad():
            rbm.visible_bias.add_(1.0)
        task = ContrastiveDivergence(rbm, optimizer=sgd(lr=0.0))
        history = fit_on(
            task,
            binary(30, 400),
            tmp_path,
            validation=binary(20, 400, seed=2),
            trainer_kwargs={**CPU, "precision": precision},
        )
        gaps[precision] = history.series("val/free_energy_gap")["fit"][1][0]
    assert gaps["bf16-mixed"] == pytest.approx(gaps["32-true"], abs=0.2)


def test_metrics_of_the_command_line_are_those_of_both_parts(cli, folder, quick):
    words = ("model=rbm", "model.net.hidden=10", "model.net.label_units=10", "epochs=1", "progress=false")
    assert cli("train", *words, "hydra.run.dir=run").status == 0
    metrics = json.loads((folder / "run" / "metrics.json").read_text())
    assert set(metrics) == {
        f"{part}/{name}" for part in ("val", "test") for name in ("reconstruction_error", "accuracy")
    }
    with (folder / "run" / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    last = [row for row in rows if row["val/accuracy"]][-1]
    assert float(last["val/accuracy"]) == pytest.approx(metrics["val/accuracy"])
    assert last["val/free_energy_gap"]


# Learning rates and weight decay of convolutional RBMs


def test_hidden_biases_and_gaussian_layers_have_their_own_rates():
    rates = {"gaussian_lr_factor": 0.1, "gaussian_weight_decay": 0.5, "hidden_bias_lr_factor": 20.0}
    for kind, factor, decay in (("gaussian", 0.1, {"weight_decay": 0.5}), ("bernoulli", 1.0, {})):
        net = ConvRBM(in_shape=(1, 5, 5), hidden=3, kernel_size=3, visible_units=kind)
        kernels, visible, hidden = ContrastiveDivergence(net, **rates).parameter_groups()
        assert kernels == {"params": [net.weight], "lr_factor": factor, **decay}
        assert visible == {"params": [net.visible_bias], "weight_decay": 0.0, "lr_factor": factor}
        assert hidden == {"params": [net.hidden_bias], "weight_decay": 0.0, "lr_factor": 20.0}


def test_the_first_step_starts_the_biases_at_the_means_of_the_data(tmp_path):
    net = ConvRBM(in_shape=(1, 6, 6), hidden=3, kernel_size=3)
    x = torch.full((20, 1, 6, 6), 0.2)
    fit_on(ContrastiveDivergence(net, sparsity_cost=1.0, optimizer=sgd(lr=0.0)), x, tmp_path, batch_size=20, epochs=1)
    assert array(torch.sigmoid(net.visible_bias)) == pytest.approx(0.2, abs=1e-4)
    assert array(net.hidden_mean(torch.zeros(1, 1, 6, 6))) == pytest.approx(0.1, abs=1e-4)
