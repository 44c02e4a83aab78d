"""A run folder is whole or absent, a damaged file of it is named, and plots decide nothing."""

import json
import os
import resource
import shutil
from pathlib import Path
from socket import socketpair

import pytest
import torch
import yaml
from omegaconf import OmegaConf
from support import metrics_of, no_plots, same_weights

from zoo.checkpoints import checkpoint as checkpoints
from zoo.cli.main import main
from zoo.training.fit.callbacks import SaveForResume
from zoo.training.resume.lock import locked
from zoo.training.resume.run_folder import own_logger, read_config

WORDS = ["model=logistic", "dataset=digits", "epochs=3", "progress=false", "accelerator=cpu"]


class Cut(BaseException):
    """A kill."""


@pytest.fixture(scope="module")
def stopped(tmp_path_factory) -> Path:
    """A run that was killed after its first epoch was saved."""
    run = tmp_path_factory.mktemp("stopped") / "run"
    with pytest.MonkeyPatch.context() as patch:
        saved = SaveForResume.on_train_epoch_end

        def cut(self, trainer, module):
            saved(self, trainer, module)
            raise Cut

        patch.setattr(SaveForResume, "on_train_epoch_end", cut)
        with pytest.raises(Cut):
            main("train", [*WORDS, f"hydra.run.dir={run}"])
    assert (run / "checkpoints" / "last.ckpt").is_file()
    return run


@pytest.fixture
def run(stopped, folder, monkeypatch) -> Path:
    no_plots(monkeypatch)
    shutil.copytree(stopped, folder / "run")
    return Path("run")


def snapshot(run: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(run.rglob("*")) if path.is_file()}


def edit(path: Path, change) -> None:
    """Change the content of last.ckpt."""
    content = torch.load(path, weights_only=True)
    torch.save(change(content), path)


BOMB = "a: &a [x, x]\n" + "".join(f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True))
FILES = {
    "config.yaml": [
        "",
        "a: [1\nb: }",
        "[1, 2]",
        "just text",
        BOMB,
        "a: " + "[" * 5000,
        "a: " * 5000,
        "x: !!python/object/apply:os.system ['true']",
        b"\xff\xfe",
        "unknown: 1",
        "# " + "x" * 300_000,
        "model: {stages: {fit: {epochs: two}}}",
        "dataset: {license: '${oc.env:HOME}'}",
    ],
    "preprocess.json": [
        "",
        "{",
        "[]",
        "[" * 100_000,
        '{"shape": [1, 28, 28], "scale": 255, "mean": [0], "std": [1], "zzz": 1}',
        '{"shape": [1, 28, 28], "scale": 255, "mean": [0], "std": [0]}',
        '{"shape": [1, 28, 28], "scale": 255, "mean": [NaN], "std": [1]}',
        '{"shape": [1, 28, 28], "scale": "x", "mean": [0], "std": [1]}',
        '{"shape": [1, 28, 28], "scale": 1' + "0" * 400 + ', "mean": [0], "std": [1]}',
        '{"shape": [1, 14, 14], "scale": 255, "mean": [0], "std": [1]}',
        '{"shape": 28, "scale": 255, "mean": [0], "std": [1]}',
        '{"shape": [1, 28, 28], "scale": 255, "std": [1]}',
        '{"shape": [1, 28, 28], "scale": 255, "mean": [0], "std": [1], "interpolation": "best"}',
    ],
    "splits.json": ["", "{", "[]", '{"train": 1}'],
    "metrics.csv": [
        "",
        "a,b\n1,2\n",
        "fit,epoch,step\nfit,zero,0\n",
        "fit,epoch,step\nfit,0,0,0,0\n",
        "fit,epoch,step\nfit,0\n",
        "fit,epoch,step\n,0,3\n",
        "fit,epoch,step\nfit,0," + "9" * 5000 + "\n",
        "fit,epoch,step,val/loss\nfit,0,0,word\n",
        "fit,epoch,step\n" + "x" * 200_000 + ",0,0\n",
        b"\xff\xfe",
    ],
    "metrics.json": ["", "junk", "[]", '{"a": "b"}'],
}


