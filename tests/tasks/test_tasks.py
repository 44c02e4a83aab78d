"""Tasks and their optimization: what is minimized, what is measured, how weights and learning rate change."""

import math
from dataclasses import FrozenInstanceError
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import LearningRateMonitor
from omegaconf import OmegaConf
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score
from support import CPU, SILENT, fit
from torch import nn

from zoo.config import build as config
from zoo.config.catalogue import CONF
from zoo.data.datamodule import DataModule
from zoo.data.preprocess import Preprocess
from zoo.data.splits import InMemory, Splits
from zoo.losses import classification_loss
from zoo.tasks import Classification, Regression
from zoo.tasks.optimization import Constant, Cosine, OneCycle, Plateau
from zoo.training.fit.csv_logger import CSVLogger
from zoo.training.fit.trainer import measure


class Given(nn.Module):
    """Puts out what it is given, so that the data are the predictions."""

    def __init__(self, num_classes):
        super().__init__()
        self.num_classes = num_classes

    def forward(self, x):
        return x


class WithAuxiliaries(nn.Module):
    """Three linear heads, two of them auxiliary."""

    num_classes = 4

    def __init__(self):
        super().__init__()
        self.head, self.first, self.second = (nn.Linear(5, 4) for _ in range(3))

    def forward(self, x):
        return self.head(x)

    def forward_with_auxiliaries(self, x):
        return self.head(x), [self.first(x), self.second(x)]


def module(x, y, *, batch_size=4, classes=(), validation=True):
    """Data whose parts are all the same examples, handed to the net as they are."""
    part = InMemory(x, y)
    splits = Splits(part, part if validation else None, part, tuple(x.shape[1:]), classes=classes, num_targets=1)
    return DataModule(splits, preprocess=Preprocess((x.shape[1],), scale=1.0), batch_size=batch_size)


def training_loss(task, batch):
    task.trainer = SILENT
    return task.training_step(batch, 0)


def batch():
    torch.manual_seed(0)
    return torch.randn(6, 5), torch.randint(4, (6,))


# Classification


@pytest.mark.parametrize("weight", [0.3, 1.0])
def test_auxiliary_heads_count_with_their_weight_in_training(weight):
    x, y = batch()
    net = WithAuxiliaries()
    options = {} if weight == 0.3 else {"auxiliary_weight": weight}
    loss = training_loss(Classification(net, **options), (x, y))
    main, first, second = (F.cross_entropy(head(x), y) for head in (net.head, net.first, net.second))
    torch.testing.assert_close(loss, main + weight * first + weight * second)


def test_auxiliary_heads_without_weight_are_not_even_computed():
    x, y = batch()
    net = WithAuxiliaries()
    net.forward_with_auxiliaries = lambda _: pytest.fail("computed")
    loss = training_loss(Classification(net, auxiliary_weight=0.0), (x, y))
    torch.testing.assert_close(loss, F.cross_entropy(net.head(x), y))


def test_auxiliary_heads_count_nothing_in_evaluation():
    x, y = batch()
    net = WithAuxiliaries()
    metrics = measure(Classification(net), module(x, y, classes=tuple("abcd")), trainer_kwargs=CPU)
    expected = F.cross_entropy(net.head(x), y).item()
    assert metrics["val/loss"] == pytest.approx(expected, rel=1e-6)
    assert metrics["test/loss"] == pytest.approx(expected, rel=1e-6)


def fixed_predictions(classes=5, count=101):
    """Logits that are often right, and labels; the last class never occurs and is never predicted."""
    rng = np.random.default_rng(0)
    y = rng.integers(classes - 1, size=count)
    logits = rng.normal(size=(count, classes)) + 1.5 * np.eye(classes)[y]
    logits[:, -1] = -20
    return torch.tensor(logits, dtype=torch.float32), torch.tensor(y)


