"""Checkpoints on the Hugging Face hub, over HTTP to a loopback server: published, loaded, pinned, and never trusted."""

import json
import sys
from pathlib import Path

import pytest
import torch
import yaml
from hub_server import TOKEN, serving
from huggingface_hub import constants
from huggingface_hub.utils import disable_progress_bars, enable_progress_bars
from support import Touch

import zoo
from zoo.checkpoints import checkpoint as checkpoints
from zoo.checkpoints import hub as hub_module
from zoo.checkpoints.checkpoint import locate

TO = "hf://me/digits"
# A habit of huggingface_hub.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>' to upload:DeprecationWarning")


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub on this machine, for a user who is logged in; the cache is empty."""
    with serving() as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.address)
        template = server.address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True, raising=False)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        hub_module.checkpoint_file.cache_clear()
        disable_progress_bars()
        yield server
        enable_progress_bars()
        hub_module.checkpoint_file.cache_clear()


def push(cli, *words: str):
    return cli("push", "checkpoint=lenet5-digits", f"to={TO}", *words)


def test_what_is_published_is_what_is_loaded(hub, cli, folder):
    outcome = push(cli)
    assert (outcome.status, outcome.err) == (0, "")
    (commit,) = hub.repositories["me/digits"]["main"][1:]
    assert f"this version is {TO}@{commit}" in outcome.out
    assert hub.private == {"me/digits": False}

    # Both files are whole; the card has what the hub reads.
    files = hub.commits[commit]
    assert files["model.safetensors"] == locate("lenet5-digits")[0].read_bytes()
    _, metadata, body = files["README.md"].decode().split("---\n", 2)
    described = yaml.safe_load(metadata)
    assert (described["library_name"], described["license"]) == ("reference-zoo", "mit")
    (result,) = described["model-index"][0]["results"]
    accuracy = next(metric["value"] for metric in result["metrics"] if metric["type"] == "accuracy")
    assert accuracy == zoo.info("lenet5-digits").metrics["test/accuracy"]
    assert f'zoo.load("{TO}")' in body

    # By branch, by commit, for the commands, and as pretrained weights.
    expected = zoo.load("lenet5-digits").state_dict()
    for address in (TO, f"{TO}@main", f"{TO}@{commit}"):
        loaded = zoo.load(address).state_dict()
        assert all(torch.equal(loaded[name], value) for name, value in expected.items())
    assert zoo.info(TO).classes == zoo.info("lenet5-digits").classes
    assert "lenet5 on digits" in cli("show", TO).out
    net = zoo.create("lenet5", num_classes=3, weights=f"{TO}@{commit}")
    assert torch.equal(next(net.parameters()), next(zoo.load("lenet5-digits").parameters()))
    refused = cli("evaluate", f"checkpoint={TO}", "calibrate=true", "accelerator=cpu")
    assert refused.status == 1
    assert f"{TO} is a published one; copy" in refused.err


def test_a_branch_is_looked_up_once_and_found_without_network(hub, cli, folder):
    push(cli)
    zoo.load(TO)
    asked = len(hub.requests)
    zoo.info(TO)
    assert len(hub.requests) == asked
    # A new process asks for the newest commit, and without network takes the last one.
    hub_module.checkpoint_file.cache_clear()
    assert push(cli, "overwrite=true").status == 0
    zoo.load(TO)
    assert locate(TO)[0].parent.name == hub.repositories["me/digits"]["main"][-1]
    hub_module.checkpoint_file.cache_clear()
    hub.repositories.clear()
    constants.HF_HUB_OFFLINE = True
    try:
        assert isinstance(zoo.load(TO), torch.nn.Module)
    finally:
        constants.HF_HUB_OFFLINE = False


def test_a_dry_run_shows_everything_and_asks_the_hub_nothing(hub, cli, folder):
    outcome = push(cli, "dry_run=true", "license=apache-2.0", "private=true")
    assert (outcome.status, outcome.err, hub.requests) == (0, "", [])
    for part in ("249,472 bytes", "license: apache-2.0", "# lenet5 on digits", "created as private"):
        assert part in outcome.out


def test_a_branch_and_a_private_repository_are_created(hub, cli, folder, trained):
    outcome = cli("push", f"checkpoint={trained}", f"to={TO}@second", "private=true")
    assert (outcome.status, outcome.err) == (0, "")
    assert hub.private == {"me/digits": True}
    assert len(hub.repositories["me/digits"]["main"]) == 1
    metadata = yaml.safe_load(hub.commits[hub.repositories["me/digits"]["second"][-1]]["README.md"].split(b"---")[1])
    assert "license" not in metadata, "nobody has given the weights a license"
    assert zoo.info(f"{TO}@second").metrics == zoo.info(trained).metrics


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["to=me/digits"], "to=me/digits: must be hf://OWNER/NAME or hf://OWNER/NAME@REVISION"),
        (["to=hf://digits"], "must be hf://OWNER/NAME"),
        (["checkpoint=lenet5-digit"], "no checkpoint 'lenet5-digit'"),
        ([], "to=hf://me/digits has a model.safetensors; add overwrite=true"),
    ],
)
def test_what_cannot_be_published_is_refused_in_one_line(words, says, hub, cli, folder):
    push(cli)
    outcome = push(cli, *words)
    assert outcome.status == 1
    assert says in outcome.err
    assert outcome.err.count("\n") == 1
    assert len(hub.commits) == 2


def test_somebody_who_is_not_logged_in(hub, cli, folder, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "wrong")
    outcome = push(cli)
    assert outcome.status == 1
    assert "run hf auth login, or set HF_TOKEN" in outcome.err
    assert outcome.err.count("\n") == 1
    assert not hub.commits


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("hf://me", "hf://me: must be hf://OWNER/NAME"),
        ("hf://me/nothing", "hf://me/nothing cannot be fetched"),
        ("hf://me/digits@nothing", "hf://me/digits@nothing cannot be fetched"),
        ("hf://me/other", "hf://me/other cannot be fetched"),
    ],
)
def test_what_is_not_on_the_hub(address, says, hub, cli, folder):
    hub.commit("me/digits", "main", {"model.safetensors": b""})
    hub.commit("me/other", "main", {"pytorch_model.bin": b""})
    outcome = cli("show", address)
    assert outcome.status == 1
    assert says in outcome.err
    assert outcome.err.count("\n") == 1


def test_a_tampered_file_is_refused(hub, cli, folder):
    """Whether it is not what its name on the hub says, or the hub has it under a name of its own."""
    content = locate("lenet5-digits")[0].read_bytes()
    changed = content[:-4] + bytes(4)
    hub.commit("me/digits", "main", {"model.safetensors": content})
    hub.tamper = changed
    with pytest.raises(ValueError, match=r"damaged \(its SHA-256 is not its name\); delete it"):
        zoo.load(TO)
    hub.tamper = None
    hub.commit("me/changed", "main", {"model.safetensors": changed})
    with pytest.raises(ValueError, match=r"the file is damaged \(its SHA-256 differs"):
        zoo.load("hf://me/changed")
    hub.commit("me/foreign", "main", {"model.safetensors": b"no safetensors"})
    with pytest.raises(ValueError, match="not a readable safetensors file"):
        zoo.load("hf://me/foreign")


def test_nothing_is_unpickled_and_no_code_of_others_runs(hub, folder):
    marker = folder / "marker"
    torch.save({"weight": Touch(marker)}, folder / "model.bin")
    hub.commit("me/pickle", "main", {"model.safetensors": (folder / "model.bin").read_bytes()})
    with pytest.raises(ValueError, match="not a readable safetensors file"):
        zoo.load("hf://me/pickle")
    # A header that names a class outside the zoo, with a digest that fits.
    tensors, about = checkpoints.read("lenet5-digits")
    description = {**json.loads(json.dumps(checkpoints.to_stored(about)))}
    description["net"]["class"] = "os.system"
    header = {
        "format": 2,
        "description": description,
        "sha256": checkpoints.digest(checkpoints._canonical(description), tensors),
    }
    checkpoints.save_file(tensors, Path("evil.safetensors"), {"zoo": checkpoints._canonical(header)})
    hub.commit("me/evil", "main", {"model.safetensors": Path("evil.safetensors").read_bytes()})
    with pytest.raises(ValueError, match=r"os\.system"):
        zoo.load("hf://me/evil")
    assert not marker.exists()


def test_without_the_package(hub, cli, folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert "needs huggingface_hub: pip install 'reference-zoo[hub]'" in cli("show", TO).err
    assert "needs huggingface_hub: pip install 'reference-zoo[hub]'" in push(cli).err
