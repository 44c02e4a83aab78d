"""Freezing: the layer groups of a net, and runs in which everything that is frozen stays the same to the last bit."""

import csv
import json
from functools import partial
from math import cos, pi
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule
from omegaconf import OmegaConf
from safetensors.torch import load_file
from support import fit
from torch import nn

from zoo.checkpoints import checkpoint as checkpoints
from zoo.config.catalogue import CONF
from zoo.data.datamodule import DataModule
from zoo.data.preprocess import Preprocess
from zoo.data.sources import digits
from zoo.data.splits import InMemory, Splits
from zoo.models import DBN, MLP, GoogLeNet, InceptionSmall, LeNet5, TorchvisionNet
from zoo.tasks import Classification, Regression
from zoo.tasks.freezing import layer_groups, trainable_layers
from zoo.training.fit.callbacks import EMA, SaveForResume
from zoo.training.fit.csv_logger import CSVLogger
from zoo.training.fit.trainer import measure

CPU = {"accelerator": "cpu", "devices": 1}
DATA = ("dataset=digits", "dataset.validation=20", "dataset.test=20", "dataset.labeled_examples=60", "progress=false")
# Four batch-normalized blocks: the smallest net of the zoo with all that freezing must hold fast.
NET = (*DATA, "model=inception_small", "model.net.stem=8", "model.net.width=0.25", "model.net.dropout=0")
STAGE = "model.stages.fit"
HEAD = {"head.weight", "head.bias"}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """No plots."""
    monkeypatch.setattr("zoo.plots.curves.curves", lambda *args, **options: None)
    monkeypatch.setattr("zoo.plots.curves.confusion", lambda *args, **options: None)


@pytest.fixture
def train(cli, tmp_path):
    """``train("name", *words)`` gives the run folder."""

    def run(name: str, *words: str) -> Path:
        outcome = cli("train", *words, f"hydra.run.dir={tmp_path / name}")
        assert (outcome.status, outcome.err) == (0, "")
        return tmp_path / name

    return run


@pytest.fixture
def watched(monkeypatch):
    """What every epoch began with: weights, who wants gradients, and the optimizer's groups; of the latest fit."""
    seen: dict[int, SimpleNamespace] = {}

    def look(self, trainer, task, batch, batch_idx):
        if batch_idx:
            return
        if trainer.current_epoch == 0:
            seen.clear()
        seen[trainer.current_epoch] = SimpleNamespace(
            state=state(task.net),
            wanted={name for name, p in task.net.named_parameters() if p.requires_grad},
            training={name for name, m in task.net.named_modules() if m.training},
            groups={g["name"]: g["lr"] for g in trainer.optimizers[0].param_groups if "name" in g},
            sizes=[len(g["params"]) for g in trainer.optimizers[0].param_groups],
            width=batch[0].shape[1:],
        )

    monkeypatch.setattr(SaveForResume, "on_train_batch_start", look)
    return seen


def state(net: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in net.state_dict().items()}


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model.safetensors")


