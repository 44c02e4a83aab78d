"""The group ``trainer``: accumulation, limits, the time limit, and the flags that are restored."""

import csv
import os
import re
import subprocess
import sys
from dataclasses import asdict
from itertools import product
from math import ceil

import pytest
import torch
from omegaconf import OmegaConf
from support import metrics_of, no_plots, rows_of, slow_but, weights_of
from torch import nn

from zoo.config import schemas
from zoo.config.compose import compose
from zoo.training.checks import run_checks
from zoo.training.fit import trainer_options
from zoo.training.fit.callbacks import SaveForResume
from zoo.training.fit.trainer_settings import TrainerSettings, limited, parse

FAST = ["dataset=digits", "progress=false", "accelerator=cpu"]
LOGISTIC = ["model=logistic", *FAST]
SGD = ["optimizer@model.stages.fit.optimizer=sgd", "lr=0.01", "lr_schedule@model.stages.fit.lr_schedule=one_cycle"]


def planned(*words: str):
    return run_checks.plan(compose("train", [*LOGISTIC, *words]))


@pytest.fixture(autouse=True)
def _fast(monkeypatch):
    no_plots(monkeypatch)


def settings(**values: object) -> TrainerSettings:
    return parse(asdict(schemas.Trainer()) | values)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"limit_train_batches": 0}, "limit_train_batches=0: training needs batches"),
        ({"limit_train_batches": 1.5}, "limit_train_batches=1.5 must be a number of batches, or a fraction in"),
        ({"limit_val_batches": True}, "limit_val_batches=True must be a number of batches, or a fraction in"),
        ({"limit_test_batches": -1}, "limit_test_batches=-1 must be a number of batches, or a fraction in"),
        ({"overfit_batches": "two"}, "overfit_batches=two must be a number of batches, or a fraction in"),
        ({"accumulate_grad_batches": 0}, "accumulate_grad_batches=0 must be >= 1"),
        ({"num_sanity_val_steps": -2}, "num_sanity_val_steps=-2 must be >= -1"),
        ({"max_time": "5m"}, "max_time=5m must be DD:HH:MM:SS and > 0"),
        ({"max_time": "00:00:00:00"}, "max_time=00:00:00:00 must be DD:HH:MM:SS and > 0"),
        ({"profiler": "fast"}, "profiler=fast must be one of: simple, advanced, pytorch"),
        ({"deterministic": 1}, "deterministic=1 must be one of: false, true, warn"),
        ({"deterministic": True, "benchmark": True}, "benchmark=true may choose another algorithm in every run"),
        ({"overfit_batches": 1, "limit_train_batches": 2}, "overfit_batches and trainer.limit_train_batches exclude"),
    ],
)
def test_a_wrong_setting_is_refused(values, says):
    with pytest.raises(ValueError, match=f"^trainer.{re.escape(says)}"):
        settings(**values)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("+trainer.fast_dev_run=true", "trainer.fast_dev_run: no such key; use debug=fdr"),
        ("trainer.max_epochs=3", "trainer.max_epochs: no such key; use epochs="),
        ("+trainer.acumulate_grad_batches=3", "did you mean accumulate_grad_batches"),
        ("trainer.limit_val_batches=0 model.stages.fit.patience=2", "model.stages.fit.patience needs validation"),
        ("trainer.limit_val_batches=0 callbacks=model_checkpoint", "callbacks.model_checkpoint.monitor=val/loss needs"),
        ("trainer.limit_val_batches=0 callbacks=early_stopping", "callbacks.early_stopping.monitor=val/loss needs"),
        ("trainer.check_val_every_n_epoch=2 model.stages.fit.stop_below=1", "needs a validation in every epoch"),
        ("trainer.compile=true model=rbm", "which no stage here calls"),
        ("debug=fdt", "debug=fdt: no such debug; did you mean fdr"),
    ],
)
def test_it_is_refused_before_anything_is_written(words, says, cli, folder):
    outcome = cli("train", *LOGISTIC, *words.split(), "hydra.run.dir=run")
    assert (outcome.status, outcome.out, outcome.err.count("\n")) == (1, "", 1)
    assert says in outcome.err
    assert not list(folder.iterdir())


