"""Layer by layer and then all of it: what each fit of a run touches and learns from, and that a stop loses nothing."""

import zlib
from collections import Counter
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from support import config_of, metrics_of, no_plots, rows_of, slow_but, weights_of

from zoo.data.sources import digits
from zoo.models import DBN, LeNet5, StackedAutoencoder
from zoo.tasks import Classification
from zoo.tasks.optimization import OneCycle
from zoo.training.callbacks import SaveForResume
from zoo.training.trainer import Fit

DIGITS = ("dataset=digits", "progress=false", "batch_size=400")
DBN_WORDS = ("model=dbn", "model.net.hidden=[14,12,10]")
SAE_WORDS = ("model=sae", "model.net.hidden=[14,12,10]")
CODER_WORDS = ("model=deep_autoencoder", "model.net.hidden=[14,12,10]")
original_train = Fit.train


@pytest.fixture(autouse=True)
def quick(request, monkeypatch):
    """No pictures, but where they are what is tested."""
    if "pictures_of" not in request.fixturenames:
        no_plots(monkeypatch)


@pytest.fixture
def train(cli, tmp_path):
    """``train("name", *words)`` gives the run folder."""

    def run(name: str, *words: str) -> Path:
        outcome = cli("train", *DIGITS, *words, f"hydra.run.dir={tmp_path / name}")
        assert (outcome.status, outcome.err) == (0, "")
        return tmp_path / name

    return run


@pytest.fixture
def fits(monkeypatch):
    """Every fit of the runs to come: its name, stage, data, and the net's state and storage before and after."""
    seen = []

    def train(self, stop=None):
        net = self.task.net
        entry = SimpleNamespace(
            name=self.name, stage=self.stage, data=self.data, before=state(net), pointers=pointers(net)
        )
        original_train(self, stop)
        entry.after, entry.net = state(net), net
        seen.append(entry)

    monkeypatch.setattr(Fit, "train", train)
    return seen


def state(net) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in net.state_dict().items()}


def pointers(net) -> dict[str, int]:
    return {name: p.data_ptr() for name, p in net.named_parameters()}


def moved(entry) -> set[str]:
    return {name for name, value in entry.before.items() if not torch.equal(value, entry.after[name])}


def names(layer: int, *kinds: str) -> set[str]:
    return {f"layers.{layer}.{kind}" for kind in kinds}


# What each fit touches

RBM_PARTS = ("weight", "visible_bias", "hidden_bias")


@pytest.mark.parametrize(
    ("words", "parts"),
    [(DBN_WORDS, RBM_PARTS), (SAE_WORDS, RBM_PARTS), (CODER_WORDS, (*RBM_PARTS, "decoder_weight"))],
    ids=["dbn", "sae", "deep_autoencoder"],
)
def test_each_fit_moves_its_own_layer_and_the_next_goes_on_with_the_same_weights(words, parts, train, fits):
    run = train("run", *words, "epochs=1")
    assert [entry.name for entry in fits] == [*(f"pretrain.layer{k}" for k in range(3)), "finetune"]
    for k, entry in enumerate(fits[:3]):
        assert moved(entry) == names(k, *parts)
    for earlier, later in pairwise(fits):
        assert earlier.net is later.net
        assert earlier.pointers == later.pointers, "the very same storage"
        assert all(torch.equal(earlier.after[name], later.before[name]) for name in later.before)
    forward = {name for name in fits[3].before if name.rpartition(".")[2] not in ("visible_bias", "decoder_weight")}
    assert moved(fits[3]) == (set(fits[3].before) if words is CODER_WORDS else forward)
    last = weights_of(run)
    assert all(torch.equal(value, last[name]) for name, value in fits[3].after.items())
    for k in range(3 if words is CODER_WORDS else 0):
        start = fits[3].before
        assert torch.equal(start[f"layers.{k}.decoder_weight"], start[f"layers.{k}.weight"].t()), "unrolled"


@pytest.mark.parametrize("words", [DBN_WORDS, SAE_WORDS], ids=["dbn", "sae"])
def test_a_stage_without_epochs_is_left_out(words, train, fits):
    run = train("run", *words, "model.stages.pretrain.epochs=0", "model.stages.finetune.epochs=1")
    assert [entry.name for entry in fits] == ["finetune"]
    assert {row["fit"] for row in rows_of(run)} == {"finetune"}
    assert "val/reconstruction_error" not in rows_of(run)[0]


