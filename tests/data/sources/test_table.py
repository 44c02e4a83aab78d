"""Tables become inputs and targets by the training split alone; what cannot be used is refused by name."""

import json

import numpy as np
import pytest
import torch

from zoo.data.sources import diabetes, table
from zoo.data.tables import target_columns
from zoo.data.tables.table_columns import Feature, TableEncoding
from zoo.data.tables.table_file import Table

ROWS = 100
RNG = np.random.default_rng(0)
SIZE = RNG.normal(50, 20, ROWS)
CITY = RNG.choice(["Bonn", "Ulm"], ROWS)
PRICE = 3 * SIZE + 100 * (CITY == "Ulm")


def made(**columns):
    """A table of 100 rows with size, city and price; ``columns`` replace or add some."""
    cells = {"size": map(str, SIZE), "city": CITY, "price": map(str, PRICE)} | columns
    return Table("t.csv", {name: [str(cell) for cell in values] for name, values in cells.items()})


def load(source=None, **options):
    return table.from_table(source or made(), **{"target": "price", **options})


def test_inputs_and_targets_are_those_of_the_rows():
    splits = load(test=0.2, validation=0.1)
    assert [len(split) for split in splits.existing().values()] == [72, 8, 20]
    assert (splits.shape, splits.num_targets, splits.classes) == ((3,), 1, ())
    # Undo the standardization: every row of the table occurs once.
    y = torch.cat([split.y for split in splits.existing().values()]).double()
    x = torch.cat([split.x for split in splits.existing().values()])
    prices = (y[:, 0] * splits.table.std[0] + splits.table.mean[0]).numpy()
    assert np.allclose(np.sort(prices), np.sort(PRICE), rtol=1e-5)
    assert np.allclose(prices, 3 * x[:, 0] + 100 * x[:, 2], rtol=1e-4)
    assert torch.equal(x[:, 1], 1 - x[:, 2])


def test_rows_for_testing_are_held_out_beside_a_validation_split_only_if_asked_for():
    split = ["val" if k < 10 else "train" for k in range(ROWS)]
    found = {test: load(made(split=split), split_column="split", test=test) for test in (None, 0.2, 0)}
    sizes = {test: [len(part) for part in splits.existing().values()] for test, splits in found.items()}
    assert sizes == {None: [90, 10], 0.2: [72, 10, 18], 0: [90, 10]}
    assert found[None].origins["test"].startswith("the data have a validation split and no test split; dataset.test=")
    assert "test" not in found[0].origins


def test_target_values_are_standardized_by_the_training_split():
    splits = load()
    assert splits.train.y.mean().abs() < 1e-6
    assert abs(float(splits.train.y.std(correction=0)) - 1) < 1e-6
    assert splits.test.y.mean().abs() > 1e-6
    plain = load(standardize_targets=False)
    assert plain.table.mean == ()
    assert np.allclose(plain.train.y * 1.0, splits.train.y * splits.table.std[0] + splits.table.mean[0], rtol=1e-5)


def test_categories_and_medians_are_those_of_the_training_split():
    # A category and an extreme value that only the test split has, by a column of splits.
    city = ["Köln", *CITY[1:]]
    size = ["1e6", "", *map(str, SIZE[2:])]
    split = ["test", *["train"] * 98, "val"]
    splits = load(made(city=city, size=size, split=split), split_column="split", missing="impute")
    assert splits.table.features == (
        Feature("size", None, float(np.median(SIZE[2:99]))),
        Feature("city", ("Bonn", "Ulm")),
    )
    assert splits.test.x.tolist() == [[1e6, 0, 0]]
    assert any("1 row has a value that the training split does not have (Köln)" in note for note in splits.notes)
    assert splits.train.x[0, 0] == torch.tensor(np.median(SIZE[2:99])).float()


