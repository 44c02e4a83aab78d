"""Wake-sleep (up-down) against the delta rules of Hinton, Osindero & Teh (2006, appendix B), and its use."""

from functools import partial

import numpy as np
import pytest
import torch
from support import SILENT, array, fit_and_log, randomize

import zoo
from zoo.analysis.likelihood import log_likelihood
from zoo.checkpoints import checkpoint as checkpoints
from zoo.data.datamodule import DataModule
from zoo.data.preprocess import Preprocess
from zoo.data.splits import InMemory, Splits
from zoo.models import DBN, RBM, StackedAutoencoder
from zoo.models.units import bernoulli
from zoo.tasks import ContrastiveDivergence, WakeSleep


def sgd(lr=0.1):
    return partial(torch.optim.SGD, lr=lr)


def belief(**options) -> DBN:
    """Six pixels, layers of five, four and three units, all weights drawn, recognition weights apart."""
    net = DBN(**{"in_shape": [6], "num_classes": 3, "hidden": [5, 4, 3], **options})
    net.untie()
    randomize(net)
    return net


def binary(n=8):
    return torch.randint(2, (n, 6), generator=torch.Generator().manual_seed(1)).float()


def labels(n=8):
    return torch.arange(n) % 3


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def fit_on(task, x, folder, *, batch_size=None, validation=None, **stage):
    part = InMemory(x, labels(len(x)))
    splits = Splits(part, part if validation else None, None, tuple(x.shape[1:]), classes=("a", "b", "c"))
    data = DataModule(splits, preprocess=Preprocess(tuple(x.shape[1:]), scale=1.0), batch_size=batch_size or len(x))
    return fit_and_log(task, data, folder, **stage)


# The step


def recorded(task, monkeypatch):
    """All that one step draws: recognised states, visible states of the top chain, generated states."""
    states = {"up": [], "chain": [], "down": []}
    *lower, top = task.net.layers

    def drawn_up(p):
        h = (torch.rand(p.shape) < p).float()
        states["up"].append(h)
        return h

    def note(rbm, name):
        original = rbm.sample_visible

        def sample_visible(h):
            v = original(h)
            states[name].append(v)
            return v

        monkeypatch.setattr(rbm, "sample_visible", sample_visible)

    monkeypatch.setattr("zoo.tasks.wake_sleep.bernoulli", drawn_up)
    note(top, "chain")
    for rbm in lower:
        note(rbm, "down")
    return states


