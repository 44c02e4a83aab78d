"""Weights from elsewhere: found, proved to be what they claim, and loaded whole or not at all."""

import dataclasses
import gc
import hashlib
import json
import os
import pickle
import re
import shutil
import signal
import sys
import threading
import zipfile
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from support import Touch
from torch import nn
from torchvision import models
from torchvision.transforms._presets import ImageClassification

from zoo.api import create
from zoo.checkpoints import checkpoint as checkpoints
from zoo.checkpoints import pretrained as weights
from zoo.checkpoints import safe_pickle as pickled
from zoo.checkpoints import torchvision_files, weight_files
from zoo.checkpoints.pretrained import load
from zoo.config import catalogue
from zoo.data.images import FILTERS
from zoo.data.preprocess import Preprocess
from zoo.models import ConvDBN, TorchvisionNet
from zoo.release import publish
from zoo.training.fit.callbacks import SaveForResume

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
SMALL = "shufflenet_v2_x0_5"  # the smallest of torchvision's
BODY = "layers.c1.0.weight"  # the first tensor of lenet5, 6x1x5x5
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def caches(tmp_path, monkeypatch) -> Path:
    """Nothing is looked up in the user's caches, nor on the net. Gives torch's folder, which is not there yet."""
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hf"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return tmp_path / "hub" / "checkpoints"


def shaken(net: nn.Module, seed: int = 0) -> nn.Module:
    """The net in eval mode with random numbers everywhere, its statistics too."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in net.state_dict().items():
        if name.endswith("running_var"):
            value.uniform_(0.5, 1.5, generator=generator)
        elif value.is_floating_point() and value.dim() < 2:
            value.normal_(std=0.3, generator=generator)
        elif not value.is_floating_point():
            value.fill_(7)
    return net.eval()


def copied(net: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in net.state_dict().items()}


def same(net: nn.Module, state: dict[str, torch.Tensor]) -> bool:
    now = net.state_dict()
    return now.keys() == state.keys() and all(torch.equal(now[name], value) for name, value in state.items())


def images(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def save(content, path: Path) -> str:
    save_file(content, path) if path.suffix == ".safetensors" else torch.save(content, path)
    return str(path)


def one_line(error: BaseException) -> str:
    assert "\n" not in str(error)
    return str(error)


@pytest.fixture(scope="module")
def official() -> nn.Module:
    """A net of torchvision's own, of 7 classes."""
    torch.manual_seed(0)
    return shaken(models.get_model(SMALL, weights=None, num_classes=7))


@pytest.fixture
def small() -> TorchvisionNet:
    """The zoo's of that architecture, of 3 classes."""
    return TorchvisionNet(architecture=SMALL, in_shape=(3, 32, 32), num_classes=3).eval()


@pytest.fixture
def lenet5() -> nn.Module:
    return create("lenet5")


# Files


def prefixed(prefix: str, state):
    return {f"{prefix}{name}": value for name, value in state.items()}


WRAPPED = {
    "bare": lambda state: state,
    "module.": partial(prefixed, "module."),
    "_orig_mod.": partial(prefixed, "_orig_mod."),
    "both prefixes": partial(prefixed, "_orig_mod.module."),
    "state_dict": lambda state: {"state_dict": state, "epoch": 3},
    "model": lambda state: {"model": state, "best": 0.5, "optimizer": {"state": {}}},
    "model_state_dict": lambda state: {"model_state_dict": state},
    "state_dict of model": lambda state: {"state_dict": {"model": state}},
    "model of state_dict": lambda state: {"model": {"state_dict": state}},
    "nested and prefixed": lambda state: {"state_dict": prefixed("module.", state)},
    "Lightning": lambda state: {"state_dict": prefixed("net.", state), "pytorch-lightning_version": "2.6.6"},
    "parameters": lambda state: {
        name: nn.Parameter(value) if value.is_floating_point() else value for name, value in state.items()
    },
}


@pytest.mark.parametrize("wrapped", WRAPPED)
def test_torchvisions_own_state_is_loaded_however_it_is_wrapped(wrapped, official, small, tmp_path):
    file = save(WRAPPED[wrapped](official.state_dict()), tmp_path / "file.pth")
    head = copied(small.head)
    found = load(small, file)
    assert same(small.head, head), "the head stays as it was"
    state = official.state_dict()
    body = {name: there for name, there in small.torchvision_names.items() if not name.startswith("head.")}
    assert all(torch.equal(small.state_dict()[name], state[there]) for name, there in body.items())
    assert found.tensors.keys() == body.keys()
    assert found.preprocess == Preprocess((3, 224, 224), 255.0, *IMAGENET, side=256)
    small.head = official.fc
    assert torch.equal(small(images(2, 3, 32, 32)), official(images(2, 3, 32, 32)))


@pytest.mark.parametrize("prefix", ["", "module."])
def test_safetensors_are_loaded_as_well(prefix, official, small, tmp_path):
    load(small, save(prefixed(prefix, official.state_dict()), tmp_path / "file.safetensors"))
    small.head = official.fc
    assert torch.equal(small(images(2, 3, 32, 32)), official(images(2, 3, 32, 32)))


@pytest.mark.parametrize(("name", "ending"), [("resnet18", "pth"), ("resnet18", "safetensors"), ("resnet50", "pth")])
def test_timms_weights_give_timms_outputs(name, ending, tmp_path):
    theirs, x = shaken(timm.create_model(name, pretrained=False, num_classes=6)), images(2, 3, 64, 64)
    net = create(name, in_shape=(3, 64, 64), num_classes=6).eval()
    load(net, save(theirs.state_dict(), tmp_path / f"timm.{ending}"), head="keep")
    expected = theirs(x)
    assert expected.std() > 0.1
    torch.testing.assert_close(net(x), expected, rtol=1e-5, atol=1e-5)