def test_other_commands_have_no_debug_runs(cli):
    outcome = cli("evaluate", "checkpoint=lenet5-digits", "debug=fdr")
    assert outcome.err == "zoo evaluate: debug=fdr: choose true or false; only zoo train has other values\n"


def test_the_time_is_read_in_days_hours_minutes_and_seconds():
    assert settings(max_time="01:02:03:04").max_time == ((24 + 2) * 60 + 3) * 60 + 4


@pytest.mark.parametrize(("limit", "count"), [(1.0, 11), (1, 1), (20, 11), (0.5, 5), (0.01, 1), (0, 0), (0.0, 0)])
def test_a_limit_is_a_number_of_batches_or_a_fraction(limit, count):
    assert limited(11, limit) == count


@pytest.mark.parametrize("accumulate", [1, 3, 11, 100])
@pytest.mark.parametrize("limit", [1.0, 0.5, 4])
def test_an_epoch_has_a_step_for_every_accumulation_the_last_one_included(accumulate, limit):
    given = settings(accumulate_grad_batches=accumulate, limit_train_batches=limit)
    assert given.steps(11) == ceil(limited(11, limit) / accumulate)


def test_min_steps_counts_optimizer_steps_and_a_limit_adds_no_epochs():
    steps = "model.stages.fit.min_steps=33"
    assert planned(steps, "epochs=1").stages[0].epochs == 3
    assert planned(steps, "epochs=1", "trainer.accumulate_grad_batches=11").stages[0].epochs == 33
    assert planned(steps, "epochs=1", "trainer.limit_train_batches=1").stages[0].epochs == 3


# 1,300 training examples, so that every batch is full
@pytest.mark.parametrize(("batch_size", "accumulate"), [pytest.param(650, 2, marks=pytest.mark.slow), (130, 100)])
def test_accumulated_batches_equal_one_large_batch(batch_size, accumulate, cli, folder):
    words = [*LOGISTIC, *SGD, "dataset.validation=137", "epochs=3"]
    assert cli("train", *words, "batch_size=1300", "hydra.run.dir=one").status == 0
    more = [f"batch_size={batch_size}", f"trainer.accumulate_grad_batches={accumulate}"]
    outcome = cli("train", *words, *more, "hydra.run.dir=many")
    assert f"gradients of {accumulate} batches are averaged for each step" in " ".join(outcome.out.split())
    one, many = weights_of(folder / "one"), weights_of(folder / "many")
    for name in one:
        assert torch.allclose(one[name], many[name], atol=1e-6), name


class PowerCut(RuntimeError):  # noqa: N818 - no error of ours
    """As sudden, for the files, as kill -9."""


CUT = {
    "accumulate": ["trainer.accumulate_grad_batches=4", "batch_size=50", "model.stages.fit.ema=0.9", *SGD],
    "limits": ["trainer.limit_train_batches=6", "trainer.limit_val_batches=1"],
    "overfit": ["trainer.overfit_batches=6"],
    "callbacks": ["callbacks=[early_stopping,lr_monitor,model_checkpoint]"],
    "averaging": ["callbacks=swa", "callbacks.swa.swa_epoch_start=0.5"],
    "belief": ["model=dbn", "model.net.hidden=[8]", "trainer.accumulate_grad_batches=3", "batch_size=50"],
}


