"""The LeNets: counts, shapes, table I, subsampling, output codes, and every option of the configurable one."""

import pytest
import torch
from scipy.spatial.distance import cdist
from torch import nn

from zoo.models import LeNet, LeNet5, LeNet1998
from zoo.models.lenet1998 import TABLE_I, DistanceToCodes, Subsampling, TableConv

PAPERS_TABLE_I = """
X . . . X X X . . X X X X . X X
X X . . . X X X . . X X X X . X
X X X . . . X X X . . X . X X X
. X X X . . X X X X . . X . X X
. . X X X . . X X X X . X X . X
. . . X X X . . X X X X . X X X
"""  # a row for each map of S2, a column for each of C3
SEES = torch.tensor([[mark == "X" for mark in row.split()] for row in PAPERS_TABLE_I.strip().splitlines()]).T


@pytest.mark.parametrize(
    ("model", "options", "count"),
    [
        (LeNet5, {}, 61_706),
        (LeNet1998, {}, 60_000),
        (LeNet, {}, 431_080),
        (LeNet, {"kernels": (4, 10), "hidden": ()}, 2_724),
    ],
)
def test_parameter_count(model, options, count):
    assert sum(p.numel() for p in model(**options).parameters()) == count


@pytest.mark.parametrize(
    ("layer", "count"), [("c1", 156), ("s2", 12), ("c3", 1_516), ("s4", 32), ("c5", 48_120), ("f6", 10_164)]
)
def test_each_layer_has_the_papers_parameters(layer, count):
    assert sum(p.numel() for p in LeNet1998().layers.get_submodule(layer).parameters()) == count


LENET = [(1, 28, 28), (6, 28, 28), (6, 14, 14), (16, 10, 10), (400,), (120,), (84,)]
CAFFE = [(1, 28, 28), (20, 12, 12), (50, 4, 4), (500,)]


@pytest.mark.parametrize(("model", "shapes"), [(LeNet5, LENET), (LeNet1998, LENET), (LeNet, CAFFE)])
def test_encode_gives_the_shape_of_each_layer(model, shapes):
    net, x = model(), torch.zeros(2, 1, 28, 28)
    assert [tuple(net.encode(x, depth).shape[1:]) for depth in range(len(shapes))] == shapes
    assert net.encode(x).shape[1:] == shapes[-1]
    assert net(x).shape == (2, 10)


@pytest.mark.parametrize("model", [LeNet5, LeNet1998, LeNet])
def test_reset_head_replaces_only_the_head(model):
    torch.manual_seed(0)
    net, x = model(in_shape=(3, 32, 20)), torch.randn(2, 3, 32, 20)
    features = net.encode(x)
    net.reset_head(7)
    assert net(x).shape == (2, 7)
    assert net.num_classes == 7
    assert torch.equal(net.encode(x), features)


@pytest.mark.parametrize("model", [LeNet5, LeNet1998])
@pytest.mark.parametrize("side", [12, 13, 29, 32])
def test_the_predicted_size_of_the_maps_is_the_real_one(model, side):
    assert model(in_shape=(1, side, 28))(torch.zeros(1, 1, side, 28)).shape == (1, 10)


def test_lenet5_equals_its_layers_by_hand():
    torch.manual_seed(0)
    net, x = LeNet5(in_shape=(2, 20, 16), kernels=(3, 4), hidden=(8, 7), activation="tanh"), torch.randn(5, 2, 20, 16)
    by_hand = nn.Sequential(
        *(nn.Conv2d(2, 3, 5, padding=2), nn.Tanh(), nn.MaxPool2d(2)),
        *(nn.Conv2d(3, 4, 5), nn.Tanh(), nn.MaxPool2d(2), nn.Flatten()),
        *(nn.Linear(4 * 3 * 2, 8), nn.Tanh(), nn.Linear(8, 7), nn.Tanh(), nn.Linear(7, 10)),
    )
    copy(net, by_hand)
    assert torch.equal(net(x), by_hand(x))


def copy(source, target):
    with torch.no_grad():
        for p, q in zip(source.parameters(), target.parameters(), strict=True):
            q.copy_(p)


# The paper's net


def test_table_i_is_the_papers():
    assert [set(maps) for maps in TABLE_I] == [set(row.nonzero().flatten().tolist()) for row in SEES]
    assert [len(maps) for maps in TABLE_I] == [3] * 6 + [4] * 9 + [6]
    assert sum(map(len, TABLE_I)) == 60