def test_names_of_before_2018_are_understood(tmp_path):
    theirs = shaken(models.densenet121(weights=None, num_classes=4))
    old = {
        re.sub(r"(denselayer\d+\.(?:norm|conv))([12])\.", r"\1.\2.", name): value
        for name, value in theirs.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    net = TorchvisionNet(architecture="densenet121", in_shape=(3, 64, 64), num_classes=4).eval()
    load(net, save(old, tmp_path / "old.pth"), head="keep")
    assert torch.equal(net(images(2, 3, 64, 64)), theirs(images(2, 3, 64, 64)))


def test_colour_kernels_are_summed_for_grey_images(official, tmp_path):
    file, x = save(official.state_dict(), tmp_path / "file.pth"), images(2, 1, 32, 32)
    for gray in ("repeat", "sum"):
        net = TorchvisionNet(architecture=SMALL, in_shape=(1, 32, 32), num_classes=7, gray=gray).eval()
        load(net, file, head="keep")
        torch.testing.assert_close(net(x), official(x.repeat(1, 3, 1, 1)), rtol=1e-4, atol=1e-4)
    assert torch.equal(
        net.state_dict()["layers.body.conv1.0.weight"], official.conv1[0].weight.sum(dim=1, keepdim=True)
    )


def test_a_net_without_a_head_leaves_that_of_the_file_out(official, trained, tmp_path):
    file = save(official.state_dict(), tmp_path / "file.pth")
    bare, whole = (create("torchvision", architecture=SMALL, num_classes=n, weights=file).eval() for n in (0, 2))
    x = torch.rand(2, *whole.in_shape)
    assert torch.equal(bare(x), whole.encode(x))
    # A checkpoint of the zoo, too. A head that is asked for does not fit.
    bare, whole = create("lenet5", num_classes=None, weights=str(trained)).eval(), checkpoints.load(trained)
    x = torch.rand(2, *whole.in_shape)
    assert torch.equal(bare(x), whole.encode(x))
    with pytest.raises(ValueError, match=r"2 tensors are not in the net: head\.weight"):
        load(bare, str(trained), head="keep")


def test_half_precision_is_widened(lenet5, tmp_path):
    state = {name: value.half() for name, value in copied(lenet5).items()}
    load(lenet5, save(state, tmp_path / "half.pth"), head="keep")
    assert same(lenet5, {name: value.float() for name, value in state.items()})


def test_create_takes_weights(official, tmp_path):
    file = save(official.state_dict(), tmp_path / "file.pth")
    net = create("torchvision", architecture=SMALL, num_classes=2, weights=file)
    assert torch.equal(net.state_dict()["layers.body.conv1.0.weight"], official.conv1[0].weight)
    assert net.head.weight.shape == (2, 1024)


@pytest.mark.parametrize("prefix", ["model.", "backbone.", "student.module.", "_orig_mod.net."])
def test_a_prefix_that_most_tensors_share_is_removed_and_the_rest_is_named(prefix, official, small, tmp_path):
    state = {**prefixed(prefix, official.state_dict()), "criterion.weight": torch.ones(7)}
    found = load(small, save({"state_dict": state}, tmp_path / "lit.ckpt"))
    assert torch.equal(small.state_dict()["layers.body.conv1.0.weight"], official.conv1[0].weight)
    file = tmp_path / "lit.ckpt"
    assert found.note(small) == (
        f"{file}: removed the prefix {prefix.replace('_orig_mod.', '')} from the names of the tensors; "
        f"{file}: left out what is not part of the net: criterion.weight"
    )


@pytest.mark.parametrize(
    ("wrap", "prefix", "left_out"),
    [
        # MoCo: two encoders with a projection each, and a queue.
        (
            lambda state, other: {
                "state_dict": {
                    **prefixed("module.encoder_k.", other),
                    **prefixed("module.encoder_q.", {**state, "fc.0.weight": torch.ones(9, 1024)}),
                    "module.queue": torch.ones(3),
                }
            },
            "module.encoder_q.",
            r"module\.encoder_k\.\* \(\d+ tensors\), module\.queue, fc\.0\.weight",
        ),
        # DINO: under two keys, with a projection.
        (
            lambda state, other: {
                "student": prefixed("module.backbone.", other),
                "teacher": {**prefixed("backbone.", state), "head.mlp.0.weight": torch.ones(2)},
                "epoch": 3,
            },
            "backbone.",
            r"head\.mlp\.0\.weight",
        ),
        # BYOL in Lightning.
        (
            lambda state, other: {
                "state_dict": {**prefixed("target_encoder.", other), **prefixed("online_encoder.", state)},
                "optimizer_states": [{"state": {}}],
            },
            "online_encoder.",
            r"target_encoder\.\* \(\d+ tensors\)",
        ),
        # A key of one's own.
        (lambda state, other: {"my_net": prefixed("encoder.", state), "config": {"lr": 0.1}}, "encoder.", None),
        # Many other nets in one file.
        (
            lambda state, other: {**prefixed("net.", state), **{f"decoder.{k}": torch.ones(1) for k in range(1500)}},
            "net.",
            r"decoder\.\* \(1500 tensors\)",
        ),
    ],
    ids=["MoCo", "DINO", "BYOL", "other key", "small part"],
)
def test_weights_of_self_supervised_methods_are_found(wrap, prefix, left_out, official, small, tmp_path):
    state = {name: value for name, value in official.state_dict().items() if not name.startswith("fc.")}
    file = save(wrap(state, {name: value * 0 for name, value in state.items()}), tmp_path / "file.pth")
    found = load(small, file)
    assert torch.equal(small.state_dict()["layers.body.conv1.0.weight"], official.conv1[0].weight)
    note = found.note(small)
    assert f"removed the prefix {prefix} from the names of the tensors" in note
    assert (left_out is None) == ("left out" not in note)
    assert re.search(left_out or "", note)


def test_of_two_copies_that_of_the_usual_prefix_is_taken(official, small, tmp_path):
    average = {name: value * 0 for name, value in official.state_dict().items()}
    state = {**prefixed("ema.", average), **prefixed("model.", official.state_dict())}
    found = load(small, save(state, tmp_path / "file.pth"))
    assert torch.equal(small.state_dict()["layers.body.conv1.0.weight"], official.conv1[0].weight)
    assert len(found.left_out) == len(average)


def test_a_net_goes_back_to_torchvision_by_its_names(official, small, tmp_path):
    load(small, save(official.state_dict(), tmp_path / "file.pth"))
    theirs = models.get_model(SMALL, weights=None, num_classes=3)
    theirs.load_state_dict(small.torchvision_state_dict())
    assert torch.equal(theirs.eval()(images(2, 3, 32, 32)), small(images(2, 3, 32, 32)))


@pytest.mark.parametrize("prefix", ["", "module."])
def test_weights_of_another_architecture_are_told_by_its_name(prefix, official, lenet5, tmp_path):
    net = create("resnet18", in_shape=(3, 64, 64), num_classes=7)
    file = save(prefixed(prefix, official.state_dict()), tmp_path / "file.pth")
    for other in (net, lenet5):
        with pytest.raises(ValueError, match=f"look like {SMALL}: model=torchvision model.net.architecture={SMALL}$"):
            load(other, file)


def test_weights_of_another_architecture_without_a_head_are_told_as_well(official, lenet5, tmp_path):
    net = create("resnet18", in_shape=(3, 64, 64), num_classes=7)
    body = {name: value for name, value in official.state_dict().items() if not name.startswith("fc.")}
    file = save(body, tmp_path / "file.pth")
    for other in (net, lenet5):
        with pytest.raises(ValueError, match=f"look like {SMALL}: model=torchvision model.net.architecture={SMALL}$"):
            load(other, file)


def test_files_of_other_kinds_are_told(lenet5, tmp_path):
    with zipfile.ZipFile(tmp_path / "script.pt", "w") as archive:  # as torch.jit.save writes it
        for name in ("data.pkl", "code/__torch__/net.py", "constants.pkl"):
            archive.writestr(f"script/{name}", b"x")
    (tmp_path / "keras.pt").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    with zipfile.ZipFile(tmp_path / "zip.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", b"x")
        archive.writestr("a/data/0", bytes(10**6))
    with zipfile.ZipFile(tmp_path / "numpy.pt", "w") as archive:
        archive.writestr("W1.npy", b"x")
    told = {
        "script": "a TorchScript program",
        "keras": "HDF5",
        "zip": "a compressed archive",
        "numpy": "a NumPy archive",
    }
    for name, kind in told.items():
        with pytest.raises(ValueError, match=rf"{name}\.pt: .*{kind}") as caught:
            load(lenet5, str(tmp_path / f"{name}.pt"))
        one_line(caught.value)


@pytest.mark.parametrize(
    "config",
    [
        {"pretrained_cfg": {"input_size": [3, 10**6, 10**6], "mean": [0.5], "std": [0.5]}},
        {"pretrained_cfg": {"input_size": [3, 224, 224], "mean": "x", "std": [0.5]}},
        {"pretrained_cfg": {"input_size": [3, 224, 224], "mean": [0.5], "std": [0]}},
        {"pretrained_cfg": {"input_size": [3, 224, 224], "mean": [0.5], "std": [0.5], "crop_pct": 0}},
        {"pretrained_cfg": {"input_size": [3, 224, 224], "mean": [0.5], "std": [0.5], "interpolation": "x"}},
    ],
)
def test_a_config_of_the_hub_is_not_trusted(config, official, small, tmp_path):
    with pytest.raises(ValueError, match=r"weights=hf://.*: its config\.json is damaged"):
        load(small, plant(tmp_path, official, config))


# The zoo's own


@pytest.mark.parametrize("what", ["folder", "file", "last.ckpt", "name"])
def test_weights_of_a_run_are_loaded_but_for_the_head(what, trained, tmp_path, monkeypatch):
    monkeypatch.setattr(catalogue, "CHECKPOINTS", tmp_path / "checkpoints")
    if what == "name":
        publish.add_to_index(trained, "mine")
    places = {"folder": trained, "file": trained / "model.safetensors", "name": "mine"}
    source = str(places.get(what, trained / "checkpoints" / "last.ckpt"))
    net, before = create("lenet5", num_classes=4), checkpoints.load(trained).state_dict()
    head = copied(net.head)
    found = load(net, source)
    assert same(net.head, head)
    assert all(torch.equal(value, before[n]) for n, value in net.state_dict().items() if not n.startswith("head."))
    prepared = checkpoints.info(trained).transforms()
    assert found.preprocess == (None if what == "last.ckpt" else prepared)
    same_classes = create("lenet5")
    load(same_classes, source, head="keep")
    assert same(same_classes, before)


@pytest.fixture
def enlarged(tmp_path) -> str:
    """A file of the zoo whose net saw 28x28 pixels enlarged to 64x64."""
    node = {"architecture": SMALL, "in_shape": [1, 28, 28], "num_classes": 10, "gray": "repeat", "enlarge": 64}
    prepared = Preprocess((1, 28, 28), 255.0, (0.1,), (0.3,))
    node["_target_"] = "zoo.models.TorchvisionNet"
    about = checkpoints.CheckpointInfo(name="torchvision", net=node, task={}, preprocess=prepared.to_dict())
    net = TorchvisionNet(architecture=SMALL, in_shape=(1, 28, 28), num_classes=10, enlarge=64)
    checkpoints.save(shaken(net), tmp_path / "enlarged.safetensors", about)
    return str(tmp_path / "enlarged.safetensors")


@pytest.mark.parametrize(
    ("side", "enlarge", "noted"),
    [(28, None, True), (28, 32, True), (28, 36, False), (28, 64, False), (64, None, False)],
)
def test_a_net_that_sees_images_far_smaller_than_its_weights_did_is_noted(side, enlarge, noted, enlarged):
    net = TorchvisionNet(architecture=SMALL, in_shape=(1, side, side), num_classes=3, enlarge=enlarge)
    note = load(net, enlarged).note(net)
    if noted:
        seen = enlarge or side
        assert note.startswith(
            f"{enlarged} was trained on images of 64x64, this net sees {seen}x{seen}; model.net.enlarge=64 "
        )
    else:
        assert note is None


def test_nothing_is_noted_where_one_of_both_sizes_is_not_known(trained, official, small, lenet5, tmp_path):
    assert load(lenet5, trained).note(lenet5) is None
    found = load(small, save(official.state_dict(), tmp_path / "somebodys.pth"))
    assert found.preprocess is not None
    assert found.note(small) is None


def test_train_says_what_enlarges_the_images(enlarged, cli, folder, quick):
    words = (
        "model=torchvision",
        f"model.net.architecture={SMALL}",
        "dataset=digits",
        "dataset.labeled_examples=20",
        "epochs=1",
    )
    outcome = cli("train", *words, f"weights={enlarged}", "progress=false", "hydra.run.dir=run")
    assert (outcome.status, outcome.err) == (0, "")
    assert "note:" in outcome.out
    assert "model.net.enlarge=64" in outcome.out


def test_a_flipped_bit_is_noticed_in_a_file_of_the_zoo(trained, lenet5, tmp_path):
    content, before = bytearray((trained / "model.safetensors").read_bytes()), copied(lenet5)
    content[-2] ^= 0x40
    file = tmp_path / "model.safetensors"
    file.write_bytes(content)
    for source in (file, tmp_path):
        with pytest.raises(ValueError, match=r"model\.safetensors.*damaged"):
            load(lenet5, str(source))
    assert same(lenet5, before)


# The Hugging Face hub


def plant(folder: Path, net: nn.Module, config) -> str:
    """A repository in the hub's cache; gives its address."""
    snapshot = folder / "hf" / "models--someone--small.v1" / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    save_file(net.state_dict(), snapshot / "model.safetensors")
    (snapshot / "config.json").write_text(json.dumps(config))
    return f"hf://someone/small.v1@{COMMIT}"


def test_a_pinned_repository_is_found_in_the_cache(official, small, tmp_path):
    prepared = {"input_size": [3, 224, 224], "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.1]}
    config = {"architecture": SMALL, "pretrained_cfg": {**prepared, "crop_pct": 0.95, "interpolation": "bicubic"}}
    found = load(small, plant(tmp_path, official, config))
    small.head = official.fc
    assert torch.equal(small(images(2, 3, 32, 32)), official(images(2, 3, 32, 32)))
    expected = Preprocess((3, 224, 224), 255.0, (0.5, 0.4, 0.3), (0.2, 0.2, 0.1), 235, "bicubic")  # 224/0.95 = 235.8
    assert found.preprocess == expected


@pytest.mark.parametrize("config", [{}, {"pretrained_cfg": {"mean": [0.5]}}, {"pretrained_cfg": None}, []])
def test_a_repository_that_does_not_say_how_its_images_were_prepared(config, official, small, tmp_path):
    assert load(small, plant(tmp_path, official, config)).preprocess is None


@pytest.mark.parametrize("revision", ["", "@", "@main", "@v1.0", "@" + COMMIT[:-1], "@" + COMMIT + "0"])
def test_a_repository_must_be_pinned_to_a_commit(revision, small):
    with pytest.raises(ValueError, match="pin the revision") as caught:
        load(small, f"hf://someone/small{revision}")
    assert "hf://someone/small@" in one_line(caught.value)


def test_a_repository_that_cannot_be_fetched_and_a_package_that_is_not_there(small, monkeypatch):
    state = copied(small)
    with pytest.raises(FileNotFoundError, match=f"hf://someone/none@{COMMIT} cannot be fetched") as caught:
        load(small, f"hf://someone/none@{COMMIT}")
    assert "name that file" in one_line(caught.value)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ValueError, match=r"needs huggingface_hub: pip install 'reference-zoo\[hub\]'"):
        load(small, f"hf://someone/none@{COMMIT}")
    assert same(small, state)


# What does not fit


def replaced(**changes):
    """A change of some tensors of a state; None takes one out."""
    named = {name.replace("__", "."): value for name, value in changes.items()}
    return lambda state: {name: value for name, value in {**state, **named}.items() if value is not None}


def at(name: str, value) -> dict:
    return {name.replace(".", "__"): value}


NAN = torch.zeros(6, 1, 5, 5)
NAN[2, 0, 1, 1] = torch.nan
MISFITS = {
    "shape": (at(BODY, torch.zeros(6, 1, 3, 3)), f"another shape: {BODY} (6x1x3x3 in the file, 6x1x5x5 in the net)"),
    "transposed": (at(BODY, torch.zeros(1, 6, 5, 5)), f"shape: {BODY} (1x6x5x5 in the file, 6x1x5x5 in the net)"),
    "missing": (at(BODY, None), f"1 tensor is missing: {BODY} (6x1x5x5)"),
    "extra": ({"more__weight": torch.zeros(2, 3)}, "1 tensor is not in the net: more.weight (2x3)"),
    "NaN": (at(BODY, NAN), f"1 tensor contains NaN or Inf: {BODY}"),
    "infinite": (at(BODY, torch.full((6, 1, 5, 5), torch.inf)), f"1 tensor contains NaN or Inf: {BODY}"),
    "beyond float32": (at(BODY, torch.full((6, 1, 5, 5), 1e300, dtype=torch.float64)), f"NaN or Inf: {BODY}"),
    "integers": (
        at(BODY, torch.ones(6, 1, 5, 5, dtype=torch.int64)),
        f"1 tensor has another dtype: {BODY} (torch.int64 in the file, torch.float32 in the net)",
    ),
    "complex": (at(BODY, torch.ones(6, 1, 5, 5, dtype=torch.complex64)), f"{BODY} (torch.complex64 in"),
    "sparse": (at(BODY, torch.ones(6, 1, 5, 5).to_sparse()), BODY),
    "one value for all": (at(BODY, torch.ones(1, 1, 1, 1).expand(6, 1, 5, 5)), BODY),
    "eight bits": (at(BODY, torch.ones(6, 1, 5, 5).to(torch.float8_e4m3fn)), f"{BODY} (torch.float8_e4m3fn in"),
    "four bits": (
        at(BODY, torch.ones(6, 1, 5, 5, dtype=torch.uint8).view(torch.float4_e2m1fn_x2)),
        f"{BODY} (torch.float4_e2m1fn_x2 in",
    ),
    "head of another width": (
        at("head.weight", torch.zeros(10, 83)),
        "head.weight (10x83 in the file, 10x84 in the net)",
    ),
}


@pytest.mark.parametrize("misfit", MISFITS)
@pytest.mark.parametrize("head", ["reset", "keep"])
def test_what_does_not_fit_is_named_and_nothing_is_loaded(misfit, head, lenet5, tmp_path):
    changes, message = MISFITS[misfit]
    other = shaken(create("lenet5"), seed=1)
    file = save(replaced(**changes)(other.state_dict()), tmp_path / "file.pth")
    before = copied(lenet5)
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        load(lenet5, file, head=head)
    assert str(caught.value).startswith(file), "which file"
    one_line(caught.value)
    assert same(lenet5, before)
    save(other.state_dict(), tmp_path / "file.pth")
    load(lenet5, file, head=head)
    assert not same(lenet5, before), "the file itself was sound"


@pytest.mark.parametrize(("count", "more"), [(2, ""), (3, ""), (4, " and 1 more"), (12, " and 9 more")])
def test_of_many_that_do_not_fit_three_are_named(count, more, lenet5, tmp_path):
    extra = {f"extra{k}": torch.zeros(1) for k in range(count)}
    with pytest.raises(ValueError, match="does not fit LeNet5: ") as caught:
        load(lenet5, save({**lenet5.state_dict(), **extra}, tmp_path / "file.pth"))
    told = str(caught.value).partition("LeNet5: ")[2]
    names = ", ".join(f"extra{k} (1)" for k in range(min(count, 3)))
    assert told == f"{count} tensors are not in the net: {names}{more}"


def test_what_does_not_fit_is_grouped_and_similar_names_come_first(lenet5, tmp_path):
    state = shaken(create("lenet5"), seed=1).state_dict()
    state["layers.f6.fc.weight"] = state.pop("layers.f6.0.weight")
    state["c1.0.bias"] = state.pop("layers.c1.0.bias")
    state["q"] = state.pop("layers.c1.0.weight")
    state["layers.c3.0.weight"] = torch.zeros(2, 3)
    with pytest.raises(ValueError, match="does not fit LeNet5: ") as caught:
        load(lenet5, save(state, tmp_path / "file.pth"))
    assert one_line(caught.value).partition("LeNet5: ")[2] == (
        "3 tensors are missing: layers.f6.0.weight (84x120; nearest in the file: layers.f6.fc.weight), "
        "layers.c1.0.bias (6; nearest in the file: c1.0.bias), layers.c1.0.weight (6x1x5x5); 1 tensor has another "
        "shape: layers.c3.0.weight (2x3 in the file, 16x6x5x5 in the net); 3 tensors are not in the net: "
        "layers.f6.fc.weight (84x120), c1.0.bias (6), q (6x1x5x5)"
    )


def test_another_architecture_is_told_by_its_name(official, tmp_path):
    file = save(official.state_dict(), tmp_path / "file.pth")
    net = create("resnet18", in_shape=(3, 64, 64), num_classes=7)
    with pytest.raises(ValueError, match=r"file\.pth does not fit resnet18: \d+ tensors are missing: .* more; "):
        load(net, file)


def test_a_tensor_that_is_there_under_two_names_is_refused(official, small, tmp_path):
    state = {**official.state_dict(), "layers.body.conv1.0.weight": torch.zeros(24, 3, 3, 3)}
    with pytest.raises(ValueError, match=r"conv1\.0\.weight"):
        load(small, save(state, tmp_path / "file.pth"))


def test_a_head_is_loaded_only_where_the_classes_are_as_many(lenet5, tmp_path):
    file = save(shaken(create("lenet5", num_classes=4)).state_dict(), tmp_path / "file.pth")
    before = copied(lenet5)
    with pytest.raises(
        ValueError,
        match=r"2 tensors have another shape: head\.weight \(4x84 in the file, 10x84 .*, head\.bias \(4 in",
    ):
        load(lenet5, file, head="keep")
    assert same(lenet5, before)
    four = create("lenet5", num_classes=4)
    load(four, file, head="keep")
    assert same(four, torch.load(file, weights_only=True))
    headless = {name: value for name, value in before.items() if not name.startswith("head.")}
    save(headless, tmp_path / "file.pth")
    load(lenet5, file)
    with pytest.raises(ValueError, match=r"2 tensors are missing: head\.weight \(10x84\)"):
        load(lenet5, file, head="keep")
    with pytest.raises(ValueError, match="pretrained_head=x: choose reset or keep"):
        load(lenet5, file, head="x")


# Files that are none


@pytest.fixture
def in_time():
    """A loop without end becomes an error."""

    def late(*_):
        raise TimeoutError("still at it")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def broken(kind: str, state: dict, folder: Path) -> Path:
    path = folder / ("file.safetensors" if "safetensors" in kind else "file.pth")
    if kind == "safetensors without tensors":
        save_file({}, path)
    elif kind == "odd names":
        torch.save({0: torch.ones(1)}, path)
    elif kind in ("list", "nothing", "no tensors"):
        torch.save({"list": [torch.ones(1)], "nothing": {"state_dict": {}}, "no tensors": {"epoch": 3}}[kind], path)
    elif kind in ("text", "text as safetensors", "empty", "empty safetensors"):
        path.write_text("404: no such page\n" * 20 if "text" in kind else "")
    else:
        if "safetensors" in kind:
            save_file(state, path)
        else:
            torch.save(state, path, _use_new_zipfile_serialization="old" not in kind)
        whole = path.read_bytes()
        path.write_bytes(
            whole[: {"half": len(whole) // 2, "byte": 1, "all but one": len(whole) - 1}[kind.split(",")[0]]]
        )
    return path


@pytest.mark.parametrize(
    "kind",
    [
        *("half", "byte", "all but one", "half, old", "byte, old", "all but one, old"),
        *("half, safetensors", "byte, safetensors", "all but one, safetensors"),
        *("empty", "empty safetensors", "text", "text as safetensors"),
        *("list", "nothing", "no tensors", "odd names", "safetensors without tensors"),
    ],
)
def test_a_file_that_is_damaged_or_no_weights_is_named(kind, lenet5, tmp_path, in_time):
    file, before = broken(kind, lenet5.state_dict(), tmp_path), copied(lenet5)
    with pytest.raises(ValueError, match=rf"^{re.escape(str(file))}") as caught:
        load(lenet5, str(file))
    one_line(caught.value)
    if "half" in kind or kind.startswith("empty"):
        assert "damaged or truncated" in str(caught.value)
    assert same(lenet5, before)


@pytest.mark.parametrize("old", [False, True])
def test_whatever_stands_in_a_damaged_file_is_one_kind_of_error(old, tmp_path):
    generator = torch.Generator().manual_seed(0)
    torch.save({"a": torch.ones(2)}, tmp_path / "file.pth", _use_new_zipfile_serialization=not old)
    whole, refused = (tmp_path / "file.pth").read_bytes(), 0
    for _ in range(150):
        content = bytearray(whole)
        for place, value in torch.randint(0, 500, (3, 2), generator=generator).tolist():
            content[place % len(content)] = value % 256
        (tmp_path / "file.pth").write_bytes(content)
        try:
            weight_files.read(tmp_path / "file.pth")
        except ValueError:
            refused += 1
    assert refused > 50


@pytest.mark.parametrize("insisted", [False, True])
@pytest.mark.parametrize("write", [pickle.dump, torch.save, partial(torch.save, _use_new_zipfile_serialization=False)])
@pytest.mark.parametrize("nested", ["bare", "one value", "in a dict"])
def test_code_in_a_pickle_is_not_run(nested, write, insisted, lenet5, tmp_path, monkeypatch):
    variable, marker, file = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", tmp_path / "marker", tmp_path / "file.pth"
    state = dict(lenet5.state_dict())
    content = {
        "bare": Touch(marker),
        "one value": {**state, "z": Touch(marker)},
        "in a dict": {"state_dict": state, "x": [Touch(marker)]},
    }
    with file.open("wb") as opened:
        write(content[nested], opened)
    if insisted:
        monkeypatch.setenv(variable, "1")
    else:
        monkeypatch.delenv(variable, raising=False)
    refused = r"file\.pth: (not a plain state dict; refused, no code was run|damaged)"
    with pytest.raises(ValueError, match=refused) as caught:
        load(lenet5, str(file))
    one_line(caught.value)
    assert not marker.exists()
    assert os.environ.get(variable) == ("1" if insisted else None)


def test_the_marker_would_be_written_by_a_careless_reader(tmp_path):
    torch.save({"z": Touch(tmp_path / "marker")}, tmp_path / "file.pth")
    torch.load(tmp_path / "file.pth", weights_only=False)
    assert (tmp_path / "marker").exists()


def test_the_variable_is_back_whatever_happens(monkeypatch):
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "yes")
    with pytest.raises(KeyError), pickled._without_override():  # noqa: PT012
        assert "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD" not in os.environ
        raise KeyError
    assert os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] == "yes"


# torchvision's names


def test_every_entry_of_torchvision_has_a_hash_and_a_preparation():
    entries = [entry for enum in map(models.get_model_weights, models.list_models(module=models)) for entry in enum]
    assert len(entries) > 90
    names = {entry.url.rpartition("/")[2]: entry for entry in entries}
    for name, entry in names.items():
        assert re.fullmatch(r"[0-9a-f]{8,64}", name.removesuffix(".pth").rpartition("-")[2]), name
        found, preset = torchvision_files.preset(entry), entry.transforms()
        assert found.interpolation in FILTERS
        assert (found.shape, [found.side]) == ((3, *2 * preset.crop_size), preset.resize_size)
    for name, digest in torchvision_files.SHA256.items():
        assert name in names
        assert re.fullmatch("[0-9a-f]{64}", digest)
        assert digest.startswith(name.removesuffix(".pth").rpartition("-")[2])


@pytest.mark.parametrize("by", ["name", "path"])
def test_a_wrong_file_under_the_official_name_is_refused(by, caches):
    net = create("resnet18", in_shape=(3, 64, 64), num_classes=2)
    state = models.resnet18(weights=None).state_dict()
    caches.mkdir(parents=True)
    file, before = caches / "resnet18-f37072fd.pth", copied(net)
    save(state, file)
    with pytest.raises(ValueError, match=re.escape(str(file))) as caught:
        load(net, "IMAGENET1K_V1" if by == "name" else str(file))
    assert "not the official file" in one_line(caught.value)
    assert "delete it" in str(caught.value)
    assert same(net, before)
    assert file.is_file(), "it is the user's to delete"


PRESET = partial(
    ImageClassification,
    crop_size=200,
    resize_size=230,
    mean=(0.1, 0.2, 0.3),
    std=(0.4, 0.5, 0.6),
    interpolation=models.MobileNet_V2_Weights.DEFAULT.transforms().interpolation,
)


class Server(ThreadingHTTPServer):
    """Serves `content` under every path: whole, or as `manner` says."""

    content, manner, asked = b"", "whole", 0
    daemon_threads = True


class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.server.asked += 1
        self.close_connection = True
        content, manner = self.server.content, self.server.manner
        self.send_response(404 if manner == "missing" else 200)
        if manner == "chunk cut off":
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(f"{len(content):x}\r\n".encode() + content[:100])
        else:
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[:100] if manner == "cut off" else content)


