"""Autoencoders against their formulas in NumPy, and what they share with the Boltzmann machines that pretrain them."""

import numpy as np
import pytest
import torch
from torch import nn

from zoo.models import RBM, StackedAutoencoder
from zoo.models.autoencoder import Autoencoder
from zoo.protocols import RBMLayer

FUNCTIONS = {
    "sigmoid": lambda a: 1 / (1 + np.exp(-a)),
    "tanh": np.tanh,
    "relu": lambda a: np.maximum(a, 0),
    "identity": lambda a: a,
}


def drawn(net: nn.Module) -> nn.Module:
    """The net with every parameter, biases too, drawn again."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.5)
    return net


def inputs(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1))


def array(x: torch.Tensor) -> np.ndarray:
    return x.detach().double().numpy()


def by_hand(layer: Autoencoder, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Code, what the output activation acts on, and reconstruction: f(c + Wx), b + W'h and g of it."""
    f, g = FUNCTIONS[layer.activation_name], FUNCTIONS[layer.output_activation_name]
    back = layer.weight.t() if layer.decoder_weight is None else layer.decoder_weight
    code = f(x @ array(layer.weight).T + array(layer.hidden_bias))
    logits = code @ array(back).T + array(layer.visible_bias)
    return code, logits, g(logits)


def close(found: torch.Tensor, expected: np.ndarray) -> None:
    np.testing.assert_allclose(array(found), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "free"])
@pytest.mark.parametrize("names", [("sigmoid", "sigmoid"), ("tanh", "identity"), ("relu", "sigmoid")])
def test_an_autoencoder_is_its_formula(names, tied):
    net = drawn(Autoencoder(in_shape=[1, 2, 3], hidden=4, activation=names[0], output_activation=names[1], tied=tied))
    x = inputs(5, 1, 2, 3)
    code, logits, reconstruction = by_hand(net, array(x).reshape(5, 6))
    close(net(x), code)
    close(net.encode(x), code)
    close(net.encode(x, 0), array(x).reshape(5, 6))
    close(net.encode(x, 1), code)
    close(net.decode(net.encode(x)), reconstruction)
    close(net.decode(net.encode(x), activate=False), logits)
    assert net.reconstruct(x).shape == x.shape
    close(net.reconstruct(x), reconstruction.reshape(5, 1, 2, 3))
    assert (net.decoder_weight is None) == tied


def stack(**options) -> StackedAutoencoder:
    net = drawn(StackedAutoencoder(**{"in_shape": [1, 2, 3], "num_classes": None, "hidden": [5, 4, 3], **options}))
    assert isinstance(net, StackedAutoencoder)
    return net


def codes_by_hand(net: StackedAutoencoder, x: torch.Tensor) -> list[np.ndarray]:
    """The flat input and every code."""
    codes = [array(x).reshape(len(x), -1)]
    for layer in net.layers:
        codes.append(by_hand(layer, codes[-1])[0])
    return codes


def decoded_by_hand(net: StackedAutoencoder, h: np.ndarray, depth: int, *, activate: bool = True) -> np.ndarray:
    for k in reversed(range(depth)):
        layer = net.autoencoder(k)
        back = layer.weight.t() if layer.decoder_weight is None else layer.decoder_weight
        h = h @ array(back).T + array(layer.visible_bias)
        if activate or k > 0:
            h = FUNCTIONS[layer.output_activation_name](h)
    return h


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "free"])
@pytest.mark.parametrize("code", [None, "identity"])
def test_a_stack_codes_upwards_and_decodes_downwards(code, tied):
    net = stack(num_classes=7, activation="tanh", code_activation=code, output_activation="sigmoid", tied=tied)
    x = inputs(6, 1, 2, 3)
    codes = codes_by_hand(net, x)
    for depth in range(4):
        close(net.encode(x, depth), codes[depth])
        close(net.decode(net.encode(x, depth), depth), decoded_by_hand(net, codes[depth], depth))
        close(net.reconstruct(x, depth), decoded_by_hand(net, codes[depth], depth).reshape(6, 1, 2, 3))
    close(net.encode(x), codes[3])
    close(net.decode(net.encode(x)), decoded_by_hand(net, codes[3], 3))
    close(net.decode(net.encode(x), activate=False), decoded_by_hand(net, codes[3], 3, activate=False))
    close(net.reconstruct(x), decoded_by_hand(net, codes[3], 3).reshape(6, 1, 2, 3))
    close(net(x), codes[3] @ array(net.head.weight).T + array(net.head.bias))


