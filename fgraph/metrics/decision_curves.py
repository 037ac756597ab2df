"""Areas under ROC and precision-recall curves, and points on them, as in Keras."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..common.number_checks import real_number, whole_number
from ..losses.base import EPSILON
from .confusion import ThresholdMetric, safe_divide

_MOST_THRESHOLDS = 100_000  # each is a number in memory as soon as the metric is made


def _inner(num_thresholds: int) -> list[float]:
    """Return evenly spaced thresholds between 0 and 1."""
    return [i / (num_thresholds - 1) for i in range(1, num_thresholds - 1)]


class AUC(ThresholdMetric):
    """Area under a curve of decisions at many thresholds (Keras: `AUC`).

    Args:
        num_thresholds: number of points on the curve, at most 100,000.
        curve: `"ROC"`, `"PR"` (precision and recall) or `"PRGAIN"`.
        summation_method: `"interpolation"`, or `"minoring"` or `"majoring"` for the smaller or
            larger height of each interval.
        name: key in logs.
        dtype: as in `Metric`.
        thresholds: thresholds between 0 and 1 in place of evenly spaced ones.
        multi_label: whether to take the mean of each label's area, of outputs `(N, labels)`.
        num_labels: the number of labels; with `multi_label` only.
        label_weights: the weight of each label.
        from_logits: whether predictions are logits, to which a sigmoid is applied.

    Raises:
        ValueError: an argument is none of these.
    """

    per_sample = True

    def __init__(
        self,
        num_thresholds: int = 200,
        curve: str = "ROC",
        summation_method: str = "interpolation",
        name: str | None = "auc",
        dtype: Any = None,
        thresholds: Sequence[float] | None = None,
        multi_label: bool = False,
        num_labels: int | None = None,
        label_weights: Sequence[float] | None = None,
        from_logits: bool = False,
    ) -> None:
        inner = _inner(whole_number(num_thresholds, "num_thresholds of AUC", 2, _MOST_THRESHOLDS))
        if thresholds is not None:
            inner = sorted(real_number(t, "each threshold of AUC", "[0, 1]") for t in thresholds)
        super().__init__([-EPSILON, *inner, 1 + EPSILON], name)
        self.curve = str(curve).upper()
        if self.curve not in ("ROC", "PR", "PRGAIN"):
            raise ValueError(f"curve of AUC must be 'ROC', 'PR' or 'PRGAIN', got {curve!r}")
        self.summation_method = str(summation_method).lower()
        if self.summation_method not in ("interpolation", "minoring", "majoring"):
            raise ValueError(
                "summation_method of AUC must be 'interpolation', 'minoring' or 'majoring', got "
                f"{summation_method!r}"
            )
        if num_labels is not None and not multi_label:
            raise ValueError("num_labels of AUC needs multi_label=True")
        self.by_label = multi_label
        self.num_labels = num_labels
        self.label_weights = None if label_weights is None else [float(w) for w in label_weights]
        self.from_logits = from_logits

    def update_state(
        self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None
    ) -> None:
        """Add one batch; see `Metric.update_state`."""
        if self.by_label and (y_pred.ndim != 2 or self.num_labels not in (None, y_pred.shape[1])):
            raise ValueError(
                f"metric {self.name!r} with multi_label=True takes predictions of shape (N, "
                f"{self.num_labels or 'labels'}), got {tuple(y_pred.shape)}"
            )
        if self.from_logits:
            y_pred = y_pred.sigmoid()
        if self.label_weights is not None and not self.by_label:
            weights = torch.tensor(self.label_weights, device=y_pred.device).expand_as(y_pred)
            while sample_weight is not None and sample_weight.ndim < y_pred.ndim:
                sample_weight = sample_weight.unsqueeze(-1)
            sample_weight = weights if sample_weight is None else weights * sample_weight
        super().update_state(y_true, y_pred, sample_weight)

    def compute(self, summary: Tensor) -> Tensor:
        """Return the area, or the mean of the labels' areas."""
        areas = self._areas(*self._positives(summary)).sum(0)
        if not self.by_label:
            return areas
        if self.label_weights is None:
            return areas.mean()
        weights = areas.new_tensor(self.label_weights)
        return safe_divide((areas * weights).sum(), weights.sum())

    def _areas(self, hits: Tensor, false: Tensor, positives: Tensor, negatives: Tensor) -> Tensor:
        """Return the area of each interval between thresholds."""
        if self.curve == "PR" and self.summation_method == "interpolation":
            return self._precision_recall_areas(hits, false, positives)
        x = safe_divide(hits, positives.expand_as(hits))
        if self.curve == "ROC":
            x, y = safe_divide(false, negatives.expand_as(false)), x
        elif self.curve == "PR":
            y = safe_divide(hits, hits + false)
        else:  # Flach and Kull, "Precision-Recall-Gain Curves", 2015
            scale = safe_divide(positives.expand_as(hits), negatives.expand_as(hits))
            x = (1 - scale * safe_divide(positives - hits, hits)).clamp_min(0)
            x = torch.where(hits == 0, 0.0, x)
            y = torch.where(hits == 0, 1.0, 1 - scale * safe_divide(false, hits))
        low, high = torch.minimum(y[:-1], y[1:]), torch.maximum(y[:-1], y[1:])
        heights = {"minoring": low, "majoring": high, "interpolation": (low + high) / 2}
        return (x[:-1] - x[1:]) * heights[self.summation_method]

    @staticmethod
    def _precision_recall_areas(hits: Tensor, false: Tensor, positives: Tensor) -> Tensor:
        """Interpolate as Davis and Goadrich, 2006, do."""
        change = hits[:-1] - hits[1:]
        taken = hits + false
        slope = safe_divide(change, (taken[:-1] - taken[1:]).clamp_min(0))
        intercept = hits[1:] - slope * taken[1:]
        both = (taken[:-1] > 0) & (taken[1:] > 0)
        ratio = torch.where(
            both, safe_divide(taken[:-1], taken[1:].clamp_min(0)), torch.ones_like(slope)
        )
        area = slope * (change + intercept * ratio.log())
        return safe_divide(area, positives.expand_as(area))


