"""Tables, cards, index and checkpoints agree; claims are valid; the checkpoint of the first seed is shipped."""

import hashlib
import json
import re
import shutil

import pytest
import torch
import yaml
from support import ROOT

from zoo import models
from zoo.checkpoints import checkpoint as checkpoints
from zoo.cli import reproduce
from zoo.config import catalogue
from zoo.release import cards, claims, images, index, publish, published, results, tables

PUBLISHED = {"value": 0.95, "net": "a net", "training_data": "some images", "distortions": "none"}
PUBLISHED |= {"source": "a paper, table 1", "status": "read"}
ERROR = {"metric": "test_error_percent", "goal": 0.6, "published": PUBLISHED, "best_known": None}
EARLIER = {"values": [0.7, 0.8], "recipe": "ten epochs", "reason": "the goal was missed"}
PAIRED = {**ERROR, "metric": "test_accuracy_percent", "goal": 86, "gain": 5}
CLAIMED = [name for name, entry in catalogue.index().items() if "claim" in entry]


def test_the_generated_files_are_up_to_date():
    """All of them: RESULTS.md, the results of the README, the cards and the figure."""
    results.main(["--check"])


@pytest.mark.parametrize("name", catalogue.list_checkpoints())
def test_the_index_describes_the_file(name):
    entry = catalogue.index()[name]
    content = (catalogue.CHECKPOINTS / entry["file"]).read_bytes()
    about = checkpoints.info(name)
    assert hashlib.sha256(content).hexdigest() == entry["sha256"]
    assert len(content) == entry["size"]
    assert about.name == entry["model"]
    for metric in entry["metric"].keys() & about.metrics.keys():
        assert entry["metric"][metric] == about.metrics[metric]


@pytest.mark.parametrize("name", CLAIMED)
def test_the_shipped_file_is_that_of_the_first_seed_of_its_recipe(name):
    entry = catalogue.index()[name]
    claim = claims.parse(entry["claim"])
    assert entry["seeds"][0] == min(entry["seeds"])
    assert len(entry["values"]) == len(entry["seeds"]) >= 3
    halved = entry["size"] < 3 * entry["parameters"]  # and evaluated again
    assert claim.value(entry["metric"]) == pytest.approx(entry["values"][0], abs=0.05 if halved else 1e-4)
    recipe = yaml.safe_load((catalogue.CONF / "experiment" / f"{entry['experiment']}.yaml").read_text())
    assert recipe["claim"] == entry["claim"]
    about = checkpoints.info(name)
    assert entry["distortions"] == claims.distortions(about.dataset_config)
    assert about.dataset_config["validation"] == recipe["dataset"]["validation"] == 0  # all training images
    assert ("std" in entry["images"]) != claims.METRICS[claim.metric].is_fraction
    assert f"experiment={entry['experiment']}" in about.command
    assert about.num_params == entry["parameters"]


@pytest.mark.parametrize("name", CLAIMED)
def test_a_card_describes_the_architecture_and_gives_the_call_that_creates_the_net(name):
    entry = catalogue.index()[name]
    card = cards.card(name, entry)
    (description,) = re.findall(r"^\*\*Architecture\.\*\* ([A-Z].{100,}[.:])$", card, re.MULTILINE)
    assert "``" not in description
    (call,) = re.findall(r"^\*\*Net\.\*\* `(.+)`$", card, re.MULTILINE)
    net = eval(call, vars(models))  # as a user would
    net.load_state_dict(checkpoints.load(name).state_dict())


def test_all_files_together_are_small_enough_to_ship():
    sizes = {path.stem: path.stat().st_size for path in catalogue.CHECKPOINTS.glob("*.safetensors")}
    left_out = cards.left_out_of_wheel()
    assert sum(sizes.values()) <= 90e6
    assert sum(size for name, size in sizes.items() if name not in left_out) <= 40e6  # the wheel

    # The page on checkpoints names those that are left out.
    assert left_out <= sizes.keys()
    page = (ROOT / "docs" / "checkpoints.md").read_text()
    (sentence,) = re.findall(r"All are part of the wheel except\s+([^;.]+)", page)
    assert set(re.findall(r"`([^`]+)`", sentence)) == left_out