@pytest.mark.parametrize("k", range(16))
def test_map_of_c3_depends_on_exactly_the_listed_maps_of_s2(k):
    torch.manual_seed(k)
    s2 = torch.randn(1, 6, 14, 14, dtype=torch.double, requires_grad=True)
    c3 = LeNet1998().double().layers.c3(s2)
    (gradient,) = torch.autograd.grad(c3[:, k].sum(), s2)
    assert torch.equal((gradient[0] != 0).all(dim=(1, 2)), SEES[k])  # every pixel of a listed map
    assert torch.equal((gradient[0] != 0).any(dim=(1, 2)), SEES[k])  # no pixel of another


def test_table_conv_equals_a_masked_convolution():
    torch.manual_seed(0)
    table, dense = TableConv().double(), nn.Conv2d(6, 16, 5).double()
    out, seen = zip(*((out, seen) for out, maps in enumerate(TABLE_I) for seen in maps), strict=True)
    with torch.no_grad():
        dense.weight *= SEES[:, :, None, None]
        table.kernels.copy_(dense.weight[out, seen])
        table.bias.copy_(dense.bias)
    x = torch.randn(3, 6, 9, 8, dtype=torch.double)
    torch.testing.assert_close(table(x), dense(x))
    table(x).square().sum().backward()
    dense(x).square().sum().backward()
    torch.testing.assert_close(table.bias.grad, dense.bias.grad)
    torch.testing.assert_close(table.kernels.grad, dense.weight.grad[out, seen])


def test_subsampling_by_hand():
    layer = Subsampling(2)
    x = torch.tensor([[[[1.0, 2, 5, 6], [3, 4, 7, 8]], [[1, 0, 0, -1], [0, 0, 0, 0]]]])
    assert layer(x).tolist() == [[[[2.5, 6.5]], [[0.25, -0.25]]]]  # starts as the average
    with torch.no_grad():
        layer.coefficient.copy_(torch.tensor([0.5, -2]))
        layer.bias.copy_(torch.tensor([1, 3]))
    y = layer(x)
    assert y.tolist() == [[[[6, 14]], [[1, 5]]]]
    y.sum().backward()
    assert layer.coefficient.grad.tolist() == [36, 0]  # the sum of all window sums
    assert layer.bias.grad.tolist() == [2, 2]


def test_output_is_minus_the_squared_distance_to_each_code():
    torch.manual_seed(0)
    head, x = DistanceToCodes(84, 10), torch.randn(5, 84, dtype=torch.double)
    expected = -cdist(x, head.codes, "sqeuclidean")
    torch.testing.assert_close(head(x), torch.from_numpy(expected), rtol=1e-12, atol=0)


@pytest.mark.parametrize("num_classes", [2, 10, 47, 100])
def test_codes_are_distinct_and_each_is_nearest_to_itself(num_classes):
    head = DistanceToCodes(84, num_classes)
    assert head.codes.shape == (num_classes, 84)
    assert (head.codes.abs() == 1).all()
    assert len(head.codes.unique(dim=0)) == num_classes
    assert head(head.codes).argmax(dim=1).tolist() == list(range(num_classes))
    assert list(head.parameters()) == []


def test_codes_of_ten_classes_are_nearly_equally_far_apart():
    codes = DistanceToCodes(84, 10).codes
    different = cdist(codes, codes, "hamming")[~torch.eye(10, dtype=torch.bool)] * 84
    assert different.min() >= 40
    assert different.max() <= 44
    assert (codes.sum(dim=1).abs() <= 4).all()  # none is constant


def test_the_papers_net_squashes_every_layer_by_the_scaled_tanh():
    torch.manual_seed(0)
    net, x = LeNet1998().double(), 3 * torch.randn(4, 1, 28, 28, dtype=torch.double)
    for layer in net.layers:
        expected = 1.7159 * torch.tanh(2 / 3 * layer[0](x))
        x = layer(x)
        torch.testing.assert_close(x, expected.reshape_as(x))


# The configurable net