@pytest.mark.parametrize(
    ("kind", "hook", "count"),
    slow_but(
        product(CUT, ["on_train_batch_start", "on_train_end"], [16]),
        lambda *case: case[:2] == ("accumulate", "on_train_batch_start"),
    ),
)
def test_a_run_cut_short_goes_on_as_if_it_had_not_been(kind, hook, count, cli, folder, monkeypatch):
    # A belief net saves only after each epoch of 26 batches.
    count = 1 if hook == "on_train_end" else 30 if kind == "belief" else count
    words = [*LOGISTIC, "epochs=3", *CUT[kind]]
    words += [] if kind == "belief" else ["model.stages.fit.checkpoint_every_steps=1"]
    assert cli("train", *words, "hydra.run.dir=whole").status == 0
    calls = iter(range(1, 10**9))
    original = getattr(SaveForResume, hook)

    def stop(self, *arguments):
        if next(calls) == count:
            raise PowerCut(hook)
        return original(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(SaveForResume, hook, stop)
        assert "PowerCut" in cli("train", *words, "hydra.run.dir=run").err
    # A checkpoint within an accumulation would lack its gradients.
    loops = torch.load(folder / "run/checkpoints/last.ckpt", weights_only=True)["loops"]["fit_loop"]
    batches = loops["epoch_loop.batch_progress"]["current"]["processed"]
    assert kind != "accumulate" or batches == 12 or hook == "on_train_end"
    assert cli("train", "resume=run").status == 0
    run, whole = weights_of(folder / "run"), weights_of(folder / "whole")
    assert all(torch.equal(run[name], whole[name]) for name in whole)
    assert rows_of(folder / "run") == rows_of(folder / "whole")
    assert metrics_of(folder / "run") == metrics_of(folder / "whole")


@pytest.mark.parametrize(
    "words",
    [["model.stages.fit.ema=0.5"], pytest.param(["model.stages.fit.patience=9"], marks=pytest.mark.slow)],
)
def test_the_time_limit_saves_the_weights_and_the_run_can_be_resumed(words, cli, folder, monkeypatch):
    words = [*LOGISTIC, "epochs=3", *words]
    assert cli("train", *words, "hydra.run.dir=whole").status == 0

    # A clock that runs by steps: ten seconds each.
    steps = iter(range(0, 10**6, 10))
    monkeypatch.setattr("zoo.training.fit.callbacks.time.monotonic", lambda: float(next(steps)))
    monkeypatch.setattr("zoo.training.session.time.monotonic", lambda: float(next(steps)))
    outcome = cli("train", *words, "trainer.max_time=00:00:10:00", "hydra.run.dir=run")
    assert outcome.status == 0
    assert "trainer.max_time: stopped at step " in outcome.out
    assert outcome.out.endswith(f"; continue with resume={folder / 'run'}\n")
    assert not (folder / "run/metrics.json").exists()

    # The checkpoint has the weights that a finished run would have: the average, or those of the best epoch.
    name = "best.fit.ckpt" if "patience" in words[-1] else "last.ckpt"
    saved = torch.load(folder / "run/checkpoints" / name, weights_only=True)["state_dict"]
    assert all(torch.equal(value, saved[f"net.{key}"]) for key, value in weights_of(folder / "run").items())
    monkeypatch.undo()
    assert cli("train", f"resume={folder / 'run'}").status == 0
    run, whole = weights_of(folder / "run"), weights_of(folder / "whole")
    assert all(torch.equal(run[name], whole[name]) for name in whole)


def test_a_fast_dev_run_is_one_batch_of_every_stage_in_a_folder_of_its_own(cli, folder):
    outcome = cli("train", "model=dbn", "model.net.hidden=[8,6]", *FAST, "debug=fdr")
    assert outcome.status == 0
    (run,) = (folder / "debug/dbn-digits").iterdir()
    assert {(row["fit"], row["step"]) for row in rows_of(run)} == {
        ("pretrain.layer0", "0"),
        ("pretrain.layer1", "0"),
        ("finetune", "0"),
    }
    config = OmegaConf.load(run / "config.yaml")
    assert config.trainer.limit_train_batches == 1
    assert not config.debug
    # The metrics are those of one batch of 250 test examples.
    with (run / "confusion.csv").open(newline="") as file:
        assert sum(int(cell) for row in list(csv.reader(file))[1:] for cell in row[1:]) == 250


def test_overfitting_trains_and_validates_on_the_same_examples():
    plan = planned("debug=overfit")
    (stage,) = plan.stages
    assert stage.splits.train is stage.splits.validation
    assert (len(stage.splits.train), stage.total_steps) == (128, 100)
    assert stage.splits.train.digest() == planned("debug=overfit", "seed=5").stages[0].splits.train.digest()
    assert len(plan.splits.validation) == 144  # of the final evaluation
    assert len(stage.splits.train.labels().unique()) == 10


@pytest.mark.slow
def test_trying_the_validation_first_changes_nothing(cli, folder):
    for name, steps in (("without", 0), ("with", -1)):
        words = ["model=mlp", "model.net.hidden=[8]", "model.net.dropout=0.5", *FAST, "epochs=1"]
        assert cli("train", *words, f"trainer.num_sanity_val_steps={steps}", f"hydra.run.dir={name}").status == 0
    one, other = weights_of(folder / "without"), weights_of(folder / "with")
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert (folder / "without/metrics.csv").read_text() == (folder / "with/metrics.csv").read_text()


@pytest.mark.slow
def test_pytorchs_profile_lies_in_the_run_folder(folder):
    # Profiles of an earlier test in the same process would disturb it.
    words = [*LOGISTIC, "epochs=1", "trainer.profiler=pytorch", "hydra.run.dir=run"]
    outcome = subprocess.run([sys.executable, "-m", "zoo.cli", "train", *words], capture_output=True, text=True)
    assert outcome.returncode == 0
    assert "profile: run/profile\n" in outcome.stdout
    assert "Self CPU time total" in (folder / "run/profile/fit-fit.txt").read_text()


@pytest.mark.parametrize("kind", ["simple", pytest.param("advanced", marks=pytest.mark.slow)])
def test_a_profile_lies_in_the_run_folder(kind, cli, folder):
    outcome = cli("train", *LOGISTIC, "epochs=1", f"trainer.profiler={kind}", "hydra.run.dir=run")
    assert (outcome.status, outcome.err) == (0, "")
    assert "profile: run/profile\n" in outcome.out
    assert "training_step" in (folder / "run/profile/fit-fit.txt").read_text()


def test_flags_of_pytorch_are_set_within_a_run_only(monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    with trainer_options.flags(TrainerSettings(deterministic="warn")):
        assert torch.is_deterministic_algorithms_warn_only_enabled()
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert not torch.are_deterministic_algorithms_enabled()
    assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ


def test_an_operation_without_a_deterministic_algorithm_is_named():
    says = "trainer.deterministic=true: foo_cuda does not have a deterministic implementation, but you set"
    with pytest.raises(ValueError, match=says), trainer_options.readable_errors(settings(deterministic=True)):
        raise RuntimeError("foo_cuda does not have a deterministic implementation, but you set. You can turn it off")


def test_an_anomaly_is_named():
    with (
        pytest.raises(ValueError, match=r"trainer.detect_anomaly: Function 'SqrtBackward0' returned nan values"),
        trainer_options.readable_errors(TrainerSettings(detect_anomaly=True)),
        torch.autograd.set_detect_anomaly(True),
        pytest.warns(UserWarning, match="Error detected in SqrtBackward0"),
    ):
        (torch.zeros(1, requires_grad=True).sqrt() * 0).sum().backward()


def test_a_net_is_compiled_in_place_and_only_within_the_block(monkeypatch):
    calls = []
    monkeypatch.setattr(torch, "compile", lambda function, **options: calls.append(1) or function)
    net = nn.Linear(2, 2)
    names = list(net.state_dict())
    with trainer_options.compiled(net, enabled=True):
        assert net._compiled_call_impl is not None
        assert list(net.state_dict()) == names
    assert net._compiled_call_impl is None
    assert calls == [1]


def test_a_machine_without_a_compiler_is_told(cli, folder, monkeypatch):
    def broken(*arguments, **options):
        raise RuntimeError("InvalidCxxCompiler:\n No working C++ compiler found")

    monkeypatch.setattr(torch, "compile", broken)
    outcome = cli("train", *LOGISTIC, "trainer.compile=true", "hydra.run.dir=run")
    assert outcome.status == 1
    assert "torch.compile does not work here (RuntimeError: InvalidCxxCompiler: No working" in outcome.err
    assert "install a C++ compiler such as g++, or set trainer.compile=false" in outcome.err
    assert not list(folder.iterdir())


@pytest.mark.slow
def test_a_compiled_net_has_the_weights_of_one_that_is_not(cli, folder):
    words = ["model=mlp", "model.net.hidden=[8]", *FAST, "epochs=1"]
    outcome = cli("train", *words, "trainer.compile=true", "hydra.run.dir=compiled")
    if "does not work here" in outcome.err:
        pytest.skip("no compiler")
    assert cli("train", *words, "hydra.run.dir=eager").status == 0
    compiled, eager = weights_of(folder / "compiled"), weights_of(folder / "eager")
    assert list(compiled) == list(eager)
    assert all(torch.allclose(compiled[name], eager[name], atol=1e-4) for name in eager)
