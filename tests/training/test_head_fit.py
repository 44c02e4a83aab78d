"""The head is fitted to features before the first epoch: the optimum it has, and what stays as it was."""

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from support import metrics_of, no_plots, weights_of
from torch import nn

from zoo.cli.main import main
from zoo.data.preprocess import Preprocess
from zoo.data.sources import digits
from zoo.models import InceptionSmall
from zoo.training.fit.head_fit import STRENGTH, logistic_regression

SMALL = ("model=inception_small", "model.net.stem=8", "model.net.width=0.25", "model.net.dropout=0")
DATA = ("dataset=digits", "dataset.validation=100", "dataset.test=20", "dataset.labeled_examples=300", "progress=false")
FIT = "model.stages.fit"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    no_plots(monkeypatch)


def examples(count: int, classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(count) % classes
    x = 3 + 2 * torch.randn(count, 5, generator=generator) + F.one_hot(y, 5)
    return x, y


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("balanced", [False, True])
def test_the_solution_is_the_minimum_of_the_penalized_loss(classes, balanced):
    """At the minimum, the gradient is 0. Of two classes, the penalty is that on the difference of their weights."""
    x, y = examples(60, classes)
    keep = (y > 0) | (torch.arange(60) % 2 == 0)  # class 0 has half as many examples
    x, y = x[keep].double(), y[keep]
    weight, bias = logistic_regression(x, y, classes, balanced=balanced, strength=2.0)
    bias = bias - bias.mean()  # the same for all classes: it changes no probability
    center = x.mean(0)
    scale = (x - center).square().sum(1).mean().sqrt()
    share = len(y) / (classes * y.bincount()) if balanced else torch.ones(classes)

    def gradients(weight: torch.Tensor, bias: torch.Tensor) -> tuple[torch.Tensor, ...]:
        weight, bias = weight.requires_grad_(), bias.requires_grad_()
        losses = F.cross_entropy(x @ weight.T + bias, y, reduction="none") * share[y]
        scaled = weight * scale
        penalty = (scaled[1] - scaled[0]).square().sum() / 2 if classes == 2 else scaled.square().sum() / 2
        return torch.autograd.grad(2.0 * losses.sum() + penalty, (weight, bias))

    for found, elsewhere in zip(gradients(weight, bias), gradients(weight * 0.9, bias + 0.1), strict=True):
        assert found.abs().max() < 0.05 * elsewhere.abs().max(), "L-BFGS stops near the minimum"


def test_a_class_without_examples_is_never_the_prediction():
    x, y = examples(60, 3)
    weight, bias = logistic_regression(x, y, 5, balanced=True)
    predicted = (x.double() @ weight.T + bias).argmax(1)
    assert weight[3:].eq(0).all()
    assert set(predicted.tolist()) == {0, 1, 2}


def test_a_run_begins_with_the_fitted_head_and_all_else_as_it_was(tmp_path):
    """With a learning rate of 0, the run ends as it began."""
    for name, fitted in (("random", "false"), ("fitted", "true")):
        words = [*SMALL, *DATA, f"{FIT}.fit_head={fitted}", f"{FIT}.task.freeze_statistics=true", "lr=0", "epochs=1"]
        main("train", [*words, f"hydra.run.dir={tmp_path / name}"])
    random, fitted = weights_of(tmp_path / "random"), weights_of(tmp_path / "fitted")
    assert {name for name in random if not torch.equal(random[name], fitted[name])} == {"head.weight", "head.bias"}
    assert metrics_of(tmp_path / "random")["val/accuracy"] < 0.4
    assert metrics_of(tmp_path / "fitted")["val/accuracy"] > 0.7

    # The head is that of the training features, without class weights.
    net = InceptionSmall(in_shape=(1, 28, 28), num_classes=10, stem=8, width=0.25, dropout=0)
    net.load_state_dict(load_file(tmp_path / "fitted" / "model.safetensors"))
    train = digits.load(validation=100, test=20).keep_labels(300, seed=1).train
    preprocess = Preprocess.from_data(digits.load(validation=100, test=20).train.x, standardize=True)
    with torch.no_grad():
        features = net.eval().encode(preprocess(train.x))
    weight, _ = logistic_regression(features, train.y, 10, balanced=False, strength=STRENGTH)
    torch.testing.assert_close(net.head.weight.double(), weight, rtol=1e-2, atol=1e-3)


def test_frozen_statistics_stay_while_scale_and_shift_are_trained(tmp_path):
    words = [*SMALL, *DATA, f"{FIT}.task.freeze_statistics=true", "epochs=2", f"hydra.run.dir={tmp_path / 'run'}"]
    main("train", words)
    after = weights_of(tmp_path / "run")
    means = [name for name in after if name.endswith("running_mean")]
    assert means
    for name in means:
        assert after[name].eq(0).all(), name
        assert after[name.replace("running_mean", "running_var")].eq(1).all(), name
        assert after[name.replace("running_mean", "num_batches_tracked")].eq(0).all(), name
        assert not after[name.replace("running_mean", "weight")].eq(1).all(), name


def test_a_task_whose_statistics_are_frozen_leaves_the_net_in_training_mode():
    from zoo.tasks import Classification

    net = InceptionSmall(in_shape=(1, 8, 8), num_classes=10)
    task = Classification(net, freeze_statistics=True)
    normalizations = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    assert not any(module.training for module in normalizations if task.train())
    task.teardown("fit")
    assert all(module.training for module in net.modules())
    task.train()
    assert not any(module.training for module in normalizations), "a second fit of the same task"


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (
            ["model=lenet5_1998", "dataset=digits", f"{FIT}.task.loss=cross_entropy"],
            "LeNet1998 has no linear layer as its head",
        ),
        (["model=mlp", "dataset=digits", f"{FIT}.task.loss=quadratic"], "the loss must be cross_entropy"),
        (["model=linear", "dataset=line"], "Regression has no classes"),
        (
            ["model=lenet5", "dataset=digits", "weights=lenet5-digits", "pretrained_head=keep"],
            "the head that pretrained_head=keep loads",
        ),
    ],
)
def test_a_head_that_cannot_be_fitted_is_refused_in_one_line(words, reason, cli, folder):
    outcome = cli("train", *words, f"{FIT}.fit_head=true", "epochs=1", "hydra.run.dir=run")
    assert outcome.status == 1
    assert len(outcome.err.splitlines()) == 1
    assert f"{FIT}.fit_head=true" in outcome.err
    assert reason in outcome.err
    assert not (folder / "run").exists()


def test_keys_for_pretrained_weights_are_pointed_out_with_random_ones(cli, folder):
    words = [f"{FIT}.task.freeze_statistics=true", f"{FIT}.interpolation=0.75", "epochs=1", "hydra.run.dir=run"]
    outcome = cli("train", *SMALL, *DATA, *words)
    assert outcome.status == 0
    assert "freeze_statistics=true keeps batch normalization at its initial mean 0 and variance 1" in outcome.out
    assert f"{FIT}.interpolation=0.75 mixes the trained weights with random ones" in outcome.out