def test_without_the_last_stage_the_layers_are_what_is_kept_and_measured(train, fits):
    run = train("run", *DBN_WORDS, "model.stages.pretrain.epochs=1", "model.stages.finetune.epochs=0")
    assert [entry.name for entry in fits] == [f"pretrain.layer{k}" for k in range(3)]
    metrics = metrics_of(run)
    assert metrics.keys() == {"val/reconstruction_error", "test/reconstruction_error"}
    assert all(torch.equal(value, weights_of(run)[name]) for name, value in fits[2].after.items())


def test_no_stage_with_epochs_is_refused(cli, folder):
    words = ("model.stages.pretrain.epochs=0", "model.stages.finetune.epochs=0", "hydra.run.dir=run")
    outcome = cli("train", *DIGITS, *DBN_WORDS, *words)
    assert outcome.status == 1
    assert "at least one stage must have epochs >= 1" in outcome.err
    assert not (folder / "run").exists()


# Codes computed once


@pytest.fixture
def encodings(monkeypatch):
    """How often `encode` of a stack was called up to now, by depth."""
    count = Counter()
    for kind in (StackedAutoencoder, DBN):
        original = kind.encode

        def encode(self, x, depth=None, original=original):
            count[depth] += 1
            return original(self, x, depth)

        monkeypatch.setattr(kind, "encode", encode)
    return count


@pytest.fixture
def during_fits(monkeypatch, encodings):
    """For each fit, how often `encode` was called in it."""
    found = {}

    def train(self, stop=None):
        before = encodings.total()
        original_train(self, stop)
        found[self.name] = encodings.total() - before

    monkeypatch.setattr(Fit, "train", train)
    return found


PLAIN = (
    *SAE_WORDS,
    "model.stages.pretrain.epochs=2",
    "model.stages.pretrain.task.corruption=none",
    "model.stages.finetune.epochs=0",
)


def test_codes_computed_once_lead_to_the_same_weights(train, during_fits):
    once = weights_of(train("once", *PLAIN))
    assert during_fits == {"pretrain.layer0": 0, "pretrain.layer1": 0, "pretrain.layer2": 0}
    always = weights_of(train("always", *PLAIN, "model.stages.pretrain.encode_once=false"))
    assert during_fits == {"pretrain.layer0": 0, "pretrain.layer1": 10, "pretrain.layer2": 10}  # (4 + 1) x 2 epochs
    for name, value in once.items():
        torch.testing.assert_close(value, always[name], rtol=1e-3, atol=1e-5, msg=name)


def test_codes_that_do_not_fit_are_computed_batch_by_batch(train, during_fits, monkeypatch):
    monkeypatch.setattr("zoo.training.feature_cache.LIMIT", 4 * 14 * (1293 + 144))
    train("run", *PLAIN)
    assert during_fits["pretrain.layer1"] == 0
    monkeypatch.setattr("zoo.training.feature_cache.LIMIT", 4 * 14 * (1293 + 144) - 1)
    train("again", *PLAIN)
    assert (during_fits["pretrain.layer1"], during_fits["pretrain.layer2"]) == (10, 0), "12 units still fit"


def test_distorted_pictures_are_coded_anew_in_every_batch(train, during_fits):
    train("run", *PLAIN, "dataset.augment.shift=1")
    assert during_fits["pretrain.layer1"] == 10


def test_the_codes_are_those_of_all_examples_in_their_order(train, fits, monkeypatch):
    monkeypatch.setattr("zoo.data.datamodule.EVALUATION_BATCH", 500)
    train("run", *DBN_WORDS, "epochs=1")
    splits = digits.load()
    for entry, depth in zip(fits[1:3], (1, 2), strict=True):
        net = fits[0].net
        net.load_state_dict(entry.before)
        for coded, raw in ((entry.data.splits.train, splits.train), (entry.data.splits.validation, splits.validation)):
            torch.testing.assert_close(coded.x, net.encode(raw.x / 255, depth))
            assert torch.equal(coded.y, raw.y)
            assert not coded.x.requires_grad
    assert fits[3].data.splits.train.x.dtype == torch.uint8, "the whole net learns from pictures"


# A stop

