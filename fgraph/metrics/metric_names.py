"""Metric names, and the conversion of every accepted form of a metric to a `Metric`."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from torch import Tensor

from .. import losses
from ..errors import unknown_name
from ..losses.torch_losses import callable_name, takes_keras_order
from . import accuracy, confusion, decision_curves, f_scores, loss_metrics, regression_metrics
from .base import MeanMetric, Metric, snake_case
from .reduction_metrics import Mean, Sum
from .wrapped_metrics import KerasMetric, ResolvedMetric, TorchMetric, TorchOrder


def _choose_f1(y_true: Tensor, y_pred: Tensor, name: str) -> Metric:
    binary = y_pred.shape[-1] == 1
    return f_scores.F1Score("macro", 0.5 if binary else None, name)


_MODULES = (accuracy, confusion, decision_curves, regression_metrics, f_scores, loss_metrics)


@functools.cache  # signatures take time to read: not at import
def _made_without_arguments() -> dict[str, type[Metric]]:
    """Return the metrics that a name alone can make, by class name and by name in logs."""
    found: dict[str, type[Metric]] = {}
    for module in _MODULES:
        for name, cls in vars(module).items():
            if isinstance(cls, type) and cls.__module__ == module.__name__ and name[0] != "_":
                arguments = list(inspect.signature(cls).parameters.values())
                if issubclass(cls, Metric) and all(p.default is not p.empty for p in arguments):
                    found[name] = found[cls().name] = cls
    return found


_FACTORIES: dict[str, Callable[[str], Metric]] = {
    "accuracy": lambda name: ResolvedMetric(name, accuracy.resolve_accuracy),
    "acc": lambda name: ResolvedMetric(name, accuracy.resolve_accuracy),
    "f1": lambda name: ResolvedMetric(name, _choose_f1),
    "mse": loss_metrics.MeanSquaredError,
    "mae": loss_metrics.MeanAbsoluteError,
    "rmse": regression_metrics.RootMeanSquaredError,
    "auc": lambda name: decision_curves.AUC(name=name),
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
    if isinstance(identifier, Mean | Sum):
        raise TypeError(
            f"{type(identifier).__name__} takes values, not targets and predictions: update it in "
            "a train_step of your own, or pass a function of (y_true, y_pred), whose mean is shown"
        )
    if isinstance(identifier, Metric):
        return identifier
    if isinstance(identifier, str):
        return _by_name(identifier)
    if isinstance(identifier, type) and issubclass(identifier, Metric):
        return identifier()
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
    classes = _made_without_arguments()
    if name in classes:
        return classes[name](name=name)
    if name in losses.loss_names.NAMES:
        loss = losses.get(name)
        return MeanMetric(loss.call, name, "min")
    raise ValueError(
        unknown_name("metric", name, [*_FACTORIES, *classes, *losses.loss_names.NAMES])
    )


def _of_callable(fn: Callable[..., Any]) -> Metric:
    called = fn if takes_keras_order(fn) else TorchOrder(fn)
    return MeanMetric(called, snake_case(callable_name(fn)))
