"""A repeated sweep runs only the jobs that are not finished; jobs return their metric."""

import json
import multiprocessing
import os
import signal
from pathlib import Path

import pytest
from support import metrics_of, no_plots, rows_of, same_weights

from zoo.cli.main import main
from zoo.config.sweep_folder import failures_since, record_failure, refuse_comparison, refuse_other_sweep, same_job
from zoo.training import run
from zoo.training.sweeps.sweep_job import Job

WORDS = ["model=logistic", "accelerator=cpu", "progress=false", "epochs=1"]


@pytest.fixture
def trained(monkeypatch) -> list:
    """The seeds and ``resume`` of the runs that are trained."""
    calls = []
    original = Job.begin

    def begin(cfg):
        job = original(cfg)
        if not job.is_done:
            calls.append((cfg.seed, cfg.resume))
        return job

    monkeypatch.setattr(Job, "begin", begin)
    return calls


def test_a_repeated_sweep_runs_what_failed_and_what_is_new(trained, cli, folder, monkeypatch):
    no_plots(monkeypatch)
    words = [*WORDS, "hydra.sweep.dir=s"]
    outcome = cli("train", "-m", "seed=1,-1", *words)
    assert outcome.status == 1
    assert "to run the failed jobs again, repeat the command with hydra.sweep.dir=s" in outcome.out
    before = (folder / "s" / "0" / "model.safetensors").stat().st_mtime_ns
    assert [seed for seed, _ in trained] == [1, -1]

    # The second call has a third seed, and other keys that do not change what is trained.
    trained.clear()
    outcome = cli("train", "-m", "seed=1,-1,2", *words, "show_test=true")
    assert outcome.status == 1
    assert [seed for seed, _ in trained] == [-1, 2]
    assert "job 0 is finished" in outcome.out
    assert (folder / "s" / "0" / "model.safetensors").stat().st_mtime_ns == before
    rows = rows_of(folder / "s" / "sweep.csv")
    assert [row["status"] for row in rows] == ["finished", "failed", "finished"]
    assert "seed=-1 must be in" in rows[1]["error"]

    # Another sweep is refused before a job runs.
    trained.clear()
    outcome = cli("train", "-m", "seed=3,4", *words)
    assert outcome.err.startswith("zoo train: s already contains a sweep, whose job 0 (")
    assert outcome.err.endswith("repeat its command to continue it, or set another hydra.sweep.dir=\n")
    assert trained == []


def test_a_job_whose_files_have_changed_is_refused(cli, folder, monkeypatch):
    no_plots(monkeypatch)
    words = ["-m", "seed=1", *WORDS, "hydra.sweep.dir=s"]
    assert cli("train", *words).status == 0
    config = folder / "s" / "0" / "config.yaml"
    config.write_text(config.read_text().replace("batch_size: 128", "batch_size: 64"))
    outcome = cli("train", *words)
    assert outcome.status == 1
    assert "was trained with another model.stages.fit.batch_size (64, now 128); delete the folder" in outcome.err


def test_jobs_return_the_metric_that_was_asked_for(folder, monkeypatch):
    no_plots(monkeypatch)
    returned = []
    original = run.train
    monkeypatch.setattr("zoo.cli.train.train", lambda cfg: returned.append(original(cfg)) or returned[-1])
    main("train", ["-m", "seed=1", *WORDS, "hydra.sweep.dir=a"])
    main("train", ["-m", "seed=1", *WORDS, "hydra.sweep.dir=a", "optimized_metric=val/loss"])
    metrics = metrics_of(folder / "a" / "0")
    assert returned == [metrics["val/accuracy"], metrics["val/loss"]]
    assert all(isinstance(value, float) for value in returned)


def test_the_order_of_overrides_and_keys_without_effect_do_not_matter():
    assert same_job(["a=1", "b=2", "progress=false"], ["b=2", "a=1", "+show_test=true"])
    assert not same_job(["a=1"], ["a=2"])


def test_folders_of_jobs_are_compared_by_their_number(tmp_path):
    for k, job in enumerate((["a=1"], ["a=2"])):
        record_failure(tmp_path / str(k), f"job {k}", job, "no memory")
    refuse_other_sweep(tmp_path, [["a=1"], ["a=2"], ["a=3"]])
    for jobs in ([["a=2"], ["a=1"]], [["a=1"]]):
        with pytest.raises(FileExistsError, match="already contains a sweep, whose job"):
            refuse_other_sweep(tmp_path, jobs)
    assert failures_since(tmp_path, 0) == {"job 0": "no memory", "job 1": "no memory"}
    (tmp_path / "0" / "failed.json").write_text("{")
    assert list(failures_since(tmp_path, 0)) == ["job 1"]


