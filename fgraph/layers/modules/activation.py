"""`PReLUByAxes`: a learned slope for each position."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn


class PReLUByAxes(nn.Module):
    """`x`, times a slope where it is negative.

    Args:
        shape: the shape of the slopes, without the batch; 1 where they are shared.
    """

    def __init__(self, shape: Sequence[int | None]) -> None:
        super().__init__()
        self.shape = tuple(shape)
        self.weight = nn.Parameter(torch.zeros(cast("Sequence[int]", shape)))

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the shape of `x`, `(batch, ...)`."""
        return torch.where(x >= 0, x, self.weight * x)
