"""Multi-label classification: the loss, the metrics, and the commands on data whose examples have several labels."""

import csv
import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch import Trainer
from sklearn.datasets import make_multilabel_classification
from sklearn.metrics import accuracy_score, average_precision_score, f1_score, precision_recall_fscore_support
from support import CPU, fit, metrics_of, no_plots, rows_of
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from zoo.cli.predict.outputs import choose, label_list
from zoo.data.augment import Augment
from zoo.data.datamodule import DataModule
from zoo.data.preprocess import Preprocess
from zoo.data.splits import InMemory, Splits
from zoo.models import MLP, GoogLeNet
from zoo.tasks import MultiLabelClassification
from zoo.training.fit.trainer import measure

LABELS = ("red", "round", "=soft")


class Given(nn.Module):
    """Returns its input, so that the data are the logits."""

    def __init__(self, num_classes=3):
        super().__init__()
        self.num_classes = num_classes

    def forward(self, x):
        return x


def generated(n=300, labels=3, features=8):
    x, y = make_multilabel_classification(n, n_features=features, n_classes=labels, n_labels=2, random_state=0)
    return torch.tensor(x, dtype=torch.float32), torch.tensor(y, dtype=torch.float32)


def module(x, y, *, batch_size=32, **options):
    part = InMemory(x, y)
    splits = Splits(part, part, part, tuple(x.shape[1:]), classes=LABELS, multi_label=True)
    return DataModule(splits, preprocess=Preprocess(splits.shape, scale=1.0), batch_size=batch_size, **options)


def net():
    torch.manual_seed(0)
    return MLP(in_shape=(8,), num_classes=3, hidden=(16,))


# The loss


def test_the_loss_is_the_mean_cross_entropy_of_examples_and_labels():
    x, y = torch.randn(6, 3), (torch.rand(6, 3) < 0.5).float()
    p = torch.sigmoid(x)
    each = -(y * p.log() + (1 - y) * (1 - p).log())
    torch.testing.assert_close(MultiLabelClassification(Given()).training_step((x, y.long()), 0), each.mean())
    weighted = MultiLabelClassification(Given(), pos_weight=[1.0, 2.0, 0.5]).training_step((x, y), 0)
    weights = torch.where(y == 1, torch.tensor([1.0, 2.0, 0.5]), 1.0)
    torch.testing.assert_close(weighted, (weights * each).mean())


@pytest.mark.filterwarnings("ignore:You defined a `validation_step`", "ignore:.*many workers", "ignore:.*LeafSpec")
def test_weights_of_positives_come_from_the_training_labels(tmp_path):
    x, y = generated()
    task = MultiLabelClassification(net(), pos_weight=True)
    options = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, **CPU}
    trainer = Trainer(max_epochs=1, enable_model_summary=False, default_root_dir=tmp_path, **options)
    trainer.fit(task, DataLoader(TensorDataset(x, y), batch_size=50))
    torch.testing.assert_close(task.weights, (1 - y).sum(dim=0) / y.sum(dim=0))


def test_auxiliary_heads_count_with_their_weight():
    torch.manual_seed(0)
    deep = GoogLeNet(in_shape=(3, 79, 79), num_classes=3, dropout=0.0).eval()
    x, y = torch.rand(2, 3, 79, 79), torch.tensor([[1.0, 0, 1], [0, 1, 0]])
    outputs, auxiliary = deep.forward_with_auxiliaries(x)
    loss = F.binary_cross_entropy_with_logits
    expected = loss(outputs, y) + 0.3 * sum(loss(each, y) for each in auxiliary)
    torch.testing.assert_close(MultiLabelClassification(deep).training_step((x, y), 0), expected)