def rows(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def metrics(run: Path) -> dict[str, float]:
    return json.loads((run / "metrics.json").read_text())


def moved(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    assert before.keys() == after.keys()
    return {name for name in before if not torch.equal(before[name], after[name])}


def words_of(prefix: str, *words: str) -> list[str]:
    return [f"{STAGE}.{prefix}{word}" for word in words]


# The parts of a net


def names(net: nn.Module, **options) -> list[str]:
    return [part.name for part in layer_groups(net, **options)]


def architecture(name: str) -> TorchvisionNet:
    with torch.device("meta"):
        return TorchvisionNet(architecture=name, in_shape=(3, 224, 224), num_classes=7)


NETS = {
    "lenet5": lambda: LeNet5(),
    "mlp": lambda: MLP(in_shape=(6,), hidden=(5, 4)),
    "logistic": lambda: MLP(in_shape=(6,), hidden=()),
    "googlenet": lambda: GoogLeNet(in_shape=(3, 79, 79), num_classes=4),
    "inception_small": lambda: InceptionSmall(),
    "resnet18": lambda: architecture("resnet18"),
    "mobilenet_v3_small": lambda: architecture("mobilenet_v3_small"),
    "densenet121": lambda: architecture("densenet121"),
    "vit_b_16": lambda: architecture("vit_b_16"),
    "swin_t": lambda: architecture("swin_t"),
    "convnext_tiny": lambda: architecture("convnext_tiny"),
}
ORDER = {
    "lenet5": ["head", "f6", "c5", "c3", "c1"],
    "mlp": ["head", "layer1", "layer0"],
    "logistic": ["head"],
    "inception_small": ["head", "d", "c", "b", "a", "stem"],
    "resnet18": ["head", "layer4", "layer3", "layer2", "layer1", "stem"],
    "mobilenet_v3_small": ["head", "classifier", *(f"features.{k}" for k in range(12, -1, -1))],
    "vit_b_16": ["head", *(f"encoder.layers.encoder_layer_{k}" for k in range(11, -1, -1)), "conv_proj"],
    "swin_t": ["head", *(f"features.{k}" for k in range(7, -1, -1))],
}


@pytest.mark.parametrize("name", NETS)
def test_every_parameter_is_in_exactly_one_part(name):
    with torch.device("meta"):
        net = NETS[name]()
    found = [p for part in layer_groups(net) for p in part.parameters]
    assert len(found) == len(set(found)), "none twice"
    assert set(found) == set(net.parameters())
    for part in layer_groups(net)[1:]:
        inside = {p for module in part.modules for p in module.parameters()}
        assert inside <= set(part.parameters), "what is held in evaluation mode is what does not move"


@pytest.mark.parametrize("name", ORDER)
def test_parts_go_from_the_head_down_to_the_input(name):
    with torch.device("meta"):
        net = NETS[name]()
    assert names(net) == ORDER[name]
    assert [stage for stage, *_ in trainable_layers(net)] == ORDER[name][:0:-1]


@pytest.mark.parametrize(
    ("name", "layer", "normalization"),
    [
        ("densenet121", "features.denseblock4", "features.norm5"),
        ("densenet121", "features.conv0", "features.norm0"),
        ("vit_b_16", "encoder.layers.encoder_layer_11", "encoder.ln"),
        ("swin_t", "features.7", "norm"),
        ("resnet18", "stem", None),
    ],
)
def test_a_normalization_goes_with_the_layer_in_front_of_it(name, layer, normalization):
    net = NETS[name]()
    part = next(part for part in layer_groups(net) if part.name == layer)
    body = net.layers if normalization is None else net.layers.body
    scale = (body.stem.bn1 if normalization is None else body.get_submodule(normalization)).weight
    assert any(scale is p for p in part.parameters)


def test_a_class_token_and_position_embeddings_train_with_the_first_layer():
    net = NETS["vit_b_16"]()
    *_, last = layer_groups(net)
    body = net.layers.body
    loose = [body.class_token, body.encoder.pos_embedding, body.conv_proj.weight, body.conv_proj.bias]
    assert set(last.parameters) == set(loose)


def test_auxiliary_heads_never_train_where_no_layer_does():
    with torch.device("meta"):
        net = NETS["googlenet"]()
    head, auxiliaries, *below = layer_groups(net)
    assert set(head.parameters) == set(net.head.parameters())
    assert set(auxiliaries.parameters) == set(net.auxiliaries.parameters())
    assert [part.begin for part in layer_groups(net, policy="gradual")[:3]] == [0, 0, 1]
    assert [part.begin for part in layer_groups(net, policy="head")[:3]] == [0, None, None]
    assert not any(part.name.startswith(("average", "pool")) for part in below)


@pytest.mark.parametrize("as_given", [list, iter], ids=["list", "iterator"])
def test_parameters_of_another_task_are_in_no_part(as_given):
    net = DBN(in_shape=[6], num_classes=3, hidden=[5, 4])
    left_out = list(net.generative_parameters())
    found = {p for part in layer_groups(net, leave_out=as_given(left_out)) for p in part.parameters}
    assert found == set(net.parameters()) - set(left_out)


def test_recognition_weights_of_their_own_are_no_part_of_the_head():
    net = DBN(in_shape=[6], num_classes=3, hidden=[5, 4])
    net.untie()
    head, *below = layer_groups(net, leave_out=list(net.generative_parameters()))
    assert set(head.parameters) == set(net.head.parameters())
    assert set(net.recognition.parameters()) <= {p for part in below for p in part.parameters}


@pytest.mark.parametrize(
    ("policy", "unfreeze_at", "begins"),
    [
        ("full", [3], [0, 0, 0, 0, 0]),
        ("head", [3], [0, None, None, None, None]),
        ("gradual", [2], [0, 2, 2, 2, 2]),
        ("gradual", [1, 3], [0, 1, 3, 3, 3]),
        ("gradual", [0, 1, 1, 2, 9], [0, 0, 1, 1, 2]),
    ],
)
def test_each_part_begins_at_its_epoch(policy, unfreeze_at, begins):
    found = layer_groups(LeNet5(), policy=policy, unfreeze_at=unfreeze_at)
    assert [part.begin for part in found] == begins
    for part, begin in zip(found, begins, strict=True):
        assert [part.trains(epoch) for epoch in range(10)] == [begin is not None and e >= begin for e in range(10)]


def test_rates_fall_by_the_decay_from_the_head_down():
    found = layer_groups(LeNet5(), head_lr_factor=10.0, layer_decay=0.5)
    assert [part.lr_factor for part in found] == [10, 0.5, 0.25, 0.125, 0.0625]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"policy": "haed"}, "policy=haed: choose one of full, head, gradual"),
        ({"policy": "gradual", "unfreeze_at": []}, r"unfreeze_at=\[\] must be a list"),
        ({"policy": "gradual", "unfreeze_at": [3, 1]}, r"unfreeze_at=\[3, 1\] must be .* non-decreasing"),
        ({"policy": "gradual", "unfreeze_at": [-1]}, r"unfreeze_at=\[-1\] must be .* non-negative"),
        ({"layer_decay": 0.0}, "layer_decay=0.0"),
        ({"layer_decay": 1.1}, "layer_decay=1.1"),
        ({"head_lr_factor": 0.0}, "head_lr_factor=0.0"),
        ({"head_lr_factor": -1.0}, "head_lr_factor=-1.0"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        layer_groups(LeNet5(), **options)


@pytest.mark.parametrize("policy", ["head", "gradual"])
def test_a_net_without_a_head_has_none_to_begin_with(policy):
    net = DBN(in_shape=[6], num_classes=3, hidden=[5], label_units=True)
    with pytest.raises(ValueError, match=f"policy={policy}: this DBN has no head; use policy=full"):
        layer_groups(net, policy=policy)
    assert names(net) == ["layer0"]


@pytest.mark.parametrize(
    "words",
    [
        "model=lenet5 task.policy=haed",
        "model=lenet5 task.policy=gradual task.unfreeze_at=[2,1]",
        "model=lenet5 task.class_weights=true task.loss=quadratic",
        "model=lenet5_1998 task.policy=head",
        "model=lenet5_1998 task.policy=gradual",
        "model=dbn_generative task.policy=head",
    ],
)
def test_a_run_that_cannot_work_is_refused_in_one_line_before_anything_is_written(words, cli, folder):
    model, *options = words.split()
    stage = "model.stages.updown" if "generative" in model else STAGE
    other = ["stage@model.stages.updown=classify"] if "generative" in model else []
    outcome = cli("train", *DATA, model, *other, *(f"{stage}.{o}" for o in options), "epochs=1", "hydra.run.dir=run")
    assert outcome.status == 1
    assert len(outcome.err.splitlines()) == 1
    assert "unexpected" not in outcome.err
    assert not (folder / "run").exists()


# The head alone

STEADY = words_of("", "optimizer.weight_decay=0.1", "gradient_clip=0.1")


@pytest.mark.parametrize(
    "words",
    [
        ["encode_once=true"],
        ["encode_once=false"],
        ["encode_once=false", "ema=0.9", "head_lr_factor"],
        ["augment"],
    ],
    ids=" ".join,
)
def test_where_the_head_alone_trains_nothing_else_moves_by_a_bit(words, train, watched):
    """No weight, no running mean or variance, and no count of batches."""
    special = {"augment": "dataset.augment.shift=1", "head_lr_factor": f"{STAGE}.task.head_lr_factor=3"}
    given = [special.get(word, f"{STAGE}.{word}") for word in words]
    run = train("run", *NET, *STEADY, *given, f"{STAGE}.task.policy=head", "epochs=2", "batch_size=20")
    assert moved(watched[0].state, watched[1].state) == HEAD
    assert moved(watched[0].state, weights(run)) == HEAD
    assert watched[0].wanted == HEAD
    assert len(watched[0].width) == (1 if "encode_once=true" in words else 3), "features, or images"


def test_a_head_on_codes_computed_once_is_the_head_on_codes_of_every_batch(train):
    words = (*NET, *words_of("task.", "policy=head"), "epochs=3", "batch_size=20")
    once, always, other = (
        train(name, *words, *more)
        for name, *more in (("once",), ("always", f"{STAGE}.encode_once=false"), ("other", "seed=2"))
    )
    for name in HEAD:
        torch.testing.assert_close(weights(once)[name], weights(always)[name], rtol=1e-4, atol=1e-6)
        assert not torch.allclose(weights(once)[name], weights(other)[name], rtol=1e-2)
    net, about = checkpoints.load(once), checkpoints.info(once)
    test = digits.load(validation=20, test=20).test
    with torch.inference_mode():
        outputs = net(about.transforms()(test.x))
    assert metrics(once)["test/loss"] == pytest.approx(F.cross_entropy(outputs, test.y).item(), rel=1e-5)
    assert metrics(once)["test/accuracy"] == pytest.approx((outputs.argmax(1) == test.y).float().mean().item())


@pytest.mark.parametrize(
    "words",
    [
        "model=inception_small model.net.stem=8 model.net.width=0.25 model.net.dropout=0.5",
        "model=mlp model.net.hidden=[8] model.net.input_dropout=0.5",
    ],
)
def test_dropout_of_frozen_layers_is_off(words, train):
    """Or codes computed once would lead elsewhere."""
    words = (*DATA, *words.split(), f"{STAGE}.task.policy=head", "epochs=2", "batch_size=20")
    once, always = weights(train("once", *words)), weights(train("always", *words, f"{STAGE}.encode_once=false"))
    for name in HEAD:
        torch.testing.assert_close(once[name], always[name], rtol=1e-4, atol=1e-6)


def test_where_all_trains_everything_moves(train, watched):
    run = train("run", *NET, *STEADY, "epochs=2", "batch_size=20", f"{STAGE}.lr_schedule.warmup=0")
    assert moved(watched[0].state, weights(run)) == watched[0].state.keys()
    assert watched[0].groups == {}
    net = InceptionSmall(stem=8, width=0.25)
    assert watched[0].training == {name for name, _ in net.named_modules()}


@pytest.mark.parametrize(("policy", "heads"), [("head", ("head.",)), ("gradual", ("head.", "auxiliaries."))])
def test_auxiliary_heads_train_where_they_help_a_layer(policy, heads):
    torch.manual_seed(0)
    net = GoogLeNet(in_shape=(1, 79, 79), num_classes=3, dropout=0.0)
    task = Classification(net, policy=policy)
    begin(task, epoch=0)
    training_loss(task, (torch.randn(2, 1, 79, 79), torch.tensor([0, 2]))).backward()
    wanted = {name for name, p in net.named_parameters() if p.grad is not None}
    assert wanted == {name for name, _ in net.named_parameters() if name.startswith(heads)}


# Layer after layer

GRADUAL = [
    *NET,
    *STEADY,
    *words_of("task.", "policy=gradual", "unfreeze_at=[1,3]", "head_lr_factor=4", "layer_decay=0.5"),
    *words_of("", "optimizer.lr=0.01", "lr_schedule.warmup=0.5"),
    "epochs=4",
    "batch_size=20",
]
BEGIN = {"head": 0, "layers.d": 1, "layers.c": 3, "layers.b": 3, "layers.a": 3, "layers.stem": 3}
FACTOR = {"head": 4, "d": 0.5, "c": 0.25, "b": 0.125, "a": 0.0625, "stem": 0.03125}


def training_at(epoch: int, names) -> set[str]:
    prefixes = tuple(f"{part}." for part, begin in BEGIN.items() if epoch >= begin)
    return {name for name in names if name.startswith(prefixes)}


def one_cycle(step: int, total: int = 12, warmup: float = 0.5) -> float:
    """One cycle of the rate: half a cosine up from 1/25 and half a cosine down."""
    peak = warmup * total
    if step < peak:
        return 1 / 25 + 24 / 25 * (1 - cos(pi * step / peak)) / 2
    return (1 + cos(pi * (step - peak) / (total - peak))) / 2


@pytest.fixture
def four(cli, tmp_path_factory, watched, _kept={}):  # noqa: B006 - one run for all tests
    """Four epochs of three steps without a stop: the run folder, and what every epoch began with."""
    if not _kept:
        run = tmp_path_factory.mktemp("four") / "run"
        outcome = cli("train", *GRADUAL, f"hydra.run.dir={run}")
        assert (outcome.status, outcome.err) == (0, "")
        _kept.update(run=run, seen=dict(watched), out=outcome.out)
    return SimpleNamespace(**_kept)


def test_layer_after_layer_begins_to_move_at_its_epoch(four):
    states = [four.seen[epoch].state for epoch in range(4)] + [weights(four.run)]
    for epoch in range(4):
        assert moved(states[epoch], states[epoch + 1]) == training_at(epoch, states[0]), f"in epoch {epoch}"


def test_what_does_not_move_wants_no_gradient_and_is_in_evaluation_mode(four):
    net = InceptionSmall(stem=8, width=0.25)
    normalizations = {f"{name}." for name, m in net.named_modules() if isinstance(m, nn.BatchNorm2d)}
    assert len(normalizations) > 20
    for epoch in range(4):
        assert four.seen[epoch].wanted == training_at(epoch, dict(net.named_parameters()))
        training = {f"{name}." for name in four.seen[epoch].training} & normalizations
        assert training == training_at(epoch, normalizations)


def test_rates_are_factors_of_the_schedule_and_0_for_what_is_frozen(four):
    """The groups are all there from the start, and have the rates that are logged."""
    for epoch in range(4):
        rates = {name: factor * 0.01 * one_cycle(3 * epoch) for name, factor in FACTOR.items()}
        assert four.seen[epoch].groups == pytest.approx(rates, rel=1e-9)
        assert four.seen[epoch].sizes == four.seen[0].sizes
        (row,) = [row for row in rows(four.run) if row["epoch"] == str(epoch) and row["lr/head"]]
        logged = {name: float(row[f"lr/{name}"]) for name in FACTOR}
        begin = {name.removeprefix("layers."): e for name, e in BEGIN.items()}
        assert logged == pytest.approx({n: r if epoch >= begin[n] else 0.0 for n, r in rates.items()}, rel=1e-6)
    assert sum(four.seen[0].sizes) == len(list(InceptionSmall().parameters()))


def test_the_plan_is_announced(four):
    plan = "fit: head from epoch 0, d from epoch 1, c from epoch 3, b from epoch 3, a from epoch 3, stem from epoch 3"
    assert plan in four.out


def power_fails_at(epoch: int, batch: int = 1, fit: str = "fit"):
    def stop(self, trainer, pl_module, examples, batch_idx):
        if (self.name, trainer.current_epoch, batch_idx) == (fit, epoch, batch):
            raise RuntimeError("the power is gone")

    return stop


def stopped_and_resumed(cli, monkeypatch, run: Path, words, epoch: int, fit: str = "fit") -> None:
    with monkeypatch.context() as patch:
        patch.setattr(SaveForResume, "on_train_batch_start", power_fails_at(epoch, fit=fit))
        assert cli("train", *words, f"hydra.run.dir={run}").status == 1
    outcome = cli("train", f"resume={run}")
    assert (outcome.status, outcome.err) == (0, "")


def same_run(run: Path, expected: Path) -> None:
    assert not moved(weights(run), weights(expected))
    assert rows(run) == rows(expected)
    assert metrics(run) == metrics(expected)


@pytest.mark.parametrize("epoch", [1, 3])
def test_a_stopped_run_goes_on_to_the_same_end(epoch, four, cli, tmp_path, monkeypatch):
    stopped_and_resumed(cli, monkeypatch, tmp_path / "run", GRADUAL, epoch)
    same_run(tmp_path / "run", four.run)


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["policy=head"], id="head"),
        pytest.param(["policy=gradual", "unfreeze_at=[2]"], id="gradual", marks=pytest.mark.slow),
    ],
)
def test_a_stopped_average_goes_on_to_the_same_end(words, train, cli, tmp_path, monkeypatch):
    words = [*NET, *words_of("task.", *words, "class_weights=true"), f"{STAGE}.ema=0.7", "epochs=3", "batch_size=20"]
    stopped_and_resumed(cli, monkeypatch, tmp_path / "run", words, 2)
    same_run(tmp_path / "run", train("whole", *words))