@pytest.mark.slow  # a log-likelihood takes minutes
@pytest.mark.mnist
@pytest.mark.parametrize("name", CLAIMED)
def test_the_metrics_in_the_index_are_those_of_zoo_evaluate(name, mnist_root, monkeypatch, folder, cli):
    monkeypatch.setenv("ZOO_DATA", mnist_root)
    entry = catalogue.index()[name]
    likelihood = any("log_likelihood" in metric for metric in entry["metric"])
    words = (f"likelihood={likelihood}", *entry["claim"].get("evaluate", ()))
    assert cli("evaluate", f"checkpoint={name}", "output=metrics.json", *words).status == 0
    measured = json.loads((folder / "metrics.json").read_text())
    for metric, value in entry["metric"].items():
        assert measured[metric] == pytest.approx(value, rel=reproduce.TOLERANCE)


@pytest.mark.slow  # reads MNIST and computes the log-likelihood of all test images
@pytest.mark.mnist
@pytest.mark.parametrize("name", CLAIMED)
def test_the_spread_over_the_images_in_the_index_is_that_of_the_checkpoint(name, mnist_root, monkeypatch):
    monkeypatch.setenv("ZOO_DATA", mnist_root)
    entry = catalogue.index()[name]
    assert images.measure(name, entry["claim"]["metric"]) == pytest.approx(entry["images"], rel=1e-3)


# Claims


def row(**changes) -> dict:
    """An entry of the index."""
    entry = {"claim": ERROR, "values": [0.5, 0.6, 0.7], "seeds": [1, 2, 3], "parameters": 61706, "minutes": 2.5}
    entry |= {"hardware": "a machine", "experiment": "good", "distortions": "none", "images": {"count": 10_000}}
    return {**entry, "metric": {"test/accuracy": 0.995}, **changes}


def claim_of(metric: str, **changes) -> claims.Claim:
    return claims.parse({**ERROR, "metric": metric, **changes})


def test_a_claimed_number_is_computed_from_the_metrics():
    assert claim_of("test_error_percent").value({"test/accuracy": 0.9945}) == pytest.approx(0.55)
    assert claim_of("test_accuracy_percent").value({"test/accuracy": 0.9945}) == pytest.approx(99.45)
    bracket = {"test/log_likelihood_ais": -85.0, "test/log_likelihood_reverse_ais": -88.0}
    assert claim_of("test_log_likelihood_nats").value(bracket) == pytest.approx(-86.5)
    with pytest.raises(ValueError, match="needs the metric test/accuracy"):
        claim_of("test_error_percent").value({})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"metric": "speed"}, "claim.metric=speed: choose one of: test_accuracy_percent"),
        ({"metric": "test_error"}, "claim.metric=test_error: did you mean test_error_percent"),
        ({"metric": None}, "claim.metric=None"),
        ({"goal": "0.6"}, "claim.goal='0.6' must be a number"),
        ({"goal": True}, "claim.goal=True must be a number"),
        ({"goal": None}, "claim.goal=None must be a number"),
        ({"gain": "much"}, "claim.gain='much' must be a number"),
        ({"evaluate": "chains=100"}, "claim.evaluate must be a list of strings"),
        ({"deviations": [1]}, "claim.deviations must be a list of strings"),
        ({"reference": 0.95}, "claim.reference: unknown key"),
        ({"gaol": 1}, "claim.gaol: unknown key; did you mean goal"),
        ({"published": 0.95}, "claim.published must be a mapping, got 0.95"),
        ({"published": {}}, "claim.published.value is missing"),
        ({"published": {k: v for k, v in PUBLISHED.items() if k != "source"}}, "claim.published.source is missing"),
        ({"published": {k: v for k, v in PUBLISHED.items() if k != "status"}}, "claim.published.status is missing"),
        ({"published": {**PUBLISHED, "status": "from memory"}}, "status=from memory must be read or secondary"),
        ({"published": {**PUBLISHED, "status": "opened"}}, "status=opened must be read or secondary"),
        ({"published": {**PUBLISHED, "source": " "}}, "claim.published.source must be a string"),
        ({"published": {**PUBLISHED, "value": "none found"}}, "claim.published.value='none found' must be a number"),
        ({"published": {**PUBLISHED, "page": 3}}, "claim.published.page: unknown key"),
        ({"published": {**PUBLISHED, "net": None}}, "claim.published.net must be a string; write 'not stated'"),
        ({"published": {**PUBLISHED, "distortions": " "}}, "claim.published.distortions must be a string"),
        ({"published": {**PUBLISHED, "source": "a paper"}}, "claim.published.source must say where the number is"),
        ({"published": {**PUBLISHED, "differs": 1}}, "claim.published.differs must be a string"),
        ({"best_known": {**PUBLISHED, "value": None}}, "claim.best_known.value=None must be a number"),
        ({"best_known": {"value": 1}}, "claim.best_known.net is missing"),
        ({"reopened": EARLIER}, "claim.reopened must be a list"),
        ({"reopened": [0.7]}, "claim.reopened must be a mapping, got 0.7"),
        ({"reopened": [{**EARLIER, "values": 0.7}]}, "claim.reopened.values must be a list of numbers"),
        ({"reopened": [{**EARLIER, "values": []}]}, "claim.reopened.values must be a list of numbers"),
        ({"reopened": [{**EARLIER, "values": ["0.7"]}]}, "claim.reopened.values='0.7' must be a number"),
        ({"reopened": [{**EARLIER, "reason": ""}]}, "claim.reopened.reason must be a string"),
    ],
)
def test_an_invalid_claim_is_refused_with_its_key(change, message):
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        claims.parse({**ERROR, **change})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["metric", "goal", "published", "best_known"])
def test_a_claim_needs_all_required_keys(key):
    with pytest.raises(ValueError, match=f"claim.{key} is missing"):
        claims.parse({name: value for name, value in ERROR.items() if name != key})
    with pytest.raises(ValueError, match="claim must be a mapping"):
        claims.parse(["metric"])


