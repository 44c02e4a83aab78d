"""A sweep over seeds and two values of a key is a paired comparison, with the interval that a textbook gives."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import yaml
from hydra.core.utils import JobReturn, JobStatus
from hydra.types import RunMode
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import OmegaConf
from scipy import stats
from support import no_plots, rows_of

from zoo.config.catalogue import CONF
from zoo.config.sweep_folder import record_failure
from zoo.training.statistics import k_fold, paired
from zoo.training.sweep import SweepTable

KEY = "model.net.dropout"


def jobs(*rows: tuple[dict, float], metric: str = "test/accuracy") -> tuple[list[dict], list[dict]]:
    """Settings and metrics of jobs, from (settings, value) each."""
    settings = [{key: str(value) for key, value in row.items()} for row, _ in rows]
    return settings, [{metric: value, "epochs": 3} for _, value in rows]


def crossed(values: dict[str, list[float]], key: str = KEY) -> list[tuple[dict, float]]:
    """A job for every value of the key and every seed from 1 on."""
    return [({key: v, "seed": s}, found) for v, row in values.items() for s, found in enumerate(row, 1)]


FIVE = {"0": [0.91, 0.93, 0.90, 0.94, 0.92], "0.5": [0.95, 0.94, 0.93, 0.96, 0.94]}


def test_the_interval_is_that_of_a_paired_t_test():
    (row,) = paired(*jobs(*crossed(FIVE)))
    test = stats.ttest_rel(FIVE["0"], FIVE["0.5"])
    interval = test.confidence_interval(0.95)
    assert row["metric"] == "test/accuracy"
    assert row["pairs"] == 5
    assert row[f"{KEY}=0"] == pytest.approx(np.mean(FIVE["0"]))
    assert row[f"{KEY}=0.5"] == pytest.approx(np.mean(FIVE["0.5"]))
    assert row["difference"] == pytest.approx(np.mean(FIVE["0"]) - np.mean(FIVE["0.5"]))
    assert row["difference"] < 0, "the first value's minus the second's"
    assert (row["from"], row["to"]) == pytest.approx((interval.low, interval.high))


def test_the_difference_is_the_first_values_minus_the_seconds_in_the_order_they_were_asked_for():
    (row,) = paired(*jobs(*crossed({"0.5": FIVE["0.5"], "0": FIVE["0"]})))
    assert row["difference"] == pytest.approx(0.024)
    assert row["from"] < 0.024 < row["to"]


def test_the_order_of_the_jobs_does_not_matter_to_the_pairs():
    rows = crossed(FIVE)
    mixed = [rows[0], *rows[:0:-1]]  # the first value stays first
    assert paired(*jobs(*mixed)) == [pytest.approx(row) for row in paired(*jobs(*rows))]


def test_seeds_that_miss_one_arm_are_left_out():
    rows = crossed({"0": FIVE["0"], "0.5": FIVE["0.5"][:3]})
    (row,) = paired(*jobs(*rows))
    (expected,) = paired(*jobs(*crossed({value: found[:3] for value, found in FIVE.items()})))
    assert row["pairs"] == 3
    assert row == pytest.approx(expected)


def test_a_single_pair_has_no_interval():
    assert paired(*jobs(*crossed({"0": FIVE["0"], "0.5": FIVE["0.5"][:1]}))) == []


@pytest.mark.parametrize(
    "values",
    [{"0": [0.5, 0.75], "0.5": [0.25, 0.3]}, {"0": [0.5, 0.6, 0.7], "0.5": [0.25, 0.35, 0.45]}],
    ids=["two pairs", "equal differences"],
)
def test_too_little_evidence_gives_a_difference_without_an_interval(values):
    (row,) = paired(*jobs(*crossed(values)))
    assert row["difference"] == pytest.approx(np.mean(values["0"]) - np.mean(values["0.5"]))
    assert (row["from"], row["to"]) == (None, None)
    assert row["pairs"] == len(values["0"])


def test_metrics_that_are_nan_have_no_interval():
    (row,) = paired(*jobs(*crossed({"0": [0.5, math.nan, 0.7], "0.5": [0.1, 0.2, 0.4]})))
    assert (row["from"], row["to"]) == (None, None)


def test_every_combination_of_the_other_settings_is_a_row_of_its_own():
    rows = [
        (
            {"dataset.labeled_examples": labels, KEY: value, "seed": seed, "epochs": 3},
            labels * seed * (1 if value else 2),
        )
        for labels in (10, 20, 30)
        for value in (0, 1)
        for seed in (1, 2, 3)
    ]
    found = paired(*jobs(*rows))
    assert [row["dataset.labeled_examples"] for row in found] == ["10", "20", "30"]
    assert [row["difference"] for row in found] == pytest.approx([20, 40, 60])
    assert all("epochs" not in row for row in found), "it is the same in all"
    assert found[0]["to"] - found[0]["from"] == pytest.approx(2 * stats.t.ppf(0.975, 2) * 10 / 3**0.5)


def test_every_metric_is_a_row_those_of_the_validation_split_first():
    settings, metrics = jobs(*crossed(FIVE))
    for entry in metrics:
        entry |= {"test/loss": 1 - entry["test/accuracy"], "val/loss": 2 * entry["test/accuracy"]}
    found = {row["metric"]: row["difference"] for row in paired(settings, metrics)}
    assert list(found) == ["val/loss", "test/accuracy", "test/loss"]
    assert list(found.values()) == pytest.approx([-0.048, -0.024, 0.024])


TWO_KEYS = [
    ({"a": a, "b": b, "seed": seed}, 10 * a + b + seed / 7 * a) for a in (1, 2) for b in (1, 2) for seed in (1, 2, 3)
]


def test_compare_picks_the_key():
    settings, metrics = jobs(*TWO_KEYS)
    assert paired(settings, metrics) == [], "two keys have two values"
    by_a, by_b = (paired(settings, metrics, compare=key) for key in "ab")
    assert [row["b"] for row in by_a] == ["1", "2"]
    assert [row["difference"] for row in by_a] == pytest.approx([-10 - 2 / 7] * 2)
    assert [row["a"] for row in by_b] == ["1", "2"]
    assert [row["difference"] for row in by_b] == pytest.approx([-1, -1])


@pytest.mark.parametrize(
    ("rows", "compare"),
    [
        ([], None),
        (crossed({"0": [0.1, 0.2, 0.3]}), None),
        (crossed({"0": [0.1, 0.2], "1": [0.1, 0.2], "2": [0.1, 0.2]}), None),
        (crossed({"0": [0.1], "1": [0.1]}), None),
        ([({KEY: "0"}, 0.1), ({KEY: "1"}, 0.2)], None),
        (crossed(FIVE), "lr"),
        (crossed(FIVE), "seed"),
    ],
    ids=["no jobs", "one value", "three values", "one seed", "no seeds", "another key", "seed"],
)
def test_what_is_no_comparison_gives_none(rows, compare):
    assert paired(*jobs(*rows), compare=compare) == []


def sweep_in(folder: Path, *jobs: tuple[str, dict[str, float]]) -> Path:
    """The folder of a sweep, from (overrides, metrics) of each job."""
    for k, (overrides, metrics) in enumerate(jobs):
        (folder / str(k) / ".hydra").mkdir(parents=True)
        (folder / str(k) / ".hydra" / "overrides.yaml").write_text(f"[{overrides}]")
        (folder / str(k) / "metrics.json").write_text(json.dumps(metrics))
        (folder / str(k) / "metrics.csv").write_text("fit,epoch,step,val/loss\n")
    return folder


def end(folder: Path, compare: str | None = None, *, show_test: bool = False) -> None:
    """What happens at the end of the sweep in ``folder``."""
    hydra = {"sweep": {"dir": str(folder)}, "launcher": {}}
    SweepTable().on_multirun_end(OmegaConf.create({"hydra": hydra, "compare": compare, "show_test": show_test}))


@pytest.mark.parametrize("show_test", [False, True])
def test_a_small_sweep_prints_and_writes_its_paired_differences(show_test, cli, folder, monkeypatch):
    no_plots(monkeypatch)
    monkeypatch.setenv("COLUMNS", "200")
    words = ["model=mlp", "model.net.hidden=[10]", "epochs=1", "progress=false", "hydra.sweep.dir=sweep"]
    words += ["show_test=true"] if show_test else []
    outcome = cli("train", "-m", "seed=1,2", f"{KEY}=0,0.5", *words)
    assert (outcome.status, outcome.err) == (0, "")
    assert len(rows_of(folder / "sweep" / "sweep.csv")) == 4
    measured = {
        (row["seed"], row[KEY]): json.loads((folder / "sweep" / row["job"] / "metrics.json").read_text())
        for row in rows_of(folder / "sweep" / "sweep.csv")
    }
    found = {row["metric"]: row for row in rows_of(folder / "sweep" / "paired.csv")}
    names = ("accuracy", "calibration_error", "f1", "loss")
    assert {"val/accuracy", "val/loss", *(f"test/{name}" for name in names)} <= found.keys()
    for metric, row in found.items():
        first, second = ([measured[seed, value][metric] for seed in "12"] for value in ("0", "0.5"))
        assert float(row[f"{KEY}=0"]) == pytest.approx(np.mean(first))
        assert float(row["difference"]) == pytest.approx(np.mean(first) - np.mean(second))
        assert (row["from"], row["to"], row["pairs"]) == ("", "", "2")
    table, differences = outcome.out.split("sweep/sweep.csv")[-1].split("paired.csv")
    assert "val/accuracy" in table
    assert "val/accuracy" in differences
    assert "val/loss" not in differences, "the headline alone"
    for text in (table, differences):
        assert ("test/" in text) == show_test
        assert not show_test or text.index("val/") < text.index("test/")
    assert "from" not in differences, "two pairs have no interval"


def test_a_job_that_fails_leaves_the_table_of_the_others_and_ends_with_status_1(cli, folder, monkeypatch):
    no_plots(monkeypatch)
    words = ["model=logistic", "epochs=1", "progress=false", "hydra.sweep.dir=sweep"]
    outcome = cli("train", "-m", "batch_size=64,0,32,-1", *words)
    assert outcome.status == 1
    (line,) = outcome.err.splitlines()
    assert line.startswith("zoo train: job 1 (batch_size=0,")
    assert "failed: model.stages.fit.batch_size=0 must be >= 1; job 3 (batch_size=-1," in line
    rows = rows_of(folder / "sweep" / "sweep.csv")
    assert [row["status"] for row in rows] == ["finished", "failed", "finished", "failed"]
    assert [bool(row["val/loss"]) for row in rows] == [True, False, True, False]
    assert rows[1]["error"] == "model.stages.fit.batch_size=0 must be >= 1"
    assert "job 1 failed: model.stages.fit.batch_size=0 must be >= 1\njob 2: " in outcome.out


def test_jobs_that_fail_for_the_same_reason_are_named_together(cli, folder):
    words = ["model=logistic", "dataset=npz", "dataset.root=none.npz", "hydra.sweep.dir=sweep"]
    outcome = cli("train", "-m", "seed=1,2,3,4,5", *words)
    assert outcome.status == 1
    (line,) = outcome.err.splitlines()
    assert "and 2 more jobs failed: " in line
    assert line.count("none.npz") == 4, "in the names of three jobs, and in the reason"
    assert {row["status"] for row in rows_of(folder / "sweep" / "sweep.csv")} == {"failed"}


def test_the_table_is_written_after_every_job(tmp_path):
    sweep_in(tmp_path, ("lr=1", {"val/loss": 1.0}), ("lr=2", {"val/loss": 2.0}))
    table = SweepTable()
    record_failure(tmp_path / "1", "job 1", ["lr=2"], "no memory")
    for job, returned in (("0", {"val/loss": 1.0}), ("1", None)):
        hydra = {"sweep": {"dir": str(tmp_path)}, "runtime": {"output_dir": str(tmp_path / job)}}
        hydra |= {"mode": "MULTIRUN", "launcher": {"_target_": "hydra.BasicLauncher"}}
        cfg = OmegaConf.create({"hydra": hydra})
        cfg.hydra.mode = RunMode.MULTIRUN
        job_return = JobReturn(status=JobStatus.COMPLETED)
        job_return.return_value = returned
        table.on_job_end(cfg, job_return)
        assert [row["status"] for row in rows_of(tmp_path / "sweep.csv")] == ["finished", "failed"]


@pytest.mark.parametrize(
    ("compare", "reason"),
    [
        ("lr", r"the key has 3 values in the finished jobs of this sweep (1, 2, 3), but a comparison needs 2"),
        ("epochs", "the key has 1 values in the finished jobs of this sweep (5), but a comparison needs 2"),
        ("typo", "the key has 0 values in the finished jobs of this sweep, but a comparison needs 2"),
        ("seed", "jobs are paired by seed; name the other key"),
        ("batch_size", "fewer than two seeds have a finished job with each of the two values"),
    ],
)
def test_a_key_that_cannot_be_compared_is_named(compare, reason, tmp_path, capsys):
    settings = [f"lr={lr},batch_size={8 * seed},epochs=5,seed={seed}" for lr in (1, 2, 3) for seed in (1, 2)]
    sweep_in(tmp_path, *((text, {"val/loss": 1.0}) for text in settings))
    end(tmp_path, compare)
    assert f"compare={compare}: {reason}\n" in capsys.readouterr().err
    assert not (tmp_path / "paired.csv").exists()


def test_a_comparison_without_seeds_is_refused_in_words(tmp_path, capsys):
    end(sweep_in(tmp_path, ("lr=1", {"val/loss": 1.0}), ("lr=2", {"val/loss": 2.0})), "lr")
    assert "compare=lr: a comparison needs at least two seeds" in capsys.readouterr().err


def test_values_of_keys_are_printed_as_they_are(tmp_path, capsys):
    end(sweep_in(tmp_path, ("'dataset.root=[/x]'", {"val/loss": 1.0}), ("lr=2", {"val/loss": 2.0})))
    out = capsys.readouterr().out
    assert "[/x]" in out


def test_without_a_validation_split_the_key_for_test_metrics_is_named(tmp_path, capsys):
    end(sweep_in(tmp_path / "a", ("lr=1", {"test/loss": 1.5}), ("lr=2", {"test/loss": 2.5})))
    out = capsys.readouterr().out
    assert "show_test=true prints the test metrics" in out
    assert "1.5000" not in out
    end(sweep_in(tmp_path / "b", ("lr=1", {"test/loss": 1.5}), ("lr=2", {"test/loss": 2.5})), show_test=True)
    assert "1.5000" in capsys.readouterr().out


def test_a_plot_that_fails_leaves_the_tables_and_a_warning(tmp_path, monkeypatch, capsys):
    def fail(*_, **__):
        raise RuntimeError("no memory")

    folder = sweep_in(tmp_path, ("lr=1", {"val/loss": 1.0}), ("lr=2", {"val/loss": 2.0}))
    (folder / "0" / "metrics.csv").write_text("fit,epoch,step,val/loss\nfit,0,5,1.5\n")
    monkeypatch.setattr("zoo.plots.curves.curves", fail)
    end(folder)
    assert capsys.readouterr().err == f"{folder}/curves.png could not be drawn: no memory\n"
    assert (folder / "sweep.csv").is_file()


def test_of_several_processes_the_first_alone_writes_the_table(tmp_path, monkeypatch):
    (tmp_path / "0" / ".hydra").mkdir(parents=True)
    (tmp_path / "0" / ".hydra" / "overrides.yaml").write_text("[seed=1]")
    (tmp_path / "0" / "metrics.json").write_text('{"test/accuracy": 0.5}')
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    end(tmp_path)
    assert not (tmp_path / "sweep.csv").exists()
    monkeypatch.setattr(rank_zero_only, "rank", 0)
    end(tmp_path)
    assert (tmp_path / "sweep.csv").exists()


def test_label_fractions_is_twenty_jobs():
    import hydra

    import zoo.config.schemas  # noqa: F401 - registers them

    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = hydra.compose("train", ["experiment=label_fractions"], return_hydra_config=True)
    values = {key: str(value).split(",") for key, value in cfg.hydra.sweeper.params.items()}
    assert np.prod([len(found) for found in values.values()]) == 20
    assert values == {
        "dataset.labeled_examples": ["100", "1000"],
        "model.stages.pretrain.epochs": ["10", "0"],
        "seed": ["1", "2", "3", "4", "5"],
    }
    assert cfg.compare in values
    assert (cfg.model.name, cfg.dataset.name, cfg.hydra.mode.name) == ("dbn", "mnist", "MULTIRUN")
    assert cfg.dataset.validation == 0  # all 60,000 images


@pytest.mark.slow
def test_label_fractions_in_small_prints_paired_differences(cli, folder, monkeypatch):
    no_plots(monkeypatch)
    words = ["dataset=digits", "model.net.hidden=[10]", "dataset.labeled_examples=20,40", "seed=1,2", "progress=false"]
    words += ["model.stages.pretrain.epochs=1,0", "model.stages.finetune.epochs=1", "hydra.sweep.dir=sweep"]
    outcome = cli("train", "experiment=label_fractions", *words, "model.stages.finetune.min_steps=3")
    assert (outcome.status, outcome.err) == (0, "")
    assert len(list(folder.glob("sweep/*/model.safetensors"))) == 8
    rows = [row for row in rows_of(folder / "sweep" / "paired.csv") if row["metric"] == "test/accuracy"]
    assert [row["dataset.labeled_examples"] for row in rows] == ["20", "40"]
    for row in rows:
        means = [float(row[f"model.stages.pretrain.epochs={epochs}"]) for epochs in (1, 0)]
        assert float(row["difference"]) == pytest.approx(means[0] - means[1])
        assert row["pairs"] == "2"
    assert "paired.csv" in outcome.out


@pytest.mark.slow
def test_a_start_near_the_answer_shortens_the_way(cli, folder, monkeypatch):
    """Gradient descent on (w - 1)^2 E[x^2] multiplies w - 1 by 1 - 2 lr E[x^2] in every step; b stays at 0."""
    monkeypatch.setenv("COLUMNS", "200")
    outcome = cli("train", "experiment=warm_start_line", "hydra.sweep.dir=sweep")
    assert (outcome.status, outcome.err) == (0, "")
    found = {float(row["model.net.init"]): row for row in rows_of(folder / "sweep" / "sweep.csv")}
    with (CONF / "optimizer" / "sgd.yaml").open() as file:
        lr = yaml.safe_load(file)["lr"]
    x = np.linspace(-1, 1, 64)
    between = ((x[1:] + x[:-1]) / 2)[::2]  # on which the loss is watched
    for init, steps in ((0.1, 56), (0.9, 25)):
        falls = (1 - 2 * lr * (x**2).mean()) ** 2
        closed = math.log(1e-4 / ((init - 1) ** 2 * (between**2).mean())) / math.log(falls)
        assert math.ceil(closed) == steps
        assert found[init]["fit/steps"] == str(steps)
        job = folder / "sweep" / found[init]["job"]
        losses = [float(row["val/loss"]) for row in rows_of(job) if row["val/loss"]]
        expected = (init - 1) ** 2 * (between**2).mean() * falls ** np.arange(1, steps + 1)
        np.testing.assert_allclose(losses, expected, rtol=1e-3)
        assert losses[-1] < 1e-4 <= losses[-2]
        assert json.loads((job / "metrics.json").read_text())["fit/steps"] == steps
    assert (folder / "sweep" / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert "fit/steps" in outcome.out


def test_the_curves_of_many_jobs_would_be_a_tangle(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr("zoo.plots.curves.curves", lambda panels, path: drawn.append(panels))
    for count in (8, 9):
        for k in range(count):
            job = tmp_path / str(count) / str(k)
            (job / ".hydra").mkdir(parents=True)
            (job / ".hydra" / "overrides.yaml").write_text(f"[lr={k}, epochs=1]")
            (job / "metrics.json").write_text('{"test/loss": 1.0, "fit/steps": 3}')
            (job / "metrics.csv").write_text(f"fit,epoch,step,val/loss\nfit,0,5,{k}.5\n")
        end(tmp_path / str(count))
        assert (tmp_path / str(count) / "sweep.csv").is_file()
    assert drawn == [{"validation loss": {f"lr={k}": ([5], [k + 0.5]) for k in range(8)}}]


def test_a_folder_with_a_sweep_is_refused_before_a_job_runs(cli, folder):
    (folder / "sweep").mkdir()
    (folder / "sweep" / "sweep.csv").write_text("job\n")
    outcome = cli("train", "-m", "model=logistic", "seed=1,2", "hydra.sweep.dir=sweep")
    assert outcome.err == "zoo train: sweep/sweep.csv exists and would be replaced; set another hydra.sweep.dir=\n"
    assert outcome.status == 1
    assert [path.name for path in folder.rglob("*.*")] == ["sweep.csv"]


FOLDS = [
    ({"model": m, "dataset.fold": f, "seed": s}, m / 10 + f**2 / 100 + s / 7)
    for m in (1, 2)
    for f in range(5)
    for s in (1, 2)
]


def test_a_cross_validation_has_the_interval_of_a_t_test_over_its_folds():
    rows = k_fold(*jobs(*FOLDS, metric="val/accuracy"))
    assert [(row["model"], row["metric"], row["folds"]) for row in rows] == [
        ("1", "val/accuracy", 5),
        ("2", "val/accuracy", 5),
    ]
    for model, row in enumerate(rows, 1):
        # The value of a fold is the mean over its seeds.
        values = [model / 10 + fold**2 / 100 + 1.5 / 7 for fold in range(5)]
        interval = stats.t.interval(0.95, 4, np.mean(values), stats.sem(values))
        assert (row["mean"], row["std"]) == pytest.approx((np.mean(values), np.std(values, ddof=1)))
        assert (row["from"], row["to"]) == pytest.approx(interval)


def test_without_folds_there_is_no_cross_validation():
    assert k_fold(*jobs(*crossed(FIVE))) == []
    assert k_fold(*jobs(({"dataset.fold": 0}, 0.5))) == []


def test_two_models_are_compared_on_the_same_folds():
    (row,) = paired(*jobs(*[job for job in FOLDS if job[0]["seed"] == 1]))
    assert (row["difference"], row["pairs"]) == (pytest.approx(-0.1), 5)


def test_k_fold_prints_one_table(cli, folder, monkeypatch):
    no_plots(monkeypatch)
    monkeypatch.setenv("COLUMNS", "200")
    words = ["model=logistic", "epochs=1", "progress=false", "dataset.folds=3", "dataset.fold=range(3)"]
    outcome = cli("train", "experiment=k_fold", *words, "hydra.sweep.dir=s")
    assert (outcome.status, outcome.err) == (0, "")
    measured = [json.loads((folder / "s" / str(k) / "metrics.json").read_text())["val/accuracy"] for k in range(3)]
    rows = {row["metric"]: row for row in rows_of(folder / "s" / "k_fold.csv")}
    assert float(rows["val/accuracy"]["mean"]) == pytest.approx(np.mean(measured))
    assert float(rows["val/accuracy"]["std"]) == pytest.approx(np.std(measured, ddof=1))
    table = outcome.out.split("k_fold.csv")[-1]
    assert "val/accuracy" in table
    assert "test/" not in table
