"""The order of fits, and that each is set up only when the one before it is done."""

from types import SimpleNamespace

from zoo.training.schedules import joint, layerwise

NET = SimpleNamespace(layers=["first", "second", "third"])


def test_joint_fits_the_whole_net_once():
    assert list(joint(NET, lambda net: ("whole", net))) == [("net", ("whole", NET))]


def test_layerwise_fits_layers_from_the_input_up():
    fits = list(layerwise(NET, lambda net, *, layer: net.layers[layer]))
    assert fits == [("layer0", "first"), ("layer1", "second"), ("layer2", "third")]


def test_a_task_is_built_only_after_the_one_before_it_was_consumed():
    events = []
    for name, _ in layerwise(NET, lambda net, *, layer: events.append(f"build {layer}")):
        events.append(f"fit {name}")
    assert events == ["build 0", "fit layer0", "build 1", "fit layer1", "build 2", "fit layer2"]


def test_a_net_without_layers_is_not_fitted_layerwise():
    assert list(layerwise(SimpleNamespace(layers=[]), None)) == []
