"""Progress is one readable line per epoch in a pipe, a line that fits in a terminal, and nothing where not wanted."""

import io
import re

import pytest
import torch
from rich.console import Console

import zoo
from zoo.training.fit import progress
from zoo.training.fit.notebook import in_notebook
from zoo.training.fit.progress import ProgressBar

LINE = r"(\S+) epoch (\d)/(\d)(  \S+ -?[\d.e+-]+)+  [\d.]+ s"


def epochs(out: str) -> list[tuple[str, str, str]]:
    """(fit, epoch, epochs) of the lines that report an epoch."""
    found = [re.fullmatch(LINE, line) for line in out.splitlines()]
    return [match.groups()[:3] for match in found if match]


def test_a_pipe_gets_one_line_per_epoch_without_control_characters(cli, folder):
    outcome = cli("train", "model=logistic", "dataset=digits", "epochs=3", "hydra.run.dir=run")
    assert (outcome.status, outcome.err) == (0, "")
    assert epochs(outcome.out) == [("fit", str(epoch), "3") for epoch in (1, 2, 3)]
    first = next(line for line in outcome.out.splitlines() if line.startswith("fit epoch 1/3"))
    assert "  train/loss " in first
    assert "  val/accuracy " in first
    assert not set(outcome.out) & {"\x1b", "\r", "\b"}


def test_every_fit_of_every_stage_is_reported(cli, folder, monkeypatch):
    monkeypatch.setattr("zoo.plots.stage_plots.draw", lambda *args, **options: None)
    arguments = ["model=dbn", "model.net.hidden=[12,8]", "dataset=digits", "epochs=2", "hydra.run.dir=run"]
    out = cli("train", *arguments).out
    fits = ("pretrain.layer0", "pretrain.layer1", "finetune")
    assert epochs(out) == [(fit, epoch, "2") for fit in fits for epoch in "12"]


def test_no_progress_is_no_line(cli, folder):
    out = cli("train", "model=logistic", "dataset=digits", "epochs=2", "progress=false", "hydra.run.dir=run").out
    assert not epochs(out)
    assert "run folder: run" in out


class Fit:
    """What the bar reads of a Trainer."""

    max_epochs: int | None = 20
    current_epoch = 2
    num_training_batches = 90
    num_val_batches = (10,)
    progress_bar_metrics = {"train/loss": torch.tensor(0.1234), "val/accuracy": 0.98765, "val/f1": 0.9, "v_num": 3}  # noqa: RUF012


@pytest.fixture
def terminal(monkeypatch) -> io.StringIO:
    """A terminal of 80 columns."""
    screen = io.StringIO()
    monkeypatch.setattr(
        progress, "Console", lambda: Console(file=screen, force_terminal=True, width=80, color_system=None, _environ={})
    )
    return screen


def lines(screen: io.StringIO) -> list[str]:
    """What was drawn, one after the other, without control characters."""
    return [line for line in re.sub(r"\x1b\[[?\d;]*[A-Za-z]", "\n", screen.getvalue()).split("\n") if line.strip("\r")]


def drawn(screen: io.StringIO, name: str, *, batches: int) -> list[str]:
    """What a terminal shows of the epoch of `Fit`."""
    bar, fit = ProgressBar(name), Fit()
    bar.on_train_start(fit, None)
    bar.on_train_epoch_start(fit, None)
    for batch in range(batches):
        bar.on_train_batch_end(fit, None, None, None, batch)
    for _ in range(10):
        bar.on_validation_batch_end(fit, None, None, None, 0)
    bar.on_train_epoch_end(fit, None)
    bar.on_train_end(fit, None)
    return lines(screen)


@pytest.mark.parametrize("name", ["fit", "pretrain.layer0", "a_stage_of_a_name_that_is_much_longer_than_it_should_be"])
def test_the_live_line_fits_into_the_terminal(name, terminal):
    shown = drawn(terminal, name, batches=90)
    assert shown
    assert all(len(line.rstrip("\r")) <= 80 for line in shown)
    assert shown[-1].startswith(name[:20])
    assert "100%" in shown[-1]


def test_the_live_line_shows_the_epoch_the_time_and_the_metrics(terminal):
    last = drawn(terminal, "fit", batches=90)[-1]
    assert last.startswith("fit epoch 3/20 ")
    assert "train/loss 0.123" in last
    assert "val/accuracy 0.988" in last
    assert "v_num" not in last


def test_the_terminal_is_left_as_it_was_when_a_fit_fails(terminal):
    bar, fit = ProgressBar(), Fit()
    bar.on_train_start(fit, None)
    bar.on_train_epoch_start(fit, None)
    bar.on_exception(fit, None, ValueError("the loss is nan"))
    assert terminal.getvalue().rstrip().endswith("\x1b[?25h"), "the cursor is shown again"


def test_a_bar_that_lightning_disables_is_silent(terminal, capsys):
    bar, fit = ProgressBar(), Fit()
    bar.disable()
    bar.on_train_start(fit, None)
    bar.on_train_epoch_start(fit, None)
    bar.on_train_epoch_end(fit, None)
    bar.on_train_end(fit, None)
    assert terminal.getvalue() == capsys.readouterr().out == ""


def test_a_fit_without_a_number_of_epochs_is_drawn(terminal, monkeypatch):
    monkeypatch.setattr(Fit, "max_epochs", -1)
    assert drawn(terminal, "fit", batches=90)[-1].startswith("fit epoch 3/? ")


@pytest.mark.parametrize(
    ("seconds", "text"), [(2.14, "2.1 s"), (59.9, "59.9 s"), (185, "3:05 min"), (3727, "1:02:07 h")]
)
def test_durations_are_written_with_their_unit(seconds, text):
    assert progress._duration(seconds) == text


def test_values_are_readable_at_any_size():
    metrics = {"a": 0.98765, "b": 0.0, "c": 0.00001234, "d": -85.678, "e": 1234567.0, "f": float("nan")}
    assert list(progress._texts(metrics)) == ["a 0.988", "b 0.000", "c 1.23e-05", "d -85.678", "e 1.23e+06", "f nan"]


def test_a_notebook_gets_one_figure_per_fit_that_is_redrawn(monkeypatch, capfd):
    """Jupyter is replaced: its display shows an object, and its handle replaces it."""
    shown: list[list[object]] = []

    class Handle:
        def update(self, image: object) -> None:
            shown[-1].append(image)

    def display(content: object, **options: object) -> Handle:
        shown.append([content])
        return Handle()

    monkeypatch.setattr("IPython.display.display", display)
    monkeypatch.setattr(progress, "in_notebook", lambda: True)
    monkeypatch.setattr("zoo.training.from_python.in_notebook", lambda: True)
    keys = ["accelerator=cpu", "model.net.hidden=[3]"]
    zoo.train("dbn", (torch.rand(30, 4), torch.arange(30) % 2), epochs=2, batch_size=15, overrides=keys)
    assert [figures[0] for figures in shown] == [
        {"text/plain": f"{name}: training …"} for name in ("pretrain.layer0", "finetune")
    ]
    for _, *figures in shown:
        assert figures
        assert figures[-1].data.startswith(b"\x89PNG")
    assert capfd.readouterr().out == ""


def test_a_script_is_not_a_notebook():
    assert not in_notebook()
