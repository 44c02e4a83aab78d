"""`zoo.sklearn.Classifier` and `Encoder`, used as scikit-learn's estimators are used."""

import os
import pickle
import random
import re
import tempfile
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from support import slow_but
from torch import nn

import zoo
from zoo.models import DBN, RBM, ConvDBN, ConvRBM
from zoo.sklearn import Classifier, Encoder

X, Y = (array[:120] for array in load_digits(return_X_y=True))
QUICK = {"epochs": 1, "accelerator": "cpu", "random_state": 0}


def small(**keys) -> Classifier:
    return Classifier(**{"hidden": 16, "epochs": 12, "lr": 0.03, "accelerator": "cpu", "random_state": 0, **keys})


def encoder(model="rbm", **keys) -> Encoder:
    return Encoder(model, **{"hidden": 16 if model == "rbm" else [16, 8], **QUICK, **keys})


def make_net(in_shape, num_classes, width=16):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.Tanh(), nn.Linear(width, num_classes))


class Shift(nn.Module):
    """Multiplies by a matrix of float32, whatever the precision of the net."""

    def forward(self, x):
        return x @ torch.eye(10)


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return small().fit(X, Y)


# Training


def test_it_is_zoo_train_to_the_bit(classifier):
    x = torch.from_numpy(((X - X.mean(axis=0)) / np.where(X.std(axis=0) == 0, 1, X.std(axis=0))).astype(np.float32))
    overrides = ["model.net.hidden=[16]", "model.input_scaling=unit", "accelerator=cpu"]
    result = zoo.train("mlp", (x, torch.from_numpy(Y)), epochs=12, lr=0.03, seed=0, overrides=overrides)
    ours, theirs = classifier.net_.state_dict(), result.net.state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    assert classifier.history_ == result.history
    assert np.allclose(classifier.predict_proba(X), result.net(x).softmax(dim=1).detach().numpy(), atol=1e-5)
    assert classifier.score(X, Y) > 0.9


def test_nothing_else_changes(capfd, folder, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(folder))  # other processes use the usual one

    def state():
        return (
            np.random.get_state()[1].tobytes(),
            torch.get_rng_state().numpy().tobytes(),
            random.getstate(),
            list(warnings.filters),
            dict(os.environ),
            list(folder.iterdir()),
        )

    before = state()
    encoder().fit(X).transform(X)
    assert state() == before
    assert capfd.readouterr() == ("", "")


def test_the_seed():
    """A number is the seed; a generator is drawn from; None differs each time."""
    transformed = [encoder(random_state=seed).fit_transform(X) for seed in (None, None)]
    assert not np.allclose(*transformed)
    draws = [encoder(random_state=np.random.RandomState(3))._seed() for _ in range(2)]
    assert draws[0] == draws[1]


def test_validation_and_patience():
    fitted = small(validation_fraction=0.25, patience=1, epochs=30).fit(X, Y)
    accuracies = [row["val/accuracy"] for row in fitted.history_]
    assert len(accuracies) < 30
    assert accuracies[-1] <= max(accuracies[:-1])  # the last epoch brought no better one


# Labels and inputs


@pytest.mark.parametrize("names", slow_but([["no", "yes"], [False, True], [-3, 7]], lambda names: "no" in names))
def test_labels_of_any_type(names):
    labels = np.array(names)[(Y > 4).astype(int)]
    fitted = small().fit(X, labels)
    assert fitted.classes_.tolist() == names
    assert fitted.predict(X).dtype == labels.dtype
    assert fitted.score(X, labels) > 0.9


def test_images_and_rows_are_the_same():
    rows = small(in_shape=(1, 8, 8), epochs=1).fit(X, Y)
    images = small(epochs=1).fit(X.reshape(-1, 8, 8), Y)
    assert images.n_features_in_ == 64
    assert images.in_shape_ == rows.in_shape_ == (1, 8, 8)
    expected = rows.predict_proba(X)
    assert np.array_equal(images.predict_proba(X.reshape(-1, 1, 8, 8)), expected)
    assert np.array_equal(images.predict_proba(torch.tensor(X.reshape(-1, 8, 8))), expected)
    with pytest.raises(ValueError, match="X has images of shape 1x8x4, but Classifier was fitted with inputs of shape"):
        images.predict(X.reshape(-1, 8, 8)[:, :, :4])


