"""Metric names, and what each of the accepted forms of a metric becomes."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from torch import Tensor

from .. import losses
from ..errors import unknown_name
from ..losses.base import align_target
from ..losses.torch_losses import callable_name, takes_keras_order
from . import accuracy, confusion
from . import error_metrics as regression
from .base import MeanMetric, Metric, RunningMean


class ResolvedMetric(Metric):
    """A metric that is chosen when the first batch shows the output's shape.

    Args:
        name: Key in logs.
        choose: Makes the metric from a batch of targets and of predictions.
    """

    direction = "max"

    def __init__(self, name: str, choose: Callable[[Tensor, Tensor, str], Metric]) -> None:
        super().__init__(name)
        self.choose = choose
        self.chosen: Metric | None = None
        self._saved: dict[str, Any] | None = None

    def update_state(
        self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None
    ) -> None:
        """Adds one batch; see `Metric.update_state`."""
        if self.chosen is None:
            self.chosen = self.choose(y_true, y_pred, self.name)
            if self._saved is not None:
                self.chosen.load_state_dict(self._saved)
        self.chosen.update_state(y_true, y_pred, sample_weight)

    def summary(self) -> Tensor:
        """Returns the chosen metric's summary."""
        return self.chosen.summary() if self.chosen else RunningMean().summary()

    def compute(self, summary: Tensor) -> Tensor:
        """Returns the chosen metric's value."""
        return self.chosen.compute(summary) if self.chosen else summary.sum()

    def reset_state(self) -> None:
        """Forgets all batches, and what was chosen."""
        self.chosen = None
        self._saved = None

    def state_dict(self) -> dict[str, Any]:
        """Returns the chosen metric's state."""
        return self.chosen.state_dict() if self.chosen else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Keeps the state until the first batch shows which metric it belongs to."""
        self._saved = state or None


class TorchMetric(Metric):
    """A torchmetrics object or collection, taken as it is.

    Args:
        metric: Anything with `update(preds, target)`, `compute()` and `reset()`.
    """

    def __init__(self, metric: Any) -> None:
        words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type(metric).__name__)
        super().__init__(words.lower())
        self.metric = metric

    @property
    def direction(self) -> str | None:  # type: ignore[override]
        """`"max"` or `"min"` where torchmetrics says `higher_is_better`."""
        higher = getattr(self.metric, "higher_is_better", None)
        return None if higher is None else "max" if higher else "min"

    def update_state(
        self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None
    ) -> None:
        """Adds one batch, moving the metric to the batch's device.

        Raises:
            ValueError: Weights were given, which torchmetrics does not take.
        """
        if sample_weight is not None:
            raise ValueError(
                f"{type(self.metric).__name__} of torchmetrics takes no sample weights: pass it "
                "in metrics, not in weighted_metrics"
            )
        if hasattr(self.metric, "to"):
            self.metric.to(y_pred.device)
        self.metric.update(y_pred, align_target(y_true, y_pred))

    def result(self) -> Any:
        """Returns the computed value, or the dict of a collection."""
        return self.metric.compute()

    def keys(self, key: str) -> list[str]:
        """Returns a collection's names, or the given key."""
        return list(self.metric.keys()) if hasattr(self.metric, "keys") else [key]

    def reset_state(self) -> None:
        """Resets the metric."""
        self.metric.reset()

    def state_dict(self) -> dict[str, Any]:
        """Returns the states of the metric, or of each of a collection's."""
        members = self.metric.items() if hasattr(self.metric, "items") else [("", self.metric)]
        return {
            name: {"states": {k: getattr(m, k) for k in m._defaults}, "count": m._update_count}
            for name, m in members
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over the states that `state_dict` returned."""
        members = self.metric.items() if hasattr(self.metric, "items") else [("", self.metric)]
        for name, member in members:
            for key, value in state[name]["states"].items():
                setattr(member, key, value)
            member._update_count = state[name]["count"]


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
    """Returns the metric object of a name, class, function, torchmetrics object or metric.

    Args:
        identifier: A Keras name (`"accuracy"`, `"auc"`, a loss's name, ...), a `Metric` or its
            class, anything with `update`, `compute` and `reset` (torchmetrics), or a function.
            A function whose parameters are named `y_true` and `y_pred` is called in that order,
            every other one in torch's: `fn(prediction, target)`.

    Returns:
        A metric, fresh unless an object was given.

    Raises:
        ValueError: The name is unknown.
        TypeError: The value is none of these.
    """
    if isinstance(identifier, Metric):
        return identifier
    if isinstance(identifier, str):
        return _by_name(identifier)
    if isinstance(identifier, type) and issubclass(identifier, Metric):
        made: Metric = identifier()  # type: ignore[call-arg]
        return made
    if all(hasattr(identifier, name) for name in ("update", "compute", "reset")):
        return TorchMetric(identifier)
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


class _TorchOrder:
    """Calls a function of (prediction, target) with (target, prediction)."""

    def __init__(self, fn: Callable[..., Any]) -> None:
        self.fn = fn

    def __call__(self, y_true: Tensor, y_pred: Tensor) -> Any:
        return self.fn(y_pred, align_target(y_true, y_pred))


def _of_callable(fn: Callable[..., Any]) -> Metric:
    called = fn if takes_keras_order(fn) else _TorchOrder(fn)
    return MeanMetric(called, callable_name(fn))
