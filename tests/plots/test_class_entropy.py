"""How much features tell about the class, by hand and as a plot."""

import math

import pytest
import torch

from zoo.models import ConvDBN
from zoo.plots import class_entropy


def test_a_feature_of_one_class_has_entropy_0_and_one_of_all_classes_the_entropy_of_the_class():
    labels = torch.arange(4).repeat(50)  # 200 images of four classes; 20 images count as active
    specific = (labels == 2) + 0.001 * torch.arange(200)
    two_classes = torch.zeros(200)
    two_classes[[*range(0, 60, 4), *range(1, 20, 4)]] = 1.0  # 15 images of class 0, 5 of class 1
    everywhere = torch.zeros(200)
    everywhere[:20] = 1.0  # five images of each class
    found = class_entropy.class_entropies(torch.stack([specific, two_classes, everywhere], dim=1), labels)
    of_two = -(0.75 * math.log2(0.75) + 0.25 * math.log2(0.25))
    torch.testing.assert_close(found, torch.tensor([0.0, of_two, 2.0]), check_dtype=False)


def test_the_activation_of_a_feature_is_that_of_its_most_probable_pooling_unit():
    torch.manual_seed(0)
    net = ConvDBN(in_shape=(1, 9, 9), num_classes=0, hidden=[2, 3], kernel_size=[3, 2], pool=2, init_std=1.0)
    x = torch.rand(5, 1, 9, 9)
    first, second = class_entropy.activations([net.rbm(0), net.rbm(1)], x)
    pooled = net.rbm(0).pool_mean(x)
    torch.testing.assert_close(first, pooled.flatten(2).max(dim=2).values)
    torch.testing.assert_close(second, net.rbm(1).pool_mean(pooled).flatten(2).max(dim=2).values)


@pytest.mark.parametrize("classes", [1, 10])
def test_the_plot_has_a_line_for_each_layer_and_one_for_the_class(classes):
    labels = torch.arange(60) % classes
    figure = class_entropy.histograms([torch.rand(60, 6), torch.rand(60, 30)], labels)
    (axes,) = figure.axes
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert [name.partition(":")[0] for name in names] == ["layer 1", "layer 2", "class of any image"]
    assert names[2].endswith(f": {math.log2(classes):.2f}")
    for stairs in axes.patches:
        assert stairs.get_data().values.sum() == pytest.approx(1.0)
