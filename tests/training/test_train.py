"""What a run writes, that it is a function of its seed, when it stops early, and that resuming is exact."""

import json
from pathlib import Path

import pytest
import torch
from support import config_of, metrics_of, rows_of, same_weights, weights_of

from zoo.checkpoints import checkpoint as checkpoints
from zoo.cli.main import main
from zoo.config.catalogue import CONF
from zoo.data.sources import digits
from zoo.training.fit.callbacks import SaveForResume

WORDS = ["model=logistic", "dataset=digits", "progress=false"]


def train(folder: Path, *words: str) -> Path:
    main("train", [*WORDS, *words, f"hydra.run.dir={folder}"])
    return folder


@pytest.fixture(scope="module")
def one(tmp_path_factory) -> Path:
    """One epoch of logistic regression on digits with seed 1."""
    return train(tmp_path_factory.mktemp("one") / "run", "epochs=1")


def test_the_run_folder_holds_what_is_promised_and_no_more(trained):
    kept = {str(path.relative_to(trained)) for path in trained.rglob("*") if path.is_file()}
    assert {name for name in kept if not name.startswith(".hydra/")} == {
        "config.yaml",
        "preprocess.json",
        "splits.json",
        "metrics.json",
        "metrics.csv",
        "curves.png",
        "confusion.png",
        "confusion.csv",
        "per_class.csv",
        "model.safetensors",
        "checkpoints/last.ckpt",
    }
    for name in ("curves.png", "confusion.png"):
        assert (trained / name).read_bytes().startswith(b"\x89PNG")


def test_the_config_is_resolved_and_begins_with_the_command(trained):
    text = (trained / "config.yaml").read_text()
    assert text.startswith("# zoo train model=lenet5 dataset=digits epochs=3 progress=false\n")
    assert "${" not in text
    assert config_of(trained)["model"]["net"]["in_shape"] == [1, 28, 28]


def test_the_metrics_are_those_of_both_parts(trained):
    metrics = metrics_of(trained)
    names = ("loss", "accuracy", "f1", "calibration_error")
    assert set(metrics) == {f"{part}/{name}" for part in ("val", "test") for name in names}
    assert metrics["test/accuracy"] > 0.8
    rows = rows_of(trained)
    assert float(rows[-1]["val/accuracy"]) == pytest.approx(metrics["val/accuracy"])
    assert [row["epoch"] for row in rows if row["val/accuracy"]] == ["0", "1", "2"]
    assert any(row["train/loss"] for row in rows)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(one, tmp_path):
    assert same_weights(one, train(tmp_path / "again", "epochs=1"))
    assert not same_weights(one, train(tmp_path / "other", "epochs=1", "seed=2"))


def test_another_logger_does_not_change_the_weights(one, tmp_path):
    pytest.importorskip("tensorboard")
    run = train(tmp_path / "run", "epochs=1", "logger=tensorboard")
    assert list(run.rglob("events.out.tfevents.*"))
    assert same_weights(one, run)


def test_settings_at_the_root_reach_every_stage(tmp_path):
    run = train(tmp_path / "run", "epochs=1", "batch_size=300", "lr=0.02", "model.stages.fit.epochs=7")
    stage = config_of(run)["model"]["stages"]["fit"]
    assert (stage["epochs"], stage["batch_size"], stage["optimizer"]["lr"]) == (1, 300, 0.02)
    assert [int(row["step"]) for row in rows_of(run) if row["val/loss"]] == [4]  # 1,293 examples in five batches


def test_the_settings_of_a_stage_hold_where_the_root_has_none(tmp_path):
    words = ["epochs=2", "batch_size=650", "optimizer.lr=0.02"]
    run = train(tmp_path / "run", *(f"model.stages.fit.{word}" for word in words))
    assert [int(row["step"]) for row in rows_of(run) if row["val/loss"]] == [1, 3]
    assert same_weights(run, train(tmp_path / "root", "epochs=2", "batch_size=650", "lr=0.02"))


def test_patience_stops_and_keeps_the_weights_of_the_best_epoch(cli, tmp_path):
    run = train(tmp_path / "run", "lr=3", "epochs=12", "model.stages.fit.patience=2", "batch_size=200")
    epochs = [row for row in rows_of(run) if row["val/accuracy"]]
    accuracy = [float(row["val/accuracy"]) for row in epochs]
    best = accuracy.index(max(accuracy))
    assert len(epochs) == min(12, best + 3)
    kept = metrics_of(run)
    assert kept["val/accuracy"] == pytest.approx(accuracy[best])
    assert kept["val/loss"] == pytest.approx(float(epochs[best]["val/loss"]), rel=1e-5)
    assert kept["val/loss"] != pytest.approx(float(epochs[-1]["val/loss"]), rel=1e-4), "the last epoch's are others"
    validation = digits.load().validation
    with torch.inference_mode():
        answers = checkpoints.load(run)(checkpoints.info(run).transforms()(validation.x)).argmax(dim=1)
    assert (answers == validation.y).float().mean().item() == pytest.approx(accuracy[best])


