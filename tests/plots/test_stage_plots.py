"""Plots of what a net encodes and generates are drawn for data of any kind, and change nothing."""

import numpy as np
import pytest
import torch
from PIL import Image

from zoo.checkpoints.files import STAGE_PLOT
from zoo.data.preprocess import Preprocess
from zoo.data.splits import InMemory, Splits
from zoo.models import DBN, RBM, ConvDBN, ConvRBM, StackedAutoencoder
from zoo.plots import images, latent, stage_plots

NETS = {
    "rbm": lambda shape: RBM(in_shape=shape, hidden=12),
    "gaussian": lambda shape: RBM(in_shape=shape, hidden=12, visible_units="gaussian"),
    "labeled_rbm": lambda shape: RBM(in_shape=shape, hidden=12, label_units=3),
    "dbn": lambda shape: DBN(in_shape=shape, num_classes=3, hidden=[8, 6]),
    "one_layer": lambda shape: DBN(in_shape=shape, num_classes=3, hidden=[8], label_units=True),
    "dbn_generative": lambda shape: DBN(in_shape=shape, num_classes=3, hidden=[8, 6], label_units=True),
    "conv_rbm": lambda shape: ConvRBM(in_shape=shape, hidden=12, kernel_size=3),
    "conv_dbn": lambda shape: ConvDBN(in_shape=shape, num_classes=3, hidden=[8, 6], kernel_size=[3, 2]),
    "sae": lambda shape: StackedAutoencoder(in_shape=shape, num_classes=3, hidden=[8, 6]),
    "deep_autoencoder": lambda shape: StackedAutoencoder(
        in_shape=shape, num_classes=None, hidden=[8, 2], code_activation="identity", tied=False
    ),
}
AUTOENCODERS = ("sae", "deep_autoencoder")
PLOTS = {"filters", "reconstructions", "latent"}


