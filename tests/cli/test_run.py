"""Commands from Python and from the shell: what `run` raises, and what `main` prints and exits with."""

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from support import same_weights

from zoo.cli import commands, errors
from zoo.cli.main import main, message, run
from zoo.config import renamed
from zoo.training.signals import Stopped


def test_run_raises_what_a_command_raises():
    with pytest.raises(FileNotFoundError, match="no checkpoint 'gone'"):
        run("evaluate", ["checkpoint=gone"])
    with pytest.raises(ValueError, match="unknown command 'trian'; did you mean 'train'"):
        run("trian", [])
    with pytest.raises(ValueError, match="'model' is not KEY=VALUE; see zoo train --help"):
        run("train", ["model", "lenet5"])


def test_run_prints_what_a_command_prints(capsys):
    run("list", ["lenet5"])
    assert "61,706" in capsys.readouterr().out


def test_an_error_of_hydra_is_worded_for_a_notebook():
    with pytest.raises(Exception, match="nope") as caught:
        run("train", ["model=nope"])
    assert message(caught.value).startswith("model=nope: no such model")


@pytest.mark.parametrize(
    ("error", "amount"),
    [
        (MemoryError(), ""),
        (RuntimeError("can't allocate memory: you tried to allocate 8 bytes."), " to allocate 8 bytes"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB."), " to allocate 2.00 GiB"),
    ],
)
def test_a_lack_of_memory_is_no_internal_error(error, amount):
    assert message(error).startswith(f"not enough memory{amount}: use a smaller net")


def test_a_long_message_is_cut():
    text = message(ValueError("x" * 100_000 + "; the fix"))
    assert len(text) < 5000
    assert text.endswith("; the fix")


def test_a_defect_is_called_an_internal_error(cli, monkeypatch):
    def fail(arguments):
        raise ZeroDivisionError("by zero\nsecond line")

    monkeypatch.setattr("zoo.cli.list_models.main", fail)
    outcome = cli("list")
    assert outcome.status == 1
    assert outcome.err == (
        "zoo list: internal error: ZeroDivisionError: by zero (rerun with debug=true for the traceback)\n"
    )
    assert cli("list", "debug=true").err.startswith("Traceback")


def test_debug_is_no_argument_of_a_plain_command(cli):
    assert "lenet5" in cli("list", "lenet5", "debug=true").out


def test_the_exit_status_of_a_stopped_run_is_that_of_its_signal():
    assert errors.exit_status(Stopped(15, "stopped")) == 143
    assert errors.exit_status(ValueError("wrong")) == 1


def test_an_interrupted_command_exits_as_the_shell_expects(cli, monkeypatch):
    def interrupt(arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("zoo.cli.list_models.main", interrupt)
    outcome = cli("list")
    assert (outcome.status, outcome.err) == (130, "\ninterrupted\n")


# Keys of earlier versions


@pytest.mark.parametrize(
    ("key", "siblings", "expected"),
    [
        ("model.inputs", ["net", "input_scaling"], "model.inputs was renamed: use model.input_scaling"),
        ("flips", ["mirror_average"], "flips was renamed: use mirror_average"),
        (
            "weights_head",
            ["pretrained_head"],
            "weights_head was renamed: use pretrained_head (fresh is now reset, load is now keep)",
        ),
        (
            "model.stages.fit.schedule",
            ["order"],
            "model.stages.fit.schedule was renamed: use model.stages.fit.order (joint or layerwise)",
        ),
        ("inputs", ["input"], None),  # a misspelling: there is no input_scaling here
        ("epohcs", ["epochs"], None),
    ],
)
def test_an_old_key_is_answered_with_its_new_name_where_that_exists(key, siblings, expected):
    assert renamed.message(key, siblings) == expected


def test_an_old_key_of_a_saved_config_is_answered_with_its_new_name():
    """Such as the config.yaml of an older run, which is merged into the schema when the run is resumed."""
    schema = OmegaConf.create({"model": {"input_scaling": "unit"}})
    OmegaConf.set_struct(schema, True)
    with pytest.raises(Exception, match="inputs") as caught:
        OmegaConf.merge(schema, {"model": {"inputs": "unit"}})
    assert errors.message(caught.value) == "model.inputs was renamed: use model.input_scaling"


def test_every_command_is_known_by_a_phrase():
    for command in commands.COMMANDS.values():
        assert command.summary[0].islower()
        assert not command.summary.endswith(".")


def test_the_program_draws_to_files_whatever_backend_the_environment_names(monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "module://missing")
    monkeypatch.setattr(sys, "argv", ["zoo", "--version"])
    main()
    assert os.environ["MPLBACKEND"] == "agg"


def test_help_is_no_error_although_the_output_is_closed(monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.setattr(sys, "argv", ["zoo", "--help"])
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    main()
    sys.stdout.close()
    sys.stderr.close()


def test_a_working_directory_that_was_deleted_is_told(cli, tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    outcome = cli("train", "epochs=1")
    assert (outcome.status, outcome.err.count("\n")) == (1, 1)
    assert "the working directory was deleted" in outcome.err


def test_run_takes_what_a_notebook_gives(capsys, tmp_path):
    run("train", ["--help"])
    assert capsys.readouterr().out.startswith("Usage: zoo train")
    with pytest.raises(ValueError, match="must be a list"):
        run("train", "epochs=1")
    with pytest.raises(Exception, match="foo") as caught:
        run("train", [Path("foo=1")])
    assert message(caught.value).startswith("foo: no such key")


def test_commands_of_several_threads_run_one_after_another(tmp_path):
    def train(number: int) -> None:
        words = ["model=logistic", "epochs=1", "progress=false", f"hydra.run.dir={tmp_path / str(number)}"]
        run("train", words)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(train, range(2)))
    assert same_weights(tmp_path / "0", tmp_path / "1")