@pytest.mark.parametrize("when", ["in a fit", "after it"])
def test_a_stopped_run_is_mixed_with_the_same_weights_from_before_the_fit(when, train, cli, tmp_path, monkeypatch):
    words = [*NET, f"{STAGE}.fit_head=true", f"{STAGE}.interpolation=0.5", "epochs=3", "batch_size=20"]
    run = tmp_path / "run"
    if when == "in a fit":
        stopped_and_resumed(cli, monkeypatch, run, words, 2)
    else:
        with monkeypatch.context() as patch:
            patch.setattr("zoo.training.run.measure", lambda *_, **__: 1 / 0)
            assert cli("train", *words, f"hydra.run.dir={run}").status == 1
        assert cli("train", f"resume={run}").err == ""
    same_run(run, train("whole", *words))


def test_a_deep_belief_network_is_refined_from_the_top_down(train, watched, monkeypatch):
    monkeypatch.setattr("zoo.plots.stage_plots.draw", lambda *args, **options: None)
    finetune = ("epochs=3", "task.policy=gradual", "task.unfreeze_at=[1,2]", "lr_schedule.warmup=0")
    words = ("model=dbn", "model.net.hidden=[9,8,7]", "model.stages.pretrain.epochs=1")
    run = train("run", *DATA, *words, *(f"model.stages.finetune.{word}" for word in finetune), "batch_size=30")
    states = [watched[epoch].state for epoch in range(3)] + [weights(run)]
    layers = [{f"layers.{k}.weight", f"layers.{k}.hidden_bias"} for k in range(3)]
    expected = [HEAD, HEAD | layers[2], HEAD.union(*layers)]
    for epoch in range(3):
        assert moved(states[epoch], states[epoch + 1]) == expected[epoch]


