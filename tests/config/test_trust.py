"""Only the user trusts a package: otherwise no file makes the zoo import it, and the refusal says how to trust it."""

import math
import shutil
import sys
from dataclasses import replace
from importlib import metadata
from itertools import product
from pathlib import Path

import pytest
import torch
import yaml
from support import no_plots, slow_but
from torch import nn

import zoo
from zoo.checkpoints import checkpoint as checkpoints
from zoo.cli.main import run
from zoo.config import build, catalogue, targets, trust
from zoo.config.compose import compose

PACKAGE = """
from pathlib import Path
import lightning.pytorch.callbacks, lightning.pytorch.loggers, torch
from torch import load, nn
from torch.nn import functional as F
import zoo.tasks
from zoo.data.augment import Augment as ZooAugment
from zoo.data.sources.digits import load as digits

(Path(__file__).parent.parent / "marker").touch()


class Net(nn.Module):
    def __init__(self, *, num_classes=10):
        super().__init__()
        self.layer = nn.Sequential(nn.Flatten(), nn.Linear(784, num_classes))

    def forward(self, x):
        return self.layer(x)


class Focal(nn.Module):
    def __init__(self, gamma=2.0):
        super().__init__()
        self.register_buffer("gamma", torch.tensor(gamma))

    def forward(self, outputs, targets):
        error = F.cross_entropy(outputs, targets, reduction="none")
        return ((1 - (-error).exp()) ** self.gamma * error).mean()


class Needy(Focal):
    def __init__(self, gamma):
        super().__init__(gamma)


class Sure(zoo.tasks.Classification):
    pass


def loss(outputs, targets):
    return 2 * F.cross_entropy(outputs, targets)


def source(*, validation=0.1, test=360):
    return digits(validation=validation, test=test)


class Descent(torch.optim.SGD):
    pass


def descent(parameters, lr=0.1):
    return torch.optim.SGD(parameters, lr=lr)


def halved(optimizer, total_steps, factor=0.5):
    return torch.optim.lr_scheduler.StepLR(optimizer, 1, factor)


class Augment(ZooAugment):
    pass


class Log(lightning.pytorch.loggers.CSVLogger):
    pass


class Stop(lightning.pytorch.callbacks.EarlyStopping):
    pass
"""
# For each key of a config that names a class or function, one of the package.
KEYS = {
    "model.net._target_": "Net",
    "model.stages.fit.task._target_": "Sure",
    "model.stages.fit.task.loss": "loss",
    "model.stages.fit.optimizer._target_": "Descent",
    "model.stages.fit.lr_schedule._target_": "halved",
    "dataset.source._target_": "source",
    "dataset.augment._target_": "Augment",
    "logger._target_": "Log",
    "callbacks.stop._target_": "Stop",
}
# A run with everything from the package.
OWN = """
# @package _global_
dataset: {source: {_target_: mine.source}}
logger: {_target_: mine.Log, save_dir: log}
callbacks: {stop: {_target_: mine.Stop, monitor: val/loss}}
model:
  name: mine
  net: {_target_: mine.Net, num_classes: "${dataset.num_classes}"}
  input_scaling: standardized
  stages:
    fit:
      task: {_target_: mine.Sure, loss: mine.loss}
      optimizer: {_target_: mine.descent, lr: 0.1}
      lr_schedule: {_target_: mine.halved, factor: 0.9}
      epochs: 1
      batch_size: 128
"""
COMMANDS = ("evaluate", "predict", "explain", "sample", "export", "train")  # that read a checkpoint
TRAIN = ("~model", "dataset=digits", "accelerator=cpu", "progress=false")