def expected_calibration_error(p, y, bins=15):
    confidence, right = p.max(axis=1), p.argmax(axis=1) == y
    number = np.minimum((confidence * bins).astype(int), bins - 1)
    return sum(
        abs(right[number == k].mean() - confidence[number == k].mean()) * (number == k).mean() for k in set(number)
    )


def test_classification_metrics_equal_those_computed_by_hand(monkeypatch):
    monkeypatch.setattr("zoo.data.datamodule.EVALUATION_BATCH", 40)  # two whole batches and one of 21
    logits, y = fixed_predictions()
    task = Classification(Given(5))
    metrics = measure(task, module(logits, y, classes=tuple("abcde")), trainer_kwargs=CPU)
    p, predicted = logits.double().softmax(dim=1).numpy(), logits.argmax(dim=1).numpy()
    expected = {
        "accuracy": accuracy_score(y, predicted),
        "f1": f1_score(y, predicted, average="macro"),
        "calibration_error": expected_calibration_error(p, y.numpy()),
        "loss": -np.log(p[np.arange(101), y.numpy()]).mean(),
    }
    assert 0.5 < expected["accuracy"] < 0.95
    assert metrics == pytest.approx(
        {f"{part}/{name}": value for part in ("val", "test") for name, value in expected.items()}, abs=1e-6
    )
    counts = np.array(task.confusion)
    assert counts.sum() == 101
    assert np.array_equal(counts, confusion_matrix(y, predicted, labels=range(5)))  # rows the true class


@pytest.mark.parametrize("outputs", [1, 2])
def test_binary_cross_entropy_is_measured_as_two_classes(outputs):
    torch.manual_seed(0)
    logits, y = torch.randn(101, outputs), torch.randint(2, (101,))
    predicted = (logits[:, 0] > 0) if outputs == 1 else logits[:, 1] > logits[:, 0]
    task = Classification(Given(outputs), loss="binary_cross_entropy")
    metrics = measure(task, module(logits, y, classes=("no", "yes")), trainer_kwargs=CPU)
    assert metrics["test/accuracy"] == pytest.approx(accuracy_score(y, predicted.long()))
    assert metrics["test/f1"] == pytest.approx(f1_score(y, predicted.long(), average="macro"))
    assert np.array_equal(task.confusion, confusion_matrix(y, predicted.long()))


@pytest.mark.parametrize("options", [{"loss": "quadratic"}, {"label_smoothing": 0.2}])
def test_the_loss_asked_for_is_the_one_trained(options):
    x, y = batch()
    net = nn.Linear(5, 4)
    net.num_classes = 4
    expected = classification_loss(
        options.get("loss", "cross_entropy"), label_smoothing=options.get("label_smoothing", 0)
    )
    torch.testing.assert_close(training_loss(Classification(net, **options), (x, y)), expected(net(x), y))


# Regression


def test_regression_metrics_equal_those_computed_by_hand(monkeypatch):
    monkeypatch.setattr("zoo.data.datamodule.EVALUATION_BATCH", 40)
    torch.manual_seed(0)
    predicted, y = torch.randn(101, 2), torch.randn(101, 2)
    metrics = measure(Regression(Given(2), loss="smooth_l1"), module(predicted, y), trainer_kwargs=CPU)
    distance = (predicted - y).double().abs()
    expected = {
        "mse": distance.square().mean().item(),
        "mae": distance.mean().item(),
        "loss": torch.where(distance < 1, distance**2 / 2, distance - 0.5).mean().item(),
    }
    assert metrics == pytest.approx(
        {f"{part}/{name}": value for part in ("val", "test") for name, value in expected.items()}, rel=1e-5
    )


@pytest.mark.parametrize("task", [Classification, Regression])
def test_one_layer_alone_is_refused(task):
    with pytest.raises(ValueError, match=f"{task.__name__} trains the whole net; set order=joint"):
        task(Given(2), layer=0)


def test_classification_needs_outputs():
    with pytest.raises(ValueError, match="Classification needs outputs; set num_classes of this Given"):
        Classification(Given(None))