def test_early_stopping_goes_with_layers_that_begin_later(train, watched):
    """A rate of next to nothing is no progress; the best weights are those of the first epoch."""
    words = [*words_of("task.", "policy=gradual", "unfreeze_at=[2]"), f"{STAGE}.patience=1"]
    run = train("run", *NET, *words, "lr=1e-12", "epochs=9", "batch_size=20", f"{STAGE}.stop_below=1e-9")
    epochs = max(watched) + 1
    assert epochs < 9
    accuracy = [float(row["val/accuracy"]) for row in rows(run) if row["val/accuracy"]]
    assert len(accuracy) == epochs
    best = accuracy.index(max(accuracy))
    assert epochs == best + 2
    assert not moved(watched[best + 1].state, weights(run))
    assert metrics(run)["fit/steps"] == 3 * epochs
    checkpoints.load(run)


# Regression

PLANE = (
    *("dataset=line", "model=mlp", "stage@model.stages.fit=regress", "model.net.hidden=[5,4]", "progress=false"),
    *words_of("optimizer.", "momentum=0.9", "weight_decay=0.1", "lr=0.01"),
)
LAYERS = {k: {f"layers.{k}.0.weight", f"layers.{k}.0.bias"} for k in (0, 1)}


def test_a_gradual_regression_moves_nothing_frozen_by_a_bit(train, watched):
    gradual = words_of("task.", "policy=gradual", "unfreeze_at=[1,2]", "head_lr_factor=4", "layer_decay=0.5")
    run = train("run", *PLANE, *gradual, "epochs=3")
    states = [watched[epoch].state for epoch in range(3)] + [weights(run)]
    expected = [HEAD, HEAD | LAYERS[1], HEAD | LAYERS[1] | LAYERS[0]]
    for epoch in range(3):
        assert watched[epoch].wanted == expected[epoch]
        assert moved(states[epoch], states[epoch + 1]) == expected[epoch], f"in epoch {epoch}"
        assert watched[epoch].groups == pytest.approx({"head": 0.04, "layer1": 0.005, "layer0": 0.0025})


