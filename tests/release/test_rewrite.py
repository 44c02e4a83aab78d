"""Shipped files are rewritten in the current format, once: other headers, bit-identical tensors."""

import hashlib
import json
import shutil

import pytest
import torch
import yaml
from safetensors import safe_open
from safetensors.torch import load_file
from support import write_format1

from zoo.checkpoints import checkpoint as checkpoints
from zoo.config import catalogue
from zoo.release import rewrite

SHIPPED = catalogue.CHECKPOINTS
NAMES = ("lenet_4_10-mnist", "mlp_16_16-mnist", "lenet5-digits")


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """Copies of small shipped checkpoints, the first one in format 1."""
    entries = {name: dict(catalogue.index()[name]) for name in NAMES}
    for entry in entries.values():
        shutil.copy(SHIPPED / entry["file"], tmp_path)
    old = tmp_path / entries[NAMES[0]]["file"]
    about = checkpoints.info(old)
    description = {**vars(about), "dataset_config": {}}
    del description["file"]
    write_format1(old, load_file(old), json.loads(json.dumps(description)))
    entries[NAMES[0]] |= {"sha256": hashlib.sha256(old.read_bytes()).hexdigest(), "size": old.stat().st_size}
    (tmp_path / "index.yaml").write_text(yaml.safe_dump(entries))
    monkeypatch.setattr(catalogue, "CHECKPOINTS", tmp_path)
    return tmp_path


def test_rewritten_files_have_the_same_tensors_and_the_index_is_updated(shelf):
    before = {name: checkpoints.read(name) for name in NAMES}
    assert NAMES[0] in rewrite.rewrite(check=True)
    assert NAMES[0] in rewrite.rewrite()
    for name, (tensors, about) in before.items():
        entry = catalogue.index()[name]
        content = (shelf / entry["file"]).read_bytes()
        assert (entry["sha256"], entry["size"]) == (hashlib.sha256(content).hexdigest(), len(content))
        with safe_open(shelf / entry["file"], "pt") as file:
            assert json.loads(file.metadata()["zoo"])["format"] == checkpoints.FORMAT
        new, described = checkpoints.read(name)
        assert described == about
        assert new.keys() == tensors.keys()
        assert all(rewrite._same_bits(new[key], tensors[key]) for key in tensors)

    # A second time there is nothing to do.
    whole = {path.name: path.read_bytes() for path in shelf.iterdir()}
    assert rewrite.rewrite() == []
    assert {path.name: path.read_bytes() for path in shelf.iterdir()} == whole
    rewrite.main(["--check"])


def test_the_check_names_the_files_to_rewrite_and_changes_nothing(shelf):
    whole = {path.name: path.read_bytes() for path in shelf.iterdir()}
    with pytest.raises(SystemExit, match=NAMES[0]):
        rewrite.main(["--check"])
    assert {path.name: path.read_bytes() for path in shelf.iterdir()} == whole


def test_nothing_is_replaced_if_a_file_is_damaged_or_would_change(shelf, monkeypatch):
    whole = {path.name: path.read_bytes() for path in shelf.iterdir()}
    with monkeypatch.context() as patch:
        patch.setattr(rewrite, "_same_bits", lambda a, b: False)
        with pytest.raises(ValueError, match="the rewritten tensors differ from those of the file"):
            rewrite.rewrite()
    assert {path.name: path.read_bytes() for path in shelf.iterdir()} == whole
    damaged = shelf / f"{NAMES[2]}.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"!")
    with pytest.raises(ValueError, match="not the one in the index"):
        rewrite.rewrite()
    assert (shelf / f"{NAMES[0]}.safetensors").read_bytes() == whole[f"{NAMES[0]}.safetensors"]


def test_tensors_are_compared_bit_by_bit():
    nan = torch.tensor([float("nan")])
    assert rewrite._same_bits(nan, nan.clone())
    assert not rewrite._same_bits(torch.tensor([0.0]), torch.tensor([-0.0]))
    assert not rewrite._same_bits(torch.ones(2), torch.ones(2).half())
    assert not rewrite._same_bits(torch.ones(2), torch.ones(1, 2))
    assert rewrite._same_bits(torch.tensor(3), torch.tensor(3))
