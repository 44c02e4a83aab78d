"""`Encoder`: an RBM, a deep belief network or an autoencoder as a transformer of scikit-learn."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy.typing as npt
import torch
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_array, check_is_fitted
from torch import Tensor, nn

from zoo.models import ConvRBM
from zoo.protocols import Decoding, Net, RBMLayer, StackOfRBMs, layers_of
from zoo.sklearn.estimator import DTYPES, Model, NetEstimator
from zoo.sklearn.stages import Stages


def _can_decode(encoder: "Encoder") -> bool:
    """Whether `inverse_transform` exists: not known before `fit`."""
    if "net_" not in vars(encoder):
        return True
    net = encoder.net_
    rbms = [net.rbm(k) for k in range(len(layers_of(net)))] if isinstance(net, StackOfRBMs) else [net]
    # The pooled features of a convolutional RBM do not determine its hidden units.
    has_flat_units = all(isinstance(rbm, RBMLayer) and not isinstance(rbm, ConvRBM) for rbm in rbms)
    return isinstance(net, Decoding) or has_flat_units


class Encoder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, NetEstimator):
    """Features of a net that is trained without labels: an RBM, a deep belief network or an autoencoder.

    X is N x F, a table or flattened images (with ``in_shape``); or images, N x C x H x W or N x H x W. It is scaled as
    ``scaling`` says, with statistics of the training data. By default, each feature of a table or each channel of
    images is scaled to [0, 1], which the Bernoulli units of these models need; later values outside the range of the
    training data are clipped.

    Of a model that has several stages, only those that need no labels are trained: of dbn and sae, the pre-training.

    Args:
        model: rbm, dbn, sae, deep_autoencoder or any other name of `zoo.list_models` with a stage that needs no labels;
            or a function or class that returns a net with a method ``encode``, which gets ``in_shape`` if it takes it;
            or such a net, of which each `fit` trains a copy.
        hidden: number of hidden units (a list with one number for each layer of a stack); None: that of the model.
        net_params: further arguments of the net, such as ``{"visible_units": "gaussian"}``, which goes with
            ``scaling="standard"``.
        in_shape: shape of one input, such as (1, 28, 28) for rows of 784 pixels; None: as X has it.
        scaling: "minmax", "standard" (mean 0, standard deviation 1), "none" (the net must accept X as it is), or
            "auto": as the model expects it; "minmax" for nets that are not named.
        stage: a file of ``conf/stage``, or several, trained in this order; None: the model's own stages, or for other
            nets contrastive_divergence (RBMs and stacks of them) or reconstruct.
        epochs, batch_size, lr: of every stage; None: as the stage says.
        overrides: any other keys of ``zoo train``, such as ``["model.stages.fit.task.k=5"]``.
        accelerator: "auto" (a GPU if there is one), "cpu", "gpu" or "mps".
        random_state: seed of the random choices of training, as in ``zoo train``. None: another one each time, drawn
            from NumPy's global generator, as in scikit-learn.

    Attributes:
        net_: the trained net, on the CPU, in evaluation mode.
        history_: one row of metrics for each epoch, as `zoo.train` returns it.
        in_shape_: shape of one input of the net.
        scaler_: the scaling.
        n_features_in_, feature_names_in_: as in scikit-learn.
    """

    def __init__(
        self,
        model: Model = "rbm",
        *,
        hidden: int | Sequence[int] | None = None,
        net_params: Mapping[str, Any] | None = None,
        in_shape: Sequence[int] | None = None,
        scaling: str = "auto",
        stage: str | Sequence[str] | None = None,
        epochs: int | None = None,
        batch_size: int | None = None,
        lr: float | None = None,
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
        self.overrides = overrides
        self.accelerator = accelerator
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> "Encoder":
        """Train a new net; y is ignored.

        Raises:
            ValueError: an X or a parameter that is not allowed, or that the model does not support.
        """
        rows, shape = self._training_rows(X)
        chosen = self._chosen()
        if self._name() is None and not chosen:
            net = self._make_net(0, shape, 0)
            # An autoencoder also has an RBM.
            has_rbm = isinstance(net, RBMLayer | StackOfRBMs) and not isinstance(net, Decoding)
            chosen = ("contrastive_divergence" if has_rbm else "reconstruct",)
            if isinstance(net, Net) and net.num_classes:
                raise ValueError(
                    f"model: the net has outputs for {net.num_classes} classes, but an Encoder trains without y; make "
                    "it with num_classes=None"
                )

        # Leave out the stages that need labels.
        plan = self._stages(chosen)
        if chosen and len(plan.unlabeled) < len(plan.targets):
            raise ValueError(f"stage={self.stage!r} needs labels; an Encoder trains without y")
        if not plan.unlabeled:
            raise ValueError(
                f"model={self.model!r} has no stage that trains without labels; choose rbm, dbn, sae or "
                "deep_autoencoder, or use Classifier"
            )
        left_out = [name for name in plan.targets if name not in plan.unlabeled]
        self._train(rows, None, shape, plan=plan, chosen=chosen, more=[f"~model.stages.{name}" for name in left_out])
        self._n_features_out = self._encoded(self.scaler_.to_net(rows[:1])).shape[1]
        return self

    def transform(self, X: Any) -> npt.NDArray[Any]:
        """The features of each row, N x H: the output of the net's top layer, for RBMs the means of hidden units."""
        return self._encoded(self._inputs(X)).numpy()

    @available_if(_can_decode)
    def inverse_transform(self, X: Any) -> npt.NDArray[Any]:
        """Features -> inputs on the scale of the training data: N x H -> N x F. Images are rows of C·H·W pixels."""
        check_is_fitted(self)
        features = check_array(X, dtype=DTYPES)
        if features.shape[1] != self._n_features_out:
            raise ValueError(f"X has {features.shape[1]} features, but the net has {self._n_features_out}")
        return self.scaler_.from_net(self._computed(_decoded, torch.from_numpy(features.copy())))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def _encoded(self, x: Tensor) -> Tensor:
        """N x in_shape -> N x H."""
        return self._computed(lambda net, batch: net.encode(batch).flatten(1), x)

    def _expected_scaling(self, plan: Stages) -> str:
        # Nets that have no config have Bernoulli units or a sigmoid output in most cases.
        return "minmax" if self._name() is None else super()._expected_scaling(plan)


def _decoded(net: nn.Module, h: Tensor) -> Tensor:
    """N x H -> N x V: from the top layer down to the input, by mean activations."""
    if isinstance(net, Decoding):
        return net.decode(h)
    if isinstance(net, RBMLayer):
        return net.visible_mean(h)
    assert isinstance(net, StackOfRBMs)
    for k in reversed(range(len(layers_of(net)))):
        h = net.rbm(k).visible_mean(h)
    return h