def _sweep(words: list[str], kill: int | None) -> None:
    """Run a sweep; die without a word after the second epoch of a job. Writes which jobs were trained."""
    os.environ["MPLBACKEND"] = "agg"
    from hydra.core.hydra_config import HydraConfig

    from zoo.training.fit.callbacks import SaveForResume

    original = SaveForResume.on_train_epoch_end

    def die(self, trainer, module):
        original(self, trainer, module)
        number = HydraConfig.get().job.num
        with Path("epochs.jsonl").open("a") as file:
            file.write(json.dumps([number, trainer.current_epoch]) + "\n")
        if number == kill and trainer.current_epoch == 1:
            os.kill(os.getpid(), signal.SIGKILL)

    SaveForResume.on_train_epoch_end = die
    main("train", words)


@pytest.mark.slow
def test_of_six_jobs_a_second_call_runs_the_failed_and_the_killed_one(folder):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["zoo.cli.train", "zoo.cli.main", "test_sweep_continues"])
    words = [*WORDS, "epochs=4", "-m", "seed=1,2,-1,4,5,6"]

    def call(kill: int | None, *more: str) -> tuple[int, list[list[int]]]:
        process = context.Process(target=_sweep, args=([*words, *more], kill))
        process.start()
        process.join(300)
        epochs = [json.loads(line) for line in Path("epochs.jsonl").read_text().splitlines()]
        Path("epochs.jsonl").write_text("")
        return int(process.exitcode or 0), epochs

    status, epochs = call(5, "hydra.sweep.dir=s")
    assert status == -signal.SIGKILL
    assert epochs == [[k, epoch] for k in (0, 1, 3, 4) for epoch in range(4)] + [[5, 0], [5, 1]]

    # The failed job fails again, the killed one resumes after its second epoch.
    status, epochs = call(None, "hydra.sweep.dir=s")
    assert status == 1
    assert epochs == [[5, 2], [5, 3]]
    assert [row["status"] for row in rows_of(folder / "s" / "sweep.csv")] == [
        *["finished"] * 2,
        "failed",
        *["finished"] * 3,
    ]

    # The killed job ends with the weights of one that was not.
    main("train", [*WORDS, "epochs=4", "seed=6", "hydra.run.dir=whole"])
    assert same_weights(folder / "s" / "5", folder / "whole")


@pytest.mark.slow
def test_jobs_of_other_processes_that_fail_are_in_the_table_and_in_the_message(cli, folder):
    outcome = cli("train", "-m", "seed=1,-1", *WORDS, "hydra/launcher=joblib", "hydra.sweep.dir=s")
    assert outcome.status == 1
    assert "failed: seed=-1 must be in" in outcome.err
    assert [row["status"] for row in rows_of(folder / "s" / "sweep.csv")] == ["finished", "failed"]


@pytest.mark.parametrize(
    ("key", "jobs", "message"),
    [
        ("lr", [["seed=1"], ["seed=2"]], "this sweep gives lr no value, but a comparison needs 2"),
        ("lr", [["lr=1", "seed=1"], ["lr=1", "seed=2"]], r"gives lr 1 value \(1\)"),
        ("lr", [["lr=1", "seed=1"], ["lr=2", "seed=2"], ["lr=3", "seed=3"]], r"gives lr 3 values \(1, 2, 3\)"),
        ("lr", [["lr=1"], ["lr=2"]], "at least two seeds"),
        ("lr", [["lr=1", "seed=1"], ["lr=2", "seed=1"]], "at least two seeds"),
        ("seed", [["seed=1"], ["seed=2"]], "jobs are paired by seed"),
    ],
    ids=["no value", "one value", "three values", "no seed", "one seed", "seed"],
)
def test_a_comparison_that_is_impossible_is_refused_before_the_sweep(key, jobs, message):
    with pytest.raises(ValueError, match=f"^compare={key}: .*{message}"):
        refuse_comparison(key, jobs)


def test_a_comparison_of_two_values_is_possible():
    refuse_comparison("lr", [[f"+lr={lr}", f"seed={seed}"] for lr in (1, 2) for seed in (1, 2)])


def test_the_command_refuses_an_impossible_comparison_before_it_trains(tmp_path, capsys):
    folder = tmp_path / "sweep"
    words = ["-m", "model=mlp", "dataset=digits", "seed=1,2", "compare=epochs", f"hydra.sweep.dir={folder}"]
    with pytest.raises(SystemExit) as stopped:
        main("train", words)
    assert stopped.value.code == 1
    assert capsys.readouterr().err.startswith("zoo train: compare=epochs: this sweep gives epochs no value")
    assert not folder.exists()
