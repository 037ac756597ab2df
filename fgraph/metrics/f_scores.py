"""Weighted harmonic means of precision and recall, equal to Keras's metrics."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..common.number_checks import real_number
from ..losses.base import EPSILON, align_target, weighted
from .base import Metric
from .confusion import safe_divide


class FBetaScore(Metric):
    """Weighted harmonic mean of precision and recall for each class (Keras: `FBetaScore`).

    Args:
        average: none for a value a class, `"macro"`, `"micro"` or `"weighted"`.
        beta: how many times recall counts as much as precision.
        threshold: predictions above it are positive; None takes the highest class of each row.
        name: key in logs.
        dtype: as in `Metric`.

    Raises:
        ValueError: an argument is none of these.
    """

    direction = "max"
    per_sample = True

    def __init__(
        self,
        average: str | None = None,
        beta: float = 1.0,
        threshold: float | None = None,
        name: str | None = "fbeta_score",
        dtype: Any = None,
    ) -> None:
        super().__init__(name)
        kind = type(self).__name__
        if average not in (None, "macro", "micro", "weighted"):
            raise ValueError(
                f"average of {kind} must be None, 'macro', 'micro' or 'weighted', got {average!r}"
            )
        self.average = average
        self.beta = real_number(beta, f"beta of {kind}", "(0, inf)")
        if threshold is not None:
            threshold = real_number(threshold, f"threshold of {kind}", "(0, 1]")
        self.threshold = threshold
        self.counts: Tensor | None = None

    def update_state(
        self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None
    ) -> None:
        """Add one batch of targets `(N, classes)` or labels `(N,)`; see `Metric.update_state`."""
        y_true = align_target(y_true, y_pred)
        classes = y_pred.shape[-1]
        if y_true.shape != y_pred.shape:
            labels = y_true.squeeze(-1) if y_true.ndim == y_pred.ndim else y_true
            y_true = torch.nn.functional.one_hot(labels.long(), classes)
        if self.threshold is None:  # rows of zeros choose no class
            chosen = (y_pred >= y_pred.amax(-1, keepdim=True)) & (y_pred.abs() > 1e-9)
        else:
            chosen = y_pred > self.threshold
        chosen, truth = chosen.double(), y_true.double()
        weights = torch.ones_like(chosen)
        if sample_weight is not None:
            weights = weighted(weights, sample_weight)
        pairs = torch.stack([truth * chosen, chosen, truth]) * weights
        counts = pairs.reshape(3, -1, classes).sum(1)
        self.counts = counts if self.counts is None else self.counts + counts

    def summary(self) -> Tensor:
        """Return hits, predicted and true positives for each class, of shape `(3, classes)`."""
        return torch.zeros(3, 1, dtype=torch.float64) if self.counts is None else self.counts

    def compute(self, summary: Tensor) -> Tensor:
        """Return the score, a scalar or with `average=None` of shape `(classes,)`."""
        if self.average == "micro":
            summary = summary.sum(-1)
        hits, chosen, truth = summary
        precision, recall = hits / (chosen + EPSILON), hits / (truth + EPSILON)
        square = self.beta**2
        scores: Tensor = (1 + square) * precision * recall / (square * precision + recall + EPSILON)
        if self.average == "macro":
            return scores.mean()
        if self.average == "weighted":
            return (scores * safe_divide(truth, truth.sum().expand_as(truth))).sum()
        return scores

    def reset_state(self) -> None:
        """Forget all batches."""
        self.counts = None


class F1Score(FBetaScore):
    """Harmonic mean of precision and recall for each class (Keras: `F1Score`).

    Args:
        average: none for a value a class, `"macro"`, `"micro"` or `"weighted"`.
        threshold: predictions above it are positive; None takes the highest class of each row.
        name: key in logs.
        dtype: as in `Metric`.
    """

    per_sample = True

    def __init__(
        self,
        average: str | None = None,
        threshold: float | None = None,
        name: str | None = "f1_score",
        dtype: Any = None,
    ) -> None:
        super().__init__(average, 1.0, threshold, name)