RECIPES = sorted(path.stem for path in (catalogue.CONF / "experiment").glob("*.yaml"))


@pytest.mark.parametrize("name", RECIPES)
def test_every_claim_in_conf_is_valid(name):
    recipe = yaml.safe_load((catalogue.CONF / "experiment" / f"{name}.yaml").read_text())
    claim = claims.of(recipe)
    if claim is None:
        return
    for number in (claim.published, claim.best_known):
        # Provenance is in `status`, which has a legend, not in the text of the source.
        assert number is None or not re.search(r"opened|quoted|memory|none found|\bgoal\b", number.source)


def test_without_a_published_number_the_table_shows_a_dash():
    entry = row(claim={**ERROR, "published": None}, values=[0.5, 0.6], seeds=[1, 2], parameters=9)
    text = results.table({"new": entry})
    assert "| 9 | test error, % | 0.55 ± 0.07 | 0.38 to 0.79 | 2 | - | - | - / none | - / - | 0.60 | 2.5 |" in text
    assert "- new: `zoo train experiment=new`; ours 0.55 ± 0.07 on a machine, distortions: none\n" in text
    assert text.count("nothing comparable found") == 2
    assert "| test error, % | 0.55 ± 0.07 | 0.38 to 0.79 | - | - | - / none | - / - |" in results.summary(
        {"new": entry}
    )
    for status, meaning in published.STATUSES.items():
        assert f"- *{status}*: {meaning}." in text


def test_a_card_of_a_model_without_deviations_says_none():
    assert cards._deviations([]).endswith("\n\nNone.")
    assert cards._deviations(["a", "b"]).endswith("\n\n- a\n- b")


@pytest.mark.parametrize(
    ("metric", "values", "bound", "good"),
    [
        ("test_error_percent", [0.5, 0.7], 0.6, True),
        ("test_error_percent", [0.5, 0.72], 0.6, False),
        ("test_error_percent", [0.603], 0.6, True),  # printed as 0.60
        ("test_accuracy_percent", [99.0], 98.6, True),
        ("test_accuracy_percent", [98.5], 98.6, False),
    ],
)
def test_the_rounded_mean_reaches_the_goal(metric, values, bound, good):
    assert claim_of(metric).reaches(values, bound) is good


