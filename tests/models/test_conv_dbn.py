"""Inference in the convolutional belief network against the sum over all states of a small one."""

import numpy as np
import pytest
import torch
from enumeration import binary, close
from scipy.special import expit, logsumexp
from test_conv_rbm import energies, hidden_states, maps, unrolled

from zoo.models import ConvDBN

UNKNOWN = [1, 4, 10]  # pixels of the toy that are inferred


def toy(scale=1.0):
    """Twelve pixels; blocks of 2x2 and, at the border, of 1x2 hidden units; two maps of pairs above them."""
    net = ConvDBN(in_shape=(1, 4, 3), num_classes=0, hidden=[1, 2], kernel_size=[2, 1], pool=2).double()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn(p.shape, generator=generator, dtype=torch.double) * scale)
    return net


def states(net):
    """All states of h_1 with all of h_2, flat, and of the pooling units p_1 and p_2."""
    first, second = (hidden_states(unrolled(net.rbm(k))[3]) for k in (0, 1))
    h1, h2 = np.repeat(first, len(second), axis=0), np.tile(second, (len(first), 1))
    pooled = [pools(net.rbm(k), h) for k, h in ((0, h1), (1, h2))]
    return h1, h2, *pooled


def pools(rbm, h):
    """Whether any unit of each block is on, by plain loops."""
    blocks = unrolled(rbm)[3]
    return np.stack([h[:, blocks == block].max(1) for block in range(blocks.max() + 1)], axis=1)


def joint_energies(net, v):
    """E(v, h_1, h_2) of every v with every pair of hidden states."""
    h1, h2, p1, _ = states(net)
    with torch.no_grad():
        bias = net.rbm(1).visible_bias.clone()
        net.rbm(1).visible_bias.zero_()  # the pooling units have none in the joint model
        upper = np.array([energies(net.rbm(1), p[None], h[None])[0, 0] for p, h in zip(p1, h2, strict=True)])
        net.rbm(1).visible_bias.copy_(bias)
    return energies(net.rbm(0), v, h1) + upper


def images(v):
    return torch.tensor(v).reshape(-1, 1, 4, 3)


def test_the_joint_energy_equals_the_formula():
    net, v = toy(), binary(12)[[5, 999, 3210]]
    h1, h2, _, _ = states(net)
    for row, E in zip(v, joint_energies(net, v), strict=True):
        hidden = [maps(net.rbm(0), h1), maps(net.rbm(1), h2)]
        close(net.energy(images(row[None]).expand(len(h1), -1, -1, -1), hidden), E, 1e-10)


def test_a_layer_hears_the_layers_below_and_above_it_as_the_sum_over_its_states_says():
    net, v = toy(), binary(12)[[1234]]
    h1, h2, _, p2 = states(net)
    E = joint_energies(net, v)[0]
    first, second = np.unique(h1, axis=0), np.unique(h2, axis=0)
    # h_1, given the image and h_2.
    for given in second:
        rows = (h2 == given).all(1)
        p = np.exp(-E[rows] - logsumexp(-E[rows]))
        a = net.hidden_input(images(v), [None, maps(net.rbm(1), given[None])], 0)
        close(net.rbm(0).hidden.mean(a).flatten(1)[0], p @ h1[rows], 1e-10)
        close(net.rbm(0).hidden.pool_mean(a).flatten(1)[0], p @ pools(net.rbm(0), h1[rows]), 1e-10)
    # h_2, given h_1.
    for given in first[:5]:
        rows = (h1 == given).all(1)
        p = np.exp(-E[rows] - logsumexp(-E[rows]))
        a = net.hidden_input(images(v), [maps(net.rbm(0), given[None]), None], 1)
        close(net.rbm(1).hidden.mean(a).flatten(1)[0], p @ h2[rows], 1e-10)
        close(net.rbm(1).hidden.pool_mean(a).flatten(1)[0], p @ p2[rows], 1e-10)


