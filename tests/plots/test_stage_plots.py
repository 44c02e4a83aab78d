"""Pictures of what a net codes and generates are drawn for data of any kind, and change nothing."""

import numpy as np
import pytest
import torch
from PIL import Image

from zoo.data.preprocess import Preprocess
from zoo.data.splits import InMemory, Splits
from zoo.models import DBN, RBM, StackedAutoencoder
from zoo.plots import images as pictures
from zoo.plots import stage_plots as gallery

NETS = {
    "rbm": lambda shape: RBM(in_shape=shape, hidden=12),
    "gaussian": lambda shape: RBM(in_shape=shape, hidden=12, visible_units="gaussian"),
    "labelled_rbm": lambda shape: RBM(in_shape=shape, hidden=12, label_units=3),
    "dbn": lambda shape: DBN(in_shape=shape, num_classes=3, hidden=[8, 6]),
    "one_layer": lambda shape: DBN(in_shape=shape, num_classes=3, hidden=[8], label_units=True),
    "dbn_generative": lambda shape: DBN(in_shape=shape, num_classes=3, hidden=[8, 6], label_units=True),
    "sae": lambda shape: StackedAutoencoder(in_shape=shape, num_classes=3, hidden=[8, 6]),
    "deep_autoencoder": lambda shape: StackedAutoencoder(
        in_shape=shape, num_classes=None, hidden=[8, 2], code_activation="identity", tied=False
    ),
}
CODERS = ("sae", "deep_autoencoder")
PICTURES = {"filters", "reconstructions", "codes"}


