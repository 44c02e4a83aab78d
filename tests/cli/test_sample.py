"""Samples are the net's own, class by class where it knows classes, and what does not generate says so."""

import contextlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from zoo.checkpoints import checkpoint as checkpoints
from zoo.cli.main import main
from zoo.models import DBN

WORDS = {
    "rbm": ["model=rbm", "model.net.hidden=20"],
    "gaussian": [
        "model=rbm",
        "model.net.hidden=20",
        "model.net.visible_units=gaussian",
        "model.input_scaling=standardized",
    ],
    "dbn": ["model=dbn", "model.net.hidden=[20,15]", "model.stages.finetune.epochs=0"],
    "dbn_classifier": ["model=dbn", "model.net.hidden=[20,15]", "model.stages.finetune.epochs=1"],
    "dbn_generative": ["model=dbn_generative", "model.net.hidden=[20,15]", "model.stages.updown.epochs=1"],
    "deep_autoencoder": ["model=deep_autoencoder", "model.net.hidden=[20,15]", "model.stages.finetune.epochs=1"],
}
NPZ = ["steps=5", "output=samples.npz"]


@pytest.fixture(scope="module")
def run_of(tmp_path_factory):
    """``run_of("rbm")``: the folder of one short run on digits."""
    runs = {}

    def run(kind: str) -> Path:
        if kind not in runs:
            folder = tmp_path_factory.mktemp(kind) / "run"
            first = "fit" if "model=rbm" in WORDS[kind] else "pretrain"
            rate = ["model.stages.fit.optimizer.lr=0.001"] if kind == "gaussian" else []
            words = [*WORDS[kind], f"model.stages.{first}.epochs=1", *rate, "dataset=digits", "progress=false"]
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("zoo.plots.stage_plots.draw", lambda *args, **options: None)
                main("train", [*words, f"hydra.run.dir={folder}"])
            runs[kind] = folder
        return runs[kind]

    return run


def arrays(path: str = "samples.npz") -> dict[str, np.ndarray]:
    with np.load(path) as archive:
        return dict(archive)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("kind", ["rbm", "gaussian", "dbn", "dbn_generative"])
def test_samples_are_drawn_as_one_whole_picture(kind, cli, folder, run_of):
    outcome = cli("sample", f"checkpoint={run_of(kind)}", "n=20", "steps=5")
    assert (outcome.status, outcome.err) == (0, "")
    assert "20 samples of 1x28x28 in samples.png" in outcome.out
    assert [path.name for path in folder.iterdir()] == ["samples.png"]
    with Image.open("samples.png") as picture:
        assert picture.format == "PNG"
        pixels = np.asarray(picture.convert("L"))
    assert min(pixels.shape) > 100
    assert pixels[:, -100:].std() > 5, "not blank"


@pytest.mark.parametrize("kind", ["rbm", "dbn", "dbn_generative"])
def test_an_archive_holds_the_nets_own_samples(kind, cli, folder, run_of):
    assert cli("sample", f"checkpoint={run_of(kind)}", "n=20", *NPZ, "seed=3").status == 0
    found = arrays()
    assert found.keys() == ({"x", "y"} if kind == "dbn_generative" else {"x"})
    x = found["x"]
    assert (x.shape, x.dtype) == ((20, 1, 28, 28), np.float32)
    assert 0 <= x.min() < x.max() <= 1
    labels = torch.arange(10).repeat_interleave(2) if kind == "dbn_generative" else None
    net = checkpoints.load(run_of(kind))
    torch.manual_seed(3)
    torch.testing.assert_close(torch.from_numpy(x), net.sample(20, 5, labels=labels))


def test_data_that_are_no_pictures_are_sampled(cli, folder):
    rng = np.random.default_rng(0)
    np.savez("own.npz", x=rng.random((200, 6)), y=np.arange(200) % 2)
    words = ["model=rbm", "model.net.hidden=4", "dataset=npz", "dataset.root=own.npz", "epochs=1", "progress=false"]
    assert cli("train", *words, "hydra.run.dir=run").status == 0
    assert cli("sample", "checkpoint=run", "n=7", *NPZ).status == 0
    assert arrays()["x"].shape == (7, 6)
    assert cli("sample", "checkpoint=run", "n=7", "steps=5").status == 0
    with Image.open("samples.png") as picture:
        picture.load()


