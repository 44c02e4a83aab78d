"""Everything that a GPU computes otherwise than a CPU: `make gpu` runs these tests and those marked gpu elsewhere.

DEVICE=cpu rehearses them without a GPU, with small models.
"""

import math
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from support import metrics_of, same_weights, weights_of
from test_resume import PowerCut, assert_same, stopping_at
from torch import Tensor

import zoo
from zoo.cli.main import main
from zoo.config.catalogue import list_models, model_config
from zoo.config.hardware import PRECISIONS
from zoo.models import RBM
from zoo.tasks import ContrastiveDivergence

DEVICE = os.environ.get("DEVICE", "cuda")
ACCELERATOR = {"cuda": "gpu", "cpu": "cpu"}[DEVICE]
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.slow,
    pytest.mark.skipif(DEVICE == "cuda" and not torch.cuda.is_available(), reason="needs a GPU"),
    # Lightning's and PyTorch's advice about a GPU and about the compiler is no error.
    pytest.mark.filterwarnings("default"),
]
STEPS = [f"trainer.limit_{split}_batches=3" for split in ("train", "val", "test")]
RUN = [f"accelerator={ACCELERATOR}", "epochs=1", "progress=false", "seed=1"]
SMALL = 700_000  # parameters of the largest model in a rehearsal

# The models: ResNets differ in depth alone, so only one of them is compiled.
MODELS = {
    name: model_config(name)["about"]["parameters"] for name in list_models() if name != "timm" or find_spec(name)
}
if DEVICE == "cpu":
    MODELS = {name: size for name, size in MODELS.items() if size <= SMALL}
DEEP = {"resnet34", "resnet50", "resnet101", "resnet152"}
UNSUPERVISED = {"rbm"}  # no stage calls the net's forward, so there is nothing to compile
PRECISIONS_HERE = PRECISIONS if DEVICE == "cuda" else PRECISIONS[:2]  # 16-mixed needs a GPU
EAGER = [(name, precision) for name in MODELS for precision in PRECISIONS_HERE]
COMPILED = [(name, precision) for name, precision in EAGER if name not in DEEP | UNSUPERVISED]


def arguments(name: str, folder: Path) -> list[str]:
    """The arguments of `zoo train` that choose a model and data that it accepts."""
    net = model_config(name)["net"]
    if name == "linear":
        return [f"model={name}", "dataset=line"]
    if name == "googlenet":
        return [f"model={name}", "dataset=faces", "dataset.shape=[3,64,64]", f"dataset.root={folder}/faces"]
    if not isinstance(net["in_shape"], str):
        x = np.random.default_rng(0).random((200, *net["in_shape"]), dtype=np.float32)
        np.savez(folder / "data.npz", x=x, y=np.arange(200) % net["num_classes"])
        return [f"model={name}", "dataset=npz", f"dataset.root={folder}/data.npz"]
    return [f"model={name}", "dataset=digits"]


def train(folder: Path, *words: str) -> Path:
    main("train", [*RUN, *words, f"hydra.run.dir={folder}"])
    return folder


@pytest.fixture(scope="module")
def full_precision(tmp_path_factory):
    """Runs in float32 that are not compiled, each made when it is first asked for."""
    made: dict[str, Path] = {}

    def get(name: str) -> Path:
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            made[name] = train(folder / "run", *arguments(name, folder), *STEPS)
        return made[name]

    return get


def assert_trained(run: Path, reference: Path) -> None:
    """Finite float32 weights and metrics, close to those of the reference after as many steps from the same weights."""
    weights = weights_of(run)
    assert weights.keys() == weights_of(reference).keys()
    assert all(torch.isfinite(value).all() for value in weights.values())
    assert all(value.dtype == torch.float32 for value in weights.values() if value.is_floating_point())
    metrics, expected = metrics_of(run), metrics_of(reference)
    assert all(math.isfinite(value) for value in metrics.values()), metrics
    for key in [key for key in expected if key.endswith(("loss", "reconstruction_error"))]:
        assert metrics[key] == pytest.approx(expected[key], rel=0.1, abs=1e-3), key


@pytest.mark.parametrize(("name", "precision"), EAGER)
def test_every_model_trains_in_every_precision(name, precision, full_precision, tmp_path):
    reference = full_precision(name)
    if precision != PRECISIONS[0]:
        words = [*arguments(name, tmp_path), *STEPS, f"accelerator.precision={precision}"]
        assert_trained(train(tmp_path / "run", *words), reference)
    else:
        assert_trained(reference, reference)


@pytest.mark.parametrize(("name", "precision"), COMPILED)
def test_every_model_trains_compiled_in_every_precision(name, precision, full_precision, tmp_path):
    words = [*arguments(name, tmp_path), *STEPS, f"accelerator.precision={precision}", "trainer.compile=true"]
    assert_trained(train(tmp_path / "run", *words), full_precision(name))


def every(stage: str) -> str:
    return f"model.stages.{stage}.checkpoint_every_steps=3"