class _BestAt(ThresholdMetric):
    """The largest value of one rate over the thresholds at which another rate is large enough."""

    def __init__(
        self, value: Any, what: str, num_thresholds: int, class_id: int | None, name: str | None
    ) -> None:
        what_count = f"num_thresholds of {type(self).__name__}"
        count = whole_number(num_thresholds, what_count, most=_MOST_THRESHOLDS)
        # Keras's first threshold is 0, but takes predictions of 0 in as well
        super().__init__([0.5] if count == 1 else [-EPSILON, *_inner(count), 1.0], name, class_id)
        self.least = real_number(value, f"{what} of {type(self).__name__}", "[0, 1]")

    @staticmethod
    def _rates(
        hits: Tensor, false: Tensor, positives: Tensor, negatives: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the rate that is bounded and the rate that is wanted, at each threshold."""
        raise NotImplementedError

    def compute(self, summary: Tensor) -> Tensor:
        """Return the largest rate, 0 if no threshold fits."""
        bounded, wanted = self._rates(*self._positives(summary))
        return torch.where(bounded.float() >= self.least, wanted, 0.0).amax()


def _sensitivity(hits: Tensor, positives: Tensor) -> Tensor:
    return safe_divide(hits, positives.expand_as(hits))


def _specificity(false: Tensor, negatives: Tensor) -> Tensor:
    return safe_divide(negatives - false, negatives.expand_as(false))


class SensitivityAtSpecificity(_BestAt):
    """Largest sensitivity at a minimum specificity (Keras: `SensitivityAtSpecificity`).

    Args:
        specificity: the least specificity, from 0 to 1.
        num_thresholds: the number of thresholds that are tried, at most 100,000.
        class_id: look at this class only.
        name: key in logs.
        dtype: as in `Metric`.
    """

    per_sample = True

    def __init__(
        self,
        specificity: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(specificity, "specificity", num_thresholds, class_id, name)

    @staticmethod
    def _rates(
        hits: Tensor, false: Tensor, positives: Tensor, negatives: Tensor
    ) -> tuple[Tensor, Tensor]:
        return _specificity(false, negatives), _sensitivity(hits, positives)


class SpecificityAtSensitivity(_BestAt):
    """Largest specificity at a minimum sensitivity (Keras: `SpecificityAtSensitivity`).

    Args:
        sensitivity: the least sensitivity, from 0 to 1.
        num_thresholds: the number of thresholds that are tried, at most 100,000.
        class_id: look at this class only.
        name: key in logs.
        dtype: as in `Metric`.
    """

    per_sample = True

    def __init__(
        self,
        sensitivity: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(sensitivity, "sensitivity", num_thresholds, class_id, name)

    @staticmethod
    def _rates(
        hits: Tensor, false: Tensor, positives: Tensor, negatives: Tensor
    ) -> tuple[Tensor, Tensor]:
        return _sensitivity(hits, positives), _specificity(false, negatives)


class PrecisionAtRecall(_BestAt):
    """Largest precision at a minimum recall (Keras: `PrecisionAtRecall`).

    Args:
        recall: the least recall, from 0 to 1.
        num_thresholds: the number of thresholds that are tried, at most 100,000.
        class_id: look at this class only.
        name: key in logs.
        dtype: as in `Metric`.
    """

    per_sample = True

    def __init__(
        self,
        recall: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(recall, "recall", num_thresholds, class_id, name)

    @staticmethod
    def _rates(
        hits: Tensor, false: Tensor, positives: Tensor, negatives: Tensor
    ) -> tuple[Tensor, Tensor]:
        return _sensitivity(hits, positives), safe_divide(hits, hits + false)


class RecallAtPrecision(_BestAt):
    """Largest recall at a minimum precision (Keras: `RecallAtPrecision`).

    Args:
        precision: the least precision, from 0 to 1.
        num_thresholds: the number of thresholds that are tried, at most 100,000.
        class_id: look at this class only.
        name: key in logs.
        dtype: as in `Metric`.
    """

    per_sample = True

    def __init__(
        self,
        precision: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(precision, "precision", num_thresholds, class_id, name)

    @staticmethod
    def _rates(
        hits: Tensor, false: Tensor, positives: Tensor, negatives: Tensor
    ) -> tuple[Tensor, Tensor]:
        return safe_divide(hits, hits + false), _sensitivity(hits, positives)
