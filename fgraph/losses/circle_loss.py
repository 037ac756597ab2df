"""The circle loss, on similarities within a batch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .base import NamedLoss, shape_text


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
        remove_diagonal: whether to exclude the similarity of a sample with itself.

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


class Circle(NamedLoss):
    """Circle loss of embeddings of length 1 (Keras: `Circle`).

    The mean leaves out samples without a loss, as in Keras.

    Args:
        gamma: the scale of similarities.
        margin: the relaxation.
        remove_diagonal: whether to exclude the similarity of a sample with itself.
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
