"""Metrics of decisions at thresholds: precision, recall, area under a curve, F-score."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..losses.base import align_target, weighted
from .base import Metric

_EPSILON = 1e-7


def _safe_divide(a: Tensor, b: Tensor) -> Tensor:
    return torch.where(b == 0, torch.zeros_like(a), a / torch.where(b == 0, 1, b))


class ThresholdMetric(Metric):
    """A metric of the counts of true and false positives at a set of thresholds.

    One histogram holds them all: how many positives and negatives have a prediction above just
    so many thresholds. A batch costs the same for one threshold and for two hundred.

    Args:
        thresholds: increasing thresholds; a prediction is positive above them.
        name: key in logs.
    """

    direction = "max"

    def __init__(self, thresholds: Sequence[float], name: str) -> None:
        super().__init__(name)
        self.thresholds = [float(t) for t in thresholds]
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
        y_pred = y_pred.float()
        weights = torch.ones_like(y_pred)
        if sample_weight is not None:
            weights = weighted(weights, sample_weight)
        if self._edges is None or self._edges.device != y_pred.device:
            self._edges = torch.tensor(self.thresholds, device=y_pred.device)
        above = torch.searchsorted(self._edges, y_pred.contiguous())
        width = len(self.thresholds) + 1
        cells = (above + width * (y_true != 0)).reshape(-1)
        if self.histogram is None:
            self.histogram = torch.zeros(2 * width, dtype=torch.float64, device=y_pred.device)
        # index_add_ and not bincount, which reads the largest index back from the device
        self.histogram.index_add_(0, cells, weights.reshape(-1).double())

    def summary(self) -> Tensor:
        """Return the histogram, of shape `(2, thresholds + 1)`: negatives, then positives."""
        if self.histogram is None:
            return torch.zeros(2, len(self.thresholds) + 1, dtype=torch.float64)
        return self.histogram.view(2, -1)

    def reset_state(self) -> None:
        """Forget all batches."""
        self.histogram = None

    @staticmethod
    def _positives(summary: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return (true positives, false positives) at each threshold, and both classes' totals."""
        above = summary.flip(-1).cumsum(-1).flip(-1)
        return above[1, 1:], above[0, 1:], above[1, 0], above[0, 0]


class _Decision(ThresholdMetric):
    """Precision and recall: thresholds given by the user, one class or the top k only."""

    def __init__(
        self,
        thresholds: float | Sequence[float] | None,
        top_k: int | None,
        class_id: int | None,
        name: str,
    ) -> None:
        if thresholds is None:
            thresholds = 0.5 if top_k is None else -1e30
        listed = [thresholds] if isinstance(thresholds, int | float) else list(thresholds)
        super().__init__(sorted(listed), name)
        self.top_k = top_k
        self.class_id = class_id

    def update_state(
        self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None
    ) -> None:
        """Add one batch; see `Metric.update_state`."""
        y_true = align_target(y_true, y_pred)
        if self.top_k is not None:
            best = y_pred.topk(self.top_k, -1).indices
            kept = torch.zeros_like(y_pred, dtype=torch.bool).scatter_(-1, best, True)
            y_pred = torch.where(kept, y_pred, torch.full_like(y_pred, -2e30))
        if self.class_id is not None:
            y_true, y_pred = y_true[..., self.class_id], y_pred[..., self.class_id]
        super().update_state(y_true, y_pred, sample_weight)

    def _one(self, value: Tensor) -> Tensor:
        return value[0] if len(self.thresholds) == 1 else value


class Precision(_Decision):
    """Share of predicted positives that are positive (Keras: `Precision`).

    Args:
        thresholds: one or several thresholds; 0.5 where None.
        top_k: count only the `k` highest predictions of each row.
        class_id: look at this class only.
        name: key in logs.
    """

    def __init__(
        self,
        thresholds: float | Sequence[float] | None = None,
        top_k: int | None = None,
        class_id: int | None = None,
        name: str = "precision",
    ) -> None:
        super().__init__(thresholds, top_k, class_id, name)

    def compute(self, summary: Tensor) -> Tensor:
        """Return true positives over predicted positives, and 0 where there are none."""
        hits, false, _, _ = self._positives(summary)
        return self._one(_safe_divide(hits, hits + false))


class Recall(_Decision):
    """Share of positives that are predicted positive (Keras: `Recall`).

    Args:
        thresholds: one or several thresholds; 0.5 where None.
        top_k: count only the `k` highest predictions of each row.
        class_id: look at this class only.
        name: key in logs.
    """

    def __init__(
        self,
        thresholds: float | Sequence[float] | None = None,
        top_k: int | None = None,
        class_id: int | None = None,
        name: str = "recall",
    ) -> None:
        super().__init__(thresholds, top_k, class_id, name)

    def compute(self, summary: Tensor) -> Tensor:
        """Return true positives over positives, and 0 where there are none."""
        hits, _, positives, _ = self._positives(summary)
        return self._one(_safe_divide(hits, positives.expand_as(hits)))