@pytest.fixture
def server():
    with Server(("127.0.0.1", 0), Answer) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def entry(server, official, tmp_path, monkeypatch) -> SimpleNamespace:
    """An entry of an enum whose file the server has."""
    save(official.state_dict(), tmp_path / "served.pth")
    server.content = (tmp_path / "served.pth").read_bytes()
    digest = hashlib.sha256(server.content).hexdigest()
    url = f"http://127.0.0.1:{server.server_port}/models/small-{digest[:8]}.pth"
    made = SimpleNamespace(url=url, transforms=PRESET, name=url.rpartition("/")[2], digest=digest)
    monkeypatch.setattr(torchvision_files, "entries", lambda net: {"V1": made, "DEFAULT": made})
    return made


def test_the_official_file_is_fetched_once_and_loaded_with_its_transforms(entry, server, official, small, caches):
    for name in ("DEFAULT", "V1", str(caches / entry.name)):
        found = load(small, name)
        assert found.preprocess == Preprocess((3, 200, 200), 255.0, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), 230)
        assert found.note(small).endswith("enlarge=200 enlarges the images to that size")
        small.head = official.fc
        assert torch.equal(small(images(2, 3, 32, 32)), official(images(2, 3, 32, 32)))
    assert server.asked == 1
    assert [path.name for path in caches.iterdir()] == [entry.name]
    assert (caches / entry.name).read_bytes() == server.content