@pytest.mark.parametrize("encode_once", ["true", "false"])
def test_a_linear_probe_of_regression_moves_the_head_alone(encode_once, train, watched):
    run = train("run", *PLANE, *words_of("", "task.policy=head", f"encode_once={encode_once}"), "epochs=2")
    assert moved(watched[0].state, weights(run)) == HEAD
    assert watched[0].width == ((4,) if encode_once == "true" else (1,)), "features, or inputs"


def test_a_regression_of_the_whole_net_keeps_the_order_of_its_parameters():
    """Optimizer states in the checkpoints of earlier runs go by position."""
    net = MLP(in_shape=(3,), num_classes=2, hidden=(5, 4))
    assert [id(p) for p in Regression(net).parameter_groups()] == [id(p) for p in net.parameters()]


# Several processes, in which every parameter that is ever trained has its gradient


def begin(task: Classification, epoch: int, world_size: int = 1) -> None:
    """What a trainer does up to an epoch's first batch."""
    no_groups = SimpleNamespace(param_groups=[])
    task.trainer = SimpleNamespace(
        world_size=world_size,
        current_epoch=epoch,
        log_every_n_steps=0,
        strategy=SimpleNamespace(),
        optimizers=[no_groups],
    )
    task.setup("fit")
    task.on_train_epoch_start()


