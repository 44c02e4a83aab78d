"""What may be built derives from what the packages export, under its public name alone, and costs no import."""

import subprocess
import sys
from pathlib import Path

import pytest

import zoo.models
import zoo.tasks
from zoo.config import targets
from zoo.data import sources


def test_every_model_task_and_dataset_is_allowed_by_standing_where_it_stands():
    allowed = targets.allowed()
    assert {"zoo.models.MLP", "zoo.models.RBM", "zoo.tasks.Classification", "torch.optim.AdamW"} <= allowed
    files = {path.stem for path in Path(sources.__file__).parent.glob("*.py")} - {"__init__"}
    assert {target for target in allowed if ".sources." in target} == {
        f"zoo.data.sources.{name}.load" for name in files
    }
    assert {target for target in allowed if target.startswith("zoo.models.")} <= {
        f"zoo.models.{name}" for name in zoo.models.__all__
    }


def test_a_model_that_is_exported_is_allowed_without_another_line(monkeypatch):
    class Fresh(zoo.models.MLP):
        """A user's copy of the zoo got one more model."""

    assert targets.find("zoo.models.Fresh") is None
    monkeypatch.setattr(zoo.models, "Fresh", Fresh, raising=False)
    assert targets.find("zoo.models.Fresh") is None, "it is not exported yet"
    monkeypatch.setattr(zoo.models, "__all__", [*zoo.models.__all__, "Fresh"])
    assert targets.find("zoo.models.Fresh") is Fresh


@pytest.mark.parametrize(
    "target",
    [
        "zoo.models.activation",  # exported, but no net
        "zoo.models.ACTIVATIONS",
        "zoo.models.nn",
        "zoo.models.mlp.MLP",
        "zoo.tasks.classification.Classification",
        "zoo.data.sources.load",
        "zoo.data.sources.digits.load_digits",
        "zoo.data.sources.digits.torch.load",
        "zoo.data.augment.torch.load",
        "zoo.config.targets.import_module",
        "torch.optim.Optimizer",  # abstract
        "torch.optim.SparseAdam",  # needs sparse gradients
        "torch.optim.lr_scheduler.StepLR",
        "torch.optim.swa_utils.AveragedModel",
        "torch.optim.rprop.Rprop",
        "lightning.pytorch.callbacks.Callback",
        "lightning.pytorch.callbacks.LambdaCallback",  # its arguments are functions
        "lightning.pytorch.callbacks.model_checkpoint.torch.load",
        "lightning.pytorch.loggers.Logger",
        "lightning.pytorch.Trainer",
        "torch.load",
        "os.system",
        "load",
        "",
        None,
        3,
        ["zoo.models.MLP"],
    ],
)
def test_all_else_is_refused(target):
    assert targets.find(target) is None


@pytest.mark.parametrize(
    "target",
    [
        "torch.optim.RMSprop",
        "torch.optim.Rprop",
        "torch.optim.LBFGS",
        "lightning.pytorch.loggers.CSVLogger",
        "lightning.pytorch.callbacks.LearningRateMonitor",
        "lightning.pytorch.callbacks.StochasticWeightAveraging",
    ],
)
def test_optimizers_loggers_and_callbacks_are_allowed_by_their_base(target):
    assert targets.find(target).__name__ == target.rpartition(".")[2]
    assert target in targets.allowed()


def test_a_package_that_is_not_listed_is_not_even_imported(tmp_path, monkeypatch):
    (tmp_path / "evil.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    assert targets.find("evil.run") is None


def test_names_and_targets_translate_both_ways():
    pairs = {
        ("LeNet5", "model"): "zoo.models.LeNet5",
        ("Classification", "task"): "zoo.tasks.Classification",
        ("digits", "source"): "zoo.data.sources.digits.load",
        ("Augment", "augment"): "zoo.data.augment.Augment",
    }
    for (name, kind), target in pairs.items():
        assert targets.target_of(name, kind) == target
        assert targets.class_name(target, kind) == name
        assert targets.find(target) is not None


@pytest.mark.parametrize("name", ["zoo.models.mlp.MLP", "mlp..MLP", "", "a b", "MLP\n", None, ["MLP"], "../x"])
def test_a_name_that_leads_elsewhere_is_refused(name):
    with pytest.raises(ValueError, match="not the name of a model"):
        targets.target_of(name, "model")


@pytest.mark.parametrize("target", ["os.system", "zoo.models.mlp.MLP", "zoo.models.", "zoo.tasks.Regression", None])
def test_a_target_of_another_kind_has_no_name(target):
    with pytest.raises(ValueError, match="not the _target_ of a model"):
        targets.class_name(target, "model")


def test_loading_and_translating_import_nothing_heavy():
    code = (
        "import sys; from zoo.config import targets; targets.target_of('MLP', 'model'); targets.find('torch.load'); "
        "print(*{'torch', 'hydra', 'lightning', 'numpy'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip() == ""