def test_without_classes_a_stack_puts_out_its_code():
    net = stack()
    assert (net.num_classes, net.head) == (None, None)
    x = inputs(4, 1, 2, 3)
    close(net(x), codes_by_hand(net, x)[3])


def test_a_layer_gives_back_in_the_activation_of_the_layer_below():
    names = [
        (layer.activation_name, layer.output_activation_name)
        for layer in stack(activation="tanh", code_activation="relu", output_activation="identity").layers
    ]
    assert names == [("tanh", "identity"), ("tanh", "tanh"), ("relu", "tanh")]
    assert [
        (a.activation_name, a.output_activation_name) for a in stack(hidden=[3], code_activation="tanh").layers
    ] == [("tanh", "sigmoid")]


# As a restricted Boltzmann machine


@pytest.mark.parametrize("output", ["sigmoid", "identity"])
@pytest.mark.parametrize("code", ["sigmoid", "identity"])
def test_the_machine_of_an_autoencoder_has_its_very_parameters(code, output):
    net = drawn(Autoencoder(in_shape=[6], hidden=4, activation=code, output_activation=output))
    if code == output == "identity":
        with pytest.raises(ValueError, match="gaussian visible units need bernoulli hidden units"):
            net.rbm()
        return
    rbm = net.rbm()
    assert isinstance(rbm, RBMLayer)
    assert (rbm.visible.binary, rbm.hidden.binary) == (output == "sigmoid", code == "sigmoid")
    for name in ("weight", "visible_bias", "hidden_bias"):
        assert getattr(rbm, name) is getattr(net, name)
    x = inputs(3, 6)
    close(rbm.hidden_mean(x), array(net.encode(x)))
    close(rbm.visible_mean(net.encode(x)), array(net.decode(net.encode(x))))
    assert torch.isfinite(rbm.free_energy(x)).all()
    before = net.encode(x)
    with torch.no_grad():
        rbm.weight.add_(0.5)
    assert not torch.allclose(net.encode(x), before)
    close(rbm.hidden_mean(x), array(net.encode(x)))


@pytest.mark.parametrize(("code", "output"), [("sigmoid", "sigmoid"), ("identity", "sigmoid"), ("sigmoid", "identity")])
def test_the_rbm_of_an_autoencoder_is_the_module_with_the_same_parameters(code, output):
    """The RBM that is a module, with the same kinds of units: every conditional and every energy agree."""
    net = drawn(Autoencoder(in_shape=[2, 3], hidden=4, activation=code, output_activation=output))
    kinds = {"sigmoid": "bernoulli", "identity": "gaussian"}
    module = RBM(in_shape=[2, 3], hidden=4, visible_units=kinds[output], hidden_units=kinds[code])
    parameters = {"weight": net.weight, "visible_bias": net.visible_bias, "hidden_bias": net.hidden_bias}
    module.load_state_dict({**module.state_dict(), **parameters})
    rbm, x = net.rbm(), inputs(5, 2, 3)
    v, h = x.flatten(1), inputs(5, 4)
    assert (rbm.visible_shape, rbm.hidden_shape) == ((6,), (4,))
    assert torch.equal(rbm.reconstruct(x), module.reconstruct(x))
    assert torch.equal(rbm.energy(v, h), module.energy(v, h))
    assert torch.equal(rbm.free_energy(v), module.free_energy(v))
    assert torch.equal(rbm.free_energy_of_hidden(h), module.free_energy_of_hidden(h))
    for draw in (lambda rbm: rbm.gibbs(v, 3), lambda rbm: rbm.noise(5), lambda rbm: rbm.sample_hidden(v)):
        torch.manual_seed(3)
        expected = draw(module)
        torch.manual_seed(3)
        assert torch.equal(draw(rbm), expected)


