"""The loss of contrastive divergence has the value and the gradient that autograd finds, to the bit."""

import pytest
import torch

from zoo.models import RBM


def rbm_of(**arguments: object) -> RBM:
    torch.manual_seed(0)
    rbm = RBM(in_shape=(5,), hidden=4, **arguments)
    with torch.no_grad():
        for parameter in rbm.parameters():
            parameter += torch.randn_like(parameter)
    return rbm


def by_autograd(rbm: RBM, v0: torch.Tensor, vk: torch.Tensor) -> tuple[torch.Tensor, ...]:
    loss = rbm.free_energy(v0).mean() - rbm.free_energy(vk).mean()
    return loss, *torch.autograd.grad(loss, list(rbm.parameters()))


@pytest.mark.parametrize("chains", [7, 3], ids=["as many chains as examples", "fewer chains"])
@pytest.mark.parametrize("labels", [0, 3])
def test_the_gradient_is_that_of_autograd_to_the_bit(labels, chains):
    rbm = rbm_of(label_units=labels)
    v0, vk = torch.rand(7, 5 + labels), torch.rand(chains, 5 + labels)
    loss = rbm.free_energy_difference(v0, vk)
    assert type(loss.grad_fn).__name__ == "FreeEnergyDifferenceBackward"
    found = (loss, *torch.autograd.grad(loss, list(rbm.parameters())))
    for value, expected in zip(found, by_autograd(rbm, v0, vk), strict=True):
        torch.testing.assert_close(value, expected, rtol=0, atol=0)


def test_the_gradient_is_that_of_finite_differences():
    rbm = rbm_of().double()
    v0, vk = torch.rand(7, 5, dtype=torch.double), torch.rand(3, 5, dtype=torch.double)
    (2 * rbm.free_energy_difference(v0, vk)).backward()  # a factor, as gradient accumulation has one
    step = 1e-6
    for parameter in rbm.parameters():
        for index in range(parameter.numel()):
            values = parameter.data.view(-1)
            sides = []
            for sign in (1, -1):
                values[index] += sign * step
                sides.append(rbm.free_energy(v0).mean() - rbm.free_energy(vk).mean())
                values[index] -= sign * step
            slope = 2 * (sides[0] - sides[1]) / (2 * step)
            assert parameter.grad.view(-1)[index].item() == pytest.approx(slope.item(), rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("units", [{"visible_units": "gaussian", "learn_variance": True}, {"hidden_units": "gaussian"}])
def test_other_kinds_of_units_use_autograd(units):
    rbm = rbm_of(**units)
    v0, vk = torch.rand(7, 5), torch.rand(7, 5)
    loss = rbm.free_energy_difference(v0, vk)
    assert type(loss.grad_fn).__name__ != "FreeEnergyDifferenceBackward"
    found = (loss, *torch.autograd.grad(loss, list(rbm.parameters())))
    for value, expected in zip(found, by_autograd(rbm, v0, vk), strict=True):
        torch.testing.assert_close(value, expected)


def test_mixed_precision_uses_autograd():
    rbm = rbm_of()
    v0, vk = torch.rand(7, 5), torch.rand(7, 5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = rbm.free_energy_difference(v0, vk)
    assert type(loss.grad_fn).__name__ != "FreeEnergyDifferenceBackward"
    loss.backward()
    assert rbm.weight.grad.dtype == torch.float32
