"""metrics.csv: one row a step, readable by anything, and the same after a run was taken up again."""

import csv

import pytest

from zoo.training.fit.csv_logger import CSVLogger


@pytest.fixture
def path(tmp_path):
    return tmp_path / "metrics.csv"


def logged(path, *entries, fit="fit"):
    logger = CSVLogger(path)
    logger.start(fit)
    for step, epoch, metrics in entries:
        logger.log_metrics({"epoch": epoch, **metrics}, step)
    logger.save()
    return logger


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_what_is_logged_at_one_step_is_one_row(path):
    logged(
        path, (24, 0, {"train/loss": 2.0}), (24, 0, {"val/loss": 1.5, "val/accuracy": 0.5}), (49, 1, {"val/loss": 1})
    )
    assert table(path) == [
        {"fit": "fit", "epoch": "0", "step": "24", "train/loss": "2.0", "val/accuracy": "0.5", "val/loss": "1.5"},
        {"fit": "fit", "epoch": "1", "step": "49", "train/loss": "", "val/accuracy": "", "val/loss": "1.0"},
    ]


def test_equal_steps_of_two_fits_are_two_rows(path):
    logger = CSVLogger(path)
    for fit in ("pretrain", "finetune"):
        logger.start(fit)
        logger.log_metrics({"epoch": 0, "train/loss": 1.0}, 0)
    assert [row["fit"] for row in logger.rows] == ["pretrain", "finetune"]


def test_columns_begin_with_fit_epoch_and_step_and_go_on_in_alphabetical_order(path):
    logged(path, (0, 0, {"z": 1, "a": 2}), (1, 0, {"m": 3, "train/loss": 4}))
    assert path.read_text().splitlines()[0] == "fit,epoch,step,a,m,train/loss,z"


def test_names_with_commas_and_quotes_survive(path):
    logged(path, (0, 0, {'a, "b"': 1.0}), fit="first, second")
    assert table(path) == [{"fit": "first, second", "epoch": "0", "step": "0", 'a, "b"': "1.0"}]


def test_rows_survive_reload_with_their_exact_values(path):
    values = {"a": 1 / 3, "b": -2.5e-30, "c": 7.0, "d": float("inf"), "e": 0.0}
    logger = logged(path, (3, 0, values), (4, 0, {"a": 1e300}))
    again = CSVLogger(path)
    assert again.rows == logger.rows
    first = path.read_bytes()
    again.save()
    assert path.read_bytes() == first


def test_a_new_fit_keeps_the_rows_of_the_others(path):
    logged(path, (0, 0, {"a": 1.0}), (1, 0, {"a": 2.0}), fit="pretrain")
    logged(path, (0, 0, {"a": 3.0}), fit="finetune")
    assert [(row["fit"], row["a"]) for row in table(path)] == [
        ("pretrain", "1.0"),
        ("pretrain", "2.0"),
        ("finetune", "3.0"),
    ]


@pytest.mark.parametrize(("step", "left"), [(0, []), (50, [24, 49]), (49, [24]), (100, [24, 49, 74])])
def test_starting_from_a_step_drops_what_will_be_logged_again(path, step, left):
    logged(path, (74, 1, {"a": 0.0}), fit="pretrain")
    logged(path, *[(k, 0, {"a": 1.0}) for k in (24, 49, 74)], fit="finetune")
    logger = CSVLogger(path)
    logger.start("finetune", step=step)
    assert [row["step"] for row in logger.rows if row["fit"] == "finetune"] == left
    assert [row["step"] for row in logger.rows if row["fit"] == "pretrain"] == [74]


def test_a_run_taken_up_again_ends_with_the_same_file(path):
    entries = [(k, k // 2, {"train/loss": 1 / (k + 1)}) for k in range(6)]
    logged(path, *entries)
    whole = path.read_bytes()
    logged(path, *entries[:5])  # was killed after step 4; its checkpoint is of step 3
    logger = CSVLogger(path)
    logger.start("fit", step=4)
    for step, epoch, metrics in entries[4:]:
        logger.log_metrics({"epoch": epoch, **metrics}, step)
    logger.save()
    assert path.read_bytes() == whole


def test_series_are_steps_and_values_of_each_fit(path):
    logged(path, (0, 0, {"a": 1.0}), (1, 0, {"b": 9.0}), (2, 0, {"a": 3.0}), fit="one")
    logger = logged(path, (0, 0, {"a": 5.0}), fit="two")
    assert logger.series("a") == {"one": ([0, 2], [1.0, 3.0]), "two": ([0], [5.0])}
    assert logger.series("none") == {}


def test_without_a_file_there_are_no_rows_and_hyperparameters_are_not_kept(path):
    logger = CSVLogger(path)
    logger.log_hyperparams({"lr": 0.1})
    assert logger.rows == []
    logger.save()
    assert path.read_text() == "fit,epoch,step\n"