@pytest.mark.parametrize(("name", "content"), [(name, text) for name, texts in FILES.items() for text in texts])
def test_a_damaged_file_is_named_and_nothing_is_written(name, content, run, cli):
    (run / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    before = snapshot(run)
    outcome = cli("train", f"resume={run}")
    assert outcome.status == 1
    assert outcome.err.startswith(f"zoo train: {run / name}: ")
    assert len(outcome.err.splitlines()) == 1
    assert len(outcome.err) < 600
    assert snapshot(run) == before


def replace(key, value):
    return lambda content: {**content, key: value}


def without(key):
    return lambda content: {name: value for name, value in content.items() if name != key}


def with_weights(content, change):
    return {**content, "state_dict": {name: change(value) for name, value in content["state_dict"].items()}}


CHECKPOINTS = {
    "a list": lambda content: [1],
    "a tensor": lambda content: torch.zeros(3),
    **{f"no {key}": without(key) for key in ("fit", "state_dict", "loops", "callbacks", "optimizer_states", "epoch")},
    "no version": without("pytorch-lightning_version"),
    "an old version": replace("pytorch-lightning_version", "1.2.0"),
    "a version of the future": replace("pytorch-lightning_version", "99.0.0"),
    "no optimizer": replace("optimizer_states", []),
    "an empty optimizer": replace("optimizer_states", [{}]),
    "an optimizer of other parameters": replace("optimizer_states", [{"state": {}, "param_groups": [{"params": [0]}]}]),
    "a step in words": replace("global_step", "ten"),
    "a step before the first": replace("global_step", -1),
    "another fit": replace("fit", "other"),
    "a short state of the generator": replace(
        "callbacks", {"SaveForResume": {"cpu": torch.zeros(3, dtype=torch.uint8), "cuda": None}}
    ),
    "other shapes": lambda content: with_weights(content, lambda value: torch.zeros(2)),
    "no weights": replace("state_dict", {}),
    "a number for a name": lambda content: {**content, "state_dict": {3: torch.zeros(1), **content["state_dict"]}},
    "sparse weights": lambda content: with_weights(content, lambda value: value.to_sparse()),
    "weights without values": lambda content: with_weights(content, lambda value: value.to("meta")),
    "one value for terabytes": lambda content: with_weights(
        content, lambda value: torch.zeros(1).as_strided((10**6, 10**6), (0, 0))
    ),
    "integers": lambda content: with_weights(content, lambda value: value.int()),
    "NaN": lambda content: with_weights(content, lambda value: value * float("nan")),
    **{
        f"a loop with {value!r}": lambda content, value=value: {
            **content,
            "loops": {**content["loops"], "fit_loop": {**content["loops"]["fit_loop"], "x.optim_progress": value}},
        }
        for value in ("text", 1, None, {"optimizer": "text"}, {"optimizer": {"step": {"total": {"ready": -1}}}})
    },
    "loops of another kind": replace("loops", {"fit_loop": {"epoch_progress": 1}}),
}


@pytest.mark.parametrize("damage", CHECKPOINTS)
def test_a_damaged_checkpoint_of_a_run_is_named_and_nothing_is_written(damage, run, cli):
    last = run / "checkpoints" / "last.ckpt"
    edit(last, CHECKPOINTS[damage])
    before = snapshot(run)
    outcome = cli("train", f"resume={run}")
    assert outcome.status == 1
    assert outcome.err.startswith(f"zoo train: {last}: ")
    assert len(outcome.err.splitlines()) == 1
    assert snapshot(run) == before


@pytest.mark.parametrize("name", ["preprocess.json", "metrics.csv", "metrics.json", "checkpoints/last.ckpt"])
def test_a_folder_in_the_place_of_a_file_is_named(name, run, cli):
    (run / name).unlink(missing_ok=True)
    (run / name).mkdir()
    assert cli("train", f"resume={run}").err == f"zoo train: {run / name}: not a file; move it away\n"


def test_a_sweep_resumes_several_runs(run, cli):
    shutil.copytree(run, "other")
    outcome = cli("train", "-m", "resume=run,other", "hydra.sweep.dir=sweep")
    assert (outcome.status, outcome.err) == (0, "")
    assert same_weights(run, Path("other"))


# Run folders of somebody else


@pytest.mark.parametrize("name", ["model.safetensors", "metrics.csv", "curves.png", "fit-filters.png", "checkpoints"])
def test_nothing_is_written_through_a_link_out_of_the_run_folder(name, run, cli):
    if name == "checkpoints":
        (run / name).rename("elsewhere")
    else:
        Path("elsewhere").write_text("precious")
        (run / name).unlink(missing_ok=True)
    (run / name).symlink_to(Path("elsewhere").absolute())
    before = snapshot(Path())
    outcome = cli("train", f"resume={run}")
    assert (
        outcome.err == f"zoo train: {run / name}: a link out of the run folder; replace it with the file it leads to\n"
    )
    assert snapshot(Path()) == before


def test_links_to_data_and_within_the_run_folder_may_stay(run, cli):
    Path("photos").mkdir()
    (run / "photos").symlink_to(Path("photos").absolute())
    (run / "checkpoints").rename(run / "saved")
    (run / "checkpoints").symlink_to("saved")
    assert cli("train", f"resume={run}").status == 0


@pytest.mark.parametrize("name", ["../../x", "a/b", ".x", "a.b", "", "x" * 100])
def test_the_name_of_a_stage_is_no_path(name, run, cli):
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["model"]["stages"][name] = config["model"]["stages"].pop("fit")
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    before = snapshot(run)
    assert f"config.yaml: model.stages: {name!r} must be a name" in cli("train", f"resume={run}").err
    assert snapshot(run) == before


def test_a_logger_writes_to_the_run_folder_wherever_it_is_now():
    stored = {"_target_": "X", "save_dir": "/old/place", "name": "tensorboard", "version": ""}
    assert own_logger(None, Path("/runs/b")) is None
    assert own_logger(stored, Path("/runs/b")) == {**stored, "save_dir": "/runs/b"}


@pytest.mark.parametrize(
    "change", [{"name": "/x"}, {"version": "../x"}, {"tracking_uri": "http://there"}, {"artifact_location": "/x"}]
)
def test_a_logger_that_leads_elsewhere_is_refused(change, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://here")
    assert own_logger({"tracking_uri": "http://here"}, Path("run"))
    with pytest.raises(ValueError, match=r"^run/config.yaml: logger\."):
        own_logger(change, Path("run"))


# Two processes


def test_one_process_at_a_time_trains_a_run(run, cli):
    before = snapshot(run)
    with locked(run):
        outcomes = [cli("train", f"resume={run}"), cli("train", *WORDS, f"hydra.run.dir={run}")]
    for outcome in outcomes:
        assert f"{run}: another process is training this run" in outcome.err
        assert outcome.status == 1
    assert snapshot(run) == before
    assert cli("train", f"resume={run}").status == 0


def test_a_worker_does_not_keep_the_lock_of_a_killed_run(tmp_path):
    with locked(tmp_path):
        ours, theirs = socketpair()
        child = os.fork()
        if not child:
            theirs.send(b"started")
            theirs.recv(1)
            os._exit(0)
        assert ours.recv(7) == b"started"
    # The worker is still there.
    with ours, theirs, locked(tmp_path):
        ours.send(b"x")
    os.waitpid(child, 0)


@pytest.mark.parametrize("target", ["nothing", "last.ckpt"])
def test_a_link_to_nothing_is_not_taken_for_a_run_that_saved_nothing(target, run, cli):
    path = run / "checkpoints" / "last.ckpt"
    path.unlink()
    path.symlink_to(target)
    before = {file.name: file.stat().st_mtime_ns for file in run.iterdir()}
    assert cli("train", f"resume={run}").err == f"zoo train: {path}: not a file; move it away\n"
    assert {file.name: file.stat().st_mtime_ns for file in run.iterdir()} == before


def test_a_table_that_is_one_endless_line_is_not_read_into_memory(run, cli):
    os.truncate(run / "metrics.csv", 2**33)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    message = cli("train", f"resume={run}").err
    assert message.startswith(f"zoo train: {run}/metrics.csv: a line has 65,536 characters or more; delete it")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**18, "KiB"


# First files


@pytest.mark.parametrize("name", ["model.safetensors", "metrics.csv", "curves.png", "checkpoints/last.ckpt"])
def test_a_new_run_replaces_no_file(name, folder, cli):
    path = Path("run") / name
    path.parent.mkdir(parents=True)
    path.write_text("precious")
    outcome = cli("train", *WORDS, "hydra.run.dir=run")
    assert outcome.status == 1
    assert outcome.err.endswith(f"run/{name} exists and would be replaced; set another hydra.run.dir=\n")
    assert snapshot(Path()) == {str(path): b"precious"}


def test_a_run_that_was_killed_before_its_preprocessing_was_written_can_be_resumed_twice(run, cli):
    shutil.rmtree(run / "checkpoints")
    for name in ("metrics.csv", "preprocess.json", "splits.json"):
        (run / name).unlink()
    assert cli("train", f"resume={run}").status == 0
    assert (run / "preprocess.json").is_file()
    assert (run / "splits.json").is_file()


def test_the_config_is_the_last_of_the_first_files(folder, cli, monkeypatch):
    """So a run folder without config.yaml can be used again, and one with it can be resumed."""
    written = []
    replace_file = os.replace
    monkeypatch.setattr(Path, "replace", lambda self, to: (written.append(Path(to).name), replace_file(self, to))[1])
    monkeypatch.setattr("zoo.training.fit.trainer.Fit.train", lambda self, stop: (_ for _ in ()).throw(Cut))
    with pytest.raises(Cut):
        main("train", [*WORDS, "hydra.run.dir=run"])
    assert written == ["hydra.yaml", "overrides.yaml", "splits.json", "preprocess.json", "config.yaml"]


def test_a_refused_run_changes_nothing_of_a_finished_one(trained, cli):
    before = snapshot(trained)
    assert "already contains a run" in cli("train", "epochs=77", "seed=99", f"hydra.run.dir={trained}").err
    assert snapshot(trained) == before


def test_a_refused_run_leaves_the_folder_of_another_alone(folder, cli):
    Path("run").mkdir()
    os.utime("run", (1, 1))
    assert "lr=-1.0" in cli("train", "lr=-1", "hydra.run.dir=run").err
    assert Path("run").is_dir()
    (Path("run") / ".hydra").mkdir()
    (Path("run") / ".hydra" / "overrides.yaml").write_text("[]")
    assert "lr=-1.0" in cli("train", "lr=-1", "hydra.run.dir=run").err
    assert (Path("run") / ".hydra" / "overrides.yaml").read_text() == "[]"


# The data


def test_a_run_is_not_resumed_on_other_data(run, cli):
    path = run / "splits.json"
    splits = json.loads(path.read_text())
    splits["train"]["count"] += 1
    path.write_text(json.dumps(splits))
    err = cli("train", f"resume={run}").err
    assert err.startswith(f"zoo train: {path}: the train split has changed since the run began (1294 examples, now")


# Plots


def test_a_plot_that_fails_is_a_warning(folder, cli, monkeypatch):
    def fail(*args, **options):
        raise RuntimeError("no\nfont")

    no_plots(monkeypatch)
    monkeypatch.setattr("zoo.plots.curves.curves", fail)
    monkeypatch.setattr("zoo.plots.curves.confusion", fail)
    outcome = cli("train", *WORDS, "hydra.run.dir=run")
    assert outcome.status == 0
    assert outcome.err.splitlines() == [
        f"warning: {name} could not be drawn (no font)" for name in ("curves.png", "confusion.png")
    ]
    assert metrics_of(Path("run"))
    assert "is finished" in cli("train", "resume=run").out


def test_a_plot_of_a_stage_that_fails_is_a_warning(folder, cli, monkeypatch):
    def fail(*args, **options):
        raise ValueError("too wide")

    no_plots(monkeypatch)
    monkeypatch.setattr("zoo.plots.stage_plots.draw", fail)
    outcome = cli("train", "model=rbm", "model.net.hidden=8", *WORDS[1:], "epochs=1", "hydra.run.dir=run")
    assert outcome.status == 0
    assert outcome.err == "warning: the plots of stage fit could not be drawn (too wide)\n"


def test_a_resumed_run_ends_as_one_that_was_not_stopped(run, cli):
    assert cli("train", *WORDS, "hydra.run.dir=whole").status == 0
    assert cli("train", f"resume={run}").status == 0
    assert same_weights(run, Path("whole"))
    ours, theirs = (checkpoints.info(path).dataset_config for path in (run, "whole"))
    assert ours == theirs
    assert ours["source"]["validation"] == "${..validation}"


def test_a_resumed_run_names_the_folder_of_its_data_as_a_new_one_does(run, monkeypatch):
    """Otherwise its checkpoint would be of data in a folder of the user, and have its path."""
    monkeypatch.setenv("ZOO_DATA", "/scratch/me")
    config = yaml.safe_load((run / "config.yaml").read_text())
    source = {"_target_": "zoo.data.sources.torchvision_sets.load", "name": "MNIST", "root": "/scratch/me"}
    config["dataset"] |= {"name": "mnist", "root": "/scratch/me", "source": source}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    dataset = OmegaConf.to_container(read_config(run)[0].dataset, resolve=False)
    assert dataset["root"] == "${oc.env:ZOO_DATA,data}"
    assert dataset["source"]["root"] == "${..root}"
    monkeypatch.setenv("ZOO_DATA", "/elsewhere")
    assert OmegaConf.to_container(read_config(run)[0].dataset, resolve=False)["root"] == "/scratch/me"


@pytest.mark.parametrize("key", ["license", "name"])
def test_a_description_that_cannot_be_written_is_refused_before_training(key, folder, cli):
    outcome = cli("train", *WORDS, "hydra.run.dir=run", f"dataset.{key}={'x' * 20_000}")
    assert outcome.status == 1
    assert outcome.err.startswith("zoo train: the checkpoint of this run could not be written: ")
    assert outcome.err.endswith(": a string of 20,000 characters, more than 10,000\n")
    assert not list(folder.iterdir())


def test_a_checkpoint_has_the_values_of_a_task_in_their_types(folder, cli, monkeypatch):
    no_plots(monkeypatch)
    words = ["epochs=1", "model.stages.fit.task.mirror_average=1", "hydra.run.dir=run"]
    assert cli("train", *WORDS, *words).err == ""
    assert checkpoints.info("run").task["mirror_average"] is True
