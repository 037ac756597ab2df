"""Error metrics on real values, equal to Keras's of the same names."""

from __future__ import annotations

import torch
from torch import Tensor

from .. import losses
from .base import MeanMetric


def squared_error(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Return squared errors in the shape of `y_pred`."""
    return (y_pred - losses.base.as_target(y_true, y_pred)).square()


def cosine_similarity(y_true: Tensor, y_pred: Tensor, axis: int = -1) -> Tensor:
    """Return the cosine between target and prediction (the loss of this name is its negative)."""
    return -losses.cosine_similarity(y_true, y_pred, axis)


class MeanSquaredError(MeanMetric):
    """Mean squared error (Keras: `MeanSquaredError`)."""

    def __init__(self, name: str = "mean_squared_error") -> None:
        super().__init__(losses.mean_squared_error, name, "min")


class MeanAbsoluteError(MeanMetric):
    """Mean absolute error (Keras: `MeanAbsoluteError`)."""

    def __init__(self, name: str = "mean_absolute_error") -> None:
        super().__init__(losses.mean_absolute_error, name, "min")


class RootMeanSquaredError(MeanMetric):
    """Root of the mean squared error over all samples (Keras: `RootMeanSquaredError`)."""

    def __init__(self, name: str = "root_mean_squared_error") -> None:
        super().__init__(squared_error, name, "min")

    def compute(self, summary: Tensor) -> Tensor:
        """Return the root of the mean."""
        return torch.sqrt(super().compute(summary))


class CosineSimilarity(MeanMetric):
    """Mean cosine similarity (Keras: `CosineSimilarity`).

    Args:
        name: key in logs.
        axis: axis of the vectors.
    """

    def __init__(self, name: str = "cosine_similarity", axis: int = -1) -> None:
        super().__init__(cosine_similarity, name, "max", axis=axis)
