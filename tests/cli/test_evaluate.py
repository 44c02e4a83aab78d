"""Evaluating a checkpoint measures what training measured, on the same or on other data."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from zoo.analysis import likelihood
from zoo.checkpoints import checkpoint as checkpoints
from zoo.config import catalogue
from zoo.data.sources import digits


def test_the_metrics_are_those_of_training(cli, folder, trained):
    outcome = cli("evaluate", f"checkpoint={trained}", "output=metrics.json")
    assert (outcome.status, outcome.err) == (0, "")
    metrics, saved = json.loads((folder / "metrics.json").read_text()), checkpoints.info(trained).metrics
    assert metrics == pytest.approx({name: value for name, value in saved.items() if name.startswith("test/")})
    assert f"{metrics['test/accuracy']:.4f}" in outcome.out
    assert [path.name for path in folder.iterdir()] == ["metrics.json"]


def test_the_accuracy_is_that_of_the_nets_own_answers(cli, folder, trained):
    test = digits.load().test
    with torch.inference_mode():
        answers = checkpoints.load(trained)(checkpoints.info(trained).transforms()(test.x)).argmax(dim=1)
    cli("evaluate", f"checkpoint={trained}", "output=metrics.json")
    own = (answers == test.y).float().mean().item()
    assert json.loads((folder / "metrics.json").read_text())["test/accuracy"] == pytest.approx(own)


def test_another_dataset_of_the_same_classes_is_measured_without_the_saved_column(cli, folder, trained):
    test = digits.load().test
    shifted = (test.y + 1) % 10
    arrays = {"x_train": test.x.numpy(), "y_train": test.y.numpy(), "x_val": test.x.numpy(), "y_val": test.y.numpy()}
    np.savez("own.npz", **arrays, x_test=test.x.numpy(), y_test=shifted.numpy())
    words = ["dataset=npz", "dataset.root=own.npz", "output=metrics.json"]
    outcome = cli("evaluate", f"checkpoint={trained}", *words)
    assert outcome.status == 0
    assert json.loads((folder / "metrics.json").read_text())["test/accuracy"] < 0.1
    assert f"{checkpoints.info(trained).metrics['test/accuracy']:.4f}" not in outcome.out


def test_other_classes_are_refused(cli, folder, trained):
    test = digits.load().test
    np.savez("own.npz", x=test.x.numpy(), y=(test.y % 3).numpy())
    outcome = cli("evaluate", f"checkpoint={trained}", "dataset=npz", "dataset.root=own.npz", "output=metrics.json")
    assert outcome.status == 1
    assert "classes 0, 1, 2; the checkpoint has 0, 1, 2, 3" in outcome.err
    assert not (folder / "metrics.json").exists()


def test_a_dataset_without_a_test_split_is_refused(cli, folder, trained):
    outcome = cli("evaluate", f"checkpoint={trained}", "dataset=digits", "dataset.test=0")
    assert outcome.status == 1
    assert "no test split" in outcome.err


def test_a_regression_is_measured_by_its_errors(cli, folder):
    cli("train", "model=linear", "dataset=line", "epochs=1", "progress=false", "hydra.run.dir=run")
    assert cli("evaluate", "checkpoint=run", "output=metrics.json").status == 0
    metrics = json.loads((folder / "metrics.json").read_text())
    assert set(metrics) == {"test/loss", "test/mse", "test/mae"}
    assert metrics["test/mse"] == pytest.approx(checkpoints.info("run").metrics["test/mse"])


def test_overwrite_replaces_an_output(cli, folder, trained):
    (folder / "metrics.json").write_text("of before")
    assert cli("evaluate", f"checkpoint={trained}", "output=metrics.json", "overwrite=true").status == 0
    assert "test/accuracy" in json.loads((folder / "metrics.json").read_text())


@pytest.mark.parametrize("name", catalogue.list_checkpoints())
def test_an_indexed_metric_is_what_evaluate_measures(name, folder, cli):
    if checkpoints.info(name).dataset != "digits":
        pytest.skip("needs data that are not embedded")
    assert cli("evaluate", f"checkpoint={name}", "output=metrics.json").status == 0
    measured = json.loads((folder / "metrics.json").read_text())
    for metric, value in catalogue.index()[name]["metric"].items():
        assert measured[metric] == pytest.approx(value, abs=1e-6)


# Nets that generate

GENERATIVE = {
    "rbm": "model=rbm model.net.hidden=12",
    "wide_rbm": "model=rbm model.net.hidden=30 lr=0.005",
    "gaussian": (
        "model=rbm model.net.hidden=12 model.net.visible_units=gaussian model.input_scaling=standardized lr=0.001"
    ),
    "gaussian_code": "model=rbm model.net.hidden=12 model.net.hidden_units=gaussian lr=0.001",
    "wide_gaussian_code": "model=rbm model.net.hidden=30 model.net.hidden_units=gaussian lr=0.001",
    "dbn": "model=dbn model.net.hidden=[20,15] model.stages.finetune.epochs=0 model.stages.pretrain.epochs=1",
    "wide_dbn": "model=dbn model.net.hidden=[30,28] model.stages.finetune.epochs=0 model.stages.pretrain.epochs=1",
    "dbn_classifier": "model=dbn model.net.hidden=[20,15] epochs=1",
    "dbn_generative": "model=dbn_generative model.net.hidden=[20,15] epochs=1",
    "deep_autoencoder": "model=deep_autoencoder model.net.hidden=[20,15] epochs=1",
}
QUICK = ("chains=20", "temperatures=200", "output=metrics.json", "overwrite=true")


@pytest.fixture(scope="module")
def run_of(tmp_path_factory):
    """``run_of("rbm")``: the folder of one short run on digits."""
    from zoo.cli.main import main

    runs = {}

    def run(kind: str) -> Path:
        if kind not in runs:
            runs[kind] = tmp_path_factory.mktemp(kind) / "run"
            words = [*GENERATIVE[kind].split(), "dataset=digits", "progress=false", f"hydra.run.dir={runs[kind]}"]
            if "epochs=" not in GENERATIVE[kind]:
                words.append("epochs=1")
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("zoo.plots.stage_plots.draw", lambda *args, **options: None)
                main("train", words)
        return runs[kind]

    return run


@pytest.fixture
def evaluated(cli, folder, run_of):
    """``evaluated("rbm", *words)``: its metrics, and what was printed."""

    def evaluate(kind: str, *words: str) -> tuple[dict[str, float], str]:
        outcome = cli("evaluate", f"checkpoint={run_of(kind)}", *QUICK, *words)
        assert (outcome.status, outcome.err) == (0, "")
        return json.loads((folder / "metrics.json").read_text()), outcome.out

    return evaluate


def inputs(run: Path) -> torch.Tensor:
    return checkpoints.info(run).transforms()(digits.load().test.x)


def measured_alike(metrics: dict[str, float], run: Path) -> bool:
    """Whether all that training stored of the test part was found again."""
    saved = {name: value for name, value in checkpoints.info(run).metrics.items() if name.startswith("test/")}
    assert saved
    return {name: metrics[name] for name in saved} == pytest.approx(saved, rel=1e-5)


def test_the_likelihood_of_a_small_rbm_is_exact(evaluated, run_of):
    metrics, printed = evaluated("rbm")
    net, x = checkpoints.load(run_of("rbm")), likelihood.binarize(inputs(run_of("rbm")))
    expected = likelihood.log_likelihood(net, x).mean().item()
    assert metrics["test/log_likelihood"] == pytest.approx(expected, abs=0.01)
    assert [name for name in metrics if "log_" in name.replace("pseudo_log_", "")] == ["test/log_likelihood"]
    assert f"{metrics['test/log_likelihood']:.4f}" in printed
    assert -784 * np.log(2) < expected < 0
    assert measured_alike(metrics, run_of("rbm"))


def test_the_likelihood_of_a_large_rbm_is_bracketed(evaluated, run_of):
    metrics, _ = evaluated("wide_rbm", "chains=100", "temperatures=1000")
    above, below = (metrics[f"test/log_likelihood_{method}"] for method in ("ais", "reverse_ais"))
    errors = [metrics[f"test/log_partition_{method}_error"] for method in ("ais", "reverse_ais")]
    assert "test/log_likelihood" not in metrics
    assert all(0 < error < 0.3 for error in errors), errors
    assert above == pytest.approx(below, abs=1)
    net, x = checkpoints.load(run_of("wide_rbm")), likelihood.binarize(inputs(run_of("wide_rbm")))
    log_z = likelihood.log_partition(net, "ais", generator=torch.Generator().manual_seed(1)).value
    assert above == pytest.approx(likelihood.log_likelihood(net, x, log_z=float(log_z)).mean().item(), abs=0.5)


def test_the_likelihood_can_be_left_out(evaluated):
    metrics, _ = evaluated("rbm", "likelihood=false")
    assert metrics.keys() == {"test/reconstruction_error", "test/pseudo_log_likelihood"}


@pytest.mark.parametrize("kind", ["dbn", "dbn_generative"])
def test_the_likelihood_of_a_belief_network_is_the_bound(kind, evaluated, run_of):
    metrics, _ = evaluated(kind)
    net, x = checkpoints.load(run_of(kind)), likelihood.binarize(inputs(run_of(kind)))
    bound = likelihood.log_likelihood(net, x, generator=torch.Generator().manual_seed(0)).mean().item()
    assert metrics["test/log_likelihood"] == pytest.approx(bound, abs=0.05)
    assert bound < 0
    assert measured_alike(metrics, run_of(kind))


def test_the_bound_of_a_large_belief_network_is_bracketed(evaluated):
    metrics, _ = evaluated("wide_dbn")
    above, below = (metrics[f"test/log_likelihood_{method}"] for method in ("ais", "reverse_ais"))
    assert above == pytest.approx(below, abs=1)


def test_a_gaussian_rbm_has_a_density_of_its_standardized_inputs(evaluated, run_of):
    metrics, _ = evaluated("gaussian")
    expected = likelihood.log_likelihood(checkpoints.load(run_of("gaussian")), inputs(run_of("gaussian"))).mean().item()
    assert metrics["test/log_likelihood"] == pytest.approx(expected, abs=0.05)
    assert "test/pseudo_log_likelihood" not in metrics


@pytest.mark.parametrize("kind", ["gaussian_code", "wide_gaussian_code"])
def test_gaussian_hidden_units_above_many_pixels_have_no_likelihood(kind, evaluated):
    """Neither sum over states nor annealing is for them: all else is measured."""
    metrics, _ = evaluated(kind)
    assert metrics.keys() == {"test/reconstruction_error", "test/pseudo_log_likelihood"}


@pytest.mark.parametrize("kind", ["dbn_classifier", "deep_autoencoder"])
def test_what_does_not_generate_has_no_likelihood(kind, evaluated, run_of):
    metrics, _ = evaluated(kind)
    assert not [name for name in metrics if "log_" in name]
    assert measured_alike(metrics, run_of(kind))


def test_the_accuracy_of_label_units_is_that_of_the_nets_own_answers(evaluated, run_of):
    metrics, _ = evaluated("dbn_generative")
    run, test = run_of("dbn_generative"), digits.load().test
    with torch.inference_mode():
        own = (checkpoints.load(run)(inputs(run)).argmax(dim=1) == test.y).float().mean().item()
    assert metrics["test/accuracy"] == pytest.approx(own)


@pytest.mark.parametrize("kind", ["wide_rbm", "dbn_generative"])
def test_measuring_twice_gives_the_same_numbers(kind, evaluated):
    first, _ = evaluated(kind)
    torch.manual_seed(123)
    assert evaluated(kind)[0] == first


def test_a_log_likelihood_that_zeros_and_ones_cannot_have_is_not_given(run_of, cli, monkeypatch):
    monkeypatch.setattr("zoo.analysis.likelihood.log_partition", _missed)
    outcome = cli("evaluate", f"checkpoint={run_of('dbn_generative')}")
    assert outcome.status == 0
    assert "the log-likelihood is left out" in outcome.err
    assert "log_likelihood" not in outcome.out
    assert "test/accuracy" in outcome.out


def _missed(rbm, method, **options):
    """log Z of chains that found nothing; as with a large RBM it cannot be summed."""
    if method == "exact":
        raise ValueError("too large")
    return likelihood.Estimate(torch.tensor(-1e4), 0.1)


@pytest.mark.parametrize("kind", ["rbm", "dbn", "deep_autoencoder"])
def test_the_metrics_now_are_those_when_saved(kind, evaluated, run_of):
    _, printed = evaluated(kind, "likelihood=false")
    table = [line.strip("│ ").split("│") for line in printed.splitlines() if "test/" in line]
    assert {name.strip(): (now.strip(), saved.strip()) for name, now, saved in table} == {
        name: (f"{value:.4f}", f"{value:.4f}")
        for name, value in checkpoints.info(run_of(kind)).metrics.items()
        if name.startswith("test/")
    }


def test_a_net_without_classes_is_measured_on_data_of_any_classes(evaluated, folder):
    test = digits.load().test
    np.savez("own.npz", x=test.x.numpy(), y=(test.y % 3).numpy())
    metrics, _ = evaluated("rbm", "dataset=npz", "dataset.root=own.npz")
    assert metrics["test/log_likelihood"] < 0
