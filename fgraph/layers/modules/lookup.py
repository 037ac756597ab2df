"""A table of whole numbers and their indices."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .hashing import fingerprint_bins


class IndexTable(nn.Module):
    """Turns numbers into their indices in a vocabulary, or indices into numbers.

    Args:
        tokens: the numbers, in the order of their indices.
        first: the index of the first of them.
        unknown: how many indices there are for other numbers.
        mask: the number for padding, or `None`.
        unknown_token: what stands for an unknown number when indices are turned into numbers.
        invert: whether that is done.
        mask_index: whether padding has index 0; else it gets the one behind the last.
        hashed: whether unknown numbers take the remainder of their fingerprint, not their own.
    """

    def __init__(
        self,
        tokens: Sequence[int],
        first: int,
        unknown: int = 1,
        mask: int | None = None,
        unknown_token: int = -1,
        invert: bool = False,
        mask_index: bool = True,
        hashed: bool = False,
    ) -> None:
        super().__init__()
        self.tokens, self.first, self.unknown = tokens, first, unknown
        self.mask, self.unknown_token, self.invert = mask, unknown_token, invert
        self.mask_index, self.hashed = mask_index, hashed
        values = torch.tensor(tokens, dtype=torch.int64)
        ordered, order = values.sort()
        front = [unknown_token] * first
        if mask is not None and mask_index and first > unknown:
            front[0] = mask
        self.register_buffer("ordered", ordered)
        self.register_buffer("order", order + first)
        self.register_buffer("numbers", torch.cat([torch.tensor(front, dtype=torch.int64), values]))

    def forward(self, x: Tensor) -> Tensor:
        """Return indices for numbers `(batch, ...)`, or numbers for indices.

        Raises:
            ValueError: there is no index for a number that is not in the vocabulary.
        """
        x = x.long()
        if self.invert:
            numbers = self.get_buffer("numbers")
            inside = (x >= 0) & (x < numbers.shape[0])
            return torch.where(inside, numbers[torch.where(inside, x, 0)], self.unknown_token)
        ordered = self.get_buffer("ordered")
        place = torch.searchsorted(ordered, x).clamp(max=ordered.shape[0] - 1)
        known = ordered[place] == x
        masked = torch.zeros_like(known) if self.mask is None else x == self.mask
        found = self.get_buffer("order")[place]
        if self.unknown == 0:
            if not x.is_meta and not (known | masked).all():
                strange = x[~(known | masked)][:5].tolist()
                raise ValueError(f"{strange} are not in the vocabulary, and num_oov_indices=0")
        else:
            bins = fingerprint_bins(x, self.unknown) if self.hashed else x % self.unknown
            found = torch.where(known, found, bins + self.first - self.unknown)
        if self.mask is None:
            return found
        last = self.first + len(self.tokens)
        return torch.where(masked, 0 if self.mask_index else last, found)