@pytest.mark.parametrize("label_units", [False, True], ids=["plain", "labels"])
@pytest.mark.parametrize("k", [1, 3])
def test_the_gradients_are_the_delta_rules_of_the_paper(k, label_units, monkeypatch):
    net, x, y = belief(label_units=label_units), binary(), labels()
    task = WakeSleep(net, k=k)
    task.trainer = SILENT
    states = recorded(task, monkeypatch)
    task.training_step((x, y), 0).backward()
    assert [len(states[name]) for name in ("up", "chain", "down")] == [2, k, 2]
    v, h1, h2 = (array(s) for s in (x, *states["up"]))  # wake
    end = array(states["chain"][-1])
    g2 = end[:, :4]  # asleep, from the top down
    g1, g0 = (array(s) for s in states["down"])
    assert g1.shape == (8, 5)
    assert g0.shape == (8, 6)
    one_hot = np.eye(3)[y.numpy()] if label_units else np.zeros((8, 0))
    first, second, top = ([array(p) for p in (rbm.weight, rbm.visible_bias, rbm.hidden_bias)] for rbm in net.layers)
    up1, up2 = ([array(linear.weight), array(linear.bias)] for linear in net.recognition)
    # Generative: what the states above say of those below, W -= r <h (p - below)>.
    p0, p1 = sigmoid(first[1] + h1 @ first[0]), sigmoid(second[1] + h2 @ second[0])
    # Recognition: what the dreamt states below say of those above.
    q1, q2 = sigmoid(up1[1] + g0 @ up1[0].T), sigmoid(up2[1] + g1 @ up2[0].T)
    # Top: contrastive divergence.
    start = np.concatenate([h2, one_hot], axis=1)
    t0, tk = sigmoid(top[2] + start @ top[0].T), sigmoid(top[2] + end @ top[0].T)
    expected = {
        "layers.0.weight": h1.T @ (p0 - v),
        "layers.0.visible_bias": (p0 - v).sum(axis=0),
        "layers.1.weight": h2.T @ (p1 - h1),
        "layers.1.visible_bias": (p1 - h1).sum(axis=0),
        "layers.2.weight": tk.T @ end - t0.T @ start,
        "layers.2.visible_bias": (end - start).sum(axis=0),
        "layers.2.hidden_bias": (tk - t0).sum(axis=0),
        "recognition.0.weight": (q1 - g1).T @ g0,
        "recognition.0.bias": (q1 - g1).sum(axis=0),
        "recognition.1.weight": (q2 - g2).T @ g1,
        "recognition.1.bias": (q2 - g2).sum(axis=0),
    }
    found = {name: p.grad for name, p in net.named_parameters() if p.grad is not None}
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(array(found[name]), value / 8, rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("persistent", [False, True])
def test_persistent_chains_go_on_where_the_last_step_left_them(persistent, monkeypatch):
    net = belief(label_units=True)
    task, chains = WakeSleep(net, k=2, persistent=persistent), []
    task.trainer = SILENT
    original = net.top.gibbs
    monkeypatch.setattr(net.top, "gibbs", lambda v, k: chains.append((v, original(v, k))) or chains[-1][1])
    torch.manual_seed(0)
    for n in (8, 8, 5):
        task.training_step((binary(n), labels(n)), 0).backward()
    assert torch.equal(chains[0][0][:, 4:], torch.eye(3)[labels(8)])  # from the data
    for (_, end), (start, _), n in zip(chains, chains[1:], (8, 5), strict=False):
        assert torch.equal(start, end) == persistent
        assert len(start) == (8 if persistent else n)


def test_a_share_of_the_persistent_chains_begins_anew_from_noise(monkeypatch):
    net = belief(label_units=True)
    task, starts = WakeSleep(net, persistent=True, restart=0.2), []
    task.trainer = SILENT
    # 0.5 is no state of a unit: such chains have gone on
    monkeypatch.setattr(net.top, "gibbs", lambda v, k: starts.append(v) or torch.full_like(v, 0.5))
    for _ in range(3):
        task.training_step((binary(4000), labels(4000)), 0).backward()
    for start in starts[1:]:
        anew = (start != 0.5).all(dim=1)
        assert anew.float().mean().item() == pytest.approx(0.2, abs=0.02)
        assert (start[~anew] == 0.5).all()
        assert set(start[anew].unique().tolist()) == {0.0, 1.0}
        assert (start[anew][:, 4:].sum(dim=1) == 1).all()  # one class
        assert start[anew][:, :4].mean().item() == pytest.approx(0.5, abs=0.03)


def test_the_label_term_adds_the_gradient_of_the_conditional_that_free_energies_give():
    x, y, grads = binary(), labels(), []
    for weight in (0.0, 2.0):
        net = belief(label_units=True)
        task = WakeSleep(net, label_weight=weight)
        task.trainer = SILENT
        torch.manual_seed(0)
        task.training_step((x, y), 0).backward()
        grads.append({name: p.grad for name, p in net.named_parameters() if p.grad is not None})
    net = belief(label_units=True)
    h = x
    for up in net.recognition:
        h = torch.sigmoid(up(h))
    energies = torch.stack([net.top.free_energy(net.top.with_labels(h, torch.full((8,), k))) for k in range(3)], dim=1)
    (energies.gather(1, y[:, None])[:, 0] + torch.logsumexp(-energies, dim=1)).mean().backward()
    alone = {name: p.grad for name, p in net.named_parameters() if p.grad is not None}
    assert alone["recognition.0.weight"].abs().max() > 1e-3
    assert alone["layers.2.weight"].abs().max() > 1e-3
    for name, grad in grads[1].items():
        extra = alone.get(name, torch.zeros_like(grad))
        torch.testing.assert_close(grad, grads[0][name] + 2 * extra, rtol=1e-4, atol=1e-5)


def test_states_are_drawn_by_the_recognition_weights_up_and_by_the_generative_ones_down():
    """With huge biases nothing is left to chance."""
    net = belief()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.zero_()
        signs = torch.tensor([1.0, -1, 1, -1, 1])
        net.recognition[0].bias.copy_(50 * signs)
        net.recognition[1].bias.fill_(50)
        net.layers[0].visible_bias.fill_(-50)
        net.layers[1].visible_bias.copy_(-50 * signs)
        net.layers[2].visible_bias.fill_(-50)
    task = WakeSleep(net)
    task.trainer = SILENT
    task.training_step((torch.ones(4, 6), labels(4)), 0).backward()
    awake, asleep = (signs > 0).float(), (signs < 0).float()
    torch.testing.assert_close(net.layers[0].visible_bias.grad, -torch.ones(6))  # 0 said, 1 seen
    torch.testing.assert_close(net.layers[1].visible_bias.grad, asleep - awake)
    torch.testing.assert_close(net.layers[2].visible_bias.grad, -torch.ones(4))  # the chain ends in zeros
    torch.testing.assert_close(net.recognition[0].bias.grad, awake - asleep)
    torch.testing.assert_close(net.recognition[1].bias.grad, torch.ones(4))


def test_a_drawn_state_is_one_by_its_probability():
    torch.manual_seed(0)
    states = bernoulli(torch.sigmoid(torch.tensor([-2.0, 0.0, 1.0])).expand(20_000, 3))
    assert set(states.unique().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(states.mean(dim=0), torch.sigmoid(torch.tensor([-2.0, 0.0, 1.0])), rtol=0, atol=0.015)


def test_the_parts_of_the_loss_are_logged(tmp_path):
    net = belief()
    history = fit_on(WakeSleep(net, optimizer=sgd()), binary(), tmp_path, validation=True)
    (row,) = (row for row in history.rows if "train/loss" in row)
    assert row["train/wake"] > 0
    assert row["train/sleep"] > 0
    names = {name for row in history.rows for name in row if name.startswith("val/")}
    assert names == {"val/reconstruction_error"}


# What a fit moves


def test_recognition_and_generative_weights_start_alike_and_move_apart(tmp_path):
    net = randomize(DBN(in_shape=[6], num_classes=3, hidden=[5, 4, 3]))
    task = WakeSleep(net, optimizer=sgd())
    for linear, rbm in zip(net.recognition, net.layers, strict=False):
        assert torch.equal(linear.weight, rbm.weight)
        assert torch.equal(linear.bias, rbm.hidden_bias)
    fit_on(task, binary(), tmp_path)
    for linear, rbm in zip(net.recognition, net.layers, strict=False):
        assert not torch.allclose(linear.weight, rbm.weight, atol=1e-4)


@pytest.mark.parametrize("label_units", [False, True], ids=["plain", "labels"])
def test_hidden_biases_of_directed_layers_and_the_head_stay(label_units, tmp_path, monkeypatch):
    net, seen = belief(label_units=label_units), []
    before = {name: p.clone() for name, p in net.named_parameters()}

    def look(self, trainer, task, optimizer):
        wanted = {name for name, p in net.named_parameters() if p.requires_grad}
        seen.append((wanted, {name for name, p in net.named_parameters() if p.grad is not None}))

    monkeypatch.setattr("zoo.training.fit.callbacks.SaveForResume.on_before_optimizer_step", look)
    fit_on(WakeSleep(net, optimizer=sgd()), binary(), tmp_path)
    stay = {"layers.0.hidden_bias", "layers.1.hidden_bias", *(name for name in before if name.startswith("head."))}
    assert len(stay) == (2 if label_units else 4)
    assert seen == [(before.keys() - stay, before.keys() - stay)]
    assert {name for name, p in net.named_parameters() if torch.equal(p, before[name])} == stay
    assert all(p.requires_grad for p in net.parameters())


# What it is good for


def patterns(n=80):
    """Three patterns of six pixels, a twentieth of the pixels flipped."""
    chance = torch.Generator().manual_seed(0)
    clean = torch.tensor([[1, 1, 0, 0, 0, 0], [0, 0, 1, 1, 0, 0], [0, 1, 0, 0, 1, 1.0]])
    y = labels(n)
    return (clean[y] - (torch.rand(n, 6, generator=chance) < 0.05).float()).abs()


def bound(net, x):
    return log_likelihood(net, x, samples=200, generator=torch.Generator().manual_seed(0)).mean().item()


@pytest.mark.parametrize("label_units", [False, True], ids=["plain", "labels"])
def test_a_fit_raises_the_likelihood_and_labels_are_learned_with_it(label_units, tmp_path):
    torch.manual_seed(0)
    net, x = DBN(in_shape=[6], num_classes=3, hidden=[5, 4], label_units=label_units), patterns()
    for layer in (0, 1):
        fit_on(ContrastiveDivergence(net, layer, optimizer=sgd(0.1)), x, tmp_path, batch_size=20, epochs=4)
    task = WakeSleep(net, k=3, optimizer=sgd(1.0))
    before = bound(net, x)
    history = fit_on(task, x, tmp_path, batch_size=20, epochs=40, validation=True)
    assert bound(net, x) > before + 0.8
    logged = history.series("val/accuracy")
    assert bool(logged) == label_units
    if label_units:
        accuracy = logged["fit"][1]
        expected = (net(x).argmax(dim=1) == labels(len(x))).float().mean().item()
        assert accuracy[-1] == pytest.approx(expected)
        assert accuracy[-1] > 0.6


# What is refused


def test_what_is_no_deep_belief_network_is_refused():
    for net in (RBM(in_shape=[6], hidden=3), StackedAutoencoder(in_shape=[6], hidden=[3, 2])):
        with pytest.raises(ValueError, match=rf"\(up-down\) needs a deep belief network, got {type(net).__name__}"):
            WakeSleep(net)


def test_one_layer_alone_no_steps_and_wrong_label_weights_are_refused():
    with pytest.raises(ValueError, match="trains the whole net; set order=joint"):
        WakeSleep(belief(), layer=0)
    with pytest.raises(ValueError, match="k=0 must be >= 1"):
        WakeSleep(belief(), k=0)
    with pytest.raises(ValueError, match=r"restart=1\.0 must be in \[0, 1\)"):
        WakeSleep(belief(), restart=1.0)
    with pytest.raises(ValueError, match=r"restart=0\.1 is for persistent chains"):
        WakeSleep(belief(), restart=0.1)
    with pytest.raises(ValueError, match=r"label_weight=-0\.5 must be >= 0"):
        WakeSleep(belief(label_units=True), label_weight=-0.5)
    with pytest.raises(ValueError, match=r"no label units, set model\.net\.label_units=true"):
        WakeSleep(belief(), label_weight=1.0)


def test_gaussian_units_are_refused():
    with pytest.raises(ValueError, match="bernoulli units in every layer"):
        WakeSleep(DBN(in_shape=[6], hidden=[5, 4], visible_units="gaussian"))


@pytest.mark.parametrize("hidden", [[5], [5, 4]])
def test_gaussian_units_are_refused_in_one_message_before_anything_is_fitted(hidden, cli, folder):
    rng = np.random.default_rng(0)
    np.savez(folder / "own.npz", x=rng.normal(size=(200, 6)), y=np.arange(200) % 2)
    words = ["model=dbn_generative", f"model.net.hidden={hidden}".replace(" ", ""), "model.net.visible_units=gaussian"]
    words += ["model.net.label_units=false", "dataset=npz", "dataset.root=own.npz", "epochs=1", "progress=false"]
    outcome = cli("train", *words, "hydra.run.dir=run")
    assert outcome.status == 1
    assert len(outcome.err.splitlines()) == 1
    assert "unexpected" not in outcome.err
    assert not (folder / "run").exists()


@pytest.mark.parametrize("value", [-0.5, 1.5])
def test_data_outside_the_unit_interval_are_refused(value):
    x = binary()
    x[0, 0] = value
    with pytest.raises(ValueError, match=r"must be in \[0, 1\], got \[.*model.input_scaling=unit"):
        WakeSleep(belief()).check_inputs(x)
    WakeSleep(belief()).check_inputs(binary())


# Checkpoints


@pytest.mark.parametrize("label_units", [False, True], ids=["plain", "labels"])
def test_a_net_whose_weights_have_parted_is_saved_and_loaded(label_units, tmp_path):
    net, x = belief(label_units=label_units).eval(), binary()
    about = checkpoints.CheckpointInfo(
        name="dbn",
        net={
            "_target_": "zoo.models.DBN",
            "in_shape": [6],
            "num_classes": 3,
            "hidden": [5, 4, 3],
            "label_units": label_units,
            **net.config_changes(),
        },
        task={"_target_": "zoo.tasks.WakeSleep"},
        preprocess=Preprocess((6,), scale=1.0).to_dict(),
    )
    checkpoints.save(net, tmp_path / "net.safetensors", about)
    other = zoo.load(tmp_path / "net.safetensors")
    assert torch.equal(other(x), net(x))
    assert torch.equal(other.encode(x), net.encode(x))
    assert torch.equal(other.reconstruct(x), net.reconstruct(x))
    assert other.state_dict().keys() == net.state_dict().keys()


def test_the_command_line_fits_layers_and_then_all_of_them(cli, folder, monkeypatch):
    monkeypatch.setattr("zoo.plots.stage_plots.draw", lambda *args, **options: None)
    words = ("model=dbn_generative", "model.net.hidden=[12,8]", "epochs=1", "progress=false", "hydra.run.dir=run")
    outcome = cli("train", *words)
    assert (outcome.status, outcome.err) == (0, "")
    assert checkpoints.info("run").metrics.keys() == {
        *("val/reconstruction_error", "val/accuracy", "test/reconstruction_error", "test/accuracy")
    }
    net = zoo.load("run")
    assert checkpoints.info("run").net["untied"] is True, "the constructor's argument, as training changed it"
    assert not torch.equal(net.recognition[0].weight, net.layers[0].weight)
    assert checkpoints.info("run").num_params == sum(p.numel() for p in net.parameters())
