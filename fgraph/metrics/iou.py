"""Intersection over union of classes, equal to Keras's metrics of the same names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..common.number_checks import whole_number
from ..losses.base import EPSILON, weighted, within
from .base import Metric

_MOST_CLASSES = 65_536  # the counts are a square matrix


class IoU(Metric):
    """Mean over some classes of intersection over union (Keras: `IoU`).

    The state is the confusion matrix of all batches. Keras rounds sample weights down to whole
    numbers unless `dtype` is floating-point; here fractions always count.

    Args:
        num_classes: the number of classes.
        target_class_ids: the classes whose mean is taken; those that never occur do not count.
        name: key in logs.
        dtype: as in `Metric`.
        ignore_class: targets of this class do not count.
        sparse_y_true: whether targets are class indices instead of rows of scores.
        sparse_y_pred: the same for predictions.
        axis: the axis of the classes where they are not indices.

    Raises:
        ValueError: a class is out of range.
    """

    direction = "max"
    per_sample = True

    def __init__(
        self,
        num_classes: int,
        target_class_ids: Sequence[int],
        name: str | None = "io_u",
        dtype: Any = None,
        ignore_class: int | None = None,
        sparse_y_true: bool = True,
        sparse_y_pred: bool = True,
        axis: int = -1,
    ) -> None:
        super().__init__(name)
        self.num_classes = whole_number(num_classes, "num_classes", most=_MOST_CLASSES)
        self.target_class_ids = [int(i) for i in target_class_ids]
        if any(not 0 <= i < self.num_classes for i in self.target_class_ids):
            raise ValueError(
                f"target_class_ids of {type(self).__name__} must be from 0 to "
                f"{self.num_classes - 1}, got {self.target_class_ids}"
            )
        self.ignore_class = ignore_class
        self.sparse_y_true = sparse_y_true
        self.sparse_y_pred = sparse_y_pred
        self.axis = axis
        self.matrix: Tensor | None = None

    def update_state(
        self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None
    ) -> None:
        """Add one batch; classes out of range do not count. See `Metric.update_state`."""
        y_true = y_true if self.sparse_y_true else y_true.argmax(self.axis)
        y_pred = y_pred if self.sparse_y_pred else y_pred.argmax(self.axis)
        truth, chosen = y_true.reshape(-1).long(), y_pred.reshape(-1).long()
        if truth.shape != chosen.shape:
            dense = "sparse_y_pred=False" if self.sparse_y_pred else "sparse_y_true=False"
            raise ValueError(
                f"metric {self.name!r} takes one class for each target, got targets of shape "
                f"{tuple(y_true.shape)} and predictions of shape {tuple(y_pred.shape)}; for scores "
                f"of each class pass {dense}"
            )
        weights = torch.ones(y_true.shape, dtype=torch.float64, device=y_pred.device)
        if sample_weight is not None:
            flat = sample_weight.numel() == weights.numel()
            weights = (
                sample_weight.reshape(weights.shape) if flat else weighted(weights, sample_weight)
            )
        counted = (truth >= 0) & (truth < self.num_classes) & (chosen >= 0)
        counted &= chosen < self.num_classes
        if self.ignore_class is not None:
            counted &= truth != self.ignore_class
        cells = torch.where(counted, truth * self.num_classes + chosen, 0)
        if self.matrix is None:
            size = self.num_classes**2
            self.matrix = torch.zeros(size, dtype=torch.float64, device=y_pred.device)
        self.matrix.index_add_(0, cells, weights.reshape(-1).double() * counted)

    def joins(self) -> bool:
        """Return whether it joins batches; not where classes are along the axis of the samples."""
        return super().joins() and within(self.axis)

    def summary(self) -> Tensor:
        """Return the confusion matrix: rows are targets, columns predictions."""
        if self.matrix is None:
            return torch.zeros(self.num_classes, self.num_classes, dtype=torch.float64)
        return self.matrix.view(self.num_classes, self.num_classes)

    def compute(self, summary: Tensor) -> Tensor:
        """Return the mean over the classes that occur."""
        shared = summary.diagonal()
        union = summary.sum(0) + summary.sum(1) - shared
        shared, union = shared[self.target_class_ids], union[self.target_class_ids]
        return (shared / (union + EPSILON)).sum() / (union > 1e-9).sum()

    def reset_state(self) -> None:
        """Forget all batches."""
        self.matrix = None


class BinaryIoU(IoU):
    """Intersection over union of the classes 0 and 1 (Keras: `BinaryIoU`).

    Args:
        target_class_ids: the classes whose mean is taken, of 0 and 1.
        threshold: predictions of at least this are class 1.
        name: key in logs.
        dtype: as in `Metric`.
    """

    per_sample = True

    def __init__(
        self,
        target_class_ids: Sequence[int] = (0, 1),
        threshold: float = 0.5,
        name: str | None = "binary_io_u",
        dtype: Any = None,
    ) -> None:
        super().__init__(2, target_class_ids, name)
        self.threshold = threshold

    def update_state(
        self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None
    ) -> None:
        """Add one batch; see `Metric.update_state`."""
        super().update_state(y_true, y_pred >= self.threshold, sample_weight)


class MeanIoU(IoU):
    """Mean over all classes of intersection over union (Keras: `MeanIoU`).

    Args:
        num_classes: the number of classes.
        name: key in logs.
        dtype: as in `Metric`.
        ignore_class: as in `IoU`.
        sparse_y_true: as in `IoU`.
        sparse_y_pred: as in `IoU`.
        axis: as in `IoU`.
    """

    per_sample = True

    def __init__(
        self,
        num_classes: int,
        name: str | None = "mean_io_u",
        dtype: Any = None,
        ignore_class: int | None = None,
        sparse_y_true: bool = True,
        sparse_y_pred: bool = True,
        axis: int = -1,
    ) -> None:
        classes = range(whole_number(num_classes, "num_classes", most=_MOST_CLASSES))
        super().__init__(
            num_classes, classes, name, dtype, ignore_class, sparse_y_true, sparse_y_pred, axis
        )


class OneHotIoU(IoU):
    """`IoU` of one-hot targets (Keras: `OneHotIoU`).

    Args:
        num_classes: the number of classes.
        target_class_ids: as in `IoU`.
        name: key in logs.
        dtype: as in `Metric`.
        ignore_class: as in `IoU`.
        sparse_y_pred: as in `IoU`.
        axis: as in `IoU`.
    """

    per_sample = True

    def __init__(
        self,
        num_classes: int,
        target_class_ids: Sequence[int],
        name: str | None = "one_hot_io_u",
        dtype: Any = None,
        ignore_class: int | None = None,
        sparse_y_pred: bool = False,
        axis: int = -1,
    ) -> None:
        super().__init__(
            num_classes, target_class_ids, name, dtype, ignore_class, False, sparse_y_pred, axis
        )


class OneHotMeanIoU(MeanIoU):
    """`MeanIoU` of one-hot targets (Keras: `OneHotMeanIoU`).

    Args:
        num_classes: the number of classes.
        name: key in logs.
        dtype: as in `Metric`.
        ignore_class: as in `IoU`.
        sparse_y_pred: as in `IoU`.
        axis: as in `IoU`.
    """

    per_sample = True

    def __init__(
        self,
        num_classes: int,
        name: str | None = "one_hot_mean_io_u",
        dtype: Any = None,
        ignore_class: int | None = None,
        sparse_y_pred: bool = False,
        axis: int = -1,
    ) -> None:
        super().__init__(num_classes, name, dtype, ignore_class, False, sparse_y_pred, axis)