def examples(count: int, shape: tuple[int, ...], *, classes: bool = True, seed: int = 0) -> InMemory:
    """Bytes for images, values in [0, 1] for other data."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(count, *shape, generator=generator)
    x = (x * 255).to(torch.uint8) if len(shape) == 3 else x
    return InMemory(x, torch.arange(count) % 3 if classes else torch.rand(count, 1, generator=generator))


def data(shape=(1, 8, 7), *, train=40, validation=30, classes=True) -> Splits:
    held = examples(validation, shape, classes=classes, seed=1) if validation else None
    names = ("a", "b", "c") if classes else ()
    return Splits(examples(train, shape, classes=classes), held, None, shape, names, 0 if classes else 1)


DATA = {
    "no validation split": data(validation=0),
    "features": data((6,)),
    "few examples": data(validation=4),
    "two examples": data(validation=2),
    "one example": data(validation=1),
    "colors": data((3, 8, 7)),
    "values": data((6,), classes=False),
}


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(stage_plots, "SAMPLE_STEPS", 3)
    monkeypatch.setattr(stage_plots, "CHAIN_STEPS", (0, 1, 3))


@pytest.fixture
def grids(monkeypatch):
    """Tiles and options of every grid, by the kind of plot; all arguments of the map. Nothing is drawn."""
    found = {}

    def grid(tiles, path, **options):
        found[path.stem.removeprefix("fit-")] = (tiles, options)

    def latent_map(points, labels, classes, path, *, method):
        found[path.stem.removeprefix("fit-")] = (points, labels, classes, method)

    monkeypatch.setattr(images, "grid", grid)
    monkeypatch.setattr(latent, "latent_map", latent_map)
    return found


def make(kind: str, splits: Splits):
    torch.manual_seed(0)
    net = NETS[kind](splits.shape)
    return net, Preprocess.from_data(splits.train.x, standardize=kind == "gaussian")


def draw(kind: str, splits: Splits, folder, *, latent_map: str = "pca"):
    net, preprocess = make(kind, splits)
    stage_plots.draw(net, splits, preprocess, folder, prefix="fit", latent_map=latent_map)
    return net, preprocess


def drawn(folder) -> set[str]:
    """The kinds of plot there, each a whole one, and protected from outputs of commands."""
    found = set()
    for path in folder.iterdir():
        assert STAGE_PLOT.fullmatch(path.name)
        with Image.open(path) as image:
            assert image.format == "PNG"
            assert min(image.size) >= 4
            if path.stem != "fit-chains":  # of untrained nets: gray on gray
                assert np.asarray(image.convert("L")).std() > 1, "not blank"
        found.add(path.stem.removeprefix("fit-"))
    return found


@pytest.mark.parametrize("kind", NETS)
def test_a_net_gets_the_plots_of_its_kind(kind, tmp_path):
    draw(kind, data(), tmp_path)
    of_rbms = {"features", "class-entropy"} if kind.startswith("conv") else {"chains", "samples"}
    assert drawn(tmp_path) == PLOTS | (set() if kind in AUTOENCODERS else of_rbms)


@pytest.mark.parametrize("name", DATA)
@pytest.mark.parametrize("kind", ["rbm", "deep_autoencoder"])
def test_data_of_any_kind_are_drawn(kind, name, tmp_path):
    draw(kind, DATA[name], tmp_path)
    assert drawn(tmp_path) == PLOTS | (set() if kind in AUTOENCODERS else {"chains", "samples"})


@pytest.mark.parametrize("name", ["features", "few examples", "colors"])
def test_nets_with_label_units_are_drawn_for_any_data(name, tmp_path):
    draw("dbn_generative", DATA[name], tmp_path)
    assert drawn(tmp_path) == PLOTS | {"chains", "samples"}


@pytest.mark.parametrize("count", [60, 20, 3])
def test_a_map_by_tsne_takes_few_examples_as_well(count, tmp_path):
    draw("rbm", data(validation=count), tmp_path, latent_map="tsne")
    assert (tmp_path / "fit-latent.png").is_file()


def test_features_that_are_all_alike_are_drawn(tmp_path):
    net, preprocess = make("rbm", data())
    with torch.no_grad():
        net.weight.zero_()
    stage_plots.draw(net, data(), preprocess, tmp_path, prefix="fit", latent_map="pca")
    assert (tmp_path / "fit-latent.png").is_file()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", ["dbn_generative", "sae"])
def test_the_rng_and_the_net_stay_as_they_were(kind, training, tmp_path):
    net, preprocess = make(kind, data())
    net.train(training)
    net.layers[0].train(not training)  # such as a frozen one
    modes = [module.training for module in net.modules()]
    state, rng_state = {name: value.clone() for name, value in net.state_dict().items()}, torch.get_rng_state()
    stage_plots.draw(net, data(), preprocess, tmp_path, prefix="fit", latent_map="pca")
    assert torch.equal(torch.get_rng_state(), rng_state)
    assert [module.training for module in net.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())


def test_the_plots_do_not_depend_on_the_state_of_the_rng(grids, tmp_path):
    net, preprocess = make("dbn", data())
    seen = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        stage_plots.draw(net, data(), preprocess, tmp_path, prefix="fit", latent_map="pca")
        seen.append({kind: grids[kind][0] for kind in ("chains", "samples")})
    for kind, tiles in seen[0].items():
        assert torch.equal(tiles, seen[1][kind])


def test_filters_are_the_weights_of_the_first_layer_without_labels(grids, tmp_path):
    net, _ = draw("labeled_rbm", data(), tmp_path)
    tiles, options = grids["filters"]
    assert torch.equal(tiles, net.weight[:, :56].detach().unflatten(1, (1, 8, 7)))
    assert options["signed"]


def test_there_is_a_maximum_of_filters(grids, tmp_path, monkeypatch):
    monkeypatch.setattr(stage_plots, "MAX_FILTERS", 5)
    net, _ = draw("dbn", data(), tmp_path)
    assert torch.equal(grids["filters"][0].flatten(1), net.layers[0].weight[:5].detach())


@pytest.mark.parametrize("validation", [30, 0])
def test_reconstructions_stand_below_originals_of_the_validation_split(validation, grids, tmp_path):
    splits = data(validation=validation)
    net, preprocess = draw("sae", splits, tmp_path)
    tiles, options = grids["reconstructions"]
    x = preprocess((splits.validation or splits.train).x[:30])
    rows = tiles.unflatten(0, (3, 2, 10))
    torch.testing.assert_close(rows[:, 0].flatten(0, 1), x)
    torch.testing.assert_close(rows[:, 1].flatten(0, 1), net.eval().reconstruct(x).detach())
    assert options["columns"] == 10
    assert options["names"] == (["original"] * 10 + ["reconstructed"] * 10) * 3


def test_a_last_row_that_is_not_full_keeps_the_order(grids, tmp_path):
    """14 examples are rows of 10, 10, 4 and 4: they must not run into each other."""
    draw("sae", data(validation=14), tmp_path)
    tiles, options = grids["reconstructions"]
    columns, names = options["columns"], options["names"]
    rows = [set(names[first : first + columns]) for first in range(0, len(tiles), columns)]
    assert all(len(row) == 1 for row in rows), rows


def test_the_map_shows_the_first_examples_with_their_classes(grids, tmp_path, monkeypatch):
    monkeypatch.setattr(stage_plots, "MAX_POINTS", 25)
    splits = data()
    net, preprocess = draw("dbn", splits, tmp_path)
    points, labels, classes, method = grids["latent"]
    torch.testing.assert_close(points, net.encode(preprocess(splits.validation.x[:25])).detach())
    assert labels == splits.validation.y[:25].tolist()
    assert classes == ("a", "b", "c")
    assert method == "pca"


def test_the_map_of_data_without_classes_has_no_labels(grids, tmp_path):
    draw("rbm", data((6,), classes=False), tmp_path)
    assert grids["latent"][1:3] == ([], ())


def test_chains_have_a_row_for_each_number_of_steps(grids, tmp_path):
    draw("rbm", data(), tmp_path)
    tiles, options = grids["chains"]
    assert tiles.shape == (30, 1, 8, 7)
    assert options["columns"] == 10
    assert options["names"] == [name for name in ("0", "1", "3") for _ in range(10)]


def test_chains_run_for_the_steps_written_beside_them(grids, tmp_path, monkeypatch):
    steps = []
    original = RBM.gibbs

    def gibbs(self, v, count=1, **options):
        steps.append(count)
        return original(self, v, count, **options)

    monkeypatch.setattr(RBM, "gibbs", gibbs)
    draw("sae", data(), tmp_path)
    assert steps == []
    draw("dbn", data(), tmp_path)
    assert steps[:3] == [0, 1, 2]


@pytest.mark.parametrize("kind", ["labeled_rbm", "dbn_generative", "one_layer"])
def test_samples_of_a_net_with_label_units_are_a_row_a_class(kind, grids, tmp_path):
    draw(kind, data(), tmp_path)
    tiles, options = grids["samples"]
    assert tiles.shape == (30, 1, 8, 7)
    assert options["names"] == [name for name in "abc" for _ in range(10)]


def test_samples_of_other_nets_are_a_hundred(grids, tmp_path):
    draw("dbn", data(), tmp_path)
    tiles, options = grids["samples"]
    assert tiles.shape == (100, 1, 8, 7)
    assert options.get("names") is None
