"""`Mean` and `Sum` of any values, for custom steps and loops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import torch
from torch import Tensor

from ..losses.base import weighted
from .base import MeanMetric, Metric


def _given(value: Any) -> Tensor:
    return torch.as_tensor(value).detach().double()


class Mean(MeanMetric):
    """Weighted mean of values (Keras: `Mean`).

    It takes values instead of targets and predictions: update it in your own `train_step` or loop,
    and return its `result()` from there.

    Args:
        name: a name for logs.
        dtype: as in `Metric`.

    Example:
        >>> mean = Mean()
        >>> mean.update_state([1.0, 3.0])
        >>> mean.update_state(5.0)
        >>> float(mean.result())
        3.0
    """

    def __init__(self, name: str | None = "mean", dtype: Any = None) -> None:
        super().__init__(_no_targets, name)

    def update_state(self, values: Any, sample_weight: Any = None) -> None:  # type: ignore[override]
        """Add values, whatever their shape: each sample's are averaged first.

        Args:
            values: a number, or values of shape `(N, ...)`.
            sample_weight: weights of shape `(N,)` or of the values' leading axes.
        """
        values = _given(values)
        weights = None if sample_weight is None else _given(sample_weight).to(values.device)
        if not values.ndim or (weights is not None and not weights.ndim):
            values, weights = values.mean()[None], weights if weights is None else weights[None]
        self._add(values, weights)

    @property
    def seen(self) -> bool:
        """Whether any value was added since `reset_state`."""
        return self._mean.seen


class Sum(Metric):
    """Weighted sum of values (Keras: `Sum`); used like `Mean`.

    Args:
        name: a name for logs.
        dtype: as in `Metric`.
    """

    def __init__(self, name: str | None = "sum", dtype: Any = None) -> None:
        super().__init__(name)
        self.total: Tensor | None = None

    def update_state(self, values: Any, sample_weight: Any = None) -> None:  # type: ignore[override]
        """Add values, multiplied by their weights; see `Mean.update_state`."""
        values = _given(values)
        if sample_weight is not None:
            values = weighted(values, _given(sample_weight).to(values.device))
        self.total = values.sum() if self.total is None else self.total + values.sum()

    def summary(self) -> Tensor:
        """Return the sum."""
        return torch.zeros((), dtype=torch.float64) if self.total is None else self.total

    def compute(self, summary: Tensor) -> Tensor:
        """Return the sum."""
        return summary

    def reset_state(self) -> None:
        """Forget all values."""
        self.total = None


class MeanMetricWrapper(MeanMetric):
    """The mean of a function's values over all samples (Keras: `MeanMetricWrapper`).

    Args:
        fn: `fn(y_true, y_pred, **kwargs)` returns values of shape `(N, ...)`.
        name: key in logs; the function's name by default.
        dtype: as in `Metric`.
        **kwargs: keyword arguments of every call.
    """

    def __init__(
        self, fn: Callable[..., Tensor], name: str | None = None, dtype: Any = None, **kwargs: Any
    ) -> None:
        super().__init__(fn, name, None, **kwargs)


def _no_targets(*_: Any) -> NoReturn:
    raise TypeError("Mean takes values, not targets and predictions")