@pytest.mark.parametrize("manner", ["another file", "cut off", "chunk cut off", "missing"])
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # torch.hub leaves its connection to the collector
def test_of_what_comes_wrong_nothing_is_kept(manner, entry, server, small, caches):
    server.manner, before = manner, copied(small)
    if manner == "another file":
        server.content = server.content[:-1] + b"!"
    with pytest.raises((ValueError, FileNotFoundError), match=re.escape(entry.url)) as caught:
        load(small, "DEFAULT")
    assert (caught.type is FileNotFoundError) == (manner in ("missing", "chunk cut off"))
    one_line(caught.value)
    assert not any(caches.iterdir())
    assert same(small, before)
    del caught
    gc.collect()


@pytest.mark.parametrize("cached", [False, True])
def test_eight_digits_are_not_enough_where_all_are_known(cached, entry, server, small, caches, monkeypatch):
    monkeypatch.setitem(torchvision_files.SHA256, entry.name, entry.digest[:8] + "0" * 56)
    if cached:
        caches.mkdir(parents=True)
        (caches / entry.name).write_bytes(server.content)
    with pytest.raises(ValueError, match="not the official file"):
        load(small, "V1")
    monkeypatch.setitem(torchvision_files.SHA256, entry.name, entry.digest)
    load(small, "V1")


