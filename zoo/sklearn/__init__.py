"""Estimators for scikit-learn: nets of the zoo, or of the user, in a `Pipeline` and a `GridSearchCV`.

`Classifier` trains a net with labels; `Encoder` trains an RBM, a deep belief network or an autoencoder without labels
and is a transformer. Both train by `zoo.train`.
"""

from zoo.sklearn.classifier import Classifier
from zoo.sklearn.encoder import Encoder

__all__ = ["Classifier", "Encoder"]