def test_a_task_ends_where_a_plain_loop_with_the_same_net_and_order_ends(tmp_path):
    x, y = generated()
    task = MultiLabelClassification(net(), optimizer=lambda parameters: torch.optim.Adam(parameters, lr=0.01))
    data = module(x, y, seed=3)
    fit(task, data, {"epochs": 4}, folder=tmp_path)

    plain = net()
    optimizer = torch.optim.Adam(plain.parameters(), lr=0.01)
    batches = module(x, y, seed=3).train_dataloader()
    for epoch in range(4):
        batches.sampler.set_epoch(epoch)
        for inputs, labels in batches:
            optimizer.zero_grad()
            F.binary_cross_entropy_with_logits(plain(inputs), labels).backward()
            optimizer.step()
    for ours, theirs in zip(task.net.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
    p = torch.sigmoid(plain(x)).detach().numpy()
    precision = average_precision_score(y.numpy(), p, average="macro")
    assert measure(task, data, trainer_kwargs=CPU)["test/mean_average_precision"] == pytest.approx(precision, abs=1e-5)


# The metrics


def test_metrics_are_those_of_scikit_learn():
    torch.manual_seed(0)
    y = (torch.rand(301, 3) < torch.tensor([0.5, 0.2, 0.7])).float()
    x = torch.randn(301, 3) + y
    task = MultiLabelClassification(Given())
    metrics = measure(task, module(x, y), trainer_kwargs=CPU)
    p = torch.sigmoid(x).numpy()
    expected = {
        "loss": F.binary_cross_entropy_with_logits(x, y).item(),
        "f1": f1_score(y, p >= 0.5, average="macro"),
        "mean_average_precision": average_precision_score(y, p, average="macro"),
        "exact_match": accuracy_score(y, p >= 0.5),
    }
    for name, value in expected.items():
        assert metrics[f"val/{name}"] == metrics[f"test/{name}"] == pytest.approx(value, abs=1e-5), name
    tp, fp, _, fn = np.array(task.counts).T
    precision, recall, _, support = precision_recall_fscore_support(y, p >= 0.5)
    np.testing.assert_allclose(tp / (tp + fp), precision)
    np.testing.assert_allclose(tp / (tp + fn), recall)
    np.testing.assert_array_equal(tp + fn, support)


@pytest.mark.filterwarnings("ignore:No positive")
def test_a_label_without_examples_counts_as_zero():
    _, y = generated()
    y[:, 1] = 0
    logits = torch.randn(len(y), 3) + y
    metrics = measure(MultiLabelClassification(Given()), module(logits, y), trainer_kwargs=CPU)
    precision = average_precision_score(y, logits, average="macro")
    assert metrics["val/mean_average_precision"] == pytest.approx(precision, abs=1e-5)
    assert metrics["val/f1"] == pytest.approx(f1_score(y, logits >= 0, average="macro", zero_division=0), abs=1e-5)


# What is refused


def test_nets_labels_and_weights_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="needs two or more labels"):
        MultiLabelClassification(Given(1))
    with pytest.raises(ValueError, match="set num_classes of this Linear"):
        MultiLabelClassification(nn.Linear(3, 3))
    with pytest.raises(ValueError, match=r"pos_weight=.* must have 3 finite weights >= 0"):
        MultiLabelClassification(Given(), pos_weight=[1.0])
    with pytest.raises(ValueError, match=r"outputs of shape \(4, 3\), the labels \(4,\)"):
        MultiLabelClassification(Given()).training_step((torch.zeros(4, 3), torch.zeros(4)), 0)


def test_mixup_needs_one_class_per_example():
    with pytest.raises(ValueError, match="need one class per example"):
        module(torch.zeros(4, 1, 8, 8, dtype=torch.uint8), torch.zeros(4, 3), augment=Augment(mixup=0.2))


# Commands


def write_table(path, n=120, *, labels=True):
    """A table with eight columns of features and, with ``labels``, one of lists of labels."""
    x, y = generated(n)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([f"f{k}" for k in range(8)] + ["tags"] * labels)
        for features, row in zip(x.tolist(), y.tolist(), strict=True):
            tags = "|".join(name for name, has in zip(LABELS, row, strict=True) if has)
            writer.writerow([*features, tags] if labels else features)


@pytest.fixture
def table(folder):
    write_table(folder / "data.csv")
    return ("dataset=table", "dataset.root=data.csv", "dataset.target=tags", "progress=false", "accelerator=cpu")


