"""torchvision's classifiers cut into layers and head compute what torchvision's own do, to the last bit."""

from functools import cache

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision import models

import zoo
from zoo.models import TorchvisionNet, resnet
from zoo.models.wrapped_net import _sum_kernels, first_convolution

# architecture: its head's name there, the side of a small image
FAMILIES = {
    "resnet18": ("fc", 64),
    "resnet50": ("fc", 64),
    "mobilenet_v3_small": ("classifier.3", 64),
    "shufflenet_v2_x0_5": ("fc", 64),
    "regnet_y_400mf": ("fc", 64),
    "densenet121": ("classifier", 64),
}
RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnext50_32x4d", "wide_resnet50_2")
OTHERS = ("mobilenet_v3_small", "efficientnet_b0", "densenet121", "vit_b_16", "swin_v2_t", "convnext_tiny", "vgg11_bn")
STAGES = ("maxpool", "layer1", "layer2", "layer3", "layer4", "avgpool")


@cache
def theirs(architecture: str) -> nn.Module:
    """torchvision's own, its statistics, affine weights and head random too."""
    torch.manual_seed(0)
    net = models.get_model(architecture, weights=None, num_classes=5)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values in (module.weight.data, module.running_var):
                values.uniform_(0.5, 1.5)
            for values in (module.bias.data, module.running_mean):
                values.normal_(std=0.1)
    net.get_submodule(FAMILIES[architecture][0]).weight.data.normal_()  # else some families' logits are nearly 0
    return net


def ours(architecture: str, **options) -> TorchvisionNet:
    """The zoo's with the same numbers."""
    state = theirs(architecture).state_dict()
    net = TorchvisionNet(architecture=architecture, num_classes=5, **{"in_shape": (3, 64, 64), **options})
    net.load_state_dict({name: state[there] for name, there in net.torchvision_names.items()})
    return net