def test_names_of_columns():
    table = pd.DataFrame(X, columns=[f"pixel{k}" for k in range(64)])
    fitted = encoder().set_output(transform="pandas").fit(table)
    assert fitted.feature_names_in_.tolist() == list(table.columns)
    assert fitted.transform(table).columns.tolist() == [f"encoder{k}" for k in range(16)]
    with pytest.raises(ValueError, match="feature names should match"):
        fitted.transform(table[table.columns[::-1]])


@pytest.mark.parametrize("model", [make_net, lambda **shapes: nn.Sequential(make_net(**shapes), Shift())])
def test_results_have_the_precision_of_x_and_do_not_depend_on_the_order(model, classifier):
    """Also for a net that computes in float32 only."""
    fitted = clone(classifier).set_params(model=model, hidden=None, epochs=1).fit(X, Y)
    assert fitted.predict_proba(X).dtype == np.float64
    assert fitted.predict_proba(X.astype(np.float32)).dtype == np.float32
    tolerance = 1e-12 if model is make_net else 1e-5
    assert np.allclose(fitted.predict_proba(X[::-1])[::-1], fitted.predict_proba(X), rtol=tolerance, atol=0)


def test_pickle_and_clone(classifier):
    copy = pickle.loads(pickle.dumps(classifier))
    assert np.array_equal(copy.predict_proba(X), classifier.predict_proba(X))
    assert clone(classifier).get_params() == classifier.get_params()
    assert "net_" not in vars(clone(classifier))


# Nets


def test_a_net_of_your_own():
    """A function, its parameters, and a net that is copied."""
    fitted = small(model=make_net, hidden=None, net_params={"width": 8}).fit(X, Y)
    assert fitted.net_[1].out_features == 8
    assert fitted.score(X, Y) > 0.5  # ten classes
    first, again = (fitted._make_net(seed=5, shape=(64,), num_classes=10) for _ in range(2))
    assert torch.equal(first[1].weight, again[1].weight)  # the seed determines the weights

    net = make_net((64,), 10)
    before = net[1].weight.clone()
    assert small(model=net, hidden=None).fit(X, Y).net_ is not net
    assert torch.equal(net[1].weight, before)


def test_the_probabilities_are_those_of_the_loss():
    """The outputs of a net that was trained by squared error are no logits."""
    fitted = small(stage="quadratic", lr=0.1, epochs=1).fit(X, Y)
    scores = fitted.net_(fitted.scaler_.to_net(X).float()).detach().clamp(min=0)
    assert np.allclose(fitted.predict_proba(X), scores / scores.sum(dim=1, keepdim=True), atol=1e-6)


def test_the_features_of_an_rbm():
    """p(h = 1 | v), by hand; and back, E[v | h], on the scale of X."""
    fitted = encoder().fit(X)
    weight, bias = fitted.net_.weight.detach().numpy(), fitted.net_.hidden_bias.detach().numpy()
    high = np.where(X.max(axis=0) == 0, 1, X.max(axis=0))
    features = 1 / (1 + np.exp(-(X / high @ weight.T + bias)))
    assert np.allclose(fitted.transform(X), features, atol=1e-5)
    visible = 1 / (1 + np.exp(-(features @ weight + fitted.net_.visible_bias.detach().numpy())))
    assert np.allclose(fitted.inverse_transform(features), visible * high, atol=1e-3)


@pytest.mark.parametrize("model", slow_but(["dbn", "deep_autoencoder", RBM, DBN], lambda model: model == "dbn"))
def test_stacks_encode_and_reconstruct(model):
    fitted = encoder(model, hidden=16 if model is RBM else [16, 8]).fit(X)
    x = fitted.scaler_.to_net(X).float()
    assert np.allclose(fitted.transform(X), fitted.net_.encode(x).detach(), atol=1e-5)
    reconstructed = fitted.scaler_.from_net(fitted.net_.reconstruct(x).detach())
    assert np.allclose(fitted.inverse_transform(fitted.transform(X)), reconstructed, atol=1e-3)


def test_an_encoder_trains_only_what_needs_no_labels():
    fitted = encoder("dbn").fit(X)
    assert {row.fit.partition(".")[0] for row in fitted.history_} == {"pretrain"}
    assert fitted.net_.num_classes is None


def test_a_net_that_cannot_decode_has_no_inverse():
    class Features(nn.Module):
        in_shape, num_classes = (64,), None

        def encode(self, x):
            return x[:, :3]

    fitted = encoder()
    assert hasattr(fitted, "inverse_transform")
    fitted.net_ = Features()
    assert not hasattr(fitted, "inverse_transform")
    # Nor has a convolutional RBM, whose features are pooled, or a stack of them.
    fitted.net_ = ConvRBM(in_shape=(1, 8, 8), hidden=2, kernel_size=3)
    assert not hasattr(fitted, "inverse_transform")
    fitted.net_ = ConvDBN(in_shape=(1, 8, 8), num_classes=None, hidden=[2], kernel_size=[3])
    assert not hasattr(fitted, "inverse_transform")