@pytest.mark.parametrize("key", ["patience", "stop_below"])
def test_to_stop_early_there_must_be_a_validation_part(key, cli, tmp_path):
    words = ("dataset.validation=0", f"model.stages.fit.{key}=1", f"hydra.run.dir={tmp_path / 'run'}")
    outcome = cli("train", *WORDS, *words)
    assert outcome.status == 1
    assert (
        outcome.err
        == f"zoo train: model.stages.fit.{key} needs a validation split: set dataset.validation, or {key} to null\n"
    )
    assert not (tmp_path / "run").exists()


def test_a_fit_stops_once_its_loss_is_low_enough_and_tells_its_steps(tmp_path):
    run = train(tmp_path / "run", "epochs=30", "batch_size=400", "lr=0.01", "model.stages.fit.stop_below=1.0")
    losses = [float(row["val/loss"]) for row in rows_of(run) if row["val/loss"]]
    assert losses[-1] < 1 <= min(losses[:-1])
    assert len(losses) < 30
    metrics = metrics_of(run)
    assert metrics["fit/steps"] == 4 * len(losses)  # 1,293 examples in batches of 400
    assert metrics["val/loss"] == pytest.approx(losses[-1], rel=1e-5)


def test_a_loss_that_never_gets_so_low_stops_nothing(tmp_path):
    run = train(tmp_path / "run", "epochs=3", "batch_size=400", "model.stages.fit.stop_below=0")
    assert metrics_of(run)["fit/steps"] == 12


def test_patience_and_a_low_enough_loss_go_together(tmp_path):
    words = ("model=linear", "dataset=line", "model.stages.fit.patience=3", "model.stages.fit.stop_below=1e-3")
    run = train(tmp_path / "run", *words)
    assert metrics_of(run)["fit/steps"] < 50 * 8


def test_a_stage_that_has_no_such_loss_is_refused_at_once(cli, tmp_path):
    words = ("model=dbn", "model.net.hidden=[8]", "model.stages.pretrain.stop_below=1", "epochs=1")
    outcome = cli("train", *WORDS, *words, f"hydra.run.dir={tmp_path / 'run'}")
    assert outcome.status == 1
    assert "stop_below" in outcome.err
    assert "unexpected" not in outcome.err
    assert not (tmp_path / "run").exists()


def test_a_resumed_run_tells_the_steps_of_the_fits_before_the_stop(cli, tmp_path, monkeypatch):
    def stop(self, trainer, pl_module, examples, batch_idx):
        if (self.name, trainer.current_epoch) == ("pretrain.layer1", 1):
            raise RuntimeError("the power is gone")

    monkeypatch.setattr("zoo.plots.stage_plots.draw", lambda *args, **options: None)
    words = ["model=sae", "model.net.hidden=[8,6]", "batch_size=400", "model.stages.pretrain.stop_below=0"]
    words += ["model.stages.pretrain.epochs=2", "model.stages.finetune.epochs=0"]
    with monkeypatch.context() as patch:
        patch.setattr(SaveForResume, "on_train_batch_start", stop)
        assert cli("train", *WORDS, *words, f"hydra.run.dir={tmp_path / 'run'}").status == 1
    outcome = cli("train", f"resume={tmp_path / 'run'}")
    assert outcome.status == 0, outcome.err
    metrics = metrics_of(tmp_path / "run")
    steps = {name: value for name, value in metrics.items() if name.endswith("/steps")}
    assert steps == {"pretrain.layer0/steps": 8, "pretrain.layer1/steps": 8}


def test_ema_keeps_the_average_and_not_the_last_weights(one, tmp_path):
    run = train(tmp_path / "run", "epochs=1", "model.stages.fit.ema=0.9")
    averaged, last = weights_of(run), weights_of(one)
    start = weights_of(train(tmp_path / "start", "epochs=1", "lr=0"))
    for name in last:
        assert not torch.equal(averaged[name], last[name])
    away = sum(float((last[name] - start[name]).norm()) for name in last)
    assert 0 < sum(float((averaged[name] - start[name]).norm()) for name in last) < away


@pytest.mark.parametrize("more", [[], ["model.stages.fit.patience=3"]])
def test_the_weights_are_mixed_with_those_before_the_fit(more, tmp_path):
    start = weights_of(train(tmp_path / "start", "epochs=1", "lr=0"))
    trained = weights_of(train(tmp_path / "trained", "epochs=2", *more))
    mixed = weights_of(train(tmp_path / "mixed", "epochs=2", "model.stages.fit.interpolation=0.25", *more))
    for name, value in mixed.items():
        torch.testing.assert_close(value, 0.75 * start[name] + 0.25 * trained[name])


