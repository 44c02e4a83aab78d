"""The order of fits in a stage, and that each task is built only after the fit before it."""

from types import SimpleNamespace

import pytest
from torch import nn

from zoo.training import stages

STAGE = SimpleNamespace(
    name="pretrain", order="layerwise", first_layer=0, task={}, optimizer={}, lr_schedule=None, total_steps=1
)


class Net(nn.Module):
    def __init__(self, *layers: nn.Module):
        super().__init__()
        self.layers = nn.ModuleList(layers)


@pytest.fixture
def events(monkeypatch) -> list[str]:
    """What was built, in order; a task is the number of its layer."""
    found: list[str] = []

    def build(node, net, *, layer=None, **options):
        found.append(f"build {layer}")
        return layer

    monkeypatch.setattr(stages, "build", build)
    return found


def test_joint_is_one_fit_of_the_whole_net(events):
    assert list(stages.joint(STAGE, Net())) == [("pretrain", None)]


def test_layerwise_is_one_fit_per_layer_from_the_input_up(events):
    net = Net(nn.Linear(1, 1), nn.Linear(1, 1))
    assert list(stages.fits(STAGE, net)) == [("pretrain.layer0", 0), ("pretrain.layer1", 1)]


def test_a_task_is_built_only_after_the_fit_before_it(events):
    for name, _ in stages.layerwise(STAGE, Net(nn.Linear(1, 1), nn.Linear(1, 1))):
        events.append(f"fit {name}")
    assert events == ["build 0", "fit pretrain.layer0", "build 1", "fit pretrain.layer1"]


def test_a_net_without_layers_cannot_be_trained_layerwise(events):
    with pytest.raises(ValueError, match="order=layerwise needs a net with layers, got Linear; use order=joint"):
        list(stages.layerwise(STAGE, nn.Linear(1, 1)))