def test_a_stored_encoding_takes_columns_in_any_order():
    splits = load()
    stored = TableEncoding.from_dict(json.loads(json.dumps(splits.table.to_dict())))
    assert stored == splits.table
    other = made()
    turned = Table("u.csv", {"extra": other.columns["city"], **dict(reversed(other.columns.items()))})
    x, notes = stored.encode(turned)
    assert torch.equal(x, stored.encode(other)[0])
    assert not notes
    with pytest.raises(ValueError, match=r"u\.csv: no columns size, city, which the net was trained on"):
        stored.encode(Table("u.csv", {"price": other.columns["price"]}))
    again = load(turned, columns=splits.table.to_dict())
    assert again.fingerprints() == splits.fingerprints()


@pytest.mark.parametrize(
    ("columns", "options", "says"),
    [
        ({"size": ["", *map(str, SIZE[1:])]}, {}, "'size' has no value in row 1; train with .*missing=impute"),
        ({"size": ["", "", *map(str, SIZE[2:])]}, {}, "'size' has no value in row 1 and in 1 other row; train with"),
        ({"size": [*["1"] * 97, "", "", ""]}, {}, "'size' has no value in row 98 and in 2 other rows; train with"),
        (
            {"price": [*["1"] * 97, "", "", ""]},
            {},
            "'price' has no value in row 98 and in 2 other rows; dataset.missing",
        ),
        ({"price": ["", *map(str, PRICE[1:])]}, {}, "the target 'price' has no value in row 1; dataset.missing=drop"),
        ({"sold": ["2024-01-31"] * ROWS}, {}, r"column 'sold' has dates .*dataset\.ignore=\[sold\]"),
        ({"size": ["large", *map(str, SIZE[1:])]}, {}, r"'large' among numbers \(row 1\); .*categorical=\[size\]"),
        ({"owner": [f"n{k}" for k in range(ROWS)]}, {}, r"column 'owner' has .* too many categories; .*\[owner\]"),
        ({"size": ["inf", *map(str, SIZE[1:])]}, {}, "column 'size', row 1: not finite"),
        ({"size": [*map(str, SIZE[:-1]), "inf"]}, {}, f"column 'size', row {ROWS}: not finite"),
        ({"size": [f"{k},5" for k in range(ROWS)]}, {}, r"numbers without commas, .*ignore=\[size\]"),
        ({"price": ["5.5"] * ROWS}, {"target_type": "values"}, "the target 'price' has the same value in all rows"),
        ({}, {"target": "prise"}, "dataset.target=prise: no such column in t.csv; did you mean price?"),
        ({}, {"ignore": ["x"]}, "dataset.ignore=x: no such column in t.csv"),
        ({}, {"groups": "x"}, "dataset.groups=x: no such column"),
        ({}, {"missing": "x"}, "dataset.missing=x: choose refuse, impute, drop"),
        ({}, {"target_type": "x"}, "dataset.target_type=x: choose auto, classes, values, labels"),
        ({}, {"ignore": ["size", "city"]}, "no columns are left for the input"),
        ({"s": ["train"] * 99 + ["x"]}, {"split_column": "s"}, "row 100: 'x' must be train, val or test"),
    ],
)
def test_what_cannot_be_used_is_named(columns, options, says):
    with pytest.raises(ValueError, match=says):
        load(made(**columns), **options)


def test_rows_with_missing_values_can_be_dropped():
    splits = load(made(size=["", *map(str, SIZE[1:])]), missing="drop")
    assert sum(map(len, splits.existing().values())) == 99
    assert any("1 of 100 rows have missing values and are left out" in note for note in splits.notes)


def test_columns_that_number_the_rows_are_left_out_and_it_is_said():
    splits = load(made(id=range(ROWS), zip=RNG.integers(0, 3, ROWS)), categorical=["zip"])
    assert [feature.name for feature in splits.table.features] == ["size", "city", "zip"]
    assert splits.table.features[2].categories == ("0", "1", "2")
    assert any("left out, since it numbers the rows: id" in note for note in splits.notes)


