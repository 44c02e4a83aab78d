"""The group ``callbacks``: Lightning's callbacks in a run, and those that conflict with it."""

import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping
from support import no_plots, rows_of, weights_of

from zoo.config import targets
from zoo.training.fit.user_callbacks import REFUSED, check_callbacks, named_errors

HERE = "lightning.pytorch.callbacks."
LOGISTIC = ["model=logistic", "dataset=digits", "progress=false", "accelerator=cpu", "epochs=2"]


STOPPING = {"_target_": f"{HERE}EarlyStopping", "monitor": "val/loss"}
SAVING = {"_target_": f"{HERE}ModelCheckpoint"}


@pytest.fixture(autouse=True)
def _fast(monkeypatch):
    no_plots(monkeypatch)


@pytest.mark.parametrize(
    ("node", "says"),
    [
        ({"_target_": "os.system"}, "._target_: 'os.system' is not one of the targets"),
        ({"_target_": "torch.optim.SGD"}, "._target_=torch.optim.SGD is of another kind"),
        (3, "=3 must be a mapping"),
        ({**STOPPING, "mode": "up"}, ": `mode` can be min, max, got up"),
        ({**STOPPING, "patience": "x"}, ".patience=x must be an integer"),
        ({**STOPPING, "strikt": True}, ".strikt: .* did you mean strict"),
        ({**STOPPING, "stages": ["f"]}, ".stages: no stage 'f' is trained"),
        ({**STOPPING, "stages": "fit"}, r".stages=fit must be a list of stages, such as \[fit\]"),
        ({"_target_": f"{HERE}ModelSummary"}, ": .* use RichModelSummary"),
        ({**SAVING, "dirpath": "/tmp"}, ".dirpath=/tmp must be relative to the run folder"),
        ({**SAVING, "filename": "../x"}, ".filename=../x must be relative to the run folder"),
    ],
)
def test_a_wrong_callback_is_refused(node, says):
    with pytest.raises(ValueError, match=f"^callbacks.mine{says}"):
        check_callbacks({"mine": node}, ["fit"])


@pytest.mark.parametrize("kind", [kind for kind in REFUSED if targets.find(HERE + kind.__name__)])
def test_a_callback_that_does_not_work_in_a_run_says_what_to_use(kind):
    says = f"^callbacks.mine: {kind.__name__} does not work in a run; "
    with pytest.raises(ValueError, match=says):
        check_callbacks({"mine": {"_target_": f"{HERE}{kind.__name__}"}}, ["fit"])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("callbacks=early", "callbacks=early: no such callbacks; did you mean early_stopping"),
        ("callbacks=early_stopping callbacks.early_stopping.strict=1", "+callbacks.early_stopping.strict=VALUE adds"),
        (
            "callbacks=early_stopping callbacks.early_stopping.monitor=val/accuracy callbacks.early_stopping.mode=max "
            "model.stages.fit.patience=2",
            "callbacks.early_stopping does the same as model.stages.fit.patience",
        ),
        ("callbacks=swa model.stages.fit.ema=0.9", "model.stages.fit.ema chooses other weights"),
        ("callbacks=swa model.stages.fit.patience=2", "model.stages.fit.patience chooses other weights"),
    ],
)
def test_it_is_refused_before_anything_is_written(words, says, cli, folder):
    outcome = cli("train", *LOGISTIC, *words.split(), "hydra.run.dir=run")
    assert (outcome.status, outcome.out, outcome.err.count("\n")) == (1, "", 1)
    assert says in outcome.err
    assert not list(folder.iterdir())


def test_several_callbacks_work_together(cli, folder):
    chosen = "callbacks=[early_stopping,lr_monitor,model_checkpoint,model_summary]"
    words = ["epochs=20", "callbacks.early_stopping.patience=0", "+callbacks.early_stopping.min_delta=9"]
    outcome = cli("train", *LOGISTIC, chosen, *words, "hydra.run.dir=run")
    assert (outcome.status, outcome.err) == (0, "")
    assert "early_stopping (EarlyStopping), lr_monitor (LearningRateMonitor)" in " ".join(outcome.out.split())
    assert "Linear" in outcome.out  # the summary of the model
    rows = rows_of(folder / "run")
    assert {row["epoch"] for row in rows} == {"0", "1"}  # it did not get better by 9
    # The row of a callback that logs a step alone has its epoch.
    assert {row["epoch"]: row["lr-AdamW"] for row in rows if row["lr-AdamW"]}.keys() == {"0", "1"}
    kept = sorted((folder / "run/checkpoints/model_checkpoint/fit").iterdir())
    assert [path.name for path in kept] == ["epoch=0-step=11.ckpt", "epoch=1-step=22.ckpt"]


def test_a_callback_is_for_the_stages_that_it_names(cli, folder):
    words = ["model=dbn", "model.net.hidden=[8]", *LOGISTIC[1:], "epochs=1", "callbacks=early_stopping"]
    outcome = cli("train", *words, "hydra.run.dir=all")
    assert outcome.err.startswith(
        "zoo train: callbacks.early_stopping: Early stopping conditioned on metric `val/loss`"
    )
    assert outcome.err.endswith(
        ": set callbacks.early_stopping.monitor=, or limit it to stages by +callbacks.early_stopping.stages=[STAGE]\n"
    )
    assert cli("train", *words, "+callbacks.early_stopping.stages=[finetune]", "hydra.run.dir=one").status == 0


def test_averaging_the_weights_of_the_last_epochs_changes_them(cli, folder):
    words = [*LOGISTIC, "epochs=3", "lr_schedule@model.stages.fit.lr_schedule=constant"]
    assert cli("train", *words, "callbacks=swa", "hydra.run.dir=averaged").err == ""
    assert cli("train", *words, "hydra.run.dir=last").status == 0
    averaged, last = weights_of(folder / "averaged"), weights_of(folder / "last")
    assert not torch.equal(averaged["head.weight"], last["head.weight"])


def test_an_error_names_its_callback_and_other_errors_stay():
    callback = EarlyStopping("val/loss")
    with (
        pytest.raises(ValueError, match=r"callbacks.mine: Early stopping conditioned"),
        named_errors({"mine": callback}),
    ):
        callback._validate_condition_metric({})
    with pytest.raises(ZeroDivisionError), named_errors({"mine": callback}):
        _ = 1 / 0


def test_a_link_out_of_the_run_folder_is_not_followed(cli, folder):
    (folder / "run/checkpoints").mkdir(parents=True)
    (folder / "elsewhere").mkdir()
    (folder / "run/checkpoints/model_checkpoint").symlink_to(folder / "elsewhere")
    outcome = cli("train", *LOGISTIC, "callbacks=model_checkpoint", "hydra.run.dir=run")
    assert "model_checkpoint/fit is a link out of the run folder; remove it" in outcome.err
    assert not list((folder / "elsewhere").iterdir())