def test_a_row_shows_mean_standard_deviation_and_a_missed_goal():
    text = results.table({"good": row(), "short": row(values=[0.8, 0.9, 1.0])})
    good, short = (line for line in text.splitlines() if line.startswith("| ["))
    assert "| 61,706 | test error, % | 0.60 ± 0.10 | 0.43 to 0.84 | 3 | 0.95 | - | none / none |" in good
    assert good.endswith("| intervals overlap / - | 0.60 | 2.5 |")
    assert "| 0.60: **not reached** |" in short
    conditions = (
        "0.95 (95 %: 0.78 to 1.16), a net; training data: some images; distortions: none. a paper, table 1 (*read*)"
    )
    assert f"  - its paper: {conditions}\n" in text
    assert "0.90 ± 0.10 (goal missed)" in results.summary({"short": row(values=[0.8, 0.9, 1.0])})


def test_the_results_say_which_papers_are_beaten_and_how_surely():
    published = {**ERROR["published"], "value": 0.95, "distortions": "none"}
    unread = {**published, "status": "secondary"}
    entries = {
        "clear": row(claim={**ERROR, "published": published}, values=[0.3, 0.31, 0.32]),
        "close": row(claim={**ERROR, "published": published}, values=[0.9, 0.91, 0.92]),
        "distorted": row(claim={**ERROR, "published": published}, values=[0.3, 0.31, 0.32], distortions="shifts"),
        "marked": row(claim={**ERROR, "published": unread, "reopened": [EARLIER]}, values=[0.9, 0.91, 0.92]),
        "equal": row(claim={**ERROR, "published": published}, values=[0.94, 0.95, 0.96]),
        "alone": row(claim={**ERROR, "published": None}),
    }
    like = "both or neither trained with distortions (which may differ)"
    assert results.beaten(entries) == [
        f"- {like}, with intervals that do not overlap: clear (0.31; its paper 0.95).",
        f"- {like}, with intervals that overlap: close (0.91; its paper 0.95), marked* (0.91; its paper 0.95†).",
        "- under other conditions: distorted (0.31; its paper 0.95).",
    ]
    assert results.beaten({})[0].endswith("overlap: none.")
    lines = "\n".join(results.beaten(entries))
    assert f"\n### Papers whose number our mean beats\n\n{lines}\n" in results.summary(entries)
    assert f"\n## Papers whose number our mean beats\n\n{lines}\n" in results.table(entries)


def test_the_table_of_the_readme_has_columns_of_results():
    assert set(tables.README) <= set(tables.cells("good", row()))


def test_earlier_results_are_shown_in_the_table_the_history_and_the_card():
    entry = row(claim={**ERROR, "reopened": [EARLIER]})
    text = results.table({"again": entry})
    assert "| [again](checkpoints/again.md)* |" in text
    assert "| again | 0.75 ± 0.07 | ten epochs | the goal was missed | 0.60 ± 0.10 |" in text
    assert "## Reopened recipes" not in results.table({"once": row()})
    assert "(checkpoints/again.md)* |" in results.summary({"again": entry})


def test_the_history_of_the_repository_is_told():
    text = (catalogue.CHECKPOINTS.parent / "RESULTS.md").read_text()
    for earlier in ("resnet18-mnist | 0.43 ± 0.03", "rbm-mnist | -89.0 ± 0.4", "label_fractions | 84.72 and 80.47"):
        assert f"| {earlier} |" in text
    assert "evaluated once" not in text


# Publishing


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """A sweep of a recipe with a claim over two seeds, the second one first."""
    from zoo.cli.main import main

    root = tmp_path_factory.mktemp("sweep")
    (root / "conf" / "experiment").mkdir(parents=True)
    claim = {**ERROR, "deviations": ["an epoch in place of ten"]}
    recipe = {"epochs": 1, "progress": False, "claim": claim, "defaults": [{"override /model": "logistic"}]}
    text = "# @package _global_\n" + yaml.safe_dump(recipe)
    (root / "conf" / "experiment" / "mine.yaml").write_text(text)
    words = ["-m", "--config-dir", str(root / "conf"), "experiment=mine", "seed=2,1", "dataset.test=1500"]
    main("train", [*words, f"hydra.sweep.dir={root / 'sweep'}"])
    return root / "sweep"


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """An empty folder of checkpoints."""
    monkeypatch.setattr(catalogue, "CHECKPOINTS", tmp_path / "checkpoints")
    return tmp_path / "checkpoints"


