"""Losses on the overlap of masks: Dice and Tversky."""

from __future__ import annotations

from torch import Tensor

from ..common.batch_share import whole_sum
from .base import EPSILON, NamedLoss, as_target


def _summed(values: Tensor, axes: int | tuple[int, ...]) -> Tensor:
    """Return the sum over axes; over the samples of all processes if the first is among them."""
    found = values.sum(axes)
    listed = (axes,) if isinstance(axes, int) else axes
    return whole_sum(found) if any(axis % values.ndim == 0 for axis in listed) else found


def dice(y_true: Tensor, y_pred: Tensor, axis: int | tuple[int, ...] | None = None) -> Tensor:
    """Return one minus the Dice coefficient, as Keras's `Dice`.

    Args:
        y_true: mask in the shape of `y_pred`.
        y_pred: predicted mask.
        axis: axes that are summed; None sums all, so that the result is a scalar.

    Returns:
        The shape of `y_pred` without `axis`.
    """
    y_true = as_target(y_true, y_pred)
    axes = tuple(range(y_pred.ndim)) if axis is None else axis
    overlap = _summed(2 * y_true * y_pred, axes)
    return 1 - overlap / (_summed(y_true, axes) + _summed(y_pred, axes) + EPSILON)


def tversky(
    y_true: Tensor,
    y_pred: Tensor,
    alpha: float = 0.5,
    beta: float = 0.5,
    axis: int | tuple[int, ...] | None = None,
) -> Tensor:
    """Return one minus the Tversky index (Salehi et al., 2017), as Keras's `Tversky`.

    Args:
        y_true: a mask in the shape of `y_pred`.
        y_pred: the predicted mask.
        alpha: the weight of false negatives.
        beta: the weight of false positives.
        axis: the axes to sum; `None` sums all, so that the result is a scalar.

    Returns:
        The shape of `y_pred` without `axis`.
    """
    y_true = as_target(y_true, y_pred)
    axes = tuple(range(y_pred.ndim)) if axis is None else axis
    overlap = _summed(y_true * y_pred, axes)
    missing = _summed((1 - y_pred) * y_true, axes)
    wrong = _summed(y_pred * (1 - y_true), axes)
    return 1 - overlap / (overlap + alpha * missing + beta * wrong + EPSILON)


class Dice(NamedLoss):
    """Dice loss of a predicted mask (Keras: `Dice`).

    Args:
        reduction: as in `Loss`.
        name: as in `Loss`.
        axis: axes that are summed; None sums all.
    """

    function = staticmethod(dice)

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        axis: int | tuple[int, ...] | None = None,
    ) -> None:
        super().__init__(reduction, name)
        self.settings = {"axis": axis}


class Tversky(NamedLoss):
    """Tversky loss of a predicted mask (Keras: `Tversky`).

    Args:
        alpha: the weight of false negatives.
        beta: the weight of false positives.
        reduction: as in `Loss`.
        name: as in `Loss`.
        axis: the axes to sum; `None` sums all.
    """

    function = staticmethod(tversky)

    def __init__(
        self,
        alpha: float = 0.5,
        beta: float = 0.5,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        axis: int | tuple[int, ...] | None = None,
    ) -> None:
        super().__init__(reduction, name)
        self.settings = {"alpha": alpha, "beta": beta, "axis": axis}
