"""The features of a convolutional belief network as images, against plain loops."""

import pytest
import torch

from zoo.models import ConvDBN
from zoo.plots import hierarchy


def rbms():
    torch.manual_seed(0)
    net = ConvDBN(in_shape=(1, 9, 9), num_classes=0, hidden=[2, 3], kernel_size=[3, 2], pool=2, init_std=1.0)
    return [net.rbm(0), net.rbm(1)]


def test_the_weights_of_a_higher_feature_are_the_sum_of_the_lower_ones():
    stack = rbms()
    assert torch.equal(hierarchy.projected(stack, 0), stack[0].weight)
    found = hierarchy.projected(stack, 1)
    expected = torch.zeros(3, 1, 6, 6)  # two pooled units of two hidden units each, whose kernels have three pixels
    for k in range(3):
        for below in range(2):
            for i in range(4):
                for j in range(4):
                    share = stack[1].weight[k, below, i // 2, j // 2] / 4
                    expected[k, 0, i : i + 3, j : j + 3] += share.detach() * stack[0].weight[below, 0].detach()
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("batch_size", [2, 20])
def test_the_part_that_excites_a_feature_most_is_what_its_most_active_unit_sees(batch_size, monkeypatch):
    monkeypatch.setattr(hierarchy, "BATCH_SIZE", batch_size)
    stack = rbms()
    x = torch.rand(5, 1, 9, 9)
    parts = hierarchy.most_exciting(stack, 0, x)
    assert parts.shape == (3 - 1, 1, 3, 3)
    h = stack[0].hidden_mean(x)  # 5 x 2 x 7 x 7
    for k in range(2):
        n, i, j = (h[:, k] == h[:, k].max()).nonzero()[0].tolist()
        assert torch.equal(parts[k, 0], x[n, 0, i : i + 3, j : j + 3])

    # Of the second layer, a unit sees 6 pixels, in steps of the pooled blocks.
    parts = hierarchy.most_exciting(stack, 1, x)
    h = stack[1].hidden_mean(stack[0].pool_mean(x))  # 5 x 3 x 3 x 3
    for k in range(3):
        n, i, j = (h[:, k] == h[:, k].max()).nonzero()[0].tolist()
        seen = x[n, 0, 2 * i : 2 * i + 6, 2 * j : 2 * j + 6]
        assert torch.equal(parts[k, 0, : seen.shape[0], : seen.shape[1]], seen)
