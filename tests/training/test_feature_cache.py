"""Features that are computed once are those that every batch would have computed, or there are none."""

from pathlib import Path

import numpy as np
import pytest
import torch
from support import weights_of

from zoo.data import datamodule as module
from zoo.data.preprocess import Preprocess
from zoo.data.splits import Examples, InMemory, Splits
from zoo.models import DBN, StackedAutoencoder
from zoo.training.fit import feature_cache, fit_data
from zoo.training.fit.feature_cache import PickView, cache_features

CPU = torch.device("cpu")
CLASSES = ("a", "b", "c")


def examples(count: int, seed: int) -> InMemory:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(256, (count, 1, 4, 5), dtype=torch.uint8, generator=generator)
    return InMemory(x, torch.arange(count) % 3)


@pytest.fixture
def splits() -> Splits:
    return Splits(examples(23, 0), examples(7, 1), examples(5, 2), (1, 4, 5), CLASSES)


def make(kind: type) -> torch.nn.Module:
    torch.manual_seed(0)
    return kind(in_shape=[1, 4, 5], num_classes=3, hidden=[6, 4, 3], dropout=0.5, input_dropout=0.5)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("kind", [DBN, StackedAutoencoder])
def test_features_are_those_of_the_preprocessed_examples(kind, depth, standardize, training, splits, monkeypatch):
    monkeypatch.setattr(module, "EVALUATION_BATCH", 10)
    net = make(kind).train(training)
    preprocess = Preprocess.from_data(splits.train.x, standardize=standardize)
    features, nothing = cache_features(net, splits, preprocess, depth=depth, device=CPU)
    width = (6, 4, 3)[depth - 1]
    for coded, raw in ((features.train, splits.train), (features.validation, splits.validation)):
        torch.testing.assert_close(coded.x, net.encode(preprocess(raw.x), depth).detach())
        assert (coded.x.shape, coded.x.dtype) == ((len(raw), width), torch.float32)
        assert not coded.x.requires_grad
        assert not coded.x.is_inference(), "autograd could not use it"
        assert torch.equal(coded.y, raw.y)
        assert torch.equal(nothing(coded.x), coded.x), "nothing is left to be done"
    assert (features.shape, features.classes, features.num_targets) == ((width,), CLASSES, 0)
    assert nothing.shape == (width,)
    assert net.training is training


def test_with_mirror_images_the_training_split_has_two_views(splits):
    preprocess = Preprocess.from_data(splits.train.x, standardize=True)
    net = make(DBN).eval()
    features, nothing = cache_features(net, splits, preprocess, depth=2, device=CPU, mirrored=True)
    views = [net.encode(preprocess(x), 2).detach() for x in (splits.train.x, splits.train.x.flip(-1))]  # N x 4 each
    torch.testing.assert_close(features.train.x, torch.cat(views, dim=1))
    torch.testing.assert_close(features.validation.x, net.encode(preprocess(splits.validation.x), 2).detach())

    # Each example gets one of its own two views, with the same probability.
    generator = torch.Generator().manual_seed(0)
    drawn = torch.stack([PickView()(features.train.x, generator) for _ in range(400)])  # 400 x N x 4
    is_first = torch.isclose(drawn, views[0]).all(dim=2)
    assert (is_first | torch.isclose(drawn, views[1]).all(dim=2)).all()
    assert is_first.float().mean(dim=0).sub(0.5).abs().max() < 5 * 0.5 / 400**0.5
    assert torch.equal(nothing(drawn[0]), drawn[0])


