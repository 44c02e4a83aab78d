"""The losses and the reading of outputs against formulas written out in NumPy."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from zoo.losses import (
    CLASSIFICATION,
    REGRESSION,
    ClassificationLoss,
    classification_loss,
    probabilities,
    regression_loss,
)
from zoo.models import MLP
from zoo.tasks import Classification

SMOOTHING = pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])


def batch(classes):
    rng = np.random.default_rng(0)
    return rng.normal(size=(9, classes)) * 3, rng.integers(classes, size=9)


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def mixed(y, classes, smoothing):
    return (1 - smoothing) * np.eye(classes)[y] + smoothing / classes


def loss_of(name, outputs, y, **options):
    return classification_loss(name, **options)(torch.from_numpy(outputs), torch.from_numpy(y)).item()


@SMOOTHING
@pytest.mark.parametrize("classes", [2, 5])
def test_cross_entropy_is_minus_the_expected_log_softmax(classes, smoothing):
    outputs, y = batch(classes)
    expected = -(mixed(y, classes, smoothing) * np.log(softmax(outputs))).sum(axis=1).mean()
    assert loss_of("cross_entropy", outputs, y, label_smoothing=smoothing) == pytest.approx(expected, rel=1e-12)


@SMOOTHING
@pytest.mark.parametrize("classes", [1, 2, 5])
def test_quadratic_is_half_the_squared_distance_to_the_target(classes, smoothing):
    outputs, y = batch(classes)
    expected = 0.5 * ((outputs - mixed(y, classes, smoothing)) ** 2).sum(axis=1).mean()
    assert loss_of("quadratic", outputs, y, label_smoothing=smoothing) == pytest.approx(expected, rel=1e-12)


@SMOOTHING
def test_binary_cross_entropy_of_one_logit(smoothing):
    outputs, y = batch(2)
    z = outputs[:, 0]
    target = (1 - smoothing) * y + smoothing / 2
    sigmoid = 1 / (1 + np.exp(-z))
    expected = -(target * np.log(sigmoid) + (1 - target) * np.log(1 - sigmoid)).mean()
    loss = loss_of("binary_cross_entropy", z[:, None], y, label_smoothing=smoothing)
    assert loss == pytest.approx(expected, rel=1e-12)


@SMOOTHING
def test_binary_cross_entropy_of_two_logits_is_cross_entropy(smoothing):
    outputs, y = batch(2)
    binary, general = (
        loss_of(name, outputs, y, label_smoothing=smoothing) for name in ("binary_cross_entropy", "cross_entropy")
    )
    assert binary == pytest.approx(general, rel=1e-12)


@pytest.mark.parametrize("name", CLASSIFICATION)
def test_gradient_of_a_loss_is_its_numerical_one(name):
    outputs, y = (torch.from_numpy(array) for array in batch(2))
    loss = classification_loss(name, label_smoothing=0.1)
    assert torch.autograd.gradcheck(lambda z: loss(z, y), outputs.requires_grad_())


def test_binary_cross_entropy_refuses_three_outputs():
    outputs, y = (torch.from_numpy(array) for array in batch(3))
    with pytest.raises(ValueError, match="two classes, the net has 3 outputs"):
        classification_loss("binary_cross_entropy")(outputs, y)
    with pytest.raises(ValueError, match="two classes, the net has 3 outputs"):
        probabilities(outputs, "binary_cross_entropy")


def test_the_rubbish_class_is_one_more_logit_of_minus_ten():
    outputs, y = batch(5)
    # Equation 9 of LeCun et al. 1998 with penalties -outputs and j = 10.
    expected = np.mean(np.log(np.exp(-10) + np.exp(outputs).sum(1)) - outputs[np.arange(len(y)), y])
    loss = loss_of("cross_entropy_with_rubbish", outputs, y)
    np.testing.assert_allclose(loss, expected)
    assert loss > loss_of("cross_entropy", outputs, y)
    # Class probabilities are targets as well.
    one_hot = np.eye(5)[y]
    np.testing.assert_allclose(loss_of("cross_entropy_with_rubbish", outputs, one_hot), expected)


def test_the_rubbish_class_raises_the_logit_of_the_class_even_if_the_others_are_far_below():
    outputs = torch.tensor([[-20.0, -90.0, -90.0]], requires_grad=True)
    classification_loss("cross_entropy")(outputs, torch.tensor([0])).backward()
    assert outputs.grad.abs().max() < 1e-6
    classification_loss("cross_entropy_with_rubbish")(outputs, torch.tensor([0])).backward()
    assert outputs.grad[0, 0] == pytest.approx(-1, abs=1e-3)


@pytest.mark.parametrize(
    ("name", "classes"),
    [("cross_entropy", 5), ("cross_entropy_with_rubbish", 5), ("quadratic", 5), ("binary_cross_entropy", 2)],
)
def test_probabilities_are_never_negative_and_sum_to_one(name, classes):
    predicted = probabilities(torch.from_numpy(batch(classes)[0]), name)
    assert predicted.shape == (9, classes)
    assert (predicted >= 0).all()
    torch.testing.assert_close(predicted.sum(dim=1), torch.ones(9, dtype=torch.double))


def test_probabilities_of_logits_are_their_softmax():
    outputs, _ = batch(5)
    np.testing.assert_allclose(probabilities(torch.from_numpy(outputs), "cross_entropy"), softmax(outputs))


def test_probabilities_of_two_logits_are_the_same_for_both_losses_that_take_them():
    outputs, _ = batch(2)
    np.testing.assert_allclose(probabilities(torch.from_numpy(outputs), "binary_cross_entropy"), softmax(outputs))


def test_probabilities_of_one_logit_are_one_minus_sigmoid_and_sigmoid():
    z = torch.tensor([1.0, 3.0, 0.25]).log()[:, None]
    predicted = probabilities(z, "binary_cross_entropy")
    torch.testing.assert_close(predicted, torch.tensor([[0.5, 0.5], [0.25, 0.75], [0.8, 0.2]]))


def test_probabilities_of_quadratic_outputs_are_shares_of_what_is_positive():
    outputs = torch.tensor(
        [[0.2, 0.6, 0.0, -9.0], [-1.0, 0.0, -2.0, -3.0], [0.0, 0.0, 0.0, 0.0], [-1.0, -1.0, 5.0, -1.0]]
    )
    expected = torch.tensor([[0.25, 0.75, 0, 0], [0.25] * 4, [0.25] * 4, [0, 0, 1.0, 0]])
    torch.testing.assert_close(probabilities(outputs, "quadratic"), expected)


@pytest.mark.parametrize(
    ("name", "formula"),
    [
        ("mse", lambda d: d**2),
        ("mae", abs),
        ("smooth_l1", lambda d: np.where(abs(d) < 1, d**2 / 2, abs(d) - 0.5)),
    ],
)
def test_regression_losses(name, formula):
    rng = np.random.default_rng(0)
    outputs, targets = rng.normal(size=(2, 9, 3)) * 2
    loss = regression_loss(name)(torch.from_numpy(outputs), torch.from_numpy(targets)).item()
    assert loss == pytest.approx(formula(outputs - targets).mean(), rel=1e-12)


@pytest.mark.parametrize(("make", "names"), [(classification_loss, CLASSIFICATION), (regression_loss, REGRESSION)])
def test_an_unknown_loss_lists_the_choices(make, names):
    with pytest.raises(ValueError, match="unknown loss 'huber'; choose one of: " + ", ".join(names)):
        make("huber")


@pytest.mark.parametrize("smoothing", [-0.1, 1.1, float("nan")])
def test_label_smoothing_is_a_fraction(smoothing):
    with pytest.raises(ValueError, match=rf"label_smoothing={smoothing} must be in \[0, 1\]"):
        classification_loss("cross_entropy", label_smoothing=smoothing)


def test_losses_take_half_precision_outputs():
    outputs, y = (torch.from_numpy(array) for array in batch(5))
    for name in ("cross_entropy", "quadratic"):
        loss = classification_loss(name)
        torch.testing.assert_close(loss(outputs.bfloat16(), y).double(), loss(outputs, y), rtol=0.02, atol=0)


def test_one_hot_target_costs_nothing_quadratically():
    y = torch.tensor([2, 0])
    assert classification_loss("quadratic")(F.one_hot(y, 4).double(), y).item() == 0


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
@SMOOTHING
@pytest.mark.parametrize(
    ("name", "classes"),
    [("cross_entropy", 5), ("cross_entropy_with_rubbish", 5), ("quadratic", 5), ("binary_cross_entropy", 2)],
)
def test_blended_classes_cost_what_both_classes_do(name, classes, smoothing, share):
    """Cross-entropies are linear in the target; the squared distance also misses how far the two targets are apart."""
    outputs, y = batch(classes)
    other = np.roll(y, 1)
    soft = share * np.eye(classes)[y] + (1 - share) * np.eye(classes)[other]
    blended = loss_of(name, outputs, soft, label_smoothing=smoothing)
    first, second = (loss_of(name, outputs, hard, label_smoothing=smoothing) for hard in (y, other))
    expected = share * first + (1 - share) * second
    if name == "quadratic":
        apart = ((mixed(y, classes, smoothing) - mixed(other, classes, smoothing)) ** 2).sum(axis=1).mean()
        expected -= 0.5 * share * (1 - share) * apart
    assert blended == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_blended_classes_of_one_logit(dtype):
    z, positive = torch.tensor([[0.5], [-2.0]], dtype=dtype), torch.tensor([0.25, 0.9])
    loss = classification_loss("binary_cross_entropy")(z, torch.stack([1 - positive, positive], dim=1))
    p = torch.sigmoid(z[:, 0].float())
    expected = -(positive * p.log() + (1 - positive) * (1 - p).log()).mean()
    torch.testing.assert_close(loss.float(), expected, rtol=1e-6 if dtype == torch.float32 else 0.02, atol=0)


@SMOOTHING
def test_weighted_classes_count_by_their_weight_in_the_mean(smoothing):
    outputs, y = batch(4)
    weight = np.array([0.5, 1.0, 2.0, 4.0])
    log_p = np.log(softmax(outputs))
    hard = weight[y] * log_p[np.arange(9), y]
    spread = (weight * log_p).mean(axis=1)
    expected = -((1 - smoothing) * hard + smoothing * spread).sum() / weight[y].sum()
    loss = loss_of("cross_entropy", outputs, y, label_smoothing=smoothing, class_weights=torch.from_numpy(weight))
    assert loss == pytest.approx(expected, rel=1e-12)
    if not smoothing:
        assert loss != pytest.approx(loss_of("cross_entropy", outputs, y), rel=1e-3)


@pytest.mark.parametrize("name", ["quadratic", "binary_cross_entropy"])
def test_weights_of_classes_are_for_cross_entropy(name):
    with pytest.raises(ValueError, match=f"class_weights are for the loss cross_entropy, not {name}"):
        classification_loss(name, class_weights=torch.ones(2))


def test_a_loss_that_is_added_to_the_table_can_be_trained_and_read(monkeypatch):
    def hinge(outputs, targets, *, label_smoothing):
        return torch.nn.functional.multi_margin_loss(outputs, targets)

    added = ClassificationLoss(hinge, lambda outputs: outputs.softmax(dim=1), num_classes=3)
    monkeypatch.setitem(CLASSIFICATION, "hinge", added)
    outputs, y = (torch.from_numpy(array) for array in batch(3))
    assert classification_loss("hinge")(outputs, y) == hinge(outputs, y, label_smoothing=0)
    assert torch.equal(probabilities(outputs, "hinge"), outputs.softmax(dim=1))
    with pytest.raises(ValueError, match="class_weights are for the loss cross_entropy, not hinge"):
        classification_loss("hinge", class_weights=torch.ones(3))

    task = Classification(MLP(in_shape=(4,), num_classes=3, hidden=()), loss="hinge")
    task.check_targets(3)
    with pytest.raises(ValueError, match="loss=hinge needs 3 classes, the data have 2"):
        task.check_targets(2)


def test_outputs_are_logits_if_the_loss_is_not_one_of_classification():
    outputs = torch.from_numpy(batch(3)[0])
    assert torch.equal(probabilities(outputs, "squared_error"), outputs.softmax(dim=1))