@pytest.fixture
def mine(tmp_path, monkeypatch) -> Path:
    """The folder of the installed package ``mine``, which leaves the file ``marker`` beside it when it is imported."""
    site = tmp_path / "site"
    (site / "mine" / "conf" / "model").mkdir(parents=True)
    (site / "mine" / "__init__.py").write_text(PACKAGE)
    (site / "mine" / "conf" / "__init__.py").touch()
    (site / "mine" / "conf" / "model" / "mine.yaml").write_text("name: mine\nnet: {_target_: mine.Net}\n")
    monkeypatch.setattr(sys, "path", [*sys.path, str(site)])
    monkeypatch.setattr(trust, "_granted", [])
    monkeypatch.setenv("ZOO_TRUST", "")
    monkeypatch.chdir(tmp_path)
    yield site
    sys.modules.pop("mine", None)


def refused(outcome, site: Path) -> str:
    """The one line of a command that must not have imported the package, and must say how to trust it."""
    assert outcome.status == 1
    assert outcome.out == ""
    assert outcome.err.count("\n") == 1, outcome.err
    assert "--trust mine" in outcome.err
    assert not (site / "marker").exists()
    assert "mine" not in sys.modules
    return outcome.err


def write_config(folder: Path, text: str, name: str = "own") -> Path:
    """A file of a ``--config-dir``, in the group ``experiment``."""
    path = folder / "experiment" / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return folder


def nested(key: str, value: object) -> dict:
    for name in reversed(key.split(".")):
        value = {name: value}
    return value


@pytest.mark.parametrize("key", slow_but(KEYS, lambda key: key in ("model.net._target_", "logger._target_")))
def test_a_file_of_a_config_dir_imports_no_untrusted_package(key, mine, cli):
    content = yaml.safe_dump(nested(key, f"mine.{KEYS[key]}"))
    write_config(mine / "conf", f"# @package _global_\n{content}")
    line = refused(cli("train", "--config-dir", str(mine / "conf"), "experiment=own", "model=logistic"), mine)
    assert key.removesuffix("._target_") in line
    assert f"mine.{KEYS[key]}" in line


@pytest.mark.parametrize("key", slow_but(KEYS, lambda key: key == "dataset.source._target_"))
def test_a_run_folder_imports_no_untrusted_package(key, mine, cli, trained, tmp_path):
    shutil.copytree(trained, tmp_path / "run")
    (tmp_path / "run" / "metrics.json").unlink()
    path = tmp_path / "run" / "config.yaml"
    config = yaml.safe_load(path.read_text())
    node = config
    *parents, last = key.split(".")
    for name in parents:
        node[name] = node.get(name) or {}
        node = node[name]
    node[last] = f"mine.{KEYS[key]}"
    path.write_text("# zoo train --trust mine\n" + yaml.safe_dump(config))
    assert f"mine.{KEYS[key]}" in refused(cli("train", "resume=run"), mine)


@pytest.mark.parametrize(
    ("command", "field"),
    slow_but(product(COMMANDS, ("net", "task", "loss")), lambda *case: case == ("evaluate", "net")),
)
def test_a_checkpoint_imports_no_untrusted_package(command, field, mine, cli, trained, tmp_path):
    tensors, about = checkpoints.read(trained)
    changes = {
        "net": {"net": about.net | {"_target_": "mine.Net"}},
        "task": {"task": about.task | {"_target_": "mine.Sure"}},
        "loss": {"task": about.task | {"loss": "mine.loss"}},
    }
    trust.trust("mine")  # to write the file; it imports nothing
    checkpoints.write(tensors, tmp_path / "evil.safetensors", replace(about, **changes[field]))
    trust._granted.clear()

    key = "weights" if command == "train" else "checkpoint"
    inputs = ["input=x.png"] if command in ("predict", "explain") else []
    torch.save([], "x.png")
    refused(cli(command, f"{key}=evil.safetensors", *inputs), mine)
    with pytest.raises(ValueError, match="--trust mine"):
        zoo.load("evil.safetensors")
    # Its description is only text.
    assert cli("show", "./evil.safetensors").status == 0
    assert not (mine / "marker").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("hydra.searchpath=[pkg://mine.conf]", "model=mine"),
        ("hydra.searchpath=[file://x,pkg://mine/conf]",),
        ("--config-path", "pkg://mine.conf"),
        ("--config-dir", "here", "--config-name", "primary"),
    ],
)
def test_a_search_path_imports_no_untrusted_package(arguments, mine, cli, tmp_path):
    (tmp_path / "here").mkdir()
    text = "defaults: [train]\nhydra: {searchpath: ['pkg://mine.conf']}\n"
    (tmp_path / "here" / "primary.yaml").write_text(text)
    refused(cli("train", *arguments, "--cfg", "job"), mine)
    if "--config-path" not in arguments:
        outcome = cli("train", "--trust", "mine", *arguments, "--cfg", "job")
        assert "pkg://" not in outcome.err


