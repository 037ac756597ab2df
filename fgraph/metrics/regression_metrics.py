"""Metrics for regression that are not losses, equal to Keras's of the same names."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor

from .. import losses
from ..common.number_checks import whole_number
from ..losses.base import EPSILON, align_target, as_target, weighted
from .base import MeanMetric, Metric


def squared_error(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Return squared errors in the shape of `y_pred`."""
    return (y_pred - as_target(y_true, y_pred)).square()


def cosine_similarity(y_true: Tensor, y_pred: Tensor, axis: int = -1) -> Tensor:
    """Return the cosine between target and prediction (the loss of this name is its negative)."""
    return -losses.cosine_similarity(y_true, y_pred, axis)


def pearson_correlation(y_true: Tensor, y_pred: Tensor, axis: int = -1) -> Tensor:
    """Return Pearson's correlation of target and prediction along an axis."""
    y_true = as_target(y_true, y_pred)
    scores = [
        (x - x.mean(axis, keepdim=True)) / x.std(axis, correction=0, keepdim=True)
        for x in (y_true, y_pred)
    ]
    return (scores[0] * scores[1]).mean(axis)


def concordance_correlation(y_true: Tensor, y_pred: Tensor, axis: int = -1) -> Tensor:
    """Return Lin's concordance correlation of target and prediction along an axis."""
    y_true = as_target(y_true, y_pred)
    means = [x.mean(axis, keepdim=True) for x in (y_true, y_pred)]
    spread = sum(x.var(axis, correction=0, keepdim=True) for x in (y_true, y_pred))
    # as Keras writes it; the second factor sums to 0, so the first one's offset has no effect
    shared = (y_true - means[1]) * (y_pred - means[1])
    return (2 * shared / (spread + (means[0] - means[1]).square() + EPSILON)).mean(axis)


class RootMeanSquaredError(MeanMetric):
    """Root of the mean squared error over all samples (Keras: `RootMeanSquaredError`).

    Args:
        name: key in logs.
        dtype: as in `Metric`.
    """

    per_sample = True

    def __init__(self, name: str | None = "root_mean_squared_error", dtype: Any = None) -> None:
        super().__init__(squared_error, name or "root_mean_squared_error", "min")

    def compute(self, summary: Tensor) -> Tensor:
        """Return the root of the mean."""
        return torch.sqrt(super().compute(summary))


class CosineSimilarity(MeanMetric):
    """Mean cosine similarity (Keras: `CosineSimilarity`).

    Args:
        name: key in logs.
        dtype: as in `Metric`.
        axis: axis of the vectors.
    """

    per_sample = True

    def __init__(
        self, name: str | None = "cosine_similarity", dtype: Any = None, axis: int = -1
    ) -> None:
        super().__init__(cosine_similarity, name, "max", axis=axis)


class PearsonCorrelation(MeanMetric):
    """Mean of Pearson's correlations of the samples (Keras: `PearsonCorrelation`).

    Args:
        name: key in logs.
        dtype: as in `Metric`.
        axis: the axis along which targets and predictions are correlated.
    """

    per_sample = True

    def __init__(
        self, name: str | None = "pearson_correlation", dtype: Any = None, axis: int = -1
    ) -> None:
        super().__init__(pearson_correlation, name, "max", axis=axis)


class ConcordanceCorrelation(MeanMetric):
    """Mean of the samples' concordance correlations (Keras: `ConcordanceCorrelation`).

    Args:
        name: key in logs.
        dtype: as in `Metric`.
        axis: the axis along which targets and predictions are compared.
    """

    per_sample = True

    def __init__(
        self, name: str | None = "concordance_correlation", dtype: Any = None, axis: int = -1
    ) -> None:
        super().__init__(concordance_correlation, name, "max", axis=axis)


class R2Score(Metric):
    """Coefficient of determination (Keras: `R2Score`).

    Args:
        class_aggregation: `"uniform_average"` or `"variance_weighted_average"` over the outputs'
            last axis, or `None` for a value each.
        num_regressors: the number of regressors for the adjusted score; 0 for the plain one.
        name: key in logs.
        dtype: as in `Metric`.

    Raises:
        ValueError: an argument is none of these.
    """

    direction = "max"
    per_sample = True

    def __init__(
        self,
        class_aggregation: str | None = "uniform_average",
        num_regressors: int = 0,
        name: str | None = "r2_score",
        dtype: Any = None,
    ) -> None:
        super().__init__(name)
        if class_aggregation not in (None, "uniform_average", "variance_weighted_average"):
            raise ValueError(
                "class_aggregation of R2Score must be None, 'uniform_average' or "
                f"'variance_weighted_average', got {class_aggregation!r}"
            )
        self.class_aggregation = class_aggregation
        self.num_regressors = whole_number(num_regressors, "num_regressors", least=0)
        self.sums: Tensor | None = None

    def update_state(
        self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None
    ) -> None:
        """Add one batch of targets and predictions of shape `(N, outputs)`."""
        y_true = align_target(y_true, y_pred).double()
        if y_true.ndim != 2 or y_true.shape != y_pred.shape:
            raise ValueError(
                f"metric {self.name!r} takes targets and predictions of shape (N, outputs), got "
                f"{tuple(y_true.shape)} and {tuple(y_pred.shape)}"
            )
        weights = torch.ones_like(y_true)
        if sample_weight is not None:
            weights = weighted(weights, sample_weight)
        error = (y_true - y_pred) ** 2 * weights
        parts = [weights, y_true * weights, y_true**2 * weights, error, torch.ones_like(y_true)]
        sums = torch.stack([part.sum(0) for part in parts])
        self.sums = sums if self.sums is None else self.sums + sums

    def summary(self) -> Tensor:
        """Return sums of weights, targets, their squares, squared errors, and 1 for each value."""
        return torch.zeros(5, 1, dtype=torch.float64) if self.sums is None else self.sums

    def compute(self, summary: Tensor) -> Tensor:
        """Return the score."""
        weight, total, squares, error, counts = summary
        spread = squares - total * (total / weight)
        scores = 1 - error / spread
        scores = torch.where(scores.isinf(), torch.zeros_like(scores), scores)
        if self.class_aggregation == "uniform_average":
            scores = scores.mean()
        elif self.class_aggregation is not None:
            scores = (spread * scores).sum() / spread.sum()
        return self._adjusted(scores, counts.sum()) if self.num_regressors else scores

    def _adjusted(self, scores: Tensor, count: Tensor) -> Tensor:
        if self.num_regressors >= int(count) - 1:
            warnings.warn(
                f"the adjusted R2 score needs more than {self.num_regressors + 1} values, got "
                f"{int(count)}: the plain score is returned",
                stacklevel=3,
            )
            return scores
        return 1 - (1 - scores) * (count - 1) / (count - self.num_regressors - 1)

    def reset_state(self) -> None:
        """Forget all batches."""
        self.sums = None