def test_the_minutes_are_those_of_a_run_that_was_not_stopped_for_a_while(sweep, shelf, monkeypatch):
    """The time of a run that was resumed the next day counts the night."""
    times = {"0": 41.2, "1": 900.0}
    monkeypatch.setattr(publish, "_minutes", lambda run: times[run.name])
    assert publish.publish("mine", sweep)["minutes"] == 41.2


def test_the_file_of_the_first_seed_is_published_with_the_values_of_all_seeds(sweep, shelf, cli):
    entry = publish.publish("mine", sweep)
    assert entry["seeds"] == [1, 2]
    errors = [100 - 100 * json.loads((sweep / job / "metrics.json").read_text())["test/accuracy"] for job in "10"]
    assert entry["values"] == pytest.approx(errors, abs=1e-4)
    assert (shelf / "mine.safetensors").read_bytes() == (sweep / "1" / "model.safetensors").read_bytes()
    assert catalogue.index()["mine"] == entry
    results.main([])
    assert (shelf.parent / "RESULTS.md").read_text() == results.table({"mine": entry})
    card = (shelf / "mine.md").read_text()
    for part in (
        "Multinomial logistic regression",
        "a paper, table 1",
        "zoo train experiment=mine seed=1",
        "CC BY 4.0",
    ):
        assert part in card
    assert "- an epoch in place of ten\n" in card
    results.main(["--check"])
    (shelf / "mine.md").write_text("by hand")
    with pytest.raises(SystemExit, match=r"mine\.md"):
        results.main(["--check"])


def reopen(sweep, *earlier):
    """Write earlier results into the recipe of a sweep."""
    path = sweep.parent / "conf" / "experiment" / "mine.yaml"
    recipe = yaml.safe_load(path.read_text())
    recipe["claim"]["reopened"] = list(earlier)
    path.write_text(yaml.safe_dump(recipe))


def test_new_results_are_refused_unless_the_recipe_lists_the_earlier_ones(sweep, shelf, tmp_path, monkeypatch):
    # The recipe is read from its YAML, of which the test changes a copy.
    shutil.copytree(sweep.parent / "conf", tmp_path / "conf")
    (tmp_path / "sweep").symlink_to(sweep)
    sweep = tmp_path / "sweep"
    monkeypatch.setattr(catalogue, "CONF", tmp_path / "conf")
    entry = publish.publish("mine", sweep)
    assert publish.publish("mine", sweep) == entry, "the same results again"

    # The index has other results: those of an earlier recipe.
    before = [entry["values"][0] + 1, entry["values"][1]]
    old = {**entry, "values": before}
    index.write({"mine": old})
    with pytest.raises(ValueError, match=r"published before; add to its recipe: claim\.reopened:") as caught:
        publish.publish("mine", sweep)
    assert str(before) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert catalogue.index() == {"mine": old}, "nothing was replaced"

    # With the earlier results in the recipe, the new ones are published, and the table shows both.
    reopen(sweep, {**EARLIER, "values": before})
    new = publish.publish("mine", sweep)
    assert new["values"] == entry["values"]
    text = results.table({"mine": new})
    assert f"| {claims.of(new).spread(before)} | ten epochs | the goal was missed |" in text

    # What was listed once stays listed.
    reopen(sweep)
    with pytest.raises(ValueError, match=r"claim\.reopened must begin with the earlier results of the index"):
        publish.publish("mine", sweep)


def test_more_seeds_beside_the_same_results_are_no_reopening():
    claim = claims.parse(ERROR)
    index.check_history("mine", claim, [0.5, 0.6, 0.7], [0.5, 0.6])
    for values in ([0.5, 0.61, 0.7], [0.5], [0.6, 0.5]):
        with pytest.raises(ValueError, match="published before"):
            index.check_history("mine", claim, values, [0.5, 0.6])


