"""The lines before training: the data, their scaling and what is trained."""

from dataclasses import replace

import pytest
import torch
from support import image_folder_at, write_noise

from zoo.config.compose import compose
from zoo.data.splits import InMemory
from zoo.training import checks, summary


def lines_of(*words, change=None):
    plan = checks.plan(compose("train", [*words, "accelerator=cpu"]))
    if change is not None:
        plan = replace(plan, splits=change(plan.splits))
    found = summary.lines(plan)
    assert all(len(line) <= 80 for line in found)
    assert 6 <= len(found) <= 15
    return " ".join(" ".join(found).split())


def test_a_classifier_on_images_in_memory():
    text = lines_of("model=lenet5", "dataset=digits", "epochs=2", "dataset.augment.shift=1")
    assert "train 1,293 examples" in text
    assert "validation 144 examples" in text
    assert "classes 10, with 125 (class 8) to 131 (class 6) training examples each" in text
    assert "values bytes, 0 to 255, divided by 255, then standardized with mean 0.159 and std 0.298" in text
    assert "images 1x28x28 (channels x height x width); augmentation: shift 1" in text
    assert "stage fit Classification, 2 epochs of 11 steps, batch size 128, " in text
    assert "trains all parameters" in text


def test_an_image_folder_says_where_its_splits_come_from(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    image_folder_at(tmp_path / "photos", split="Train", classes=("cat", "dog", "emu"))
    image_folder_at(tmp_path / "photos", split="Val", count=2)
    for i in range(3, 10):
        (tmp_path / "photos" / "Train" / "emu" / f"{i}.png").unlink()
    words = ["dataset=image_folder", "dataset.root=photos", "dataset.shape=[3,32,32]", "dataset.test=3", "weights=null"]
    gradual = [
        "augment@dataset.augment=photos",
        "stage@model.stages.fit=gradual",
        "model.stages.fit.task.unfreeze_at=[2,3,4]",
    ]
    text = lines_of("experiment=finetune", *gradual, *words, "epochs=3")
    assert "train 20 examples: the rest of photos/Train" in text
    assert "validation 4 examples: photos/Val" in text
    assert "test 3 examples: 3 images of photos/Train, by a hash of each path" in text
    assert "test none: the data have a validation split and no test split; dataset.test=0.2 would" in lines_of(
        "model=logistic", *words[:2], "epochs=1"
    )
    assert "classes 3, with training examples: cat 9, dog 9, emu 2; unbalanced, 4.5 to 1" in text
    assert "values bytes of image files, 0 to 255, divided by 255" in text
    assert "images 3x32x32 (channels x height x width, from dataset.shape; dataset.size= sets another)" in text
    assert "dataset.size= sets another); all files 24x20, stretched to 32x32" in text
    write_noise(tmp_path / "photos" / "Val" / "cat" / "0.png", seed=1, size=(12, 30))
    assert "from dataset.size); files 24 to 30 high and 12 to 20 wide, stretched to 24x16" in lines_of(
        "model=logistic", *words[:2], "dataset.size=[24,16]", "epochs=1"
    )
    # A shape on the command line replaces the size of an experiment.
    assert "images 3x224x224 (channels x height x width, from dataset.size)" in lines_of(
        "experiment=linear_probe", *words[:2], "weights=null", "epochs=1"
    )
    assert "model resnet18: 11,178,051 parameters; random weights" in text
    assert "stretched to 32x32; augmentation: flip on, crop 0.35, randaugment 2, mixup 0.2" in text
    assert "frozen at first: layer4; frozen in all epochs: layer3, layer2, layer1, stem" in text
    assert "before that, the head is fitted to the features of the training examples; trains" in text
    assert "trains 8,395,267 of 11,178,051 parameters" in text


def test_layers_are_counted_and_labels_that_are_kept():
    text = lines_of("model=dbn", "dataset=digits", "dataset.labeled_examples=50")
    assert "for each of 3 layers" in text
    assert "50 examples keep their labels" in text
    text = lines_of("model=torchvision", "stage@model.stages.fit=linear_probe", "dataset=digits")
    assert "frozen in all epochs: " in text


def test_other_targets_and_no_labels():
    text = lines_of("model=mlp", "stage@model.stages.fit=regress", "dataset=line", "model.net.hidden=[4]")
    assert "classes none: 1 real target value for each example" in text
    assert "real numbers, -1 to 1" in text
    unlabeled = lines_of("model=rbm", "dataset=digits", change=lambda splits: replace(splits, classes=()))
    assert "classes none: the data have no labels" in unlabeled


@pytest.mark.parametrize("count", [3, 40])
def test_class_names_are_printed_short_and_harmless(count):
    names = ("\x1b[2J\n", "n" * 300, *map(str, range(2, count)))
    train = InMemory(torch.zeros(count - 1, 1, 28, 28), torch.arange(count - 1))
    text = lines_of(
        "model=rbm",
        "dataset=digits",
        change=lambda splits: replace(splits, train=train, classes=names, validation=None),
    )
    assert "validation none" in text
    assert "\x1b" not in text
    assert "1 without any" in text
    if count == 3:
        assert "\\x1b[2J\\n 1, " + "n" * 23 + "… 1, 2 0" in text