@pytest.mark.parametrize("num_outputs", [1, 3])
def test_binary_cross_entropy_needs_two_classes(num_outputs):
    task = Classification(Given(2), loss="binary_cross_entropy")
    with pytest.raises(ValueError, match=f"needs 2 classes, the data have {num_outputs}"):
        task.check_targets(num_outputs)
    task.check_targets(2)
    Classification(Given(3)).check_targets(3)
    Regression(Given(num_outputs)).check_targets(num_outputs)


@pytest.mark.parametrize("task", [Classification, Regression])
def test_an_unknown_loss_is_refused_at_once(task):
    with pytest.raises(ValueError, match="unknown loss 'huber'"):
        task(Given(2), loss="huber")


# Optimizers, against their papers' updates


def gradient(w):
    return np.array([3.0, 0.1]) * w - np.array([1.0, 2.0])


def sgd(w, steps, *, lr, momentum, weight_decay, nesterov):
    velocity = 0
    for _ in range(steps):
        g = gradient(w) + weight_decay * w
        velocity = momentum * velocity + g
        w = w - lr * (g + momentum * velocity if nesterov else velocity)
    return w


def adam(w, steps, *, lr, betas, weight_decay, decoupled):
    mean, square = np.zeros(2), np.zeros(2)
    for t in range(1, steps + 1):
        g = gradient(w) + (0 if decoupled else weight_decay * w)
        mean = betas[0] * mean + (1 - betas[0]) * g
        square = betas[1] * square + (1 - betas[1]) * g**2
        step = mean / (1 - betas[0] ** t) / (np.sqrt(square / (1 - betas[1] ** t)) + 1e-8)
        w = w - lr * step - (lr * weight_decay * w if decoupled else 0)
    return w


SGD = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}
ADAM = {"lr": 0.1, "betas": [0.8, 0.95], "weight_decay": 0.1}


@pytest.mark.parametrize(
    ("name", "arguments", "by_hand"),
    [
        ("SGD", {**SGD, "nesterov": False}, lambda w: sgd(w, 6, **SGD, nesterov=False)),
        ("SGD", {**SGD, "nesterov": True}, lambda w: sgd(w, 6, **SGD, nesterov=True)),
        ("Adam", ADAM, lambda w: adam(w, 6, **ADAM, decoupled=False)),
        ("AdamW", ADAM, lambda w: adam(w, 6, **ADAM, decoupled=True)),
    ],
    ids=["momentum", "nesterov", "adam", "adamw"],
)
def test_optimizers_from_a_config_move_as_their_formulas_say(name, arguments, by_hand):
    start = np.array([2.0, -1.0])
    w = nn.Parameter(torch.tensor(start))
    optimizer = config.build({"_target_": f"torch.optim.{name}", **arguments}, iter([w]))
    for _ in range(6):
        w.grad = torch.from_numpy(gradient(w.detach().numpy()))
        optimizer.step()
    np.testing.assert_allclose(w.detach(), by_hand(start), rtol=1e-7)


# Learning-rate schedules