# In scikit-learn


def test_a_grid_search_over_a_pipeline():
    pipe = make_pipeline(encoder(), LogisticRegression())
    grid = {"encoder__hidden": [4], "encoder__net_params__init": ["xavier"]}
    search = GridSearchCV(pipe, grid, cv=2).fit(X, Y)
    assert search.best_estimator_[0].transform(X).shape == (120, 4)


def test_arguments_of_the_net_are_parameters_of_their_own():
    estimator = Classifier(net_params={"dropout": 0.1, "noise": 0.2})
    assert estimator.get_params()["net_params__dropout"] == 0.1
    estimator.set_params(net_params__dropout=0.5, hidden=3)
    assert estimator.net_params == {"dropout": 0.5, "noise": 0.2}
    assert clone(estimator).get_params() == estimator.get_params()
    assert Encoder().set_params(net_params__init="xavier").net_params == {"init": "xavier"}


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_jobs_in_parallel_find_the_same(backend):
    import joblib

    def scores(jobs):
        search = GridSearchCV(small(), {"hidden": [8, 16]}, cv=2, n_jobs=jobs)
        return search.fit(X, Y).cv_results_["mean_test_score"].tolist()

    with joblib.parallel_backend(backend):
        assert scores(2) == scores(1)


# Mistakes


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (Classifier("mlpp"), "unknown model 'mlpp'; did you mean mlp?"),
        (Classifier("rbm"), "has no stage that trains a classifier; for features, use Encoder"),
        (Classifier(stage="reconstruct"), "stage='reconstruct' trains no classifier"),
        (Classifier(3), "model=3 must be a name of zoo.list_models(), a net or a function"),
        (Classifier(lambda: 3), "model returned a int, expected a torch.nn.Module"),
        (Classifier(net_params={"droput": 1}), "model mlp has no argument 'droput'; did you mean dropout"),
        (Classifier(epochs="many"), "epochs=many must be an integer"),
        (Classifier(scaling="unit"), "scaling='unit' must be one of: auto, minmax"),
        (Classifier(random_state=-1), "random_state=-1 must be in [0, 4294967295]"),
        (Classifier(in_shape=16), "in_shape=16 must be a list of whole numbers"),
        (Classifier(overrides=["dataset=mnist"]), "dataset=mnist"),
        (Classifier(accelerator="ddp"), "accelerator='ddp' must be one of: auto, cpu, gpu, mps"),
        (Classifier(patience=2), "patience=2 needs validation_fraction > 0"),
        (Classifier(overrides="epochs=1"), "overrides='epochs=1' must be a list"),
        (Classifier(lr=-1.0), "lr=-1.0 must be >= 0"),
        (Classifier(epochs=-1), "epochs=-1 must be >= 0"),
        (Classifier(batch_size=0), "batch_size=0 must be >= 1"),
        (Classifier("lenet5", accelerator="cpu"), "model lenet5: this net takes images"),
        (Encoder("mlp"), "has no stage that trains without labels"),
        (Encoder(stage="classify"), "stage='classify' needs labels"),
        (Encoder(scaling="none", accelerator="cpu"), "must be in [0, 1], got [0, 16]: set scaling='minmax'"),
        (Encoder(DBN(in_shape=(64,), hidden=[4])), "make it with num_classes=None"),
    ],
)
def test_a_mistake_is_one_line(estimator, message):
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        estimator.fit(X, Y)
    assert "\n" not in str(caught.value)
    assert "model.stages" not in str(caught.value)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["a", None], "y has labels of types NoneType and str, expected one"),
        ([1, "a"], "y has labels of types int and str, expected one"),
        ([0, 0], "y has 1 class, 0; Classifier needs at least 2"),
    ],
)
def test_labels_that_cannot_be_classes_are_refused(labels, message):
    y = np.array(labels * (len(X) // 2), dtype=object if None in labels or "a" in labels else None)
    with pytest.raises(ValueError, match=message):
        Classifier().fit(X[: len(y)], y)


def test_features_of_another_width_are_refused():
    fitted = encoder().fit(X)
    with pytest.raises(ValueError, match="X has 3 features, but the net has 16"):
        fitted.inverse_transform(np.zeros((1, 3)))
