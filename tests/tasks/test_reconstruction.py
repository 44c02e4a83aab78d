"""Reconstruction against its formulas: losses, corruptions, penalties, and what a fit moves."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from support import CPU, SILENT, array, fit_and_log, randomize
from torch import nn

from zoo.data.datamodule import DataModule
from zoo.data.preprocess import Preprocess
from zoo.data.splits import InMemory, Splits
from zoo.models import DBN, RBM, StackedAutoencoder
from zoo.models.autoencoder import Autoencoder
from zoo.tasks import Reconstruction
from zoo.training.fit.trainer import measure


def adam(lr=0.02):
    return partial(torch.optim.Adam, lr=lr)


def stack(**options) -> StackedAutoencoder:
    net = randomize(StackedAutoencoder(**{"in_shape": [1, 2, 3], "num_classes": None, "hidden": [5, 4], **options}))
    assert isinstance(net, StackedAutoencoder)
    return net


def inputs(n=8):
    return torch.rand(n, 1, 2, 3, generator=torch.Generator().manual_seed(1))


def loss_of(task, x):
    task.trainer = SILENT
    return task.training_step((x, torch.zeros(len(x))), 0)


def cross_entropy(v, p):
    return -(v * np.log(p) + (1 - v) * np.log(1 - p)).sum(axis=1).mean()


def module(x, *, validation=True, batch_size=None):
    part = InMemory(x, torch.zeros(len(x), 1))
    splits = Splits(part, part if validation else None, part, tuple(x.shape[1:]), num_targets=1)
    return DataModule(splits, preprocess=Preprocess(tuple(x.shape[1:]), scale=1.0), batch_size=batch_size or len(x))


def fit_on(task, x, folder, *, batch_size=None, **stage):
    return fit_and_log(task, module(x, batch_size=batch_size), folder, **stage)


# Losses


@pytest.mark.parametrize("layer", [None, 0, 1])
def test_cross_entropy_is_summed_over_inputs_and_the_mean_of_the_batch(layer):
    net, x = stack(), inputs()
    v = net.encode(x, layer or 0)
    part = net if layer is None else net.autoencoder(layer)
    expected = cross_entropy(array(v), array(part.decode(part.encode(v))))
    assert loss_of(Reconstruction(net, layer), x).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("layer", [None, 1])
def test_squared_error_is_summed_over_inputs_and_the_mean_of_the_batch(layer):
    net, x = stack(activation="tanh", output_activation="identity"), inputs()
    v = net.encode(x, layer or 0)
    part = net if layer is None else net.autoencoder(layer)
    expected = ((array(v) - array(part.decode(part.encode(v)))) ** 2).sum(axis=1).mean()
    assert loss_of(Reconstruction(net, layer, loss="squared_error"), x).item() == pytest.approx(expected, rel=1e-5)


def test_validation_and_test_are_measured_without_corruption_and_penalties():
    net, x = stack(), inputs(21)
    options = {"corruption": "masking", "level": 0.9, "sparsity_cost": 5.0, "contractive": 5.0}
    metrics = measure(Reconstruction(net, 0, **options), module(x), trainer_kwargs=CPU)
    v, layer = array(x).reshape(21, 6), net.autoencoder(0)
    back = array(layer.decode(layer.encode(x)))
    expected = {"loss": cross_entropy(v, back), "reconstruction_error": ((v - back) ** 2).sum(axis=1).mean()}
    assert metrics == pytest.approx(
        {f"{part}/{name}": value for part in ("val", "test") for name, value in expected.items()}, rel=1e-5
    )


# Corruptions


def corrupted(corruption, level, n=400):
    torch.manual_seed(0)
    v = torch.rand(n, 500) * 0.8 + 0.1
    return v, Reconstruction(stack(), corruption=corruption, level=level).corrupt(v)


@pytest.mark.parametrize("level", [0.1, 0.5])
def test_masking_sets_a_fraction_to_zero_and_leaves_the_rest(level):
    v, seen = corrupted("masking", level)
    masked = seen != v
    assert masked.float().mean().item() == pytest.approx(level, abs=0.005)
    assert (seen[masked] == 0).all()
    assert masked.float().mean(dim=1).std() > 0.005, "each input by chance of its own"


@pytest.mark.parametrize("level", [0.3, 2.0])
def test_gaussian_corruption_adds_noise_of_the_deviation(level):
    v, seen = corrupted("gaussian", level)
    noise = seen - v
    assert noise.std().item() == pytest.approx(level, rel=0.01)
    assert noise.mean().item() == pytest.approx(0, abs=0.02 * level)
    assert (noise.abs() > 3 * level).float().mean().item() == pytest.approx(0.0027, abs=0.001)


@pytest.mark.parametrize("level", [0.2, 0.6])
def test_salt_and_pepper_sets_half_to_nothing_and_half_to_all(level):
    v, seen = corrupted("salt_and_pepper", level)
    changed = seen != v
    assert changed.float().mean().item() == pytest.approx(level, abs=0.005)
    assert set(seen[changed].tolist()) == {0.0, 1.0}
    assert (seen[changed] == 1).float().mean().item() == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("corruption", ["masking", "salt_and_pepper", "gaussian", "none"])
def test_nothing_is_changed_at_level_zero(corruption):
    v, seen = corrupted(corruption, 0.0, n=5)
    assert torch.equal(v, seen)


def test_everything_is_changed_at_level_one():
    assert not corrupted("masking", 1.0, n=5)[1].any()
    assert set(corrupted("salt_and_pepper", 1.0, n=5)[1].unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("corruption", ["masking", "gaussian", "salt_and_pepper"])
def test_the_coder_sees_the_corrupted_input_and_is_to_restore_the_clean_one(corruption):
    net, x = stack(), inputs()
    task = Reconstruction(net, 0, corruption=corruption, level=0.5)
    torch.manual_seed(3)
    seen = task.corrupt(x.flatten(1))
    torch.manual_seed(3)
    loss = loss_of(task, x)
    layer = net.autoencoder(0)
    expected = cross_entropy(array(x).reshape(8, 6), array(layer.decode(layer.encode(seen))))
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert loss.item() != pytest.approx(loss_of(Reconstruction(net, 0), x).item(), rel=1e-3)


def test_codes_of_the_layers_below_are_clean():
    net, x = stack(), inputs()
    task = Reconstruction(net, 1, corruption="masking", level=0.5)
    seen = {}
    task.corrupt = lambda v: seen.setdefault("v", v)
    loss_of(task, x)
    torch.testing.assert_close(seen["v"], net.encode(x, 1))
    assert not seen["v"].requires_grad


def test_every_layer_has_its_own_level():
    net = stack()
    assert [Reconstruction(net, k, corruption="masking", level=[0.1, 0.4]).level for k in (None, 0, 1)] == [
        0.1,
        0.1,
        0.4,
    ]
    assert Reconstruction(net, 1, level=0.3).level == 0.3
    with pytest.raises(ValueError, match=r"level=\[0\.1\] has no value for layer 1"):
        Reconstruction(net, 1, level=[0.1])


# Penalties


def test_the_sparsity_penalty_is_the_divergence_from_the_target():
    net, x = stack(), inputs()
    plain = loss_of(Reconstruction(net, 0), x).item()
    q, p = array(net.encode(x, 1)).mean(axis=0), 0.2
    divergence = (p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))).sum()
    task = Reconstruction(net, 0, sparsity_target=0.2, sparsity_cost=3.0)
    assert loss_of(task, x).item() == pytest.approx(plain + 3 * divergence, rel=1e-5)


def test_the_sparsity_penalty_vanishes_at_its_target():
    task = Reconstruction(stack(), sparsity_target=0.3)
    assert task._divergence(torch.full((5, 4), 0.3)).item() == pytest.approx(0, abs=1e-6)
    assert torch.isfinite(task._divergence(torch.zeros(5, 4)))
    assert torch.isfinite(task._divergence(torch.ones(5, 4)))


@pytest.mark.parametrize("activation", ["sigmoid", "tanh"])
@pytest.mark.parametrize("layer", [0, 1])
def test_the_contractive_penalty_is_the_squared_norm_of_the_jacobian(activation, layer):
    net, x = stack(activation=activation, output_activation="identity"), inputs(4)
    coder, v = net.autoencoder(layer), net.encode(x, layer).detach()
    norms = [torch.autograd.functional.jacobian(coder.encode, row[None]).square().sum() for row in v]
    expected = torch.stack(norms).mean()
    task = Reconstruction(net, layer, loss="squared_error", contractive=0.7)
    plain = loss_of(Reconstruction(net, layer, loss="squared_error"), x)
    torch.testing.assert_close(loss_of(task, x), plain + 0.7 * expected)


def test_the_contractive_penalty_has_a_gradient_of_its_own():
    net, x = stack(), inputs(4)
    coder, v = net.autoencoder(0), inputs(4).flatten(1)
    found = torch.autograd.grad(Reconstruction(net, 0)._jacobian(v), [coder.weight, coder.hidden_bias])
    h = coder.encode(v)
    by_hand = ((h * (1 - h)).square() @ coder.weight.square().sum(dim=1)).mean()
    torch.testing.assert_close(found, torch.autograd.grad(by_hand, [coder.weight, coder.hidden_bias]))
    assert x.shape == (4, 1, 2, 3)


# What is refused


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"loss": "hinge"}, "loss=hinge: choose one of: cross_entropy, squared_error"),
        ({"corruption": "blur"}, "corruption=blur: choose one of: none, masking, gaussian, salt_and_pepper"),
        ({"level": -0.1}, "level=-0.1"),
        ({"corruption": "masking", "level": 1.5}, "level=1.5"),
        ({"corruption": "gaussian", "level": -1.0}, "level=-1.0"),
        ({"sparsity_target": 0.0}, "sparsity_target=0.0"),
        ({"sparsity_target": 1.0}, "sparsity_target=1.0"),
    ],
)
def test_what_there_is_not_is_refused_at_once(options, says):
    with pytest.raises(ValueError, match=says):
        Reconstruction(stack(), **options)
    assert Reconstruction(stack(), corruption="gaussian", level=1.5).level == 1.5


@pytest.mark.parametrize(
    ("net", "layer", "options", "says"),
    [
        ({"activation": "relu"}, 1, {}, "needs sigmoid outputs; set loss=squared_error"),
        ({"output_activation": "identity"}, None, {}, "needs sigmoid outputs; set loss=squared_error"),
        ({}, None, {"contractive": 0.1}, "one layer at a time; use order=layerwise"),
        ({"activation": "tanh"}, 0, {"sparsity_cost": 0.1}, r"hidden units in \[0, 1\]"),
        ({"code_activation": "identity"}, None, {"sparsity_cost": 0.1}, r"hidden units in \[0, 1\]"),
    ],
)
def test_a_net_that_does_not_fit_the_task_is_refused(net, layer, options, says):
    with pytest.raises(ValueError, match=says):
        Reconstruction(stack(**net), layer, **options).check_inputs(inputs())


@pytest.mark.parametrize("value", [-0.2, 1.2])
def test_values_outside_the_unit_interval_are_refused_by_cross_entropy_only(value):
    x = inputs()
    x[3, 0, 1, 1] = value
    with pytest.raises(ValueError, match=r"loss=cross_entropy needs values in \[0, 1\], got.*or loss=squared_error"):
        Reconstruction(stack(), 0).check_inputs(x)
    Reconstruction(stack(), 0, loss="squared_error").check_inputs(x)
    Reconstruction(stack(), 1).check_inputs(x)  # whose inputs are codes


def test_what_fits_passes_the_check():
    Reconstruction(stack(), None, sparsity_cost=0.1).check_inputs(inputs())
    Reconstruction(stack(), 1, contractive=0.1, sparsity_cost=0.1).check_inputs(inputs())
    Reconstruction(stack(activation="relu"), 1, loss="squared_error").check_inputs(inputs())


def test_the_check_moves_nothing_and_draws_no_chance():
    net = stack()
    before, state = {name: value.clone() for name, value in net.state_dict().items()}, torch.get_rng_state()
    Reconstruction(net, 0, corruption="masking", sparsity_cost=1.0).check_inputs(inputs())
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


@pytest.mark.parametrize(
    "words", ["model=rbm stage@model.stages.fit=reconstruct", "model=dbn stage@model.stages.pretrain=denoise"]
)
def test_a_net_that_is_no_autoencoder_is_refused_in_one_message(words, cli, folder):
    outcome = cli("train", *words.split(), "hydra.run.dir=run", "progress=false", "epochs=1")
    assert outcome.status == 1
    assert len(outcome.err.splitlines()) == 1
    assert "unexpected" not in outcome.err
    assert not (folder / "run").exists()


# A fit


def patterns(n=60):
    chance = torch.Generator().manual_seed(0)
    clean = torch.tensor([[1, 1, 0, 0, 0, 0], [0, 0, 1, 1, 0, 0], [0, 1, 0, 0, 1, 1.0]])
    return clean[torch.randint(3, (n,), generator=chance)].unflatten(1, (1, 2, 3)) * 0.9 + 0.05


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "free"])
@pytest.mark.parametrize("layer", [None, 0, 1])
def test_a_fit_moves_what_it_is_for_and_never_the_head(layer, tied, tmp_path, monkeypatch):
    net, seen = stack(num_classes=3, tied=tied), []

    def look(self, trainer, task, optimizer):
        wanted = {name for name, p in net.named_parameters() if p.requires_grad}
        seen.append((wanted, {name for name, p in net.named_parameters() if p.grad is not None}))

    monkeypatch.setattr("zoo.training.fit.callbacks.SaveForResume.on_before_optimizer_step", look)
    before = {name: p.clone() for name, p in net.named_parameters()}
    fit_on(Reconstruction(net, layer, corruption="masking", optimizer=adam()), patterns(), tmp_path)
    prefix = "layers." if layer is None else f"layers.{layer}."
    expected = {name for name in before if name.startswith(prefix)}
    assert seen == [(expected, expected)], "with several processes, one without a gradient would be an error"
    assert {name for name, p in net.named_parameters() if not torch.equal(p, before[name])} == expected
    assert all(p.requires_grad for p in net.parameters())


@pytest.mark.parametrize("options", [{}, {"loss": "squared_error"}, {"corruption": "masking", "level": 0.1}])
def test_a_fit_of_the_whole_net_lowers_the_error(options, tmp_path):
    net, x = stack(num_classes=3, tied=False), patterns()
    before = (x - net.reconstruct(x)).square().flatten(1).sum(dim=1).mean().item()
    history = fit_on(Reconstruction(net, optimizer=adam(), **options), x, tmp_path, batch_size=10, epochs=15)
    errors = history.series("val/reconstruction_error")["fit"][1]
    after = (x - net.reconstruct(x)).square().flatten(1).sum(dim=1).mean().item()
    assert errors[-1] == pytest.approx(after, rel=1e-5)
    assert after < 0.8 * before
    assert history.series("val/loss")["fit"][1][-1] < history.series("val/loss")["fit"][1][0]
    assert history.series("train/loss")["fit"][1]


def test_a_fit_against_the_jacobian_makes_a_code_that_moves_less(tmp_path):
    norms = {}
    for contractive in (0.0, 5.0):
        net, x = stack(), patterns()
        task = Reconstruction(net, 0, contractive=contractive, optimizer=adam())
        fit_on(task, x, tmp_path, batch_size=20, epochs=6)
        norms[contractive] = task._jacobian(x.flatten(1)).item()
    assert norms[5.0] < norms[0.0] / 2


@pytest.mark.parametrize(
    ("net", "layer"),
    [(RBM(in_shape=[6], hidden=3), None), (DBN(in_shape=[6], hidden=[3, 2]), 0), (nn.Linear(2, 2), None)],
)
def test_a_net_that_is_no_autoencoder_is_refused(net, layer):
    kind = type(net).__name__ if layer is None else "layer 0 of DBN"
    with pytest.raises(ValueError, match=f"reconstruction needs an autoencoder, got {kind}"):
        Reconstruction(net, layer)


def test_a_single_autoencoder_is_a_net_of_its_own(tmp_path):
    net = randomize(Autoencoder(in_shape=[1, 2, 3], hidden=4))
    x = patterns()
    before = loss_of(Reconstruction(net), x).item()
    fit_on(Reconstruction(net, optimizer=adam()), x, tmp_path, batch_size=10, epochs=5)
    assert loss_of(Reconstruction(net), x).item() < before
    assert math.isfinite(before)
