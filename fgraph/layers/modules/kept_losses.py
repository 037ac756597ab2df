"""Modules that store a penalty of their last call for the training loss."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn


class KeptLoss(nn.Module):
    """Base class: returns its first input, and stores a penalty.

    Attributes:
        value: The penalty of the last call, `None` before the first one.
    """

    def __init__(self) -> None:
        super().__init__()
        self.value: Tensor | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "value": None}  # it belongs to an autograd graph


class ActivityLoss(KeptLoss):
    """Stores the penalty of an activation.

    Args:
        regularizer: From the activation to a scalar; divided by the batch size, as in Keras.
    """

    def __init__(self, regularizer: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.regularizer = regularizer

    def forward(self, x: Tensor) -> Tensor:
        """Return `x`, of any shape `(batch, ...)`."""
        self.value = self.regularizer(x) / x.shape[0]
        return x


class AddedLoss(KeptLoss):
    """Stores the sum of the losses passed to `Layer.add_loss`."""

    def forward(self, x: Tensor, *losses: Tensor) -> Tensor:
        """Return `x`, of any shape; the losses are scalars, or are averaged."""
        self.value = torch.stack([loss.mean() for loss in losses]).sum()
        return x


def losses_so_far(module: nn.Module) -> list[tuple[KeptLoss, Tensor]]:
    """Return the penalties that the parts of a module store, before its next call."""
    parts = (part for part in module.modules() if isinstance(part, KeptLoss))
    return [(part, part.value) for part in parts if part.value is not None]


def add_losses(kept: Iterable[tuple[KeptLoss, Tensor]]) -> None:
    """Add penalties of earlier calls to those of the last one: as in Keras, every call counts."""
    for part, value in kept:
        part.value = value if part.value is None else part.value + value
