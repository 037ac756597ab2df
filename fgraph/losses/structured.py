"""Losses of whole sequences, masks and batches: CTC, Dice, Tversky, circle."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..common.batch_share import whole_sum
from ..common.number_checks import real_number
from .base import EPSILON, NamedLoss, as_target, check_class_indices, shape_text


def ctc(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Return the CTC loss of each sequence, as Keras's `CTC`: label 0 is blank and padding.

    Args:
        y_true: labels `(N, length)`, padded with 0.
        y_pred: logits `(N, steps, classes)`.

    Returns:
        Values of shape `(N,)`.
    """
    log_probabilities = F.log_softmax(y_pred, -1).transpose(0, 1)
    lengths = torch.full((y_pred.shape[0],), y_pred.shape[1], device=y_pred.device)
    labels = y_true.long()
    return F.ctc_loss(
        log_probabilities, labels, lengths, (labels != 0).sum(-1), blank=0, reduction="none"
    )


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
        alpha: the weight of what is missing in the prediction.
        beta: the weight of what is predicted wrongly.
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


def circle(
    y_true: Tensor,
    y_pred: Tensor,
    gamma: float = 80.0,
    margin: float = 0.4,
    remove_diagonal: bool = True,
) -> Tensor:
    """Return the circle loss of a batch of embeddings (Sun et al., 2020), as Keras's `Circle`.

    Args:
        y_true: labels `(N,)` or `(N, 1)`.
        y_pred: embeddings `(N, size)` of length 1.
        gamma: the scale of similarities.
        margin: the relaxation.
        remove_diagonal: whether a sample is no neighbour of itself.

    Returns:
        Values of shape `(N,)`.
    """
    labels = y_true.reshape(-1)
    distance = (1 - y_pred @ y_pred.mT).clamp_min(0)
    same = labels.unsqueeze(1) == labels
    other = ~same
    if remove_diagonal:
        same = same & ~torch.eye(len(labels), dtype=torch.bool, device=y_pred.device)
    attract = -gamma * (margin + distance) * (margin - distance)
    repel = gamma * (1 + margin - distance).clamp_min(0) * (1 - margin - distance)
    attract, repel = attract.masked_fill(~same, -torch.inf), repel.masked_fill(~other, -torch.inf)
    return F.softplus(attract.logsumexp(1) + repel.logsumexp(1))


class CTC(NamedLoss):
    """Connectionist temporal classification (Keras: `CTC`); label 0 is blank and padding.

    Args:
        reduction: as in `Loss`.
        name: as in `Loss`.
    """

    function = staticmethod(ctc)
    per_sample = True

    def check(self, y_true: Tensor, y_pred: Tensor, output: str) -> None:
        """Refuse anything but labels `(N, length)` and logits `(N, steps, classes)`."""
        if y_true.ndim != 2 or y_pred.ndim != 3:
            raise ValueError(
                f"ctc on output {output!r} takes a target (None, length) and logits (None, steps, "
                f"classes), got {shape_text(y_true)} and {shape_text(y_pred)}"
            )


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
        alpha: the weight of what is missing in the prediction.
        beta: the weight of what is predicted wrongly.
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


def categorical_generalized_cross_entropy(y_true: Tensor, y_pred: Tensor, q: float) -> Tensor:
    """Return `(1 - p ** q) / q` of the true class's probability (Zhang and Sabuncu, 2018).

    Args:
        y_true: class indices, of the shape of `y_pred` without its last axis, or with 1 there.
        y_pred: probabilities, classes along the last axis.
        q: from 0, cross-entropy, to 1, mean absolute error.

    Returns:
        The shape of `y_pred` without its last axis.
    """
    labels = y_true if y_true.ndim == y_pred.ndim else y_true.unsqueeze(-1)
    return (1 - y_pred.gather(-1, labels.long()).squeeze(-1) ** q) / q


class CategoricalGeneralizedCrossEntropy(NamedLoss):
    """A cross-entropy that noisy labels harm less (Keras's loss of the same name).

    Args:
        q: between 0 and 1; the larger, the less noisy labels count.
        reduction: as in `Loss`.
        name: as in `Loss`.

    Raises:
        ValueError: `q` is out of range.
    """

    function = staticmethod(categorical_generalized_cross_entropy)
    per_sample = True

    def __init__(
        self,
        q: float = 0.5,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
    ) -> None:
        super().__init__(reduction, name)
        self.settings = {"q": real_number(q, "q of CategoricalGeneralizedCrossEntropy", "(0, 1)")}

    def takes_labels(self, y_true: Tensor) -> bool:
        """Return true: targets are class indices."""
        return True

    def check(self, y_true: Tensor, y_pred: Tensor, output: str) -> None:
        """Refuse anything but one label for each row of probabilities."""
        if y_pred.ndim < 2 or y_true.shape not in (y_pred.shape[:-1], (*y_pred.shape[:-1], 1)):
            raise ValueError(
                f"categorical_generalized_cross_entropy on output {output!r} takes class indices "
                f"(None, ...) for probabilities (None, ..., classes), got {shape_text(y_true)} and "
                f"{shape_text(y_pred)}"
            )

    def check_values(self, y_true: Tensor, y_pred: Tensor, output: str) -> None:
        """Refuse labels out of range."""
        check_class_indices(y_true, y_pred.shape[-1], None, output)


class Circle(NamedLoss):
    """Circle loss of embeddings of length 1 (Keras: `Circle`).

    Samples without a loss do not count in the mean, as in Keras.

    Args:
        gamma: the scale of similarities.
        margin: the relaxation.
        remove_diagonal: whether a sample is no neighbour of itself.
        reduction: as in `Loss`.
        name: as in `Loss`.
    """

    function = staticmethod(circle)

    def __init__(
        self,
        gamma: float = 80.0,
        margin: float = 0.4,
        remove_diagonal: bool = True,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
    ) -> None:
        super().__init__(reduction, name)
        self.settings = {"gamma": gamma, "margin": margin, "remove_diagonal": remove_diagonal}

    def mean(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Return the mean over samples that have a loss."""
        return self._reduce(self.call(y_true, y_pred), None)

    def _reduce(
        self, values: Tensor, sample_weight: Tensor | None, mask: Tensor | None = None
    ) -> Tensor:
        counted = values > 0 if mask is None else mask & (values > 0)
        return super()._reduce(values, sample_weight, counted)

    def takes_labels(self, y_true: Tensor) -> bool:
        """Return true: targets are class indices."""
        return True

    def check(self, y_true: Tensor, y_pred: Tensor, output: str) -> None:
        """Refuse anything but one label for each embedding."""
        if y_pred.ndim != 2 or y_true.numel() != len(y_pred):
            raise ValueError(
                f"circle on output {output!r} takes labels (None,) and embeddings (None, size), "
                f"got {shape_text(y_true)} and {shape_text(y_pred)}"
            )