@pytest.mark.parametrize(("pool", "pooling"), [("max", nn.MaxPool2d), ("average", nn.AvgPool2d)])
def test_options_for_each_round_equal_a_net_built_by_hand(pool, pooling):
    torch.manual_seed(0)
    net = LeNet(
        in_shape=(3, 32, 30),
        num_classes=4,
        kernels=(6, 8),
        kernel_size=[5, 3],
        stride=[2, 1],
        padding=[2, 1],
        dilation=[1, 2],
        groups=[3, 2],
        pool=pool,
        pool_size=[2, 3],
        hidden=(9, 7),
        activation="tanh",
    ).double()
    by_hand = nn.Sequential(  # 3 x 32 x 30
        *(nn.Conv2d(3, 6, 5, stride=2, padding=2, groups=3), nn.Tanh(), pooling(2)),  # 6 x 8 x 7
        *(nn.Conv2d(6, 8, 3, padding=1, dilation=2, groups=2), nn.Tanh(), pooling(3), nn.Flatten()),  # 8 x 2 x 1
        *(nn.Linear(16, 9), nn.Tanh(), nn.Linear(9, 7), nn.Tanh(), nn.Linear(7, 4)),
    ).double()
    copy(net, by_hand)
    x = torch.randn(5, 3, 32, 30, dtype=torch.double)
    torch.testing.assert_close(net(x), by_hand(x))
    net(x).square().sum().backward()
    by_hand(x).square().sum().backward()
    for p, q in zip(net.parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad)


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 3},
        {"stride": 2},
        {"padding": 1},
        {"dilation": 2},
        {"groups": 2},
        {"pool_size": 1},
    ],
    ids=str,
)
def test_one_number_stands_for_every_round(options):
    x = torch.randn(2, 2, 32, 32)
    for_all = LeNet(in_shape=(2, 32, 32), kernels=(4, 6), hidden=(5,), **options)
    for_each = LeNet(
        in_shape=(2, 32, 32), kernels=(4, 6), hidden=(5,), **{name: [value] * 2 for name, value in options.items()}
    )
    copy(for_all, for_each)
    assert torch.equal(for_all(x), for_each(x))
    default = LeNet(in_shape=(2, 32, 32), kernels=(4, 6), hidden=(5,))
    assert [for_all.encode(x, 1).shape, for_all.layers[0][0].groups] != [default.encode(x, 1).shape, 1]


def test_average_pooling_by_hand():
    net = LeNet(in_shape=(1, 4, 4), num_classes=2, kernels=(1,), kernel_size=1, pool="average", hidden=())
    with torch.no_grad():
        net.layers[0][0].weight.fill_(2)
        net.layers[0][0].bias.fill_(1)
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert net.encode(x).tolist() == [[[[6, 10], [22, 26]]]]


def test_maxout_keeps_the_maps():
    net = LeNet(kernels=(4, 6), hidden=(5,), activation="maxout")
    x = torch.zeros(2, 1, 28, 28)
    assert [net.encode(x, depth).shape[1] for depth in (1, 2, 3)] == [4, 6, 5]
    assert LeNet5(activation="maxout")(x).shape == (2, 10)


def test_dropout_acts_on_hidden_layers_in_training_only():
    torch.manual_seed(0)
    net, x = LeNet(hidden=(200,), activation="sigmoid", dropout=0.5), torch.randn(20, 1, 28, 28)
    maps, whole = net.eval().encode(x, 2), net.encode(x)
    assert (whole != 0).all()
    dropped = net.train().encode(x)
    assert torch.equal(net.encode(x, 2), maps)
    assert (dropped == 0).float().mean().item() == pytest.approx(0.5, abs=0.04)  # 5 standard errors of 4,000
    torch.testing.assert_close(dropped[dropped != 0], 2 * whole[dropped != 0])


@pytest.mark.parametrize("option", ["kernel_size", "stride", "padding", "dilation", "groups", "pool_size"])
@pytest.mark.parametrize("length", [1, 3])
def test_an_option_list_of_the_wrong_length_is_refused_by_name(option, length):
    with pytest.raises(ValueError, match=f"{option} has {length} values for 2 layers"):
        LeNet(**{option: [1] * length})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pool": "median"}, "unknown pool 'median'; choose max or average"),
        ({"activation": "tahn"}, "unknown activation 'tahn'"),
        ({"in_shape": (784,)}, "takes images.*784"),
        ({"in_shape": (28, 28)}, "takes images.*28x28"),
        ({"in_shape": (1, 0, 28)}, "takes images.*1x0x28"),
        ({"in_shape": (1, 15, 28)}, "an input of shape 20x5x12 does not fit this layer"),
        ({"groups": 3}, "divisible by groups"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        LeNet(**options)


@pytest.mark.parametrize("model", [LeNet5, LeNet1998])
@pytest.mark.parametrize(
    ("in_shape", "message"), [((784,), "takes images.*784"), ((1, 28, 11), "at least 12x12 pixels.*1x28x11")]
)
def test_lenet5_refuses_what_is_no_image_or_too_small(model, in_shape, message):
    with pytest.raises(ValueError, match=message):
        model(in_shape=in_shape)