def test_an_rbm_of_an_autoencoder_is_no_module_and_adds_nothing_to_the_state():
    net = stack()
    before = list(net.state_dict())
    rbm = net.rbm(0)
    assert not isinstance(rbm, nn.Module)
    net.rbm_of_the_first_layer = rbm
    assert list(net.state_dict()) == before


def test_making_the_machine_draws_no_chance_and_moves_nothing():
    net = drawn(Autoencoder(in_shape=[6], hidden=4))
    before, state = [p.clone() for p in net.parameters()], torch.get_rng_state()
    net.rbm()
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(p, q) for p, q in zip(net.parameters(), before, strict=True))


def test_a_stack_gives_the_machine_of_each_layer():
    net = stack(code_activation="identity", tied=False)
    for k, layer in enumerate(net.layers):
        rbm = net.rbm(k)
        assert rbm.weight is layer.weight
        assert rbm.hidden.binary == (k < 2)
        assert [id(p) for p in rbm.energy_parameters()] == [
            id(layer.weight),
            id(layer.visible_bias),
            id(layer.hidden_bias),
        ]


@pytest.mark.parametrize("options", [{"activation": "relu"}, {"output_activation": "tanh"}])
def test_activations_that_no_machine_has_are_refused(options):
    with pytest.raises(ValueError, match=r"(relu|tanh).*for an RBM, each must be sigmoid or identity"):
        Autoencoder(in_shape=[6], hidden=4, **options).rbm()


# The decoder


def test_unrolling_copies_the_encoder_into_a_free_decoder():
    net = drawn(Autoencoder(in_shape=[6], hidden=4, tied=False))
    decoder, weight = net.decoder_weight, net.weight.clone()
    assert not torch.equal(decoder, weight.t())
    net.unroll()
    assert net.decoder_weight is decoder, "an optimizer that holds it still does"
    assert torch.equal(decoder, weight.t())
    assert torch.equal(net.weight, weight)
    with torch.no_grad():
        net.weight.zero_()
    assert torch.equal(net.decoder_weight, weight.t()), "a copy, not a view"


def test_unrolling_a_tied_autoencoder_changes_nothing():
    net = drawn(Autoencoder(in_shape=[6], hidden=4))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    net.unroll()
    assert net.decoder_weight is None
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "free"])
@pytest.mark.parametrize("num_classes", [None, 3])
def test_generative_parameters_are_those_that_forward_has_no_use_for(num_classes, tied):
    net = stack(num_classes=num_classes, tied=tied)
    net(inputs(4, 1, 2, 3)).sum().backward()
    unused = {id(p) for p in net.parameters() if p.grad is None}
    assert {id(p) for p in net.generative_parameters()} == unused
    assert len(unused) == (3 if tied else 6)
    single = Autoencoder(in_shape=[6], hidden=2, tied=tied)
    single(inputs(4, 6)).sum().backward()
    assert {id(p) for p in single.generative_parameters()} == {id(p) for p in single.parameters() if p.grad is None}


# Dropout, head, state


def test_dropout_is_for_training_a_head_only():
    net = stack(in_shape=[400], hidden=[300, 200], num_classes=5, dropout=0.5, input_dropout=0.2)
    x = inputs(3, 400)
    assert not torch.equal(net(x), net(x))
    for part in (net.encode, net.reconstruct):
        assert torch.equal(part(x), part(x)), "no dropout on the way to a code in training mode either"
    net.eval()
    assert torch.equal(net(x), net(x))
    close(net(x), array(net.head(net.encode(x))))


