"""A run that was stopped, wherever that was, goes on to the weights, history and metrics of one that was not."""

import errno
import os
import re
import shutil
import signal
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from safetensors import SafetensorError
from support import Touch, metrics_of, rows_of, slow_but, weights_of

from zoo.checkpoints import checkpoint as checkpoints
from zoo.cli.main import main
from zoo.data.datamodule import Shuffle
from zoo.tasks import Classification
from zoo.training.callbacks import SaveForResume

ALWAYS = ["dataset=digits", "epochs=3", "batch_size=150", "progress=false"]
DIVERGES = ["model=mlp", "optimizer@model.stages.fit.optimizer=sgd", "lr=1e30", *ALWAYS]
EVERY = "model.stages.{}.checkpoint_every_steps={}".format
RUNS = {
    "classifier": ("model=lenet5", "dataset.augment.shift=1", "model.stages.fit.ema=0.9", EVERY("fit", 3)),
    "dropout": ("model=mlp", "model.net.hidden=[16]", "model.net.dropout=0.5", EVERY("fit", 3)),
    "belief": (
        "model=dbn",
        "model.net.hidden=[12,8]",
        "stage@model.stages.pretrain=persistent",
        EVERY("pretrain", 3),
        EVERY("finetune", 3),
    ),
    "machine": ("model=rbm", "model.net.hidden=12", EVERY("fit", 3)),
    "generative": (
        "model=dbn_generative",
        "model.net.hidden=[12,8]",
        "model.stages.updown.task.persistent=true",
        EVERY("pretrain", 3),
        EVERY("updown", 3),
    ),
    "autoencoder": ("model=sae", "model.net.hidden=[12,8]", EVERY("pretrain", 3), EVERY("finetune", 3)),
    "gradual": (
        "model=mlp",
        "model.net.hidden=[16,12]",
        "model.stages.fit.task.policy=gradual",
        "model.stages.fit.task.unfreeze_at=[1,2]",
        EVERY("fit", 3),
    ),
    "fitted head": ("model=mlp", "model.net.hidden=[16]", "model.stages.fit.fit_head=true", EVERY("fit", 3)),
    "patience": ("model=logistic", "model.stages.fit.patience=1", "lr=0.3", EVERY("fit", 3)),
}


class PowerCut(RuntimeError):  # noqa: N818 - no error of ours
    """As sudden, for the files, as kill -9: nothing is saved on the way out."""


def train(folder: Path, *words: str) -> Path:
    main("train", [*ALWAYS, *words, f"hydra.run.dir={folder}"])
    return folder


def left(run: Path) -> tuple[dict[str, float], list[dict[str, str]]]:
    """Metrics and logged rows."""
    return metrics_of(run), rows_of(run)


