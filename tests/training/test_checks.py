"""A config becomes one frozen plan or one readable error, and few frames stand between the command and the trainer."""

import dataclasses
import traceback
from pathlib import Path

import numpy as np
import pytest
from lightning.pytorch import Trainer
from omegaconf import DictConfig, ListConfig, OmegaConf
from support import no_plots

import zoo
from zoo.config.compose import compose
from zoo.training.checks import run_checks, stage_checks

SMALL = ("dataset=digits", "epochs=1", "progress=false")


def plan(*overrides: str):
    return run_checks.plan(compose("train", [*SMALL, *overrides]))


def refused(cli, folder, *words: str) -> str:
    """The one line of a run that is refused, which leaves nothing behind."""
    outcome = cli("train", *words, "hydra.run.dir=run")
    assert outcome.status == 1
    assert len(outcome.err.splitlines()) == 1
    assert "unexpected" not in outcome.err
    assert "internal" not in outcome.err
    assert not any(folder.iterdir())
    return outcome.err


# The plan


def values_in(node):
    """All values below a plan, except for the net and the data."""
    if dataclasses.is_dataclass(node):
        node = {field.name: getattr(node, field.name) for field in dataclasses.fields(node)}
        node = {key: value for key, value in node.items() if key not in ("net", "splits")}
    if isinstance(node, dict):
        yield from (found for value in node.values() for found in values_in(value))
    elif isinstance(node, (list, tuple)):
        yield from (found for value in node for found in values_in(value))
    else:
        yield node


@pytest.mark.parametrize("model", ["lenet5", "dbn_generative"])
def test_a_plan_is_frozen_and_holds_plain_values(model):
    made = plan(f"model={model}")
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.seed = 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.stages[0].epochs = 2
    assert not [value for value in values_in(made) if isinstance(value, DictConfig | ListConfig)]
    assert isinstance(made.stages, tuple)


def test_a_plan_has_what_the_config_says_and_leaves_it_alone():
    cfg = compose("train", [*SMALL, "model=dbn", "model.net.hidden=[8]", "lr=0.5", "batch_size=100", "seed=3"])
    before = OmegaConf.to_yaml(cfg)
    made = run_checks.plan(cfg)
    assert OmegaConf.to_yaml(cfg) == before
    assert made.seed == 3
    pretrain, finetune = made.stages
    assert (pretrain.name, pretrain.order, pretrain.needs_labels) == ("pretrain", "layerwise", False)
    assert (finetune.name, finetune.order, finetune.needs_labels) == ("finetune", "joint", True)
    for stage in made.stages:
        assert (stage.epochs, stage.batch_size, stage.optimizer["lr"]) == (1, 100, 0.5)
        assert stage.total_steps == 13  # 1,293 examples
    assert OmegaConf.create(made.config_yaml).model.stages.pretrain.epochs == 1


def test_only_enabled_stages_are_in_the_plan():
    made = plan("model=dbn", "model.net.hidden=[8]", "epochs=null", "model.stages.pretrain.epochs=0")
    assert [stage.name for stage in made.stages] == ["finetune"]


# Each enabled stage is checked by itself


def test_a_stage_that_does_not_fit_the_net_is_one_error_although_a_later_one_does(cli, folder):
    words = ("model=deep_autoencoder", "stage@model.stages.pretrain=classify", *SMALL)
    message = refused(cli, folder, *words)
    assert "Classification needs outputs; set model.net.num_classes=10" in message


def test_the_key_that_an_error_recommends_exists(cli, folder):
    message = refused(cli, folder, "model=rbm", "stage@model.stages.fit=classify", "dataset=digits")
    assert "set model.net.label_units=10" in message
    message = refused(cli, folder, "model=deep_autoencoder", "model.input_scaling=standardized", "dataset=digits")
    assert "model.net.output_activation=identity" in message
    plan("model=rbm", "stage@model.stages.fit=classify", "model.net.label_units=10")


def test_a_stage_that_does_not_fit_the_data_is_one_error_although_a_later_one_does(cli, folder):
    words = ("model=deep_autoencoder", "stage@model.stages.pretrain=regress", *SMALL)
    assert "Regression needs real target values, the data have class labels" in refused(cli, folder, *words)


@pytest.mark.parametrize(
    ("y", "says"),
    [
        (np.zeros(40, int), "Classification needs at least two classes; all examples have the label 0"),
        (np.arange(40) % 2.0, "save class numbers as integers (for one-hot labels: y.argmax(1))"),
        (np.arange(40) % 2.0, "for a regression, set stage@model.stages.fit=regress"),
    ],
)
def test_labels_that_do_not_make_a_classifier_are_refused_with_the_fix(y, says, cli, tmp_path, monkeypatch):
    np.savez(tmp_path / "own.npz", x=np.random.default_rng(0).normal(size=(40, 3)), y=y)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    words = ("model=mlp", "model.net.hidden=[2]", "dataset=npz", "dataset.root=../own.npz")
    assert says in refused(cli, tmp_path / "empty", *words)


def test_a_single_logit_counts_for_the_stage_with_the_binary_loss_only(cli, folder):
    words = ("model=sae", "model.net.num_classes=1", "stage@model.stages.pretrain=classify", *SMALL)
    last = "model.stages.finetune.task.loss=binary_cross_entropy"
    assert "the net has 1 outputs, the data need 10" in refused(cli, folder, *words, last)


# What is switched off is not checked


