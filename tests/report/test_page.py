"""The page of a report: small, self-contained, and safe for any names."""

import torch
from report.pages import Page, assert_self_contained
from torch import nn

from zoo.data.preprocess import Preprocess
from zoo.data.splits import InMemory
from zoo.report import gallery, page
from zoo.report.content import Prediction, Report
from zoo.training.class_statistics import per_class

HOSTILE = ("<script>alert(1)</script>", 'a" onload="alert(1)', "\x1b[31mred\x00", "\udcff.png", "</style><b>", "_x$y$")


def report_of(classes, **others) -> Report:
    confusion = [[3 if i == j else (i + j) % 2 for j in range(len(classes))] for i in range(len(classes))]
    found = {"statistics": per_class(confusion, classes), "classes": classes, "confusion": confusion}
    return Report("net", "some images", "test", {"test/accuracy": 0.75}, **{**found, **others})


def test_names_cannot_add_elements_or_control_a_terminal():
    wrong = [Prediction(name, HOSTILE[0], name, 0.5, "data:image/png;base64,AA==") for name in HOSTILE]
    html = page.html(
        report_of(
            HOSTILE,
            wrong=wrong,
            commands={HOSTILE[0]: HOSTILE[1]},
            config="\n".join(HOSTILE),
            facts={"hardware": HOSTILE[4]},
            notes=HOSTILE,
        )
    )
    html.encode("utf-8")
    found = Page(html)
    assert_self_contained(found)
    assert found.text.count("<script>alert(1)</script>") >= 5
    assert r"\x1b[31mred\x00" in found.text
    assert not {"\x1b", "\x00"} & set(html)


def test_of_many_classes_the_worst_are_shown():
    classes = [f"class {k}" for k in range(300)]
    found = Page(page.html(report_of(classes)))
    assert len(found.tables["classes-table"]) == 1 + page.MAX_CLASSES
    assert found.tables["confusion"][0] == ["true class", "predicted class", "examples"]
    assert found.tables["confusion"][1] == ["class 0", "class 1", 1.0]
    assert "The 200 of 300 classes" in found.text


def test_a_page_of_noise_in_color_is_smaller_than_5_mb_and_shows_the_right_images():
    """Noise compresses worst. Every image has a map, since the net has a convolution."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(256, (50, 3, 224, 224), generator=generator, dtype=torch.uint8)
    y = torch.arange(50) % 2
    net = nn.Sequential(nn.Conv2d(3, 2, 8, 8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    p = torch.linspace(0.5, 0.99, 50)
    predictions = torch.stack([p, torch.ones(50), y.float()], dim=1)
    shown = gallery.show(
        predictions, InMemory(x, y), net=net, preprocess=Preprocess((3, 224, 224)), classes=["cat", "dog"]
    )
    # The most confident mistakes first, and the least confident of the others.
    assert [prediction.name for prediction in shown.wrong] == [f"example {k}" for k in range(48, 0, -2)]
    assert [prediction.name for prediction in shown.uncertain] == [f"example {k}" for k in range(1, 25, 2)]
    assert {(prediction.predicted, prediction.true) for prediction in shown.wrong} == {("dog", "cat")}
    assert shown.explained
    html = page.html(report_of(["cat", "dog"], **shown._asdict(), config="x" * 10**6))
    assert len(html.encode()) < 5e6
    assert html.count("data:image/jpeg") == 36


def test_predictions_of_several_processes_are_put_in_order():
    y = torch.zeros(5, dtype=torch.int64)
    rows = torch.stack([torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5]), torch.ones(5), torch.zeros(5)], dim=1)
    by_rank = rows[[0, 2, 4, 1, 3]]  # the first of two processes has examples 0, 2 and 4
    data = InMemory(torch.zeros(5, 4), y)
    shown = gallery.show(
        by_rank, data, net=nn.Linear(4, 2), preprocess=Preprocess((4,), 1.0), classes="ab", processes=2
    )
    assert [(prediction.name, prediction.p) for prediction in shown.wrong] == [
        (f"example {k}", round(0.1 + 0.1 * k, 6)) for k in (4, 3, 2, 1, 0)
    ]
    assert not shown.explained
