"""From the X of scikit-learn to the inputs of a net, and back: shapes and scaling.

Shapes: N examples, F features. An image of shape C x H x W is a row of F = C·H·W features.
"""

from collections.abc import Sequence
from math import prod
from numbers import Integral
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from torch import Tensor

from zoo.protocols import shape_text

SCALINGS = ("auto", "minmax", "standard", "none")


def flattened(X: Any) -> tuple[Any, tuple[int, ...]]:
    """Images as rows: an array or tensor N x C x H x W, or N x H x W of gray images, becomes N x F.

    Returns:
        The rows and the shape of one image. Anything else is returned as it is, with an empty shape.
    """
    if isinstance(X, Tensor):
        X = X.detach().cpu().numpy()
    if not isinstance(X, np.ndarray) or X.ndim not in (3, 4):
        return X, ()
    shape = X.shape[1:] if X.ndim == 4 else (1, *X.shape[1:])
    return X.reshape(len(X), prod(shape)), tuple(map(int, shape))


def input_shape(in_shape: Sequence[int] | None, images: tuple[int, ...], features: int) -> tuple[int, ...]:
    """The shape of one input of the net.

    Args:
        in_shape: the parameter of the estimator; None: images as they are, rows as (F,).
        images: the shape of one image; empty if X has rows.
        features: F.

    Raises:
        ValueError: ``in_shape`` does not fit X, or the images seem to have their channels last.
    """
    if in_shape is None:
        # Images with the channels last, as in Pillow, OpenCV and Keras, would be accepted, with each row of pixels as a
        # channel.
        if len(images) == 3 and images[2] in (1, 3, 4) and min(images[:2]) > 4:
            raise ValueError(
                f"X has images of {images[0]} channels and {images[1]}x{images[2]} pixels; if the channels are last, "
                f"pass X.transpose(0, 3, 1, 2), otherwise in_shape={list(images)}"
            )
        return images or (features,)
    if not isinstance(in_shape, Sequence) or not all(isinstance(size, Integral) for size in in_shape):
        raise ValueError(f"in_shape={in_shape!r} must be a list of whole numbers, such as (1, 28, 28)")
    shape = tuple(map(int, in_shape))
    if images and images != shape:
        raise ValueError(f"in_shape={list(shape)}, but X has images of shape {shape_text(images)}")
    if prod(shape) != features:
        raise ValueError(f"in_shape={list(shape)} has {prod(shape)} values, but X has {features} features")
    return shape


class Scaler:
    """Scales rows of features to the inputs of a net. Tables are scaled per feature, images per channel.

    The statistics are those of the training data.

    Args:
        kind: "minmax" (from 0 to 1; later values outside the range of the training data are clipped), "standard" (mean
            0 and standard deviation 1) or "none".
        shape: shape of one input.
    """

    def __init__(self, kind: str, shape: tuple[int, ...]):
        self.kind = kind
        self.shape = shape
        # A column for each channel of an image, or for each feature of a row.
        self.columns = shape[0]
        makers = {"minmax": MinMaxScaler(clip=True), "standard": StandardScaler(), "none": None}
        self.scaler = makers[kind]

    def fit(self, rows: npt.NDArray[Any]) -> "Scaler":
        """Compute the statistics of training data, N x F."""
        if self.scaler is not None:
            self.scaler.fit(self._as_columns(rows))
        return self

    def to_net(self, rows: npt.NDArray[Any]) -> Tensor:
        """N x F -> N x shape, in the precision of ``rows``."""
        columns = self._as_columns(rows)
        if self.scaler is not None:
            columns = self.scaler.transform(columns)
        scaled = self._as_rows(columns).copy()  # X may be read-only
        return torch.from_numpy(scaled).reshape(len(rows), *self.shape)

    def from_net(self, x: Tensor) -> npt.NDArray[Any]:
        """The inverse of `to_net`: N x shape, or N x F -> N x F."""
        columns = self._as_columns(x.flatten(1).numpy())
        return self._as_rows(columns if self.scaler is None else self.scaler.inverse_transform(columns))

    def _as_columns(self, rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """N x F -> N·H·W x C for images; rows stay as they are."""
        return np.moveaxis(rows.reshape(len(rows), self.columns, -1), 1, 2).reshape(-1, self.columns)

    def _as_rows(self, columns: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The inverse of `_as_columns`."""
        pixels = prod(self.shape[1:])
        return np.moveaxis(columns.reshape(-1, pixels, self.columns), 2, 1).reshape(-1, self.columns * pixels)