def test_a_stage_that_is_switched_off_need_not_fit_the_data(cli, folder, monkeypatch):
    no_plots(monkeypatch)
    words = ["model=sae", "model.net.hidden=[3]", "dataset=line", "progress=false", "model.stages.pretrain.epochs=1"]
    words += ["model.stages.pretrain.task.loss=squared_error"]
    assert "Classification needs class labels" in cli("train", *words, "hydra.run.dir=run").err
    outcome = cli("train", *words, "model.stages.finetune.epochs=0", "hydra.run.dir=run")
    assert (outcome.status, outcome.err) == (0, "")


def test_epochs_of_all_stages_do_not_switch_a_stage_on():
    words = ["model=dbn", "epochs=3", "model.stages.finetune.epochs=0"]
    enabled = stage_checks.enabled_stages(compose("train", words))
    assert {name: stage.epochs for name, stage in enabled.items()} == {"pretrain": 3}


@pytest.mark.parametrize(
    "override",
    [
        "patience=-1",
        "batch_size=0",
        "order=nonsense",
        "task.label_smoothing=7",
        "stop_below=1.0",
        "lr_schedule._target_=zoo.tasks.optimization.Plateau",
    ],
)
def test_no_value_of_a_stage_that_is_switched_off_is_checked(override):
    off = ["model=dbn", "model.net.hidden=[8]", "epochs=null", "model.stages.finetune.epochs=0", "dataset.validation=0"]
    if "Plateau" in override:
        off.append("lr_schedule@model.stages.finetune.lr_schedule=constant")
    plan(*off, f"model.stages.finetune.{override}")


# Other refusals


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("model.stages.fit.order=sideways", "model.stages.fit.order=sideways: choose joint or layerwise"),
        ("model=rbm model.stages.fit.order=layerwise", "order=layerwise needs a net with layers, got RBM"),
        ("model.stages.fit.ema=1", "ema=1.0 must be in [0, 1)"),
        ("lr=-1", "model.stages.fit.optimizer.lr=-1.0 must be >= 0"),
        ("model.stages.fit.checkpoint_every_minutes=0", "model.stages.fit.checkpoint_every_minutes=0.0 must be > 0"),
        ("seed=-1", "seed=-1 must be in [0, 4294967295]"),
        ("~model.stages.fit", "model.stages must have at least one stage"),
        (
            "lr_schedule@model.stages.fit.lr_schedule=plateau dataset.validation=0",
            "model.stages.fit.lr_schedule: Plateau needs a validation split",
        ),
        (
            "model=rbm lr_schedule@model.stages.fit.lr_schedule=plateau",
            "model.stages.fit.lr_schedule: Plateau needs a validation loss, ContrastiveDivergence has none",
        ),
        ("model=rbm model.stages.fit.stop_below=1", "stop_below: ContrastiveDivergence has no validation loss"),
        ("model=rbm model.stages.fit.task.k=0", "model.stages.fit.task.k=0 must be >= 1"),
        ("model.stages.fit.task.loss=hinge", "model.stages.fit.task: unknown loss 'hinge'"),
        ("model.stages.fit.order=layerwise", "model.stages.fit."),
        ("dataset.augment.shift=28", "dataset.augment.shift=28 must be < 28"),
        (
            "dataset.validation=1.5",
            "dataset.validation=1.5: must be 0, a fraction below 1, or a whole number of examples",
        ),
        (
            "dataset.validation=1",
            "takes 1 of 1437 examples, too few for one of each of the 10 classes; take at least 10",
        ),
        (
            "model=mlp_2_3_2_2 dataset=npz dataset.root=ab.npz model.stages.fit.task.mirror_average=true",
            "mirror_average needs images, the data have shape 2",
        ),
    ],
)
def test_a_value_that_cannot_work_is_refused(words, message, cli, tmp_path, monkeypatch):
    import numpy as np

    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    if "npz" in words:
        np.savez(tmp_path / "ab.npz", x=np.random.default_rng(0).normal(size=(40, 2)), y=np.arange(40) % 2)
        words = words.replace("ab.npz", str(tmp_path / "ab.npz"))
    assert message in refused(cli, tmp_path / "here", *SMALL, *words.split())


# Call depth


def test_at_most_five_frames_of_the_zoo_stand_between_the_command_and_the_trainer(cli, folder, monkeypatch):
    package = Path(zoo.__file__).parent
    frames: list[str] = []

    class Reached(Exception):  # noqa: N818 - not an error
        pass

    def fit(*args, **options):
        frames.extend(frame.name for frame in traceback.extract_stack() if package in Path(frame.filename).parents)
        raise Reached

    monkeypatch.setattr(Trainer, "fit", fit)
    cli("train", *SMALL, "hydra.run.dir=run")
    assert frames == ["main", "launch", "run_job", "train", "train"]


# Values that work only together


@pytest.mark.parametrize("words", ["model=mlp model.net.batch_norm=true batch_size=1"])
def test_batch_normalization_needs_two_examples(words, cli, folder):
    assert "batch_size=1: batch normalization needs at least two" in refused(cli, folder, *SMALL, *words.split())


def test_layers_that_never_train_are_a_warning():
    notes = plan(
        "model=mlp", "stage@model.stages.fit=gradual", "epochs=1", "model.stages.fit.task.unfreeze_at=[1,5]"
    ).notes
    assert notes[-2:] == (
        "fit: head from epoch 0, layer1 and 1 more below it never",
        "warning: fit: layer1 and 1 more below it never train, since unfreeze_at is not below epochs=1; "
        "set more epochs or an earlier unfreeze_at",
    )
