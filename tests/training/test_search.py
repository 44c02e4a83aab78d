"""A search tries values within its space, prunes bad trials, and survives ``kill -9`` and a second process."""

import json
import multiprocessing
import os
import shlex
import signal
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import yaml
from support import metrics_of, no_plots, rows_of

from zoo.cli.main import main
from zoo.config import search_space
from zoo.config.catalogue import CONF
from zoo.training.sweeps import objective
from zoo.training.sweeps.search_settings import SearchSettings

optuna = pytest.importorskip("optuna")

from zoo.training.sweeps.study import WORKER, SharedStudy, load_trial  # noqa: E402 - needs optuna
from zoo.training.sweeps.watch import Pruned, WatchMetric  # noqa: E402

RUN = ["accelerator=cpu", "progress=false", "dataset=digits"]
SEARCH = [*RUN, "hparams_search=mlp", "epochs=3", "model.net.hidden=choice([16],[32])"]


# The space


@pytest.mark.parametrize(
    ("text", "distribution"),
    [
        ("interval(1,8)", optuna.distributions.FloatDistribution(1, 8)),
        ("int(interval(1,8))", optuna.distributions.IntDistribution(1, 8)),
        ("tag(log,interval(0.001,0.1))", optuna.distributions.FloatDistribution(0.001, 0.1, log=True)),
        ("tag(log,int(interval(8,512)))", optuna.distributions.IntDistribution(8, 512, log=True)),
        ("range(5,31,5)", optuna.distributions.IntDistribution(5, 30, step=5)),
        ("range(3)", optuna.distributions.IntDistribution(0, 2)),
        ("choice([128],[256,256])", optuna.distributions.CategoricalDistribution(["[128]", "[256,256]"])),
        ("adam,sgd", optuna.distributions.CategoricalDistribution(["adam", "sgd"])),
    ],
)
def test_values_become_the_distribution_that_hydra_means(text, distribution):
    space, fixed = search_space.split({"a.b": text}, ["seed=3"])
    assert space == {"a.b": distribution}
    assert fixed == ["seed=3"]


def test_the_command_line_replaces_and_fixes_keys_of_the_preset():
    params = {"lr": "interval(0.1,1)", "epochs": "range(1,9)", "batch_size": "8,16"}
    space, fixed = search_space.split(params, ["lr=0.5", "batch_size=32,64", "~logger"])
    assert list(space) == ["epochs", "batch_size"]
    assert space["batch_size"].choices == ("32", "64")
    assert fixed == ["lr=0.5", "~logger"]


@pytest.mark.parametrize(
    ("text", "says"),
    [("interval(2,1)", "low <= high"), ("tag(log,interval(0,1))", "low > 0"), ("range(3,1)", "empty")],
)
def test_values_that_cannot_be_searched_for_are_named(text, says):
    with pytest.raises(ValueError, match=rf"a={text.replace('(', '.').replace(')', '.')}: cannot be .*{says}"):
        search_space.split({"a": text}, [])
    with pytest.raises(ValueError, match="nothing to search for"):
        search_space.split({}, ["a=1"])


@pytest.mark.parametrize("name", sorted(path.stem for path in (CONF / "hparams_search").glob("*.yaml")))
def test_every_preset_composes_with_each_value_at_the_ends_of_its_space(name):
    from zoo.config.compose import compose
    from zoo.training.checks import run_checks

    params = yaml.safe_load((CONF / "hparams_search" / f"{name}.yaml").read_text())["hydra"]["sweeper"]["params"]
    space = search_space.split(params, [])[0]
    for end in (0, -1):
        values = {key: _ends(distribution)[end] for key, distribution in space.items()}
        cfg = compose("train", [f"hparams_search={name}", "hydra.mode=RUN", *search_space.overrides_of(values)])
        assert cfg.model.name == name
        run_checks.check_values(cfg)
        assert objective.metric_name(cfg).startswith("val/")


def _ends(distribution) -> list:
    choices = getattr(distribution, "choices", None)
    return list(choices) if choices else [distribution.low, distribution.high]


