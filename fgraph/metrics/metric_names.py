"""Metric names, and what each of the accepted forms of a metric becomes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from .. import losses
from ..errors import unknown_name
from ..losses.torch_losses import callable_name, takes_keras_order
from . import accuracy, confusion
from . import error_metrics as regression
from .base import MeanMetric, Metric
from .wrapped_metrics import KerasMetric, ResolvedMetric, TorchMetric, TorchOrder


def _choose_f1(y_true: Tensor, y_pred: Tensor, name: str) -> Metric:
    binary = y_pred.shape[-1] == 1
    return confusion.F1Score("macro", 0.5 if binary else None, name)


_FACTORIES: dict[str, Callable[[str], Metric]] = {
    "accuracy": lambda name: ResolvedMetric(name, accuracy.resolve_accuracy),
    "acc": lambda name: ResolvedMetric(name, accuracy.resolve_accuracy),
    "f1": lambda name: ResolvedMetric(name, _choose_f1),
    "f1_score": lambda name: confusion.F1Score(name=name),
    "binary_accuracy": accuracy.BinaryAccuracy,
    "categorical_accuracy": accuracy.CategoricalAccuracy,
    "sparse_categorical_accuracy": accuracy.SparseCategoricalAccuracy,
    "top_k_categorical_accuracy": lambda name: accuracy.TopKCategoricalAccuracy(name=name),
    "sparse_top_k_categorical_accuracy": lambda name: accuracy.SparseTopKCategoricalAccuracy(
        name=name
    ),
    "mse": regression.MeanSquaredError,
    "mean_squared_error": regression.MeanSquaredError,
    "mae": regression.MeanAbsoluteError,
    "mean_absolute_error": regression.MeanAbsoluteError,
    "rmse": regression.RootMeanSquaredError,
    "root_mean_squared_error": regression.RootMeanSquaredError,
    "cosine_similarity": regression.CosineSimilarity,
    "auc": lambda name: confusion.AUC(name=name),
    "precision": lambda name: confusion.Precision(name=name),
    "recall": lambda name: confusion.Recall(name=name),
    "AUC": lambda name: confusion.AUC(name=name),
    "Precision": lambda name: confusion.Precision(name=name),
    "Recall": lambda name: confusion.Recall(name=name),
}


def get(identifier: Any) -> Metric:
    """Return the metric object of a name, class, function, torchmetrics object or metric.

    Args:
        identifier: A Keras name (`"accuracy"`, `"auc"`, a loss's name, ...), a `Metric` or its
            class, anything with `update`, `compute` and `reset` (torchmetrics), or a function.
            A function whose parameters are named `y_true` and `y_pred` is called in that order,
            every other one in torch's: `fn(prediction, target)`.

    Returns:
        A metric, fresh unless an object was given.

    Raises:
        ValueError: the name is unknown.
        TypeError: the value is none of these.
    """
    if isinstance(identifier, Metric):
        return identifier
    if isinstance(identifier, str):
        return _by_name(identifier)
    if isinstance(identifier, type) and issubclass(identifier, Metric):
        return identifier()  # type: ignore[call-arg]
    for wrapper in (TorchMetric, KerasMetric):
        if all(hasattr(identifier, name) for name in wrapper.methods):
            if isinstance(identifier, type):
                raise TypeError(
                    f"metrics must be objects, got the class {identifier.__name__}: write "
                    f"{identifier.__name__}(...)"
                )
            return wrapper(identifier)
    if callable(identifier):
        return _of_callable(identifier)
    raise TypeError(
        "a metric must be a name, a Metric, a torchmetrics object or a callable, got "
        f"{type(identifier).__name__}: {identifier!r}"
    )


def _by_name(name: str) -> Metric:
    if name in _FACTORIES:
        return _FACTORIES[name](name)
    if name in losses.loss_names.NAMES:
        loss = losses.get(name)
        return MeanMetric(loss.call, name, "min")
    raise ValueError(unknown_name("metric", name, [*_FACTORIES, *losses.loss_names.NAMES]))


def _of_callable(fn: Callable[..., Any]) -> Metric:
    called = fn if takes_keras_order(fn) else TorchOrder(fn)
    return MeanMetric(called, callable_name(fn))