def expected(net, v, known):
    """The exact means of the pixels and of p_1 and p_2, given the known pixels of one image, by plain sums."""
    (W, b, c, blocks), (_, prior, _, _) = unrolled(net.rbm(0)), unrolled(net.rbm(1))
    h1, _, p1, p2 = states(net)
    # The bias of each unit: its own where it sees known pixels, and a share of the one from above where it does not.
    fraction = np.square(W) @ known / np.square(W).sum(1)
    bias = fraction * c + (1 - fraction) * (prior[blocks] - np.log(np.bincount(blocks)[blocks]))
    upper = joint_energies(net, v) - energies(net.rbm(0), v, h1)  # the terms of both hidden layers and of h_2
    log_p = h1 @ (W @ (v[0] * known) + bias) - upper[0]
    p = np.exp(log_p - logsumexp(log_p))
    return np.where(known, v[0], p @ expit(b + h1 @ W)), p @ p1, p @ p2


@pytest.mark.parametrize("unknown", [[], UNKNOWN, range(12)], ids=["all_known", "some_known", "none_known"])
def test_joint_inference_equals_the_sum_over_all_states(unknown):
    torch.manual_seed(0)
    net, v, chains = toy(), binary(12)[[1234]], 400
    known = np.ones(12)
    known[unknown] = 0
    mask = torch.tensor(known.reshape(1, 4, 3) == 1)
    x = images(v).expand(chains, -1, -1, -1)
    found = net.infer(x, known=mask if len(unknown) else None, steps=60, burn_in=20)
    exact = expected(net, v, known)
    for part, mean in zip([found.pixels, *found.pooled], exact, strict=True):
        values = part.flatten(1).detach().numpy()
        error = np.abs(values.mean(0) - mean)
        assert (error <= 5 * values.std(0) / chains**0.5 + 1e-12).all(), (error, values.std(0))
    # Bottom-up features are another distribution: the test can tell them apart.
    bottom_up = net.encode(images(v), [1])[0].flatten().detach().numpy()
    assert np.abs(bottom_up - exact[1]).max() > 0.02
    assert torch.equal(found.pixels[..., mask[0]], x[..., mask[0]])


def probabilities(net):
    """Those of all states (p_1, h_2) under the top RBM by itself."""
    _, h2, p1, _ = states(net)
    pairs, number = np.unique(np.hstack([p1, h2]), axis=0, return_index=True)
    log_p = -np.array([energies(net.rbm(1), p1[[i]], h2[[i]])[0, 0] for i in number])
    return pairs[:, : p1.shape[1]], np.exp(log_p - logsumexp(log_p))


def test_nothing_known_is_the_distribution_of_the_belief_network():
    net = toy()
    p1, p = probabilities(net)
    np.testing.assert_allclose(expected(net, binary(12)[[0]], np.zeros(12))[1], p @ p1, atol=1e-12)


def test_everything_known_is_the_model_of_the_paper():
    net, v = toy(), binary(12)[[1234]]
    _, _, p1, p2 = states(net)
    E = joint_energies(net, v)[0]
    p = np.exp(-E - logsumexp(-E))
    _, *pooled = expected(net, v, np.ones(12))
    np.testing.assert_allclose(np.hstack(pooled), p @ np.hstack([p1, p2]), atol=1e-12)


def test_samples_are_of_the_top_rbm_and_the_directed_layers_below():
    torch.manual_seed(0)
    net = toy()
    W, b, _, blocks = unrolled(net.rbm(0))
    p1, p = probabilities(net)
    # The pixels, given each state of the pooling units: the mean over the hidden states that they allow.
    hidden = hidden_states(blocks)
    pooled = pools(net.rbm(0), hidden)
    pixels = np.array([expit(b + hidden[(pooled == row).all(1)] @ W).mean(0) for row in p1])
    samples = net.sample(4000, steps=20).flatten(1).numpy()
    error = np.abs(samples.mean(0) - p @ pixels)
    assert (error < 5 * samples.std(0) / len(samples) ** 0.5).all()


