"""Tasks outside the zoo's commands: in a plain Trainer with plain DataLoaders and callbacks, or without a Trainer."""

import copy
from functools import partial
from math import isnan

import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import (
    EarlyStopping,
    LearningRateFinder,
    LearningRateMonitor,
    ModelCheckpoint,
    StochasticWeightAveraging,
)
from lightning.pytorch.loggers import CSVLogger
from support import rows_of, slow_but
from torch import nn
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Subset, TensorDataset

from zoo.data.datamodule import DataModule
from zoo.data.preprocess import Preprocess
from zoo.data.splits import InMemory, Splits
from zoo.losses import classification_loss
from zoo.models import DBN, MLP, RBM, Autoencoder, InceptionSmall, StackedAutoencoder
from zoo.tasks import (
    Classification,
    ContrastiveDivergence,
    MultiLabelClassification,
    Reconstruction,
    Regression,
    WakeSleep,
)
from zoo.tasks.optimization import OneCycle

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")


def images(n=80):
    """Two kinds of images of 8x8 bits, with a few flipped bits, and their classes."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(n) % 2
    clean = torch.zeros(n, 1, 8, 8)
    clean[y == 0, :, :4] = 1
    clean[y == 1, :, 4:] = 1
    flips = torch.rand(clean.shape, generator=generator) < 0.1
    return (clean + flips.float()) % 2, y


X, Y = images()
# For each task: how it is built, and the targets of a batch.
CASES = {
    "classification": (lambda: Classification(MLP(in_shape=(1, 8, 8), num_classes=2, hidden=(8,))), Y),
    "batch normalization": (
        lambda: Classification(InceptionSmall(in_shape=(1, 8, 8), num_classes=2, stem=4, width=0.1)),
        Y,
    ),
    "own net": (lambda: Classification(nn.Sequential(nn.Flatten(), nn.Linear(64, 2)), num_classes=2), Y.int()),
    "labels": (
        lambda: MultiLabelClassification(MLP(in_shape=(1, 8, 8), num_classes=2, hidden=(8,))),
        F.one_hot(Y),
    ),
    "regression": (lambda: Regression(MLP(in_shape=(1, 8, 8), num_classes=1, hidden=(8,))), Y.double()),
    "reconstruction": (lambda: Reconstruction(Autoencoder(in_shape=(1, 8, 8), hidden=8)), Y),
    "reconstruction of a layer": (
        lambda: Reconstruction(StackedAutoencoder(in_shape=(1, 8, 8), hidden=(8, 4)), 1),
        Y,
    ),
    "contrastive divergence": (lambda: ContrastiveDivergence(RBM(in_shape=(1, 8, 8), hidden=8)), Y),
    "persistent chains": (
        lambda: ContrastiveDivergence(RBM(in_shape=(1, 8, 8), hidden=8), persistent=True, chains=10),
        None,
    ),
    "contrastive divergence of a layer": (
        lambda: ContrastiveDivergence(DBN(in_shape=(1, 8, 8), hidden=(8, 4)), 1),
        Y,
    ),
    "wake-sleep": (lambda: WakeSleep(DBN(in_shape=(1, 8, 8), hidden=(8, 4))), None),
}
each_case = pytest.mark.parametrize("name", CASES)
FAST = ("classification", "labels", "persistent chains", "wake-sleep")
mostly_slow = pytest.mark.parametrize("name", slow_but(CASES, lambda name: name in FAST))
DETERMINISTIC = ["classification", "labels", "regression", "reconstruction"]


def build(name):
    torch.manual_seed(0)
    return CASES[name][0]()


def loader(name, batch_size=8):
    y = CASES[name][1]
    return DataLoader(TensorDataset(X) if y is None else TensorDataset(X, y), batch_size=batch_size)


def trainer(folder, *callbacks, **options):
    checkpoints = any(isinstance(callback, ModelCheckpoint) for callback in callbacks)
    return Trainer(
        **{
            "max_epochs": 2,
            "accelerator": "cpu",
            "logger": False,
            "callbacks": list(callbacks),
            "enable_checkpointing": checkpoints,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "default_root_dir": folder,
            **options,
        }
    )


def state(task):
    return copy.deepcopy(task.net.state_dict())


def assert_same(a, b, **tolerance):
    assert a.keys() == b.keys()
    for name in a:
        torch.testing.assert_close(a[name], b[name], **tolerance)


@each_case
def test_a_task_trains_with_plain_loaders_and_its_defaults(name, tmp_path):
    task, data = build(name), loader(name)
    before, weights = trainer(tmp_path).validate(task, data, verbose=False)[0], state(task)
    fit = trainer(tmp_path, max_epochs=3)
    fit.fit(task, data, data)
    assert "train/loss" in fit.callback_metrics, "though an epoch has fewer steps than log_every_n_steps"
    after = fit.callback_metrics[task.monitor]
    assert any(not torch.equal(weights[key], value) for key, value in task.net.state_dict().items())
    if "layer" not in name and name != "wake-sleep":  # their inputs are the features of untrained layers
        assert after >= before[task.monitor] if task.mode == "max" else after < before[task.monitor]
    measured = trainer(tmp_path).test(task, data, verbose=False)[0]
    if "layer" not in name:
        assert measured[task.monitor.replace("val/", "test/")] == pytest.approx(after.item(), rel=1e-5)


def test_a_task_trains_with_the_data_module_of_the_zoo(tmp_path):
    part = InMemory((X * 255).to(torch.uint8), Y)
    splits = Splits(part, part, part, (1, 8, 8), classes=("up", "down"))
    data = DataModule(splits, preprocess=Preprocess.from_data(part.x, standardize=True), batch_size=8)
    task = Classification(MLP(in_shape=(1, 8, 8), num_classes=2, hidden=(8,)), class_weights=True)
    fit = trainer(tmp_path, EarlyStopping(task.monitor, mode=task.mode), max_epochs=8)
    fit.fit(task, datamodule=data)
    assert fit.callback_metrics["val/accuracy"] > 0.9


# Lightning's callbacks


@mostly_slow
def test_a_checkpoint_of_lightning_is_loaded_without_pickled_code_and_resumed(name, tmp_path):
    task, data = build(name), loader(name)
    best = ModelCheckpoint(tmp_path, "{epoch}", monitor=task.monitor, mode=task.mode, save_top_k=-1)
    stop = EarlyStopping(task.monitor, mode=task.mode, patience=10)
    fit = trainer(tmp_path, best, stop)
    fit.fit(task, data, data)
    ends = state(task)

    other = build(name)
    options = {"layer": 1} if "layer" in name else {"num_classes": 2} if name == "own net" else {}
    loaded = type(task).load_from_checkpoint(tmp_path / "epoch=1.ckpt", net=other.net, weights_only=True, **options)
    assert_same(state(loaded), ends)

    # From the end of the first epoch, it ends with the weights that the whole fit has, if nothing is drawn.
    again = build(name)
    trainer(tmp_path).fit(again, data, data, ckpt_path=tmp_path / "epoch=0.ckpt", weights_only=True)
    if name in DETERMINISTIC:
        assert_same(state(again), ends)


def test_early_stopping_and_checkpoints_may_monitor_the_training_loss(tmp_path):
    task = build("classification")
    best = ModelCheckpoint(tmp_path, monitor="train/loss")
    fit = trainer(tmp_path, best, EarlyStopping("train/loss", stopping_threshold=1e3), max_epochs=4)
    fit.fit(task, loader("classification"))
    assert fit.current_epoch == 1
    assert best.best_model_score is not None


class Recorder(Callback):
    """The weights at the start of every epoch, before weight averaging changes them."""

    def __init__(self):
        self.seen = []

    def on_train_epoch_start(self, trainer, pl_module):
        self.seen.append(state(pl_module))


@pytest.mark.parametrize("name", ["classification", "contrastive divergence"])
def test_stochastic_weight_averaging_ends_with_the_mean_of_the_weights(name, tmp_path):
    recorder = Recorder()
    task = build(name)
    averaging = StochasticWeightAveraging(0.05, swa_epoch_start=2, annealing_epochs=1)
    trainer(tmp_path, recorder, averaging, max_epochs=4).fit(task, loader(name))
    for key, value in task.net.named_parameters():
        torch.testing.assert_close(value.data, torch.stack([seen[key] for seen in recorder.seen[1:]]).mean(dim=0))


@pytest.mark.parametrize("schedule", [None, OneCycle(warmup=0.5)], ids=["constant", "one cycle"])
def test_the_learning_rate_that_lightning_finds_is_used_with_schedule_and_factors(schedule, tmp_path):
    torch.manual_seed(0)
    net = InceptionSmall(in_shape=(1, 8, 8), num_classes=2, stem=4, width=0.1)
    task = Classification(net, head_lr_factor=10.0, layer_decay=0.5, lr_schedule=schedule)
    finder, monitor = LearningRateFinder(num_training_steps=30), LearningRateMonitor("step")
    logger = CSVLogger(tmp_path)
    trainer(tmp_path, finder, monitor, max_epochs=2, logger=logger, log_every_n_steps=1).fit(
        task, loader("classification")
    )
    assert task.lr == pytest.approx(finder.optimal_lr.suggestion())
    rows = rows_of(tmp_path / "lightning_logs" / "version_0" / "metrics.csv")
    logged = [{key: float(value) for key, value in row.items() if key.startswith("lr-") and value} for row in rows]
    first = next(row for row in logged if row)
    start = 1 if schedule is None else 1 / 25
    assert first["lr-AdamW/head"] == pytest.approx(10 * task.lr * start)
    assert min(first.values()) == pytest.approx(0.5 ** (len(first) - 1) * task.lr * start)
    assert max(row["lr-AdamW/head"] for row in logged if row) == pytest.approx(10 * task.lr, rel=1e-3)


# Steps and schedules


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_schedule_ends_with_the_last_step_of_the_trainer(accumulate, tmp_path):
    task = build("classification")
    task.lr_schedule = OneCycle()
    fit = trainer(tmp_path, accumulate_grad_batches=accumulate)
    fit.fit(task, loader("classification"))
    assert fit.global_step == 20 / accumulate
    assert fit.optimizers[0].param_groups[0]["lr"] == pytest.approx(0, abs=1e-9)


def test_a_scheduler_of_pytorch_is_stepped_once_per_epoch(tmp_path):
    task = build("classification")
    task.lr_schedule = lambda optimizer, steps: torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.1)
    fit = trainer(tmp_path)
    fit.fit(task, loader("classification"))
    assert fit.optimizers[0].param_groups[0]["lr"] == pytest.approx(1e-5)


def test_a_schedule_needs_a_number_of_steps(tmp_path):
    task = build("classification")
    task.lr_schedule = OneCycle()
    with pytest.raises(ValueError, match=r"set total_steps=, or max_epochs= or max_steps= of the Trainer"):
        task.configure_optimizers()
    with pytest.raises(ValueError, match="needs the number of steps"):
        trainer(tmp_path, max_epochs=-1).fit(task, loader("classification"))


# Without a Trainer


@mostly_slow
def test_a_plain_loop_over_the_steps_of_a_task_ends_with_the_same_weights(name, tmp_path):
    task, data = build(name), loader(name)
    torch.manual_seed(1)
    trainer(tmp_path).fit(task, data)

    plain = build(name)
    torch.manual_seed(1)
    optimizer = plain.configure_optimizers()
    for _ in range(2):
        for k, batch in enumerate(data):
            loss = plain.training_step(batch, k)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    if name != "contrastive divergence of a layer":  # a fit ends with derived weights
        assert_same(state(plain), state(task), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_a_plain_loop_with_the_net_and_the_loss_ends_with_the_same_weights(name, tmp_path):
    task, data = build(name), loader(name)
    trainer(tmp_path).fit(task, data)

    net = build(name).net
    losses = {
        "classification": lambda x, y: classification_loss("cross_entropy")(net(x), y),
        "labels": lambda x, y: F.binary_cross_entropy_with_logits(net(x), y.float()),
        "regression": lambda x, y: (net(x)[:, 0] - y.float()).square().mean(),
        "reconstruction": lambda x, y: F.binary_cross_entropy(net.reconstruct(x), x, reduction="sum") / len(x),
    }
    optimizer = (torch.optim.Adam if name == "reconstruction" else torch.optim.AdamW)(net.parameters(), lr=1e-3)
    for x, y in [*data] * 2:
        optimizer.zero_grad()
        losses[name](x, y).backward()
        optimizer.step()
    assert_same(net.state_dict(), state(task), rtol=1e-4, atol=1e-6)


def test_a_deep_belief_network_is_pretrained_by_hand(tmp_path):
    torch.manual_seed(0)
    net = DBN(in_shape=(1, 8, 8), hidden=(8, 4), num_classes=2)
    data = loader("classification")
    weights = [net.layers[k].weight.clone() for k in range(2)]
    for layer in range(2):
        trainer(tmp_path).fit(ContrastiveDivergence(net, layer), data)
        assert [torch.equal(net.layers[k].weight, weights[k]) for k in range(2)] == [False, layer == 0]
    fit = trainer(tmp_path, max_epochs=6)
    fit.fit(Classification(net, optimizer=partial(torch.optim.Adam, lr=0.03)), data, data)
    assert fit.callback_metrics["val/accuracy"] > 0.9


# Batches and targets


class Targets(Dataset):
    """Like a dataset of torchvision: its labels are in a list."""

    def __init__(self, targets):
        self.targets = targets

    def __len__(self):
        return len(self.targets)

    def __getitem__(self, k):
        return torch.zeros(5), torch.tensor(self.targets[k])


class Unknown(Dataset):
    """Its labels are only known by reading every example."""

    def __len__(self):
        return 4

    def __getitem__(self, k):
        return torch.zeros(5), k % 2


LABELS = [0] * 6 + [1] * 3 + [2] * 3
TENSORS = TensorDataset(torch.zeros(12, 5), torch.tensor(LABELS))


@pytest.mark.parametrize(
    "dataset",
    [
        TENSORS,
        Targets(LABELS),
        InMemory(torch.zeros(12, 5), torch.tensor(LABELS)),
        Subset(TensorDataset(torch.zeros(14, 5), torch.tensor([2, 2, *LABELS])), range(2, 14)),
        ConcatDataset([Subset(TENSORS, range(5)), Subset(Targets(LABELS), range(5, 12))]),
    ],
    ids=["tensors", "torchvision", "zoo", "subset", "concatenation"],
)
def test_class_weights_come_from_the_dataset_of_any_loader(dataset, tmp_path):
    task = Classification(MLP(in_shape=(5,), num_classes=3, hidden=()), class_weights=True)
    trainer(tmp_path, max_epochs=1).fit(task, DataLoader(dataset, batch_size=4))
    torch.testing.assert_close(task.weights, 4 / torch.tensor([6.0, 3, 3]))


@pytest.mark.parametrize("dataset", [Unknown(), ConcatDataset([TENSORS, Unknown()])])
def test_class_weights_that_cannot_be_computed_are_asked_for(dataset, tmp_path):
    task = Classification(MLP(in_shape=(5,), num_classes=3, hidden=()), class_weights=True)
    with pytest.raises(
        ValueError, match=r"the labels of all examples of a \w+ are not known; set class_weights to a li"
    ):
        trainer(tmp_path, max_epochs=1).fit(task, DataLoader(dataset))


def test_given_class_weights_are_those_of_the_loss():
    net, weights = MLP(in_shape=(5,), num_classes=3, hidden=()), [1.0, 2.0, 0.5]
    x, y = torch.randn(6, 5), torch.arange(6) % 3
    loss = Classification(net, class_weights=weights).training_step((x, y), 0)
    torch.testing.assert_close(loss, F.cross_entropy(net(x), y, weight=torch.tensor(weights)))
    for wrong in ([1.0, 2.0], [1, 2, -1], [1, 2, float("nan")], "balanced", 3):
        with pytest.raises(ValueError, match="class_weights="):
            Classification(net, class_weights=wrong)


def test_a_loss_may_be_a_function():
    net = MLP(in_shape=(5,), num_classes=3, hidden=())
    x, y = torch.randn(6, 5), torch.arange(6) % 3
    task = Classification(net, loss=F.multi_margin_loss)
    torch.testing.assert_close(task.training_step((x, y), 0), F.multi_margin_loss(net(x), y))
    net = MLP(in_shape=(5,), num_classes=3, hidden=())
    values = torch.randn(6, 3)
    torch.testing.assert_close(
        Regression(net, loss=F.huber_loss).training_step((x, values), 0), F.huber_loss(net(x), values)
    )
    with pytest.raises(ValueError, match="a loss of your own has no label_smoothing"):
        Classification(net, loss=F.multi_margin_loss, label_smoothing=0.1)


def test_a_net_states_its_number_of_classes_or_the_user_does():
    with pytest.raises(ValueError, match="set num_classes of this Linear"):
        Classification(nn.Linear(5, 3))
    with pytest.raises(ValueError, match="num_classes=4: this MLP has num_classes=3"):
        Classification(MLP(in_shape=(5,), num_classes=3, hidden=()), num_classes=4)


def test_targets_of_a_regression_have_the_shape_of_the_outputs():
    task, x = Regression(nn.Linear(5, 1)), torch.randn(6, 5)
    y = torch.randn(6)
    torch.testing.assert_close(task.training_step((x, y), 0), F.mse_loss(task.net(x)[:, 0], y))
    with pytest.raises(ValueError, match=r"outputs of shape \(6, 1\), the targets \(6, 2\)"):
        task.training_step((x, torch.randn(6, 2)), 0)


def test_inputs_that_a_task_cannot_use_are_refused_at_the_first_batch(tmp_path):
    task = build("contrastive divergence")
    with pytest.raises(ValueError, match=r"must be in \[0, 1\], got"):
        trainer(tmp_path).fit(task, DataLoader(X * 2 - 1, batch_size=8))


def test_a_net_with_label_units_needs_labels(tmp_path):
    task = ContrastiveDivergence(RBM(in_shape=(1, 8, 8), hidden=8, label_units=2))
    with pytest.raises(ValueError, match=r"label units needs batches \(x, y\)"):
        trainer(tmp_path).fit(task, DataLoader(X, batch_size=8))


# Data and nets that do not fit


class Dictionaries(Dataset):
    def __len__(self):
        return 8

    def __getitem__(self, index):
        return {"image": X[index], "label": Y[index]}


class Returning(nn.Module):
    """A net whose logits are within a dictionary or a tuple."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        self.layer = nn.Linear(64, 2)

    def forward(self, x):
        logits = self.layer(x.flatten(1))
        return {"logits": logits} if self.kind is dict else (logits, x)