def test_hydra_creates_nothing_of_an_untrusted_package(mine, cli):
    for node in ("callbacks: {x: {_target_: mine.Stop}}", "launcher: {_target_: mine.Stop}"):
        write_config(mine / "conf", f"# @package _global_\nhydra: {{{node}}}\n")
        outcome = cli("train", "--config-dir", str(mine / "conf"), "experiment=own")
        assert outcome.status == 1
        assert outcome.err.count("\n") == 1
        assert not (mine / "marker").exists()


def test_a_trusted_package_gives_every_part_of_a_run(mine, cli, monkeypatch):
    """Also the counterpart of the tests above: with trust, the marker appears."""
    no_plots(monkeypatch)
    write_config(mine / "conf", OWN)
    words = ["--config-dir", str(mine / "conf"), "experiment=own", *TRAIN, "hydra.run.dir=run"]
    refused(cli("train", *words), mine)
    outcome = cli("train", "--trust", "mine", *words)
    assert outcome.status == 0, outcome.err
    assert (mine / "marker").exists()
    assert list(Path("log").rglob("metrics.csv"))

    # The checkpoint stores import paths; the command line is complete.
    about = zoo.info("run")
    assert about.net == {"_target_": "mine.Net", "num_classes": 10}
    assert (about.task["_target_"], about.task["loss"]) == ("mine.Sure", "mine.loss")
    assert about.command.startswith("zoo train --trust mine ")
    assert Path("run/config.yaml").read_text().startswith("# zoo train --trust mine ")

    # Every other use of the run folder needs the trust again.
    monkeypatch.setenv("ZOO_TRUST", "")
    del sys.modules["mine"]
    (mine / "marker").unlink()
    Path("run/metrics.json").rename("metrics.json")
    for words in (("evaluate", "checkpoint=run"), ("train", "resume=run"), ("train", "weights=run")):
        refused(cli(*words), mine)
    with pytest.raises(ValueError, match=r"zoo\.trust\(\"mine\"\)"):
        zoo.load("run")
    zoo.trust("mine")
    assert zoo.load("run").num_classes == 10
    assert cli("evaluate", "checkpoint=run", "dataset=digits", "accelerator=cpu").status == 0
    assert cli("train", "resume=run").status == 0
    assert Path("run/metrics.json").read_text() == Path("metrics.json").read_text()


@pytest.mark.parametrize(
    ("where", "target", "says"),
    [
        ("net", "mine.loss", "net._target_=mine.loss must be a subclass of torch.nn.Module"),
        ("task", "mine.Net", "must be a subclass of zoo.tasks.task.Task"),
        ("source", "mine.Net", "must be a function of the package"),
        ("source", "mine.load", "'mine.load' is not one of the targets"),  # torch.load, which it only imports
        ("logger", "mine.Stop", "must be a subclass of lightning.pytorch.loggers.Logger"),
        ("callbacks.stop", "mine.Log", "must be a subclass of lightning.pytorch.callbacks.Callback"),
        ("optimizer", "mine.Net", "must be a subclass of torch.optim.Optimizer or a function of the package"),
        ("net", "mine.Nett", "mine has no 'Nett'; did you mean mine.Net?"),
        ("net", "mine.torch.load", "mine.torch cannot be imported"),
        ("net", "mine.os.system", "mine.os cannot be imported"),
    ],
)
def test_a_target_of_a_trusted_package_must_be_of_the_right_kind(where, target, says, mine):
    zoo.trust("mine")
    with pytest.raises(ValueError, match="^" + where.replace(".", r"\.")) as error:
        build.check({"_target_": target}, where=where)
    assert says in str(error.value)


