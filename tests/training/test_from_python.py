"""`zoo.train`: the same training as ``zoo train``, with nets and data of the program."""

import pytest
import torch
from torch import nn

import zoo
from tests.support import metrics_of, no_plots, same_weights, slow_but
from zoo.cli.main import run

CPU_ONLY = ["accelerator=cpu"]


def two_classes(count: int = 80, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Points of four features; the class says whether the first is positive."""
    x = torch.randn(count, 4, generator=torch.Generator().manual_seed(seed))
    return x, (x[:, 0] > 0).long()


def small_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))


@pytest.mark.parametrize(
    ("model", "keys"),
    slow_but(
        [
            ("mlp", {}),
            ("dbn", {"overrides": ["model.net.hidden=[30,20]"]}),
            ("lenet5", {"batch_size": 50, "lr": 0.001}),
            ("sae", {"overrides": ["model.net.hidden=[30,20]"]}),
            ("rbm", {"overrides": ["model.net.hidden=30"]}),
        ],
        lambda model, keys: model in ("mlp", "dbn"),
    ),
)
def test_it_is_the_command_to_the_bit(model, keys, tmp_path, monkeypatch):
    """All stages of the model, the layer-wise ones included."""
    no_plots(monkeypatch)
    given = [f"{key}={value}" for key, value in keys.items() if key != "overrides"] + keys.get("overrides", [])
    command = [f"model={model}", "dataset=digits", "epochs=1", "seed=7", *CPU_ONLY, *given]
    run("train", [*command, f"hydra.run.dir={tmp_path / 'command'}"])

    torch.manual_seed(123)  # whatever the program has drawn before
    others = CPU_ONLY + keys.get("overrides", [])
    options = {key: value for key, value in keys.items() if key != "overrides"}
    result = zoo.train(model, "digits", epochs=1, seed=7, overrides=others, folder=tmp_path / "python", **options)
    assert same_weights(tmp_path / "command", tmp_path / "python")
    assert result.metrics == metrics_of(tmp_path / "command")
    rows = [(tmp_path / name / "metrics.csv").read_text() for name in ("command", "python")]
    assert rows[0] == rows[1]


def test_a_net_of_torch_trains_on_tensors():
    net = small_net()
    result = zoo.train(net, two_classes(), epochs=20, lr=0.03, validation_data=two_classes(seed=1), overrides=CPU_ONLY)
    assert result.net is net
    assert not net.training
    assert result.metrics["val/accuracy"] > 0.9
    assert [row["epoch"] for row in result.history] == list(range(20))
    assert result.history[-1]["val/accuracy"] == result.metrics["val/accuracy"]
    assert result.folder is None
