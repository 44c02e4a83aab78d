"""Every model of conf/model through the same tests. They read its YAML, so a new model needs no edit here."""

import inspect
import sys
from types import ModuleType

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import zoo
from zoo.checkpoints import checkpoint as checkpoints
from zoo.cli.export.command import export_net
from zoo.config.catalogue import CONF, list_models, model_config
from zoo.models import MLP, find_models
from zoo.models.classifier import LayeredClassifier
from zoo.protocols import Classifier, HasAuxiliaryHeads, HasHead, Net, PartlyGenerative, head_of, layers_of

CONFIGS = {name: model_config(name) for name in list_models()}
LARGE = 20_000_000  # parameters; of larger nets only the claims are tested
SIDE = 96  # pixels; larger images would be slow


def class_name(name: str) -> str:
    return CONFIGS[name]["net"]["_target_"].removeprefix("zoo.models.")


def in_shape(name: str) -> tuple[int, ...]:
    """The input that ``about`` speaks of: that of the YAML, or the constructor's default if it is the dataset's."""
    stated = CONFIGS[name]["about"].get("in_shape", CONFIGS[name]["net"]["in_shape"])
    default = inspect.signature(getattr(zoo.models, class_name(name))).parameters["in_shape"].default
    return tuple(default if isinstance(stated, str) else stated)


ALL = list(CONFIGS)
SMALL = [name for name in ALL if CONFIGS[name]["about"]["parameters"] < LARGE]
# Without classes, forward gives the latent code.
CODERS = {name for name in ALL if CONFIGS[name]["net"].get("num_classes") is None}
each_model = pytest.mark.parametrize("name", SMALL)
each_classifier = pytest.mark.parametrize("name", [name for name in SMALL if name not in CODERS])


def make(name: str, **overrides) -> nn.Module:
    torch.manual_seed(0)
    if name in CODERS:
        overrides.pop("num_classes", None)
    small = tuple(min(side, SIDE) if len(in_shape(name)) == 3 else side for side in in_shape(name))
    return zoo.create(name, **{"in_shape": small, **overrides})


def batch(net, size: int) -> torch.Tensor:
    return torch.rand(size, *net.in_shape, generator=torch.Generator().manual_seed(1))


# Completeness

PARTS = {"Autoencoder"}  # models by themselves, but no YAML's: a layer of StackedAutoencoder


def test_every_model_class_has_a_yaml_and_every_yaml_a_class():
    assert {class_name(name) for name in ALL} == find_models(zoo.models).keys() - PARTS


def test_every_model_class_is_exported_once():
    assert find_models(zoo.models).keys() <= set(zoo.models.__all__)
    assert len(zoo.models.__all__) == len(set(zoo.models.__all__))
    for name, kind in find_models(zoo.models).items():
        assert getattr(zoo.models, name) is kind


@pytest.mark.parametrize("name", sorted({class_name(name) for name in ALL}))
def test_the_module_of_a_model_tells_its_figure_and_its_deviations(name):
    docstring = inspect.getmodule(getattr(zoo.models, name)).__doc__
    assert "\n\nThe figure in words" in docstring, "a card begins with it"
    assert "\n\nDeviations from the paper" in docstring