def test_corrected_claims_are_taken_from_the_recipes(sweep, shelf, tmp_path, monkeypatch):
    publish.publish("mine", sweep)
    results.main([])
    recipe = yaml.safe_load((sweep.parent / "conf" / "experiment" / "mine.yaml").read_text())
    recipe["claim"]["published"]["source"] = "another paper, page 3"
    folder = tmp_path / "conf" / "experiment"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text(yaml.safe_dump(recipe))
    with monkeypatch.context() as patch:
        patch.setattr(catalogue, "CONF", tmp_path / "conf")
        (corrected,) = index.with_current_claims(catalogue.index()).values()
        assert corrected["claim"] == recipe["claim"]
        with pytest.raises(SystemExit, match="not those of the recipes, run python -m"):
            results.main(["--check"])

        # Earlier results cannot be dropped in this way.
        listed = {**corrected, "claim": {**recipe["claim"], "reopened": [EARLIER]}}
        with pytest.raises(ValueError, match="must begin with the earlier results"):
            index.with_current_claims({"mine": listed})


@pytest.mark.slow
def test_a_large_file_is_stored_as_float16_and_evaluated_again(sweep, shelf, monkeypatch):
    monkeypatch.setattr(publish, "LARGE", 0)
    entry = publish.publish("mine", sweep)
    net, about = checkpoints.open_checkpoint("mine")
    original = checkpoints.load(sweep / "1")
    assert entry["size"] < (sweep / "1" / "model.safetensors").stat().st_size
    for name, value in net.state_dict().items():
        assert torch.equal(value, original.state_dict()[name].half().float())
    (measured,) = entry["metric"].items()
    assert about.metrics[measured[0]] == measured[1]
    assert "stored as float16" in cards.card("mine", entry)


def test_a_paired_comparison_becomes_a_section(tmp_path, shelf, monkeypatch):
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    (tmp_path / "conf" / "experiment" / "mine.yaml").write_text(yaml.safe_dump({"claim": PAIRED}))
    monkeypatch.setattr(catalogue, "CONF", tmp_path / "conf")
    sweep = tmp_path / "sweep"
    sweep.mkdir()
    rows = [
        "dataset.labels,metric,epochs=5,epochs=0,difference,from,to,pairs",
        "100,test/accuracy,0.85,0.79,0.06,0.05,0.07,5",
        "100,test/loss,0.5,0.7,-0.2,-0.3,-0.1,5",
    ]
    (sweep / "paired.csv").write_text("\n".join(rows) + "\n")
    publish.main("mine", sweep)
    results.main([])
    text = (tmp_path / "RESULTS.md").read_text()
    assert "## mine" in text
    assert "| labels | `epochs=5` | `epochs=0` | difference (95 %) | pairs |" in text
    assert "| 100 | 85.00 | 79.00 | 6.00 (5.00 to 7.00) | 5 |" in text
    assert text.count("| 100 |") == 1, "the row of the headline metric only"
    assert "test accuracy, %, means over paired seeds." in text
    assert "Published: 0.95, a net; training data: some images; distortions: none. a paper, table 1 (*read*)." in text
    assert (
        "Goals for the first row: accuracy with `epochs=5` >= 86 (**not reached**); difference >= 5 points (reached)."
        in text
    )

    # Other results of the same comparison are refused unless the recipe lists these.
    publish.main("mine", sweep)
    (sweep / "paired.csv").write_text("\n".join([rows[0], rows[1].replace("0.85", "0.87")]) + "\n")
    with pytest.raises(ValueError, match=r"values: \[85\.0, 79\.0\]"):
        publish.main("mine", sweep)
    reopened = {"claim": {**PAIRED, "reopened": [{**EARLIER, "values": [85.0, 79.0]}]}}
    (tmp_path / "conf" / "experiment" / "mine.yaml").write_text(yaml.safe_dump(reopened))
    publish.main("mine", sweep)
    results.main([])
    earlier = "| mine | 85.00 and 79.00 | ten epochs | the goal was missed | 87.00 and 79.00 |"
    assert earlier in (tmp_path / "RESULTS.md").read_text()