def images(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def passed(net: nn.Module, x: torch.Tensor, head: str) -> tuple[torch.Tensor, torch.Tensor]:
    """What torchvision's net gives, and what its head was given."""
    seen: list[torch.Tensor] = []
    hook = net.get_submodule(head).register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    torch.manual_seed(2)  # of dropout and stochastic depth
    logits = net(x)
    hook.remove()
    return logits, seen[0]


@pytest.mark.parametrize("architecture", FAMILIES)
def test_logits_and_features_are_torchvisions_to_the_last_bit(architecture):
    head, side = FAMILIES[architecture]
    x = images(2, 3, side, side)
    there, here = theirs(architecture).eval(), ours(architecture, in_shape=(3, side, side)).eval()
    with torch.no_grad():
        logits, features = passed(there, x, head)
        assert torch.equal(here(x), logits)
        assert torch.equal(here.encode(x), features)
        assert torch.equal(here.head(features), logits)
    assert features.shape == (2, here.num_features)
    assert logits.abs().max() > 0.01


@pytest.mark.parametrize("architecture", ["resnet18", "mobilenet_v3_small"])
def test_in_training_too_gradients_and_statistics_are_the_same(architecture):
    head, side = FAMILIES[architecture]
    x = images(3, 3, side, side)
    there, here = theirs(architecture).train(), ours(architecture).train()
    before = {name: value.clone() for name, value in there.state_dict().items()}
    logits = passed(there, x, head)[0]
    torch.manual_seed(2)
    assert torch.equal(here(x), logits)
    torch.manual_seed(2)
    logits.square().sum().backward()
    here.load_state_dict({name: before[known] for name, known in here.torchvision_names.items()})
    here(x).square().sum().backward()
    gradients = {name: p.grad for name, p in there.named_parameters()}
    assert all(torch.equal(p.grad, gradients[here.torchvision_names[name]]) for name, p in here.named_parameters())
    after = there.state_dict()
    assert all(torch.equal(value, after[here.torchvision_names[name]]) for name, value in here.state_dict().items())
    moved = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert any("running_mean" in name for name in moved)
    there.load_state_dict(before)
    there.zero_grad()


@pytest.mark.parametrize("architecture", ["resnet18", "resnet50"])
def test_a_resnets_layers_give_torchvisions_maps(architecture):
    there, here, x = theirs(architecture).eval(), ours(architecture).eval(), images(2, 3, 64, 64)
    maps: dict[str, torch.Tensor] = {}
    hooks = [
        there.get_submodule(name).register_forward_hook(lambda _, __, out, name=name: maps.update({name: out}))
        for name in STAGES
    ]
    with torch.no_grad():
        there(x)
        assert here.encode(x, depth=0) is x
        for depth, name in enumerate(STAGES, start=1):
            assert torch.equal(here.encode(x, depth=depth), maps[name].flatten(1) if name == "avgpool" else maps[name])
    for hook in hooks:
        hook.remove()
    assert [name for name, _ in here.layers.named_children()] == ["stem", *STAGES[1:5], "pool"]


@pytest.mark.parametrize("architecture", [*RESNETS, *OTHERS])
def test_every_tensor_has_torchvisions_name(architecture):
    with torch.device("meta"):  # names and shapes only
        net = TorchvisionNet(architecture=architecture, num_classes=7)
        official = models.get_model(architecture, weights=None, num_classes=7).state_dict()
    own, names = net.state_dict(), net.torchvision_names
    assert names.keys() == own.keys()
    assert sorted(names.values()) == sorted(official)
    assert all(official[there].shape == own[here].shape for here, there in names.items())
    assert net.head.out_features == 7
    assert {"head.weight", "head.bias"} <= own.keys()


# Gray images


@pytest.mark.parametrize("architecture", ["resnet18", "mobilenet_v3_small"])
def test_gray_images_repeated_or_kernels_summed_compute_the_same(architecture):
    x = images(2, 1, 64, 64)
    repeated, colors = ours(architecture, in_shape=(1, 64, 64)).eval(), ours(architecture).eval()
    state = repeated.state_dict()
    first = next(name for name, value in state.items() if value.dim() == 4)
    summed = TorchvisionNet(architecture=architecture, in_shape=(1, 64, 64), num_classes=5, gray="sum").eval()
    summed.load_state_dict({**state, first: state[first].sum(dim=1, keepdim=True)})
    assert summed.torchvision_names == repeated.torchvision_names
    with torch.no_grad():
        expected = repeated(x)
        assert expected.std() > 0.1
        torch.testing.assert_close(expected, colors(x.repeat(1, 3, 1, 1)), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(summed(x), expected, rtol=1e-3, atol=1e-3)


def test_the_kernels_that_are_summed_are_those_it_would_have_had():
    kernels = []
    for gray in ("repeat", "sum"):
        torch.manual_seed(0)
        kernels.append(TorchvisionNet(in_shape=(1, 64, 64), num_classes=5, gray=gray).layers.stem.conv1.weight)
    assert torch.equal(kernels[0].sum(dim=1, keepdim=True), kernels[1])


def test_color_images_are_not_summed():
    net = TorchvisionNet(in_shape=(3, 64, 64), num_classes=2, gray="sum")
    assert net.layers.stem.conv1.weight.shape == (64, 3, 7, 7)


def test_a_summed_convolution_keeps_its_bias_and_geometry():
    first = nn.Conv2d(3, 4, 3, stride=2, padding=2, dilation=2, padding_mode="reflect")
    net, x = nn.Sequential(nn.Identity(), first, nn.Conv2d(4, 2, 1)), images(2, 1, 11, 9)
    expected = net(x.expand(-1, 3, -1, -1))
    _sum_kernels(net, first_convolution(net), "net")
    assert net[1].weight.shape == (4, 1, 3, 3)
    assert torch.equal(net[1].bias, first.bias)
    torch.testing.assert_close(net(x), expected)


# Size


@pytest.mark.parametrize(
    ("shape", "enlarge", "size"),
    [
        ((3, 20, 28), 64, (64, 90)),  # 28 x 64/20 = 89.6
        ((1, 28, 20), 64, (90, 64)),
        ((3, 80, 70), 64, (80, 70)),  # large enough
        ((3, 64, 100), 64, (64, 100)),
        ((3, 40, 40), None, (40, 40)),
    ],
)
def test_small_images_are_enlarged_to_their_shorter_side(shape, enlarge, size, monkeypatch):
    x = images(2, *shape)
    plain = ours("shufflenet_v2_x0_5", in_shape=(shape[0], *size)).eval()
    net = ours("shufflenet_v2_x0_5", in_shape=shape, enlarge=enlarge).eval()
    assert (net.in_shape, net.size) == (shape, size)
    before = F.interpolate(x, size=size, mode="bilinear", align_corners=False) if size != shape[1:] else x
    if size == shape[1:]:
        monkeypatch.setattr(F, "interpolate", lambda *_, **__: pytest.fail("large enough"))
    with torch.no_grad():
        assert torch.equal(net(x), plain(before))
        assert torch.equal(net.encode(x, depth=1), plain.encode(before, depth=1))
    assert net.encode(x, depth=0) is x


# What cannot be


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"in_shape": (2, 28, 28)}, "resnet18 takes images of 1 or 3 channels, in_shape is 2x28x28"),
        ({"in_shape": (784,)}, "this net takes images"),
        ({"in_shape": (3, 0, 28)}, "in_shape is 3x0x28"),
        ({"architecture": "resnet19"}, "architecture=resnet19: .*resnet18"),
        ({"architecture": "googlenet"}, "architecture=googlenet is not supported: .*auxiliary heads.*model=googlenet"),
        ({"architecture": "inception_v3"}, "architecture=inception_v3 is not supported: the net has auxiliary heads"),
        ({"architecture": "inception_v4"}, "architecture=inception_v4: no such classifier"),
        ({"architecture": "squeezenet1_0"}, "architecture=squeezenet1_0 is not supported: the head .* a convolution"),
        ({"architecture": "fcn_resnet50"}, "architecture=fcn_resnet50: no such"),
        ({"gray": "x"}, "gray=x: choose repeat or sum"),
        ({"enlarge": 0}, "enlarge=0"),
        ({"enlarge": -3}, "enlarge=-3"),
        ({"num_classes": -1}, "num_classes=-1 must be >= 1"),
    ],
)
def test_what_cannot_be_built_is_one_line(options, message):
    with pytest.raises(ValueError, match=message) as caught:
        TorchvisionNet(**options)
    assert "\n" not in str(caught.value)
    assert "squeezenet1_1" not in str(caught.value)


