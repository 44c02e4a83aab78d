"""Evaluating a checkpoint measures what training measured, on the same or on other data."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch.utilities import rank_zero_only
from PIL import Image
from support import no_plots

from zoo.analysis import likelihood
from zoo.checkpoints import checkpoint as checkpoints
from zoo.config import catalogue
from zoo.data.combined import Combined, combined
from zoo.data.sources import digits
from zoo.data.splits import InMemory


def test_the_metrics_are_those_of_training(cli, folder, trained):
    outcome = cli("evaluate", f"checkpoint={trained}", "output=metrics.json")
    assert (outcome.status, outcome.err) == (0, "")
    metrics, saved = json.loads((folder / "metrics.json").read_text()), checkpoints.info(trained).metrics
    classes = metrics.pop("classes")
    assert sum(found["examples"] for found in metrics.pop("reliability")) == len(digits.load().test)
    assert metrics == pytest.approx({name: value for name, value in saved.items() if name.startswith("test/")})
    assert sum(counts["support"] for counts in classes.values()) == len(digits.load().test)
    assert "lenet5 on the test split of digits, 360 examples" in outcome.out
    assert f"{metrics['test/accuracy']:.4f}" in outcome.out
    # The tables are those that the run has written.
    tables = ["metrics_confusion.csv", "metrics_per_class.csv"]
    assert sorted(path.name for path in folder.iterdir()) == ["metrics.json", *tables]
    for name in tables:
        assert (folder / name).read_text() == (trained / name.removeprefix("metrics_")).read_text()
    refused = cli("evaluate", f"checkpoint={trained}", "output=metrics.json", "overwrite=false")
    assert "metrics.json" in refused.err


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


def test_classes_without_examples_are_named(cli, folder, trained):
    test = digits.load().test
    np.savez("own.npz", x=test.x.numpy()[test.y < 3], y=test.y[test.y < 3].numpy())
    outcome = cli("evaluate", f"checkpoint={trained}", "dataset=npz", "dataset.root=own.npz", "output=metrics.json")
    assert (outcome.status, outcome.err) == (0, "")
    assert "note: no examples of 3, 4, 5, 6, 7, 8, 9" in outcome.out
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["all/accuracy"] > 0.8
    assert metrics["classes"]["9"]["recall"] is None


# Splits, and images of one's own


@pytest.mark.parametrize(("split", "prefix"), [("validation", "val"), ("test", "test")])
def test_a_split_of_training_is_measured_as_in_training(split, prefix, cli, folder, trained):
    outcome = cli("evaluate", f"checkpoint={trained}", f"split={split}", "output=metrics.json")
    assert (outcome.status, outcome.err) == (0, "")
    metrics = json.loads((folder / "metrics.json").read_text())
    saved = {name: value for name, value in checkpoints.info(trained).metrics.items() if name.startswith(f"{prefix}/")}
    assert {name: metrics[name] for name in saved} == pytest.approx(saved)
    assert "when saved" in outcome.out


@pytest.mark.parametrize(("split", "count"), [("train", "1,293"), ("all", "1,797")])
def test_the_training_split_and_all_have_no_stored_metrics(split, count, cli, folder, trained):
    outcome = cli("evaluate", f"checkpoint={trained}", f"split={split}", "output=metrics.json")
    assert (outcome.status, outcome.err) == (0, "")
    assert f"{split}/accuracy" in json.loads((folder / "metrics.json").read_text())
    assert f"digits, {count} examples" in outcome.out
    assert "when saved" not in outcome.out


def write_digits(root: Path, *, count: int = 6, classes: str = "017", names: dict[str, str] | None = None) -> Path:
    """The first digits of the test split as images, one folder for each class."""
    test = digits.load().test
    for label in classes:
        home = root / (names or {}).get(label, label)
        home.mkdir(parents=True)
        for i, x in enumerate(test.x[test.y == int(label)][:count]):
            Image.fromarray(x[0].numpy()).save(home / f"{i}.png")
    return root


@pytest.fixture(scope="module")
def photos_run(tmp_path_factory):
    """A run on a folder of images, with classes whose order is not that of the digits: eight, one, zero."""
    from zoo.cli.main import main

    folder = tmp_path_factory.mktemp("photos")
    names = {"0": "zero", "1": "one", "8": "eight"}
    write_digits(folder / "photos", count=30, classes="018", names=names)
    words = ["model=logistic", "epochs=15", "batch_size=8", "dataset.shape=[1,28,28]", "dataset.workers=0"]
    words += ["dataset=image_folder", f"dataset.root={folder / 'photos'}", "progress=false"]
    with pytest.MonkeyPatch.context() as patch:
        no_plots(patch)
        main("train", [*words, f"hydra.run.dir={folder / 'run'}"])
    return folder / "run"


def test_a_folder_of_ones_own_is_measured_as_a_whole(cli, folder, photos_run):
    write_digits(folder / "own", names={"0": "zero", "1": "one"}, classes="01")
    for words in (["dataset.root=own"], ["dataset=image_folder", "dataset.root=own", "dataset.workers=0"]):
        outcome = cli("evaluate", f"checkpoint={photos_run}", *words, "output=metrics.json", "overwrite=true")
        assert (outcome.status, outcome.err) == (0, "")
        assert "logistic on all of image_folder (own), 12 examples" in outcome.out
        assert "note: no examples of eight" in outcome.out
        assert "when saved" not in outcome.out
        metrics = json.loads((folder / "metrics.json").read_text())
        # The class numbers of the folder (one 0, zero 1) are not those of the checkpoint (one 1, zero 2).
        assert metrics["all/accuracy"] > 0.8
        assert [counts["support"] for counts in metrics["classes"].values()] == [0, 6, 6]


def test_a_folder_with_a_single_class_is_measured(cli, folder, photos_run):
    write_digits(folder / "own", names={"0": "zero"}, classes="0")
    outcome = cli("evaluate", f"checkpoint={photos_run}", "dataset.root=own", "output=metrics.json")
    assert (outcome.status, outcome.err) == (0, "")
    assert "no labels" not in outcome.out
    assert "note: no examples of eight, one" in outcome.out
    supports = [counts["support"] for counts in json.loads((folder / "metrics.json").read_text())["classes"].values()]
    assert supports == [0, 0, 6]
    outcome = cli("evaluate", f"checkpoint={photos_run}", "dataset.root=own/zero")
    assert outcome.status == 1
    assert "has no classes (own/zero has images outside of class folders" in outcome.err


def test_ink_on_paper_and_dark_images_are_said(cli, folder, trained):
    test = digits.load().test
    for name, x, says in (
        ("ink", 255 - test.x, "the images have a bright border"),
        (
            "half",
            test.x // 2,
            "the images are dark: their maximum is 127, white is 255; scale=127 makes the maximum white",
        ),
    ):
        np.savez(f"{name}.npz", x=x.numpy(), y=test.y.numpy())
        outcome = cli("evaluate", f"checkpoint={trained}", "dataset=npz", f"dataset.root={name}.npz")
        assert (outcome.status, outcome.err) == (0, "")
        assert f"note: {says}" in outcome.out


def test_a_copy_of_the_folder_of_training_is_said_to_have_its_examples(cli, folder, photos_run):
    shutil.copytree(checkpoints.info(photos_run).dataset_config["root"], folder / "copy")
    outcome = cli("evaluate", f"checkpoint={photos_run}", "dataset.root=copy")
    assert (outcome.status, outcome.err) == (0, "")
    count = checkpoints.info(photos_run).splits["train"]["count"]
    assert (
        f"note: {count} of the examples were used for training; split=test evaluates only the test split" in outcome.out
    )
    assert "used for training" not in cli("evaluate", f"checkpoint={photos_run}", "dataset.root=copy", "split=test").out


def test_the_test_folder_of_ones_own_is_measured_where_there_is_one(cli, folder, photos_run):
    names = {"0": "zero", "1": "one", "8": "eight"}
    for split, count in (("train", 6), ("val", 5), ("test", 4)):
        write_digits(folder / "own" / split, count=count, classes="018", names=names)
    for words, says in (
        ([], "the test split of image_folder (own), 12 examples"),
        (["split=validation"], "the validation split of image_folder (own), 15 examples"),
        (["split=train"], "the train split of image_folder (own), 18 examples"),
        (["split=all"], "all of image_folder (own), 45 examples"),
    ):
        outcome = cli("evaluate", f"checkpoint={photos_run}", "dataset.root=own", *words)
        assert (outcome.status, outcome.err) == (0, "")
        assert says in outcome.out


def test_the_folder_of_training_is_not_measured_as_a_whole(cli, folder, photos_run):
    about = checkpoints.info(photos_run)
    outcome = cli("evaluate", f"checkpoint={photos_run}", f"dataset.root={about.dataset_config['root']}")
    assert (outcome.status, outcome.err) == (0, "")
    assert f"the test split of image_folder, {about.splits['test']['count']} examples" in outcome.out


def test_stored_metrics_are_shown_for_the_same_examples_only(cli, folder, trained):
    splits = digits.load()
    stored = dataclasses.replace(checkpoints.info(trained), splits=splits.fingerprints())
    checkpoints.save(checkpoints.load(trained), "a.safetensors", stored)
    assert "when saved" in cli("evaluate", "checkpoint=a.safetensors").out
    assert "when saved" in cli("evaluate", "checkpoint=a.safetensors", "dataset=digits").out
    assert "when saved" not in cli("evaluate", "checkpoint=a.safetensors", "dataset.test=300").out
    other = dataclasses.replace(stored, splits={"test": {"count": 360, "digest": "0" * 32}})
    checkpoints.save(checkpoints.load(trained), "b.safetensors", other)
    assert "when saved" not in cli("evaluate", "checkpoint=b.safetensors").out


EVALUATE_ERRORS = {
    "unknown split": (["split=holdout"], "split=holdout must be train, validation, test or all"),
    "root of a dataset without one": (
        ["dataset.root=own"],
        "was trained on digits, which has no root; add dataset=image",
    ),
    "split that is not there": (
        ["dataset=digits", "dataset.test=0", "split=test"],
        "no test split; set split=train or validation or",
    ),
    "other classes": (["dataset=npz", "dataset.root=twelve.npz", "dataset.num_classes=12"], "the checkpoint has 0, 1"),
    "labels beyond the classes": (["dataset=npz", "dataset.root=twelve.npz"], "labels must be in [0, 9]"),
    "another scale": (["dataset=npz", "dataset.root=unit.npz"], "state the value of white with scale="),
    "output that is no JSON": (["output=metrics.csv"], "output=metrics.csv must be a .json file"),
    "output that is a folder": (["output=folder.json"], "output=folder.json is a folder"),
    "output that is the checkpoint": (["output=link.json", "overwrite=true"], "link.json is part of the input"),
    "output that belongs to a run": (["output={run}/metrics.json", "overwrite=true"], "belongs to the run in"),
}


@pytest.mark.parametrize("case", EVALUATE_ERRORS.values(), ids=EVALUATE_ERRORS.keys())
def test_what_cannot_be_evaluated_is_one_line_and_changes_no_file(case, cli, folder, trained):
    words, says = case
    test = digits.load().test
    np.savez("twelve.npz", x=test.x.numpy(), y=torch.arange(len(test)).numpy() % 12)
    np.savez("unit.npz", x=test.x.numpy() / 255, y=test.y.numpy())
    (folder / "folder.json").mkdir()
    (folder / "link.json").symlink_to(trained / "model.safetensors")
    files = [trained / "model.safetensors", trained / "metrics.json"]
    before = [path.read_bytes() for path in files]
    outcome = cli("evaluate", f"checkpoint={trained}", *[word.format(run=trained) for word in words])
    assert (outcome.status, outcome.out, len(outcome.err.splitlines())) == (1, "", 1)
    assert says in outcome.err
    assert [path.read_bytes() for path in files] == before


def test_a_stated_scale_is_converted(cli, folder, trained):
    test = digits.load().test
    np.savez("unit.npz", x=(test.x.numpy() / 255).astype(np.float32), y=test.y.numpy())
    words = ["dataset=npz", "dataset.root=unit.npz", "scale=1", "output=metrics.json"]
    outcome = cli("evaluate", f"checkpoint={trained}", *words)
    assert (outcome.status, outcome.err) == (0, "")
    accuracy = checkpoints.info(trained).metrics["test/accuracy"]
    assert json.loads((folder / "metrics.json").read_text())["all/accuracy"] == pytest.approx(accuracy)


@pytest.mark.parametrize("in_memory", [True, False])
def test_splits_are_joined_in_order_with_the_class_numbers_of_the_checkpoint(in_memory):
    parts = [
        InMemory(torch.arange(3.0)[:, None], torch.tensor([0, 1, 0])),
        InMemory(torch.ones(1, 1), torch.ones(1).long()),
    ]
    if not in_memory:
        parts[1] = Combined((parts[1],))
    joined = combined([part.renumbered(torch.tensor([5, 7])) for part in parts])
    assert isinstance(joined, InMemory) is in_memory
    assert joined.labels().tolist() == [5, 7, 5, 7]
    x, y = joined.batch([3, 1])
    assert (x.tolist(), y.tolist()) == ([[1.0], [1.0]], [7, 7])
    assert joined.take([2, 3]).batch([0])[0].tolist() == [[2.0]]


def test_without_a_test_or_validation_split_a_split_must_be_named(cli, folder, trained):
    words = ["dataset=digits", "dataset.test=0", "dataset.validation=0"]
    outcome = cli("evaluate", f"checkpoint={trained}", *words)
    assert outcome.status == 1
    assert "no test split; set split=train or all" in outcome.err


def test_without_a_test_split_the_validation_split_is_evaluated(cli, folder, trained):
    data = digits.load()
    parts = {"train": data.train, "val": data.validation}
    np.savez("own.npz", **{f"{kind}_{name}": getattr(part, kind) for name, part in parts.items() for kind in "xy"})
    words = ["dataset=npz", "dataset.root=own.npz"]
    outcome = cli("evaluate", f"checkpoint={trained}", *words, "output=metrics.json")
    assert (outcome.status, outcome.err) == (0, "")
    assert "note: there is no test split, so the validation split is evaluated" in outcome.out
    saved = checkpoints.info(trained).metrics["val/accuracy"]
    assert json.loads((folder / "metrics.json").read_text())["val/accuracy"] == pytest.approx(saved)
    # A test split that the user asks for is not replaced.
    outcome = cli("evaluate", f"checkpoint={trained}", *words, "dataset.test=0")
    assert outcome.status == 1
    assert "no test split; set split=train or validation or all" in outcome.err


def test_a_regression_is_measured_by_its_errors(cli, folder):
    cli("train", "model=linear", "dataset=line", "epochs=1", "progress=false", "hydra.run.dir=run")
    assert cli("evaluate", "checkpoint=run", "output=metrics.json").status == 0
    metrics = json.loads((folder / "metrics.json").read_text())
    assert set(metrics) == {"test/loss", "test/mse", "test/mae"}
    assert metrics["test/mse"] == pytest.approx(checkpoints.info("run").metrics["test/mse"])


def test_an_output_does_not_replace_the_table_that_is_evaluated(cli, folder, trained):
    Path("d_confusion.csv").write_text("a,y\n1,0\n")
    words = ["dataset=table", "dataset.root=d_confusion.csv", "output=d.json", "overwrite=true"]
    outcome = cli("evaluate", f"checkpoint={trained}", *words)
    assert outcome.status == 1
    assert "d_confusion.csv is part of the input" in outcome.err
    assert Path("d_confusion.csv").read_text() == "a,y\n1,0\n"


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


@pytest.mark.slow
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


@pytest.mark.slow
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
    assert metrics["all/log_likelihood"] < 0


def test_only_the_first_process_prints_the_metrics(cli, trained, folder, monkeypatch):
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    outcome = cli("evaluate", f"checkpoint={trained}")
    assert (outcome.status, outcome.out, outcome.err) == (0, "", "")