def test_without_a_network_it_says_what_to_put_where(entry, server, small, caches):
    server.shutdown()
    server.server_close()
    with pytest.raises(FileNotFoundError, match=re.escape(entry.url)) as caught:
        load(small, "V1")
    assert str(caches / entry.name) in one_line(caught.value)
    assert "weights=FILE" in str(caught.value)
    assert not any(caches.iterdir())


@pytest.mark.parametrize("source", ["nowhere.pth", "nowhere.pt", "nowhere.safetensors", "runs/nothing"])
def test_a_file_or_run_that_is_not_there(source, lenet5, folder):
    with pytest.raises(FileNotFoundError, match=f"^weights={source}: no such file or run folder$"):
        load(lenet5, source)
    (folder / "runs" / "nothing").mkdir(parents=True)  # a run that was given up
    with pytest.raises(FileNotFoundError, match=f"^weights={source}: no such file or run folder$"):
        load(lenet5, source)


def test_an_unknown_name_is_answered_with_those_there_are(lenet5):
    net = create("resnet50", in_shape=(3, 64, 64), num_classes=2)
    with pytest.raises(
        ValueError, match=r"weights=IMAGENET1K_V3: expected IMAGENET1K_V1, IMAGENET1K_V2, DEFAULT, a \.pth"
    ) as caught:
        load(net, "IMAGENET1K_V3")
    one_line(caught.value)
    with pytest.raises(
        ValueError,
        match=r"^weights=DEFAULT: torchvision has no weights for LeNet5; expected a \.pth, .* run folder or hf://OWNER/NAME@COMMIT$",
    ):
        load(lenet5, "DEFAULT")