def rates(schedule, steps):
    """The learning rate at each of ``steps`` steps, and the one that would follow."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=2.0)
    entry = schedule(optimizer, steps)
    found = []
    for _ in range(steps + 1):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if entry:
            assert entry["interval"] == "step"
            entry["scheduler"].step()
    return np.array(found)


def test_constant_keeps_the_rate():
    assert (rates(Constant(), 10) == 2).all()


@pytest.mark.parametrize("warmup", [0.25, 0.5])
def test_one_cycle_rises_from_a_25th_to_the_rate_and_falls_to_0(warmup):
    lr, peak = rates(OneCycle(warmup=warmup), 100), int(100 * warmup)
    assert lr[0] == pytest.approx(2 / 25)
    assert lr.argmax() == peak
    assert lr[peak] == pytest.approx(2)
    assert lr[100] == pytest.approx(0, abs=1e-12)
    assert lr[99] < 0.002
    assert (np.diff(lr[: peak + 1]) > 0).all()
    assert (np.diff(lr[peak:]) < 0).all()
    k = np.arange(101)
    up = 2 / 25 + (2 - 2 / 25) * (1 - np.cos(np.pi * k / peak)) / 2
    down = 2 * (1 + np.cos(np.pi * (k - peak) / (100 - peak))) / 2
    np.testing.assert_allclose(lr, np.where(k < peak, up, down), atol=1e-12)


def test_one_cycle_rises_by_a_quarter_of_the_steps_unless_told():
    np.testing.assert_array_equal(rates(OneCycle(), 40), rates(OneCycle(warmup=0.25), 40))


def test_cosine_falls_along_half_a_cosine():
    k = np.arange(101)
    np.testing.assert_allclose(rates(Cosine(), 100), 1 + np.cos(np.pi * k / 100), atol=1e-12)


def test_cosine_may_warm_up_in_a_straight_line():
    lr = rates(Cosine(warmup=0.2), 100)
    assert 0 < lr[0] < 0.1
    np.testing.assert_allclose(np.diff(lr[:21]), lr[0], rtol=1e-9)
    assert lr[20] == pytest.approx(2)
    np.testing.assert_allclose(lr[20:], 1 + np.cos(np.pi * np.arange(81) / 80), atol=1e-12)


@pytest.mark.parametrize("schedule", [OneCycle, Cosine])
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_schedules_of_a_few_steps_are_finite_and_never_negative(schedule, steps):
    for warmup in (0.0, 0.5, 1.0):
        lr = rates(schedule(warmup=warmup), steps)
        assert np.isfinite(lr).all()
        assert lr.min() >= 0
        assert 0 < lr[:steps].max() <= 2


def test_steps_beyond_the_schedule_stay_at_0():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=2.0)
    scheduler = OneCycle()(optimizer, 4)["scheduler"]
    for _ in range(9):
        optimizer.step()
        scheduler.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0, abs=1e-12)


def test_only_plateau_needs_a_validation_split():
    needs = {schedule: schedule.needs_validation for schedule in (Constant, OneCycle, Cosine, Plateau)}
    assert needs == {Constant: False, OneCycle: False, Cosine: False, Plateau: True}


def test_schedules_are_frozen():
    with pytest.raises(FrozenInstanceError):
        OneCycle().warmup = 0.5


def test_plateau_falls_when_the_loss_has_not_fallen_for_its_patience():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=2.0)
    entry = Plateau(factor=0.5, patience=2)(optimizer, 100)
    assert (entry["interval"], entry["monitor"]) == ("epoch", "val/loss")
    lr = []
    for loss in [5, 4, 4, 4, 4, 3, 3, 3, 3]:
        entry["scheduler"].step(loss)
        lr.append(optimizer.param_groups[0]["lr"])
    assert lr == [2, 2, 2, 2, 1, 1, 1, 1, 0.5]


# A fit


def regression_data():
    """Eight points on a plane: x, y."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(8, 3))
    return x, x @ np.array([[1.0], [-2.0], [3.0]])


def linear_task(schedule=None, *, lr=0.1, total_steps=6):
    net = nn.Linear(3, 1, bias=False)
    nn.init.zeros_(net.weight)
    optimizer = partial(torch.optim.SGD, lr=lr)
    return Regression(net, optimizer=optimizer, lr_schedule=schedule, total_steps=total_steps)


def weights_by_hand(steps, *, lr=0.1, clip=math.inf):
    """w after 0, 1 … steps of gradient descent on the mean squared error of all points."""
    x, y = regression_data()
    w = [np.zeros((3, 1))]
    for _ in range(steps):
        g = 2 / len(x) * x.T @ (x @ w[-1] - y)
        w.append(w[-1] - lr * g * min(1, clip / np.linalg.norm(g)))
    return [each[:, 0] for each in w]