def part(count: int, shape: tuple[int, ...], *, classes: bool = True, seed: int = 0) -> InMemory:
    """Bytes for pictures, values within 0 to 1 for other data."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(count, *shape, generator=generator)
    x = (x * 255).to(torch.uint8) if len(shape) == 3 else x
    return InMemory(x, torch.arange(count) % 3 if classes else torch.rand(count, 1, generator=generator))


def data(shape=(1, 8, 7), *, train=40, validation=30, classes=True) -> Splits:
    held = part(validation, shape, classes=classes, seed=1) if validation else None
    names = ("a", "b", "c") if classes else ()
    return Splits(part(train, shape, classes=classes), held, None, shape, names, 0 if classes else 1)


DATA = {
    "no validation part": data(validation=0),
    "features": data((6,)),
    "few examples": data(validation=4),
    "two examples": data(validation=2),
    "one example": data(validation=1),
    "colours": data((3, 8, 7)),
    "values": data((6,), classes=False),
}


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(gallery, "SAMPLE_STEPS", 3)
    monkeypatch.setattr(gallery, "CHAIN", (0, 1, 3))


@pytest.fixture
def grids(monkeypatch):
    """Tiles and options of every grid, by the kind of picture; all arguments of the map. Nothing is drawn."""
    found = {}

    def grid(tiles, path, **options):
        found[path.stem.removeprefix("fit-")] = (tiles, options)

    def codes(points, labels, classes, path, *, method):
        found[path.stem.removeprefix("fit-")] = (points, labels, classes, method)

    monkeypatch.setattr(pictures, "grid", grid)
    monkeypatch.setattr(pictures, "codes", codes)
    return found


def make(kind: str, splits: Splits):
    torch.manual_seed(0)
    net = NETS[kind](splits.shape)
    return net, Preprocess.fit(splits.train.x, standardize=kind == "gaussian")


def draw(kind: str, splits: Splits, folder, *, codes: str = "pca"):
    net, preprocess = make(kind, splits)
    gallery.draw(net, splits, preprocess, folder, prefix="fit", codes=codes)
    return net, preprocess


def drawn(folder) -> set[str]:
    """The kinds of picture there, each a whole one."""
    found = set()
    for path in folder.iterdir():
        with Image.open(path) as picture:
            assert picture.format == "PNG"
            assert min(picture.size) >= 4
            if path.stem != "fit-chains":  # of nets that know nothing: grey on grey
                assert np.asarray(picture.convert("L")).std() > 1, "not blank"
        found.add(path.stem.removeprefix("fit-"))
    return found


@pytest.mark.parametrize("kind", NETS)
def test_a_net_leaves_the_pictures_of_its_kind(kind, tmp_path):
    draw(kind, data(), tmp_path)
    assert drawn(tmp_path) == PICTURES | (set() if kind in CODERS else {"chains", "samples"})


@pytest.mark.parametrize("name", DATA)
@pytest.mark.parametrize("kind", ["rbm", "deep_autoencoder"])
def test_data_of_any_kind_are_drawn(kind, name, tmp_path):
    draw(kind, DATA[name], tmp_path)
    assert drawn(tmp_path) == PICTURES | (set() if kind in CODERS else {"chains", "samples"})


@pytest.mark.parametrize("name", ["features", "few examples", "colours"])
def test_nets_with_label_units_are_drawn_for_data_of_any_kind(name, tmp_path):
    draw("dbn_generative", DATA[name], tmp_path)
    assert drawn(tmp_path) == PICTURES | {"chains", "samples"}


@pytest.mark.parametrize("count", [60, 20, 3])
def test_a_map_by_tsne_takes_few_examples_as_well(count, tmp_path):
    draw("rbm", data(validation=count), tmp_path, codes="tsne")
    assert (tmp_path / "fit-codes.png").is_file()


def test_codes_that_are_all_alike_are_drawn(tmp_path):
    net, preprocess = make("rbm", data())
    with torch.no_grad():
        net.weight.zero_()
    gallery.draw(net, data(), preprocess, tmp_path, prefix="fit", codes="pca")
    assert (tmp_path / "fit-codes.png").is_file()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", ["dbn_generative", "sae"])
def test_chance_and_the_net_stay_as_they_were(kind, training, tmp_path):
    net, preprocess = make(kind, data())
    net.train(training)
    net.layers[0].train(not training)  # such as a frozen one
    modes = [module.training for module in net.modules()]
    state, chance = {name: value.clone() for name, value in net.state_dict().items()}, torch.get_rng_state()
    gallery.draw(net, data(), preprocess, tmp_path, prefix="fit", codes="pca")
    assert torch.equal(torch.get_rng_state(), chance)
    assert [module.training for module in net.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())


def test_the_pictures_do_not_depend_on_the_state_of_chance(grids, tmp_path):
    net, preprocess = make("dbn", data())
    seen = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        gallery.draw(net, data(), preprocess, tmp_path, prefix="fit", codes="pca")
        seen.append({kind: grids[kind][0] for kind in ("chains", "samples")})
    for kind, tiles in seen[0].items():
        assert torch.equal(tiles, seen[1][kind])


def test_filters_are_the_weights_of_the_first_layer_without_labels(grids, tmp_path):
    net, _ = draw("labelled_rbm", data(), tmp_path)
    tiles, options = grids["filters"]
    assert torch.equal(tiles, net.weight[:, :56].detach().unflatten(1, (1, 8, 7)))
    assert options["signed"]


def test_at_most_so_many_filters_are_drawn(grids, tmp_path, monkeypatch):
    monkeypatch.setattr(gallery, "FILTERS", 5)
    net, _ = draw("dbn", data(), tmp_path)
    assert torch.equal(grids["filters"][0].flatten(1), net.layers[0].weight[:5].detach())


@pytest.mark.parametrize("validation", [30, 0])
def test_reconstructions_stand_below_originals_of_the_validation_part_if_there_is_one(validation, grids, tmp_path):
    splits = data(validation=validation)
    net, preprocess = draw("sae", splits, tmp_path)
    tiles, options = grids["reconstructions"]
    x = preprocess((splits.validation or splits.train).x[:30])
    rows = tiles.unflatten(0, (3, 2, 10))
    torch.testing.assert_close(rows[:, 0].flatten(0, 1), x)
    torch.testing.assert_close(rows[:, 1].flatten(0, 1), net.eval().reconstruct(x).detach())
    assert options["columns"] == 10
    assert options["names"] == (["original"] * 10 + ["reconstructed"] * 10) * 3


def test_a_last_row_that_is_not_full_keeps_reconstructions_below_originals(grids, tmp_path):
    """14 examples are rows of 10, 10, 4 and 4: they must not run into each other."""
    draw("sae", data(validation=14), tmp_path)
    tiles, options = grids["reconstructions"]
    columns, names = options["columns"], options["names"]
    rows = [set(names[first : first + columns]) for first in range(0, len(tiles), columns)]
    assert all(len(row) == 1 for row in rows), rows


def test_codes_are_of_the_first_examples_with_their_classes(grids, tmp_path, monkeypatch):
    monkeypatch.setattr(gallery, "MAPPED", 25)
    splits = data()
    net, preprocess = draw("dbn", splits, tmp_path)
    points, labels, classes, method = grids["codes"]
    torch.testing.assert_close(points, net.encode(preprocess(splits.validation.x[:25])).detach())
    assert labels == splits.validation.y[:25].tolist()
    assert classes == ("a", "b", "c")
    assert method == "pca"


def test_codes_of_data_without_classes_have_no_labels(grids, tmp_path):
    draw("rbm", data((6,), classes=False), tmp_path)
    assert grids["codes"][1:3] == ([], ())


def test_chains_have_a_row_for_each_number_of_steps(grids, tmp_path):
    draw("rbm", data(), tmp_path)
    tiles, options = grids["chains"]
    assert tiles.shape == (30, 1, 8, 7)
    assert options["columns"] == 10
    assert options["names"] == [name for name in ("0", "1", "3") for _ in range(10)]


def test_chains_go_the_steps_that_are_written_beside_them(grids, tmp_path, monkeypatch):
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


@pytest.mark.parametrize("kind", ["labelled_rbm", "dbn_generative", "one_layer"])
def test_samples_of_a_net_that_knows_classes_are_a_row_for_each(kind, grids, tmp_path):
    draw(kind, data(), tmp_path)
    tiles, options = grids["samples"]
    assert tiles.shape == (30, 1, 8, 7)
    assert options["names"] == [name for name in "abc" for _ in range(10)]


def test_samples_of_other_nets_are_a_hundred(grids, tmp_path):
    draw("dbn", data(), tmp_path)
    tiles, options = grids["samples"]
    assert tiles.shape == (100, 1, 8, 7)
    assert options["names"] is None