CASES = {
    "CD": (
        *("model=dbn", "model.net.hidden=[14,12]"),
        *(f"model.stages.pretrain.task.{word}" for word in ("persistent=true", "chains=7", "centered=true")),
        "model.stages.pretrain.task.sparsity_cost=0.1",
    ),
    "denoise": ("model=sae", "model.net.hidden=[14,12]"),
    "average": ("model=sae", "model.net.hidden=[14,12]", "model.stages.pretrain.ema=0.8"),
    "deep_autoencoder": ("model=deep_autoencoder", "model.net.hidden=[14,12]"),
    "wake_sleep": ("model=dbn_generative", "model.net.hidden=[14,12]"),
    "convolutional": ("model=conv_dbn", "model.net.hidden=[4,3]", "model.net.kernel_size=[3,2]"),
}
STOPS = [
    ("CD", "pretrain.layer1", 1, 2),
    ("denoise", "pretrain.layer1", 1, 2),
    ("denoise", "finetune", 1, 1),
    ("average", "pretrain.layer1", 1, 0),
    ("deep_autoencoder", "pretrain.layer1", 0, 2),
    ("wake_sleep", "updown", 1, 2),
    ("convolutional", "pretrain.layer1", 1, 2),
]
whole = {}
start = SaveForResume.on_train_start


@pytest.fixture
def uninterrupted(request, cli, tmp_path_factory):
    """``uninterrupted(case)``: the folder of a run that was not stopped."""

    def run(case: str) -> Path:
        if case not in whole:
            folder = tmp_path_factory.mktemp("whole") / "run"
            assert cli("train", *DIGITS, *CASES[case], "epochs=2", f"hydra.run.dir={folder}").status == 0
            whole[case] = folder
        return whole[case]

    return run


@pytest.mark.parametrize(("case", "fit", "epoch", "batch"), slow_but(STOPS, lambda case, *_: case == "wake_sleep"))
def test_a_stopped_run_goes_on_inside_its_fit_to_the_same_end(
    case, fit, epoch, batch, cli, uninterrupted, tmp_path, monkeypatch
):
    expected, run = uninterrupted(case), tmp_path / "run"

    def stop(self, trainer, pl_module, examples, batch_idx):
        if (self.name, trainer.current_epoch, batch_idx) == (fit, epoch, batch):
            raise RuntimeError("the power is gone")

    with monkeypatch.context() as patch:
        patch.setattr(SaveForResume, "on_train_batch_start", stop)
        assert cli("train", *DIGITS, *CASES[case], "epochs=2", f"hydra.run.dir={run}").status == 1
    last = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["fit"] == (fit if epoch else "pretrain.layer0")
    assert not (run / "model.safetensors").exists()
    fitted = []
    with monkeypatch.context() as patch:
        patch.setattr(
            SaveForResume, "on_train_start", lambda self, *rest: (fitted.append(self.name), start(self, *rest))
        )
        monkeypatch.chdir(tmp_path)
        outcome = cli("train", f"resume={run}")
    assert (outcome.status, outcome.err) == (0, "")
    assert fitted[0] == fit, "what was finished is not done again"
    same = approximately if case == "average" else exactly  # averaging again after a stop costs a bit of rounding
    same(numbers(rows_of(run)), numbers(rows_of(expected)))
    assert weights_of(run).keys() == weights_of(expected).keys()
    for name, value in weights_of(expected).items():
        same(weights_of(run)[name], value)
    same(*(metrics_of(folder) for folder in (run, expected)))


def exactly(found, expected):
    torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)


def approximately(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6, equal_nan=True)


def numbers(table: list[dict[str, str]]) -> list[dict[str, float]]:
    """The fits' names are what their hashes are."""
    return [{k: zlib.crc32(v.encode()) if k == "fit" else float(v or "nan") for k, v in row.items()} for row in table]


# Pictures


@pytest.fixture
def pictures_of(train):
    """``pictures_of(*words)``: the names of the pictures of the first stage, all of them whole."""

    def run(*words: str) -> set[str]:
        found = set()
        for path in train("run", *words, "epochs=1").glob("*-*.png"):
            with Image.open(path) as picture:
                assert picture.format == "PNG"
                assert min(picture.size) > 30
                assert picture.convert("L").getextrema()[0] < picture.convert("L").getextrema()[1]
            found.add(path.stem)
        return found

    return run


def test_a_generative_net_leaves_pictures_of_what_it_learned_and_dreams(pictures_of, monkeypatch):
    monkeypatch.setattr("zoo.plots.stage_plots.SAMPLE_STEPS", 20)
    monkeypatch.setattr("zoo.plots.stage_plots.CHAIN_STEPS", (0, 1, 5))
    kinds = ("filters", "reconstructions", "latent", "chains", "samples")
    assert pictures_of(*DBN_WORDS, "model.stages.finetune.epochs=0") == {f"pretrain-{kind}" for kind in kinds}