def linear(outputs=2):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, outputs))


def classes(net=None, **options):
    return Classification(net or linear(), **{"num_classes": 2, **options})


def labels():
    return MultiLabelClassification(linear(), num_classes=2)


SOFT = F.one_hot(Y).float() * 0.9
MISFITS = {
    "a dictionary of outputs": (classes, {"net": Returning(dict)}, Y, r"returns a dict for 8 .*outputs\['logits'\]"),
    "a tuple of outputs": (
        classes,
        {"net": Returning(tuple)},
        Y,
        r"returns a tuple .*needs a tensor of shape \[8, 2\]",
    ),
    "other outputs": (classes, {"num_classes": 3}, Y, r"num_classes=3, but Sequential has 2 outputs: set num_classes"),
    "a class too many": (classes, {}, Y + 1, r"class numbers from 1 to 2, but there are 2 classes: number them from 0"),
    "negative classes": (classes, {}, Y - 1, r"class numbers from -1 to 0"),
    "float classes": (classes, {}, Y.float(), r"torch.float32 .*must be integers: pass y.long\(\)"),
    "a column of classes": (classes, {}, Y[:, None], r"shape \[8, 1\], .* shape \[8\]: pass y.squeeze\(1\)"),
    "one-hot classes": (classes, {}, F.one_hot(Y), r"pass y.argmax\(1\) for one-hot labels"),
    "no classes": (classes, {}, None, r"Classification needs batches \(x, y\) of two tensors, .* a list of Tensor; "),
    "labels of 2": (labels, {}, F.one_hot(Y) * 2, r"the value 2; labels must be 1 where"),
    "labels without a value": (labels, {}, F.one_hot(Y) * float("nan"), r"the value nan; labels must be 1 where"),
    "values of a tuple": (lambda: Regression(Returning(tuple)), {}, SOFT, r"returns a tuple .* shape \[8, targets\]"),
}


