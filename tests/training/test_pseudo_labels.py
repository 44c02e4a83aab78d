"""Self-training: how labels spread, which examples get one, and that held-back labels are not used."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from support import no_plots, rows_of, slow_but, weights_of
from torch import Tensor

from zoo.cli.main import main
from zoo.data.combined import Combined
from zoo.data.image_files import ImageFiles
from zoo.data.sources import digits
from zoo.data.splits import UNLABELED, InMemory
from zoo.training import pseudo_labels
from zoo.training.fit.callbacks import SaveForResume
from zoo.training.fit.trainer import Fit

ROUND = "model.stages.round1"
WORDS = ["model=mlp", "model.net.hidden=[16]", "dataset=digits", "dataset.labeled_examples=60", "batch_size=150"]
WORDS += ["+stage@model.stages.round1=self_training", "epochs=2", "progress=false"]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    no_plots(monkeypatch)


# Spreading


def arcs(count: int = 20) -> tuple[Tensor, Tensor]:
    """Two arcs on the unit circle, and their classes; the labels of all but the first example of each are hidden."""
    angles = torch.cat([torch.linspace(0.0, 1.2, count), torch.linspace(2.0, 3.2, count)])
    x = torch.stack([angles.cos(), angles.sin()], dim=1)
    y = torch.arange(2).repeat_interleave(count)
    hidden = torch.full_like(y, UNLABELED)
    hidden[[0, count]] = y[[0, count]]
    return x, hidden


def test_labels_spread_along_the_data_and_not_by_distance_alone():
    # The far end of the first arc is nearer to the label of the second one.
    x, hidden = arcs()
    belongs = pseudo_labels.spread(3 * x, hidden, 2)
    assert torch.equal(belongs.argmax(dim=1), torch.arange(2).repeat_interleave(20))
    torch.testing.assert_close(belongs.sum(dim=1), torch.ones(40, dtype=torch.float64))
    assert (x[19] - x[20]).norm() < (x[19] - x[0]).norm()


def test_the_result_is_the_closed_form_of_zhou_et_al():
    """F = (1 - a) (I - a S)^-1 Y, with S the normalized symmetric graph."""
    torch.manual_seed(0)
    x = torch.randn(30, 4)
    y = torch.full((30,), UNLABELED)
    y[:6] = torch.arange(6) % 3
    unit = torch.nn.functional.normalize(x, dim=1)
    nearest = (unit @ unit.T - 2 * torch.eye(30)).topk(pseudo_labels.NEIGHBORS, dim=1).indices
    graph = torch.zeros(30, 30, dtype=torch.float64).scatter(1, nearest, 1.0)
    graph = torch.maximum(graph, graph.T)
    degree = graph.sum(dim=1).rsqrt()
    known = torch.nn.functional.one_hot(y.clamp(min=0), 3).double() * (y != UNLABELED)[:, None]
    inverse = torch.linalg.inv(torch.eye(30) - pseudo_labels.ALPHA * degree[:, None] * graph * degree)
    expected = inverse @ known
    expected = expected / expected.sum(dim=1, keepdim=True)
    torch.testing.assert_close(pseudo_labels.spread(x, y, 3), expected, atol=0.02, rtol=0)


def test_examples_that_no_label_reaches_belong_to_no_class():
    x, hidden = arcs()
    hidden[20] = UNLABELED  # the second arc has no label
    belongs = pseudo_labels.spread(x, hidden, 5)
    assert belongs.shape == (40, 5)
    assert belongs[:20, 0].eq(1).all()
    assert belongs[20:].eq(0).all()


# The choice


def test_the_surest_examples_are_chosen_and_known_labels_stay():
    belongs = torch.tensor([[0.6, 0.4], [0.9, 0.1], [0.0, 0.0], [0.2, 0.8], [1.0, 0.0], [0.5, 0.5]]).double()
    labels = torch.tensor([UNLABELED, UNLABELED, UNLABELED, UNLABELED, 1, UNLABELED])
    for share, expected in ((0.2, [1, 4]), (0.4, [1, 3, 4]), (0.79, [0, 1, 3, 4]), (1.0, [0, 1, 2, 3, 4, 5])):
        chosen, classes = pseudo_labels.choose(belongs, labels, share)
        assert chosen.tolist() == expected
        assert len(chosen) == pseudo_labels.count(labels, share)
        # Example 4 belongs most to class 0, but it is known to be of class 1.
        assert classes.tolist() == [[0, 0, 0, 1, 1, 0][k] for k in expected]


def test_of_equally_sure_examples_the_first_are_chosen():
    belongs = torch.full((10, 2), 0.5, dtype=torch.float64)
    chosen, _ = pseudo_labels.choose(belongs, torch.full((10,), UNLABELED), 0.3)
    assert chosen.tolist() == [0, 1, 2]


# The data


def test_hidden_labels_are_those_that_keep_labels_leaves_out():
    splits = digits.load(validation=100)
    hidden = splits.hide_labels(60, seed=3)
    labeled = hidden.train.labels() != UNLABELED
    kept = splits.keep_labels(60, seed=3).train
    assert torch.equal(hidden.train.x, splits.train.x)
    assert torch.equal(hidden.train.labels()[labeled], splits.train.labels()[labeled])
    # The same examples, in the order of the data.
    numbers = [int((splits.train.x == x).flatten(1).all(dim=1).nonzero()[0]) for x in kept.x]
    assert sorted(numbers) == labeled.nonzero().squeeze(1).tolist()
    assert hidden.validation is splits.validation
    assert hidden.test is splits.test


def test_examples_of_every_kind_take_other_labels():
    files = ImageFiles(np.array(["a.png", "b.png"]), torch.tensor([0, 1]), (1, 4, 4))
    memory = InMemory(torch.zeros(3, 1, 4, 4), torch.tensor([0, 1, 1]))
    both = Combined((files, memory))
    labels = torch.tensor([4, 3, 2, 1, 0])
    assert torch.equal(both.relabeled(labels).labels(), labels)
    assert torch.equal(files.relabeled(labels[:2]).labels(), labels[:2])
    assert torch.equal(both.labels(), torch.tensor([0, 1, 0, 1, 1]))


# Runs


def test_a_stage_trains_on_known_and_spread_labels_and_never_on_hidden_ones(tmp_path, monkeypatch):
    fits = []
    original = Fit.train

    def train(self, stop=None):
        before = {name: value.clone() for name, value in self.task.net.state_dict().items()}
        fits.append((self.data.splits.train, before, self.task.net, self.data.preprocess))
        original(self, stop)

    monkeypatch.setattr(Fit, "train", train)
    main("train", [*WORDS, f"{ROUND}.pseudo_labels=0.5", f"hydra.run.dir={tmp_path / 'run'}"])
    (few, *_), (chosen, teacher, net, preprocess) = fits

    # Compute the pseudo-labels from the teacher and from the splits with hidden labels alone.
    everything = digits.load()
    hidden = everything.hide_labels(60, seed=1).train
    net.load_state_dict(teacher)
    net.eval()
    with torch.no_grad():
        features = net.encode(preprocess(hidden.x)).flatten(1)
    belongs = pseudo_labels.spread(features, hidden.labels(), 10)
    numbers, classes = pseudo_labels.choose(belongs, hidden.labels(), 0.5)
    assert len(few) == 60
    assert torch.equal(chosen.x, hidden.x[numbers])
    assert torch.equal(chosen.y, classes)

    # They are right more often than by chance, but not always: the hidden labels are not among them.
    right = (classes == everything.train.labels()[numbers]).float().mean()
    assert 0.5 < right < 1
    rows = [row for row in rows_of(tmp_path / "run") if row["fit"] == "round1"]
    assert max(int(row["epoch"]) for row in rows) == 1


class PowerCut(RuntimeError):  # noqa: N818 - no error of ours
    """As sudden, for the files, as kill -9."""


@pytest.fixture
def cut(tmp_path, monkeypatch):
    """A run that was cut short in the second epoch of self-training."""

    def stop(self, trainer, module, *rest):
        if self.name == "round1" and trainer.current_epoch == 1:
            raise PowerCut
        return original(self, trainer, module, *rest)

    original = SaveForResume.on_train_batch_start
    run = tmp_path / "cut"
    with monkeypatch.context() as patch:
        patch.setattr(SaveForResume, "on_train_batch_start", stop)
        with pytest.raises(SystemExit):
            main("train", [*WORDS, f"hydra.run.dir={run}"])
    return run


def test_a_resumed_run_trains_on_the_labels_of_the_teacher(cut, tmp_path, cli):
    main("train", [*WORDS, f"hydra.run.dir={tmp_path / 'whole'}"])
    outcome = cli("train", f"resume={cut}")
    assert (outcome.status, outcome.err) == (0, "")
    ours, whole = weights_of(cut), weights_of(tmp_path / "whole")
    assert all(torch.equal(ours[name], whole[name]) for name in whole)
    assert rows_of(cut) == rows_of(tmp_path / "whole")


DAMAGES = ["missing", "not a file of tensors", "other classes", "other examples"]


@pytest.mark.parametrize("damage", slow_but(DAMAGES, lambda damage: damage == "other classes"))
def test_a_run_without_its_pseudo_labels_is_not_resumed(damage, cut, cli):
    path = cut / "checkpoints" / f"round1{pseudo_labels.SUFFIX}"
    stored = load_file(path)
    path.unlink()
    if damage == "not a file of tensors":
        path.write_text("damaged")
    if damage == "other classes":
        save_file(stored | {"classes": 9 - stored["classes"]}, path)
    if damage == "other examples":
        save_file(stored | {"examples": stored["examples"] + 400}, path)
    outcome = cli("train", f"resume={cut}")
    assert (outcome.status, len(outcome.err.splitlines())) == (1, 1)
    assert f"{path.name}: " in outcome.err
    assert "start a new one" in outcome.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["dataset.labeled_examples=null"], "round1.pseudo_labels=0.8: all examples have labels; set dataset.labeled"),
        ([f"{ROUND}.pseudo_labels=0"], "round1.pseudo_labels=0.0 must be in (0, 1]"),
        ([f"{ROUND}.pseudo_labels=1.5"], "round1.pseudo_labels=1.5 must be in (0, 1]"),
        (["trainer.overfit_batches=1"], "round1.pseudo_labels does not work with trainer.overfit_batches"),
        (
            ["model=sae", "model.net.hidden=[8]", "model.stages.pretrain.pseudo_labels=0.5"],
            "pretrain.pseudo_labels: Reconstruction has no classes; set it to null",
        ),
    ],
    ids=["no unlabeled examples", "none", "too many", "overfit", "no classes"],
)
def test_what_does_not_work_is_refused_in_one_line(words, message, folder, cli):
    kept = [word for word in WORDS if not any(word.split("=")[0] == other.split("=")[0] for other in words)]
    outcome = cli("train", *kept, *words, "hydra.run.dir=run")
    assert (outcome.status, len(outcome.err.splitlines())) == (1, 1)
    assert message in outcome.err
    assert not (folder / "run").exists()