# The command line


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("weights=nowhere.pth",), "weights=nowhere.pth: no such file"),
        (("weights=runs/nothing",), "weights=runs/nothing: no such file or run folder"),
        (("weights=DEFAULT",), "weights=DEFAULT: torchvision has no weights for LeNet5; expected a .pth"),
        (("weights=other.pth",), "other.pth does not fit LeNet5: 8 tensors are missing: layers.c1.0.weight (6x1x5x5),"),
        (("weights=cut.pth",), "cut.pth: damaged"),
        (("weights=code.pth",), "code.pth: not a plain state dict; refused, no code was run"),
        (("weights=hf://someone/small@main",), "pin the revision"),
        ((f"weights=hf://someone/small@{COMMIT}",), "cannot be fetched"),
        (("weights=good.pth", "pretrained_head=x"), "pretrained_head=x: choose reset or keep"),
        (("weights=good.pth", "pretrained_head=keep"), "head.weight (4x84 in the file, 10x84 in the net)"),
        (("model=resnet18", "weights=IMAGENET1K_V3"), "IMAGENET1K_V1"),
        (("model=torchvision", f"model.net.architecture={SMALL}", "weights=other.pth"), f"does not fit {SMALL}"),
        (("model=torchvision", "model.net.architecture=densenet121"), "1x28x28"),
    ],
)
def test_what_is_refused_is_one_line_and_leaves_nothing(words, message, cli, folder):
    good = create("lenet5", num_classes=4).state_dict()
    save(good, folder / "good.pth")
    save({"a": torch.ones(1)}, folder / "other.pth")
    (folder / "cut.pth").write_bytes((folder / "good.pth").read_bytes()[:5000])
    save({**good, "z": Touch(folder / "marker")}, folder / "code.pth")
    outcome = cli("train", "model=lenet5", "dataset=digits", "epochs=1", "progress=false", *words)
    assert outcome.status == 1
    assert outcome.err.startswith("zoo train: ")
    assert len(outcome.err.splitlines()) == 1
    assert message in outcome.err
    assert {path.name for path in folder.iterdir()} == {"good.pth", "other.pth", "cut.pth", "code.pth"}