def fit_all_points(task, folder, *, validation=True, loggers=(), **stage):
    """Full batches, so that the order does not matter."""
    x, y = (torch.tensor(array, dtype=torch.float32) for array in regression_data())
    stage = OmegaConf.merge(OmegaConf.load(CONF / "stage" / "regress.yaml"), {"epochs": 6, **stage})
    data = module(x, y, batch_size=8, validation=validation)
    fit(task, data, stage, name="fit", folder=folder, loggers=loggers, trainer_kwargs=CPU, progress=False)
    return task.net.weight.detach()[0].numpy()


def test_a_fit_is_gradient_descent(tmp_path):
    np.testing.assert_allclose(fit_all_points(linear_task(), tmp_path), weights_by_hand(6)[-1], rtol=1e-5)


@pytest.mark.parametrize("clip", [0.5, 1e9])
def test_clipping_bounds_the_gradient_and_keeps_its_direction(tmp_path, clip):
    after = fit_all_points(linear_task(), tmp_path, epochs=1, gradient_clip=clip)
    np.testing.assert_allclose(after, weights_by_hand(1, clip=clip)[-1], rtol=1e-5)
    free = np.linalg.norm(weights_by_hand(1)[-1])
    assert np.linalg.norm(after) == pytest.approx(min(free, 0.1 * clip), rel=1e-5)


def test_with_ema_a_fit_ends_with_the_moving_average_of_the_weights(tmp_path):
    after = fit_all_points(linear_task(), tmp_path, ema=0.8)
    _, average, *later = weights_by_hand(6)
    for w in later:
        average = 0.8 * average + 0.2 * w
    np.testing.assert_allclose(after, average, rtol=1e-5)
    assert not np.allclose(after, weights_by_hand(6)[-1], rtol=0.01)


@pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*LeafSpec")
@pytest.mark.parametrize("schedule", [Constant(), OneCycle(warmup=0.5), Cosine(), Cosine(warmup=0.3)], ids=str)
def test_the_rate_logged_by_a_fit_follows_the_schedule(tmp_path, schedule):
    x, y = (torch.tensor(array, dtype=torch.float32) for array in regression_data())
    history = CSVLogger(tmp_path / "metrics.csv")
    history.start("fit")
    Trainer(
        **CPU,
        max_epochs=5,
        logger=history,
        callbacks=[LearningRateMonitor("step")],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
    ).fit(linear_task(schedule, lr=2.0e-3, total_steps=20), datamodule=module(x, y, batch_size=2))
    steps, lr = history.series("lr-SGD")["fit"]
    assert steps == list(range(20))
    np.testing.assert_allclose(lr, rates(schedule, 20)[:20] / 1000, rtol=1e-9)


@pytest.mark.filterwarnings("ignore:.*many workers", "ignore:.*LeafSpec", "ignore:.*smaller than the logging interval")
@pytest.mark.parametrize(("every", "steps"), [(1, [0, 1, 2, 3, 4, 5, 6]), (3, [2, 5])])
def test_the_training_loss_is_logged_at_the_trainers_logging_steps(tmp_path, every, steps):
    x, y = (torch.tensor(array, dtype=torch.float32) for array in regression_data())
    history = CSVLogger(tmp_path / "metrics.csv")
    history.start("fit")
    Trainer(
        **CPU,
        max_epochs=7,
        logger=history,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        limit_val_batches=0,
        log_every_n_steps=every,
    ).fit(linear_task(), datamodule=module(x, y, batch_size=8))
    logged, losses = history.series("train/loss")["fit"]
    assert logged == steps
    x, y = regression_data()
    expected = [((x @ w - y[:, 0]) ** 2).mean() for w in weights_by_hand(6)]
    np.testing.assert_allclose(losses, [expected[k] for k in steps], rtol=1e-5)


def test_plateau_follows_the_validation_loss_of_a_fit(tmp_path):
    task = linear_task(Plateau(factor=0.5, patience=0), lr=1e-12)  # moves too little for the loss to fall
    fit_all_points(task, tmp_path, epochs=4)
    last = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert last["optimizer_states"][0]["param_groups"][0]["lr"] == pytest.approx(1e-12 / 8)