def test_the_same_seed_gives_the_same_samples_and_another_seed_others(cli, folder, run_of):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        words = [f"checkpoint={run_of('dbn')}", "n=5", "steps=5", f"seed={seed}"]
        cli("sample", *words, f"output={name}.npz")
        cli("sample", *words, f"output={name}.png")
    assert np.array_equal(arrays("a.npz")["x"], arrays("b.npz")["x"])
    assert not np.array_equal(arrays("a.npz")["x"], arrays("c.npz")["x"])
    a, b, c = (Path(f"{name}.png").read_bytes() for name in "abc")
    assert a == b != c


def test_a_weights_file_gives_what_its_run_folder_gives(cli, folder, run_of):
    run = run_of("rbm")
    cli("sample", f"checkpoint={run}", "n=3", "steps=5", "output=a.npz")
    assert cli("sample", f"checkpoint={run}/model.safetensors", "n=3", "steps=5", "output=deep/b.npz").status == 0
    assert np.array_equal(arrays("a.npz")["x"], arrays("deep/b.npz")["x"])


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("n=20", [k for k in range(10) for _ in range(2)]),
        ("n=5", [0, 2, 4, 6, 8]),
        ("n=4 labels=3", [3] * 4),
        ("n=5 labels=[3,5]", [3, 3, 3, 5, 5]),
        ("n=4 labels=[5,3]", [5, 5, 3, 3]),
        ("n=2 labels='7'", [7, 7]),
    ],
)
def test_classes_are_those_asked_for_or_one_after_the_other(words, expected, cli, folder, run_of):
    outcome = cli("sample", f"checkpoint={run_of('dbn_generative')}", *words.split(), *NPZ)
    assert (outcome.status, outcome.err) == (0, "")
    assert arrays()["y"].tolist() == expected


def test_classes_go_by_their_names(cli, folder):
    torch.manual_seed(0)
    net = DBN(in_shape=[1, 4, 4], num_classes=2, hidden=[5, 3], label_units=True)
    target = {"_target_": "zoo.models.DBN", "in_shape": [1, 4, 4], "num_classes": 2, "hidden": [5, 3]}
    preprocess = {"shape": [1, 4, 4], "scale": 255.0, "mean": [0.0], "std": [1.0]}
    about = checkpoints.CheckpointInfo(
        "own", {**target, "label_units": True}, {"_target_": "zoo.tasks.WakeSleep"}, preprocess, classes=["cat", "dog"]
    )
    checkpoints.save(net, "own.safetensors", about)
    words = ["checkpoint=own.safetensors", "n=3", *NPZ]
    assert cli("sample", *words, "labels=dog").status == 0
    assert arrays()["y"].tolist() == [1, 1, 1]
    outcome = cli("sample", *words, "labels=emu", "overwrite=true")
    assert (outcome.status, outcome.err) == (
        1,
        "zoo sample: labels=emu: no such class; choose from cat, dog\n",
    )


def test_overwrite_replaces_an_output(cli, folder, run_of):
    (folder / "samples.npz").write_text("of before")
    assert cli("sample", f"checkpoint={run_of('rbm')}", "n=2", *NPZ, "overwrite=true").status == 0
    assert arrays()["x"].shape == (2, 1, 28, 28)


SHIPPED = "dbn_generative-mnist or rbm-mnist"  # the shipped checkpoints that are generative
ERRORS = {
    "a classifier": (
        "lenet5",
        [],
        ("lenet5 is not generative; use a checkpoint such as dbn_generative-mnist or rbm-mnist",),
    ),
    "a fine-tuned belief network": (
        "dbn_classifier",
        [],
        ("was fine-tuned", "finetune.epochs=0", SHIPPED),
    ),
    "an autoencoder": ("deep_autoencoder", [], ("deep_autoencoder is not generative",)),
    "labels without label units": (
        "rbm",
        ["labels=3"],
        ("labels=3: rbm has no label units; use a checkpoint such as dbn_generative-mnist\n",),
    ),
    "unknown class": ("dbn_generative", ["labels=11"], ("labels=11: no such class", "0, 1, 2, 3, 4, 5, 6, 7, 8, 9")),
    "an unknown one of two": ("dbn_generative", ["labels=[3,x]"], ("labels=x: no such class",)),
    "no class": ("dbn_generative", ["labels=[]"], ("labels=[]",)),
    "n=0": ("rbm", ["n=0"], ("n=0 must be >= 1",)),
    "n beyond memory": ("rbm", ["n=1000000000000", "output=x.npz"], ("n=1000000000000 must be <= ", "of 1x28x28")),
    "n beyond a grid": ("rbm", ["n=100000"], ("n=100000 must be <= 4,990 for a .png file; use output=NAME.npz",)),
    "output that is the checkpoint": ("rbm", ["output={run}/model.safetensors", "overwrite=true"], (".png or .npz",)),
    "steps=0": ("rbm", ["steps=0"], ("steps=0 must be >= 1",)),
    "n=x": ("rbm", ["n=x"], ("n=x must be an integer",)),
    "seed": ("rbm", ["seed=99999999999999999999"], ("seed=99999999999999999999",)),
    "unknown ending": ("rbm", ["output=x.txt"], ("output=x.txt must be a .png or .npz file",)),
    "output that exists": ("rbm", ["output=there.png"], ("there.png exists", "overwrite=true")),
    "unknown key": ("rbm", ["lables=3"], ("lables: no such key", "did you mean labels")),
}


