"""Test accuracy on scikit-learn's digits: logistic regression on the pixels, and on the features of an RBM.

    python benchmarks/sklearn_rbm.py [SPLITS]

For each split, 30 % of the images are the test set. A grid search over the other 70 % chooses the settings of both: the
regularization C of the logistic regression from the same five values, by the same five folds; and for the RBM the
learning rate. The test set is used once, after the choice.
"""

import sys
import tempfile

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold, train_test_split
from sklearn.pipeline import Pipeline

from zoo.sklearn import Encoder

GRID = {"classify__C": [0.01, 0.1, 1, 10, 100]}
RBM_GRID = {"rbm__lr": [0.05, 0.2], **GRID}


def accuracies(seed: int) -> tuple[float, float]:
    """The test accuracy of both pipelines on the split with this seed."""
    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X / 16, y, test_size=0.3, stratify=y, random_state=seed)
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    classify = ("classify", LogisticRegression(max_iter=2000))
    rbm = Encoder("rbm", hidden=200, epochs=30, batch_size=20, accelerator="cpu", random_state=seed)

    # The cache trains each RBM once and not for each C.
    with tempfile.TemporaryDirectory() as cache:
        pixels = GridSearchCV(Pipeline([classify]), GRID, cv=folds)
        features = GridSearchCV(Pipeline([("rbm", rbm), classify], memory=cache), RBM_GRID, cv=folds)
        return tuple(search.fit(X_train, y_train).score(X_test, y_test) for search in (pixels, features))


if __name__ == "__main__":
    splits = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    results = []
    print("split  pixels   RBM")
    for seed in range(1, splits + 1):
        results.append(accuracies(seed))
        print(f"{seed:5}  {results[-1][0]:.2%}  {results[-1][1]:.2%}", flush=True)
    means, stds = np.mean(results, axis=0), np.std(results, axis=0, ddof=1)
    print(f" mean  {means[0]:.2%}  {means[1]:.2%}")
    print(f"  std  {stds[0]:.2%}   {stds[1]:.2%}")
