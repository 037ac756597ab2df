"""Losses for regression, margins and directions, by Keras's formulas."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from .base import EPSILON, NamedLoss, as_target


def mean_squared_error(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Return the mean squared error over the last axis, of shape `(N, ...)`."""
    return (y_pred - as_target(y_true, y_pred)).square().mean(-1)


def mean_absolute_error(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Return the mean absolute error over the last axis, of shape `(N, ...)`."""
    return (y_pred - as_target(y_true, y_pred)).abs().mean(-1)


def mean_absolute_percentage_error(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Return the mean absolute error in percent of the target, of shape `(N, ...)`."""
    y_true = as_target(y_true, y_pred)
    return 100 * ((y_true - y_pred) / y_true.abs().clamp_min(EPSILON)).abs().mean(-1)


def mean_squared_logarithmic_error(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Return the mean squared difference of `log(1 + x)`, of shape `(N, ...)`."""
    true_log = as_target(y_true, y_pred).clamp_min(EPSILON).log1p()
    return (true_log - y_pred.clamp_min(EPSILON).log1p()).square().mean(-1)


def huber(y_true: Tensor, y_pred: Tensor, delta: float = 1.0) -> Tensor:
    """Return the Huber loss: quadratic up to `delta`, linear beyond; shape `(N, ...)`."""
    return F.huber_loss(y_pred, as_target(y_true, y_pred), reduction="none", delta=delta).mean(-1)


def log_cosh(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Return the mean of `log(cosh(error))`, of shape `(N, ...)`."""
    error = y_pred - as_target(y_true, y_pred)
    return (error + F.softplus(-2 * error) - math.log(2)).mean(-1)


def kl_divergence(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Return `sum(y_true * log(y_true / y_pred))` over the last axis, of shape `(N, ...)`."""
    y_true = as_target(y_true, y_pred).clamp(EPSILON, 1)
    return (y_true * (y_true / y_pred.clamp(EPSILON, 1)).log()).sum(-1)


def poisson(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Return the mean of `y_pred - y_true * log(y_pred)`, of shape `(N, ...)`."""
    return (y_pred - as_target(y_true, y_pred) * (y_pred + EPSILON).log()).mean(-1)


def _signs(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Return targets as -1 and 1; as in Keras, targets that are all 0 or 1 are taken as labels."""
    y_true = as_target(y_true, y_pred)
    is_binary = ((y_true == 0) | (y_true == 1)).all()
    return torch.where(is_binary, 2 * y_true - 1, y_true)


def hinge(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Return the mean of `max(1 - y_true * y_pred, 0)`, of shape `(N, ...)`."""
    return (1 - _signs(y_true, y_pred) * y_pred).clamp_min(0).mean(-1)


def squared_hinge(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Return the mean of `max(1 - y_true * y_pred, 0) ** 2`, of shape `(N, ...)`."""
    return (1 - _signs(y_true, y_pred) * y_pred).clamp_min(0).square().mean(-1)


def categorical_hinge(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Return `max(best wrong score - true score + 1, 0)`, of shape `(N, ...)`."""
    y_true = as_target(y_true, y_pred)
    right = (y_true * y_pred).sum(-1)
    wrong = ((1 - y_true) * y_pred).amax(-1)
    return (wrong - right + 1).clamp_min(0)


def cosine_similarity(y_true: Tensor, y_pred: Tensor, axis: int = -1) -> Tensor:
    """Return minus the cosine of the angle between target and prediction along `axis`."""
    y_true = as_target(y_true, y_pred)
    norms = [x.square().sum(axis, keepdim=True).clamp_min(1e-12).rsqrt() for x in (y_true, y_pred)]
    return -(y_true * norms[0] * y_pred * norms[1]).sum(axis)


class MeanSquaredError(NamedLoss):
    """Mean squared error (Keras: `MeanSquaredError`).

    Args:
        reduction: as in `Loss`.
        name: as in `Loss`.
    """

    function = staticmethod(mean_squared_error)
    per_sample = True

    def mean(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Return the mean over all values, in one kernel."""
        return F.mse_loss(y_pred, as_target(y_true, y_pred))


class MeanAbsoluteError(NamedLoss):
    """Mean absolute error (Keras: `MeanAbsoluteError`).

    Args:
        reduction: as in `Loss`.
        name: as in `Loss`.
    """

    function = staticmethod(mean_absolute_error)
    per_sample = True


class MeanAbsolutePercentageError(NamedLoss):
    """Mean absolute error in percent of the target (Keras: `MeanAbsolutePercentageError`).

    Args:
        reduction: as in `Loss`.
        name: as in `Loss`.
    """

    function = staticmethod(mean_absolute_percentage_error)
    per_sample = True


class MeanSquaredLogarithmicError(NamedLoss):
    """Mean squared difference of logarithms (Keras: `MeanSquaredLogarithmicError`).

    Args:
        reduction: as in `Loss`.
        name: as in `Loss`.
    """

    function = staticmethod(mean_squared_logarithmic_error)
    per_sample = True


class LogCosh(NamedLoss):
    """Mean logarithm of the hyperbolic cosine of the error (Keras: `LogCosh`).

    Args:
        reduction: as in `Loss`.
        name: as in `Loss`.
    """

    function = staticmethod(log_cosh)
    per_sample = True


class KLDivergence(NamedLoss):
    """Kullback-Leibler divergence of predicted from true probabilities (Keras: `KLDivergence`).

    Args:
        reduction: as in `Loss`.
        name: as in `Loss`.
    """

    function = staticmethod(kl_divergence)
    per_sample = True


class Poisson(NamedLoss):
    """Poisson negative log-likelihood without its constant (Keras: `Poisson`).

    Args:
        reduction: as in `Loss`.
        name: as in `Loss`.
    """

    function = staticmethod(poisson)
    per_sample = True


class Hinge(NamedLoss):
    """Hinge loss on targets -1 and 1, or 0 and 1 (Keras: `Hinge`).

    Args:
        reduction: as in `Loss`.
        name: as in `Loss`.
    """

    function = staticmethod(hinge)


class SquaredHinge(NamedLoss):
    """Squared hinge loss on targets -1 and 1, or 0 and 1 (Keras: `SquaredHinge`).

    Args:
        reduction: as in `Loss`.
        name: as in `Loss`.
    """

    function = staticmethod(squared_hinge)


class CategoricalHinge(NamedLoss):
    """Hinge loss between the true class and the best other one (Keras: `CategoricalHinge`).

    Args:
        reduction: as in `Loss`.
        name: as in `Loss`.
    """

    function = staticmethod(categorical_hinge)
    per_sample = True


class Huber(NamedLoss):
    """Huber loss (Keras: `Huber`).

    Args:
        delta: error at which the loss turns from quadratic to linear.
        reduction: as in `Loss`.
        name: as in `Loss`.
    """

    function = staticmethod(huber)
    per_sample = True

    def __init__(
        self,
        delta: float = 1.0,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
    ) -> None:
        super().__init__(reduction, name)
        self.settings = {"delta": delta}


class CosineSimilarity(NamedLoss):
    """Minus the cosine similarity (Keras: `CosineSimilarity`).

    Args:
        axis: axis of the vectors.
        reduction: as in `Loss`.
        name: as in `Loss`.
    """

    function = staticmethod(cosine_similarity)
    per_sample = True

    def __init__(
        self,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
    ) -> None:
        super().__init__(reduction, name)
        self.settings = {"axis": axis}
        self.axis = axis
