"""The commands on a table and on a list of images: train, evaluate, predict, resume, with columns as they come."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from support import write_noise

import zoo
from zoo.data.tables.table_columns import TableEncoding

QUICK = ["accelerator=cpu", "progress=false"]


def write_table(path, rows):
    with Path(path).open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def houses(count, seed=0):
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        area, city = rng.uniform(30, 200), rng.choice(["Bonn", "Ulm"])
        rows.append({"area": round(area, 1), "city": city, "price": round(3000 * area + 100_000 * (city == "Ulm"))})
    return rows


def test_a_regression_on_a_table_predicts_original_values_from_columns_in_any_order(cli, folder):
    write_table("houses.csv", houses(200))
    options = ["model=mlp", "model.net.hidden=[16]", "stage@model.stages.fit=regress", "epochs=20", "lr=0.02"]
    trained = cli(
        "train",
        "dataset=table",
        "dataset.root=houses.csv",
        "dataset.target=price",
        *options,
        *QUICK,
        "hydra.run.dir=run",
    )
    assert trained.status == 0, trained.err
    assert "categories, one feature each: city (2)" in trained.out
    assert "targets are standardized by the mean and std of the training split" in trained.out

    # The checkpoint has the columns; evaluation of the same rows gives the same metrics.
    assert TableEncoding.from_dict(zoo.info("run").table).targets == ("price",)
    evaluated = cli("evaluate", "checkpoint=run", "accelerator=cpu", "output=test.json")
    assert "when saved" in evaluated.out
    saved = json.loads((folder / "run" / "metrics.json").read_text())
    assert json.loads((folder / "test.json").read_text())["test/mse"] == pytest.approx(saved["test/mse"], rel=1e-4)
    assert saved["test/mse"] < 0.05

    # New rows: other order, a column more, a city that training has not seen.
    new = houses(30, seed=1)
    write_table("new.csv", [{"id": k, "city": row["city"], "area": row["area"]} for k, row in enumerate(new)])
    predicted = cli("predict", "checkpoint=run", "input=new.csv", "output=out.csv", "accelerator=cpu")
    assert "columns that the net does not use: id" in predicted.out
    with Path("out.csv").open() as file:
        found = [float(row["price"]) for row in csv.DictReader(file)]
    assert np.corrcoef(found, [row["price"] for row in new])[0, 1] > 0.98
    assert np.mean(found) == pytest.approx(np.mean([row["price"] for row in new]), rel=0.1)

    # Missing columns are named, and nothing is written. Another unit is pointed out.
    write_table("lack.csv", [{"area": 3}])
    refused = cli("predict", "checkpoint=run", "input=lack.csv", "output=no.csv", "accelerator=cpu")
    assert refused.err == "zoo predict: lack.csv: no column city, which the net was trained on\n"
    assert not (folder / "no.csv").exists()
    write_table("gap.csv", [new[0], new[1] | {"area": ""}, new[2] | {"area": ""}])
    refused = cli("predict", "checkpoint=run", "input=gap.csv", "output=no.csv", "accelerator=cpu")
    assert "gap.csv: column 'area' has no value in row 2 and in 1 other row; train with dataset.missing" in refused.err
    write_table("feet.csv", [row | {"area": 100 * row["area"]} for row in new])
    assert (
        "is it in another unit?"
        in cli("predict", "checkpoint=run", "input=feet.csv", "output=x.csv", "accelerator=cpu").out
    )

    # A table of its own is evaluated as a whole, with the stored mean and std.
    write_table("other.csv", new)
    outcome = cli("evaluate", "checkpoint=run", "dataset.root=other.csv", "accelerator=cpu", "output=all.json")
    assert "all of table (other.csv), 30 examples" in outcome.out
    assert json.loads((folder / "all.json").read_text())["all/mse"] < 0.05


def test_a_list_of_images_is_trained_on_evaluated_and_predicted(cli, folder):
    rows = []
    for k in range(40):
        write_noise(folder / "images" / f"{k}.png", k, size=(8, 8))
        rows.append({"file": f"images/{k}.png", "label": "cat" if k % 2 else "dog"})
    write_table("list.csv", rows)
    data = ["dataset=image_list", "dataset.root=list.csv", "dataset.shape=[3,8,8]", "dataset.workers=0"]
    trained = cli(
        "train", *data, "model=logistic", "epochs=1", *QUICK, "hydra.run.dir=run", "dataset.folds=4", "dataset.fold=1"
    )
    assert trained.status == 0, trained.err
    assert "fold 1 of 4" in trained.out
    assert "when saved" in cli("evaluate", "checkpoint=run", "split=validation", "accelerator=cpu").out
    write_table("new.csv", rows[:6])
    predicted = cli("predict", "checkpoint=run", "input=new.csv", "output=out.csv", "accelerator=cpu")
    assert "6 predictions in out.csv" in predicted.out
    with Path("out.csv").open() as file:
        assert [row["label"] for row in csv.DictReader(file)] == [row["label"] for row in rows[:6]]
    assert (
        "all of image_list (new.csv), 6 examples"
        in cli("evaluate", "checkpoint=run", "dataset.root=new.csv", "accelerator=cpu").out
    )
    # An output does not replace the list.
    content = Path("new.csv").read_text()
    words = ["checkpoint=run", "input=new.csv", "output=new.csv", "overwrite=true", "accelerator=cpu"]
    assert "new.csv is part of the input" in cli("predict", *words).err
    assert Path("new.csv").read_text() == content
    # A table without names of images is refused without a key that zoo predict does not have.
    write_table("ids.csv", [{"id": k, "label": "cat"} for k in range(3)])
    refused = cli("predict", "checkpoint=run", "input=ids.csv", "output=no.csv", "accelerator=cpu").err
    assert refused.startswith("zoo predict: ids.csv: no column has names of images, such as photos/1.png")
    assert "dataset." not in refused


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["dataset=digits", "dataset.target=x"], "dataset.target=x: dataset digits has no such key"),
        (["dataset=digits", "dataset.fold=0"], "dataset.fold=0 needs the number of folds, such as dataset.folds=5"),
        (["dataset=table", "dataset.root=none.csv"], "dataset.root=none.csv: no such file"),
    ],
)
def test_a_mistake_is_one_line(cli, folder, options, says):
    refused = cli("train", "model=logistic", *options, *QUICK)
    assert refused.status == 1
    assert says in refused.err
    assert len(refused.err.splitlines()) == 1
    assert not list(folder.iterdir())