@pytest.mark.parametrize("case", ERRORS.values(), ids=ERRORS.keys())
def test_an_error_is_one_line_and_leaves_no_file(case, cli, folder, trained, run_of):
    kind, words, says = case
    (folder / "there.png").write_text("of before")
    before = contents(folder)
    run = trained if kind == "lenet5" else run_of(kind)
    outcome = cli("sample", f"checkpoint={run}", "steps=5", *[word.format(run=run) for word in words])
    assert (outcome.status, outcome.out) == (1, "")
    assert outcome.err.startswith("zoo sample: ")
    assert len(outcome.err.splitlines()) == 1
    assert "internal error" not in outcome.err
    for part in says:
        assert part in outcome.err
    assert contents(folder) == before


@pytest.mark.parametrize(
    ("words", "says"),
    [([], "checkpoint= is required; see zoo sample --help"), (["checkpoint=nonsense"], "no checkpoint 'nonsense'")],
)
def test_a_checkpoint_that_is_not_there_is_one_line(words, says, cli, folder):
    outcome = cli("sample", *words)
    assert (outcome.status, outcome.out) == (1, "")
    assert len(outcome.err.splitlines()) == 1
    assert says in outcome.err
    assert not list(folder.iterdir())


def test_a_picture_that_cannot_be_drawn_leaves_the_file_of_before(cli, folder, run_of, monkeypatch):
    (folder / "samples.png").write_text("of before")

    def fail(drawn, path, **options):
        path.write_text("half")
        raise OSError("disk full")

    monkeypatch.setattr("zoo.cli.sample.plots.grid", fail)
    outcome = cli("sample", f"checkpoint={run_of('rbm')}", "n=2", "steps=5", "overwrite=true")
    assert outcome.status == 1
    assert "disk full" in outcome.err
    assert [path.read_text() for path in folder.iterdir()] == ["of before"]


def test_a_row_of_several_classes_bears_all_their_names(cli, folder, run_of, monkeypatch):
    asked = {}
    monkeypatch.setattr("zoo.cli.sample.plots.grid", lambda drawn, path, **options: asked.update(options))
    with contextlib.suppress(FileNotFoundError):  # nothing is drawn
        cli("sample", f"checkpoint={run_of('dbn_generative')}", "n=12", "steps=2", "labels=[3,5]")
    assert asked["names"] == ["3, 5"] * 10 + ["5"] * 2


def test_rows_of_the_picture_bear_their_class(cli, folder, run_of, monkeypatch):
    asked = {}

    def grid(drawn, path, **options):
        asked.update(options, count=len(drawn))
        path.write_bytes(b"")

    monkeypatch.setattr("zoo.cli.sample.plots.grid", grid)
    cli("sample", f"checkpoint={run_of('dbn_generative')}", "n=100", "steps=2")
    assert asked == {"count": 100, "columns": 10, "names": [str(k) for k in range(10) for _ in range(10)]}
    (folder / "samples.png").unlink()
    cli("sample", f"checkpoint={run_of('rbm')}", "n=10", "steps=2")
    assert asked == {"count": 10, "columns": 10, "names": None}


def test_the_path_of_the_output_is_printed_as_it_is(cli, folder):
    outcome = cli("sample", "checkpoint=rbm-mnist", "n=1", "steps=1", "output='s[/x].png'")
    assert (outcome.status, outcome.err) == (0, "")
    assert "in s[/x].png" in outcome.out
