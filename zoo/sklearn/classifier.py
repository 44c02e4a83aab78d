"""`Classifier`: a net of the zoo, or of the user, as a classifier of scikit-learn."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets

from zoo.losses import probabilities
from zoo.sklearn.estimator import Model, NetEstimator


class Classifier(ClassifierMixin, NetEstimator):
    """A net as a classifier: multilayer perceptron, LeNet, DBN, ResNet or a net of your own.

    X is N x F, a table or flattened images (with ``in_shape``); or images, N x C x H x W or N x H x W. It is scaled as
    ``scaling`` says, with statistics of the training data. y has N labels of any type, such as strings.

    Args:
        model: a name of `zoo.list_models`; or a function or class that returns a `torch.nn.Module`, N x in_shape to N x
            K logits, which gets ``in_shape`` and ``num_classes`` if it takes them; or such a net, of which each `fit`
            trains a copy.
        hidden: number of units of the hidden layers, for models that have this argument; None: that of the model.
        net_params: further arguments of the net, such as ``{"dropout": 0.2}``.
        in_shape: shape of one input, such as (1, 28, 28) for rows of 784 pixels; None: as X has it.
        scaling: "minmax" (each feature, or each channel of images, from 0 to 1), "standard" (mean 0, standard deviation
            1), "none", or "auto": as the model expects it; "minmax" for nets that are not named.
        stage: a file of ``conf/stage``, or several, trained in this order; None: the model's own stages, or "classify".
        epochs, batch_size, lr: of every stage; None: as the stage says.
        validation_fraction: fraction of the training data that is held out, stratified by class. The metrics on it are
            in ``history_``.
        patience: number of epochs without a better validation accuracy after which training stops; the weights of the
            best epoch are kept, in every stage that needs labels (``dbn_generative`` has none). It needs
            ``validation_fraction``. None: train all epochs.
        overrides: any other keys of ``zoo train``, such as ``["model.stages.fit.optimizer.weight_decay=0.1"]``.
        accelerator: "auto" (a GPU if there is one), "cpu", "gpu" or "mps".
        random_state: seed of the random choices of training, as in ``zoo train``. None: another one each time, drawn
            from NumPy's global generator, as in scikit-learn.

    Attributes:
        classes_: the K labels, sorted.
        net_: the trained net, on the CPU, in evaluation mode.
        history_: one row of metrics for each epoch, as `zoo.train` returns it.
        in_shape_: shape of one input of the net.
        scaler_: the scaling.
        n_features_in_, feature_names_in_: as in scikit-learn.
    """

    classes_: npt.NDArray[Any]

    def __init__(
        self,
        model: Model = "mlp",
        *,
        hidden: int | Sequence[int] | None = None,
        net_params: Mapping[str, Any] | None = None,
        in_shape: Sequence[int] | None = None,
        scaling: str = "auto",
        stage: str | Sequence[str] | None = None,
        epochs: int | None = None,
        batch_size: int | None = None,
        lr: float | None = None,
        validation_fraction: float = 0.0,
        patience: int | None = None,
        overrides: Sequence[str] = (),
        accelerator: str = "auto",
        random_state: Any = None,
    ):
        self.model = model
        self.hidden = hidden
        self.net_params = net_params
        self.in_shape = in_shape
        self.scaling = scaling
        self.stage = stage
        self.epochs = epochs
        self.batch_size = batch_size
        self.lr = lr
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.overrides = overrides
        self.accelerator = accelerator
        self.random_state = random_state

    def fit(self, X: Any, y: Any) -> "Classifier":
        """Train a new net.

        Raises:
            ValueError: X, y or a parameter that is not allowed, or that the model does not support.
        """
        (rows, labels), shape = self._training_rows(X, y)
        kinds = sorted({type(label).__name__ for label in labels}) if labels.dtype == object else []
        if len(kinds) > 1:
            types = " and ".join(kinds)
            raise ValueError(f"y has labels of types {types}, expected one; convert them, and remove missing labels")
        check_classification_targets(labels)
        classes, numbers = np.unique(labels, return_inverse=True)
        if len(classes) < 2:
            raise ValueError(f"y has 1 class, {classes.tolist()[0]!r}; Classifier needs at least 2")

        # A stage without targets, or with values as targets, would train the net, but its outputs would not be classes.
        chosen = self._chosen()
        if self._name() is None and not chosen:
            chosen = ("classify",)
        plan = self._stages(chosen)
        if "classes" not in plan.targets.values() and not plan.label_units:
            if chosen:
                raise ValueError(f"stage={self.stage!r} trains no classifier")
            raise ValueError(f"model={self.model!r} has no stage that trains a classifier; for features, use Encoder")
        if self.patience is not None and not self.validation_fraction:
            raise ValueError(f"patience={self.patience} needs validation_fraction > 0")
        labeled = [name for name, targets in plan.targets.items() if targets == "classes"]
        more = [f"model.stages.{name}.patience={self.patience}" for name in labeled if self.patience is not None]

        self._train(
            rows,
            numbers,
            shape,
            plan=plan,
            chosen=chosen,
            more=more,
            num_classes=len(classes),
            validation=self.validation_fraction,
        )
        self._loss = plan.loss
        self.classes_ = classes
        return self

    def predict_proba(self, X: Any) -> npt.NDArray[Any]:
        """The probabilities of the classes, N x K, in the order of ``classes_``."""
        x = self._inputs(X)
        outputs = self._computed(lambda net, batch: probabilities(net(batch), self._loss), x)
        return outputs.numpy()

    def predict(self, X: Any) -> npt.NDArray[Any]:
        """The most probable label of each row, N."""
        numbers = self.predict_proba(X).argmax(axis=1)
        predicted: npt.NDArray[Any] = self.classes_[numbers]
        return predicted
