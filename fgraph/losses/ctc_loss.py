"""Connectionist temporal classification: labels of sequences without alignment."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .base import NamedLoss, shape_text


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
