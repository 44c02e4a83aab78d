"""Every config composes; every model with every dataset trains or says in one line why it cannot."""

import inspect
import pickle
import re
import shutil
from dataclasses import fields
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from omegaconf import MISSING, OmegaConf
from PIL import Image
from support import no_plots, slow_but

from zoo.config import build as config
from zoo.config import compose, schemas, targets
from zoo.config.catalogue import CONF, list_models, model_config
from zoo.data.augment import Augment

GROUPS = ("model", "dataset", "accelerator", "trainer", "callbacks", "logger", "experiment", "debug")
STAGE_PARTS = ("task", "optimizer", "lr_schedule")
DATASETS = sorted(path.stem for path in (CONF / "dataset").glob("*.yaml"))


def choices(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


@pytest.mark.parametrize("override", [f"{group}={name}" for group in GROUPS for name in choices(group)])
def test_every_choice_composes_and_resolves(override):
    cfg = compose.compose("train", [override])
    cfg.logger = None  # its folder is known only in a run
    OmegaConf.to_container(cfg, resolve=True)


@pytest.mark.parametrize("group", ["stage", "optimizer", "lr_schedule"])
def test_every_part_of_a_stage_composes(group):
    key = {"stage": "stage@model.stages.fit"}.get(group, f"{group}@model.stages.fit.{group}")
    for name in choices(group):
        stage = compose.compose("train", [f"{key}={name}"]).model.stages.fit
        for part in STAGE_PARTS:
            config.check(stage[part])


@pytest.mark.parametrize("name", choices("stage"))
def test_every_argument_of_a_task_can_be_set_on_the_command_line(name):
    task = compose.compose("train", [f"stage@model.stages.fit={name}"]).model.stages.fit.task
    target, _ = config.check(task)
    # The other keys of the stage give its optimizer, and the net gives its classes. A temperature is fitted afterwards.
    given = {"net", "layer", "num_classes", "optimizer", "lr_schedule", "total_steps", "temperature"}
    arguments = set(inspect.signature(target).parameters) - given
    assert arguments <= set(task)


@pytest.mark.parametrize("name", choices("augment"))
def test_every_kind_of_augmentation_can_be_set_on_the_command_line(name):
    augment = compose.compose("train", [f"augment@dataset.augment={name}"]).dataset.augment
    assert set(augment) - {"_target_"} == {field.name for field in fields(Augment)}
    config.build(augment)


def test_a_dataset_without_augmentation_of_its_own_has_none():
    for name in DATASETS:
        augment = config.build(compose.compose("train", [f"dataset={name}"]).dataset.augment)
        assert augment.active == (name == "cifar10")


@pytest.mark.parametrize("name", list_models())
def test_the_catalogue_reads_a_model_as_hydra_composes_it(name):
    composed = OmegaConf.to_container(compose.compose("train", [f"model={name}"]).model)
    found = model_config(name)
    for key in ("name", "about", "net", "input_scaling"):
        assert found[key] == composed[key]


def test_a_stage_repeats_no_default_of_its_schema():
    defaults = {field.name: field.default for field in fields(schemas.Stage) if field.default is not MISSING}
    for path in (CONF / "stage").glob("*.yaml"):
        content = yaml.safe_load(path.read_text())
        derived = any(isinstance(entry, str) and entry != "_self_" for entry in content["defaults"])
        if not derived:  # else it may set a default again that its base changed
            assert not [key for key, value in content.items() if key in defaults and value == defaults[key]], path


def test_every_key_of_the_train_command_has_a_comment():
    """They are its help page."""
    lines = (CONF / "train.yaml").read_text().splitlines()
    keys = [line for line in lines if re.match(r"[a-z_]+:", line) and not line.startswith(("defaults:", "hydra:"))]
    assert len(keys) == 14
    assert all(re.search(r"\S   *# \S", line) for line in keys)


@pytest.mark.parametrize("command", ["evaluate", "predict", "sample", "export", "benchmark"])
def test_every_command_composes(command):
    assert compose.compose(command, ["checkpoint=x"]).checkpoint == "x"


def test_every_target_in_conf_is_allowed_and_every_allowed_one_exists():
    named = set()
    for path in CONF.rglob("*.yaml"):
        if "hydra" not in path.relative_to(CONF).parts:
            named |= set(_targets(yaml.safe_load(path.read_text()) or {}))
    assert named <= targets.allowed()
    for target in targets.allowed() - {name for name in targets.allowed() if "logger" in name.lower()}:
        config.check({"_target_": target})


def _targets(node):
    if isinstance(node, dict):
        if "_target_" in node:
            yield node["_target_"]
        for value in node.values():
            yield from _targets(value)


@pytest.mark.parametrize("target", ["os.system", "builtins.open", "torch.load", "torch.hub.load", "numpy.load"])
@pytest.mark.parametrize("alias", ["{}", "zoo.models.mlp.{}", "zoo.config.build.os.system", "zoo.models.mlp.MLP"])
def test_no_other_target_is_built(target, alias):
    with pytest.raises(ValueError, match="not one of the targets"):
        config.build({"_target_": alias.format(target)}, "touch marker")


def test_root_settings_go_before_those_of_a_stage_only_when_set():
    stage = compose.compose("train", ["model.stages.fit.epochs=3"]).model.stages.fit
    assert (stage.epochs, stage.batch_size) == (3, 128)


def test_an_experiment_sets_what_it_says():
    cfg = compose.compose("train", ["experiment=mnist_2_epochs"])
    assert (cfg.dataset.name, cfg.epochs) == ("mnist", 2)
    assert compose.compose("train", ["experiment=mnist_2_epochs", "epochs=3"]).epochs == 3


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """A little of every dataset, in the format in which a user has it."""
    root = tmp_path_factory.mktemp("world")
    rng = np.random.default_rng(0)
    labels = np.arange(40, dtype=np.uint8) % 10
    for name in ("MNIST", "FashionMNIST", "KMNIST"):
        raw = root / name / "raw"
        raw.mkdir(parents=True)
        for part in ("train", "t10k"):
            images = rng.integers(0, 256, (40, 28, 28), dtype=np.uint8)
            (raw / f"{part}-images-idx3-ubyte").write_bytes(
                np.array([0x803, 40, 28, 28], ">i4").tobytes() + images.tobytes()
            )
            (raw / f"{part}-labels-idx1-ubyte").write_bytes(np.array([0x801, 40], ">i4").tobytes() + labels.tobytes())
    cifar = root / "cifar-10-batches-py"
    cifar.mkdir()
    for name in (*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"):
        pixels = rng.integers(0, 256, (20, 3072), dtype=np.uint8)
        (cifar / name).write_bytes(pickle.dumps({"data": pixels, "labels": labels[:20].tolist()}))
    (cifar / "batches.meta").write_bytes(pickle.dumps({"label_names": list("abcdefghij")}))
    (root / "digit-recognizer").mkdir()
    header = "label," + ",".join(f"pixel{k}" for k in range(784))
    rows = [",".join(map(str, [label, *rng.integers(0, 256, 784)])) for label in labels]
    (root / "digit-recognizer" / "train.csv").write_text("\n".join([header, *rows]) + "\n")
    for name in ("cat", "dog"):
        (root / "pictures" / name).mkdir(parents=True)
        for i in range(8):
            Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(
                root / "pictures" / name / f"{i}.png"
            )
    x = rng.normal(size=(40, 2))
    np.savez(root / "data.npz", x=x, y=(x.sum(1) > 0).astype(int))
    rows = [f"{first},{second},{'b' if first + second > 0 else 'a'}" for first, second in x]
    (root / "data.csv").write_text("\n".join(["first,second,y", *rows]) + "\n")
    files = [f"pictures/{name}/{i}.png,{name}" for name in ("cat", "dog") for i in range(8)]
    (root / "list.csv").write_text("\n".join(["file,class", *files]) + "\n")
    return root


EXTRA = {
    "mnist": ["dataset.validation=10"],
    "fashion_mnist": ["dataset.validation=10"],
    "kmnist": ["dataset.validation=10"],
    "cifar10": ["dataset.validation=20"],
    "digit_recognizer": ["dataset.validation=10", "dataset.test=10"],
    "digits": ["dataset.test=1700", "dataset.validation=20"],
    "faces": ["dataset.root={world}/faces", "dataset.workers=0", "dataset.validation=20", "dataset.test=50"],
    "image_folder": ["dataset.root={world}/pictures", "dataset.workers=0", "dataset.validation=2", "dataset.test=4"],
    "npz": ["dataset.root={world}/data.npz"],
    "line": [],
    "diabetes": [],
    "table": ["dataset.root={world}/data.csv", "dataset.target=y"],
    "image_list": ["dataset.root={world}/list.csv", "dataset.workers=0", "dataset.validation=2", "dataset.test=4"],
}
# Shape and number of outputs of datasets for which they are known only when the data are read.
FOUND = {
    "npz": ((2,), 2),
    "line": ((1,), 1),
    "diabetes": ((10,), 1),
    "table": ((2,), 2),
    "image_folder": ((3, 32, 32), 2),
    "image_list": ((3, 32, 32), 2),
}
REAL = {"npz", "line", "diabetes", "table"}  # no images: their values leave [0, 1]
# Wrappers of torchvision differ by their architecture alone, so one of them stands for all.
WRAPPERS = [name for name in list_models() if model_config(name)["net"]["_target_"] == "zoo.models.TorchvisionNet"]
TRIED = [name for name in list_models() if name not in WRAPPERS or name == "resnet18"]


def works(model: str, dataset: str) -> bool:
    """Whether a model can be trained on a dataset, by what the model says of itself."""
    cfg = compose.compose("train", [f"model={model}", f"dataset={dataset}"])
    if dataset in FOUND:
        shape, cfg.dataset.num_classes = FOUND[dataset]
        cfg.dataset.shape = list(shape)

    # Its stages need class labels, real target values, or neither. Those without targets need values in [0, 1].
    needs = {config.check(stage.task)[0].targets for stage in cfg.model.stages.values()}
    kind = "values" if dataset in ("line", "diabetes") else "classes"
    if needs - {"none", kind} or ("none" in needs and dataset in REAL):
        return False

    # Its net takes inputs of this shape.
    try:
        with torch.device("meta"):
            net = config.build(cfg.model.net)
    except ValueError:
        return False
    return net.in_shape == tuple(cfg.dataset.shape)


def quick(model: str, dataset: str) -> bool:
    """All but the large models with the default dataset, and every dataset with a small model of its kind."""
    large = ("dbn_1000", "dbn_generative", "inception_small", "resnet18", "sae", "timm")
    return (dataset == "digits" and model not in large) or model in ("logistic", "linear")


@pytest.mark.parametrize(("model", "dataset"), slow_but(product(TRIED, DATASETS), quick))
def test_every_pair_trains_or_says_why_not(model, dataset, world, folder, cli, monkeypatch):
    monkeypatch.setenv("ZOO_DATA", str(world))
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    no_plots(monkeypatch)
    extra = [word.format(world=world) for word in EXTRA[dataset]]
    words = [f"model={model}", f"dataset={dataset}", *extra, "epochs=1", "batch_size=64", "progress=false"]
    outcome = cli("train", *words, "hydra.run.dir=run")
    if works(model, dataset):
        assert outcome.status == 0, outcome.err
        assert (folder / "run" / "model.safetensors").is_file()
        shutil.rmtree(folder / "run")  # pytest keeps its folders, and a ResNet's run takes 180 MB
    else:
        assert outcome.status == 1
        assert outcome.err.startswith(f"zoo train: model {model} with dataset {dataset}: ")
        assert len(outcome.err.splitlines()) == 1
        assert not any(folder.iterdir())


def test_googlenet_trains_on_pictures_of_its_size(world, folder, cli):
    words = [f"dataset.root={world}/pictures", "dataset.workers=0", "dataset.validation=0", "dataset.test=12"]
    words += ["model=googlenet", "dataset=image_folder", "dataset.shape=[3,80,80]", "epochs=1", "progress=false"]
    outcome = cli("train", *words, "hydra.run.dir=run")
    assert outcome.status == 0, outcome.err


@pytest.mark.parametrize("node", [5, "x", [1]])
def test_a_node_that_is_no_mapping_is_refused(node):
    with pytest.raises(ValueError, match=r"^logger=.* must be a mapping"):
        config.check(node, where="logger")


def test_a_list_within_a_list_of_numbers_is_refused():
    node = {"_target_": "zoo.models.MLP", "hidden": [[1]]}
    with pytest.raises(ValueError, match=r"^model\.net\.hidden=\[\[1\]\] must be a list without lists"):
        config.check(node, where="model.net")
