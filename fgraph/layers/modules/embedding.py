"""An embedding whose table is also an output projection."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class TwoWayEmbedding(nn.Module):
    """Looks vectors up, or scores all of them.

    Args:
        count: the number of vectors.
        size: the length of a vector.
        tied: whether the table makes the scores, or a kernel of its own.
    """

    def __init__(self, count: int, size: int, tied: bool = True) -> None:
        super().__init__()
        self.count, self.size, self.tied = count, size, tied
        self.embedding = nn.Embedding(count, size)
        self.reverse = None if tied else nn.Linear(size, count, bias=False)

    def forward(self, x: Tensor, reverse: bool = False, dtype: torch.dtype | None = None) -> Tensor:
        """Return vectors for indices `(...)`, or with `reverse` scores for vectors `(..., size)`.

        Args:
            x: the indices or vectors.
            reverse: which is meant.
            dtype: the data type to compute scores in; that of the weights by default.
        """
        if not reverse:
            made: Tensor = self.embedding(x)
            return made
        weight = self.embedding.weight if self.reverse is None else self.reverse.weight
        return F.linear(x, weight) if dtype is None else F.linear(x.to(dtype), weight.to(dtype))
