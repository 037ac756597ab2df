"""`ActivityLoss`: a penalty on what passes through."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn


class ActivityLoss(nn.Module):
    """Returns its input, and keeps the penalty of the last call for the training loss.

    Args:
        regularizer: from the activations to a scalar; divided by the batch size, as Keras does.

    Attributes:
        value: the penalty of the last call, `None` before the first one.
    """

    def __init__(self, regularizer: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.regularizer = regularizer
        self.value: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Return `x`, of any shape `(batch, ...)`."""
        self.value = self.regularizer(x) / x.shape[0]
        return x

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "value": None}  # it hangs on a graph of autograd