RESUMED = {
    "lenet5": [every("fit"), "dataset.augment.shift=1"],
    "mlp": [every("fit"), "model.net.dropout=0.5"],
    "rbm": [every("fit"), "stage@model.stages.fit=persistent"],
    "dbn_generative": ["model.net.hidden=[12,8]", every("pretrain"), every("updown")],
    "sae": ["model.net.hidden=[12,8]", every("pretrain"), every("finetune")],
}


@pytest.mark.parametrize("precision", PRECISIONS_HERE)
@pytest.mark.parametrize("name", RESUMED)
def test_a_stopped_run_resumes_to_the_bit(name, precision, tmp_path, monkeypatch):
    """On one device, with deterministic algorithms."""
    words = [f"model={name}", "dataset=digits", "trainer=deterministic", f"accelerator.precision={precision}"]
    words += [*RESUMED[name], "batch_size=150"]  # 9 steps
    whole = train(tmp_path / "whole", *words)
    with monkeypatch.context() as patch:
        stopping_at(patch, "on_train_batch_start", 6)
        with pytest.raises((SystemExit, PowerCut)):
            train(tmp_path / "run", *words)
    main("train", [f"resume={tmp_path}/run"])
    assert_same(tmp_path / "run", whole)


@pytest.mark.parametrize("name", zoo.list_checkpoints())
def test_a_checkpoint_trained_on_a_cpu_has_the_same_outputs(name):
    net = zoo.load(name)
    x = zoo.info(name).transforms()(zoo.dataset("digits").test.x)  # N x in_shape
    with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        expected = net(x)
        outputs = net.to(DEVICE)(x.to(DEVICE)).cpu()
    torch.testing.assert_close(outputs, expected, rtol=1e-3, atol=1e-3)
    if expected.shape == (len(x), 10):
        agreement = (outputs.argmax(1) == expected.argmax(1)).float().mean()
        assert agreement >= 0.99


def test_the_metrics_of_a_checkpoint_are_those_of_a_cpu(cli, tmp_path):
    accuracies = []
    for accelerator in ("cpu", ACCELERATOR):
        words = ["checkpoint=lenet5-digits", "dataset=digits", f"accelerator={accelerator}"]
        outcome = cli("evaluate", *words)
        assert outcome.status == 0, outcome.err
        accuracies += [line.split() for line in outcome.out.splitlines() if "test/accuracy" in line]
    assert accuracies[0] == accuracies[1]


def gradients(rbm: RBM, v0: Tensor, vk: Tensor, *, mixed: bool) -> list[Tensor]:
    """The gradients of a CD update whose chains end at given states."""
    rbm.zero_grad()
    with torch.autocast(DEVICE, torch.bfloat16, enabled=mixed):
        rbm.free_energy_difference(v0, vk, hidden_input=rbm.hidden_input(v0)).backward()
    return [parameter.grad.clone() for parameter in rbm.parameters()]


def test_the_gradient_of_contrastive_divergence_in_bfloat16_is_about_that_in_float32():
    torch.manual_seed(0)
    rbm = RBM(hidden=64, init="xavier").to(DEVICE)
    v0 = torch.rand(100, 784, device=DEVICE).round()
    vk = torch.bernoulli(torch.full_like(v0, 0.3))
    pairs = zip(gradients(rbm, v0, vk, mixed=True), gradients(rbm, v0, vk, mixed=False), strict=True)
    for mixed, full in pairs:
        assert mixed.dtype == full.dtype == torch.float32
        assert torch.cosine_similarity(mixed.flatten(), full.flatten(), dim=0) > 0.99
        assert mixed.norm() == pytest.approx(full.norm().item(), rel=0.05)


@pytest.mark.parametrize("options", [[], ["stage@model.stages.fit=persistent"]], ids=["CD", "persistent CD"])
def test_contrastive_divergence_in_bfloat16_learns_what_it_learns_in_float32(options, tmp_path):
    errors = {}
    for precision in PRECISIONS[:2]:
        words = ["model=rbm", "dataset=digits", *options, "epochs=5", f"accelerator.precision={precision}"]
        errors[precision] = metrics_of(train(tmp_path / precision, *words))["test/reconstruction_error"]
    full, mixed = errors.values()
    assert mixed == pytest.approx(full, rel=0.05)


def test_chains_are_on_the_device():
    task = ContrastiveDivergence(RBM(in_shape=(4,), hidden=3), persistent=True, chains=5).to(DEVICE)
    assert task._persistent_end().device.type == DEVICE


@pytest.mark.parametrize("name", ["lenet5", "rbm"])
def test_one_process_of_ddp_trains_what_a_single_device_trains(name, tmp_path):
    """In processes of their own, since the group of processes belongs to a process."""
    runs = {ACCELERATOR: [], {"gpu": "ddp", "cpu": "ddp_cpu"}[ACCELERATOR]: ["accelerator.devices=1"]}
    for accelerator, words in runs.items():
        command = [sys.executable, "-m", "zoo.cli", "train", *RUN, f"model={name}", "dataset=digits"]
        command += [
            "trainer=deterministic",
            f"accelerator={accelerator}",
            *words,
            f"hydra.run.dir={tmp_path}/{accelerator}",
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
    assert same_weights(*(tmp_path / accelerator for accelerator in runs))