# The settings and the metric


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"n_trials": 0}, "hydra.sweeper.n_trials=0 must be an integer >= 1"),
        ({"seed": True}, "hydra.sweeper.seed=True must be an integer >= 0"),
        ({"sampler": "grid"}, "hydra.sweeper.sampler=grid: choose tpe or random"),
        ({"samplr": "tpe"}, "hydra.sweeper.samplr: no such key; did you mean sampler?"),
        ({"params": 3}, "hydra.sweeper.params=3 must be a mapping"),
    ],
)
def test_settings_are_checked(values, says):
    with pytest.raises(ValueError, match=says.replace("?", r"\?")):
        SearchSettings.parse(values)


def test_the_direction_follows_from_the_name_of_the_metric():
    lower = ["val/loss", "val/reconstruction_error", "val/calibration_error", "val/free_energy_gap"]
    lower += ["val/mse", "val/mae", "fit/steps"]
    assert {objective.direction(name) for name in lower} == {"minimize"}
    higher = ("val/accuracy", "val/f1", "val/pseudo_log_likelihood")
    assert {objective.direction(name) for name in higher} == {"maximize"}


# The study


def study_in(folder: Path, space: str = "interval(0,1)", **settings) -> SharedStudy:
    distributions, _ = search_space.split({"lr": space}, [])
    options = {"direction": "maximize", "shared": {"the metric": "val/accuracy"}}
    return SharedStudy.open(folder, SearchSettings(**settings), distributions, **options)


@pytest.mark.parametrize("name", ["S%41", "S?x=1", "a b#c", "ä"])
def test_the_study_is_in_its_folder_whatever_its_name(name, tmp_path):
    folder = tmp_path / name
    assert study_in(folder).folder == folder
    assert (folder / "study.db").is_file()
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_damaged_study_is_named(tmp_path):
    (tmp_path / "study.db").write_text("no database " * 1000)
    with pytest.raises(ValueError, match=r"study\.db: not a readable study \(file is not a database\)"):
        study_in(tmp_path)
    (tmp_path / "study.db").unlink()
    (tmp_path / "study.db").mkdir()
    with pytest.raises(ValueError, match=r"study\.db: not a readable study \(unable to open database file\)"):
        study_in(tmp_path)


def test_processes_share_trials_and_take_over_those_of_a_process_that_has_ended(tmp_path):
    first, second = study_in(tmp_path, n_trials=4), study_in(tmp_path, n_trials=4)
    with second.working():
        with first.working():
            (a,), (b,) = first.next_trials(), second.next_trials()
            assert (a.number, b.number) == (0, 1)
            assert a.params != b.params
            second.tell(1, 0.5, is_pruned=False)
        (again,) = second.next_trials()
        assert (again.number, again.params) == (0, a.params)
        second.tell(0, 0.75, is_pruned=False)
        # A trial without values was stopped while it was created, so it counts as failed.
        second.study.ask()
        assert [trial.number for trial in second.next_trials()] == [3]
        second.tell(3, None, is_pruned=False)
        second.tell(second.next_trials()[0].number, 0.25, is_pruned=False)
        assert second.next_trials() == [], "three are finished, and one failed in this process"
        assert second.finished() == 3
        assert (second.best().number, second.best().value) == (0, 0.75)
        assert second.study.trials[0].user_attrs[WORKER] == second.worker
    assert not list(tmp_path.glob(".*[0-9a-f].lock")), "no process is left"


@pytest.mark.parametrize("sampler", ["tpe", pytest.param("random", marks=pytest.mark.slow)])
def test_a_search_that_is_opened_again_tries_the_values_of_an_uninterrupted_one(sampler, tmp_path):
    def values(folder: Path, *, reopen: bool) -> list[float]:
        found = []
        study = study_in(folder, sampler=sampler, startup_trials=3)
        for k in range(6):
            study = study_in(folder, sampler=sampler, startup_trials=3) if reopen and k == 4 else study
            (trial,) = study.next_trials()
            found.append(trial.params["lr"])
            study.tell(trial.number, -((trial.params["lr"] - 0.3) ** 2), is_pruned=False)
        return found

    whole = values(tmp_path / "whole", reopen=False)
    assert len(set(whole)) == 6
    assert values(tmp_path / "parts", reopen=True) == whole


