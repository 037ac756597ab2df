"""Metrics of decisions at thresholds: counts, precision, recall."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..losses.base import align_target, weighted, widened
from .base import Metric


def safe_divide(a: Tensor, b: Tensor) -> Tensor:
    """Return `a / b`, and 0 where `b` is 0."""
    return torch.where(b == 0, torch.zeros_like(a), a / torch.where(b == 0, 1, b))


class ThresholdMetric(Metric):
    """A metric of the counts of true and false positives at a set of thresholds.

    The state is one histogram: the number of positives and negatives by how many thresholds their
    prediction exceeds. So a batch costs the same for one threshold and for two hundred.

    Args:
        thresholds: increasing thresholds; a prediction is positive above them.
        name: key in logs.
        class_id: look at this class only, of the last axis.
    """

    direction = "max"

    def __init__(
        self, thresholds: Sequence[float], name: str | None, class_id: int | None = None
    ) -> None:
        super().__init__(name)
        self.thresholds = [float(t) for t in thresholds]
        self.class_id = class_id
        self.by_label = False
        self.histogram: Tensor | None = None
        self._edges: Tensor | None = None

    def update_state(
        self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None
    ) -> None:
        """Add one batch to the histogram; see `Metric.update_state`."""
        y_true = align_target(y_true, y_pred)
        if y_true.shape != y_pred.shape:
            raise ValueError(
                f"metric {self.name!r} takes targets in the shape of the predictions, got "
                f"{tuple(y_true.shape)} and {tuple(y_pred.shape)}"
            )
        weights = torch.ones_like(y_pred, dtype=torch.float64)
        if sample_weight is not None:
            weights = weighted(weights, sample_weight)
        if self.class_id is not None:
            y_true, y_pred, weights = (x[..., self.class_id] for x in (y_true, y_pred, weights))
        y_pred = y_pred.float()
        if self._edges is None or self._edges.device != y_pred.device:
            self._edges = torch.tensor(self.thresholds, device=y_pred.device)
        above = torch.searchsorted(self._edges, y_pred.contiguous())
        width = len(self.thresholds) + 1
        labels = y_pred.shape[-1] if self.by_label else 1
        cells = (above + width * (y_true != 0)) * labels
        if labels > 1:
            cells = cells + torch.arange(labels, device=y_pred.device)
        if self.histogram is None:
            empty = torch.zeros(2, width, *([labels] if self.by_label else []))
            self.histogram = empty.to(y_pred.device, torch.float64)
        # index_add_ and not bincount, which reads the largest index back from the device
        self.histogram.view(-1).index_add_(0, cells.reshape(-1), weights.reshape(-1))

    def summary(self) -> Tensor:
        """Return the histogram, of shape `(2, thresholds + 1)`: negatives, then positives.

        It has an axis of labels after these where each label has its own.
        """
        if self.histogram is None:
            return torch.zeros(2, len(self.thresholds) + 1, dtype=torch.float64)
        return self.histogram

    def reset_state(self) -> None:
        """Forget all batches."""
        self.histogram = None

    @staticmethod
    def _positives(summary: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return (true positives, false positives) at each threshold, and both classes' totals."""
        above = summary.flip(1).cumsum(1).flip(1)
        return above[1, 1:], above[0, 1:], above[1, 0], above[0, 0]


class _Decision(ThresholdMetric):
    """Thresholds given by the user, one class or the top k only."""

    def __init__(
        self,
        thresholds: float | Sequence[float] | None,
        top_k: int | None,
        class_id: int | None,
        name: str | None,
    ) -> None:
        if thresholds is None:
            thresholds = 0.5 if top_k is None else -1e30
        listed = [thresholds] if isinstance(thresholds, int | float) else list(thresholds)
        if top_k is None and not all(0 <= t <= 1 for t in listed):
            raise ValueError(
                f"thresholds of {type(self).__name__} must be from 0 to 1, got {thresholds!r}"
            )
        super().__init__(sorted(listed), name, class_id)
        self.top_k = top_k
        self._order = [sorted(listed).index(t) for t in listed]

    def update_state(
        self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None
    ) -> None:
        """Add one batch; see `Metric.update_state`."""
        if self.top_k is not None:
            y_pred = widened(y_pred)
            best = y_pred.topk(self.top_k, -1).indices
            kept = torch.zeros_like(y_pred, dtype=torch.bool).scatter_(-1, best, True)
            y_pred = torch.where(kept, y_pred, torch.full_like(y_pred, -2e30))
        super().update_state(y_true, y_pred, sample_weight)

    def _one(self, value: Tensor) -> Tensor:
        """Return the values in the order of the given thresholds; a scalar for one."""
        return value[self._order[0]] if len(self._order) == 1 else value[self._order]


