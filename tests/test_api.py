"""What ``import zoo`` hands out: everything in `__all__`, typed, and imported only when it is asked for."""

import inspect
import subprocess
import sys
import typing

import pytest
import torch

import zoo
from zoo import api
from zoo.config import catalogue
from zoo.data.splits import Splits
from zoo.protocols import Net


def test_every_public_name_is_there():
    for name in zoo.__all__:
        assert getattr(zoo, name) is not None
    assert set(zoo.__all__) <= set(dir(zoo))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = zoo.nothing


def test_modules_are_handed_out_whole():
    assert inspect.isclass(zoo.models.MLP)
    assert inspect.isclass(zoo.tasks.Classification)
    assert callable(zoo.likelihood.log_likelihood)


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("lenet5*", ["lenet5", "lenet5_1998"]),
        ("*_16_16", ["mlp_16_16"]),
        ("rbm", ["rbm"]),
        ("LENET*", []),
        ("", []),
        ("res*", ["resnet101", "resnet152", "resnet18", "resnet34", "resnet50"]),
        ("resnet[135][48]", ["resnet18", "resnet34"]),
        ("lenet?", ["lenet5"]),
        (["rbm", "dbn*", "dbn"], ["dbn", "dbn_1000", "dbn_generative", "rbm"]),
        ([], []),
    ],
)
def test_models_are_listed_by_a_pattern(pattern, found):
    assert zoo.list_models(pattern) == found
    assert zoo.list_models() == zoo.list_models("*") == catalogue.list_models()


def test_what_is_handed_out_is_a_net_and_splits():
    net = zoo.create("lenet5", num_classes=3)
    assert isinstance(net, torch.nn.Module)
    assert isinstance(net, Net)
    assert isinstance(zoo.load("lenet5-digits"), Net)
    assert isinstance(zoo.info("lenet5-digits"), zoo.CheckpointInfo)
    assert isinstance(zoo.dataset("digits"), Splits)


@pytest.mark.parametrize("name", ["create", "load", "info", "dataset", "list_models", "list_checkpoints", "train"])
def test_no_public_function_returns_any(name):
    annotation = inspect.signature(getattr(api, name)).return_annotation
    assert annotation not in (inspect.Signature.empty, typing.Any, "Any")


def test_no_field_of_a_result_is_any():
    for field, hint in typing.get_type_hints(zoo.Result).items():
        assert "Any" not in str(hint), field


def test_listing_imports_neither_torch_nor_hydra():
    code = (
        "import sys, zoo; zoo.list_models('lenet*'); zoo.list_checkpoints(); dir(zoo); "
        "print(*{'torch', 'hydra', 'lightning', 'torchvision', 'numpy'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip() == ""


def test_loading_and_describing_import_neither_lightning_nor_hydra(tmp_path):
    """A checkpoint names its task; that alone must not import it, which takes seconds."""
    path = tmp_path / "net.safetensors"
    about = zoo.CheckpointInfo(
        name="mlp",
        net={"_target_": "zoo.models.MLP", "in_shape": [4], "num_classes": 3, "hidden": [5]},
        task={"_target_": "zoo.tasks.Classification"},
        preprocess={"shape": [4]},
        dataset_config={"source": {"_target_": "zoo.data.sources.digits.load"}},
    )
    from zoo.checkpoints import checkpoint

    checkpoint.save(zoo.create("mlp", in_shape=[4], num_classes=3, hidden=[5]), path, about)
    code = (
        f"import sys, zoo; zoo.info({str(path)!r}); zoo.load({str(path)!r}); "
        "print(*{'hydra', 'lightning', 'torchvision', 'sklearn', 'matplotlib'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip() == ""


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"shape": [1, 8, 8]}, "inputs of dataset digits have shape"),
        ({"num_classes": 3}, "dataset digits has 10"),
        ({"root": "photos"}, "dataset digits reads no files"),
        ({"workers": -1}, "dataset.workers=-1 must be >= 0"),
    ],
)
def test_a_dataset_has_the_checks_of_training(keys, says):
    with pytest.raises(ValueError, match=says):
        zoo.dataset("digits", **keys)


def test_labeled_examples_are_those_of_training():
    assert len(zoo.dataset("digits", labeled_examples=20).train) == 20


def test_wrong_kinds_of_arguments_are_refused_in_one_line():
    with pytest.raises(ValueError, match=r"^no dataset None; choose one of"):
        zoo.dataset(None)
    with pytest.raises(ValueError, match="not the name of a package"):
        zoo.trust(None)
    with pytest.raises(ValueError, match=r"^[^\n]*Environment variable 'NONE' not found[^\n]*$"):
        zoo.dataset("npz", root="${oc.env:NONE}")
