"""`fgraph.utils`: small helpers under the names that Keras gives them."""

from __future__ import annotations

from typing import Any

import numpy as np

from .viewing.plot import plot_model as plot_model


def to_categorical(x: Any, num_classes: int | None = None) -> np.ndarray[Any, np.dtype[Any]]:
    """Turn class numbers into one-hot rows, as `keras.utils.to_categorical`.

    Args:
        x: whole numbers from 0, of any shape; a last dimension of size 1 is dropped.
        num_classes: the number of classes; the largest number plus one by default.

    Returns:
        A float32 array of shape `(*x.shape, num_classes)`.

    Raises:
        ValueError: a number is negative, or not below `num_classes`.

    Example:
        >>> to_categorical([0, 2])
        array([[1., 0., 0.],
               [0., 0., 1.]], dtype=float32)
    """
    labels = np.asarray(x, dtype="int64")
    if labels.ndim > 1 and labels.shape[-1] == 1:
        labels = labels[..., 0]
    classes = num_classes if num_classes is not None else int(labels.max(initial=-1)) + 1
    if labels.size and not (0 <= labels.min() and labels.max() < classes):
        raise ValueError(
            f"to_categorical: labels run from {labels.min()} to {labels.max()}, but with "
            f"num_classes={classes} they must lie between 0 and {classes - 1}"
        )
    rows = np.zeros((labels.size, classes), dtype="float32")
    rows[np.arange(labels.size), labels.reshape(-1)] = 1.0
    return rows.reshape(*labels.shape, classes)