@pytest.fixture
def quick(monkeypatch):
    for drawing in ("curves", "confusion"):
        monkeypatch.setattr(f"zoo.plots.curves.{drawing}", lambda *_, **__: None)


def test_a_run_that_began_with_weights_goes_on_without_them(cli, folder, quick, monkeypatch):
    prepared = Preprocess((1, 28, 28), 255.0, (0.5,), (2.0,))  # not what the data would give
    node = {"_target_": "zoo.models.LeNet5", "in_shape": [1, 28, 28], "num_classes": 4}
    about = checkpoints.CheckpointInfo(name="lenet5", net=node, task={}, preprocess=prepared.to_dict())
    begun = shaken(create("lenet5", num_classes=4))
    checkpoints.save(begun, folder / "source" / "model.safetensors", about)
    words = ("model=lenet5", "dataset=digits", "epochs=2", "batch_size=400", "lr=0.001", "progress=false")
    words = (*words, "weights=source")
    assert cli("train", *words, "hydra.run.dir=whole").status == 0
    assert cli("train", *words[:-1], "hydra.run.dir=fresh").status == 0

    def stop(self, trainer, *_):
        if trainer.current_epoch == 1:
            raise RuntimeError("the power is gone")

    with monkeypatch.context() as patch:
        patch.setattr(SaveForResume, "on_train_batch_start", stop, raising=False)
        assert cli("train", *words, "hydra.run.dir=run").status == 1
    seen = {"low": None, "high": None, "border": None}  # of the training data
    stored = Preprocess.from_dict(json.loads((folder / "run" / "preprocess.json").read_text()))
    assert dataclasses.replace(stored, **seen) == prepared
    shutil.rmtree(folder / "source")
    outcome = cli("train", "resume=run")
    assert (outcome.status, outcome.err) == (0, "")
    ends = {name: load_file(folder / name / "model.safetensors") for name in ("whole", "run", "fresh")}
    assert all(torch.equal(value, ends["whole"][name]) for name, value in ends["run"].items())
    assert ends["run"].keys() == ends["whole"].keys()
    kernels = {name: end[BODY] - begun.state_dict()[BODY] for name, end in ends.items()}
    assert 0 < kernels["run"].abs().max() < kernels["fresh"].abs().max(), "it began there"
    assert ends["run"]["head.weight"].shape == (10, 84)
    for name in ("whole", "run"):
        assert dataclasses.replace(checkpoints.info(folder / name).transforms(), **seen) == prepared
    assert checkpoints.info(folder / "fresh").transforms() != prepared


