"""Accuracies, each equal to Keras's metric of the same name."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..losses.base import align_target, refuse_broadcasting
from .base import MeanMetric


def _labels(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Return labels without a last dimension of size 1 that the predictions allow."""
    if y_true.ndim == y_pred.ndim and y_true.shape[-1] == 1:
        y_true = y_true.squeeze(-1)
    rows = y_pred.shape[:-1]
    if y_true.shape != rows:
        refuse_broadcasting(y_true, rows, y_pred)
    return y_true


def _aligned(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Return the target in the shape of the predictions."""
    if y_true.shape != y_pred.shape:
        y_true = align_target(y_true, y_pred)
        refuse_broadcasting(y_true, y_pred.shape, y_pred)
    return y_true


def accuracy(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Return where predictions equal targets, in the shape of `y_pred`."""
    return _aligned(y_true, y_pred) == y_pred


def binary_accuracy(y_true: Tensor, y_pred: Tensor, threshold: float = 0.5) -> Tensor:
    """Return where `y_pred > threshold` agrees with labels 0 and 1, in the shape of `y_pred`."""
    return _aligned(y_true, y_pred) == (y_pred > threshold)


def categorical_accuracy(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Return where the highest class equals that of one-hot targets, of shape `(N, ...)`."""
    return _aligned(y_true, y_pred).argmax(-1) == y_pred.argmax(-1)


def sparse_categorical_accuracy(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Return where the highest class equals the label, of shape `(N, ...)`."""
    return _labels(y_true, y_pred) == y_pred.argmax(-1)


def sparse_top_k_categorical_accuracy(
    y_true: Tensor, y_pred: Tensor, k: int = 5, from_sorted_ids: bool = False
) -> Tensor:
    """Return where the label is among the `k` highest classes, of shape `(N, ...)`.

    With `from_sorted_ids` the predictions are classes, the best first, and not scores.
    """
    best = y_pred[..., :k] if from_sorted_ids else y_pred.topk(min(k, y_pred.shape[-1]), -1).indices
    return (best == _labels(y_true, y_pred).unsqueeze(-1)).any(-1)


def top_k_categorical_accuracy(y_true: Tensor, y_pred: Tensor, k: int = 5) -> Tensor:
    """Return where one-hot targets' class is among the `k` highest, of shape `(N, ...)`."""
    return sparse_top_k_categorical_accuracy(y_true.argmax(-1), y_pred, k)


def resolve_accuracy(y_true: Tensor, y_pred: Tensor, name: str) -> MeanMetric:
    """Return the accuracy that fits an output, by the rule of Keras's `compile`.

    Args:
        y_true: A batch of targets.
        y_pred: A batch of predictions.
        name: key in logs, `"accuracy"` or `"acc"`.

    Returns:
        Binary accuracy for one unit, sparse for labels, categorical for one-hot rows.
    """
    if y_pred.ndim < 2 or y_pred.shape[-1] == 1:
        return MeanMetric(binary_accuracy, name, "max")
    sparse = y_true.ndim < y_pred.ndim or y_true.shape[-1] == 1
    return MeanMetric(sparse_categorical_accuracy if sparse else categorical_accuracy, name, "max")


class Accuracy(MeanMetric):
    """Fraction of predictions that equal their targets (Keras: `Accuracy`).

    Args:
        name: key in logs.
        dtype: as in `Metric`.
    """

    per_sample = True

    def __init__(self, name: str | None = "accuracy", dtype: Any = None) -> None:
        super().__init__(accuracy, name, "max")


class BinaryAccuracy(MeanMetric):
    """Fraction of correct binary decisions (Keras: `BinaryAccuracy`).

    Args:
        name: key in logs.
        dtype: as in `Metric`.
        threshold: predictions above it count as 1.
    """

    per_sample = True

    def __init__(
        self, name: str | None = "binary_accuracy", dtype: Any = None, threshold: float = 0.5
    ) -> None:
        super().__init__(binary_accuracy, name, "max", threshold=threshold)


class CategoricalAccuracy(MeanMetric):
    """Fraction of correct classes on one-hot targets (Keras: `CategoricalAccuracy`).

    Args:
        name: key in logs.
        dtype: as in `Metric`.
    """

    per_sample = True

    def __init__(self, name: str | None = "categorical_accuracy", dtype: Any = None) -> None:
        super().__init__(categorical_accuracy, name, "max")


class SparseCategoricalAccuracy(MeanMetric):
    """Fraction of correct classes on integer labels (Keras: `SparseCategoricalAccuracy`).

    Args:
        name: key in logs.
        dtype: as in `Metric`.
    """

    per_sample = True

    def __init__(self, name: str | None = "sparse_categorical_accuracy", dtype: Any = None) -> None:
        super().__init__(sparse_categorical_accuracy, name, "max")


class TopKCategoricalAccuracy(MeanMetric):
    """Fraction of one-hot targets among the `k` highest (Keras: `TopKCategoricalAccuracy`).

    Args:
        k: the number of highest classes to consider.
        name: key in logs.
        dtype: as in `Metric`.
    """

    per_sample = True

    def __init__(
        self, k: int = 5, name: str | None = "top_k_categorical_accuracy", dtype: Any = None
    ) -> None:
        super().__init__(top_k_categorical_accuracy, name, "max", k=k)


class SparseTopKCategoricalAccuracy(MeanMetric):
    """Fraction of labels among the `k` highest (Keras: `SparseTopKCategoricalAccuracy`).

    Args:
        k: the number of highest classes to consider.
        name: key in logs.
        dtype: as in `Metric`.
        from_sorted_ids: whether predictions are classes, the best first, and not scores.
    """

    per_sample = True

    def __init__(
        self,
        k: int = 5,
        name: str | None = "sparse_top_k_categorical_accuracy",
        dtype: Any = None,
        from_sorted_ids: bool = False,
    ) -> None:
        settings = {"k": k, "from_sorted_ids": from_sorted_ids}
        super().__init__(sparse_top_k_categorical_accuracy, name, "max", **settings)