def training_loss(task: Classification, batch) -> torch.Tensor:
    return task.training_step(batch, 0)


def test_with_several_processes_momentum_and_decay_do_not_move_what_is_frozen():
    torch.manual_seed(0)
    net = InceptionSmall(in_shape=(1, 8, 8), num_classes=3, stem=8, width=0.25)
    optimizer = partial(torch.optim.SGD, lr=0.1, momentum=0.9, weight_decay=0.1)
    task = Classification(net, policy="gradual", unfreeze_at=[1, 2], optimizer=optimizer)
    optimizer = task.configure_optimizers()
    x, y = torch.randn(6, 1, 8, 8), torch.arange(6) % 3
    for epoch, free in enumerate((("head.",), ("head.", "layers.d."), ("head.", "layers."))):
        begin(task, epoch, world_size=2)
        assert all(p.requires_grad for p in net.parameters()), "or the others would wait for it"
        before = state(net)
        for _ in range(2):
            optimizer.zero_grad()
            training_loss(task, (x, y)).backward()
            assert all(p.grad is not None for p in net.parameters())
            task.on_before_optimizer_step(optimizer)
            optimizer.step()
        assert moved(before, state(net)) == {name for name in before if name.startswith(free)}


# Weights of classes


def unbalanced() -> tuple[InMemory, torch.Tensor]:
    """20, 6 and 4 examples of three classes, and each class's weight: (30 / 3) / its own."""
    torch.manual_seed(0)
    y = torch.tensor([0] * 20 + [1] * 6 + [2] * 4)
    return InMemory(torch.randn(30, 5), y), 10 / torch.tensor([20.0, 6, 4])


