"""`zoo.train`: the same training as ``zoo train``, with nets and data of the program."""

import random
import shlex
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import zoo
from tests.support import metrics_of, no_plots, same_weights, slow_but, weights_of
from zoo.cli.main import run
from zoo.data.splits import InMemory, Splits

CPU_ONLY = ["accelerator=cpu"]


def two_classes(count: int = 80, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Points of four features; the class says whether the first is positive."""
    x = torch.randn(count, 4, generator=torch.Generator().manual_seed(seed))
    return x, (x[:, 0] > 0).long()


def small_net(outputs: int = 2) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, outputs))


def train(net, data, **options) -> zoo.Result:
    """`zoo.train` for one epoch on the CPU."""
    return zoo.train(net, data, **{"epochs": 1, "overrides": CPU_ONLY, **options})


def same_net(a: nn.Module, b: nn.Module) -> bool:
    ours, theirs = a.state_dict(), b.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


# The same as the command


@pytest.mark.parametrize(
    ("model", "keys", "overrides"),
    slow_but(
        [
            ("mlp", {}, []),
            ("dbn", {}, ["model.net.hidden=[30,20]"]),
            ("lenet5", {"batch_size": 50, "lr": 0.001}, []),
            ("sae", {}, ["model.net.hidden=[30,20]"]),
            ("rbm", {}, ["model.net.hidden=30"]),
        ],
        lambda model, keys, overrides: model == "dbn",
    ),
)
def test_it_is_the_command_to_the_bit(model, keys, overrides, tmp_path, monkeypatch):
    """All stages of the model, the layer-wise ones included."""
    no_plots(monkeypatch)
    given = [f"{key}={value}" for key, value in keys.items()]
    arguments = [f"model={model}", "dataset=digits", "epochs=1", *given, "seed=7", *CPU_ONLY, *overrides]
    run("train", [*arguments, f"hydra.run.dir={tmp_path / 'command'}"])

    torch.manual_seed(123)  # whatever the program has drawn before
    result = train(model, "digits", seed=7, overrides=CPU_ONLY + overrides, folder=tmp_path / "python", **keys)
    assert same_weights(tmp_path / "command", tmp_path / "python")
    assert result.metrics == metrics_of(tmp_path / "command")
    rows = [(tmp_path / name / "metrics.csv").read_text() for name in ("command", "python")]
    assert rows[0] == rows[1]
    # The checkpoint states the command that repeats the run.
    assert zoo.info(result.folder).command == shlex.join(["zoo", "train", *arguments])
    assert same_net(zoo.load(result.folder), result.net)


@pytest.mark.slow
def test_a_dataset_as_splits_or_arrays_gives_the_same_weights_as_its_name():
    splits = zoo.dataset("digits")
    arrays = (splits.train.x.numpy(), splits.train.y.numpy())
    named = train("lenet5", "digits")
    assert same_net(train("lenet5", splits).net, named.net)
    held_out = (splits.validation.x.numpy(), splits.validation.y.numpy())
    by_arrays = train("lenet5", arrays, validation_data=held_out)
    assert same_net(by_arrays.net, named.net)
    assert by_arrays.metrics == {key: value for key, value in named.metrics.items() if key.startswith("val/")}


def test_the_random_numbers_of_the_program_continue():
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    expected = (random.random(), np.random.rand(), torch.rand(1))
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    net = small_net()
    torch.manual_seed(1)
    train(net, two_classes())
    assert (random.random(), np.random.rand(), torch.rand(1)) == expected


# Nets and data of the program


def test_a_net_of_torch_trains_on_tensors(capfd, recwarn):
    net = small_net()
    result = train(net, two_classes(), epochs=20, lr=0.03, validation_data=list(two_classes(seed=1)))
    assert result.net is net
    assert not net.training
    assert result.metrics["val/accuracy"] > 0.9
    assert [row["epoch"] for row in result.history] == list(range(20))
    assert result.history[-1]["val/accuracy"] == result.metrics["val/accuracy"]
    assert result.folder is None
    assert result.classes == ("0", "1")
    assert capfd.readouterr() == ("", "")
    assert not recwarn.list


def test_it_is_the_loop_that_one_would_write_oneself():
    """Plain SGD on one batch: the weights are those of PyTorch's own loop."""
    x, y = two_classes(40)
    sgd = ["optimizer@model.stages.fit.optimizer=sgd", "lr_schedule@model.stages.fit.lr_schedule=constant"]
    result = train(small_net(), (x, y), epochs=5, batch_size=40, lr=0.5, overrides=[*CPU_ONLY, *sgd])

    net = small_net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
    for _ in range(5):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
    for ours, theirs in zip(result.net.parameters(), net.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_real_values_are_regression():
    x, _ = two_classes(200)
    y = x @ torch.tensor([[1.0], [2.0], [0.0], [-1.0]])
    result = train(nn.Linear(4, 1), (x, y[:, 0].double()), epochs=25, batch_size=20, lr=0.1, validation_data=0.2)
    assert result.metrics["val/mse"] < 0.01
    torch.testing.assert_close(result.net.weight, torch.tensor([[1.0, 2.0, 0.0, -1.0]]), atol=0.05, rtol=0)


def test_several_labels_per_example():
    x, _ = two_classes(200)
    result = train(nn.Linear(4, 3), (x, x[:, :3] > 0), stage="multi_label", epochs=15, lr=0.1, validation_data=0.2)
    assert result.metrics["val/f1"] > 0.8
    assert result.classes == ("0", "1", "2")
    with pytest.raises(ValueError, match="zeros and ones"):
        train(nn.Linear(4, 3), (x, x[:, :3]), stage="multi_label")


def test_inputs_alone_train_without_labels_and_bytes_are_scaled():
    x = torch.randint(0, 256, (60, 6), dtype=torch.uint8)
    result = train("rbm", x, overrides=[*CPU_ONLY, "model.net.hidden=3"])
    assert result.metrics == {}
    assert "train/reconstruction_error" in result.history[0]
    torch.testing.assert_close(result.preprocess(x), x / 255)


def test_the_stages_of_a_net_are_chosen():
    net = zoo.create("dbn", in_shape=(6,), num_classes=2, hidden=[5, 4])
    x = torch.rand(60, 6)
    stages = ["contrastive_divergence", "classify_pretrained"]
    result = train(net, (x, (x[:, 0] > 0.5).long()), stage=stages)
    fits = [row.fit for row in result.history]
    assert fits == ["contrastive_divergence.layer0", "contrastive_divergence.layer1", "classify_pretrained"]
    # A single RBM has no layers to train one by one; a model given by name can have other stages than its own.
    assert train(zoo.create("rbm", in_shape=(6,)), x, stage="contrastive_divergence").history[0].fit == "fit"
    supervised = train(
        "dbn", (x, (x[:, 0] > 0.5).long()), stage="classify", overrides=[*CPU_ONLY, "model.net.hidden=[3]"]
    )
    assert [row.fit for row in supervised.history] == ["fit"]


def test_a_net_in_evaluation_mode_is_trained_in_training_mode():
    """As are those of `zoo.load` and of an earlier training."""
    nets = [nn.Sequential(small_net(), nn.Dropout(0.5), nn.Linear(2, 2)) for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    trained = [train(nets[0].eval(), two_classes()).net, train(nets[1].train(), two_classes()).net]
    assert same_net(*trained)


@pytest.mark.slow
def test_a_logger_writes_to_the_folder(tmp_path):
    pytest.importorskip("tensorboard")
    train(small_net(), two_classes(), overrides=[*CPU_ONLY, "logger=tensorboard"], folder=tmp_path / "run")
    assert list((tmp_path / "run" / "tensorboard").glob("events*"))


class Noisy(TensorDataset):
    """Examples with a random transform, which counts its calls."""

    calls: ClassVar[int] = 0

    def __getitem__(self, index):
        type(self).calls += 1
        x, y = super().__getitem__(index)
        return x + 0.1 * torch.randn_like(x), int(y)


def test_a_loader_keeps_its_transforms_its_batches_and_its_sampler():
    data = Noisy(*two_classes(60))
    draws = torch.utils.data.WeightedRandomSampler(torch.ones(60), num_samples=45)
    loader = DataLoader(data, batch_size=10, sampler=draws)
    validation = DataLoader(TensorDataset(*two_classes(30, seed=1)), batch_size=7)
    result = train(small_net(), loader, epochs=2, validation_data=validation)
    Noisy.calls = 0
    again = train(small_net(), loader, epochs=2, validation_data=validation)
    assert Noisy.calls >= 2 * 45
    assert same_net(again.net, result.net)  # by the seed
    assert not same_net(train(small_net(), loader, epochs=2, seed=2).net, result.net)
    with torch.no_grad():
        correct = (result.net(validation.dataset.tensors[0]).argmax(1) == validation.dataset.tensors[1]).float().mean()
    assert result.metrics["val/accuracy"] == pytest.approx(float(correct))


@pytest.mark.slow
def test_a_loader_of_a_batch_sampler_or_with_a_name_trains():
    data = TensorDataset(*two_classes(60))
    batches = torch.utils.data.BatchSampler(torch.utils.data.SequentialSampler(data), batch_size=8, drop_last=False)
    assert len(train("perceptron", DataLoader(data, batch_sampler=batches)).history) == 1
    assert len(train("rbm", DataLoader(TensorDataset(torch.rand(30, 4)), batch_size=10)).history) == 1


# The folder


def test_a_folder_is_a_run_folder(tmp_path):
    net = zoo.create("mlp", in_shape=(4,), num_classes=3, hidden=[5])
    net.reset_head(2)
    result = train(net, two_classes(), folder=tmp_path / "run", validation_data=0.25)
    assert result.folder == tmp_path / "run"
    assert {"config.yaml", "metrics.json", "metrics.csv", "curves.png", "model.safetensors"} <= {
        path.name for path in result.folder.iterdir()
    }
    # The net was made by zoo.create, so the checkpoint describes it.
    assert zoo.info(result.folder).name == "mlp"
    assert same_net(zoo.load(result.folder), net)
    with pytest.raises(FileExistsError, match="resume=True"):
        train(small_net(), two_classes(), folder=tmp_path / "run")


def test_the_weights_of_a_net_of_torch_can_be_loaded(tmp_path):
    result = train(small_net(), two_classes(), folder=tmp_path / "run")
    net = small_net()
    net.load_state_dict(weights_of(result.folder))
    assert same_net(net, result.net)
    with pytest.raises(ValueError, match="no description"):
        zoo.load(result.folder)


@dataclass(frozen=True)
class Interrupting(InMemory):
    """Examples whose batch number ``left`` sends Ctrl-C."""

    left: ClassVar[int] = 0

    def batch(self, indices):
        type(self).left -= 1
        if self.left == 0:
            signal.raise_signal(signal.SIGINT)
        return super().batch(indices)


@pytest.mark.parametrize("kind", slow_but(["net", "name"], lambda kind: kind == "net"))
def test_ctrl_c_saves_and_resuming_gives_the_same_weights(kind, tmp_path):
    splits = Splits(Interrupting(*two_classes()), None, None, (4,), ("no", "yes"))
    options = {"epochs": 4, "batch_size": 20, "validation_data": None}
    net = (lambda: "mlp") if kind == "name" else small_net
    options["overrides"] = CPU_ONLY + (["model.net.hidden=[6]"] if kind == "name" else [])
    Interrupting.left = 0
    whole = train(net(), splits, **options)

    Interrupting.left = 10
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt, match=r"continue with zoo\.train\(.*resume=True\)"):
        train(net(), splits, folder=tmp_path / "run", **options)
    assert signal.getsignal(signal.SIGINT) is before
    resumed = train(net(), splits, folder=tmp_path / "run", resume=True, **options)
    assert same_net(resumed.net, whole.net)
    assert resumed.history == whole.history
    # A finished run is not trained again, and its data must be the same.
    again = train(net(), splits, folder=tmp_path / "run", resume=True, **options)
    assert same_net(again.net, whole.net)
    assert again.metrics == whole.metrics
    with pytest.raises(ValueError, match="the train split has changed"):
        train(net(), two_classes(seed=3), folder=tmp_path / "run", resume=True, **options)


def test_without_a_folder_ctrl_c_keeps_nothing():
    Interrupting.left = 3
    with pytest.raises(KeyboardInterrupt, match="without folder=, it cannot be continued"):
        train(small_net(), Splits(Interrupting(*two_classes()), None, None, (4,), ("no", "yes")), batch_size=20)


def test_the_command_refuses_to_resume_what_only_a_program_can(tmp_path, cli, monkeypatch):
    no_plots(monkeypatch)
    train(small_net(), two_classes(), folder=tmp_path / "run")
    (tmp_path / "run" / "metrics.json").unlink()
    outcome = cli("train", f"resume={tmp_path / 'run'}")
    assert outcome.status == 1
    assert "this run was started from Python with a net or data that its config cannot name" in outcome.err
    assert outcome.err.count("\n") == 1


# Where it is called


def test_several_threads_train_one_after_another():
    results: list[zoo.Result] = []
    # The nets are built first: they draw their initial weights from the generator that all threads share.
    nets = [small_net() for _ in range(3)]
    threads = [
        threading.Thread(target=lambda net: results.append(train(net, two_classes())), args=(net,)) for net in nets
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 3
    assert all(same_net(result.net, results[0].net) for result in results)


@pytest.mark.slow
def test_it_works_within_an_application_that_uses_hydra_itself(tmp_path):
    (tmp_path / "app.py").write_text(
        "import hydra, zoo\n"
        "@hydra.main(version_base='1.1', config_path=None)\n"
        "def main(cfg):\n"
        "    result = zoo.train('mlp', 'digits', epochs=1, overrides=['accelerator=cpu', 'model.net.hidden=[5]'])\n"
        "    from hydra.core.hydra_config import HydraConfig\n"
        "    print(HydraConfig.get().job.name, len(result.history))\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "app.py", "+key=3"], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout == "app 1\n", done.stderr


@pytest.mark.parametrize("folder", [None, "run"])
def test_a_time_limit_says_how_to_continue_in_python(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    limit = ["trainer.max_time=00:00:00:01", "accelerator=cpu"]
    says = r"without folder=, it cannot be continued"
    if folder is not None:
        says = r"zoo.train\(…, folder='.*run', resume=True\)"
    with pytest.warns(UserWarning, match=rf"max_time: stopped at step \d+ of fit; .*{says}"):
        zoo.train("logistic", (X, Y), epochs=10**6, overrides=limit, folder=folder)


# Errors


class Stream(IterableDataset):
    def __iter__(self):
        return iter([])


X, Y = two_classes()


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64, torch.bool])
def test_a_loader_may_yield_several_labels_per_example(dtype):
    labels = (X[:, :3] > 0).to(dtype)
    loader = DataLoader(TensorDataset(X, labels), batch_size=20)
    options = {"stage": "multi_label", "epochs": 2, "overrides": CPU_ONLY}
    result = zoo.train(small_net(3), loader, validation_data=loader, **options)
    arrays = zoo.train(small_net(3), (X, labels), validation_data=(X, labels), batch_size=20, **options)
    assert result.classes == arrays.classes == ("0", "1", "2")
    assert result.metrics.keys() == arrays.metrics.keys()
    assert result.metrics["val/mean_average_precision"] > 0.4


def test_a_run_is_not_resumed_with_other_keys(tmp_path):
    def resume(**options):
        return zoo.train(small_net(), (X, Y), folder=tmp_path / "run", resume=True, overrides=CPU_ONLY, **options)

    assert resume(epochs=1).metrics == resume(epochs=1, progress=False).metrics
    for options, says in (({"epochs": 2}, "fit.epochs=2"), ({"epochs": 1, "seed": 3}, "seed=1, but now seed=3")):
        with pytest.raises(ValueError, match=says):
            resume(**options)


def test_the_stand_in_for_a_passed_net_is_not_suggested():
    with pytest.raises(ValueError, match="model=nope: no such model; choose one of") as error:
        zoo.train("nope", "digits")
    assert " given" not in str(error.value)


def test_frozen_parameters_stay_as_they_are():
    net = small_net()
    net[0].requires_grad_(False)
    before = [parameter.clone() for parameter in net.parameters()]
    zoo.train(net, (X, Y), epochs=1, overrides=CPU_ONLY)
    same = [torch.equal(old, new) for old, new in zip(before, net.parameters(), strict=True)]
    assert same == [not parameter.requires_grad for parameter in net.parameters()]
    assert same[0]
    assert not same[-1]


@pytest.mark.parametrize(
    ("net", "data", "options", "says"),
    [
        ("lent5", "digits", {}, "model=lent5: no such model; did you mean lenet5"),
        ("lenet5", "digit", {}, "dataset=digit: no such dataset; did you mean digits"),
        (3, (X, Y), {}, "net is of type int, expected the name of a model"),
        ("mlp", "digits", {"stage": "classfy"}, "stage=classfy: no such stage; did you mean classify"),
        ("mlp", "digits", {"epochs": "three"}, "epochs=three must be an integer"),
        ("mlp", "digits", {"overrides": ["model.net.drop=1"]}, "model.net.drop: no such key; did you mean dropout"),
        ("mlp", "digits", {"overrides": "lr=1"}, "overrides='lr=1' must be a list"),
        ("mlp", (X, Y), {"overrides": ["dataset=mnist"]}, "dataset=mnist has no effect, because the dataset"),
        (nn.Linear(2, 2), (X, Y), {"overrides": ["model=mlp"]}, "model=mlp has no effect, because the model"),
        ("mlp", "digits", {"overrides": ["-m"]}, "-m is for the command line only"),
        ("mlp", "digits", {"resume": True}, "resume=True needs folder="),
        ("mlp", "digits", {"validation_data": (X, Y)}, "dataset digits has splits of its own"),
        (small_net(), "digits", {}, "Sequential fails for inputs of shape 1x28x28"),
        (small_net(3), (X, Y + 2), {}, "class numbers from 2 to 3, expected 0 to 2: one for each output"),
        (small_net(), (X, X), {}, "the net has 2 outputs, the data need 4"),
        (small_net().requires_grad_(False), (X, Y), {}, "no parameter of this Sequential can be trained"),
        (nn.Flatten(), (X, Y), {}, "this Flatten has no parameters, so there is nothing to train; layers in a list"),
        (small_net(), (X, Y), {"stage": "linear_probe"}, "this Sequential has no head"),
        (small_net(), (X, Y), {"overrides": ["accelerator.devices=2", *CPU_ONLY]}, "so they need folder="),
        (nn.LSTM(4, 2), (X, Y), {}, "LSTM returns a tuple for 2 examples; the task needs a tensor of shape"),
        (nn.LSTM(4, 2), (X, Y), {}, "pass a module whose forward returns that tensor"),
        (small_net(), (X, Y.float()), {}, "the net has 2 outputs, the data need 1 (y has real numbers"),
        (small_net(), TensorDataset(X, Y), {}, "a TensorDataset has no batches; pass DataLoader"),
        (small_net(), DataLoader(TensorDataset(X, Y + 3)), {}, "y has class numbers from"),
        (
            small_net(),
            DataLoader(TensorDataset(X, Y)),
            {"stage": "multi_label"},
            "several labels per example must be N x K",
        ),
        (small_net(), (X, Y), {"overrides": {"lr": 1}}, "must be a list"),
        (small_net(), X, {}, "the data have no labels: choose a stage that needs none"),
        (small_net(), (X, Y[:9]), {}, "x has 80 examples, y has 9"),
        (small_net(), (X, Y, Y), {}, "data: a tuple of 3, expected a pair"),
        (small_net(), (X / 0, Y), {}, "x contains NaN or Inf"),
        (small_net(), (X.to(torch.complex64), Y), {}, "x has dtype torch.complex64; expected real numbers"),
        (small_net(), (X.to_sparse(), Y), {}, "x is sparse; pass x.to_dense()"),
        (small_net().to("meta"), (X, Y), {}, "parameters on the meta device"),
        (small_net(), (X, ["a"] * 80), {}, "y: not a tensor or an array of numbers"),
        ("mlp", (X, nn.functional.one_hot(Y)), {}, "for one-hot labels, pass y.argmax"),
        ("mlp", (X[None], Y), {}, "add the dimension of the channels"),
        (small_net(), (X, Y), {"validation_data": (X[:, :3], Y)}, "validation_data: x is torch.float32 of shape"),
        (small_net(), (X, Y), {"stage": "reconstruct"}, "reconstruction needs an autoencoder, got Sequential"),
        (small_net(), DataLoader(Stream()), {}, "an IterableDataset has no length"),
        (small_net(), DataLoader([{"x": 1}]), {}, "a batch is a dict, expected a pair of tensors"),
        (small_net(), DataLoader(TensorDataset(X, Y)), {"batch_size": 3}, "the batches are those of the DataLoader"),
    ],
)
def test_a_mistake_is_one_readable_line(net, data, options, says):
    with pytest.raises(ValueError, match=r"^[^\n]*$") as caught:
        train(net, data, **options)
    assert says in str(caught.value)


def test_a_table_of_pandas_is_its_numbers():
    table = pd.DataFrame(X.numpy()).assign(y=Y.numpy())[20:]  # the index of its rows begins at 20
    nets = [small_net(), small_net()]
    train(nets[0], (X[20:], Y[20:]), epochs=1)
    train(nets[1], (table.drop(columns="y"), table["y"]), epochs=1)
    assert torch.equal(*(nn.utils.parameters_to_vector(net.parameters()) for net in nets))


@pytest.mark.filterwarnings("error:The given NumPy array is not writable")
def test_a_read_only_array_is_no_reason_for_a_warning():
    x = X.numpy().copy()
    x.setflags(write=False)
    train(small_net(), (x, Y), epochs=1)


def test_damaged_weights_of_a_finished_run_are_named(tmp_path):
    train(small_net(), (X, Y), epochs=1, folder=tmp_path / "run")
    (tmp_path / "run" / "model.safetensors").write_text("[1]")
    with pytest.raises(ValueError, match=r"^[^\n]*model\.safetensors: damaged or truncated[^\n]*$"):
        train(small_net(), (X, Y), epochs=1, folder=tmp_path / "run", resume=True)


# Nets within others


@pytest.mark.parametrize(
    "wrap", [nn.DataParallel, lambda net: torch.compile(net, backend="eager")], ids=["dp", "compile"]
)
def test_weights_of_a_wrapped_net_are_saved_with_their_own_names(wrap, tmp_path):
    net = wrap(small_net())
    result = train(net, (X, Y), folder=tmp_path / "run")
    assert result.net is net
    plain = small_net()
    plain.load_state_dict(load_file(tmp_path / "run" / "model.safetensors"))
    assert torch.equal(plain(X), net(X))
    # A finished run gives the weights to another such net, and one of the zoo is described.
    assert same_net(train(wrap(small_net()), (X, Y), folder=tmp_path / "run", resume=True).net, net)
    mlp = zoo.create("mlp", in_shape=(4,), num_classes=2)
    train(wrap(mlp), (X, Y), folder=tmp_path / "mlp")
    assert same_net(zoo.load(tmp_path / "mlp"), mlp)