def test_an_autoencoder_leaves_pictures_of_every_stage_without_labels(pictures_of):
    kinds = ("filters", "reconstructions", "latent")
    assert pictures_of(*CODER_WORDS) == {f"{stage}-{kind}" for stage in ("pretrain", "finetune") for kind in kinds}


# Labels and steps


def test_few_labels_are_for_the_stage_that_needs_them(train, fits):
    words = ("model=dbn", "model.net.hidden=[8]", "dataset.labeled_examples=50", "model.stages.finetune.epochs=1")
    for name, seed, epochs in (("first", 1, 1), ("again", 1, 0), ("other", 2, 0)):
        train(name, *words, f"seed={seed}", f"model.stages.pretrain.epochs={epochs}")
    everything = digits.load().train
    pretrain, *finetune = fits
    assert pretrain.name == "pretrain.layer0"
    assert torch.equal(pretrain.data.splits.train.x, everything.x)
    kept = [entry.data.splits.train for entry in finetune]
    share = torch.bincount(everything.y) / len(everything.y) * 50
    for part in kept:
        assert len(part) == 50
        assert ((torch.bincount(part.y, minlength=10) - share).abs() < 1).all()
        assert all((everything.x == x).flatten(1).all(dim=1).any() for x in part.x[:5])
    assert torch.equal(kept[0].x, kept[1].x)
    assert torch.equal(kept[0].y, kept[1].y)
    assert not torch.equal(kept[0].x, kept[2].x)
    for entry in fits:
        assert len(entry.data.splits.validation) == 144


def test_labels_that_are_units_of_the_net_cannot_be_few(cli, folder):
    words = ("model=dbn_generative", "model.net.hidden=[8]", "dataset.labeled_examples=50", "hydra.run.dir=run")
    outcome = cli("train", *DIGITS, *words)
    assert outcome.status == 1
    assert "dataset.labeled_examples does not work with label_units" in outcome.err
    assert not (folder / "run").exists()


@pytest.mark.parametrize(("labels", "least", "epochs"), [(50, 21, 7), (None, 21, 2)])
def test_least_steps_become_epochs(labels, least, epochs, train, fits):
    words = [*DBN_WORDS, "model.net.hidden=[8]", "model.stages.pretrain.epochs=0", "batch_size=20"]
    words += ["model.stages.finetune.epochs=2", f"model.stages.finetune.min_steps={least}"]
    run = train("run", *words, *([] if labels is None else [f"dataset.labeled_examples={labels}"]))
    assert config_of(run)["model"]["stages"]["finetune"]["epochs"] == epochs
    (entry,) = fits
    assert entry.stage.epochs == epochs  # batches of 20: 3 of 50 examples, 65 of all
    assert max(int(row["epoch"]) for row in rows_of(run)) == epochs - 1


# Stages put in place of others


@pytest.mark.parametrize(
    "words",
    [
        ("model=deep_autoencoder", "stage@model.stages.pretrain=denoise", "model.net.code_activation=sigmoid"),
        ("model=sae", "stage@model.stages.pretrain=contrastive_divergence"),
        ("model=dbn_generative", "stage@model.stages.updown=classify"),
    ],
    ids=["denoise", "contrastive_divergence", "classify"],
)
def test_another_stage_goes_in_its_place(words, train, fits):
    run = train("run", *words, "model.net.hidden=[14,12]", "epochs=1")
    assert [entry.name for entry in fits][:2] == ["pretrain.layer0", "pretrain.layer1"]
    assert len(fits) == 3
    assert (run / "model.safetensors").is_file()
    for k in (0, 1):
        assert f"layers.{k}.weight" in moved(fits[k])


def test_a_linear_code_is_no_value_for_cross_entropy_but_for_squared_error(cli, folder, train):
    words = (*CODER_WORDS, "stage@model.stages.pretrain=denoise", "epochs=1")
    train("run", *words)  # what is restored is what a layer gets, and the linear code is nobody's input
    outcome = cli("train", *DIGITS, *words, "model.net.activation=identity", "hydra.run.dir=other")
    assert outcome.status == 1
    assert "loss=cross_entropy needs sigmoid outputs; set loss=squared_error" in outcome.err
    assert not (folder / "other").exists()


