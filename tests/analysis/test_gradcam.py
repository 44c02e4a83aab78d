"""Grad-CAM is what its equations say, on any net with maps, and leaves the net as it was."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.analysis.gradcam import gradcam
from zoo.models import DBN, MLP, ConvDBN, GoogLeNet, InceptionSmall, LeNet5


class Pooled(nn.Module):
    """Convolution, global average, linear: the nets that CAM (Zhou et al. 2016) was made for."""

    def __init__(self, channels: int = 1, maps: int = 6, classes: int = 4, stride: int = 1):
        super().__init__()
        self.conv = nn.Conv2d(channels, maps, 3, padding=1, stride=stride)
        self.head = nn.Linear(maps, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.conv(x).mean(dim=(2, 3)))


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def scaled(maps: Tensor) -> Tensor:
    peak = maps.amax(dim=(1, 2), keepdim=True)
    return torch.where(peak > 0, maps / peak, 0)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("chosen", [None, torch.tensor([3, 0, 2, 1, 1])])
def test_after_a_global_average_it_is_cam(chosen, stride):
    net, x = Pooled(stride=stride), torch.randn(5, 1, 8, 6)
    maps, classes = gradcam(net, x, chosen)
    expected = net(x).argmax(dim=1) if chosen is None else chosen
    assert classes.tolist() == expected.tolist()
    closed = torch.einsum("nk,nkhw->nhw", net.head.weight[expected], net.conv(x)).relu()[:, None]
    closed = F.interpolate(closed, size=(8, 6), mode="bilinear", align_corners=False)[:, 0]
    assert maps.shape == (5, 8, 6)
    torch.testing.assert_close(maps, scaled(closed).detach())
    assert not maps.requires_grad


def test_the_map_peaks_where_the_class_is_decided():
    net = nn.Sequential(
        nn.Conv2d(1, 1, 1, bias=False), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(64, 2, bias=False)
    )
    net[0].weight.data.fill_(1.0)
    net[3].weight.data.zero_()
    net[3].weight.data[1].view(8, 8)[:2, 6:] = 1.0  # class 1: light in the upper right corner
    x = torch.zeros(1, 1, 8, 8)
    x[..., 0, 7] = 5.0
    maps, classes = gradcam(net, x)
    assert classes.tolist() == [1]
    assert divmod(int(maps[0].argmax()), 8) == (0, 7)
    assert maps[0, 0, 7] == 1
    assert maps.count_nonzero() == 1


def test_maps_are_those_the_module_put_out_though_they_are_written_over_after_it():
    class Rectified(Pooled):
        def forward(self, x: Tensor) -> Tensor:
            return self.head(F.relu(self.conv(x), inplace=True).mean(dim=(2, 3)))

    net, x = Rectified(), torch.randn(3, 1, 8, 8)
    maps, classes = gradcam(net, x)
    below = net.conv(x).detach()
    weights = net.head.weight[classes] * (below > 0).float().mean(dim=(2, 3))  # N x K
    torch.testing.assert_close(maps, scaled(torch.einsum("nk,nkhw->nhw", weights, below).relu()).detach())


def test_what_speaks_for_no_class_is_zero_and_not_divided_by_nothing():
    net = Pooled()
    net.head.weight.data.fill_(-1.0)
    net.conv.weight.data.fill_(0.1)
    net.conv.bias.data.fill_(1.0)
    maps, _ = gradcam(net, torch.rand(2, 1, 5, 5))
    assert maps.tolist() == torch.zeros(2, 5, 5).tolist()


def test_each_picture_is_explained_by_itself():
    net, x = LeNet5().eval(), torch.randn(6, 1, 28, 28)
    together, classes = gradcam(net, x)
    apart = torch.cat([gradcam(net, one[None], k[None])[0] for one, k in zip(x, classes, strict=True)])
    torch.testing.assert_close(together, apart, atol=1e-4, rtol=1e-3)


def test_one_logit_of_two_classes_speaks_for_the_second_and_against_the_first():
    net, x = Pooled(classes=1), torch.randn(4, 1, 6, 6)
    two = Pooled(classes=2)
    two.conv = net.conv
    two.head.weight.data = torch.cat([-net.head.weight.data, net.head.weight.data])
    two.head.bias.data = torch.cat([-net.head.bias.data, net.head.bias.data])
    for chosen in (None, torch.tensor([0, 1, 0, 1])):
        for found, expected in zip(gradcam(net, x, chosen), gradcam(two, x, chosen), strict=True):
            torch.testing.assert_close(found, expected)


NETS = {
    "lenet5": (LeNet5, (1, 28, 28)),
    "inception_small": (InceptionSmall, (1, 28, 28)),
    "googlenet": (lambda: GoogLeNet(in_shape=(3, 80, 80), num_classes=7), (3, 80, 80)),
    "batch norm, in place": (
        lambda: nn.Sequential(
            *(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.ReLU6(inplace=True)),
            *(nn.AdaptiveAvgPool2d(1), nn.ReLU(inplace=True), nn.Flatten(), nn.Dropout(), nn.Linear(8, 5)),
        ),
        (3, 12, 12),
    ),
}


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("name", NETS)
def test_any_net_of_maps_is_left_as_it_was(name, frozen):
    build, shape = NETS[name]
    net = build().train().requires_grad_(not frozen)
    parts = list(net.modules())
    parts[1].eval()  # such as frozen layers, within a net that learns
    for name, parameter in net.named_parameters():
        if name.endswith("bias"):
            parameter.data.zero_()  # so that the class predicted is one that the maps speak for
    first = next(net.parameters())
    first.grad = torch.ones_like(first)
    x = torch.randn(2, *shape)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    training, given = [part.training for part in parts], x.clone()
    maps, classes = gradcam(net, x)
    assert maps.shape == (2, *shape[1:])
    assert maps.min() >= 0
    assert maps.max() == pytest.approx(1)
    assert classes.shape == (2,)
    assert [part.training for part in parts] == training
    assert not any(part._forward_hooks for part in parts)
    assert all(parameter.requires_grad is not frozen for parameter in net.parameters())
    assert [parameter.grad is None for parameter in net.parameters()] == [False] + [True] * (
        len(list(net.parameters())) - 1
    )
    assert (first.grad == 1).all()
    for key, value in net.state_dict().items():
        assert torch.equal(value, before[key]), key
    assert torch.equal(x, given)
    assert not x.requires_grad
    assert torch.equal(gradcam(net, x)[0], maps), "in eval mode: no dropout, no statistics of the batch"


def test_a_ready_made_resnet_is_explained_by_its_last_block():
    from torchvision.models import resnet18

    net, x = resnet18(num_classes=5).eval(), torch.randn(2, 3, 64, 64)
    maps, classes = gradcam(net, x)
    below = nn.Sequential(*list(net.children())[:-2])(x)  # N x 512 x 2 x 2, then pooled and linear: CAM again
    closed = torch.einsum("nk,nkhw->nhw", net.fc.weight[classes], below).relu()[:, None]
    closed = F.interpolate(closed, size=(64, 64), mode="bilinear", align_corners=False)[:, 0]
    torch.testing.assert_close(maps, scaled(closed).detach(), atol=1e-4, rtol=1e-4)


def test_it_works_where_gradients_are_off():
    net, x = LeNet5().eval(), torch.randn(2, 1, 28, 28)
    expected = gradcam(net, x)[0]
    with torch.no_grad():
        assert torch.equal(gradcam(net, x)[0], expected)
    with torch.inference_mode():
        assert torch.equal(gradcam(net, x.clone())[0], expected)


@pytest.mark.parametrize(
    "net", [MLP(hidden=[5]), DBN(hidden=[5, 4], num_classes=10), nn.Sequential(Pooled(), nn.Identity())]
)
def test_a_net_without_maps_is_refused(net):
    shape = (1, 1, 1, 1) if isinstance(net, nn.Sequential) else (1, 1, 28, 28)
    with pytest.raises(ValueError, match="has no convolutional feature maps, which Grad-CAM needs") as caught:
        gradcam(net, torch.rand(shape))
    assert "\n" not in str(caught.value)
    assert not any(part._forward_hooks for part in net.modules())


@pytest.mark.parametrize("head_layers", [1, 2])
def test_a_convolutional_belief_network_is_explained_by_its_highest_pooling_units(head_layers):
    net = ConvDBN(
        in_shape=(1, 12, 10), num_classes=3, hidden=[4, 5], kernel_size=3, pool=[2, 1], head_layers=head_layers
    )
    x = torch.rand(2, 1, 12, 10)
    maps, classes = gradcam(net, x, torch.tensor([2, 0]))
    assert classes.tolist() == [2, 0]
    # The head is linear, so the gradient of a map is the part of its weights that sees it.
    pooled = net.rbm(1).pool_mean(net.rbm(0).pool_mean(x))  # N x 5 x 3 x 2
    weight = net.head.weight[classes][:, -pooled[0].numel() :].view_as(pooled).mean(dim=(2, 3), keepdim=True)
    closed = (weight * pooled).sum(dim=1, keepdim=True).relu()
    closed = F.interpolate(closed, size=(12, 10), mode="bilinear", align_corners=False)[:, 0]
    torch.testing.assert_close(maps, scaled(closed).detach())
