"""Tasks in a Trainer of the user: parameters that need no gradient are not trained, and predictions."""

from typing import Any

import lightning as L
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import zoo
from zoo.tasks import Classification

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")


class TestParametersThatTheUserFroze:
    """They are not trained, whatever the task freezes besides."""

    def net(self) -> nn.Sequential:
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        net[0].requires_grad_(False)
        return net

    def trainer(self, **options: Any) -> L.Trainer:
        quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
        return L.Trainer(accelerator="cpu", max_epochs=2, **quiet, **options)

    def loader(self) -> DataLoader[Any]:
        return DataLoader(TensorDataset(torch.randn(20, 4), torch.arange(20) % 2), batch_size=10)

    def test_stay_as_they_are(self):
        net = self.net()
        before = {name: value.clone() for name, value in net.state_dict().items()}
        self.trainer().fit(Classification(net, num_classes=2), self.loader())
        changed = {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}
        assert changed == {"2.weight", "2.bias"}
        assert [p.requires_grad for p in net.parameters()] == [False, False, True, True]

    def test_all_of_them_are_refused(self):
        task = Classification(self.net().requires_grad_(False), num_classes=2)
        with pytest.raises(ValueError, match="no parameter of this Sequential can be trained"):
            self.trainer().fit(task, self.loader())

    def test_are_told_from_those_of_an_interrupted_fit(self):
        class Interrupt(L.Callback):
            def on_train_batch_end(self, *_: Any) -> None:
                raise OSError("interrupted")

        net = zoo.create("lenet5", num_classes=2)
        loader = DataLoader(TensorDataset(torch.rand(8, 1, 28, 28), torch.arange(8) % 2), batch_size=4)
        with pytest.raises(OSError, match="interrupted"):
            self.trainer(callbacks=[Interrupt()]).fit(Classification(net, policy="gradual"), loader)
        assert not all(p.requires_grad for p in net.parameters())
        self.trainer().fit(Classification(net), loader)
        assert all(p.requires_grad and p.grad is not None for p in net.parameters())

    def test_predictions_are_the_outputs_of_the_net(self):
        net = self.net()
        task = Classification(net, num_classes=2)
        x = torch.randn(6, 4)
        (outputs,) = self.trainer().predict(task, DataLoader(TensorDataset(x, torch.zeros(6)), batch_size=6))
        assert torch.equal(outputs, net.eval()(x))
