"""What a command line means, what Hydra may create from a config, and that Hydra's global state stays as it was."""

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import hydra
import joblib
import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import ConfigCompositionException
from hydra.types import RunMode
from support import Touch

import zoo
from zoo.config.compose import compose, launch
from zoo.config.overrides import readable

NAMES = (
    "Äpfel",
    "日本",
    "My Pictures (1)",
    "a,b",
    "c#d",
    "epoch=3-step=10",
    "2024_01_02",
    "007",
    "1e3",
    "true",
    "[x]",
    "{x}",
    "it's",
    'say "x"',
    "a$b",
    "a:b",
    "a\\",
    "a\\'b",
    "$HOME",
    "!x*?",
    "a\nb",
    " a ",
    "\udcff",
)


# Composing once


@pytest.mark.parametrize("mode", [[], ["hydra.mode=RUN"]])
def test_a_single_run_composes_its_config_once(mode, folder, monkeypatch):
    composed = []
    load = ConfigLoaderImpl.load_configuration
    monkeypatch.setattr(
        ConfigLoaderImpl,
        "load_configuration",
        lambda self, name, overrides, *rest: composed.append(overrides) or load(self, name, overrides, *rest),
    )
    seen = []

    def job(cfg):
        hydra_node = HydraConfig.get()
        seen.append((cfg.seed, hydra_node.mode, list(hydra_node.overrides.hydra), list(hydra_node.overrides.task)))

    launch("train", job, ["seed=3", *mode], file="zoo.py")
    assert seen == [(3, RunMode.RUN, ["hydra.mode=RUN"], ["seed=3"])]
    assert composed == [["seed=3", *mode]]


def test_a_single_run_refuses_the_values_of_a_sweep():
    with pytest.raises(ConfigCompositionException, match="seed=3,4"):
        launch("train", lambda cfg: None, ["seed=3,4"], file="zoo.py")


def test_a_file_may_make_the_command_a_sweep(folder):
    (folder / "conf/experiment").mkdir(parents=True)
    (folder / "conf/experiment/sweeping.yaml").write_text("# @package _global_\nhydra: {mode: MULTIRUN}\n")
    seeds = []
    launch(
        "train",
        lambda cfg: seeds.append(cfg.seed),
        ["--config-dir", str(folder / "conf"), "experiment=sweeping", "seed=3,4"],
        file="zoo.py",
    )
    assert seeds == [3, 4]


# Names


@pytest.mark.parametrize("name", NAMES)
def test_a_path_is_read_as_it_is_typed(name):
    given = readable("predict", [f"input={name}", "checkpoint=x"])
    assert compose("predict", given).input == name
    assert readable("predict", given) == given, "a process of a distributed run reads them again"


@pytest.mark.parametrize("name", ["Äpfel", "a,b", "2024_01_02", "run[/x]"])
def test_the_folder_of_a_run_may_have_any_name(name, cli, folder):
    outcome = cli("train", f"hydra.run.dir={name}", "epochs=1", "model=logistic", "dataset.validation=-1")
    assert "dataset.validation=-1" in outcome.err
    assert not any(folder.iterdir())


def test_what_is_no_text_is_left_to_hydra():
    given = ["--cfg", "job", "lr=0.1", "input=null", "input='a b'", "input=a\\,b", "input=${oc.env:HOME}", "~seed"]
    assert readable("predict", given) == given


def test_flags_come_first_since_hydra_reads_none_after_an_override():
    given = ["lr=0.1", "-m", "seed=1", "--cfg", "job", "~x"]
    assert readable("train", given) == ["-m", "--cfg", "job", "lr=0.1", "seed=1", "~x"]


def test_null_stands_for_no_config_of_a_group():
    assert readable("train", ["logger=null", "lr=null"]) == ["~logger", "lr=null"]
    assert compose("train", readable("train", ["logger=null", "experiment=null"])).logger is None