def test_gradients_are_clipped_in_mixed_precision(one, tmp_path):
    run = train(tmp_path / "run", "epochs=1", "accelerator.precision=bf16-mixed", "model.stages.fit.gradient_clip=1e-6")
    assert config_of(run)["model"]["stages"]["fit"]["optimizer"]["fused"] is False
    free = train(tmp_path / "free", "epochs=1", "accelerator.precision=bf16-mixed")
    assert config_of(free)["model"]["stages"]["fit"]["optimizer"]["fused"] is True
    assert not same_weights(run, free)


def test_a_net_trained_in_mixed_precision_is_measured_in_full_as_evaluate_does(cli, folder):
    words = ("epochs=1", "accelerator.precision=bf16-mixed", "progress=false", "hydra.run.dir=run")
    assert cli("train", *words).status == 0
    assert cli("evaluate", "checkpoint=run", "output=metrics.json").status == 0
    found = metrics_of(folder / "run")
    again = metrics_of(folder)
    del again["classes"], again["reliability"]
    for name, value in again.items():
        assert value == pytest.approx(found[name], rel=1e-6), name


@pytest.fixture(scope="module")
def four(tmp_path_factory) -> Path:
    """Four epochs without a stop."""
    return train(tmp_path_factory.mktemp("four") / "run", "epochs=4", "batch_size=16")


@pytest.mark.parametrize("batch", [0, 60], ids=["between epochs", "within an epoch"])
def test_a_stopped_run_goes_on_to_the_same_weights_and_history(batch, four, cli, tmp_path, monkeypatch):
    def stop(self, trainer, pl_module, examples, batch_idx):
        if (trainer.current_epoch, batch_idx) == (2, batch):
            raise RuntimeError("the power is gone")

    run = tmp_path / "run"
    words = [*WORDS, "epochs=4", "batch_size=16", f"hydra.run.dir={run}"]
    with monkeypatch.context() as patch:
        patch.setattr(SaveForResume, "on_train_batch_start", stop)
        assert cli("train", *words).status == 1
    assert (run / "checkpoints" / "last.ckpt").is_file()
    assert not (run / "model.safetensors").exists()
    monkeypatch.chdir(tmp_path)
    outcome = cli("train", f"resume={run}")
    assert (outcome.status, outcome.err) == (0, "")
    assert same_weights(run, four)
    assert rows_of(run) == rows_of(four)
    assert metrics_of(run) == metrics_of(four)
    assert config_of(run) == config_of(four)


def test_resume_needs_a_run(cli, folder):
    (folder / "empty").mkdir()
    outcome = cli("train", "resume=empty")
    assert outcome.status == 1
    assert "resume=empty: not a run folder" in outcome.err
    assert not list((folder / "empty").iterdir())


def test_linear_regression_finds_the_line(tmp_path):
    run = train(tmp_path / "run", "model=linear", "dataset=line")
    metrics = metrics_of(run)
    assert set(metrics) == {f"{part}/{name}" for part in ("val", "test") for name in ("loss", "mse", "mae")}
    assert metrics["test/mse"] < 1e-3
    assert not (run / "confusion.png").exists()
    assert (run / "curves.png").is_file()


def test_curves_have_no_panel_without_a_line(tmp_path, monkeypatch):
    drawn = {}
    monkeypatch.setattr("zoo.plots.curves.curves", lambda panels, path: drawn.update(panels))
    train(tmp_path / "run", "dataset.validation=0", "epochs=1")
    assert list(drawn) == ["loss"]


def test_a_sweep_leaves_one_table_with_a_row_for_each_job(cli, tmp_path):
    outcome = cli("train", "-m", "seed=1,2", *WORDS, "epochs=1", f"hydra.sweep.dir={tmp_path}")
    assert outcome.status == 0
    rows = rows_of(tmp_path / "sweep.csv")
    assert [(row["job"], row["seed"]) for row in rows] == [("0", "1"), ("1", "2")]
    for row in rows:
        metrics = json.loads((tmp_path / row["job"] / "metrics.json").read_text())
        assert {name: float(row[name]) for name in metrics} == metrics
    assert not same_weights(tmp_path / "0", tmp_path / "1")
    assert "sweep.csv" in outcome.out


def choices(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


OPTIMIZERS, SCHEDULES = choices("optimizer"), choices("lr_schedule")


@pytest.mark.parametrize(
    ("optimizer", "schedule"),
    [
        (OPTIMIZERS[i % len(OPTIMIZERS)], SCHEDULES[i % len(SCHEDULES)])
        for i in range(max(len(OPTIMIZERS), len(SCHEDULES)))
    ],
)
def test_every_optimizer_and_learning_rate_course_trains(optimizer, schedule, tmp_path):
    words = [
        f"optimizer@model.stages.fit.optimizer={optimizer}",
        f"lr_schedule@model.stages.fit.lr_schedule={schedule}",
    ]
    run = train(tmp_path / "run", *words, "epochs=2", "lr=0.01", "batch_size=200")
    assert metrics_of(run)["val/accuracy"] > 0.5
