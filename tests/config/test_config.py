"""Every config composes; every model with every dataset trains or says in one line why it cannot."""

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from omegaconf import OmegaConf
from PIL import Image

from zoo.config import build as config
from zoo.config import compose, targets
from zoo.config.catalogue import CONF, list_models

GROUPS = ("model", "dataset", "accelerator", "logger", "experiment")
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
    place = {"stage": "stage@model.stages.fit"}.get(group, f"{group}@model.stages.fit.{group}")
    for name in choices(group):
        stage = compose.compose("train", [f"{place}={name}"]).model.stages.fit
        for part in ("schedule", "task", "optimizer", "lr_schedule"):
            config.check(stage[part])


@pytest.mark.parametrize("verb", ["evaluate", "predict", "sample", "export"])
def test_every_verb_composes(verb):
    assert compose.compose(verb, ["checkpoint=x"]).checkpoint == "x"


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
}
ANY_CLASSES = {
    "inception_small",
    "lenet",
    "lenet5",
    "lenet5_1998",
    "lenet_4_10",
    "logistic",
    "mlp",
    "mlp_16_16",
    "mlp_50_100",
    "perceptron",
    "resnet18",
}
SAME_CLASS = {"resnet34", "resnet50", "resnet101", "resnet152", "torchvision"}  # as resnet18
PICTURES = set(DATASETS) - {"npz", "line"}
CODERS = {"dbn", "dbn_1000", "dbn_generative", "deep_autoencoder", "rbm", "sae"}  # inputs within 0 to 1
WORKS = {
    *((model, dataset) for model in CODERS for dataset in PICTURES),
    *((model, dataset) for model in ANY_CLASSES for dataset in PICTURES),
    *((model, "npz") for model in ("logistic", "mlp", "mlp_16_16", "mlp_50_100", "mlp_2_3_2_2", "perceptron")),
    ("linear", "line"),
}


@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.parametrize("model", [name for name in list_models() if name not in SAME_CLASS])
def test_every_pair_trains_or_says_why_not(model, dataset, world, folder, cli, monkeypatch):
    monkeypatch.setenv("ZOO_DATA", str(world))
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    monkeypatch.setattr("zoo.plots.images.curves", lambda *_: None)  # drawing is tested elsewhere, and slow
    monkeypatch.setattr("zoo.plots.stage_plots.draw", lambda *_, **__: None)
    monkeypatch.setattr("zoo.plots.images.confusion", lambda *_: None)
    extra = [word.format(world=world) for word in EXTRA[dataset]]
    words = [f"model={model}", f"dataset={dataset}", *extra, "epochs=1", "batch_size=64", "progress=false"]
    outcome = cli("train", *words, "hydra.run.dir=run")
    if (model, dataset) in WORKS:
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
