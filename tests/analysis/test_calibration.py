"""Temperature scaling and reliability bins, against closed forms and against the metric."""

import pytest
import torch
from torchmetrics.functional.classification import multiclass_calibration_error

from zoo.analysis.calibration import fit_temperature, reliability
from zoo.losses import probabilities


def test_the_temperature_of_a_logit_that_is_right_in_three_of_four_cases():
    """Each example has the logits 0 and z. The best probability is 3/4, so z / T = log 3."""
    z = 5.0
    outputs = torch.tensor([[0.0, z]]).repeat(400, 1)
    y = (torch.arange(400) % 4 != 0).long()
    temperature = fit_temperature([outputs], y)
    assert temperature == pytest.approx(z / torch.tensor(3.0).log().item(), rel=1e-4)
    # One logit of binary cross-entropy says the same as two.
    assert fit_temperature([outputs[:, 1:]], y, loss="binary_cross_entropy") == pytest.approx(temperature, rel=1e-4)


def test_labels_drawn_from_the_scaled_probabilities_give_the_scale_back():
    generator = torch.Generator().manual_seed(0)
    outputs = 3 * torch.randn(20_000, 5, generator=generator)
    y = torch.multinomial(probabilities(outputs, "cross_entropy", 2.5), 1, generator=generator)[:, 0]
    assert fit_temperature([outputs], y) == pytest.approx(2.5, rel=0.03)
    # It is a minimum: the loss is higher on both sides of it.
    best = fit_temperature([outputs], y)
    losses = [torch.nn.functional.cross_entropy(outputs.double() / t, y) for t in (0.99 * best, best, 1.01 * best)]
    assert losses[1] < min(losses[0], losses[2])


def test_the_probabilities_of_two_views_are_averaged():
    """Two equal views are like one; a second view that is less certain needs a lower temperature."""
    one = torch.tensor([[4.0, 0.0], [4.0, 0.0], [4.0, 0.0], [0.0, 4.0]])
    y = torch.tensor([0, 0, 1, 1])
    same = fit_temperature([one, one], y)
    assert same == pytest.approx(fit_temperature([one], y), rel=1e-4)
    with_other = fit_temperature([one, one / 2], y)
    assert with_other < same


@pytest.mark.parametrize(
    ("y", "message"), [([0, 1, 0, 1], "nearly all predictions are right"), ([1, 0, 1, 0], "no better than chance")]
)
def test_a_temperature_that_does_not_exist_is_refused(y, message):
    outputs = torch.tensor([[2.0, -1.0], [0.0, 1.5]]).repeat(2, 1)
    with pytest.raises(ValueError, match=message):
        fit_temperature([outputs], torch.tensor(y))


@pytest.mark.parametrize("scale", [0.5, 3.0, 60.0])  # at 60, many probabilities are exactly 1
def test_the_bins_add_up_to_the_calibration_error(scale):
    generator = torch.Generator().manual_seed(1)
    p = (scale * torch.randn(500, 4, generator=generator)).softmax(dim=1)
    y = torch.randint(4, (500,), generator=generator)
    confidence, predicted = p.max(dim=1)
    bins = reliability(confidence, predicted == y)
    assert sum(found.examples for found in bins) == 500
    assert all(found.low <= found.confidence <= found.high for found in bins)
    error = sum(found.examples * abs(found.accuracy - found.confidence) for found in bins) / 500
    assert error == pytest.approx(float(multiclass_calibration_error(p, y, num_classes=4)), abs=1e-6)