def test_a_head_is_trained_on_both_views_that_are_computed_once(cli, folder, monkeypatch):
    calls = []

    def cache(*arguments, **options):
        calls.append(options["mirrored"])
        return cache_features(*arguments, **options)

    monkeypatch.setattr(fit_data, "cache_features", cache)
    half = np.random.default_rng(0).integers(0, 256, (40, 1, 8, 4), dtype=np.uint8)
    symmetric = np.concatenate([half, half[..., ::-1]], axis=-1)  # the same in the mirror
    np.savez("data.npz", x=symmetric, y=np.arange(40) % 3)
    words = ["model=mlp", "model.net.hidden=[6]", "dataset=npz", "dataset.root=data.npz", "dataset.validation=10"]
    words += ["dataset.test=0", "epochs=3", "batch_size=8", "model.stages.fit.task.policy=head", "progress=false"]
    for flip in ("true", "false"):
        outcome = cli("train", *words, f"dataset.augment.flip={flip}", f"hydra.run.dir={flip}")
        assert (outcome.status, outcome.err) == (0, "")
    assert calls == [True, False]
    assert all(torch.equal(value, weights_of(Path("false"))[name]) for name, value in weights_of(Path("true")).items())


def test_without_a_validation_split_only_the_training_split_has_features(splits):
    preprocess = Preprocess((1, 4, 5))
    features, _ = cache_features(
        make(DBN), Splits(splits.train, None, None, (1, 4, 5), CLASSES), preprocess, depth=1, device=CPU
    )
    assert features.validation is None
    assert len(features.train) == 23


def test_real_targets_stay_with_their_features():
    x, y = torch.rand(9, 6), torch.rand(9, 2)
    net = DBN(in_shape=[6], num_classes=2, hidden=[4, 3])
    features, _ = cache_features(
        net, Splits(InMemory(x, y), None, None, (6,), num_targets=2), Preprocess((6,), 1.0), depth=1, device=CPU
    )
    assert torch.equal(features.train.y, y)
    assert (features.num_outputs, features.classes) == (2, ())


def test_features_that_do_not_fit_in_memory_are_not_computed(splits, monkeypatch):
    net, preprocess = make(DBN), Preprocess((1, 4, 5))
    monkeypatch.setattr(feature_cache, "LIMIT", 4 * 6 * (23 + 7))
    assert cache_features(net, splits, preprocess, depth=1, device=CPU) is not None
    monkeypatch.setattr(feature_cache, "LIMIT", 4 * 6 * (23 + 7) - 1)
    assert cache_features(net, splits, preprocess, depth=1, device=CPU) is None
    assert cache_features(net, splits, preprocess, depth=2, device=CPU) is not None, "4 units for 6"


class OnDisk(Examples):
    """Examples that are read when they are asked for; how many at a time is kept."""

    def __init__(self, kept: InMemory):
        self.kept, self.asked = kept, []

    def __len__(self) -> int:
        return len(self.kept)

    def batch(self, indices):
        self.asked.append(len(indices))
        return self.kept.x[indices], self.kept.y[indices]

    def labels(self) -> torch.Tensor:
        return self.kept.y


@pytest.mark.parametrize("part", ["train", "validation"])
def test_examples_that_are_not_in_memory_are_read_in_batches(part, splits, monkeypatch):
    monkeypatch.setattr(module, "EVALUATION_BATCH", 10)
    parts = {"train": splits.train, "validation": splits.validation}
    parts[part] = OnDisk(parts[part])
    net, preprocess = make(DBN), Preprocess((1, 4, 5))
    expected, _ = cache_features(net, splits, preprocess, depth=2, device=CPU)
    data = Splits(parts["train"], parts["validation"], None, (1, 4, 5), CLASSES)
    features, _ = cache_features(net, data, preprocess, depth=2, device=CPU)
    for name in parts:
        assert torch.equal(getattr(features, name).x, getattr(expected, name).x)
        assert torch.equal(getattr(features, name).y, getattr(expected, name).y)
    width_first = [1] if part == "train" else []
    assert parts[part].asked == width_first + {"train": [10, 10, 3], "validation": [7]}[part]


def test_weights_and_random_numbers_stay_as_they_were(splits):
    net = make(DBN)
    before, rng = {name: value.clone() for name, value in net.state_dict().items()}, torch.get_rng_state()
    cache_features(net, splits, Preprocess((1, 4, 5)), depth=2, device=CPU)
    assert torch.equal(torch.get_rng_state(), rng)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in net.parameters())