def test_a_table_of_labels_is_trained_evaluated_and_predicted(table, cli, folder, monkeypatch):
    no_plots(monkeypatch)
    words = ("model=logistic", "stage@model.stages.fit=multi_label", "epochs=2", "hydra.run.dir=run")
    outcome = cli("train", *table, *words)
    assert (outcome.status, outcome.err) == (0, "")
    assert "labels per example" in " ".join(outcome.out.split())
    names = {f"{split}/{name}" for split in ("val", "test") for name in ("f1", "mean_average_precision", "exact_match")}
    assert names <= metrics_of(folder / "run").keys()

    assert [row["class"] for row in rows_of(folder / "run" / "per_class.csv")] == sorted(LABELS)

    outcome = cli("evaluate", "checkpoint=run", "output=report.json", "accelerator=cpu")
    assert (outcome.status, outcome.err) == (0, "")
    report = json.loads((folder / "report.json").read_text())
    assert report["test/f1"] == pytest.approx(metrics_of(folder / "run")["test/f1"])
    assert report["labels"].keys() == set(LABELS)
    assert report["labels"]["red"].keys() == {"precision", "recall", "f1", "support"}

    write_table(folder / "new.csv", 6, labels=False)
    outcome = cli("predict", "checkpoint=run", "input=new.csv", "output=out.csv", "accelerator=cpu")
    assert outcome.status == 0, outcome.err
    with (folder / "out.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    ordered = sorted(LABELS)
    assert list(rows[0]) == ["row", "labels", *(f"probability_{name}" for name in ordered)]
    for row in rows:
        expected = [name for name in ordered if float(row[f"probability_{name}"]) >= 0.5]
        assert row["labels"] == "|".join(expected)
    formulas = sum(row["labels"].startswith("=") for row in rows)
    assert (f"{formulas} rows have a name or class that a spreadsheet" in outcome.out) == bool(formulas)

    for words, message in (
        (("top=2",), "top=2 must be 1: the probabilities of all labels are listed"),
        (("format=kaggle",), "format=kaggle has one class per row, but this checkpoint predicts several labels"),
    ):
        outcome = cli("predict", "checkpoint=run", "input=new.csv", "output=x.csv", *words)
        assert outcome.status == 1
        assert message in outcome.err
        assert not (folder / "x.csv").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("model=mlp",),
            "have multi-label targets (any number of labels per example); set stage@model.stages.fit=multi_label",
        ),
        (
            ("model=rbm", "model.net.label_units=3"),
            "label_units need class labels, the data have several labels per ex",
        ),
        (
            ("model=mlp", "stage@model.stages.fit=multi_label", "model.stages.fit.task.pos_weight=[1,2]"),
            "model.stages.fit.task.pos_weight=[1.0, 2.0] must have 3 finite weights >= 0",
        ),
        (
            ("model=mlp", "stage@model.stages.fit=multi_label", "model.stages.fit.task.pos_weight=x"),
            "model.stages.fit.task.pos_weight=x must be true or false, or a list",
        ),
    ],
)
def test_stages_that_do_not_fit_the_labels_are_refused(words, message, table, cli, folder):
    outcome = cli("train", *table, *words, "hydra.run.dir=run")
    assert outcome.status == 1
    assert message in outcome.err
    assert not (folder / "run").exists()


def test_a_stage_for_labels_refuses_classes(cli, folder):
    outcome = cli("train", "model=mlp", "dataset=digits", "stage@model.stages.fit=multi_label", "hydra.run.dir=run")
    assert outcome.status == 1
    assert "the data have class labels; set stage@model.stages.fit=classify" in outcome.err


def test_a_label_with_a_probability_of_one_half_is_predicted():
    columns = choose(
        "table", classes=LABELS, name_column="file", value_column="value", top=1, labeled=False, multi_label=True
    )
    assert columns.header(3) == ["file", "labels", "probability_red", "probability_round", "probability_=soft"]
    assert list(columns.rows(["a.png"], torch.tensor([[0.5, 0.49, 0.9]]), [])) == [
        ["a.png", "red|=soft", "0.500000", "0.490000", "0.900000"]
    ]
    assert label_list(LABELS, [0.1, 0.2, 0.3]) == ""