@pytest.mark.parametrize(("options", "zeros"), [({"dropout": 0.5}, 0.5), ({"input_dropout": 0.25}, 0.25)])
def test_each_dropout_drops_its_own_layer(options, zeros):
    net = stack(in_shape=[4000], hidden=[3000], activation="sigmoid", **options)
    seen = {}
    net.input_dropout.register_forward_hook(lambda _, given, x: seen.update(x=x))
    torch.manual_seed(0)
    code = net(inputs(2, 4000) + 0.1)
    dropped = code if "dropout" in options else seen["x"]
    assert (dropped == 0).float().mean().item() == pytest.approx(zeros, abs=0.03)
    if "dropout" in options:
        assert (seen["x"] != 0).all()


def test_noise_is_added_to_the_input_and_to_what_units_receive_while_a_head_is_trained():
    net, x = stack(in_shape=[400], hidden=[3000], activation="identity", input_noise=0.4, noise=0.3), inputs(40, 400)
    whole, weight = net.encode(x), net.layers[0].weight
    received = (0.3**2 + 0.4**2 * weight.square().sum(dim=1).mean()).sqrt()
    assert (net(x) - whole).std().item() == pytest.approx(received.item(), rel=0.03)
    assert torch.equal(net.eval()(x), whole)


@pytest.mark.parametrize("start", [None, 10])
def test_reset_head_gives_a_fresh_head_and_leaves_the_body(start):
    net = stack(num_classes=start).double()
    before = {name: value.clone() for name, value in net.layers.state_dict().items()}
    net.reset_head(4)
    assert net.num_classes == 4
    assert net.head.weight.dtype == torch.float64
    assert net(inputs(2, 1, 2, 3).double()).shape == (2, 4)
    assert all(torch.equal(value, before[name]) for name, value in net.layers.state_dict().items())


@pytest.mark.parametrize(
    "options", [{"num_classes": 3}, {"num_classes": None, "tied": False, "code_activation": "identity"}]
)
def test_the_state_goes_into_another_net_of_the_same_making(options):
    net = stack(**options)
    other = StackedAutoencoder(in_shape=[1, 2, 3], hidden=[5, 4, 3], **options)
    x = inputs(4, 1, 2, 3)
    assert not torch.allclose(other(x), net(x))
    other.load_state_dict(net.state_dict())
    assert torch.equal(other(x), net(x))
    assert torch.equal(other.reconstruct(x), net.reconstruct(x))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"hidden": []}, "at least one hidden layer"),
        ({"hidden": [3, 0]}, "hidden=.*at least 1|hidden=.*must be >= 1"),
        ({"in_shape": [1, 0]}, "in_shape=.*at least 1|in_shape=.*must be >= 1"),
        ({"num_classes": -1}, "num_classes=-1"),
        ({"activation": "maxout"}, "maxout has several pieces"),
        ({"code_activation": "maxout"}, "maxout has several pieces"),
        ({"output_activation": "maxout"}, "maxout has several pieces"),
        ({"activation": "sigmod"}, "unknown activation 'sigmod'"),
    ],
)
def test_a_stack_that_cannot_be_is_refused(options, says):
    with pytest.raises(ValueError, match=says):
        StackedAutoencoder(**{"in_shape": [6], "hidden": [3], **options})


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"hidden": 0}, "hidden=0"),
        ({"activation": "maxout"}, "maxout"),
        ({"output_activation": "maxout"}, "maxout"),
    ],
)
def test_an_autoencoder_that_cannot_be_is_refused(options, says):
    with pytest.raises(ValueError, match=says):
        Autoencoder(**{"in_shape": [6], **options})


@pytest.mark.parametrize(("activation", "gain"), [("sigmoid", 4), ("tanh", 1), ("relu", 2**0.5)])
def test_initial_weights_fill_the_interval_of_their_activation(activation, gain):
    net = Autoencoder(in_shape=[300], hidden=200, activation=activation, output_activation="tanh", tied=False)
    bound = (6 / 500) ** 0.5
    assert net.weight.abs().max().item() == pytest.approx(gain * bound, rel=0.01)
    assert net.decoder_weight.abs().max().item() == pytest.approx(bound, rel=0.01)
    assert not net.hidden_bias.any()
    assert not net.visible_bias.any()
