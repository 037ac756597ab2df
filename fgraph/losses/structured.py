"""Losses of whole sequences and masks: connectionist temporal classification and Dice."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .base import EPSILON, NamedLoss, as_target, shape_text


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
    overlap = 2 * (y_true * y_pred).sum(axes)
    return 1 - overlap / (y_true.sum(axes) + y_pred.sum(axes) + EPSILON)


class CTC(NamedLoss):
    """Connectionist temporal classification (Keras: `CTC`); label 0 is blank and padding."""

    function = staticmethod(ctc)

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