def test_groups_are_in_one_split_and_in_one_fold():
    groups = RNG.integers(0, 20, ROWS)
    source = made(who=groups, size=groups)
    held_out = []
    for fold in range(4):
        splits = load(source, groups="who", fold=fold, folds=4)
        found = [set(split.x[:, 0].tolist()) for split in splits.existing().values()]
        assert sum(map(len, found)) == len(set().union(*found))
        held_out.append(found[1])
    assert set().union(*held_out, found[2]) == set(groups.tolist())
    assert sum(map(len, held_out)) == len(set().union(*held_out))


@pytest.mark.parametrize(
    ("cells", "options", "kind", "classes"),
    [
        (["b", "a", "b", "a"], {}, "classes", ("a", "b")),
        (["10", "9", "10", "9"], {}, "classes", ("9", "10")),
        (["1.5", "2", "3", "4"], {}, "values", ()),
        ([*map(str, range(30))], {}, "values", ()),
        (["1", "2", "1", "2"], {"kind": "values"}, "values", ()),
        (["a|b", "b", "", "a"], {}, "labels", ("a", "b")),
        (["a b", "b", "", "c"], {"kind": "labels", "separator": " "}, "labels", ("a", "b", "c")),
    ],
)
def test_the_kind_of_a_target_is_guessed_and_can_be_stated(cells, options, kind, classes):
    targets = target_columns.read(Table("t", {"y": cells}), ["y"], **options)
    assert (targets.kind, targets.classes) == (kind, classes)
    assert len(targets.y) == len(cells)


def test_several_columns_are_labels_or_values():
    source = Table("t", {"red": ["1", "0", "1"], "big": ["0", "0", "1"], "size": ["1", "2", "3.5"]})
    labels = target_columns.read(source, ["red", "big"])
    assert (labels.kind, labels.classes, labels.y.tolist()) == ("labels", ("red", "big"), [[1, 0], [0, 0], [1, 1]])
    values = target_columns.read(source, ["red", "size"])
    assert (values.kind, values.y.tolist()) == ("values", [[1, 1], [0, 2], [1, 3.5]])
    lists = target_columns.read(Table("t", {"y": ["a|b", "", "b"]}), ["y"])
    assert lists.y.tolist() == [[1, 1], [0, 0], [0, 1]]
    with pytest.raises(ValueError, match="label 'size', row 2: '2' must be 0 or 1"):
        target_columns.read(source, ["red", "size"], kind="labels")


def test_classes_are_stratified_and_named():
    color = np.where(np.arange(ROWS) % 4 == 0, "red", "blue")
    splits = load(made(price=color))
    assert splits.classes == ("blue", "red")
    assert splits.test.y.bincount().tolist() == [15, 5]


def test_without_a_target_there_are_no_labels():
    splits = load(target=None)
    assert not splits.labeled
    assert splits.shape == (4,)
    assert splits.unlabeled == "dataset.target names no column"


def test_diabetes_is_the_table_of_scikit_learn():
    from sklearn.datasets import load_diabetes

    splits = diabetes.load()
    x = torch.cat([split.x for split in splits.existing().values()])
    assert np.allclose(np.sort(x, axis=0), np.sort(load_diabetes(scaled=False).data, axis=0), rtol=1e-6)
    assert splits.table.targets == ("progression",)


@pytest.mark.parametrize(
    "damaged",
    [
        {},
        {"features": []},
        {"features": [{"name": 3}]},
        {"features": [{"name": "a", "fill": float("nan")}]},
        {"features": [{"name": "a", "categories": [1]}]},
        {"features": [{"name": "a"}], "mean": [0.0]},
        {"features": [{"name": "a"}], "mean": ["x"], "std": [1.0]},
        {"features": 5},
    ],
)
def test_a_damaged_encoding_is_refused(damaged):
    with pytest.raises(ValueError, match=r"^table: "):
        TableEncoding.from_dict(damaged)


@pytest.mark.parametrize("target", [5, ["a", 5], {"a": 1}])
def test_a_target_that_is_no_name_is_refused(target, tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n1,2\n3,4\n")
    with pytest.raises(ValueError, match=r"^dataset\.target=.* must be the name of a column"):
        table.load(root=str(tmp_path / "t.csv"), target=target)