class AUC(ThresholdMetric):
    """Area under the ROC or precision-recall curve at 200 thresholds (Keras: `AUC`).

    Args:
        num_thresholds: number of points on the curve.
        curve: `"ROC"` or `"PR"`.
        name: key in logs.
        from_logits: whether predictions are logits, to which a sigmoid is applied.
    """

    def __init__(
        self,
        num_thresholds: int = 200,
        curve: str = "ROC",
        name: str = "auc",
        from_logits: bool = False,
    ) -> None:
        if num_thresholds < 2:
            raise ValueError(f"num_thresholds of AUC must be at least 2, got {num_thresholds}")
        if curve not in ("ROC", "PR"):
            raise ValueError(f"curve of AUC must be 'ROC' or 'PR', got {curve!r}")
        inner = [i / (num_thresholds - 1) for i in range(1, num_thresholds - 1)]
        super().__init__([-_EPSILON, *inner, 1 + _EPSILON], name)
        self.curve = curve
        self.from_logits = from_logits

    def update_state(
        self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None
    ) -> None:
        """Add one batch; see `Metric.update_state`."""
        if self.from_logits:
            y_pred = y_pred.sigmoid()
        super().update_state(y_true, y_pred, sample_weight)

    def compute(self, summary: Tensor) -> Tensor:
        """Return the area, by trapezoids (ROC) or by Davis and Goadrich's interpolation (PR)."""
        hits, false, positives, negatives = self._positives(summary)
        if self.curve == "PR":
            return self._precision_recall_area(hits, false, positives)
        recall = _safe_divide(hits, positives.expand_as(hits))
        fallout = _safe_divide(false, negatives.expand_as(false))
        return ((fallout[:-1] - fallout[1:]) * (recall[:-1] + recall[1:]) / 2).sum()

    @staticmethod
    def _precision_recall_area(hits: Tensor, false: Tensor, positives: Tensor) -> Tensor:
        change = hits[:-1] - hits[1:]
        taken = hits + false
        slope = _safe_divide(change, (taken[:-1] - taken[1:]).clamp_min(0))
        intercept = hits[1:] - slope * taken[1:]
        both = (taken[:-1] > 0) & (taken[1:] > 0)
        ratio = torch.where(
            both, _safe_divide(taken[:-1], taken[1:].clamp_min(0)), torch.ones_like(slope)
        )
        area = slope * (change + intercept * ratio.log())
        return _safe_divide(area, positives.expand_as(area)).sum()


class F1Score(Metric):
    """Harmonic mean of precision and recall for each class (Keras: `F1Score`).

    Args:
        average: none for a value a class, `"macro"`, `"micro"` or `"weighted"`.
        threshold: predictions above it are positive; None takes the highest class of each row.
        name: key in logs.
    """

    direction = "max"

    def __init__(
        self, average: str | None = None, threshold: float | None = None, name: str = "f1_score"
    ) -> None:
        super().__init__(name)
        if average not in (None, "macro", "micro", "weighted"):
            raise ValueError(
                f"average of F1Score must be None, 'macro', 'micro' or 'weighted', got {average!r}"
            )
        self.average = average
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
        if self.threshold is None:
            chosen = torch.zeros_like(y_pred).scatter_(-1, y_pred.argmax(-1, keepdim=True), 1.0)
        else:
            chosen = (y_pred > self.threshold).to(y_pred.dtype)
        truth = y_true.to(y_pred.dtype)
        weights = torch.ones_like(chosen)
        if sample_weight is not None:
            weights = weighted(weights, sample_weight)
        pairs = torch.stack([truth * chosen, chosen, truth]) * weights
        counts = pairs.reshape(3, -1, classes).sum(1, dtype=torch.float64)
        self.counts = counts if self.counts is None else self.counts + counts

    def summary(self) -> Tensor:
        """Return hits, predicted and true positives for each class, of shape `(3, classes)`."""
        return torch.zeros(3, 1, dtype=torch.float64) if self.counts is None else self.counts

    def compute(self, summary: Tensor) -> Tensor:
        """Return the score, a scalar or with `average=None` of shape `(classes,)`."""
        if self.average == "micro":
            summary = summary.sum(-1)
        hits, chosen, truth = summary
        scores = _safe_divide(2 * hits, chosen + truth)
        if self.average == "macro":
            return scores.mean()
        if self.average == "weighted":
            return (scores * _safe_divide(truth, truth.sum().expand_as(truth))).sum()
        return scores

    def reset_state(self) -> None:
        """Forget all batches."""
        self.counts = None