def test_runs_of_two_recipes_are_not_published(sweep, shelf, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(sweep, other)
    config = other / "0" / "config.yaml"
    recipe = config.read_text()
    for changed in (recipe.replace("lr: 0.003", "lr: 0.004"), recipe.replace("fit_head: false", "fit_head: true")):
        config.write_text(changed)
        with pytest.raises(ValueError, match=r"model differs between .* and .*: not one recipe"):
            publish.publish("mine", other)
    with pytest.raises(FileNotFoundError, match="no finished runs"):
        publish.publish("mine", tmp_path / "nowhere")
    assert not shelf.exists()


def test_runs_of_an_earlier_version_may_lack_keys_that_are_off(sweep, tmp_path):
    older = tmp_path / "older"
    shutil.copytree(sweep, older)
    config = older / "0" / "config.yaml"
    recipe = config.read_text()
    config.write_text(recipe.replace("      fit_head: false\n", ""))
    assert config.read_text() != recipe
    assert len(publish.finished_runs(older)[0]) == len(publish.finished_runs(sweep)[0]) > 1

    # But not keys that are on.
    config.write_text(recipe.replace("      batch_size: 128\n", ""))
    assert "batch_size: 128" in recipe
    with pytest.raises(ValueError, match="not one recipe"):
        publish.finished_runs(older)


def test_a_run_without_a_claim_is_not_published(trained, shelf, tmp_path):
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "0").symlink_to(trained)
    with pytest.raises(ValueError, match="its recipe has no claim"):
        publish.publish("mine", tmp_path / "sweep")


# Reproducing


@pytest.mark.slow
def test_the_shipped_checkpoint_of_the_embedded_digits_is_reproduced(cli):
    outcome = cli("reproduce", "lenet5-digits")
    assert outcome.status == 0, outcome.err
    assert "reproduced" in outcome.out


def test_a_number_that_differs_is_an_error(cli, monkeypatch):
    entry = {**catalogue.index()["lenet5-digits"], "metric": {"test/accuracy": 0.99}}
    monkeypatch.setattr("zoo.cli.reproduce.index", lambda: {"lenet5-digits": entry})
    monkeypatch.setattr("zoo.cli.reproduce._zoo", lambda command, *words: _write(words, {"test/accuracy": 0.98}))
    outcome = cli("reproduce", "all")
    assert outcome.status == 1
    assert "lenet5-digits test/accuracy: 0.9800, expected 0.9900" in outcome.err


def test_one_that_fails_does_not_hide_the_others(cli, monkeypatch):
    entry = catalogue.index()["lenet5-digits"]
    monkeypatch.setattr("zoo.cli.reproduce.index", lambda: {"broken": entry, "lenet5-digits": entry})

    def run(command, *words):
        if "checkpoint=broken" in words:
            raise ValueError("zoo evaluate: MNIST is not under data")
        _write(words, entry["metric"])

    monkeypatch.setattr("zoo.cli.reproduce._zoo", run)
    outcome = cli("reproduce", "all")
    assert (outcome.status, len(outcome.err.splitlines())) == (1, 1)
    assert "broken: zoo evaluate: MNIST is not under data" in outcome.err
    assert "failed" in outcome.out
    assert "reproduced" in outcome.out


def test_training_all_leaves_out_what_has_no_recipe(cli, monkeypatch):
    entry = {key: value for key, value in catalogue.index()["lenet5-digits"].items() if key != "experiment"}
    entries = {"plain": entry, "recipe": {**entry, "experiment": "own"}}
    monkeypatch.setattr("zoo.cli.reproduce.index", lambda: entries)
    commands = []

    def run(command, *words):
        commands.append(command)
        if command == "evaluate":
            _write(words, entry["metric"])

    monkeypatch.setattr("zoo.cli.reproduce._zoo", run)
    outcome = cli("reproduce", "all", "--train")
    assert (outcome.status, outcome.err) == (0, "")
    assert "skipped: no recipe" in outcome.out
    assert "reproduced" in outcome.out
    assert commands == ["train", "evaluate"]


@pytest.mark.parametrize("words", [[], ["lenet5-digit"], ["a", "b"], ["lenet5-digits", "--train"]])
def test_what_cannot_be_reproduced_is_one_line(cli, words):
    outcome = cli("reproduce", *words)
    assert outcome.status == 1
    assert len(outcome.err.splitlines()) == 1
    assert "lenet5-digits" in outcome.err


def _write(words, metrics):
    from pathlib import Path

    output = next(word.removeprefix("output=") for word in words if word.startswith("output="))
    Path(output).write_text(json.dumps(metrics))