def test_the_home_folder_is_meant_by_a_tilde(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ada")
    assert readable("predict", ["input=~/my photos"]) == ["input=/home/ada/my photos"]


def test_a_list_of_names_is_no_text():
    assert readable("benchmark", ["runtimes=[a,b]"]) == ["runtimes=[a,b]"]
    assert list(compose("benchmark", ["checkpoint=x", "runtimes=[a,b]"]).runtimes) == ["a", "b"]


def test_the_values_of_a_sweep_are_separated_by_commas():
    given = ["-m", "checkpoint=a,b", "hydra.sweep.dir=a,b"]
    assert readable("predict", given) == ["-m", "checkpoint=a,b", "hydra.sweep.dir='a,b'"]


def test_the_quoting_that_works_is_told():
    with pytest.raises(ValueError, match="cannot be parsed") as caught:
        readable("train", ["model.name=x", "+dataset.source.root=Äpfel"])
    assert str(caught.value).endswith("""quote it: '+dataset.source.root='"'"'Äpfel'"'"''""")


@pytest.mark.parametrize("argument", ["seed.=x", "model.net.hidden.=[3]", "a b=1"])
def test_a_key_that_is_none_is_named_without_advice_for_its_value(argument):
    with pytest.raises(ValueError, match=r"cannot be parsed: '.*' is not a key$"):
        readable("train", [argument])


@pytest.mark.parametrize("value", ["[" * 500 + "]" * 500, "[" * 5000, "{a:" * 50 + "1" + "}" * 50])
def test_a_deep_value_is_refused(value):
    with pytest.raises(ValueError, match="devices: its value is nested more than 20 levels deep"):
        readable("predict", [f"accelerator.devices={value}"])
    deep = "[" * 500 + "]" * 500
    assert compose("predict", readable("predict", [f"input={deep}"])).input == deep, "the name of a file"


@pytest.mark.parametrize("value", ["1" * 400, "-" + "1" * 400, f"[1,{'1' * 400}]", f"{{a:{'1' * 400}}}"])
@pytest.mark.parametrize("key", ["dataset.validation", "dataset.scale", "model.net.dropout", "+x.y"])
def test_a_number_beyond_all_floats_is_refused(key, value):
    with pytest.raises(ValueError, match=rf"^{re.escape(key)}=.* is too large a number"):
        readable("train", [f"{key}={value}"])
    with pytest.raises(ValueError, match=rf"^{re.escape(key)}: Exceeds the limit \(4300 digits\)"):
        readable("train", [f"{key}={'1' * 5000}"])


@pytest.mark.parametrize("word", ["accelerator=[null]", "accelerator=inf", "model=3", "++dataset={a:1}", "logger=true"])
def test_a_group_takes_the_name_of_a_file(word):
    with pytest.raises(ValueError, match=r"(\w+)=.* must be the name of a file of conf/\1, without \.yaml$"):
        readable("train", [word])
    given = ["-m", "accelerator=cpu", "experiment=[finetune]", "model=lenet5,mlp"]
    assert readable("train", given) == given


# What a config may call


@pytest.mark.parametrize(
    "node",
    [
        "callbacks: {x: {_target_: joblib.load, filename: j.pkl}}",
        "callbacks: {x: {_target_: zoo.training.sweeps.sweep.SweepTable, y: {_target_: joblib.load, filename: j.pkl}}}",
        "callbacks: {x: '${model.about}'}",
        "launcher: {_target_: joblib.load}",
        "sweeper: {_target_: joblib.load}",
        "job_logging: {version: 1, handlers: {h: {'()': joblib.load, filename: j.pkl}}}",
        "job_logging: {version: 1, handlers: {h: {class: joblib.load, filename: j.pkl}}}",
        "hydra_logging: {version: 1, formatters: {h: {'()': joblib.load, filename: j.pkl}}}",
        "job_logging: {version: 1, filters: {h: {x: 'ext://joblib.load'}}}",
        "job: {env_set: {LD_PRELOAD: x.so}}",
    ],
)
@pytest.mark.parametrize("sweep", [[], ["-m"]])
def test_a_folder_of_configs_calls_nothing(node, sweep, cli, folder):
    joblib.dump(Touch(folder / "marker"), "j.pkl")
    Path("mine/experiment").mkdir(parents=True)
    Path("mine/experiment/nice.yaml").write_text(f"# @package _global_\nepochs: 1\nhydra:\n  {node}\n")
    run = ["model=logistic", "progress=false", "hydra.run.dir=run", "hydra.sweep.dir=sweep"]
    outcome = cli("train", *sweep, "--config-dir", "mine", "experiment=nice", *run)
    assert outcome.status == 1
    assert outcome.err.startswith("zoo train: hydra.")
    assert len(outcome.err.splitlines()) == 1
    assert not (folder / "marker").exists()
    assert not (folder / "run").exists()


def test_no_pickle_is_run_again(cli, folder):
    joblib.dump(Touch(folder / "marker"), "config.pickle")
    outcome = cli("train", "--experimental-rerun", "config.pickle")
    assert "--experimental-rerun is not supported" in outcome.err
    assert not (folder / "marker").exists()


def test_the_logging_of_hydra_may_be_chosen():
    for name in ("default", "none", "disabled", "stdout"):
        compose("train", [f"hydra/job_logging={name}"])
    compose("train", ["hydra/launcher=joblib"])


# Within other applications


def test_a_dataset_is_loaded_within_an_application_of_hydra(tmp_path):
    (tmp_path / "c.yaml").write_text("lr: 0.1")
    with hydra.initialize_config_dir(str(tmp_path), version_base="1.2"):
        before = GlobalHydra.instance().hydra
        assert len(zoo.dataset("digits").train) == 1293
        assert GlobalHydra.instance().hydra is before
        assert hydra.compose("c").lr == 0.1
        assert str(hydra.version.getbase()) == "1.2"


def test_a_command_runs_within_an_application_of_hydra(tmp_path, cli):
    (tmp_path / "c.yaml").write_text("lr: 0.1")
    with hydra.initialize_config_dir(str(tmp_path), version_base="1.2"):
        assert "lr=-1.0 must be" in cli("train", "lr=-1", f"hydra.run.dir={tmp_path / 'run'}").err
        assert hydra.compose("c").lr == 0.1
    assert not (tmp_path / "run").exists()


def test_datasets_are_loaded_by_several_threads():
    with ThreadPoolExecutor(4) as pool:
        sizes = list(pool.map(lambda _: len(zoo.dataset("digits").train), range(8)))
    assert sizes == [1293] * 8


def test_a_mapping_replaces_null():
    assert compose("train", ["claim={goal: 1}"]).claim == {"goal": 1}
