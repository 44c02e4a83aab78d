"""Every model of conf/model through the same tests. A new model is one row of TABLE."""

import inspect
from pathlib import Path

import pytest
import torch
from torch import nn

import zoo
from zoo.checkpoints import checkpoint as checkpoints
from zoo.cli.export import export_net
from zoo.config.build import TARGETS
from zoo.config.catalogue import CONF, list_models, model_config

# name: (shape of one input, parameters for it and for the classes of the config's default)
TABLE = {
    "dbn": ((1, 28, 28), 1_666_794),
    "dbn_1000": ((1, 28, 28), 2_799_794),
    "dbn_generative": ((1, 28, 28), 1_666_794),
    "deep_autoencoder": ((1, 28, 28), 2_837_314),
    "googlenet": ((3, 224, 224), 13_378_280),
    "inception_small": ((1, 28, 28), 214_818),
    "lenet": ((1, 28, 28), 431_080),
    "lenet5": ((1, 28, 28), 61_706),
    "lenet5_1998": ((1, 28, 28), 60_000),
    "lenet_4_10": ((1, 28, 28), 2_724),
    "linear": ((1,), 2),
    "logistic": ((1, 28, 28), 7_850),
    "mlp": ((1, 28, 28), 669_706),
    "mlp_16_16": ((1, 28, 28), 13_002),
    "mlp_2_3_2_2": ((2,), 23),
    "mlp_50_100": ((1, 28, 28), 45_360),
    "perceptron": ((1, 28, 28), 7_850),
    "rbm": ((1, 28, 28), 393_284),
    "resnet18": ((3, 224, 224), 11_689_512),
    "resnet34": ((3, 224, 224), 21_797_672),
    "resnet50": ((3, 224, 224), 25_557_032),
    "resnet101": ((3, 224, 224), 44_549_160),
    "resnet152": ((3, 224, 224), 60_192_808),
    "sae": ((1, 28, 28), 2_799_794),
    "torchvision": ((3, 224, 224), 2_542_856),
}
CODERS = {"deep_autoencoder", "rbm"}  # without classes: forward gives the code
DEEPER = {"resnet34", "resnet50", "resnet101", "resnet152"}  # of resnet18's class, and slow: only their claims
each_classifier = pytest.mark.parametrize("name", sorted(TABLE.keys() - CODERS - DEEPER))
# Where the paper's own size would be slow; below 64 pixels a ResNet's last maps are one pixel, which no batch
# normalisation of a single image can take.
SMALLER = {"googlenet": (3, 96, 96), "resnet18": (3, 64, 64), "torchvision": (3, 64, 64)}
each_model = pytest.mark.parametrize("name", [name for name in TABLE if name not in DEEPER])


def make(name: str, **overrides) -> nn.Module:
    torch.manual_seed(0)
    if name in CODERS:
        overrides.pop("num_classes", None)
    return zoo.create(name, **{"in_shape": SMALLER.get(name, TABLE[name][0]), **overrides})


def batch(net, size: int) -> torch.Tensor:
    return torch.rand(size, *net.in_shape, generator=torch.Generator().manual_seed(1))


def test_every_model_has_a_row_a_config_and_a_file():
    assert sorted(TABLE) == list_models()
    configured = {model_config(name)["net"]["_target_"] for name in TABLE}
    parts = {"__init__", "activations", "fixed_conv", "noise", "shapes"}  # no models
    parts |= {"units", "boltzmann", "autoencoder"}  # of which RBMs and stacks are made
    files = {path.stem for path in Path(inspect.getfile(zoo.models)).parent.glob("*.py")} - parts
    assert configured == {target for target in TARGETS if target.startswith("zoo.models.")}
    homes = {inspect.getmodule(getattr(zoo.models, target.rpartition(".")[2])) for target in configured}
    assert {home.__name__.rpartition(".")[2] for home in homes} == files
    assert all("\n\nThe figure in words" in home.__doc__ for home in homes), "a card begins with it"


@pytest.mark.parametrize("name", TABLE)
def test_the_config_claims_what_is_true(name):
    config = model_config(name)
    in_shape, parameters = TABLE[name]
    outputs = {"num_classes": 1} if name == "linear" else {}
    with torch.device("meta" if name in DEEPER else "cpu"):  # no numbers are needed to count them
        net = zoo.create(name, in_shape=in_shape, **outputs)
    assert config["name"] == name
    assert sum(p.numel() for p in net.parameters()) == config["about"]["parameters"] == parameters
    assert set(config["about"]) == {"title", "paper", "layers", "parameters", "deviations"}
    arguments = set(inspect.signature(type(net)).parameters)
    assert set(config["net"]) - {"_target_"} == arguments, "every argument stands in the YAML, so that it can be set"