# Preparation for other data


def test_the_preparation_follows_the_data():
    known = Preprocess((3, 224, 224), 255.0, (0.2, 0.4, 0.6), (0.1, 0.2, 0.3), 256, "bicubic")
    assert weights.for_data(known, (3, 224, 224), scale=255.0) == known
    gray = weights.for_data(known, (1, 112, 112), scale=1.0)
    assert (gray.shape, gray.scale, gray.side, gray.interpolation) == ((1, 112, 112), 1.0, 128, "bicubic")
    assert gray.mean == pytest.approx((0.4,))
    assert gray.std == pytest.approx((0.2,))
    assert weights.for_data(known, (3, 64, 96), scale=255.0).side == 73  # 64 x 256/224 = 73.1
    back = weights.for_data(Preprocess((1, 28, 28), 255.0, (0.3,), (0.5,)), (3, 32, 32), scale=255.0)
    assert back == Preprocess((3, 32, 32), 255.0, (0.3,) * 3, (0.5,) * 3, None)


def test_only_the_lowest_layers_are_read_for_a_net_whose_upper_layers_are_trained(tmp_path):
    kernels = {"num_classes": 0, "kernel_size": 3, "pool": 2}
    below = ConvDBN(hidden=[4, 3], **kernels)
    save_file(below.state_dict(), tmp_path / "below.safetensors")
    net = ConvDBN(hidden=[4, 5, 2], **kernels)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with pytest.raises(ValueError, match=r"does not fit ConvDBN: .*layers\.2"):
        load(net, tmp_path / "below.safetensors")
    load(net, tmp_path / "below.safetensors", lowest=1)
    for name, value in net.state_dict().items():
        source = below.state_dict() if name.startswith("layers.0.") else before
        assert torch.equal(value, source[name]), name
    # Those must be there, and fit.
    with pytest.raises(ValueError, match=r"does not fit ConvDBN: .*layers\.0"):
        load(ConvDBN(hidden=[6, 5], **kernels), tmp_path / "below.safetensors", lowest=1)