def module(part: InMemory, *, batch_size: int) -> DataModule:
    splits = Splits(part, part, part, tuple(part.x.shape[1:]), classes=("a", "b", "c"), num_targets=1)
    return DataModule(splits, preprocess=Preprocess(splits.shape, scale=1.0), batch_size=batch_size)


def linear_fit(folder: Path, part: InMemory, *, epochs: int = 1, lr: float = 0.1, loggers=(), **options):
    """All examples in one batch, so that the order does not matter: the task, its weights before and after."""
    torch.manual_seed(1)
    net = MLP(in_shape=part.x.shape[1:], num_classes=3, hidden=())
    optimizer = partial(torch.optim.SGD, lr=lr)
    task, before = Classification(net, optimizer=optimizer, **options), state(net)
    config = OmegaConf.merge(OmegaConf.load(CONF / "stage" / "classify.yaml"), {"epochs": epochs})
    data = module(part, batch_size=len(part))
    fit(task, data, config, name="fit", folder=folder, loggers=loggers, trainer_kwargs=CPU, progress=False)
    return task, before, state(net)


@pytest.mark.parametrize("weighted", [True, False])
def test_rare_classes_count_for_more_by_the_labels_of_the_training_part(weighted, tmp_path):
    part, weight = unbalanced()
    _, before, after = linear_fit(tmp_path, part, class_weights=weighted)
    W, b = (before[name].clone().requires_grad_() for name in ("head.weight", "head.bias"))
    log_p = (part.x @ W.T + b).log_softmax(dim=1)[torch.arange(30), part.y]
    each = weight[part.y] if weighted else torch.ones(30)
    (-(each * log_p).sum() / each.sum()).backward()
    torch.testing.assert_close(after["head.weight"], before["head.weight"] - 0.1 * W.grad)
    torch.testing.assert_close(after["head.bias"], before["head.bias"] - 0.1 * b.grad)