def test_another_search_in_the_same_folder_is_refused(tmp_path):
    study_in(tmp_path)
    with pytest.raises(FileExistsError, match="contains another search, which differs in lr; repeat its command"):
        study_in(tmp_path, "interval(0,2)")
    study_in(tmp_path, n_trials=50, sampler="random")  # a search may be prolonged


@pytest.mark.parametrize(
    ("pruner", "is_pruned"), [("median", True), pytest.param("none", False, marks=pytest.mark.slow)]
)
def test_a_trial_below_the_median_is_pruned_after_the_warm_up(pruner, is_pruned, tmp_path):
    settings = {"pruner": pruner, "startup_trials": 2, "warmup_epochs": 1}
    study = study_in(tmp_path, **settings)
    for value in (0.8, 0.9, 0.1):
        (frozen,) = study.next_trials()
        trial = load_trial(tmp_path, frozen.number, SearchSettings(**settings))
        trial.report(value, 1)
        assert not trial.should_prune(), "the first epoch is the warm-up"
        trial.report(value, 2)
        assert trial.should_prune() == (is_pruned and value == 0.1)
        study.tell(frozen.number, value, is_pruned=trial.should_prune())


def test_a_trial_is_not_pruned_after_its_last_epoch():
    trial = Mock()
    trial.study.get_trials.return_value = {trial.number: Mock(intermediate_values={})}
    trial.should_prune.return_value = True
    watch = WatchMetric("val/loss", trial)
    trainer = Mock(sanity_checking=False, callback_metrics={"val/loss": 1.0}, max_epochs=2, current_epoch=0)
    with pytest.raises(Pruned):
        watch.on_validation_end(trainer, Mock())
    trainer.current_epoch = 1
    watch.on_validation_end(trainer, Mock())
    assert [call.args for call in trial.report.call_args_list] == [(1.0, 1), (1.0, 2)]


# The command


def test_a_search_writes_a_table_and_the_best_config(cli, folder, monkeypatch):
    no_plots(monkeypatch)
    search = [*SEARCH[:-1], "model.net.hidden=[8]", "epochs=1", "hydra.sweep.dir=s", "hydra.sweeper.n_trials=2"]
    outcome = cli("train", *search)
    assert (outcome.status, outcome.err) == (0, "")
    rows = rows_of(folder / "s" / "sweep.csv")
    assert [row["status"] for row in rows] == ["finished", "finished"]
    best = max(rows, key=lambda row: float(row["val/accuracy"]))
    command, config = (folder / "s" / "best.yaml").read_text().split("\n", 1)
    assert config == (folder / "s" / best["job"] / "config.yaml").read_text().split("\n", 1)[1]
    assert command.removeprefix("# ") in outcome.out

    # The finished search runs nothing; more trials prolong it.
    calls = []
    monkeypatch.setattr("zoo.training.checks.run_checks.plan", lambda *args, **options: calls.append(args))
    assert cli("train", *search).status == 0
    assert calls == []


def test_without_optuna_the_extra_is_named(cli, folder, monkeypatch):
    monkeypatch.setattr("zoo.training.sweeps.search.find_spec", lambda name: None)
    outcome = cli("train", *SEARCH, "hydra.sweep.dir=s")
    assert (
        outcome.err == "zoo train: a search needs Optuna, which is not installed; pip install 'reference-zoo[optuna]'\n"
    )
    assert not (folder / "s").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("hparams_search=mlp optimized_metric=test/accuracy", "settings must not be chosen by the test split"),
        ("hparams_search=mlp accelerator.devices=2", "set accelerator.devices=1"),
        ("hparams_search=mlp hydra.sweeper.n_trials=0", "hydra.sweeper.n_trials=0 must be an integer >= 1"),
        ("-m hparams_search=mlp,lenet5", "hparams_search= takes one name"),
        ("-m lr=interval(0.1,0.2)", "interval() needs a search"),
        ("-m hydra/sweeper=optuna model=mlp", "there is nothing to search for"),
    ],
)
def test_a_search_that_cannot_run_is_refused_before_anything_is_written(arguments, says, cli, folder):
    outcome = cli("train", *RUN, *arguments.split(), "hydra.sweep.dir=s")
    assert outcome.status == 1
    assert outcome.err.startswith("zoo train: ")
    assert says in outcome.err
    assert outcome.err.count("\n") == 1
    assert not list(folder.rglob("*.*"))


