"""``torch.hub.load`` finds every model in a checkout, with random or trained weights."""

import subprocess
import sys

import pytest
import torch
from support import ROOT

import zoo


def load(name: str, **arguments):
    return torch.hub.load(str(ROOT), name, source="local", **arguments)


def test_a_trained_model_is_that_of_its_checkpoint():
    net = load("lenet5", pretrained=True)
    x = torch.rand(2, 1, 28, 28)
    assert torch.equal(net(x), zoo.load("lenet5-mnist")(x))
    assert not net.training
    assert torch.equal(load("lenet5", pretrained="lenet5-digits")(x), zoo.load("lenet5-digits")(x))


def test_a_model_with_random_weights_takes_the_arguments_of_create():
    assert load("lenet5", num_classes=3)(torch.rand(2, 1, 28, 28)).shape == (2, 3)


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("lenet5", {"pretrained": True, "num_classes": 3}, "takes no further arguments, got num_classes"),
        ("lenet5", {"pretrained": "rbm-mnist"}, "choose from lenet5-digits, lenet5-fashion_mnist, lenet5-mnist"),
        ("resnet50", {"pretrained": True}, "it has none; pass weights='IMAGENET1K_V1'"),
    ],
)
def test_what_cannot_be_loaded(name, arguments, says):
    with pytest.raises(ValueError, match=says):
        load(name, **arguments)


def test_every_model_is_an_entry_point_with_a_description(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    import hubconf

    for name in zoo.list_models():
        assert "pretrained: False: random weights" in vars(hubconf)[name].__doc__
    assert vars(hubconf)["rbm"](pretrained=True).sample(2, 1).shape == (2, 1, 28, 28)


@pytest.mark.slow
def test_a_process_in_another_folder_loads_from_the_checkout(tmp_path):
    """The zoo of the checkout is used, and no other."""
    code = (
        "import torch, sys; sys.path[:] = [p for p in sys.path if 'site-packages' in p or 'python3' in p]; "
        f"net = torch.hub.load({str(ROOT)!r}, 'mlp_16_16', source='local', pretrained=True); import zoo; "
        "print(zoo.__file__, net(torch.zeros(1, 1, 28, 28)).shape)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split()[0] == str(ROOT / "zoo" / "__init__.py")
