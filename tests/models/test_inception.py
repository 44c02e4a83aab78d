"""Inception against table 1 of the paper and against its blocks by hand."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from zoo.models import GoogLeNet, InceptionBlock, InceptionSmall

BLOCK_3A = {
    "in_channels": 192,
    "width_1x1": 64,
    "reduce_3x3": 96,
    "width_3x3": 128,
    "reduce_5x5": 16,
    "width_5x5": 32,
    "pool_proj": 32,
}
TINY = {
    "in_channels": 3,
    "width_1x1": 2,
    "reduce_3x3": 4,
    "width_3x3": 5,
    "reduce_5x5": 6,
    "width_5x5": 7,
    "pool_proj": 8,
}
TABLE_1 = {  # type and output size
    "conv1": (64, 112, 112),
    "pool1": (64, 56, 56),
    "conv2_reduce": (64, 56, 56),
    "conv2": (192, 56, 56),
    "pool2": (192, 28, 28),
    "inception_3a": (256, 28, 28),
    "inception_3b": (480, 28, 28),
    "pool_before_4a": (480, 14, 14),
    "inception_4a": (512, 14, 14),
    "inception_4b": (512, 14, 14),
    "inception_4c": (512, 14, 14),
    "inception_4d": (528, 14, 14),
    "inception_4e": (832, 14, 14),
    "pool_before_5a": (832, 7, 7),
    "inception_5a": (832, 7, 7),
    "inception_5b": (1024, 7, 7),
    "average": (1024,),
}


def parameters(net):
    return sum(p.numel() for p in net.parameters())


@pytest.fixture(scope="module")
def googlenet():
    torch.manual_seed(0)
    return GoogLeNet().eval()


@pytest.fixture(scope="module")
def image():
    torch.manual_seed(0)
    return torch.randn(1, 3, 224, 224)


# The block


def test_block_3a_has_the_papers_size_and_shape():
    block = InceptionBlock(**BLOCK_3A)
    assert parameters(block) == 163_696
    assert block.out_channels == 256
    assert block(torch.zeros(1, 192, 28, 28)).shape == (1, 256, 28, 28)


def test_block_stacks_1x1_then_3x3_then_5x5_then_pooling():
    torch.manual_seed(0)
    block, x = InceptionBlock(**TINY).double(), torch.randn(2, 3, 9, 8, dtype=torch.double)

    def conv(maps, branch, padding=0):
        weight, bias = branch.parameters()
        return F.relu(F.conv2d(maps, weight, bias, padding=padding))

    (reduce_3x3, conv_3x3), (reduce_5x5, conv_5x5) = block.branch_3x3, block.branch_5x5
    y = block(x)
    assert [maps.shape[1] for maps in y.split([2, 5, 7, 8], dim=1)] == [2, 5, 7, 8]
    expected = [
        conv(x, block.branch_1x1),
        conv(conv(x, reduce_3x3), conv_3x3, 1),
        conv(conv(x, reduce_5x5), conv_5x5, 2),
        conv(F.max_pool2d(x, 3, 1, 1), block.branch_pool),
    ]
    torch.testing.assert_close(y, torch.cat(expected, dim=1))


def test_a_pixel_reaches_1x1_3x3_5x5_and_3x3_pixels_of_the_four_branches():
    block, x = InceptionBlock(**TINY), torch.zeros(1, 3, 11, 11)
    x[:, :, 5, 5] = 1
    for p in block.parameters():
        nn.init.constant_(p, float(p.ndim == 4))  # weights 1, biases 0
    for maps, reach in zip(block(x).split([2, 5, 7, 8], dim=1), [0, 1, 2, 1], strict=True):
        reached = torch.zeros(11, 11, dtype=torch.bool)
        reached[5 - reach : 6 + reach, 5 - reach : 6 + reach] = True
        assert ((maps[0] != 0) == reached).all()


def test_the_5x5_branch_has_true_5x5_kernels():
    assert InceptionBlock(**BLOCK_3A).branch_5x5[1][0].weight.shape == (32, 16, 5, 5)


def test_batch_norm_block_has_no_biases_and_normalizes_before_the_relu():
    torch.manual_seed(0)
    block = InceptionBlock(**TINY, batch_norm=True)
    assert all(conv.bias is None for conv in block.modules() if isinstance(conv, nn.Conv2d))
    assert sum(isinstance(module, nn.BatchNorm2d) for module in block.modules()) == 6
    x = 5 + 3 * torch.randn(16, 3, 9, 9)
    maps = F.conv2d(x, block.branch_1x1[0].weight)
    variance, mean = torch.var_mean(maps, dim=(0, 2, 3), keepdim=True, correction=0)
    expected = F.relu((maps - mean) / (variance + 1e-5).sqrt())
    torch.testing.assert_close(block(x)[:, :2], expected, rtol=1e-4, atol=1e-4)


# GoogLeNet


@pytest.mark.parametrize(("auxiliary", "count"), [(False, 6_998_552), (True, 13_378_280)])
def test_googlenets_parameter_count(auxiliary, count):
    with torch.device("meta"):  # counts, without memory
        assert parameters(GoogLeNet(auxiliary=auxiliary)) == count


@torch.no_grad()
def test_googlenets_layers_have_the_sizes_of_table_1(googlenet, image):
    shapes, x = {}, image
    for name, layer in googlenet.layers.named_children():
        x = layer(x)
        shapes[name] = tuple(x.shape[1:])
    assert shapes == TABLE_1
    assert googlenet.head(x).shape == (1, 1000)


@torch.no_grad()
def test_encode_stops_after_depth_layers(googlenet, image):
    small = x = image[:, :, :79, :79]
    for depth, layer in enumerate(googlenet.layers):
        assert torch.equal(googlenet.encode(small, depth), x)
        x = layer(x)
    assert torch.equal(googlenet.encode(small), x)


@torch.no_grad()
def test_auxiliary_heads_leave_the_main_logits_alone(googlenet, image):
    logits, auxiliary_logits = googlenet.forward_with_auxiliaries(image)
    torch.testing.assert_close(logits, googlenet(image))
    assert [tuple(a.shape) for a in auxiliary_logits] == [(1, 1000), (1, 1000)]


@torch.no_grad()
def test_auxiliary_heads_read_4a_and_4d_by_the_papers_recipe(googlenet, image):
    _, auxiliary_logits = googlenet.forward_with_auxiliaries(image)
    names = list(TABLE_1)
    for name, logits in zip(["inception_4a", "inception_4d"], auxiliary_logits, strict=True):
        conv, conv_bias, hidden, hidden_bias, head, head_bias = googlenet.auxiliaries[name].parameters()
        x = F.avg_pool2d(googlenet.encode(image, names.index(name) + 1), 5, 3)
        x = F.relu(F.conv2d(x, conv, conv_bias))
        assert x.shape == (1, 128, 4, 4)
        x = F.relu(x.flatten(1) @ hidden.T + hidden_bias)
        torch.testing.assert_close(logits, x @ head.T + head_bias)


def test_auxiliary_heads_push_gradients_into_the_lower_layers_only():
    torch.manual_seed(0)
    net = GoogLeNet(in_shape=(3, 79, 79), num_classes=5).train()
    logits, auxiliary_logits = net.forward_with_auxiliaries(torch.randn(2, 3, 79, 79))
    sum(a.sum() for a in auxiliary_logits).backward(retain_graph=True)
    assert net.layers.conv1[0].weight.grad.any()
    assert net.layers.inception_4d.branch_1x1[0].weight.grad.any()
    assert net.layers.inception_4e.branch_1x1[0].weight.grad is None
    assert net.head.weight.grad is None
    logits.sum().backward()
    assert [name for name, p in net.named_parameters() if p.grad is None] == []


def test_forward_does_not_touch_the_auxiliary_heads():
    net = GoogLeNet(in_shape=(3, 79, 79), num_classes=5)
    net(torch.zeros(1, 3, 79, 79)).sum().backward()
    assert all(p.grad is None for p in net.auxiliaries.parameters())


@pytest.mark.parametrize("sides", [(79, 79), (94, 95), (112, 130), (224, 79)])
def test_googlenet_takes_images_from_79_pixels_on(sides):
    with torch.device("meta"):  # shapes only
        net = GoogLeNet(in_shape=(1, *sides), num_classes=5)
        logits, auxiliary_logits = net.forward_with_auxiliaries(torch.zeros(2, 1, *sides))
    assert [tuple(x.shape) for x in (logits, *auxiliary_logits)] == [(2, 5)] * 3


@pytest.mark.parametrize(
    ("in_shape", "message"),
    [
        ((3, 78, 224), "at least 79x79 pixels, in_shape is 3x78x224"),
        ((3, 224, 78), "at least 79x79 pixels, in_shape is 3x224x78"),
        ((784,), "channels x height x width.*784"),
    ],
)
def test_googlenet_refuses_what_is_too_small_or_no_image(in_shape, message):
    with pytest.raises(ValueError, match=message):
        GoogLeNet(in_shape=in_shape)


@torch.no_grad()
def test_reset_head_replaces_the_head_and_the_auxiliary_heads_only():
    torch.manual_seed(0)
    net, x = GoogLeNet(in_shape=(3, 79, 79), num_classes=5).eval(), torch.randn(2, 3, 79, 79)
    before = {name: p.clone() for name, p in net.named_parameters()}
    net.reset_head(7)
    logits, auxiliary_logits = net.forward_with_auxiliaries(x)
    assert [tuple(a.shape) for a in (logits, *auxiliary_logits)] == [(2, 7)] * 3
    assert net.num_classes == 7
    changed = {name.rsplit(".", 1)[0] for name, p in net.named_parameters() if not torch.equal(p, before[name])}
    assert changed == {"head", "auxiliaries.inception_4a.head", "auxiliaries.inception_4d.head"}


def test_without_auxiliary_heads_there_are_no_auxiliary_logits():
    with torch.device("meta"):
        net = GoogLeNet(in_shape=(3, 79, 79), num_classes=5, auxiliary=False)
        logits, auxiliary_logits = net.forward_with_auxiliaries(torch.zeros(2, 3, 79, 79))
    assert logits.shape == (2, 5)
    assert auxiliary_logits == []


# InceptionSmall


def test_inception_smalls_parameter_count():
    assert parameters(InceptionSmall()) == 214_818


@pytest.mark.parametrize(("in_shape", "sides"), [((1, 28, 28), (28, 14, 7)), ((3, 32, 32), (32, 16, 8))])
def test_inception_smalls_layer_shapes(in_shape, sides):
    net, x = InceptionSmall(in_shape=in_shape).eval(), torch.zeros(2, *in_shape)
    full, half, quarter = ((side, side) for side in sides)
    shapes = [in_shape, (32, *full), (32, *half), (80, *half), (128, *half), (128, *quarter), (192, *quarter)]
    shapes += [(256, *quarter), (256,)]
    assert [tuple(net.encode(x, depth).shape[1:]) for depth in range(9)] == shapes
    assert net(x).shape == (2, 10)


@pytest.mark.parametrize("width", [0.125, 0.5, 2])
def test_width_multiplies_the_maps_of_every_convolution_but_the_stem(width):
    def maps(net):
        return [module.out_channels for module in net.layers.modules() if isinstance(module, nn.Conv2d)]

    stem, *blocks = maps(InceptionSmall())
    net = InceptionSmall(width=width).eval()
    assert maps(net) == [stem, *(round(width * n) for n in blocks)]
    assert net(torch.zeros(1, 1, 28, 28)).shape == (1, 10)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0.05}, "width=0.05 leave"),
        ({"stem": 0}, "stem=0"),
        ({"in_shape": (1, 28, 7)}, "at least 8x8 pixels, in_shape is 1x28x7"),
        ({"in_shape": (784,)}, "channels x height x width.*784"),
    ],
)
def test_inception_small_refuses_impossible_options(options, message):
    with pytest.raises(ValueError, match=message):
        InceptionSmall(**options)


@torch.no_grad()
def test_inception_smalls_reset_head_replaces_only_the_head():
    torch.manual_seed(0)
    net, x = InceptionSmall(in_shape=(1, 8, 8)).eval(), torch.randn(3, 1, 8, 8)
    features = net.encode(x)
    net.reset_head(7)
    assert net(x).shape == (3, 7)
    assert net.num_classes == 7
    assert torch.equal(net.encode(x), features)