# The classifier's own options


def test_a_head_alone_learns_at_first(train, fits, monkeypatch):
    starts = {}
    monkeypatch.setattr(
        SaveForResume,
        "on_train_epoch_start",
        lambda self, trainer, task: starts.update({trainer.current_epoch: state(task.net)}),
    )
    gradual = ("task.policy=gradual", "task.unfreeze_at=[2]")
    words = [f"model.stages.finetune.{word}" for word in ("epochs=3", *gradual, "lr_schedule.warmup=0")]
    train("run", *DBN_WORDS, "model.stages.pretrain.epochs=0", *words)
    (entry,) = fits
    ends = [starts[1], starts[2], entry.after]
    changes = [{n for n in ends[0] if not torch.equal(a[n], b[n])} for a, b in zip(starts.values(), ends, strict=True)]
    assert changes[0] == changes[1] == {"head.weight", "head.bias"}
    body = {f"layers.{k}.{part}" for k in range(3) for part in ("weight", "hidden_bias")}
    assert changes[2] == {"head.weight", "head.bias", *body}


def rates(net, schedule=None, **options) -> dict[str, float]:
    optimizer = partial(torch.optim.SGD, lr=0.8)
    task = Classification(net, optimizer=optimizer, lr_schedule=schedule, total_steps=10, **options)
    made = task.configure_optimizers()
    optimizer = made if isinstance(made, torch.optim.Optimizer) else made["optimizer"]
    of = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert len(of) == sum(len(group["params"]) for group in optimizer.param_groups)
    return {name: of[id(p)] for name, p in net.named_parameters() if id(p) in of}


@pytest.mark.parametrize("net", [DBN, StackedAutoencoder])
def test_layers_below_learn_slower_by_the_decay(net):
    found = rates(net(in_shape=[6], num_classes=3, hidden=[5, 4, 3]), layer_decay=0.5)
    expected = {"head.weight": 0.8, "head.bias": 0.8}
    for k, rate in enumerate((0.1, 0.2, 0.4)):
        expected |= {f"layers.{k}.weight": rate, f"layers.{k}.hidden_bias": rate}
    assert found == pytest.approx(expected)


def test_without_decay_all_learn_at_one_rate():
    found = rates(DBN(in_shape=[6], num_classes=3, hidden=[5, 4]))
    assert set(found.values()) == {0.8}
    assert found.keys() == {"head.weight", "head.bias"} | {
        f"layers.{k}.{part}" for k in (0, 1) for part in ("weight", "hidden_bias")
    }


def test_a_course_keeps_the_proportions_of_the_rates():
    plain, decayed = (
        rates(DBN(in_shape=[6], num_classes=3, hidden=[5, 4]), OneCycle(), layer_decay=d) for d in (1.0, 0.5)
    )
    assert plain["head.weight"] == pytest.approx(0.8 / 25)
    assert decayed["head.weight"] == pytest.approx(plain["head.weight"])
    assert decayed["layers.1.weight"] == pytest.approx(plain["head.weight"] / 2)
    assert decayed["layers.0.weight"] == pytest.approx(plain["head.weight"] / 4)


def test_only_layers_with_parameters_count_for_the_decay():
    """Pooling has no rate of its own that the one below could be a part of."""
    found = rates(LeNet5(num_classes=10), layer_decay=0.5)
    different = sorted(set(found.values()), reverse=True)
    for above, below in pairwise(different):
        assert below == pytest.approx(above / 2)


@pytest.mark.parametrize("options", [{"layer_decay": 0.0}, {"layer_decay": 1.5}, {"head_lr_factor": 0.0}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        Classification(DBN(in_shape=[6], num_classes=3, hidden=[4]), **options)


@pytest.mark.parametrize(
    "words",
    [
        "model=dbn model.net.label_units=true model.stages.finetune.task.policy=gradual",
        "model=mlp stage@model.stages.fit=contrastive_divergence",
        "model=lenet5 stage@model.stages.fit=contrastive_divergence model.input_scaling=unit",
    ],
)
def test_a_net_that_lacks_what_a_stage_needs_is_refused_in_one_message(words, cli, folder):
    outcome = cli("train", *DIGITS, *words.split(), "epochs=1", "hydra.run.dir=run")
    assert outcome.status == 1
    assert len(outcome.err.splitlines()) == 1
    assert "unexpected" not in outcome.err
    assert not (folder / "run").exists()