@pytest.mark.parametrize("validates", [False, True], ids=["train", "validate"])
@pytest.mark.parametrize("name", MISFITS)
def test_what_does_not_fit_a_task_is_named_at_the_first_batch(name, validates, tmp_path):
    make, options, y, says = MISFITS[name]
    data = DataLoader(TensorDataset(X) if y is None else TensorDataset(X, y), batch_size=8)
    call = trainer(tmp_path).validate if validates else trainer(tmp_path).fit
    with pytest.raises(ValueError, match=says) as error:
        call(make(**options), data)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["classification", "reconstruction", "contrastive divergence"])
def test_batches_that_are_dictionaries_are_refused(name, tmp_path):
    with pytest.raises(ValueError, match=r"dictionaries with the keys image, label; .*collate_fn="):
        trainer(tmp_path).fit(build(name), DataLoader(Dictionaries(), batch_size=4))


def test_training_takes_soft_targets_and_left_out_examples(tmp_path):
    for task, y in ((labels(), SOFT), (classes(), SOFT), (classes(), torch.where(Y == 0, -100, Y))):
        fit = trainer(tmp_path)
        fit.fit(task, DataLoader(TensorDataset(X, y), batch_size=8))
        assert torch.isfinite(fit.callback_metrics["train/loss"])
    with pytest.raises(ValueError, match=r"the value 0\.9"):
        trainer(tmp_path).validate(labels(), DataLoader(TensorDataset(X, SOFT), batch_size=8))