def test_a_model_is_found_without_being_registered(tmp_path, monkeypatch):
    """A file that defines a layer, a base class, a private class and a model."""
    (tmp_path / "garden").mkdir()
    (tmp_path / "garden" / "tulip.py").write_text(
        "from torch import nn\n"
        "from zoo.models import LeNet5\n"
        "class Petal(nn.Module): ...\n"
        "class Flower(nn.Module):\n    def __init__(self, in_shape): super().__init__()\n"
        "class Tulip(Flower):\n    def __init__(self, *, in_shape=(1, 2)): super().__init__(in_shape)\n"
        "class _Bulb(Tulip): ...\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    garden = ModuleType("garden")
    garden.__path__ = [str(tmp_path / "garden")]
    monkeypatch.setitem(sys.modules, "garden", garden)
    assert [*find_models(garden)] == ["Tulip"]
    monkeypatch.delitem(sys.modules, "garden.tulip")


@pytest.mark.parametrize("name", ALL)
def test_the_config_claims_what_is_true(name):
    about, node = CONFIGS[name]["about"], CONFIGS[name]["net"]
    outputs = {"num_classes": about["num_classes"]} if "num_classes" in about else {}
    with torch.device("cpu" if name in SMALL else "meta"):  # no numbers are needed to count them
        net = zoo.create(name, in_shape=in_shape(name), **outputs)
    assert CONFIGS[name]["name"] == name
    assert sum(p.numel() for p in net.parameters()) == about["parameters"]
    assert set(about) - {"in_shape", "num_classes"} == {"title", "paper", "layers", "parameters", "deviations"}
    arguments = set(inspect.signature(type(net)).parameters)
    assert set(node) - {"_target_"} == arguments, "every argument stands in the YAML, so that it can be set"


# Behavior


@each_classifier
def test_a_classifier_offers_what_the_protocols_say(name):
    net = make(name)
    assert isinstance(net, Net)
    assert isinstance(net, Classifier)
    assert isinstance(net, HasAuxiliaryHeads) == (name == "googlenet")
    if isinstance(net, LayeredClassifier):
        assert isinstance(net, HasHead)
        assert head_of(net) is net.head
        assert list(layers_of(net).values()) == list(net.layers)


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
    if isinstance(net, HasAuxiliaryHeads):
        logits, auxiliary = net.forward_with_auxiliaries(x)
        outputs = torch.stack([logits, *auxiliary])
    else:
        outputs = net(x)
    (outputs * torch.randn_like(outputs)).sum().backward()
    generative = set(net.generative_parameters() if isinstance(net, PartlyGenerative) else ())  # unused by forward
    names = {key for key, p in net.named_parameters() if p not in generative}
    moved = {key for key, p in net.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert moved == names


@each_model
def test_evaluation_is_repeatable_and_does_not_depend_on_the_batch(name):
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
    assert torch.equal(net.encode(x), net.encode(x, depth=len(layers_of(net))))
    if head_of(net) is None:
        return
    features = net.encode(x)
    assert isinstance(net, HasHead)
    torch.testing.assert_close(net.forward_head(features), net(x))
    torch.testing.assert_close(net.forward_head(features.flatten(1)), net(x))  # as features are cached
    by_hand = nn.Sequential(nn.Flatten(), net.head, net.output_activation if isinstance(net, MLP) else nn.Identity())
    torch.testing.assert_close(by_hand(features), net(x))


class Operations(TorchDispatchMode):
    """Counts the operations on tensors."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += 1
        return func(*args, **(kwargs or {}))


@each_model
def test_encode_gives_the_outputs_of_several_layers_from_one_pass(name):
    net = make(name).eval()
    x = batch(net, 2)
    depths = list(range(len(layers_of(net)) + 1))
    separate = [net.encode(x, depth) for depth in depths]
    with Operations() as one_pass:
        net.encode(x)
    with Operations() as counted:
        together = net.encode(x, depths)
    assert counted.count == one_pass.count
    # In the order of the list, also from the top; a tuple is a list.
    backwards = net.encode(x, tuple(-1 - depth for depth in depths))
    for alone, one, other in zip(separate, together, reversed(backwards), strict=True):
        assert torch.equal(one, alone)
        assert torch.equal(other, alone)
    assert net.encode(x, []) == []
    assert net.num_features == net.encode(x).flatten(1).shape[1]


@pytest.mark.parametrize("name", ["lenet5", "sae", "dbn", "rbm"])
def test_encode_refuses_layers_that_there_are_not(name):
    net = make(name)
    layers = len(layers_of(net))
    for depth in (layers + 1, -layers - 2):
        for given in (depth, [0, depth]):
            with pytest.raises(ValueError, match=rf"depth={depth} must be in \[{-layers - 1}, {layers}\]"):
                net.encode(batch(net, 1), given)


@each_classifier
def test_without_classes_there_is_no_head(name):
    if CONFIGS[name]["net"].get("label_units"):
        with pytest.raises(ValueError, match="label_units=true needs num_classes"):
            make(name, num_classes=0)
        return
    net, whole = make(name, num_classes=0).eval(), make(name, num_classes=7).eval()
    x = batch(net, 2)
    assert net.num_classes is None
    assert head_of(net) is None
    assert isinstance(net.get_classifier(), nn.Identity)
    assert set(net.state_dict()) == {key for key in whole.state_dict() if not key.startswith(("head.", "auxiliaries."))}
    # The features are those below the head of the whole net.
    net.load_state_dict(whole.state_dict(), strict=False)
    features = whole.forward_head(whole.encode(x), pre_logits=True)
    assert features.shape == (2, net.num_features)
    assert torch.equal(net(x), features)
    # A head can be added, and removed again.
    net.reset_head(3)
    assert net.num_classes == 3
    assert net(x).shape == (2, 3)
    if isinstance(net, HasAuxiliaryHeads):
        assert [logits.shape for logits in net.forward_with_auxiliaries(x)[1]] == [(2, 3), (2, 3)]
    net.reset_head(None)
    assert torch.equal(net(x), features)


@each_classifier
def test_timms_names_do_what_they_do_in_timm(name):
    net = make(name).eval()
    x = batch(net, 2)
    assert torch.equal(net.forward_features(x), net.encode(x))
    if CONFIGS[name]["net"].get("label_units"):
        assert isinstance(net.get_classifier(), nn.Identity), "the classes are inside the top RBM"
        return
    assert torch.equal(net.forward_head(net.forward_features(x)), net(x))
    assert net.forward_head(net.forward_features(x), pre_logits=True).shape == (2, net.num_features)
    assert net.get_classifier() is net.head
    net.reset_classifier(4)
    assert net(x).shape == (2, 4)
    net.reset_classifier(0)
    assert net(x).shape == (2, net.num_features)


@pytest.mark.parametrize(("name", "options"), [("dbn_generative", {"hidden": [6, 4]}), ("rbm", {"label_units": 5})])
def test_label_units_can_be_removed(name, options):
    net = zoo.create(name, in_shape=(1, 4, 4), **options).eval()
    x = batch(net, 3)
    features = net.encode(x)
    net.reset_head(0)
    assert net.num_classes is None
    assert not net.label_units
    torch.testing.assert_close(net(x), features)
    assert net.sample(2, steps=3).shape == (2, 1, 4, 4)
    # A belief network gets a linear head; an RBM cannot have one.
    if name == "rbm":
        with pytest.raises(ValueError, match="no label units"):
            net.reset_head(3)
    else:
        net.reset_head(3)
        assert net(x).shape == (3, 3)


@each_model
def test_saved_and_loaded_it_computes_the_same(name, tmp_path):
    net = make(name, num_classes=7).eval()
    arguments = {"in_shape": list(net.in_shape)} | ({} if name in CODERS else {"num_classes": 7})
    fixed = {key: value for key, value in CONFIGS[name]["net"].items() if not str(value).startswith("${")}
    about = zoo.CheckpointInfo(name=name, net={**fixed, **arguments}, task={}, preprocess={})
    checkpoints.save(net, tmp_path / "model.safetensors", about)
    x = batch(net, 3)
    assert torch.equal(zoo.load(tmp_path / "model.safetensors")(x), net(x))


# Exporting takes seconds for each model; torchvision is of resnet18's class.
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in ("lenet5", "mlp", "rbm") else pytest.mark.slow)
        for name in SMALL
        if name != "torchvision"
    ],
)
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
    with pytest.raises(ValueError, match=r"dropout=much must be a number"):
        zoo.create("lenet5", dropout="much")


def test_yaml_names_are_file_names():
    for path in CONF.glob("model/*.yaml"):
        assert model_config(path.stem)["name"] == path.stem
