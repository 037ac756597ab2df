"""Metrics that are the means of losses, equal to Keras's of the same names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from .. import losses
from .base import MeanMetric


class _LossMetric(MeanMetric):
    """The mean of a loss over all samples: the base of those without settings.

    Args:
        name: key in logs; the loss's name by default.
        dtype: as in `Metric`.
    """

    loss: ClassVar[Callable[..., Any]]

    def __init__(self, name: str | None = None, dtype: Any = None) -> None:
        super().__init__(type(self).loss, name, "min")


class MeanSquaredError(_LossMetric):
    """Mean squared error (Keras: `MeanSquaredError`).

    Args:
        name: key in logs.
        dtype: as in `Metric`.
    """

    loss = staticmethod(losses.mean_squared_error)
    per_sample = True


class MeanAbsoluteError(_LossMetric):
    """Mean absolute error (Keras: `MeanAbsoluteError`).

    Args:
        name: key in logs.
        dtype: as in `Metric`.
    """

    loss = staticmethod(losses.mean_absolute_error)
    per_sample = True


class MeanAbsolutePercentageError(_LossMetric):
    """Mean absolute error in percent of the targets (Keras: `MeanAbsolutePercentageError`).

    Args:
        name: key in logs.
        dtype: as in `Metric`.
    """

    loss = staticmethod(losses.mean_absolute_percentage_error)
    per_sample = True


class MeanSquaredLogarithmicError(_LossMetric):
    """Mean squared error of `log(1 + x)` (Keras: `MeanSquaredLogarithmicError`).

    Args:
        name: key in logs.
        dtype: as in `Metric`.
    """

    loss = staticmethod(losses.mean_squared_logarithmic_error)
    per_sample = True


class Hinge(_LossMetric):
    """Mean hinge loss (Keras: `Hinge`).

    Args:
        name: key in logs.
        dtype: as in `Metric`.
    """

    loss = staticmethod(losses.hinge)


class SquaredHinge(_LossMetric):
    """Mean squared hinge loss (Keras: `SquaredHinge`).

    Args:
        name: key in logs.
        dtype: as in `Metric`.
    """

    loss = staticmethod(losses.squared_hinge)


class CategoricalHinge(_LossMetric):
    """Mean categorical hinge loss (Keras: `CategoricalHinge`).

    Args:
        name: key in logs.
        dtype: as in `Metric`.
    """

    loss = staticmethod(losses.categorical_hinge)
    per_sample = True


class KLDivergence(_LossMetric):
    """Mean Kullback-Leibler divergence (Keras: `KLDivergence`).

    Args:
        name: key in logs.
        dtype: as in `Metric`.
    """

    loss = staticmethod(losses.kl_divergence)
    per_sample = True


class Poisson(_LossMetric):
    """Mean Poisson loss (Keras: `Poisson`).

    Args:
        name: key in logs.
        dtype: as in `Metric`.
    """

    loss = staticmethod(losses.poisson)
    per_sample = True


class LogCoshError(_LossMetric):
    """Mean logarithm of the hyperbolic cosine of the error (Keras: `LogCoshError`).

    Args:
        name: key in logs.
        dtype: as in `Metric`.
    """

    loss = staticmethod(losses.log_cosh)
    per_sample = True

    def __init__(self, name: str | None = "logcosh", dtype: Any = None) -> None:
        super().__init__(name)


class BinaryCrossentropy(MeanMetric):
    """Mean binary crossentropy (Keras: `BinaryCrossentropy`).

    Args:
        name: key in logs.
        dtype: as in `Metric`.
        from_logits: whether predictions are logits.
        label_smoothing: how far labels are moved towards 0.5, from 0 to 1.
    """

    per_sample = True

    def __init__(
        self,
        name: str | None = "binary_crossentropy",
        dtype: Any = None,
        from_logits: bool = False,
        label_smoothing: float = 0,
    ) -> None:
        settings = {"from_logits": from_logits, "label_smoothing": label_smoothing}
        super().__init__(losses.binary_crossentropy, name, "min", **settings)


class CategoricalCrossentropy(MeanMetric):
    """Mean crossentropy of one-hot targets (Keras: `CategoricalCrossentropy`).

    Args:
        name: key in logs.
        dtype: as in `Metric`.
        from_logits: whether predictions are logits.
        label_smoothing: the share of the target that is spread over all classes.
        axis: the axis of the classes.
    """

    per_sample = True

    def __init__(
        self,
        name: str | None = "categorical_crossentropy",
        dtype: Any = None,
        from_logits: bool = False,
        label_smoothing: float = 0,
        axis: int = -1,
    ) -> None:
        settings = {"from_logits": from_logits, "label_smoothing": label_smoothing, "axis": axis}
        super().__init__(losses.categorical_crossentropy, name, "min", **settings)


class SparseCategoricalCrossentropy(MeanMetric):
    """Mean crossentropy of integer labels (Keras: `SparseCategoricalCrossentropy`).

    Args:
        name: key in logs.
        dtype: as in `Metric`.
        from_logits: whether predictions are logits.
        axis: the axis of the classes.
    """

    per_sample = True

    def __init__(
        self,
        name: str | None = "sparse_categorical_crossentropy",
        dtype: Any = None,
        from_logits: bool = False,
        axis: int = -1,
    ) -> None:
        settings = {"from_logits": from_logits, "axis": axis}
        super().__init__(losses.sparse_categorical_crossentropy, name, "min", **settings)