def assert_same(run: Path, whole: Path) -> None:
    ours, theirs = weights_of(run), weights_of(whole)
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert torch.equal(ours[name], theirs[name]), name
    assert left(run) == left(whole)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Runs without a stop, each made when it is first asked for."""
    made: dict[str, Path] = {}

    def get(kind: str) -> Path:
        if kind not in made:
            made[kind] = train(tmp_path_factory.mktemp(kind) / "run", *RUNS[kind])
        return made[kind]

    return get


def stopping_at(monkeypatch, hook: str, count: int):
    """The power goes at the ``count``-th call of a hook, over all fits."""
    calls = iter(range(1, 10**9))
    original = getattr(SaveForResume, hook)

    def stop(self, trainer, module, *rest):
        if next(calls) == count:
            raise PowerCut(hook)
        return original(self, trainer, module, *rest)

    monkeypatch.setattr(SaveForResume, hook, stop)


# 1,347 training examples of digits in batches of 150 are 9 a epoch: 27 steps a fit.
STOPS = {
    "before anything was saved": ("on_train_batch_start", 2),
    "within the first epoch": ("on_train_batch_start", 6),
    "within the second epoch": ("on_train_batch_start", 15),
    "before the last batch of an epoch": ("on_train_batch_start", 18),
    "after the last batch of an epoch": ("on_train_batch_end", 18),
    "in validation": ("on_validation_batch_start", 2),
    "at the end of an epoch": ("on_train_epoch_end", 2),
    "after the last epoch": ("on_train_end", 1),
    "within the next fit": ("on_train_batch_start", 27 + 15),
    "after the next fit's first epoch": ("on_train_batch_start", 27 + 10),
}
TELLING = ("within the second epoch", "in validation", "after the last epoch")
LAYERED = ("generative", "autoencoder")
CASES = [("belief", stop) for stop in STOPS]
CASES += [(kind, stop) for kind in ("classifier", "gradual") for stop in STOPS if "next" not in stop]
CASES += [(kind, stop) for kind in RUNS.keys() - {"belief", "classifier", "gradual"} for stop in TELLING]
CASES += [(kind, "within the next fit") for kind in LAYERED]


QUICK = {("classifier", stop) for stop in TELLING} | {("belief", "within the next fit")}


@pytest.mark.parametrize(("kind", "stop"), slow_but(sorted(CASES), lambda *case: case in QUICK))
def test_a_run_cut_short_goes_on_as_if_it_had_not_been(kind, stop, whole, tmp_path, monkeypatch, cli):
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        stopping_at(patch, *STOPS[stop])
        with pytest.raises(SystemExit):
            train(run, *RUNS[kind])
    assert not (run / "metrics.json").exists()
    outcome = cli("train", f"resume={run}")
    assert (outcome.status, outcome.err) == (0, "")
    assert_same(run, whole(kind))


@pytest.mark.parametrize(
    ("kind", "number"),
    slow_but(
        [("belief", signal.SIGTERM)]
        + [("classifier", number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)],
        lambda kind, number: number in (signal.SIGINT, signal.SIGUSR1),
    ),
)
def test_a_signal_saves_and_the_run_goes_on(kind, number, whole, tmp_path, monkeypatch, cli):
    run, original = tmp_path / "run", SaveForResume.on_train_batch_start
    words = [word for word in RUNS[kind] if "checkpoint_every_steps" not in word]

    def interrupt(self, trainer, module, batch, batch_idx):
        if (trainer.current_epoch, batch_idx) == (1, 3) and not os.environ.get("ASKED"):
            monkeypatch.setenv("ASKED", "yes")
            os.kill(os.getpid(), number)
        original(self, trainer, module, batch, batch_idx)

    monkeypatch.setattr(SaveForResume, "on_train_batch_start", interrupt)
    with pytest.raises(SystemExit) as stop:
        train(run, *words)
    assert stop.value.code == 128 + number
    saved = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["global_step"] == 13  # the step it was at
    outcome = cli("train", f"resume={run}")
    assert (outcome.status, outcome.err) == (0, "")
    assert_same(run, whole(kind))


def test_the_message_of_a_stop_says_how_to_go_on(tmp_path, monkeypatch, cli):
    run = tmp_path / "run"
    monkeypatch.setattr(SaveForResume, "on_train_start", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    outcome = cli("train", "model=logistic", "dataset=digits", "progress=false", f"hydra.run.dir={run}")
    assert outcome.status == 143
    assert outcome.err == f"zoo train: stopped at step 1 of fit; continue with resume={run}\n"


def test_signals_mean_afterwards_what_they_meant_before(tmp_path):
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}
    train(tmp_path / "run", "model=logistic")
    assert {number: signal.getsignal(number) for number in before} == before


def test_a_finished_run_is_left_as_it_is(whole, cli):
    run = whole("machine")
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    outcome = cli("train", f"resume={run}")
    assert outcome.status == 0
    assert "this run is finished" in outcome.out
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_checkpoints_are_written_by_time_too(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr("zoo.training.callbacks.time.monotonic", lambda: 30.0 * len(seen))
    original = SaveForResume.on_train_batch_end

    def count(self, trainer, *rest):
        before = self.saved_step
        seen.append(trainer.global_step)
        original(self, trainer, *rest)
        if self.saved_step != before:
            saves.append(trainer.global_step)

    saves: list[int] = []
    monkeypatch.setattr(SaveForResume, "on_train_batch_end", count)
    words = ["model.stages.fit.checkpoint_every_minutes=1", "model.stages.fit.checkpoint_every=0", "epochs=1"]
    train(tmp_path / "run", "model=logistic", *words)
    assert saves == [2, 4, 6]  # half a minute each; the epoch's own end is left to checkpoint_every


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_pictures_read_by_worker_processes_go_on_too(workers, pictures, tmp_path, monkeypatch, cli):
    words = ["model=lenet5", "dataset=image_folder", f"dataset.root={pictures}", "dataset.shape=[1,28,28]"]
    words += ["dataset.augment.crop=0.5", "epochs=3", "batch_size=3", f"dataset.workers={workers}", "progress=false"]
    words += [EVERY("fit", 2)]
    main("train", [*words, f"hydra.run.dir={tmp_path / 'whole'}"])
    for stop in ("within the first epoch", "within the second epoch"):
        hook, count = STOPS[stop]
        run = tmp_path / stop.replace(" ", "_")
        with monkeypatch.context() as patch:
            stopping_at(patch, hook, count // 2)
            with pytest.raises(SystemExit):
                main("train", [*words, f"hydra.run.dir={run}"])
        assert cli("train", f"resume={run}").status == 0
        assert_same(run, tmp_path / "whole")


def test_the_order_of_an_epoch_goes_on_where_it_was_left():
    order = list(Shuffle(20, seed=3, epoch=2))
    assert sorted(order) == list(range(20))
    rest = Shuffle(20, seed=3, epoch=2, seen=15)
    assert list(rest) == order[15:]
    assert list(rest) == order  # what comes next is whole again
    assert list(Shuffle(20, seed=3)) != order  # of another epoch


# NaN and Inf


def test_a_loss_that_is_no_number_stops_before_the_step(tmp_path, monkeypatch, cli):
    run = tmp_path / "run"
    outcome = cli("train", *DIVERGES, f"hydra.run.dir={run}")
    assert outcome.status == 1
    assert re.search(r"the loss is (nan|inf) at step \d+ \(epoch \d\)", outcome.err)
    assert not (run / "model.safetensors").exists()


def test_a_gradient_that_is_no_number_stops_before_the_step_and_is_named(tmp_path, monkeypatch, cli):
    original = Classification.training_step

    def training_step(self, batch, batch_idx):
        loss = original(self, batch, batch_idx)
        if self.global_step == 12:  # the loss itself stays finite: the root of 0 has no slope
            loss = loss + (self.net.head.weight * 0).sqrt().sum()
        return loss

    monkeypatch.setattr(Classification, "training_step", training_step)
    run = tmp_path / "run"
    outcome = cli("train", "model=logistic", *ALWAYS, f"hydra.run.dir={run}")
    assert outcome.status == 1
    assert "the gradient of net.head.weight is not finite at step 12 (epoch 1)" in outcome.err
    saved = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["global_step"] < 12
    assert all(torch.isfinite(value).all() for value in saved["state_dict"].values())


def test_a_large_gradient_is_a_gradient(tmp_path, monkeypatch, cli):
    original = Classification.training_step

    def training_step(self, batch, batch_idx):
        return original(self, batch, batch_idx) * 1e25  # whose squares are beyond float32

    monkeypatch.setattr(Classification, "training_step", training_step)
    words = ["optimizer@model.stages.fit.optimizer=sgd", "lr=1e-26", f"hydra.run.dir={tmp_path / 'run'}"]
    assert cli("train", "model=logistic", *ALWAYS, *words).status == 0


def test_weights_that_are_no_numbers_are_not_saved(tmp_path, monkeypatch, cli):
    def spoil(self, trainer, module):
        if trainer.current_epoch == 1:
            with torch.no_grad():
                module.net.head.bias[3] = float("inf")
        return original(self, trainer, module)

    original = SaveForResume.on_train_epoch_end
    monkeypatch.setattr(SaveForResume, "on_train_epoch_end", spoil)
    run = tmp_path / "run"
    outcome = cli("train", "model=logistic", *ALWAYS, f"hydra.run.dir={run}")
    assert outcome.status == 1
    assert "net.head.bias is not finite" in outcome.err
    saved = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert all(torch.isfinite(value).all() for value in saved["state_dict"].values())
    assert not list((run / "checkpoints").glob("*.tmp"))


# Disks


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path, monkeypatch, cli):
    run, original = tmp_path / "run", torch.save

    def save(checkpoint, path):
        original(checkpoint, path)
        if checkpoint["epoch"] == 1:
            os.truncate(path, 100)
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch, "save", save)
    outcome = cli("train", "model=logistic", *ALWAYS, f"hydra.run.dir={run}")
    assert outcome.status == 1
    assert "last.ckpt could not be written ([Errno 28] No space left on device)" in outcome.err
    assert "an existing file is left untouched" in outcome.err
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["last.ckpt"]
    assert torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["epoch"] == 0
    monkeypatch.setattr(torch, "save", original)
    assert cli("train", f"resume={run}").status == 0


def test_a_disk_too_full_for_the_weights_is_told_and_gone_on_from(tmp_path, monkeypatch, cli, whole):
    def save_file(*_):
        raise SafetensorError("I/O error: No space left on device")

    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "save_file", save_file)
        outcome = cli("train", *RUNS["machine"], *ALWAYS, f"hydra.run.dir={run}")
    assert outcome.status == 1
    assert "model.safetensors could not be written" in outcome.err
    assert not list(run.glob("*model*"))
    assert cli("train", f"resume={run}").status == 0
    assert_same(run, whole("machine"))


# What lies in a run folder is not believed


@pytest.mark.parametrize("insisted", [False, True])
def test_code_in_a_checkpoint_is_not_run(insisted, whole, tmp_path, monkeypatch, cli):
    run, marker = tmp_path / "run", tmp_path / "marker"
    shutil.copytree(whole("machine"), run)
    (run / "metrics.json").unlink()
    content = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    torch.save({**content, "hyper_parameters": {"_instantiator": Touch(marker)}}, run / "checkpoints" / "last.ckpt")
    if insisted:
        monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    outcome = cli("train", f"resume={run}")
    assert outcome.status == 1
    assert "last.ckpt: not a plain state dict" in outcome.err
    assert not marker.exists()
    assert not (run / "metrics.json").exists()


@pytest.mark.parametrize("key", ["model.net", "model.stages.fit.task", "model.stages.fit.optimizer", "dataset.source"])
@pytest.mark.parametrize(
    "target", ["os.system", "torch.load", "torch.hub.load", "numpy.load", "zoo.models.mlp.Path.touch"]
)
def test_the_config_of_a_run_cannot_call_what_is_not_the_zoos(key, target, whole, tmp_path, cli):
    run = tmp_path / "run"
    shutil.copytree(whole("machine"), run)
    (run / "metrics.json").unlink()
    config = OmegaConf.load(run / "config.yaml")
    OmegaConf.update(config, f"{key}._target_", target)
    OmegaConf.save(config, run / "config.yaml")
    outcome = cli("train", f"resume={run}")
    assert outcome.status == 1
    assert f"{key}._target_: {target!r} is not one of" in outcome.err


def test_a_damaged_checkpoint_is_named(whole, tmp_path, cli):
    run = tmp_path / "run"
    shutil.copytree(whole("machine"), run)
    (run / "metrics.json").unlink()
    os.truncate(run / "checkpoints" / "last.ckpt", 1000)
    outcome = cli("train", f"resume={run}")
    assert outcome.status == 1
    assert re.search(r"last\.ckpt: (damaged or truncated|not a plain state dict)", outcome.err)