def test_a_loss_may_be_a_module(mine, cli):
    zoo.trust("mine")
    overrides = ["model.stages.fit.task.loss=mine.Focal", "accelerator=cpu"]
    result = zoo.train("mlp", "digits", epochs=1, overrides=overrides, folder="run")
    assert cli("evaluate", "checkpoint=run", "accelerator=cpu").status == 0
    # Half the probability is on the class, so that the cross-entropy is log 2, with weight (1 - 1/2)².
    logits, targets = torch.zeros(1, 2), torch.tensor([1])
    focal = sys.modules["mine"].Focal
    for loss in (focal, focal()):
        task = zoo.tasks.Classification(result.net, loss=loss)
        assert task.loss(logits, targets) == pytest.approx(math.log(2) / 4)
        assert "loss.gamma" in task.state_dict()
    assert zoo.tasks.Regression(result.net, loss=nn.HuberLoss).loss(logits, logits) == 0
    with pytest.raises(
        ValueError,
        match=r"loss=Needy: .*'gamma'; define a default value for each argument of Needy, or write a function",
    ):
        zoo.train("mlp", "digits", epochs=1, overrides=[overrides[0].replace("Focal", "Needy")])
    with pytest.raises(ValueError, match="loss=Linear has parameters, which would not be trained"):
        zoo.tasks.Regression(result.net, loss=nn.Linear(2, 1))


def test_a_loss_must_be_a_function_or_module_of_the_package(mine):
    zoo.trust("mine")
    node = {"_target_": "zoo.tasks.Classification", "loss": "mine.Stop"}
    with pytest.raises(ValueError, match=r"loss=mine\.Stop must be a subclass of torch\.nn\.Module or a function of"):
        build.check(node, where="task")
    node["loss"] = "mine.loss"
    task = build.build(node, zoo.create("mlp"), where="task")
    logits = torch.tensor([[0.0, 0.0]])
    assert task.loss(logits, torch.tensor([1])) == pytest.approx(2 * torch.log(torch.tensor(2.0)))
    with pytest.raises(ValueError, match="label_smoothing"):
        build.build({**node, "label_smoothing": 0.1}, zoo.create("mlp"), where="task")


def test_a_callback_and_an_optimizer_are_built(mine):
    zoo.trust("mine")
    stop = build.build({"_target_": "mine.Stop", "monitor": "val/loss"}, where="callbacks.stop")
    assert stop.monitor == "val/loss"
    optimizer = build.build({"_target_": "mine.Descent", "lr": 0.5}, nn.Linear(1, 1).parameters(), where="optimizer")
    assert optimizer.defaults["lr"] == 0.5


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import not_there", "ModuleNotFoundError: No module named 'not_there'"),
        ("raise SystemExit(3)", "SystemExit: 3"),
    ],
)
def test_an_error_of_the_package_is_one_line(code, reason, mine, cli):
    (mine / "mine" / "__init__.py").write_text(f"{code}\n")
    write_config(mine / "conf", OWN)
    outcome = cli("train", "--trust", "mine", "--config-dir", str(mine / "conf"), "experiment=own", *TRAIN)
    assert outcome.status == 1
    assert outcome.err.count("\n") == 1
    assert f"mine cannot be imported ({reason})" in outcome.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--trust", "gone"), "--trust gone: no such package"),
        (("--trust", "a b"), "not the name of a package"),
        (("--trust", "../x"), "not the name of a package"),
        (("--trust", "os"), "part of the zoo or of Python"),
        (("--trust", "zoo.models"), "part of the zoo"),
        (("--trust",), "--trust needs the name of a package"),
        (("--trust=",), "--trust needs the name of a package"),
        (("--trsut", "mine"), "did you mean --trust?"),
    ],
)
def test_a_wrong_name_is_one_line(arguments, says, mine, cli):
    outcome = cli("train", "model=mlp", *arguments)
    assert (outcome.status, outcome.out, outcome.err.count("\n")) == (1, "", 1)
    assert says in outcome.err
    with pytest.raises(ValueError, match=r"no package 'gone' to trust"):
        zoo.trust("gone")