@each_model
@pytest.mark.parametrize("size", [1, 3])
def test_forward_gives_one_row_an_input(name, size):
    net = make(name)
    width = net.num_classes or net.encode(batch(net, 1)).shape[1]
    assert net.train()(batch(net, size)).shape == (size, width)
    assert net.eval()(batch(net, size)).shape == (size, width)


@each_classifier
def test_any_number_of_classes(name):
    net = make(name, num_classes=7)
    assert net(batch(net, 2)).shape == (2, 7)
    net.reset_head(3)
    assert net.num_classes == 3
    assert net(batch(net, 2)).shape == (2, 3)


@each_model
def test_every_parameter_gets_a_gradient(name):
    net = make(name, num_classes=7).train()
    x = batch(net, 8)
    if hasattr(net, "forward_with_auxiliaries"):
        logits, auxiliary = net.forward_with_auxiliaries(x)
        outputs = torch.stack([logits, *auxiliary])
    else:
        outputs = net(x)
    (outputs * torch.randn_like(outputs)).sum().backward()
    generative = set(getattr(net, "generative_parameters", tuple)())  # those that forward has no use for
    names = {key for key, p in net.named_parameters() if p not in generative}
    moved = {key for key, p in net.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert moved == names


@each_model
def test_evaluation_is_repeatable_and_takes_no_notice_of_the_batch(name):
    net = make(name).eval()
    x = batch(net, 4)
    first = net(x)
    assert torch.equal(first, net(x))
    torch.testing.assert_close(net(x[:1]), first[:1], rtol=1e-4, atol=1e-5)


@each_model
def test_encode_stops_where_it_is_told(name):
    net = make(name).eval()
    x = batch(net, 2)
    assert torch.equal(net.encode(x, depth=0).flatten(), x.flatten())
    assert torch.equal(net.encode(x), net.encode(x, depth=len(getattr(net, "layers", [net]))))
    if getattr(net, "head", None) is None:
        return
    after_encoding = nn.Sequential(net.head, getattr(net, "output_activation", nn.Identity()))
    torch.testing.assert_close(after_encoding(net.encode(x).flatten(1)), net(x))


@each_model
def test_saved_and_loaded_it_computes_the_same(name, tmp_path):
    net = make(name, num_classes=7).eval()
    arguments = {"in_shape": list(net.in_shape)} | ({} if name in CODERS else {"num_classes": 7})
    fixed = {key: value for key, value in model_config(name)["net"].items() if not str(value).startswith("${")}
    about = zoo.CheckpointInfo(name=name, net={**fixed, **arguments}, task={}, preprocess={})
    checkpoints.save(net, tmp_path / "model.safetensors", about)
    x = batch(net, 3)
    assert torch.equal(zoo.load(tmp_path / "model.safetensors")(x), net(x))


@pytest.mark.parametrize("name", [name for name in TABLE if name not in DEEPER | {"torchvision"}])  # resnet18's class
def test_onnx_gives_the_same_within_1e_4(name, tmp_path):
    net = make(name, num_classes=7).eval()
    assert export_net(net, net.in_shape, tmp_path / "net.onnx", format="onnx", tolerance=1e-4) <= 1e-4


def test_overrides_reach_the_net():
    net = zoo.create("lenet5", kernels=[3, 5], hidden=[20, 10], dropout=0.5, in_shape=(3, 32, 32))
    assert net.layers.c1[0].weight.shape == (3, 3, 5, 5)
    assert net.head.in_features == 10


def test_a_misspelled_name_or_argument_is_answered_with_the_near_ones():
    with pytest.raises(ValueError, match=r"lenet55.*did you mean lenet5"):
        zoo.create("lenet55")
    with pytest.raises(ValueError, match=r"numclasses.*did you mean num_classes"):
        zoo.create("lenet5", numclasses=10)
    with pytest.raises(ValueError, match=r"dropout.*'much'"):
        zoo.create("lenet5", dropout="much")


def test_yaml_names_are_file_names():
    for path in CONF.glob("model/*.yaml"):
        assert model_config(path.stem)["name"] == path.stem