class Precision(_Decision):
    """Fraction of predicted positives that are positive (Keras: `Precision`).

    Args:
        thresholds: one or several thresholds; 0.5 where None.
        top_k: count only the `k` highest predictions of each row.
        class_id: look at this class only.
        name: key in logs.
        dtype: as in `Metric`.
    """

    per_sample = True

    def __init__(
        self,
        thresholds: float | Sequence[float] | None = None,
        top_k: int | None = None,
        class_id: int | None = None,
        name: str | None = "precision",
        dtype: Any = None,
    ) -> None:
        super().__init__(thresholds, top_k, class_id, name)

    def compute(self, summary: Tensor) -> Tensor:
        """Return true positives over predicted positives, and 0 where there are none."""
        hits, false, _, _ = self._positives(summary)
        return self._one(safe_divide(hits, hits + false))


class Recall(_Decision):
    """Fraction of positives that are predicted positive (Keras: `Recall`).

    Args:
        thresholds: one or several thresholds; 0.5 where None.
        top_k: count only the `k` highest predictions of each row.
        class_id: look at this class only.
        name: key in logs.
        dtype: as in `Metric`.
    """

    per_sample = True

    def __init__(
        self,
        thresholds: float | Sequence[float] | None = None,
        top_k: int | None = None,
        class_id: int | None = None,
        name: str | None = "recall",
        dtype: Any = None,
    ) -> None:
        super().__init__(thresholds, top_k, class_id, name)

    def compute(self, summary: Tensor) -> Tensor:
        """Return true positives over positives, and 0 where there are none."""
        hits, _, positives, _ = self._positives(summary)
        return self._one(safe_divide(hits, positives.expand_as(hits)))


class _Count(_Decision):
    """The base of the four counts."""

    def __init__(
        self,
        thresholds: float | Sequence[float] | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(thresholds, None, None, name)


class TruePositives(_Count):
    """Weight of the positives that are predicted positive (Keras: `TruePositives`).

    Args:
        thresholds: one or several thresholds; 0.5 where None.
        name: key in logs.
        dtype: as in `Metric`.
    """

    per_sample = True

    def compute(self, summary: Tensor) -> Tensor:
        """Return the true positives at each threshold."""
        return self._one(self._positives(summary)[0])


class FalsePositives(_Count):
    """Weight of the negatives that are predicted positive (Keras: `FalsePositives`).

    Args:
        thresholds: one or several thresholds; 0.5 where None.
        name: key in logs.
        dtype: as in `Metric`.
    """

    direction = "min"
    per_sample = True

    def compute(self, summary: Tensor) -> Tensor:
        """Return the false positives at each threshold."""
        return self._one(self._positives(summary)[1])


class TrueNegatives(_Count):
    """Weight of the negatives that are predicted negative (Keras: `TrueNegatives`).

    Args:
        thresholds: one or several thresholds; 0.5 where None.
        name: key in logs.
        dtype: as in `Metric`.
    """

    per_sample = True

    def compute(self, summary: Tensor) -> Tensor:
        """Return the true negatives at each threshold."""
        _, false, _, negatives = self._positives(summary)
        return self._one(negatives - false)


class FalseNegatives(_Count):
    """Weight of the positives that are predicted negative (Keras: `FalseNegatives`).

    Args:
        thresholds: one or several thresholds; 0.5 where None.
        name: key in logs.
        dtype: as in `Metric`.
    """

    direction = "min"
    per_sample = True

    def compute(self, summary: Tensor) -> Tensor:
        """Return the false negatives at each threshold."""
        hits, _, positives, _ = self._positives(summary)
        return self._one(positives - hits)