def test_a_wrong_variable_is_one_line(mine, cli, monkeypatch):
    monkeypatch.setenv("ZOO_TRUST", "mine, a-b")
    outcome = cli("list")
    assert outcome.status == 1
    assert outcome.err == "zoo: ZOO_TRUST: 'a-b': not the name of a package, such as my_package\n"
    monkeypatch.setenv("ZOO_TRUST", " mine ,gone")
    assert trust.packages()[:2] == ("mine", "gone")
    assert "mine" in zoo.list_models()
    assert not (mine / "marker").exists()


def test_the_configs_of_a_trusted_package_are_found_without_importing_it(mine, cli):
    assert "--trust PACKAGE" in cli("list", "mine").err
    assert "--trust PACKAGE" in cli("train", "model=mine").err
    assert "--trust PACKAGE" in cli("show", "mine").err
    run("list", ["--trust", "mine", "mine"])
    assert compose("train", ["model=mine"]).model.net._target_ == "mine.Net"
    assert catalogue.model_config("mine")["net"] == {"_target_": "mine.Net"}
    assert not (mine / "marker").exists()


def test_no_package_replaces_a_file_of_the_zoo(mine):
    (mine / "mine" / "conf" / "model" / "mlp.yaml").write_text("net: {_target_: mine.Net}\n")
    zoo.trust("mine")
    assert compose("train", ["model=mlp"]).model.net._target_ == "zoo.models.MLP"
    assert catalogue.model_config("mlp")["net"]["_target_"] == "zoo.models.MLP"


def test_the_working_directory_is_searched_only_for_a_trusted_package(mine, cli, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path not in (str(mine), "", str(mine.parent))])
    monkeypatch.chdir(mine)
    before = list(sys.path)
    assert cli("list", "mlp").status == 0
    assert cli("list", "--trust", "timm", "mlp").status == 0
    assert sys.path == before
    assert cli("list", "--trust", "mine", "mine").status == 0
    assert sys.path == [*before, str(mine)]
    assert not (mine / "marker").exists()


def test_an_installed_package_is_trusted_by_its_entry_point(mine, monkeypatch):
    info = mine / "mine-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[reference_zoo]\nmine = mine\n")
    trust._from_entry_points.cache_clear()
    try:
        assert [entry.module for entry in metadata.entry_points(group="reference_zoo", name="mine")] == ["mine"]
        assert trust.packages() == ("mine",)
        assert trust.given() == ()
        assert "mine" in zoo.list_models()
        assert not (mine / "marker").exists()
        assert targets.find("mine.Net").__name__ == "Net"
    finally:
        trust._from_entry_points.cache_clear()


def test_a_task_that_passes_arguments_on_takes_those_of_its_base(mine):
    (mine / "mine" / "more.py").write_text(
        "import zoo.tasks\n\n\nclass Sure(zoo.tasks.Classification):\n"
        "    def __init__(self, net, penalty: float = 0.1, **rest):\n        super().__init__(net, **rest)\n"
    )
    trust.trust("mine")
    node = {"_target_": "mine.more.Sure", "penalty": 1, "label_smoothing": 0.2}
    assert build.check(node, where="task")[1] == {"penalty": 1.0, "label_smoothing": 0.2}
    with pytest.raises(ValueError, match="has no argument 'penalt'; did you mean penalty"):
        build.check({"_target_": "mine.more.Sure", "penalt": 1}, where="task")
    with pytest.raises(ValueError, match=r"task\.label_smoothing=a must be a number"):
        build.check({**node, "label_smoothing": "a"}, where="task")


def test_an_argument_that_the_config_does_not_set_is_added_with_a_plus(cli):
    outcome = cli("train", "model.stages.fit.optimizer.amsgrad=true")
    assert "+model.stages.fit.optimizer.amsgrad=VALUE adds it" in outcome.err