@pytest.mark.parametrize(("architecture", "side"), [("densenet121", 28), ("maxvit_t", 64)])
def test_an_image_that_it_cannot_take_is_refused_when_it_is_built(architecture, side):
    with pytest.raises(ValueError, match=rf"{architecture}.*3x{side}x{side}") as caught:
        TorchvisionNet(architecture=architecture, in_shape=(3, side, side), num_classes=2)
    assert "\n" not in str(caught.value)


# The head


def test_a_new_head_has_the_old_ones_device_type_and_bias():
    net = TorchvisionNet(architecture="shufflenet_v2_x0_5", in_shape=(3, 64, 64), num_classes=5)
    body = {name: value.clone() for name, value in net.layers.state_dict().items()}
    old = net.head
    net.reset_head(5)
    assert not torch.equal(net.head.weight, old.weight)
    assert all(torch.equal(value, body[name]) for name, value in net.layers.state_dict().items())
    net.double().reset_head(3)
    assert net.head.weight.dtype == net.head.bias.dtype == torch.float64
    assert net(images(2, 3, 64, 64).double()).shape == (2, 3)
    assert net.num_classes == 3
    net.head = nn.Linear(net.num_features, 3, bias=False)
    net.reset_head(4)
    assert net.head.bias is None
    net.to("meta").reset_head(6)
    assert net.head.weight.device.type == "meta"
    assert net.head.weight.shape == (6, net.num_features)
    assert net.torchvision_names.keys() >= net.state_dict().keys()


def test_it_is_built_by_name_and_by_depth():
    net = zoo.create("resnet18", num_classes=5, in_shape=(1, 64, 64))
    assert (net.architecture, net.in_shape, net.num_classes, net.num_features) == ("resnet18", (1, 64, 64), 5, 512)
    assert net(images(2, 1, 64, 64)).shape == (2, 5)
    with torch.device("meta"):
        assert zoo.create("resnet50").in_shape == (3, 224, 224)
        assert resnet(34, num_classes=2).torchvision_names["layers.layer3.5.bn2.weight"] == "layer3.5.bn2.weight"
        assert resnet(50, num_classes=2).num_features == 2048
    assert sum(p.numel() for p in net.parameters()) == 11_689_512 - 995 * 513
