"""Whatever a description says, a checkpoint is refused in one line that begins with its path, or it is used as it is.

`mutations.py` gives every field a wrong type, a missing, huge or deep value, a reference, and an unknown class.
"""

import json
import resource
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from mutations import INFO, STORED, mutations, nested, write
from PIL import Image
from safetensors.torch import save_file
from support import write_format1

from zoo.api import create
from zoo.checkpoints import checkpoint as checkpoints
from zoo.checkpoints import description_schema as schema


@pytest.fixture(scope="module")
def tensors() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return create("lenet", in_shape=(1, 28, 28), num_classes=10, kernels=[2], hidden=[3]).state_dict()


@pytest.fixture
def within_memory():
    """Fails if the test takes more than a GB on top of what the process had, or a minute."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    yield
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**20, "KiB"
    assert time.process_time() - start < 60


MUTATIONS = list(mutations(STORED))


def refused(file: Path, read, mutation: str) -> bool:
    """Whether a file was refused, which must be told in one line that begins with its path."""
    try:
        read(file)
    except ValueError as error:
        message = str(error)
        assert message.startswith(f"{file}: "), (mutation, message)
        assert "\n" not in message, (mutation, message)
        assert len(message) < 1000, (mutation, message)
        return True
    return False


def use(file: Path) -> None:
    """What the commands do with a description."""
    net, about = checkpoints.open_checkpoint(file)
    preprocess = about.transforms()
    outputs = net(preprocess(torch.zeros(2, *preprocess.shape, dtype=torch.uint8)))
    assert outputs.shape[1] == len(about.classes) or not about.classes


@pytest.mark.parametrize("every", [11, pytest.param(1, marks=pytest.mark.slow)])
def test_every_mutation_is_refused_in_one_line_or_harmless(every, tensors, tmp_path, within_memory):
    file = tmp_path / "m.safetensors"
    counts = {True: 0, False: 0}
    for name, description in MUTATIONS[::every]:
        write(file, tensors, description)
        counts[refused(file, use, name)] += 1
        refused(file, checkpoints.info, name)
        file.unlink()
    assert counts[True] > 900 // every
    assert counts[False] > 100 // every, "such as another text in place of a text"


@pytest.mark.parametrize("field", sorted(STORED))
def test_a_field_of_a_wrong_type_is_named(field, tensors, tmp_path):
    wrong = {"a": "b"} if field in ("name", "classes", "num_params", "command", "dataset", "license") else [3]
    wrong = 3 if field in ("commit", "hardware") else wrong
    file = write(tmp_path / "m.safetensors", tensors, {**STORED, field: wrong})
    for read in (checkpoints.load, checkpoints.info):
        with pytest.raises(ValueError, match=rf"m\.safetensors: the description .* is damaged \({field}[:.]"):
            read(file)


@pytest.mark.parametrize(
    ("key", "value"),
    [("mean", [1e308]), ("scale", 1e39), ("low", 1e300), ("interpolation", "x"), ("shape", [1, 14, 56])],
)
def test_a_preprocessing_that_does_not_fit_the_net_is_named(key, value, tensors, tmp_path):
    stored = {**STORED, "preprocess": {**STORED["preprocess"], "side": None, key: value}}
    file = write(tmp_path / "m.safetensors", tensors, stored)
    with pytest.raises(ValueError, match=rf"m\.safetensors: the description .* is damaged \(.*preprocess\.{key}"):
        checkpoints.load(file)


@pytest.mark.parametrize("command", ["evaluate", "predict"])
def test_a_net_whose_outputs_are_no_numbers_has_no_result(command, tensors, cli, folder):
    """Each weight is finite, but their sums are not."""
    large = {name: value.sign() * 3e38 for name, value in tensors.items()}
    write(Path("m.safetensors"), large, STORED)
    np.savez("in.npz", x=np.arange(2 * 784, dtype=np.uint8).reshape(2, 1, 28, 28))
    keys = {"evaluate": ["dataset=digits"], "predict": ["input=in.npz", "output=out.csv"]}[command]
    outcome = cli(command, "checkpoint=m.safetensors", "accelerator=cpu", *keys)
    assert outcome.status == 1
    assert len(outcome.err.splitlines()) == 1
    assert "NaN or Inf" in outcome.err
    assert sorted(path.name for path in folder.iterdir()) == ["in.npz", "m.safetensors"]


def test_every_mutation_of_format_1_is_refused_in_one_line_or_harmless(tensors, tmp_path, within_memory):
    old = {**vars(INFO)}
    for key in ("file", "splits"):
        del old[key]
    file = tmp_path / "m.safetensors"
    found = []
    for name, description in list(mutations(json.loads(json.dumps(old))))[::13]:
        write_format1(file, tensors, description)
        found.append(refused(file, use, name))
        file.unlink()
    assert sum(found) > 50


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"a":' * 100_000,
        json.dumps(nested(400)),
        json.dumps({"format": 2, "description": nested(400), "sha256": ""}),
        '{"format": 2, "description": ' + "9" * 5000 + ', "sha256": ""}',
        '{"format": 2, "description": 3, "sha256": 3}',
        '{"format": [2], "description": {}, "sha256": ""}',
        "null",
        "NaN",
    ],
    ids=range(9),
)
@pytest.mark.parametrize("number", [None, "1"])
def test_a_header_that_is_deep_or_of_another_kind_is_refused(text, number, tensors, tmp_path):
    file = tmp_path / "m.safetensors"
    save_file(tensors, file, {"zoo": text} | ({"format": number, "sha256": ""} if number else {}))
    for read in (checkpoints.load, checkpoints.info):
        assert refused(file, read, text[:20])


def test_a_header_of_many_megabytes_is_refused_before_it_is_parsed(tensors, tmp_path, within_memory):
    file = write(tmp_path / "m.safetensors", tensors, {**STORED, "command": "x" * (schema.MAX_HEADER + 1)})
    with pytest.raises(ValueError, match=r"m\.safetensors: its header has 8,3\d\d,\d\d\d bytes, more than 8,388,608"):
        checkpoints.info(file)


def test_a_file_that_is_longer_than_memory_is_refused(tmp_path, within_memory):
    file = tmp_path / "m.safetensors"
    with file.open("wb") as opened:
        opened.truncate(2**43)
    for read in (checkpoints.load, checkpoints.info):
        assert refused(file, read, "sparse")


ELSEWHERE = ["../ESCAPED", "/etc/x", "~/x", "a/../b", "..", ".", "", " ", "a\nb", "a\x1b[2J", "a\\..\\b"]


@pytest.mark.parametrize("name", ELSEWHERE)
def test_a_name_that_leads_elsewhere_is_refused(name, tensors, tmp_path):
    file = write(tmp_path / "m.safetensors", tensors, {**STORED, "name": name})
    with pytest.raises(ValueError, match=r"damaged \(name: .* is not the name of a model\)"):
        checkpoints.load(file)


def test_a_model_of_such_a_name_is_not_trained(cli, folder):
    outcome = cli("train", "model.name=../x", "dataset=digits", "hydra.run.dir=run")
    assert (outcome.status, outcome.err) == (1, "zoo train: model.name: '../x' is not the name of a model\n")
    assert not list(folder.iterdir())


@pytest.mark.parametrize("name", ["lenet5", "my net (2)", "größer", "net-1.0_b", "[/x]"])
def test_other_names_are_accepted(name, tensors, tmp_path):
    assert checkpoints.info(write(tmp_path / "m.safetensors", tensors, {**STORED, "name": name})).name == name


# Small files that describe huge nets


HUGE = {
    "wide": {"class": "MLP", "in_shape": [1, 28, 28], "num_classes": 10, "hidden": [2_000_000]},
    "wider": {"class": "MLP", "in_shape": [1, 28, 28], "num_classes": 10, "hidden": [2**40, 2**40]},
    "deep": {"class": "MLP", "in_shape": [1, 28, 28], "num_classes": 10, "hidden": [1] * 200_000},
    "as deep as allowed": {"class": "StackedAutoencoder", "in_shape": [1, 28, 28], "hidden": [1] * 1000},
    "rbm": {"class": "RBM", "in_shape": [1, 4000, 4000], "hidden": 10**6},
    "dbn": {"class": "DBN", "in_shape": [1, 28, 28], "hidden": [10**6, 10**6], "untied": True},
    "vit_h_14": {"class": "TorchvisionNet", "architecture": "vit_h_14"},
    "regnet_y_128gf": {"class": "TorchvisionNet", "architecture": "regnet_y_128gf"},
    "summed": {"class": "TorchvisionNet", "in_shape": [1, 224, 224], "gray": "sum"},
    "enlarged": {"class": "TorchvisionNet", "in_shape": [3, 8, 8], "enlarge": 10**9},
    "classes": {"class": "LeNet5", "num_classes": 10**12},
    "inception": {"class": "InceptionSmall", "in_shape": [1, 28, 28], "width": 1e6},
    "googlenet": {"class": "GoogLeNet", "num_classes": 10**9},
    "codes": {"class": "LeNet1998", "num_classes": 10**9},
}


@pytest.mark.parametrize("net", HUGE)
def test_a_small_file_that_describes_a_huge_net_is_refused_at_once(net, tensors, tmp_path, within_memory):
    file = write(tmp_path / "m.safetensors", tensors, {**STORED, "net": HUGE[net]})
    assert refused(file, checkpoints.load, net)


def test_weights_that_fit_do_not_make_huge_maps_of_small_images(tensors, tmp_path, within_memory):
    """A padding has no weights, and the maps may shrink again before the layer that has."""
    padded = {"padding": 40_000, "pool_size": 80_024}  # 28 + 80,000 - 4 = 80,024 pixels a side
    one = create("lenet", in_shape=(1, 28, 28), num_classes=10, kernels=[2], hidden=[3], padding=5, pool_size=34)
    net = {**STORED["net"], **padded}
    file = write(tmp_path / "m.safetensors", one.state_dict(), {**STORED, "net": net})
    with pytest.raises(ValueError, match=r"a layer computes 12,807,681,152 values for one input, more than"):
        checkpoints.load(file)


def test_loading_draws_no_random_numbers_for_the_outline(tensors, tmp_path):
    file = write(tmp_path / "m.safetensors", tensors, STORED)
    torch.manual_seed(3)
    checkpoints.load(file)
    after = torch.rand(3)
    torch.manual_seed(3)
    create("lenet", in_shape=(1, 28, 28), num_classes=10, kernels=[2], hidden=[3])
    assert torch.equal(after, torch.rand(3)), "as building the net alone does"


@pytest.mark.parametrize("count", [0, 1, 9, 11, 20])
def test_the_number_of_classes_is_that_of_the_outputs(count, tensors, tmp_path):
    file = write(tmp_path / "m.safetensors", tensors, {**STORED, "classes": [str(k) for k in range(count)]})
    if count == 0:
        assert checkpoints.load(file) is not None
        return
    with pytest.raises(ValueError, match=rf"description .* is damaged \(classes: {count} names for 10 outputs\)"):
        checkpoints.load(file)


def test_one_output_of_binary_cross_entropy_is_two_classes(tmp_path):
    net = {"class": "MLP", "in_shape": [4], "num_classes": 1, "hidden": []}
    tensors = create("mlp", in_shape=[4], num_classes=1, hidden=[]).state_dict()
    task = {"class": "Classification", "loss": "binary_cross_entropy"}
    about = {**STORED, "net": net, "task": task, "classes": ["no", "yes"], "preprocess": {"shape": [4]}}
    assert checkpoints.load(write(tmp_path / "m.safetensors", tensors, about)) is not None
    with pytest.raises(ValueError, match="2 names for 1 outputs"):
        checkpoints.load(write(tmp_path / "m.safetensors", tensors, {**about, "task": {}}))


# NaN and Inf in weights


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", ["layers.0.0.weight", "head.bias"])
def test_weights_that_are_nan_or_inf_are_refused_by_the_name_of_the_tensor(value, name, tensors, tmp_path):
    bad = {key: tensor.clone() for key, tensor in tensors.items()}
    bad[name].view(-1)[-1] = value
    file = write(tmp_path / "m.safetensors", bad, STORED)
    with pytest.raises(ValueError, match=rf"^{file}: the weights '{name}' contain NaN or Inf$"):
        checkpoints.load(file)
    with pytest.raises(ValueError, match=rf"new\.safetensors: the weights '{name}' contain NaN or Inf"):
        checkpoints.write(bad, tmp_path / "new.safetensors", INFO)
    assert not (tmp_path / "new.safetensors").exists()


def test_weights_that_half_precision_cannot_hold_are_not_saved(tmp_path):
    net = create("lenet", in_shape=(1, 28, 28), num_classes=10, kernels=[2], hidden=[3])
    torch.nn.init.constant_(net.head.weight, 1e6)
    with pytest.raises(ValueError, match=r"head\.weight' contain NaN or Inf"):
        checkpoints.save(net, tmp_path / "m.safetensors", INFO, half_precision=True)
    checkpoints.save(net, tmp_path / "m.safetensors", INFO)
    assert checkpoints.info(tmp_path / "m.safetensors") == INFO


def test_weights_of_double_precision_must_fit_the_net(tensors, tmp_path):
    double = {key: tensor.double() for key, tensor in tensors.items()}
    assert checkpoints.load(write(tmp_path / "m.safetensors", double, STORED)) is not None
    double["head.bias"][0] = 1e300
    with pytest.raises(ValueError, match=r"'head\.bias' contain NaN or Inf"):
        checkpoints.load(write(tmp_path / "m.safetensors", double, STORED))


# The commands


COMMANDS = {
    "show": ("show", "./m.safetensors"),
    "predict": ("predict", "checkpoint=m.safetensors", "input=a.png", "overwrite=true", "sheet=false"),
    "evaluate": ("evaluate", "checkpoint=m.safetensors", "likelihood=false"),
    "export": ("export", "checkpoint=m.safetensors", "format=torch_export"),
}
SAMPLED = ["classes: null", "net: list", "task: text", "task.class: text", "preprocess.side: huge", "preprocess: null"]
SAMPLED += [
    "metrics: list",
    "versions: list",
    "dataset_config.name: path",
    "dataset_config.test: reference",
    ": unknown",
]
SAMPLED += [": unknown", "preprocess.shape: huge list", "task.loss: text", "task: unknown", "dataset_config.test: huge"]


@pytest.mark.parametrize("command", ["show", "predict", "evaluate"])
def test_the_commands_say_one_line(command, tensors, folder, cli):
    Image.new("L", (28, 28)).save("a.png")
    before = {"a.png", "m.safetensors", "predictions.csv"}
    described = dict(MUTATIONS)
    for name in SAMPLED:
        write(folder / "m.safetensors", tensors, described[name])
        outcome = cli(*COMMANDS[command])
        lines = outcome.err.splitlines()
        assert outcome.status in (0, 1), name
        assert len(lines) == outcome.status, (name, outcome.err)
        assert not outcome.status or "m.safetensors: " in lines[0] or "dataset." in lines[0], (name, lines)
        assert "internal error" not in outcome.err, (name, lines)
        assert {path.name for path in folder.iterdir()} <= before


@pytest.mark.slow
@pytest.mark.parametrize("command", ["show", "predict", "evaluate"])
def test_the_commands_say_one_line_for_many_mutations(command, tensors, folder, cli):
    Image.new("L", (28, 28)).save("a.png")
    for name, description in MUTATIONS[::3]:
        # Texts that a terminal cannot show are the business of `zoo.cli`.
        if name.rpartition(" ")[2] in ("markup", "escape", "surrogate"):
            continue
        write(folder / "m.safetensors", tensors, description)
        outcome = cli(*COMMANDS[command])
        lines = outcome.err.splitlines()
        assert len(lines) == outcome.status, (name, outcome.err)
        assert "internal error" not in outcome.err, (name, lines)