def test_an_unknown_metric_lists_those_that_there_are(cli, folder):
    words = [*RUN, "model=logistic", "epochs=1", "optimized_metric=val/acc"]
    outcome = cli("train", *words)
    assert outcome.status == 1
    assert "optimized_metric=val/acc: no such metric; choose one of: val/accuracy, val/calibration_error" in outcome.err
    outcome = cli("train", *words, "dataset.validation=0", "hydra.run.dir=other")
    assert outcome.err == "zoo train: optimized_metric=val/acc needs a validation split: set dataset.validation\n"


# Killed and shared searches


def _search(words: list[str], kill: int | None) -> None:
    """Run a search; die without a word in the first epoch of a trial."""
    os.environ["MPLBACKEND"] = "agg"
    if kill is not None:
        from hydra.core.hydra_config import HydraConfig

        from zoo.training.fit.callbacks import SaveForResume

        original = SaveForResume.on_train_epoch_end

        def die(self, trainer, module):
            original(self, trainer, module)
            if HydraConfig.get().job.num == kill:
                os.kill(os.getpid(), signal.SIGKILL)

        SaveForResume.on_train_epoch_end = die
    main("train", words)


@pytest.fixture
def processes():
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["zoo.cli.train", "zoo.cli.main", "test_search"])
    return context


def _states(sweep: Path) -> dict[str, int]:
    trials = optuna.load_study(study_name="search", storage=f"sqlite:///{sweep}/study.db").trials
    assert [trial.number for trial in trials] == list(range(len(trials)))
    states = [trial.state.name for trial in trials]
    return {state: states.count(state) for state in set(states)}


@pytest.mark.slow
def test_a_search_killed_at_trial_8_of_20_ends_as_if_it_had_not_been(processes, folder):
    words = [*SEARCH, "hydra.sweeper.n_trials=20"]
    killed = processes.Process(target=_search, args=([*words, "hydra.sweep.dir=killed"], 7))
    killed.start()
    killed.join(300)
    assert killed.exitcode == -signal.SIGKILL
    assert _states(folder / "killed")["RUNNING"] == 1
    assert sum(_states(folder / "killed").values()) == 8

    main("train", [*words, "hydra.sweep.dir=killed"])
    main("train", [*words, "hydra.sweep.dir=whole"])
    states = _states(folder / "killed")
    assert states["COMPLETE"] + states["PRUNED"] == 20
    assert states["PRUNED"] > 0
    assert rows_of(folder / "killed" / "sweep.csv") == rows_of(folder / "whole" / "sweep.csv")

    # The command line of the best config gives the same metrics, to the bit.
    command = shlex.split((folder / "killed" / "best.yaml").read_text().partition("\n")[0].removeprefix("# zoo train "))
    main("train", [*command, "hydra.run.dir=best"])
    rows = [row for row in rows_of(folder / "killed" / "sweep.csv") if row["status"] == "finished"]
    best = max(rows, key=lambda row: float(row["val/accuracy"]))
    assert metrics_of(folder / "best") == metrics_of(folder / "killed" / best["job"])


@pytest.mark.slow
def test_two_processes_share_the_trials_of_a_search(processes, folder):
    words = [*SEARCH, "hydra.sweeper.n_trials=10", "hydra.sweep.dir=s"]
    both = [processes.Process(target=_search, args=(words, None)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(300)
    assert [process.exitcode for process in both] == [0, 0]
    states = _states(folder / "s")
    assert states["COMPLETE"] + states.get("PRUNED", 0) == 10
    trials = optuna.load_study(study_name="search", storage=f"sqlite:///{folder}/s/study.db").trials
    assert len({trial.user_attrs[WORKER] for trial in trials}) == 2
    assert len({json.dumps(trial.params) for trial in trials}) == 10
    values = [trial.value for trial in trials if trial.state.name == "COMPLETE"]
    assert np.isfinite(values).all()