def test_weights_of_classes_are_for_training_alone(tmp_path):
    """What is measured while a fit goes on is what is measured after it."""
    part, _ = unbalanced()
    history = CSVLogger(tmp_path / "metrics.csv")
    history.start("fit")
    task, *_ = linear_fit(tmp_path, part, class_weights=True, loggers=[history])
    after = measure(Classification(task.net), module(part, batch_size=30), trainer_kwargs=CPU)
    _, (during,) = history.series("val/loss")["fit"]
    assert during == pytest.approx(after["val/loss"], rel=1e-5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_weights_of_classes_are_where_the_net_is(train):
    train("run", *DATA, "model=logistic", f"{STAGE}.task.class_weights=true", "epochs=1", "accelerator=gpu")


def test_weights_of_classes_are_put_where_the_trainer_computes():
    part, _ = unbalanced()
    task = Classification(MLP(in_shape=(5,), num_classes=3, hidden=()), class_weights=True)
    task.trainer = SimpleNamespace(
        datamodule=module(part, batch_size=4), fit_loop=SimpleNamespace(restarted_mid_epoch=False)
    )
    task.on_train_start()
    loss = task.training_loss(torch.zeros(4, 3, device="meta"), torch.zeros(4, dtype=torch.long, device="meta"))
    assert loss.device.type == "meta"


# Mirror images


class Lopsided(nn.Module):
    """Reads the left column of an image."""

    def __init__(self):
        super().__init__()
        self.in_shape, self.num_classes = (1, 2, 3), 3
        self.layers = nn.Sequential(nn.Flatten())
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        return self.head(self.layers(x))


@pytest.mark.parametrize("loss", ["cross_entropy", "quadratic"])
def test_probabilities_may_be_the_mean_over_the_image_and_its_mirror_image(loss):
    torch.manual_seed(0)
    net, x = Lopsided(), 2 * torch.randn(40, 1, 2, 3)
    with torch.no_grad():
        shown, mirrored = net(x), net(x.flip(3))

    def probabilities(z):
        return z.softmax(1) if loss == "cross_entropy" else z.clamp(min=0) / z.clamp(min=0).sum(1, keepdim=True)

    plain, mean = probabilities(shown), (probabilities(shown) + probabilities(mirrored)) / 2
    if loss == "quadratic":
        usable = (shown.amax(1) > 0) & (mirrored.amax(1) > 0)
        x, plain, mean = x[usable], plain[usable], mean[usable]
    y = plain.argmax(1)
    right = (mean.argmax(1) == y).float().mean().item()
    assert 0.2 < right < 0.95, "the mirror image changes some answers"
    data = module(InMemory(x, y), batch_size=8)
    found = {
        averaged: measure(Classification(net, loss=loss, mirror_average=averaged), data, trainer_kwargs=CPU)
        for averaged in (True, False)
    }
    for part in ("val", "test"):
        assert found[False][f"{part}/accuracy"] == 1
        assert found[True][f"{part}/accuracy"] == pytest.approx(right)
    confidence = mean.amax(1)
    hit = (mean.argmax(1) == y).float()
    number = (confidence * 15).long().clamp(max=14)
    gaps = [
        abs(hit[number == k].mean() - confidence[number == k].mean()) * (number == k).float().mean()
        for k in number.unique()
    ]
    assert found[True]["test/calibration_error"] == pytest.approx(float(sum(gaps)), abs=1e-5)


def test_evaluate_mirrors_as_training_did(train, cli):
    words = (*DATA, "dataset.test=200", "model=logistic", "epochs=1", "lr=0.003")
    plain, run = train("plain", *words), train("run", *words, f"{STAGE}.task.mirror_average=true")
    assert cli("evaluate", f"checkpoint={run}", f"output={run / 'again.json'}").status == 0
    again = json.loads((run / "again.json").read_text())
    assert set(again.pop("classes")) == {str(k) for k in range(10)}
    del again["reliability"]
    kept = metrics(run)
    assert again == pytest.approx({name: kept[name] for name in again}, rel=1e-6)
    assert len(again) == 4
    assert kept["test/accuracy"] != metrics(plain)["test/accuracy"]
    assert not moved(weights(plain), weights(run))


# The moving average


class Counting(nn.Module):
    """Floats that move, floats that do not, and whole numbers."""

    def __init__(self):
        super().__init__()
        self.moving = nn.Parameter(torch.tensor([0.1, 1e-3, -7.0]))
        self.still = nn.Parameter(torch.tensor([0.1, 1 / 3, 1e-30, -123.456]))
        self.register_buffer("mean", torch.tensor([0.7]))
        self.register_buffer("count", torch.tensor(0))


@pytest.mark.parametrize("decay", [0.9, 0.3, 0.0])
def test_the_average_forgets_by_its_decay_copies_counts_and_leaves_the_rest_alone(decay):
    model, task, average = Counting(), LightningModule(), EMA(decay)
    task.net = model
    average.setup(SimpleNamespace(), task, "fit")
    kept = average._average_model
    expected: list[float] = []
    generator = torch.Generator().manual_seed(0)
    for step in range(200):
        with torch.no_grad():
            model.moving += torch.randn(3, generator=generator)
            model.mean += 0.01
            model.count += 3
        kept.update_parameters(task)
        now = [*model.moving.double().tolist(), *model.mean.double().tolist()]
        expected = [decay * a + (1 - decay) * v for a, v in zip(expected, now, strict=True)] if step else now
        inner = kept.module.net
        assert inner.count.item() == model.count.item() == 3 * (step + 1)
        assert torch.equal(inner.still, model.still)
    found = [*inner.moving.tolist(), *inner.mean.tolist()]
    assert found == pytest.approx(expected, rel=1e-5)
    assert torch.equal(inner.still, Counting().still)