def test_the_middle_layer_of_three_knows_what_the_layer_below_knows():
    """With nothing known, the second layer is generated by the third, and does not hear the first."""
    torch.manual_seed(0)
    net = ConvDBN(in_shape=(1, 8, 8), num_classes=0, hidden=[2, 3, 4], kernel_size=[3, 2, 1], pool=[2, 2, 1])
    x = torch.rand(5, 1, 8, 8)
    evidence = net.evidence(x, torch.zeros(1, dtype=torch.bool))
    assert [each.below.abs().max().item() for each in evidence] == [0, 0]
    hidden = net._start(x)
    a = net.hidden_input(x, hidden, 1, evidence)
    top = net.rbm(2).visible_input(hidden[2])
    torch.testing.assert_close(net.rbm(1).hidden.pool_mean(a), torch.sigmoid(top))
    # With everything known, it does, as in the model of the paper.
    evidence = net.evidence(x, torch.ones(1, dtype=torch.bool))
    torch.testing.assert_close(net.hidden_input(x, hidden, 1, evidence), net.hidden_input(x, hidden, 1))


def test_a_mean_field_step_is_the_mean_given_the_means_of_the_neighbors():
    net, x = toy(), images(binary(12)[[77]])
    start = [net.rbm(0).hidden_mean(x)]
    p = net.rbm(0).hidden.pool_states(start[0])
    start.append(net.rbm(1).hidden_mean(p))
    expected = net.rbm(0).hidden.pool_mean(net.hidden_input(x, start, 0))
    assert torch.equal(net.infer(x, steps=1, burn_in=0, mean_field=True).pooled[0], expected)
    assert torch.equal(net.infer(x, steps=5, mean_field=True).pixels, x)


def test_reconstruction_of_one_layer_is_that_of_its_rbm_and_features_are_those_of_the_rbms():
    net = toy()
    x = images(binary(12)[[9, 99]])
    close(net.reconstruct(x, depth=1), net.rbm(0).reconstruct(x).detach().numpy(), 1e-12)
    close(net.encode(x), net.rbm(1).encode(net.rbm(0).pool_mean(x)).detach().numpy(), 1e-12)
    assert torch.equal(net.reconstruct(x, depth=0), x)
    assert net.reconstruct(x).shape == x.shape


def test_the_head_may_see_the_features_of_two_layers():
    net = ConvDBN(in_shape=(1, 8, 8), num_classes=3, hidden=[4, 5], kernel_size=[3, 2], pool=2, head_layers=2)
    x = torch.rand(6, 1, 8, 8)
    lower, both = net.encode(x, [1, 2])
    assert net.num_features == both.shape[1] == 4 * 3 * 3 + 5
    assert torch.equal(both, torch.cat([lower.flatten(1), net.top.encode(lower)], dim=1))
    torch.testing.assert_close(net(x), net.head(both))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"head_layers": 3}, "head_layers=3 must be 1, or 2"),
        ({"head_layers": 2, "hidden": [9]}, "head_layers=2 must be 1, or 2 for a net of two layers"),
        ({"hidden": []}, r"hidden=\[\] must name"),
        ({"kernel_size": [3]}, "kernel_size has 1 values for 2 layers"),
        ({"pool": [2, 2, 2]}, "pool has 3 values for 2 layers"),
        ({"kernel_size": [12, 12]}, "9 pixels are fewer than the 12"),
    ],
)
def test_wrong_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        ConvDBN(**options)


@pytest.mark.parametrize("options", [{"steps": 0}, {"burn_in": -1}])
def test_a_number_of_steps_out_of_range_is_refused(options):
    with pytest.raises(ValueError, match="must be >="):
        toy().infer(torch.zeros(1, 1, 4, 3, dtype=torch.double), **options)