@each_case
def test_several_validation_loaders_have_metrics_of_their_own(name, tmp_path):
    task, all_of_it, y = build(name), loader(name), CASES[name][1]
    part = DataLoader(TensorDataset(X[:8]) if y is None else TensorDataset(X[:8], y[:8]), batch_size=4)
    alone = [trainer(tmp_path).validate(task, data, verbose=False)[0] for data in (all_of_it, part)]
    together = trainer(tmp_path).validate(task, [all_of_it, part], verbose=False)
    for index, metrics in enumerate(alone):
        assert together[index] == pytest.approx(
            {f"{k}/dataloader_idx_{index}": v for k, v in metrics.items()}, nan_ok=True
        )
    # In a fit, too, after the states that validation has left.
    fit = trainer(tmp_path)
    fit.fit(task, all_of_it, [all_of_it, part])
    assert f"{task.monitor}/dataloader_idx_1" in fit.callback_metrics
    tested = trainer(tmp_path).test(task, [all_of_it, part], verbose=False)
    assert [key.rpartition("/")[2] for row in tested for key in list(row)[:1]] == [
        "dataloader_idx_0",
        "dataloader_idx_1",
    ]


def test_the_mean_loss_is_nan_if_that_of_a_batch_is():
    # torchmetrics leaves such a batch out by default, and the mean of the others looks fine.
    task = Classification(nn.Linear(2, 2), num_classes=2)
    data = TensorDataset(torch.tensor([[0.0, 0.0], [torch.inf, 0.0]]), torch.tensor([0, 1]))
    trainer = Trainer(logger=False, enable_progress_bar=False, enable_model_summary=False, accelerator="cpu")
    loss = trainer.validate(task, DataLoader(data), verbose=False)[0]["val/loss"]
    assert isnan(loss)
