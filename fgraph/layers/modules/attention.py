"""Attention with several heads of any size, on torch's fused kernel."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class HeadAttention(nn.Module):
    """Attention of several heads between sequences.

    `nn.MultiheadAttention` has one size for all; here every size is free, heads of keys and
    values may be fewer than those of queries, and the parts are four `nn.Linear`s.

    Args:
        features: the sizes of query, key and value features.
        heads: the numbers of query heads, and of key and value heads.
        head_sizes: the sizes of a key head and of a value head.
        output: the size of the output.
        bias: whether the projections have biases.
        dropout: the share of attention weights that training drops.
        gate: whether the output of the heads is gated by the query.
    """

    def __init__(
        self,
        features: tuple[int, int, int],
        head_counts: tuple[int, int],
        head_sizes: tuple[int, int],
        output_size: int,
        *,
        bias: bool = True,
        dropout: float = 0.0,
        gated: bool = False,
    ) -> None:
        super().__init__()
        self.features, self.head_counts, self.head_sizes = features, head_counts, head_sizes
        self.output_size, self.bias, self.gated = output_size, bias, gated
        self.heads, self.shared_heads = head_counts
        self.key_size, self.value_size = head_sizes
        self.dropout = dropout
        self.query = nn.Linear(features[0], self.heads * self.key_size, bias)
        self.key = nn.Linear(features[1], self.shared_heads * self.key_size, bias)
        self.value = nn.Linear(features[2], self.shared_heads * self.value_size, bias)
        self.gate = nn.Linear(features[0], self.heads * self.value_size, bias) if gated else None
        self.output = nn.Linear(self.heads * self.value_size, output_size, bias)

    def forward(
        self,
        query: Tensor,
        value: Tensor,
        key: Tensor,
        mask: Tensor | None = None,
        causal: bool = False,
        scores: bool = False,
        training: bool | None = None,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Attend.

        Args:
            query: `(batch, steps, features)`.
            value: `(batch, others, features)`.
            key: `(batch, others, features)`.
            mask: `(batch, steps, others)`, true where a step may attend; `(steps, others)` or
                `(batch, heads, steps, others)` also work.
            causal: whether a step attends to no later one.
            scores: whether the attention weights are returned, too.
            training: fixes the mode of the dropout.

        Returns:
            `(batch, steps, output)`; with `scores` also `(batch, heads, steps, others)`.
        """
        training = self.training if training is None else training
        q = self._split(self.query(query), self.heads)
        k = self._repeat(self._split(self.key(key), self.shared_heads))
        v = self._repeat(self._split(self.value(value), self.shared_heads))
        rate, weights = self.dropout if training else 0.0, None
        if scores or mask is not None:
            mask, causal = _allowed(q, k, mask, causal), False
        if scores:
            weights = self._weights(q, k, mask)
            mixed = F.dropout(weights, rate, training) @ v
        else:
            added = None if mask is None else _addend(mask, q.dtype)
            mixed = F.scaled_dot_product_attention(q, k, v, added, rate, causal)
        mixed = mixed.transpose(1, 2).flatten(2)
        if self.gate is not None:
            mixed = mixed * torch.sigmoid(self.gate(query))
        made = self.output(mixed)
        return made if weights is None else (made, weights)

    def _split(self, x: Tensor, heads: int) -> Tensor:
        split: Tensor = x.unflatten(2, (heads, -1))
        return split.transpose(1, 2)

    def _repeat(self, x: Tensor) -> Tensor:
        times = self.heads // self.shared_heads
        return x if times == 1 else x.repeat_interleave(times, 1)

    def _weights(self, q: Tensor, k: Tensor, mask: Tensor | None) -> Tensor:
        """Return the attention weights, all zero where nothing may be attended to, as in Keras."""
        logits = q @ k.mT / math.sqrt(self.key_size)
        if mask is None:
            return torch.softmax(logits, -1)
        lowest = torch.finfo(logits.dtype).min
        return torch.softmax(torch.where(mask, logits, lowest), -1) * mask


def _allowed(q: Tensor, k: Tensor, mask: Tensor | None, causal: bool) -> Tensor | None:
    """Return `(batch, 1, steps, others)`, true where a step may attend."""
    if mask is not None:
        mask = mask.to(torch.bool)
        for _ in range(4 - mask.dim()):
            mask = mask.unsqueeze(-3)
    if not causal:
        return mask
    lower = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool, device=q.device).tril()
    return lower if mask is None else mask & lower


def _addend(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Return what to add to scores: where a step may attend to nothing, all scores stay alike.

    Keras then has it attend to everything equally.
    """
    # `where` makes numbers tensors of the default dtype, which must hold them
    lowest = max(torch.finfo(kind).min for kind in (dtype, torch.get_default_dtype()))
    return torch.where(mask, 0.0, 0.7 * lowest).to(dtype)


class Scale(nn.Module):
    """Multiplies by a learned number, or one for each feature.

    Args:
        shape: the shape of the factor; a single number by default.
    """

    def __init__(self, shape: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.shape = shape
        self.weight = nn.Parameter(torch.ones(shape))

    def forward(self, x: Tensor) -> Tensor:
        """Return `x`, of any shape `(..., *shape)`, times the factor."""
        return x * self.weight
